"""bench report-memory: what a run of 200 steps still knows in a window of 4,096 tokens, beside "the last k messages".

latest, history    questions about the newest value, and about the value at an earlier date: is the object of the
                   first fact found the answer? The baseline has the same extractor and lookup, over the messages that
                   fit the window
tokens             of the prompt's part that the memory fills, at the 50th, 100th, 150th, 200th step
operations         ADD, UPDATE, NOOP and conflicts, as they were planted
citations          sources of planted facts that facts or notes still carry behind all compactions
forgetting         the memory cut to half, with a fifth of the facts cited: how many of the cited ones are lost
constant           one state of 1,024 tokens rewritten at each step, its questions known beforehand
read by a model    (full run) the answer of Qwen2.5-Coder-0.5B from what the memory gives, and from the last messages
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import fmean
from time import perf_counter

from foveal.bench.report_memory_world import Asked, Step, World
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.evaluation.answers import contains
from foveal.evaluation.tables import Row
from foveal.models.chat import ChatModel, Sampling
from foveal.research.memory import MemorySettings, RunMemory
from foveal.research.memory_consolidation import STATE_TOKENS, cited_keys, rewritten
from foveal.research.memory_facts import named
from foveal.research.memory_lookup import LookupSettings
from foveal.text.units import sentences
from foveal.types import Encoder

WINDOW = 4096
STEPS = 200
LATEST, HISTORY = 0.95, 0.90
FLAT = 1.05
"""Most tokens of the second half of the steps over the most of the first."""
EVERY = 2
"""Steps after which the tokens of a prompt are counted."""

ANSWER = Sampling(max_tokens=24, stop=("\n",))
Count = Callable[[str], int]


@dataclass
class Clock:
    """The time of the world."""

    now: datetime

    def __call__(self) -> datetime:
        """Now."""
        return self.now


@dataclass
class Lived:
    """A memory that went through the steps, and what was seen on the way."""

    memory: RunMemory
    tokens: dict[int, int] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def memory_rows(settings: BenchSettings, chat: ChatModel | None = None) -> Iterator[Row]:
    """The rows of `foveal bench report-memory`."""
    world = World.made(steps=STEPS, noise=noise(settings), seed=settings.seed)
    encoder = settings.encoder()
    count = tokens_of(encoder)
    yield Row.of("steps", SIZE, len(world.steps))
    yield Row.of("changes of facts", SIZE, len(world.changes))
    lived = live(world, world.steps, count, encoder)
    last = live(world, last_messages(world.steps, count), count, encoder)
    yield Row.of("messages that fit the window", SIZE, len(last_messages(world.steps, count)))
    for name, asked, bar in (
        ("latest value", world.latest(), LATEST),
        ("value at an earlier date", world.history(), HISTORY),
    ):
        note = f"{len(asked)} questions"
        yield Row.of("memory", name, share_right(lived.memory, asked), at_least=bar, note=note)
        yield Row.of("last k messages", name, share_right(last.memory, asked), note=note)
        equal = share_right(lived.memory, asked, LookupSettings())
        yield Row.of("memory, recency, importance and relevance alike", name, equal, note=note)
    yield from size_rows(lived)
    yield from operation_rows(world, lived)
    yield from kept_rows(world, lived.memory)
    yield from constant_rows(world, count)
    if not settings.quick:
        yield from read_rows(world, lived.memory, chat or _model())


def noise(settings: BenchSettings) -> list[str]:
    """Sentences of other matters: WikiText."""
    text = settings.text("text", "wikitext2_valid.txt")
    pieces = (" ".join(text[start:end].split()) for start, end in sentences(text[:400_000]))
    return [one for one in pieces if 60 <= len(one) <= 260 and one[0].isupper() and one.endswith(".")]


def tokens_of(encoder: Encoder) -> Count:
    """Tokens of a text by the encoder's tokenizer."""
    return lambda text: len(encoder.token_offsets(text))


def live(world: World, steps: Sequence[Step], count: Count, encoder: Encoder | None) -> Lived:
    """Go through the steps."""
    clock = Clock(world.steps[0].at)
    memory = RunMemory(count=count, settings=MemorySettings(window=WINDOW), encoder=encoder, clock=clock)
    lived = Lived(memory)
    planted = {(named(one.subject), named(one.relation)) for one in world.changes}
    for place, step in enumerate(steps, 1):
        clock.now = step.at
        began = perf_counter()
        for fact, choice in memory.consolidate(step.text, source=step.source):
            name = "conflict" if choice.conflict else choice.operation
            lived.operations[name] = lived.operations.get(name, 0) + (fact.about in planted)
        lived.seconds += perf_counter() - began
        if place % EVERY == 0:
            lived.tokens[place] = count(memory.context("What is known of the director of Harrow Mill?"))
    clock.now = world.end
    return lived


def last_messages(steps: Sequence[Step], count: Count) -> list[Step]:
    """The newest steps that fit the window."""
    chosen: list[Step] = []
    left = WINDOW
    for step in reversed(steps):
        left -= count(step.text)
        if left < 0:
            break
        chosen.append(step)
    return chosen[::-1]


