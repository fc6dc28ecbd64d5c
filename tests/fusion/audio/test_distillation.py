"""The teacher, the student and the training, on a tiny language model and made-up recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mmpipe.errors import InputError
from mmpipe.fusion.audio.config import SpokenConfig
from mmpipe.fusion.audio.distillation import (
    Distillation,
    Distiller,
    Recordings,
    Spoken,
    SpokenPacker,
    spoken_prompt,
    teach,
)
from mmpipe.fusion.audio.projector import AudioProjector, ProjectorShape
from mmpipe.generation.chat import Message, render
from mmpipe.generation.language_model import LanguageModel

TEXTS = ["what is it?", "who are you then?", "name a dog", "name a cat"]
SHAPE = ProjectorShape(frame_size=4, hidden_size=32, stack=2, hidden=16)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return LanguageModel.tiny(seed=3)


@pytest.fixture(scope="module")
def items(lm: LanguageModel) -> list[Spoken]:
    """Recordings of different lengths, of which nothing can be heard but which they are."""
    random = torch.Generator().manual_seed(0)
    taught = teach(lm, TEXTS, max_tokens=6)
    return [Spoken(torch.randn(3 + at, 8, generator=random).half(), taught[text]) for at, text in enumerate(TEXTS)]


def projector(lm: LanguageModel) -> AudioProjector:
    torch.manual_seed(0)
    made = AudioProjector(SHAPE)
    made.start_from(lm)
    return made


def distiller(lm: LanguageModel, items: list[Spoken], folder: Path, **optimizer: Any) -> Distiller:
    settings = {"steps": 20, "batch_pictures": 4, "warmup_steps": 1, "evaluate_every_steps": 10, "learning_rate": 1e-2}
    config = SpokenConfig.model_validate(
        {"speech": {"voices": ["joe"]}, "optimizer": settings | {"mixed_precision": "no"} | optimizer}
    )
    return Distiller(config, lm, projector(lm), Recordings(items, items[:2], seed=1), folder)


def test_the_teacher_answers_as_the_model_does_alone(lm: LanguageModel) -> None:
    for text, taught in teach(lm, TEXTS, max_tokens=6).items():
        ids = torch.tensor([render(lm, [Message("user", text)]).token_ids])
        end = lm.turn_end_id
        out = lm.model.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=end, pad_token_id=end)
        assert taught.token_ids.tolist() == out[0, ids.shape[1] :].tolist()
        assert lm.model.lm_head(taught.hidden).argmax(-1).tolist() == taught.token_ids.tolist()


def test_a_batch_judges_as_its_recordings_do_alone(lm: LanguageModel, items: list[Spoken]) -> None:
    packer, judge = SpokenPacker(lm), Distillation(lm, projector(lm))
    with torch.no_grad():
        together, wanted, right = judge(packer(items))
        alone = [judge(packer([item])) for item in items]
    assert together.item() == pytest.approx(sum(loss.item() for loss, *_ in alone), rel=1e-4)
    assert wanted.sum(1).tolist() == [len(item.taught.token_ids) for item in items]
    assert right.sum(1).tolist() == [int(same.sum()) for *_, same in alone]


def test_what_is_heard_as_the_words_themselves_diverges_by_nothing(lm: LanguageModel) -> None:
    """The projected sound in place of the text: with the text's own embeddings there is no difference."""
    taught = teach(lm, ["hello"], max_tokens=4)["hello"]
    words = lm.embed(lm.encode("hello")).detach()
    judge = Distillation(lm, projector(lm))
    judge.strategy = torch.nn.Identity()
    loss, _, right = judge(SpokenPacker(lm)([Spoken(words, taught)]))
    assert loss.item() == pytest.approx(0, abs=1e-4)
    assert right.sum() == len(taught.token_ids)


def test_a_prompt_holds_as_many_placeholders_as_the_sound_has_embeddings(lm: LanguageModel) -> None:
    assert spoken_prompt(lm, 7).count(lm.placeholder_id) == 7


def test_training_brings_the_student_nearer_to_the_teacher(
    lm: LanguageModel, items: list[Spoken], tmp_path: Path
) -> None:
    made = distiller(lm, items, tmp_path)
    before = [value.clone() for value in lm.model.parameters()]
    with torch.no_grad():
        loss, wanted, _ = made.fusion(made.packer(items))
    made.run()
    with torch.no_grad():
        after, *_ = made.fusion(made.packer(items))
    assert after < 0.7 * loss
    assert all(torch.equal(was, value) for was, value in zip(before, lm.model.parameters(), strict=True))
    last = json.loads((tmp_path / "log.jsonl").read_text("utf-8").splitlines()[-1])
    assert last["step"] == 20
    assert last["validation_loss"] < loss / wanted.sum()


def test_an_answer_is_exact_if_each_of_its_tokens_is_the_likeliest(
    lm: LanguageModel, items: list[Spoken], tmp_path: Path
) -> None:
    made = distiller(lm, items, tmp_path)
    with torch.no_grad():
        _, wanted, right = made.fusion(made.packer(items))
    assert made.exact(items) == [bool(same[these].all()) for these, same in zip(wanted, right, strict=True)]


def test_a_resumed_run_ends_where_the_whole_run_does(lm: LanguageModel, items: list[Spoken], tmp_path: Path) -> None:
    whole = distiller(lm, items, tmp_path / "whole")
    whole.run()

    cut = distiller(lm, items, tmp_path / "cut")
    batch = cut.recipe.batch

    def interrupted(step: int, pictures: int) -> Any:
        if step == 12:
            raise KeyboardInterrupt
        return batch(step, pictures)

    cut.recipe.batch = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = distiller(lm, items, tmp_path / "cut")
    resumed.restore()
    resumed.run()
    assert resumed.progress == whole.progress
    for name, value in whole.trained.items():
        assert torch.allclose(value, resumed.trained[name], atol=1e-6), name


def test_each_pass_hears_every_recording_once_and_alike_whenever_asked(items: list[Spoken]) -> None:
    recipe = Recordings(items, items[:1], seed=1)
    assert {id(item) for step in range(2) for item in recipe.batch(step, 2)} == {id(item) for item in items}
    assert recipe.batch(5, 3) == Recordings(items, items[:1], seed=1).batch(5, 3)


def test_recordings_need_some_that_are_held_out(items: list[Spoken]) -> None:
    with pytest.raises(InputError, match="0 held out"):
        Recordings(items, [], seed=1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ('voices = ["af_heart"]', "kept for the evaluation"),
        ("voices = []", "speech.voices"),
        ('voices = ["joe"]\n[lora]\nrank = 4', "frozen"),
        ('voices = ["joe"]\nspeed = 1.0', "speech.speed"),
    ],
)
def test_mistakes_in_the_configuration_are_named(tmp_path: Path, changed: str, said: str) -> None:
    path = tmp_path / "spoken.toml"
    path.write_text(f"[optimizer]\nsteps = 1\n[speech]\n{changed}\n", "utf-8")
    with pytest.raises(InputError, match=said):
        SpokenConfig.read(path)


def test_the_configuration_in_the_repository_is_read() -> None:
    shipped = Path(__file__).parents[3] / "configs" / "spoken.toml"
    assert SpokenConfig.read(shipped).lora.rank == 0
