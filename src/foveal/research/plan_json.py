"""A plan as JSON under a grammar: what a small local model can keep to, where it could not write a program.

    {"thought": "…", "action": "search", "nodes": [{"name": "n1", "question": "…?", "parents": ["root"]}],
     "entities": ["…"]}

The grammar is made anew for each turn: a parent is one of the nodes there are, so an edge to nowhere cannot be written,
and while nothing was searched, the only action is to search. `entities` makes the model name what it has found before
it asks on: the second hop needs that name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from foveal.errors import FetchFailed, InputError
from foveal.models.chat import Cancel, ChatModel, Sampling, is_local
from foveal.research.graph import ROOT, Graph
from foveal.research.plans import LONGEST_QUESTION, NewNode, Plan, Refused, Turn
from foveal.research.prompts import json_messages

SAMPLING = Sampling(max_tokens=768)
MOST_NODES, MOST_ENTITIES = 6, 8
_Entity = Annotated[str, Field(max_length=80)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _JsonNode(Protocol):
    name: str
    question: str
    parents: list[str]


class JsonStep(Protocol):
    """What a model answers with; its fields are those of the paper's program in another dress."""

    thought: str
    entities: list[str]
    action: str
    nodes: list[_JsonNode]

    def model_dump_json(self) -> str:
        """The step as it was written."""
        ...


class JsonPlanner:
    """A `Planner`: a chat model that fills in a form."""

    def __init__(self, model: ChatModel, sampling: Sampling = SAMPLING, *, question_first: bool = False) -> None:
        """`question_first`: the first turn searches the question as it stands, and asks no model. A small one copies
        its examples when it has nothing to go by, and what is found so is what its second turn can go by.
        """
        self.model = model
        self.sampling = sampling
        self.question_first = question_first

    def plan(self, turn: Turn, *, on_text: Callable[[str], None], cancel: Cancel | None = None) -> Plan:
        """The model's step as a plan. InputError: it is none, or contradicts itself."""
        if self.question_first and not turn.past:
            return _whole_question(turn.question)
        schema = step_schema(turn.graph)
        try:
            step = self.model.parse(json_messages(turn, self.model), schema, self.sampling, cancel=cancel)
        except (FetchFailed, InputError) as error:
            local = is_local(self.model)
            if local or isinstance(error.__cause__, ValidationError):  # else the server failed, or refused us
                raise Refused(
                    "That was not the JSON that was asked for. Answer with it, and nothing else.", ""
                ) from error
            raise
        plan = plan_from(cast("JsonStep", step), turn.graph)
        on_text(plan.source)
        return plan


def _whole_question(question: str) -> Plan:
    """The plan to search a question as it stands, written as a model would."""
    node = {"name": "question", "question": question, "parents": [ROOT]}
    step = {"thought": "First the question itself.", "entities": [], "action": "search", "nodes": [node]}
    found = (NewNode("question", question[:LONGEST_QUESTION], (ROOT,)),)
    return Plan(thought="First the question itself.", nodes=found, source=json.dumps(step, ensure_ascii=False))


def step_schema(graph: Graph) -> type[BaseModel]:
    """The form of one turn: parents are nodes of `graph`; an answer needs that something was searched."""
    names = tuple(name for name, node in graph.nodes.items() if node.kind != "end") or (ROOT,)
    searched = any(node.kind == "searcher" for node in graph.nodes.values())
    parents: Any = list[Literal[names]]  # type: ignore[valid-type]
    node: Any = create_model(
        "SubQuestion",
        __base__=_Closed,
        name=(str, Field(min_length=1, max_length=40)),
        question=(str, Field(min_length=1, max_length=300)),
        parents=(parents, Field(min_length=1, max_length=4)),
    )
    actions: Any = Literal["search", "answer"] if searched else Literal["search"]
    return create_model(
        "Step",
        __base__=_Closed,
        thought=(str, Field(max_length=300)),
        entities=(list[_Entity], Field(max_length=MOST_ENTITIES)),
        action=(actions, ...),
        nodes=(list[node], Field(min_length=0 if searched else 1, max_length=MOST_NODES)),
    )


def plan_from(step: JsonStep, graph: Graph) -> Plan:
    """The plan of a step. InputError: it searches for nothing, or answers and searches at once."""
    source = step.model_dump_json()
    if step.action == "search" and not step.nodes:
        raise Refused('The action "search" needs nodes. Give some, or take the action "answer".', source)
    if step.action == "answer" and step.nodes:
        raise Refused('The action "answer" comes alone, in a turn of its own, with no nodes.', source)
    taken = {name.casefold() for name in graph.nodes}
    nodes = []
    for one in step.nodes:
        name = _free(one.name.strip() or "question", taken)
        nodes.append(NewNode(name, one.question, tuple(dict.fromkeys(one.parents))))
    return Plan(thought=step.thought, nodes=tuple(nodes), answer=step.action == "answer", source=source)


def _free(name: str, taken: set[str]) -> str:
    """`name`, or with a number behind it where it is taken: small models call every node alike."""
    free, number = name, 2
    while free.casefold() in taken:
        free, number = f"{name} {number}", number + 1
    taken.add(free.casefold())
    return free
