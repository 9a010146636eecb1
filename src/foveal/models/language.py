"""Language models by name: an offline one, a folder, a .gguf file, or a hub id.

    model = load_language_model("qwen2.5-coder-0.5b")
    ids = model.encode(model.render([{"role": "user", "content": "Where is sight sharpest?"}]))

A GGUF file is converted once, into the cache, and mapped into memory from then on. A model without a chat template (a
base model) completes the messages' contents, joined by blank lines.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError, ModelUnavailable
from foveal.models.characters import scalar
from foveal.models.chat import Messages, checked
from foveal.models.chat_templates import TooMuch, rendered
from foveal.models.dtypes import dtype_name
from foveal.models.folders import Progress, kept_fingerprint, made_once, written_at
from foveal.models.gguf import VERSION, convert
from foveal.models.gguf_file import is_gguf
from foveal.models.hub import folder_of
from foveal.models.quiet import in_a_line, quiet
from foveal.models.room import left
from foveal.settings import Settings, existing

if TYPE_CHECKING:
    import torch

DEFAULT = "qwen2.5-coder-0.5b"
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
DTYPES = tuple(BYTES)
TURN_ENDS = (
    "<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>",
    "<|return|>", "<｜end▁of▁sentence｜>", "</s>",
)  # fmt: skip
"""Tokens that end a turn in the templates of today's models; those that a tokenizer holds as control tokens count."""

