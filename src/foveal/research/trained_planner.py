"""A planner that learnt from recorded runs: in a run of MindSearch, and in a folder.

    planner = PlannerModel.load(home / "models" / "my-planner")
    MindSearch(model, source, planner=lambda _: TrainedPlanner(planner))

It searches the question as it stands and its first query side by side, reads of each query's hits what a transcript
shows, and in the next turn asks of the likeliest names in them, side by side, until it writes `Done`. A query hangs
below those whose hits gave it a new word, else below the question. It asks no chat model, so it spends none of a run's
tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from foveal.errors import InputError, ModelUnavailable
from foveal.models.chat import Cancel
from foveal.models.language import LanguageModel, load_language_model
from foveal.research.exploring import write_named
from foveal.research.graph import ROOT, Node, same_question
from foveal.research.planner_settings import PlannerSettings
from foveal.research.planner_training import learned_model, new_changes
from foveal.research.plans import LONGEST_QUESTION, NewNode, Plan, Turn
from foveal.research.query_writer import QueryWriter
from foveal.research.recorded_search import new_words
from foveal.research.transcripts import Transcript, TranscriptSettings
from foveal.retrieval.terms import terms
from foveal.settings import expanded
from foveal.training.checkpoints import load_weights, save_changes
from foveal.training.loop import LoopSettings

PLANNER, CHANGES = "planner.json", "changes.safetensors"
QUESTION = "question"
"""The node that searches the question as it stands."""


@dataclass(frozen=True, eq=False)
class PlannerModel:
    """A language model with what it learnt of planning, if anything; `base` itself stays as it is."""

    base: LanguageModel
    settings: PlannerSettings = field(default_factory=PlannerSettings)
    learned: Any = None  # low-rank changes of the upper layers, or None
    runs: int = 0  # that it learnt from
    source: str = ""  # what they were called

    @cached_property
    def writer(self) -> QueryWriter:
        """Writes its queries."""
        model = None if self.learned is None else learned_model(self.base, self.learned, self.settings)
        return QueryWriter(self.base, model, self.settings.transcript)

    def save(self, folder: Path) -> Path:
        """Write the changes and what they change. InputError: nothing was learnt, or the folder is taken."""
        if self.learned is None:
            raise InputError("This planner has learnt nothing, so there is nothing to save. Name its model instead.")
        told = {
            "base": self.base.name, "fingerprint": self.base.fingerprint, "settings": asdict(self.settings),
            "runs": self.runs, "source": self.source,
        }  # fmt: skip
        return save_changes(self.learned, told, folder, told_in=PLANNER, weights=CHANGES)

    @classmethod
    def load(cls, folder: Path, *, base: LanguageModel | None = None, cache: Path | None = None) -> PlannerModel:
        """What `save` wrote; `base` is its model, where that has no name. ModelUnavailable: none, or another model."""
        try:
            told = json.loads((folder / PLANNER).read_text(encoding="utf-8"))
            kept = dict(told["settings"])
            kept["transcript"] = TranscriptSettings(**kept["transcript"])
            kept["loop"] = LoopSettings(**kept["loop"])
            settings, name, known = PlannerSettings(**kept), told["base"], told["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnavailable(
                f"{folder} holds no planner ({type(error).__name__}: {error}). Train one: foveal train planner FOLDER."
            ) from error
        base = base or load_language_model(name, cache=cache)
        if base.fingerprint != known:
            raise ModelUnavailable(f"{folder} changes another {name} than the one that is here. Train a new planner.")
        learned = new_changes(base, settings)
        load_weights(learned, folder / CHANGES)
        return cls(base, settings, learned, told["runs"], told["source"])


def planner_folder(named: str, home: Path) -> Path:
    """The folder of a planner that a person names: one of the home's models, or a folder. ModelUnavailable: neither."""
    for folder in (home / "models" / named, expanded(named)):
        if (folder / PLANNER).is_file():
            return folder
    there = ", ".join(sorted(one.parent.name for one in (home / "models").glob(f"*/{PLANNER}")))
    raise ModelUnavailable(
        f"No planner is called {named!r}: neither {home / 'models' / named} nor {named} holds a {PLANNER}. Trained "
        f"here: {there or 'none'}. Train one: foveal train planner FOLDER."
    )


class TrainedPlanner:
    """A `Planner` over a `PlannerModel`."""

    def __init__(self, model: PlannerModel) -> None:
        self.model = model

    def plan(self, turn: Turn, *, on_text: Callable[[str], None], cancel: Cancel | None = None) -> Plan:
        """The next query, or that it is time to answer."""
        asked = [node for node in turn.graph.searchers() if not same_question(node.content, turn.question)]
        settings = self.model.settings
        last = turn.number >= max(2, turn.most)  # who has one turn searches in it
        most = 1 + max(1, settings.named) * (settings.most_queries - 1)
        if last or turn.number > settings.most_queries or len(asked) >= most:
            return _answer(on_text)
        transcript = transcript_of(turn.question, asked, settings.transcript)
        writer = self.model.writer
        if asked and settings.named:
            lines = write_named(writer, [transcript], settings.named, cancel=cancel)[0]
        else:
            lines = writer.write([transcript], must_search=not asked, cancel=cancel)
        nodes = (
            [] if asked or turn.graph.searchers() else [NewNode(QUESTION, turn.question[:LONGEST_QUESTION], (ROOT,))]
        )
        told = [turn.question, *(node.content for node in asked)]
        for query in [line.query for line in lines if line.query]:
            if not any(same_question(query, one) for one in told):
                parents = needed(query, turn.question, asked, transcript) or (ROOT,)
                nodes.append(NewNode(f"search {len(told)}", query, parents))
                told.append(query)
        if not nodes:
            return _answer(on_text)
        source = "\n".join(f"Search {line.query}" if line.query else "Done" for line in lines)
        on_text(source)
        return Plan(nodes=tuple(nodes), source=source)


def _answer(on_text: Callable[[str], None]) -> Plan:
    on_text("Done")
    return Plan(answer=True, source="Done")


def transcript_of(question: str, asked: Sequence[Node], settings: TranscriptSettings) -> Transcript:
    """A run's searches as a planner reads them: the hits of each node as its search gave them."""
    made = Transcript(question)
    for node in asked:
        hits = [(str(one.get("title", "")), str(one.get("summ", ""))) for one in node.results]
        made = made.and_then(node.content, hits[: 2 * settings.passages], settings)
    return made


def needed(query: str, question: str, asked: Sequence[Node], transcript: Transcript) -> tuple[str, ...]:
    """Names of the nodes whose hits hold a word of the query that it has from nowhere else."""
    new = new_words(query, (question,))
    given = []
    for node, one in zip(asked, transcript.searched, strict=True):
        if new & ({word for line in one.lines for word in terms(line)} - set(terms(one.query))):
            given.append(node.name)
    return tuple(given)
