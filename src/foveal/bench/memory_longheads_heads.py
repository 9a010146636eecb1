"""bench memory-longheads, heads: who finds a needle's chunk, and how much of the attention the chosen chunks hold.

needle  about 4,000 tokens, chunks of 64, 8 of them seen: the chance to see one by accident is 8 %. Once the text is
        read densely and only the answer is sparse, once LongHeads reads, too. Counted are the heads of 336 whose choice
        for the last token of the question holds the needle's chunk. A full run also asks fewer texts of 8,000 and
        16,000 tokens, each of which is read densely once for all ways of asking
mass    12,000 tokens of paragraphs with one that answers (RULER's qa, of XQuAD's), chunks of 256, 6 of 44 free: the
        share of the free chunks' true attention that lies in those that each kind of vector chooses, for the last
        queries, beside what was measured when this was specified. By this measure, which is mostly recency, the
        published vector is not the best one: so both are told. Mean turned keys and bounds know nothing of recency as
        LongHeads takes them, turned within their chunk; as specified they are turned to their places in the text

The model is Qwen2.5-Coder-0.5B. Needles near a border of two chunks are counted apart. Needs the data set xquad.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from foveal.attention import LongHeads
from foveal.attention.attach import Context
from foveal.attention.longheads_cache import LongHeadsCache
from foveal.attention.longheads_choice import KINDS, drawn, in_chunks, represent, scores, spread
from foveal.attention.longheads_files import opened_layer, stored_layer
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.owned_layers import Turn
from foveal.attention.prefill import prefill
from foveal.attention.rotation import rotations_of
from foveal.bench.known_sets import all_held_to, is_set
from foveal.bench.settings import BenchSettings
from foveal.evaluation import ruler
from foveal.evaluation.answers import contains
from foveal.evaluation.files import text_in
from foveal.evaluation.tables import Row
from foveal.models.chat import Sampling
from foveal.models.decoding import tokens
from foveal.models.language import LanguageModel, load_language_model

MODEL = "qwen2.5-coder-0.5b"
FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
OPENING = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. I will quiz you about "
    "the important information there.\n\n"
)
KEY = "The pass key is {key}. Remember it. {key} is the pass key. "
QUESTION = "\n\nWhat is the pass key?"
SAID = "The pass key is"
"""What the answer is begun with: the model then says the key, or does not."""

KEY_TOKENS = 8
"""Of what is said, that are looked at."""

TOLD = 0.001
"""What the model itself must tell: where it tells nothing, no way of reading is worse, and no control fails."""

SEEN = LongHeads(chunk_size=64, attention_length=512)
LENGTH, LONGER = 4096, ((8192, 8), (16_384, 4))
"""Tokens of a text, at which 8 % of the chunks are seen by accident; of longer texts, and how many of them."""

CHUNK, FREE = 256, 6


@dataclass(frozen=True)
class Passkey:
    """A prompt: tokens of the text, of the question, the answer, and the range of the key's tokens."""

    text: list[int]
    question: list[int]
    answer: str
    place: tuple[int, int]

    def chunks(self, size: int) -> range:
        """The chunks that the key stands in."""
        return range(self.place[0] // size, (self.place[1] - 1) // size + 1)


def passkey(model: LanguageModel, length: int, depth: float, seed: int, *, multiple: int = 1) -> Passkey:
    """About `length` tokens of filler with a key (1 to 50,000) at `depth` (0 to 1); the text is a `multiple` long."""
    key = str(random.Random(f"{length} {depth} {seed}").randint(1, 50_000))
    head, tail = model.render([{"role": "user", "content": f"{OPENING}\ue000{QUESTION}"}]).split("\ue000")
    opening, question = model.encode(head), model.encode(tail + SAID)
    needle = model.encode(KEY.format(key=key))
    filler = model.encode(FILLER)
    room = (length - len(question)) // multiple * multiple - len(opening) - len(needle)
    whole = (filler * (room // len(filler) + 1))[:room]
    cut = round(depth * room / len(filler)) * len(filler)
    text = [*opening, *whole[:cut], *needle, *whole[cut:]]
    start = len(opening) + min(cut, room)
    return Passkey(text, question, key, (start, start + len(needle)))


@dataclass(frozen=True)
class Answered:
    """What was said, whether it is right, and how many heads looked at the key just before."""

    right: bool
    heads: int
    said: str


@torch.inference_mode()
def read(model: LanguageModel, prompt: Passkey, method: LongHeads) -> LongHeadsCache:
    """The text of the prompt, read."""
    memory = method.make_cache(model.model)
    prefill(model.model, torch.tensor([prompt.text], device=model.device), memory.layers, method=method)
    return memory


def opened(model: LanguageModel, memory: LongHeadsCache, method: LongHeads) -> LongHeadsCache:
    """The same text for another way of asking, which goes on by itself."""
    config, turn = model.model.config, Turn()
    rotations = rotations_of(model.model, reach=method.reach(config))
    layers = []
    for number, layer in enumerate(memory.memories):
        rotation = rotations.for_layer(model.model.base_model.layers[number].self_attn)
        layers.append(opened_layer(method, memory.method, number, turn, stored_layer(layer), rotation, config))
    return LongHeadsCache([*layers], method)


@torch.inference_mode()
def answered(
    model: LanguageModel,
    prompt: Passkey,
    method: LongHeads,
    *,
    read_by: LongHeads | None = None,
    memory: LongHeadsCache | None = None,
) -> Answered:
    """The answer after the text, which was read by `read_by` if that is another way, or into `memory`."""
    memory = memory or read(model, prompt, read_by or method)
    for layer in memory.memories:
        assert layer.text is not None
        layer.method = layer.text.method = method
        layer.text.shape = method.shape_for(model.model.config)
    decoder = MemoryDecoder(model.model, method)
    state = decoder.reading(memory, prompt.question[:-1])
    memory.watch({})
    decoder.step(state, [prompt.question[-1:]])
    chunks = list(prompt.chunks(method.shape_for(model.model.config).chunk))
    heads = sum(int((shares[:, chunks] > 0).any(1).sum()) for shares in memory.choices().values())
    ids = list(tokens(decoder, state, Sampling(max_tokens=KEY_TOKENS), stop_ids=model.stop_ids))
    said = model.tokenizer.decode(ids, skip_special_tokens=True)
    return Answered(contains(said, prompt.answer), heads, said)


def needle_rows(settings: BenchSettings) -> Iterator[Row]:
    """Answers, and heads that looked at the key's chunk."""
    model = load_language_model(MODEL, dtype="bfloat16")
    count = 2 if settings.quick else 20
    found: dict[str, list[Answered]] = {}
    prompts = []
    for number in range(count):
        depth = 0.15 + 0.7 * (number + 0.5) / count
        prompts.append(passkey(model, LENGTH, depth, settings.seed, multiple=64))
        for name, one in every_way(model, prompts[-1], number, quick=settings.quick):
            found.setdefault(name, []).append(one)
    where = f"{count} texts of {LENGTH:,} tokens"
    share = fmean(one.right for one in found[DENSE])
    yield Row.of(f"dense, {where}", "keys told", share, at_least=TOLD)
    for name, told in found.items():
        if name == DENSE:
            continue
        least = share - 0.05 if name == OURS else None
        most = 0.5 * share if name in (RANDOM, ENDS) else None
        note = f"{where}, chunks of 64, 8 seen; {fmean(one.heads for one in told):.0f} of 336 heads saw the key"
        yield Row.of(name, "keys told", fmean(one.right for one in told), at_least=least, at_most=most, note=note)
    ours = found[OURS]
    chance = fmean(one.heads for one in found[RANDOM])
    times = fmean(one.heads for one in ours) / max(1.0, chance)
    yield Row.of("LongHeads, read densely", "heads that saw the key, times random", times, at_least=3)
    apart = [one.right for one, prompt in zip(ours, prompts, strict=True) if len(prompt.chunks(64)) > 1]
    note = f"{len(apart)} of {count} keys stand across a border of chunks"
    if apart:
        yield Row.of("LongHeads, across a border", "keys told", fmean(apart), note=note)
    for length, count in () if settings.quick else LONGER:
        yield from told_rows(longer(model, length, count, settings.seed), f"{count} texts of {length:,} tokens")


def every_way(model: LanguageModel, prompt: Passkey, number: int, *, quick: bool) -> Iterator[tuple[str, Answered]]:
    """The answers by each kind of vector, over a text that is read densely, and over LongHeads' own reading.

    What asks the same vectors, or none, asks one reading.
    """
    every = replace(SEEN, begin=2 * LENGTH)
    memory = read(model, prompt, every)
    yield DENSE, answered(model, prompt, every, memory=opened(model, memory, every))
    for kind in ("attention", "mean_rope", "random", "none"):
        method = replace(SEEN, representation=kind, seed=number)  # random chunks are drawn anew for each text
        held = read(model, prompt, replace(method, begin=every.begin)) if kind == "mean_rope" else memory
        yield f"{NAMES[kind]}, read densely", answered(model, prompt, method, memory=opened(model, held, method))
        if not quick or kind in ("attention", "random"):
            yield f"{NAMES[kind]}, read by LongHeads", answered(model, prompt, method)


DENSE, OURS, AGAIN = "dense", "LongHeads, read densely", "LongHeads, read by LongHeads"
RANDOM, ENDS = "control: random chunks, read densely", "control: first and last chunks, read densely"


def longer(
    model: LanguageModel, length: int, count: int, seed: int, seen: LongHeads = SEEN
) -> dict[str, list[Answered]]:
    """The answers by each way of asking, over texts that are read densely once; and over LongHeads' own reading."""
    assert seen.chunk_size is not None
    found: dict[str, list[Answered]] = {}
    every = replace(seen, begin=2 * length // seen.chunk_size * seen.chunk_size)
    for number in range(count):
        depth = 0.15 + 0.7 * (number + 0.5) / count
        prompt = passkey(model, length, depth, seed, multiple=seen.chunk_size)
        memory = read(model, prompt, every)
        ways = {RANDOM: "random", ENDS: "none"}
        asked = {name: replace(seen, representation=kind, seed=number) for name, kind in ways.items()}
        for name, method in ({DENSE: every, OURS: seen} | asked).items():
            found.setdefault(name, []).append(answered(model, prompt, method, memory=opened(model, memory, method)))
        found.setdefault(AGAIN, []).append(answered(model, prompt, seen))
    return found


def told_rows(found: Mapping[str, Sequence[Answered]], where: str) -> Iterator[Row]:
    """Keys told, and the heads that saw them, held against dense attention and random chunks as above."""
    share = fmean(one.right for one in found[DENSE])
    bars = {DENSE: (TOLD, None), OURS: (share - 0.05, None), RANDOM: (None, 0.5 * share), ENDS: (None, 0.5 * share)}
    heads = {name: fmean(one.heads for one in told) for name, told in found.items()}
    for name, told in found.items():
        least, most = bars.get(name, (None, None))
        note = f"chunks of 64, 8 seen; {heads[name]:.0f} of 336 heads saw the key" if name != DENSE else ""
        right = fmean(one.right for one in told)
        yield Row.of(f"{name}, {where}", "keys told", right, at_least=least, at_most=most, note=note)
    times = heads[OURS] / max(1.0, heads[RANDOM])
    yield Row.of(f"{OURS}, {where}", "heads that saw the key, times random", times, at_least=3)


NAMES = {
    "attention": "LongHeads",
    "mean": "mean key",
    "mean_rope": "mean turned key",
    "minmax": "bounds of keys",
    "random": "control: random chunks",
    "none": "control: first and last chunks",
}


# -- mass --------------------------------------------------------------------------------------------------------------


class Recording(LongHeads):
    """Keeps the queries, keys and values of some layers while a text is read densely."""

    kept: dict[int, tuple[Tensor, Tensor, Tensor]]
    wanted: tuple[int, ...]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        if context.layer in self.wanted and query.shape[2] > 1:
            self.kept[context.layer] = query[0], key[0], value[0]
        return super().attend(query, key, value, context)


def recording(layers: tuple[int, ...], length: int) -> Recording:
    """One that reads `length` tokens densely."""
    made = Recording(chunk_size=CHUNK, attention_length=4096, begin=-(-max(length, 4096) // CHUNK) * CHUNK)
    object.__setattr__(made, "kept", {})
    object.__setattr__(made, "wanted", layers)
    return made


IN_PLACE = ("mean_rope", "minmax")
"""Kinds that are also taken with keys and queries turned to their places in the text, which a window must hold."""

MEASURED = {
    "best possible": 0.6775,
    "attention": 0.175,
    "mean": 0.1975,
    "mean_rope, in place": 0.6275,
    "minmax, in place": 0.555,
    "random": 0.13,
}
"""Shares that were seen on such a text when the check was specified, means of layers 2, 8, 14 and 20."""

ENGLISH = "xquad.en.json"
NEAR = 0.1
"""By how much another text of the same kind may differ."""


def mass_rows(settings: BenchSettings) -> Iterator[Row]:
    """The share of the free chunks' attention that each kind of vector chooses; other texts are held to no figure."""
    path, paragraphs = xquad(settings)
    known = path.name.startswith(ENGLISH) and is_set("XQuAD", len(paragraphs))
    yield from all_held_to("XQuAD in English", known, shares(settings))


@torch.inference_mode()
def shares(settings: BenchSettings) -> Iterator[Row]:
    """The same, beside what was measured, whatever the text."""
    model = load_language_model(MODEL, dtype="bfloat16")
    layers, length = ((8, 20), 3072) if settings.quick else ((2, 8, 14, 20), 12_032)
    ids = question_text(settings, model, length)
    method = recording(layers, length)
    prefill(model.model, torch.tensor([ids]), method.make_cache(model.model).layers, method=method)
    rotation = rotations_of(model.model).of("full_attention")
    free = FREE if not settings.quick else 2
    told = {layer: captured(*method.kept[layer], rotation, free, seed=layer) for layer in layers}
    where = f"{free} of {length // CHUNK - 3} free chunks, layers {', '.join(map(str, layers))}"
    for kind in told[layers[0]]:
        values = [told[layer][kind] for layer in layers]
        note = f"{where}: {', '.join(f'{value:.2f}' for value in values)}"
        yield mass_row(kind, fmean(values), note, quick=settings.quick)


def mass_row(kind: str, value: float, note: str, *, quick: bool) -> Row:
    """A kind's share beside what was measured; a quick run has other chunks and layers, and is asked for nothing."""
    of, comma, how = kind.partition(", ")
    name, before = f"{NAMES.get(of, of)}{comma}{how}", MEASURED.get(kind)
    least, most = (None, None) if quick or before is None else (before - NEAR, before + NEAR)
    note = note if before is None else f"{note}; {before:.2f} when specified"
    return Row.of(name, "share of the free chunks' attention", value, at_least=least, at_most=most, note=note)


def xquad(settings: BenchSettings) -> tuple[Path, list[dict[str, Any]]]:
    """The file of XQuAD that is there, and its paragraphs."""
    path = settings.one_of("xquad", ENGLISH, "xquad.*.json")
    told = json.loads(text_in(path))["data"]
    return path, [paragraph for article in told for paragraph in article["paragraphs"]]


def question_text(settings: BenchSettings, model: LanguageModel, length: int) -> list[int]:
    """`length` tokens of a question behind paragraphs of which one answers it."""
    _, paragraphs = xquad(settings)
    asked = [(one["qas"][0]["question"], one["qas"][0]["answers"][0]["text"], one["context"]) for one in paragraphs]
    made = ruler.make(
        "qa", 1, length + length // 10, lambda text: len(model.encode(text)),
        documents=ruler.Documents.of(asked), seed=settings.seed,
    )  # fmt: skip
    return model.encode(made[0].prompt)[-length:]


def captured(
    queries: Tensor, keys: Tensor, values: Tensor, rotation: object, free: int, *, seed: int = 0
) -> dict[str, float]:
    """Of queries (H, N, D), keys and values (G, N, D), not turned: for the last chunk's queries, by kind of vector."""
    from foveal.attention.rotation import Rotation

    assert isinstance(rotation, Rotation)
    count, heads, scale = keys.shape[1], len(queries), keys.shape[-1] ** -0.5
    places = torch.arange(count)
    asked = queries[:, -CHUNK:]
    turned = rotation(asked.float(), places[-CHUNK:])
    held = spread(rotation(keys.float(), places), heads)
    logits = turned @ held.transpose(1, 2) * scale
    logits = logits.masked_fill(places > places[-CHUNK:, None], -torch.inf)
    true = logits.softmax(-1).view(heads, CHUNK, -1, CHUNK).sum(-1)[..., 1:-2]  # (H, l, free chunks)
    found = {"best possible": _share(true, true, free)}
    offsets = places % CHUNK
    parts = rotation(queries, offsets), rotation(keys, offsets), values
    asking, own, read = (in_chunks(part, CHUNK) for part in parts)
    for kind in KINDS[:-1]:
        if kind == "random":
            wanted = drawn((seed,), places[-CHUNK:], heads, count // CHUNK)[..., 1:-2]
        else:
            wanted = scores(kind, asked, represent(kind, asking, own, read, scale, rotation))[..., 1:-2]
        found[kind] = _share(true, wanted, free)
    there = in_chunks(rotation(keys.float(), places), CHUNK)
    for kind in IN_PLACE:  # of keys alone: queries and values do not matter
        wanted = scores(kind, turned, represent(kind, asking, there, read, scale, rotation))[..., 1:-2]
        found[f"{kind}, in place"] = _share(true, wanted, free)
    return found


def _share(true: Tensor, wanted: Tensor, free: int) -> float:
    """Of attention (H, l, free chunks) what lies in the chunks that are wanted most."""
    mine = true.gather(-1, wanted.topk(free).indices).sum(-1)
    return float((mine / true.sum(-1).clamp(min=1e-9)).mean())
