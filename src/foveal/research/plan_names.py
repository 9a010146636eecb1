"""A plan that no model writes: the question as it stands, then the names that its best hits hold and it does not.

    1   the question
    2   at most `most` of those names, side by side, each with the question behind it; below the question
    3   the answer

Made for models of half a billion parameters: what such a model plans finds less than this, and takes a call a turn (see
docs/research-planner.md). Scripts without capitals have no names that it knows, so there the question itself is all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foveal.errors import InputError
from foveal.models.chat import Cancel
from foveal.research.anchors import names_of
from foveal.research.graph import ROOT
from foveal.research.plans import LONGEST_NAME, LONGEST_QUESTION, NewNode, Plan, Turn
from foveal.research.transcripts import Shown, Transcript, TranscriptSettings, names_left
from foveal.retrieval.terms import terms

NODE = "question"
"""The node that searches the question as it stands."""

NAMES, READ = 3, 2
"""Names that are asked of; hits of the question that they come from, of each the sentence with most of its words."""


class NamesPlanner:
    """A `Planner` without a model."""

    def __init__(self, most: int = NAMES) -> None:
        """`most` names are asked of. InputError: below 0."""
        if most < 0:
            raise InputError(f"A plan by names got most = {most}; it needs 0 or more.")
        self.most = most

    def plan(
        self,
        turn: Turn,
        *,
        on_text: Callable[[str], None],
        cancel: Cancel | None = None,  # noqa: ARG002
    ) -> Plan:
        """What to search next, or that it is time to answer."""
        whole = turn.graph.nodes.get(NODE)
        if whole is None:
            return _told(on_text, [NewNode(NODE, turn.question[:LONGEST_QUESTION], (ROOT,))])
        if len(turn.graph.searchers()) > 1 or turn.number >= max(2, turn.most):
            return _told(on_text, [])
        hits = [(str(one.get("title", "")), str(one.get("summ", ""))) for one in whole.results]
        before = [str(one["content"]) for one in turn.history if one["role"] == "user"]
        names = [*_spoken_of(turn.question, before), *names_found(turn.question, hits, self.most)][: self.most]
        return _told(on_text, [_node(name, turn.question) for name in dict.fromkeys(names)])


def names_found(question: str, hits: Sequence[Shown], most: int = NAMES) -> list[str]:
    """The first names, at most `most`, of the best hits' sentences (title and text each) that the question has not."""
    made = Transcript(question).and_then(question, hits, TranscriptSettings(passages=READ))
    return names_left(made)[:most]


def _spoken_of(question: str, before: Sequence[str]) -> list[str]:
    """Names of the question before, in a talk, that this one does not have."""
    known = set(terms(question))
    return [name for name in names_of(before[-1]) if not set(terms(name)) <= known] if before else []


def _node(name: str, question: str) -> NewNode:
    return NewNode(f"about {name}"[:LONGEST_NAME], f"{name}: {question}"[:LONGEST_QUESTION], (NODE,))


def _told(on_text: Callable[[str], None], nodes: Sequence[NewNode]) -> Plan:
    source = "\n".join(f"Search {one.question}" for one in nodes) or "Done"
    on_text(source)
    return Plan(nodes=tuple(nodes), answer=not nodes, source=source)
