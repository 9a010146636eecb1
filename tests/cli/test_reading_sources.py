"""A text that a person names: while a long one is loaded, its pages are shown."""

from __future__ import annotations

import pytest
from text.books import epub

from foveal.cli import progress_lines, reading_sources
from foveal.cli.reading_sources import opened_source
from foveal.settings import Settings


@pytest.mark.parametrize("long", [True, False])
def test_chapters_are_told_while_a_long_book_is_loaded(tmp_path, monkeypatch, capsys, long):
    (tmp_path / "eyes.epub").write_bytes(epub({f"{n}.xhtml": f"<p>Chapter {n}.</p>" * 3000 for n in range(40)}))
    monkeypatch.setattr(reading_sources, "LONG_S", 0.0 if long else 600.0)
    monkeypatch.setattr(progress_lines, "FIRST", 0.01)
    monkeypatch.setattr(progress_lines, "LAST", 0.01)
    opened = opened_source(str(tmp_path / "eyes.epub"), Settings(home=tmp_path, cache=tmp_path))
    assert opened.characters > 40
    assert ("Loading chapters of eyes.epub" in capsys.readouterr().err) == long
