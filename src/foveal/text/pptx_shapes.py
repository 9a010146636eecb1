"""Shapes of slides (PresentationML): which say something, in which order they are read, what they have from layouts.

Order     by their places, as reading_order.py reads boxes; a group is read as a whole, and in it what it holds
Layouts   a placeholder has its place and its bullets from the layout's of its number or kind, and these from the master
          What has no place at all is read behind what it stands behind in the file
Left out  shapes that are hidden, and placeholders of the head and foot: numbers of slides, dates
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from foveal.text.office_formulas import local
from foveal.text.pptx_paragraphs import Levels, levels_of, number, unfolded
from foveal.text.reading_order import Box, in_order

SHAPES = ("sp", "grpSp", "graphicFrame", "cxnSp")
SHOWN = ("chart", "relIds")  # what a frame refers to: its words lie in files of their own
TITLES = ("title", "ctrTitle")
FOOT = ("sldNum", "dt", "ftr", "hdr")


class Role(NamedTuple):
    """What a placeholder is one for."""

    kind: str  # as written; "obj" where nothing is
    place: str  # a number, which the layout's has, too

    @property
    def group(self) -> str:
        """The kind of the master's placeholder that it is made of."""
        return "title" if self.kind in TITLES else self.kind if self.kind in FOOT else "body"


@dataclass(frozen=True)
class Inherited:
    """What placeholders have from a layout or master where they say nothing themselves."""

    box: Box | None = None
    levels: Levels = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """The placeholders of a layout, over those of its master."""

    by_role: Mapping[Role, Inherited] = field(default_factory=dict)  # of each group
    by_group: Mapping[str, Inherited] = field(default_factory=dict)  # of the master

    @classmethod
    def of(cls, layout: Any, master: Any) -> Layout:
        """The layout in a file, and the master in that of its own; each may be None."""
        styles = master.find("{*}txStyles/{*}bodyStyle") if master is not None else None
        above = {"body": Inherited(None, levels_of(styles))}
        for shape, role in _placeholders(master):
            above[role.group] = _over(above.get(role.group, Inherited()), shape)
        own = [(role, _over(above.get(role.group, Inherited()), shape)) for shape, role in _placeholders(layout)]
        by_role = {Role(role.group, role.place): one for role, one in reversed(own)}
        return cls(by_role, above)

    def inherited(self, shape: Any) -> Inherited:
        """What a shape of a slide has from here."""
        role = role_of(shape)
        if role is None:
            return Inherited()
        return self.by_role.get(Role(role.group, role.place)) or self.by_group.get(role.group) or Inherited()


def role_of(shape: Any) -> Role | None:
    """What a shape is a placeholder for; None: it is none."""
    found = next((one for way in shape.iterchildren("*") for one in way.iterfind("{*}nvPr/{*}ph")), None)
    return None if found is None else Role(found.get("type") or "obj", found.get("idx") or "0")


def shapes_in_order(root: Any, layout: Layout) -> list[Any]:
    """The shapes of a slide that say something, as they are read."""
    tree = root.find("{*}cSld/{*}spTree")
    said = _speaking(tree)
    found = []
    left = [tree] if tree is not None else []
    while left:
        one = left.pop()
        if one is tree or local(one) == "grpSp":
            left += _ordered([each for each in unfolded(one) if each in said and _is_read(each)], layout)[::-1]
        else:
            found.append(one)
    return found


def _over(above: Inherited, shape: Any) -> Inherited:
    return Inherited(_box(shape) or above.box, {**above.levels, **levels_of(shape.find("{*}txBody/{*}lstStyle"))})


def _placeholders(root: Any) -> Iterator[tuple[Any, Role]]:
    tree = root.find("{*}cSld/{*}spTree") if root is not None else None
    for shape in unfolded(tree) if tree is not None else ():
        if (role := role_of(shape)) is not None:
            yield shape, role


def _speaking(tree: Any) -> set[Any]:
    """The elements of a slide in or below which something is said."""
    found: set[Any] = set()
    for one in tree.iter("{*}t", *(f"{{*}}{name}" for name in SHOWN)) if tree is not None else ():
        if local(one) != "t" or (one.text or "").strip():
            above = one
            while above is not None and above not in found:
                found.add(above)
                above = above.getparent()
    return found


def _is_read(shape: Any) -> bool:
    about = next((one for way in shape.iterchildren("*") for one in way.iterchildren("{*}cNvPr")), None)
    if local(shape) not in SHAPES or (about is not None and about.get("hidden") in ("1", "true")):
        return False
    role = role_of(shape)
    return role is None or role.kind not in FOOT


def _ordered(shapes: Iterable[Any], layout: Layout) -> list[Any]:
    """Shapes that stand beside one another, as they are read."""
    return in_order([(_box(one) or layout.inherited(one).box, one) for one in shapes])


def _box(shape: Any) -> Box | None:
    """Where a shape stands, by its own word."""
    about = shape.find("{*}xfrm")  # of a frame; others have it among their properties
    for way in ("{*}spPr", "{*}grpSpPr") if about is None else ():
        about = shape.find(f"{way}/{{*}}xfrm") if about is None else about
    off, ext = (about.find("{*}off"), about.find("{*}ext")) if about is not None else (None, None)
    if off is None or ext is None:
        return None
    left, top = number(off.get("x")), number(off.get("y"))
    width, height = number(ext.get("cx")), number(ext.get("cy"))
    if left is None or top is None or width is None or height is None:
        return None
    return Box(left, top, left + max(0, width), top + max(0, height))
