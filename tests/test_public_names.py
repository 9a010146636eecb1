"""What stands in the front doors: packages that are reached from `foveal`, and layers that type checkers see."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import typer

import foveal
import foveal.nn
from foveal.registry import LAYERS

PACKAGES = (
    "attention", "evaluation", "models", "nn", "papers", "ranking", "reading", "research", "retrieval", "text",
    "training",
)  # fmt: skip


def _for_type_checkers(module: str) -> dict[str, str]:
    """Name -> where it comes from, of what stands under `if TYPE_CHECKING`."""
    tree = ast.parse(Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8"))
    told = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {one.name: str(node.module) for node in told.body if isinstance(node, ast.ImportFrom) for one in node.names}


@pytest.mark.slow
def test_packages_are_reached_from_foveal_without_an_import_of_their_own():
    script = f"import foveal; print(*(getattr(foveal, name).__name__ for name in {PACKAGES!r}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.split() == [f"foveal.{name}" for name in PACKAGES]


SEEN = ("attention", "evaluation", "nn", "ranking", "reading", "research", "training")
"""Packages whose names load when they are used."""


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_says_what_it_is_and_foveal_offers_it(name):
    assert name in foveal.__all__
    assert "\n" in (getattr(foveal, name).__doc__ or "")


@pytest.mark.parametrize("name", ["foveal", *(f"foveal.{one}" for one in SEEN)])
def test_what_is_offered_is_what_completion_and_type_checkers_see(name):
    module = import_module(name)
    assert dir(module) == sorted(module.__all__)
    assert all(getattr(module, one) is not None for one in module.__all__)
    held = {one for one, value in vars(module).items() if not isinstance(value, ModuleType)}
    assert set(_for_type_checkers(module.__name__)) == set(module.__all__) - held
    assert not hasattr(module, "Libary")


NAMED_AFTER_PAPERS = {
    "attention": ("act", "dhsa", "flexprefill", "landmark", "longheads", "retrieval_attention", "retrieval_heads"),
    "nn": ("aaren", "codebook", "lama", "routing", "stepnet", "titans"),
    "papers": ("headlines",),
    "ranking": ("attentive_cnn", "blockrank", "paraformer"),
    "reading": ("infiniretri",),
    "research": ("mindsearch",),
    "retrieval": ("corpusbrain", "events", "lexsembridge"),
    "text": ("segmentation",),
    "training": ("bprop",),
}


@pytest.mark.parametrize(
    "module", [f"foveal.{one}.{name}" for one, names in NAMED_AFTER_PAPERS.items() for name in names]
)
def test_a_system_stands_in_the_module_of_its_name(module):
    assert find_spec(module)


def test_models_are_trained_under_train_and_nowhere_else():
    from foveal.cli.main import tree

    def paths(group: typer.Typer, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for command in group.registered_commands:
            yield (*above, str(command.name or getattr(command.callback, "__name__", "")))
        for one in group.registered_groups:
            assert one.typer_instance is not None
            yield from paths(one.typer_instance, (*above, str(one.name)))

    assert [path for path in paths(tree()) if path[0] != "train" and "train" in " ".join(path)] == []


def test_type_checkers_find_each_layer_where_the_registry_does():
    assert _for_type_checkers("foveal.nn") == {name: path.partition(":")[0] for name, path in LAYERS.items()}


def _offered() -> dict[str, object]:
    import foveal.attention
    import foveal.models

    packages = (foveal.attention, foveal.models, foveal.nn)
    named = {f"{one.__name__}.{name}": getattr(one, name) for one in packages for name in one.__all__}
    return {name: one for name, one in named.items() if inspect.isclass(one) or inspect.isfunction(one)}


def _own_methods(cls: type) -> dict[str, object]:
    found = {
        name: inspect.unwrap(getattr(one, "fget", None) or getattr(one, "__func__", None) or one)
        for name, one in vars(cls).items()
        if not name.startswith("_")
    }
    return {name: one for name, one in found.items() if inspect.isfunction(one)}


def test_all_that_is_offered_is_explained():
    """In the words of help(): a class, a function, each public method."""
    offered = _offered()
    methods = {
        f"{name}.{method}": one
        for name, cls in offered.items()
        if inspect.isclass(cls)
        for method, one in _own_methods(cls).items()
    }
    assert len(methods) > 200
    lacking = [name for name, one in (offered | methods).items() if not (one.__doc__ or "").strip()]
    made = [name for name, one in offered.items() if (one.__doc__ or "").startswith(f"{name.rpartition('.')[2]}(")]
    assert not lacking + made  # a dataclass without words of its own gets its signature


def test_layers_give_the_shapes_that_go_in_and_out():
    layers = {name: getattr(foveal.nn, name) for name in LAYERS}
    modules = {name: one for name, one in layers.items() if "forward" in dir(one)}
    assert len(modules) > 20
    shapes = re.compile(r"\((B|n|…), ")
    without = [name for name, one in modules.items() if not shapes.search(f"{one.__doc__} {one.forward.__doc__}")]
    assert not without


def test_methods_are_told_by_what_they_do():
    from foveal.attention import methods

    for name, line in methods().items():
        assert line[0].isupper() or line.startswith("`"), name
        assert line.endswith("."), name
