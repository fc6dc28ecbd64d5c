"""Sound for a language model to hear itself: the speech encoder introduced to the audio projector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmpipe.audio import media
from mmpipe.audio.recognition.encoder import MAX_AUDIO_S, SpeechEncoder
from mmpipe.audio.vad import SileroVad, speech_chunks
from mmpipe.errors import MediaError
from mmpipe.fusion.audio import checkpoint
from mmpipe.fusion.audio.projector import AudioProjector
from mmpipe.types import SPEECH_RATE_HZ, Audio

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from mmpipe.generation.language_model import LanguageModel


class AudioFusion:
    """Spoken questions as embeddings of a language model, for a placeholder of their length.

    ::

        heard = AudioFusion.load("out/spoken/projector", language_model).embed([audio])[0]
        chat = render(language_model, [Message("user", (heard,))], n_tokens=len)

    ``encoder`` and ``projector`` must belong together: :meth:`load` sees to it.
    """

    def __init__(self, encoder: SpeechEncoder, projector: AudioProjector) -> None:
        self.encoder, self.projector = encoder, projector
        self._vad = SileroVad()

    @classmethod
    def load(
        cls, folder: str | Path, language_model: LanguageModel, encoder: SpeechEncoder | None = None
    ) -> AudioFusion:
        """``folder``: what ``mmpipe train spoken`` wrote. ``encoder``: None: Whisper base.

        Raises:
            WeightsError: no such folder, or it was made for another encoder or language model.
        """
        encoder = encoder or SpeechEncoder()
        return cls(encoder, checkpoint.read(Path(folder), language_model, encoder.identity))

    def embed(self, sounds: Sequence[Audio]) -> list[Tensor]:
        """For each sound (n, hidden), n about 6.25 for each second of speech in it; silence around it is cut off.

        Raises:
            MediaError: nothing is said, or for longer than the encoder hears at once.
        """
        said = [speech_in(sound, self._vad) for sound in sounds]
        if not all(len(one.samples) for one in said):
            raise MediaError("No speech detected in the spoken question. Say it again")
        longest_s = max((one.duration_s for one in said), default=0.0)
        if longest_s > MAX_AUDIO_S:
            raise MediaError(
                f"{longest_s:.0f} s of speech are more than the {MAX_AUDIO_S:.0f} s that the encoder hears at once. "
                "Have the question recognized first, or cut it."
            )
        return [self.projector.embed(torch.from_numpy(frames)) for frames in encode(self.encoder, said)]


def encode(encoder: SpeechEncoder, sounds: Sequence[Audio]) -> list[NDArray[np.float32]]:
    """The frames (n, hidden) of each of any number of sounds, in batches of similar length."""
    by_length = sorted(range(len(sounds)), key=lambda at: sounds[at].duration_s)
    frames: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(sounds), encoder.max_items):
        some = by_length[start : start + encoder.max_items]
        frames |= dict(zip(some, encoder.run([sounds[at] for at in some]), strict=True))
    return [frames[at] for at in range(len(sounds))]


def speech_in(sound: Audio, vad: SileroVad) -> Audio:
    """What is said in ``sound``, at 16 kHz, without the pauses around it; empty where nothing is."""
    chunks = speech_chunks([media.resample(sound, SPEECH_RATE_HZ)], vad)
    return Audio(np.concatenate([np.zeros(0, np.float32), *(chunk.audio.samples for chunk in chunks)]))
