"""Models for CTranslate2: tiny ones with random weights, made here, so that the real loading code runs."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import sentencepiece
from ctranslate2.specs import transformer_spec

from mmpipe.errors import InputError, WeightsError
from mmpipe.translate import TextTranslator
from mmpipe.translate.ct2 import CTranslate2Translator
from mmpipe.types import Sentence, Tier

TEXT = [
    "the house is big and the garden is green",
    "a casa é grande e o jardim é verde",
    "where is the nearest pharmacy please",
    "onde fica a farmácia mais próxima por favor",
]
DIM = 16
SPECIAL = ["<unk>", "<s>", "</s>"]


@pytest.fixture(scope="session")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    path = tmp_path_factory.mktemp("spm") / "source.spm"
    path.write_bytes(model.getvalue())
    return path


def _pieces(spm: Path) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    return [processor.id_to_piece(index) for index in range(processor.get_piece_size())]


def _write_model(folder: Path, vocabulary: Sequence[str], **config: object) -> None:
    """A Transformer with one layer, two heads and random weights, over ``vocabulary``."""
    random = np.random.default_rng(0)
    spec = transformer_spec.TransformerSpec.from_config(1, 2, pre_norm=True)

    def weights(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype(np.float32)

    def norm(layer: object) -> None:
        layer.gamma, layer.beta = np.ones(DIM, np.float32), np.zeros(DIM, np.float32)

    def linear(layer: object, rows: int, columns: int) -> None:
        layer.weight, layer.bias = weights(rows, columns), np.zeros(rows, np.float32)

    def attention(layer: object, first: int) -> None:
        norm(layer.layer_norm)
        sizes = {3: [3 * DIM, DIM], 1: [DIM, 2 * DIM, DIM]}[first]
        for part, rows in zip(layer.linear, sizes, strict=True):
            linear(part, rows, DIM)

    def feed_forward(layer: object) -> None:
        norm(layer.layer_norm)
        linear(layer.linear_0, 32, DIM)
        linear(layer.linear_1, DIM, 32)

    for side in (spec.encoder, spec.decoder):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = weights(len(vocabulary), DIM)
        embeddings.multiply_by_sqrt_depth = True
        side.position_encodings.encodings = weights(512, DIM)
        norm(side.layer_norm)
        for layer in side.layer:
            attention(layer.self_attention, 3)
            if hasattr(layer, "attention"):
                attention(layer.attention, 1)
            feed_forward(layer.ffn)
    linear(spec.decoder.projection, len(vocabulary), DIM)
    spec.register_source_vocabulary(list(vocabulary))
    spec.register_target_vocabulary(list(vocabulary))
    for name, value in config.items():
        setattr(spec.config, name, value)
    spec.validate()
    folder.mkdir(exist_ok=True)
    spec.save(str(folder))


def _copy_tokenizer(spm: Path, folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(spm.read_bytes())


@pytest.fixture
def marian(tmp_path: Path, spm: Path) -> Path:
    folder = tmp_path / "opus-mt-en-pt-ctranslate2"
    _write_model(folder, _pieces(spm), add_source_eos=True)
    _copy_tokenizer(spm, folder, "source.spm", "target.spm")
    return folder


def test_a_marian_model_tells_its_pair_by_its_name_and_translates(marian: Path) -> None:
    engine = CTranslate2Translator(marian, device="cpu")
    assert engine.pairs == {("en", "pt"): Tier.FAIR}
    items = [Sentence(text, "en", "pt") for text in ("the house", "the green garden is big", "where")]
    together = engine.run(items)
    assert engine.run(items[::-1]) == together[::-1]
    assert all(isinstance(text, str) and "▁" not in text for text in together)
    engine.close()


def test_the_pair_can_be_given(marian: Path) -> None:
    renamed = marian.rename(marian.with_name("model"))
    assert list(CTranslate2Translator(renamed, source="de", target="nl", tier=Tier.GOOD).pairs.items()) == [
        (("de", "nl"), Tier.GOOD)
    ]
    with pytest.raises(InputError, match="source="):
        CTranslate2Translator(renamed)


def test_the_end_of_the_sentence_is_marked_exactly_once(
    marian: Path, tmp_path: Path, spm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = tmp_path / "opus-mt-en-de"
    _write_model(by_hand, _pieces(spm), add_source_eos=False)
    _copy_tokenizer(spm, by_hand, "source.spm", "target.spm")
    for folder, marks in ((marian, 0), (by_hand, 1)):
        engine = CTranslate2Translator(folder)
        (pair,) = engine.pairs
        assert engine._tokens(Sentence("the house", *pair)).count("</s>") == marks


def test_nllb_gets_its_language_tokens(tmp_path: Path, spm: Path) -> None:
    languages = ["eng_Latn", "por_Latn", "zho_Hant", "zho_Hans", "arb_Arab", "ace_Latn"]
    _write_model(tmp_path / "nllb", [*_pieces(spm), *languages])
    _copy_tokenizer(spm, tmp_path / "nllb", "sentencepiece.bpe.model")
    engine = CTranslate2Translator(tmp_path / "nllb")
    assert {pair[0] for pair in engine.pairs} == {"en", "pt", "zh", "ar"}
    assert len(engine.pairs) == 12
    tokens = engine._tokens(Sentence("the house", "zh", "pt"))
    assert (tokens[0], tokens[-1]) == ("zho_Hans", "</s>")
    prefixes = []
    original = engine._translator.translate_batch

    class Spy:
        def translate_batch(self, source: list[list[str]], target_prefix: list[list[str]], **options: object) -> object:
            prefixes.extend(target_prefix)
            return original(source, target_prefix=target_prefix, **options)

    engine._translator = Spy()
    (text,) = engine.run([Sentence("the house", "en", "pt")])
    assert prefixes == [["por_Latn"]]
    assert "por_Latn" not in text


def test_m2m_gets_its_language_tokens_and_a_fast_tokenizer_will_do(tmp_path: Path, spm: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path / "m2m"
    vocabulary = [*_pieces(spm), "__en__", "__pt__"]
    _write_model(folder, vocabulary)
    tokenizer = Tokenizer(models.Unigram([(piece, -float(n)) for n, piece in enumerate(vocabulary)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    engine = CTranslate2Translator(folder)
    assert set(engine.pairs) == {("en", "pt"), ("pt", "en")}
    tokens = engine._tokens(Sentence("the house", "en", "pt"))
    assert (tokens[0], "".join(tokens[1:-1]), tokens[-1]) == ("__en__", "▁the▁house", "</s>")
    assert isinstance(engine.run([Sentence("the house", "en", "pt")])[0], str)


def test_a_marian_model_for_several_targets_is_told_which(tmp_path: Path, spm: Path) -> None:
    folder = tmp_path / "opus-mt-en-mul"
    _write_model(folder, [*_pieces(spm), ">>por<<", ">>cmn_Hant<<", ">>cmn_Hans<<"], add_source_eos=True)
    _copy_tokenizer(spm, folder, "source.spm", "target.spm")
    engine = CTranslate2Translator(folder)
    assert set(engine.pairs) == {("en", "pt"), ("en", "zh")}
    assert engine._tokens(Sentence("the house", "en", "zh"))[0] == ">>cmn_Hans<<"


def test_it_serves_texts(marian: Path) -> None:
    translation = TextTranslator([CTranslate2Translator(marian)]).translate("the house is https://x.org", "en", "pt")
    assert translation.route == ("ctranslate2 en>pt",)
    assert translation.text.count("https://x.org") == 1


def test_what_is_no_such_model_is_refused_with_advice(tmp_path: Path, marian: Path) -> None:
    with pytest.raises(InputError, match=r"no model\.bin"):
        CTranslate2Translator(tmp_path)
    with pytest.raises(WeightsError):
        CTranslate2Translator(tmp_path / "missing")
    for name in ("source.spm", "target.spm"):
        (marian / name).unlink()
    with pytest.raises(InputError, match="copy them from the model"):
        CTranslate2Translator(marian)


def test_a_folder_without_its_configuration_says_which_file_to_copy(marian: Path) -> None:
    (marian / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json.*copy it"):
        CTranslate2Translator(marian)


def test_a_damaged_model_is_an_error_of_input(marian: Path) -> None:
    (marian / "model.bin").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot load"):
        CTranslate2Translator(marian)


def test_vocabularies_as_text_are_read(marian: Path) -> None:
    tokens = json.loads((marian / "shared_vocabulary.json").read_text())
    (marian / "shared_vocabulary.json").unlink()
    (marian / "shared_vocabulary.txt").write_text("\n".join(tokens))
    engine = CTranslate2Translator(marian)
    assert engine.run([Sentence("the house", "en", "pt")])
    assert ctranslate2.contains_model(str(marian))
