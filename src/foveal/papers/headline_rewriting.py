"""A file of headlines rewritten pair by pair: what is done is on the disk, and the same call goes on after it.

    done = rewrite_all(writer, read_pairs(file), judge, out, how={"writer": "mine", "n": 4})

Beside     while it goes on, its lines lie in `out`.part; at the end they become `out` at once, and `out`.part goes
Goes on    after Ctrl-C or a kill: a line that was cut off is written anew. The first line says of which pairs, and how
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.evaluation.headlines import HeadlinePair, HeadlineSet
from foveal.papers.headline_writer import Rewritten, Writer, rewrite
from foveal.papers.headlines import HeadlineJudge


@dataclass(frozen=True)
class Done:
    """How many pairs are rewritten, and for how many of them a better headline was found."""

    pairs: int
    better: int


def part_of(out: Path) -> Path:
    """Where the lines of `out` lie until all of them are written."""
    return out.with_name(f"{out.name}.part")


def rewrite_all(
    writer: Writer,
    pairs: HeadlineSet,
    judge: HeadlineJudge,
    out: Path,
    *,
    n: int = 1,
    how: Mapping[str, Any],
    on_progress: Callable[[Done], None] = lambda _: None,
) -> Done:
    """Rewrite each pair into `out`, as JSON lines; `how` tells this call from others.

    InputError: `out`.part is of another call.
    """
    part, head = part_of(out), json.dumps({"pairs": pairs.fingerprint, "n": n, **how}, ensure_ascii=False)
    lines = _lines_of(part, head)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("a", encoding="utf-8") as file:
        if not lines:
            _added(file, lines, head)
        done = Done(len(lines) - 1, sum("written" in json.loads(line) for line in lines[1:]))
        on_progress(done)
        for one in pairs.pairs[done.pairs :]:
            found = rewrite(writer, one.headline, one.article, judge, n=n)
            _added(file, lines, json.dumps(_beside(one, found), ensure_ascii=False))
            done = Done(done.pairs + 1, done.better + (found.written is not None))
            on_progress(done)
    with whole_file(out) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines[1:]), encoding="utf-8")
    part.unlink()
    return done


def _lines_of(part: Path, head: str) -> list[str]:
    """The whole lines that are there, the head among them; what was cut off goes. InputError: it is another's."""
    if not part.exists():
        return []
    text = part.read_text(encoding="utf-8", errors="replace")
    *lines, cut = text.split("\n")
    if lines and lines[0] != head:
        raise InputError(
            f"{part} holds what another command has done: other pairs, or another writer or judge. Repeat that command "
            "to go on with it, or delete the file."
        )
    if cut:
        with whole_file(part) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return lines


def _added(file: Any, lines: list[str], line: str) -> None:
    file.write(f"{line}\n")
    file.flush()
    lines.append(line)


def _beside(one: HeadlinePair, found: Rewritten) -> dict[str, Any]:
    """The author's headline, and what was written, where that is better."""
    author, written = found.author.judgement, found.written
    told: dict[str, Any] = {"id": one.id, "headline": one.headline, "judged": author.label if author else None}
    if written is not None:
        told |= {"written": written.text, "written_judged": written.judgement.label if written.judgement else None}
    return {**told, "article": one.article}
