"""RULER-style tasks: synthetic questions over a context of any length (Hsieh et al., COLM 2024), in our own words.

niah_single       one needle, "One magic number of <name> is <number>.", in the haystack
niah_multikey_1   four needles of different names, one asked for
niah_multikey_2   the same in a haystack that is nothing but needles of other names
niah_multivalue   one name with four numbers, all asked for
niah_multiquery   four names with a number each, all asked for
vt                variable tracking: a number goes from variable to variable over four hops; which hold it?
cwe               common words extraction: 10 words of a numbered list come up 20 times, the others twice
fwe               frequent words extraction: a coded text with Zipf's frequencies (exponent 2); its three top words?
qa                a paragraph with the answer among paragraphs without it

Length    of `prompt`, by the caller's counter: at most the one asked for and at least 98 % of it, as far as a piece of
          the filling (up to 12 characters of a word, an entry of a list) is no more than 2 %. The answer comes on top
Seeds     a sample is drawn by its task and its own seed, so the needles of one seed are the same at each length
Prefix    the start of the answer, which a base model goes on from; `gold` is how it should
Unlike    RULER: vt has a second chain (alone, naming every variable would be right), cwe 20 and 2 instead of 30 and 3
          (so that 2k tokens do), and words are matched whole. Alike are the worked examples before vt and cwe
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count as count_from
from itertools import cycle, islice, permutations, product
from string import ascii_uppercase

from foveal.errors import InputError, UnknownName
from foveal.evaluation.answers import whole
from foveal.evaluation.haystack import plant, sentence_ends
from foveal.evaluation.needles import FAMILY_NAMES, GIVEN_NAMES, PLACES, Needle
from foveal.evaluation.ruler_text import FORMS, NOUNS

TOLERANCE = 0.02
"""A prompt may be shorter than asked for by this share."""
FILLER = "The river runs past the mill. The miller looks up from his book. Nothing has changed since the morning. "
"""The haystack where the caller gives none, again and again."""

VALUES = 4  # numbers of the name in niah_multivalue, names in niah_multiquery and niah_multikey_1
CROWD = 8_000  # names in niah_multikey_2, some 170k tokens; beyond that the needles around come again
CHAINS, HOPS = 2, 4
COMMON, OFTEN, SELDOM = 10, 20, 2
FREQUENT, FEWEST_CODED = 3, 80  # from 80 words on, the third count is above the fourth

ANSWER_TOKENS = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50, "qa": 32}
"""How many tokens RULER lets a model generate, by the first part of a task's name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt in parts: `length` tokens were asked for, `tokens` are in it; `answers` are in the order of `gold`."""

    task: str
    context: str
    question: str
    answers: tuple[str, ...]
    prefix: str
    length: int
    tokens: int
    seed: int

    @property
    def prompt(self) -> str:
        return _prompt(self.context, self.question, self.prefix)

    @property
    def gold(self) -> str:
        """What should follow the prompt; of the answers of qa, any of which will do, the first."""
        return _gold(self.answers[:1] if self.task == "qa" else self.answers)


@dataclass(frozen=True, slots=True)
class Fact:
    """A question, the paragraph that answers it, and the answers, any of which will do."""

    question: str
    answers: tuple[str, ...]
    paragraph: str


@dataclass(frozen=True, slots=True)
class Documents:
    """What qa is made of. Paragraphs of the other facts are distractors too; where these end, invented ones follow.

    Without facts, the fact is an invented one as well.
    """

    facts: Sequence[Fact] = ()
    distractors: Sequence[str] = ()

    @classmethod
    def of(cls, triples: Sequence[tuple[str, str, str]], distractors: Sequence[str] = ()) -> Documents:
        """From (question, answer, paragraph) triples."""
        return cls([Fact(question, (answer,), paragraph) for question, answer, paragraph in triples], distractors)


@dataclass(frozen=True, slots=True)
class Source:
    """What the tasks draw from: the text of the haystack, the documents of qa, the seed of the sample, and a depth."""

    text: str
    documents: Documents
    seed: int
    depth: float | None = None  # of the needles, %; None: drawn for each


@dataclass(frozen=True, slots=True)
class Plan:
    """A sample of no fixed length: `context(n)` has n pieces of filling."""

    context: Callable[[int], str]
    question: str
    answers: tuple[str, ...]
    prefix: str

    def prompt(self, pieces: int) -> str:
        return _prompt(self.context(pieces), self.question, self.prefix)


