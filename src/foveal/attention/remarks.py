"""Warnings that are given once in a process, however often their cause is met: in each layer of each pass, say."""

from __future__ import annotations

import logging
from functools import cache


@cache
def warn_once(log: logging.Logger, message: str, *told: str | int) -> None:
    """As `log.warning`, and nothing where the same was said before."""
    log.warning(message, *told)
