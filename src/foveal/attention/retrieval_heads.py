"""Retrieval heads: the few attention heads that copy facts out of a context, as scores for every head of a model.

copy     a head copies a token where the model generates w, the head looks most at a place of the planted sentence, and
         w stands there; its score in one run is the share of the sentence's places that it copied (Wu et al., ICLR
         2025, arXiv 2404.15574). `head_detection.py` measures it
query    the share of a query's attention, less that of an empty query, that goes to the passages that answer it
         (QRHead, EMNLP 2025, arXiv 2506.09944). `query_heads.py` measures it: other heads, better for ranking
gates    how much a key-value head needs the whole text (DuoAttention, arXiv 2410.10819). `head_gates.py` trains them:
         best for choosing whose cache stays whole
reason   what a head gives to a planted sentence while the model answers by a step of thought, word for word or not
         (HeadKV, arXiv 2410.19258). `head_detection.py` measures it, too
repeats  what a head gives to earlier copies of a text that repeats itself, and to what followed there (RazorAttention,
         arXiv 2407.15891). `head_repetition.py` measures it in one pass, without needles

    scores = head_scores(model, "copy", home)          # one's own (`foveal heads detect`), else shipped, else an error
    scores.above(0.1), scores.top(16), scores.of_groups(2)

Shapes    per run (R, L, H), in 0 to 1 (query scores may be below 0); a head is (layer, head), both from 0
Files     JSON with the runs of every head; the files of the paper's authors ({"layer-head": [score of each run]}) are
          read too. A model's own are found by the fingerprint of its files, then by its architecture
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.attention.decoders import told
from foveal.attention.profiles import architecture_of
from foveal.errors import InputError
from foveal.evaluation.files import whole_file

if TYPE_CHECKING:
    from foveal.attention.attach import Context
    from foveal.models.language import LanguageModel

VERSION = 1
RETRIEVAL, STRONG = 0.1, 0.5
"""Scores above which a head is a retrieval head, and a strong one."""

KINDS = {
    "copy": "what it copied out of a planted sentence",
    "query": "what a query gives to the passages it asks for",
    "gates": "how much it needs the whole text",
    "reason": "what it gives to a planted sentence that answers by a step of thought",
    "repeats": "what it gives to earlier copies of a text that repeats itself",
}

Head = tuple[int, int]
"""(layer, head), both from 0."""

log = logging.getLogger("foveal.attention")


@dataclass(frozen=True, eq=False)
class HeadScores:
    """What every head scored in every run: `runs` (R, L, H), in 0 to 1 (kind "query": may be below 0).

    `kind`: "copy" (Wu et al., ICLR 2025, arXiv 2404.15574), "query" (QRHead, EMNLP 2025, arXiv 2506.09944), "gates"
    (DuoAttention, arXiv 2410.10819), "reason" (HeadKV, arXiv 2410.19258; over many steps it may pass 1) or "repeats"
    (RazorAttention, arXiv 2407.15891). A head is (layer, head), both from 0.
    """

    runs: Tensor  # (R, L, H) float32
    kind: str = "copy"  # one of KINDS
    model: str = ""
    fingerprint: str = ""  # of the model's files
    architecture: str = ""  # see profiles.architecture_of
    settings: Mapping[str, Any] = field(default_factory=dict)  # lengths, depths, runs that failed: how it was measured

    def __post_init__(self) -> None:
        """InputError: no runs, not of that shape, or no numbers."""
        if not self.runs.isfinite().all():
            raise InputError("Head scores hold NaN or infinity: the file is damaged, or the model overflowed.")
        if self.runs.dim() != 3 or not self.runs.numel():
            raise InputError(f"Head scores of shape {tuple(self.runs.shape)} came; they need (runs, layers, heads).")
        if self.kind not in KINDS:
            raise InputError(f"Head scores are of the kind {self.kind!r}; there are: {', '.join(KINDS)}.")

    @property
    def scores(self) -> Tensor:
        """The mean over runs (L, H)."""
        return self.runs.mean(0)

    @property
    def activation(self) -> Tensor:
        """The share of runs in which a head copied anything (L, H); less its score: how much it depends on the text."""
        return (self.runs > 0).float().mean(0)

    def always_active(self) -> list[Head]:
        """The heads that scored in every run, strongest first."""
        return [head for head in self.top() if self.activation[head] == 1]

    def top(self, count: int | None = None) -> list[Head]:
        """The `count` strongest heads, in order; of equals the shallower first. None: all."""
        order = self.scores.flatten().argsort(descending=True, stable=True)[:count].tolist()
        return [divmod(place, self.runs.shape[2]) for place in order]

    def above(self, threshold: float = RETRIEVAL) -> list[Head]:
        """The heads that score more, strongest first."""
        return [head for head in self.top() if self.scores[head] > threshold]

    def share(self, threshold: float) -> float:
        """The share of all heads that score more."""
        return float((self.scores > threshold).float().mean())

    def of_groups(self, groups: int) -> Tensor:
        """The scores (L, G) of key-value heads: the best of the query heads that share one."""
        layers, heads = self.scores.shape
        if groups < 1 or heads % groups:
            raise InputError(f"{heads} heads cannot share {groups} key-value heads. Give the model's own number.")
        return self.scores.view(layers, groups, -1).amax(-1)

    def check(self, config: Any) -> None:
        """InputError: they are of a model of another shape."""
        wanted = (told(config, "num_hidden_layers"), told(config, "num_attention_heads"))
        if tuple(self.runs.shape[1:]) != wanted:
            raise InputError(
                f"These head scores are of {self.runs.shape[1]} layers with {self.runs.shape[2]} heads"
                f"{f' ({self.model})' if self.model else ''}; the model has {wanted[0]} with {wanted[1]}. Measure its "
                "own: foveal heads detect MODEL"
            )

    # -- files -----------------------------------------------------------------------------------------------------

    def as_json(self) -> str:
        """The file's text: a line for every head."""
        fields = {"version": VERSION, "kind": self.kind, "model": self.model, "fingerprint": self.fingerprint}
        fields |= {"architecture": self.architecture, "settings": dict(self.settings)}
        head = json.dumps(fields, indent=1)[:-2]
        lines = [
            f'  "{layer}-{number}": {json.dumps([round(one, 4) for one in self.runs[:, layer, number].tolist()])}'
            for layer in range(self.runs.shape[1])
            for number in range(self.runs.shape[2])
        ]
        return f'{head},\n "scores": {{\n' + ",\n".join(lines) + "\n }\n}\n"

    def as_published(self) -> str:
        """The scores alone, in one line, as the paper's authors publish theirs: {"layer-head": [score of each run]}."""
        names = [(layer, head) for layer in range(self.runs.shape[1]) for head in range(self.runs.shape[2])]
        return json.dumps({f"{a}-{b}": [round(one, 4) for one in self.runs[:, a, b].tolist()] for a, b in names}) + "\n"

    def save(self, path: Path) -> Path:
        """Write the file, whole or not at all."""
        with whole_file(path) as partial:
            partial.write_text(self.as_json(), encoding="utf-8")
        return path

    def save_for(self, home: Path) -> Path:
        """Write it where `head_scores` finds it."""
        return self.save(folder_of(home) / f"{self.architecture}-{self.fingerprint[:12]}-{self.kind}.json")


