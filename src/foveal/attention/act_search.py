"""Which heads to calibrate: each is tried alone on labelled examples, and only what luck does not explain is kept.

    found = search_heads(model, examples, validation, SearchSettings())        # a Calibration (act_files.py)

Each candidate (all heads but those of the first two layers and the last) is calibrated alone. What it changes is told
example by example against the model as it is: in nats of the right label (a head's effect is far below what an accuracy
of some hundred examples can show), or in accuracy, as published. Heads pass at a false-discovery rate
(evaluation/selection.py); since effects do not add up, the strongest 1, 2, 4, … of them are tried together on
`validation`, and the best set is kept if the lower bound of its gain, corrected for the number of sets tried, is above
0. Else the calibration names no head.

exhaustive   every candidate on every example
halving      all on the first examples, the better half on as many more, and so on (successive halving)
cost         the hidden states below a head's layer are those of one plain pass; a layer's heads go up as one batch
             (act_layers.py). Other architectures: one whole pass for each head

Source    Yu et al., ICML 2024 (arXiv 2406.15765), section 4: its code logs accuracies, and the cut is by hand
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from foveal.attention.act import ACT, BETA
from foveal.attention.act_evaluation import (
    Scored,
    accuracy,
    candidates,
    check_labelled,
    judged,
    label_tokens,
    last_scores,
    prompt_ids,
    scored,
)
from foveal.attention.act_files import Calibration, HeadGain
from foveal.attention.act_layers import plain_pass, variants
from foveal.attention.profiles import architecture_of
from foveal.attention.retrieval_heads import Head, by_layer
from foveal.attention.sinks import Chooser, SinkRule
from foveal.errors import InputError, UnknownName
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.labelled import Labelled, template_of
from foveal.evaluation.likelihood import Paired, paired
from foveal.evaluation.selection import Gain, gains, passing
from foveal.models.language import LanguageModel
from foveal.models.lean import supports

STRATEGIES = ("exhaustive", "halving")
MEASURES = ("nats", "accuracy")
LEAST = 16
"""Examples of the first round of halving, and heads that are never halved away."""
SAVED_EVERY_S = 5.0
Step = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How heads are searched."""

    strategy: str = "exhaustive"  # one of STRATEGIES
    measure: str = "nats"  # one of MEASURES
    scoring: str = "whole"  # how a label is chosen (act_evaluation.py); labels must be told apart by one token
    beta: float = BETA
    rule: SinkRule = field(default_factory=SinkRule)
    columns: Chooser | None = None  # what is taken from instead of sinks: a control
    layers: tuple[int, ...] | None = None  # None: 2 to L - 2
    rate: float = 0.1  # share of the heads that pass which may do nothing
    most: int = 64  # heads that are tried together, at most
    seed: int = 0

    def __post_init__(self) -> None:
        """UnknownName, InputError: a value that there is not, or out of its range."""
        for what, name, known in (("strategy", self.strategy, STRATEGIES), ("measure", self.measure, MEASURES)):
            if name not in known:
                raise UnknownName(f"No {what} of a search is called {name!r}. There are: {', '.join(known)}.")
        if self.most < 1:
            raise InputError(f"A search was to try {self.most} heads together; it needs at least 1.")
        ACT({}, beta=self.beta)
        passing([], self.rate)


@dataclass
class Tried:
    """One example: the model as it is, and with each head that was tried; `search` names what it depends on."""

    search: str
    example: int
    right: float
    nats: float
    heads: dict[str, tuple[float, float]]  # "layer-head" -> right, nats; those that change nothing are there, too

    def gain(self, head: Head, measure: str) -> float:
        """What the head gained here: nats saved, or rightness."""
        right, nats = self.heads[_name(head)]
        return self.nats - nats if measure == "nats" else right - self.right


