"""bench layers-codebook, text: sixty tokens each of two posts of 20 newsgroups, joined; is the goal's group there?

Features   MiniLM's token states of either post, side by side (124 x 384); the goal is the vector of the group's name
Task       presence: half of the goals are one of the two groups, half another one; pairs are drawn anew in each epoch
Probes     linear, on E and on E': the goal's presence (accuracy); where it is there, which of 20 groups the *other*
           post is of (mean F1): a filter that keeps what the goal needs does not lose the first, and loses the second
Peers      no filter, the linear bottleneck, and the cosine of the goal with the mean vector of both posts

Training posts make what is learnt from, test posts what is measured. Three seeds (--quick: one, of a third as much).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.bench.code import digest_of
from foveal.bench.layers_codebook_views import (
    ARMS,
    BATCH,
    BENCH,
    FORMS,
    GRADIENT,
    RATE,
    probed,
    used_by,
    used_note,
)
from foveal.bench.nn_aaren_recall import Told, cell
from foveal.bench.nn_aaren_tables import seeds_of, spread
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.files import csv_rows
from foveal.evaluation.tables import Row
from foveal.models.bert import BertEncoder
from foveal.models.dtypes import native_bfloat16
from foveal.nn.text_filter import TextFilter, TextFilterSettings
from foveal.ranking.goal_ranker import TokenStates
from foveal.training.probes import LinearProbe

HALF = 60
CELLS = 2 * (HALF + 2)
"""Tokens of two halves, the two special ones of each among them."""
LEARNT, HELD, EPOCHS, PROBED = 4500, 1500, 30, 2000
OTHER_LOSS = 0.05

Posts = list[tuple[str, str]]
"""Group and text."""


class Halves(NamedTuple):
    """Posts, each read by itself."""

    tokens: Tensor  # (P, 62, 384), in bfloat16
    mask: Tensor  # (P, 62)
    vectors: Tensor  # (P, 384): of the whole of each
    groups: Tensor  # (P,)
    names: Tensor  # (20, 384): of the groups


class Mixes(NamedTuple):
    """Two posts each, a goal, whether it is there, and the group of the post that it is not about."""

    posts: Tensor  # (N, 2)
    goals: Tensor  # (N,): groups
    there: Tensor  # (N,) of booleans
    other: Tensor  # (N,): groups


def posts(path: Path, most: int, encoder: BertEncoder, seed: int) -> Posts:
    """Some posts that have at least `HALF` tokens, cut behind them."""
    rows = [row for _, row in csv_rows(path, ("label", "text"))]
    found: Posts = []
    for place in np.random.default_rng(seed).permutation(len(rows)):
        row = rows[place]
        offsets = encoder.token_offsets(row["text"])
        if len(offsets) >= HALF:
            found.append((row["label"], row["text"][: offsets[HALF - 1][1]]))
        if len(found) == most:
            break
    return found


def mixed(groups: Tensor, count: int, seed: int) -> Mixes:
    """Pairs of posts of different groups, given each post's (P,). InputError: there are not three groups."""
    kinds = torch.unique(groups)
    if len(kinds) < 3:
        raise InputError("Mixes need posts of three groups or more.")
    draw = torch.Generator().manual_seed(seed)
    pairs = torch.randint(len(groups), (4 * count, 2), generator=draw)
    pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]][:count]
    two = groups[pairs]
    there = torch.rand(len(pairs), generator=draw) < 0.5
    place = torch.randint(2, (len(pairs), 1), generator=draw)
    about, other = two.gather(1, place)[:, 0], two.gather(1, 1 - place)[:, 0]
    chance = torch.ones(len(pairs), len(kinds))
    chance[(kinds == two[:, :1]) | (kinds == two[:, 1:])] = 0
    absent = kinds[torch.multinomial(chance, 1, generator=draw)[:, 0]]
    return Mixes(pairs, torch.where(there, about, absent), there, other)


def text(settings: BenchSettings) -> Iterator[Row]:
    """Presence, then the probes."""
    seeds = seeds_of(settings, headline=True)
    found = {arm: [_cell(settings, arm, seed) for seed in seeds] for arm in (ARMS if settings.quick else FORMS)}
    cosine = found["none"][0]["cosine"]
    yield Row.of("text, cosine with the goal", "accuracy", cosine, note="by the threshold that is best while learning")
    plain = fmean(one["accuracy"] for one in found["none"])
    slack = 0.03 if settings.quick else 0.0
    for arm, cells in found.items():
        note = spread([one["accuracy"] for one in cells])
        at_least = max(plain, cosine) - slack if arm == "codebook" else None
        yield Row.of(f"text, {arm}", "accuracy", fmean(one["accuracy"] for one in cells), at_least=at_least, note=note)
    for arm, cells in found.items():
        least, most = (0.0 - slack, slack - OTHER_LOSS) if arm == "codebook" else (None, None)
        yield probed(f"text, {arm}, goal there", "accuracy", "goal", cells, at_least=least)
        yield probed(f"text, {arm}, group of the other post", "F1", "other", cells, at_most=most)
    used = found["codebook"][0]["usage"]
    yield Row.of("text, codebook", "codes in use", used["perplexity_marginal"], note=used_note(used))


