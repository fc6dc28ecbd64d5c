"""A client of ``mmpipe serve``: sound in, events out, through any number of lost connections.

::

    async with LiveClient("ws://127.0.0.1:8765", ClientOptions(to="pt")) as client:
        sending = asyncio.create_task(send_file(client, "talk.wav"))
        async for event in client:
            print(event)

The protocol is in ``docs/protocol.md``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from mmpipe.audio import media
from mmpipe.errors import MmpipeError
from mmpipe.extras import require
from mmpipe.logs import without_text
from mmpipe.pipelines.live.events import (
    Committed,
    Ended,
    Event,
    Interrupted,
    LanguageDetected,
    Partial,
    Spoken,
    Stats,
    Translated,
    Warned,
)
from mmpipe.serve.encoder import PacketEncoder
from mmpipe.serve.packets import SoundFormat
from mmpipe.serve.wire import PATH, Close, Packet, ProtocolError, from_pcm16
from mmpipe.types import SPEECH_RATE_HZ, Audio, Word

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from websockets.asyncio.client import ClientConnection

logger = logging.getLogger(__name__)
#: For the WebSocket library, which at debug level writes down every message: the key, and what was said.
_wire_logger = logging.getLogger(f"{__name__}.wire")
_wire_logger.setLevel(logging.INFO)

#: Pauses before the attempts to connect again; each is shortened by chance, so that clients do not come all at once.
RETRY_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0)
#: Sound kept for sending again. Beyond it :meth:`LiveClient.send` waits.
MAX_UNACKNOWLEDGED_S = 60.0
#: Events that nobody has read yet. Beyond it the connection is not read.
MAX_UNREAD = 256
ACK_EVERY_EVENTS = 16
BLOCK_S = 0.1  # of a file

_KINDS: dict[str, type[Event]] = {
    kind.type: kind
    for kind in (Partial, Committed, Translated, Spoken, Interrupted, LanguageDetected, Stats, Warned, Ended)
}


class ConnectionLostError(MmpipeError):
    """The server cannot be reached, or not any more."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What is sent, and what is wanted. See the message ``start`` in ``docs/protocol.md``."""

    source: str | None = None  # language that is spoken; None: detect it
    to: str | None = None  # language to translate into
    between: tuple[str, str] | None = None
    speak: bool = False
    voice: str | None = None
    speed: float = 1.0
    headphones: bool = False
    barge_in: bool | None = None
    hotwords: tuple[str, ...] = ()
    partials: bool = True
    drafts: bool = True
    stats: bool = True
    format: Literal["pcm16", "opus"] = "pcm16"
    rate_hz: int = SPEECH_RATE_HZ  # of the samples given to ``send``

    def message(self) -> dict[str, Any]:
        found = {"type": "start", **asdict(self)}
        if self.format == "opus":
            del found["rate_hz"]  # the encoder turns any into its own
        return found


