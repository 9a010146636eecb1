"""The trained models of bench rank-blockrank, and what they score, each made once and kept in the bench's cache.

An arm is a model trained on lists in one way. Its low-rank changes are kept (24 MB), under a hash of the base model,
the lists, the settings and a prompt's own tokens; scores under a hash of the arm and the lists. A bench that was
stopped goes on from the last checkpoint and the last 20 lists.

Arms that are compared have the same lists in the same order and the same steps. None is chosen: each ends with its
last step, and no list is looked at on the way.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from foveal.bench.code import code_digest
from foveal.bench.rank_blockrank_data import Asked, Task
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import whole_file
from foveal.evaluation.metrics import Run
from foveal.models.language import LanguageModel, load_language_model
from foveal.ranking.blockrank import KEPT, BlockRank
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.blockrank_prompt import Layout, Prompter
from foveal.ranking.blockrank_training import ListReading
from foveal.ranking.listwise import ListwiseRanker
from foveal.training import checkpoints
from foveal.training.blockrank import (
    BlockRankLoss,
    BlockRankSettings,
    DrawnLists,
    RankingList,
    fingerprint,
    learned_of,
)
from foveal.training.loop import Job, LoopSettings, train
from foveal.training.low_rank import merge_low_rank
from foveal.training.precision import mixed_precision
from foveal.training.watch import Progress
from foveal.types import Hit

log = logging.getLogger("foveal.bench")

LAYOUT = Layout(document_tokens=200)
KEPT_LAYOUT = replace(KEPT, document_tokens=200)
"""The layout under which documents are kept: no query before them."""

LEARNING = BlockRankSettings(
    objective="aux",
    documents=6,
    loop=LoopSettings(epochs=1, batch=4, learning_rate=2e-4, checkpoint_every=10, bfloat16=mixed_precision()),
)
EVERY = 20
"""Lists after which scores are written down."""

Scores = Callable[[str, Sequence[Hit]], list[float]]
"""Query and candidates -> a score of each."""


@dataclass(frozen=True)
class Sizes:
    """How much is run: lists to train on, queries to measure."""

    train: int = 300
    few: int = 64  # of the ablations
    more: int = 300  # of SciFact's and WikiQA's, after XQuAD's
    dev: int = 48
    test: int = 100
    ablated: int = 60
    scifact: int = 100
    cranfield: int = 225
    prefixed: int = 40  # of Cranfield's, where documents are read anew for each query
    wikiqa: int = 240

    @classmethod
    def of(cls, settings: BenchSettings) -> Sizes:
        """Fewer where the run is a quick one."""
        quick = cls(train=40, few=8, more=8, dev=8, test=16, ablated=8, scifact=4, cranfield=10, prefixed=3, wikiqa=20)
        return quick if settings.quick else cls()


@dataclass(frozen=True)
class Arm:
    """A way of training; `parent`: what it goes on from, instead of the base model."""

    name: str
    layer: int
    lists: tuple[RankingList, ...] = field(repr=False)
    layout: Layout = LAYOUT
    objective: str = "aux"
    weight: float = LEARNING.weight
    full: bool = False
    parent: Arm | None = None

    @property
    def learning(self) -> BlockRankSettings:
        """The settings of its training."""
        return replace(LEARNING, objective=self.objective, weight=self.weight)


class Arms:
    """The base model, the trained ones, and their scores."""

    def __init__(self, settings: BenchSettings) -> None:
        """Over the settings' cache."""
        self.settings, self.place = settings, settings.cache / "blockrank"
        self._last: tuple[str, LanguageModel] | None = None
        self._prompts: dict[Layout, str] = {}

    @cached_property
    def base(self) -> LanguageModel:
        """The model that all arms begin with, in the type that it ships with."""
        return load_language_model()

    def digest(self, arm: Arm | None) -> str:
        """The name of what made an arm; None: of the base model."""
        if arm is None:
            return self.base.fingerprint
        return _digest(self._made_by(arm))

    def model(self, arm: Arm | None) -> LanguageModel:
        """The model of an arm, trained now or before; only the last one is held in memory."""
        if arm is None:
            return self.base
        digest = self.digest(arm)
        if self._last is None or self._last[0] != digest:
            self._last = None
            self._last = digest, self._trained(arm, digest)
        return self._last[1]

    def block_rank(self, arm: Arm | None, layer: int, layout: Layout = LAYOUT, **options: Any) -> Scores:
        """Scores by `BlockRank`; of an arm at its own layer unless another is named."""
        return self._of(arm, lambda model: BlockRank(model, layer=layer, layout=layout, **options).scores)

    def listwise(self, arm: Arm | None, layer: int, **options: Any) -> Scores:
        """Scores under full attention."""
        return self._of(arm, lambda model: ListwiseRanker(model, layer=layer, layout=LAYOUT, **options).scores)

    def _of(self, arm: Arm | None, make: Callable[[LanguageModel], Scores]) -> Scores:
        """What `make` makes of the arm's model, which is trained when the first query comes."""
        made: list[Scores] = []

        def scores(query: str, hits: Sequence[Hit]) -> list[float]:
            if not made:
                made.append(make(self.model(arm)))
            return made[0](query, hits)

        return scores

    def run(self, what: str, task: Task, scores: Scores, arm: Arm | None, *, layout: Layout = LAYOUT) -> Run:
        """The candidates of a task by `scores`, computed once for what `what`, the arm and the layout say."""
        made_by = {"what": what, "model": self.digest(arm), "prompt": self._prompt(layout)}
        found = kept(self.settings, f"{task.name}-{what}", made_by, task.asked, lambda one: scores(one.query, one.hits))
        return {one.id: dict(zip(one.names, found[one.id], strict=True)) for one in task.asked}

    # -- training ------------------------------------------------------------------------------------------------------

    def _made_by(self, arm: Arm) -> dict[str, str]:
        return {
            "what": "blockrank",
            "parent": self.digest(arm.parent),
            "lists": fingerprint(arm.lists),
            "layer": str(arm.layer),
            "prompt": self._prompt(arm.layout),
            "full": str(arm.full),
            "learning": json.dumps(asdict(self._learning(arm)), sort_keys=True),
            "code": code_digest("foveal.training.blockrank") + _ranking(),
        }

    def _learning(self, arm: Arm) -> BlockRankSettings:
        return replace(arm.learning, loop=replace(arm.learning.loop, seed=self.settings.seed))

    def _prompt(self, layout: Layout) -> str:
        """A prompt's tokens and the layout: what a change of the prompt changes."""
        if layout not in self._prompts:
            segments = Prompter(self.base, layout).segments("what?", ["one", "two"])
            self._prompts[layout] = _digest({"layout": json.dumps(asdict(layout)), "tokens": repr(segments)})
        return self._prompts[layout]

    def _trained(self, arm: Arm, digest: str) -> LanguageModel:
        """The base model, or the parent's, with what the arm has learned added to its weights."""
        before = self.model(arm.parent)
        learning, made_by = self._learning(arm), self._made_by(arm)
        trained = copy.deepcopy(before.model).float().eval()
        reading = ListReading(before, arm.layer, arm.layout, arm.objective == "ntp+aux", arm.full)
        rows = DrawnLists(arm.lists, learning.documents, learning.loop.seed)
        job = Job(
            model=learned_of(trained, learning, arm.layer),
            rows=rows,
            loss=BlockRankLoss(trained, reading, learning),
            identity=made_by,
            plan=rows.plan(learning.loop.batch),
            collate=list,
        )
        log.info("training %s on %d lists; later runs read it from the cache", arm.name, len(arm.lists))
        train(job, learning.loop, self.place / f"{arm.name}-{digest[:16]}", on_progress=_told)
        merge_low_rank(trained)
        named = f"{self.base.name}, {arm.name}"
        return LanguageModel(named, before.folder, trained.to(before.dtype), before.tokenizer, before.cache)

    def seconds(self, arm: Arm) -> float:
        """How long its training took (the last part of one that was stopped); 0 before it is done."""
        done = checkpoints.read(self.place / f"{arm.name}-{self.digest(arm)[:16]}" / checkpoints.DONE)
        return float(done["seconds"]) if done else 0.0


