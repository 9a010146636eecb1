"""Learns to find the words that answer a question, by start and end vectors over a sentence encoder (DensePhrases).

    records = [PhraseRecord.of("what works in dim light?", "Cones see by day, rods by night.", "rods"), …]
    folder, report = train_phrases(records, "minilm", run=RunSettings(home=home))
    load_phrase_encoder(str(folder))                  # of retrieval/phrases.py, which searches with it

Model     h_i (D) the tokens of a passage, m (D) the mean, or the first, of the question's; S, E, S', E' (D', D):
          start logit of token i = S'm . Sh_i,  end logit of token j = E'm . Eh_j
Loss      for starts and ends alike: -log softmax at the answer over all tokens of all passages of the batch that may
          begin (end) a phrase, plus `within` times the same over its own passage
Source    Lee, Sung, Kang and Chen, ACL 2021; before it DenSPI: Seo et al., ACL 2019. By memory, not checked: the paper
          takes only the answers' own tokens of the other passages as negatives (here: all their tokens), has an encoder
          of its own for each of the question's two vectors (here: a matrix), and adds negatives of earlier batches,
          distillation from a reader, made-up questions, and a last training of the question's side (here: none)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.answers import score
from foveal.models.bert import supports
from foveal.models.phrase_reading import (
    Read,
    framed,
    padded_ids,
    pooled,
    question_states,
    read,
    token_states,
    window_scores,
)
from foveal.ranges import COUNT, INSIDE, NOT_NEGATIVE, POSITIVE, Range, require_settings
from foveal.training.examples import ApartBatches, Examples, Rows
from foveal.training.loop_settings import without_loop

if TYPE_CHECKING:  # the loop imports transformers: 3 s that a search does not need
    from foveal.training.loop import LoopSettings
    from foveal.training.report import Report
    from foveal.training.runs import RunSettings

HEADS = ("start", "end", "question_start", "question_end")
WEIGHTS, ABOUT = "phrases.safetensors", "phrases.json"
"""Files of a trained model beside those of its encoder: the four matrices, and how the question is pooled."""
POOLINGS = ("mean", "cls")
METRICS = ("exact", "f1")


# -- what is learnt from ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhraseRecord:
    """A question, and the characters `start` to `end` (excluded) of a passage that answer it."""

    question: str
    passage: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise InputError(f"The question for {self.passage[:40]!r} has no text. Leave the record out, or write it.")
        inside = 0 <= self.start < self.end <= len(self.passage)
        if not inside or not self.answer.strip():
            raise InputError(
                f"The answer to {self.question!r} was to stand at {self.start} to {self.end} of a passage of "
                f"{len(self.passage)} characters, where there is no text. Give offsets into the passage itself."
            )

    @property
    def answer(self) -> str:
        """The answer's characters."""
        return self.passage[self.start : self.end]

    @classmethod
    def of(cls, question: str, passage: str, answer: str) -> PhraseRecord:
        """The record of an answer that stands in the passage once. InputError: it does not."""
        count = passage.count(answer) if answer.strip() else 0
        if count != 1:
            raise InputError(
                f"The answer {answer!r} to {question!r} stands {count} times in its passage; it needs to stand there "
                "once, in the same letters. Otherwise give its start and end to PhraseRecord itself."
            )
        start = passage.index(answer)
        return cls(question, passage, start, start + len(answer))


