"""Citations as large models write them, whatever they were told, made the one form that is read.

    plain_marks("It keeps the key【1†source】, see (excerpt 2).", range(1, 3))      # "It keeps the key [1], see [2]."

Sure forms are taken wherever they stand and are no copies of what was shown: [1] in
lenticular or double brackets, [^1], [Source 1], (excerpts 1 and 2), <sup>1</sup>, [1](address).
(1) and ¹ may be anything: they are taken only in an answer without a sure form, where each of them is the number of a
source, stands behind a statement, and is not copied from a source.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

LABEL = r"(?:excerpt|passage|source|citation|reference|ref|auszug|quelle|extrait|fuente)s?\.?"
_NEXT = r"\s*+(?:[,;&–-]|and|und|et|y|to)\s*+"  # blanks are taken whole: a long run is parted in one way
_LIST = rf"\d{{1,3}}(?:{_NEXT}\d{{1,3}})*"
_NAMED = rf"\d{{1,3}}(?:{_NEXT}(?:{LABEL}\s*+\#?)?\d{{1,3}})*"
_SURE = re.compile(
    rf"""
    (?:(?<![\w\])])|(?<=\w)(?=[^\n\]]{{1,80}}\]\](?:[.,;:!?。]|\s*$)))\[\[\s*+(?:{LABEL}\s*+)?\#?({_LIST})\s*+\]\](?!\])
    | [【〔［]\s*+(?:{LABEL}\s*+)?[\#^]?({_LIST})(?:\s*+[†‡|][^】〕］\n]{{0,80}})?[】〕］]
    | \[\s*+(?:{LABEL}\s*+\#?|[\#^])\s*+({_NAMED})(?:\s*+†[^\]\n]{{0,80}})?\s*+\]
    | \[({_LIST})†[^\]\n]{{0,80}}\]
    | \[({_LIST})\]\([^()\s]{{1,300}}\)
    | \(\s*+(?:see\s++)?{LABEL}\s*+\#?({_NAMED})\s*+\)
    | (?:(?<=[^\W\d_]{{3}})|(?<=[\s.!?,;:)”"’']))<sup>\s*+\[?({_LIST})\]?\s*+</sup>
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SINGLE = re.compile(rf"(?<![\[\w])\[({_LIST})\](?![\](])|(?<=\w)\[({_LIST})\](?=[.,;:!?]|$)")
_ROUND = re.compile(
    r"(?:(?<=\S)\s+|(?<=[^\sA-Za-z0-9_\])}]))\((\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\)(?=\s*(?:[.,;:!?。，、]|\n|$))"
)
_RAISED = re.compile(
    r"(?:(?<=[^\W\d_]{3})|(?<=[.!?,;:)”\"’]))([⁰¹²³⁴-⁹]{1,2}(?:[,˒·][⁰¹²³⁴-⁹]{1,2})*)(?=[\s.,;:!?)]|$)"
)
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_LABELLED = re.compile(  # what a number behind it belongs to: section (2), square metres, sin²
    r"(?:section|equation|eq\.?|step|part|figure|table|item|article|rule|place|line|first|second|third|one|two|three"
    r"|met(?:er|re)s?|inch(?:es)?|feet|foot|miles?|yards?|hectares?|sinh?|cosh?|tanh?|log|exp)\s*\Z",
    re.IGNORECASE,
)
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹˒·", "0123456789,,")
_RANGE = re.compile(r"(\d+)\s*(?:[–-]|to)\s*(\d+)|(\d+)")
_PREFACE = re.compile(
    r"""\s*(?:
    (?:sure|certainly|of\ course|absolutely|gladly|okay|ok)(?:\ thing)?(?:[!.]|,(?=\s+here))\s+(?=\S)
    )?(?:
    (?:here\ is|here['’]s|below\ is)\ (?:the|an|my|your|what)\ (?:\w+\ ){0,3}?(?:answer|response|reply|excerpts?\ say)\b
    [^\n:.!?]{0,80}:\s*(?=\S)
    )?(?:
    (?:\#{1,4}\ +)?(?:\*\*|__)?(?:(?:short|final|concise|direct)\ )?(?:answer|antwort|réponse|respuesta|回答|答案)
    (?:\*\*|__)?\s*[::](?:\*\*|__)?\s*(?=\S)
    | \#{1,4}\ +(?:(?:short|final)\ )?answer\s*\n\s*(?=\S)
    )?""",
    re.VERBOSE | re.IGNORECASE,
)

_MARK = rf"(?:\[(?:{_LIST})\]|{LABEL}\s*+\#?{_LIST})"
_HEAD = (
    r"[ \t]*+(?:\#{1,4}[ ]++)?(?:\*\*|__)?(?:(?:list\ of\ )?(?:sources?|references?|citations?|footnotes?)"
    r"|quellen?(?:angaben|verzeichnis)?|fuentes?|références|referencias|riferimenti|fonti|参考(?:文献|资料|来源)|来源|出典)"
    r"(?:[ ](?:used|cited))?(?:\*\*|__)?[ \t]*+[:：]?(?:\*\*|__)?[ \t]*+"
)
_LISTED = re.compile(rf"{_HEAD}{_MARK}(?:[ \t]*+(?:[,;]|and)?[ \t]*+{_MARK})*+\.?", re.IGNORECASE)
"""Sources: [1], [3]"""
_LIST_HEAD = re.compile(_HEAD, re.IGNORECASE)
_ITEM = re.compile(
    rf"[ \t]*+(?:[-*•][ \t]++)?(?:\[\d{{1,3}}\]|\d{{1,3}}[.)](?!.*\[\d)|{LABEL}\s*+\#?\d{{1,3}})", re.IGNORECASE
)
_NOTE = re.compile(r"[ \t]*\[\d{1,3}\]:")
"""[1]: The mill"""
_GOES_ON = re.compile(r"(?: {2}|\t)[ \t]*[^\s\[]")
_RULE = re.compile(r"\s*(?:-{3,}|\*{3,}|_{3,})\s*")


def plain_marks(answer: str, known: Container[int], *, form: str = "[{}]", texts: Iterable[str] = ()) -> str:
    """The answer with its citations as `form`, that of the prompt: "[{}]", or "[[{}]]".

    `known`: numbers that are sources; `texts`: what was shown, of which something like a citation may be a copy.
    """
    shown, doubled = "\n".join(texts), form.startswith("[[")

    def sure(found: re.Match[str]) -> str:
        kept = found[0] in shown or (doubled and found[0].startswith("[[") and not re.search(r"[A-Za-z#–-]", found[0]))
        return found[0] if kept else _as(found, form)

    parts = _CODE.split(answer)
    parts[::2] = [_SURE.sub(sure, part) for part in parts[::2]]
    answer = "".join(parts)
    if ("[[" in answer) if doubled else _SINGLE.search(answer):
        return answer
    for pattern in [_SINGLE, _ROUND, _RAISED] if doubled else [_ROUND, _RAISED]:
        written = list(pattern.finditer(answer))
        if pattern is not _SINGLE and any(_is_labelled(found) for found in written):
            continue
        numbers = [number for found in written for number in numbers_in(_inside(found))]
        copied = pattern is not _SINGLE and any(_inside(found) and found[0].strip() in shown for found in written)
        if numbers and not copied and all(number in known for number in numbers):
            return pattern.sub(lambda found: _as(found, form), answer)
    return answer


def numbers_in(inside: str) -> list[int]:
    """The numbers of a list of them: "1, 3", "1-3"; of a range that is none, both its ends."""
    found: list[int] = []
    for first, last, alone in _RANGE.findall(inside):
        wide = range(int(first), int(last) + 1) if first else ()
        found += [int(alone)] if alone else list(wide) if 0 < len(wide) <= 20 else [int(first), int(last)]
    return list(dict.fromkeys(found))


def without_preface(answer: str) -> str:
    """The answer without polite words before it ("Sure! Here is the answer:") and without "Answer:"."""
    return _PREFACE.sub("", answer, count=1)  # it matches at the beginning, nothing too


def without_footnotes(answer: str) -> str:
    """The answer without a list of its sources behind it, whose numbers are no longer those of the answer."""
    lines = answer.rstrip().split("\n")
    if len(lines) > 1 and _LISTED.fullmatch(lines[-1]):
        return _above(lines[:-1]) or answer
    items = _last_run(lines, _ITEM)
    head = next((place for place in reversed(range(items)) if lines[place].strip()), None)
    if items < len(lines) and head is not None and _LIST_HEAD.fullmatch(lines[head]):
        body = _above(lines[:head])
    else:
        body = _above(lines[: _last_run(lines, _NOTE)])
    return body if re.search(rf"\[{_LIST}\]", body) else answer  # else it may be the answer's own list


def _last_run(lines: Sequence[str], item: re.Pattern[str]) -> int:
    """Where the items that end a text begin: one may go on in indented lines, and blank lines part them."""
    start = place = len(lines)
    while place:
        place -= 1
        if item.match(lines[place]):
            start = place
        elif lines[place].strip() and not _GOES_ON.match(lines[place]):
            break
    return start


def _above(lines: Sequence[str]) -> str:
    """What stands above a list of sources, without the rule that parts them."""
    *above, last = "\n".join(lines).rstrip().split("\n")
    return "\n".join(above).rstrip() if _RULE.fullmatch(last) else "\n".join([*above, last])


def _is_labelled(found: re.Match[str]) -> bool:
    """Whether a number belongs to the word before it."""
    return _LABELLED.search(found.string[max(0, found.start() - 12) : found.start()]) is not None


def _inside(found: re.Match[str]) -> str:
    return next(filter(None, found.groups()), "").translate(_DIGITS)


def _as(found: re.Match[str], form: str) -> str:
    """A citation in another form, a blank before it where a word is."""
    before = found.string[found.start() - 1 : found.start()] if found.start() else " "
    lead = re.match(r"\s*", found[0])
    blank = (lead[0] if lead else "") or ("" if before.isspace() or before == "(" else " ")
    return blank + form.format(", ".join(map(str, numbers_in(_inside(found)))))
