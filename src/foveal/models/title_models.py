"""Models that write the title of a document for a query: any encoder-decoder or causal model of transformers.

Shapes    Q queries -> `begin` -> a state of Q rows and logits (Q, V) of the first token; `advance` takes rows of a
          state, one or more tokens for each (R, T), and gives the new state and the logits behind each token (R, T, V).
          A state is not changed by what goes on from it: many rows may go on from one
Titles    an encoder-decoder writes what its tokenizer makes of a title, its special tokens included; a causal model
          goes on from a prompt, by a space and the title. Both end with `end`, so that "Paris" and "Paris
          Saint-Germain" differ
Source    decoding names: De Cao et al. (GENRE), ICLR 2021; CorpusBrain: Chen et al., CIKM 2022 (BART; here any model)
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.files import whole_file
from foveal.models.characters import has_known_token, scalar
from foveal.models.folders import kept_fingerprint
from foveal.models.quiet import in_a_line, quiet
from foveal.models.title_states import TitleState, in_one_row, on_its_own, padded, rows_of, seen_behind, selected
from foveal.settings import Settings

ABOUT = "corpusbrain.json"
"""File of a model's folder that says how it is asked for titles, and which titles it has learned."""

MOST_TOKENS, FOR_A_NUMBER = 96, 8
"""Tokens of a title, its end included, at most, and how many of them are left for a number behind it. A batch holds a
number for each token of the vocabulary at each place of its longest title, and the places of a model are numbered."""

IGNORED = -100
PROMPT = "Passage: {query}\nTitle:"
SEPARATOR = " | "


