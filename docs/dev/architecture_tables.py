"""The tables of docs/architectures.md, out of what architectures.py found.

Architectures that end alike stand in one row. A cell holds `yes`, or why not, in few words for a sentence of our error;
a sentence that is not known here stands as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

WHY = {
    "cannot be switched": "does not go through `AttentionInterface`",
    "learned attention sinks": "learned attention sinks",
    "puts compressed keys": "compressed keys beside those of tokens",
    "bias of positions": "a learned bias of positions",
    "sparse attention of its own": "chooses itself what to look at",
    "work on the mask": "code of its own works on the mask",
    "shared by several layers": "layers share one attention",
    "No layer of": "no layer attends to keys",
    "sets of rotary positions": "no rotary positions",
    "has no rotary positions": "no rotary positions",
    "do not say how many tokens": "no rotary positions",
    "does not say for how many tokens": "does not say for how many tokens it is",
    "turns only some": "turned in part",
    "not whole heads": "turned in part",
    "turns its keys": "turned otherwise",
    "turns queries and keys in a form": "turned otherwise",
    "not at all, or otherwise": "turned otherwise",
    "kind that is not known": "turned otherwise",
    "scales its logits": "scaled logits",
    "never asked for": "compressed keys",
    "attends to other keys": "other keys than cached",
    "more than once": "keys attended to twice",
    "side by side": "texts would meet",
    "sees chunks": "chunks",
    "Every layer": "windows only",
    "does not tell num_attention_heads": "heads differ by layer",
    "caps its attention scores": "capped scores",
    "reads tokens alone": "embeddings by token alone",
    "a mask of one's own": "a mask of its own",
    "without padding; no mask": "a mask of its own",
    "Sinks are told apart by position": "chunks or a mask of its own",
    "looks at no document": "counts other layers than it runs",
    "never looked at the text": "counts other layers than it runs",
    "a cache of a kind of its own": "a cache of its own kind",
}
"""By a piece of our error's first sentence the words of a cell."""

COLUMNS = {
    "caches": "caches of our own",
    "longheads": "LongHeads",
    "side by side": "side by side",
    "landmarks": "landmarks",
    "gates": "gates",
    "heads": "detecting heads",
    "edits": "edits",
}
"""By part the head of its column."""

EXACT = "yes"


class Outcome(Protocol):
    """What is told of a check; see architectures.py."""

    architecture: str
    part: str
    verdict: str
    error: float | None
    why: str


def written_into(page: str, outcomes: Sequence[Outcome]) -> str:
    """The page with the tables anew, each between `<!-- architectures NAME -->` and `<!-- end -->`."""
    for name, rows in tables(outcomes).items():
        begun = f"<!-- architectures {name} -->"
        table = "\n".join([begun, *rows, "<!-- end -->"])
        page, found = re.subn(f"{re.escape(begun)}.*?<!-- end -->", lambda _, new=table: new, page, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"The page holds {found} places for the table of {name}; it needs one, {begun}.")
    return page


def tables(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """By name the lines of each table."""
    of_kind: dict[str, list[Outcome]] = {}
    for one in outcomes:
        of_kind.setdefault(one.architecture, []).append(one)
    cells = {kind: {part: cell(own, part) for part in ("made", "attach", *COLUMNS)} for kind, own in of_kind.items()}
    exact = {kind: [own[part] for part in COLUMNS] for kind, own in cells.items() if own["attach"] == EXACT}
    errors = [one.error for kind in exact for one in of_kind[kind] if one.part == "attach" and one.error is not None]
    told = f"{len(exact)} of {len(cells)} architectures; attaching is off by {max(errors, default=0.0):.0e} at most."
    return {
        "exact": [told, "", *_rows("architectures", COLUMNS, exact)],
        "refused": _reasons(cells, "attach"),
        "not tried": _reasons(cells, "made"),
    }


def cell(outcomes: Iterable[Outcome], part: str) -> str:
    """How a part ended in all of its checks: `yes`, why not, or WRONG; empty, where nothing could be tried."""
    own = [one for one in outcomes if one.part == part]
    verdicts = {one.verdict for one in own} - {"untried"}
    if "WRONG" in verdicts:
        return "WRONG"
    if "refused" in verdicts:
        words = {word for one in own if one.verdict == "refused" for word in short(one.why).split(", ")}
        return ", ".join(sorted(words))
    if part == "made" and own:
        return re.sub(r" \([^()]*\)$", "", own[0].why)  # without the lines where it was raised
    return EXACT if verdicts else ""


def short(why: str) -> str:
    """Our error's first sentence in few words."""
    return next((words for piece, words in WHY.items() if piece in why), why.partition("this model has ")[2] or why)


def _reasons(cells: Mapping[str, Mapping[str, str]], part: str) -> list[str]:
    """Why not | which."""
    kinds: dict[str, list[str]] = {}
    for kind, own in cells.items():
        if own[part] not in (EXACT, ""):
            kinds.setdefault(own[part], []).append(kind)
    lines = [f"| {why} | {_named(kinds[why])} |" for why in sorted(kinds, key=lambda why: (-len(kinds[why]), why))]
    return ["| why not | architectures |", "| --- | --- |", *lines]


def _rows(first: str, columns: Mapping[str, str], cells: Mapping[str, Sequence[str]]) -> list[str]:
    """Which | how each column ended; what works best comes first."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for kind, own in cells.items():
        alike.setdefault(tuple(own), []).append(kind)
    order = sorted(alike, key=lambda own: (-own.count(EXACT), -len(alike[own]), own))
    lines = [f"| {_named(alike[own])} | {' | '.join(own)} |" for own in order]
    return [f"| {first} | {' | '.join(columns.values())} |", "| --- |" + " --- |" * len(columns), *lines]


def _named(kinds: Iterable[str]) -> str:
    """The names of a row; the text part of what stands there itself is left out."""
    held = set(kinds)
    return ", ".join(sorted(kind for kind in held if kind.removesuffix("_text") not in held - {kind}))