def search_heads(
    model: LanguageModel,
    examples: Sequence[Labelled],
    validation: Sequence[Labelled],
    settings: SearchSettings | None = None,
    *,
    store: Path | None = None,
    on_step: Step | None = None,
) -> Calibration:
    """The calibration of `model` by `examples`, confirmed on `validation`, which must share no prompt with them.

    With `store`, what was tried is kept in that file, and a search that was stopped goes on. `on_step(what, done,
    total)` is told of progress. InputError: unlabelled examples, a file of another search, labels that one token does
    not tell apart, examples that stand on both sides.
    """
    settings = settings or SearchSettings()
    check_labelled(examples, settings.scoring)
    check_labelled(validation, settings.scoring)
    both = {one.prompt for one in examples} & {one.prompt for one in validation}
    if both:
        raise InputError(
            f"{len(both)} prompts stand in examples and validation; what chose the heads cannot check them."
        )
    if len(examples) < 2 or len(validation) < 2:
        raise InputError("A search needs at least two examples, and two others for validation.")
    among = candidates(model, settings.layers)
    table = tried(model, examples, among, settings, store=store, on_step=on_step)
    found = head_gains(table, among, settings)
    whole = [gain.count == len(examples) for gain in found]
    passed = passing([gain.p if all_ else 1.0 for gain, all_ in zip(found, whole, strict=True)], settings.rate)
    best = sorted(
        (place for place, one in enumerate(passed) if one), key=lambda place: found[place].shrunk, reverse=True
    )
    kept, told = _validated(model, validation, [among[place] for place in best[: settings.most]], settings, on_step)
    told |= {
        "examples": len(examples),
        "accuracy": sum(one.right for one in table) / len(table),
        "heads_tried": len(among),
        "heads_passed": len(best),
    }
    return Calibration(
        model=model.name,
        fingerprint=model.fingerprint,
        architecture=architecture_of(model.model.config),
        layers=int(model.model.config.get_text_config().num_hidden_layers),
        heads_a_layer=int(model.model.config.get_text_config().num_attention_heads),
        template=template_of([*examples, *validation]),
        heads=tuple(kept),
        beta=settings.beta,
        rule=settings.rule,
        measure=settings.measure,
        gains=tuple(_told(head, gain, table) for head, gain in zip(among, found, strict=True)),
        measured=told,
    )


# -- trying ------------------------------------------------------------------------------------------------------------


def tried(
    model: LanguageModel,
    examples: Sequence[Labelled],
    among: Sequence[Head],
    settings: SearchSettings,
    *,
    store: Path | None = None,
    on_step: Step | None = None,
) -> list[Tried]:
    """What each head changed on each example that it was tried on, examples in a drawn order."""
    for one in examples:
        label_tokens(model, one, settings.scoring)
    search = search_key(model, examples, settings)
    done = _stored(store, search)
    order = list(range(len(examples)))
    random.Random(settings.seed).shuffle(order)
    rounds = _rounds(len(examples), len(among), settings.strategy)
    total, count, saved = sum(size * (end - start) for start, end, size in rounds), 0, time.monotonic()
    alive = list(among)
    for start, end, size in rounds:
        if start:
            alive = _better([done[place] for place in order[:start]], alive, size, settings.measure)
        for place in order[start:end]:
            before = done.get(place)
            done[place] = _one(model, examples[place], place, alive, settings, search, before)
            count += len(alive)
            if on_step:
                on_step("heads", count, total)
            if store and done[place] is not before and time.monotonic() - saved > SAVED_EVERY_S:
                write_lines(store, done.values())
                saved = time.monotonic()
    if store:
        write_lines(store, done.values())
    return [done[place] for place in order]


def search_key(model: LanguageModel, examples: Sequence[Labelled], settings: SearchSettings) -> str:
    """A hash of what a trial's outcome depends on."""
    told: tuple[object, ...] = (model.fingerprint, str(model.dtype), settings.beta, settings.rule, settings.scoring)
    told += (list(examples),) if settings.columns is None else (settings.columns, list(examples))
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _stored(store: Path | None, search: str) -> dict[int, Tried]:
    found = stored_lines(store, Tried, what="trials of a search") if store else []
    if any(one.search != search for one in found):
        raise InputError(
            f"{store} holds trials of another search (model, examples, beta, rule or scoring differ). Remove it, or "
            "name another file."
        )
    return {one.example: one for one in found}


