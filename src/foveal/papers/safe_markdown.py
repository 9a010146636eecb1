"""What people write, as HTML that can do nothing: Markdown with maths, and no pictures.

    html_of("As in $O(n)$, **see** https://example.org")

Markdown   CommonMark with tables, ~~strikes~~ and bare links; a heading is a bold line, HTML is text, a picture is text
Maths      `$…$`, `$$…$$`, `\\(…\\)`, `\\[…\\]` as MathML by latex2mathml; what does not convert stands as it came, in
           <code class="tex">. A `$` opens before a character that is no space, and closes after one and not before a
           digit, so that prices stay prices
Safety     all of it goes through nh3 at the end: the elements of `ALLOWED` and no others, links to http, https and
           mailto with rel="nofollow ugc noopener", no ids, no classes but `CLASSES`, no styles, nothing for HTMX
Time       up to `LONGEST` characters, nested up to 20 deep: hostile text takes tenths of a second
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError
from foveal.registry import require

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

LONGEST = 10_000
"""Characters of one text."""

LONGEST_TEX = 500
"""Characters of a formula that is converted."""

MOST_FORMULAS = 100
"""Formulas of one text that are converted; the others stand as TeX."""


def _bare(names: str) -> dict[str, set[str]]:
    """Elements without attributes."""
    return {name: set() for name in names.split()}


MATHML: dict[str, set[str]] = {
    "math": {"display", "alttext"},
    **_bare("mrow mi mn ms mtext msqrt mroot msub msup msubsup mphantom mtr mmultiscripts mprescripts none"),
    "mo": {"stretchy", "fence", "form", "separator", "movablelimits", "minsize", "maxsize"},
    "mfrac": {"linethickness"},
    "munder": {"accentunder"},
    "mover": {"accent"},
    "munderover": {"accent", "accentunder"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "mspace": {"width"},
    "mpadded": {"width", "height", "depth"},
    "mtable": {"columnalign", "rowspacing", "columnspacing"},
    "mtd": {"columnalign"},
}
"""Elements of MathML, and their attributes: none that loads, links or styles."""

ALLOWED: dict[str, set[str]] = {
    **_bare("p br strong em s blockquote pre ul li hr table thead tbody tr th td"),
    **_bare("code span"),
    "ol": {"start"},
    "a": {"href", "title"},
    **MATHML,
}

CLASSES = {"code": {"tex"}, "span": {"together"}}
"""Classes that elements may have: none that people write."""

_TEX = re.compile(
    r"\$\$(?P<shown>[^$]{1,500}?)\$\$"
    r"|\\\[(?P<square>.{1,500}?)\\\]"
    r"|\\\((?P<round>.{1,500}?)\\\)"
    r"|\$(?=[^\s$])(?P<inline>(?:[^$\\]|\\.){1,500}?(?<=\S))\$(?!\d)",
    re.DOTALL,
)
_URL = re.compile(r"\bhttps?://[^\s<>\"'`]{1,500}")
_RUNS_ON = re.compile(r"[.,:;!?)\]}*_~]+$")
_UNKNOWN = re.compile(r"<m[io][^>]*>\\")
_FUNCTION = "<mi>(?:arg|cos|deg|det|exp|gcd|inf|lim|ln|log|max|min|mod|sin|softmax|sup|tan)</mi>"
_BESIDE = re.compile(f"(?<=</mi>)(?={_FUNCTION})|(?<=</mn>)(?={_FUNCTION})|({_FUNCTION})(?=<m[in]>)")
_FOLLOWED = re.compile(
    r'((?:<mark>)?(?><math display="inline".*?</math>)(?:</mark>)?)((?:[-–.,;:!?)\]}’”…]|&(?:#3[49]|quot);)+)',
    re.DOTALL,
)


def html_of(text: str) -> str:
    """The text as HTML that is safe in any page. InputError: it is longer than `LONGEST`."""
    if len(text) > LONGEST:
        raise InputError(f"This text has {len(text):,} characters; up to {LONGEST:,} are shown. Make it shorter.")
    nh3 = require("nh3", extra="web")
    whole = together(_markdown().render(_plain(text)))
    clean = nh3.clean(
        whole,
        tags=set(ALLOWED),
        attributes=ALLOWED,
        allowed_classes=CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow ugc noopener",
    )
    return str(clean)


def formula(tex: str, *, display: bool = False) -> str:
    """A formula as MathML, or as its TeX where it does not convert; still to be cleaned."""
    shown = _converted(tex, display) if len(tex) <= LONGEST_TEX and _depth(tex) <= 20 else None
    return shown or f'<code class="tex">{escape(tex)}</code>'


def spaced(mathml: str) -> str:
    """The formula with room around the names of functions, as in "n log n": the converter sets it as "nlogn"."""
    return _BESIDE.sub(r'\1<mspace width="0.17em"></mspace>', mathml)


def together(html: str) -> str:
    """The HTML, in which no line begins with what stands right behind a formula: browsers would break it there."""
    return _FOLLOWED.sub(r'<span class="together">\1\2</span>', html)


def _plain(text: str) -> str:
    """The text without characters that no HTML may hold, and without those that turn its direction around."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False, "maxNesting": 20, "breaks": True})
    made.disable(["image", "html_block", "html_inline", "reference"]).enable(["table", "strikethrough"])
    made.inline.ruler.before("escape", "maths", _maths)
    made.core.ruler.push("bare_links", _bare_links)
    made.add_render_rule("maths", _show_maths)
    made.add_render_rule("heading_open", lambda *_: "<p><strong>")
    made.add_render_rule("heading_close", lambda *_: "</strong></p>\n")
    return made


