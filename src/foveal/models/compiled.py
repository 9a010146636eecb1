"""Compiles Foveal's C++ when it is first needed, for this machine's processor, and keeps what it made.

    library("attention/native/block_attention.cpp")     # a source by its place in the package, and ctypes' library

What is needed: a C++ compiler (CXX, g++ or clang++); PyTorch brings the headers. It takes some seconds, once for each
version of PyTorch, of the compiler and of the source. Without a compiler callers do without: `library` says None. What
failed is tried again later (a compiler may be installed, a disk freed), so that nobody should keep that it is None; of
threads one tries again, and the others do without meanwhile.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from foveal.evaluation.files import whole_file
from foveal.settings import Settings

log = logging.getLogger("foveal.models")

SHARED = "models/native"
"""The folder of the headers that sources of several packages include."""

AGAIN_S, LATEST_S = 60.0, 3600.0
"""Seconds after which what could not be made is tried again; each time twice as long, up to `LATEST_S`."""

LONGEST_S = 600.0
"""Seconds after which a compiler is taken to hang."""

COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    *("-O3", "-march=native", "-std=c++20", "-fopenmp", "-shared", "-fPIC", "-w"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"),  # infinities stay
)


@dataclass(frozen=True)
class _Failure:
    told: str
    wait: float  # seconds
    again: float  # the moment from which it may be tried


class _Libraries:
    """The libraries of sources, each made once; what could not be made is tried again in a while."""

    def __init__(self) -> None:
        self._found: dict[str, ctypes.CDLL] = {}
        self._failed: dict[str, _Failure] = {}

    def __call__(self, source: str) -> ctypes.CDLL | None:
        """The compiled source; None, and a warning for each cause, where it cannot be made."""
        if source in self._found:
            return self._found[source]
        before = self._failed.get(source)
        if before:
            if (now := time.monotonic()) < before.again:
                return None
            self._failed[source] = replace(before, again=now + LONGEST_S)
        try:
            found = self._found[source] = _opened(_text(source))
            return found
        except (OSError, subprocess.SubprocessError) as error:
            told = error.stderr.strip()[-500:] if isinstance(error, subprocess.CalledProcessError) else str(error)
            if before is None or told != before.told:
                log.warning("A part runs without its compiled code (%s), many times slower: %s", source, told)
            wait = AGAIN_S if before is None else min(2 * before.wait, LATEST_S)
            self._failed[source] = _Failure(told, wait, time.monotonic() + wait)
            return None

    def cache_clear(self) -> None:
        """Forget what was found."""
        self._found.clear()
        self._failed.clear()


library = _Libraries()


def serves(*parts: Tensor, types: Sequence[torch.dtype] = (torch.float32, torch.bfloat16)) -> bool:
    """Whether compiled code without a backward can be given these: all on the processor, of one of `types`, and no
    gradients asked for.
    """
    (kind, *others) = {part.dtype for part in parts}
    here = all(part.device.type == "cpu" for part in parts)
    return here and kind in types and not others and not torch.is_grad_enabled()


def _opened(text: str) -> ctypes.CDLL:
    path = _made(text)
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # cut off, or damaged: it is made anew
        path.unlink(missing_ok=True)
        return ctypes.CDLL(str(_made(text)))


def _text(source: str) -> str:
    """A source with the shared headers in the place of their #includes: it is compiled from its text."""
    root = resources.files("foveal")
    text = (root / source).read_text(encoding="utf-8")
    headers = root / SHARED
    return re.sub(
        r'^#include "(.+)"$', lambda found: (headers / found[1]).read_text(encoding="utf-8"), text, flags=re.M
    )


def _made(text: str) -> Path:
    compiler = _compiler()
    version = _said([compiler, "--version"])
    parts = (text, torch.__version__, version, " ".join(FLAGS), platform.machine(), _processor())
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]
    path = Settings.load().cache / "kernels" / f"{digest}.so"
    if not path.is_file():
        _compile(compiler, text, path)
    return path


def _compiler() -> str:
    for name in (os.environ.get("CXX"), *COMPILERS):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise OSError("no C++ compiler was found. Install g++ or clang++, or name one by CXX.")


def _compile(compiler: str, text: str, path: Path) -> None:
    base = Path(torch.__file__).parent
    with whole_file(path) as partial:
        command = [compiler, *FLAGS, f"-I{base / 'include'}", "-x", "c++", "-", "-x", "none", "-o", str(partial)]
        command += [f"-L{base / 'lib'}", f"-Wl,-rpath,{base / 'lib'}", "-ltorch_cpu", "-lc10"]
        _said(command, text)


def _said(command: Sequence[str], given: str = "") -> str:
    """What a program writes. OSError: it does not end; CalledProcessError: it failed."""
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, check=True, timeout=LONGEST_S, encoding="utf-8", errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} did not end within {LONGEST_S:g} seconds.") from None
    said: str = done.stdout
    return said


def _processor() -> str:
    """What the processor can do: a home that several machines share keeps one library for each kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
