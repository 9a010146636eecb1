"""bench attention, needles: of those that dense attention finds, what sparse attention does, by length and depth.

grid        one number at ten depths of each length, under FlexPrefill, and under sinks and a window of its density,
            which must be seen to fail in the middle: else the needles are no test; and two numbers of one name, half a
            text apart, both asked for
sentence    the spec's sentence in essays at ten depths, under DHSA over 1,024 keys, with and without its dense tail;
            an answer is found from a ROUGE-1 recall of a half on. Beside it means of blocks, and sinks and a window
decoding    answers over 1,024 keys a step beside those over all
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from statistics import fmean

import torch
from torch import Tensor

from foveal.attention import DHSA, AttentionMethod, BlockTopK, Dense, FlexPrefill, Report, Streaming, attach
from foveal.attention.dhsa_step import Held
from foveal.attention.nearest_attention import Runs
from foveal.bench.attention_cells import measured
from foveal.bench.attention_matched import at_density, looks
from foveal.bench.attention_models import PromptReader, cut, shipped
from foveal.evaluation.grid import Cell, key
from foveal.evaluation.haystack import plant
from foveal.evaluation.needles import FAMILY_NAMES, GIVEN_NAMES, Needle
from foveal.evaluation.rouge import rouge_n
from foveal.evaluation.ruler import Sample, make
from foveal.evaluation.scripts import words
from foveal.evaluation.tables import Row, mean
from foveal.models.key_values import cache_of

DEPTHS = tuple(range(5, 100, 10))
QUICK_DEPTHS = (5, 35, 65, 95)
MIDDLE = (25, 75)
KEPT = 0.95
"""Of the needles that dense attention finds, the share that a method must find."""

DENSE_TO = 2_048
"""Tokens up to which FlexPrefill reads densely: such needles are no test of it, and stand in a row of their own."""

SENTENCE = Needle(
    "sentence",
    ("The best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day.",),
    "What is the best thing to do in San Francisco?",
    "eat a sandwich and sit in Dolores Park on a sunny day.",
)
BEGUN = "The best thing to do in San Francisco is"
FOUND = 0.5


def depths_of(reader: PromptReader) -> tuple[int, ...]:
    """Depths in %."""
    return QUICK_DEPTHS if reader.settings.quick else DEPTHS


def needles(reader: PromptReader, length: int) -> dict[Sample, int]:
    """A needle for each depth, with it."""
    seed = reader.settings.seed + 100
    made = {}
    for number, depth in enumerate(depths_of(reader)):
        [one] = make(
            "niah_single", 1, length, reader.count, haystack=reader.essays, seed=seed + number, depth=float(depth)
        )
        made[one] = depth
    return made


def two_needles(reader: PromptReader, length: int) -> dict[Sample, int]:
    """Two numbers of one name for each depth, that of the first; the other stands half a text further, or before.

    The question says that there are two: asked for "all", dense attention itself tells one, and the rest is no test.
    """
    text, made = _haystack(reader, length - 30), {}  # twice as much is planted
    for number, depth in enumerate(depths_of(reader)):
        draw = random.Random(f"two {reader.settings.seed} {number}")
        name = f"{draw.choice(GIVEN_NAMES)} {draw.choice(FAMILY_NAMES)}"
        numbers = tuple(str(one) for one in draw.sample(range(10**6, 10**7), 2))
        depths = sorted((float(depth), (depth + 50.0) % 100))
        told = Needle("two", tuple(f"One magic number of {name} is {one}." for one in numbers), "", "")
        question = f"What are the two magic numbers of {name}, by the text above?"
        prefix = f"According to the text, the two magic numbers of {name} are"
        context = plant(text, told, depths).text
        tokens = reader.count(f"{context}\n\n{question}\n{prefix}")
        made[Sample("niah_multivalue", context, question, numbers, prefix, length, tokens, number)] = depth
    return made


def grid(reader: PromptReader, lengths: Sequence[int]) -> Iterator[Row]:
    """FlexPrefill's share of dense attention's needles, one by one and two at once."""
    yield from _one_needle(reader, lengths)
    sparse: list[float] = []
    for length in lengths:
        at = two_needles(reader, length)
        cells = measured(reader, {"dense": Dense(), "flexprefill@0.95": FlexPrefill(gamma=0.95)}, list(at))
        dense, mine = (_right(cells, at, name) for name in ("dense", "flexprefill@0.95"))
        kept = [float(mine[sample] == 1) for sample, right in dense.items() if right == 1]
        taken = fmean(cell.density for cell in cells if cell.system == "flexprefill@0.95")
        note = f"{len(kept)} pairs that dense attention finds, of {len(at)}; density {taken:.3f}"
        yield Row.of(f"two needles, {length // 1024}k, flexprefill@0.95", "share of dense's", mean(kept), note=note)
        sparse += kept if length > DENSE_TO else []
    note = f"{len(sparse)} pairs in texts that it does not read densely"
    yield Row.of("two needles, flexprefill@0.95", "share of dense's", mean(sparse), at_least=KEPT, note=note)


def _one_needle(reader: PromptReader, lengths: Sequence[int]) -> Iterator[Row]:
    kept: dict[str, list[tuple[int, int, float]]] = {"flexprefill@0.95": [], "streaming": []}  # length, depth, right
    for length in lengths:
        at = needles(reader, length)
        cells = measured(reader, {"dense": Dense(), "flexprefill@0.95": FlexPrefill(gamma=0.95)}, list(at))
        taken = fmean(cell.density for cell in cells if cell.system == "flexprefill@0.95")
        if length > DENSE_TO:
            seen = looks(reader, reader.model.encode(next(iter(at)).prompt))
            cells += measured(reader, at_density(seen, round(taken, 2), ["streaming"]), list(at))
        found = [sample for sample, right in _right(cells, at, "dense").items() if right]
        for name, places in kept.items():
            right = _right(cells, at, name)
            places += [(length, at[sample], right[sample]) for sample in found if sample in right]
        mine = [right for where, _, right in kept["flexprefill@0.95"] if where == length]
        note = f"{len(mine)} needles that dense attention finds, of {len(at)}; density {taken:.3f}"
        yield Row.of(f"needles, {length // 1024}k, flexprefill@0.95", "share of dense's", mean(mine), note=note)
    yield from _kept_rows(kept)


def _kept_rows(kept: Mapping[str, Sequence[tuple[int, int, float]]]) -> Iterator[Row]:
    sparse = [(depth, right) for length, depth, right in kept["flexprefill@0.95"] if length > DENSE_TO]
    note = f"{len(sparse)} needles in texts that it does not read densely"
    yield Row.of(
        "needles, flexprefill@0.95", "share of dense's", mean([one for _, one in sparse]), at_least=KEPT, note=note
    )
    low, high = MIDDLE
    middle = [right for _, depth, right in kept["streaming"] if low <= depth <= high]
    note = f"{len(middle)} needles at {low} to {high} % of the text, at FlexPrefill's density"
    yield Row.of("needles, sinks and a window", "share of dense's", mean(middle), at_most=0.7, note=note)


def _right(cells: Sequence[Cell], at: Mapping[Sample, int], name: str) -> dict[Sample, float]:
    """Sample -> whether a method answered it, of the methods whose name begins so."""
    by_key = {key(sample): sample for sample in at}
    return {by_key[cell.sample]: cell.correct for cell in cells if cell.system.startswith(name)}


def sentence(reader: PromptReader, lengths: Sequence[int]) -> Iterator[Row]:
    """DHSA's share of the sentences that dense attention tells."""
    methods: dict[str, AttentionMethod] = {
        "dense": Dense(),
        "dhsa@1024": DHSA(budget=1024),
        "dhsa@1024-no-tail": DHSA(budget=1024, dense_tail=0),
        "streaming@1024": Streaming(sinks=128, recent=896),
    }
    told: dict[str, dict[Sample, float]] = {}
    for length in lengths:
        samples = _sentences(reader, length)
        share = f"block-topk@{1024 / length:.3f}"
        cells = measured(reader, methods | {share: BlockTopK(1024 / length)}, samples)
        for name in (*methods, share):
            ours = (recall_of(cell.answer) for cell in cells if cell.system == name)
            told.setdefault("block-topk" if name == share else name, {}).update(zip(samples, ours, strict=True))
    found = [sample for sample, recall in told["dense"].items() if recall >= FOUND]
    where = ", ".join(f"{length // 1024}k" for length in lengths)
    for name, recalls in told.items():
        note = f"{where}: ROUGE-1 recall {mean(list(recalls.values())):.3f}"
        if name == "dense":
            yield Row.of("sentence, dense", "told", len(found) / len(recalls), note=note)
            continue
        mine = [float(recalls[sample] >= FOUND) for sample in found]
        bars: Mapping[str, float] = {"at_least": KEPT} if name == "dhsa@1024" else {}
        if name == "streaming@1024":
            bars = {"at_most": 0.8}
        yield Row.of(f"sentence, {name}", "share of dense's", mean(mine), note=note, **bars)