@dataclass(frozen=True, kw_only=True)
class PhraseTraining:
    """How an encoder of phrases is trained."""

    dimension: int | None = None  # of a start and of an end vector; None: as many as the encoder's own
    pooling: str = "mean"  # of the question's tokens, or "cls"
    within: float = 1.0  # weight of the term over the answer's own passage
    temperature: float | None = None  # logits are divided by it; None: the root of the dimension
    longest: int = 10  # tokens of a phrase that dev questions may find
    window: int | None = None  # tokens of a passage that are read while training; None: as many as the base reads
    dev_share: float = 0.1
    dev_passages: int = 500  # that dev questions are asked of; more, where their own are more
    loop: LoopSettings = field(default_factory=lambda: _loop_settings())

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise InputError(f"Phrases got pooling={self.pooling!r}; it needs one of {', '.join(POOLINGS)}.")
        require_settings(
            "Phrases", self, dimension=COUNT, within=NOT_NEGATIVE, temperature=POSITIVE, longest=COUNT,
            window=Range(3), dev_share=INSIDE, dev_passages=COUNT,
        )  # fmt: skip


def _loop_settings() -> LoopSettings:
    from foveal.training.loop import LoopSettings

    return LoopSettings(batch=16, learning_rate=3e-5)


def answer_tokens(text: Read, start: int, end: int) -> tuple[int, int]:
    """First and last token of the words that characters `start` to `end` touch. InputError: they touch none."""
    touched = np.flatnonzero((text.offsets[:, 0] < end) & (text.offsets[:, 1] > start))
    if not len(touched):
        raise InputError(f"No token of the passage stands at {start} to {end}. Give the offsets of words.")
    first, last = int(touched[0]), int(touched[-1])
    return int(np.flatnonzero(text.begins[: first + 1])[-1]), last + int(np.flatnonzero(text.ends[last:])[0])


def examples_of(records: Sequence[PhraseRecord]) -> Examples:
    """Questions and passages, each text once, and which passage answers which question. InputError: no record."""
    questions = {text: f"q{n}" for n, text in enumerate(dict.fromkeys(one.question for one in records))}
    passages = {text: f"p{n}" for n, text in enumerate(dict.fromkeys(one.passage for one in records))}
    judged = [(questions[one.question], passages[one.passage], 1) for one in records]
    asked, held = ([(name, text) for text, name in side.items()] for side in (questions, passages))
    return Examples.gathered(asked, held, judged, name="phrases")


class PhraseRows:
    """Rows for the loop: a question, and a window of a passage with its answers; the window is drawn each epoch.

    InputError: an answer without a token, or one that is longer than a window.
    """

    def __init__(self, records: Sequence[PhraseRecord], tokenizer: Tokenizer, *, room: int, seed: int) -> None:
        self.rows, self.tokenizer, self.room, self.seed = Rows(examples_of(records)), tokenizer, room, seed
        examples = self.rows.examples
        self.questions, self.texts = (
            dict(zip(side, read(tokenizer, list(side.values())), strict=True))
            for side in (examples.queries, examples.corpus)
        )
        names = [{text: name for name, text in side.items()} for side in (examples.queries, examples.corpus)]
        self.answers: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for one in records:
            pair = names[0][one.question], names[1][one.passage]
            first, last = answer_tokens(self.texts[pair[1]], one.start, one.end)
            if last - first >= room:
                raise InputError(
                    f"The answer to {one.question!r} has {last - first + 1} tokens; a window holds {room}. Give a "
                    "shorter answer, or a wider window."
                )
            self.answers.setdefault(pair, []).append((first, last))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        pair = self.rows.pairs[place % len(self)]
        question, text, answers = self.questions[pair[0]], self.texts[pair[1]], self.answers[pair]
        rng = np.random.default_rng([self.seed, place])
        first, last = answers[int(rng.integers(len(answers)))]
        lowest, highest = max(0, last + 1 - self.room), max(0, min(first, len(text.ids) - self.room))
        window = slice(start := int(rng.integers(min(lowest, highest), highest + 1)), start + self.room)
        marked = np.zeros((2, len(text.ids)), dtype=bool)
        for begin, end in answers:
            marked[0, begin] = marked[1, end] = True
        masks = [text.begins, text.ends, *marked]
        return {
            "question": framed(self.tokenizer, question.ids[: self.room]),
            "passage": framed(self.tokenizer, text.ids[window]),
            "masks": [[0, *mask[window].tolist(), 0] for mask in masks],
        }


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """question, passage: ids (B, L) with `<name>_mask`; begins, ends, gold_begins, gold_ends: (B, L) bool."""
    batch: dict[str, Tensor] = {}
    for name in ("question", "passage"):
        batch[name], batch[f"{name}_mask"] = padded_ids([row[name] for row in rows])
    for number, name in enumerate(("begins", "ends", "gold_begins", "gold_ends")):
        batch[name] = padded_ids([row["masks"][number] for row in rows])[0].bool()
    return batch


