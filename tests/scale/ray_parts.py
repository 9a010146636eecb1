"""What tests of Ray share: small libraries, and what tasks make their searchers of (imported by the workers)."""

from __future__ import annotations

from dataclasses import replace

from foveal.library import Library
from foveal.research.pages import BestPassages
from foveal.retrieval import tables
from foveal.scale.searching import SearcherParts
from foveal.types import Document

PAGES = {
    "architect": "Petra Lindqvist designed the mill at Orra.",
    "teacher": "Petra Lindqvist was taught by Olof Brandt in Vasa.",
    "born": "Petra Lindqvist was born in 1871.",
}


def parts() -> SearcherParts:
    """A scripted model over three pages."""
    from foveal.bench.research_world import Rules, RulesModel
    from foveal.research.text_sources import DocumentsSource

    documents = [
        Document.of(f"https://facts.example/{name}", text, name, url=f"https://facts.example/{name}")
        for name, text in PAGES.items()
    ]
    return SearcherParts(RulesModel(Rules(())), DocumentsSource(documents), BestPassages())


def stalled() -> SearcherParts:
    """The same with a source that never answers."""
    import time

    class Silent:
        name = "silent"

        def search(self, *_, cancel=None):
            while True:
                time.sleep(0.05)
                if cancel:
                    cancel.check()

        def read(self, *_, **__):
            raise AssertionError("nothing was found")

    return parts()._replace(source=Silent())


def library(settings, name: str, encoder: str = "none") -> Library:
    return Library.open(settings=replace(settings, home=settings.home / name, encoder=encoder))


def written(folder, files: int, *, paragraphs: int = 40):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        lines = [
            f"Paragraph {row} of text {number} tells of light {row * number} and sight." for row in range(paragraphs)
        ]
        (folder / f"{number:03d}.txt").write_text("\n\n".join(lines), encoding="utf-8")
    return folder


def rows(one: Library, name: str, leave: tuple[str, ...] = ()):
    return tables.connect(one.store.uri).open_table(name).to_arrow().drop_columns(list(leave)).to_pylist()


def same(one: Library, other: Library) -> None:
    assert rows(one, "passages") == rows(other, "passages")
    assert rows(one, "documents", ("added_at",)) == rows(other, "documents", ("added_at",))
