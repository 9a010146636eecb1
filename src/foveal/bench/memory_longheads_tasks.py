"""bench memory-longheads-tasks: whole models on long texts by LongHeads, beside the models as they are.

passkey     Qwen2.5-Coder-0.5B, trained for 32,768 tokens, on 65,536: five keys in five texts. The model as it is reads
            one of them if that takes less than 20 minutes of the processor, by what shorter texts took; else a row
            says how long it would take
likelihood  Gemma 3 270M along a real book: the tokens that follow 4,096 to 65,536 others, read token by token; as it
            is, by LongHeads, and by the first and last chunks alone
questions   BABILong (one fact, two facts) and Natural Questions, on their whole documents

Each answer is a cell that is written at once: a run that was stopped goes on. A quick run asks less, of shorter texts.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from foveal.attention import LongHeads
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.prefill import prefill
from foveal.bench.code import code_digest, native_digest
from foveal.bench.memory_longheads_heads import KEY_TOKENS, MODEL, answered, passkey
from foveal.bench.settings import BenchSettings
from foveal.evaluation.answers import contains, score
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.longdoc import Question, load, sample
from foveal.evaluation.needle import growth
from foveal.evaluation.tables import Row
from foveal.models.chat import Sampling
from foveal.models.decoding import Decoder, State, tokens
from foveal.models.key_values import KeyValues
from foveal.models.language import LanguageModel, load_language_model
from foveal.reading.prompts import prompt_of
from foveal.reading.tokens import PlainTokens

OTHER = "gemma3-270m"
METHOD = LongHeads(chunk_size=256, attention_length=4096)
LENGTH, PROMPTS = 65_536, 5
LENGTHS, FOLLOWING = (4096, 16_384, 32_768, 65_536), 256
TASKS = {"babilong_8k_qa1": 5, "babilong_8k_qa2": 5, "natural_question": 4}
ANSWER = 24
AFFORDED = 1200.0
"""Processor seconds that the model as it is may take for a text beyond its window."""

ASKING = (
    *(__name__, "foveal.bench.memory_longheads_heads"),  # what is asked, and how it is read
    *(f"foveal.attention.{one}" for one in ("longheads", "memory_decoding", "prefill")),
    *(f"foveal.models.{one}" for one in ("language", "decoding", "lean")),
    *("foveal.reading.prompts", "foveal.reading.tokens"),
    "foveal.evaluation.answers",  # what is right
)
"""Modules that a cell depends on; and what they import of their packages."""

COMPILED = (
    *(f"attention/native/{one}.cpp" for one in ("block_attention", "last_masses", "memory_parts")),
    *(f"models/native/{one}.cpp" for one in ("byte_products", "half_products")),
)
"""Sources that are not Python."""


def longheads_tasks(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench memory-longheads-tasks`."""
    cells = Cells(settings.cache / "memory" / f"longheads-{'quick' if settings.quick else 'full'}.jsonl")
    model = load_language_model(MODEL, dtype="bfloat16")
    yield from passkey_rows(model, cells, settings)
    yield from question_rows(model, cells, settings)
    yield from likelihood_rows(cells, settings)


@dataclass(frozen=True)
class Cell:
    """One measurement: what it is of, a value, what was said, and the processor seconds that it took."""

    key: str
    value: float
    said: str
    seconds: float


