"""Every error mmpipe raises on purpose. Each message says what happened and what to do next.

The command line prints the message of an ``MmpipeError`` on one line and exits with its ``exit_code``; anything
else is a bug and keeps its traceback.
"""

from __future__ import annotations


class MmpipeError(Exception):
    """Base of all errors that mmpipe raises on purpose."""

    exit_code = 1


class InputError(MmpipeError):
    """What the caller gave cannot be used: a missing, empty or corrupt file, a wrong option, an unknown voice."""


class MediaError(InputError):
    """A media file or stream cannot be read, or holds no usable sound."""


class ImageError(InputError):
    """A picture cannot be read: no picture, damaged, or larger than is decoded."""


class OutputError(MmpipeError):
    """A result cannot be written (no permission, no space). What was finished before is kept."""


class MissingDependencyError(MmpipeError):
    """An engine needs a package or a system program that is not installed. The message has the exact command."""


class WeightsError(MmpipeError):
    """Model files cannot be had: unknown name, no source reachable, offline, no space."""


class DigestMismatchError(WeightsError):
    """A fetched file is not the file that was pinned, twice in a row."""


class LicenseError(WeightsError):
    """The weights carry restrictions of use that the caller has not accepted."""


class LanguageError(InputError):
    """A language is unknown, or no installed engine serves it. The message says what would."""


class StageError(MmpipeError):
    """A stage failed on an item, or broke its contract (wrong number of results)."""


class BatcherError(MmpipeError):
    """Base of the reasons for which a batcher does not run an item."""


class QueueFullError(BatcherError):
    """The queue is full. ``retry_after_s`` estimates when there will be room."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ItemTooLargeError(BatcherError):
    """One item alone costs more than a batch may."""


class DeadlineExceededError(BatcherError):
    """The item's deadline passed before it was computed; it was not computed."""


class ClosedError(BatcherError):
    """The batcher is closed and takes nothing more."""
