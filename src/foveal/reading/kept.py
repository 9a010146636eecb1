"""A text that a model has read once and keeps: asked again and again, it is not read again.

    kept = KeptText.keep(model, text, folder)             # or KeptText(model, text, folder), where it is kept already
    for event in kept.stream("Who keeps the key?"): …     # the last is Done

Unlike InfiniRetri, which shows the model the few sentences that a question looks at, the model here answers from all of
the text at once, by RetrievalAttention over the kept keys and values, or by LongHeads. The sentences that its heads
looked at while it answered are the excerpts by which the answer is checked and cited. For RetrievalAttention the text
must fit what the model was made for; LongHeads reads past it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.attention.profiles import profile_of
from foveal.errors import InputError
from foveal.models.answer_text import AnswerText
from foveal.models.chat import Cancel, Sampling
from foveal.reading.answering import Evidence, checked, confidence
from foveal.reading.answering_settings import AnswerSettings
from foveal.reading.events import AnswerDelta, Done, Event, Reading, ReadStats
from foveal.reading.memory import Excerpt
from foveal.reading.process import peak_bytes
from foveal.reading.prompts import prompt_of
from foveal.reading.sources import Text, questions_of
from foveal.reading.tokens import PlainTokens
from foveal.text.units import sentences

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.attention.memory_layer_files import Memory
    from foveal.attention.memory_store import Kept, Progress
    from foveal.models.language import LanguageModel

ROOM = 512
"""Tokens of the model's context that are left for a question and its answer."""

EXCERPTS = 8
"""Sentences that an answer is checked by: those that were looked at most."""


