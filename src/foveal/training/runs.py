"""One training run by name: its folder, the place of its model, and whether it is done.

    HOME/runs/train/<name>/     checkpoints, negatives, report.json, curves.png; rejected/, a model that was no better
    HOME/models/<name>/         the model, if it is better than what was there before; training.json says which run's

A model's folder is never replaced by another run's: a library may have been made with it. A run that was begun anew may
replace the one that was there then, also when it goes on after a stop; replaced.json says which that is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from foveal.errors import InputError
from foveal.models.offline import OFFLINE
from foveal.registry import RANKERS
from foveal.training import checkpoints, model_folders
from foveal.training.alone import Held, hold
from foveal.training.report import Report, read_report

OWN_NAMES = frozenset((*RANKERS, *OFFLINE, "none"))
"""Names that go before those of models trained here."""

TRAINING, REPLACED = "training.json", "replaced.json"


@dataclass(frozen=True)
class TrainingRun:
    """A run's name, places, and what it is known by."""

    name: str
    folder: Path
    place: Path
    known_by: Mapping[str, str]
    anew: bool = False
    held: Held | None = field(default=None, repr=False, compare=False)  # while it is there, no other process trains it

    @classmethod
    def opened(
        cls, home: Path, name: str | None, known_by: Mapping[str, str], *, kind: str, anew: bool = False
    ) -> TrainingRun:
        """The run that is called so (default: `kind` and a few digits of what it is known by), begun or gone on with.

        InputError: the name is no name, or is taken: by Foveal, another run or model. RunBusy: another process has it.
        """
        digest = hashlib.sha256(json.dumps(dict(known_by), sort_keys=True).encode()).hexdigest()
        name = name or f"{kind}-{digest[:8]}"
        if Path(name).name != name or name.startswith("."):
            raise InputError(f"A trained model cannot be called {name!r}; give a plain name, such as my-encoder.")
        if name in OWN_NAMES:
            raise InputError(
                f"Foveal itself calls something {name!r}, so that the new model would never be meant by it. Give it "
                f"another name, such as my-{name}."
            )
        made = cls(name, home / "runs" / "train" / name, home / "models" / name, known_by, anew)
        if made.place.exists() and not anew and not made._may_replace():
            raise InputError(
                f"{made.place} is there already, and a library may use it. Give the new model another name, or let it "
                "take that one's place (--anew)."
            )
        made = replace(made, held=hold(made.folder))
        checkpoints.claim(made.folder, known_by, anew=anew)
        if made.place.exists() and anew:
            checkpoints.write(made.folder / REPLACED, {"of": checkpoints.read(made.place / TRAINING)})
        return made

    def report(self) -> Report | None:
        """The report, if the run is done and its model still there."""
        found = read_report(self.folder)
        return found if found is not None and (not found.kept or self.place.is_dir()) else None

    @contextmanager
    def candidate(self) -> Iterator[Path]:
        """Where a model may be written to be measured: a path that no process has loaded one from."""
        for left in self.folder.glob("candidate-*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix="candidate-", dir=self.folder) as work:
            yield Path(work) / "model"

    def settle(self, made: Path, report: Report) -> None:
        """Put the model into its place, or aside if it is no better; then the report, after which the run is done."""
        checkpoints.write(made / TRAINING, self.known_by)
        if report.kept:
            model_folders.moved(made, self.place, replace=self.anew or self._may_replace())
        else:
            model_folders.moved(made, self.folder / "rejected", replace=True)
        report.save(self.folder)
        checkpoints.keep_best(self.folder, None)
        if self.held:
            self.held.free()

    def _may_replace(self) -> bool:
        """Whether the model that is there is this run's, or the one that it was begun anew over."""
        there, agreed = checkpoints.read(self.place / TRAINING), checkpoints.read(self.folder / REPLACED)
        begun = checkpoints.read(self.folder / checkpoints.RUN) == self.known_by
        return there == self.known_by or (begun and agreed == {"of": there})
