"""Trains a cross-encoder that reads query and document together, on what the deployed first stage gets wrong.

    folder, report = train_reranker(examples, first_stage, "minilm", RerankerSettings(), run=RunSettings(home=home))
    Scorer(folder)([("where is sight sharpest?", "The fovea …")])         # scores; also a teacher for an encoder

Model      s = w · E([CLS] query [SEP] document [SEP]) (A3; Nogueira and Cho, arXiv 1901.04085)
Negatives  sampled from what the first stage that is deployed finds, never random ones (P2), so that training sees what
           the ranker will see; localised softmax over one relevant document and its negatives (LCE; Gao, Dai and
           Callan, ECIR 2021), or another objective over the same (`list_losses.py`)
Beside     its score counts a share beside the first stage's own, each laid over 0 to 1 among a query's hits: what a few
           hundred queries teach is seldom better than a search alone, and often better beside it. Dev queries choose
           the share; BESIDE in the folder keeps it for `ranking/cross_encoder.py`
Guard      both together order the first stage's hits for the dev queries; the ranker is kept only if that is better
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import UnknownName
from foveal.evaluation.metrics import Run, evaluate
from foveal.models.bert_torch import batches
from foveal.models.folders import fingerprint
from foveal.models.hub import folder_of
from foveal.ranges import COUNT, INSIDE, Range, require_settings
from foveal.training import checkpoints, model_folders
from foveal.training.examples import ApartBatches, Examples, Rows
from foveal.training.first_stage import kept_negatives
from foveal.training.list_losses import LIST_LOSSES
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.report import Report, beside, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import Search, run_of, scaled

METRICS = ("ndcg@10", "mrr@10")
BESIDE = "beside.json"
NOT_READ = -1e6
"""The score of the first hit that no ranker read; below it those behind."""

SHARES = tuple(round(0.05 * step, 2) for step in range(20, 0, -1))
"""Shares of the new score that are tried; of equal ones the largest."""

OBJECTIVES = tuple(LIST_LOSSES)

TOGETHER, ON_GPU = 2048, 16384
"""Tokens of pairs that are read together in training, padding included, on a processor and on a GPU."""


@dataclass(frozen=True, kw_only=True)
class RerankerSettings:
    """How a cross-encoder is trained."""

    objective: str = "listwise"
    negatives: int = 7  # of a row, drawn anew each epoch from the first stage's best
    depth: int = 50  # hits of the first stage: negatives are drawn from them, and the dev queries' are ordered anew
    dev_share: float = 0.1
    dev_queries: int = 40  # looked at while training, to `dev_depth`; the guard takes all, to `depth`
    dev_depth: int = 20
    window: int | None = None  # tokens of query and document together; None: 512, or what the base was trained with
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=4, batch=8, learning_rate=1e-4))

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise UnknownName(
                f"No ranker's objective is called {self.objective!r}. There are: {', '.join(OBJECTIVES)}."
            )
        require_settings(
            "Training a ranker", self, negatives=COUNT, depth=COUNT, dev_share=INSIDE, dev_queries=COUNT,
            dev_depth=COUNT, window=Range(8),
        )  # fmt: skip


class RankerLoss(nn.Module):
    """The loss of a CrossEncoder over lists whose first document is the relevant one.

    Pairs of about one length are read together: a short text beside a long one would be mostly padding.
    """

    def __init__(self, model: Any, objective: str) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, columns: Sequence[Any], labels: Any = None, **_: Any) -> Tensor:  # noqa: ARG002
        """Queries (B texts) and their documents (B lists of m texts) -> the loss."""
        queries, lists = columns
        pairs = [(query, text) for query, texts in zip(queries, lists, strict=True) for text in texts]
        features = self.model.preprocess(pairs)
        device = next(self.model.parameters()).device
        groups = list(alike(features["attention_mask"], TOGETHER if device.type == "cpu" else ON_GPU))
        scores = torch.cat([self._scores(features, rows, length, device) for rows, length in groups])
        places = torch.tensor([row for rows, _ in groups for row in rows], device=scores.device)
        return listed(torch.zeros_like(scores).index_copy(0, places, scores).view(len(queries), -1), self.objective)

    def _scores(self, features: Mapping[str, Any], rows: list[int], length: int, device: torch.device) -> Tensor:
        """Scores (R,), in float32, of these rows, whose first `length` columns hold all of their tokens."""
        read = {
            key: value[rows, :length].to(device) if isinstance(value, Tensor) else value
            for key, value in features.items()
        }
        scores: Tensor = self.model(read)["scores"].float().view(-1)
        return scores


def alike(mask: Tensor, tokens: int) -> Iterator[tuple[list[int], int]]:
    """Mask (N, L), 1 where a token stands -> rows of about one length, at most `tokens` together, and how many columns
    they need; padding on the left stays as it is.
    """
    places = torch.arange(1, mask.shape[1] + 1)
    lengths = (mask.cpu().bool() * places).amax(1).tolist()
    for rows in batches(lengths, tokens):
        yield rows, max(1, lengths[rows[0]])


def listed(scores: Tensor, objective: str) -> Tensor:
    """Scores (B, m), the first column relevant -> the loss, one of `OBJECTIVES`."""
    return LIST_LOSSES[objective](scores)


class Scorer:
    """A trained cross-encoder's scores, before any squashing; a `negatives.Teacher`."""

    def __init__(self, model: Any | Path, *, batch: int = 32) -> None:
        """Of a CrossEncoder, or of its folder."""
        self.model = model_folders.cross_encoder(model, seed=0) if isinstance(model, Path) else model
        self.batch = batch

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """One score for each (query, document); what does not fit the window is cut off the longer of the two."""
        if not pairs:
            return []
        scores = self.model.predict(
            [tuple(pair) for pair in pairs],
            batch_size=self.batch,
            activation_fn=nn.Identity(),
            show_progress_bar=False,
        )
        return [float(score) for score in scores]


