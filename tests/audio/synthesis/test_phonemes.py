import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmpipe.audio.synthesis import espeakng, phonemes
from mmpipe.audio.synthesis.espeakng import espeak_ng
from mmpipe.errors import InputError, MissingDependencyError


def test_punctuation_is_kept_for_the_voice_to_hear():
    assert phonemes("Olá, mundo! Tudo bem?", "pt-br") == "olˈa, mˈu\u0303ŋdʊ! tˈudʊ bˈeɪŋ?"


def test_marks_inside_words_and_numbers_do_not_cut():
    assert "." not in phonemes("version 3.5 of mmpipe.org", "en-us")


def test_ties_join_the_letters_of_one_sound():
    assert "t^ʃ" in phonemes("chair", "en-us", tie="^")
    assert "^" not in phonemes("chair", "en-us")


def test_no_language_switches_are_spoken():
    assert "(" not in phonemes("das Meeting im Office war cool", "de")


@pytest.mark.parametrize("text", ["", "   ", "\n", "...", "\x00", "\ud800"])
def test_text_without_sounds_gives_no_sounds(text):
    assert not any(sign.isalpha() for sign in phonemes(text, "en-us"))


def test_an_unknown_voice_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="pt-br"):
        phonemes("bom dia", "fr-fr")  # espeak-ng calls that voice "fr"
    with pytest.raises(InputError):
        phonemes("bom dia", "../../etc/passwd")


def test_without_the_extra_the_message_has_the_command(monkeypatch):
    monkeypatch.setattr(espeakng, "_make", espeakng._make.__wrapped__)  # not the one made before
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mmpipe\[espeak\]'"):
        espeak_ng()


def test_a_long_path_to_the_data_does_not_matter(tmp_path):
    """espeak-ng's globals are the process's: this runs in one of its own."""
    loader = pytest.importorskip("espeakng_loader")
    folder = tmp_path.joinpath(*["d" * 50] * 5)
    folder.mkdir(parents=True)
    (folder / "espeak-ng-data").symlink_to(loader.get_data_path(), target_is_directory=True)
    script = (
        "import sys, types, espeakng_loader as real; from mmpipe.audio.synthesis.espeakng import EspeakNg;"
        "far = types.SimpleNamespace(get_library_path=real.get_library_path, get_data_path=lambda: sys.argv[1]);"
        "print(EspeakNg(far).phonemes('sol', 'es'))"
    )
    command = [sys.executable, "-c", script, str(folder / "espeak-ng-data")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "sˈol"


def test_threads_with_different_voices_do_not_mix():
    library = espeak_ng()
    jobs = [(f"the garden number {n} is red", voice) for n in range(40) for voice in ("en-us", "pt-br", "fr", "it")]
    random.Random(3).shuffle(jobs)
    alone = [library.phonemes(*job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda job: library.phonemes(*job), jobs)) == alone


def test_long_and_odd_texts_are_survived():
    generator = random.Random(5)
    for _ in range(30):
        text = "".join(
            chr(generator.choice([generator.randint(32, 0x24F), generator.randint(0, 0xFFFF)])) for _ in range(400)
        )
        phonemes(text, generator.choice(["en-us", "pt-br", "hi", "cmn"]))
    assert len(phonemes("palavra " * 2000, "pt-br")) > 10_000
