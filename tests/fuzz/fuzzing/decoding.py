"""Mutated pictures and media into mmpipe's decoders. Runs in a worker: the decoders may take the process with them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

from fuzzing import corpus, memory, mutate, seeds_media, seeds_pictures
from fuzzing.outcome import HANG_S, Failure, Outcome, place
from mmpipe.audio import media, mux
from mmpipe.errors import MmpipeError
from mmpipe.pipelines.multimodal_qa.hearing import MAX_QUESTION_S
from mmpipe.vision import images

KINDS = ("pictures", "media")
SECRET = seeds_media.SECRET
#: Begins the names of what is in the corpus: decoded as it is, and not mutated.
SEEN = "seen "
#: What pictures are shrunk to, mostly not at all; and how recordings are read.
_SIZES = (images.MAX_KEPT_PX, images.MAX_KEPT_PX, 2_000, 100)
_WAYS = ("open file", "path", "whole", "video")
MOST_WAYS = max(len(_SIZES), len(_WAYS))


# The seam between decoding in this process and in a child of limited means: what mmpipe's functions are given.


def picture(content: bytes, name: str, *, in_process: bool) -> Any:
    if in_process:
        return content
    from mmpipe.untrusted import UntrustedImage

    return UntrustedImage(name=name, content=content)


def recording(path: Path, name: str, *, in_process: bool) -> Any:
    if in_process:
        return path
    from mmpipe.untrusted import UntrustedMedia

    return UntrustedMedia(path=path, name=name)


def build_seeds(kind: str, folder: Path) -> dict[str, bytes]:
    """The files that are mutated, and those of the corpus."""
    seeds = seeds_pictures.build() if kind == "pictures" else seeds_media.build(folder)
    seen = corpus.pictures(seeds) if kind == "pictures" else corpus.media(seeds)
    return seeds | {SEEN + name: content for name, content in seen.items()}


def content_of(kind: str, seed: int, n: int, seeds: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Name and content of case ``n``. The first ones are the seeds and the corpus as they are."""
    names = sorted(seeds)
    if n < len(names):
        return names[n], seeds[names[n]]
    rng = Random(f"{kind}/{seed}/{n}")
    fresh = {name: content for name, content in seeds.items() if not name.startswith(SEEN)}
    name = rng.choice(sorted(fresh))
    return name, mutate.mutate(rng, name, fresh)


def read_seeds(folder: str | Path) -> dict[str, bytes]:
    """What :func:`build_seeds` gave, from the folder in which it was kept."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.name != SECRET}


class Decoding:
    """``seeds``: a folder with the files that are mutated. ``memory_mb``: over an idle process, at most."""

    def __init__(self, kind: str, seeds: Path, scratch: Path, seed: int, *, in_process: bool, memory_mb: float) -> None:
        self._kind, self._seed, self._in_process, self._memory_mb = kind, seed, in_process, memory_mb
        self._scratch = scratch
        self._seeds = read_seeds(seeds)
        if kind == "media":
            (scratch / SECRET).write_bytes((seeds / SECRET).read_bytes())
            (scratch / "speech.wav").write_bytes(self._seeds["pcm16.wav"])
        self._idle_mb = 0.0
        for n, name in enumerate(sorted(self._seeds)):  # what libraries load when they are first used
            if not name.startswith(SEEN):
                self.case(n)
        memory.reset_peak()
        self._idle_mb = memory.peak_mb()

    def case(self, n: int) -> Outcome:
        """Decode case ``n``: one way or another, or every way where it is no mutation."""
        name, content = content_of(self._kind, self._seed, n, self._seeds)
        rng = Random(f"how/{self._seed}/{n}")
        look, ways = (self._look, _SIZES) if self._kind == "pictures" else (self._listen, _WAYS)
        counts: Counter[str] = Counter()
        failures: list[Failure] = []
        memory.reset_peak()
        slowest_s = 0.0
        for way in dict.fromkeys(ways) if n < len(self._seeds) else (rng.choice(ways),):
            began_s = time.monotonic()
            try:
                look(way, rng, name, content)
            except MmpipeError:
                counts["refused"] += 1
            except Exception as error:
                failures.append(Failure("foreign exception", place(error), f"{name}: {error!r}"[:300]))
            else:
                counts["decoded"] += 1
                if name in seeds_media.POINTERS and content == self._seeds[name]:
                    failures.append(Failure("leak", f"{name} was followed to the file that it names"))
            slowest_s = max(slowest_s, time.monotonic() - began_s)
        peak_mb = memory.peak_mb() - self._idle_mb
        if slowest_s > HANG_S:
            failures.append(Failure("hang", name, f"{slowest_s:.0f} s"))
        if peak_mb > self._memory_mb:
            failures.append(Failure("memory", f"{name}: over {self._memory_mb:g} MB", f"{peak_mb:.0f} MB"))
        return Outcome(n, dict(counts), tuple(failures), peak_mb, slowest_s)

    def _look(self, max_px: int, _: Random, name: str, content: bytes) -> None:
        image = images.load(picture(content, name, in_process=self._in_process), max_px=max_px)
        height, width, channels = image.pixels.shape
        assert channels == 3 and (height * width <= max_px or min(height, width) == 1)

    def _listen(self, way: str, rng: Random, name: str, content: bytes) -> None:
        path = self._scratch / name
        path.write_bytes(content)
        given = recording(path, name, in_process=self._in_process)
        with path.open("rb") if self._in_process and way == "open file" else nullcontext(given) as given:
            if way == "video":
                suffix = rng.choice((".mp4", ".mkv", ".mov"))
                cues = [mux.SubtitleTrack("pt", [(0.1, 0.5, "Olá."), (0.5, 0.9, "Adeus.")])]
                mux.mux(given, self._scratch / "speech.wav", "pt", cues, self._scratch / f"out{suffix}")
            elif way == "whole":
                media.probe(given)
                # whole, as a server takes a spoken question; the command line has more patience
                media.load(given, **({} if self._in_process else {"max_duration_s": MAX_QUESTION_S}))
            else:
                for _ in media.stream(given, start_s=rng.choice((0.0, 0.3))):
                    pass
