"""Teaches a decoder to write headlines: article, separator, headline, end; only the headline and its end are learned.

    changes, curves = train_writer(model, pairs, dev, WriterSettings(), folder=run)
    written = write(merged, tokenizer, articles, WriterSettings())      # the likeliest headlines of each article

Shapes    a batch of B pairs, padded on the left to L tokens; logits are made for the last H + 1 places only, H the
          longest headline: the vocabulary's matrix is most of a small model
Learned   low-rank changes (LoRA) in float32 over weights that stay as they are
Decoding  beam search or greedy; no run of three tokens comes twice in a headline. Runs of the article may be copied:
          the usual rule looks at the prompt, too, and would forbid just what a headline repeats
Source    the decoder-only variant of Kanumolu et al., LREC-COLING 2024 (its own model is encoder-decoder)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.models.quiet import quiet
from foveal.ranges import COUNT, POSITIVE, require_settings
from foveal.training.loop import Curves, Job, LoopSettings, train
from foveal.training.loop_settings import without_loop
from foveal.training.low_rank import add_low_rank, merge_low_rank
from foveal.training.pair_classifiers import ClassedPairs
from foveal.training.precision import mixed_precision
from foveal.training.watch import Progress

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

IGNORED = -100
SEPARATOR = "\n\nHeadline:"
METRIC = "log-likelihood"

Written = tuple[str, float]
"""A headline, and its mean log-probability a token."""


@dataclass(frozen=True, kw_only=True)
class WriterSettings:
    """How a writer reads, learns and decodes; checked when made."""

    article_tokens: int = 320  # of an article that are read: news says first what it is about
    headline_tokens: int = 32  # of a headline, at most
    rank: int = 8
    alpha: float = 16.0
    beams: int = 4  # 1: greedy
    no_repeat: int = 3  # tokens in a row that come once in a headline
    dev_pairs: int = 64  # looked at while training
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(epochs=2, batch=4, learning_rate=5e-4, seed=42, bfloat16=mixed_precision())
    )

    def __post_init__(self) -> None:
        require_settings(
            "A headline writer", self, article_tokens=COUNT, headline_tokens=COUNT, rank=COUNT, alpha=POSITIVE,
            beams=COUNT, no_repeat=COUNT, dev_pairs=COUNT,
        )  # fmt: skip


class Prompts:
    """Articles and headlines as tokens of a language model."""

    def __init__(self, model: LanguageModel, settings: WriterSettings) -> None:
        self.model, self.settings = model, settings
        self.separator = model.encode(SEPARATOR)
        bos = model.tokenizer.bos_token_id
        begins = bos is not None and model.tokenizer("a")["input_ids"][:1] == [bos]
        self.start = [int(bos)] if begins else []
        self.end = int(model.tokenizer.eos_token_id)

    def prompt(self, article: str) -> list[int]:
        """The tokens before the headline."""
        # Not all of a long article is tokenised: 12 characters a token are more than any script takes.
        read = " ".join(article[: 12 * self.settings.article_tokens].split())
        return [*self.start, *self.model.encode(read)[: self.settings.article_tokens], *self.separator]

    def answer(self, headline: str) -> list[int]:
        """The headline's tokens and the end."""
        ids = self.model.encode(f" {' '.join(headline.split())}")[: self.settings.headline_tokens]
        return [*ids, self.end]

    def batch(self, rows: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
        """(article, headline) rows, padded on the left; labels of what is no headline are `IGNORED`."""
        prompts, answers = [self.prompt(a) for a, _ in rows], [self.answer(h) for _, h in rows]
        longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids, mask, labels = [], [], []
        for prompt, answer in zip(prompts, answers, strict=True):
            pad = longest - len(prompt) - len(answer)
            ids.append([self.end] * pad + prompt + answer)
            mask.append([0] * pad + [1] * (longest - pad))
            labels.append([IGNORED] * (longest - len(answer)) + answer)
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(mask),
            "labels": torch.tensor(labels)[:, longest - max(map(len, answers)) :],
        }


class WriterLoss:
    """The mean cross entropy of a batch's headline tokens."""

    def __init__(self, model: Any, *, bfloat16: bool) -> None:
        self.model, self.bfloat16 = model, bfloat16

    def __call__(self, _: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The loss; the module that the loop knows holds only what is learned."""
        ids, mask, labels = (batch[name] for name in ("input_ids", "attention_mask", "labels"))
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with whole_head(self.model), torch.autocast(ids.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=labels.shape[1] + 1,
                use_cache=False,
            ).logits  # fmt: skip
        return F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


@contextmanager
def whole_head(model: Any) -> Iterator[None]:
    """While it is open, the vocabulary's matrix is multiplied once for a whole batch.

    `logits_to_keep` cuts the last states out of longer ones. For such a slice `torch.matmul` copies the matrix once a
    row of the batch: on a CPU that was three quarters of a step.
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))
    try:
        yield
    finally:
        hook.remove()