def share_right(memory: RunMemory, asked: Sequence[Asked], by: LookupSettings | None = None) -> float:
    """How often the object of the first fact found is the answer; looking leaves the memory as it was."""
    kept, usual = list(memory.facts), memory.settings
    memory.settings = replace(usual, lookup=by or usual.lookup)
    right = []
    for one in asked:
        found = memory.recall(one.question, at=one.at, k=1)
        right.append(float(bool(found) and contains(found[0].object, one.answer)))
        memory.facts = list(kept)
    memory.settings = usual
    return fmean(right) if right else 0.0


def size_rows(lived: Lived) -> Iterator[Row]:
    """Tokens of the part of a prompt, along the run."""
    limit = WINDOW * lived.memory.settings.full
    for place in range(50, STEPS + 1, 50):
        yield Row.of("memory", f"tokens of a prompt at step {place}", lived.tokens[place], at_most=limit)
    yield Row.of("memory", "most tokens of the second hundred steps over the first", growth(lived), at_most=FLAT)
    yield Row.of("memory", "milliseconds a step", 1000 * lived.seconds / STEPS)


def growth(lived: Lived) -> float:
    """The most tokens of the second half of the steps over the most of the first; between, prose comes and goes."""
    half = STEPS // 2
    first, second = (max(n for place, n in lived.tokens.items() if (place > half) is later) for later in (False, True))
    return second / first


def operation_rows(world: World, lived: Lived) -> Iterator[Row]:
    """What was done, beside what was planted."""
    changes: dict[tuple[str, str], int] = {}
    for one in world.changes:
        changes[one.subject, one.relation] = changes.get((one.subject, one.relation), 0) + 1
    planted = {"ADD": len(changes), "UPDATE": len(world.changes) - len(changes), "conflict": len(world.contradicted)}
    for name, wanted in planted.items():
        done = lived.operations.get(name, 0)
        yield Row.of(
            "memory",
            f"{name}: done over planted",
            done / wanted,
            at_least=0.95,
            at_most=1.05,
            note=f"{done} of {wanted}",
        )


def kept_rows(world: World, memory: RunMemory) -> Iterator[Row]:
    """What compaction and forgetting leave of what is cited."""
    planted = {step.source for step in world.steps if step.said and step.kind != "repeat"}
    carried = {one.source for one in memory.facts} | set(cited_keys(memory.notes.shown))
    yield Row.of(
        "memory", "sources of planted facts still carried", len(planted & carried) / len(planted), at_least=1.0
    )
    everything = {step.source for step in world.steps}
    yield Row.of(
        "memory", "sources of all steps still carried", len(everything & carried) / len(everything), at_least=1.0
    )
    cited = {one.source for one in memory.facts[::5]}
    before = len(memory.facts)
    kept = list(memory.facts)
    gone = memory.forget(cited=cited, most=before // 2)
    yield Row.of("forgetting half", "cited facts lost", sum(one.source in cited for one in gone), at_most=0)
    yield Row.of("forgetting half", "share of facts left", len(memory.facts) / before, at_most=0.51)
    memory.facts = kept


def constant_rows(world: World, count: Count) -> Iterator[Row]:
    """One state of a fixed size, rewritten at each step."""
    asked = world.latest()[::4]
    question = " ".join(one.question for one in asked)
    state, largest = "", 0
    for step in world.steps:
        state = rewritten(state, step.text, question, count=count)
        largest = max(largest, count(state))
    yield Row.of("constant state", "largest, in tokens", largest, at_most=STATE_TOKENS)
    held = [contains(state, one.answer) for one in asked]
    yield Row.of(
        "constant state", "newest value is in it", fmean(map(float, held)), note=f"{len(asked)} questions, no model"
    )


def read_rows(world: World, memory: RunMemory, chat: ChatModel) -> Iterator[Row]:
    """A small model's answers from 600 tokens of memory, and from the last messages."""
    shown = "\n".join(step.text for step in last_messages(world.steps, chat.count_tokens))
    for name, asked in (
        ("latest value", world.latest()[::3][:20]),
        ("value at an earlier date", world.history()[::3][:20]),
    ):
        given = [memory.context(one.question, tokens=600, at=one.at or world.end) for one in asked]
        for side, texts in (("memory", given), ("last k messages", [shown] * len(asked))):
            answers = chat.chat_many([_prompt(text, one) for text, one in zip(texts, asked, strict=True)], ANSWER)
            right = [float(contains(answer, one.answer)) for answer, one in zip(answers, asked, strict=True)]
            yield Row.of(f"{side}, read by {chat.name}", name, fmean(right), note=f"{len(asked)} questions")


def _prompt(text: str, asked: Asked) -> list[dict[str, str]]:
    content = f"Notes:\n{text}\n\nQuestion: {asked.question}\nAnswer with the value alone:"
    return [{"role": "user", "content": content}]


def _model() -> ChatModel:
    from foveal.models import load_language_model
    from foveal.models.local_chat import LocalChat

    return LocalChat(load_language_model())
