"""Units of a text with their places: tokens, sentences, paragraphs. Small, by rule, for any script.

Each function gives (start, end) pairs in characters, in order. Sentences and paragraphs cover the text from 0 to
len(text) without gaps: blank space belongs to the unit before it, and at the head of the text to the first. No unit is
blank but that of a blank text. `words` gives tokens only, with what stands between them left out.

Paragraph  ends at a blank line, or at the end of a line so long (over 120 characters) that nobody wrapped it, unless
           its sentence plainly goes on in the next line (a small letter, or a list's line below its mark)
Sentence   ends at a mark that ends one (abbreviations, initials, decimals, list numbers and dots that lead to a number
           do not), before a list item or table row but not within a row, and at the end of its paragraph; what holds no
           word, a mark [4] or a rule of dashes, goes with the one before it
Speed      linear in the text: every pattern reads a character a bounded number of times
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

Offsets = list[tuple[int, int]]

UNWRAPPED = 120
"""A line of more characters was not wrapped by hand: its end is the end of a paragraph."""

SHORT_LINE = 70
"""Most characters of a line that is taken for the title or lead-in of what follows, if no mark ends it."""

_ONE_EACH = (  # scripts whose characters stand for about a word each: kana, ideographs, Hangul
    r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer: no spaces between words
_MARKS = (  # punctuation and symbols; the joiners U+200C and U+200D belong to words
    r"!-/:-@\[-^`{-~\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7"
    r"\u0964\u0965\u2000-\u200b\u200e-\u2bff\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_WORD = re.compile(rf"[{_ONE_EACH}{_MARKS}](?<!\s)|[{_UNSPACED}]{{1,4}}|[^\s{_ONE_EACH}{_MARKS}{_UNSPACED}]{{1,32}}")

_PARAGRAPH_END = re.compile(r"\n(?:[^\S\n]*\n)+")
_LONG_LINE = re.compile(rf"^[^\n]{{{UNWRAPPED + 1},}}\n", re.MULTILINE)
_PLAIN_ENDS = (  # of Chinese and Japanese, Indian scripts, Armenian, Ethiopic, Burmese, Khmer
    "。！？｡।॥\u0589\u1362\u1367\u1368\u104b\u17d4\u17d5"
)
_NOTES = r"(?:[ \u00a0]?[⁰¹²³⁴-⁹]++(?:[,–⁻-][⁰¹²³⁴-⁹]++)*+(?=\s))?+"  # a PDF may set a blank before them; ¹³C is none
_SENTENCE_END = re.compile(  # one class first, so that the search for it runs in C; a run of marks is tried once
    rf"[.!?…‽؟۔{_PLAIN_ENDS}](?:"
    r"(?<=[.!?…‽؟۔])(?<![.!?…‽؟۔]{2})(?P<more>[.!?…‽؟۔]*+)[\"'”’»)\]*_]*"
    rf"{_NOTES}(?P<space>\s+)"
    rf"|(?<=[{_PLAIN_ENDS}])[{_PLAIN_ENDS}]*[」』”’）】》\"'»]*\s*)"
)
_SCRAP = re.compile(r"(?:[\W_¹²³⁰⁴-⁹]|[\[(]\d{1,3}(?:[ ,;–-]{1,3}\d{1,3})*[\])])+")
_ITEM = re.compile(  # a row of a table whose first cell is blank goes on with the one above
    r"\n(?=[ \t]*(?:[-*+•‣◦–]|\|(?![ \t]+\|)|\(?\d{1,3}[.)]|\(?[a-z]{1,4}\))[ \t])"
)

_CLOSED = re.compile(r"(?<=[\w\"'”’»)\]*])[.!?…‽؟۔。！？।,;]+['\"”’»)\]*_]*$")
_LISTED = re.compile(r"\s*(?:[-*+•‣◦–|]|\(?\d{1,3}[.)]|\(?[a-z]{1,4}\))\s")
_BLANKS = re.compile(r"[ \t]*")
_ENDS, _BEHIND_ENDS = f".!?…:：{_PLAIN_ENDS}", "\"'”’»)]*_」』）】》"
_LAST_WORD = re.compile(r"[^\W_]+(?:\.[^\W_]+)*\Z")
_LIST_NUMBER = re.compile(r"(?:^|\n)[ \t>*_(]*(?:\d{1,3}(?:\.\d{1,3})*|[ivxlcIVXLC]{1,6}|[a-zA-Z])\Z")
_FIRST_LETTER = re.compile(r"[\"'“‘«(\[*_¿¡]*(\w*)")
_NEVER_LAST = re.compile(
    r"mr|mrs|ms|dr|prof|rev|hon|st|gen|col|lt|sgt|capt|cmdr|sen|rep|gov|pres|messrs|mme|mlle|vs|v|cf|viz|e\.g|i\.e|eg|ie"
    r"|approx|ca|resp|esp|incl|dept|univ|assn|mt|ft|bzw|z\.b|d\.h|vgl|bspw|ggf|evtl|sig|sra|srta|dra|av"
)
_BEFORE_NUMBERS = re.compile(
    r"nos?|arts?|figs?|tab|secs?|sect|eqs?|ch|chap|vols?|pp?|pt|paras?|pars?|cl|ex|app|refs?|nr|abs|op|al"
    r"|n|abschn|kap|ziff|rn|rz|bd|anm|abb|núm|pág|cap"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
_SELDOM_LAST = re.compile(r"inc|ltd|co|corp|jr|sr|bros|llc|plc|dist|ave|blvd|rd|\w(?:\.\w)+")  # the last: U.S, a.m
_COUNTED = re.compile(  # what German counts by "3.": dates, and what follows an ordinal in most texts
    r"januar|jänner|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember|jahrhunderts?|jhs?"
    r"|jahrtausends?|kapitels?|auflage|ausgabe|halbjahr|quartal|semester|lebensjahr|jahrestag|weltkriegs?|senats?"
    r"|zivilsenats?|strafsenats?|legislaturperiode|sitzung|klasse|stock|platz|mal"
)
_OPENERS = re.compile(
    r"an?|the|this|that|these|those|it|he|she|we|they|you|i|in|on|at|for|from|to|with|as|if|when|while|after|before|but"
    r"|and|or|so|however|there|here|what|who|how|why|where|all|each|no|not|its|his|her|our|their|your|such|any"
)


def words(text: str) -> Offsets:
    """The tokens of `text`, as a tokenizer of no language would cut them: words, marks, ideographs.

    A word of more than 32 characters counts as several, so that a text without spaces still has tokens to cut at.
    """
    return [match.span() for match in _WORD.finditer(text)]


def paragraphs(text: str) -> Offsets:
    """The paragraphs of `text`, covering it."""
    return _covering(text, paragraph_starts(text))


def sentences(text: str) -> Offsets:
    """The sentences of `text`, covering it; none reaches over a paragraph's end."""
    begins = paragraph_starts(text)
    places = _covering(text, [*begins, *sentence_starts(text)])
    alone = {0, *begins}
    return _covering(text, [a for a, b in places if a in alone or not _SCRAP.fullmatch(text, a, b)])