@dataclass(frozen=True)
class TextRows:
    """(article, headline) rows of a training."""

    rows: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[str, str]:
        return self.rows[place % len(self)]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the texts."""
        return ClassedPairs(self.rows, ()).fingerprint


def train_writer(
    model: LanguageModel,
    learnt: TextRows,
    dev: TextRows,
    settings: WriterSettings | None = None,
    *,
    folder: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[nn.ModuleDict, Curves]:
    """The low-rank changes that were best on `dev`, and how it went. `model` itself stays as it is.

    `folder` keeps checkpoints: the same call goes on. InputError: no rows, or `folder` is another run's.
    """
    settings = settings or WriterSettings()
    if not len(learnt) or not len(dev):
        raise InputError(
            f"{len(learnt)} headlines to learn from and {len(dev)} to look at came; it needs some of each."
        )
    trained = copy.deepcopy(model.model).eval()
    if not settings.loop.bfloat16:
        trained.float()
    learned = changes_of(trained, settings)
    prompts, mixed = Prompts(model, settings), settings.loop.bfloat16
    loss = WriterLoss(trained, bfloat16=mixed)
    job = Job(
        model=learned, rows=learnt, loss=loss, metric=METRIC, collate=prompts.batch,
        identity={
            "what": "headline writer", "base": model.fingerprint, "rows": learnt.fingerprint, "dev": dev.fingerprint,
            "writer": without_loop(settings),
        },
        evaluate=lambda _: {METRIC: -mean_loss(loss, prompts, dev.rows[: settings.dev_pairs])},
    )  # fmt: skip
    return learned, train(job, settings.loop, folder, on_progress=on_progress)


def changes_of(model: Any, settings: WriterSettings) -> nn.ModuleDict:
    """Give `model` low-rank changes, in float32: steps of bfloat16 would be too coarse to learn by."""
    learned = add_low_rank(model, rank=settings.rank, alpha=settings.alpha, seed=settings.loop.seed)
    return learned.float()


def with_changes(model: LanguageModel, learned: nn.ModuleDict, settings: WriterSettings) -> Any:
    """A copy of the model with changes added to its weights."""
    merged = copy.deepcopy(model.model).eval()
    changes_of(merged, settings).load_state_dict(learned.state_dict())
    merge_low_rank(merged)
    return merged.requires_grad_(False)


@torch.no_grad()
def mean_loss(loss: WriterLoss, prompts: Prompts, rows: Sequence[tuple[str, str]], *, batch: int = 4) -> float:
    """The mean loss of rows, batch by batch."""
    total = 0.0
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        given = {name: value.to(loss.model.device) for name, value in prompts.batch(part).items()}
        total += len(part) * float(loss(loss.model, given))
    return total / len(rows)


# -- writing ----------------------------------------------------------------------------------------------------------


class NoRepeat:
    """A processor of logits: no run of `size` tokens comes twice behind the first `prompt` tokens."""

    def __init__(self, prompt: int, size: int) -> None:
        self.prompt, self.size = prompt, size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary), those that would end a second run at minus infinity."""
        for row, ids in enumerate(input_ids[:, self.prompt :].tolist()):
            barred = forbidden(ids, self.size)
            if barred:
                scores[row, barred] = -torch.inf
        return scores


def forbidden(ids: Sequence[int], size: int) -> list[int]:
    """The tokens that would make a run of `size` that `ids` has already."""
    begun = tuple(ids[len(ids) - size + 1 :])
    if len(ids) < size - 1:
        return []
    return [ids[at + size - 1] for at in range(len(ids) - size + 1) if tuple(ids[at : at + size - 1]) == begun]


@torch.inference_mode()
def write(
    model: Any, prompts: Prompts, articles: Sequence[str], *, count: int = 1, beams: int | None = None, batch: int = 4
) -> list[list[Written]]:
    """For each article the `count` likeliest headlines that beam search finds, best first; blank ones are left out."""
    width = max(beams or prompts.settings.beams, count)
    found: list[list[Written]] = []
    for first in range(0, len(articles), batch):
        found += _written(model, prompts, articles[first : first + batch], count, width)
    return found


def _written(model: Any, prompts: Prompts, articles: Sequence[str], count: int, beams: int) -> list[list[Written]]:
    from transformers import LogitsProcessorList

    read = [prompts.prompt(article) for article in articles]
    longest = max(map(len, read))
    ids = torch.tensor([[prompts.end] * (longest - len(one)) + one for one in read], device=model.device)
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in read], device=model.device)
    with quiet(), whole_head(model):
        made = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=prompts.settings.headline_tokens, num_beams=beams,
            num_return_sequences=count, do_sample=False, temperature=None, top_p=None, top_k=None, early_stopping=True,
            pad_token_id=prompts.end, eos_token_id=list(prompts.model.stop_ids), return_dict_in_generate=True,
            output_scores=True, logits_processor=LogitsProcessorList([NoRepeat(longest, prompts.settings.no_repeat)]),
        )  # fmt: skip
    scores = _scores(model, made, beams)
    rows = []
    for place in range(len(articles)):
        own = range(place * count, (place + 1) * count)
        texts = [prompts.model.tokenizer.decode(made.sequences[n][longest:], skip_special_tokens=True) for n in own]
        told = {one_line(text): scores[n] for text, n in zip(reversed(texts), reversed(own), strict=True)}
        told.pop("", None)
        rows.append(sorted(told.items(), key=lambda pair: -pair[1]))
    return rows


def _scores(model: Any, made: Any, beams: int) -> list[float]:
    """The mean log-probability a token of each row that was written."""
    if beams > 1:
        return [float(one) for one in made.sequences_scores]
    steps = model.compute_transition_scores(made.sequences, made.scores, normalize_logits=True)
    return [float(row[torch.isfinite(row)].mean()) for row in steps]


def one_line(text: str) -> str:
    """The first line that says something, without quotation marks around it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) > 1 and (line[0], line[-1]) in (('"', '"'), ("“", "”"), ("«", "»"), ("'", "'")):
        line = line[1:-1].strip()
    return line
