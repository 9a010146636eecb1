"""bench heads, masking: what breaks without the strongest retrieval heads, and what does not.

needles      codes of five digits in essays: the strongest heads masked, as many others (several draws), all passes or
             decoding only, zero or uniform
perplexity   ordinary text (WikiText-2) under the same masks: a model that has lost facts must not have lost language
reasoning    invented sums: of two steps, which are written out (the numbers must be copied from the question), and of
             one step, at once, which the model can do: of what it cannot do, nothing can be lost. Beside them the mean
             of three draws of other heads: one draw of forty sums is known to eight points

Not run here: MMLU, GSM8K and MuSiQue, which are not in the data; sums of our own stand for them.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import torch

from foveal.attention.head_ablation import Ablated, AblationSettings, ablate
from foveal.attention.head_masking import MaskHeads
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.prefill import prefill
from foveal.attention.retrieval_heads import HeadScores, head_scores, random_heads
from foveal.bench.attention_models import GEMMA, QWEN
from foveal.bench.heads_data import essays
from foveal.bench.read import texts_of
from foveal.bench.settings import BenchSettings
from foveal.evaluation.likelihood import perplexity
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row
from foveal.models.chat import Sampling
from foveal.models.decoding import tokens
from foveal.models.key_values import KeyValues
from foveal.models.language import LanguageModel, load_language_model

MASKED, MORE = 10, 17
"""3 % and 5 % of the heads of the default model."""
PIECE = 512
GIVEN = 0.001
"""What must be given with nothing masked: of nothing, nothing can be lost."""


def masking(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench heads-masking`."""
    model = load_language_model(QWEN)
    scores = head_scores(model)
    yield from needle_rows(settings, model, scores)
    yield from other_rows(settings, load_language_model(GEMMA))
    model = load_language_model(QWEN)
    yield from perplexity_rows(settings, model, scores)
    yield from reasoning_rows(settings, model, scores)


def needle_rows(settings: BenchSettings, model: LanguageModel, scores: HeadScores) -> Iterator[Row]:
    """Codes that are still given."""
    quick = settings.quick
    counts = (MASKED, MORE) if quick else (5, MASKED, MORE, 34)
    asked = AblationSettings(counts=counts, needles=12 if quick else 60, draws=2 if quick else 5, seed=settings.seed)
    found = ablate(model, scores, asked, texts=essays(settings))
    plain = found[0].right
    where = f"{asked.needles} codes, {asked.length:,} tokens"
    yield Row.of(f"nothing masked, {where}", "right", plain, at_least=GIVEN)
    curve: dict[str, list[float]] = {"retrieval heads": [plain], "others, mean of draws": [plain]}
    for count in counts:
        mine = next(one for one in found if one.name == f"{count} strongest")
        others = [one.right for one in found if one.name.startswith(f"{count} others")]
        curve["retrieval heads"].append(mine.right)
        curve["others, mean of draws"].append(fmean(others))
        yield from _needle_bars(count, plain, mine, others)
    if not quick:
        title = "Codes given with heads masked"
        path = settings.cache / "pictures" / "heads-masking.png"
        lines([0, *counts], curve, path, title=title, x_label="heads masked", y_label="share of codes given")
    yield from _variants(settings, model, scores, asked)


def _needle_bars(count: int, plain: float, mine: Ablated, others: Sequence[float]) -> Iterator[Row]:
    main = count in (MASKED, MORE)
    share = f"{mine.nats:.2f} nats a token"
    most = 0.5 * plain if main else None
    yield Row.of(f"{count} strongest masked", "right", mine.right, at_most=most, note=share)
    if main:
        least = 50 if count == MORE else None
        yield Row.of(f"{count} strongest masked", "points lost", 100 * (plain - mine.right), at_least=least)
    spread = f"draws: {', '.join(f'{one:.2f}' for one in others)}"
    bar = {"at_least": 0.9 * plain} if main else {}
    yield Row.of(f"{count} others masked", "right", fmean(others), note=spread, **bar)
    if main:
        yield Row.of(f"{count} others masked", "points lost", 100 * (plain - fmean(others)), at_most=5)


def _variants(
    settings: BenchSettings, model: LanguageModel, scores: HeadScores, asked: AblationSettings
) -> Iterator[Row]:
    """The paper's code masks evenly, in decoding only."""
    others = () if settings.quick else (("uniform", "all"), ("zero", "decode"))
    for mode, phase in (("uniform", "decode"), *others):
        one = AblationSettings(
            counts=(MASKED,), needles=asked.needles, draws=1, mode=mode, phase=phase, seed=settings.seed
        )
        found = ablate(model, scores, one, texts=essays(settings))
        yield Row.of(
            f"{MASKED} strongest masked, {mode}, {phase}", "right", found[1].right, note=f"{found[1].nats:.2f} nats"
        )
        yield Row.of(f"{MASKED} others masked, {mode}, {phase}", "right", found[2].right)


def other_rows(settings: BenchSettings, model: LanguageModel) -> Iterator[Row]:
    """The other model: 3 of its 72 heads."""
    scores = head_scores(model)
    asked = AblationSettings(counts=(3,), needles=6 if settings.quick else 30, draws=2, seed=settings.seed)
    found = ablate(model, scores, asked, texts=essays(settings))
    plain, mine, others = found[0].right, found[1].right, fmean(one.right for one in found[2:])
    yield Row.of(f"{model.name}, nothing masked", "right", plain, at_least=GIVEN, note=f"{asked.needles} codes")
    yield Row.of(f"{model.name}, 3 strongest masked", "right", mine, at_most=0.5 * plain)
    yield Row.of(f"{model.name}, 3 others masked", "right", others, at_least=0.9 * plain)


