"""What a browser does not show of a page is taken out before it is read: nobody is told what no reader could see.

Hidden     by `hidden`, `display: none` or `visibility: hidden`, in a `style` attribute or a rule of a <style>; also
           templates and closed dialogs. As in a browser the stronger declaration holds, and of equal ones the later
Selectors  of names, classes and ids, also within others (`.note span`, `.note > span`). A rule that depends on more
           (`:not()`, `a + b`, the width of the screen) may show an element, and never hides one
Not        what is only called hidden (aria-hidden), drawn with other means (opacity, place), or by other files; all of
           the page (a script then shows it); formulas, which stand hidden beside their picture
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MOST_RULES, MOST_LOOKS = 5_000, 2_000_000
"""Selectors that are read, and times that one is held against an element: no more is looked at."""

LONGEST, DEEPEST = 500, 16
"""Characters for one element, and elements within each other, of a selector; a larger one is not read."""

Weight = tuple[bool, bool, int, int, int, int]
"""Whether important, whether in the element itself, ids, classes, names; its place among all rules."""

_COMMENT = re.compile(r"/\*(?:.*?\*/|.*\Z)|<!--|-->", re.DOTALL)
_LITERAL = re.compile(r""""(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?|url\([^)"']*+\)?""", re.DOTALL)
_PIECE = re.compile(r"([^{};]*+)([{};]|\Z)")
_DECLARATION = re.compile(r"\s*(display|visibility)\s*:\s*([a-z-]++)[^!]*+(!\s*+important\s*+)?", re.IGNORECASE)
_AT = re.compile(r"@[\w-]*")
_SHOWN_AT_ONCE = re.compile(r"(?:only\s+)?(?:all|screen)", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*([>+~])\s*|\s+")
_SIMPLE = re.compile(r"([#.]?)((?:[\w-]|\\.)++)|(\*)|(\[hidden\])|(::?[\w-]++|\[[^\]]*+\]|&)")
_OF_THE_MOMENT = re.compile(r":(?:hover|focus[\w-]*|active|target|before|after|first-l\w+|:.*)", re.IGNORECASE)
_WITHOUT_SCRIPTS = ("no-js", "nojs")  # classes that a script takes off
_NEVER = ("html", "head", "body")
_NOT_READ = ("script", "style", "noscript", "title")


@dataclass(frozen=True, slots=True)
class _Compound:
    """What one element must be: `.note`, `p#first`."""

    name: str = ""
    ids: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    marked: bool = False  # by the attribute `hidden`

    def fits(self, element: Any) -> bool:
        return (
            self.name in ("", element.tag)
            and (not self.ids or self.ids == {element.get("id")})
            and self.classes.issubset((element.get("class") or "").split() if self.classes else ())
            and (not self.marked or element.get("hidden") is not None)
        )

    @property
    def key(self) -> str:
        """Where elements that may fit look for it."""
        return f"#{min(self.ids)}" if self.ids else f".{min(self.classes)}" if self.classes else self.name


@dataclass(frozen=True, slots=True)
class _Rule:
    """A selector, the element's own compound last (`close[n]`: the one before n is its parent), and what it says."""

    compounds: tuple[_Compound, ...]
    close: tuple[bool, ...]
    hides: bool
    weight: Weight


@dataclass
class _Sheet:
    """The rules of a page for one property, by what an element must have."""

    rules: dict[str, list[_Rule]] = field(default_factory=lambda: defaultdict(list))
    looks: int = MOST_LOOKS

    def hides(self, element: Any, own: tuple[bool, bool] | None) -> bool | None:
        """Whether an element is hidden, by its `style` (hides, important) and the rules; None: neither says."""
        weight: Weight = (own[1], True, 0, 0, 0, 0) if own else (False, False, -1, 0, 0, 0)
        hides = own[0] if own else None
        if not self.rules or self.looks < 0:
            return hides
        keys = [f".{name}" for name in (element.get("class") or "").split()]
        for key in (*keys, f"#{element.get('id')}", element.tag, ""):
            for rule in self.rules.get(key, ()):
                self.looks -= 1
                if rule.weight > weight and self._fits(rule, len(rule.compounds) - 1, element):
                    hides, weight = rule.hides, rule.weight
        return hides

    def _fits(self, rule: _Rule, at: int, element: Any) -> bool:
        self.looks -= 1
        if self.looks < 0 or not rule.compounds[at].fits(element):
            return False
        if at == 0:
            return True
        above = element.getparent()
        while above is not None:
            if self._fits(rule, at - 1, above):
                return True
            above = None if rule.close[at] else above.getparent()
        return False


def drop_hidden(tree: Any) -> None:
    """Take out of an HTML tree what is not shown. A page of which nothing would be left stays as it is."""
    from lxml import etree

    display, visibility = _sheets(tree)
    gone, dark, seen = [], set[Any](), False
    walk = etree.iterwalk(tree, events=("start",))
    for _, element in walk:
        if element.tag in _NEVER:
            seen = seen or bool((element.text or "").strip())
            continue
        parent = element.getparent()
        seen = seen or bool(parent not in dark and (element.tail or "").strip())
        if element.tag in _NOT_READ:
            walk.skip_subtree()
            continue
        own = _own(element)
        hides = display.hides(element, own.get("display"))
        if (hides or (hides is None and _is_hidden(element))) and element.find("math") is None:
            gone.append(element)
            walk.skip_subtree()
            continue
        unseen = visibility.hides(element, own.get("visibility"))
        if unseen or (unseen is None and parent in dark):
            dark.add(element)
        seen = seen or bool(element not in dark and (element.text or "").strip())
    if not seen:
        return
    for element in gone:
        element.clear(keep_tail=True)
        element.tag = "template"
    for element in dark:
        element.text = None
        for child in element:
            child.tail = None
    etree.strip_elements(tree, "template", with_tail=False)


def _is_hidden(element: Any) -> bool:
    """Whether a browser hides it where no style says more."""
    marked = element.get("hidden")
    closed = element.tag == "template" or (element.tag == "dialog" and element.get("open") is None)
    return closed or (marked is not None and marked.lower() != "until-found")


def _own(element: Any) -> dict[str, tuple[bool, bool]]:
    """Property -> hides, important: as the element's `style` has it."""
    found: dict[str, tuple[bool, bool]] = {}
    for part in (element.get("style") or "").split(";"):
        if said := _DECLARATION.fullmatch(part):
            name, important = said[1].lower(), bool(said[3])
            if important or not found.get(name, (False, False))[1]:
                found[name] = _hiding(name, said[2]), important
    return found


def _hiding(name: str, value: str) -> bool:
    return value.lower() in (("none",) if name == "display" else ("hidden", "collapse"))


def _sheets(tree: Any) -> tuple[_Sheet, _Sheet]:
    """The rules for `display` and for `visibility`."""
    sheets = {"display": _Sheet(), "visibility": _Sheet()}
    count = 0
    for style in tree.iter("style"):
        if next(style.iterancestors("noscript", "template", "svg"), None) is not None:
            continue
        for selectors, sure, name, value, important in _declarations(style.text or "", style.get("media") or ""):
            for selector in selectors.split(","):
                count += 1
                if count > MOST_RULES:
                    return sheets["display"], sheets["visibility"]
                rule = _rule(selector.strip(), sure, _hiding(name, value), important, count)
                if rule:
                    sheets[name].rules[rule.compounds[-1].key].append(rule)
    return sheets["display"], sheets["visibility"]


def _declarations(css: str, media: str) -> Iterator[tuple[str, bool, str, str, bool]]:
    """Selectors, whether they hold for sure, property, value, whether important."""
    blocks = [_block(f"@media {media}", ("", True))]
    for text, mark in _PIECE.findall(_LITERAL.sub('""', _COMMENT.sub(" ", css))):
        if mark == "{":
            blocks.append(_block(text.strip(), blocks[-1]))
            continue
        block = blocks[-1]
        if block and block[0] and (said := _DECLARATION.fullmatch(text)):
            yield block[0], block[1], said[1].lower(), said[2], bool(said[3])
        if mark == "}" and len(blocks) > 1:
            blocks.pop()


def _block(head: str, outer: tuple[str, bool] | None) -> tuple[str, bool] | None:
    """The selectors of a block that begins with `head`, and whether they hold for sure; None: nothing in it counts."""
    if outer is None:
        return None
    if not head.startswith("@"):
        for _ in range(4):  # brackets within brackets
            head = re.sub(r"\([^()]*\)", "", head)
        return head, outer[1] and not outer[0]  # a rule within a rule is for what stands in something
    name = _AT.match(head)[0].lower()  # type: ignore[index]  # it begins with one
    words = head[len(name) :].strip()
    if name == "@media":
        kinds = [one.strip() for one in words.split(",")]
        if any(not one or _SHOWN_AT_ONCE.fullmatch(one) for one in kinds):
            return "", outer[1]
        return None if all(re.match(r"(?:only\s+)?(?:print|speech)\b", one, re.I) for one in kinds) else ("", False)
    return ("", False) if name in ("@supports", "@layer", "@container", "@scope") else None


def _rule(selector: str, sure: bool, hides: bool, important: bool, place: int) -> _Rule | None:
    """A selector of names, classes and ids as a rule; one that holds only perhaps as what it at most fits."""
    parts = _BETWEEN.split(selector)
    if len(parts) > 2 * DEEPEST:
        return None
    if any(mark in ("+", "~") for mark in parts[1::2]):
        parts, sure = parts[-1:], False
    compounds, ids, classes, names = list[_Compound](), 0, 0, 0
    for part in parts[::2]:
        found, name, marked = defaultdict[str, set[str]](set), "", False
        if not part or len(part) > LONGEST or _SIMPLE.sub("", part):
            return None
        for kind, word, _, hidden, other in _SIMPLE.findall(part):
            if _OF_THE_MOMENT.fullmatch(other):
                return None
            sure, marked = sure and not other and word not in _WITHOUT_SCRIPTS, marked or bool(hidden)
            classes += bool(other or hidden)
            if kind:
                found[kind].add(re.sub(r"\\(.)", r"\1", word))
            elif word:
                name = word.lower()
        compounds.append(_Compound(name, frozenset(found["#"]), frozenset(found["."]), marked))
        ids, names = ids + len(found["#"]), names + bool(name)
        classes += len(found["."])
    if hides and not sure:
        return None
    close = (False, *(mark == ">" for mark in parts[1::2]))
    return _Rule(tuple(compounds), close, hides, (important, False, ids, classes, names, place))
