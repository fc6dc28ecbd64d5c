"""The process behind the page."""

from __future__ import annotations

import gc

import pytest

from mmpipe.demo.server import _nothing_is_garbage


def test_garbage_is_left_only_while_the_page_is_built() -> None:
    collected = []
    with pytest.raises(ZeroDivisionError), _nothing_is_garbage():
        collected.append(gc.isenabled())
        1 / 0  # noqa: B018
    collected.append(gc.isenabled())
    assert collected == [False, True]
    gc.unfreeze()  # what the tests made until now