def recall_of(answer: str) -> float:
    """ROUGE-1 recall of the needle's answer."""
    return rouge_n(words(answer), words(SENTENCE.answer), 1).recall


def _sentences(reader: PromptReader, length: int) -> list[Sample]:
    """The sentence at each depth of essays."""
    text, made = _haystack(reader, length), []
    for number, depth in enumerate(depths_of(reader)):
        context = plant(text, SENTENCE, [float(depth)]).text
        tokens = reader.count(f"{context}\n\n{SENTENCE.question}\n{BEGUN}")
        answers = (SENTENCE.answer,)
        made.append(Sample("niah_single", context, SENTENCE.question, answers, BEGUN, length, tokens, number))
    return made


def _haystack(reader: PromptReader, length: int) -> str:
    """Essays, with room for needles, a question and what is around them."""
    return str(reader.model.tokenizer.decode(reader.tokens(length - 80), skip_special_tokens=True))


@dataclass(frozen=True)
class Counted(DHSA):
    """DHSA that notes what each sparse step of a layer reads for a head, as a share of all keys and values.

    `touched` counts keys and values; `in_all` the float32 vectors of the prompt's chunks, too.
    """

    touched: list[float] = field(default_factory=list)
    in_all: list[float] = field(default_factory=list)

    def step_keys(self, query: Tensor, key: Tensor, held: Held, budget: int) -> tuple[Runs, int]:
        runs, count = super().step_keys(query, key, held, budget)
        vectors = held.vectors.shape[2] * held.vectors.element_size() / key.element_size()
        self.touched.append((runs.listed + count) / (2 * key.shape[2]))
        self.in_all.append((runs.listed + count + vectors) / (2 * key.shape[2]))
        return runs, count


