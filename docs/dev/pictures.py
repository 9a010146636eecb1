"""Draws docs/images/search.svg: the output of `foveal search` as a terminal shows it.

foveal demo --home DIR && python docs/dev/pictures.py DIR
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from foveal.cli.hits import hit_text
from foveal.library import Library

QUERY = "how does a class decide what happens when an attribute is missing"

library = Library.open(sys.argv[1], create=False)
console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
console.print(f'[bold green]$[/] foveal search "{QUERY}" -k 3\n')
for rank, hit in enumerate(library.search(QUERY, k=3), start=1):
    entry = library.store.entry(hit.passage.span.document_id)
    console.print(hit_text(rank, hit, entry, QUERY, full=False))
svg = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="foveal"), flags=re.DOTALL)  # no fonts from elsewhere
(Path(__file__).parents[1] / "images" / "search.svg").write_text(svg.replace("Fira Code,", ""), encoding="utf-8")
