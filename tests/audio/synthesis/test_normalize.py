import random
import re
import sys
import unicodedata

import pytest

from mmpipe.audio.synthesis import normalize
from mmpipe.audio.synthesis.numerals import Number, Numerals
from mmpipe.audio.synthesis.spoken_words import spoken_words

LANGUAGES_WITH_TABLES = ("en", "es", "fr", "it", "pt")

SPOKEN = {
    "pt": [
        ("O Sr. João e a Sra. Ana saíram.", "O senhor João e a senhora Ana saíram."),
        ("o sr. José e a sra. Maria", "o senhor José e a senhora Maria"),
        ("O Dr. Silva, a Dra. Lima, etc.", "O doutor Silva, a doutora Lima, etcétera."),
        ("Frutas, p. ex., maçãs.", "Frutas, por exemplo, maçãs."),
        ("Custa R$ 12,50.", "Custa doze reais e cinquenta centavos."),
        ("R$ 1.234.567", "um milhão duzentos e trinta e quatro mil quinhentos e sessenta e sete reais"),
        ("US$ 5 milhões", "cinco milhões de dólares"),
        ("R$ 3 mil; R$ 0,99; R$ 1", "três mil reais; noventa e nove centavos; um real"),
        ("10h30, 14:00, 1:00", "dez e trinta, catorze horas, uma hora"),
        ("05/03/2024", "cinco de março de dois mil e vinte e quatro"),
        ("2024-12-01", "primeiro de dezembro de dois mil e vinte e quatro"),
        ("2 casas e 2 carros", "duas casas e dois carros"),
        ("200 mulheres, 21 dias", "duzentas mulheres, vinte e um dias"),
        ("1.500 pessoas", "mil e quinhentas pessoas"),
        ("3,14 ou 3.14", "três vírgula catorze ou três vírgula catorze"),
        ("0,05", "zero vírgula zero cinco"),
        ("50% de 10 km/h a -5 °C", "cinquenta por cento de dez quilômetros por hora a menos cinco graus Celsius"),
        ("o 1º, a 2ª, o 21º", "o primeiro, a segunda, o vigésimo primeiro"),
        ("de 10-15 anos", "de dez a quinze anos"),
        ("século XXI e Luís XIV", "século vinte e um e Luís catorze"),
        ("a ONU e a BBC", "a ONU e a bê bê cê"),
        ("ana.silva@exemplo.com.br", "ana ponto silva arroba exemplo ponto com ponto br"),
        ("https://www.mmpipe.org/docs", "mmpipe ponto org barra docs"),
        ("555-1234", "cinco cinco cinco, um dois três quatro"),
        ("1914-1918", "mil novecentos e catorze a mil novecentos e dezoito"),
        ("versão 1.2.3", "versão um ponto dois ponto três"),
        ("#5 e #mmpipe, C++", "número cinco e mmpipe, C mais mais"),
        ("e/ou *isto*", "e ou isto"),
        ("agente 007", "agente zero zero sete"),
        ("Olá 😀👍🏽 mundo 🇧🇷", "Olá mundo"),
    ],
    "en": [
        ("Mr. Smith paid $12.50.", "mister Smith paid twelve dollars and fifty cents."),
        ("at 10:30, 10:05 and 9:00", "at ten thirty, ten oh five and nine o'clock"),
        ("at 5pm", "at five P M"),
        ("in 1984, 1,500 people", "in nineteen eighty-four, one thousand five hundred people"),
        ("the 1990s and '80s", "the nineteen nineties and eighties"),
        ("March 5, 2024", "March fifth, twenty twenty-four"),
        ("2.5 kg, 1 kg", "two point five kilograms, one kilogram"),
        ("the 21st", "the twenty-first"),
        ("1/2 & 3/4, 3/7", "one half and three quarters, three over seven"),
        ("½ cup", "one half cup"),
        ("No. 5? No. Never.", "number five? No. Never."),
        ("Main St. and St. Mary", "Main street and saint Mary"),
        ("NASA and HTML", "NASA and H T M L"),
        ("George W. Bush", "George W Bush"),
        ("-3 °F", "minus three degrees Fahrenheit"),
        ("A4 and 5G", "A four and five G"),
        ("i.e. Monday, etc. Then", "that is Monday, et cetera. Then"),
    ],
    "es": [
        ("El Sr. Pérez pagó 21 €.", "El señor Pérez pagó veintiún euros."),
        ("1 casa, 21 casas, 200 libras", "una casa, veintiuna casas, doscientas libras"),
        ("el 3er piso y la 2ª vez", "el tercer piso y la segunda vez"),
        ("EE. UU. y p. ej. 3,5 km", "Estados Unidos y por ejemplo tres coma cinco kilómetros"),
    ],
    "fr": [
        ("M. Dupont et Mme Martin", "monsieur Dupont et madame Martin"),
        ("1 234,50 €", "mille deux cent trente-quatre euros et cinquante centimes"),
        ("le 1er mai à 10h30", "le premier mai à dix heures trente"),
        ("au XIXe siècle", "au dix-neuvième siècle"),
        ("20 °C. La pluie", "vingt degrés Celsius. La pluie"),
    ],
    "it": [
        ("Il Sig. Rossi, ecc.", "Il signor Rossi, eccetera."),
        ("1 casa, 1.500 €, 3,5%", "una casa, millecinquecento euro, tre virgola cinque per cento"),
        ("alle 10:30", "alle dieci e trenta"),
    ],
}


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [(language, written, spoken) for language, pairs in SPOKEN.items() for written, spoken in pairs],
)
def test_signs_become_the_words_a_speaker_would_say(language, written, spoken):
    assert normalize(written, language) == spoken


