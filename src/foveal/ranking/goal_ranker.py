"""Passages as a task needs them: a `Ranker`, and a text's few numbers for a goal, by a trained goal filter.

    ranker = GoalRanker.load("my-tasks")                 # foveal train goal-ranker
    ranker.rank(query, hits)                             # behind any search
    ranker.features("side effects", texts)               # (N, 10): the texts as that goal sees them
    Pipeline([hybrid, ranker], budgets=[200, 50])        # a `Retriever` again

The goal is the query's own vector; a text is the vectors of its first tokens, by the same encoder, which is not
trained.

Score     weight · presence + (1 - weight) · first, both scaled to 0 to 1 over the hits; fitted on queries held out
Files     goal-ranker.json (encoder, settings, weight), model.safetensors
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable
from foveal.models import load_encoder
from foveal.models.bert import BertEncoder
from foveal.models.chat import Cancel
from foveal.models.encoders import encoder_of
from foveal.nn.goal_filter import REMEDY
from foveal.nn.text_filter import TextFilter, TextFilterSettings, padded
from foveal.retrieval.late_tokens import TokenEncoder, TokenSettings
from foveal.retrieval.pipeline import beside_search, by_score
from foveal.settings import expanded
from foveal.training import checkpoints
from foveal.training.report import plain_settings
from foveal.types import Encoder, Hit, require_hits

TOLD, WEIGHTS = "goal-ranker.json", "model.safetensors"
BATCH = 64
"""Texts that go through the filter together."""

FITTED_OVER = 100
"""Hits that the weight of a trained filter is fitted over (`GoalTraining.depth`)."""

REMEMBERED = 2**30
"""Bytes of tokens' vectors that are remembered: 20,000 texts of 64 tokens of 384 numbers. The oldest go."""

Floats = npt.NDArray[np.float32]


@dataclass
class TokenStates:
    """Vectors of goals and of texts' tokens by one encoder, remembered, those of tokens in half precision.

    They are unit vectors times the root of their width, so that their numbers spread by about 1, as layers expect.
    """

    encoder: BertEncoder
    tokens: int
    _texts: dict[str, Tensor] = field(default_factory=dict)
    _goals: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, tokens: int, cache: Path | None = None) -> TokenStates:
        """By the encoder called `name`. ModelUnavailable: its tokens' vectors cannot be had."""
        return cls.by(load_encoder(name, cache=cache), tokens)

    @classmethod
    def by(cls, encoder: Encoder, tokens: int) -> TokenStates:
        """ModelUnavailable: as of `of`."""
        if not isinstance(encoder, BertEncoder):
            raise ModelUnavailable(
                f"{encoder.name} is no sentence encoder of the BERT family; name one, such as minilm."
            )
        return cls(encoder, min(tokens, encoder.max_tokens))

    def texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(N, tokens, D) and the mask (N, tokens)."""
        held = {text: kept for text in texts if (kept := self._texts.get(text)) is not None}
        if new := [text for text in dict.fromkeys(texts) if text not in held]:
            made = TokenEncoder(self.encoder, TokenSettings(drop_punctuation=False)).documents(new)
            for text, vectors in zip(new, made, strict=True):
                held[text] = torch.from_numpy(vectors[: self.tokens].copy()).bfloat16()
            self._remember(self._texts, {text: held[text] for text in new})
        tokens, mask = padded([held[text].float() for text in texts], self.tokens)
        return tokens * self._scale, mask

    def goals(self, goals: Sequence[str]) -> Tensor:
        """(N, D)."""
        held = {goal: kept for goal in goals if (kept := self._goals.get(goal)) is not None}
        if new := [goal for goal in dict.fromkeys(goals) if goal not in held]:
            made = dict(zip(new, torch.from_numpy(self.encoder.encode(new)), strict=True))
            held |= made
            self._remember(self._goals, made)
        return torch.stack([held[goal] for goal in goals]) * self._scale

    def _remember(self, kept: dict[str, Tensor], made: dict[str, Tensor]) -> None:
        """Add what was made, and let go of the oldest; other threads may read meanwhile."""
        kept.update(made)
        most = REMEMBERED // (2 * self.tokens * self.encoder.dimension)
        for text in list(kept)[: max(0, len(kept) - most)]:
            kept.pop(text, None)

    @property
    def _scale(self) -> float:
        return math.sqrt(self.encoder.dimension)


class GoalScorer:
    """Scores of (goal, text), as logits that the goal is there; a `negatives.Teacher`."""

    def __init__(self, model: TextFilter, states: TokenStates) -> None:
        self.model, self.states = model, states

    @torch.no_grad()
    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """One for each pair."""
        self.model.eval()
        found: list[float] = []
        for at in range(0, len(pairs), BATCH):
            goals, texts = zip(*pairs[at : at + BATCH], strict=True)
            given = (*self.states.texts(texts), self.states.goals(goals))
            found += self.model(*(one.to(self.device) for one in given)).tolist()
        return found

    @property
    def device(self) -> torch.device:
        """Where the filter's weights lie."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def features(self, goal: str, texts: Sequence[str]) -> Floats:
        """(N, 10): what of each text the goal lets through. InputError: no texts."""
        if not texts:
            raise InputError("Features were asked of no texts; give at least one.")
        self.model.eval()
        goals = self.states.goals([goal]).to(self.device)
        made = []
        for at in range(0, len(texts), BATCH):
            tokens, mask = (one.to(self.device) for one in self.states.texts(texts[at : at + BATCH]))
            made.append(self.model.code(tokens, mask, goals.expand(len(tokens), -1)))
        features: Floats = torch.cat(made).cpu().numpy()
        return features


