"""Fields of a Markdown text's front matter as metadata: whatever the hand that wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.text.loading import discover, load
from foveal.text.markdown import LONGEST, behind_front_matter, markdown_fields
from foveal.types import Document


def matter(*lines: str, end: str = "\n") -> str:
    return end.join(["---", *lines, "---", "# Heading", "", "Text: not a field.", ""])


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        (["author: Ada Lovelace", "year: 1843"], {"author": "Ada Lovelace", "year": "1843"}),
        (["title: T", "date: 2024-01-02", "topic: looms"], {"topic": "looms"}),
        (["tags: [looms, 'steam, hot', engines]"], {"tags": "looms; 'steam; hot'; engines"}),
        (["tags:", "  - looms", "  - engines", "kindred: x"], {"tags": "looms; engines", "kindred": "x"}),
        (["tags:", "- looms", "", "# a remark", "- engines"], {"tags": "looms; engines"}),
        (['quote: "it is: #1"', "note: 'tis", "n: 5 # five"], {"quote": "it is: #1", "note": "'tis", "n": "5"}),
        (["about: >-", "  a long", "  text", "draft: false"], {"draft": "false"}),
        (["map:", "  inner: 1", "  - no", "map2: {a: 1}", "empty:", "nothing: null"], {}),
        (["url: https://example.org/a:b"], {"url": "https://example.org/a:b"}),
        (["no colon", ": no name", "  indented: 1"], {}),
        ([f"long: {'a' * (LONGEST + 1)}", f"fits: {'a' * LONGEST}"], {"fits": "a" * LONGEST}),
    ],
    ids=["plain", "own", "inline list", "list", "list with remarks", "quotes", "block", "maps", "url", "none", "long"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_fields_are_read(lines: list[str], fields: dict[str, str], end: str) -> None:
    assert markdown_fields(matter(*lines, end=end)) == fields


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_where_the_text_behind_it_begins(end: str) -> None:
    text = matter("title: T", "tags: [a]", end=end)
    assert text[behind_front_matter(text) :].startswith("# Heading")
    for none in ("# A\n\ntext\n", "---\na: b\n", "---\na: b\n---\n\n", "", "text\n---\na: b\n---\nmore\n"):
        assert behind_front_matter(none) == 0


@pytest.mark.parametrize("text", ["", "# A\n\nb: c\n", "---\na: b\n", "text\n---\na: b\n---\n"], ids=str)
def test_where_there_is_no_front_matter_there_are_no_fields(text: str) -> None:
    assert markdown_fields(text) == {}


def test_they_are_metadata_and_take_no_name_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(matter("author: Ada", "kind: essay", "source: a book"), encoding="utf-8")
    (document,) = (one for found in discover([str(tmp_path / "a.md")]) for one in load(found))
    assert isinstance(document, Document)
    metadata = document.metadata
    assert (metadata["author"], metadata["kind"], metadata["record.kind"]) == ("Ada", "markdown", "essay")
    assert metadata["record.source"] == "a book"
    assert str(metadata["source"]).endswith("a.md")
