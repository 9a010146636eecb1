"""A run of research in the terminal: the graph as a tree that grows, then the words of the answer.

with ResearchView() as view: view.show(event)
listened(run)                    # until its end; Ctrl-C asks for the answer, a second one stops it
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.cli.output import notes, print_json, results

if TYPE_CHECKING:
    from rich.live import Live
    from rich.tree import Tree

    from foveal.research.answers import Researched
    from foveal.research.events import Event
    from foveal.research.graph import Node
    from foveal.research.state import RunState

MARKS = {
    "waiting": ("○", "dim"),
    "running": ("◐", "cyan"),
    "finished": ("●", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("–", "dim"),
    "stale": ("◌", "yellow"),
}
EVERY_S = 0.1
"""Seconds between two drawings of the tree."""


def listened(run: Any, *, json: bool = False) -> Any:
    """Show a run, of an answer or a report, until its end; what it gives. Ctrl-C asks for that; a second one stops."""
    after = 0
    with ResearchView(quiet=json) as view:
        while True:
            try:
                for event in run.log.follow(after):
                    after = event.id
                    view.show(event)
                return run.result()
            except KeyboardInterrupt:
                if run.stopped_by is not None:
                    run.cancel()
                    run.join(1.0)
                    raise
                run.answer_now()
                notes().print("Answering from what was found so far. Ctrl-C once more stops.")


@dataclass
class ResearchView:
    """Shows a run's events; use it as a context. Where no person looks, it shows nothing."""

    quiet: bool = False
    state: RunState | None = None
    _live: Live | None = None
    _drawn: float = field(default=0.0)

    def __enter__(self) -> ResearchView:
        from rich.live import Live

        from foveal.research.state import RunState

        self.state = RunState()
        if not self.quiet and notes().is_terminal:
            self._live = Live(console=notes(), transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: Event) -> None:
        """Take an event in, and draw at most ten times a second."""
        if self.state is None:
            return
        self.state.apply(event)
        if self._live and time.monotonic() - self._drawn > EVERY_S:
            self._drawn = time.monotonic()
            self._live.update(self.drawn(), refresh=True)

    def drawn(self) -> Any:
        """The tree, what the planner thinks now, the answer so far."""
        from rich.console import Group
        from rich.text import Text

        state = self.state
        if state is None or not state.run:
            return Text("")
        parts: list[Any] = [tree(state), *_report_lines(state)]
        if state.thought:
            parts.append(Text(_end_of(state.thought), "dim italic", overflow="ellipsis"))
        if state.answer:
            parts.append(Text(f"\n{_end_of(state.answer, lines=8)}"))
        used = state.usage
        if used:
            parts.append(Text(f"{used['calls']} calls, {used['tokens']:,} tokens, {used['pages']} pages", "dim"))
        return Group(*parts)


def _report_lines(state: RunState) -> list[Any]:
    """Of a report's run: its planner, what it does now, its drafts."""
    from rich.text import Text

    lines = []
    if state.plan:
        plan = state.plan
        lines.append(Text(f"planner {plan['planner']}, up to {plan['searches']} searches: {plan['reason']}", "dim"))
    if state.busy:
        lines.append(Text("; ".join(name[:60] for name in list(state.busy)[-2:]), "cyan"))
    if state.evidence:
        lines.append(Text(f"{len(state.evidence)} passages of {len(state.sources)} sources", "dim"))
    for draft in state.drafts:
        told = f"draft {draft['version'] + 1}: {draft['supported']} of {draft['claims']} sentences borne out"
        lines.append(Text(told, "green" if draft["best"] else "dim"))
    return lines


def tree(state: RunState) -> Tree:
    """The graph as a tree; a node that needs several hangs below the deepest of them."""
    from rich.text import Text
    from rich.tree import Tree

    from foveal.research.graph import RESPONSE, ROOT
    from foveal.research.mermaid import tree_children

    shown = Tree(Text(state.question, "bold"))

    def add(to: Tree, name: str) -> None:
        for child in tree_children(state.graph, name):
            if child != RESPONSE:
                add(to.add(_label(state.graph.nodes[child], state.values.get(child))), child)

    if ROOT in state.graph.nodes:
        add(shown, ROOT)
    return shown


def _label(node: Node, value: Mapping[str, Any] | None = None) -> Any:
    """A node's line; `value` is what a tree of deep research thinks of it."""
    from rich.text import Text

    mark, style = MARKS[node.state]
    text = Text(f"{mark} ", style).append(node.content, "" if node.state != "waiting" else "dim")
    if node.state == "running":
        read = sum("error" not in page for page in node.pages)
        doing = f"{read} of {len(node.selected)} pages" if node.selected else "; ".join(node.queries)[:60]
        text.append(f"  {doing}", "dim")
    elif node.error:
        text.append(f"  {node.error[:80]}", "red")
    if value:
        text.append(f"  value {value['value']:.2f}, {value['visits']} visits", "cyan")
    return text


def _end_of(text: str, lines: int = 3) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def answer_text(answer: Researched) -> Any:
    """The answer, its sources by their numbers, and what is missing."""
    from rich.text import Text

    from foveal.research.answers import BY_ITSELF, STOPPED, UNREAD
    from foveal.research.citations import MARK

    text = Text(MARK.sub(lambda found: f"[{found[1]}]", answer.text))
    text.append("\n")
    for number, one in zip(answer.numbers, answer.citations, strict=True):
        text.append(f"\n[{number}] ", "cyan").append(f"“{' '.join(one.quote.split())}”\n")
        text.append(f"    {one.title} · {one.url}\n", "dim")
        if number in answer.unread:
            text.append(f"    {UNREAD}\n", "yellow")
    if answer.by_itself:
        text.append(f"\n{BY_ITSELF}\n", "yellow")
    for claim in answer.unsupported:
        text.append(f"\nNot borne out by what was found: “{claim}”\n", "yellow")
    for question, reason in answer.missing:
        text.append(f"\nNot found: {question} {reason}\n", "yellow")
    for source, why in answer.unsearched:
        text.append(f"\nNot searched to the end: {source}: {why}\n", "yellow")
    if answer.stopped_by:
        text.append(f"\nNot complete: {STOPPED.get(answer.stopped_by, answer.stopped_by)}.\n", "yellow")
    return text


def shown_answer(answer: Researched, key: str | None, as_json: bool, trace: Path | None = None) -> None:
    """Print an answer, and what it took."""
    if as_json:
        print_json(answer.to_json() | {"run": key, "trace": trace and str(trace)})
        return
    results().print(answer_text(answer))
    used = answer.usage
    spent = (
        f"{used.get('pages', 0)} pages, {used.get('calls', 0)} calls, {used.get('seconds', 0.0):.1f} s; "
        if used
        else ""
    )
    where = " and ".join(filter(None, (f"run {key[:8]}" if key else "", str(trace or ""))))
    notes().print(f"{spent}kept as {where}", style="dim", markup=False, soft_wrap=True)
    if any(node.broken for node in answer.graph.searchers()):
        again = f"foveal research resume {trace or (key or '')[:8]}"
        notes().print(f"What failed is searched again by: {again}", style="dim", markup=False, soft_wrap=True)
