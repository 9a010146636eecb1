"""read, ask and calibrate on the command line, with a tiny model: what is printed, and how mistakes are met."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli.test_cli import typed as run_process
from servers import Call, page, serving
from tiny import tiny
from typer.testing import CliRunner

from foveal.cli.answers import Place, answer_text
from foveal.cli.main import app
from foveal.errors import FovealError
from foveal.reading.answering_settings import SERVED
from foveal.reading.events import Reading
from foveal.types import Citation, Span, revision_of

QUESTION = "Who is the keeper of the mill?"
STORY = "# The mill\n\nThe keeper of the mill is Orsin Vale. He came in March.\n\n## Rain\n\n" + "".join(
    f"It rained on day {number}. " for number in range(60)
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model, two texts, and a library that holds them."""
    folder = tmp_path_factory.mktemp("reading")
    tiny("qwen", folder / "model")
    (folder / "mill.md").write_text(STORY)
    (folder / "bread.txt").write_text("The baker sells bread. Her oven is of red brick.\n")
    call(folder, "add", str(folder / "mill.md"), str(folder / "bread.txt"), "--encoder", "none")
    return folder


def call(place, *arguments: str, status: int = 0, **more):
    """The command in this process: as quick as can be."""
    env = {"FOVEAL_HOME": str(place / "home"), "FOVEAL_CACHE": str(place / "cache"), "COLUMNS": "100", "NO_COLOR": "1"}
    done = CliRunner().invoke(app, list(arguments), env=env, **more)
    if isinstance(done.exception, FovealError):
        done.said, done.exit_code = str(done.exception), 1
    else:
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        done.said = " ".join(re.sub("[│╭╮╰╯─]", " ", done.stderr).split())
    assert done.exit_code == status, done.output
    return done


def read(place, *more: str, source: str | None = None, question: str = QUESTION, **options):
    source = source or str(place / "mill.md")
    return call(place, "read", source, question, "--model", str(place / "model"), "--window", "80", *more, **options)


def ask(place, *more: str, question: str = QUESTION, **options):
    return call(place, "ask", question, "--model", str(place / "model"), "--retriever", "lexical", *more, **options)


def printed(done) -> dict:
    return json.loads(done.stdout)


def assert_cites(found: dict, text: str) -> None:
    for one in [*found["citations"], *found["passages"]]:
        assert text[one["span"]["start"] : one["span"]["end"]] == one["quote"]


# -- read ------------------------------------------------------------------------------------------------------------


def test_read_as_json(place):
    found = printed(read(place, "--json", "--also", "Where is the river?", "--also", "12"))
    assert set(found) == {
        *("question", "answer", "found", "confidence", "grounded", "citations", "unsupported", "passages"),
        *("also", "document", "stats"),
    }
    assert [one["question"] for one in found["also"]] == ["Where is the river?", "12"]
    assert set(found["also"][0]) == set(found) - {"also", "document", "stats"}
    assert found["document"]["title"] == "The mill"
    assert set(found["stats"]) == {"windows", "tokens", "forward_tokens", "memory_tokens", "seconds", "peak_bytes"}
    for one in (found, *found["also"]):
        assert one["passages"]
        assert_cites(one, STORY)
        for cited in one["citations"]:
            assert set(cited) == {"quote", "title", "url", "revision", "page", "heading", "span"}
            assert cited["span"]["document_id"] == found["document"]["document_id"]


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("asks", [read, ask])
def test_a_large_model_of_this_machine_is_told_to_cite(place, monkeypatch, asks, small):
    told = []

    def recorded(self, messages, *_, **__):
        told.append(messages[-1]["content"])
        yield "The keeper is Orsin Vale."

    monkeypatch.setattr("foveal.models.local_chat.LocalChat.stream", recorded)
    if not small:
        monkeypatch.setattr("foveal.models.chat.SMALL", 1000)
    asks(place)
    assert (SERVED in told[0]) != small


def test_read_shows_passages_with_their_place(place):
    shown = read(place, "--passages-only", "--budget", "40").stdout
    assert shown.startswith(f"? {QUESTION}\n")
    places = re.findall(r"^(?:(.+) · )?(\d+):(\d+) · (\d\.\d{3})\n(.+)", shown, re.MULTILINE)
    assert places
    for heading, start, end, _, text in places:
        assert STORY[int(start) : int(end)].startswith(text)
        assert heading == ("The mill > Rain" if int(start) >= STORY.index("## Rain") else "The mill")
    assert "\x1b" not in shown


def test_read_shows_the_answer_as_plain_text(place):
    done = read(place, "--also", "Where is the river?")
    assert done.stdout.startswith(f"? {QUESTION}\n")
    assert "\n? Where is the river?\n" in done.stdout
    assert "\x1b[" not in done.stdout
    assert re.search(r"[\d,]+ tokens in \d+ windows; \d+\.\d s", done.said)


