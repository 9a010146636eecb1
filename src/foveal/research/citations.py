"""Numbers that never change: one list of sources for a whole run, each under one canonical address.

canonical(url)     one address for what is one source: no fragment, no tracking parameters, arXiv's pages as one id.
                   A page that states its own address (rel=canonical, on its own site) is counted by that
References.cite    a node's answer with its own numbers [[i]] -> the run's [[n]]; new sources are appended, none moves
References.quotes  the sentences that each statement of the answer rests on, beside the one that a source is listed with
Marks              the same check for words that stream: a [[n]] that nothing stands behind is never shown

Source    MindSearch's references (arXiv 2407.20183), whose numbers there move and leave gaps; here they are append-only
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from foveal.reading.answering_refusals import refuses
from foveal.reading.cited_forms import plain_marks, without_preface
from foveal.research.anchors import Held, anchors, name_words, names_of
from foveal.research.role_words import is_english
from foveal.retrieval.terms import terms
from foveal.text.arxiv import arxiv_address
from foveal.text.units import sentences
from foveal.types import Passage, Span

MARK = re.compile(r"\[\[\s{0,8}(\d{1,6}(?:\s{0,4}[,;]\s{0,4}\d{1,6}){0,7})\s{0,8}\]\]")
_HEADING = re.compile(r"^#+ .*", re.MULTILINE)
_BEGUN = re.compile(r"\[(?:\[[\s\d,;]{0,127}\]?)?\Z")
"""The end of a text that may become a mark; a mark has at most 131 characters."""
_TRACKING = re.compile(
    r"utm_\w+|gclid|dclid|fbclid|msclkid|yclid|mc_[ce]id|igshid|ref_src|ref_url|spm|_hsenc|_hsmi|vero_id|oly_\w+_id"
)
MOST_QUOTES = 8
"""Of a source, of one node's answer."""

LONGEST_SAID = 800
"""Characters before a mark in which its sentence is looked for."""

BORNE_OUT = 0.5
"""Share of a sentence's words that a source must hold for the sentence to be traced to it."""

_PORTS = {"http": 80, "https": 443}


def canonical(url: str) -> str:
    """The address under which a source is counted; what is no web address stays as it is."""
    if address := arxiv_address(url):
        return re.sub(r"v\d+$", "", address)
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url
    if parts.scheme.lower() not in _PORTS or not parts.hostname:
        return url
    scheme = parts.scheme.lower()
    host = parts.hostname.removeprefix("www.") + (f":{port}" if port and port != _PORTS[scheme] else "")
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if not _tracks(name)]
    query = f"?{urlencode(kept)}" if kept else ""
    return f"https://{host}{parts.path.rstrip('/')}{query}"  # a page is one by http and by https


def _tracks(name: str) -> bool:
    return _TRACKING.fullmatch(name.lower()) is not None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What stands behind a node's number: an address, and the text that was read there."""

    url: str
    title: str
    summary: str
    passages: tuple[Passage, ...]  # what was read; the summary alone, where the page was not
    revision: str
    stated: str = ""  # the address that the page says is its own, if it does
    unread: bool = False  # whether the page could not be had: what is quoted are the search's words on it

    @property
    def key(self) -> str:
        """What it is counted by."""
        return canonical(self.stated or self.url)


@dataclass
class References:
    """The run's sources by number, from 1 on."""

    refs: dict[int, dict[str, Any]] = field(default_factory=dict)

    def cite(self, answer: str, origins: Mapping[int, Origin], node: str) -> tuple[str, dict[int, dict[str, Any]], int]:
        """The answer with the run's numbers, the sources that are new by it, and how many numbers nothing stood behind.

        `self.refs` stays as it was: who calls adds what is new when it is told to all.
        """
        known = {ref["key"]: number for number, ref in self.refs.items()}
        new: dict[int, dict[str, Any]] = {}
        numbers: dict[int, int] = {}
        for local in sorted({one for found in MARK.finditer(answer) for one in _numbers(found) if one in origins}):
            key = origins[local].key
            if key not in known:
                known[key] = len(self.refs) + len(new) + 1
                new[known[key]] = _ref(key, origins[local], answer, local, node)
            numbers[local] = known[key]
        text, bad = renumbered(answer, numbers.get)
        text, worse = resolved(text, set(numbers.values()))
        return text, new, bad + worse

    def quotes(self, answer: str, origins: Mapping[int, Origin]) -> dict[int, list[dict[str, Any]]]:
        """By the run's numbers: what in a source bears out each statement of the answer, where that is another sentence
        than the source is listed with. `self.refs` holds what `cite` found new.
        """
        known = {ref["key"]: number for number, ref in self.refs.items()}
        found: dict[int, list[dict[str, Any]]] = {}
        for mark in MARK.finditer(answer):
            said = said_before(answer, mark.start())
            for local in _numbers(mark):
                number = known.get(origins[local].key) if local in origins else None
                if number is None:
                    continue
                place = _place(said, origins[local])
                held = found.setdefault(number, [])
                if len(held) < MOST_QUOTES and not any(
                    one["span"] == place["span"] for one in (self.refs[number], *held)
                ):
                    held.append(place)
        return {number: held for number, held in found.items() if held}


