"""What a run gives: an answer whose every number leads to a source that was read, and what is missing of it.

found = search.ask("…")
found.text, found.citations, found.missing, found.stopped_by
found.to_markdown(), found.to_html(), found.to_json()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foveal.research.citations import MARK, borne_out, cited, fitting, not_borne_out, said_before
from foveal.research.graph import Graph
from foveal.research.markdown import address, linkless, one_line, plain
from foveal.research.state import RunState
from foveal.types import Answer, Citation, Span

STOPPED = {
    "budget": "the budget was spent",
    "cancelled": "it was cancelled",
    "asked": "an answer was asked for before the searches were over",
    "turns": "the planner's turns were used up",
    "model": "the model could not be reached any more",
    "error": "it broke",
    "waits": "it waits for who asked",
}
"""Why a run was over before its planner said so."""

UNREAD = "The page itself could not be read: what is quoted are the words of the search that found it."
BY_ITSELF = "Nothing was searched: the model answered by itself."


@dataclass(frozen=True, slots=True)
class Researched(Answer):
    """An answer from many sources. `citations` are those that its text numbers, in the order of the numbers.

    `stopped_by` is a key of `STOPPED`, None where nothing stopped the run; `missing` are the sub-questions without an
    answer, with the reason. `found` is False where no searcher found anything.
    """

    question: str = ""
    numbers: tuple[int, ...] = ()  # of the citations
    beside: tuple[tuple[Citation, ...], ...] = ()  # other places that the text rests on, for each of the citations
    unread: frozenset[int] = frozenset()  # numbers whose quotes are the search's words: their pages could not be read
    graph: Graph = field(default_factory=Graph)
    usage: dict[str, Any] = field(default_factory=dict)
    stopped_by: str | None = None
    missing: tuple[tuple[str, str], ...] = ()
    bad_citations: int = 0  # numbers that the models wrote and that nothing stood behind; they were taken out
    found: bool = True
    unsupported: tuple[str, ...] = ()  # sentences that cite nothing and that nothing found bears out
    errors: tuple[str, ...] = ()
    unsearched: tuple[tuple[str, str], ...] = ()  # sources that did not answer while others did, with the reason

    @property
    def by_itself(self) -> bool:
        """Whether the model answered without a search: then nothing bears the answer out."""
        return self.found and bool(self.text) and not self.graph.searchers()

    def to_markdown(self) -> str:
        """The answer, its sources, and what is missing."""
        lines = [f"# {one_line(self.question)}", linkless(MARK.sub(_bracket, self.text))]
        if self.stopped_by:
            lines.append(f"*Not complete: {STOPPED.get(self.stopped_by, self.stopped_by)}.*")
        if self.by_itself:
            lines.append(f"*{BY_ITSELF}*")
        if self.citations:
            lines += ["## Sources", *self._sources()]
        if self.unsupported:
            lines += ["## Not borne out by what was found", "\n".join(f"- {plain(one)}" for one in self.unsupported)]
        if self.missing:
            missing = (f"- {plain(question)}: {plain(reason)}" for question, reason in self.missing)
            lines += ["## Not found", "\n".join(missing)]
        if self.unsearched:
            silent = (f"- {plain(source)}: {plain(why)}" for source, why in self.unsearched)
            lines += ["## Not searched to the end", "\n".join(silent)]
        return "\n\n".join(lines) + "\n"

    def to_html(self) -> str:
        """`to_markdown` as HTML. What pages and models wrote stays text, no picture is loaded from anywhere, and links
        lead to the sources alone.
        """
        from markdown_it import MarkdownIt

        made = MarkdownIt("commonmark", {"html": False}).disable(["image", "link", "reference"])
        safe, known = made.validateLink, {made.normalizeLink(address(one.url)) for one in self.citations}
        made.validateLink = lambda url: url in known and safe(url)  # type: ignore[method-assign]
        return f"<article>\n{made.render(self.to_markdown())}</article>\n"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for other programs."""
        return {
            "question": self.question,
            "answer": self.text,
            "found": self.found,
            "stopped_by": self.stopped_by,
            "citations": [
                _citation_json(number, one)
                | {"read": number not in self.unread, "beside": [_place_json(other) for other in others]}
                for number, one, others in zip(self.numbers, self.citations, self.beside, strict=True)
            ],
            "graph": {
                "nodes": [_node_json(self.graph, name) for name in self.graph.nodes],
                "edges": [
                    {"id": edge, "source": start, "target": end} for (start, end), edge in self.graph.edges.items()
                ],
            },
            "unsupported": list(self.unsupported),
            "missing": [{"question": question, "reason": reason} for question, reason in self.missing],
            "usage": self.usage,
            "bad_citations": self.bad_citations,
            "errors": list(self.errors),
            "unsearched": [{"source": source, "reason": why} for source, why in self.unsearched],
        }

    def _sources(self) -> list[str]:
        """One paragraph each: a list would be numbered anew from its first number, whatever the others are."""
        quotes = [[one, *others] for one, others in zip(self.citations, self.beside, strict=True)]
        return [
            "  \n".join(
                (
                    f"[{number}] {plain(own[0].title)} — <{address(own[0].url)}>",
                    *(_quoted(one) for one in own),
                    *([f"*{UNREAD}*"] if number in self.unread else []),
                )
            )
            for number, own in zip(self.numbers, quotes, strict=True)
        ]