def paragraph_starts(text: str) -> list[int]:
    """Where a paragraph may begin after another: positions in `text`, not sorted, at most `len(text)`."""
    ends = [match.end() for match in _PARAGRAPH_END.finditer(text)]
    return ends + [match.end() for match in _LONG_LINE.finditer(text) if not goes_on(text, match.end())]


def goes_on(text: str, start: int) -> bool:
    """Whether what is at `start` goes on with the sentence of the line before: no mark there, and here a small letter
    or a deeper indentation (a list's lines below its mark)."""
    first = _indented(text, start)
    before = text[max(0, start - 24) : start].rstrip()  # blank lines between, too
    if not before or before[-1] in _ENDS or _LISTED.match(text, start):
        return False
    word = _FIRST_LETTER.match(text, first, first + 24)
    if word is None or not word[1]:
        return False
    if word[1][0].islower():
        return True
    above = text.rfind("\n", 0, max(0, start - 1)) + 1
    ended = before.rstrip(_BEHIND_ENDS)[-1:] in _ENDS
    return not ended and first - start > _indented(text, above) - above


def _indented(text: str, start: int) -> int:
    """Where the line at `start` begins behind its blanks."""
    blanks = _BLANKS.match(text, start)
    return blanks.end() if blanks else start


def sentence_starts(text: str) -> list[int]:
    """Where a sentence may begin after another within a paragraph: positions in `text`, not sorted."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text) if _ends_sentence(text, match)]
    return ends + [match.end() for match in _ITEM.finditer(text)]


def leads_in(text: str, start: int) -> bool:
    """Whether what stands before the paragraph at `start` introduces it: "Either of:", or a short line of its own."""
    before = text[max(0, start - 3 * SHORT_LINE) : start].rstrip()
    above, _, line = before.rpartition("\n")
    if before.endswith((":", "：")):
        return True
    alone = not above.rpartition("\n")[2].strip() and not line.startswith(("```", "~~~"))  # the end of code
    return alone and 0 < len(line) <= SHORT_LINE and not _CLOSED.search(line) and not _LISTED.match(line)


def _covering(text: str, starts: Iterable[int]) -> Offsets:
    """The pieces of `text` between `starts`; a blank piece goes to the one before it, or at the head to the next."""
    edges, seen = [0], 0  # what stands between the last edge and `seen` is blank
    for start in sorted({*starts, len(text)} - {0}):
        if not text[seen:start].isspace():
            edges.append(start)
        elif len(edges) > 1:
            edges[-1] = start
        seen = start
    if edges[-1] < len(text):
        edges.append(len(text))
    return list(pairwise(edges))


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    if match["more"] is None:  # the marks of scripts without capitals and spaces are plain
        return True
    behind = text[match.end() : match.end() + 1]
    if behind == "." or (behind.isdigit() and text[max(0, match.start() - 1) : match.start()].isspace()):
        return False  # "Of whales . . . . 12"
    if behind == "|" and "\n" not in match["space"]:  # the cell of a table ends, and its row goes on
        return False
    first = _FIRST_LETTER.match(text, match.end(), match.end() + 24)
    following = first[1] if first else ""
    if following[:1].islower():
        return False
    if match["more"] or text[match.start()] != ".":
        return True
    stopped = first is not None and text[first.end() : first.end() + 1] == "."
    return _stop_ends_sentence(text[max(0, match.start() - 24) : match.start()], following, stopped)


def _stop_ends_sentence(before: str, following: str, stopped: bool) -> bool:
    """Whether a full stop ends a sentence, by the characters before it, the word that follows, and whether that has a
    stop, too."""
    found = _LAST_WORD.search(before)
    if found is None:
        return True
    last = found[0]
    word = last.lower()
    if _NEVER_LAST.fullmatch(word) or (len(last) == 1 and last.isupper()) or _LIST_NUMBER.search(before):
        return False
    if _BEFORE_NUMBERS.fullmatch(word):
        return not following[:1].isdigit()
    if last.isdigit() and len(last) < 3 and _COUNTED.fullmatch(following.lower()):
        return False
    if len(last) == len(following) == 1 and last.isalpha() and stopped:  # "z. B.", "i. d. R."
        return False
    return not _SELDOM_LAST.fullmatch(word) or bool(_OPENERS.fullmatch(following.lower()))