# -- perplexity --------------------------------------------------------------------------------------------------------


def perplexity_rows(settings: BenchSettings, model: LanguageModel, scores: HeadScores) -> Iterator[Row]:
    """Ordinary text."""
    (path,) = texts_of(settings, ("wikitext2_valid.txt",))
    with path.open("rb") if path.is_file() else gzip.open(f"{path}.gz") as file:
        text = file.read(400_000).decode("utf-8", "ignore")
    count = 4 if settings.quick else 24
    ids = model.encode(text)[: count * PIECE]
    pieces = [ids[start : start + PIECE] for start in range(0, len(ids), PIECE)]
    plain = _perplexity(model, None, pieces)
    yield Row.of(f"nothing masked, {count} texts of {PIECE} tokens", "perplexity", plain)
    for masked in (MASKED, MORE):  # as many as break the needles
        strongest = scores.top(masked)
        value = _perplexity(model, MaskHeads(strongest), pieces) / plain
        yield Row.of(f"{masked} strongest masked", "perplexity, times", value, at_most=1.1)
        others = random_heads(scores, masked, settings.seed, beside=strongest)
        yield Row.of(
            f"{masked} others masked", "perplexity, times", _perplexity(model, MaskHeads(others), pieces) / plain
        )


def _perplexity(model: LanguageModel, method: MaskHeads | None, pieces: Sequence[Sequence[int]]) -> float:
    sums = []
    for ids in pieces:
        layers = [KeyValues() for _ in range(model.model.config.num_hidden_layers)]
        logits = prefill(model.model, torch.tensor([ids]), layers, method=method, rows=len(ids))[0, :-1]
        told = logits.float().log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
        sums.append(float(told.sum()))
    return perplexity(sums, [len(ids) - 1 for ids in pieces])


# -- reasoning ---------------------------------------------------------------------------------------------------------

_STORY = "{name} has {a} {thing}. {name} buys {b} more and then gives {c} away. How many {thing} does {name} have now?"
_STEPS = "{name} starts with {a}. {a} + {b} = {ab}. {ab} - {c} = {answer}. The answer is {answer}."
_SHORT = "{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?"
_SAID = "The answer is {answer}."
_NAMES, _THINGS = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn"), ("pears", "coins", "books", "shells", "stamps")
LOST = 10.0
"""Points that sums with steps must lose, and that everything else may lose at most."""


def reasoning_rows(settings: BenchSettings, model: LanguageModel, scores: HeadScores) -> Iterator[Row]:
    """Sums with the steps written out, and at once."""
    count = 6 if settings.quick else 40
    draw = random.Random(settings.seed)
    stories = {steps: [_story(draw) if steps else _short(draw) for _ in range(count + 3)] for steps in (True, False)}
    strongest, draws = scores.top(MASKED), 1 if settings.quick else 3
    masks: dict[str, list[MaskHeads | None]] = {
        "nothing": [None],
        "strongest": [MaskHeads(strongest)],
        "others": [
            MaskHeads(random_heads(scores, MASKED, settings.seed + number, beside=strongest)) for number in range(draws)
        ],
    }
    found = {
        (name, steps): fmean(_solved(model, method, own[:3], one, steps=steps) for method in methods for one in own[3:])
        for name, methods in masks.items()
        for steps, own in stories.items()
    }
    yield from sum_rows(found, f"{count} invented sums, 3 examples; others: {draws} draws")


def sum_rows(found: Mapping[tuple[str, bool], float], note: str) -> Iterator[Row]:
    """The shares of sums that were solved by what was masked, and whether their steps were written out."""
    for (name, steps), right in found.items():
        kind, plain = "with steps" if steps else "at once", found["nothing", steps]
        if name == "nothing":  # with fewer right there would be nothing to lose
            yield Row.of(f"sums {kind}, nothing masked", "right", right, at_least=2 * LOST / 100, note=note)
            continue
        least, most = (LOST, None) if steps and name == "strongest" else (None, LOST)
        lost = 100 * (plain - right)
        yield Row.of(f"sums {kind}, {MASKED} {name} masked", "points lost", lost, at_least=least, at_most=most)


def _story(draw: random.Random) -> dict[str, object]:
    a, b = draw.randint(12, 60), draw.randint(3, 30)
    c = draw.randint(2, a)
    told = {"name": draw.choice(_NAMES), "thing": draw.choice(_THINGS), "a": a, "b": b, "c": c}
    return told | {"ab": a + b, "answer": a + b - c}


def _short(draw: random.Random) -> dict[str, object]:
    a, b = draw.randint(2, 20), draw.randint(2, 9)
    return {"name": draw.choice(_NAMES), "thing": draw.choice(_THINGS), "a": a, "b": b, "answer": a + b}


def _solved(
    model: LanguageModel,
    method: MaskHeads | None,
    examples: Sequence[dict[str, object]],
    story: dict[str, object],
    *,
    steps: bool,
) -> bool:
    asked, answer = (_STORY, _STEPS) if steps else (_SHORT, _SAID)
    shown = [f"Question: {asked.format(**one)}\nAnswer: {answer.format(**one)}" for one in examples]
    prompt = "\n\n".join([*shown, f"Question: {asked.format(**story)}\nAnswer:" + ("" if steps else " The answer is")])
    decoder = MethodDecoder(model.model, method)
    state = decoder.read(model.encode(prompt))
    told = ""
    for token in tokens(decoder, state, Sampling(max_tokens=48 if steps else 4), stop_ids=model.stop_ids):
        told += model.tokenizer.decode([token])
        if "\n" in told:
            break
    numbers = re.findall(r"\d+", told.partition("answer is")[2] if steps else told)
    return bool(numbers) and int(numbers[0]) == story["answer"]
