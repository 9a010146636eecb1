"""Words that a PDF's lines, columns and pages cut at a hyphen, made whole as the document itself writes them.

    vocabulary = Vocabulary.of(pages)              # what no line cuts, and how often
    mended(page, vocabulary)                       # "con" U+FFFE "taining" -> "containing"; U+FFFE stands for the cut

Seen      the joined word or the hyphenated one stands elsewhere in the document: the more frequent one is meant; else
          either with another ending ("checkpoint" for "check-" + "points")
Kept      a hyphen before a capital ("Anglo-Saxon"), beside a digit or a single letter, in an address, in a chain
          ("state-of-the-art"), behind "well" or "self", between capitals and small letters ("XML-based"), in an option
          ("--max-bytes"), and where the document often writes one behind that part; with a blank behind it before
          "and" ("pre- and post-processing")
Dropped   the others, unless both parts are words of the document that do not usually grow together; what it writes only
          with a capital is a noun of German, and part of a longer one ("Haupt" + "satz")
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise

FULL = "\uffff"
"""Ends a line that a hyphen shows to have been full."""

ENDING, OTHER_ENDING = 2, 4
"""Letters that may be off a word's end, and that another form of it may have more."""

LOOKED_AT, FARTHEST = 50, 200
"""Words of one beginning that are counted; characters before a cut that may be of the same address."""

CONTROLS = re.compile(r"[\x00-\x01\x03-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CUT = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=[^\W\d_])")
_SOFT = re.compile(r"\u00ad(?=\w)")  # within a line it says where a word may be cut, and is not printed
_BROKEN = re.compile(r"(?<!\w)(\w++)\ufffe(?:[ \t]*+(?=\w)|\s*+(?=[^\W\d]))(\w++)(\S*+) ?")
_WORD = re.compile(r"[^\W\d_]+")
_CHAIN = re.compile(r"(?<![\w-])\w++(?:[-\u2010\u2011]\w++)+")
_LAST_PART = re.compile(r"(?<!\w)(\w++)[-\u00ad\u2010\ufffe]\Z")
_ENDLESS = re.compile(r"(?<!\w)\w++[-\u00ad\u2010\ufffe](?!\w)")  # "pre- and post-processing", too
_FIRST_WORD = re.compile(r"(\w++)\S*+ ?")
_HEADING = re.compile(r"#{1,6} ")
_AND = re.compile(r"and|or|und|oder")
_FRENCH = re.compile(r"(?:celui|celles?|ceux)-(?:ci|là)|\w+-mêmes?")
_LINK = re.compile(r"of|the|to|by|and|for|with")
_ADDRESS = re.compile(r"://|^\W*www\.|@|\w\.\w+/")
_NAME = re.compile(r"[._@/]\w")  # "lgpl.html"
_OPEN = re.compile(r"well|self|half|quasi")
_CLOSED = re.compile(  # first parts of words that are written as one: "understand", "backward"
    r"any|back|down|every|for|fore|further|here|how|mean|more|never|no|out|over|pass|side|some|there|through|under|up"
    r"|what|when|where|who|with|with?out|your|them|him|her|it"
)
_SUFFIX = re.compile(r"ish|less|ness|hood|ward|wards|wise|able|ible|ment|ments|ship|most|full|fully|ed|er|ers|ing|ion")


@dataclass(frozen=True)
class Vocabulary:
    """How often a document writes a word, in lower case, where no line cuts it: alone, and with a hyphen ("a-b")."""

    counts: Counter[str]
    small: Counter[str]  # of the words, those that are written without a capital

    @classmethod
    def of(cls, pages: Sequence[str]) -> Vocabulary:
        """That of the pages, in which `cut_marked` has marked the cuts."""
        whole = _ENDLESS.sub(" ", _BROKEN.sub(" ", "\n".join(pages)))
        small = Counter(word for word in _WORD.findall(whole) if word.islower())
        whole = whole.lower()
        chains = (re.split("[-\u2010\u2011]", chain) for chain in _CHAIN.findall(whole))
        pairs = Counter(f"{a}-{b}" for chain in chains for a, b in pairwise(chain))
        return cls(Counter(_WORD.findall(whole)) + pairs, small)

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.counts)

    def beginning(self, begin: str, longest: int) -> Iterator[str]:
        """The words that begin so and have at most `longest` characters; of very many the first ones."""
        at = bisect_left(self._sorted, begin)
        for word in islice(self._sorted, at, at + LOOKED_AT):
            if not word.startswith(begin):
                return
            if len(word) <= longest:
                yield word

    def forms(self, begin: str, rest: str) -> int:
        """How often a word stands there that is `begin` + `rest` but for its ending."""
        word = begin + rest
        stem = word[: max(len(begin) + 2, len(word) - ENDING)]
        return sum(self.counts[one] for one in self.beginning(stem, len(word) + OTHER_ENDING))


