"""Names of languages: what people and models call them, brought to one code.

mmpipe speaks ISO 639-1; the few languages without such a code keep their ISO 639-3 one (``ast``, ``yue``).
"""

from __future__ import annotations

from mmpipe.errors import LanguageError

# ISO 639-1 code, ISO 639-3 code, English name
_TABLE = """
af afr Afrikaans; ak aka Akan; am amh Amharic; an arg Aragonese; ar ara Arabic; as asm Assamese; ast ast Asturian;
ay aym Aymara; az aze Azerbaijani; ba bak Bashkir; be bel Belarusian; bg bul Bulgarian; bi bis Bislama;
bm bam Bambara; bn ben Bengali; bo bod Tibetan; br bre Breton; bs bos Bosnian; ca cat Catalan; ce che Chechen;
ceb ceb Cebuano; co cos Corsican; cs ces Czech; cv chv Chuvash; cy cym Welsh; da dan Danish; de deu German;
dv div Divehi; dz dzo Dzongkha; ee ewe Ewe; el ell Greek; en eng English; eo epo Esperanto; es spa Spanish;
et est Estonian; eu eus Basque; fa fas Persian; ff ful Fulah; fi fin Finnish; fj fij Fijian; fo fao Faroese;
fr fra French; frp frp Arpitan; fy fry Western Frisian; ga gle Irish; gd gla Scottish Gaelic; gl glg Galician;
gn grn Guarani; gu guj Gujarati; gv glv Manx; ha hau Hausa; haw haw Hawaiian; he heb Hebrew; hi hin Hindi;
hr hrv Croatian; ht hat Haitian; hu hun Hungarian; hy hye Armenian; ia ina Interlingua; id ind Indonesian;
ig ibo Igbo; ilo ilo Iloko; io ido Ido; is isl Icelandic; it ita Italian; ja jpn Japanese; jv jav Javanese;
ka kat Georgian; kg kon Kongo; ki kik Kikuyu; kk kaz Kazakh; kl kal Kalaallisut; km khm Khmer; kn kan Kannada;
ko kor Korean; ks kas Kashmiri; ku kur Kurdish; kv kom Komi; kw cor Cornish; ky kir Kyrgyz; la lat Latin;
lb ltz Luxembourgish; lg lug Ganda; li lim Limburgish; ln lin Lingala; lo lao Lao; lt lit Lithuanian;
lv lav Latvian; mg mlg Malagasy; mi mri Maori; mk mkd Macedonian; ml mal Malayalam; mn mon Mongolian;
mr mar Marathi; ms msa Malay; mt mlt Maltese; my mya Burmese; nb nob Norwegian Bokmål; nd nde North Ndebele;
ne nep Nepali; nl nld Dutch; nn nno Norwegian Nynorsk; no nor Norwegian; ny nya Chichewa; oc oci Occitan;
om orm Oromo; or ori Odia; os oss Ossetian; pa pan Punjabi; pl pol Polish; ps pus Pashto; pt por Portuguese;
qu que Quechua; rm roh Romansh; rn run Rundi; ro ron Romanian; ru rus Russian; rw kin Kinyarwanda; sa san Sanskrit;
sc srd Sardinian; sd snd Sindhi; se sme Northern Sami; sg sag Sango; sh hbs Serbo-Croatian; si sin Sinhala;
sk slk Slovak; sl slv Slovenian; sm smo Samoan; sn sna Shona; so som Somali; sq sqi Albanian; sr srp Serbian;
ss ssw Swati; st sot Sesotho; su sun Sundanese; sv swe Swedish; sw swa Swahili; szl szl Silesian; ta tam Tamil;
te tel Telugu; tg tgk Tajik; th tha Thai; ti tir Tigrinya; tk tuk Turkmen; tl tgl Tagalog; tn tsn Tswana;
to ton Tongan; tr tur Turkish; ts tso Tsonga; tt tat Tatar; tw twi Twi; ty tah Tahitian; ug uig Uyghur;
uk ukr Ukrainian; ur urd Urdu; uz uzb Uzbek; ve ven Venda; vi vie Vietnamese; wa wln Walloon; wo wol Wolof;
xh xho Xhosa; yi yid Yiddish; yo yor Yoruba; yue yue Cantonese; zh zho Chinese; zu zul Zulu
"""

#: code -> English name, for every language that some engine of mmpipe can know
NAMES: dict[str, str] = {}
_CODES: dict[str, str] = {}  # what people write, in lower case -> code
for _entry in _TABLE.replace("\n", " ").split(";"):
    _code, _alpha3, _name = _entry.split(maxsplit=2)
    NAMES[_code] = _name
    _CODES |= {_code: _code, _alpha3: _code, _name.lower(): _code}


def language_code(text: str) -> str:
    """The code of a language given as ISO 639-1, ISO 639-3, a locale (``pt-BR``, ``zh_CN``) or its English name.

    Raises:
        LanguageError: no language is called so.
    """
    wanted = text.strip().lower()
    code = _CODES.get(wanted) or _CODES.get(wanted.replace("_", "-").partition("-")[0])
    if code is None:
        raise LanguageError(
            f"{text!r} is not a language known here. Give its ISO 639-1 code or its English name, "
            "such as 'pt' or 'Portuguese'; `mmpipe languages` lists what can be translated"
        )
    return code
