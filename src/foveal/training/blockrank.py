"""Trains a decoder to rank by its attention: BlockRank's two losses over lists of documents.

    lists = read_lists(Path("lists.jsonl"))            # {query, documents: [{doc_id, title?, text}], answer_ids: […]}
    folder, report = train_blockrank(model, lists, reading, kept, BlockRankSettings(), run=RunSettings(home=home))

Loss       L = L_NTP + lambda · L_aux (section 3.2): cross entropy of the completion "[id, id]", and, of shares of
           attention S, L_aux = -log(sum over answers of e^(S/tau) / sum over all documents of e^(S/tau))
Objective  "ntp+aux" runs the whole model; "aux" the layers up to the signal's alone, without the LM head
Learned    "lora", "layers" (the layers that the signal comes from), or "full" (every weight)
Reading    what is above this package: `reading(model, list)` gives S (documents,) and the completion's loss, or None
Guard      the trained model is kept only if it ranks held-out lists better than untrained
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.errors import InputError, UnknownName
from foveal.evaluation.files import json_lines
from foveal.evaluation.metrics import Run, evaluate
from foveal.models.quiet import quiet
from foveal.ranges import COUNT, INSIDE, NOT_NEGATIVE, POSITIVE, Range, require_settings
from foveal.training import checkpoints
from foveal.training.examples import Examples, Negatives, held_out, judged_half, shuffled_anew
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.loop_settings import without_loop
from foveal.training.low_rank import add_low_rank, decoder_layers, merge_low_rank
from foveal.training.report import Report, not_kept, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

METRICS = ("mrr@10", "precision@1", "ndcg@10")
OBJECTIVES = ("ntp+aux", "aux")
LEARNED = ("lora", "layers", "full")
KEPT = "blockrank.json"
"""In a trained model's folder: the signal's layer and the prompt's layout."""


@dataclass(frozen=True)
class ListedDocument:
    """A document of a list."""

    id: str
    text: str
    title: str | None = None


@dataclass(frozen=True)
class RankingList:
    """A query, its candidates, and the ids of those that answer it. InputError: one is unknown, twice or empty."""

    query: str
    documents: tuple[ListedDocument, ...]
    answers: frozenset[str]
    id: str = ""
    irrelevant: frozenset[str] = frozenset()  # those that were judged not to answer

    def __post_init__(self) -> None:
        ids = [one.id for one in self.documents]
        name = self.id or self.query
        if not self.query.strip():
            raise InputError(f"The list {name!r} has no query. Give it one, or leave it out.")
        if len(set(ids)) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise InputError(f"The list of {name!r} holds the document {twice!r} twice. Keep one of them.")
        blank = next((one.id for one in self.documents if not one.text.strip()), None)
        if blank is not None:
            raise InputError(f"The document {blank!r} of {name!r} has no text. Leave it out.")
        unknown = sorted(self.answers - set(ids))
        if unknown:
            raise InputError(
                f"The list of {name!r} names the answer {unknown[0]!r}, which is none of its {len(ids)} documents. "
                "Correct answer_ids, or add the document."
            )
        if not self.answers:
            raise InputError(f"The list of {name!r} has no answer, so nothing can be learnt from it. Leave it out.")

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RankingList:
        """From a line's JSON. InputError: it is no list."""
        try:
            documents = tuple(
                ListedDocument(
                    str(one["doc_id"]), _text(one, "text"), _text({"title": one.get("title") or ""}, "title") or None
                )
                for one in record["documents"]
            )
            if isinstance(record["answer_ids"], str):
                raise TypeError("answer_ids is a text, not a list of ids")
            answers = frozenset(map(str, record["answer_ids"]))
            return cls(_text(record, "query"), documents, answers, str(record.get("query_id", "")))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"A line is no list of candidates ({type(error).__name__}: {error}). It needs query, documents (each "
                "with doc_id and text) and answer_ids."
            ) from error

    def positives(self) -> list[int]:
        """The places of the answers."""
        return [place for place, one in enumerate(self.documents) if one.id in self.answers]

    def mixed(self, *seed: int) -> RankingList:
        """The same with its documents in an order drawn from the seed: IDs are places, and must not tell the answer."""
        order = np.random.default_rng(seed).permutation(len(self.documents))
        return replace(self, documents=tuple(self.documents[place] for place in order))