def _maths(state: StateInline, silent: bool) -> bool:
    """Rule of markdown-it: TeX at this place becomes one token."""
    if state.src[state.pos] not in "$\\" or state.env.get("formulas", 0) >= MOST_FORMULAS:
        return False
    found = _TEX.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.env["formulas"] = state.env.get("formulas", 0) + 1
        token = state.push("maths", "math", 0)
        token.content = found[found.lastgroup or 0]
        token.meta = {"display": found.lastgroup in ("shown", "square")}
    state.pos = found.end()
    return True


def _show_maths(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    return formula(tokens[index].content, display=tokens[index].meta["display"])


@lru_cache(maxsize=2_048)
def _converted(tex: str, display: bool) -> str | None:
    require("latex2mathml", extra="web")
    from latex2mathml.converter import convert

    try:
        shown = str(convert(tex, display="block" if display else "inline"))
    except Exception:  # the converter's errors have no common root, and it stumbles over hostile TeX in other ways, too
        return None
    if _UNKNOWN.search(shown) or not _is_mathml(shown):  # a command that it does not know; tags within \text
        return None
    how = "block" if display else "inline"
    return f'<math display="{how}" alttext="{escape(tex)}">{spaced(shown[shown.index(">") + 1 :])}'


def _is_mathml(shown: str) -> bool:
    """Whether it is well formed and made of elements of `MATHML` only: the converter escapes no `<` within \\text."""
    from lxml import etree

    try:
        root = etree.fromstring(shown, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError:
        return False
    return all(str(element.tag).rpartition("}")[2] in MATHML for element in root.iter())


def _depth(tex: str) -> int:
    """How deep groups stand in each other, at the most."""
    deepest = depth = 0
    for found in re.finditer(r"\\left\b|\\right\b|\\begin\b|\\end\b|(?<!\\)[{}]", tex):
        depth += 1 if found[0] in ("{", "\\left", "\\begin") else -1
        deepest = max(deepest, depth)
    return deepest


def _bare_links(state: StateCore) -> None:
    """Rule of markdown-it: an address in running text becomes a link, outside of links."""
    for block in state.tokens:
        if block.type == "inline" and block.children and "://" in block.content:
            block.children = _linked(block.children)


def _linked(tokens: Sequence[Token]) -> list[Token]:
    made: list[Token] = []
    inside = 0
    for token in tokens:
        inside += token.nesting if token.type in ("link_open", "link_close") else 0
        made += _pieces(token) if token.type == "text" and not inside else [token]
    return made


def _pieces(token: Token) -> list[Token]:
    """A text cut at its addresses."""
    from markdown_it.token import Token

    made: list[Token] = []
    at = 0
    for found in _URL.finditer(token.content):
        address = _RUNS_ON.sub("", found[0])
        before = token.content[at : found.start()]
        opening = Token("link_open", "a", 1, attrs={"href": address})
        made += [Token("text", "", 0, content=before), opening, Token("text", "", 0, content=address)]
        made.append(Token("link_close", "a", -1))
        at = found.start() + len(address)
    return [*made, Token("text", "", 0, content=token.content[at:])]
