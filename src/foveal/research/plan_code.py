"""A plan as the paper's planner writes it: a few lines of Python over a `WebSearchGraph`. They are read, never run.

    graph = WebSearchGraph()
    graph.add_root_node(node_content="…", node_name="root")
    graph.add_node(node_name="founder", node_content="Who founded …?")
    graph.add_edge(start_node="root", end_node="founder")
    graph.node("founder")

Source    MindSearch (Chen et al., arXiv 2407.20183): names of the calls; the reference executes such a program
Allowed   an assignment of WebSearchGraph() to a name; the seven calls with constant texts; tuples of graph.node(…)
Refused   all else, with a reason that the model reads; nothing that a program says reaches the interpreter
Mended    names of arguments and nodes that differ in case or underscores, where just one fits; a program that is
          indented as a whole; a block that is not closed
"""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import dedent

from foveal.errors import InputError
from foveal.models.chat import Cancel, ChatModel, Sampling
from foveal.research.graph import folded
from foveal.research.plans import NewNode, Plan, Refused, Turn
from foveal.research.prompts import code_messages

SAMPLING = Sampling(max_tokens=1024)
LONGEST = 20_000
"""Characters of a program."""

_BLOCK = re.compile(r"```[ \t]*+\w*+[ \t]*+\r?\n(.*?)```", re.DOTALL)
_LEFT_OPEN = re.compile(r"```[ \t]*+\w*+[ \t]*+\r?\n(.*)\Z", re.DOTALL)
"""Of a model that stops before it has closed its block."""
_SPAN = re.compile(r"`([^`\n]*WebSearchGraph[^`\n]*|[^`\n]*\bgraph\.[^`\n]*)`")
_ACTION = re.compile(r"<\|action_start\|>\s*(?:<\|interpreter\|>)?(.*?)(?:<\|action_end\|>|\Z)", re.DOTALL)
_IMPORT = re.compile(r"^[^\S\n]*+(?:from\s+[\w.]+\s+)?import\s+WebSearchGraph[^\S\n]*$", re.MULTILINE)
_LOOKS_LIKE_CODE = re.compile(r"\bWebSearchGraph\b|\bgraph\s*\.\s*\w+\s*\(")

METHODS: dict[str, tuple[str, ...]] = {
    "add_root_node": ("node_content", "node_name"),
    "add_node": ("node_name", "node_content"),
    "add_edge": ("start_node", "end_node"),
    "add_response_node": ("node_name",),
    "reset": (),
    "node": ("node_name",),
}
_DEFAULTS = {"add_root_node": {"node_name": "root"}, "add_response_node": {"node_name": "response"}}
_PARSING = threading.Lock()  # warnings.catch_warnings changes what all threads see


class CodePlanner:
    """A `Planner`: a chat model that writes programs."""

    def __init__(self, model: ChatModel, sampling: Sampling = SAMPLING) -> None:
        self.model = model
        self.sampling = sampling

    def plan(self, turn: Turn, *, on_text: Callable[[str], None], cancel: Cancel | None = None) -> Plan:
        """The model's program, read. InputError: it is none that may be, or there are two."""
        pieces = []
        for piece in self.model.stream(code_messages(turn, self.model), self.sampling, cancel=cancel):
            pieces.append(piece)
            on_text(piece)
        return plan_of("".join(pieces))


def plan_of(text: str) -> Plan:
    """The plan in what a model wrote; without a program, the text is its answer.

    InputError: there is nothing in it, or a program is refused.
    """
    thought, programs = programs_in(text)
    if not text.strip():
        raise Refused("There was nothing in it. Write a thought and a program, or the answer.", text)
    if not programs:
        return Plan(thought=thought, text=text.strip(), source=text)
    if len(programs) > 1:
        raise Refused(f"There were {len(programs)} programs; write one, and wait for what it finds.", text)
    try:
        calls = list(_calls(_parsed(programs[0])))
        return _plan(calls, thought, text)
    except InputError as error:
        raise Refused(str(error), text) from error


def programs_in(text: str) -> tuple[str, list[str]]:
    """What stands before the first program, and the programs: between marks, in fences, else the whole text."""
    for pattern in (_ACTION, _BLOCK, _SPAN):
        found = [one for one in pattern.finditer(text) if one[1].strip()]
        if found:
            return text[: found[0].start()].strip(), [_unfenced(one[1])[1] for one in found]
    if not _LOOKS_LIKE_CODE.search(text):
        return text.strip(), []
    thought, program = _unfenced(text)
    return thought, [program]


def _unfenced(text: str) -> tuple[str, str]:
    """What stands before a block, and what is in it; of a block that is only closed, what stands before its end."""
    block = _BLOCK.search(text + "\n") or _LEFT_OPEN.search(text)
    before = text[: block.start()] if block else ""
    looks = _LOOKS_LIKE_CODE.search
    if block and block[1].strip() and (looks(block[1]) or not looks(before)):
        return before.strip(), block[1]
    closed = text.partition("```")[0]
    return "", closed if closed.strip() else text