@pytest.mark.parametrize("language", LANGUAGES_WITH_TABLES)
def test_no_figures_and_no_symbols_are_left_for_the_voice(language):
    text = "On 3/5/24 at 7:45, +55 11 91234-5678: 12,345.67 × 8 = 9 & 10° §4 #7 100% ±2 99.999.999 1e9 <3 ~5 {6} |7|"
    spoken = normalize(text, language)
    assert not re.search(r"[\d×=&°§#%±<>~{}|]", spoken), spoken


@pytest.mark.parametrize("language", [*LANGUAGES_WITH_TABLES, "de", "hi", "xx"])
def test_plain_words_pass_unchanged(language):
    generator = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyzáéíóúâêôãõçñüàèìòùß"
    words = ["".join(generator.choices(letters, k=generator.randint(5, 12))) for _ in range(300)]
    assert normalize(" ".join(words), language).split() == words


@pytest.mark.parametrize("language", [*LANGUAGES_WITH_TABLES, "ja"])
def test_no_word_is_lost_between_numbers_marks_and_emoji(language):
    generator = random.Random(11)
    others = [
        "12",
        "3,5",
        "10:30",
        "50%",
        "😀",
        "—",
        "...",
        "$5",
        "1º",
        "XIV",
        "a@b.com",
        "www.x.org",
        "°",
        "(",
        "½",
        "\n",
    ]
    for _ in range(200):
        words = ["".join(generator.choices("aeioulmnrst", k=7)) for _ in range(8)]
        text = " ".join(word + " " + generator.choice(others) for word in words)
        spoken = normalize(text, language)
        positions = [spoken.find(word) for word in words]
        assert -1 not in positions, (text, spoken)
        assert positions == sorted(positions), (text, spoken)


@pytest.mark.parametrize("language", [*LANGUAGES_WITH_TABLES, "de", "zh"])
def test_any_unicode_is_survived(language):
    generator = random.Random(13)
    everything = [chr(code) for code in range(sys.maxunicode + 1) if generator.random() < 0.02]
    tricky = list("0123456789.,:;/-—%$€£°ºª'\"()@#+ \n\tIVXAhm\x00\ud800\u200d\ufe0f²½٣३")
    for _ in range(300):
        signs = generator.choices(tricky, k=20) + generator.choices(everything, k=20)
        generator.shuffle(signs)
        normalize("".join(signs), language)


def test_other_scripts_keep_their_letters_and_marks():
    assert normalize("१२ नमस्ते, हिन्दी", "hi") == "12 नमस्ते, हिन्दी"
    assert normalize("می‌خواهم", "fa") == "می‌خواهم"  # the joiner shapes the word
    assert normalize("cafe\u0301", "fr") == "café"


def test_line_breaks_stay_for_the_pauses():
    assert normalize("Título\n\nPrimeira  linha\r\nsegunda", "pt") == "Título\n\nPrimeira linha\nsegunda"


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("en", "Inflation was -2% in May.", "Inflation was minus two percent in May."),
        (
            "en",
            "-$5 million, (-£2.50)",
            "minus five million dollars, (minus two pounds and fifty pence)",
        ),
        ("en", "-1/2, -½ and -3/7", "minus one half, minus one half and minus three over seven"),
        ("en", "from -5 to -10%", "from minus five to minus ten percent"),
        ("en", "In 2024 -2%, then -3 km", "In twenty twenty-four minus two percent, then minus three kilometers"),
        ("pt", "de -2% a -R$ 20", "de menos dois por cento a menos vinte reais"),
        ("es", "-2%", "menos dos por ciento"),
        ("fr", "-2\u202f%, -3 €", "moins deux pour cent, moins trois euros"),
        ("it", "-2%", "meno due per cento"),
    ],
)
def test_a_minus_is_said_before_whatever_is_counted(language, written, spoken):
    assert normalize(written, language) == spoken


@pytest.mark.parametrize("written", ["10-15%", "10 - 15%", "10–15 %"])
def test_between_two_numbers_it_is_no_minus(written):
    assert normalize(written, "en") == "ten to fifteen percent"


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("en", "They raised $5m or £20m.", "They raised five million dollars or twenty million pounds."),
        ("en", "-€3 M, $40k, 5bn USD", "minus three million euros, forty thousand dollars, five billion dollars"),
        ("en", "$5-10m, A$5m", "five to ten million dollars, A five million dollars"),
        ("pt", "R$ 1,5 mi, US$ 2 bi", "um vírgula cinco milhão de reais, dois bilhões de dólares"),
        ("es", "5 M€", "cinco millones de euros"),
        ("fr", "1,2 Md$, 5 k€", "un virgule deux milliard de dollars, cinq mille euros"),
        ("it", "3 mln €", "tre milioni di euro"),
    ],
)
def test_millions_are_said_where_they_are_written_short(language, written, spoken):
    assert normalize(written, language) == spoken


