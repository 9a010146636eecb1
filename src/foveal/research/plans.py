"""What a planner is asked and what it answers: sub-questions to add to the graph, or that it is time to answer.

    class Planner(Protocol):  plan(turn) -> Plan          # a model with a prompt, or a trained one

A plan is checked as a whole on a copy of the graph (`extended`): it is taken whole or refused with a reason that the
planner reads in its next turn. So the graph stays acyclic and no node is asked twice, whatever a model writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from foveal.errors import InputError
from foveal.models.characters import scalar
from foveal.models.chat import Cancel, ChatModel, Message
from foveal.research.graph import RESPONSE, ROOT, Graph, Node, folded, same_question

LONGEST_NAME, LONGEST_QUESTION = 80, 1000
"""Characters."""


def searchable(question: str, model: ChatModel, *, half: bool = False) -> str:
    """A question without white space around it.

    InputError: it is empty, or takes more than a quarter of what the model reads (`half`: more than half).
    """
    question = scalar(question)
    if not question.strip():
        raise InputError("The question is empty. Ask something that can be searched for.")
    if model.count_tokens(question) > model.context_tokens // (2 if half else 4):
        raise InputError(
            f"The question takes more than {'half' if half else 'a quarter'} of the {model.context_tokens:,} tokens "
            f"that {model.name} reads. Shorten it, or take a model with a longer context."
        )
    return question.strip()


@dataclass(frozen=True, slots=True)
class NewNode:
    """A sub-question; `parents` are nodes whose answers it needs (none: it stands on the question alone)."""

    name: str
    question: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One turn of a planner. `source` is what it wrote, for its own memory; `text` an answer without any search."""

    thought: str = ""
    nodes: tuple[NewNode, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    asked: tuple[str, ...] = ()  # nodes whose answers the next turn must see; empty: all
    answer: bool = False  # the evidence suffices
    reset: bool = False  # begin the graph anew
    text: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class PastTurn:
    """What the planner wrote, and what it was told."""

    source: str
    observation: str


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a planner sees: never a page, only the searchers' cited summaries."""

    question: str
    graph: Graph  # a copy
    past: tuple[PastTurn, ...] = ()
    number: int = 1  # from 1
    most: int = 10
    today: date = field(default_factory=date.today)
    history: tuple[Message, ...] = ()  # of the talk before this question


class Refused(InputError):
    """A plan that is not taken; `source` is what the model wrote."""

    def __init__(self, message: str, source: str) -> None:
        super().__init__(message)
        self.source = source


class Planner(Protocol):
    """Says what to search next. InputError: its plan is no plan; the message is its next observation."""

    def plan(self, turn: Turn, *, on_text: Callable[[str], None], cancel: Cancel | None = None) -> Plan:
        """The plan of this turn; `on_text` is told what the model writes, as it comes."""
        ...


def extended(graph: Graph, plan: Plan, *, most_nodes: int) -> Graph:
    """The graph with all that `plan` adds. InputError: it cannot be; the graph that was given is never changed."""
    new = _begun_anew(graph) if plan.reset else graph.copy()
    added = [one for one in plan.nodes if not _is_there(new, one)]
    if added and len(new.searchers()) + len(added) > most_nodes:
        raise InputError(f"The graph may hold {most_nodes} questions. Answer from what there is, or ask for fewer.")
    for one in added:
        _require_new(new, one)
        new.add(Node(one.name, " ".join(one.question.split())))
    for one in plan.nodes:
        for parent in one.parents:
            new.connect(new.called(parent), one.name)
    for start, end in plan.edges:
        _connect(new, start, end)
    for one in added:
        if not new.parents(one.name):
            new.connect(ROOT, one.name)
    return new


def _begun_anew(graph: Graph) -> Graph:
    new = Graph()
    new.add(Node(ROOT, graph.nodes[ROOT].content, "root", "finished"))
    return new


def _is_there(graph: Graph, one: NewNode) -> bool:
    """Whether a model that writes its whole program anew names what it had named before."""
    held = graph.nodes.get(one.name)
    return held is not None and held.kind == "searcher" and same_question(held.content, one.question)


def _connect(graph: Graph, start: str, end: str) -> None:
    if folded(end) in (ROOT, RESPONSE):  # where these stand in the graph is not the planner's to say
        graph.called(start)
        return
    graph.connect(graph.called(start), graph.called(end))


def _require_new(graph: Graph, one: NewNode) -> None:
    if not one.name.strip() or len(one.name) > LONGEST_NAME:
        raise InputError(f"A node's name has 1 to {LONGEST_NAME} characters.")
    if folded(one.name) in (ROOT, RESPONSE):
        raise InputError(f"{one.name!r} is kept for the {folded(one.name)}. Give the sub-question another name.")
    if not one.question.strip() or len(one.question) > LONGEST_QUESTION:
        raise InputError(f"The question of {one.name!r} needs 1 to {LONGEST_QUESTION} characters.")
    for node in graph.searchers():
        if same_question(node.content, one.question):
            raise InputError(f"{one.name!r} asks what {node.name!r} asks already. Read its answer, or ask another.")


def node_names(names: Sequence[str], graph: Graph) -> tuple[str, ...]:
    """Names that a plan asks for, as the graph writes them; the root, which has no answer, is left out."""
    return tuple(dict.fromkeys(name for name in map(graph.called, names) if graph.nodes[name].kind == "searcher"))
