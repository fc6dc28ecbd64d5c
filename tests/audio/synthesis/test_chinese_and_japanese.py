import sys

import pytest

from mmpipe.audio.synthesis.chinese import ChineseG2P
from mmpipe.audio.synthesis.japanese import JapaneseG2P, kana_sounds
from mmpipe.errors import MissingDependencyError


@pytest.mark.parametrize(
    ("kana", "sounds"),
    [
        ("トーキョー", "toːkʲoː"),
        ("ガッコウ", "ɡaʔkoɯ"),
        ("シンブン", "ɕimbɯɴ"),
        ("ニホンゴ", "ɲihoŋɡo"),
        ("ファイル", "ɸaiɾɯ"),
        ("ジャンプ", "ʥampɯ"),
        ("イツ’カ", "iʦɨka"),
        ("ッー", "ʔː"),
        ("x。", ""),
    ],
)
def test_kana_become_the_sounds_that_kokoro_knows(kana, sounds):
    assert kana_sounds(kana) == sounds


def test_japanese_is_read_with_its_particles_numbers_and_marks():
    pytest.importorskip("pyopenjtalk")
    assert JapaneseG2P()("今日は東京へ行きます。「はい」！") == "kʲoːβa toːkʲoːe ikʲimasɨ.“hai”!"


def test_chinese_is_read_word_by_word_with_tones_and_latin_words():
    pytest.importorskip("rjieba")
    pytest.importorskip("cn2an")
    read = ChineseG2P(other=lambda word: f"<{word}>")
    assert read("银行行长说：好！") == "i↗nxa↗ŋxa↗ŋꭧa↓ŋ ʂwo→: xau↓!"
    assert read("去Apple公司") == "ʨʰy↘ <Apple> kʊ→ŋsɨ→"
    assert read("3") == read("三")
    assert read("") == ""


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [
        ("pyopenjtalk", "ja", JapaneseG2P),
        ("rjieba", "zh", lambda: ChineseG2P(other=str)),
    ],
)
def test_without_the_extra_the_message_has_the_command(monkeypatch, module, extra, make):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"mmpipe\[{extra}\]"):
        make()
