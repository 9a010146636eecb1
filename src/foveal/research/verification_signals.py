"""What can be read off a claim and a cited text without a model: the parts of a verdict's score.

    windows(passage, Read.of(claim))                       # one to three sentences in a row, that fit the claim best
    signals(claim, best_windows, held, passages, cosine)   # name -> value, in the order of `NAMES`

Quote     cover: share of the claim's words that the best windows hold; pairs: of its neighbouring words that are near
          there, too; kept: of its words that any cited passage holds; matter: kept, as far as it says that the text is
          on the matter
Anchors   number_lost, name_lost: whether the passages lack one; number_rival: and the window has another of its kind;
          opening_lost: they lack the word that opens the claim, which may be a name; elsewhere: a number or name is in
          the passages, but not in the window; placed: mean over anchors of the share of the words around it that stand
          around it in the window, too
Turned    negated: the claim says "not" of what the window's nearest sentence says without it, or the other way round;
          opposed: the claim has "increases" where that sentence has "decreases", and the like. Both weigh by cover
Meaning   cosine of claim and window (set by who has an encoder); near: as far as it says that it is on the matter
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise

from foveal.research.anchors import Held, anchors, missing, plain
from foveal.research.quantities import Anchor, rivals
from foveal.research.roles import told_conversely
from foveal.retrieval.words import FUNCTION_WORDS
from foveal.text.units import sentences
from foveal.types import Passage, Span


def _listed(words: str) -> list[str]:
    return words.split()


NAMES = (
    "cover", "matter", "pairs", "kept", "number_lost", "number_rival", "name_lost", "opening_lost", "elsewhere",
    "placed", "negated", "opposed", "cosine", "near",
)  # fmt: skip
"""The signals, in the order of the weights."""

ENOUGH = 0.6
"""Share of words, or cosine, above which a text is on the matter."""
WORD_FOR_WORD = 0.9
"""Share of a claim's other words from which on it says the same but for one."""
DENIED = 3
"""Words behind a "not" that it is said of."""
AROUND = 4
"""Words on each side of an anchor that belong to its place."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+")
_PARTS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+|[\u1100-\u11ff]+|[^\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff]+")
"""Of a run of letters in plain form: ideographs, Hangul, and the number or Latin word that may stand between them."""

_SUFFIX = re.compile(r"(?:ments|ment|ations|ation|ingly|edly|ings|ing|ies|ied|ers|er|ed|es|ly|s|e|y)\Z")
_NOT = frozenset(
    _listed("not no never none nobody nothing neither nor without cannot failed fails lacks lacked unable")
)
_NOT_ELSEWHERE = frozenset(
    _listed(
        "nicht kein keine keinen keinem keiner keines niemals nie keineswegs niet geen nooit nunca jamás ningún "
        "ninguno ninguna não nenhum nenhuma inte ingen inga inget aldrig ikke aldri не нет никогда"
    )
)
"""The same of German, Dutch, Spanish, Portuguese, Swedish, Danish, Polish, Russian; words that English has are left
out. French says it in two words."""
_SECOND_OF_TWO = frozenset(_listed("pas plus jamais aucun aucune rien guère nullement personne ni"))
_NOT_IN_STEMS = re.compile(rf"\b(?:{'|'.join(sorted(_NOT_ELSEWHERE))}|ne)\b|\bn['’]\w", re.IGNORECASE)
_NO_PROOF = frozenset(_listed("evidence proof indication indications sign signs"))
_PROVING = frozenset(
    _listed(
        "found seen shown given show shows showed suggest suggests suggested suggesting indicate indicates support "
        "supports supporting supported exist exists available clear convincing strong sufficient"
    )
)
"""What "no evidence" is not said of: "no evidence was found that it burnt" denies that it burnt."""
_NO_DENIAL = re.compile(
    r"\s+(?:but\b"
    r"|(?P<only>(?:only|just|merely|simply|solely|nur|bloß|lediglich|allein|alleen|slechts|enkel|bara|endast|bare|kun"
    r"|tylko|jedynie|wyłącznie|только|лишь)\b)"
    r"|(?:\w+\s+)?(?P<alone>(?:seulement|uniquement|solo|sólo|solamente|únicamente|só|apenas|somente)\b)"
    r"|(?:\w+\s+)?(?P<doubt>(?:doubts?|exception|zweifel|twijfel|doute|duda|dúvida|tvivel|tvil|wątpliwości|сомнений)\b)"
    r"|(?P<than>(?:fewer|less|more|later|earlier|weniger|mehr|später|früher|minder|meer|later|eerder|moins|plus|menos|más"
    r"|mais|mindre|mer|fler|färre|mere|flere|færre|mniej|więcej|меньше|больше)"
    r"\s+(?:than|als|dan|que|qu['’]|de|do|än|end|enn|niż|чем)\b|(?:менее|более)\b)"
    r"|(?:(?!(?:but|and|or|who|which|that|y|o|e)\b)\w+\s+){0,5}(?P<until>(?:until|till|hasta|até)\b))",
    re.IGNORECASE,
)
"""Behind a "not" or the like: "not only", "nothing but", "no doubt", "no fewer than 50", "not built until 1820"."""
_UNDONE = re.compile(
    r"un(?!til|less|like\Z|ions?\Z|cover)|ir(?!radia|ritat)|il(?=l(?!u))"
    r"|dis(?=agree|appear|approv|assembl|comfort|connect|continu|engag|honest|honour|lik|loyal|obey|obedi|organi|prove"
    r"|proportion|qualif|satisf|similar|trust)"
    r"|im(?=balanc|matur|mobil|moral|mortal|partial|perfect|permea|personal|plausib|polite|possib|practica|precis|probab"
    r"|proper|pure)"
    r"|in(?=ability|access|accura|action|activ|adequa|applicab|appropria|attent|capab|coheren|compat|compet|complet|congru"
    r"|conclusi|consisten|convenien|correct|curab|decis|definite|dependen|determina|direct|distinguish|divisib|effective"
    r"|effici|elig|equal|equit|exact|expensive|experience|explic|fertil|finit|flexib|formal|frequent|homogen|human|just"
    r"|organic|secur|sensitiv|significan|solub|stab|suffici|toler|tract|valid|variant|vertebrat|visib|volunt|vulnera)"
)
"""A syllable that makes a word its opposite: "unsafe". Most that begin so are none: "until", "income", "discover"."""
_OPPOSITES = tuple(
    tuple(frozenset(side.split()) for side in pair.split("|"))
    for pair in (
        "increase increases increased increasing raise raises raised rise rises rose grow grows grew higher more "
        "enhance enhances enhanced promote promotes promoted upregulate upregulates upregulated elevated greater "
        "gain gains|decrease decreases decreased decreasing lower lowers lowered fall falls fell less fewer reduce "
        "reduces reduced reducing reduction inhibit inhibits inhibited impair impairs impaired downregulate "
        "downregulates downregulated decline declined drop dropped loss suppress suppresses suppressed",
        "before earlier|after later",
        "first|last",
        "north northern|south southern",
        "east eastern|west western",
        "won win wins winning|lost lose loses losing",
        "activate activates activated activation|inactivate inhibit inhibits inhibited deactivate",
        "positive positively|negative negatively",
        "largest biggest greatest|smallest",
        "oldest|youngest newest",
        "with|without",
        "always|never",
        "all|none",
        "present|absent",
        "born|died",
        "male men man|female women woman",
        "husband|wife",
        "father son brother|mother daughter sister",
        "accept accepts accepted approve approved|reject rejects rejected refuse refused",
        "open opens opened|close closes closed",
        "begin begins began start starts started|end ends ended stop stops stopped",
        "support supports supported|oppose opposes opposed",
        "major majority|minor minority",
        "minimum minimal|maximum maximal",
        "twice double doubled|half halved",
        "sensitive|resistant resistance",
    )
)


@dataclass(frozen=True)
class Window:
    """Sentences in a row of a passage, with the words to compare."""

    passage: Passage  # of the window: its own text and place
    whole: Passage

    @cached_property
    def words(self) -> list[str]:
        """Stems, in order."""
        return stems(self.passage.text)

    @cached_property
    def known(self) -> frozenset[str]:
        """Its stems, as a set."""
        return frozenset(self.words)


@dataclass(frozen=True)
class Read:
    """A claim, its anchors and its words."""

    text: str
    anchors: tuple[Anchor, ...] = field(default=())
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Read:
        """The claim, read once for all passages."""
        return cls(text, tuple(anchors(text)), tuple(stems(text)))


def stems(text: str) -> list[str]:
    """The words of a text in order, shortened to what their forms share; function words out, ideographs in pairs."""
    return list(_stems_of(text))


@lru_cache(maxsize=16384)
def _stems_of(text: str) -> tuple[str, ...]:
    """Kept: passages, facts and lines are compared again and again."""
    found: list[str] = []
    for match in _WORD.finditer(text):
        for word in _PARTS.findall(plain(match[0])):
            if _IDEOGRAPHS.match(word):
                found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
            elif word not in FUNCTION_WORDS:
                cut = _SUFFIX.sub("", word)
                found.append(cut if len(cut) >= 3 else word)
    return tuple(found)


def windows(passage: Passage, claim: Read, most: int = 4) -> list[Window]:
    """The `most` windows of one to three sentences with the most words of the claim; short ones first among equals."""
    places = [(start, end) for start, end in sentences(passage.text) if passage.text[start:end].strip()]
    found = [
        Window(_cut(passage, places[at][0], places[at + size - 1][1]), passage)
        for size in (1, 2, 3)
        for at in range(len(places) - size + 1)
    ]
    wanted = set(claim.words)
    return sorted(found, key=lambda one: -len(wanted & one.known) + 0.01 * len(one.words))[:most]


def cover(claim: Read, window: Window) -> float:
    """The share of the claim's words that the window holds."""
    wanted = set(claim.words)
    return len(wanted & window.known) / len(wanted) if wanted else 0.0