def make(
    task: str,
    count: int,
    length: int,
    count_tokens: Callable[[str], int],
    *,
    haystack: str | Sequence[str] | None = None,
    documents: Documents | None = None,
    seed: int = 0,
    depth: float | None = None,
) -> list[Sample]:
    """`count` samples of one task, of the seeds `seed`, `seed` + 1, ..., each with a prompt of nearly `length` tokens.

    `haystack` is a text or several, repeated as needed (the niah tasks and vt; each sample starts at a sentence of its
    own); `documents` are for qa; `depth` (%) is where the needles of niah tasks stand (default: drawn). UnknownName:
    no task is called that. InputError: `count` is below 1, `depth` outside 0 to 100, the haystack empty, `length` too
    short for the task, or `count_tokens` does not grow with the text.
    """
    if task not in MAKERS:
        raise UnknownName(f"No task is called {task!r}. There are: {', '.join(MAKERS)}.")
    if count < 1:
        raise InputError(f"{count} samples were asked for; ask for at least 1.")
    text, given = _text(haystack), documents or Documents()
    plans = {
        own: MAKERS[task](random.Random(f"{task} {own}"), Source(text, given, own, depth))
        for own in range(seed, seed + count)
    }
    least = max(count_tokens(plan.prompt(0)) for plan in plans.values())
    if least > length:
        raise InputError(f"{length} tokens were asked for; these samples of {task} need at least {least}.")
    return [_sample(task, plan, length, count_tokens, own) for own, plan in plans.items()]


def accuracy(output: str, sample: Sample) -> float:
    """The share of the gold answers that the output holds, in 0 to 1; for qa whether it holds any (1 or 0).

    Upper and lower case are alike, white space is one space, and an answer must stand whole: not "12" in "123".
    """
    text = _plain(output)
    found = [re.search(whole(_plain(answer)), text) is not None for answer in sample.answers]
    return float(any(found)) if sample.task == "qa" else sum(found) / len(found)


def answer_tokens(task: str) -> int:
    """How many tokens a model may generate for the task, as in RULER."""
    if task not in MAKERS:
        raise UnknownName(f"No task is called {task!r}. There are: {', '.join(MAKERS)}.")
    return ANSWER_TOKENS[task.partition("_")[0]]


def _prompt(context: str, question: str, prefix: str) -> str:
    return f"{context}\n\n{question}\n{prefix}"


def _gold(answers: Sequence[str]) -> str:
    return " " + ", ".join(answers)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


# the length


def _sample(task: str, plan: Plan, length: int, count_tokens: Callable[[str], int], seed: int) -> Sample:
    pieces, tokens = _fitting(plan, length, count_tokens)
    return Sample(task, plan.context(pieces), plan.question, plan.answers, plan.prefix, length, tokens, seed)


def _fitting(plan: Plan, length: int, count_tokens: Callable[[str], int]) -> tuple[int, int]:
    """A number of pieces with which the prompt is long enough and not too long, and its tokens."""
    low, high, tokens = 0, 64, count_tokens(plan.prompt(0))
    while tokens < (1 - TOLERANCE) * length and (more := count_tokens(plan.prompt(high))) <= length:
        low, high, tokens = high, 2 * high, more
        if low > 8 * max(64, length):
            raise InputError(
                f"A prompt of {low} pieces has {tokens} tokens by count_tokens; it must grow with the text."
            )
    while tokens < (1 - TOLERANCE) * length and high - low > 1:
        middle = (low + high) // 2
        if (now := count_tokens(plan.prompt(middle))) <= length:
            low, tokens = middle, now
        else:
            high = middle
    return low, tokens


def _text(haystack: str | Sequence[str] | None) -> str:
    texts = [FILLER] if haystack is None else [haystack] if isinstance(haystack, str) else haystack
    readable = [text.strip() for text in texts if text.strip()]
    if not readable:
        raise InputError(f"A haystack was to be made of {len(texts)} texts, none of which has any; give one that has.")
    return readable[0] + " " if len(readable) == 1 else "\n\n".join((*readable, ""))


def _pieces(text: str) -> list[str]:
    """The words with the space after them; one of more than 12 characters, or a script without spaces, in parts."""
    return re.findall(r"\S{1,12}\s*", text)


def _turned(text: str, draw: random.Random) -> str:
    """The text from one of its sentences on, and then what was before."""
    start = draw.choice([0, *sentence_ends(text)])
    return text[start:].lstrip() + text[:start] + " "


def _hidden(intro: str, text: str, sentences: Sequence[str], depths: Sequence[float]) -> Callable[[int], str]:
    """The context of n pieces of text with each sentence at its depth (%)."""
    pieces, needle = _pieces(text), Needle("ruler", tuple(sentences), "", "")

    def context(count: int) -> str:
        return intro + plant("".join(islice(cycle(pieces), count)).rstrip(), needle, depths).text

    return context


# niah: needles in a haystack