def _parsed(program: str) -> list[ast.stmt]:
    if len(program) > LONGEST:
        raise InputError(f"The program has {len(program):,} characters; {LONGEST:,} are the most.")
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a text is the model's business
            return ast.parse(dedent(_IMPORT.sub("", program))).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"The program cannot be read as Python ({_brief(error)}).") from error


@dataclass(frozen=True)
class _Call:
    method: str
    given: dict[str, str] = field(default_factory=dict)


def _calls(body: Sequence[ast.stmt]) -> Iterator[_Call]:
    names = {"graph"}
    for statement in body:
        if isinstance(statement, ast.Assign):
            names.add(_assigned(statement))
        elif isinstance(statement, ast.Expr):
            yield from _expression(statement.value, names)
        else:
            raise _refused(statement)


def _assigned(statement: ast.Assign) -> str:
    """The name that a graph is given."""
    target, value = statement.targets[0], statement.value
    made = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "WebSearchGraph"
    if len(statement.targets) != 1 or not isinstance(target, ast.Name) or not made:
        raise _refused(statement)
    if isinstance(value, ast.Call) and (value.args or value.keywords):
        raise InputError("WebSearchGraph() takes no arguments.")
    return target.id


def _expression(value: ast.expr, names: set[str]) -> Iterator[_Call]:
    if isinstance(value, ast.Tuple | ast.List):
        for element in value.elts:
            call = _call(element, names)
            if call.method != "node":
                raise InputError(f"A tuple holds graph.node(…) only; it held {call.method}.")
            yield call
    else:
        yield _call(value, names)


def _call(value: ast.expr, names: set[str]) -> _Call:
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)):
        raise _refused(value)
    owner, method = value.func.value, value.func.attr
    if not isinstance(owner, ast.Name) or owner.id not in names:
        raise InputError(f"Line {value.lineno} calls something that is not the graph. Call the graph's methods only.")
    if method not in METHODS:
        raise InputError(f"The graph has no method {method!r}. There are: {', '.join(METHODS)}.")
    return _Call(method, _arguments(value, method))


def _arguments(call: ast.Call, method: str) -> dict[str, str]:
    """Argument -> text; names that are spelt otherwise are mended where only one fits."""
    known = METHODS[method]
    if len(call.args) > len(known):
        raise InputError(f"{method} takes {len(known)} arguments; it got {len(call.args)}.")
    given = {name: _text(value, method) for name, value in zip(known, call.args, strict=False)}
    for keyword in call.keywords:
        name = _named(keyword.arg or "**", method)
        if name in given:
            raise InputError(f"{method} got {name} twice.")
        given[name] = _text(keyword.value, method)
    given = _DEFAULTS.get(method, {}) | given
    missing = [name for name in known if name not in given]
    if missing:
        raise InputError(f"{method} needs {', '.join(known)}; it got no {', '.join(missing)}.")
    return given


def _named(name: str, method: str) -> str:
    found = [one for one in METHODS[method] if folded(one) == folded(name)]
    if len(found) != 1:
        raise InputError(f"{method} has no argument {name!r}. There are: {', '.join(METHODS[method]) or 'none'}.")
    return found[0]


def _text(value: ast.expr, method: str) -> str:
    if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
        raise InputError(f"{method} takes plain texts in quotes, nothing that is computed.")
    return value.value.encode("utf-8", "replace").decode("utf-8")


def _plan(calls: Sequence[_Call], thought: str, source: str) -> Plan:
    """What the calls add up to, in their order: those before a reset are void."""
    resets = [place for place, one in enumerate(calls) if one.method == "reset"]
    counted = calls[resets[-1] + 1 :] if resets else calls
    return Plan(
        thought=thought,
        nodes=tuple(NewNode(*_values(one)) for one in counted if one.method == "add_node"),
        edges=tuple((one.given["start_node"], one.given["end_node"]) for one in counted if one.method == "add_edge"),
        asked=tuple(one.given["node_name"] for one in counted if one.method == "node"),
        answer=any(one.method == "add_response_node" for one in counted),
        reset=bool(resets),
        source=source,
    )


def _values(call: _Call) -> tuple[str, str]:
    return call.given["node_name"], call.given["node_content"]


def _refused(node: ast.AST) -> InputError:
    what = type(node).__name__
    return InputError(
        f"Line {getattr(node, 'lineno', '?')} holds what a plan may not ({what}). Only calls of the graph are read: "
        f"{', '.join(METHODS)}."
    )


def _brief(error: Exception) -> str:
    return f"{getattr(error, 'msg', None) or type(error).__name__}, line {getattr(error, 'lineno', None) or '?'}"
