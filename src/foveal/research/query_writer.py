"""Writes the next query of many searches at once, or says that one has enough, by a model of this machine.

    writer = QueryWriter(model)                                   # as it is, or with what it learnt: learned=…
    writer.write([transcript, …])                                 # [Written("Petra Lindqvist teacher"), …]
    writer.write([transcript, …], names=[("Petra Lindqvist", "Vasa"), …])     # each begins with one of its names

Grammar  a line is `Search` and a query of one line, or `Done`; nothing else can be written, so that a model that was
         never taught is compared by what it asks, not by whether it keeps to the form
Names    which of them a query begins with, the model decides; what it then asks of it, it writes freely
Again    the likeliest line of a small model is often the query before it: then that one's words are barred, and another
         line is written, which can only ask of what was found
Batch    rows are decoded together, whatever their lengths; drawn ones have each a seed of its own
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from foveal.models.chat import Cancel, Sampling
from foveal.models.decoding import Decoder, drawn
from foveal.models.language import LanguageModel
from foveal.research.graph import same_question
from foveal.research.transcripts import Format, Transcript, TranscriptSettings

ROWS = 16
"""Transcripts decoded together."""


@dataclass(frozen=True)
class Written:
    """A query, or none where enough was found; `ids` are the line's tokens as they were written."""

    query: str | None
    ids: tuple[int, ...]
    name: str | None = None  # that it begins with, of those given


class QueryWriter:
    """Writes queries; threads take turns."""

    def __init__(
        self,
        model: LanguageModel,
        learned: Any = None,
        settings: TranscriptSettings | None = None,
        *,
        example: Transcript | None = None,
        only: Sequence[int] | None = None,
    ) -> None:
        """`learned` is the model with what it learnt (default: as it is); `example` is shown before each transcript;
        `only`: tokens that queries are made of (default: all that break no line).
        """
        self.model = model
        self.form = Format(model, settings)
        self.example, self.only = example, only
        self.decoder = Decoder(learned if learned is not None else model.model)

    def write(
        self,
        transcripts: Sequence[Transcript],
        *,
        must_search: bool = False,
        temperature: float = 0.0,
        seeds: Sequence[int] | None = None,
        names: Sequence[Sequence[str]] | None = None,
        cancel: Cancel | None = None,
    ) -> list[Written]:
        """The next line of each; `must_search`: a query in any case. At a temperature each row draws by its seed.
        `names`: those that the query of each begins with one of; of none it is free."""
        seeds = seeds or [0] * len(transcripts)
        lines = [
            Line(self.form, self._barred, seed, temperature, must_search=must_search, names=given)
            for seed, given in zip(seeds, names or [()] * len(seeds), strict=True)
        ]
        self._in_parts(transcripts, lines, cancel)
        made = [one.written() for one in lines]
        stuck = [at for at, one in enumerate(transcripts) if repeats(one, made[at]) and not temperature]
        anew = [Line(self.form, self._anew(transcripts[at]), 0, 0.0, must_search=must_search) for at in stuck]
        self._in_parts([transcripts[at] for at in stuck], anew, cancel)
        for at, one in zip(stuck, anew, strict=True):
            made[at] = one.written()
        return made

    def _in_parts(self, transcripts: Sequence[Transcript], lines: Sequence[Line], cancel: Cancel | None) -> None:
        for first in range(0, len(transcripts), ROWS):
            self._decode(transcripts[first : first + ROWS], lines[first : first + ROWS], cancel)

    def _anew(self, transcript: Transcript) -> Tensor:
        """What no query may hold, with the words of those before it: left is what was found, or not asked yet."""
        barred = self._barred.clone()
        for one in transcript.searched:
            ids = (one.ids or self.form.query(one.query))[len(self.form.search) : -1]
            barred[torch.tensor(ids)] = True
        return barred

    def _decode(self, transcripts: Sequence[Transcript], lines: Sequence[Line], cancel: Cancel | None) -> None:
        prompts = [self.form.prompt(one, self.example) for one in transcripts]
        state = self.decoder.batch(prompts, cancel=cancel)
        while True:
            if cancel:
                cancel.check()
            logits = state.logits.cpu()
            ids = [one.next(logits[number]) for number, one in enumerate(lines)]
            if all(one.over for one in lines):
                return
            self.decoder.step(state, [[one] for one in ids])

    @cached_property
    def _barred(self) -> Tensor:
        """Tokens (vocabulary,) that no query may hold: what breaks a line or steers a model; the end is among them."""
        size = self.model.model.get_output_embeddings().out_features
        barred = torch.zeros(size, dtype=torch.bool)
        if self.only is not None:
            barred[:] = True
            barred[torch.tensor(self.only)] = False
        control = {token_id for token_id, one in self.model.tokenizer.added_tokens_decoder.items() if one.special}
        breaks = {at for token, at in self.model.tokenizer.get_vocab().items() if "\n" in token or "Ċ" in token}
        for token_id in control | breaks | set(self.model.stop_ids):
            if token_id < size:
                barred[token_id] = True
        return barred


