"""What stands in brackets in a help text is shown: Rich takes it for markup where it is not escaped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from rich.text import Text

from foveal.cli.main import app


def helps(command, path: str = "foveal") -> Iterator[tuple[str, str]]:
    """Each help text of a command and of those below it, with what it is of."""
    yield path, command.help or ""
    for one in command.params:
        yield f"{path} {one.name}", getattr(one, "help", None) or ""
    for name, below in getattr(command, "commands", {}).items():
        yield from helps(below, f"{path} {name}")


ALL = [(what, text) for what, text in helps(typer.main.get_command(app)) if "[" in text]


@pytest.mark.parametrize(("what", "text"), ALL, ids=[what for what, _ in ALL])
def test_brackets_of_a_help_text_are_shown(what, text):
    assert Text.from_markup(text).plain == text.replace("\\[", "[")


def test_there_are_help_texts_with_brackets():
    assert ALL
