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
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from mmpipe.audio import media
from mmpipe.errors import MmpipeError
from mmpipe.extras import require
from mmpipe.logs import without_text
from mmpipe.pipelines.live.events import EndedEvent, Event, InterruptedEvent, SpokenEvent
from mmpipe.serve.encoder import PacketEncoder
from mmpipe.serve.packets import SoundFormat
from mmpipe.serve.server_messages import (
    MAX_MESSAGE_BYTES,
    Acknowledged,
    Nothing,
    ServerProtocolError,
    SpokenHead,
    Started,
    parse,
    refusal,
)
from mmpipe.serve.wire import PATH, Close, Packet, ProtocolError
from mmpipe.types import SPEECH_RATE_HZ

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
MAX_UNREAD_BYTES = 64_000_000
ACK_EVERY_EVENTS = 16
BLOCK_S = 0.1  # of a file
#: For the server to answer ``start`` or ``resume``: it may have a voice to load.
ANSWER_WITHIN_S = 60.0


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
    """One session. A context manager, and an iterator over its events, which ends after :class:`EndedEvent`.

    Connections that are lost are opened again, and the session goes on where it was: no sound and no event is lost
    or repeated.

    Raises, from any method:
        ProtocolError: the server refuses the session or ends it; ``close`` says why.
        ConnectionLostError: it cannot be reached, or not any more, after all attempts.
        ServerProtocolError: it says what is not mmpipe's protocol.
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
        self._events: asyncio.Queue[tuple[Event, int] | None] = asyncio.Queue(MAX_UNREAD)  # with their bytes
        self._unread_bytes = 0
        self._read = asyncio.Event()  # something of that was read
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
        while (found := await self._events.get() if not (self._over and self._events.empty()) else None) is not None:
            event, size_bytes = found
            self._unread_bytes -= size_bytes
            self._read.set()
            if not (isinstance(event, SpokenEvent) and event.seq < self._interrupted_at):
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
        except ServerProtocolError as error:
            self._fail(ServerProtocolError(f"The server at {self._url} does not speak mmpipe's protocol: {error}."))
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
            except (OSError, TimeoutError, self._exceptions.WebSocketException) as error:
                self._understand(error)
                reason = str(error) or type(error).__name__
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
    def _exceptions(self) -> Any:
        return require("websockets.exceptions", "client", "The client")

    def _understand(self, error: Exception) -> None:
        """Raise what ``error`` of a connection means, if another attempt would only meet it again.

        Raises:
            ProtocolError: the server refuses the connection, and says why.
            ServerProtocolError: it sends what no client would keep.
        """
        if isinstance(error, self._exceptions.InvalidStatus) and (found := refusal(error.response.body)) is not None:
            raise found from error
        sent = error.sent if isinstance(error, self._exceptions.ConnectionClosed) else None
        if sent is not None and sent.code == Close.TOO_LARGE:
            raise ServerProtocolError(f"a message is longer than {MAX_MESSAGE_BYTES} bytes") from error

    async def _connect(self) -> bool:
        """One connection, until it is over. Gives whether the session is."""
        connecting = self._library.connect(
            self._url,
            additional_headers=self._headers,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            logger=_wire_logger,
        )
        async with connecting as connection:
            await connection.send(json.dumps(self._opening()))
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = parse(await connection.recv())
            self._started(answer)
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

    def _started(self, message: object) -> None:
        if not isinstance(message, Started):
            raise ServerProtocolError("it does not answer with 'started'")
        self._acknowledged(message.next_packet)
        self.reconnections += self.session is not None
        self.session, self._token, self._idle_s = message.session, message.token, message.idle_s
        self._next_packet = message.next_packet
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def _acknowledged(self, next_packet: int) -> None:
        if next_packet > self._encoder.packets:
            raise ServerProtocolError("it has packets that were never sent")
        while self._kept and self._kept[0][0].seq < next_packet:
            self._kept_s -= self._kept.popleft()[1]
        self._room.set()

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
            message, size_bytes = await self._whole(connection)
            if isinstance(message, Acknowledged):
                self._acknowledged(message.next_packet)
            elif isinstance(message, Event):
                await self._keep_event(message, size_bytes)
                self._since_ack += 1
                if self._over or isinstance(message, SpokenEvent) or self._since_ack >= ACK_EVERY_EVENTS:
                    self._since_ack = 0
                    await connection.send(json.dumps({"type": "ack", "event": message.seq}))
            elif not isinstance(message, Nothing):
                raise ServerProtocolError("a session begins within a session")
            self._attempts = 0

    async def _keep_event(self, event: Event, size_bytes: int) -> None:
        if event.seq <= self._last_event:
            raise ServerProtocolError(f"event {event.seq} came after event {self._last_event}")
        if isinstance(event, InterruptedEvent):
            self._interrupted_at = event.seq
        while self._unread_bytes and self._unread_bytes + size_bytes > MAX_UNREAD_BYTES:
            self._read.clear()
            await self._read.wait()
        self._unread_bytes += size_bytes
        await self._events.put((event, size_bytes))
        self._last_event = event.seq
        self._over = isinstance(event, EndedEvent)

    async def _whole(self, connection: ClientConnection) -> tuple[object, int]:
        """The next message, an event with its sound, and how many bytes it takes."""
        text = await connection.recv()
        message = parse(text)
        if not isinstance(message, SpokenHead):
            return message, len(text)
        while not message.complete:
            message.add(await connection.recv())
        return message.event(), len(text) + 2 * len(message.sound)


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
