"""Takes docs/images/research-run, research-answer and web-why: a scripted run over invented facts; why a hit is one.

foveal add docs/*.md --home DIR && foveal train ranker knrm --judgements none --name knrm --home DIR
python docs/dev/research_pictures.py --home DIR [NAME …]

Without names all three are taken; only web-why needs the home. Look at each before it is kept.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

from playwright.sync_api import sync_playwright
from site_pictures import IMAGES, served, taken

from foveal.bench.research_world import Rules, RulesModel, program
from foveal.models.chat import GREEDY, Cancel, ChatModel, Messages, Sampling
from foveal.settings import Settings
from foveal.types import Document
from foveal.web.app import create_app
from foveal.web.site import SiteSettings

QUESTION = (
    "Who taught the architect of the mill at Orra, which idea of the teacher does the mill use, and which of the two "
    "was born first?"
)
FACTS = {
    "The mill at Orra": "The mill at Orra was designed by Petra Lindqvist in 1899.",
    "Petra Lindqvist": "Petra Lindqvist was taught building by Olof Brandt in Vasa from 1889 to 1893.",
    "The tide wheel": "The tide wheel of Orra turns with both tides, which doubles its hours of work.",
    "On wheels for two tides": "Olof Brandt wrote in 1886 on tide wheels that turn with both tides.",
    "Births in Vasa": "Petra Lindqvist was born in 1871, as the church book of Vasa says.",
    "Olof Brandt": "Olof Brandt was born in 1846 and taught building in Vasa until 1904.",
}
NODES = {
    "architect": ("root", "Who designed the mill at Orra?"),
    "wheel": ("root", "How does the tide wheel of Orra work?"),
    "teacher": ("architect", "Who taught Petra Lindqvist building?"),
    "born": ("architect", "When was Petra Lindqvist born?"),
    "before": ("teacher", "When was Olof Brandt born?"),
    "idea": ("teacher", "What did Olof Brandt write on tide wheels?"),
}
HELD = NODES["idea"][1]
WHY = "landmark block keys softmax"


def plan() -> list[str]:
    """The planner's script: all sub-questions, then the answer."""
    graph = f'graph = WebSearchGraph()\ngraph.add_root_node(node_content="{QUESTION}", node_name="root")\n'
    for name, (before, asked) in NODES.items():
        graph += f'graph.add_node(node_name="{name}", node_content="{asked}")\n'
        graph += f'graph.add_edge(start_node="{before}", end_node="{name}")\n'
    graph += 'graph.add_edge(start_node="wheel", end_node="idea")\n'
    shown = ", ".join(f'graph.node("{name}")' for name in NODES)
    return [program(graph + shown), program('graph.add_response_node(node_name="response")')]


class Script(Rules):
    """Rules whose answer is written out, with the numbers that its facts have."""

    def text(self, messages: Messages) -> str:
        """What the model writes."""
        if not messages[0]["content"].startswith("You answer"):
            return super().text(messages)
        told = messages[-1]["content"]

        def cited(*titles: str) -> str:
            facts = (re.search(rf"{re.escape(FACTS[one])} (\[\[\d+\]\])", told) for one in titles)
            return "".join(f" {one[1]}" for one in facts if one)

        return (
            "**Olof Brandt** taught the architect of the mill at Orra, Petra Lindqvist, in Vasa from 1889 to 1893"
            f"{cited('Petra Lindqvist', 'The mill at Orra')}.\n\n"
            f"- The mill uses the wheel of his book of 1886, which turns with both tides"
            f"{cited('On wheels for two tides', 'The tide wheel')}.\n"
            f"- He was born in 1846, she in 1871, so that he was first{cited('Olof Brandt', 'Births in Vasa')}."
        )


@dataclass
class Held(RulesModel):
    """A model by rules that waits at one sub-question until it is let go."""

    go: Event = field(default_factory=Event)

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer."""
        held = any(f"## Current problem\n{HELD}" in one["content"] for one in messages)
        while held and not self.go.wait(0.02):
            if cancel:
                cancel.check()
        yield from super().stream(messages, sampling, cancel=cancel)


@dataclass
class Models:
    """The one that answers; nothing reads."""

    speaker: ChatModel
    name: str = "scripted"

    def chat(self) -> ChatModel:
        """What answers."""
        return self.speaker

    def reader(self) -> None:
        """None."""


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=["research-run", "research-answer", "web-why"])
    parser.add_argument("--home", type=Path)
    given = parser.parse_args()
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        if {"research-run", "research-answer"} & set(given.names):
            take_research(browser, given.names)
        if "web-why" in given.names:
            take_why(browser, given.home)
        browser.close()


def take_research(browser: Any, names: list[str]) -> None:
    """A run while it goes on, and its answer with a number opened."""
    model = Held(Script(plan()), seconds=0.2)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), cache=Path(folder) / "cache", encoder="none")
        app = create_app(settings, SiteSettings(), models=Models(model))
        app.state.site.library.add_documents(Document.of(f"fact:{title}", text, title) for title, text in FACTS.items())
        with served(app) as address:
            page = opened(browser, 1440, 1330)
            page.goto(f"{address}/research")
            page.locator("#question").fill(QUESTION)
            page.get_by_role("button", name="Research").click()
            page.locator(".outline-list", has_text=f"{HELD} is being searched").wait_for()
            page.locator(".outline-list a", has_text=NODES["before"][1]).locator(
                "+ .state", has_text="answered"
            ).wait_for()
            page.locator(".outline-list a", has_text=NODES["teacher"][1]).click()
            page.locator("#panel-title", has_text=NODES["teacher"][1]).wait_for()
            if "research-run" in names:
                taken(page, IMAGES / "research-run.webp")
            model.go.set()
            page.locator(".ended-text", has_text="Answered").wait_for()
            page.set_viewport_size({"width": 1440, "height": 1000})
            page.locator("#answer button.cite").first.click()
            page.locator("#answer .popup:popover-open").wait_for()
            if "research-answer" in names:
                taken(page, IMAGES / "research-answer.webp")


def take_why(browser: Any, home: Path) -> None:
    """Why the first passage was found, by a ranker whose match matrix is shown."""
    app = create_app(Settings.load(home), SiteSettings())
    with served(app) as address:
        page = opened(browser, 1100, 1280)
        page.goto(f"{address}/library?q={quote(WHY)}&rank=knrm")
        page.get_by_role("link", name="Why passage 1 was found").click()
        page.locator("table").last.wait_for()
        taken(page, IMAGES / "web-why.webp")


def opened(browser: Any, width: int, height: int) -> Any:
    """A page of that size, in light colours."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light")
    context.set_default_timeout(240_000)
    return context.new_page()


if __name__ == "__main__":
    main()