def traced(answer: str, origins: Mapping[int, Origin], *, question: str = "", quotes: Mapping[int, str] = {}) -> str:
    """An answer in which nothing is cited, with the number of the source behind each sentence that one bears out.

    Small models forget the marks. A source bears a sentence out where one of its own sentences holds half of the words
    and every number; of sources that hold as many, the one that holds more of its names. Where origins hold what models
    said by a source, too, `quotes` are its own words: one whose words hold nothing that the question did not say itself
    comes behind those that do. An answer that cites anything stays as it is.
    """
    if any(number in origins for number in cited(answer)):
        return answer
    parts = []
    for start, end in sentences(answer):
        said = answer[start:end]
        body = said.rstrip()
        shares = {number: (*_shares(body, one), -number) for number, one in origins.items()}
        new = set(terms(body)) - set(terms(question))
        own = [shares[number] for number in shares if not new.isdisjoint(terms(quotes.get(number, "")))]
        best = max(own, default=(0.0, 0.0, 0))
        share, _, number = best if best[0] >= BORNE_OUT else max(shares.values(), default=best)
        parts.append(f"{body} [[{-number}]]{said[len(body) :]}" if share >= BORNE_OUT else said)
    return "".join(parts)


def cited_as_asked(answer: str, origins: Mapping[int, Origin]) -> str:
    """An answer of a large model: without polite words before it, and with marks in the place of other citations."""
    texts = (one.text for origin in origins.values() for one in origin.passages)
    return plain_marks(without_preface(answer), origins, form="[[{}]]", texts=texts)


def says_something(answer: str) -> bool:
    """Whether an answer holds words beside its marks."""
    return re.search(r"\w", MARK.sub("", answer)) is not None


def invented(answer: str, asked: str, found: str) -> bool:
    """Whether an answer cites nothing and, beside what was `asked`, has names or numbers of which none stands in what
    was `found`; not one that begins by saying that there is no answer.

    A word that may have its capital by where it stands is no name: one of a heading, or that opens a sentence. Nor is
    any in another language than English, which may translate it, or give each noun a capital. A number below 100 may
    count, or be of a list; a decade holds years.
    """
    if cited(answer) or refuses(next(iter(_sentences(answer)), "").strip()):
        return False
    answer, known, held = _HEADING.sub("", answer), Held.of(asked), Held.of(found)
    told = [one for one in anchors(answer) if one.kind == "date" or (one.value >= 100 and one.text[-1] != "s")]
    numbers = [one for one in told if not known.holds(one)]
    words = [] if not is_english([answer]) else [word for word in name_words(answer) if not known.holds_word(word)]
    return bool(numbers or words) and not any(map(held.holds, numbers)) and not any(map(held.holds_word, words))


def not_borne_out(answer: str, texts: Iterable[str]) -> list[str]:
    """The sentences of an answer that cite nothing and that no sentence of `texts` bears out, each once."""
    return list(dict.fromkeys(said for said, borne in _weighed(answer, texts) if not borne))


def borne_out(answer: str, texts: Iterable[str]) -> str:
    """An answer without those sentences."""
    return " ".join(said for said, borne in _weighed(answer, texts) if borne)


