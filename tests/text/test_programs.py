"""Programs: told by their names, headed by what they define, and shown as they are."""

import pytest

from foveal.text.headings import find_headings
from foveal.text.loading import read_document
from foveal.text.programs import PROGRAMS, definitions, headings_in
from foveal.text.segmentation import HeadingSegmenter
from foveal.types import Document

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
        ("func (eye *Eye) Look(at int) bool {", "func Eye.Look"),
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


def test_a_long_line_hides_none_below_it():
    found = definitions(f"def look {'a' * 400}\nend\ndef seen\nend\n", "rb")
    assert [one.title for one in found] == ["def seen"]


def test_endings_are_told_whatever_their_case(tmp_path):
    assert {".py", ".rs", ".json", ".toml"} <= set(PROGRAMS)
    path = tmp_path / "A.JSON"
    path.write_text('{"a": 1}\n')
    assert read_document(path).metadata["kind"] == "code"


@pytest.mark.parametrize(
    ("language", "text", "told"),
    [
        ("py", '"""\nclass No:\n"""\n@a(\n    1,\n)\nasync def look(at): return 1\n# def no():\n', "def look"),
        ("pyi", "def look(at: int) -> int: ...\ndef seen() -> None: ...\n", "def look|def seen"),
        ("pyx", "cdef class Eye:\n    cdef int look(self, int at) except -1:\n", "cdef class Eye|  cdef look"),
        (
            "go",
            "type Lid int\nfunc (e *Eye[T]) Look() (int, error) {\n}\nvar s = `\nfunc no() {\n`\n",
            "type Lid|func Eye.Look",
        ),
        (
            "rs",
            "impl<T: Ord> Look<T> for Eye<'_, T> where T: X {\n    fn look<'a>(at: &'a T) {\n/* fn no() {} */",
            "impl Look for Eye|  fn look",
        ),
        (
            "kt",
            "@Marked(1) data class Eye private constructor(val at: Int)\noverride fun <T> List<T>.look(): Int = 1\n",
            "class Eye|fun List<T>.look",
        ),
        (
            "swift",
            "extension Eye: Seeing {\n    public init?(at: Int) {\n    static func == (a: Eye) {\n",
            "extension Eye|  init?()|  func ==",
        ),
        (
            "scala",
            "case class Eye(at: Int) extends Organ\nobject Lid {\n  def ++(at: Int) = 1\n",
            "class Eye|object Lid|  def ++",
        ),
        (
            "php",
            "<p>function no() {</p>\n<?php\nfinal class Eye {\n"
            "    public static function &look($at) {\n# function no() {",
            "class Eye|  function look",
        ),
        (
            "rb",
            "class Eye < Organ\n  def self.look?(at)\n  def ==(other)\n=begin\ndef no\n=end\n  class << self\n",
            "class Eye|  def self.look?|  def ==",
        ),
        (
            "lua",
            "local function look(at)\nEye.seen = function(self)\nfunction Eye:open()\n--[[\nfunction no()\n]]\n",
            "function look|Eye.seen()|function Eye:open",
        ),
        ("r", "look <- function(at, by = 1) {\n}\n.seen = function(x) x\nat <- look(1)\n", "look()|.seen()"),
        (
            "sh",
            "look() {\n}\nfunction seen {\n}\ncat <<'EOT'\nno() {\nEOT\nawk '\nno() {\n'\nlook() { seen; }\n",
            "look()|function seen|look()",
        ),
        (
            "sql",
            "CREATE OR REPLACE FUNCTION sight.look(at int) AS $$\n"
            "create table no (\n$$;\ncreate table if not exists eye (\n",
            "function sight.look|table eye",
        ),
        (
            "mk",
            "AT = 1\nall: one two\n\tlook: no\n.PHONY: all\n%.o: %.c\nBY := 2\ndefine LOOK\n",
            "all|%.o|define LOOK",
        ),
        ("cmake", "function(look at)\nMacro( seen )\nset(at 1)\n", "function look|macro seen"),
        ("bat", "@echo off\n:look\n:: no\ngoto :look\n", "look"),
        ("ps1", "<#\nfunction no {\n#>\nFunction Get-Eye {\n", "function Get-Eye"),
        (
            "pl",
            "package Sight::Eye;\nsub look {\n=pod\n\nsub no {\n\n=cut\n__END__\nsub no {\n",
            "package Sight::Eye|sub look",
        ),
        (
            "hs",
            "module Eye where\ndata Lid = Up | Down\nlook :: Int -> Int\nlook at = at\n",
            "module Eye|data Lid|look()",
        ),
        ("ml", "let rec look at = 1\n(* let no = 1 *)\nmodule Eye = struct\n", "let rec look|module Eye"),
        ("erl", "look(0) -> 1;\nlook(N) -> N.\nseen() -> ok.\n", "look()|seen()"),
        ("clj", "(ns sight.eye)\n(defn- ^:private look [at])\n; (defn no\n", "ns sight.eye|defn- look"),
        (
            "el",
            '(defun look (at)\n  "(defun no")\n(define-minor-mode eye-mode\n',
            "defun look|define-minor-mode eye-mode",
        ),
        ("vim", 'function! s:look(at) abort\n" function no()\n', "function s:look"),
        (
            "jl",
            "function look(at)\nmutable struct Eye\nseen(x) = x + 1\nat = look(1)\n",
            "function look|struct Eye|seen()",
        ),
        ("ex", "defmodule Eye do\n  def look(at), do: at\n  defp seen do\n", "defmodule Eye|  def look|  defp seen"),
        (
            "groovy",
            "class Eye {\n    static String look(int at) {\n    def seen() {\n    if (at) {\n",
            "class Eye|  look()|  seen()",
        ),
        (
            "proto",
            "message Eye {\n  enum Lid {\nservice Sight {\n  rpc Look(Eye) returns (Eye) {}\n",
            "message Eye|  enum Lid|service Sight|  rpc Look",
        ),
        ("fish", "function look --argument at\n", "function look"),
        ("json", '{"a": "\nclass Eye {\n"}\n', ""),
        ("css", ".eye:not(.x) {\n}\n@media (max-width: 1px) {\n}\n", ""),
    ],
)
def test_each_language_has_its_own_words(language, text, told):
    found = [f"{'  ' * (one.level - 1)}{one.title}" for one in definitions(text, language)]
    assert found == list(filter(None, told.split("|")))
    on_windows = definitions(text.replace("\n", "\r\n"), language)
    assert [f"{'  ' * (one.level - 1)}{one.title}" for one in on_windows] == found