def signals(
    claim: Read, best: Sequence[Window], held: Held, passages: Sequence[Passage], cosine: float
) -> dict[str, float]:
    """The signals of a claim: `best` is the best window of each passage, the best of all first.

    `held` is what all cited text holds, headings and titles included.
    """
    joined = [word for window in best for word in window.words]
    lost = missing(claim.anchors, held)
    known = set(lost)
    wanted = set(claim.words)
    covered = len(wanted & set(joined)) / len(wanted) if wanted else 0.0
    everywhere = {word for one in passages for word in [*stems(one.heading or ""), *stems(one.text)]}
    kept = len(wanted & everywhere) / len(wanted) if wanted else 0.0
    said = nearest_sentence(claim, best[0]) if best else ""
    close = Held.of("\n".join(f"{one.passage.heading or ''}.\n{one.passage.text}" for one in best))
    return {
        "cover": covered,
        "matter": min(1.0, kept / ENOUGH),
        "pairs": _pairs(claim.words, joined),
        "kept": kept,
        "number_lost": float(any(one.kind != "name" for one in lost)),
        "number_rival": float(rivals(lost, close.found, claim.anchors)),
        "name_lost": float(any(one.kind == "name" for one in lost)),
        "opening_lost": float(_opening_lost(claim, held)),
        "elsewhere": float(not known.issuperset(missing(claim.anchors, close))),
        "placed": _placed(claim, joined, covered),
        "negated": covered * float(turned(claim.text, said)),
        "opposed": covered * float(opposed(claim.text, said)),
        "cosine": cosine,
        "near": min(1.0, max(0.0, cosine) / ENOUGH),
    }