def load_scores(path: Path) -> HeadScores:
    """The scores in a file (`.gz` is unpacked), Foveal's own or published by the paper's authors. InputError: none."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            return parsed(file.read(), str(path))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}). Name a file of head scores.") from error


def parsed(text: str, name: str) -> HeadScores:
    """The scores in the JSON `text`. InputError: there are none, or they are not whole."""
    try:
        fields = json.loads(text)
        if "scores" not in fields:
            return HeadScores(_runs(fields), model=Path(name).name.partition(".json")[0])
        if fields.pop("version") != VERSION:
            raise InputError(f"{name} was written by another version of Foveal. Measure anew: foveal heads detect")
        return HeadScores(_runs(fields.pop("scores")), **fields)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} holds no head scores ({error}). It needs a list of numbers for each head, as "
            '{"0-0": [0.1, 0.2], …}; foveal heads detect MODEL makes such a file.'
        ) from error


def _runs(table: Mapping[str, Sequence[float]]) -> Tensor:
    """(R, L, H) from "layer-head" -> score of each run."""
    if not table:
        raise InputError("A file of head scores names no head.")
    places = {tuple(int(part) for part in name.split("-")): values for name, values in table.items()}
    layers, heads = (1 + max(place[axis] for place in places) for axis in (0, 1))
    count = {len(values) for values in places.values()}
    if len(places) != layers * heads or len(count) != 1 or not count.copy().pop():
        raise InputError(
            f"A file of head scores has {len(places)} heads of {layers} × {heads}, with {sorted(count)} runs; every "
            "head needs the same number, at least one."
        )
    ordered = [places[layer, head] for layer in range(layers) for head in range(heads)]
    return torch.tensor(ordered, dtype=torch.float32).T.reshape(-1, layers, heads)


def head_scores(model: LanguageModel, kind: str = "copy", home: Path | None = None) -> HeadScores:
    """The scores of `model`. InputError: none were measured, and none are shipped."""
    found = find_scores(model, kind, home)
    if found is None:
        flag = "" if kind == "copy" else f" --by {kind}"
        raise InputError(
            f"Nobody measured which heads of {model.name} retrieve ({kind} scores). Do it once: foveal heads detect "
            f"{model.name}{flag}"
        )
    return found


def find_scores(model: LanguageModel, kind: str = "copy", home: Path | None = None) -> HeadScores | None:
    """As `head_scores`; None where there are none. A person's own in `home` come before those shipped.

    A file of one's own that cannot be read, or is of another version, is passed over with a warning: it may be any
    model's.
    """
    architecture = architecture_of(model.model.config)
    alike: HeadScores | None = None
    for scores in (*_own(home, kind), *_shipped(kind)):
        if scores.fingerprint == model.fingerprint:
            return scores
        if alike is None and scores.architecture == architecture:
            alike = scores
    return alike


def copying_heads(answerer: object, home: Path | None = None) -> HeadScores | None:
    """Which heads of what gives the answers copy, where its model is on this machine and that is known."""
    model = getattr(answerer, "language_model", None)
    return find_scores(model, home=home) if model else None


def folder_of(home: Path) -> Path:
    """Where the scores of one's own lie."""
    return home / "models" / "heads"


