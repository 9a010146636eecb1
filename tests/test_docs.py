"""The documentation names what there is, and its links lead somewhere."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from foveal import registry
from foveal.cli.main import app, tree
from foveal.models import OFFLINE
from foveal.settings import NO_CHOICES, Settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def _in_fences(page: Path, language: str) -> list[str]:
    """What stands between fences of a language ("": of none)."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_python_of_a_page_imports_is_there(page):
    for lines in _in_fences(page, "python"):
        for module, names in re.findall(r"^ *from (foveal[\w.]*) import ([\w, ]+)", lines, re.MULTILINE):
            spec = find_spec(module)
            assert spec, module
            file = Path(str(spec.origin))
            for name in names.replace(" ", "").split(","):
                held = re.search(rf"\b{name}\b", file.read_text(encoding="utf-8"))
                assert held or file.with_name(f"{name}.py").is_file(), f"{module}: {name}"


def _commands(page: Path) -> list[str]:
    """What follows `foveal` in the shell's lines of a page, and in its text between backticks."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    plain = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in _in_fences(page, "") for line in block.splitlines()]
    found = [one for line in lines for one in re.findall(r"(?:^|[$|;&/] *)foveal ([a-z].*)", line)]
    return found + re.findall(r"`foveal ([a-z][^`\n]+)`", plain)


@pytest.fixture(scope="module")
def every_command() -> Any:
    return typer.main.get_command(tree())


@pytest.mark.parametrize("page", [one for one in PAGES if one.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_the_options_of_a_pages_commands_are_there(page, every_command):
    for line in _commands(page):
        command, words = every_command, re.split(r" {2}| [|;&#]", line)[0].split()
        while words and words[0] in getattr(command, "commands", ()):
            command = command.commands[words.pop(0)]
        for usual in ("ask", "add"):  # foveal research QUESTION, foveal research watch QUESTION
            command = getattr(command, "commands", {}).get(usual, command) if words else command
        if hasattr(command, "commands"):  # foveal train …
            continue
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
        for word in words:
            option = re.match(r"--?[a-z][a-z0-9-]*", word.lstrip("[(`"))
            assert option is None or option[0] in known, f"foveal {line}: {option[0]}"


def test_every_command_is_documented():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for name in commands:
        assert re.search(rf"foveal\S* {name}\b|`{name}`|{name}`", ALL), name


@pytest.mark.parametrize(
    "table", [registry.SEGMENTERS, registry.RETRIEVERS, registry.BENCHES, registry.PAPER_SOURCES, OFFLINE]
)
def test_every_name_that_a_person_may_type_is_documented(table):
    for name in table:
        assert re.search(rf"\b{re.escape(name)}\b", ALL), name


def test_every_setting_is_documented():
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    for setting in fields(Settings):
        if setting.name not in NO_CHOICES:
            assert f"| `{setting.name}` | {_shown(setting.default)} |" in page, setting.name


def test_no_page_names_a_machine():
    assert not re.search(r"/(work|root|tmp|home)/", ALL)


def _shown(default: object) -> str:
    return f"`{default}`" if isinstance(default, str) else str(default).lower()


def test_the_readme_shows_places_where_its_quotes_stand():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    texts = [re.search(r'printf %s "([^"]+)"', readme)[1], (ROOT / "docs/library.md").read_text(encoding="utf-8")]
    shown = re.findall(r"“([^”]+)”\n.* (\d+):(\d+)$", readme, re.MULTILINE)
    found = [text[int(start) : int(end)] for text, (_, start, end) in zip(texts, shown, strict=True)]
    assert found == [quote for quote, *_ in shown]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_asks_for_a_pdf_by_a_date_which_it_has_not(page):
    commands = [line.partition(" # ")[0] for line in page.read_text(encoding="utf-8").splitlines()]
    asked = [line for line in commands if line.startswith("foveal ") and "kind=pdf" in line and "published" in line]
    assert not asked
