"""Foveal's tools as an assistant meets them: places are exact, long calls tell and stop, nothing is named unallowed."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desks import CHRONICLE, called, calling, client_of, desk, home, papers_of, refused
from mcp.shared.exceptions import MCPError
from members import OTHER, PAPER
from reading.speakers import Quoter
from tiny import tiny
from web.reading_site import FACT, STORY, Held, OwnModels, pdf, wait_for

from foveal.agents.answering_tools import _researched
from foveal.agents.home import HomePlace
from foveal.agents.server import Calls
from foveal.agents.tools import DATA, TOOLS
from foveal.bench.research_world import Rules, RulesModel
from foveal.library import Library
from foveal.models.threads import with_threads
from foveal.reading import ReadSettings
from foveal.research.answers import Researched
from foveal.settings import Settings
from foveal.types import Citation, Document, Span

LOOKS = {"search", "show", "outline", "documents", "ask", "read", "search_papers", "daily_papers", "show_paper"}
LOOKS |= {"similar_papers", "research"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """A home that no test changes."""
    return home(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def calls(shared: tuple[Settings, Path]) -> Calls:
    made = desk(shared[0], folders=[shared[1]])
    papers_of(made)
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with with_threads(1):
        yield tiny("qwen", tmp_path_factory.mktemp("qwen"))


def mill(calls: Calls) -> Document:
    return next(one for one in calls.place.library.store.texts() if one.title == "The mill")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_of_either_protocol_lists_tools_that_change_nothing_unless_asked_for(calls: Calls, mode: str) -> None:
    for offered, changes in ((calls, False), (Calls(calls.place, changes=True), True)):
        tools = calling(offered, lambda client: client.list_tools(), mode).tools
        assert {one.name for one in tools} == (LOOKS | {"add", "remove"} if changes else LOOKS)
        for one in tools:
            tool = TOOLS[one.name]
            assert one.annotations.read_only_hint == (one.name in LOOKS)
            assert one.annotations.destructive_hint == (one.name == "remove")
            assert (DATA in one.description) == (one.name in LOOKS - {"documents"})
            assert set(one.input_schema["properties"]) == set(tool.asked.model_fields)
            assert set(one.output_schema["properties"]) == set(tool.given.model_fields)
    with pytest.raises(MCPError, match=r"No tool is called 'remove'. There are: search, show"):
        calling(calls, lambda client: client.call_tool("remove", {"which": "mill"}))


def test_what_a_search_finds_stands_where_it_says(calls: Calls) -> None:
    found = called(calls, "search", query="keeper", k=1)["hits"][0]
    span, text = found["span"], mill(calls).text
    assert found["text"] == text[span["start"] : span["end"]]
    assert (found["title"], found["revision"]) == ("The mill", mill(calls).revision)
    shown = called(calls, "show", which=span["document_id"][:8], start=span["start"], end=span["end"])
    assert (shown["text"], shown["next"]) == (found["text"], None)
    held = calling(calls, lambda client: client.read_resource(found["uri"])).contents[0]
    assert (held.text, held.mime_type) == (found["text"], "text/plain")
    assert called(calls, "search", query='"counted 14 sacks"', k=50)["hits"][0]["title"] == "Chronicle"
    assert called(calls, "search", query="miller", where="title~Chronicle")["hits"][0]["title"] == "Chronicle"
    titles = [one["title"] for one in called(calls, "search", query="the miller", each=True)["hits"]]
    assert len(titles) == len(set(titles))


def test_a_document_is_shown_whole_in_parts_of_bounded_size(calls: Calls) -> None:
    which = called(calls, "documents", where="title~Chronicle")["documents"][0]["id"]
    parts, start = [], 0
    while start is not None:
        shown = called(calls, "show", which=which, start=start, most=999)
        assert len(shown["text"]) <= 999
        parts.append(shown["text"])
        start = shown["next"]
    assert "".join(parts) == CHRONICLE
    assert len(parts) == -(-len(CHRONICLE) // 999)


def test_headings_lead_to_what_stands_below_them(calls: Calls) -> None:
    which = mill(calls).id
    outline = called(calls, "outline", which=which)
    assert [(one["title"], one["level"]) for one in outline["headings"]] == [("The mill", 1), ("Law", 2)]
    assert (outline["count"], outline["next"], outline["characters"]) == (2, None, len(STORY))
    law = called(calls, "show", which=which, heading="The mill > law")
    assert law["text"] == STORY[STORY.index("## Law") :]
    assert law["start"] == outline["headings"][1]["start"]
    whole = called(calls, "show", which=which, heading="The mill", most=20)
    assert called(calls, "show", which=which, heading="The mill", start=whole["next"])["text"] == STORY[20:]
    assert refused(calls, "show", which=which, heading="Fish") == (
        "No heading is called 'Fish' in 'The mill'. There are: 'The mill', 'Law'."
    )
    assert "has no pages" in refused(calls, "show", which=which, page=1)
    assert "it needs 0 <= start <= end" in refused(calls, "show", which=which, start=5, end=4)


def test_a_function_is_shown_with_the_comment_above_it_and_without_the_next_ones(tmp_path: Path) -> None:
    parts = [
        "import sys\n\n",
        "# Sees far.\n@cached\ndef see(x):\n    return x\n\n",
        "# Looks.\ndef look():\n    pass\n",
    ]
    (tmp_path / "eye.py").write_text("".join(parts))
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache", encoder="none")
    Library.open(settings=settings).add([tmp_path / "eye.py"])
    calls = desk(settings)
    which = called(calls, "documents")["documents"][0]["id"]
    assert called(calls, "show", which=which, heading="see")["text"] == parts[1]
    assert called(calls, "show", which=which, heading="look")["text"] == parts[2]


def test_documents_come_by_pages_the_newest_first(calls: Calls) -> None:
    first = called(calls, "documents", limit=1)
    behind = called(calls, "documents", limit=1, p=first["next"])
    assert (first["count"], behind["next"]) == (2, None)
    listed = [first["documents"][0]["id"], behind["documents"][0]["id"]]
    assert listed == [one.id for one in calls.place.library.documents()][::-1]
    held = calling(calls, lambda client: client.list_resources())
    assert [one.uri for one in held.resources] == [f"foveal://library/{one}" for one in listed]
    templates = calling(calls, lambda client: client.list_resource_templates()).resource_templates
    assert templates[0].uri_template == "foveal://library/{id}{?start,end,revision}"


def test_an_address_of_nothing_is_refused_in_a_sentence(calls: Calls) -> None:
    for uri, said in {
        "foveal://library/ffffffff": "ffffffff",
        "foveal://library/abcdef?from=2": "There is no resource at",
        "foveal://elsewhere/abcdef": "Documents are foveal://library/ID",
        f"foveal://library/{mill(calls).id}?start=x": "it needs a whole number",
        "foveal://papers/2605.99999": "is not here",
    }.items():
        with pytest.raises(MCPError, match=said):
            calling(calls, lambda client, uri=uri: client.read_resource(uri))


def test_a_long_document_goes_on_at_the_address_that_its_text_names(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path, encoder="none")
    text = "".join(f"Line {n} of a long text.\n" for n in range(3000))
    Library.open(settings=settings).add_documents([Document.of("test:long", text, "Long")])
    calls, uri, parts = desk(settings), f"foveal://library/{Document.of('test:long', text, 'Long').id}", []
    while uri:
        told = calling(calls, lambda client, uri=uri: client.read_resource(uri)).contents[0].text
        part, found, uri = told.partition("more characters: ")
        parts.append(part.rpartition("\n\n[")[0] if found else part)
        uri = uri.removesuffix("]")
    assert "".join(parts) == text
    assert len(parts) == 2


def test_an_answer_cites_what_stands_there_and_tells_how_far_it_is(calls: Calls) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def work(client: Any) -> Any:
        async def note(done: float, total: float | None, said: str | None) -> None:
            told.append((done, total, said))

        asked = {"question": "What is the keeper of the mill called?"}
        return await client.call_tool("ask", asked, progress_callback=note)

    answer = calling(calls, work).structured_content
    place = answer["citations"][0]
    assert place["quote"]
    assert mill(calls).text[place["span"]["start"] : place["span"]["end"]] == place["quote"]
    assert (place["number"], answer["found"], "[1]" in answer["text"]) == (1, True, True)
    assert calling(calls, lambda client: client.read_resource(place["uri"])).contents[0].text == place["quote"]
    assert told[0][2] == "Making quoter ready"
    assert told[-1][1:] == (3, "Writing the answer")
    assert [one[0] for one in told] == sorted({one[0] for one in told})


def test_what_is_not_in_the_library_is_told_and_a_wrong_name_before_a_model_is_asked(calls: Calls) -> None:
    missing = called(calls, "ask", question="zyxwvut qponmlk?")
    assert (missing["found"], missing["citations"]) == (False, [])
    said = refused(calls, "ask", question="Who?", retriever="semantic")
    assert "No retriever is called 'semantic' here." in said
    assert "site" not in said
    for tool, words in (("ask", "question"), ("search", "query")):  # no model that nobody put here is loaded
        assert "No retriever is called" in refused(calls, tool, **{words: "mill"}, retriever="generative:/anywhere")
    assert refused(calls, "search", query="mill", k=51).startswith("search cannot be called so. k: Input should be")
    assert "Its arguments: query, k" in refused(calls, "search", words="mill")
    assert "fresh" in refused(calls, "search", query="mill", as_of="2024-01-01", retriever="lexical")


def test_windows_are_the_readers_own(tmp_path: Path) -> None:
    place = HomePlace(Settings(home=tmp_path, cache=tmp_path), OwnModels(Quoter()))
    assert (place.window, place.attention) == (ReadSettings().window, ReadSettings().attention)


def test_a_file_is_read_by_pages_only_if_its_folder_was_allowed(tmp_path: Path, model: Any) -> None:
    settings, files = home(tmp_path)
    (files / "two.pdf").write_bytes(pdf(FACT + " He has two cats.", "Nobody may fish there on Sundays. " * 20))
    (tmp_path / "secret.txt").write_text("The word is swordfish.")
    (files / "link.txt").symlink_to(tmp_path / "secret.txt")
    calls = desk(settings, OwnModels(Quoter(), model), folders=[files])
    told: list[str] = []

    async def work(client: Any) -> Any:
        async def note(_done: float, _total: float | None, said: str | None) -> None:
            told.append(said or "")

        return await client.call_tool("read", {"source": "two.pdf", "question": "Who?"}, progress_callback=note)

    answer = calling(calls, work).structured_content
    assert answer["citations"][0]["where"].startswith("page 1")
    assert answer["citations"][0]["uri"] is None
    assert [one for one in told if not one.startswith("Loading: ")][:2] == ["Opening the text", "Making quoter ready"]
    assert any(one.startswith("Reading: about page ") for one in told)
    outside = refused(calls, "read", source=str(tmp_path / "secret.txt"), question="What?")
    nowhere = refused(calls, "read", source=str(tmp_path / "nothing.txt"), question="What?")
    assert outside.replace("secret", "nothing") == nowhere
    for named in (str(files / "link.txt"), "link.txt", "../secret.txt", f"file://{tmp_path}/secret.txt"):
        assert "may not be read" in refused(calls, "read", source=named, question="What?")
    assert "may not be read" in refused(desk(settings), "read", source=str(files / "two.pdf"), question="What?")
    in_library = desk(settings, OwnModels(Quoter(), model))  # a document of the library needs no folder
    assert called(in_library, "read", source=str(files / "mill.md"), question="Who?")["citations"][0]["uri"]


@pytest.mark.parametrize("source", ["https://example.org/", "arxiv:2103.00020", "2103.00020"])
def test_nothing_is_fetched_unless_it_was_allowed_and_private_addresses_never(
    calls: Calls, shared: tuple[Settings, Path], source: str
) -> None:
    assert "may not be fetched" in refused(calls, "read", source=source, question="What?")
    fetching = desk(shared[0], web=True)
    assert "127.0.0.1" in refused(fetching, "read", source="http://127.0.0.1:9/secret", question="What?")
    assert "arxiv may not be asked" in refused(calls, "research", question="What?", sources=["arxiv"])


def test_a_call_is_stopped_while_others_are_answered_and_the_next_has_its_turn(shared: tuple[Settings, Path]) -> None:
    held = Held()
    calls = desk(shared[0], OwnModels(held))

    async def work() -> None:
        async with client_of(calls) as client:
            asked = {"question": "What is the keeper called?"}
            first = asyncio.create_task(client.call_tool("ask", asked))
            await asyncio.to_thread(held.began.wait, 20)
            told: list[str | None] = []

            async def note(_done: float, _total: float | None, said: str | None) -> None:
                told.append(said)

            second = asyncio.create_task(client.call_tool("ask", asked, progress_callback=note))
            found = await client.call_tool("search", {"query": "keeper", "k": 1})
            assert found.structured_content["hits"]
            while not told:
                await asyncio.sleep(0.01)
            assert told == ["Waiting: another call goes first"]
            assert not first.done()
            first.cancel()
            held.go.set()
            answer = await second
            assert answer.structured_content["citations"]
            with pytest.raises(asyncio.CancelledError):
                await first

    asyncio.run(work())
    wait_for(lambda: not calls.threads._running, 5)


def test_a_crash_is_logged_and_its_insides_are_nobodys_business(
    shared: tuple[Settings, Path], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(OwnModels):
        def chat(self) -> Any:
            raise RuntimeError("the password is swordfish")

    said = refused(desk(shared[0], Broken()), "ask", question="Who?")
    assert said == "Something that nobody foresaw went wrong (RuntimeError). The server's log says more."
    assert "swordfish" in caplog.text


def test_what_another_process_adds_is_found_and_a_library_may_come_later(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", cache=tmp_path, encoder="none")
    calls = desk(settings)
    assert "There is no library" in refused(calls, "search", query="mill")
    assert calling(calls, lambda client: client.list_resources()).resources == []
    for n, text in enumerate(("The first mill.", "The second mill.")):
        Library.open(settings=settings).add_documents([Document.of(f"test:{n}", text, text)])
        assert len(called(calls, "search", query="mill")["hits"]) == n + 1


def test_papers_are_searched_listed_and_shown(calls: Calls) -> None:
    found = called(calls, "search_papers", query="where to look")
    assert found["papers"][0]["id"] == PAPER
    listed = called(calls, "daily_papers", limit=1)
    more = called(calls, "daily_papers", limit=1, p=listed["next"])
    assert {listed["papers"][0]["id"], more["papers"][0]["id"]} == {PAPER, OTHER}
    assert (listed["count"], more["next"], listed["period"]) == (2, None, listed["papers"][0]["listed_on"])
    paper = called(calls, "show_paper", paper=f"https://arxiv.org/abs/{PAPER}")
    assert (paper["title"], paper["authors"]) == ("Where to Look", ["Léa Martin", "Bo Li"])
    assert json.loads(calling(calls, lambda client: client.read_resource(paper["uri"])).contents[0].text) == paper
    assert [one["id"] for one in called(calls, "similar_papers", paper=PAPER)["papers"]] in ([], [OTHER])
    assert "one period" in refused(calls, "daily_papers", day="2026-10-02", month="2026-10")
    assert "is not here" in refused(calls, "show_paper", paper="2605.99999")


def test_research_answers_from_the_library_step_by_step(shared: tuple[Settings, Path]) -> None:
    calls = desk(shared[0], OwnModels(RulesModel(Rules(PROGRAMS))))
    told: list[str] = []

    async def work(client: Any) -> Any:
        async def note(_done: float, _total: float | None, said: str | None) -> None:
            told.append(said or "")

        return await client.call_tool("research", {"question": "Who keeps the mill?"}, progress_callback=note)

    made = calling(calls, work)
    assert not made.is_error, made.content
    assert told[0] == "Making quoter ready"
    assert any(one.startswith("Searching: ") for one in told), told
    assert made.structured_content["citations"], made.structured_content
    for place in made.structured_content["citations"]:
        assert (
            calling(calls, lambda client, at=place: client.read_resource(at["uri"])).contents[0].text == place["quote"]
        )


def test_what_an_assistant_must_know_of_an_answer_of_research(calls: Calls) -> None:
    document = mill(calls)
    place = Citation(Span(document.id, 0, 9), document.text[:9], document.title)
    found = Researched("So it is [[1]] [[2]].", (place, place), None, numbers=(1, 2), unread=frozenset({2}))
    made = _researched(calls.place, replace(found, stopped_by="turns"))
    assert [one.uri is not None for one in made.citations] == [True, False]  # a search's words stand in no document
    assert "Not complete: the planner's turns were used up." in made.note
    assert "[2]: The page itself could not be read" in made.note
    alone = replace(found, text="It is so.", citations=(), numbers=(), unread=frozenset())
    assert _researched(calls.place, alone).note == "Nothing was searched: the model answered by itself."


PROGRAMS = (
    'graph.add_root_node("Who keeps the mill?", name="root")\n'
    'graph.add_node("keeper", "Who is the keeper of the tide mill?")\n'
    'graph.add_edge("root", "keeper")\n'
    'graph.node("keeper")',
    'graph.add_response_node("response")\ngraph.add_edge("keeper", "response")',
)


def test_an_assistant_that_may_adds_texts_and_allowed_files_and_removes(tmp_path: Path) -> None:
    settings, files = home(tmp_path)
    (tmp_path / "secret.txt").write_text("The word is swordfish.")
    more = files / "more"
    more.mkdir()
    (more / "weir.md").write_text("# The weir\n\nThe weir holds back the river.")
    (more / "link.txt").symlink_to(tmp_path / "secret.txt")
    calls = desk(settings, changes=True, folders=[files])
    text = called(calls, "add", text="Eels pass the weir in May.", title="Eels")
    assert (text["added"], text["became"][0]["name"], text["became"][0]["state"]) == (1, "Eels", "added")
    folder = called(calls, "add", sources=["more"])
    assert (folder["added"], folder["became"][0]["name"]) == (1, "The weir")
    assert called(calls, "search", query="swordfish")["hits"] == []
    assert {one["title"] for one in called(calls, "search", query="weir")["hits"]} == {"Eels", "The weir"}
    gone = called(calls, "remove", which=text["became"][0]["id"])
    assert gone == {"id": text["became"][0]["id"], "title": "Eels"}
    assert "may not be read" in refused(calls, "add", sources=[str(tmp_path / "secret.txt")])
    for blank in ("", "  ", "file://"):  # no name of the whole folder
        assert "has no name" in refused(calls, "add", sources=[blank])
    assert "Give either" in refused(calls, "add")
    assert "holds 3 documents" in refused(calls, "remove", which=str(files))
    assert threading.active_count() < 50


@pytest.mark.model
def test_with_the_real_encoder_meaning_is_found(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, cache=Settings.load().cache)
    library = Library.open(settings=settings)
    texts = {"Cat": "The cat slept all day on the warm windowsill.", "Tax": "Income is taxed by the state each year."}
    library.add_documents([Document.of(f"test:{name}", text, name) for name, text in texts.items()])
    found = called(desk(settings), "search", query="a pet that naps", k=2)["hits"]
    assert [one["title"] for one in found] == ["Cat", "Tax"]
    assert found[0]["text"] == texts["Cat"]
