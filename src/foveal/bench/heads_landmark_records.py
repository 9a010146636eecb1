"""bench heads-landmark, the records: questions about what stands far beyond the training window.

Texts of random fillers hold one record (a key and its value), or 4, and end in a question for one of them, which lies
evenly over the depths. A model that was trained on windows of 64 positions reads them. One record is found by being
one, as a pass key is; one of 4 by its key.

answers   the share of questions that the likeliest token answers; chance is one of 16 values
hits      the share of questions for which the record's block has the best landmark of all, in the best head; the same
          with the mean of a block's keys in the landmark's place, which is what a fake would use
Controls  of one record: blocks drawn blindly; the latest blocks, which makes a sliding window, asked for what stands
          beyond its reach; landmarks that change places
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from foveal.attention.landmark_cache import LandmarkCache, ReadSettings
from foveal.attention.landmark_model import LandmarkModel
from foveal.bench.heads_landmark_questions import VALUES, RecordScale, asked_texts, is_trained, record_model
from foveal.bench.settings import BenchSettings
from foveal.evaluation.plots import heatmap, lines
from foveal.evaluation.tables import Row

LENGTHS = (1024, 4096, 16_384)
NEAR = 0.08
"""By how much answers far beyond the window may be behind those within it."""
CHANCE = 1 / VALUES
TOLD = 4
"""Records of a text, as many as a training window holds at most."""


@dataclass(frozen=True)
class Asked:
    """What was found out of texts of one length."""

    told: Tensor  # (questions,) bool, which were answered
    back: Tensor  # (questions,), how many tokens before the end their records stand
    hits: Tensor  # (layers, heads), the share whose record's block has the best landmark
    fake: Tensor  # the same by means of keys
    opened: float  # the share whose record's block was opened by some head at the last token

    @property
    def right(self) -> float:
        """The share of the questions that were answered."""
        return float(self.told.float().mean())

    def beyond(self, reach: int) -> tuple[float, int]:
        """The same of those whose record stands farther back than `reach` tokens, and how many these are."""
        far = self.told[self.back > reach]
        return float(far.float().mean()), len(far)


def records(settings: BenchSettings, scale: RecordScale) -> Iterator[Row]:
    """The rows; in a quick run before a full one has trained the arm one that says so."""
    if settings.quick and not is_trained(settings, scale):
        note = "not run: a full run trains their arm, and quick ones measure it from then on"
        yield Row.of("records", "answers", float("nan"), note=note)
        return
    model, count = record_model(settings, scale), 32 if settings.quick else 96
    window = scale.landmarks.window_tokens - 1
    curves: dict[str, list[float]] = {}
    lengths = LENGTHS[:2] if settings.quick else LENGTHS
    for told in (1, TOLD):
        within = asked(model, window, count, settings.seed, ReadSettings(top_k=4), told=told).right
        yield Row.of(f"{of(told)}, {window} tokens", "answers", within, at_least=0.85, note="the training length")
        for length in lengths:
            yield from _at(model, length, settings, within, curves, told)
    lines(
        lengths, curves, settings.cache / "pictures" / "landmark-records.png",
        title=f"One record, and one of {TOLD}, trained on windows of {window + 1} tokens", x_label="tokens read",
        y_label="answers right", logarithmic="x",
    )  # fmt: skip


def of(told: int) -> str:
    """How the rows of so many records are called."""
    return "one record" if told == 1 else f"one record of {told}"


def _at(
    model: LandmarkModel,
    length: int,
    settings: BenchSettings,
    within: float,
    curves: dict[str, list[float]],
    told: int,
) -> Iterator[Row]:
    count = (32 if settings.quick else 96) // (1 if length < LENGTHS[-1] else 3)
    collapsed, seed, what = max(0.25, by_chance(count)), settings.seed, f"{of(told)}, {length:,} tokens"
    for top_k in (4, 2):
        got = asked(model, length, count, seed, ReadSettings(top_k=top_k), told=told)
        curves.setdefault(f"{of(told)}, k {top_k}", []).append(got.right)
        note = f"{count} questions; the record's block opened in {got.opened:.0%}"
        yield Row.of(f"{what}, k {top_k}", "answers", got.right, at_least=within - NEAR, note=note)
        if top_k == 4:
            yield from _hits(got, what)
            heatmap(
                got.hits.tolist(), settings.cache / "pictures" / f"landmark-hits-{told}-{length}.png",
                title=f"Share whose record's block has the best landmark, {what}", x_label="head",
                y_label="layer", value_label="share", limits=(0.0, 1.0),
            )  # fmt: skip
    if told > 1:
        return
    got = asked(model, length, count, seed, ReadSettings(top_k=4, selection="random"), told=told)
    yield Row.of(f"control: blocks drawn blindly, {length:,} tokens", "answers", got.right, at_most=collapsed)
    got = asked(model, length, count, seed, ReadSettings(top_k=4, selection="latest"), told=told)
    curves.setdefault("one record, sliding window", []).append(got.right)
    layers = int(model.base.config.get_text_config().num_hidden_layers)
    yield sliding_row(got, length, reach=layers * model.settings.train_length)
    got = asked(model, length, count, seed, ReadSettings(top_k=4), shuffled=True, told=told)
    yield Row.of(f"control: landmarks change places, {length:,} tokens", "answers", got.right, at_most=collapsed)


def by_chance(count: int) -> float:
    """The most that answers at chance give: three standard errors of `count` questions above it."""
    return CHANCE + 3 * sqrt(CHANCE * (1 - CHANCE) / count)


def sliding_row(got: Asked, length: int, *, reach: int) -> Row:
    """A sliding window's answers about what it cannot have seen: each layer reaches a window farther back."""
    right, count = got.beyond(reach)
    note = f"{count} questions about records more than {reach} tokens back; of all {len(got.told)}: {got.right:.3f}"
    what = f"control: blocks the latest, a sliding window, {length:,} tokens"
    return Row.of(what, "answers", right, at_most=by_chance(count), note=note)