_TURNS = re.compile(
    r"<\|[A-Za-z][\w ]{0,38}\|>|<｜[^<>｜\n]{1,40}｜>|<(?:start|end)_of_turn>|<(?:bos|eos)>|</?s>|<</?SYS>>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)
"""What today's models part turns by, where a tokenizer is not known to tell."""

_loading = Lock()


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A decoder of transformers, ready to answer, with its tokenizer. Two are equal only if they are one."""

    name: str
    folder: Path
    model: Any  # transformers.PreTrainedModel, in eval mode
    tokenizer: Any  # transformers.PreTrainedTokenizerFast
    cache: Path | None = None  # where the fingerprint is kept; default: the settings' cache
    elsewhere: Any = None  # what scores windows for a model whose weights are not here (`described_model`)

    @property
    def context_tokens(self) -> int:
        """Tokens that the model was made for, prompt and answer together. InputError: it does not say."""
        told = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if not told:
            raise InputError(
                f"{self.name} does not say for how many tokens it was made (max_position_embeddings in its "
                "config.json), as models without attention do not. Choose a decoder such as Llama, Qwen or Gemma."
            )
        return int(told)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights, configuration and tokenizer; computed once for a folder."""
        return kept_fingerprint(self.folder, self.cache or Settings.load().cache)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end an answer, in order."""
        stated = self.model.generation_config.eos_token_id
        ids = {*(stated if isinstance(stated, list) else [stated]), self.tokenizer.eos_token_id}
        ids |= {token_id for token, token_id in self._control.items() if token in TURN_ENDS}
        return tuple(sorted(token_id for token_id in ids if token_id is not None))

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`; control tokens written in it are kept, none is added."""
        ids: list[int] = self.tokenizer.backend_tokenizer.encode(scalar(text), add_special_tokens=False).ids
        return ids

    def render(self, messages: Messages, *, add_generation_prompt: bool = True) -> str:
        """The messages as the one text that the model was trained to answer; `encode` it.

        Control tokens within a message are broken by a space, so that no document can end its turn and begin another.
        Where the template lets reasoning be turned off (Qwen 3), it is: no answer shows it, and it takes its tokens.
        """
        turns = [turn | {"content": self._plain(turn["content"])} for turn in checked(messages)]
        if self.tokenizer.chat_template is None:
            return self._start + completion_prompt(turns)
        return self._templated(turns, add_generation_prompt)

    def _templated(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        try:
            text = rendered(self.tokenizer, turns, add_generation_prompt=add_generation_prompt)
        except TooMuch as error:
            raise InputError(
                f"The chat template of {self.name} was stopped: {error}. Take the model from whoever made it, or give "
                "its tokenizer another template."
            ) from error
        except Exception as error:  # a template is a program of the model's: it may stop in any way
            if turns[0]["role"] == "system" and len(turns) > 1:  # a template that knows no system: it opens the talk
                joined = {"role": turns[1]["role"], "content": completion_prompt(turns[:2])}
                return self._templated([joined, *turns[2:]], add_generation_prompt)
            raise InputError(
                f"The chat template of {self.name} refuses these messages ({error}); most want user and assistant in "
                "turn, beginning with the user."
            ) from error
        return text

    def _plain(self, content: str) -> str:
        return self._control_pattern.sub(_broken, content)

    @cached_property
    def _control(self) -> dict[str, int]:
        added = self.tokenizer.added_tokens_decoder.items()
        return {token.content: token_id for token_id, token in added if token.special}

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        longest_first = sorted((token for token in self._control if len(token) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    @cached_property
    def _start(self) -> str:
        """The token that the tokenizer puts before each text, if it does: without it Gemma answers nonsense."""
        bos = self.tokenizer.bos_token_id
        begins = bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]
        return str(self.tokenizer.bos_token) if begins else ""


def completion_prompt(messages: Sequence[dict[str, str]]) -> str:
    """The messages for a model that only continues texts: their contents, joined by blank lines."""
    return "\n\n".join(message["content"] for message in messages)


def turns_broken(text: str) -> str:
    """A text for a model whose tokenizer is not known, where what may end a turn is broken by a space.

    Many servers read "<|im_end|>" in a message as the end of it: a document could then speak for the user.
    """
    return _TURNS.sub(_broken, text)


def _broken(found: re.Match[str]) -> str:
    return found[0][0] + " " + found[0][1:]


def load_language_model(
    name: str | Path = DEFAULT,
    *,
    dtype: str | torch.dtype | None = None,
    cache: Path | None = None,
    on_progress: Progress | None = None,
) -> LanguageModel:
    """The model called `name`: one of `foveal models`, a folder, a .gguf file, or a hub id.

    `dtype` is one of `DTYPES` (default: bfloat16 where the processor has it natively, else float32). Loaded once a
    process, on the GPU if there is one. `on_progress(done, total)` is told of the conversion at the first call ever.
    UnknownName: no such name, file or id. ModelUnavailable: it cannot be read or fetched. InputError: another dtype.
    """
    name, dtype = str(name), dtype_name(dtype, DTYPES, kind="a language model")
    cache = cache or Settings.load().cache
    folder = _folder(name, cache, on_progress)
    written = written_at(folder)
    with _loading:
        return _loaded(name, folder, dtype, cache, written)


def fingerprint_of(name: str | Path, *, cache: Path | None = None, on_progress: Progress | None = None) -> str:
    """What the model called `name` is known by (`LanguageModel.fingerprint`), without loading it. Errors as above."""
    cache = cache or Settings.load().cache
    return kept_fingerprint(_folder(str(name), cache, on_progress), cache)


def _folder(name: str, cache: Path, on_progress: Progress | None) -> Path:
    path = existing(name)
    if path is not None and path.is_file() and is_gguf(path):
        return _converted(path.resolve(), cache, on_progress)
    return folder_of(name, cache, kind="language model", on_progress=on_progress)


@dataclass(frozen=True)
class Described:
    """What is known of a model of transformers without its weights."""

    config: Any
    generation_config: Any
    device: torch.device
    dtype: torch.dtype


def described_model(name: str, elsewhere: Any, *, cache: Path | None = None) -> LanguageModel:
    """The model called `name` without its weights: its tokens, prompts and sizes, for work that is done `elsewhere`.

    `elsewhere(looking, windows, questions, content_free)` gives what `Looking.scores` does.
    """
    import torch
    from transformers import AutoConfig, GenerationConfig

    cache = cache or Settings.load().cache
    folder = _folder(name, cache, None)
    with _loading, quiet():
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        generation = GenerationConfig.from_model_config(config)
        model = Described(config, generation, torch.device("cpu"), torch.bfloat16)
        return LanguageModel(name, folder, model, _tokenizer(folder), cache, elsewhere)


def _converted(file: Path, cache: Path, on_progress: Progress | None) -> Path:
    """The folder of a .gguf file, known by place, size, time and the reader's version: hashing a large file takes
    longer than loading. What was made of it before goes when it is made anew; the file itself stays: it is not ours.
    """
    stat, models = file.stat(), cache / "models"
    state = f"{stat.st_size} {stat.st_mtime_ns}"
    named = f"{file.stem[:50]}-{_key(file)}"  # a folder's name has room for 255 bytes
    place = models / f"{named}-{_key(file, state, str(VERSION))}-bf16"

    def make(folder: Path) -> None:
        unversioned = models / f"{file.stem}-{_key(file, state)}-bf16"
        for older in {unversioned, *models.glob(f"{glob.escape(named)}-*-bf16")} - {place}:
            shutil.rmtree(older, ignore_errors=True)
        convert(file, folder, on_progress=on_progress)

    return made_once(place, make, name=file.name, megabytes=4 * stat.st_size // 2**20 + 50)


def _key(file: Path, *more: str) -> str:
    return hashlib.sha256(os.fsencode(" ".join((str(file), *more)))).hexdigest()[:12]


@lru_cache(maxsize=2)
def _loaded(name: str, folder: Path, dtype: str | None, cache: Path, written: int) -> LanguageModel:  # noqa: ARG001
    """`written`: when its files were; a model that is trained anew in its place is loaded anew."""
    from safetensors import SafetensorError

    if not (folder / "config.json").is_file():
        raise ModelUnavailable(f"{folder} holds no model: there is no config.json in it. Name a model's own folder.")
    try:
        with quiet():
            return LanguageModel(name, folder, _weights(folder, dtype), _tokenizer(folder), cache)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelUnavailable(
            f"{folder} could not be loaded as a language model ({in_a_line(error)}). Fetch or unpack it "
            "anew; a model needs config.json, tokenizer.json and safetensors."
        ) from error


def _weights(folder: Path, dtype: str | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from foveal.models.dtypes import native_bfloat16

    gpu = torch.cuda.is_available()
    chosen = dtype or ("bfloat16" if gpu or native_bfloat16() else "float32")
    if not gpu:
        _require_room(folder, chosen)
    found: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, chosen), local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    model, loaded = found
    if loaded["missing_keys"]:
        missing = sorted(loaded["missing_keys"])
        raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}")
    return model.to("cuda" if gpu else "cpu").eval()


def _require_room(folder: Path, dtype: str) -> None:
    """ModelUnavailable: its weights, which are made anew in another type, do not fit into memory; else it maps them."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = config.get("dtype") or config.get("torch_dtype") or "float32"
    if dtype == kept or BYTES.get(kept) is None:
        return
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) * BYTES[dtype] // BYTES[kept]
    if (free := left()) is not None and size > free:
        raise ModelUnavailable(
            f"{folder.name} takes {size / 1e9:.1f} GB of memory here, and {free / 1e9:.1f} GB are free. Let a server's "
            "model answer (docs/models.md), name a smaller one, or run this where there is more memory."
        )


def _tokenizer(folder: Path) -> Any:
    """The tokenizer as tokenizer.json has it, which is read once; other forms go through their own class."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if (folder / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if backend := getattr(tokenizer, "backend_tokenizer", None):  # a training may have left its lengths in the file
        backend.no_truncation()
        backend.no_padding()
    return tokenizer
