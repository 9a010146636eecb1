"""Programs: told by their names, headed by what they define, and shown as they are."""

import pytest

from foveal.text.headings import find_headings
from foveal.text.loading import read_document
from foveal.text.programs import PROGRAMS, definitions, headings_in
from foveal.text.segmentation import HeadingSegmenter

PROGRAM = '''"""Class diagrams are drawn.

class of things
"""
# comment
LONGEST = 32
WIDEST = 3

# another comment
class Window:
    def __post_init__(self) -> None:
        def inner():
            def too_deep():
                pass

async def main(argv):
    classes = {}
    return "def nothing():"
'''


def titles(text):
    return [(one.level, one.title) for one in definitions(text)]


def test_a_programs_headings_are_its_definitions(tmp_path):
    path = tmp_path / "windows.py"
    path.write_text(PROGRAM)
    document = read_document(path)
    assert (document.title, document.metadata["kind"], document.text) == ("windows.py", "code", PROGRAM)
    assert [(one.level, one.title) for one in headings_in(document)] == [
        (1, "class Window"),
        (2, "def __post_init__"),
        (3, "def inner"),
        (1, "def main"),
    ]
    assert find_headings(PROGRAM)  # what its lines look like
    passages = HeadingSegmenter(max_tokens=20, min_tokens=0).segment(document)
    assert {one.heading for one in passages if "too_deep" in one.text} == {
        "class Window > def __post_init__ > def inner"
    }
    assert all(PROGRAM[one.span.start : one.span.end] == one.text for one in passages)


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("export default class Eye extends Organ {", "class Eye"),
        ("export async function look(at) {", "function look"),
        ("pub(crate) fn look<T>(at: T) -> bool {", "fn look"),
        ("impl Look for Eye {", "impl Look"),
        ("func (eye *Eye) Look(at int) bool {", "func Look"),
        ("\tpublic static class Eye<T>", "class Eye"),
        ("interface Eye {", "interface Eye"),
        ("  def look?(at)", "def look?"),
        ("module Sight::Eye", "module Sight::Eye"),
        ("defmodule Sight.Eye do", "defmodule Sight.Eye"),
        ("data class Eye(val open: Boolean)", "class Eye"),
        ("namespace sight::eye {", "namespace sight::eye"),
        ("class Eye\r", "class Eye"),
        ("class Eye  // that looks", "class Eye"),
        ("def look # at it", "def look"),
        ("type Eye struct {", "type Eye"),
        ("local function look(at)", "function look"),
        ("enum class Eye : int {", "enum class Eye"),
    ],
)
def test_definitions_of_other_languages(line, title):
    assert [told for _, told in titles(f"{line}\n    body\n")] == [title]


@pytest.mark.parametrize(
    "line",
    ["class of things that", "// class Eye {", "# def look():", "return fn(x)", "object is a word", "classes = 1"],
)
def test_what_is_no_definition(line):
    assert titles(line) == []


def test_many_modifiers_and_blanks_take_no_longer_than_they_are():
    assert titles("static " * 50_000) == []
    assert titles("class " + " " * 200_000) == []
    assert titles("func (" * 50_000) == []


def test_a_program_in_one_line_and_a_name_without_end_are_no_headings():
    assert titles("function look(a){" + "look(1);" * 100 + "}\n") == []
    assert titles(f"class {'A' * 5000}:\n    pass\n") == []


def test_endings_are_told_whatever_their_case(tmp_path):
    assert {".py", ".rs", ".json", ".toml"} <= set(PROGRAMS)
    path = tmp_path / "A.JSON"
    path.write_text('{"a": 1}\n')
    assert read_document(path).metadata["kind"] == "code"
