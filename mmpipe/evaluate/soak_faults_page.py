"""Faults of the page: hostile files, and visitors who begin something and do not stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from mmpipe.evaluate.soak_faults import Fault, Target
from mmpipe.evaluate.soak_page import API, PageError, Visitor, text_of
from mmpipe.evaluate.soak_wire import Raw

if TYPE_CHECKING:
    import httpx

_PATIENCE_S = 75.0
_LEAVES_AFTER_S = (0.0, 3.0)


@asynccontextmanager
async def _client(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    import httpx

    transport = httpx.AsyncHTTPTransport(local_address=target.address)
    url = f"http://127.0.0.1:{target.port}"
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=_PATIENCE_S) as http:
        yield http


@asynccontextmanager
async def _visitor(target: Target) -> AsyncIterator[Visitor]:
    async with _client(target) as http, Visitor(http, target.functions).open(beats=target.beats) as visitor:
        yield visitor


def _told(shown: Any, when_taken: str) -> str:
    return "refused with a message" if "mm-problem" in text_of(shown) else when_taken


async def _recording(target: Target, name: str, content: bytes) -> str:
    """Upload it, and have it translated whatever the page says of it."""
    async with _visitor(target) as visitor:
        try:
            upload = await visitor.upload(content, name)
            taken = await visitor.call("take recording", [upload])
            shown = await visitor.call("translate", [taken[0] or upload, "en", "pt", False])
        except PageError:
            return "refused"
        return _told(shown[0], "taken")


async def _picture(target: Target, name: str, content: bytes) -> str:
    """Upload it, and ask about it whatever the page says of it."""
    async with _visitor(target) as visitor:
        try:
            upload = await visitor.upload(content, name)
            taken = await visitor.call("take pictures", [[upload]])
            if not taken[0] and target.rng.random() < 0.5:
                return _told(taken[1], "refused")
            shown = await visitor.call("ask", [{"text": "What is this?"}, taken[0] or [upload], "", False])
        except PageError:
            return "refused"
        return _told(shown[0], "taken")


async def hostile_recording(target: Target) -> str:
    """A playlist, a clock that jumps, a rate that cannot be."""
    return await _recording(target, *target.files.media(target.rng))


async def hostile_picture(target: Target) -> str:
    """A picture that is small as a file and large in memory."""
    return await _picture(target, *target.files.picture(target.rng))


async def damaged_recording(target: Target) -> str:
    """A recording that is cut off or has wrong bytes in it."""
    return await _recording(target, *target.files.damaged_sound(target.rng))


async def damaged_picture(target: Target) -> str:
    """A picture that is cut off or has wrong bytes in it."""
    return await _picture(target, *target.files.damaged_picture(target.rng))


async def forged_path(target: Target) -> str:
    """Files that were never uploaded."""
    path = target.rng.choice(("/etc/hostname", "../../etc/hostname", "/dev/zero", "/proc/self/environ", "\0", ""))
    async with _visitor(target) as visitor:
        try:
            shown = await visitor.call("take recording", [{"path": path, "name": "talk.wav"}])
        except PageError:
            return "refused"
        return _told(shown[1], "taken")


async def abandoned_upload(target: Target) -> str:
    """The first half of a file."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "2000000"}
    async with Raw(target.port, target.address) as raw:
        await raw.request("POST", f"{API}/upload", headers)
        await raw.send(head + bytes(500_000))
        found = await raw.answer(1.0)
    return "abandoned" if found == "no answer" else found


async def abandoned_job(target: Target) -> str:
    """A recording that is begun, and nobody waits for it."""
    async with _visitor(target) as visitor:
        upload = await visitor.upload(target.files.sound, "talk.ogg")
        await _leave(target, visitor, "translate", [upload, "en", "pt", True])
    return "abandoned"


async def abandoned_question(target: Target) -> str:
    """A question that is asked, and nobody waits for the answer."""
    async with _visitor(target) as visitor:
        upload = await visitor.upload(target.rng.choice(target.files.pictures), "picture.jpg")
        await _leave(target, visitor, "ask", [{"text": "What is this?"}, [upload], "", False])
    return "abandoned"


async def _leave(target: Target, visitor: Visitor, function: str, data: list[Any]) -> None:
    """Begin, and be gone: at once, or after having listened for a moment."""
    if target.rng.random() < 0.5:
        await visitor.join(function, data)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(target.rng.uniform(*_LEAVES_AFTER_S)):
            await visitor.call(function, data)


FAULTS = (
    Fault("hostile recording", 30, hostile_recording),
    Fault("hostile picture", 30, hostile_picture),
    Fault("damaged recording", 30, damaged_recording),
    Fault("damaged picture", 15, damaged_picture),
    Fault("forged path", 20, forged_path),
    Fault("abandoned upload", 20, abandoned_upload),
    Fault("abandoned job", 120, abandoned_job),
    Fault("abandoned question", 45, abandoned_question),
)
