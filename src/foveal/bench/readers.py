"""What the benches of reading share: the haystack, and other ways to choose what an answer is made from.

    chooser(text, question, budget) -> ranges     which characters of the text are kept, of at most so many tokens
    answer(ranges) -> str                 the same model, the same prompt, whatever chose the ranges

The lexical and dense choosers rank the same sentences that the reader ranks, so that what differs is the choice alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from foveal.attention import attach
from foveal.attention.attach import Context
from foveal.bench.settings import BenchSettings
from foveal.evaluation.haystack import haystack
from foveal.evaluation.kept import Range, first_and_last, first_tokens, last_tokens
from foveal.models.language import LanguageModel, load_language_model
from foveal.reading import InfiniRetri, ReadSettings
from foveal.reading.answering import Evidence, drafted
from foveal.reading.memory import Excerpt, scored, shown_of
from foveal.reading.sentences import Sentence, blocks_of, read_sentences
from foveal.registry import require
from foveal.types import Encoder

MODEL = "qwen2.5-coder-0.5b"


@dataclass
class Bench:
    """The reader under test with its model, and the other choosers at its budget."""

    settings: BenchSettings
    read: ReadSettings = field(default_factory=ReadSettings)
    model_name: str = MODEL
    _sentences: dict[int, list[Sentence]] = field(default_factory=dict)
    _vectors: dict[int, np.ndarray] = field(default_factory=dict)

    @cached_property
    def model(self) -> LanguageModel:
        """The model that reads and answers."""
        return load_language_model(self.model_name)

    @cached_property
    def reader(self) -> InfiniRetri:
        """Ours, at the settings of this bench."""
        return InfiniRetri(self.model, self.read)

    @cached_property
    def encoder(self) -> Encoder:
        """MiniLM."""
        return self.settings.encoder()

    def count(self, text: str) -> int:
        """Tokens of `text`."""
        return len(self.reader.looking.tokens.encode(text))

    def haystack(self, tokens: int) -> str:
        """Essays of `tokens` tokens."""
        return haystack(self.settings.essays(), tokens, self.count)

    def sentences(self, text: str) -> list[Sentence]:
        """The sentences that the reader ranks; those of the last text are kept."""
        if hash(text) not in self._sentences:
            tokens = self.reader.looking.tokens
            self._sentences = {hash(text): list(read_sentences(blocks_of(text), tokens.encode_many, tokens.offsets))}
        return self._sentences[hash(text)]

    # -- choosers ------------------------------------------------------------------------------------------------

    def bm25(self, text: str, question: str, *, budget: int) -> list[Range]:
        """The best sentences by BM25S with stemming."""
        return self._best(text, self.lexical_scores(text, question), budget)

    def minilm(self, text: str, question: str, *, budget: int) -> list[Range]:
        """The best sentences by the cosine of MiniLM's vectors."""
        return self._best(text, self.dense_scores(text, question), budget)

    def both(self, text: str, question: str, *, budget: int) -> list[Range]:
        """The best sentences by the sum of both scores, each brought to 0 … 1."""
        scores = [_unit(self.lexical_scores(text, question)), _unit(self.dense_scores(text, question))]
        return self._best(text, scores[0] + scores[1], budget)

    def first(self, text: str, _: str, *, budget: int) -> list[Range]:
        """The first tokens."""
        return first_tokens(text, budget, self._offsets(text))

    def last(self, text: str, _: str, *, budget: int) -> list[Range]:
        """The last tokens."""
        return last_tokens(text, budget, self._offsets(text))

    def ends(self, text: str, _: str, *, budget: int) -> list[Range]:
        """The first and the last tokens, half each."""
        return first_and_last(text, budget, self._offsets(text))

    def lexical_scores(self, text: str, question: str) -> np.ndarray:
        """BM25S of each sentence; of Chinese, over pairs of characters, since its own words are whole clauses there."""
        bm25s, stemmer = require("bm25s", extra="bench"), require("Stemmer", extra="bench").Stemmer("english")
        texts = [_in_pairs(sentence.text) for sentence in self.sentences(text)]
        quiet = {"stemmer": stemmer, "show_progress": False}
        index = bm25s.BM25()
        index.index(bm25s.tokenize(texts, stopwords="en", **quiet), show_progress=False)
        query = bm25s.tokenize([_in_pairs(question)], stopwords="en", return_ids=False, **quiet)[0]
        scores: np.ndarray = index.get_scores(query) if query else np.zeros(len(texts), dtype=np.float32)
        return scores

    def dense_scores(self, text: str, question: str) -> np.ndarray:
        """The cosine of each sentence."""
        if hash(text) not in self._vectors:
            self._vectors = {hash(text): self.encoder.encode([sentence.text for sentence in self.sentences(text)])}
        scores: np.ndarray = self._vectors[hash(text)] @ self.encoder.encode([question])[0]
        return scores

    def answer(self, text: str, ranges: Sequence[Range], question: str) -> str:
        """The answer of the same model from these characters, asked as the reader asks; citations taken out."""
        evidence = [Evidence("text", Excerpt(a, b, text[a:b], 0.0), "text") for a, b in ranges if text[a:b].strip()]
        told = drafted(self.reader.answerer, question, evidence, self.read.answer)
        return "".join(piece.text for piece in told).strip()

    def _best(self, text: str, scores: np.ndarray, budget: int) -> list[Range]:
        """The best sentences of `budget` tokens, made excerpts of as the reader's are."""
        kept = list(scored(self.sentences(text), scores.tolist(), 0))
        return [(run.start, run.end) for run in shown_of(kept, budget, best_first=self.read.answer.best_first)]

    def _offsets(self, text: str) -> list[Range]:
        return self.reader.looking.tokens.offsets(text)