class TitleModel(ABC):
    """A model with its tokenizer. `max_query`: tokens of a query that are read; the rest is cut off."""

    kind: str

    def __init__(self, model: Any, tokenizer: Any, *, max_query: int = 384, fingerprint: str = "") -> None:
        """`model` is used as it is: put it in eval mode to search."""
        if max_query < 8:
            raise InputError(f"A model of titles got max_query={max_query}; it needs to read at least 8 tokens.")
        self.model, self.tokenizer = model, tokenizer
        self.max_query, self.fingerprint = max_query, fingerprint
        taken = signature(model.forward).parameters
        self._cache_name = "cache" if "cache" in taken else "past_key_values"
        self._takes_positions = "position_ids" in taken

    # -- tokens -------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def end(self) -> int:
        """The token that ends a title."""

    @abstractmethod
    def _title_tokens(self, titles: Sequence[str]) -> list[list[int]]:
        """The tokens of each title, the end included, whether or not it can be written."""

    def title_ids(self, titles: Sequence[str]) -> list[list[int]]:
        """The tokens of each title, the end included. InputError: one cannot be written (see `writable`)."""
        found = self._title_tokens(titles) if titles else []
        for title, fits in zip(titles, self._can_be_written(titles, found), strict=True):
            if not fits:
                raise InputError(
                    f"The title {title[:80]!r} has no token that could be written, or the one that ends titles inside, "
                    f"or more than {MOST_TOKENS}. Name that document anew, or let retrieval.corpusbrain's told_apart "
                    "leave it out or shorten it."
                )
        return found

    def shortened(self, titles: Sequence[str]) -> list[str]:
        """The titles; of one of too many tokens its beginning, with room for a number behind it."""
        ids = self._title_tokens(titles) if titles else []
        return [self._shortened(title, found) for title, found in zip(titles, ids, strict=True)]

    def _shortened(self, title: str, ids: Sequence[int]) -> str:
        room = MOST_TOKENS - FOR_A_NUMBER
        while len(ids) > room:
            title = title[: len(title) * room // len(ids)].rstrip()
            [ids] = self._title_tokens([title])
        return title

    def writable(self, titles: Sequence[str]) -> list[bool]:
        """Whether each title has a token that says something, `end` where it ends only, and `MOST_TOKENS` at most."""
        return self._can_be_written(titles, self._title_tokens(titles)) if titles else []

    def _can_be_written(self, titles: Sequence[str], ids: Sequence[list[int]]) -> list[bool]:
        special = set(self.tokenizer.all_special_ids) | {self.end}
        return [
            bool(title.strip())
            and bool(set(found) - special)
            and self.end not in found[:-1]
            and len(found) <= MOST_TOKENS
            for title, found in zip(titles, ids, strict=True)
        ]

    @abstractmethod
    def collate(self, queries: Sequence[str], targets: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """What `loss` takes: queries, and the tokens that are to be written for each."""

    @cached_property
    def separator(self) -> list[int]:
        """The tokens between two titles of one answer."""
        ids: list[int] = self.tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"]
        return ids or [self.end]

    def target(self, titles: Sequence[str]) -> list[int]:
        """The tokens of an answer of one or more titles."""
        first, *others = self.title_ids(titles)
        written = first[:-1]
        for one in others:
            written += self.separator + one[:-1]
        return [*written, self.end]

    def knows(self, query: str) -> bool:
        """Whether a token of the query is none of those that stand for anything unknown."""
        return has_known_token(self.tokenizer, query)

    def reads(self, beginning: str) -> bool:
        """Whether a query that begins so is read at least so far; the rest of a longer one is cut off."""
        return len(self.tokenizer(scalar(beginning), verbose=False)["input_ids"]) <= self.max_query

    # -- reading and writing ------------------------------------------------------------------------------------

    @abstractmethod
    def begin(self, queries: Sequence[str]) -> tuple[TitleState, Tensor]:
        """Read the queries: a state of one row each, and logits (Q, V) of the first token."""

    @abstractmethod
    def _asked(self, state: TitleState, rows: Tensor, tokens: Tensor) -> dict[str, Any]:
        """Arguments of the forward pass besides the cache."""

    @torch.no_grad()
    def advance(self, state: TitleState, rows: Tensor, tokens: Tensor) -> tuple[TitleState, Tensor]:
        """Go on from `rows` (R,) of a state with `tokens` (R, T): the state of these R rows, and logits (R, T, V)."""
        cache = selected(state.cache, rows)
        given = {self._cache_name: cache, "use_cache": True, **self._asked(state, rows, tokens)}
        logits: Tensor = self.model(**given).logits
        encoded = None if state.encoded is None else rows_of(state.encoded, rows)
        return TitleState(cache, state.mask[rows], encoded, state.written + tokens.shape[1]), logits

    def loss(self, batch: dict[str, Tensor], *, smoothing: float = 0.1) -> Tensor:
        """Label-smoothed cross entropy of what is to be written, a mean over tokens."""
        labels = batch["labels"].to(self.device)
        given = {name: value.to(self.device) for name, value in batch.items() if name != "labels"}
        asked = labels != IGNORED
        return F.cross_entropy(self._logits(given, labels)[asked].float(), labels[asked], label_smoothing=smoothing)

    @abstractmethod
    def _logits(self, given: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Logits (B, T, V) for labels (B, T)."""

    @property
    def vocabulary(self) -> int:
        """Tokens that each logit row is about."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = next(self.model.parameters()).device
        return device

    # -- files --------------------------------------------------------------------------------------------------

    def save(self, folder: Path, *, learned: Sequence[str] = (), documents: Mapping[str, str] | None = None) -> Path:
        """Write weights, tokenizer, how the model is asked, and the titles that it has learned.

        `documents` says of which document, by id, each was learned, where that is known.
        """
        with quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        about = {
            "kind": self.kind, "max_query": self.max_query, **self._about(), "titles": list(learned),
            "documents": dict(documents or {}),
        }  # fmt: skip
        with whole_file(folder / ABOUT) as partial:
            partial.write_text(json.dumps(about), encoding="utf-8")
        return folder

    def _about(self) -> dict[str, Any]:
        return {}


class Seq2SeqTitles(TitleModel):
    """An encoder-decoder: the encoder reads the query, the decoder writes the title."""

    kind = "seq2seq"

    @property
    def end(self) -> int:
        """The end of a text."""
        return int(self.model.config.eos_token_id)

    @property
    def start(self) -> int:
        """What the decoder is given first; never part of a title."""
        return int(self.model.config.decoder_start_token_id)

    def _title_tokens(self, titles: Sequence[str]) -> list[list[int]]:
        """As the tokenizer makes labels of them."""
        found: list[list[int]] = self.tokenizer(text_target=list(map(scalar, titles)))["input_ids"]
        return [ids if ids[-1:] == [self.end] else [*ids, self.end] for ids in found]

    def collate(self, queries: Sequence[str], targets: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """input_ids, attention_mask (B, P), labels (B, T)."""
        ids, mask = self._read(queries)
        labels = padded(targets, IGNORED)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    @torch.no_grad()
    def begin(self, queries: Sequence[str]) -> tuple[TitleState, Tensor]:
        """The encoder reads, the decoder gets its start token."""
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache

        ids, mask = (part.to(self.device) for part in self._read(queries))
        encoded = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        rows = torch.arange(len(queries), device=self.device)
        start = torch.full((len(queries), 1), self.start, device=self.device)
        state, logits = self.advance(TitleState(cache, mask, encoded), rows, start)
        return state, logits[:, -1]

    def _asked(self, state: TitleState, rows: Tensor, tokens: Tensor) -> dict[str, Any]:
        from transformers.modeling_outputs import BaseModelOutput

        encoded = None if state.encoded is None else rows_of(state.encoded, rows)
        return {
            "encoder_outputs": BaseModelOutput(last_hidden_state=encoded),
            "attention_mask": state.mask[rows],
            "decoder_input_ids": tokens,
        }

    def _logits(self, given: dict[str, Tensor], labels: Tensor) -> Tensor:
        before = labels.new_full((len(labels), 1), self.start)
        shifted = torch.cat([before, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, self.end)], dim=1)
        logits: Tensor = self.model(**given, decoder_input_ids=shifted, use_cache=False).logits
        return logits

    def _read(self, queries: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask (B, P) of the queries, padded on the right; a long one keeps its end token."""
        made = self.tokenizer(list(map(scalar, queries)), truncation=True, max_length=self.max_query)["input_ids"]
        made = [ids or [self.end] for ids in made]
        return padded(made, int(self.tokenizer.pad_token_id or 0)), padded([[1] * len(ids) for ids in made], 0)


class CausalTitles(TitleModel):
    """A decoder alone: it goes on from a prompt that holds the query."""

    kind = "causal"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        prompt: str = PROMPT,
        end: str | None = None,
        max_query: int = 384,
        fingerprint: str = "",
    ) -> None:
        """`end` is a text of one token that ends a title ("\\n" suits an untrained model); None: the end of a text."""
        super().__init__(model, tokenizer, max_query=max_query, fingerprint=fingerprint)
        if prompt.count("{query}") != 1:
            raise InputError(f"The prompt {prompt!r} needs the place {{query}} once.")
        self.prompt, self.ending = prompt, end
        ids = [tokenizer.eos_token_id] if end is None else tokenizer(end, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] is None:
            raise InputError(f"The end {end!r} is {ids} to this tokenizer; it needs to be one token.")
        self._end = int(ids[0])

    @property
    def end(self) -> int:
        """The token that ends a title."""
        return self._end

    def _title_tokens(self, titles: Sequence[str]) -> list[list[int]]:
        """A space, the title, the end."""
        texts = [f" {scalar(title)}" for title in titles]
        found: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [[*ids, self.end] for ids in found]

    def collate(self, queries: Sequence[str], targets: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """input_ids, attention_mask and labels (B, P + T); nothing is asked of the prompt."""
        prompts = self._prompts(queries)
        whole = [prompt + list(target) for prompt, target in zip(prompts, targets, strict=True)]
        labels = [[IGNORED] * len(prompt) + list(target) for prompt, target in zip(prompts, targets, strict=True)]
        mask = padded([[1] * len(ids) for ids in whole], 0)
        return {"input_ids": padded(whole, self.end), "attention_mask": mask, "labels": padded(labels, IGNORED)}

    @torch.no_grad()
    def begin(self, queries: Sequence[str]) -> tuple[TitleState, Tensor]:
        """The prompts are read, padded on the left."""
        from transformers.cache_utils import DynamicCache

        prompts = self._prompts(queries)
        ids, mask = (padded(part, fill, left=True).to(self.device) for part, fill in (
            (prompts, self.end), ([[1] * len(ids) for ids in prompts], 0)))  # fmt: skip
        cache = DynamicCache(config=self.model.config)
        given = {self._cache_name: cache, "use_cache": True, "attention_mask": mask, "input_ids": ids}
        if self._takes_positions:
            given["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        if "logits_to_keep" in signature(self.model.forward).parameters:
            given["logits_to_keep"] = 1
        logits: Tensor = self.model(**given).logits[:, -1]
        alone = len(queries) == 1 and in_one_row(self.model.config)
        return TitleState(cache, mask, seen=mask.new_zeros((1, 0), dtype=torch.bool) if alone else None), logits

    @torch.no_grad()
    def advance(self, state: TitleState, rows: Tensor, tokens: Tensor) -> tuple[TitleState, Tensor]:
        """As `TitleModel.advance`. Of one query nothing is copied: all rows stand behind it, each for itself."""
        if state.seen is None:
            return super().advance(state, rows, tokens)
        count, each = tokens.shape
        above = torch.arange(-1, count * each - 1)
        above[::each] = -1
        grown, logits = self.grow(state, rows.repeat_interleave(each), tokens.flatten(), above.tolist())
        last = len(state.seen) + each * torch.arange(1, count + 1, device=tokens.device) - 1
        return replace(grown, seen=grown.together[last]), logits.view(count, each, -1)

    @torch.no_grad()
    def grow(self, state: TitleState, rows: Tensor, tokens: Tensor, above: Sequence[int]) -> tuple[TitleState, Tensor]:
        """A tree of tokens in one pass, where all rows of a state stand in one (`state.seen`): `tokens` (C,), each
        behind a row (`rows`, C), or, where `above` (C) is not -1, behind the token of that number here, an earlier one.

        The new state has the old rows, and behind them one for each token; logits are (C, V). InputError: `state.seen`
        is not given.
        """
        seen = seen_behind(state.together, rows, above)
        read, dtype = state.mask.shape[1], self.model.dtype
        hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
        cache = on_its_own(state.cache)
        logits: Tensor = self.model(
            **{self._cache_name: cache}, use_cache=True, input_ids=tokens[None],
            attention_mask=F.pad(hidden, (read, 0))[None, None], position_ids=(read + seen.sum(1) - 1)[None],
        ).logits  # fmt: skip
        held = torch.cat([F.pad(state.together, (0, len(tokens))), seen])
        return replace(state, cache=cache, seen=held), logits[0]

    def _asked(self, state: TitleState, rows: Tensor, tokens: Tensor) -> dict[str, Any]:
        mask = state.mask[rows]
        written = state.written + tokens.shape[1]
        asked = {"input_ids": tokens, "attention_mask": torch.cat([mask, mask.new_ones(len(mask), written)], dim=1)}
        if self._takes_positions:
            steps = torch.arange(state.written, written, device=tokens.device)
            asked["position_ids"] = mask.sum(-1, keepdim=True) + steps
        return asked

    def _logits(self, given: dict[str, Tensor], labels: Tensor) -> Tensor:  # noqa: ARG002
        logits: Tensor = self.model(**given, use_cache=False).logits
        return torch.cat([logits[:, :1], logits[:, :-1]], dim=1)  # the one before a token foretells it

    def _prompts(self, queries: Sequence[str]) -> list[list[int]]:
        """The tokens of each prompt; a query is cut at its end, so that the prompt stays whole."""
        before, after = self.prompt.split("{query}")
        tokens = self.tokenizer
        opening = [] if tokens.bos_token_id is None or tokens("a")["input_ids"][0] != tokens.bos_token_id else [
            tokens.bos_token_id]  # fmt: skip
        head, tail = (tokens(text, add_special_tokens=False)["input_ids"] for text in (before, after))
        read = tokens(list(map(scalar, queries)), add_special_tokens=False)["input_ids"]
        return [[*opening, *head, *ids[: self.max_query], *tail] for ids in read]

    def _about(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "end": self.ending}


def load_title_model(
    folder: Path, *, cache: Path | None = None, dtype: str | None = None, **options: Any
) -> TitleModel:
    """The model in a folder, in eval mode: one that was trained here, or any encoder-decoder or causal model.

    `options` are those of the model's class. ModelUnavailable: the folder holds none.
    """
    import transformers

    about = learned_about(folder)
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            _require_writer(folder, config)
            name = "AutoModelForSeq2SeqLM" if config.is_encoder_decoder else "AutoModelForCausalLM"
            given = {"dtype": getattr(torch, dtype or "float32"), "local_files_only": True}
            model = getattr(transformers, name).from_pretrained(folder, use_safetensors=True, **given).eval()
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelUnavailable(
            f"{folder} could not be loaded as a model that writes titles ({in_a_line(error)}). Name the "
            "folder of an encoder-decoder or a causal model, or train one: foveal train corpusbrain."
        ) from error
    kept = {key: value for key, value in about.items() if key not in ("kind", "titles", "documents")}
    made = Seq2SeqTitles if config.is_encoder_decoder else CausalTitles
    found = kept_fingerprint(folder, cache or Settings.load().cache)
    return made(model, tokenizer, fingerprint=found, **{**kept, **options})


def _require_writer(folder: Path, config: Any) -> None:
    """ModelUnavailable: an encoder, which transformers would give a head of random weights in silence."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    decoder = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    if not decoder and config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise ModelUnavailable(
            f"{folder} holds an encoder, which reads and cannot write titles. Name an encoder-decoder or a causal "
            "model, or let a decoder learn over an encoder of the BERT family: foveal train corpusbrain --base minilm."
        )


def learned_about(folder: Path) -> dict[str, Any]:
    """What `TitleModel.save` wrote beside the weights; empty where a model was not trained here."""
    path = folder / ABOUT
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelUnavailable(f"{path} is damaged ({error}). Train the model anew, or put the file back.") from error
    return found