Reading = Callable[[Any, RankingList], tuple[Tensor, Tensor | None]]
"""Model and list -> each document's score, and the completion's loss where it is wanted."""


@dataclass(frozen=True, kw_only=True)
class BlockRankSettings:
    """How a decoder is trained to rank; checked when made."""

    objective: str = "ntp+aux"
    weight: float = 0.1  # lambda, of the auxiliary loss
    temperature: float = 0.05  # tau, of the scores
    documents: int = 10  # of a list, drawn anew each epoch: the answers, then others
    learned: str = "lora"
    rank: int = 16
    alpha: float = 32.0
    dev_lists: int = 60  # looked at while training; the guard takes all
    dev_share: float = 0.1
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=2, batch=8, learning_rate=1e-4))

    def __post_init__(self) -> None:
        for name, given, known in (
            ("objective", self.objective, OBJECTIVES),
            ("way to learn", self.learned, LEARNED),
        ):
            if given not in known:
                raise UnknownName(f"BlockRank has no {name} called {given!r}. There are: {', '.join(known)}.")
        require_settings(
            "BlockRank", self, weight=NOT_NEGATIVE, temperature=POSITIVE, documents=Range(2), rank=COUNT,
            alpha=POSITIVE, dev_lists=COUNT, dev_share=INSIDE,
        )  # fmt: skip


def auxiliary_loss(scores: Tensor, positives: Sequence[int], temperature: float) -> Tensor:
    """Scores (N,) -> -log of the answers' share of the softmax of scores / temperature. Answers are no rivals."""
    logits = scores.float() / temperature
    return logits.logsumexp(0) - logits[list(positives)].logsumexp(0)


class BlockRankLoss:
    """The mean loss of a batch of lists, read one after another.

    Each list's gradients are taken before the next one is read, so that memory is that of one list; the loop takes the
    last one's.
    """

    def __init__(self, model: Any, reading: Reading, settings: BlockRankSettings) -> None:
        self.model, self.reading, self.settings = model, reading, settings

    def __call__(self, _: nn.Module, batch: Sequence[RankingList]) -> Tensor:
        """The loss; the module that the loop knows holds only what is learned."""
        done = 0.0
        for listed in batch[:-1]:
            loss = self.of(listed) / len(batch)
            if torch.is_grad_enabled():
                loss.backward()  # type: ignore[no-untyped-call]
            done += float(loss.detach())
        return self.of(batch[-1]) / len(batch) + done

    def of(self, listed: RankingList) -> Tensor:
        """The loss of one list."""
        mixed = self.settings.loop.bfloat16  # the loop knows only what is learned, so it cannot cast this model's parts
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=mixed):
            scores, completion = self.reading(self.model, listed)
        auxiliary = auxiliary_loss(scores, listed.positives(), self.settings.temperature)
        return auxiliary if completion is None else completion + self.settings.weight * auxiliary


