"""Teaches a small language model to plan searches: recorded runs, as transcripts, into low-rank changes of its upper
layers (distillation).

    learned, curves = distil(model, recorded, runs, PlannerSettings(), folder=run)
    writer = QueryWriter(model, learned_model(model, learned, settings))

Learnt    each query of a run and the word that ends it, from what stood before; what is shown of passages comes from
          our own search, as it will in use
Chosen    runs with a query, whose queries find the answer within the budget (a run of yes or no cannot be checked)
Source    the recipe of search agents' cold start (R1-Searcher, Song et al., 2025), at a thousandth of its size
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from foveal.errors import InputError
from foveal.models.language import LanguageModel
from foveal.research.planner_settings import PlannerSettings
from foveal.research.recorded_search import RecordedSearch, found_answer, pooled
from foveal.research.sources import in_context
from foveal.research.trajectories import Recorded, Trajectory
from foveal.research.transcripts import Format, Transcript
from foveal.training.examples import alike_in_length
from foveal.training.loop import Curves, Job, train
from foveal.training.loop_settings import without_loop
from foveal.training.upper_layers import Parts
from foveal.training.watch import Progress

METRIC = "log-likelihood"
UNREAD = (0,)
"""A vocabulary for parts whose logits nobody reads."""

AT_ONCE = 8
"""Batches among which rows of like length are put together."""


@dataclass(frozen=True, eq=False)
class Row:
    """One transcript behind the lower layers: states (N, d), and places (M,) with the classes (M,) of what follows."""

    states: Tensor
    places: Tensor
    targets: Tensor


Batch = dict[str, Tensor]


def teachable(
    recorded: Recorded, runs: Sequence[Trajectory], search: RecordedSearch, settings: PlannerSettings
) -> list[Trajectory]:
    """The runs that are worth learning from."""
    kept = []
    for run in runs:
        queries = [step.query for step in run.steps[: settings.most_queries]]
        found = pooled(search, run.question, queries, budget=settings.budget, first=settings.first)
        if queries and (not run.measurable or found_answer(recorded, run, found)):
            kept.append(run)
    return kept


class Parted(NamedTuple):
    """Runs to learn from, and those that are only looked at."""

    learnt: tuple[Trajectory, ...]
    held: tuple[Trajectory, ...]


def held_out(chosen: Sequence[Trajectory], share: float) -> Parted:
    """The first ones are only looked at. InputError: too few."""
    held = max(1, round(share * len(chosen)))
    if len(chosen) <= held + 1:
        raise InputError(
            f"{len(chosen)} recorded runs teach how to search: they have queries that find the answer. A planner needs "
            "three at least, and learns little from fewer than a hundred."
        )
    return Parted(tuple(chosen[held:]), tuple(chosen[:held]))


def transcript(run: Trajectory, search: RecordedSearch, settings: PlannerSettings) -> tuple[Transcript, bool]:
    """A run's searches with what our own search finds for them, and whether they ended before they had to."""
    made = Transcript(run.question)
    for step in run.steps[: settings.most_queries]:
        found = search.shown(search(in_context(step.query, run.question))[: 2 * settings.transcript.passages])
        made = made.and_then(step.query, found, settings.transcript)
    return made, len(run.steps) < settings.most_queries


def tokens(form: Format, made: Transcript, *, ended: bool) -> tuple[list[int], list[int]]:
    """All tokens of a transcript, and the places of those that are learnt."""
    ids, learnt = list(form.start), list[int]()
    for piece in form.pieces(made, ended=ended):
        if piece.learnt:
            learnt += range(len(ids), len(ids) + len(piece.ids))
        ids += piece.ids
    return ids, learnt


def taught(
    form: Format, run: Trajectory, search: RecordedSearch, settings: PlannerSettings
) -> tuple[list[int], list[int]]:
    """`tokens` of a recorded run."""
    made, ended = transcript(run, search, settings)
    return tokens(form, made, ended=ended)


def vocabulary(form: Format, recorded: Recorded, runs: Sequence[Trajectory] = ()) -> set[int]:
    """The tokens of all passages, questions and queries of a set, and of the queries of other `runs` over it: those
    that a planner has a reason to write.
    """
    texts = [f"{one.title}\n{one.text}" for one in recorded.sources.values()]
    texts += [run.question for run in recorded.trajectories]
    texts += [f" {step.query}" for run in recorded.trajectories for step in run.steps]
    encoded = form.model.tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    # a line is cut and has no breaks, so that its tokens may be others than those of the text
    queries = {step.query for run in (*recorded.trajectories, *runs) for step in run.steps}
    lines = {token for query in queries for token in form.query(query)}
    return {token for one in encoded for token in one.ids} | lines | {*form.search, *form.done, *form.end}


def row(parts: Parts, ids: Sequence[int], learnt: Sequence[int]) -> Row:
    """A transcript as the upper layers read it; a token is foretold at the place before its own."""
    states = parts.states(ids[: learnt[-1]])  # nothing behind the last learnt token matters
    targets = parts.classes(torch.tensor([ids[place] for place in learnt]))
    return Row(states.cpu(), torch.tensor(learnt) - 1, targets.cpu())  # all rows are kept: not on a GPU


