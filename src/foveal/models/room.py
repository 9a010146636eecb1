"""Room in memory: what would not fit is refused with a sentence, or left out where it only makes things faster.

    left()                            # bytes that this process may still take
    is_room_for(copy.nbytes)          # for what one can do without

A system without memory ends the process that asks for one page too many, and all else that it did: on a small server
one question would end the site, and the next start would take the question up again. The kernel says what is left; so
do the control groups that we are in: a container, a unit with MemoryMax.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

RESERVE = 2**30
"""Bytes that stay free for what must be had: the numbers of a prompt, keys and values, other pages."""

_V2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def left(root: Path = Path("/")) -> int | None:
    """Bytes that may still be taken, swap included; None where the system does not say. `root` holds proc and sys."""
    machine = _table(root / "proc/meminfo")
    if "MemAvailable:" not in machine:
        return None
    free = min([1024 * machine["MemAvailable:"], *_of_groups(root)])
    return max(0, free) + 1024 * machine.get("SwapFree:", 0)


def is_room_for(size: int) -> bool:
    """Whether so many bytes leave `RESERVE` free; True where nobody knows."""
    free = left()
    return free is None or size + RESERVE <= free


def _of_groups(root: Path) -> Iterator[int]:
    """What each control group above this process has left; pages of files give way."""
    for folder, (limit, usage, files) in _groups(root):
        most, used = _number(folder / limit), _number(folder / usage)
        if most is not None and used is not None:
            stat = _table(folder / "memory.stat")
            yield most - used + sum(stat.get(name, 0) for name in files)


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, tuple[str, str]]]]:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for number, kinds, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if number == "0" or "memory" in kinds.split(","):
            top, files = (root / "sys/fs/cgroup", _V2) if number == "0" else (root / "sys/fs/cgroup/memory", _V1)
            own = top / path.lstrip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(top):
                    yield folder, files


def _number(file: Path) -> int | None:
    """What a file says; None where there is none, or no limit ("max")."""
    try:
        said = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(said) if said.isdecimal() else None


def _table(file: Path) -> Mapping[str, int]:
    """Lines of a name and a number, as /proc/meminfo and memory.stat have them."""
    try:
        rows = [line.split() for line in file.read_text(encoding="ascii", errors="replace").splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdecimal()}
