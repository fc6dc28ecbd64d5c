import pytest
import torch

from mmpipe.errors import InputError
from mmpipe.fusion.splicing import splice


def test_media_land_on_their_placeholders_in_order() -> None:
    embeddings = torch.zeros(2, 5, 3)
    placeholders = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0]]).bool()
    a, b, c = torch.full((2, 3), 1.0), torch.full((1, 3), 2.0), torch.full((1, 3), 3.0)
    spliced = splice(embeddings, placeholders, [[a, b], [c]])
    assert spliced[..., 0].tolist() == [[0, 1, 1, 0, 2], [0, 0, 0, 3, 0]]


def test_another_number_of_embeddings_is_refused_with_both_numbers() -> None:
    embeddings, placeholders = torch.zeros(2, 4, 3), torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0]]).bool()
    with pytest.raises(InputError, match=r"prompt 2 of 2 stand 2 placeholders .* 3 embeddings"):
        splice(embeddings, placeholders, [[torch.ones(1, 3)], [torch.ones(3, 3)]])
    with pytest.raises(InputError, match=r"1 placeholders .* 0 embeddings"):
        splice(embeddings, placeholders, [[], [torch.ones(2, 3)]])


def test_embeddings_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"size 5.*takes 3"):
        splice(torch.zeros(1, 2, 3), torch.tensor([[True, False]]), [[torch.ones(1, 5)]])


def test_gradients_reach_the_projector() -> None:
    projected = torch.ones(1, 3, requires_grad=True)
    splice(torch.zeros(1, 2, 3), torch.tensor([[True, False]]), [[projected]]).sum().backward()
    assert projected.grad is not None
    assert projected.grad.tolist() == [[1.0, 1.0, 1.0]]
