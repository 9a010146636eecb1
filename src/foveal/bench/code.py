"""What code a kept figure or a trained arm was made by: by other code, a benchmark makes it anew."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

OWN, BENCHES = "foveal", "foveal.bench."


@cache
def code_digest(*modules: str, within: str | None = None) -> str:
    """A hash of what modules do, given their names. Comments, docstrings and layout do not count.

    `within`: a package; what is imported from it, by these modules or by those, counts too.
    """
    open_ones, found = list(modules), dict[str, str]()
    while open_ones:
        name = open_ones.pop()
        if name in found:
            continue
        tree = _parsed(name)
        found[name] = ast.dump(tree)
        open_ones += [] if within is None else _imported(tree, within)
    return hashlib.sha256("\n".join(f"{name} {found[name]}" for name in sorted(found)).encode()).hexdigest()[:16]


def native_digest(*sources: str) -> str:
    """A hash of compiled sources, by their paths in the package, which `code_digest` does not see."""
    spec = find_spec(OWN)
    folder = Path(spec.origin if spec and spec.origin else "").parent
    return hashlib.sha256(b"\0".join((folder / one).read_bytes() for one in sources)).hexdigest()[:16]


def digest_of(model: nn.Module, *called: Callable[..., Any]) -> str:
    """`code_digest` of the classes of ours that a model is made of, of what is called with it, and of what these import
    of their own packages. A benchmark's own modules count by themselves."""
    made_by = {type(part).__module__ for part in model.modules()} | {_module(one) for one in called}
    own = sorted(name for name in made_by if name.partition(".")[0] == OWN)
    parts = [code_digest(name, within=None if name.startswith(BENCHES) else name.rpartition(".")[0]) for name in own]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _module(called: Callable[..., Any]) -> str:
    return str((called.func if isinstance(called, partial) else called).__module__)


def _parsed(module: str) -> ast.Module:
    """A module's syntax without docstrings, and without strings that stand behind a name to explain it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"There is no module {module} whose code could be hashed.")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                setattr(node, name, [one for one in statements if not _is_text(one)])
    return tree


def _is_text(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """The modules of a package that are imported anywhere in this one, by `from ... import`, as all of ours are."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module or node.level:
            continue
        inside = node.module.startswith(f"{package}.")
        if inside:
            yield node.module
        if (inside or node.module == package) and _is_package(node.module):
            yield from (name for one in node.names if find_spec(name := f"{node.module}.{one.name}"))


def _is_package(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None
