"""Jupyter notebooks to Markdown: what was written in the cells, code in fences; what programs put out is left aside.

Outputs are mostly pictures in base64, a hundred passages of no meaning where a notebook is read as the JSON that it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from foveal.errors import UnreadableSource

_FENCES = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)


def notebook_text(source: str, name: str) -> str:
    """The Markdown of a notebook, of format 3 or 4. UnreadableSource: it is none."""
    try:
        whole = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise UnreadableSource(f"{name} is no notebook: it is not JSON ({error}). Save it anew.") from error
    cells = list(_cells(whole))
    if not cells:
        raise UnreadableSource(f"{name} is no notebook with a cell in it. Check what it is, and name it so.")
    return "\n\n".join(text for cell in cells if (text := _text(cell, _language(whole))))


def _cells(whole: Any) -> Iterator[dict[str, Any]]:
    """The cells; those of format 3 lie on worksheets."""
    if not isinstance(whole, dict):
        return
    sheets = whole["worksheets"] if isinstance(whole.get("worksheets"), list) else [whole]
    for sheet in sheets:
        found = sheet.get("cells") if isinstance(sheet, dict) else None
        yield from (cell for cell in (found if isinstance(found, list) else ()) if isinstance(cell, dict))


def _text(cell: dict[str, Any], language: str) -> str:
    written = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, written)) if isinstance(written, list) else str(written)
    text = text.strip("\n")
    if cell.get("cell_type") == "heading":
        return f"{'#' * _level(cell.get('level'))} {text}" if text else ""
    if cell.get("cell_type") != "code" or not text.strip():
        return text if text.strip() else ""
    fence = "`" * max(3, *(len(found) + 1 for found in ("", *_FENCES.findall(text))))
    return f"{fence}{language}\n{text}\n{fence}"


def _level(stated: object) -> int:
    return stated if isinstance(stated, int) and 1 <= stated <= 6 else 1


def _language(whole: dict[str, Any]) -> str:
    about = whole.get("metadata")
    kernel = about.get("language_info", about.get("kernelspec")) if isinstance(about, dict) else None
    name = (kernel.get("name") if isinstance(kernel, dict) else None) or "python"
    return name if isinstance(name, str) and re.fullmatch(r"[\w+#-]{1,20}", name) else ""