# -- model and loss --------------------------------------------------------------------------------------------------


class PhraseModel(nn.Module):
    """A SentenceTransformer of the BERT family with four matrices, which begin as one and the same rotation."""

    def __init__(self, encoder: Any, *, dimension: int | None = None, pooling: str = "mean", seed: int = 0) -> None:
        super().__init__()
        width = int(encoder.get_embedding_dimension())
        if (dimension or width) > width:
            raise InputError(f"Phrases of {dimension} numbers were asked for; the encoder has {width} to give.")
        self.encoder, self.pooling = encoder, pooling
        self.dimension = dimension or width
        self.room = int(encoder.max_seq_length) - 2
        matrix = torch.eye(width)
        if self.dimension < width:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                matrix = nn.init.orthogonal_(torch.empty(self.dimension, width))
        self.heads = nn.ModuleDict({name: nn.Linear(width, self.dimension, bias=False) for name in HEADS})
        with torch.no_grad():
            for weight in self.heads.parameters():
                weight.copy_(matrix)

    def matrices(self) -> dict[str, Tensor]:
        """The four matrices (D', D) as they are now."""
        return {name: self.heads.get_parameter(f"{name}.weight").detach().float().cpu() for name in HEADS}

    @classmethod
    def of(cls, folder: Path, settings: PhraseTraining) -> PhraseModel:
        """Over the encoder in `folder`, whose matrices are taken if it has some. ModelUnavailable: no such encoder."""
        from safetensors.torch import load_file

        from foveal.training import checkpoints, model_folders

        if not supports(folder):
            raise ModelUnavailable(f"{folder} is no sentence encoder of the BERT family. Begin with one, as minilm.")
        encoder, begun = model_folders.sentence_transformer(folder), checkpoints.read(folder / ABOUT)
        if begun is None:
            return cls(encoder, dimension=settings.dimension, pooling=settings.pooling, seed=settings.loop.seed)
        weights = load_file(folder / WEIGHTS)
        model = cls(encoder, dimension=len(weights[HEADS[0]]), pooling=begun["pooling"])
        model.heads.load_state_dict({f"{name}.weight": weight for name, weight in weights.items()})
        return model

    def save(self, folder: Path) -> Path:
        """Write a folder that `retrieval.phrases.load_phrase_encoder` reads."""
        from safetensors.torch import save_file

        from foveal.training import checkpoints, model_folders

        model_folders.save_model(self.encoder, folder)
        save_file(self.matrices(), folder / WEIGHTS)
        checkpoints.write(folder / ABOUT, {"pooling": self.pooling})
        return folder

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask (B, L) -> hidden states (B, L, D)."""
        device = next(self.parameters()).device
        states: Tensor = (
            self.encoder[0]
            .auto_model(input_ids=ids.to(device), attention_mask=mask.long().to(device))
            .last_hidden_state
        )
        return states

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Start and end logits (B, B, L): of each question, for the tokens of each passage."""
        states = self.hidden(batch["passage"], batch["passage_mask"])
        mask = batch["question_mask"]
        question = pooled(self.hidden(batch["question"], mask), mask, self.pooling)
        return tuple(  # type: ignore[return-value]
            torch.einsum("bd,pld->bpl", self.heads[f"question_{side}"](question), self.heads[side](states)).float()
            for side in ("start", "end")
        )