def nearest_sentence(claim: Read, window: Window) -> str:
    """The sentence of a window with the most words of the claim."""
    text, wanted = window.passage.text, set(claim.words)
    pieces = [text[start:end] for start, end in sentences(text)]
    return max(pieces, key=lambda one: len(wanted & set(stems(one))), default="")


def turned(claim: str, said: str) -> bool:
    """Whether one of two texts says "not" of what the other one says without it."""
    denied, refused = denies(claim, said), denies(said, claim)
    if _same_by_syllable(claim, said, denied, refused):
        return False
    if denied and not refused:
        return bool(said)
    if _mostly(denied, refused):
        return False
    if denied and refused and _NOT_IN_STEMS.search(claim) and _NOT_IN_STEMS.search(said):
        return False  # of words that are not cut to stems it cannot be told which of them both deny
    mine, its = set(stems(claim)), set(stems(said))
    return _mostly(denied, its) or _mostly(refused, mine)


def denies(text: str, other: str = "") -> set[str]:
    """The stems that stand behind a "not" or the like: the `DENIED` next words that say something. In German, Dutch and
    others it may end its sentence; there they are the words before. `other` is what the text is held against."""
    places = list(_WORD.finditer(text))
    written = [one[0].casefold().replace("’", "'") for one in places]
    found = [plain(one) for one in written]
    denied: set[str] = set()
    for at, word in enumerate(found):
        second = _second_of_french_not(written[at : at + 6])
        elsewhere = written[at] in _NOT_ELSEWHERE or second > 0
        if not (elsewhere or word in _NOT or word.endswith("n't")) or _stays_so(text, places[at + second].end(), other):
            continue
        passed = _NOT | {found[at + second]} if second else _NOT
        after = [one for one in found[at + 1 : at + 1 + 3 * DENIED] if one not in passed]
        if any(one in _NO_PROOF for one in after[:3]):
            after = [one for one in found[at + 1 : at + 1 + 5 * DENIED] if one not in _NOT | _NO_PROOF | _PROVING]
        own = stems(" ".join(after))[:DENIED]
        if elsewhere and not own:
            own = stems(" ".join(found[max(0, at - 3 * DENIED) : at]))[-DENIED:]
        denied.update(own)
    return denied