class LiveClient:
    """One session. A context manager, and an iterator over its events, which ends after :class:`Ended`.

    Connections that are lost are opened again, and the session goes on where it was: no sound and no event is lost
    or repeated.

    Raises, from any method:
        ProtocolError: the server refuses the session or ends it; ``close`` says why.
        ConnectionLostError: it cannot be reached, or not any more, after all attempts.
        MissingDependencyError: the extra "client" is not installed.
    """

    def __init__(
        self,
        url: str,
        options: ClientOptions | None = None,
        api_key: str | None = None,
        *,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    ) -> None:
        """``url``: as "ws://host:port" or "wss://host"; the path is added when it is missing."""
        self.options = options or ClientOptions()
        self.session: str | None = None  # its name in the server's log
        self.reconnections = 0
        self._library = require("websockets.asyncio.client", "client", "The client")
        self._url = url if url.rstrip("/").endswith(PATH) else url.rstrip("/") + PATH
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._delays_s = retry_delays_s
        self._encoder = PacketEncoder(SoundFormat(self.options.format, self.options.rate_hz))
        self._token = ""
        self._idle_s = 30.0
        self._kept: deque[tuple[Packet, float]] = deque()  # packets that the server has not acknowledged, their length
        self._kept_s = 0.0
        self._next_packet = 0  # to send
        self._finished = False
        self._playing: bool | None = None  # what the caller said of its player,
        self._told_playing: bool | None = None  # and the server was told
        self._last_event = 0
        self._interrupted_at = 0  # event before which nothing is to be played any more
        self._since_ack = 0
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(MAX_UNREAD)
        self._work = asyncio.Event()  # there may be something to send
        self._room = asyncio.Event()
        self._attempts = 0  # to connect, since the last one that brought anything
        self._over = False
        self._failure: MmpipeError | None = None
        self._opened: asyncio.Future[None] | None = None
        self._runner: asyncio.Task[None] | None = None

    # --- what the caller does ---

    async def send(self, samples: NDArray[np.float32]) -> None:
        """Say ``samples``, float32 of shape (n,) within -1..1. Waits while too much is unacknowledged.

        Nobody hears what is said after the session has ended: see :attr:`over`.
        """
        if not self._over:
            self._keep(self._encoder.feed(samples), len(samples) / self.options.rate_hz)
        while self._kept_s > MAX_UNACKNOWLEDGED_S and not self._over:
            self._room.clear()
            await self._room.wait()
        if self._failure is not None:
            raise self._failure

    async def finish(self) -> None:
        """No more will be said. The events of what was said still come."""
        if not self._finished:
            self._keep(self._encoder.flush(), 0.0)
            self._finished = True
            self._work.set()

    @property
    def over(self) -> bool:
        """Whether the session has ended, or failed."""
        return self._over

    def note_playing(self, playing: bool) -> None:
        """Tell the server that the voice is being played now, or is not: it does not listen to its own voice.

        Who never tells need not: the server then reckons how long a player takes for what it was sent. Who tells that
        it plays must tell when it has ended.
        """
        self._playing = playing
        self._work.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while (event := await self._events.get() if not (self._over and self._events.empty()) else None) is not None:
            if not (isinstance(event, Spoken) and event.seq < self._interrupted_at):
                return event
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def close(self) -> None:
        """Leave. What was not finished is dropped."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._opened = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._run())
        try:
            await self._opened
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- connections ---

    def _keep(self, packets: Iterable[Packet], duration_s: float) -> None:
        made = list(packets)
        self._kept += [(packet, duration_s / len(made)) for packet in made]
        self._kept_s += duration_s if made else 0.0
        self._work.set()

    async def _run(self) -> None:
        try:
            await self._stay_connected()
        except MmpipeError as error:
            self._fail(error)
        except Exception as error:
            logger.error("the client failed\n%s", without_text(error))
            self._fail(ConnectionLostError(f"The client failed: {error!r}. This is a bug."))
        finally:
            self._over = True
            self._room.set()
            if not self._events.full():  # else the reader sees that it is over when it has read what there is
                self._events.put_nowait(None)

    def _fail(self, error: MmpipeError) -> None:
        self._failure = error
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)

    async def _stay_connected(self) -> None:
        while True:
            try:
                if await self._connect():
                    return
                reason: object = "the connection was lost"
            except (OSError, TimeoutError, self._exceptions) as error:
                reason = error
            except ProtocolError as error:
                if not error.close.resumable:
                    raise
                reason = error
            if self.session is None:
                raise ConnectionLostError(f"{self._url} cannot be reached: {reason}. Is the server running?")
            if self._attempts == len(self._delays_s):
                raise ConnectionLostError(f"{self._url} cannot be reached any more: {reason}.")
            logger.info("connecting again after: %s", reason)
            delay_s = self._delays_s[self._attempts]
            self._attempts += 1
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311  (no secret)

    @property
    def _exceptions(self) -> type[Exception]:
        found: type[Exception] = require("websockets.exceptions", "client", "The client").WebSocketException
        return found

    async def _connect(self) -> bool:
        """One connection, until it is over. Gives whether the session is."""
        connecting = self._library.connect(
            self._url, additional_headers=self._headers, compression=None, max_size=1_000_000, logger=_wire_logger
        )
        async with connecting as connection:
            await connection.send(json.dumps(self._opening()))
            self._started(await self._control(connection))
            sending = asyncio.create_task(self._send_all(connection))
            try:
                await self._receive_all(connection)
            except asyncio.CancelledError:
                await connection.close()  # with the code for leaving for good
                raise
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        return self._over

    def _opening(self) -> dict[str, Any]:
        if self.session is None:
            return self.options.message()
        return {"type": "resume", "session": self.session, "token": self._token, "last_event": self._last_event}

    def _started(self, message: dict[str, Any]) -> None:
        self.reconnections += self.session is not None
        self.session, self._token, self._idle_s = message["session"], message["token"], message["idle_s"]
        self._acknowledged(message["next_packet"])
        self._next_packet = message["next_packet"]
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def _acknowledged(self, next_packet: int) -> None:
        while self._kept and self._kept[0][0].seq < next_packet:
            self._kept_s -= self._kept.popleft()[1]
        self._room.set()

    async def _control(self, connection: ClientConnection) -> dict[str, Any]:
        """The next message, where it must be JSON."""
        return _parsed(await connection.recv())

    async def _send_all(self, connection: ClientConnection) -> None:
        finished = False
        self._told_playing = None  # a server takes nothing for granted after a connection was lost
        while True:
            self._work.clear()
            if self._told_playing != self._playing:
                await connection.send(json.dumps({"type": "playing", "playing": self._playing}))
                self._told_playing = self._playing
            for packet in [packet for packet, _ in self._kept if packet.seq >= self._next_packet]:
                await connection.send(packet.pack())
                self._next_packet = packet.seq + 1
            if self._finished and not finished and self._next_packet == self._encoder.packets:
                await connection.send(json.dumps({"type": "finish", "packets": self._encoder.packets}))
                finished = True
            try:
                async with asyncio.timeout(self._idle_s / 3):
                    await self._work.wait()
            except TimeoutError:
                await connection.send('{"type": "ping"}')

    async def _receive_all(self, connection: ClientConnection) -> None:
        while not self._over:
            message = await self._control(connection)
            self._attempts = 0
            if message["type"] == "ack":
                self._acknowledged(message["next_packet"])
            elif message["type"] in _KINDS:
                event = await self._event(connection, message)
                if isinstance(event, Interrupted):
                    self._interrupted_at = event.seq
                await self._events.put(event)
                self._last_event = event.seq
                self._over = isinstance(event, Ended)
                self._since_ack += 1
                if self._over or isinstance(event, Spoken) or self._since_ack >= ACK_EVERY_EVENTS:
                    self._since_ack = 0
                    await connection.send(json.dumps({"type": "ack", "event": event.seq}))

    async def _event(self, connection: ClientConnection, message: dict[str, Any]) -> Event:
        """The event that ``message`` announces, with its sound."""
        kind = _KINDS[message["type"]]
        values = {field.name: message[field.name] for field in fields(kind) if field.name in message}
        if kind is Committed:
            values["words"] = tuple(Word(**word) for word in message["words"])
        if kind is Spoken:
            samples = np.zeros(message["samples"], np.float32)
            received = 0
            while received < len(samples):
                chunk = await connection.recv()
                if isinstance(chunk, str):
                    _parsed(chunk)  # the server gives up in the middle
                    raise ProtocolError(Close.BAD_MESSAGE, "The server sent text where the sound of an event goes on.")
                packet = Packet.unpack(chunk)
                piece = from_pcm16(packet.payload)
                samples[packet.position : packet.position + len(piece)] = piece
                received += len(piece)
            values["audio"] = Audio(samples, message["rate_hz"])
        return kind(**values)


def _parsed(text: str | bytes) -> dict[str, Any]:
    """
    Raises:
        ProtocolError: it is an error of the server.
    """
    message: dict[str, Any] = json.loads(text)
    if message["type"] == "error":
        raise ProtocolError(Close[message["code"].upper()], message["text"], message.get("retry_after_s"))
    return message


async def send_file(client: LiveClient, source: media.Source) -> None:
    """Send a recording, or a stream that ffmpeg can open, at the pace at which it is spoken, then finish.

    Where ``source`` fails the session is finished, too, so that its events come to an end. Where the session ends
    first, the rest is not sent.

    Raises:
        MediaError: ``source`` cannot be read.
        ProtocolError, ConnectionLostError: as :class:`LiveClient`.
    """
    loop = asyncio.get_running_loop()
    blocks = media.stream(source, client.options.rate_hz, block_s=BLOCK_S)
    due_s = loop.time()
    try:
        while not client.over and (block := await asyncio.to_thread(next, blocks, None)) is not None:
            due_s += block.duration_s  # a block can be sent when it has been spoken
            await asyncio.sleep(due_s - loop.time())
            await client.send(block.samples)
    finally:
        await client.finish()
