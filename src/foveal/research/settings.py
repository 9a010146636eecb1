"""What a site's visitors may research: table [research] of foveal.toml, or FOVEAL_RESEARCH_<NAME>.

[research]
sources = "library, papers, arxiv, searxng:https://search.example.org"
seconds = 900
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.errors import InputError, UnknownName
from foveal.registry import RESEARCH_SOURCES
from foveal.research.sources import scheme_of

if TYPE_CHECKING:
    from foveal.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ResearchSettings:
    """What the web app offers, and the most that one run of it may spend."""

    sources: str = "library, papers, arxiv"  # names as of --source, parted by commas; visitors choose among these only
    tokens: int = 200_000
    seconds: int = 900
    pages: int = 100
    per_hour: int = 20  # runs of one person or address
    reuse: bool = False  # take summaries of earlier runs, anybody's, for the same sub-question (reuse.py)
    memory: bool = True  # reports keep a memory of what they read (memory_kept.py); of the command line, too
    denied: str = ""  # hosts that nothing is read from, with all below them, parted by commas; of the command line, too
    at_once: int = 2  # runs of one person or browser that wait or go on

    def __post_init__(self) -> None:
        """InputError, UnknownName: a source that is none."""
        for name in self.named:
            if scheme_of(name) not in RESEARCH_SOURCES:
                raise UnknownName(f"[research] offers {name!r}. There are: {', '.join(RESEARCH_SOURCES)}.")
        if not self.named:
            raise InputError("[research] offers no source. Name some: sources = 'library, papers'")

    @property
    def named(self) -> tuple[str, ...]:
        """The sources, each as `sources.source_of` takes it."""
        return tuple(dict.fromkeys(one.strip() for one in self.sources.split(",") if one.strip()))

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that are left out."""
        return tuple(dict.fromkeys(one.strip().lower() for one in self.denied.split(",") if one.strip()))


def load_research(settings: Settings) -> ResearchSettings:
    """The settings of a home."""
    from foveal.settings import load_part

    return load_part("research", ResearchSettings, settings.home)