def _weighed(answer: str, texts: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Each sentence, and whether it cites, says nothing, or is borne out."""
    known = [Passage(Span("", 0, len(text)), text) for text in texts]
    whole = Origin(url="", title="", summary="", passages=tuple(known), revision="")
    for said in _sentences(answer):
        free = MARK.search(said) is not None or not terms(said)
        yield said.strip(), free or _shares(said.strip(), whole)[0] >= BORNE_OUT


def _shares(said: str, origin: Origin) -> tuple[float, float]:
    """The largest share of the words of `said` that one sentence of a source holds, and that sentence's share of its
    names; 0 where it lacks a number."""
    words, names, best = set(terms(said)), set(terms(" ".join(names_of(said)))), (0.0, 0.0)
    for passage in origin.passages:
        for start, end in sentences(passage.text):
            held = set(terms(passage.text[start:end]))
            if words and all(word in held for word in words if word.isdigit()):
                best = max(best, (len(words & held) / len(words), len(names & held) / max(1, len(names))))
    return best


def _ref(key: str, origin: Origin, answer: str, local: int, node: str) -> dict[str, Any]:
    told = {"key": key, "title": origin.title, "summ": origin.summary, "node": node}
    return told | _place(said_by(answer, local), origin)


def _place(said: str, origin: Origin) -> dict[str, Any]:
    """The sentence of a source that bears `said` out, and where it stands: in the page, or, `unread`, in the hit."""
    quote = best_sentence(said, origin.passages)
    place = {
        "url": origin.url,
        "quote": quote.text,
        "span": {"document_id": quote.span.document_id, "start": quote.span.start, "end": quote.span.end},
        "revision": origin.revision,
    }
    return place | ({"unread": True} if origin.unread else {})


def said_before(text: str, at: int) -> str:
    """What a mark that stands at `at` is behind: the words since the mark before it, or its whole sentence."""
    before = text[max(0, at - LONGEST_SAID) : at]
    pieces = [
        before[start:end] for start, end in sentences(before) if re.search(r"\w", MARK.sub("", before[start:end]))
    ]
    if not pieces:
        return ""
    own = MARK.split(pieces[-1])[-1]
    return (own if terms(own) else MARK.sub(" ", pieces[-1])).strip()


def fitting(said: str, places: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of a source's quotes the one that holds most of the words of `said`; of equals the first."""
    words = set(terms(MARK.sub(" ", said)))
    return max(places, key=lambda one: len(words & set(terms(one["quote"]))))


def said_by(answer: str, local: int) -> str:
    """The sentences of an answer that cite a number."""
    return " ".join(one for one in _sentences(answer) if local in cited(one))


def _sentences(answer: str) -> list[str]:
    """The sentences of an answer; a mark behind the full stop belongs to what it follows."""
    pieces: list[str] = []
    for start, end in sentences(answer):
        piece = answer[start:end]
        behind = re.match(r"\s*(?:\[\[[^\]]*\]\]\s*)+", piece) if pieces else None
        if behind:
            pieces[-1] += behind[0]
            piece = piece[behind.end() :]
        if piece:
            pieces.append(piece)
    return pieces


def best_sentence(said: str, passages: Sequence[Passage]) -> Passage:
    """The one sentence of what was read that holds most of the words of `said`."""
    words = set(terms(MARK.sub(" ", said)))
    best, most = passages[0], -1.0
    for passage in passages:
        for start, end in sentences(passage.text):
            text = passage.text[start:end].strip()
            own = set(terms(text))
            score = len(words & own) / max(1, len(words)) - 0.001 * len(own)
            if text and score > most:
                first = passage.span.start + start + passage.text[start:end].index(text)
                best, most = Passage(Span(passage.span.document_id, first, first + len(text)), text), score
    return best


def cut_short(draft: str, question: str, origins: Mapping[int, Origin]) -> str:
    """What can be said where there is no time for a summary: the whole sentences of one that was begun, else of each
    source the sentence that is nearest to the question, in its own words.
    """
    begun = traced("".join(_sentences(draft)[:-1]).strip(), origins)
    if any(number in origins for number in cited(begun)):
        return begun
    return quoted(question, origins)


def quoted(question: str, origins: Mapping[int, Origin]) -> str:
    """Of each source the sentence that is nearest to the question, in its own words; nothing of no sources."""
    nearest = {number: best_sentence(question, one.passages).text for number, one in origins.items()}
    said = {number: " ".join(MARK.sub("", text).lstrip("# ").split()) for number, text in nearest.items()}
    return " ".join(f"“{text}” [[{number}]]" for number, text in said.items() if text)


def renumbered(text: str, number: Callable[[int], int | None]) -> tuple[str, int]:
    """The text with each [[i]] as [[number(i)]], in one pass; those without a number go, and are counted."""
    bad = 0

    def one(found: re.Match[str]) -> str:
        nonlocal bad
        known = [number(old) for old in _numbers(found)]
        bad += known.count(None)
        return "".join(f"[[{new}]]" for new in dict.fromkeys(known) if new is not None)

    return MARK.sub(one, text), bad


def resolved(text: str, known: Collection[int]) -> tuple[str, int]:
    """The text without marks of numbers that are not `known`, nor any that came to be as others were taken out."""
    bad = 0
    while True:
        shown, more = renumbered(text, lambda number: number if number in known else None)
        bad += more
        if shown == text:
            return text, bad
        text = shown


def cited(text: str) -> list[int]:
    """The numbers that a text cites, in order, each once."""
    return list(dict.fromkeys(number for found in MARK.finditer(text) for number in _numbers(found)))


def _numbers(found: re.Match[str]) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", found[1])]


class Marks:
    """Takes the words of an answer as they come, and gives them without marks that nothing stands behind."""

    def __init__(self, known: Callable[[int], bool]) -> None:
        self._known = known
        self._held = ""
        self.bad = 0

    def add(self, piece: str) -> str:
        """What can be shown now: all but an open mark."""
        self._held += piece
        begun = _BEGUN.search(self._held, max(0, len(self._held) - 131))
        end = begun.start() if begun else len(self._held)
        shown, self._held = self._held[:end], self._held[end:]
        return self._checked(shown)

    def rest(self) -> str:
        """What is still held when no more words come."""
        shown, self._held = self._held, ""
        return self._checked(shown)

    def _checked(self, text: str) -> str:
        shown, bad = renumbered(text, lambda number: number if self._known(number) else None)
        self.bad += bad
        return shown