def _niah(
    draw: random.Random, source: Source, *, keys: int = 1, values: int = 1, queries: int = 1, crowded: bool = False
) -> Plan:
    """`keys` names with `values` numbers each, `queries` of them asked for; `crowded`: among needles of others."""
    drawn = draw.sample(range(len(GIVEN_NAMES) * len(FAMILY_NAMES)), CROWD if crowded else keys)
    names = [f"{GIVEN_NAMES[n % len(GIVEN_NAMES)]} {FAMILY_NAMES[n // len(GIVEN_NAMES)]}" for n in drawn]
    numbers = [str(number) for number in draw.sample(range(10**6, 10**7), len(names) * values)]
    told = list(zip([name for name in names for _ in range(values)], numbers, strict=True))
    needles = draw.sample(told[: keys * values], keys * values)
    text = "".join(f"{_told(*other)} " for other in told[keys:]) if crowded else _turned(source.text, draw)
    depths = sorted(draw.uniform(0, 100) if source.depth is None else source.depth for _ in needles)
    asked = names[:queries]
    answers = tuple(number for name in asked for key, number in needles if key == name)
    intro = "The text below gives magic numbers. Keep them in mind, for a question about them comes after it.\n\n"
    question, prefix = _asked(asked, len(answers))
    return Plan(_hidden(intro, text, [_told(*needle) for needle in needles], depths), question, answers, prefix)


def _asked(names: Sequence[str], numbers: int) -> tuple[str, str]:
    """The question for the numbers of the names, and the start of its answer."""
    *first, last = names
    listed = f"{', '.join(first)} and {last}, in this order," if first else last
    if numbers == 1:
        what = f"the magic number of {listed}"
        return f"What is {what}, by the text above?", f"According to the text, {what} is"
    what = f"the magic numbers of {listed}"
    return f"What are all {what} by the text above?", f"According to the text, {what} are"


def _told(name: str, number: str) -> str:
    return f"One magic number of {name} is {number}."


# vt: variable tracking


def _vt(draw: random.Random, source: Source) -> Plan:
    drawn = draw.sample(range(len(ascii_uppercase) ** 5), 2 * CHAINS * (HOPS + 1))
    names = [_spelt(number, ascii_uppercase, 5) for number in drawn]
    text, half = _turned(source.text, draw), len(names) // 2
    example = _tracking(draw, names[half:], "")
    return _after(example, _tracking(draw, names[:half], text))


def _tracking(draw: random.Random, names: Sequence[str], text: str) -> Plan:
    """Chains of HOPS + 1 of the names, of which the first is asked for; each in order, and mixed with the others."""
    numbers = [str(number) for number in draw.sample(range(10_000, 100_000), CHAINS)]
    chains = [names[first : first + HOPS + 1] for first in range(0, len(names), HOPS + 1)]
    placed: list[tuple[float, str]] = []
    for number, chain in zip(numbers, chains, strict=True):
        told = [f"Set {name} to {value}." for name, value in zip(chain, (number, *chain[:-1]), strict=True)]
        placed += zip(sorted(draw.uniform(0, 100) for _ in chain), told, strict=True)
    depths, sentences = zip(*sorted(placed), strict=True)
    intro = (
        "In the text below variables are set, each to a number or to what another one holds. Keep track of them.\n\n"
    )
    return Plan(
        _hidden(intro, text, sentences, depths),
        f"Which variables hold {numbers[0]}, directly or by way of others?",
        tuple(chains[0]),
        f"The {HOPS + 1} variables that hold {numbers[0]} are",
    )