def _rounds(examples: int, heads: int, strategy: str) -> list[tuple[int, int, int]]:
    """First and one past the last example of each round, and the heads that are tried on them."""
    if strategy == "exhaustive":
        return [(0, examples, heads)]
    made, start, end = [], 0, min(examples, LEAST)
    while start < examples:
        made.append((start, end, heads))
        start, end, heads = end, min(examples, 2 * end), min(heads, max(LEAST, heads // 2))
    return made


def _better(table: Sequence[Tried], alive: Sequence[Head], size: int, measure: str) -> list[Head]:
    """The `size` heads that gained most so far, in their order."""
    means = {head: sum(one.gain(head, measure) for one in table) for head in alive}
    best = set(sorted(alive, key=lambda head: -means[head])[:size])
    return [head for head in alive if head in best]


def _one(
    model: LanguageModel,
    example: Labelled,
    place: int,
    alive: Sequence[Head],
    settings: SearchSettings,
    search: str,
    before: Tried | None,
) -> Tried:
    """The example with all of `alive` tried; what was tried before is not again."""
    missing = [head for head in alive if not before or _name(head) not in before.heads]
    if before and not missing:
        return before
    plain, changed = outcomes(model, example, missing, settings)
    heads = {_name(head): (one.right, one.nats) for head in missing for one in [changed.get(head, plain)]}
    return Tried(search, place, plain.right, plain.nats, (before.heads if before else {}) | heads)


def outcomes(
    model: LanguageModel, example: Labelled, heads: Sequence[Head], settings: SearchSettings
) -> tuple[Scored, dict[Head, Scored]]:
    """The example by the model as it is, and with each head calibrated alone; missing ones change nothing."""
    if not supports(model.model):
        return one_by_one(model, example, heads, settings)
    layers, labels = by_layer(heads), label_tokens(model, example, settings.scoring)

    def judge(logits: Tensor) -> Scored:
        return judged(last_scores(labels, logits, settings.scoring), example.gold or 0)

    plain = plain_pass(model.model, prompt_ids(model, example.prompt), layers)
    found: dict[Head, Scored] = {}
    for layer, own in layers.items():
        columns = settings.columns or settings.rule
        made = variants(model.model, plain, layer, rule=columns, beta=settings.beta, heads=own)
        found |= {(layer, head): judge(logits) for head, logits in made.items()}
    return judge(plain.logits), found


def one_by_one(
    model: LanguageModel, example: Labelled, heads: Sequence[Head], settings: SearchSettings
) -> tuple[Scored, dict[Head, Scored]]:
    """The same by one whole pass for each head: for other architectures, and to compare with."""
    plain = scored(model, [example], scoring=settings.scoring)[0]
    found = {}
    for layer, head in heads:
        method = ACT({layer: [head]}, beta=settings.beta, rule=settings.rule, columns=settings.columns)
        found[layer, head] = scored(model, [example], method, scoring=settings.scoring)[0]
    return plain, found


# -- choosing ----------------------------------------------------------------------------------------------------------


def head_gains(table: Sequence[Tried], among: Sequence[Head], settings: SearchSettings) -> list[Gain]:
    """What each head gained, over the examples that it was tried on."""
    return gains([[_gain(one, head, settings.measure) for one in table] for head in among])


def _gain(one: Tried, head: Head, measure: str) -> float:
    return one.gain(head, measure) if _name(head) in one.heads else float("nan")


def _told(head: Head, gain: Gain, table: Sequence[Tried]) -> HeadGain:
    right = [_gain(one, head, "accuracy") for one in table]
    return HeadGain(
        layer=head[0],
        head=head[1],
        gain=gain.mean,
        low=gain.interval[0],
        high=gain.interval[1],
        p=gain.p,
        shrunk=gain.shrunk,
        accuracy=100 * float(np.nanmean(right)),
        count=gain.count,
    )


def _validated(
    model: LanguageModel,
    validation: Sequence[Labelled],
    best: Sequence[Head],
    settings: SearchSettings,
    on_step: Step | None,
) -> tuple[list[Head], dict[str, float]]:
    """The best of nested sets of heads, if it gains on other examples, too; and what was measured."""
    plain = scored(model, validation, scoring=settings.scoring)
    told: dict[str, float] = {"validation_examples": len(validation), "validation_accuracy": accuracy(plain)}
    sizes = [size for size in (2**power for power in range(20)) if size < len(best)] + [len(best)] * bool(best)
    kept: list[Head] = []
    most = 0.0
    for number, size in enumerate(sizes, 1):
        method = ACT(by_layer(best[:size]), beta=settings.beta, rule=settings.rule, columns=settings.columns)
        ours = scored(model, validation, method, scoring=settings.scoring)
        gain = _paired(ours, plain, settings, 1 - 0.05 / len(sizes))
        told[f"validation_gain_{size}"] = gain.mean
        if gain.low > 0 and gain.mean > most:
            kept, most = list(best[:size]), gain.mean
            told |= {"validation_accuracy_calibrated": accuracy(ours), "validation_gain": gain.mean}
            told |= {"validation_gain_low": gain.low, "validation_gain_high": gain.high}
        if on_step:
            on_step("validation", number, len(sizes))
    return kept, told


def _paired(ours: Sequence[Scored], plain: Sequence[Scored], settings: SearchSettings, confidence: float) -> Paired:
    if settings.measure == "nats":
        told = [two.nats - one.nats for one, two in zip(ours, plain, strict=True)]
    else:
        told = [one.right - two.right for one, two in zip(ours, plain, strict=True)]
    return paired(told, seed=settings.seed, confidence=confidence)


def _name(head: Head) -> str:
    return f"{head[0]}-{head[1]}"