class PhraseLoss(nn.Module):
    """The loss of a PhraseModel over a batch of `collate`."""

    def __init__(self, *, within: float, temperature: float) -> None:
        super().__init__()
        self.within, self.temperature = within, temperature

    def forward(self, model: PhraseModel, batch: Mapping[str, Tensor]) -> Tensor:
        starts, ends = (logits / self.temperature for logits in model(batch))
        first = phrase_loss(starts, batch["begins"], batch["gold_begins"], within=self.within)
        return (first + phrase_loss(ends, batch["ends"], batch["gold_ends"], within=self.within)) / 2


def phrase_loss(logits: Tensor, allowed: Tensor, gold: Tensor, *, within: float) -> Tensor:
    """Logits (B, B, L) of question b for passage p, the b-th passage being b's own; allowed and gold tokens (B, L).

    Of several gold tokens the sum of their probabilities counts.
    """
    logits = logits.masked_fill(~allowed, -torch.inf)
    own = logits[(rows := torch.arange(len(logits), device=logits.device)), rows]  # (B, L)
    right = own.masked_fill(~gold, -torch.inf).logsumexp(-1)
    over_all, over_own = logits.flatten(1).logsumexp(-1) - right, own.logsumexp(-1) - right
    return (over_all + within * over_own).mean()


# -- the dev questions, and the run ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhraseTask:
    """Questions, the texts that answer each, and the passages that are asked."""

    answers: Mapping[str, tuple[str, ...]]
    passages: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[PhraseRecord], others: Sequence[PhraseRecord], passages: int) -> PhraseTask:
        """The questions of `records`, asked of their passages and of so many of `others` that there are `passages`."""
        answers: dict[str, tuple[str, ...]] = {}
        for one in records:
            answers[one.question] = (*answers.get(one.question, ()), one.answer)
        own = list(dict.fromkeys(one.passage for one in records))
        every = list(dict.fromkeys([*own, *(one.passage for one in others)]))
        return cls(answers, tuple(every[: max(passages, len(own))]))

    def measure(self, model: PhraseModel, tokenizer: Tokenizer, longest: int) -> dict[str, float]:
        """How often the best phrase over all passages is an answer, and how much of one it is (SQuAD's measures)."""
        found = best_phrases(model, tokenizer, list(self.answers), self.passages, longest)
        pairs = list(zip(found, self.answers.values(), strict=True))
        return {metric: float(np.mean([score(metric, *pair) for pair in pairs])) for metric in METRICS}


def best_phrases(
    model: PhraseModel, tokenizer: Tokenizer, questions: Sequence[str], passages: Sequence[str], longest: int
) -> list[str]:
    """The best phrase over all passages for each question, by the model as it is now; "" where there is none."""
    texts = read(tokenizer, passages)
    states = np.concatenate(token_states(texts, tokenizer, model.hidden, room=model.room))
    asked = np.array(
        question_states(questions, tokenizer, model.hidden, room=model.room, pooling=model.pooling), np.float32
    )
    weights = {name: weight.numpy() for name, weight in model.matrices().items()}
    scores = []
    for side, name in (("start", "begins"), ("end", "ends")):
        may = np.concatenate([getattr(text, name) for text in texts])
        products = (asked @ weights[f"question_{side}"].T) @ (states @ weights[side].T).T
        scores.append(np.where(may, products, -np.inf).astype(np.float32))
    room = np.concatenate([np.arange(len(text.ids), 0, -1) for text in texts])
    starts = np.cumsum([0, *(len(text.ids) for text in texts)])
    found = []
    for starting, ending in zip(*scores, strict=True):
        every = window_scores(starting, ending, room, longest)
        token, more = divmod(int(every.argmax()), longest)
        row = int(np.searchsorted(starts, token, side="right")) - 1
        offsets = texts[row].offsets[token - starts[row] :]
        none = np.isneginf(every[token, more])
        found.append("" if none else passages[row][offsets[0, 0] : offsets[more, 1]])
    return found


