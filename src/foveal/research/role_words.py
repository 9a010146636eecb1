"""The words by which roles are told: what binds, what is the same both ways, what says a thing the other way round.

Sentence     the words of a sentence in order, with a key that the forms of a word share (wrote, written)
SYMMETRIC    what holds both ways: met, married, borders
CONVERSE     a verb or noun and how its second side is bound -> the relation, and whether it tells it from the other
             side: "A sold it to B" is "B bought it from A"
OPPOSITES    the same of what is compared: older and younger, before and after, north and south
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from foveal.research.anchors import plain


def listed(words: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(words.split())


BEING = listed("is are was were be been being am get gets got")
DOING = listed("do does did")
PREPOSITIONS = listed(
    "of in on at by to from with over under against into through than as for onto upon toward towards via between "
    "among about across along around beside near within without during until since off out up like ahead behind "
    "inside outside"
)
ARTICLES = listed("the a an his her its their")
DETERMINERS = ARTICLES | listed("this that these those")
RELATIVE = listed("that which who whom whose")
CLAUSE = RELATIVE | listed("when while where because although though if but whereas")
"""Words that open a clause of its own."""
BOTH_WAYS = listed("with between among like near beside alongside and or as opposite versus")
"""What binds two sides that may change places."""
PARTING = listed("; : — –")
BRACKETS = listed(", ( )")

_SMALL = (
    BEING
    | DOING
    | PREPOSITIONS
    | DETERMINERS
    | CLAUSE
    | listed(
        "and or nor so yet it he him she hers they them theirs we us our you your i my me not no has have had having "
        "will would can could may might shall should must there here then also both either neither each all some any "
        "only just later soon again still already even very more most less least too such other another own same one "
        "ones what how why whether s before after above below"
    )
)
_VERBS = (
    "beat beats beaten | write writes wrote written | take takes took taken | drive drives drove driven | give "
    "gives gave given | forgive forgives forgave forgiven | choose chooses chose chosen | steal steals stole stolen "
    "| break breaks broke broken | sell sells sold | buy buys bought | teach teaches taught | bring brings brought "
    "| send sends sent | lend lends lent | lead leads led | win wins won | lose loses lost | find finds found | "
    "make makes made | pay pays paid | hold holds held | leave leaves left | build builds built | eat eats ate "
    "eaten | see sees saw seen | know knows knew known | fall falls fell fallen | rise rises rose risen | hide "
    "hides hid hidden | bite bites bit bitten | throw throws threw thrown | catch catches caught | shoot shoots "
    "shot | tell tells told | think thinks thought | say says said | sing sings sang sung | begin begins began "
    "begun | overthrow overthrows overthrew overthrown | overtake overtakes overtook overtaken | strike strikes "
    "struck | speak speaks spoke spoken | wear wears wore worn | draw draws drew drawn | grow grows grew grown | "
    "feed feeds fed | spend spends spent | lay lays laid | withdraw withdraws withdrew withdrawn | swear swears "
    "swore sworn | drink drinks drank drunk | fly flies flew flown | keep keeps kept | lie lies lay lain | meet "
    "meets met | run runs ran | seek seeks sought | sink sinks sank sunk | slay slays slew slain | stand stands "
    "stood | understand understands understood"
)
_IRREGULAR = {form: verb.split()[0] for verb in _VERBS.split(" | ") for form in verb.split()}
_PARTICIPLES = listed("set cut put hit hurt shut read cast split spread run come become born")
_SUFFIX = re.compile(r"(?:ations|ation|ingly|edly|ings|ing|ies|ied|ers|er|ed|es|(?<!p)ly|s|e|y)\Z")
_LETTERS = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"[^\W_]+(?:['’](?!s\b)[^\W_]+)*|(?<=\w)['’]s\b|(?<=s)['’](?=\s)|[,;:()—–]")


def key_of(word: str) -> str:
    """What the forms of a word share."""
    base = _IRREGULAR.get(word, word)
    cut = _SUFFIX.sub("", base)
    if len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] not in "ls":
        cut = cut[:-1]
    return cut if len(cut) >= 3 else base


def is_participle(word: str) -> bool:
    """Whether a word may be the participle of a passive."""
    irregular = _IRREGULAR.get(word, word) != word and not word.endswith("s")
    return word.endswith(("ed", "en")) or irregular or word in _PARTICIPLES


def plain_forms(word: str) -> tuple[str, ...]:
    """What a comparative may be the comparative of: "bigger", "larger", "heavier"."""
    if word in ("better", "worse", "further", "farther"):
        return (word,)
    stem = word[:-2]
    return (stem, stem[:-1], f"{stem}e", f"{stem[:-1]}y") if word.endswith("er") else ()


def is_verb_by_form(word: str) -> bool:
    """Whether the form of a word tells that it may be a verb: "causes", "caused"."""
    return word.endswith(("s", "ed")) or word in _IRREGULAR


_SYMMETRIC = (
    "married marry marriage wed met meet meeting sibling brother sister cousin friend partner rival neighbour neighbor "
    "border adjoin equal same similar different differ resemble next share together opposite connect link join related "
    "relative correlate associate twin colleague contemporary ally agree spouse fight fought play draw tie compare "
    "interact collaborate work alongside distance combine mix divorce cross touch contact versus wife husband call "
    "name face debate date intersect"
)
SYMMETRIC = frozenset(key_of(word) for word in _SYMMETRIC.split())

CONVERSE = {
    (key_of(word), mark): (name, flipped)
    for name, flipped, mark, words in (
        ("trade", False, "from", "buy purchase acquire"),
        ("trade", True, "to", "sell"),
        ("teach", False, "", "teach instruct"),
        ("teach", True, "from", "learn"),
        ("beat", False, "", "beat defeat"),
        ("beat", False, "against", "win"),
        ("beat", False, "over", "win"),
        ("beat", True, "to", "lose"),
        ("beat", True, "against", "lose"),
        ("precede", False, "", "precede"),
        ("precede", True, "", "follow succeed replace"),
        ("lend", False, "to", "lend"),
        ("lend", True, "from", "borrow"),
        ("give", False, "to", "give send hand"),
        ("give", True, "from", "receive get"),
        ("own", False, "", "own"),
        ("own", True, "to", "belong"),
        ("parent", False, "of", "father mother parent"),
        ("parent", True, "of", "son daughter child"),
        ("teacher", False, "of", "teacher mentor tutor"),
        ("teacher", True, "of", "pupil student disciple apprentice"),
        ("uncle", False, "of", "uncle aunt"),
        ("uncle", True, "of", "nephew niece"),
        ("grandparent", False, "of", "grandfather grandmother grandparent"),
        ("grandparent", True, "of", "grandson granddaughter grandchild"),
        ("predecessor", False, "of", "predecessor"),
        ("predecessor", True, "of", "successor"),
    )
    for word in words.split()
}
CONVERSE_KEYS = frozenset(key for key, _ in CONVERSE)
_KEYS: dict[str, set[str]] = {}
for _told, _relation in CONVERSE.items():
    _KEYS.setdefault(_relation[0], set()).add(_told[0])


def keys_of(relation: str) -> Set[str]:
    """The keys of the words that may tell a relation: of "beat" those of beat, win, lose."""
    return _KEYS.get(relation, {relation})


OPPOSITES = {
    word: (pair.split()[0], side == 1)
    for pair in (
        "old|young new recent",
        "high tall|low short",
        "big large great|small little tiny",
        "heavy|light",
        "fast quick rapid|slow",
        "good better|bad worse",
        "early soon|late",
        "strong|weak",
        "rich|poor",
        "long|brief",
        "wide broad|narrow",
        "thick|thin",
        "warm hot|cold cool",
        "near close|far farther further",
        "deep|shallow",
        "bright|dark dim",
        "more|less few fewer",
    )
    for side, words in enumerate(pair.split("|"))
    for word in words.split()
}
PLACES = {
    word: (pair.split()[0], side == 1)
    for pair in ("before after", "above below", "ahead behind", "north south", "east west")
    for side, word in enumerate(pair.split())
}
MORE = listed("more less fewer")
OPENERS = PREPOSITIONS | CLAUSE | PLACES.keys()
"""Words behind which a name that opens a sentence is not its subject."""
NO_WAYS = frozenset(
    map(key_of, listed("distance range vary back return stretch extend road railway railroad tunnel bridge line route"))
)
"""What makes "from A to B" the same as "from B to A"."""
_MUTUAL = re.compile(r"\band(?: also)? (?:vice versa|the other way a?round|conversely(?= *[.;,)]*$))", re.IGNORECASE)
"""Of a whole sentence; but "Conversely, A beat B" and "rather than vice versa" tell one direction."""
_MUTUALLY = listed("mutually reciprocally")
_NOT = listed("not no never none nobody neither nor without cannot")


_ENGLISH = listed(
    "the and from with his were which that has their by she he who for of to at on before after than over but not as "
    "into an this it they there became had been whose"
)
_OTHER = listed(
    "der die das und den dem ist nicht ein eine mit von el la los las que del por una le les des et est du dans il di "
    "che het een van och att det som os ao da em não na jest się w z i ve bir ja"
)


ENOUGH = 0.08
"""Share of words that are small ones of English from which on a text is English; others have a few that look so."""


def is_english(texts: Iterable[str]) -> bool:
    """Whether texts have enough small words of English, and no more of other languages."""
    words = [word.lower() for text in texts for word in _LETTERS.findall(text)]
    known = sum(word in _ENGLISH for word in words)
    return known > max(ENOUGH * len(words), sum(word in _OTHER for word in words))


@dataclass(frozen=True)
class Sentence:
    """The words and marks of a sentence in order, in plain form; keys of those with a meaning, else ""."""

    words: tuple[str, ...]
    keys: tuple[str, ...]
    written: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Sentence:
        """The sentence, read once."""
        return _read(text)

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Where each key stands."""
        found: dict[str, list[int]] = {}
        for at, key in enumerate(self.keys):
            if key:
                found.setdefault(key, []).append(at)
        return found

    @cached_property
    def capital(self) -> tuple[bool, ...]:
        """Which words begin with a capital."""
        return tuple(one[0].isupper() for one in self.written)

    @cached_property
    def denied(self) -> bool:
        """Whether it has a "not"."""
        return any(one in _NOT or one.endswith("n't") for one in self.words)

    def is_mutual(self, relation: str) -> bool:
        """Whether it says of a relation that it holds both ways: "beat each other", "and vice versa"."""
        if _MUTUAL.search(self.shown(0, len(self.words))):
            return True
        pairs = (at for at, two in enumerate(pairwise(self.words)) if two in (("each", "other"), ("one", "another")))
        adverbs = (range(at - 1, at + 2) for at, word in enumerate(self.words) if word in _MUTUALLY)
        near = (*adverbs, *(range(at - 2, at) for at in pairs))
        return any(0 <= at < len(self.keys) and self.keys[at] in keys_of(relation) for some in near for at in some)

    def shown(self, start: int, end: int) -> str:
        """The words between two places as they are written."""
        return " ".join(self.written[start:end])

    def word(self, at: int) -> str:
        """The word at a place; "" outside."""
        return self.words[at] if 0 <= at < len(self.words) else ""


@lru_cache(maxsize=16384)
def _read(text: str) -> Sentence:
    raw = tuple(one[0] for one in _WORD.finditer(text))
    words = tuple(_plainly(one) for one in raw)
    keys = tuple(key_of(word) if word[:1].isalnum() and word not in _SMALL else "" for word in words)
    return Sentence(words, keys, raw)


def _plainly(word: str) -> str:
    if word[0] in "'’":
        return "'s"
    return plain(word) if word[0].isalnum() else word
