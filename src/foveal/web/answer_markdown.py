"""An answer of the library as one text in Markdown, for who shows nothing else: as `foveal ask` prints it, with links.

    The keeper is called Orsin Vale. [1]

    [1] “The keeper of the tide mill is called Orsin Vale.” [The mill](https://…/library/5eba…?span=46-93&revision=…)

What texts and models wrote loads no picture, hides no link behind words and is no HTML: the places lead to the site.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from foveal.research.markdown import linkless, plain
from foveal.web.answers import Cited
from foveal.web.ask_pages import AskWork

NEAREST = 3
"""Passages that are shown where no answer came that the texts bear out."""


def answer_markdown(work: AskWork, base: str, asked: str) -> str:
    """The answer that `work` has by now; `base` is the site's address, `asked` the question as it came."""
    return "\n\n".join(_paragraphs(work, base, asked))


def _paragraphs(work: AskWork, base: str, asked: str) -> Iterator[str]:
    answer = work.answer
    if answer is None:
        return
    if work.question != asked:
        yield f"Understood as: “{plain(work.question)}”"
    yield linkless(answer.text)
    yield from _places(work.citations, base)
    for claim in answer.unsupported:
        yield f"Not borne out by the text: “{plain(claim)}”"
    if not work.citations and work.found:
        yield "What comes nearest:"
        yield from _places(work.found[:NEAREST], base)


def _places(places: Sequence[Cited], base: str) -> Iterator[str]:
    for one in places:
        where = " · ".join(filter(None, (plain(one.title) or "Untitled", plain(one.where))))
        yield f"[{one.number}] “{plain(one.quote)}” [{where}]({base}{one.address})"