def cut_marked(page: str) -> str:
    """The page with U+FFFE for each hyphen at a line's end, and without those that only say where a word may be cut."""
    return _SOFT.sub("", _CUT.sub("\ufffe", page))


def mended(page: str, vocabulary: Vocabulary) -> str:
    """The page with the words whole that hyphens cut."""

    def mend(broken: re.Match[str]) -> str:
        left, right, rest = broken.groups()
        heading = _HEADING.match(page, page.rfind("\n", 0, broken.start()) + 1)
        behind = (" " if heading else f"{FULL}\n") if broken[0].endswith(" ") else ""
        mark = hyphen(left, right, vocabulary, before=_beside(page, broken.start()), rest=rest)
        return f"{left}{mark}{right}{rest}{behind}"

    return _BROKEN.sub(mend, page)


def mended_cell(cell: str, vocabulary: Vocabulary) -> str:
    """What a cell of a table says, with the words whole that its lines cut."""
    whole = mended(cell.replace("\x02", "\ufffe"), vocabulary).replace(FULL, "").replace("\ufffe", "-")
    return " ".join(CONTROLS.sub("", whole).split())


def mended_over_pages(pages: Sequence[list[str]], vocabulary: Vocabulary) -> list[list[str]]:
    """The lines of the pages; a word that a hyphen cuts at a page's end is whole on that page."""
    whole = [list(page) for page in pages]
    for page, following in pairwise(whole):
        left, right = _LAST_PART.search(page[-1]), _FIRST_WORD.match(following[0])
        if left and right and right[1][0].isalpha() and not left[1][-1].isdigit():
            before, rest = _beside(page[-1], left.start()), right[0].rstrip()[len(right[1]) :]
            mark = hyphen(left[1], right[1], vocabulary, before=before, rest=rest, own=1)
            page[-1] = f"{page[-1][: left.end(1)]}{mark}{right[0].rstrip()}"
            following[0] = following[0][right.end() :]
    return whole


def _beside(text: str, at: int) -> str:
    """What stands before a place, up to a blank."""
    before = text[max(0, at - FARTHEST) : at]
    return before.split()[-1] if before and not before[-1].isspace() else ""


def hyphen(left: str, right: str, vocabulary: Vocabulary, *, before: str = "", rest: str = "", own: int = 0) -> str:
    """`-` where the hyphen between two parts is of the word, `- ` where it stands for a part of it, else nothing.

    `before` and `rest` are what stands at them without a blank; `own` is how often the second part is counted where
    it is but the part.
    """
    a, b = left.lower(), right.lower()
    counts = vocabulary.counts
    if counts[a + b] or counts[f"{a}-{b}"]:
        return "" if counts[a + b] >= counts[f"{a}-{b}"] else "-"
    if any(map(str.isdigit, (left[-1], *right))) or _ADDRESS.search(before) or _NAME.match(rest):
        return "-"
    if _AND.fullmatch(right) and len(a) > 1 and not (before.endswith("-") or rest.startswith("-")):
        return "- "  # "pre- and post-processing"
    if before.startswith("--") or (len(b) == 1 and rest.startswith("-")) or _FRENCH.fullmatch(f"{a}-{b}"):
        return "-"
    if len(a) > 1 and left.isupper() and right.islower() and len(b) > 2:  # "XML-based"
        return "-"
    if len(a) == 1 and not before.endswith(("'", "’")):  # "t-test"
        return "-"
    chain, capitals = before.endswith("-"), left.isupper() and right.isupper() and min(len(a), len(b)) > 1
    if not right[0].islower() and (chain or not capitals):
        return "-"
    if (chain and _LINK.fullmatch(a)) or (rest.startswith("-") and _LINK.fullmatch(b)):
        return "-"
    joined, parted = vocabulary.forms(a, b), vocabulary.forms(f"{a}-", b)
    if joined != parted:
        return "" if joined > parted else "-"
    return "-" if _keeps(a, b, vocabulary, chain=chain, own=own) else ""


def _keeps(a: str, b: str, vocabulary: Vocabulary, *, chain: bool, own: int) -> bool:
    """Whether two parts that the document writes neither as one nor with a hyphen are rather two words."""
    if _SUFFIX.fullmatch(b):
        return False
    if _OPEN.fullmatch(a) and len(b) > 3:
        return True
    known = vocabulary.small[b] > own and len(b) > 2
    if not known or (_CLOSED.fullmatch(a) and not chain):
        return False
    return (a in vocabulary.counts and (chain or len(a) > 2)) or _parts(a, vocabulary)


def _parts(a: str, vocabulary: Vocabulary) -> bool:
    """Whether the document rather writes a hyphen behind that part, as of "non-", than one word with it."""
    longest = len(a) + 20
    parted = sum(1 for _ in vocabulary.beginning(f"{a}-", longest))
    joined = (word[len(a) :] for word in vocabulary.beginning(a, longest))
    return parted > sum(len(rest) > 2 and rest in vocabulary.counts for rest in joined)