def train_phrases(
    records: Sequence[PhraseRecord],
    base: str = "minilm",
    settings: PhraseTraining | None = None,
    *,
    run: RunSettings[Sequence[PhraseRecord]],
) -> tuple[Path | None, Report]:
    """The folder of the model (HOME/models/<name>; None if it finds no more exactly than untrained) and the report.

    `run.dev` chooses among steps and decides (default: a share of the questions held out); `run.test` is measured only.
    InputError: no records, an answer without a token or too long. Else as `encoders.train_encoder`.
    """
    from foveal.models.folders import fingerprint
    from foveal.models.hub import folder_of
    from foveal.training.loop import Job, identity, train
    from foveal.training.report import Report, not_kept, plain_settings
    from foveal.training.runs import TrainingRun

    settings = settings or PhraseTraining()
    dev, test = run.dev, run.test
    folder = folder_of(base, run.cache_at, kind="encoder")
    learnt = list(records)
    if dev is None:
        held = set(examples_of(records).split(dev=settings.dev_share)[1].queries.values())
        dev = [one for one in records if one.question in held]
        learnt = [one for one in records if one.question not in held]
    shown = plain_settings(settings)
    depends_on = {
        "what": "phrases",
        "base": fingerprint(folder),
        **{kind: _digest(part) for kind, part in (("records", learnt), ("dev", dev), ("test", test or []))},
        "model": without_loop(settings),
    }
    known_by = identity(depends_on, settings.loop)
    here = TrainingRun.opened(run, known_by, kind=f"{Path(base).name}-phrases")
    if (done := here.done()) is not None:
        return done
    model, tokenizer = PhraseModel.of(folder, settings), Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    room = min(model.room, (settings.window or model.room + 2) - 2)
    rows = PhraseRows(learnt, tokenizer, room=room, seed=settings.loop.seed)
    tasks = {"dev": PhraseTask.of(dev, records, settings.dev_passages)}
    tasks |= {"test": PhraseTask.of(test, records, settings.dev_passages)} if test else {}
    before = {kind: task.measure(model.eval(), tokenizer, settings.longest) for kind, task in tasks.items()}
    job = Job(
        model=model,
        rows=rows,
        loss=PhraseLoss(within=settings.within, temperature=settings.temperature or model.dimension**0.5),
        identity=depends_on,
        evaluate=lambda now: tasks["dev"].measure(now, tokenizer, settings.longest),
        metric=METRICS[0],
        plan=ApartBatches(rows.rows, settings.loop.batch, settings.loop.seed),
        collate=collate,
    )
    curves = train(job, settings.loop, here.folder, on_progress=run.on_progress)
    measured = {kind: (before[kind], task.measure(model, tokenizer, settings.longest)) for kind, task in tasks.items()}
    old, new = (values[METRICS[0]] for values in measured["dev"])
    kept = new > old
    worse = not_kept("new model", METRICS[0], "dev questions", old, new)
    notes = (*_longer(rows, settings.longest), *(() if kept else (worse,)))
    report = Report(here.name, "phrases", base, curves, measured, kept, notes, shown)
    with here.candidate() as made:
        here.settle(model.save(made), report)
    return here.result(report)


def _longer(rows: PhraseRows, longest: int) -> tuple[str, ...]:
    """A note if answers are longer than a phrase may be."""
    spans = [span for answers in rows.answers.values() for span in answers]
    count = sum(last - first >= longest for first, last in spans)
    note = f"{count:,} of {len(spans):,} answers have more than {longest} tokens: none is found whole."
    return (note,) if count else ()


def _digest(records: Sequence[PhraseRecord]) -> str:
    return hashlib.sha256(json.dumps([astuple(one) for one in records]).encode()).hexdigest()
