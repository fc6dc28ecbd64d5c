"""Media and pictures from strangers, decoded in processes of their own with limits.

A decoder reads millions of lines of C over bytes that somebody chose. Here it may crash, run away or fill its memory,
and that is one failed request: the process that does it has no files, no network and no secrets, and ends with the
request. Give :class:`UntrustedMedia` and :class:`UntrustedImage` wherever a path could be given.
"""

from __future__ import annotations

from mmpipe.untrusted.image import UntrustedImage
from mmpipe.untrusted.media import UntrustedMedia
from mmpipe.untrusted.opus import UntrustedOpus
from mmpipe.untrusted.process import ProcessLimits, close, start

__all__ = ["ProcessLimits", "UntrustedImage", "UntrustedMedia", "UntrustedOpus", "close", "start"]
