"""A visitor of ``mmpipe demo`` without a browser: uploads, and the page's own functions over Gradio's queue."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpipe.errors import MmpipeError

if TYPE_CHECKING:
    import httpx

API = "/gradio_api"
#: What each thing that a visitor does is called here: the ``elem_id`` of what is clicked or filled, and the event.
FUNCTIONS = {
    "take recording": ("rec-given", "upload"),
    "translate": ("rec-start", "click"),
    "take pictures": ("pic-list", "upload"),
    "ask": ("pic-question", "submit"),
}


class PageError(MmpipeError):
    """The page does not do what a visitor wants."""


@dataclass(frozen=True, slots=True)
class PageFunction:
    """One of the functions behind the page: its number, and the number of the component that calls it."""

    index: int
    trigger: int


def find_functions(config: Mapping[str, Any]) -> dict[str, PageFunction]:
    """The functions that :data:`FUNCTIONS` names, in what ``/config`` says.

    Args:
        config: the JSON of ``/config``.

    Returns:
        The functions by their names here.

    Raises:
        PageError: the page has no such function.
    """
    ids = {component["props"].get("elem_id"): component["id"] for component in config["components"]}
    found: dict[str, PageFunction] = {}
    for name, (element, event) in FUNCTIONS.items():
        trigger = ids.get(element)
        index = next(
            (one["id"] for one in config["dependencies"] if [trigger, event] in map(list, one["targets"])), None
        )
        if trigger is None or index is None:
            raise PageError(f"The page has nothing that is called by {event!r} of {element!r}: it has changed.")
        found[name] = PageFunction(index, trigger)
    return found


class Visitor:
    """One visit: a heartbeat that says that the page is open, and one call of a function after the other."""

    def __init__(self, http: httpx.AsyncClient, functions: Mapping[str, PageFunction]) -> None:
        self.session_hash = secrets.token_hex(6)
        self._http, self._functions = http, functions

    @asynccontextmanager
    async def open(self, *, beats: bool = True) -> AsyncIterator[Visitor]:
        """The page is open for as long as the context is.

        Args:
            beats: without a heartbeat the server does not hear of it when the page is closed.
        """
        beating = asyncio.create_task(self._beat() if beats else asyncio.sleep(0))
        try:
            yield self
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        """Holds the heartbeat; opens it again where it is lost, as a browser does."""
        import httpx

        while True:
            with suppress(httpx.HTTPError):
                async with self._http.stream("GET", f"{API}/heartbeat/{self.session_hash}", timeout=None) as beats:
                    async for _ in beats.aiter_raw():
                        pass
            await asyncio.sleep(1)

    async def upload(self, content: bytes, name: str) -> dict[str, str]:
        """Send a file.

        Returns:
            What components of the page hold of it: ``path`` and ``name``.

        Raises:
            httpx.HTTPError: it was refused, or the connection was lost.
        """
        answer = await self._http.post(f"{API}/upload", files={"files": (name, content)})
        answer.raise_for_status()
        return {"path": answer.json()[0], "name": name}

    async def join(self, function: str, data: Sequence[Any]) -> None:
        """Put a call into the queue, and do not wait for what comes of it.

        Raises:
            httpx.HTTPError: it was refused, or the connection was lost.
        """
        one = self._functions[function]
        body = {
            "data": list(data),
            "fn_index": one.index,
            "trigger_id": one.trigger,
            "session_hash": self.session_hash,
            "event_data": None,
        }
        (await self._http.post(f"{API}/queue/join", json=body)).raise_for_status()

    async def call(self, function: str, data: Sequence[Any]) -> list[Any]:
        """Call a function of the page.

        Returns:
            What its outputs show in the end.

        Raises:
            PageError: it failed.
            httpx.HTTPError: it was refused, or the connection was lost.
        """
        await self.join(function, data)
        shown = _Outputs()
        async with self._http.stream(
            "GET", f"{API}/queue/data", params={"session_hash": self.session_hash}
        ) as messages:
            messages.raise_for_status()
            async for line in messages.aiter_lines():
                if line.startswith("data:") and shown.take(json.loads(line.removeprefix("data:"))):
                    return shown.values
        raise PageError(f"The page stopped answering in the middle of {function!r}.")


class _Outputs:
    """What the outputs of a call show, from the messages of Gradio's queue: first whole, then only what changed."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def take(self, message: Mapping[str, Any]) -> bool:
        """Whether that was the last message.

        Raises:
            PageError: the call failed.
        """
        kind, output = message.get("msg"), message.get("output") or {}
        if kind == "process_generating" and message.get("success", True):
            self._update(output.get("data", []))
        elif kind in ("process_completed", "process_generating", "unexpected_error", "server_stopped"):
            if kind != "process_completed" or not message.get("success"):
                raise PageError(f"A function of the page failed: {output.get('error') or message.get('message')}")
            if not self.values:
                self._update(output.get("data", []))
            return True
        return False

    def _update(self, data: Sequence[Any]) -> None:
        if not self.values:
            self.values = list(data)
            return
        for n, changes in enumerate(data):
            if isinstance(changes, list):
                for action, path, value in changes:
                    self.values[n] = changed(self.values[n], action, path, value)


def changed(whole: Any, action: str, path: Sequence[Any], value: Any) -> Any:
    """``whole`` after one of the changes in which Gradio says what is new.

    Args:
        whole: any JSON value.
        action: "replace", "append" (to a text), "add" or "delete".
        path: the keys that lead to what changes; none: it is ``whole`` itself.
        value: what comes in its place, or to its end.

    Returns:
        The new value; ``whole`` may have become it.
    """
    if not path:
        return whole + value if action == "append" else value
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    last = path[-1]
    if action == "replace":
        inner[last] = value
    elif action == "append":
        inner[last] += value
    elif action == "delete":
        del inner[last]
    elif isinstance(inner, list):
        inner.insert(int(last), value)
    else:
        inner[last] = value
    return whole


def text_of(output: Any) -> str:
    """The HTML that an output shows: the value itself, or what an update says of it."""
    if isinstance(output, Mapping):
        output = output.get("value")
    return output if isinstance(output, str) else ""
