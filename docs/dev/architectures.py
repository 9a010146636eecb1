"""Sweeps every causal decoder of the installed transformers, as a tiny random model: computed exactly, or refused?

    python docs/dev/architectures.py --json FILE              # all of them, an hour on one core; FILE is added to
    python docs/dev/architectures.py --only gpt_oss llama     # these
    python docs/dev/architectures.py --json FILE --markdown   # and writes the tables of docs/architectures.md

Each check (architecture_checks.py) ends in one word: `exact`, with the greatest error; `refused`, with the first
sentence of our error; `untried`, where the model itself cannot do what it is to be compared with; or `WRONG`: another
result, another error than ours, or a model that is not left as it was. What stands in FILE is not swept again unless it
is named. Exit status: 0, or 1 where any is WRONG.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from architecture_checks import BOTH, LONG, PARTS, Check
from architecture_subjects import Subject, Untried, ids
from architecture_tables import written_into
from small_decoders import architectures, windowed

from foveal.attention.implementations import asked_for
from foveal.errors import FovealError
from foveal.evaluation.files import whole_file

WINDOW = 64
PAGE = Path(__file__).parents[1] / "architectures.md"


@dataclass(frozen=True)
class Outcome:
    """What one check of one architecture ended in."""

    architecture: str
    window: int | None
    part: str
    case: str
    verdict: str  # exact, refused, untried or WRONG
    error: float | None = None
    why: str = ""

    def __str__(self) -> str:
        told = self.why or (f"{self.error:.1e}" if self.error is not None else "")
        return f"{self.architecture} {self.window or ''} {self.part}, {self.case}: {self.verdict} {told}"


def swept(kind: str) -> Iterator[Outcome]:
    """All checks of an architecture; if it has windows, with short ones, and some with windows beyond the text."""
    for window in (None, WINDOW) if windowed(kind) else (None,):
        try:
            subject = Subject.of(kind, window)
        except Exception as error:  # transformers', of any kind
            yield Outcome(kind, window, "made", "", "untried", why=_told(error))
            continue
        for part, checks in PARTS.items():
            for case, check in checks.items():
                if _asked(kind, window, part, case):
                    yield checked(subject, part, case, check)
        yield _as_before(subject)


def _asked(kind: str, window: int | None, part: str, case: str) -> bool:
    """Whether it is checked: what short windows make harder needs no long ones, what they rule out no short ones."""
    if window is not None:
        return part not in LONG
    return part in (*LONG, *BOTH) or case in BOTH or not windowed(kind)


def checked(subject: Subject, part: str, case: str, check: Check) -> Outcome:
    """What a check ends in."""
    before = _state(subject.model)
    error: float | None = None
    verdict, why = "exact", ""
    try:
        error = check(subject)
        if not error <= subject.tolerance:
            verdict, why = "WRONG", f"differs by {error:.1e}"
    except FovealError as raised:
        verdict, why = "refused", _sentence(str(raised))
    except Untried as raised:
        verdict, why = "untried", _sentence(str(raised))
    except Exception as raised:
        verdict, why = "WRONG", _told(raised)
    if _state(subject.model) != before:
        verdict, why = "WRONG", f"leaves the model changed ({verdict} {why})"
    return Outcome(subject.kind, subject.window, part, case, verdict, error, why)


def _as_before(subject: Subject) -> Outcome:
    """Whether the model computes what it did before everything."""
    with torch.inference_mode():
        first, second = (subject.model(input_ids=ids(1)).logits for _ in range(2))
    if not torch.equal(first, second):
        return Outcome(subject.kind, subject.window, "after", "the same", "untried", why="it draws at random")
    same = torch.equal(first, subject.own("whole"))
    return Outcome(subject.kind, subject.window, "after", "the same", "exact" if same else "WRONG")


def _state(model: Any) -> tuple[Any, ...]:
    """What `attach` must leave as it was: implementations, hooks, modes."""
    return (
        [name for _, name in asked_for(model)],
        sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()),
        [part.training for part in model.modules()],
    )


def _sentence(message: str) -> str:
    return message.replace("\n", " ").split(". ")[0].rstrip(".")


def _told(error: Exception) -> str:
    where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-3:]]
    return f"{type(error).__name__}: {_sentence(str(error))[:200]} ({' '.join(where)})"


# -- the command -------------------------------------------------------------------------------------------------------


def main(asked: Sequence[str] | None = None) -> int:
    """Sweep, tell, and write what was asked for."""
    told = _arguments().parse_args(asked)
    _quiet()
    found = _read(told.json)
    for kind in told.only or [kind for kind in architectures() if kind not in found]:
        began = time.monotonic()
        found[kind] = list(swept(kind))
        sys.stdout.write(_line(kind, found[kind], time.monotonic() - began))
        sys.stdout.flush()
        if told.json:
            _write(told.json, found)
    if told.markdown:
        PAGE.write_text(written_into(PAGE.read_text(encoding="utf-8"), _of_all(found)), encoding="utf-8")
    return int(any(one.verdict == "WRONG" for outcomes in found.values() for one in outcomes))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=architectures(), help="these architectures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where outcomes are kept, and taken from")
    parser.add_argument("--markdown", action="store_true", help="write the tables of docs/architectures.md")
    return parser


def _quiet() -> None:
    """transformers warns of what small models are told; one thread, so that a core is enough."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)


def _line(kind: str, outcomes: Sequence[Outcome], seconds: float) -> str:
    """How each part of an architecture ended, and all that is WRONG."""
    parts = {one.part: [other for other in outcomes if other.part == one.part] for one in outcomes}
    words = {part: sorted({one.verdict for one in of_part}) for part, of_part in parts.items()}
    told = "; ".join(f"{part} {'/'.join(verdicts)}" for part, verdicts in words.items())
    wrong = "".join(f"    {one}\n" for one in outcomes if one.verdict == "WRONG")
    return f"{kind} ({seconds:.0f} s): {told}\n{wrong}"


def _read(file: Path | None) -> dict[str, list[Outcome]]:
    if file is None or not file.exists():
        return {}
    found: dict[str, list[Outcome]] = {}
    for row in json.loads(file.read_text(encoding="utf-8")):
        found.setdefault(row["architecture"], []).append(Outcome(**row))
    return found


def _write(file: Path, found: dict[str, list[Outcome]]) -> None:
    rows = [asdict(one) for kind in sorted(found) for one in found[kind]]
    with whole_file(file) as half:
        half.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")


def _of_all(found: dict[str, list[Outcome]]) -> list[Outcome]:
    if missing := [kind for kind in architectures() if kind not in found]:
        raise SystemExit(f"Not swept: {', '.join(missing)}. The tables are of all architectures; name a --json FILE.")
    return [one for kind in sorted(found) for one in found[kind]]


if __name__ == "__main__":
    sys.exit(main())