def _in_pairs(text: str) -> str:
    """The text with each run of ideographs as its pairs of neighbours."""

    def pairs(run: re.Match[str]) -> str:
        found = run.group()
        return " " + " ".join(found[place : place + 2] for place in range(max(1, len(found) - 1))) + " "

    return re.sub(r"[\u3400-\u9fff]+", pairs, text)


def _unit(scores: np.ndarray) -> np.ndarray:
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / max(1e-9, high - low)


@dataclass
class SinkAndRecent:
    """StreamingLLM's attention (Xiao et al., ICLR 2024): each token sees the first few and the last `recent`."""

    sinks: int
    recent: int

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, context: Context
    ) -> torch.Tensor | None:
        """The output over sinks and recent keys, chunk of queries by chunk."""
        length, offset = query.shape[2], key.shape[2] - query.shape[2]
        parts = []
        for start in range(0, length, 512):
            end = min(length, start + 512)
            first = max(self.sinks, offset + start - self.recent + 1)
            keys = [*range(min(self.sinks, offset + end)), *range(first, offset + end)]
            rows = torch.arange(offset + start, offset + end)[:, None]
            places = torch.tensor(keys)
            seen = (places <= rows) & ((places < self.sinks) | (rows - places < self.recent))
            parts.append(
                torch.nn.functional.scaled_dot_product_attention(
                    query[:, :, start:end],
                    key[:, :, keys],
                    value[:, :, keys],
                    attn_mask=seen,
                    scale=context.scale,
                    enable_gqa=True,
                )
            )
        return torch.cat(parts, dim=2)

    def seen(self, rows: torch.Tensor, context: Context) -> torch.Tensor | None:  # noqa: ARG002
        """Nothing is recorded under this method."""
        return None


def streaming_answer(bench: Bench, text: str, question: str, *, recent: int) -> str:
    """What the model says after reading the text with sinks and recent keys only; at most the last 8k tokens of it."""
    tokens = bench.read.answer.max_tokens
    looking = bench.reader.looking
    ids = looking.tokens.encode(text)[-8192:]
    prompt = [*looking.prompt.head, *ids, *looking.prompt.tail(question)]
    model = bench.model.model
    with torch.inference_mode(), attach(model, SinkAndRecent(len(looking.prompt.head) + 4, recent)):
        out = model.generate(
            torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False, pad_token_id=bench.model.stop_ids[0]
        )
    return str(looking.tokens.decode(out[0, len(prompt) :].tolist())).replace("<|im_end|>", "").strip()
