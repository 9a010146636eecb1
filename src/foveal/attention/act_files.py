"""Calibration files: which heads of a model are to be calibrated, by which rule, and what that was seen to gain.

    made = load_calibration(path)
    with attach(model.model, made.method(model)):       # InputError: it is of another model
        ...

JSON, written whole or not at all. A file is good for one model: the fingerprint of its files is compared, and where
only the shape fits (a fine-tuned model), `strict=False` takes it. Heads do not transfer between ways of asking: the
hash of the prompts' template stands in the file, and `evaluate` says when other prompts come.

Files     HOME/models/act/<architecture>-<fingerprint>.json, where `calibration_of` finds them
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.attention.act import ACT, BETA
from foveal.attention.profiles import architecture_of
from foveal.attention.retrieval_heads import Head, by_layer
from foveal.attention.sinks import SinkRule
from foveal.errors import InputError, UnknownName
from foveal.evaluation.files import whole_file
from foveal.settings import expanded

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

log = logging.getLogger("foveal.attention")

VERSION = 1
AGAIN = "Make one for this model: foveal calibrate MODEL --examples FILE"


@dataclass(frozen=True, kw_only=True)
class HeadGain:
    """What one head alone gained over the model as it is: mean difference, 95 % interval, one-sided p, examples."""

    layer: int
    head: int
    gain: float
    low: float
    high: float
    p: float
    shrunk: float  # drawn towards the mean of all heads
    accuracy: float  # points of accuracy gained, whatever the gain is measured in
    count: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Heads to calibrate in one model, strongest first; none where no head passed.

    `beta` is the share that sinks keep, `gains` what each head gained in `measure`. Source as of `ACT`.
    """

    model: str
    fingerprint: str  # of the model's files
    architecture: str  # see profiles.architecture_of
    layers: int
    heads_a_layer: int
    template: str  # hash of how the examples ask
    heads: tuple[Head, ...] = ()
    beta: float = BETA
    rule: SinkRule = field(default_factory=SinkRule)
    measure: str = "nats"  # what gains are of
    gains: tuple[HeadGain, ...] = ()  # of every head that was tried
    measured: Mapping[str, float] = field(default_factory=dict)  # baseline, validation, counts: how it was found

    def __post_init__(self) -> None:
        """InputError: a head that the model does not have, beta or rule out of range."""
        wrong = [one for one in self.heads if not (0 <= one[0] < self.layers and 0 <= one[1] < self.heads_a_layer)]
        if wrong:
            raise InputError(
                f"A calibration names the head {wrong[0][0]}.{wrong[0][1]}; {self.model} has layers 0 to "
                f"{self.layers - 1} with heads 0 to {self.heads_a_layer - 1}."
            )
        ACT({}, beta=self.beta)  # says what is wrong with it

    def method(self, model: LanguageModel, *, strict: bool = True) -> ACT:
        """The attention method for `model`. InputError: it is another model, or, not `strict`, of another shape."""
        self.check(model, strict=strict)
        return ACT(by_layer(self.heads), beta=self.beta, rule=self.rule)

    def check(self, model: LanguageModel, *, strict: bool = True) -> None:
        """InputError as in `method`."""
        found = architecture_of(model.model.config)
        if found != self.architecture:
            raise InputError(
                f"This calibration is of {self.model} ({self.architecture}); {model.name} is {found}. {AGAIN}"
            )
        if strict and model.fingerprint != self.fingerprint:
            raise InputError(
                f"This calibration is of {self.model} with other files than {model.name} has, though of the same "
                f"shape. {AGAIN}"
            )

    # -- files -----------------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """The file's content."""
        return {"version": VERSION, "kind": "act", **asdict(self)}

    def save(self, path: Path) -> Path:
        """Write the file, whole or not at all."""
        with whole_file(path) as partial:
            partial.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")
        return path

    def save_for(self, home: Path) -> Path:
        """Write it where `calibration_of` finds it."""
        return self.save(_path(home, self.architecture, self.fingerprint))


def load_calibration(path: Path) -> Calibration:
    """The calibration in a file. InputError: there is none, or a damaged one, or another version's."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("kind") != "act" or fields.pop("version") != VERSION:
            raise InputError(f"{path} was written by another version of Foveal. {AGAIN}")
        heads = tuple((int(layer), int(head)) for layer, head in fields.pop("heads"))
        gains = tuple(HeadGain(**one) for one in fields.pop("gains"))
        return Calibration(heads=heads, gains=gains, rule=SinkRule(**fields.pop("rule")), **fields)
    except InputError:
        raise
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no calibration file ({type(error).__name__}: {error}). {AGAIN}") from error


def calibration_of(model: LanguageModel, home: Path) -> Calibration:
    """The calibration of `model` in `home`. InputError: there is none."""
    path = _path(home, architecture_of(model.model.config), model.fingerprint)
    if not path.is_file():
        raise InputError(f"No heads of {model.name} were calibrated yet. {AGAIN}")
    return load_calibration(path)


def calibration_by_name(name: str, model: LanguageModel, home: Path) -> Calibration:
    """ "act": that of `home`; "act:FILE": that of a file. UnknownName: neither. InputError: none, another model's."""
    word, _, file = name.partition(":")
    if word != "act":
        raise UnknownName(f"No calibration is called {name!r}. There are: act, and act:FILE for that of a file.")
    made = load_calibration(expanded(file)) if file else calibration_of(model, home)
    made.check(model)
    if not made.heads:
        log.warning("No head of %s passed when it was calibrated: its attention stays as it is.", model.name)
    return made


def folder_of(home: Path) -> Path:
    """Where calibrations, and the states of searches that were stopped, lie."""
    return home / "models" / "act"


def _path(home: Path, architecture: str, fingerprint: str) -> Path:
    return folder_of(home) / f"{architecture}-{fingerprint[:12]}.json"