def is_not(word: str) -> bool:
    """Whether a word is part of a "not"; of French ones "n'" without its apostrophe."""
    return word in _NOT or word in _NOT_ELSEWHERE or word in _SECOND_OF_TWO or word in ("ne", "n")


def _stays_so(text: str, end: int, other: str) -> bool:
    """Whether what stands behind a "not" that ends at `end` makes it none: what "not only", "no fewer than" and "not
    until" are said of is so, but where the other text has that word, too: "only", "fewer than 50", "ran until 1950"."""
    found = _NO_DENIAL.match(text, end)
    if found is None:
        return False
    word = next(filter(None, found.groups()), "")
    return not word or re.search(rf"\b{re.escape(word)}\b", other, re.IGNORECASE) is None


def _second_of_french_not(words: Sequence[str]) -> int:
    """The place of the second word, where words begin as "n'a pas" and "ne … jamais" do; else 0."""
    if words[0] != "ne" and not words[0].startswith("n'"):
        return 0
    return next((at for at, word in enumerate(words) if word in _SECOND_OF_TWO), 0)


def _mostly(denied: set[str], said: set[str]) -> bool:
    return bool(denied) and len(denied & said) * 2 >= len(denied)


def opposed(claim: str, said: str) -> bool:
    """Whether one of two opposite words stands in the claim alone, and the other in what is said alone; but "B lost to
    A" and "A beat B" are the same."""
    return bool(_turned_round(claim, said))


def reversed_in(claim: Read, window: Window) -> bool:
    """Whether a claim is what a window's nearest sentence says, but for a word that is the opposite of one there."""
    said = nearest_sentence(claim, window)
    rest = set(claim.words) - {stem for word in _turned_round(claim.text, said) for stem in stems(word)}
    return len(rest) < len(set(claim.words)) and len(rest & set(stems(said))) >= WORD_FOR_WORD * len(rest)


def _turned_round(claim: str, said: str) -> set[str]:
    """The words of the claim whose opposites stand in their place, but those that say the same from the other side."""
    found = _exchanged(claim, said)
    return found - told_conversely(claim, said) if found else found


def _exchanged(claim: str, said: str) -> set[str]:
    """The words of the claim whose opposites stand in their place in what is said."""
    only_mine, only_its, mine, its = _apart(claim, said)
    undone = _by_syllable(only_mine, only_its)
    if undone and _same_by_syllable(claim, said, denies(claim, said), denies(said, claim)):
        undone = {}
    return undone.keys() | {
        word
        for pair in _OPPOSITES
        for own, other in (pair, pair[::-1])
        if own & only_mine and other & only_its and not own & its and not other & mine
        for word in own & only_mine
    }


