from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from mmpipe.errors import MissingDependencyError, WeightsError
from mmpipe.types import Image
from mmpipe.vision.efficientnet import EfficientNetLite
from mmpipe.vision.efficientnet_net import build, shape


@pytest.fixture(scope="module")
def expected(pictures: Path) -> dict[str, set[str]]:
    with (pictures / "names.tsv").open(encoding="utf-8") as stream:
        return {name: set(labels.split("|")) for name, labels in csv.reader(stream, delimiter="\t")}


@pytest.mark.parametrize("weights", ["efficientnet-lite0", "efficientnet-lite2"])
def test_real_photographs_are_called_what_they_show(photos, expected, weights):
    encoder = EfficientNetLite(weights, device="cpu")
    features = encoder.run(list(photos.values()))
    called = {name: encoder.labels[int(np.argmax(f.logits))] for name, f in zip(photos, features, strict=True)}
    assert {name for name in expected if called[name] not in expected[name]} == set(), called


def test_a_picture_alone_and_in_a_batch_has_the_same_features(lite0, photos):
    batch = lite0.run(list(photos.values())[:4])
    for image, together in zip(photos.values(), batch, strict=False):
        (alone,) = lite0.run([image])
        np.testing.assert_allclose(alone.spatial, together.spatial, atol=2e-4)
        np.testing.assert_allclose(alone.logits, together.logits, atol=2e-4)


def test_features_have_the_promised_shapes_and_relations(lite0, photos):
    (features,) = lite0.run([photos["cat.jpg"]])
    assert (features.pooled.shape, features.spatial.shape, features.logits.shape) == ((1280,), (1280, 7, 7), (1000,))
    assert all(array.dtype == np.float32 for array in (features.pooled, features.spatial, features.logits))
    assert all(array.base is None for array in (features.pooled, features.spatial, features.logits))
    np.testing.assert_allclose(features.pooled, features.spatial.mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(
        lite0.classifier_weight @ features.pooled + lite0.classifier_bias, features.logits, atol=1e-4
    )
    assert lite0.classifier_weight.shape == (1000, 1280)
    assert len(lite0.labels) == 1000


def test_any_proportions_will_do(lite0):
    tall, wide, dot = (Image(np.full((h, w, 3), 99, np.uint8)) for h, w in ((900, 3), (3, 900), (1, 1)))
    for features in lite0.run([tall, wide, dot]):
        assert np.isfinite(features.logits).all()


def test_identity_tells_encoders_apart(lite0):
    assert lite0.identity == EfficientNetLite("efficientnet-lite0", device="cpu").identity
    assert lite0.identity != EfficientNetLite("efficientnet-lite2", device="cpu").identity


def tiny_state(widths=(2, 3, 3, 4, 5, 6, 7, 8)) -> dict[str, torch.Tensor]:
    """The weights of a net of the same build with a few channels, at random, and a classifier of ten classes."""
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def layer(conv: str, norm: str, *size: int) -> None:
        state[f"{conv}.weight"] = torch.randn(size)
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{part}"] = torch.rand(size[0]) + 0.5

    layer("_conv_stem", "_bn0", widths[0], 3, 3, 3)
    before = widths[0]
    for i, width in enumerate(widths[1:]):
        at = f"_blocks.{i}."
        if i:
            layer(f"{at}_expand_conv", f"{at}_bn0", 2 * before, before, 1, 1)
        inner = 2 * before if i else before
        layer(f"{at}_depthwise_conv", f"{at}_bn1", inner, 1, 5 if i % 2 else 3, 5 if i % 2 else 3)
        layer(f"{at}_project_conv", f"{at}_bn2", width, inner, 1, 1)
        before = width
    layer("_conv_head", "_bn1", 9, before, 1, 1)
    return state


def test_odd_sizes_are_padded_as_tensorflow_does():
    # 1/32 rounded up; one stage fewer than the real ones, so 1/16
    net = build(tiny_state())
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 33, 65)).shape[:2] == (1, 9)
        assert net(torch.zeros(1, 3, 64, 33)).shape[2:] == (2, 2)


def test_folded_normalization_gives_what_the_layers_one_by_one_give():
    state = tiny_state((2, 3))
    state["_conv_head.weight"] = torch.randn(9, 3, 1, 1)
    x = torch.randn(1, 3, 8, 8)

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return torch.nn.functional.batch_norm(y, *(state[f"{name}.{key}"] for key in keys), eps=1e-3)

    def conv(y: torch.Tensor, name: str, **how: int) -> torch.Tensor:
        return torch.nn.functional.conv2d(y, state[f"{name}.weight"], **how)

    # TensorFlow's SAME at stride 2 and an even size: one row and column of zeros, below and right.
    y = norm(conv(torch.nn.functional.pad(x, (0, 1, 0, 1)), "_conv_stem", stride=2), "_bn0").clamp(0, 6)
    y = norm(conv(y, "_blocks.0._depthwise_conv", padding=1, groups=2), "_blocks.0._bn1").clamp(0, 6)
    y = norm(conv(y, "_blocks.0._project_conv"), "_blocks.0._bn2")
    y = norm(conv(y, "_conv_head"), "_bn1").clamp(0, 6)
    with torch.inference_mode():
        torch.testing.assert_close(build(state)(x), y, atol=1e-4, rtol=1e-4)
    assert shape(state) == (1, 3)


def test_a_file_that_is_no_model_is_refused_without_running_it(tmp_path):
    (tmp_path / "text.pth").write_text("not a pickle")
    torch.save({"_fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(Path("a pickle of something that is code"), tmp_path / "code.pth")
    for name in ("text.pth", "other.pth", "list.pth", "code.pth", "missing.pth"):
        with pytest.raises(WeightsError, match=name):
            EfficientNetLite(tmp_path / name)


def test_without_torch_the_error_has_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mmpipe\[qa\]'"):
        EfficientNetLite("efficientnet-lite0")