def program(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return read_document(tmp_path / name)


@pytest.mark.parametrize("name", ["eye.c", "EYE.C", "a b.cpp", "eye.h"])
def test_the_language_is_that_of_the_name(tmp_path, name):
    document = program(tmp_path, name, "int look(int at)\n{\n    return at;\n}\n")
    assert [one.title for one in headings_in(document)] == ["look()"]
    kept = {"kind": "code", "source": f"https://a.b/{name}?raw=1"}
    assert [one.title for one in headings_in(Document.of("made", document.text, "//[", metadata=kept))] == ["look()"]
    renamed = Document.of("made", document.text, "Of eyes", metadata={**document.metadata})
    assert [one.title for one in headings_in(renamed)] == ["look()"]


def test_comments_and_decorators_above_are_part_of_what_they_stand_above(tmp_path):
    text = "int first(int at)\n{\n    return at;\n}\n\n/**\n * Sees far.\n */\n// at last\nint second(int at)\n{\n}\n"
    found = HeadingSegmenter().segment(program(tmp_path, "eye.c", text))
    assert [one.heading for one in found] == ["first()", "second()"]
    assert found[1].text.startswith("/**")
    assert "".join(one.text for one in found) == text
    text = "import x\n# of x\n\n# of look\n@x(\n    1,\n)\n@y\ndef look():\n    pass\n"
    (one,) = definitions(text, "py")
    assert text[one.start - one.lead : one.start] == "# of look\n@x(\n    1,\n)\n@y\n"
    assert text[one.start : one.end] == "def look():\n"


def test_short_functions_have_passages_of_their_own_and_short_methods_join_in_their_class(tmp_path):
    functions = "".join(f"int look{n}(void)\n{{\n    return {n};\n}}\n" for n in range(3))
    found = HeadingSegmenter().segment(program(tmp_path, "eye.c", functions))
    assert [one.heading for one in found] == ["look0()", "look1()", "look2()"]
    methods = "class Eye {\n" + "".join(f"  int look{n}() {{ return {n}; }}\n" for n in range(3)) + "}\n"
    assert [one.heading for one in HeadingSegmenter().segment(program(tmp_path, "Eye.java", methods))] == ["class Eye"]


def test_what_opens_and_never_closes_hides_no_more_than_it_must():
    assert [one.title for one in definitions("it = don't\nfunction look() {\n}\n", "js")] == ["function look"]
    assert definitions("/* int look(void) {\n}\n" * 3, "c") == []


@pytest.mark.parametrize("language", ["c", "java", "js", "py", "rs", "sh", "sql", "lua", "php", "rb", "ps1", ""])
def test_a_program_of_one_long_line_defines_nothing_in_it(language):
    text = "int f(int a){return a;};function f(a){if(a){g('b',/c/)}}def f():" * 3_000
    assert definitions(text, language) == []


@pytest.mark.parametrize(
    "language", ["py", "sh", "sql", "lua", "php", "rb", "rs", "kt", "cs", "ps1", "hs", "ml", "cmake"]
)
@pytest.mark.parametrize(
    "part",
    [
        *(
            "'\\'",
            "/*",
            "(*",
            "[[",
            "$a$",
            "{-",
            "#\\\n",
            "@'\n",
            "<<A\n",
            "#=",
            '"""',
            "'''\\",
            'r#"',
            "?>",
            "=begin\n",
        ),
        *("def f", "impl a ", "func (", "create or replace ", "(a ", ")\ndef f():\n", "# a\n", "@a\n"),
    ],
)
def test_nothing_takes_longer_than_it_is(language, part):
    definitions(part * (30_000 // len(part)), language)
