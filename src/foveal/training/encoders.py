"""Trains a sentence encoder on examples, and keeps it only if it finds more than its base on queries held out.

    folder, report = train_encoder(examples, "minilm", EncoderSettings(arm="mined"), run=RunSettings(home=home))
    load_encoder(str(folder))                         # from then on an encoder like any other

Arms       what the queries are told apart from, by name in `ARMS`: only each other (T1), what words find (T4), what the
           base finds (T4), the same below the relevant document by a margin, or where a teacher is sure of it, or drawn
           near the relevant document's score (T6), the same mined anew while training (T5), or a teacher's margins or
           lists over what both find, or a game against it (T8). What a person judged wrong is always among them
Guard      the base and the new model, each loaded as the library loads it, search the whole corpus for the dev queries;
           while training, a part of the corpus with what the base finds stands for it
Source     Zhao et al., arXiv 2211.14876 (survey), sections on negatives, distillation and training
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import InputError, UnknownName
from foveal.evaluation.metrics import evaluate
from foveal.models import load_encoder
from foveal.models.hub import folder_of
from foveal.ranges import BELOW_ONE, COUNT, INSIDE, NOT_NEGATIVE, POSITIVE, SHARE, Range, require_settings
from foveal.training import checkpoints, model_folders
from foveal.training.dynamic_negatives import Refresh
from foveal.training.examples import ApartBatches, Examples, Negatives, Rows, Scores, check_corpus
from foveal.training.first_stage import dev_part
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.losses import DISTILLATIONS, LOSSES, LossSettings, make_loss, prefixes
from foveal.training.negatives import (
    Teacher,
    below_positive,
    denoised,
    filled,
    simans,
    spread,
    taught,
    top_negatives,
    with_pseudo_positives,
)
from foveal.training.report import Report, beside, not_kept, plain_settings, told_cut
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.searches import Floats, Search, VectorSearch, WordSearch, blended, run_of
from foveal.training.watch import Progress
from foveal.types import Encoder

METRICS = ("ndcg@10", "recall@100")
SPARE = 50
"""Found documents beyond the depth: some of them answer, and SimANS draws from all that do not."""


@dataclass(frozen=True)
class Arm:
    """Where a run's negatives come from, and what is said of them."""

    says: str
    found_by: tuple[str, ...] = ()  # "words", "vectors"
    chosen: str = "all"  # of what is found: "all", "below" the answer by a margin, "sure" ones, those "near" the answer
    refreshed: bool = False
    distils: str | None = None  # the loss that a teacher's scores go into
    teacher: str = "none"  # "none" is asked, "any" (words and base together, if none is given), or one "given"
    negatives: int = 1  # of a row, where nothing else is said


OBJECTIVES = tuple(name for name in LOSSES if name not in DISTILLATIONS)
"""Losses of rows alone, for the arms that learn no teacher's scores."""