def _spelt(number: int, letters: Sequence[str], places: int) -> str:
    """The number as so many letters (or syllables), as digits spell it; another number is spelt otherwise."""
    return "".join(letters[number // len(letters) ** place % len(letters)] for place in range(places))


def _after(example: Plan, plan: Plan) -> Plan:
    """The plan behind an example at its shortest, with its answer."""
    shown = f"{example.prompt(0)}{_gold(example.answers)}.\n\n"
    return Plan(lambda pieces: shown + plan.context(pieces), plan.question, plan.answers, plan.prefix)


# cwe and fwe: which words come up most often


def _cwe(draw: random.Random, _source: Source) -> Plan:
    """Compounds of two nouns; beyond some 250k tokens the seldom ones come again, beyond 2.5M too often."""
    words = [first + second for first, second in permutations(NOUNS.split(), 2)]
    words = draw.sample(words, len(words))
    example = _word_list(draw, words[:COMMON], words[COMMON : 2 * COMMON], often=3, seldom=1, shown=COMMON)
    rest = words[2 * COMMON :]
    return _after(example, _word_list(draw, rest[:COMMON], rest[COMMON:], often=OFTEN, seldom=SELDOM))


def _word_list(
    draw: random.Random, common: list[str], rest: list[str], *, often: int, seldom: int, shown: int = 0
) -> Plan:
    """Each of `common` comes up `often` times, each of the rest up to `seldom`; a piece is an entry beyond `shown`."""
    seed = draw.random()
    entries = [word for word in rest for _ in range(seldom)]

    def context(count: int) -> str:
        words = [*common * often, *islice(cycle(entries), shown + count)]
        random.Random(seed).shuffle(words)
        listed = " ".join(f"{number}. {word}" for number, word in enumerate(words, 1))
        return f"Here is a numbered list of words, some of which come up much more often than others.\n\n{listed}"

    return Plan(
        context,
        f"Which {len(common)} words come up most often in the list?",
        tuple(common),
        f"The {len(common)} words that come up most often are",
    )


def _fwe(draw: random.Random, _source: Source) -> Plan:
    """Words of three syllables; the commonest of all, the dots, is noise."""
    syllables = [consonant + vowel for consonant, vowel in product("bdfgklmnprstvz", "aeiou")]
    drawn = draw.sample(range(len(syllables) ** 3), 2000)  # the rank that 6 million words reach
    coded = [_spelt(number, syllables, 3) for number in drawn]
    seed = draw.random()

    def context(count: int) -> str:
        total = FEWEST_CODED + count
        words = [word for word, times in zip(coded, zipf_counts(total), strict=False) for _ in range(times)]
        words += ["..."] * (total - len(words))
        random.Random(seed).shuffle(words)
        return f"Here is a coded text. The dots mean nothing, all else are coded words.\n\n{' '.join(words)}"

    return Plan(
        context,
        f"The dots aside, which {FREQUENT} coded words come up most often in the text?",
        tuple(coded[:FREQUENT]),
        f"The {FREQUENT} coded words that come up most often are",
    )


def zipf_counts(total: int) -> Iterator[int]:
    """How often the words of rank 2, 3, ... come up among `total`: total / (zeta(2) * rank²), whole, while above 0."""
    for rank in count_from(2):
        times = int(total / (math.pi**2 / 6 * rank**2))
        if times == 0:
            return
        yield times


# qa: a paragraph among paragraphs


def _qa(draw: random.Random, source: Source) -> Plan:
    facts = source.documents.facts
    invented = _invented_facts(draw)
    fact = facts[source.seed % len(facts)] if facts else invented.pop()
    given = dict.fromkeys((*(other.paragraph for other in facts), *source.documents.distractors))
    others = [text for text in given if text.strip() and text != fact.paragraph]
    distractors = [*draw.sample(others, len(others)), *(other.paragraph for other in invented)]
    return Plan(
        _among(fact.paragraph, distractors, draw.random()),
        f"Answer by what these documents say. {fact.question}",
        fact.answers,
        "The answer, in a few words, is:",
    )


def _among(paragraph: str, distractors: Sequence[str], depth: float) -> Callable[[int], str]:
    """The context with n words of distractors, the last one cut short, and the paragraph at a depth of 0 to 1."""

    def context(count: int) -> str:
        shown: list[str] = []
        for distractor in cycle(distractors):
            if count <= 0:
                break
            pieces = _pieces(distractor)
            shown.append("".join(pieces[:count]).rstrip())
            count -= len(pieces)
        shown.insert(round(depth * len(shown)), paragraph)
        listed = (f"Document {number}: {text}" for number, text in enumerate(shown, 1))
        return "A question about these documents comes after them.\n\n" + "\n\n".join(listed)

    return context


def _invented_facts(draw: random.Random) -> list[Fact]:
    """Each form with each place, some 200k tokens, in a drawn order."""
    forms = [(form, place) for form in FORMS for place in PLACES]
    return [_invented_fact(form, place, draw) for form, place in draw.sample(forms, len(forms))]


def _invented_fact(form: str, place: str, draw: random.Random) -> Fact:
    slots = {
        "place": place,
        "town": PLACES[PLACES.index(place) - draw.randrange(1, len(PLACES))],  # any other
        "name": f"{draw.choice(GIVEN_NAMES)} {draw.choice(FAMILY_NAMES)}",
        "given": draw.choice(GIVEN_NAMES),
        "number": str(draw.randint(211, 9899)),
        "year": str(draw.randint(1503, 1987)),
    }
    *paragraph, question, answer = form.format(**slots).splitlines()
    return Fact(question, (answer,), " ".join(paragraph))


MAKERS: dict[str, Callable[[random.Random, Source], Plan]] = {
    "niah_single": _niah,
    "niah_multikey_1": partial(_niah, keys=VALUES),
    "niah_multikey_2": partial(_niah, crowded=True),
    "niah_multivalue": partial(_niah, values=VALUES),
    "niah_multiquery": partial(_niah, keys=VALUES, queries=VALUES),
    "vt": _vt,
    "cwe": _cwe,
    "fwe": _fwe,
    "qa": _qa,
}
TASKS = tuple(MAKERS)
