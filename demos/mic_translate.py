"""Listens to the microphone, shows captions in two languages and speaks the translation.

pip install 'mmpipe[mic,espeak]'
python demos/mic_translate.py --to pt
python demos/mic_translate.py --between en pt --headphones      # a conversation
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

import mmpipe

CLEAR_LINE, DIM, BOLD, PLAIN = "\r\x1b[K", "\x1b[2m", "\x1b[1m", "\x1b[0m"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", help="language to translate into, pt for example")
    parser.add_argument("--from", dest="source", help="language that is spoken; left out: it is detected")
    parser.add_argument("--between", nargs=2, help="two languages, each translated into the other")
    parser.add_argument("--headphones", action="store_true", help="go on listening while the voice speaks")
    parser.add_argument("--device", help="microphone, by a part of its name")
    parser.add_argument("--list-devices", action="store_true")
    given = parser.parse_args(arguments)
    if not (given.to or given.between or given.list_devices):
        parser.error("say what to translate into: --to pt, or --between en pt")
    return given


async def translate(given: argparse.Namespace) -> None:
    options = mmpipe.LiveOptions(
        to=given.to,
        source=given.source,
        between=tuple(given.between) if given.between else None,
        speak=True,
        headphones=given.headphones,
    )
    with (
        mmpipe.Microphone(given.device) as microphone,  # first: what is missing shows before the models are loaded
        mmpipe.Loudspeaker() as loudspeaker,
        mmpipe.LiveModels() as models,
    ):
        await models.warmup(options.pairs, options.voices)
        session = mmpipe.LiveSession(models, options)
        print("Speak. Ctrl-C ends.")
        listening = asyncio.create_task(session.listen(microphone, playing=lambda: loudspeaker.playing))
        async for event in session.events():
            show(event, loudspeaker)
        await listening  # raises what was wrong with the microphone


def show(event: mmpipe.Event, loudspeaker: mmpipe.Loudspeaker) -> None:
    """Captions to the screen, the voice to the loudspeaker."""
    match event:
        case mmpipe.PartialEvent():  # may change: grey, and replaced by the next one
            print(f"{CLEAR_LINE}{DIM}{event.text[-100:]}{PLAIN}", end="", flush=True)
        case mmpipe.CommittedEvent():  # will not change
            print(f"{CLEAR_LINE}{event.text}")
        case mmpipe.TranslatedEvent(final=True):
            print(f"{CLEAR_LINE}{BOLD}    {event.text}{PLAIN}")
        case mmpipe.SpokenEvent():
            loudspeaker.play(event.audio)
        case mmpipe.InterruptedEvent():  # somebody answers before the voice is through
            loudspeaker.stop()
        case mmpipe.WarningEvent():
            print(f"{CLEAR_LINE}{event.text}", file=sys.stderr)
        case mmpipe.EndedEvent(reason=reason) if reason != "finished":
            raise mmpipe.MmpipeError(f"The session ended: {reason}")


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    try:
        if given.list_devices:
            print(*mmpipe.list_devices(), sep="\n")
        else:
            with suppress(KeyboardInterrupt):
                asyncio.run(translate(given))
    except mmpipe.MmpipeError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
