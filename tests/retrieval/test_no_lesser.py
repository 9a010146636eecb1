"""A paper that came without its full text does not take the place of the one that is there with it."""

from __future__ import annotations

import pytest

from foveal.library import Library
from foveal.retrieval.adding import OwnWork
from foveal.types import Document

ADDRESS = "arxiv:2101.00001"
HEAD = "Where the eye looks\n\nWe measure the fovea."


class Arxiv(OwnWork):
    """Loads the paper as it can be had at the time."""

    given: Document

    def load(self, sources, _settings, report):
        report.sources_read += len(sources)
        yield self.given


def paper(text: str, *, full: bool) -> Document:
    metadata = {"source": ADDRESS, "kind": "arxiv", "full_text": full}
    return Document.of(ADDRESS, text, "Where the eye looks", metadata=metadata)


@pytest.fixture
def added(own_settings):
    library = Library.open(settings=own_settings, encoder="none")
    work = Arxiv(library)

    def add(document: Document):
        work.given = document
        return library.add([ADDRESS], work=work), library.get(ADDRESS).text

    return add


def test_an_abstract_does_not_replace_a_full_text(added):
    whole = f"{HEAD}\n\nAll of the paper."
    added(paper(whole, full=True))
    report, text = added(paper(HEAD, full=False))
    assert text == whole
    assert not report.updated
    [skipped] = report.skipped
    assert skipped.address == ADDRESS
    assert "without its full text" in skipped.reason


def test_an_abstract_serves_until_there_is_more(added):
    assert added(paper(HEAD, full=False))[1] == HEAD
    report, text = added(paper(f"{HEAD} Anew.", full=False))
    assert (len(report.updated), text) == (1, f"{HEAD} Anew.")
    report, text = added(paper(f"{HEAD}\n\nAll of it.", full=True))
    assert (len(report.updated), report.skipped) == (1, [])
    assert text.endswith("All of it.")
    assert added(paper(f"{HEAD}\n\nMore of it.", full=True))[1].endswith("More of it.")
