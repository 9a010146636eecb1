from __future__ import annotations

import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import foveal
from foveal import faults
from foveal.errors import InputError


def test_a_fault_strikes_at_its_visit_only():
    with faults.injected({"store.write": "full@2"}):
        faults.point("store.write")
        with pytest.raises(OSError, match="No space left"):
            faults.point("store.write")
        faults.point("store.write")
    faults.point("store.write")


def test_a_kill_leaves_no_time_to_clean_up():
    code = "from foveal import faults\ntry:\n    faults.point('store.write')\nfinally:\n    print('cleaned')"
    env = {"FOVEAL_FAULTS": "store.write=kill"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == b""


def test_the_clock_moves_inside_the_block_only():
    past = datetime(1987, 2, 26, tzinfo=UTC)
    with faults.injected({}, clock=lambda: past):
        assert faults.now() == past
    assert faults.now() > past


def test_unknown_points_and_faults_are_refused():
    with pytest.raises(InputError, match="No fault point"), faults.injected({"nowhere": "kill"}):
        pass
    with faults.injected({"store.write": "explode"}), pytest.raises(InputError, match="kill, full"):
        faults.point("store.write")


def test_every_point_in_the_code_is_listed_and_every_listed_one_is_in_the_code():
    source = "\n".join(path.read_text() for path in Path(foveal.__file__).parent.rglob("*.py"))
    assert set(re.findall(r'faults\.point\("([^"]+)"\)', source)) == set(faults.POINTS)


def test_a_childs_clock_can_be_wrong(monkeypatch):
    before = faults.now()
    monkeypatch.setenv("FOVEAL_CLOCK", "-3600")
    assert 3590 < (before - faults.now()).total_seconds() < 3610
    monkeypatch.setenv("FOVEAL_CLOCK", "")
    assert faults.now() >= before
