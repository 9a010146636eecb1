"""A cold process: import, help, and a first search, from start to exit."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from foveal.bench.settings import BenchSettings
from foveal.evaluation.speed import process_seconds
from foveal.evaluation.tables import Row
from foveal.library import Library
from foveal.settings import Settings
from foveal.text.sample import manual

COMMAND = [sys.executable, "-c", "from foveal.cli.main import run; run()"]


def cold_start(settings: BenchSettings) -> Iterator[Row]:
    """Rows over a small library of Python's manual."""
    runs = 3 if settings.quick else 7
    imported = "import foveal, sys; print(*({'torch', 'lancedb', 'transformers'} & sys.modules.keys()))"
    heavy = subprocess.run([sys.executable, "-c", imported], capture_output=True, check=True).stdout.split()
    yield Row.of("import foveal", "heavy packages imported", len(heavy), at_most=0)
    helped = process_seconds([*COMMAND, "--help"], runs=runs)
    yield Row.of(
        "foveal --help", "seconds", helped.median_s, at_most=0.4, note=f"{helped.low_s:.2f} to {helped.high_s:.2f}"
    )
    with tempfile.TemporaryDirectory() as home:
        documents = list(manual())[:20]
        Library.open(settings=Settings(home=Path(home), cache=Settings.load().cache)).add_documents(documents)
        for retriever, bar in (("lexical", 2.0), ("hybrid", 6.0)):
            asked = ["search", "attribute lookup", "--retriever", retriever, "--home", home]
            took = process_seconds([*COMMAND, *asked], runs=runs)
            note = f"{took.low_s:.2f} to {took.high_s:.2f}; peak {took.peak_mib:.0f} MiB"
            yield Row.of(f"cold {retriever} search", "seconds", took.median_s, at_most=bar, note=note)
