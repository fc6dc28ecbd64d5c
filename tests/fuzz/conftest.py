"""The fuzzers are a package of their own beside their command, where pytest does not look by itself."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
