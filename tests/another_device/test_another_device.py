"""Methods, layers and trained models on a device that is not the processor, as on a GPU; none is needed for it.

In a process of its own, since PyTorch keeps such a device to its end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

HERE = Path(__file__).parent


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"), reason="PyTorch cannot pretend one"
)
def test_what_is_computed_on_another_device_is_the_same():
    paths = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "device_checks.py")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=HERE.parent.parent, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