ARMS = {
    "in-batch": Arm("only the other queries' answers"),
    "bm25": Arm("what words find", ("words",)),
    "mined": Arm("what the base finds", ("vectors",)),
    "filtered": Arm("what the base finds, below the answer by a margin", ("vectors",), chosen="below"),
    "ance": Arm("what the model finds, mined anew while it learns", ("vectors",), refreshed=True),
    "denoised": Arm(
        "what the base finds and a teacher is sure to be wrong; what it is sure to be right answers, too", ("vectors",),
        chosen="sure", teacher="given",
    ),
    "simans": Arm("what the base finds, drawn near the answer's score", ("vectors",), chosen="near"),
    "margin-mse": Arm(
        "a teacher's margins over what words and the base find", ("words", "vectors"), distils="margin-mse",
        teacher="any",
    ),
    "kl": Arm(
        "a teacher's lists of what words and the base find", ("words", "vectors"), distils="kl", teacher="any"
    ),
    "adversarial": Arm(
        "what the base finds and a ranker takes for an answer", ("vectors",), distils="adversarial", teacher="given",
        negatives=7,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """How an encoder is trained."""

    arm: str = "mined"
    objective: str = "in-batch"  # of OBJECTIVES, where no teacher's scores are learnt
    typos: float = 0.0  # share of the queries that get a slip, another one each epoch (misspelling.py)
    negatives: int | None = None  # of a row, drawn anew each epoch from those down to `depth`; None: as the arm has it
    depth: int = 30
    skip: int = 0  # of the best found: unjudged answers stand there
    margin: float = 0.05  # of "filtered", as a share of the relevant document's score
    teacher_spread: float = 2.0  # of a teacher's scores within a query: that of cosines over the temperature
    refresh_epochs: int = 1  # of "ance"
    window: int | None = None  # tokens of a text that are read while training; None: as many as the base reads
    dev_share: float = 0.1
    dev_documents: int = 2000  # that stand for the corpus while training
    loop: LoopSettings = field(default_factory=LoopSettings)
    loss: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        if self.arm not in ARMS:
            raise UnknownName(f"No way of training an encoder is called {self.arm!r}. There are: {', '.join(ARMS)}.")
        if self.objective not in OBJECTIVES:
            raise UnknownName(
                f"No objective of an encoder is called {self.objective!r}. There are: {', '.join(OBJECTIVES)}."
            )
        if ARMS[self.arm].distils and self.objective != OBJECTIVES[0]:
            raise InputError(
                f"The arm {self.arm!r} learns a teacher's scores by a loss of its own, so that the objective "
                f"{self.objective!r} would count for nothing. Leave it out, or choose another arm."
            )
        require_settings(
            "Training an encoder", self, typos=SHARE, negatives=COUNT, depth=COUNT, skip=NOT_NEGATIVE,
            margin=BELOW_ONE, teacher_spread=POSITIVE, refresh_epochs=COUNT, window=Range(3), dev_share=INSIDE,
            dev_documents=COUNT,
        )  # fmt: skip
        if ARMS[self.arm].distils == "adversarial" and self.per_row < 2:
            raise InputError(
                f"The arm {self.arm!r} got {self.per_row} negative a row: with nothing to choose among there is no "
                "game. Ask for 2 or more (--negatives), or leave it out."
            )
        if self.skip >= self.depth:
            raise InputError(
                f"Training an encoder got skip = {self.skip}, depth = {self.depth}; skip must be below it."
            )

    @property
    def per_row(self) -> int:
        """Negatives of a row."""
        return ARMS[self.arm].negatives if self.negatives is None else self.negatives


def train_encoder(
    examples: Examples,
    base: str = "minilm",
    settings: EncoderSettings | None = None,
    *,
    run: RunSettings[Examples],
    teacher: Teacher | None = None,
    teacher_name: str = "words and base, blended",
    vectors: Floats | None = None,
) -> tuple[Path, Report]:
    """The folder of the better model (HOME/models/<name>, or the base's) and the report of the run.

    `teacher` is asked by the arms that distil (default: words and base, blended) and by "denoised", which needs one
    whose scores are log-odds; `vectors` (N, D) are the base's of the corpus, where they are known. A run that was
    stopped goes on, one that is done is not done again. Errors: as `loop.train`; UnknownName, ModelUnavailable: the
    base; InputError: dev or test queries have another corpus, or arm and teacher, or objective and base, do not go
    together.
    """
    settings = settings or EncoderSettings()
    dev, test = run.dev, run.test
    settings = replace(settings, negatives=settings.per_row)  # as the run is known by, and reported
    check_corpus(examples, dev, test)
    check_teacher(settings.arm, given=teacher is not None)
    cache = run.cache_at
    folder, encoder = folder_of(base, cache, kind="encoder"), load_encoder(base, cache=cache)
    model_folders.require_window(folder, settings.window)
    if settings.objective == "matryoshka":
        prefixes(settings.loss, encoder.dimension)  # before anything is mined
    learnt, dev = examples.beside(dev, settings.dev_share)
    depends_on = _identity(settings, encoder, learnt, dev, test, teacher_name)
    known_by = identity(depends_on, settings.loop)
    here = TrainingRun.opened(run, known_by, kind=f"{Path(base).name}-{settings.arm}")
    report = here.report()
    if report is not None:
        return (here.place if report.kept else folder), report
    searched = searched_by(encoder, examples, vectors, run)
    learnt, negatives, scores = _prepared(here.folder, learnt, searched, settings, teacher)
    model = model_folders.sentence_transformer(folder)
    rows = Rows(learnt, negatives, settings.per_row if negatives else 0, scores, settings.loop.seed, settings.typos)
    batches = ApartBatches(rows, settings.loop.batch, settings.loop.seed)
    arm = ARMS[settings.arm]
    job = Job(
        model=model,
        rows=rows,
        loss=make_loss(arm.distils or settings.objective, model, settings.loss),
        identity=depends_on,
        evaluate=_part_of_corpus(dev, searched, settings, model.max_seq_length),
        plan=batches,
        hooks=[_refresh(rows, settings, len(batches(0)), model.max_seq_length)] if arm.refreshed else [],
    )
    with model_folders.window(model, settings.window):
        curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    with here.candidate() as made:
        model_folders.save_model(model, made)
        new = VectorSearch.over(examples.corpus, load_encoder(str(made), cache=cache).encode)
        judged = {"dev": dev} | ({"test": test} if test else {})
        was, now = ({kind: run_of(by, one, 100) for kind, one in judged.items()} for by in (searched, new))
        measured, told = beside(judged, was, now, METRICS)
        before, after = (values[METRICS[0]] for values in measured["dev"])
        kept = after > before
        notes = (
            *told_cut(examples, _counting(encoder), encoder.max_tokens - 2),
            *told,
            *(() if kept else (not_kept("new model", METRICS[0], "dev queries", before, after),)),
        )
        what = f"encoder, {settings.arm}: {arm.says}"
        report = Report(here.name, what, base, curves, measured, kept, notes, plain_settings(settings))
        here.settle(made, report)
    return (here.place if kept else folder), report


def searched_by(
    encoder: Encoder, examples: Examples, vectors: Floats | None, run: RunSettings[Examples]
) -> VectorSearch:
    """The search over the corpus by an encoder, whose vectors may be known; else the run is told that it encodes."""
    if vectors is None:
        run.on_progress(Progress(0, 0, note=f"Encoding {len(examples.corpus):,} documents"))
        return VectorSearch.over(examples.corpus, encoder.encode)
    return VectorSearch(list(examples.corpus), vectors, encoder.encode)


def dev_metrics(examples: Examples, search: Search) -> dict[str, float]:
    """nDCG@10 and recall@100 of a search over the queries of `examples`."""
    return evaluate(run_of(search, examples, 100), examples.judged, METRICS)


def check_teacher(arm: str, *, given: bool) -> None:
    """InputError: a teacher was given that the arm does not ask, or none that it needs."""
    asked = {kind: ", ".join(name for name, one in ARMS.items() if one.teacher == kind) for kind in ("any", "given")}
    if given and ARMS[arm].teacher == "none":
        raise InputError(
            f"A teacher was given, but the arm {arm!r} asks none, so it would teach nothing. Leave it out, or choose "
            f"an arm that asks one: {asked['any']}, {asked['given']}."
        )
    if not given and ARMS[arm].teacher == "given":
        raise InputError(
            f"The arm {arm!r} needs a teacher, and none was given. Give a cross-encoder's scores (--teacher; `foveal "
            "train reranker --objective bce` makes one), or choose another arm."
        )


def _prepared(
    run: Path, examples: Examples, searched: VectorSearch, settings: EncoderSettings, teacher: Teacher | None
) -> tuple[Examples, Negatives, Scores | None]:
    """What is learnt from, its negatives, and what a teacher says of them, kept in the run's folder: a second start
    finds the same.
    """
    path = run / "negatives.json"
    kept = checkpoints.read(path)
    if kept is None:
        found, negatives, scores = _mined(examples, searched, settings, teacher)
        kept = {"negatives": negatives, "scores": scores, "pseudo-positives": found}
        checkpoints.write(path, kept)
    found = kept.get("pseudo-positives") or {}
    return with_pseudo_positives(examples, found) if found else examples, kept["negatives"], kept["scores"]


def _mined(
    examples: Examples, searched: VectorSearch, settings: EncoderSettings, teacher: Teacher | None
) -> tuple[dict[str, list[str]], Negatives, Scores | None]:
    """What a teacher takes for relevant though nobody said, the negatives, and what a student learns of them."""
    arm = ARMS[settings.arm]
    if not arm.found_by:
        return {}, {}, None
    words = WordSearch(examples.corpus)
    searches: dict[str, Search] = {"words": words, "vectors": searched}
    chosen = [searches[kind] for kind in arm.found_by]
    found = chosen[0] if len(chosen) == 1 else blended(chosen, [1.0] * len(chosen))
    run = run_of(found, examples, settings.depth + SPARE)
    pseudo, negatives = _chosen(arm.chosen, run, examples, searched, settings, teacher)
    more = with_pseudo_positives(examples, pseudo)
    negatives = filled(negatives, more, settings.per_row, seed=settings.loop.seed)
    if not arm.distils:
        return pseudo, negatives, None
    scores = taught(examples, negatives, teacher) if teacher else _blend(examples, negatives, words, searched)
    return pseudo, negatives, spread(scores, settings.teacher_spread)


def _chosen(
    how: str, run: Scores, examples: Examples, searched: VectorSearch, settings: EncoderSettings,
    teacher: Teacher | None,
) -> tuple[dict[str, list[str]], Negatives]:  # fmt: skip
    """Of what was found the pseudo-positives, and the negatives."""
    if how == "near":
        deep = top_negatives(run, examples, depth=settings.depth + SPARE, skip=settings.skip)
        cosines = spread(taught(examples, deep, cosines_of(searched, examples)), settings.teacher_spread)
        return {}, simans(deep, cosines, examples, count=settings.depth, seed=settings.loop.seed)
    negatives = top_negatives(run, examples, depth=settings.depth, skip=settings.skip)
    if how == "below":
        cosines = taught(examples, negatives, cosines_of(searched, examples))
        return {}, below_positive(negatives, cosines, examples, relative=settings.margin)
    if how == "sure" and teacher is not None:
        odds = taught(examples, negatives, teacher)
        shares = {query: {name: _logistic(one) for name, one in said.items()} for query, said in odds.items()}
        sure = denoised(negatives, shares)
        return sure.pseudo_positives, sure.negatives
    return {}, negatives


def _logistic(value: float) -> float:
    return 0.5 * (1 + math.tanh(value / 2))


def cosines_of(searched: VectorSearch, examples: Examples) -> Teacher:
    """A teacher that says the cosine, over the vectors of a search."""
    rows = {" ".join(examples.corpus[name].split()): row for row, name in enumerate(searched.ids)}
    queries: dict[str, Any] = {}

    def cosines(pairs: Any) -> list[float]:
        missing = [text for text in dict.fromkeys(query for query, _ in pairs) if text not in queries]
        if missing:
            queries.update(zip(missing, searched.encode(missing), strict=True))
        return [float(queries[query] @ searched.vectors[rows[" ".join(text.split())]]) for query, text in pairs]

    return cosines


def _blend(
    examples: Examples, candidates: Negatives, words: WordSearch, searched: VectorSearch
) -> dict[str, dict[str, float]]:
    """Words and base together as teacher: each one's scores of a query's candidates, brought to 0 to 1, summed."""
    cosines = taught(examples, candidates, cosines_of(searched, examples))
    scores = {}
    for query, said in cosines.items():
        by_word, by_meaning = _unit(words.of(examples.queries[query], said)), _unit(said)
        scores[query] = {document: by_word[document] + by_meaning[document] for document in said}
    return scores


def _unit(values: Mapping[str, float]) -> dict[str, float]:
    low, high = min(values.values()), max(values.values())
    return {key: (value - low) / (high - low) if high > low else 0.5 for key, value in values.items()}


def _part_of_corpus(
    dev: Examples, searched: VectorSearch, settings: EncoderSettings, tokens: int
) -> Callable[[Any], Mapping[str, float]]:
    """Evaluation while training: over the dev queries' answers, what the base finds for them, and random others."""
    ids = list(dev.corpus)
    others = (ids[place] for place in np.random.default_rng(settings.loop.seed).permutation(len(ids)))
    part = dev_part(dev, searched, settings.dev_documents, others)

    def measure(model: Any) -> Mapping[str, float]:
        return dev_metrics(dev, VectorSearch.over(part, model_folders.encoding(model, tokens=tokens)))

    return measure


def _refresh(rows: Rows, settings: EncoderSettings, per_epoch: int, tokens: int) -> Refresh:
    def search(model: Any) -> Scores:
        found = VectorSearch.over(rows.examples.corpus, model_folders.encoding(model, tokens=tokens))
        return run_of(found, rows.examples, settings.depth + SPARE)

    return Refresh(
        rows.examples,
        rows.negatives,
        search,
        every=settings.refresh_epochs * per_epoch,
        depth=settings.depth,
        count=settings.per_row,
        seed=settings.loop.seed,
    )


def _identity(
    settings: EncoderSettings, encoder: Encoder, learnt: Examples, dev: Examples, test: Examples | None, teacher: str
) -> dict[str, str]:
    return {
        "what": "encoder",
        "base": encoder.fingerprint,
        "examples": learnt.fingerprint,
        "dev": dev.fingerprint,
        "test": test.fingerprint if test else "none",
        "teacher": teacher if ARMS[settings.arm].teacher != "none" else "none",
        "arm": without_loop(settings),
    }


def _counting(encoder: Encoder) -> Callable[[str], int]:
    return lambda text: len(encoder.token_offsets(text))
