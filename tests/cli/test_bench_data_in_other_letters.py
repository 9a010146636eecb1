"""A data set that is not UTF-8: the bench cannot be run, and says which file is meant and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from foveal.bench import runner
from foveal.cli.main import tree


def test_a_file_that_is_not_utf8_is_named_by_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "essay.txt").write_bytes("An essay on a café".encode("latin-1"))

    def reads(*_: object, **__: object) -> None:
        (tmp_path / "essay.txt").read_text(encoding="utf-8")

    monkeypatch.setattr(runner, "run", reads)
    done = CliRunner().invoke(tree(["bench"]), ["bench", "read", "--data", str(tmp_path), "--home", str(tmp_path)])
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "is not UTF-8 (its byte 17 is 0xe9): the one that begins 'An essay on a café'" in said
    assert "iconv" in said
