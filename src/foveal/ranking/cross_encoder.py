"""Cross-encoder re-ranking: query and passage in one forward pass, s = w . E([CLS] q [SEP] d [SEP])
(Nogueira and Cho, "Passage Re-ranking with BERT", 2019).

    CrossEncoderRanker.load("cross-encoder/ms-marco-MiniLM-L6-v2").rank(query, hits)

Needs     a sentence-transformers CrossEncoder with one output: a folder or a hub id (extra `train`). A plain encoder is
          refused: its head would be random
Budgets   the best `budget` hits are scored (all, if it is None), the rest follow below; a batch is `batch` pairs of at
          most `max_tokens` tokens, and `cancel` is looked at before each batch
Windows   a query may take half of `max_tokens`, and is cut beyond. A passage that does not fit beside it is cut, or
          read in windows that overlap by a quarter and scored as its best window (MaxP: Dai and Callan, SIGIR 2019)
Beside    one that was trained here counts a share beside the score that the search gave, each laid over 0 to 1 among
          the hits that are read; queries held out chose it (training/rerankers.py)
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.models.characters import scalar
from foveal.models.chat import Cancel
from foveal.models.hub import folder_of
from foveal.models.quiet import in_a_line, quiet
from foveal.registry import require
from foveal.retrieval.pipeline import beside_search, by_score
from foveal.settings import Settings, expanded
from foveal.training.rerankers import BESIDE, RerankerSettings
from foveal.types import Hit, require_hits

OVERFLOWS = ("windows", "cut")
HEADS = ("ForSequenceClassification", "ForCausalLM")
"""What the architecture of a model with a trained head ends with."""
MOST_TOKENS = 512
"""Tokens of a pair where the model states no limit."""
FEWEST_TOKENS = 8

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CrossEncoderRanker:
    """A `Ranker`; `model` is a sentence-transformers CrossEncoder with one output."""

    model: Any
    budget: int | None = None  # hits scored, the rest follow below them; None: all that are given
    batch: int = 32  # pairs in a forward pass
    max_tokens: int | None = None  # of query, passage and the special ones together; None: what the model can
    overflow: str = "windows"  # a passage that does not fit: "windows", the best one counts, or "cut"
    share: float = 1.0  # of its score, beside the search's own
    fitted_over: int | None = None  # hits that the share was chosen over; None: nobody chose it

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"A cross-encoder got share={self.share}; it needs one above 0 and up to 1.")
        small = self.batch < 1 or (self.budget is not None and self.budget < 1)
        small = small or (self.max_tokens is not None and self.max_tokens < FEWEST_TOKENS)
        if small or self.overflow not in OVERFLOWS:
            raise InputError(
                f"A cross-encoder got budget={self.budget}, batch={self.batch}, max_tokens={self.max_tokens}, overflow="
                f"{self.overflow!r}; it needs at least 1, 1, {FEWEST_TOKENS}, and one of {', '.join(OVERFLOWS)}."
            )
        if self.model.num_labels != 1:
            raise InputError(
                f"The cross-encoder has {self.model.num_labels} outputs; a ranker needs one. Load one for re-ranking."
            )

    @classmethod
    def load(cls, name: str | Path, *, cache: Path | None = None, **options: Any) -> CrossEncoderRanker:
        """The ranker of a folder or hub id; `options` are the fields. The share is the folder's own, where it has one.

        UnknownName: neither. ModelUnavailable: it cannot be had, or holds no re-ranker. MissingExtra: no
        sentence-transformers.
        """
        name = str(name)
        if not expanded(name).is_dir() and name.count("/") != 1:
            raise UnknownName(
                f"No cross-encoder is called {name!r}. Give a folder that exists (`foveal train reranker` makes one), "
                'or a hub id such as "cross-encoder/ms-marco-MiniLM-L6-v2".'
            )
        folder = folder_of(name, cache or Settings.load().cache, kind="cross-encoder")
        _require_head(folder)
        module = require("sentence_transformers", extra="train")
        from safetensors import SafetensorError

        try:
            with quiet():
                model = module.CrossEncoder(str(folder), local_files_only=True, model_kwargs={"use_safetensors": True})
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelUnavailable(
                f"{folder} could not be loaded as a cross-encoder ({in_a_line(error)}). Fetch it anew."
            ) from error
        return cls(model, **{**_beside(folder), **options})

    @property
    def tokens(self) -> int:
        """Tokens of a pair: the least of what is asked for, what the tokenizer states and what the model has positions
        for."""
        stated = int(self.model.max_seq_length or MOST_TOKENS)
        positions = int(getattr(self.model.config, "max_position_embeddings", stated) or stated)
        return min(self.max_tokens or stated, stated, positions - self._skipped)

    @cached_property
    def _skipped(self) -> int:
        """Positions that no token has: models like RoBERTa count them from behind the padding's."""
        tables = (one for name, one in self.model.named_modules() if name.endswith("position_embeddings"))
        padding = getattr(next(tables, None), "padding_idx", None)
        return 0 if padding is None else int(padding) + 1

    def rank(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Hit]:
        """The best `budget` hits by score, then the rest in their order, below them. Cancelled: by `cancel`."""
        taken = require_hits(hits)[: self.budget]
        texts = [hit.passage.text for hit in taken]
        scores: Sequence[float] | Scores
        scores = self._beside(query, taken, cancel) if self.share < 1 else self.scores(query, texts, cancel=cancel)
        return by_score(taken, scores, "cross-encoder", hits)

    def scores(self, query: str, texts: Sequence[str], *, cancel: Cancel | None = None) -> Scores:
        """The score of each text, (len(texts),), float32. InputError: one is not finite.

        As the model's own activation gives it: 0 to 1, unless it states another. `rerankers.Scorer`, a teacher, gives
        what comes before the activation.
        """
        return self._scores(query, texts, cancel)

    def _beside(self, query: str, hits: Sequence[Hit], cancel: Cancel | None) -> Sequence[float]:
        """By share, of what comes before the activation: on that the share was chosen."""
        from torch import nn

        scores = self._scores(query, [hit.passage.text for hit in hits], cancel, activation_fn=nn.Identity())
        return beside_search(scores.tolist(), hits, self.share)

    def _scores(self, query: str, texts: Sequence[str], cancel: Cancel | None, **options: Any) -> Scores:
        asked, pieces = self.pieces(query, texts)
        pieces.sort(key=lambda piece: -len(piece[1]))  # pairs of like length go together: little padding
        best = np.full(len(texts), -np.inf, dtype=np.float32)
        for first in range(0, len(pieces), self.batch):
            if cancel:
                cancel.check()
            part = pieces[first : first + self.batch]
            pairs = [(asked, piece) for _, piece in part]
            found = self.model.predict(pairs, batch_size=self.batch, show_progress_bar=False, **options)
            with np.errstate(invalid="ignore"):  # NaN stays NaN, and is an error below
                np.maximum.at(best, [row for row, _ in part], np.asarray(found, dtype=np.float32))
        if not np.isfinite(best).all():
            row = int(np.flatnonzero(~np.isfinite(best))[0])
            raise InputError(f"The cross-encoder gave text {row} no finite score for {query!r}. Load it in float32.")
        return best

    @cached_property
    def _uncut(self) -> Any:
        """A tokenizer of its own: the model's, told not to cut or pad, would not do so in another thread's batch."""
        tokenizer = copy.deepcopy(self.model.tokenizer.backend_tokenizer)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def pieces(self, query: str, texts: Sequence[str]) -> tuple[str, list[tuple[int, str]]]:
        """The query as it is read, and (row, part of that text) for each part that is read of a text, in order."""
        query, *texts = map(scalar, (query, *texts))
        free = self.tokens - self.model.tokenizer.num_special_tokens_to_add(pair=True)
        offsets = [one.offsets for one in self._uncut.encode_batch([query, *texts], add_special_tokens=False)]
        most = max(1, free // 2)
        asked = query if len(offsets[0]) <= most else query[: offsets[0][most - 1][1]]
        size = max(1, free - min(len(offsets[0]), most))
        parts: list[tuple[int, str]] = []
        for row, (text, places) in enumerate(zip(texts, offsets[1:], strict=True)):
            cuts = windows(places, size)[: 1 if self.overflow == "cut" else None]
            parts += [(row, text[start:end]) for start, end in cuts] or [(row, text)]
        return asked, parts


def windows(offsets: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Start and end character of the windows of at most `size` tokens that cover all, each a quarter into the last.

    The last window is full, too: it begins earlier where need be. No tokens give no windows.
    """
    if not offsets:
        return []
    step = max(1, size - size // 4)
    starts = range(0, max(1, len(offsets) - size + step), step)
    firsts = [min(start, max(0, len(offsets) - size)) for start in starts]
    return [(offsets[first][0], offsets[min(first + size, len(offsets)) - 1][1]) for first in firsts]


def _beside(folder: Path) -> dict[str, Any]:
    """The share that the folder of a model that was trained here tells, and over how many hits it was chosen; nothing
    of another model. ModelUnavailable: damaged.
    """
    path = folder / BESIDE
    if not path.is_file():
        return {}
    try:
        share = float(json.loads(path.read_text(encoding="utf-8"))["share"])
        return {"share": share, "fitted_over": RerankerSettings().depth}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"{path} is damaged ({in_a_line(error)}). Train the ranker anew.") from error


def _require_head(folder: Path) -> None:
    """ModelUnavailable where the folder holds no model with a head that scores pairs."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architectures = [str(one) for one in config.get("architectures") or []]
    except (OSError, ValueError, AttributeError) as error:
        raise ModelUnavailable(f"{folder} holds no model ({error}). Name a model's own folder.") from error
    if not any(one.endswith(HEADS) for one in architectures):
        raise ModelUnavailable(
            f"{folder} holds {', '.join(architectures) or 'an unnamed architecture'}, which has no head that scores "
            "pairs; it would be random. Train one with `foveal train reranker`, or name a cross-encoder."
        )
