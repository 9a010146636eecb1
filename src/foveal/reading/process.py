"""What the process has taken so far."""

from __future__ import annotations

import resource
import sys


def peak_bytes() -> int:
    """The largest resident size of this process, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