def researched(state: RunState) -> Researched:
    """The answer that a run's events add up to, whether or not the run is over."""
    done = state.done or {}
    numbers = [number for number in cited(state.answer) if number in state.refs]
    numbers.sort()
    nodes = state.graph.searchers()
    places = {number: _places(state, number) for number in numbers}
    quoted = [tuple(dict.fromkeys(map(_citation, own))) for own in places.values()]
    return Researched(
        state.answer,
        tuple(own[0] for own in quoted),
        None,
        question=state.question,
        numbers=tuple(numbers),
        beside=tuple(own[1:] for own in quoted),
        unread=frozenset(number for number, own in places.items() if any(one.get("unread") for one in own)),
        graph=state.graph.copy(),
        usage=dict(state.usage),
        stopped_by=done.get("stopped_by"),
        missing=tuple(
            (node.content, node.error or "It was not searched to its end.") for node in nodes if not node.answer
        ),
        bad_citations=done.get("bad_citations", 0) + sum(node.bad_citations for node in nodes),
        found=bool(done.get("found", any(node.answer for node in nodes))),
        unsupported=tuple(_unsupported(state)),
        errors=tuple(state.errors),
        unsearched=tuple(state.unsearched.items()),
    )


def _unsupported(state: RunState) -> list[str]:
    """What the answer says without a number and no quote bears out.

    A searcher's words were found only where they cite, or a quote bears them out. Of an answer that was put together
    from summaries, each is looked at by itself.
    """
    answers = [node.answer for node in state.graph.searchers() if node.answer]
    if not state.done or not answers:
        return []
    quotes = [one["quote"] for number in state.refs for one in state.quotes(number)]
    if state.done.get("put_together"):  # a report's text holds no summary, and has checks of its own
        said = [one for answer in answers if answer in state.answer for one in not_borne_out(answer, quotes)]
        return list(dict.fromkeys(said))
    return not_borne_out(state.answer, [*quotes, *(borne_out(answer, quotes) for answer in answers)])


INVENTED = "The model's own answer had names or numbers that stand in nothing that was found. What was found:"


def partial_answer(state: RunState, stopped_by: str | None, *, invented: bool = False) -> str:
    """An answer without a model: what the searchers found, as they wrote it, with its citations.

    `invented`: instead of one that the model wrote of what was nowhere read.
    """
    found = [node for node in state.graph.searchers() if node.answer]
    why = f" ({STOPPED.get(stopped_by, stopped_by)})" if stopped_by else ""
    if not found:
        return f"Nothing was found that answers this{why}."
    parts = [f"**{node.content}** {node.answer}" for node in found]
    head = INVENTED if invented else f"The answer was not written to its end{why}. What was found so far:"
    return "\n\n".join([head, *parts])


def _places(state: RunState, number: int) -> Sequence[Mapping[str, Any]]:
    """What of a source bears out what the answer says by its number: a place for each statement."""
    marks = (mark for mark in MARK.finditer(state.answer) if number in cited(mark[0]))
    places = state.quotes(number)
    return [fitting(said_before(state.answer, mark.start()), places) for mark in marks] or places[:1]


def _citation(ref: Mapping[str, Any]) -> Citation:
    span = ref["span"]
    place = Span(span["document_id"], span["start"], span["end"])
    return Citation(place, ref["quote"], ref["title"], ref["url"], ref["revision"] or None)


def _citation_json(number: int, one: Citation) -> dict[str, Any]:
    return {"number": number, "title": one.title, "url": one.url} | _place_json(one)


def _place_json(one: Citation) -> dict[str, Any]:
    span = {"document_id": one.span.document_id, "start": one.span.start, "end": one.span.end}
    return {"quote": one.quote, "span": span, "revision": one.revision}


def _quoted(one: Citation) -> str:
    return f"“{plain(one.quote)}”"


def _node_json(graph: Graph, name: str) -> dict[str, Any]:
    node = graph.nodes[name]
    return {
        "name": name,
        "question": node.content,
        "kind": node.kind,
        "state": node.state,
        "parents": graph.parents(name),
        "queries": node.queries,
        "results": node.results,
        "selected": node.selected,
        "answer": node.answer,
        "error": node.error,
    }


def _bracket(found: Any) -> str:
    return "".join(f"[{number}]" for number in found[1].replace(";", ",").split(","))
