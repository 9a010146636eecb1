"""Research: a question that no single page answers, taken apart into a graph of searches, answered with citations.

    from foveal.research import MindSearch, LibrarySource
    search = MindSearch(load_chat("qwen2.5-7b", url="http://127.0.0.1:8080/v1"), LibrarySource(library))
    search.ask("Who taught the architect of the mill at Orra?").to_markdown()

graph.py, plans.py     the graph, and what a planner may add to it; plan_code.py and plan_json.py read a model's plans
searcher.py            one sub-question: queries, hits, pages, a cited summary; pages.py reads the long ones
scheduling.py, run.py  what runs when; the loop of a run, event by event
events.py, state.py    what happened, numbered; what that adds up to; traces.py keeps it in a file
deep.py …              deep research, a checked report: planning*.py, desk.py (search, read, note), acquisition.py,
                       timing.py, outline.py, report_*.py, conflicts.py, checks.py; steps.py makes a kill cost nothing
sources.py …           where is searched: library, folder, papers, arXiv, SearXNG, any HTTP search
"""

from typing import TYPE_CHECKING

from foveal.registry import at_first_use

if TYPE_CHECKING:
    from foveal.research.answers import Researched
    from foveal.research.budget import Budget
    from foveal.research.deep import DeepResearch
    from foveal.research.events import Event
    from foveal.research.graph import Graph
    from foveal.research.mindsearch import MindSearch, MindSettings
    from foveal.research.plans import Plan, Planner
    from foveal.research.report import Report
    from foveal.research.sources import Found, Source
    from foveal.research.text_sources import DocumentsSource, LibrarySource

_HOMES = {
    "Budget": "budget",
    "DeepResearch": "deep",
    "DocumentsSource": "text_sources",
    "Event": "events",
    "Found": "sources",
    "Graph": "graph",
    "LibrarySource": "text_sources",
    "MindSearch": "mindsearch",
    "MindSettings": "mindsearch",
    "Plan": "plans",
    "Planner": "plans",
    "Report": "report",
    "Researched": "answers",
    "Source": "sources",
}

__all__ = [
    "Budget",
    "DeepResearch",
    "DocumentsSource",
    "Event",
    "Found",
    "Graph",
    "LibrarySource",
    "MindSearch",
    "MindSettings",
    "Plan",
    "Planner",
    "Report",
    "Researched",
    "Source",
]

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for something
    __getattr__ = at_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
