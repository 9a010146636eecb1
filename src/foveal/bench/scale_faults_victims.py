"""Processes that the bench `scale-faults` kills: python -m foveal.bench.scale_faults_victims KIND ARGUMENTS…

Each says "begun" once it has imported what it needs, "ack X" for all that it acknowledges, and "done" at its end; what
it acknowledged before it was killed must be there afterwards. They call the product as a user does, with two
differences: passages are written in batches of a few, so that a kill falls between two, and models are a few rules.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
import random
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveal.models.chat import GREEDY, Cancel, Messages, Sampling

APP = ("foveal.web.app:create_app", "foveal.web.site:SiteSettings")

BATCH = 24
"""Passages that are written together."""


def say(*words: object) -> None:
    """A line for whoever watches; it is out before this returns."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


# -- the library ------------------------------------------------------------------------------------------------------


def add(home: str, folder: str) -> None:
    """Add a folder; acknowledged are documents that a report calls added, updated or unchanged."""
    from foveal.library import Library
    from foveal.retrieval import indexing
    from foveal.retrieval.adding import AddReport

    indexing.BATCH = BATCH
    library = Library.open(home, encoder="none")
    told: set[str] = set()

    def progress(report: AddReport) -> None:
        for one in (*report.added, *report.updated, *report.unchanged):
            if one not in told:
                told.add(one)
                say("ack", one)

    say("begun")
    report = library.add([folder], on_progress=progress)
    progress(report)
    say("done")


def remove(home: str, seed: str) -> None:
    """Remove half of the documents, one at a time, and compact in between."""
    from foveal.library import Library

    library, draw = Library.open(home, create=False), random.Random(int(seed))
    entries = library.documents()
    say("begun")
    for number, entry in enumerate(draw.sample(entries, len(entries) // 2)):
        library.remove([entry])
        say("ack", entry.id)
        if number % 4 == 3:
            library.compact()
    library.compact()
    say("done")


# -- research, training -----------------------------------------------------------------------------------------------


def research(home: str, key: str) -> None:
    """A run of research over a small world; acknowledged are the events on which a run that goes on builds."""
    from foveal.bench.research_world import RulesModel, World, WorldSettings
    from foveal.database import Database
    from foveal.research.events import Event
    from foveal.research.mindsearch import MindSearch
    from foveal.research.runs import Runs
    from foveal.research.traces import is_forced
    from foveal.research.web_sources import Pages, SearxngSource, WebSettings
    from foveal.settings import Settings
    from foveal.text.fetching import FetchSettings

    class Telling:
        """A keeper that says what is stored."""

        def __init__(self, keeper: Any) -> None:
            self.keeper = keeper

        def write(self, event: Event) -> None:
            self.keeper.write(event)
            if is_forced(event) and not self.keeper.failed:
                say("ack", event.id)

        def close(self) -> None:
            self.keeper.close()

    runs = Runs(Database.open(Settings.load(home, environment={})))
    fetch = FetchSettings(allow_private=True)
    with World(WorldSettings(page_seconds=0.02, search_seconds=0.02)) as world:
        search = MindSearch(RulesModel(seconds=0.02), SearxngSource(world.url, Pages(WebSettings(fetch=fetch))))
        events = runs.events(key)
        keeper = Telling(runs.keep(key))
        say("begun")
        going = (
            search.go_on(events, keepers=[keeper])
            if events
            else search.start("What is known of 3 mills?", key=key, keepers=[keeper])
        )
        going.result()
    say("done")


def train(folder: str, epochs: str) -> None:
    """Train a line with dropout, from the last whole checkpoint; its end says a hash of the weights."""
    import torch
    from torch import nn

    from foveal.training.loop import Job, LoopSettings
    from foveal.training.loop import train as trained
    from foveal.training.watch import Progress

    class Line(nn.Module):
        """y = w x + b, and random numbers that a run which goes on must draw again."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))
            self.bias = nn.Parameter(torch.zeros(()))
            self.drop = nn.Dropout(0.3)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            """The loss."""
            return {"loss": ((self.drop(x) @ self.weight + self.bias - y) ** 2).mean()}

    def progress(now: Progress) -> None:
        say("step", now.step)

    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    rows = [{"x": one, "y": one @ torch.tensor([1.0, -2.0, 0.5]) + 0.25} for one in points]
    model = Line()
    settings = LoopSettings(epochs=float(epochs), batch=4, learning_rate=0.05, checkpoint_every=5, evaluate_every=20)
    say("begun")
    trained(Job(model, rows, identity={"data": "points"}), settings, Path(folder), on_progress=progress)
    weights = b"".join(one.detach().numpy().tobytes() for one in model.parameters())
    say("ack", hashlib.sha256(weights).hexdigest())
    say("done")


# -- the site ---------------------------------------------------------------------------------------------------------


@dataclass
class Repeats:
    """A `ChatModel` that repeats the first sentence of the first excerpt that it is shown, slowly, and cites it."""

    seconds: float = 0.02
    name: str = "repeats"
    context_tokens: int = 4096
    asked: list[Messages] = field(default_factory=list)

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        """The whole answer."""
        return "".join(self.stream(messages, sampling, cancel=cancel))

    def stream(
        self,
        messages: Messages,
        sampling: Sampling = GREEDY,  # noqa: ARG002
        *,
        cancel: Cancel | None = None,
    ) -> Iterator[str]:
        """The answer, a word at a time."""
        first = re.search(r"\[1\] (.+)", messages[-1]["content"])
        text = f"{re.split(r'(?<=[.!?]) ', first[1])[0]} [1]" if first else "not found"
        for word in re.findall(r"\S+\s*", text):
            if cancel:
                cancel.check()
            time.sleep(self.seconds)
            yield word

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The answer to each."""
        return [self.chat(one, sampling, cancel=cancel) for one in conversations]

    def count_tokens(self, text: str) -> int:
        """A token for each character."""
        return len(text)


@dataclass(frozen=True)
class RuleModels:
    """The models of a site whose answers are rules."""

    name: str = "repeats"

    def chat(self) -> Any:
        """What answers."""
        return Repeats()

    def reader(self) -> None:
        """Nothing reads: passages are answered from as they are."""


def site(home: str, pace: str) -> None:
    """A server over a home, on a free port, which it says; its models take `pace` seconds a word."""
    import uvicorn

    from foveal.settings import Settings

    create_app, SiteSettings = map(pkgutil.resolve_name, APP)  # noqa: N806 (benches lie below the web app)

    class Models(RuleModels):
        def chat(self) -> Any:
            return Repeats(float(pace))

    settings = Settings.load(home)
    app = create_app(settings, SiteSettings(search_per_minute=0, api_per_hour=0), models=Models())

    class Told(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            say("begun", self.servers[0].sockets[0].getsockname()[1])

    Told(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=2)).run()


KINDS: dict[str, Callable[..., None]] = {
    "add": add,
    "remove": remove,
    "research": research,
    "train": train,
    "site": site,
}


def main(kind: str, *arguments: str) -> None:
    """Be a victim. What goes wrong in words of ours is said, and ends with status 1."""
    if megabytes := os.environ.get("FOVEAL_VICTIM_MB"):
        resource.setrlimit(resource.RLIMIT_AS, (int(megabytes) * 2**20, int(megabytes) * 2**20))
    from foveal.errors import FovealError

    try:
        KINDS[kind](*arguments)
    except FovealError as error:
        say("error", type(error).__name__, str(error)[:300].replace("\n", " "))
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