def _hits(got: Asked, what: str) -> Iterator[Row]:
    best, fake = float(got.hits.max()), float(got.fake.max())
    layer, head = divmod(int(got.hits.argmax()), got.hits.shape[1])
    note = f"layer {layer}, head {head}"
    yield Row.of(f"hits of the best head, {what}", "share", best, at_least=0.9, note=note)
    note = "a block's mean key in the landmark's place"
    yield Row.of(f"control: hits of block means, {what}", "share", fake, at_most=best, note=note)


@torch.no_grad()
def asked(
    model: LandmarkModel,
    length: int,
    count: int,
    seed: int,
    how: ReadSettings,
    *,
    shuffled: bool = False,
    told: int = TOLD,
) -> Asked:
    """Read the texts up to the question's key, look where it would look, and answer."""
    texts, answers, places = asked_texts(length, count, seed, records=told)
    right: list[Tensor] = []
    opened: list[bool] = []
    hits, fake = [], []
    for ids, answer, place in zip(*(torch.split(part, 8) for part in (texts, answers, places)), strict=True):
        cache = model.read(ids[:, :-1], model.make_cache(how))
        if shuffled:
            _shuffle(cache, seed)
        blocks = (place + 2) // (model.settings.block - 1)  # of the record's value, which is what is fetched
        cache.watch()
        (states,) = model.states(ids[:, -1:], cache)
        right.append(model.logits(states[:, -1]).argmax(-1) == answer)
        found = [(one.blocks == blocks[:, None, None, None]).flatten(1).any(1) for one in cache.trace()]
        opened += torch.stack(found).any(0).tolist() if found else [False] * len(ids)
        ranked = [_best(layer, blocks) for layer in cache.layers if layer.kept > layer.top_k]
        hits.append(torch.stack([one for one, _ in ranked]) if ranked else torch.zeros(1, 1, len(ids)))
        fake.append(torch.stack([two for _, two in ranked]) if ranked else torch.zeros(1, 1, len(ids)))
    best, of_means = (torch.cat(part, -1).float().mean(-1) for part in (hits, fake))
    return Asked(torch.cat(right), length - places, best, of_means, sum(opened) / len(opened))


def _best(layer: object, blocks: Tensor) -> tuple[Tensor, Tensor]:
    """For the last query of each head, whether the block's landmark, or its mean key, is the best: (H, B) each."""
    from foveal.attention.landmark_cache import LandmarkLayer

    assert isinstance(layer, LandmarkLayer)
    assert layer.queries is not None
    queries = layer.queries[:, :, -1:]
    landmarks = layer._scores(queries, 1.0)[:, :, 0]
    every = torch.arange(layer.kept).expand(len(queries), queries.shape[1], 1, -1)
    keys, _ = layer.store.fetch(every, like=queries)
    means = (keys[:, :, 0, :, :-1].mean(-2) * queries).sum(-1)
    found = (one.argmax(-1) == blocks[:, None].clamp(max=layer.kept - 1) for one in (landmarks, means))
    first, second = (one.T for one in found)
    return first, second


def _shuffle(cache: LandmarkCache, seed: int) -> None:
    """Let the landmarks of all blocks change places: a block is opened by another's landmark."""
    for layer in cache.layers:
        assert layer.marks is not None
        order = torch.randperm(layer.kept, generator=torch.Generator().manual_seed(seed + layer.number))
        layer.marks[:, :, : layer.kept] = layer.marks[:, :, order]