@dataclass(frozen=True)
class DrawnLists:
    """The rows of a training: place n · len + i is list i as it is drawn in epoch n, shuffled; half of what does not
    answer was judged so, where there is so much of it.
    """

    lists: Sequence[RankingList]
    documents: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.lists)

    def __getitem__(self, place: int) -> RankingList:
        epoch, row = divmod(place, len(self))
        listed = self.lists[row]
        generator = np.random.default_rng([self.seed, place])
        right = listed.positives()
        right = [right[n] for n in generator.permutation(len(right))[: self.documents - 1]]
        wrong = [n for n, one in enumerate(listed.documents) if one.id not in listed.answers]
        wrong = [wrong[n] for n in generator.permutation(len(wrong))]
        judged = [n for n in wrong if listed.documents[n].id in listed.irrelevant]
        wrong = judged_half(wrong, judged, self.documents - len(right), epoch)
        chosen = [*right, *wrong]
        drawn = tuple(listed.documents[chosen[n]] for n in generator.permutation(len(chosen)))
        return replace(listed, documents=drawn, answers=frozenset(listed.documents[n].id for n in right))

    def plan(self, batch: int) -> Callable[[int], list[list[int]]]:
        """Batches of an epoch's places, in an order drawn from the seed and the epoch."""
        return lambda epoch: shuffled_anew(len(self), batch, self.seed, epoch=epoch)


def read_lists(path: Path) -> list[RankingList]:
    """The lists of a file of JSON lines. InputError: a line is none, or there is no such file."""
    lists = []
    for where, record in json_lines(path):
        try:
            lists.append(RankingList.of(record))
        except InputError as error:
            raise InputError(f"{where.removesuffix(',')}: {error}") from error
    return lists


def _text(record: Mapping[str, Any], name: str) -> str:
    """TypeError: that field is no text."""
    if not isinstance(record[name], str):
        raise TypeError(f"{name} is {record[name]!r}, not a text")
    return str(record[name])


def lists_of(examples: Examples, negatives: Negatives) -> list[RankingList]:
    """A list for each query: its relevant documents, the highest grade first, then its negatives, the hardest first.

    To measure by such lists mix them (`RankingList.mixed`): a model that favours the first ID would be right.
    """
    return [
        RankingList(
            text,
            tuple(ListedDocument(one, examples.corpus[one]) for one in [*examples.positives[query], *negatives[query]]),
            frozenset(examples.positives[query]),
            query,
            frozenset(examples.irrelevant[query]),
        )
        for query, text in examples.queries.items()
    ]


def train_blockrank(
    model: LanguageModel,
    lists: Sequence[RankingList],
    reading: Reading,
    kept: Mapping[str, Any],
    settings: BlockRankSettings | None = None,
    *,
    run: RunSettings[Sequence[RankingList]],
    decide: Callable[[Report], Report] = lambda report: report,
) -> tuple[Path | None, Report]:
    """The folder of the trained model (HOME/models/<name>; None if it ranks no better than before) and the report.

    `model` itself stays as it is: a copy is trained, in float32, then measured and saved in the model's own type.
    `kept` says what the reading depends on, its "layer" among it, and is saved beside the model. `decide` gives the
    report that counts of a model that would be kept, before it takes the place of an earlier one. InputError: fewer
    than two different queries, or as in `loop.train`.
    """
    settings = settings or BlockRankSettings()
    dev, test = run.dev, run.test
    if dev is None:
        lists, dev = split(lists, share=settings.dev_share)
    depends_on = {
        "what": "blockrank",
        "base": model.fingerprint,
        "lists": fingerprint(lists),
        "dev": fingerprint(dev),
        "test": fingerprint(test) if test else "none",
        "reading": json.dumps(dict(kept), sort_keys=True),
        "blockrank": without_loop(settings),
    }
    here = TrainingRun.opened(run, identity(depends_on, settings.loop), kind=f"{Path(model.name).name}-blockrank")
    if (done := here.done()) is not None:
        return done
    held = {"dev": dev} | ({"test": test} if test else {})
    measure = partial(measured, reading=reading, bfloat16=settings.loop.bfloat16)

    def measured_all(of: Any, when: str) -> dict[str, dict[str, float]]:
        return {
            kind: measure(of, lists=of_kind, told=telling(run, f"Measuring {when}: {kind} list", len(of_kind)))
            for kind, of_kind in held.items()
        }

    before = measured_all(model.model, "before training")
    trained = copy.deepcopy(model.model).float().eval()
    rows = DrawnLists(lists, settings.documents, settings.loop.seed)
    job = Job(
        model=learned_of(trained, settings, int(kept["layer"])),
        rows=rows,
        loss=BlockRankLoss(trained, reading, settings),
        identity=depends_on,
        evaluate=lambda _: measure(trained, lists=dev[: settings.dev_lists]),
        metric=METRICS[0],
        plan=rows.plan(settings.loop.batch),
        collate=list,
    )
    curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    merge_low_rank(trained)
    trained.to(model.dtype)  # as it is saved, so that what is measured is what is kept
    after = measured_all(trained, "what was learnt")
    table = {kind: (before[kind], after[kind]) for kind in held}
    was, now = (values[METRICS[0]] for values in table["dev"])
    note = () if now > was else (not_kept("model", METRICS[0], "dev lists", was, now),)
    what = f"BlockRank, {settings.objective}, {settings.learned}"
    report = Report(here.name, what, model.name, curves, table, now > was, note, plain_settings(settings))
    report = decide(report) if report.kept else report
    with here.candidate() as made:
        with quiet():
            trained.save_pretrained(made)
            model.tokenizer.save_pretrained(made)
        checkpoints.write(made / KEPT, kept)
        here.settle(made, report)
    return here.result(report)


