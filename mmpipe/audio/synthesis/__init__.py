"""Text to speech: engines, and :class:`TextToSpeech` above them.

>>> from mmpipe.audio.synthesis import TextToSpeech
>>> audio = TextToSpeech().speak("Bom dia!", "pt")
"""

from mmpipe.audio.synthesis.engines import BuiltInSynthesizers
from mmpipe.audio.synthesis.espeak import Espeak
from mmpipe.audio.synthesis.kokoro import Kokoro
from mmpipe.audio.synthesis.normalize import normalize
from mmpipe.audio.synthesis.phonemes import phonemes
from mmpipe.audio.synthesis.piper import Piper
from mmpipe.audio.synthesis.text_to_speech import Runner, TextToSpeech

__all__ = ["BuiltInSynthesizers", "Espeak", "Kokoro", "Piper", "Runner", "TextToSpeech", "normalize", "phonemes"]
