"""Chat templates, which are programs of whoever made the model: run within bounds of work and memory.

    rendered(tokenizer, [{"role": "user", "content": "Hello"}], add_generation_prompt=True)

transformers lets them reach nothing of the machine (Jinja's sandbox), but loop as long as they like: within range's
bound of 100,000 two nested loops are hours, and `"a" * 10 ** 10` is the whole memory. Here each step of a loop, call
and filter is counted, and so is the length of each text and list that is made; no step may make one that is much longer
than the messages. What a template gives is what transformers' own rendering gives.

Steps      of loops, by a filter around what they go over; of calls, macros' among them; of filters
Sizes      characters of texts, items of lists with all that they hold, a thing twice where they hold it twice
Not seen   what a step itself does within its sizes, such as comparing two lists of long texts
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes

WORK = 200_000
"""Steps, or 64 characters that are made, for each rendering; more for long messages."""
MADE = 64
"""Characters that cost as much as a step."""
COPIED = 1024
"""Characters that do so where they are only copied, compared or looked through: talks are added up turn by turn."""
ROOM = 1_000_000
"""Characters of one text, besides eight for each of the messages'."""
AT_ONCE = 1 << 26
"""Characters that one step could make at most, by its arguments."""
LARGEST = 100_000
"""Of whole numbers that calls and filters are given, as of range."""
BITS = 10_000
"""Of whole numbers that are made."""

STEPS, SIZED, READ = "foveal_steps", "foveal_sized", "foveal_read"
"""Filters of ours: around what a loop goes over; around what is joined or held by a list; around what is compared or
cut."""
MULTIPLIED = frozenset(
    ("center", "expandtabs", "format", "format_map", "indent", "join", "ljust", "pprint", "replace", "rjust", "tojson",
     "translate", "urlize", "wordwrap", "xmlattr", "zfill")
)  # fmt: skip
"""Methods of texts, and filters, that may make as much as the product of what they are given."""
_NUMBER = re.compile(r"\d+")
_WIDTH_GIVEN = re.compile(r"\*|\{[^}]*\{")
"""In a format, a width that stands in what is written by it."""


class TooMuch(InputError):
    """A template does more than any could need."""


class Bounds:
    """What is left to one rendering."""

    def __init__(self, characters: int) -> None:
        """`characters` of the messages."""
        self.work, self.room = WORK + characters, ROOM + 8 * characters

    def spend(self, *sizes: int, each: int = MADE) -> None:
        """One step, and what it makes, `each` characters as a step more. TooMuch: no work is left, or it makes too
        much."""
        self.work -= 1 + sum(sizes) // each
        if self.work < 0:
            raise TooMuch("it loops for longer than any template could need")
        if max(sizes, default=0) > self.room:
            raise TooMuch(f"it makes a text or list of more than {self.room:,} characters or items")


_BOUNDS: ContextVar[Bounds] = ContextVar("foveal_template_bounds")


def rendered(tokenizer: Any, turns: Sequence[dict[str, str]], *, add_generation_prompt: bool) -> str:
    """The turns as the tokenizer's template writes them, without reasoning where it knows `enable_thinking`.

    TooMuch: it goes beyond the bounds. Else whatever the template raises.
    """
    template = _compiled(tokenizer.get_chat_template())
    told = {"tools": None, "documents": None, **tokenizer.special_tokens_map, "enable_thinking": False}
    mark = _BOUNDS.set(Bounds(sum(len(one["content"]) for one in turns)))
    try:
        return template.render(
            messages=[dict(one) for one in turns], add_generation_prompt=add_generation_prompt, **told
        )
    finally:
        _BOUNDS.reset(mark)


@lru_cache(maxsize=64)
def _compiled(template: str) -> jinja2.Template:
    """By transformers' environment, with the bounds in it. Nothing of the template is computed meanwhile: a constant
    of `10 ** 10 ** 10` would be."""
    from transformers.utils import chat_template_utils

    theirs: Any = chat_template_utils
    plain = theirs._compile_jinja_template("").environment
    environment = plain.overlay()
    environment.__class__ = _bounded(plain.__class__)
    environment.optimized = False
    own = {STEPS: _steps, SIZED: _copied, READ: _read}
    environment.filters = {name: _counted(name, each) for name, each in plain.filters.items()} | own
    environment.globals = {name: each for name, each in plain.globals.items() if name != "lipsum"}  # makes up texts
    found: jinja2.Template = environment.from_string(template)
    return found


def _watch(tree: nodes.Template, environment: jinja2.Environment) -> None:
    """Put our filters into a template: around what loops go over, and what is joined, held, compared or cut."""
    from jinja2 import nodes

    def through(node: Any, of: str) -> nodes.Filter:
        return nodes.Filter(node, of, [], [], None, None, lineno=node.lineno, environment=environment)

    for loop in list(tree.find_all(nodes.For)):
        loop.iter = through(loop.iter, STEPS)
    for joined in list(tree.find_all(nodes.Concat)):
        joined.nodes = [through(one, SIZED) for one in joined.nodes]
    read = (one for one in tree.find_all(nodes.Tuple) if one.ctx == "load")  # not the names that a loop sets
    holding: list[Any] = [*tree.find_all(nodes.List), *read]
    for held in holding:
        held.items = [through(one, SIZED) for one in held.items]
    for pair in list(tree.find_all(nodes.Pair)):
        pair.value = through(pair.value, SIZED)
    for compared in list(tree.find_all(nodes.Compare)):
        compared.expr = through(compared.expr, READ)
        for other in compared.ops:
            other.expr = through(other.expr, READ)
    for cut in [one for one in tree.find_all(nodes.Getitem) if isinstance(one.arg, nodes.Slice)]:
        cut.node = through(cut.node, READ)


