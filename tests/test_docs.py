"""The documentation names what there is, and its links lead somewhere."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from foveal import registry
from foveal.cli.main import app
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