def sparse_decoding(reader: PromptReader, length: int) -> Iterator[Row]:
    """Answers decoded over 1,024 keys beside those decoded over all, behind the same prompt, read by DHSA."""
    same, touched, in_all = [], [], []
    takes = signature(type(reader.model.model).forward).parameters
    cache_name = "cache" if "cache" in takes else "past_key_values"  # up to transformers 5.20
    samples = needles(reader, length)
    for sample in samples:
        ids = reader.model.encode(sample.prompt)
        prompt = reader.read(ids[:-1], DHSA(budget=1024))  # outside of `attach`: it finds the chunks in the keys
        told = []
        for sparse in (False, True):
            method = shipped(Counted(budget=1024, sparse_decode=sparse), reader.model.model.config)
            with torch.inference_mode(), attach(reader.model.model, method, report=Report(rows=0)):
                out = reader.model.model.generate(
                    torch.tensor([ids]),
                    max_new_tokens=12,
                    do_sample=False,
                    pad_token_id=reader.model.stop_ids[0],
                    **{cache_name: cache_of(prompt.layers)},
                )
            told.append(out[0, len(ids) :].tolist())
            touched += method.touched
            in_all += method.in_all
            cut(prompt, len(ids) - 1)
        same.append(told[0] == told[1])
    note = f"{len(same)} needles, greedy, 12 tokens each"
    name = f"DHSA, decoding over 1,024 keys of {length // 1024}k"
    yield Row.of(name, "share of answers that stay the same", fmean(same), at_least=0.9, note=note)
    note = f"{len(touched)} steps of a layer took fewer keys than all"
    yield Row.of(name, "keys and values read / all", mean(touched), at_most=1.05 * 1024 / length, note=note)
    yield Row.of(name, "read / all, the chunks' vectors, too", mean(in_all))