class KeptText:
    """One text in one folder, read by one model."""

    def __init__(self, model: LanguageModel, text: Text, folder: Path, *, home: Path | None = None) -> None:
        """InputError: nothing is kept there, or it is another text, or of another model."""
        from foveal.attention.memory_store import kept_in

        self.model, self.text, self.folder = model, text, folder
        self.kept: Kept = kept_in(folder)
        if self.kept.note.get("revision") != text.revision:
            raise InputError(f"{text.title} has changed since it was kept. Keep it anew: foveal prefill SOURCE --keep")
        self._home = home
        self._tokens = PlainTokens(model)
        self._prompt = prompt_of(model, self._tokens)

    @classmethod
    def keep(
        cls,
        model: LanguageModel,
        text: Text,
        folder: Path,
        method: Memory | None = None,
        *,
        tokens: int | None = None,
        home: Path | None = None,
        on_progress: Progress | None = None,
    ) -> KeptText:
        """Read the text, or its first `tokens`, and keep it.

        InputError: it has none, or is longer than the model was made for and the method does not reach past that.
        """
        from foveal.attention.memory_store import keep

        plain = PlainTokens(model)
        prompt = prompt_of(model, plain)
        whole = "".join(text.blocks())
        ids = plain.encode(whole)[:tokens]
        if not ids:
            raise InputError(f"{text.title} has no text to keep.")
        most = model.context_tokens - ROOM - len(prompt.head)
        if len(ids) > most and not getattr(method, "reaches", False):
            raise InputError(
                f"{text.title} has {len(ids):,} tokens; {model.name} was made for {model.context_tokens:,}, of which "
                f"{most:,} can be kept. Keep the beginning by --tokens {most}, all of it by --attention longheads, or "
                "read it whole by foveal read."
            )
        note: dict[str, str | int] = {"document_id": text.document_id, "revision": text.revision, "title": text.title}
        note |= {"head": len(prompt.head), "text_tokens": len(ids)}
        keep(model, [*prompt.head, *ids], folder, method, note=note, on_progress=on_progress)
        return cls(model, text, folder, home=home)

    def stream(
        self, question: str, settings: AnswerSettings | None = None, *, cancel: Cancel | None = None
    ) -> Iterator[Event]:
        """Answer from the whole text; the last event is `Done`, with one reading.

        InputError: an empty question, behind the text the model has no positions for it, or it only reasoned; an
        answer ends where they do.
        """
        from foveal.attention.memory_decoding import MemoryDecoder
        from foveal.attention.memory_store import load
        from foveal.models.decoding import tokens

        begun = time.perf_counter()
        settings = settings or AnswerSettings()
        (question,) = questions_of(question)
        asked = self._prompt.tail(question)
        most = self._room(len(asked), settings.max_tokens)
        memory = load(self.folder, self.model)
        decoder = MemoryDecoder(self.model.model, memory.method)
        state = decoder.reading(memory, asked)
        memory.watch(profile_of(self.model, self._home).by_layer)
        words = AnswerText.after(self.model.tokenizer, asked)
        pieces: list[str] = []
        count = 0
        sampling = Sampling(max_tokens=most)
        for token in tokens(decoder, state, sampling, stop_ids=self.model.stop_ids, cancel=cancel):
            count += 1
            if piece := words.add(token):
                pieces.append(piece)
                yield AnswerDelta(piece)
        words.require_answer(self.model.name)
        if rest := words.rest():
            pieces.append(rest)
            yield AnswerDelta(rest)
        spent = time.perf_counter() - begun
        details = {name: value for name, value in memory.statistics()["mean"].items() if name != "steps"}
        stats = ReadStats(1, self.kept.tokens, len(asked) + count, 0, spent, peak_bytes())
        yield Done((self._reading("".join(pieces), question, memory.looked(), settings, stats, details),))

    def _room(self, asked: int, wanted: int) -> int:
        """Tokens that the answer to a question of so many may have, `wanted` at most. InputError: none."""
        if getattr(self.kept.method, "reaches", False):
            return wanted
        left = self.model.context_tokens - self.kept.tokens
        if asked >= left:
            raise InputError(
                f"The question takes {asked:,} tokens; behind {self.text.title} {self.model.name} has room for "
                f"{left - 1:,}. Ask in fewer words, or keep less of the text: foveal prefill SOURCE --keep --tokens N"
            )
        return min(wanted, left - asked)

    def read(self, question: str, settings: AnswerSettings | None = None) -> Reading:
        """The answer. Its excerpts are what was looked at."""
        *_, done = self.stream(question, settings)
        assert isinstance(done, Done)
        return done.readings[0]

    def _reading(
        self,
        answer: str,
        question: str,
        looked: Tensor,
        settings: AnswerSettings,
        stats: ReadStats,
        details: dict[str, float],
    ) -> Reading:
        found = self._excerpts(looked)
        text = self.text
        evidence = [Evidence(text.document_id, one, text.title, text.url, text.revision) for one in found]
        draft = checked(answer, question, evidence, settings)
        score = max((one.score for one in found), default=0.0)
        return Reading(
            draft.text,
            draft.citations,
            confidence(score, draft),
            question=question,
            excerpts=tuple(found),
            stats=stats,
            found=draft.found,
            unsupported=draft.unsupported,
            details=details,
        )

    def _excerpts(self, looked: Tensor) -> list[Excerpt]:
        """The sentences that were paid most, in the order of the text; a score is what was paid, in answer tokens."""
        whole = "".join(self.text.blocks())
        head, count = self.kept.note["head"], self.kept.note["text_tokens"]
        places = self._tokens.offsets(whole)[:count]
        paid = looked[head : head + count].tolist()
        starts = [start for start, _ in places]
        scores: list[tuple[float, int, int]] = []
        place = 0
        for start, end in sentences(whole):
            total = 0.0
            while place < len(starts) and starts[place] < end:
                total += paid[place]
                place += 1
            if total and whole[start:end].strip():
                scores.append((total, start, end))
        best = sorted(sorted(scores, reverse=True)[:EXCERPTS], key=lambda one: one[1])
        return [Excerpt(start, end, whole[start:end], score) for score, start, end in best]


def folder_of(text: Text, fingerprint: str, home: Path, method: str = "retrieval") -> Path:
    """Where a text that the model of this fingerprint reads is kept by a method: a folder for each revision."""
    told = f"{text.document_id} {text.revision} {fingerprint}" + ("" if method == "retrieval" else f" {method}")
    return home / "memory" / hashlib.sha256(told.encode()).hexdigest()[:16]


def revisions_of(document_id: str, fingerprint: str, home: Path, method: str = "retrieval") -> list[Path]:
    """The folders in which revisions of a document are kept, or were begun to be, by that model and this method."""
    from foveal.attention.memory_store import MANIFEST, PLAN

    found = set()
    for path in (*home.glob(f"memory/*/{MANIFEST}"), *home.glob(f"memory/*.partial/{PLAN}")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            whose = told["note"].get("document_id"), told["fingerprint"], told.get("memory", "retrieval")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or gone since it was listed
            continue
        if whose == (document_id, fingerprint, method):
            found.add(path.parent.with_name(path.parent.name.partition(".")[0]))  # .partial, or .forgotten midway
    return sorted(found)