class GoalRanker:
    """A `Ranker` by a trained filter."""

    fitted_over = FITTED_OVER

    def __init__(
        self, scorer: GoalScorer, *, weight: float = 1.0, budget: int | None = None, name: str = "goal"
    ) -> None:
        """`weight` is the filter's beside the first stage; the best `budget` hits are scored (None: all). InputError:
        neither.
        """
        if not 0 <= weight <= 1 or (budget is not None and budget < 1):
            raise InputError(f"A goal ranker got weight = {weight}, budget = {budget}; 0 to 1, and at least 1.")
        self.scorer, self.weight, self.budget, self.name = scorer, weight, budget, name

    @classmethod
    def load(cls, folder: str | Path) -> GoalRanker:
        """Of a folder. InputError: it holds none, or one that another version of Foveal made. ModelUnavailable: its
        encoder is gone, or is another one now.
        """
        place = expanded(folder)
        told = checkpoints.read(place / TOLD)
        if told is None:
            raise InputError(f"{place} holds no goal ranker; foveal train goal-ranker makes one.")
        with checkpoints.as_was_made(place, "goal ranker", REMEDY):
            model = TextFilter(TextFilterSettings(**told["settings"]))
            encoder, fingerprint, weight = (told[one] for one in ("encoder", "fingerprint", "weight"))
        states = TokenStates.by(encoder_of(place, encoder), model.settings.tokens)
        if states.encoder.fingerprint != fingerprint:
            raise ModelUnavailable(
                f"{place} was trained with another {encoder} than the one that is here. Train it anew."
            )
        checkpoints.load_weights(model, place / WEIGHTS, remedy=REMEDY)
        return cls(GoalScorer(model, states), weight=weight, name=place.name)

    def save(self, folder: Path) -> Path:
        """Into a new folder."""
        model, encoder = self.scorer.model, self.scorer.states.encoder
        told: dict[str, Any] = {
            "encoder": encoder.name,
            "fingerprint": encoder.fingerprint,
            "settings": plain_settings(model.settings),
            "weight": self.weight,
        }
        return checkpoints.save_changes(model, told, folder, told_in=TOLD, weights=WEIGHTS)

    def features(self, goal: str, texts: Sequence[str]) -> Floats:
        """(N, 10): what of each text the goal lets through."""
        return self.scorer.features(goal, texts)

    def rank(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Hit]:
        """The best `budget` hits by score, then the rest in their order, below them. Cancelled: by `cancel`."""
        if cancel:
            cancel.check()
        taken = require_hits(hits)[: self.budget]
        scores = self.scorer([(query, hit.passage.text) for hit in taken])
        if self.weight < 1:
            scores = beside_search(scores, taken, self.weight)
        return by_score(taken, scores, self.name, hits)
