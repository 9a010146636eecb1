from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "late-interaction.md"


@pytest.mark.model
def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    assert names["hits"][0].passage.span.document_id == "rods"
    assert names["words"][1:3] == ["dim", "light"]
    assert names["found"][0][0] == "fovea"
    assert names["rows"][0][0] == 0
    assert "scored_per_query=3.0" in capsys.readouterr().out