@dataclass(frozen=True, eq=False)
class Rows:
    """Transcripts as rows, each passed through the lower layers when it is first asked for, and kept."""

    parts: Parts
    made: Sequence[tuple[Sequence[int], Sequence[int]]]  # all tokens, and the places of those that are learnt
    on_progress: Callable[[Progress], None] = lambda _: None
    kept: dict[int, Row] = field(default_factory=dict)

    @property
    def lengths(self) -> list[int]:
        """States of each row."""
        return [learnt[-1] for _, learnt in self.made]

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, place: int) -> Row:
        if place not in self.kept:
            if len(self.kept) % max(1, len(self) // 10) == 0:
                self.on_progress(Progress(0, 0, note=f"Reading run {len(self.kept) + 1:,} of {len(self):,}"))
            self.kept[place] = row(self.parts, *self.made[place])
        return self.kept[place]


def collate(rows: Sequence[Row]) -> Batch:
    """Rows side by side, padded on the right; places are counted over the flattened batch."""
    states = pad_sequence([one.states for one in rows], batch_first=True)
    length = states.shape[1]
    return {
        "states": states,
        "places": torch.cat([number * length + one.places for number, one in enumerate(rows)]),
        "targets": torch.cat([one.targets for one in rows]),
    }


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The mean cross entropy of what is learnt; the module that the loop knows holds only the changes."""

    parts: Parts

    def __call__(self, _: nn.Module, batch: Batch) -> Tensor:
        logits = self.parts.logits(batch["states"], batch["places"])
        return F.cross_entropy(logits, batch["targets"].to(logits.device))

    @torch.no_grad()
    def of(self, rows: Rows | Sequence[Row], batch: int = 8) -> float:
        """The mean over the tokens of many rows."""
        total = count = 0.0
        for first in range(0, len(rows), batch):
            made = collate([rows[place] for place in range(first, min(first + batch, len(rows)))])
            total += len(made["targets"]) * float(self(self.parts.upper, made))
            count += len(made["targets"])
        return total / max(1.0, count)


def by_length(lengths: Sequence[int], batch: int, seed: int) -> Callable[[int], list[list[int]]]:
    """A plan of batches: drawn anew each epoch, rows of like length together."""
    return lambda epoch: alike_in_length(lengths, batch, AT_ONCE, seed, epoch=epoch)


def distil(
    model: LanguageModel,
    recorded: Recorded,
    runs: Sequence[Trajectory],
    settings: PlannerSettings | None = None,
    *,
    folder: Path,
    search: RecordedSearch | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[nn.ModuleDict, Curves]:
    """The low-rank changes that were best on runs held out, and how it went. `model` itself stays as it is.

    `folder` keeps checkpoints: the same call goes on. InputError: too few runs, or `folder` is another training's.
    """
    settings = settings or PlannerSettings()
    search = search or RecordedSearch(recorded)
    chosen = teachable(recorded, runs, search, settings)
    learnt_from, held = held_out(chosen, settings.dev_share)
    form = Format(model, settings.transcript)
    parts = Parts.of(model.model, settings.upper, vocabulary(form, recorded, chosen))
    learned = parts.learn(rank=settings.rank, alpha=settings.alpha, seed=settings.loop.seed)
    dev, learnt = (
        Rows(parts, [taught(form, one, search, settings) for one in part], on_progress) for part in (held, learnt_from)
    )
    loss = Likelihood(parts)
    job = Job(
        model=learned, rows=learnt, loss=loss, metric=METRIC, collate=collate,
        plan=by_length(learnt.lengths, settings.loop.batch, settings.loop.seed),
        identity={
            "what": "planner", "base": model.fingerprint, "recorded": recorded.fingerprint,
            "runs": told_apart(recorded, (*held, *learnt_from)), "planner": without_loop(settings),
        },
        evaluate=lambda _: {METRIC: -loss.of(dev)},
    )  # fmt: skip
    return learned, train(job, settings.loop, folder, on_progress=on_progress)


def likelihood(
    model: LanguageModel,
    recorded: Recorded,
    runs: Sequence[Trajectory],
    learned: nn.ModuleDict | None,
    settings: PlannerSettings,
    search: RecordedSearch,
) -> float:
    """The mean log-likelihood of a token that the runs teach, by the model with these changes; None: as it is."""
    form = Format(model, settings.transcript)
    parts = Parts.of(model.model, settings.upper, vocabulary(form, recorded, runs))
    if learned is not None:
        own = parts.learn(rank=settings.rank, alpha=settings.alpha, seed=settings.loop.seed)
        own.load_state_dict(learned.state_dict())
    return -Likelihood(parts).of(Rows(parts, [taught(form, one, search, settings) for one in runs]))


def told_apart(recorded: Recorded, runs: Sequence[Trajectory]) -> str:
    """The runs' ids; with a digest those that are not in `recorded`, whose fingerprint does not tell their steps."""
    known = set(recorded.trajectories)
    return ",".join(run.id if run in known else f"{run.id} {_digest(run)}" for run in runs)


def _digest(run: Trajectory) -> str:
    return hashlib.sha256(json.dumps(asdict(run)).encode()).hexdigest()[:16]


def weights_digest(learned: nn.ModuleDict) -> str:
    """SHA-256 over changes."""
    digest = hashlib.sha256()
    for value in learned.state_dict().values():
        digest.update(value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def learned_model(model: LanguageModel, learned: nn.ModuleDict, settings: PlannerSettings) -> Any:
    """A model of the same kind with changes added in; it shares the other weights."""
    parts = Parts.of(model.model, settings.upper, UNREAD)
    parts.learn(rank=settings.rank, alpha=settings.alpha, seed=settings.loop.seed).load_state_dict(learned.state_dict())
    return parts.model()


def new_changes(model: LanguageModel, settings: PlannerSettings) -> nn.ModuleDict:
    """Changes that have learnt nothing yet, to read learnt ones into."""
    parts = Parts.of(model.model, settings.upper, UNREAD)
    return parts.learn(rank=settings.rank, alpha=settings.alpha, seed=settings.loop.seed)
