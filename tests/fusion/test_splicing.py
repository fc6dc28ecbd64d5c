import pytest
import torch

from mmpipe.errors import InputError
from mmpipe.fusion.splicing import pad_left, splice


def test_media_land_on_their_placeholders_in_order() -> None:
    embeddings = torch.zeros(2, 5, 3)
    placeholders = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0]]).bool()
    a, b, c = torch.full((2, 3), 1.0), torch.full((1, 3), 2.0), torch.full((1, 3), 3.0)
    spliced = splice(embeddings, placeholders, [[a, b], [c]])
    assert spliced[..., 0].tolist() == [[0, 1, 1, 0, 2], [0, 0, 0, 3, 0]]


def test_the_mask_survives_padding_on_the_left() -> None:
    rows = [torch.zeros(3, 2), torch.zeros(5, 2)]
    marks = [torch.tensor([[0.0], [1.0], [0.0]]), torch.tensor([[0.0], [0.0], [0.0], [1.0], [1.0]])]
    placeholders = pad_left(marks).embeddings[..., 0].bool()
    spliced = splice(pad_left(rows).embeddings, placeholders, [[torch.ones(1, 2)], [torch.full((2, 2), 2.0)]])
    assert spliced[..., 0].tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 2, 2]]


def test_padding_is_on_the_left_and_positions_begin_at_zero() -> None:
    batch = pad_left([torch.ones(2, 4), torch.ones(4, 4)])
    assert batch.attended.tolist() == [[False, False, True, True], [True] * 4]
    assert batch.positions.tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]
    assert batch.embeddings.sum(-1).tolist() == [[0, 0, 4, 4], [4, 4, 4, 4]]


def test_another_number_of_embeddings_is_refused_with_both_numbers() -> None:
    embeddings, placeholders = torch.zeros(2, 4, 3), torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0]]).bool()
    with pytest.raises(InputError, match=r"prompt 2 of 2 stand 2 placeholders .* 3 embeddings"):
        splice(embeddings, placeholders, [[torch.ones(1, 3)], [torch.ones(3, 3)]])
    with pytest.raises(InputError, match=r"1 placeholders .* 0 embeddings"):
        splice(embeddings, placeholders, [[], [torch.ones(2, 3)]])


def test_embeddings_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"width 5.*takes 3"):
        splice(torch.zeros(1, 2, 3), torch.tensor([[True, False]]), [[torch.ones(1, 5)]])


def test_gradients_reach_the_projector() -> None:
    projected = torch.ones(1, 3, requires_grad=True)
    splice(torch.zeros(1, 2, 3), torch.tensor([[True, False]]), [[projected]]).sum().backward()
    assert projected.grad is not None
    assert projected.grad.tolist() == [[1.0, 1.0, 1.0]]