def test_read_standard_input(place):
    found = printed(read(place, "--json", source="-", input=STORY.encode()))
    assert found["document"]["title"] == "Standard input"
    assert_cites(found, STORY)


def test_read_a_document_of_the_library(place):
    identity = next(one["id"] for one in json.loads(call(place, "list", "--json").stdout) if one["title"] == "bread")
    for name in (identity, identity[:8]):
        found = printed(read(place, "--json", source=name))
        assert (found["document"]["document_id"], found["document"]["title"]) == (identity, "bread")


def test_read_a_file_in_another_encoding(place, tmp_path):
    (tmp_path / "a.txt").write_bytes("Die Mühle steht am Fluß. ".encode("cp1252") * 9)
    found = printed(read(place, "--json", "--encoding", "cp1252", source=str(tmp_path / "a.txt")))
    assert found["document"]["revision"] == revision_of("Die Mühle steht am Fluß. " * 9)
    assert_cites(found, "Die Mühle steht am Fluß. " * 9)


@pytest.mark.parametrize("effort", ["quick", "normal", "full", "0.3"])
def test_efforts(place, effort):
    found = printed(read(place, "--json", "--effort", effort))
    share = found["stats"]["tokens"] / printed(read(place, "--json"))["stats"]["tokens"]
    least, most = {"quick": (0.05, 0.2), "0.3": (0.25, 0.4)}.get(effort, (1, 1))
    assert least <= share <= most


@pytest.mark.parametrize("effort", ["fast", "0", "1.5", "-1", "nan", ""])
def test_an_effort_that_there_is_not(place, effort):
    done = read(place, f"--effort={effort}", "--model", "none that is here", status=2)  # before a model is looked for
    assert "needs quick, normal, full, or a share such as 0.25" in done.said


@pytest.mark.parametrize("question", ["", " \t"])
def test_an_empty_question_is_wrong_usage(place, question):
    assert "question is empty" in read(place, question=question, status=2).said
    assert "question is empty" in read(place, "--also", question, status=2).said
    assert "question is empty" in ask(place, question=question, status=2).said


def test_a_server_needs_a_models_name(place):
    for command in (read, ask):
        assert "go together" in command(place, "--url", "http://127.0.0.1:1/v1", status=2).said
        assert "go together" in command(place, "--answerer", "gpt", status=2).said


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--mode", "both", "--model", "none that is here"], 2, "map and sequential"),
        (["--window", "10"], 2, "--window"),
        (["--budget", "1"], 2, "--budget"),
        (["--follow", "17"], 2, "--follow"),
        (["--window", "9000"], 1, "smaller window or budget"),
        (["--model", "no-such-model"], 1, "no-such-model"),
        (["--encoding", "klingon"], 1, "No encoding is called"),
    ],
)
def test_options_that_cannot_be(place, options, status, said):
    assert said in read(place, *options, status=status).said


def test_a_missing_model_says_what_there_is(place):
    there = "There are: qwen2.5-coder-0.5b"
    for command in (read, ask):
        assert there in command(place, "--model", "no-such-model", status=1).said
    assert there in call(place, "calibrate", "no-such-model", status=1).said


@pytest.mark.parametrize(
    "source", ["nothing.txt", "0123456789abcdef", "a text that is no name at all " * 20, "~nobody/x"]
)
def test_a_source_that_there_is_not(place, source):
    said = read(place, source=source, status=1).said
    assert "no file or folder" in said
    assert "Nor is it a document of the library" in said


@pytest.mark.parametrize("text", ["", " \n\n"])
def test_an_empty_file(place, tmp_path, text):
    (tmp_path / "empty.txt").write_text(text)
    assert "holds no text" in read(place, source=str(tmp_path / "empty.txt"), status=1).said
    assert "holds no text" in read(place, source="-", input=text, status=1).said


def test_a_folder_is_not_one_text(place):
    assert "exactly one document" in read(place, source=str(place / "model"), status=1).said


