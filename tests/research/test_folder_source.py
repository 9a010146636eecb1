"""Research over a folder of files: what of it cannot be read is told, and keeps nothing else from being searched."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.errors import InputError
from foveal.research.text_sources import FolderSource
from foveal.settings import Settings


def test_what_cannot_be_read_is_told_and_the_rest_is_searched(
    own_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "mill.md").write_text("# Mill\n\nPetra Lindqvist designed the mill at Orra.")
    source = FolderSource.named(str(texts), own_settings)
    assert not caplog.text
    (texts / "broken.docx").write_bytes(b"PK\x03\x04 cut short")
    (texts / "locked.pdf").write_bytes(b"%PDF-1.7 cut short")
    source = FolderSource.named(str(texts), own_settings)
    assert [one.title for one in source.search("Who designed the mill?", 3)] == ["Mill"]
    assert f"of dir:{texts} 2 cannot be read, and are not searched; the first: " in caplog.text
    assert "broken.docx" in caplog.text


def test_a_parser_that_breaks_ends_no_research(
    own_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.text import loading

    def breaks(*_: object) -> object:
        raise KeyError("a mistake of ours")

    monkeypatch.setitem(loading._PARSERS, "html", breaks)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "page.html").write_text("<html><body><p>Where?</p></body></html>")
    with pytest.raises(InputError, match="holds no text"):
        FolderSource.named(str(tmp_path / "texts"), own_settings)
    (tmp_path / "texts" / "mill.md").write_text("# Mill\n\nPetra Lindqvist designed the mill at Orra.")
    assert len(FolderSource.named(str(tmp_path / "texts"), own_settings).documents) == 1
    assert "by a fault of ours (KeyError" in caplog.text
