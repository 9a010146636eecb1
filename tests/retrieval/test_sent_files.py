"""A file that was sent to a home is known wherever the home lies; what only bears such a name is not taken for it."""

from __future__ import annotations

import pytest

from foveal.library import Library
from foveal.text.files import file_address
from foveal.types import Document

TEXT = "The mill was sold."
PLACE = "uploads/0123456789abcdef0123/mill.md"


def held(library: Library, source: str) -> str:
    return library.add_documents([Document.of(source, TEXT, "mill", metadata={"source": source})]).added[0]


def added(library: Library) -> str:
    path = library.settings.home / PLACE
    path.parent.mkdir(parents=True)
    path.write_text(TEXT)
    report = library.add([path])
    return (report.added + report.updated + report.unchanged)[0]


@pytest.mark.parametrize(
    ("source", "same"),
    [
        (f"file:///srv/before/{PLACE}", True),
        (f"https://example.org/{PLACE}", False),
        (f"file:///srv/before/my-{PLACE}", False),
        (f"file:///srv/before/{PLACE}.gz", False),
    ],
)
def test_what_was_sent_to_the_former_home_is_the_same_document(tmp_path, source, same):
    library = Library.open(tmp_path, encoder="none")
    before = held(library, source)
    assert (added(library) == before) is same


def test_the_document_of_the_present_home_goes_first(tmp_path):
    library = Library.open(tmp_path, encoder="none")
    held(library, f"file:///srv/before/{PLACE}")
    present = held(library, file_address(tmp_path / PLACE))
    assert added(library) == present


def test_a_home_behind_a_link_is_the_place_that_it_leads_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    library = Library.open(tmp_path / "link", encoder="none")
    before = held(library, f"file:///srv/before/{PLACE}")
    assert added(library) == before
