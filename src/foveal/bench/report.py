"""bench report: deep research, part by part.

report-citations  whether the verifier tells true citations from false ones               report_citations.py
report-memory     what a run of 200 steps still knows in a window of 4,096 tokens         report_memory.py
report-race       DeepResearch Bench's scores, computed again                             report_race.py
report-kills      killed at each kind of step, and gone on with                            report_kills.py
report-watch      watched questions: what is told as pages change                         report_watch.py
report-planners   planners and timing policies at equal passages and calls                report_planners.py
report-library    whole reports by the small model over real papers                       report_library.py
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row
from foveal.registry import BENCHES, lookup

PARTS = (
    "report-citations", "report-memory", "report-race", "report-kills", "report-watch", "report-planners",
    "report-library",
)  # fmt: skip


def report(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench report`."""
    yield from each([lookup(BENCHES, name, kind="bench") for name in PARTS], settings)
