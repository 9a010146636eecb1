"""What of a machine and its software decides a benchmark's figures; nothing that names the machine or a user."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

NOTED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve", "bf16", "i8mm")
"""Instruction sets that the numeric libraries choose their kernels by."""

NOTED_PACKAGES = (
    "foveal", "numpy", "torch", "transformers", "tokenizers", "sentence-transformers", "lancedb", "pylance", "pyarrow",
    "faiss-cpu", "usearch", "hnswlib", "bm25s", "ranx", "ray",
)  # fmt: skip

NOTED_VARIABLES = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)
"""Environment variables that make numeric libraries slower or faster; their values are no secrets."""


def machine() -> dict[str, object]:
    """Processor, cores, memory, instruction sets, accelerator, system, Python, and variables that change speed."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "memory_gib": memory_gib(),
        "flags": [flag for flag in NOTED_FLAGS if flag in _cpu_field("flags", "Features").split()],
        "accelerator": accelerator(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "variables": {name: os.environ[name] for name in NOTED_VARIABLES if name in os.environ},
    }


def versions() -> dict[str, str]:
    """The installed versions of the packages that are measured or measure."""
    found = {}
    for name in NOTED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name as it gives it."""
    return _cpu_field("model name", "Hardware") or platform.processor() or platform.machine()


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib() -> float:
    """The machine's memory."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def wait_until_idle(most_s: float, *, busy: float = 0.1, look_s: float = 1.0) -> bool:
    """Wait until the cores were busy for less than that share of a look, for at most so long; whether they were.

    Where the system does not tell, there is no wait.
    """
    until = time.monotonic() + most_s
    before = _cpu_times()
    while before is not None and time.monotonic() < until:
        time.sleep(look_s)
        now = _cpu_times()
        if now is None or now[0] - before[0] < busy * (now[1] - before[1]):
            return now is not None
        before = now
    return False


def accelerator() -> str | None:
    """The GPU's name, where the bench has loaded torch and torch has one; torch is not loaded just to ask."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())


def _cpu_times() -> tuple[int, int] | None:
    """Busy and all ticks of the cores since the system's start."""
    path = Path("/proc/stat")
    if not path.is_file():
        return None
    ticks = [int(one) for one in path.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # idle, and waiting for a disk


def _cpu_field(*names: str) -> str:
    """The first processor's field of one of these names, "" where the system does not tell."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""