def repeats(transcript: Transcript, written: Written) -> bool:
    """Whether a query was asked before."""
    return any(written.query is not None and same_question(written.query, one.query) for one in transcript.searched)


class Line:
    """One line as it is written, token by token."""

    def __init__(
        self,
        form: Format,
        barred: Tensor,
        seed: int,
        temperature: float,
        *,
        must_search: bool = False,
        names: Sequence[str] = (),
    ) -> None:
        """`barred` tokens (vocabulary,) come in no query, but in the `names` that it begins with one of."""
        self.form, self.barred, self.must_search = form, barred, must_search
        self.sampling = Sampling(temperature=temperature)
        self.generator = torch.Generator().manual_seed(seed)
        self.names = {ids: name for name in names if (ids := form.name(name))}
        self.ids: list[int] = []
        self.searches: bool | None = None
        self.over = False

    def next(self, logits: Tensor) -> int:
        """The token that follows, by the logits (vocabulary,), on the processor; 0 behind the end."""
        if self.over:
            return 0
        token = self._forced() if self._forced() is not None else self._chosen(logits)
        assert token is not None
        if not self.ids:
            self.searches = token == self.form.search[0]
        self.ids.append(token)
        self.over = token == self.form.end[0]
        return token

    def _forced(self) -> int | None:
        """What must come now, if there is no choice."""
        place, form = len(self.ids), self.form
        if self.searches is None:
            return form.search[0] if self.must_search else None
        word = form.search if self.searches else form.done
        if place < len(word):
            return word[place]
        full = place >= len(word) + form.settings.query_tokens
        return form.end[0] if full or not self.searches else None

    def _chosen(self, logits: Tensor) -> int:
        if self.searches is None:
            begins = torch.tensor([self.form.search[0], self.form.done[0]])
            return int(begins[drawn(logits[begins], self.sampling, self.generator)])
        begun = self.ids[len(self.form.search) :]
        if going := self._names_going_on(begun):
            return going[drawn(logits[torch.tensor(going)], self.sampling, self.generator)]
        allowed = logits.masked_fill(self.barred, -torch.inf)
        if len(self.ids) > len(self.form.search):  # a query has a token at least
            allowed[self.form.end[0]] = logits[self.form.end[0]]
        return drawn(allowed, self.sampling, self.generator)

    def _names_going_on(self, begun: Sequence[int]) -> list[int]:
        """The tokens that lead on to a name; none where one is whole, or none was given."""
        if not self.names or tuple(begun) in self.names:
            return []
        place = len(begun)
        return sorted({ids[place] for ids in self.names if len(ids) > place and ids[:place] == tuple(begun)})

    def written(self) -> Written:
        """The line; a query of blanks alone is none."""
        body = self.ids[len(self.form.search) : -1] if self.searches else []
        text = self.form.model.tokenizer.decode(body, skip_special_tokens=True).strip()
        begins = [ids for ids in self.names if tuple(body[: len(ids)]) == ids]
        name = self.names[max(begins, key=len)] if begins else None
        return Written(text or None, tuple(self.ids), name)