def test_the_state_of_another_reading_is_named(place, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    said = read(place, "--resume", str(tmp_path / "a.json"), status=1).said
    assert "a.json is no state of a reading" in said
    assert "delete it" in said


def completion(*pieces: str):
    """A server's answer in server-sent events."""
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    lines = [chunk | {"choices": [{"index": 0, "delta": {"content": one}, "finish_reason": None}]} for one in pieces]
    lines.append(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return page("".join(f"data: {json.dumps(one)}\n\n" for one in lines) + "data: [DONE]\n\n", "text/event-stream")


def quoting(call: Call) -> None:
    """A server that repeats the first sentence that it is shown."""
    asked = json.loads(call.asked.body)["messages"][-1]["content"]
    first = re.search(r"(?:The keeper|He came|It rained)[^.]*[.]", asked)[0]
    completion(first[:9], f"{first[9:]} [99]")(call)


def test_a_server_answers_from_what_was_read_here(place):
    with serving({"/v1/chat/completions": quoting}) as server:
        options = ["--url", server.url("/v1"), "--answerer", "m"]
        found = printed(read(place, "--json", *options))
        shown = read(place, *options).stdout
        asked = json.loads(server.requests[-1].body)["messages"][-1]["content"]
    assert asked.endswith(f"Question: {QUESTION}\n\nAnswer:")
    (cited,) = found["citations"]
    assert_cites(found, STORY)
    assert (found["found"], found["unsupported"]) == (True, [])
    quote, start, end = " ".join(cited["quote"].split()), cited["span"]["start"], cited["span"]["end"]
    assert found["answer"] == f"{quote} [1]"
    assert cited["heading"] == ("The mill > Rain" if start >= STORY.index("## Rain") else "The mill")
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert lines[:2] == [f"{quote} [1]", f"[1] “{quote}”"]
    assert re.fullmatch(rf"The mill (· Rain )?· [0-9a-f]{{8}} {start}:{end}", lines[2])


def test_what_is_not_borne_out_is_shown(place):
    with serving({"/v1/chat/completions": completion("Dragons guard it.")}) as server:
        shown = read(place, "--url", server.url("/v1"), "--answerer", "m").stdout
    assert "Not borne out by the text: “Dragons guard it.”" in shown
    nearest = shown.partition("What comes nearest:")[2]
    quotes = re.findall(r"“([^”]+)”\s+(?:.* · )?(\d+):(\d+)", nearest)
    assert quotes
    for quote, start, end in quotes:
        assert " ".join(quote.split()) == " ".join(STORY[int(start) : int(end)].split())


def test_a_blank_line_parts_what_comes_nearest_from_the_next_question(place):
    with serving({"/v1/chat/completions": completion("Dragons guard it.")}) as server:
        shown = read(place, "--url", server.url("/v1"), "--answerer", "m", "--also", "When did it rain?").stdout
    lines = shown.partition("What comes nearest:")[2].splitlines()
    assert lines[lines.index("? When did it rain?") - 1] == ""


# -- ask -------------------------------------------------------------------------------------------------------------


def test_ask_as_json(place):
    found = printed(ask(place, "--json"))
    assert set(found) == {
        *("question", "answer", "found", "confidence", "grounded", "citations", "unsupported", "passages", "seconds"),
        "tokens",
    }
    assert found["tokens"]["calls"] == 1
    assert not found["tokens"]["estimated"]
    assert_cites(found, STORY)
    assert all(one["title"] == "The mill" for one in found["passages"])


def test_of_what_is_shown_the_answer_alone_is_bold():
    citation = Citation(Span("d" * 32, 0, 9), "The mill.", "Mills")
    answer = Reading("It is a mill. [1]", (citation,), unsupported=("It is old.",))
    shown = answer_text(answer, [Place()])
    assert [shown.plain[one.start : one.end] for one in shown.spans if one.style == "bold"] == ["It is a mill. [1]"]
    assert not shown.style


def test_a_citation_in_a_passage_of_several_sections_stands_under_its_own_heading(tmp_path):
    (tmp_path / "lease.md").write_text(
        "# Parties\n\nThe lessor is Harriet Pound.\n\n# Rent\n\nThe yearly rent is 4,250 pounds.\n"
    )
    call(tmp_path, "add", str(tmp_path / "lease.md"), "--encoder", "none")
    answer = completion("The lessor is Harriet Pound [1]. It is 4,250 pounds [1].")
    with serving({"/v1/chat/completions": answer}) as server:
        options = ["--retriever", "lexical", "--url", server.url("/v1"), "--answerer", "m", "--json"]
        found = printed(call(tmp_path, "ask", "Who is the lessor, and what is the yearly rent?", *options))
    assert [one["heading"] for one in found["citations"]] == ["Parties", "Rent"]


def test_ask_a_server_without_a_model_here(place):
    with serving({"/v1/chat/completions": completion("The keeper is Orsin Vale [1].")}) as server:
        options = ["--retriever", "lexical", "--url", server.url("/v1"), "--answerer", "m"]
        found = printed(call(place, "ask", QUESTION, *options, "--json"))
        shown = call(place, "ask", QUESTION, *options)
    assert found["citations"][0]["quote"] == "The keeper of the mill is Orsin Vale."
    assert found["citations"][0]["heading"] == "The mill"
    assert found["confidence"] is None
    assert "[1] “The keeper of the mill is Orsin Vale.”" in shown.stdout
    assert found["tokens"]["calls"] == 1
    assert re.search(r"\d passages of 1 document; at most [\d,]+ tokens read, \d+ written; \d+\.\d s", shown.said)


@pytest.mark.parametrize("command", ["ask", "read"])
def test_the_sources_of_an_answer_are_written_for_a_list_of_references(place, tmp_path, command):
    with serving({"/v1/chat/completions": completion("The keeper is Orsin Vale [1].")}) as server:
        options = ["--url", server.url("/v1"), "--answerer", "m"]
        for name in ("a.bib", "a.json", "a.ris"):
            more = [*options, "--cite", str(tmp_path / name)]
            if command == "ask":
                done = call(place, "ask", QUESTION, "--retriever", "lexical", *more)
            else:
                done = read(place, *more)
            assert "1 source in " in done.said
    start = STORY.index("The keeper")
    note = f"Cited: characters {start} to {start + 37}. text {revision_of(STORY)[:16]}"
    assert f"  note = {{{note}}}," in (tmp_path / "a.bib").read_text()
    (item,) = json.loads((tmp_path / "a.json").read_text())
    assert (item["title"], item["source"], item["note"]) == ("The mill", str(place / "mill.md"), note)
    assert f"N1  - {note}\r\n".encode() in (tmp_path / "a.ris").read_bytes()


def test_an_answer_without_sources_writes_no_file(place, tmp_path):
    done = ask(place, "--cite", str(tmp_path / "a.bib"), question="xylophone?")
    assert "Nothing is cited" in done.said
    assert not (tmp_path / "a.bib").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.docx", ".bib (BibTeX), .json (CSL-JSON), .ris (RIS)"), ("none/a.bib", "is not there"), ("", "folder")],
    ids=["no format", "no folder", "a folder"],
)
def test_a_file_for_sources_that_cannot_be_is_wrong_usage(place, tmp_path, name, said):
    (tmp_path / "folder.bib").mkdir()
    target = tmp_path / (name or "folder.bib")
    assert said in ask(place, "--cite", str(target), status=2).said.replace("directory", "folder")


def test_ask_what_no_word_of_the_library_fits(place):
    done = ask(place, question="xylophone?")
    assert done.stdout.strip() == "Nothing in the library answers this."
    found = printed(ask(place, "--json", question="xylophone?"))
    assert (found["found"], found["citations"], found["passages"]) == (False, [], [])


def test_ask_within_a_part_of_the_library(place):
    found = printed(ask(place, "--json", "--where", "kind=text", question="the keeper sells bread"))
    assert {one["title"] for one in found["passages"]} <= {"bread"}


def test_ask_without_a_library(tmp_path, place):
    said = call(tmp_path, "ask", QUESTION, "--model", str(place / "model"), status=1).said
    assert "foveal add" in said


def test_a_server_that_is_not_there(place):
    said = call(place, "ask", QUESTION, "--url", "http://127.0.0.1:9/v1", "--answerer", "m", status=1).said
    assert "127.0.0.1:9" in said


# -- calibrate -------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Four probes in short windows."""
    from foveal.attention.probes import PROBES
    from foveal.reading import calibration

    monkeypatch.setattr(calibration, "PROBES", PROBES[:4])
    monkeypatch.setattr(calibration, "WINDOW", 200)


def test_calibrate_makes_the_profile_that_is_read_by(place, tmp_path, quick):
    options = ["calibrate", str(place / "model"), "--home", str(tmp_path)]
    found = printed(call(place, *options, "--json"))
    kept = json.loads(Path(found["path"]).read_text())
    assert kept["heads"] == found["heads"]
    assert (found["calibrated"], found["measured"]["probes"]) == (True, 4)
    assert all(0 <= layer < 3 and 0 <= head < 4 for layer, head in found["heads"])
    assert found["depth"] == 1 + max(layer for layer, _ in found["heads"])
    before = printed(read(place, "--json"))["passages"]
    after = printed(read(place, "--json", "--home", str(tmp_path)))["passages"]
    assert before != after
    shown = call(place, *options).stdout
    assert re.search(r"heads +\d\.\d", shown)
    assert re.search(rf"depth +{found['depth']} of 3 layers are run", shown)


# -- a process of its own --------------------------------------------------------------------------------------------


def test_an_error_is_one_line(place, tmp_path):
    done = run_process("read", "-", QUESTION, "--model", "no-such-model", home=tmp_path, status=1)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("Error: ")


def test_a_question_in_broken_bytes_is_read_as_far_as_it_goes(place):
    assert "Orsin Vale" in read(place, "--passages-only", question=QUESTION + " \udcff").stdout