def _cell(settings: BenchSettings, arm: str, seed: int) -> Told:
    sizes = (LEARNT // 3, HELD // 3, EPOCHS // 3) if settings.quick else (LEARNT, HELD, EPOCHS)
    known_by = {
        "arm": arm, "seed": seed, "sizes": sizes, "rate": RATE, "data": settings.seed, "form": FORMS[arm],
        "encoder": settings.encoder().fingerprint, "posts": digest(settings),
    }  # fmt: skip
    code = digest_of(_model(1, arm), _trained, LinearProbe.fit)

    def made(_: Path) -> Told:
        return _found(*_data(settings, sizes[:2]), arm, seed, sizes[2])

    return cell(settings, f"text-{arm}", known_by, made, code=code, bench=BENCH)


def _model(width: int, arm: str) -> TextFilter:
    """Of an arm, over token states of that width."""
    return TextFilter(TextFilterSettings(channels=width, goal_width=width, tokens=CELLS, **FORMS[arm]))


def _files(settings: BenchSettings) -> list[Path]:
    return [settings.file("classification/20ng", f"{name}.csv") for name in ("train", "test")]


@cache
def digest(settings: BenchSettings) -> str:
    """Of the posts' files: what was learnt from others is another cell."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in _files(settings))).hexdigest()


@cache
def _data(settings: BenchSettings, sizes: tuple[int, int]) -> tuple[Halves, Halves]:
    """What is learnt from, and what is measured."""
    states = TokenStates.of("minilm", HALF + 2)
    found = [
        posts(path, count, states.encoder, settings.seed) for path, count in zip(_files(settings), sizes, strict=True)
    ]
    groups = sorted({group for group, _ in found[0]})
    if unknown := sorted({group for group, _ in found[1]}.difference(groups)):
        raise InputError(
            f"{_files(settings)[1]} has posts of {', '.join(unknown)}, of which none to learn from is drawn."
        )
    learnt, held = (_encoded(one, groups, states) for one in found)
    return learnt, held


def _encoded(found: Posts, groups: list[str], states: TokenStates) -> Halves:
    texts = [text for _, text in found]
    parts = [states.texts(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
    tokens, mask = torch.cat([one.bfloat16() for one, _ in parts]), torch.cat([mask for _, mask in parts])
    vectors = torch.from_numpy(states.encoder.encode(texts))
    names = states.goals([group.replace(".", " ") for group in groups])
    return Halves(tokens, mask, vectors, torch.tensor([groups.index(group) for group, _ in found]), names)


def _rows(data: Halves, mixes: Mixes, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, mask and goals of some mixes."""
    pairs = mixes.posts[rows]
    return data.tokens[pairs].flatten(1, 2).float(), data.mask[pairs].flatten(1, 2), data.names[mixes.goals[rows]]


def _found(learnt: Halves, held: Halves, arm: str, seed: int, epochs: int) -> Told:
    """A trained arm's accuracy, probes, usage, and the cosine's accuracy."""
    torch.manual_seed(seed)
    model = _model(learnt.tokens.shape[-1], arm)
    _trained(model, learnt, seed, epochs)
    mixes = mixed(learnt.groups, PROBED, seed), mixed(held.groups, HELD, seed)
    (e, filtered, _), (e_held, filtered_held, logits) = (
        _features(model, data, one) for data, one in zip((learnt, held), mixes, strict=True)
    )
    there = [one.there for one in mixes]
    other = [F.one_hot(one.other, len(learnt.names)).bool() for one in mixes]
    probes: dict[str, list[float]] = {"goal": [], "other": []}
    for before, after in ((e, e_held), (filtered, filtered_held)):
        told = LinearProbe.fit(before, there[0][:, None])
        probes["goal"].append(told.accuracy(after, there[1][:, None]))
        told = LinearProbe.fit(before[there[0]], other[0][there[0]], balanced=True)
        probes["other"].append(told.f1(after[there[1]], other[1][there[1]]))
    accuracy = float(((logits > 0) == there[1]).float().mean())
    similar = cosine(*((cosines(data, one), one.there) for data, one in zip((learnt, held), mixes, strict=True)))
    batches = (_rows(held, mixes[1], rows) for rows in torch.split(torch.arange(HELD), BATCH))
    return {"accuracy": accuracy, "cosine": similar, "probes": probes, **used_by(model, batches)}


def cosines(data: Halves, mixes: Mixes) -> Tensor:
    """(N,): of each goal's vector with the mean of both posts'."""
    whole = F.normalize(data.vectors[mixes.posts].sum(1), dim=-1)
    return (whole * F.normalize(data.names[mixes.goals], dim=-1)).sum(-1)


def cosine(learnt: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor]) -> float:
    """The accuracy on `held`, values and answers, of the threshold that is best on `learnt`."""
    values, there = learnt
    best = max(values.tolist(), key=lambda at: float(((values >= at) == there).sum()))
    return float(((held[0] >= best) == held[1]).float().mean())


@torch.no_grad()
def _features(model: TextFilter, data: Halves, mixes: Mixes) -> tuple[Tensor, Tensor, Tensor]:
    """E, E', logits."""
    found = []
    for rows in torch.split(torch.arange(len(mixes.there)), BATCH):
        tokens, mask, goals = _rows(data, mixes, rows)
        joint = model.filter.joint(tokens, goals, mask)
        filtered = model.filter.bottleneck(joint)
        found.append((joint, filtered, model.head(filtered)[:, 0]))
    e, filtered, logits = (torch.cat(one) for one in zip(*found, strict=True))
    return e, filtered, logits


def _trained(model: TextFilter, data: Halves, seed: int, epochs: int) -> None:
    """In place, on mixes that are new in each epoch; ends in eval mode."""
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    model.train()
    for epoch in range(epochs):
        mixes = mixed(data.groups, len(data.groups), 1000 * (seed + 1) + epoch)
        for rows in torch.split(torch.arange(len(mixes.there)), BATCH):
            with torch.autocast("cpu", torch.bfloat16, enabled=native_bfloat16()):
                logits = model(*_rows(data, mixes, rows))
            loss = F.binary_cross_entropy_with_logits(logits.float(), mixes.there[rows].float())
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT)
            optimiser.step()
    model.eval()
