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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from foveal.errors import InputError
from foveal.models.offline import OFFLINE
from foveal.registry import RANKERS
from foveal.settings import Settings
from foveal.training import checkpoints, model_folders
from foveal.training.alone import Held, hold
from foveal.training.report import Report, read_report

if TYPE_CHECKING:
    from foveal.training.watch import Progress

Data = TypeVar("Data")
Other = TypeVar("Other")

OWN_NAMES = frozenset((*RANKERS, *OFFLINE, "none"))
"""Names that go before those of models trained here."""

TRAINING, REPLACED = "training.json", "replaced.json"


@dataclass(frozen=True, kw_only=True)
class RunSettings(Generic[Data]):
    """What every training is told besides what it learns from and how: where its model goes, what it is measured by,
    whom it tells how far it is. `Data`: of the kind that it learns from.
    """

    home: Path
    name: str | None = None  # of the model: HOME/models/<name>; None: a kind and a few digits
    dev: Data | None = None  # chooses among steps, and decides; None: a share of what is learnt from is held out
    test: Data | None = None  # measured only
    on_progress: Callable[[Progress], None] = lambda _: None
    anew: bool = False  # forget an earlier run of that name; else it goes on
    cache: Path | None = None  # of models' files; None: the user's

    @property
    def cache_at(self) -> Path:
        """The cache, or the user's."""
        return self.cache or Settings.load().cache

    def measured_by(self, dev: Other | None, test: Other | None) -> RunSettings[Other]:
        """The same run with these data, which may be of another kind."""
        return RunSettings(
            home=self.home, name=self.name, dev=dev, test=test, on_progress=self.on_progress, anew=self.anew,
            cache=self.cache,
        )  # fmt: skip


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
    def opened(cls, settings: RunSettings[Any], known_by: Mapping[str, str], *, kind: str) -> TrainingRun:
        """The run that is called so (default: `kind` and a few digits of what it is known by), begun or gone on with.

        InputError: the name is no name, or is taken: by Foveal, another run or model; or dev or test data are given to
        a training that is not known by them, so takes none. RunBusy: another process has it. StorageFull: no room.
        """
        home, name, anew = settings.home, settings.name, settings.anew
        for part in ("dev", "test"):
            if getattr(settings, part) and known_by.get(part, "none") == "none":
                raise InputError(f"The training of a {kind} takes no {part} data. Leave it out of the run's settings.")
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
        with checkpoints.room_for(made.folder, "The run"):
            made = replace(made, held=hold(made.folder))
            checkpoints.claim(made.folder, known_by, anew=anew)
            if made.place.exists() and anew:
                checkpoints.write(made.folder / REPLACED, {"of": checkpoints.read(made.place / TRAINING)})
        return made

    def report(self) -> Report | None:
        """The report, if the run is done and its model still there."""
        found = read_report(self.folder)
        return found if found is not None and (not found.kept or self.place.is_dir()) else None

    def result(self, report: Report) -> tuple[Path | None, Report]:
        """The model's folder, None if it was not kept, and the report."""
        return (self.place if report.kept else None), report

    def done(self) -> tuple[Path | None, Report] | None:
        """The result of a run that is done; None: it is still to be made."""
        report = self.report()
        return None if report is None else self.result(report)

    @contextmanager
    def candidate(self) -> Iterator[Path]:
        """Where a model may be written to be measured: a path that no process has loaded one from. StorageFull: no room
        for it."""
        for left in self.folder.glob("candidate-*"):
            shutil.rmtree(left)
        with (
            checkpoints.room_for(self.folder, "The model"),
            tempfile.TemporaryDirectory(prefix="candidate-", dir=self.folder) as work,
        ):
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
