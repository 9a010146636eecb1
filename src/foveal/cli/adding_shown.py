"""How far `foveal add` is, in the words beside its bar: sources, passages, or the pages of one long source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.cli.output import shortened

if TYPE_CHECKING:
    from foveal.library import AddReport

LONGEST_NAME = 40
"""Characters of a source's name that are shown."""


def how_far(report: AddReport) -> tuple[str, int, int]:
    """What is counted, how much of it is done, and of how much."""
    count = len(report.added) + len(report.updated)
    done = f"{count:,} document{'s' * (count != 1)}"
    ready = max(report.passages, report.encoded)
    rate = (ready - report.resumed) / max(1e-9, sum(report.seconds.values()))
    if part := report.part:
        return f"{done}; {part.what} of {shortened(part.name, LONGEST_NAME)}", part.read, part.of
    if report.sources_read == report.sources and ready < report.cut:  # what is left is to be encoded
        return f"{done}; {rate:,.0f} passages a second:", ready, report.cut
    return f"{done}, {ready:,} passages ({rate:,.0f}/s); sources", report.sources_read, report.sources
