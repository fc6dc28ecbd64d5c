"""The espeak-ng library through ctypes: phonemes and raw speech for more than a hundred languages.

The shared library and its data come in the wheel ``espeakng-loader`` (extra ``espeak``: espeak-ng is GPL-3, which
is why mmpipe does not install it unasked). The signatures are those of espeak-ng 1.52's ``speak_lib.h``.

espeak-ng keeps its state (voice, rate, translator tables) in C globals. So there is one :class:`EspeakNg` in a
process, from :func:`espeak_ng`, and one lock around every call.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from mmpipe.errors import InputError, MissingDependencyError
from mmpipe.extras import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2  # espeak_Synth returns when the callback has had all of the sound
_INITIALIZE_DONT_EXIT = 0x8000  # report missing data instead of calling exit()
_CHARS_UTF8 = 1
_PHONEMES_IPA = 0x02
_PHONEMES_TIE = 0x80  # the character in bits 8-23 joins the letters of one phoneme
_MAX_PATH_BYTES = 150  # of 160, with the name that follows for some files
_RATE = 1  # espeak_PARAMETER: words a minute
_RATE_MIN_WPM, _RATE_WPM, _RATE_MAX_WPM = 80, 175, 450

#: ISO 639-1 codes that espeak-ng files under another name
_ISO_639_1 = {"cmn": "zh", "nb": "no"}
#: the accent spoken where a language has several; otherwise the voice named like the language, or the first
_DEFAULT = {"en": "en-us", "pt": "pt-br"}
_TEST_VOICES = frozenset({"xex"})


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),  # one byte of priority, then the code
        ("identifier", ctypes.c_char_p),  # the voice's file in the data, "roa/pt-BR"
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


_making = Lock()


def espeak_ng() -> EspeakNg:
    """The process's one espeak-ng.

    Raises:
        MissingDependencyError: ``espeakng-loader`` is not installed, or its library does not load.
    """
    with _making:  # two threads at once would make two, each with a lock of its own
        return _make()


@cache
def _make() -> EspeakNg:
    return EspeakNg(require("espeakng_loader", "espeak", "the espeak-ng phonemiser"))


class EspeakNg:
    """Use :func:`espeak_ng`; a second instance would share the C globals without sharing the lock.

    ``voices``: language in ISO 639-1 (a longer code where there is none) -> names of voices, the default first.
    """

    def __init__(self, loader: Any) -> None:
        try:
            self._library = ctypes.CDLL(loader.get_library_path())
            data = loader.get_data_path()
        except (OSError, RuntimeError) as error:
            raise MissingDependencyError(
                f"espeak-ng does not load: {error}. Reinstall it: pip install --force-reinstall espeakng-loader"
            ) from error
        self._declare()
        self._lock = Lock()
        self._voice = ""
        rate_hz = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, self._short(str(data)).encode(), _INITIALIZE_DONT_EXIT
        )
        if rate_hz <= 0:
            raise MissingDependencyError(
                f"espeak-ng does not start with its data in {data}. "
                "Reinstall it: pip install --force-reinstall espeakng-loader"
            )
        self.rate_hz: int = rate_hz
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _SynthCallback(self._collect)  # kept here: C holds the pointer, Python must keep the object
        self._library.espeak_SetSynthCallback(self._callback)
        self._identifiers = self._list_voices()
        self.voices: Mapping[str, tuple[str, ...]] = _by_language(self._identifiers)

    def phonemes(self, text: str, voice: str, tie: str = "") -> str:
        """IPA of ``text``, clauses separated by spaces; punctuation is lost (see ``mmpipe``'s ``phonemes`` module).

        ``tie``: one character put between the letters of one phoneme (``t^ʃ``), or "" for none.
        """
        mode = _PHONEMES_IPA | (_PHONEMES_TIE | ord(tie) << 8 if tie else 0)
        buffer = ctypes.create_string_buffer(_utf8(text))
        cursor = ctypes.c_void_p(ctypes.addressof(buffer))  # espeak-ng moves it on, a clause a call, to NULL at the end
        clauses = []
        with self._lock:
            self._use(voice)
            while cursor.value:
                clause = self._library.espeak_TextToPhonemes(ctypes.byref(cursor), _CHARS_UTF8, mode)
                clauses.append((clause or b"").decode("utf-8", "ignore").strip())
        return " ".join(filter(None, clauses))

    def speak(self, text: str, voice: str, speed: float = 1.0) -> NDArray[np.int16]:
        """Samples, int16 of shape (n,), at ``rate_hz``. ``speed`` is held within 80 to 450 words a minute."""
        data = _utf8(text) + b"\0"
        rate_wpm = min(max(round(_RATE_WPM * speed), _RATE_MIN_WPM), _RATE_MAX_WPM)
        with self._lock:
            self._use(voice)
            self._library.espeak_SetParameter(_RATE, rate_wpm, 0)
            self._chunks = []
            self._library.espeak_Synth(data, len(data), 0, 1, 0, _CHARS_UTF8, None, None)
            chunks, self._chunks = self._chunks, []
        return np.concatenate([np.zeros(0, np.int16), *chunks])

    def _short(self, path: str) -> str:
        """``path``, or a link to it: espeak-ng cuts a longer one off (N_PATH_HOME in its sources) and finds nothing."""
        if len(path.encode()) <= _MAX_PATH_BYTES:
            return path
        self._link_folder = TemporaryDirectory(prefix="espeak-")  # lives as long as this: files are read when needed
        link = Path(self._link_folder.name) / "data"
        link.symlink_to(path, target_is_directory=True)
        return str(link)

    def _collect(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # 1 would stop the synthesis

    def _use(self, voice: str) -> None:
        if voice == self._voice:
            return  # loading a voice reads its dictionary from disk
        identifier = self._identifiers.get(voice)
        # The first names tried would be files anywhere below the data folder, so only listed voices get there.
        if identifier is None or self._library.espeak_SetVoiceByName(identifier.encode()) != 0:
            raise InputError(f"espeak-ng has no voice {voice!r}; it has {', '.join(sorted(self._identifiers))}")
        self._voice = voice

    def _list_voices(self) -> dict[str, str]:
        """Name (the last part of the identifier, in small letters) -> identifier.

        The codes in ``languages`` are no names: "fr-fr" is what the voice "fr" speaks and is not found as a voice.
        """
        listed = self._library.espeak_ListVoices(None)
        identifiers: dict[str, str] = {}
        position = 0
        while listed[position]:
            identifier = listed[position].contents.identifier.decode()
            name = PurePosixPath(identifier).name.lower()
            if name not in _TEST_VOICES:
                identifiers.setdefault(name, identifier)
            position += 1
        return identifiers

    def _declare(self) -> None:
        library = self._library
        library.espeak_Initialize.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
        library.espeak_Initialize.restype = ctypes.c_int
        library.espeak_SetVoiceByName.argtypes = (ctypes.c_char_p,)
        library.espeak_SetVoiceByName.restype = ctypes.c_int
        library.espeak_ListVoices.argtypes = (ctypes.c_void_p,)
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        library.espeak_TextToPhonemes.argtypes = (ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int)
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_SetParameter.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
        library.espeak_SetParameter.restype = ctypes.c_int
        library.espeak_SetSynthCallback.argtypes = (_SynthCallback,)
        library.espeak_SetSynthCallback.restype = None
        library.espeak_Synth.argtypes = (
            ctypes.c_char_p,  # text, ended by NUL
            ctypes.c_size_t,  # its bytes, with the NUL
            ctypes.c_uint,  # where to start
            ctypes.c_int,  # in which unit: 1, characters
            ctypes.c_uint,  # where to end; 0: nowhere
            ctypes.c_uint,  # flags
            ctypes.c_void_p,  # where to put an identifier of the call
            ctypes.c_void_p,  # passed to the callback
        )
        library.espeak_Synth.restype = ctypes.c_int


def _utf8(text: str) -> bytes:
    """UTF-8 that C can read to its end: no NUL inside, no lone surrogates."""
    return text.replace("\0", " ").encode("utf-8", "ignore")


def _by_language(names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        code = name.partition("-")[0]
        found.setdefault(_ISO_639_1.get(code, code), []).append(name)
    for language, voices in found.items():
        default = _DEFAULT.get(language, language)
        voices.sort(key=lambda voice: voice != default)  # stable: the rest stay in order
    return {language: tuple(voices) for language, voices in found.items()}