def _own(home: Path | None, kind: str) -> Iterator[HeadScores]:
    for path in sorted(folder_of(home).glob(f"*-{kind}.json"), key=lambda path: -path.stat().st_mtime) if home else ():
        try:
            yield load_scores(path)
        except InputError as error:
            log.warning("Head scores are passed over. %s", error)


def _shipped(kind: str) -> Iterator[HeadScores]:
    folder = resources.files("foveal.attention") / "shipped" / "heads"
    files = [file for file in folder.iterdir() if file.name.endswith(f"-{kind}.json")] if folder.is_dir() else []
    for file in sorted(files, key=lambda file: file.name):
        yield parsed(file.read_text(encoding="utf-8"), file.name)


def by_layer(heads: Iterable[Head]) -> dict[int, list[int]]:
    """Layer -> its heads, shallow layers first."""
    layers: dict[int, list[int]] = {}
    for layer, head in sorted(heads):
        layers.setdefault(layer, []).append(head)
    return layers


def heads_here(heads: Mapping[int, Sequence[int]], context: Context, count: int, *, what: str) -> Sequence[int]:
    """Those of the context's layer, which has `count`. InputError: `what` names a layer or head that there is not."""
    config: Any = getattr(context.module, "config", None)  # None: a module that is of no model
    layers = max(heads, default=0) + 1 if config is None else int(config.num_hidden_layers)
    if heads and not 0 <= min(heads) <= max(heads) < layers:
        raise InputError(f"{what} got heads of the layers {sorted(heads)}; the model has 0 to {layers - 1}.")
    own = heads.get(context.layer, ())
    if any(not 0 <= head < count for head in own):
        raise InputError(f"{what} got heads {sorted(own)} of layer {context.layer}; it has 0 to {count - 1}.")
    return own


def random_heads(scores: HeadScores, count: int, seed: int, *, beside: Iterable[Head] = ()) -> list[Head]:
    """`count` heads drawn from those that are no retrieval heads and not in `beside`: the control of an experiment.

    InputError: there are not so many.
    """
    taken = set(beside)
    eligible = [head for head in scores.top() if scores.scores[head] <= RETRIEVAL and head not in taken]
    if count > len(eligible):
        raise InputError(
            f"{count} heads that are no retrieval heads were asked for, to compare with; {len(eligible)} score at most "
            f"{RETRIEVAL} beside those that are masked. Mask fewer."
        )
    order = torch.randperm(len(eligible), generator=torch.Generator().manual_seed(seed))
    return [eligible[place] for place in order[:count].tolist()]