def train_reranker(
    examples: Examples,
    first_stage: Search,
    base: str = "minilm",
    settings: RerankerSettings | None = None,
    *,
    run: RunSettings[Examples],
    first_stage_name: str = "first stage",
) -> tuple[Path | None, Report]:
    """The folder of the cross-encoder (HOME/models/<name>; None if it orders no better than the first stage, beside it)
    and the report. `first_stage` is the search that is deployed. Else as `encoders.train_encoder`.
    """
    settings = settings or RerankerSettings()
    dev, test = run.dev, run.test
    folder = folder_of(base, run.cache_at, kind="encoder")
    learnt, dev = examples.beside(dev, settings.dev_share)
    depends_on = {
        "what": "reranker",
        "base": fingerprint(folder),
        "examples": learnt.fingerprint,
        "dev": dev.fingerprint,
        "test": test.fingerprint if test else "none",
        "first stage": first_stage_name,
        "ranker": without_loop(settings),
    }
    known_by = identity(depends_on, settings.loop)
    here = TrainingRun.opened(run, known_by, kind=f"{Path(base).name}-reranker")
    if (done := here.done()) is not None:
        return done
    model = model_folders.cross_encoder(folder, seed=settings.loop.seed, window=settings.window)
    depth, count, seed = settings.depth, settings.negatives, settings.loop.seed
    negatives = kept_negatives(here.folder, first_stage, learnt, depth=depth, count=count, seed=seed)
    rows = Rows(learnt, negatives, count, seed=seed)
    judged = {"dev": dev} | ({"test": test} if test else {})
    found = {kind: run_of(first_stage, queries, settings.depth) for kind, queries in judged.items()}
    looked_at = dev.only(list(dev.queries)[: settings.dev_queries])
    job = Job(
        model=model,
        rows=rows,
        loss=RankerLoss(model, settings.objective),
        identity=depends_on,
        evaluate=lambda now: _ordered(looked_at, found["dev"], Scorer(now), settings.dev_depth),
        plan=ApartBatches(rows, settings.loop.batch, settings.loop.seed),
        collate=columns_of,
    )
    curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    scorer = Scorer(model)
    alone = {kind: reranked(queries, found[kind], scorer, settings.depth) for kind, queries in judged.items()}
    share = best_share(dev, found["dev"], alone["dev"])
    ordered = {kind: with_first(found[kind], run, share) for kind, run in alone.items()}
    measured, told = beside(judged, found, ordered, METRICS)
    before, after = (values[METRICS[0]] for values in measured["dev"])
    kept = after > before
    said = f"Its score counts {share:g}, the first stage's {1 - share:g}; {METRICS[0]} by it alone"
    by_itself = {kind: evaluate(run, judged[kind].judged, METRICS[:1])[METRICS[0]] for kind, run in alone.items()}
    said += ": " + ", ".join(f"{kind} {value:.4f}" for kind, value in by_itself.items()) + "."
    worse = not_kept("ranker", METRICS[0], "dev queries", before, after)
    what = f"reranker, {settings.objective}, over {first_stage_name}"
    notes = (*(() if kept else (worse,)), said, *told)
    told_settings = {**plain_settings(settings), "base": base}
    report = Report(here.name, what, "first stage", curves, measured, kept, notes, told_settings)
    with here.candidate() as made:
        model_folders.save_model(model, made)
        checkpoints.write(made / BESIDE, {"share": share})
        here.settle(made, report)
    return here.result(report)


def columns_of(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Rows of a relevant document and negatives as queries and lists of documents."""
    names = [name for name in rows[0] if name != "anchor"]
    return {"query": [row["anchor"] for row in rows], "documents": [[row[name] for name in names] for row in rows]}


def reranked(examples: Examples, run: Run, scorer: Scorer, depth: int) -> Run:
    """The first `depth` hits of each query by the scorer's scores; those below keep their order, below."""
    ordered: Run = {}
    pairs, asked = [], []
    for query, found in run.items():
        best = sorted(found, key=lambda name: (-found[name], name))
        ordered[query] = {document: NOT_READ - rank for rank, document in enumerate(best) if rank >= depth}
        asked += [(query, document) for document in best[:depth]]
        pairs += [(examples.queries[query], examples.corpus[document]) for document in best[:depth]]
    for (query, document), score in zip(asked, scorer(pairs), strict=True):
        ordered[query][document] = score
    return ordered


def with_first(found: Run, scored: Run, share: float) -> Run:
    """What was scored anew by `share` of that score and the rest of the first stage's, each laid over 0 to 1 among the
    hits that were; below them the others as they stand.
    """
    joined: Run = {}
    for query, run in scored.items():
        read = {document: score for document, score in run.items() if score > NOT_READ}
        first = scaled({document: found[query][document] for document in read})
        new = scaled(read)
        joined[query] = run | {one: share * new[one] + (1 - share) * first[one] for one in read}
    return joined


def best_share(examples: Examples, found: Run, scored: Run) -> float:
    """The share of `SHARES` with which the judged queries are ordered best."""

    def value(share: float) -> float:
        return evaluate(with_first(found, scored, share), examples.judged, METRICS[:1])[METRICS[0]]

    return max(SHARES, key=value)


def _ordered(examples: Examples, run: Run, scorer: Scorer, depth: int) -> dict[str, float]:
    chosen = {query: run[query] for query in examples.queries}
    return evaluate(reranked(examples, chosen, scorer, depth), examples.judged, METRICS)