def learned_of(model: Any, settings: BlockRankSettings, layer: int) -> nn.Module:
    """What is learned of `model`, all else frozen; for the auxiliary loss alone nothing above `layer`."""
    reached = range(layer + 1) if settings.objective == "aux" else None
    if settings.learned == "lora":
        return add_low_rank(model, rank=settings.rank, alpha=settings.alpha, layers=reached, seed=settings.loop.seed)
    if settings.learned == "full":
        model.requires_grad_(True)
        return nn.ModuleDict({"model": model})
    model.requires_grad_(False)
    return nn.ModuleList(decoder_layers(model)[: layer + 1]).requires_grad_(True)


def telling(run: RunSettings[Any], doing: str, total: int) -> Callable[[int], None]:
    """What says at which of `total` lists `run` is: a list of a hundred documents may take half a minute."""
    return lambda number: run.on_progress(Progress(number, total, doing=doing))


def measured(
    model: Any,
    reading: Reading,
    lists: Sequence[RankingList],
    *,
    bfloat16: bool = False,
    told: Callable[[int], None] = lambda _: None,
) -> dict[str, float]:
    """`METRICS` of the lists by the reading's scores; with `bfloat16` in mixed precision, as the steps are."""
    run: Run = {}
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
        for number, listed in enumerate(lists):
            told(number + 1)
            scores = reading(model, listed)[0].tolist()
            run[str(number)] = {one.id: score for one, score in zip(listed.documents, scores, strict=True)}
    judged = {str(number): dict.fromkeys(listed.answers, 1) for number, listed in enumerate(lists)}
    return evaluate(run, judged, METRICS)


def split(lists: Sequence[RankingList], *, share: float, seed: int = 0) -> tuple[list[RankingList], list[RankingList]]:
    """Lists to train on, and a share to look at, whose documents are mixed: in files answers tend to come first, and an
    ID says its place. Lists of one query stay together.
    """
    held = held_out((" ".join(one.query.split()) for one in lists), share, seed, what="queries")
    dev = [one.mixed(seed, row) for row, one in enumerate(lists) if " ".join(one.query.split()) in held]
    return [one for one in lists if " ".join(one.query.split()) not in held], dev


def fingerprint(lists: Sequence[RankingList]) -> str:
    """SHA-256 over queries, documents and judgements."""
    digest = hashlib.sha256()
    for one in lists:
        told = [one.query, [asdict(document) for document in one.documents], sorted(one.answers)]
        told += [sorted(one.irrelevant)] if one.irrelevant else []
        digest.update(json.dumps(told).encode())
    return digest.hexdigest()