def _apart(claim: str, said: str) -> tuple[set[str], set[str], set[str], set[str]]:
    """The words of each text that the other lacks, and all of each."""
    mine, its = ({plain(found[0]) for found in _WORD.finditer(text)} for text in (claim, said))
    return mine - its, its - mine, mine, its


def _by_syllable(only_mine: set[str], only_its: set[str]) -> dict[str, str]:
    """Words and their opposites by a syllable before one of them: safe, unsafe."""
    return {
        short if mine_is_short else long: long if mine_is_short else short
        for longs, shorts, mine_is_short in ((only_its, only_mine, True), (only_mine, only_its, False))
        for long in longs
        if (begins := _UNDONE.match(long)) and len(short := long[begins.end() :]) >= 4 and short in shorts
    }


def _same_by_syllable(claim: str, said: str, denied: set[str], refused: set[str]) -> bool:
    """Whether one text says "not" of a word of which the other has the opposite: "not safe", "unsafe"."""
    if not denied and not refused:
        return False
    only_mine, only_its, *_ = _apart(claim, said)
    return any(
        denied.isdisjoint(stems(own)) != refused.isdisjoint(stems(other))
        for own, other in _by_syllable(only_mine, only_its).items()
    )


def _opening_lost(claim: Read, held: Held) -> bool:
    """Whether the word that opens the claim may be a name, is no anchor, and is not held."""
    found = _WORD.search(claim.text)
    if (
        found is None
        or not found[0][0].isupper()
        or claim.text[found.end() : found.end() + 1] == ","
        or any(one.start <= found.start() < one.end for one in claim.anchors)
    ):
        return False
    return plain(found[0]) not in FUNCTION_WORDS and not held.holds_word(found[0])


def _pairs(words: Sequence[str], among: Sequence[str], reach: int = 3) -> float:
    """The share of neighbouring words that follow each other there within `reach` words."""
    if len(words) < 2:
        return 0.0
    near = {(one, other) for at, one in enumerate(among) for other in among[at + 1 : at + 1 + reach]}
    return sum(pair in near for pair in pairwise(words)) / (len(words) - 1)


def _placed(claim: Read, among: Sequence[str], otherwise: float) -> float:
    """How well the anchors stand among the words that they stand among in the claim; without anchors `otherwise`."""
    own_of = [own for one in claim.anchors if (own := tuple(stems(one.text)))]
    if not own_of:
        return otherwise
    lasts = {word: at for at, word in enumerate(claim.words)}
    places = defaultdict[str, list[int]](list)
    for at, word in enumerate(among):
        places[word].append(at)
    known: dict[tuple[str, frozenset[str]], float] = {}  # a table has the same anchor in each row
    shares = []
    for own in own_of:
        key = own[-1], _around(claim.words, own, lasts.get(own[-1], 0))
        if key not in known:
            known[key] = _most_around(key[1], among, places.get(own[-1], ()))
        shares.append(known[key])
    return sum(shares) / len(shares)


def _around(words: Sequence[str], own: Sequence[str], last: int) -> frozenset[str]:
    """The words of a claim around an anchor whose last word is at `last`."""
    first = max(0, last - len(own) + 1)
    around = (*words[max(0, first - AROUND) : first], *words[last + 1 : last + 1 + AROUND])
    return frozenset(around).difference(own)


def _most_around(around: frozenset[str], among: Sequence[str], places: Iterable[int]) -> float:
    """The most of some words that stand around one of some places, as a share of them."""
    near = (len(around.intersection(among[max(0, at - 2 * AROUND) : at + 2 * AROUND + 1])) for at in places)
    return max(near, default=0) / max(1, len(around))


def _cut(passage: Passage, start: int, end: int) -> Passage:
    text = passage.text[start:end].strip()
    first = passage.span.start + start + passage.text[start:end].index(text)
    return Passage(Span(passage.span.document_id, first, first + len(text)), text, passage.heading)
