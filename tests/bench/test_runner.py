import json
import math
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foveal.bench.machine import machine, versions
from foveal.bench.runner import run
from foveal.bench.settings import BenchSettings
from foveal.errors import UnknownName
from foveal.evaluation.tables import Row
from foveal.registry import BENCHES


def good(settings):
    yield Row.of("documents", "size", 12)
    yield Row.of("ours", "nDCG@10", 0.7, at_least=0.6, note=f"seed {settings.seed}")


def short(settings):
    yield Row.of("ours", "nDCG@10", math.nan, at_least=0.6)
    yield Row.of("ours", "ms", 3)


def unsized(settings):
    yield Row.of("documents", "size", math.nan)


def interrupted(settings):
    yield Row.of("ours", "ms", 3)
    raise KeyboardInterrupt


def broken(settings):
    yield Row.of("ours", "ms", 3)
    raise RuntimeError(f"found nothing in {settings.data}")


def killed(settings):
    yield Row.of("ours", "ms", 3)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def _toy_benches(monkeypatch):
    for bench in (good, short, unsized, interrupted, broken):
        monkeypatch.setitem(BENCHES, bench.__name__, f"{__name__}:{bench.__name__}")


@pytest.fixture
def settings(tmp_path):
    return BenchSettings(data=tmp_path / "data", cache=tmp_path / "cache", seed=5)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_streams_its_rows_and_writes_them(settings, tmp_path):
    path, seen = tmp_path / "out" / "good.json", []

    def on_row(row):
        seen.append((row.metric, len(read(path)["rows"])))

    report = run("good", settings, json=path, on_row=on_row)
    assert seen == [("size", 1), ("nDCG@10", 2)]
    assert report.ok
    written = read(path)
    assert written == json.loads(json.dumps(report.as_json()))
    assert written["rows"] == [row.as_json() for row in report.rows]
    assert written["rows"][1] == {
        "system": "ours", "metric": "nDCG@10", "value": 0.7, "bar": "≥ 0.6", "ok": True, "note": "seed 5"
    }  # fmt: skip
    assert (written["bench"], written["status"], written["quick"], written["seed"]) == ("good", "complete", False, 5)
    assert written["sizes"] == {"documents": 12}
    assert written["command"] == "foveal bench good"


def test_a_row_that_falls_short_fails_the_report(settings, tmp_path):
    report = run("short", settings, json=tmp_path / "short.json")
    assert report.status == "complete"
    assert not report.ok
    assert read(tmp_path / "short.json")["rows"][0]["value"] is None


def test_a_size_that_is_no_number_is_null(settings, tmp_path):
    assert run("unsized", settings, json=tmp_path / "out.json").status == "complete"
    assert read(tmp_path / "out.json")["sizes"] == {"documents": None}


@pytest.mark.parametrize(("name", "error"), [("interrupted", KeyboardInterrupt), ("broken", RuntimeError)])
def test_what_stops_a_run_is_raised_after_its_rows_are_kept(settings, tmp_path, name, error):
    with pytest.raises(error):
        run(name, settings, json=tmp_path / "out.json")
    written = read(tmp_path / "out.json")
    assert written["status"] == f"incomplete: {error.__name__}"
    assert [row["metric"] for row in written["rows"]] == ["ms"]
    assert str(settings.data) not in (tmp_path / "out.json").read_text(encoding="utf-8")


def test_a_killed_run_leaves_its_rows(tmp_path):
    code = (
        "import sys; from pathlib import Path; from foveal.bench.runner import run\n"
        "from foveal.bench.settings import BenchSettings; from foveal.registry import BENCHES\n"
        "sys.path.append(sys.argv[2]); BENCHES['killed'] = 'test_runner:killed'; here = Path(sys.argv[1])\n"
        "run('killed', BenchSettings(data=here, cache=here), json=here / 'out.json')"
    )
    here = str(Path(__file__).parent)
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path), here], check=False)
    assert ended.returncode == -signal.SIGKILL
    written = read(tmp_path / "out.json")
    assert written["status"] == "incomplete: still running"
    assert len(written["rows"]) == 1


def test_an_unknown_bench_and_a_path_that_cannot_be_written_fail_at_once(settings, tmp_path):
    with pytest.raises(UnknownName, match="good"):
        run("bad", settings)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        run("interrupted", settings, json=tmp_path / "file" / "out.json")


def test_the_machine_is_described_and_not_named():
    described = machine()
    assert described["processor"]
    assert described["cores"] >= 1
    assert described["memory_gib"] > 0.1
    assert versions()["numpy"]
    assert platform.node() not in json.dumps([described, versions()])