@lru_cache(maxsize=1)
def _bounded(sandbox: Any) -> Any:
    """The sandbox with bounds."""

    class Bounded(sandbox):  # type: ignore[misc]
        intercepted_binops = frozenset(("+", "*", "**", "%"))

        def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
            tree: nodes.Template = super()._parse(source, name, filename)
            _watch(tree, self)
            return tree

        def concat(self, parts: Iterable[str]) -> str:
            bounds, made, whole = _BOUNDS.get(), list[str](), 0
            for part in parts:
                whole += len(part)
                bounds.spend(len(part), each=COPIED)
                bounds.spend(whole if whole > bounds.room else 0)
                made.append(part)
            return "".join(made)

        def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
            name = getattr(__obj, "__name__", "")
            own = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)  # format is wrapped
            _require_small(name, (own, *args, *kwargs.values()))
            return _made(super().call(__context, __obj, *args, **kwargs))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _require_small_result(operator, left, right)
            return (_made if operator == "%" else _copied)(super().call_binop(context, operator, left, right))

    return Bounded


def _counted(name: str, each: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose steps and sizes are counted."""
    passed = hasattr(each, "jinja_pass_arg")  # the environment, or the like, comes first

    @wraps(each)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _require_small(name, (*args[passed:], *kwargs.values()))
        made = each(*args, **kwargs)
        return map(_copied, made) if isinstance(made, Iterator) else _made(made)

    return counted


def _steps(over: Iterable[Any]) -> Iterator[Any]:
    """What a loop goes over, each of it a step."""
    bounds = _BOUNDS.get()
    for one in over:
        bounds.spend()
        yield one


def _made(one: Any, each: int = MADE) -> Any:
    """What a step made. TooMuch: it is too long."""
    bounds = _BOUNDS.get()
    bounds.spend(_size(one, bounds), each=each)
    return one


def _copied(one: Any) -> Any:
    """The same of what was only put together."""
    return _made(one, COPIED)


def _read(one: Any) -> Any:
    """What is looked through; no step of its own."""
    _BOUNDS.get().work -= _length(one) // COPIED
    return one


def _length(of: Any) -> int:
    """How long it is, without what it holds; 0 of what has no length."""
    return len(of) if isinstance(of, str | bytes | list | tuple | dict) else 0


def _size(of: Any, bounds: Bounds) -> int:
    """How long it is, with all that it holds; counted until it has no room."""
    found, inside, looks = 0, [of], 0
    while inside and found <= bounds.room:
        one, looks = inside.pop(), looks + 1
        one = getattr(one, "_Namespace__attrs", one)
        if isinstance(one, str | bytes):
            found += len(one)
        elif isinstance(one, dict):
            found += 2 * len(one)
            inside += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            found += len(one)
            inside += one
    bounds.work -= looks // 4
    return found


def _require_small(name: str, given: Sequence[Any]) -> None:
    """TooMuch: a call or filter is given a number, or what may be multiplied, that is too large."""
    bounds = _BOUNDS.get()
    numbers = [abs(one) for one in given if isinstance(one, int)]
    bounds.spend()
    bounds.work -= sum(map(_length, given)) // COPIED
    if max(numbers, default=0) > LARGEST:
        raise TooMuch(f"it gives {name or 'a call'} a number above {LARGEST:,}")
    if name in MULTIPLIED:
        most, *others = sorted([1, *(_pieces(one, bounds) for one in given)], reverse=True)
        widths = _widths(given) if "format" in name else numbers
        if most * (1 + max([*others, *widths], default=0)) > AT_ONCE:
            raise TooMuch(f"its {name} could make more than {AT_ONCE:,} characters")


def _pieces(of: Any, bounds: Bounds) -> int:
    """How long it is; of what is only gone over (a range, a filter's items) how many it may give."""
    if isinstance(of, range):
        return len(of)
    return LARGEST if isinstance(of, Iterator) else _size(of, bounds)


def _widths(given: Sequence[Any]) -> list[int]:
    """The numbers by which a format (the first of what is given) may make a text wide: those in it, and where it takes
    them from what is written, all there."""
    written, *rest = given
    inside = list[Any](rest if _WIDTH_GIVEN.search(str(written)) else ())
    found = [int(one) for one in _NUMBER.findall(str(written))]
    while inside:
        one = inside.pop()
        if isinstance(one, dict):
            inside += one.values()
        elif isinstance(one, list | tuple):
            inside += one
        elif isinstance(one, int):
            found.append(abs(one))
        elif isinstance(one, str):
            found += map(int, _NUMBER.findall(one))
    return found


def _require_small_result(operator: str, left: Any, right: Any) -> None:
    """TooMuch: a sum, product, power or formatted text would be too large."""
    bounds = _BOUNDS.get()
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
        if bits > BITS and operator != "%":
            raise TooMuch("it makes a number of thousands of digits")
    elif operator == "%" and isinstance(left, str):
        _require_small("format", (left, right))
    elif operator == "*":
        text, times = (right, left) if isinstance(left, int) else (left, right)
        if isinstance(times, int):
            bounds.spend(max(0, times) * _size(text, bounds), each=COPIED)
    else:
        bounds.spend(_size(left, bounds) + _size(right, bounds) if operator == "+" else 0, each=COPIED)
