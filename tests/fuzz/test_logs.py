"""What a server's log says of faults is noticed, however it is written."""

from __future__ import annotations

import pytest
from fuzzing.outcome import TOLERATED
from fuzzing.watched import faults_in_log

SITE = "/venv/lib/python3.11/site-packages"


def traceback(*files: str, header: bool = True) -> str:
    frames = "".join(f'  File "{file}", line 7, in run\n    run()\n' for file in files)
    return ("Traceback (most recent call last):\n" if header else "") + frames + "ValueError: no\n"


@pytest.mark.parametrize("header", [True, False])
def test_a_traceback_of_mmpipe(header: bool) -> None:
    log = "INFO x: begins\nERROR uvicorn.error: Exception in ASGI application\n"
    found = list(faults_in_log(log + traceback("/a/mmpipe/demo/app.py", header=header) + "INFO x: goes on\n"))
    assert [(one.kind, one.what) for one in found] == [("internal error", "a traceback: ValueError in app.py:7 run")]


def test_a_traceback_of_gradio_is_told_apart() -> None:
    log = traceback("/a/mmpipe/serve/guard.py", f"{SITE}/gradio/routes.py", f"{SITE}/starlette/requests.py")
    assert [one.kind for one in faults_in_log(log)] == [TOLERATED]


def test_what_gradio_handed_on_to_mmpipe_is_ours() -> None:
    log = traceback(f"{SITE}/gradio/routes.py", "/a/mmpipe/demo/recording_tab.py")
    assert [one.kind for one in faults_in_log(log)] == ["internal error"]


def test_an_error_without_a_traceback_is_the_same_whatever_its_numbers() -> None:
    log = "ERROR mmpipe: session 0a1b2c3d, {} s\nWARNING mmpipe: x\n"
    log = log.format(3) + log.format(4)
    assert [one.what for one in faults_in_log(log)] == ["logged: ERROR mmpipe: session #, # s"]