def test_a_unit_is_not_read_into_an_amount_of_money():
    assert normalize("R$ 5m", "pt") == "cinco reais m"
    assert normalize("$5km", "en") == "five dollars km"
    assert normalize("5 m, $5 a month", "en") == "five meters, five dollars a month"


def test_no_is_a_number_only_with_its_capital():
    assert normalize("I said no. 20 minutes later", "en") == "I said no. twenty minutes later"
    assert normalize("No. 5, Nos. 6 and 7, VOL. 8", "en") == "number five, numbers six and seven, volume eight"


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("en", "The flight takes 2 h.", "The flight takes two hours."),
        ("en", "1 h, 2 h 30 min and 10h30", "one hour, two hours thirty minutes and ten thirty"),
        ("it", "Il volo dura 2 h.", "Il volo dura due ore."),
        ("pt", "às 8h, às 2 h 30 min", "às oito horas, às duas e trinta"),
    ],
)
def test_hours_that_something_takes_are_no_time_of_the_day(language, written, spoken):
    assert normalize(written, language) == spoken


def test_a_telephone_number_ends_with_its_sentence():
    said = "four four, two zero, seven nine four six, zero nine five eight"
    assert normalize("Call +44 20 7946 0958. 10 people answered.", "en") == f"Call {said}. ten people answered."
    assert normalize("+44.20.7946.0958", "en") == said
    assert normalize("+1 (555) 123-4567", "en") == "one, five five five, one two three, four five six seven"


def test_the_last_dot_of_an_acronym_is_no_initial():
    assert normalize("The U.S. Army of George W. Bush", "en") == "The U S Army of George W Bush"


def test_a_list_below_a_number_stays_a_list():
    assert normalize("Serves 4\n- 2 eggs\n- 5 g salt", "en") == "Serves four\n- two eggs\n- five grams salt"
    assert normalize("Ring +44 20 7946 0958\n10 people", "en").endswith("zero nine five eight\nten people")
    assert normalize("on Main St.\nThe house", "en") == "on Main street.\nThe house"


def test_words_in_capitals_are_read_where_all_is_in_capitals():
    assert normalize("NEXT STOP: NORTH STREET\nWatch the BBC", "en") == "NEXT STOP: NORTH STREET\nWatch the B B C"
    assert normalize("SEMPRE NO CENTRO", "pt") == "SEMPRE NO CENTRO"


def test_a_word_in_capitals_for_emphasis_is_read():
    assert normalize("Do ALL of it, BOTH parts, and PUSH", "en") == "Do ALL of it, BOTH parts, and PUSH"


def test_an_acronym_is_spelled_in_an_ordinary_sentence_alone_and_among_capitals():
    assert normalize("The HTML of it", "en") == "The H T M L of it"
    assert normalize("HTML", "en") == "H T M L"
    assert normalize("WATCH THE BBC IN THE USA", "en") == "WATCH THE B B C IN THE U S ay"


def test_a_wall_of_spaces_does_not_hold_up_the_voice():
    assert normalize("a" + " " * 200_000 + "½", "en") == "a one half"


def test_a_dot_that_ends_the_sentence_too_stays():
    assert normalize("pão, leite, etc.", "pt") == "pão, leite, etcétera."
    assert normalize("pão, etc. Depois", "pt") == "pão, etcétera. Depois"
    assert normalize("pão, etc., e água", "pt") == "pão, etcétera, e água"


@pytest.mark.parametrize("digits", ["9" * 16, "1" + "0" * 200])
def test_numbers_beyond_all_words_are_read_digit_by_digit(digits):
    assert len(normalize(digits, "pt").split()) == len(digits)


@pytest.mark.parametrize(
    ("language", "figures", "number"),
    [
        ("en", "1,234.5", Number("1234", "5")),
        ("pt", "1.234,5", Number("1234", "5")),
        ("pt", "1.234", Number("1234")),
        ("en", "1.234", Number("1", "234")),
        ("pt", "3.14", Number("3", "14")),
        ("pt", "0.500", Number("0", "500")),
        ("pt", "1,234,567", Number("1234567")),
        ("fr", "1\u202f234,5", Number("1234", "5")),
        ("en", "1.2.3", None),
    ],
)
def test_figures_are_read_by_the_habits_of_the_language_unless_they_cannot_be(language, figures, number):
    words = spoken_words(language)
    assert words is not None
    assert Numerals(language, words).parse(figures) == number


def test_every_table_is_complete_and_spells_every_letter_it_must():
    for language in LANGUAGES_WITH_TABLES:
        words = spoken_words(language)
        assert words is not None
        assert len(words.months) == 12
        assert {"$", "€", "£", "R$", "USD"} <= words.money.keys()
        assert {"km", "kg", "°C", "m²"} <= words.units.keys()
        assert all(unicodedata.is_normalized("NFC", written) for written in words.abbreviations)
