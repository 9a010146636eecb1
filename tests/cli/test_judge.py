"""`foveal judge`: a key or a line for each passage, kept at once; what was judged is listed and exported."""

from __future__ import annotations

import json
import os
import pty
import sys
import termios
import time
from contextlib import suppress
from subprocess import Popen

import pytest
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError, LibraryError
from foveal.evaluation.beir import load_beir
from foveal.evaluation.judgements import FILE, read_judgements
from foveal.library import Library

TEXTS = {
    "retina": "# Retina\n\nThe fovea of the eye sees sharply. The eye moves it.\n",
    "tears": "# Tears\n\nTears keep the eye wet.\n",
    "hair": "# Hair\n\nA lash keeps dust from the eye, and hair grows.\n",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name, text in TEXTS.items():
        (folder / f"{name}.md").write_text(text)
    return folder


@pytest.fixture(scope="module")
def full(tmp_path_factory, files):
    """A library of three texts that all hold the word eye, by words only."""
    home = tmp_path_factory.mktemp("home")
    Library.open(home, encoder="none").add([files])
    return home


@pytest.fixture
def home(full):
    (full / FILE).unlink(missing_ok=True)
    return full


def judge(*arguments, home, typed="", status=0):
    done = CliRunner().invoke(app, ["judge", *map(str, arguments), "--home", str(home)], input=typed)
    assert done.exit_code == status, done.output
    return done.stdout


def grades(home):
    return [one.grade for one in read_judgements(home / FILE)]


def test_each_line_grades_a_passage_and_is_kept_at_once(home):
    shown = judge("eye", home=home, typed="3\n0\nq\n")
    assert "1. Retina" in shown
    assert "The fovea of the eye sees sharply." in shown
    assert "Judged 2 of 3, 1 of them relevant" in shown
    assert grades(home) == [3, 0]
    kept = read_judgements(home / FILE)[0]
    document = Library.open(home, create=False).get(kept.span.document_id)
    assert (kept.query, kept.revision) == ("eye", document.revision)
    assert "fovea" in document.quote(kept.span)


def test_the_training_that_it_advises_is_a_whole_command(home, tmp_path):
    shown = " ".join(judge("eye", home=home, typed="3\nq\n").split())
    assert "Training takes 2 queries with something relevant" in shown  # one would be refused
    shown = " ".join(judge("hair", home=home, typed="1\nq\n").split())
    advised = shown.rpartition("Train on what you judged: foveal ")[2].rstrip(".").split()
    done = CliRunner().invoke(app, [*advised, "--home", str(tmp_path / "none")])
    assert (advised[0], done.exit_code) == ("train", 1), done.output  # 2: wrong usage; 1: no library there


def test_a_second_grade_replaces_the_first_and_says_so(home):
    judge("eye", home=home, typed="3\n1\n")  # the end of the input quits
    shown = judge(" eye ", home=home, typed="0\n1\ns\n")
    assert "judged 3 before" in shown
    assert "0, not relevant (in place of 3)" in shown
    assert "1, touches it (as before)" in shown
    assert grades(home) == [0, 1]


def test_skip_back_and_what_is_no_grade(home):
    shown = judge("eye", home=home, typed="s\n5\n\n2\nB\n1\nq\n")
    assert shown.count("That is no grade. 0 not relevant; 1 touches it;") == 2
    assert "1, touches it (in place of 2)" in shown
    assert "Judged 1 of 3" in shown
    assert grades(home) == [1]


def test_quotes_of_word_processors_bind_as_they_do_in_a_search(home):
    assert "Judged 1 of 1" in judge("\u201cTears keep\u201d eye", home=home, typed="2\n")
    assert read_judgements(home / FILE)[0].query == "\u201cTears keep\u201d eye"  # as it was typed


def test_nothing_found_and_nothing_typed(home):
    assert "Nothing found" in judge("zebra", home=home)
    assert "Nothing was judged of 3." in judge("eye", home=home)
    assert not (home / FILE).exists()
    assert "empty" in CliRunner().invoke(app, ["judge", " ", "--home", str(home)]).output
    judge(" ", home=home, status=2)
    judge(home=home, status=2)
    with pytest.raises(LibraryError, match="no library"):
        CliRunner().invoke(app, ["judge", "eye", "--home", str(home / "none")], catch_exceptions=False)


def test_json_is_all_that_stands_on_standard_output(home):
    told = json.loads(judge("eye", "-k", 2, "--json", home=home, typed="2\n0\n"))
    assert (told["found"], [one["grade"] for one in told["judged"]]) == (2, [2, 0])
    assert [one["grade"] for one in json.loads(judge("--list", "--json", home=home))] == [2, 0]


def test_what_was_judged_is_listed(home):
    assert "Nothing was judged yet" in judge("--list", home=home)
    judge("eye", home=home, typed="3\n0\n0\n")
    judge("wet eye", home=home, typed="2\nq\n")
    rows = [line.split() for line in judge("--list", home=home).splitlines()]
    assert ["eye", "2", "1"] in rows
    assert ["wet", "eye", "1"] in rows
    of_one = judge("--list", "wet  eye", home=home)
    assert "Tears" in of_one
    assert "Retina" not in of_one


def test_what_was_judged_is_exported_in_beirs_layout(home, tmp_path):
    with pytest.raises(InputError, match="nothing to export"):
        CliRunner().invoke(
            app, ["judge", "--export", str(tmp_path / "out"), "--home", str(home)], catch_exceptions=False
        )
    judge("eye", home=home, typed="3\n0\n1\n")
    shown = judge("--export", tmp_path / "out", "--split", "test", home=home)
    assert "3 passages, 1 queries and 3 judgements" in shown
    found = load_beir(tmp_path / "out", "test")
    assert list(found.queries.values()) == ["eye"]
    best = max(found.qrels[next(iter(found.queries))].items(), key=lambda pair: pair[1])
    assert "fovea" in found.corpus[best[0]].text
    assert found.corpus[best[0]].title == "Retina"
    done = CliRunner().invoke(app, ["judge", "--export", str(tmp_path / "out"), "--home", str(home)])
    assert isinstance(done.exception, InputError)
    for split in ("..", ".test", "a/b"):  # hidden files, and other folders
        with pytest.raises(InputError, match="a plain name"):
            CliRunner().invoke(
                app, ["judge", "--export", str(tmp_path / "other"), "--split", split, "--home", str(home)],
                catch_exceptions=False,
            )  # fmt: skip
    assert not (tmp_path / "other").exists()


def test_a_judgement_follows_its_passage_into_a_new_text(files, tmp_path):
    """A changed source: the same words stand elsewhere, and the grade with them; gone words take it along."""
    home, moved = tmp_path / "home", tmp_path / "moved"
    moved.mkdir()
    for name, text in TEXTS.items():
        (moved / f"{name}.md").write_text(text)
    library = Library.open(home, encoder="none")
    library.add([moved])
    judge("eye", home=home, typed="3\n2\n1\n")
    (moved / "retina.md").write_text("# Of the eye\n\nLight falls in.\n\n" + TEXTS["retina"])
    (moved / "hair.md").write_text("# Hair\n\nIt is gone.\n")
    library.add([moved])
    told = json.loads(judge("--export", tmp_path / "out", "--json", home=home))
    assert (told["judgements"], told["left_out"]) == (2, 1)
    found = load_beir(tmp_path / "out", "train")
    graded = next(iter(found.qrels.values()))
    assert {found.corpus[name].text.split()[-1]: grade for name, grade in graded.items()} == {"it.": 3, "wet.": 2}
    assert "(an earlier text)" in judge("--list", "eye", home=home)


def test_one_key_grades_where_a_person_types(home):
    """A terminal: no line end is waited for; Ctrl-C ends it, and what was graded is kept."""
    parent, child = pty.openpty()
    code = "from foveal.cli.main import run; run()"
    env = {**os.environ, "FOVEAL_HOME": str(home), "COLUMNS": "100", "NO_COLOR": "1"}
    process = Popen([sys.executable, "-c", code, "judge", "eye"], env=env, stdin=child, stdout=child, stderr=child)
    os.close(child)
    seen = ""
    for asked, key in enumerate(("2", "0", "\x03"), start=1):
        while seen.count("q quit)") < asked:
            seen += os.read(parent, 4096).decode()
        while termios.tcgetattr(parent)[3] & termios.ICANON:  # what comes before it waits for a key is thrown away
            time.sleep(0.01)
        os.write(parent, key.encode())
    with suppress(OSError):  # the other side is closed
        while True:
            seen += os.read(parent, 4096).decode()
    os.close(parent)
    assert process.wait() == 130
    assert "Stopped." in seen
    assert grades(home) == [2, 0]
