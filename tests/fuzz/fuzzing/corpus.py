"""What once got through, made anew from the seeds each time: nothing that harms a reader of this repository lies in it.

The frame of a lossless JPEG is here as a header alone, on purpose.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from fuzzing.requests import Request


def pictures(seeds: Mapping[str, bytes]) -> dict[str, bytes]:
    """Pictures by name."""
    lossless = b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 11, 8, 6_000, 6_000, 1) + b"\x01\x11\x00\xff\xd9"
    canvas = bytearray(seeds["animated.webp"])  # the frames are small, what they are drawn on is not
    at = canvas.find(b"VP8X") + 12
    canvas[at : at + 6] = (16_383).to_bytes(3, "little") * 2
    start = seeds["progressive.jpg"].find(b"\xff\xda")
    scans = seeds["progressive.jpg"][:start] + seeds["progressive.jpg"][start:-2] * 300 + b"\xff\xd9"
    sized = bytearray(scans)
    frame = sized.find(b"\xff\xc2")
    sized[frame + 5 : frame + 9] = struct.pack(">HH", 7_000, 9_000)
    tiff = bytearray(seeds["float.tif"])
    for tag in (256, 257, 278):  # width, height, rows in a strip
        entry = tiff.find(struct.pack("<H", tag))
        struct.pack_into("<HHII", tiff, entry, tag, 4, 1, 7_900)
    return {"lossless.jpg": lossless, "canvas.webp": bytes(canvas), "scans.jpg": bytes(sized), "float.tif": bytes(tiff)}


def media(seeds: Mapping[str, bytes]) -> dict[str, bytes]:
    """Recordings by name."""
    found = {"unknown codec.mp4": seeds["h264.mp4"].replace(b"mp4a", b"zzzz")}
    for rate_hz in (768_001, 3_999_999_999):
        wav = bytearray(seeds["pcm16.wav"])
        struct.pack_into("<I", wav, 24, rate_hz)
        found[f"rate {rate_hz}.wav"] = bytes(wav)
    caf = bytearray(seeds["pcm.caf"])
    struct.pack_into(">I", caf, 40, 36_532)  # frames in a packet: each leaves a gap of two seconds behind it
    found["gaps.caf"] = bytes(caf)
    packets = bytearray(seeds["aac.ts"])
    packets[188 * 29 + 1 : 188 * 29 + 3] = b"\x5f\xff"  # a stream that was not announced
    found["unannounced.ts"] = bytes(packets)
    found["gaps.webm"] = _leaping(seeds["opus.webm"], 3_500_000)
    return found


def _leaping(webm: bytes, leap_ms: int) -> bytes:
    """The clock of each cluster is so much later than that of the one before."""
    from fuzzing.boxes import ebml_boxes

    data = bytearray(webm)
    clocks = [box for box in ebml_boxes(data) if data[box.at : box.size_at] == b"\xe7"]
    for number, box in reversed(list(enumerate(clocks))):
        segment_needs = b"\xe7\x88" + (number * leap_ms).to_bytes(8, "big")
        data[box.at : box.end] = segment_needs
    # the sizes of segment and clusters are not known any more, which EBML has a word for
    for box in reversed(ebml_boxes(data)):
        if data[box.at : box.size_at] in (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"):
            data[box.size_at : box.body] = b"\x01" + b"\xff" * 7
    return bytes(data)


#: Conversations that ended with a traceback in the log.
CONVERSATIONS: tuple[list[tuple[int, str, Any]], ...] = (
    [(0, "raw text", b"\xff")],
    [(0, "fragments", (1, 1, b"\x80"))],
    [(0, "open", {"Origin": "http://["}), (0, "json", {"type": "start", "source": "en"})],
    [(0, "fragments", (1, 5_000, b""))],
)

_JSON = [("Content-Type", "application/json")]
#: Requests that were answered with 500.
REQUESTS: tuple[list[Request], ...] = (
    [Request("POST", "/demo/subtitles", headers=_JSON, body=b'{"kind": "srt", "text": "both", "rows": Infinity}')],
    [Request("GET", "/demo/status", headers=[("Origin", "http://[")])],
)