class Cells:
    """Those of a file; one that is there is not measured again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = {one.key: one for one in stored_lines(path, Cell, what="cells of LongHeads")}

    def get(self, what: Sequence[object], measure: Callable[[], tuple[float, str]]) -> Cell:
        """The cell of `what`, which names all that it depends on but the code."""
        packages = ("foveal.attention", "foveal.models", "foveal.reading")
        code = " ".join([*(code_digest(*ASKING, within=one) for one in packages), native_digest(*COMPILED)])
        key = hashlib.sha256(f"{what!r} {code}".encode()).hexdigest()[:16]
        if key not in self.known:
            begun = time.process_time()
            value, said = measure()
            self.known[key] = Cell(key, value, said, time.process_time() - begun)
            write_lines(self.path, self.known.values())
        return self.known[key]


# -- passkey -----------------------------------------------------------------------------------------------------------


def passkey_rows(model: LanguageModel, cells: Cells, settings: BenchSettings) -> Iterator[Row]:
    """Keys told after texts that are twice as long as the model's window; seconds over the length."""
    length, count = (6144, 1) if settings.quick else (LENGTH, PROMPTS)
    method = replace(METHOD, attention_length=2048, chunk_size=128) if settings.quick else METHOD

    def told(length: int, depth: float) -> Cell:
        prompt = passkey(model, length, depth, settings.seed)

        def measure() -> tuple[float, str]:
            one = answered(model, prompt, method)
            return float(one.right), one.said

        return cells.get(("passkey", model.fingerprint, method, prompt), measure)

    long = [told(length, (number + 0.5) / count) for number in range(count)]
    note = f"{count} texts; {fmean(one.seconds for one in long):.0f} processor seconds each"
    right = fmean(one.value for one in long)
    yield Row.of(f"LongHeads, Qwen 0.5B, {length:,} tokens", "keys told", right, at_least=1.0, note=note)
    lengths = (2048, 4096, length) if settings.quick else (8192, 16_384, 32_768, length)
    seconds = [*(told(some, 0.5).seconds for some in lengths[:-1]), fmean(one.seconds for one in long)]
    note = f"s: {', '.join(f'{some:,}: {one:.0f}' for some, one in zip(lengths, seconds, strict=True))}"
    yield Row.of("LongHeads, Qwen 0.5B", "exponent of time", growth(lengths, seconds), at_most=1.15, note=note)
    yield from plain_rows(model, cells, settings, length)


