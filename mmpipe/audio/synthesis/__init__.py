"""Text to speech: engines, and :class:`Speaker` above them.

>>> from mmpipe.audio.synthesis import Speaker
>>> audio = Speaker().speak("Bom dia!", "pt")
"""

from mmpipe.audio.synthesis.espeak import Espeak
from mmpipe.audio.synthesis.kokoro import Kokoro
from mmpipe.audio.synthesis.normalise import normalise
from mmpipe.audio.synthesis.phonemes import phonemes
from mmpipe.audio.synthesis.piper import Piper
from mmpipe.audio.synthesis.speak import Runner, Speaker

__all__ = ["Espeak", "Kokoro", "Piper", "Runner", "Speaker", "normalise", "phonemes"]