def _told(progress: Progress) -> None:
    if progress.step % 10 == 0:
        log.info("step %d of %d, loss %s", progress.step, progress.steps, progress.loss)


def cached_scores(arms: Arms, arm: Arm | None, layer: int, *, most_bytes: int = 6 * 2**30) -> Scores:
    """Scores by `BlockRank` over documents that are kept in memory: each is read once for all queries."""
    return arms.block_rank(arm, layer, KEPT_LAYOUT, cache=BlockCache(most_bytes=most_bytes))


def kept(
    settings: BenchSettings,
    name: str,
    made_by: Mapping[str, str],
    asked: Sequence[Asked],
    compute: Callable[[Asked], Any],
) -> dict[str, Any]:
    """`compute` of each query by its id, as plain JSON, written down every few and never computed twice."""
    digest = _digest({**made_by, "code": _ranking(), **{one.id: one.digest for one in asked}})
    path = settings.cache / "blockrank" / "scores" / f"{name}-{digest[:24]}.json"
    found: dict[str, Any] = checkpoints.read(path) or {}
    missing = [one for one in asked if one.id not in found]
    for number, one in enumerate(missing, start=1):
        found[one.id] = compute(one)
        if number % EVERY == 0 or number == len(missing):
            with whole_file(path) as partial:
                partial.write_text(json.dumps(found), encoding="utf-8")
    return found


def _ranking() -> str:
    """The code by which blocks are read, in training and in ranking, and lists as a whole."""
    return code_digest("foveal.ranking.blockrank_training", "foveal.ranking.listwise", within="foveal.ranking")


def _digest(made_by: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(made_by), sort_keys=True).encode()).hexdigest()