def plain_rows(model: LanguageModel, cells: Cells, settings: BenchSettings, length: int) -> Iterator[Row]:
    """The model as it is: on shorter texts within its window, and on a text of `length` if it can be afforded."""

    def told(some: int) -> Cell:
        prompt = passkey(model, some, 0.5, settings.seed)

        def measure() -> tuple[float, str]:
            said = plain_answer(model, [*prompt.text, *prompt.question], KEY_TOKENS)
            return float(contains(said, prompt.answer)), said

        return cells.get(("passkey, as it is", model.fingerprint, prompt), measure)

    short = (length // 8, length // 4)
    within = [told(some) for some in short]
    for some, one in zip(short, within, strict=True):
        note = f"1 text; {one.seconds:.0f} processor seconds"
        yield Row.of(f"model as it is, Qwen 0.5B, {some:,} tokens", "keys told", one.value, note=note)
    seconds = by_square(short, [one.seconds for one in within], length)
    where = f"model as it is, Qwen 0.5B, {length:,} tokens"
    if seconds > AFFORDED:
        note = f"not run: by what {short[0]:,} and {short[1]:,} tokens took; at most {AFFORDED:,.0f} are spent on it"
        yield Row.of(where, "processor seconds that a text would take", seconds, note=note)
        return
    window = int(model.model.config.max_position_embeddings)
    one = told(length)
    note = f"1 text, its window {window:,}; {one.seconds:.0f} processor seconds"
    yield Row.of(where, "keys told", one.value, note=note)


def by_square(lengths: Sequence[int], seconds: Sequence[float], length: int) -> float:
    """Seconds of `length` by those of two other lengths, as a N + b N² with neither below 0."""
    (one, two), (first, second) = lengths, seconds
    square = max(0.0, (second / two - first / one) / (two - one))
    return max(0.0, first / one - square * one) * length + square * length**2


# -- questions ---------------------------------------------------------------------------------------------------------


def question_rows(model: LanguageModel, cells: Cells, settings: BenchSettings) -> Iterator[Row]:
    """Answers from whole documents, by LongHeads and by the model as it is."""
    for name, count in TASKS.items():
        if settings.quick and name != "babilong_8k_qa1":
            continue
        task = sample(load(name, settings.data), 1 if settings.quick else count, settings.seed)
        scores: dict[str, list[float]] = {}
        for system, method in (("LongHeads", METHOD), ("model as it is", None)):
            for question in task.questions:

                def measure(question: Question = question, method: LongHeads | None = method) -> tuple[float, str]:
                    said = document_answer(model, question, method)
                    return score(task.metric, said, question.answers), said  # noqa: B023

                key = ("question", model.fingerprint, method, task.metric, question)  # its document and answers, too
                scores.setdefault(system, []).append(cells.get(key, measure).value)
        dense = fmean(scores["model as it is"])
        for system, values in scores.items():
            note = f"{len(values)} questions"
            yield Row.of(f"{system}, {name}", task.metric, fmean(values), note=note)
        yield Row.of(f"LongHeads less the model as it is, {name}", task.metric, fmean(scores["LongHeads"]) - dense)


@torch.inference_mode()
def document_answer(model: LanguageModel, question: Question, method: LongHeads | None) -> str:
    """The model's answer after the whole document."""
    plain = PlainTokens(model)
    prompt = prompt_of(model, plain)
    ids, asked = [*prompt.head, *plain.encode(question.text)], prompt.tail(question.question)
    if method is None:
        return plain_answer(model, [*ids, *asked], ANSWER)
    asking = MemoryDecoder(model.model, method)
    cache = method.make_cache(model.model)
    prefill(model.model, torch.tensor([ids], device=model.device), cache.layers, method=method)
    return _said(model, asking, asking.reading(cache, asked), ANSWER)


@torch.inference_mode()
def plain_answer(model: LanguageModel, ids: Sequence[int], most: int) -> str:
    """What the model as it is says behind `ids`, in at most so many tokens."""
    decoder = Decoder(model.model)
    state = decoder.new_state()
    state.logits = prefill(model.model, torch.tensor([list(ids)], device=model.device), state.cache.layers)
    state.lengths = [len(ids)]
    return _said(model, decoder, state, most)


def _said(model: LanguageModel, decoder: Decoder, state: State, most: int) -> str:
    said = list(tokens(decoder, state, Sampling(max_tokens=most), stop_ids=model.stop_ids))
    return str(model.tokenizer.decode(said, skip_special_tokens=True)).strip()


# -- likelihood --------------------------------------------------------------------------------------------------------


def likelihood_rows(cells: Cells, settings: BenchSettings) -> Iterator[Row]:
    """Perplexity of what follows, over the tokens before it."""
    from foveal.bench.read import long_text

    model = load_language_model(OTHER, dtype="bfloat16")
    lengths, parts = ((4096, 6144), 2) if settings.quick else (LENGTHS, 4)
    method = replace(METHOD, attention_length=2048, chunk_size=128) if settings.quick else METHOD
    text = model.encode(long_text(settings)[: 6 * (lengths[-1] + parts * FOLLOWING)])
    systems = {
        "LongHeads": method,
        "model as it is": None,
        "first and last chunks": replace(method, representation="none"),
    }
    told: dict[str, list[float]] = {name: [] for name in systems}
    for length in lengths:
        start = lengths[-1] - length  # the same tokens are predicted at every length
        ids = text[start : start + length + parts * FOLLOWING]
        for name, way in systems.items():

            def measure(ids: list[int] = ids, length: int = length, way: LongHeads | None = way) -> tuple[float, str]:
                return following(model, ids, length, way), ""

            nats = cells.get(("likelihood", model.fingerprint, way, length, tuple(ids)), measure).value
            told[name].append(exp(nats))
    yield from flat_rows(told, lengths, f"the {parts * FOLLOWING} tokens that follow", quick=settings.quick)


def flat_rows(told: Mapping[str, Sequence[float]], lengths: Sequence[int], note: str, *, quick: bool) -> Iterator[Row]:
    """Perplexities by length; that of LongHeads stays within some per cent of the first."""
    first = told["LongHeads"][0]
    for name, values in told.items():
        for length, value in zip(lengths, values, strict=True):
            most = first * (1.05 if quick else 1.03) if name == "LongHeads" and length > lengths[0] else None
            yield Row.of(f"{name}, Gemma 270M, behind {length:,} tokens", "perplexity", value, at_most=most, note=note)


@torch.inference_mode()
def following(model: LanguageModel, ids: Sequence[int], length: int, method: LongHeads | None) -> float:
    """Nats a token of ids[length:] behind the first `length`; what follows chooses token by token."""
    layers: Sequence[Any] = [KeyValues() for _ in model.model.model.layers]
    token = None if method is None else replace(method, selection="token")
    if method is not None:
        layers = method.make_cache(model.model).layers
    start = [int(model.tokenizer.bos_token_id)] if model.tokenizer.bos_token_id is not None else []
    logits = prefill(model.model, torch.tensor([[*start, *ids[:length]]]), layers, method=method)
    total = 0.0
    for place in range(length, len(ids)):
        total -= float(logits[0].float().log_softmax(-1)[ids[place]])
        logits = prefill(model.model, torch.tensor([[ids[place]]]), layers, method=token)
    return total / (len(ids) - length)
