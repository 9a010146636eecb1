"""Importing stays light, changes nothing, and every name of a registry leads somewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import foveal
from foveal import registry
from foveal.cli import main
from foveal.errors import MissingExtra, UnknownName

HEAVY = ("torch", "transformers", "lancedb", "pyarrow", "numpy", "ray", "fastapi", "httpx", "trafilatura", "rich")


def _imported(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*({set(HEAVY)!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, check=True, text=True)
    return set(done.stdout.split())


def test_importing_foveal_imports_nothing_heavy():
    assert _imported("import foveal; foveal.errors; foveal.types") == set()


def test_the_command_tree_imports_no_engine():
    assert _imported("import foveal.cli.main") <= {"rich"}


PACKAGES = ("attention", "evaluation", "models", "nn", "papers", "ranking", "reading", "research", "retrieval", "text")


def test_importing_a_package_imports_no_engine():
    packages = ", ".join(f"foveal.{name}" for name in (*PACKAGES, "training"))
    assert _imported(f"import {packages}") & {"torch", "transformers", "lancedb", "pyarrow", "fastapi"} == set()


def test_a_servers_model_answers_without_an_engine():
    """PyTorch and transformers take longer to import than the server takes to answer."""
    asked = """
import foveal.cli.asking
from foveal.models.openai_chat import OpenAIChat
from foveal.reading.asking import Asker
from foveal.types import Document, Hit, Passage, Span

class Server(OpenAIChat):
    def stream(self, messages, sampling=None, *, cancel=None):
        yield "The key hangs behind the clock. [1]"

text = "The key hangs behind the clock."
document = Document.of("key.txt", text, "Key")
asker = Asker(lambda which, revision: document, Server("small", "http://127.0.0.1:9/v1"))
hit = Hit(Passage(Span(document.id, 0, len(text)), text), 1.0, "test", document.revision)
*_, answer = asker.stream("Where is the key?", [hit])
assert answer.citations[0].quote == text
"""
    assert _imported(asked) & {"torch", "transformers"} == set()


@pytest.mark.slow
@pytest.mark.parametrize("first", ["import foveal.attention.attach", "import foveal.attention"])
def test_a_function_stays_what_it_is_though_a_module_has_its_name(first):
    script = f"""{first}
import foveal
from foveal.attention import attach, watch
import foveal.attention.attach, foveal.attention.watch
from foveal.attention.attach import Context
from foveal.attention import attach as again
print(attach is again is foveal.attention.attach, attach.__name__, foveal.attention.watch.__name__, *(
    name in sys.modules for name in ("foveal.nn.routing", "foveal.nn.aaren")))"""
    done = subprocess.run([sys.executable, "-c", f"import sys\n{script}"], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["True", "attach", "watch", "False", "False"]


@pytest.mark.parametrize("chosen", [None, "0"])
def test_the_command_takes_memory_by_large_pages_unless_told_otherwise(chosen, monkeypatch):
    monkeypatch.setattr(main, "tree", lambda _: lambda: None)
    monkeypatch.setenv(main.LARGE_PAGES, chosen or "")
    if chosen is None:
        monkeypatch.delenv(main.LARGE_PAGES)
    main.run()
    assert os.environ[main.LARGE_PAGES] == (chosen or "1")


@pytest.mark.parametrize("table", [registry.SEGMENTERS, registry.RETRIEVERS, registry.BENCHES, registry.PAPER_SOURCES])
def test_every_registered_name_resolves(table):
    for name in table:
        assert callable(registry.lookup(table, name, kind="thing"))


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(UnknownName, match=r"No retriever is called 'semantic'. There are: lexical, dense, hybrid"):
        registry.lookup(registry.RETRIEVERS, "semantic", kind="retriever")


def test_of_a_misspelt_name_the_one_that_was_meant_comes_first():
    """The benches alone are some hundred names."""
    with pytest.raises(UnknownName, match=r"'evnts'\. Did you mean 'events'\? There are: read, "):
        registry.lookup(registry.BENCHES, "evnts", kind="bench")


def test_a_missing_extra_is_named_and_a_broken_install_keeps_its_own_error(tmp_path, monkeypatch):
    with pytest.raises(MissingExtra, match=r"foveal\[scale\]"):
        registry.require("a_package_nobody_has", extra="scale")
    (tmp_path / "broken_package.py").write_text("import a_package_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_nobody_has") as caught:
        registry.require("broken_package", extra="scale")
    assert not isinstance(caught.value, MissingExtra)


def test_public_names_exist():
    for name in foveal.__all__:
        assert getattr(foveal, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = foveal.nothing
