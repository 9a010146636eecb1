"""How far `foveal add` is, in the words beside its bar: sources, passages, or the pages of one long source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.cli.output import shortened

if TYPE_CHECKING:
    from foveal.retrieval.adding import AddReport

LONGEST_NAME = 40
"""Characters of a source's name that are shown."""

SLOW, FIRST_SHOWN = 1.95, 0.05
"""Passages a second below which a digit behind the point is shown, and below which nothing is."""


def how_far(report: AddReport) -> tuple[str, int, int]:
    """What is counted, how much of it is done, and of how much."""
    count = len(report.added) + len(report.updated)
    done = f"{count:,} document{'s' * (count != 1)}"
    ready = max(report.passages, report.encoded)
    rate = _rate((ready - report.resumed) / max(1e-9, sum(report.seconds.values())))
    if part := report.part:
        return f"{done}; {part.what} of {shortened(part.name, LONGEST_NAME)}", part.read, part.of
    if report.sources_read == report.sources and ready < report.cut:  # what is left is to be encoded
        return f"{done}; {rate} passages a second:" if rate else f"{done}; passages", ready, report.cut
    passages = f", {ready:,} passage{'s' * (ready != 1)}" + (f" ({rate}/s)" if rate else "") if ready else ""
    return f"{done}{passages}; sources", report.sources_read, report.sources


def _rate(passages: float) -> str:
    """Passages a second, in one digit behind the point where they are few; nothing before the first one."""
    return f"{passages:,.0f}" if passages >= SLOW else f"{passages:.1f}" if passages >= FIRST_SHOWN else ""
