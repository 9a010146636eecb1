"""Sources over real connections: shapes of answers, safety of addresses, manners, cancelling."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest
from report_worlds import Filler
from servers import dripping, page, redirect, serving, silent
from worlds import Facts, model_of

from foveal.errors import Cancelled, FetchFailed, InputError, LibraryError, UnknownName, UnreadableSource
from foveal.models.chat import Cancel
from foveal.research.deep import DeepResearch
from foveal.research.mindsearch import MindSearch
from foveal.research.sources import Found, Sources, merged, source_of
from foveal.research.text_sources import DocumentsSource, LibrarySource
from foveal.research.web_sources import ArxivSource, HostQueue, HttpSource, Pages, SearxngSource, WebSettings, hits_in
from foveal.settings import Settings
from foveal.text.arxiv import ArxivClient, ArxivSettings, Pace
from foveal.text.fetching import FetchSettings
from foveal.types import Document

OPEN = WebSettings(fetch=FetchSettings(timeout_s=5.0, max_bytes=100_000, retries=0, allow_private=True), interval_s=0.0)
ROWS = [{"url": "https://a.example/1", "title": "One", "content": "first  words"}, {"url": "ftp://no", "title": "x"}]


def hit(url: str, snippet: str = "") -> Found:
    return Found(url=url, title="t", snippet=snippet)


@pytest.mark.parametrize(
    "answer",
    [
        ROWS,
        {"results": ROWS},
        {"webPages": {"value": [{"link": "https://a.example/1", "name": "One", "snippet": "first words"}]}},
        {"data": {"items": [{"href": "https://a.example/1", "heading": "One", "description": "first words"}]}},
    ],
)
def test_the_hits_of_any_service(answer):
    assert [(one.url, one.title, one.snippet) for one in hits_in(answer)] == [
        ("https://a.example/1", "One", "first words")
    ]


def test_a_hit_that_no_program_can_use_leaves_the_others():
    rows = [
        {"url": "http://[::1/x", "title": "no address"},
        {"url": "http://a.example:99999999/", "title": "no port"},
        {"url": "https://a.example/2", "title": "half \ud800", "content": "of a \udc00character", "score": 10**400},
        {"url": "https://a.example/3", "title": "odd", "score": float("nan")},
    ]
    found = hits_in(json.loads(json.dumps(rows)))
    assert [(one.url, one.score) for one in found] == [("https://a.example/2", 0.0), ("https://a.example/3", 0.0)]
    for one in found:
        (one.title + one.snippet).encode("utf-8")
    assert merged([[hit("http://[::1/x"), *found]], ["bad.example"])[1:] == found
    with pytest.raises(FetchFailed, match="no web page"):
        Pages(OPEN).read("http://[::1/x")
    deep = "[" * 100_000
    with serving({"/find": page(deep, "application/json")}) as server, pytest.raises(FetchFailed, match="no JSON"):
        HttpSource(server.url("/find"), Pages(OPEN)).search("a", 4)


@pytest.mark.parametrize("address", ["http://[::1/s", "https://s.example:none/s"])
def test_a_search_whose_address_is_none_is_refused(address):
    for kind in (HttpSource, SearxngSource):
        with pytest.raises(InputError, match="form https://HOST"):
            kind(address)


def test_two_places_have_two_names_and_no_name_tells_a_key(tmp_path, monkeypatch, own_settings: Settings):
    named = (
        "searxng:https://s.example", "searxng:https://t.example", "https://s.example/news?q={query}",
        "https://s.example/papers?q={query}", "https://s.example/papers?key=secret&q={query}",
    )  # fmt: skip
    names = [source_of(one, own_settings).name for one in named]
    assert len(set(names)) == len(names)
    assert "secret" not in "".join(names)
    folders = []
    for one in ("a", "b"):
        (tmp_path / one).mkdir()
        (tmp_path / one / "x.txt").write_text(f"The mill of {one}.", encoding="utf-8")
        monkeypatch.chdir(tmp_path / one)
        folders.append(source_of("dir:.", own_settings).name)
    assert folders[0] != folders[1]  # summaries of one are not used again for the other


def test_no_error_tells_a_key_and_no_address_ends_a_line():
    def refused(call):
        call.start(403)

    routes = {"/search": refused, "/page": page("<p>no</p>"), "/moved": redirect("/search?key=secret")}
    with serving(routes) as server:
        for path in routes:
            with pytest.raises(FetchFailed) as caught:
                HttpSource(server.url(f"{path}?key=secret&q={{query}}"), Pages(OPEN)).search("mill", 3)
            assert "secret" not in str(caught.value)
            assert server.url("/")[:-1] in str(caught.value)
    (hit,) = hits_in([{"url": "https://a.example/x\n\n# Ours\x01", "title": "x"}])
    assert hit.url == "https://a.example/x%0A%0A#%20Ours%01"


@pytest.mark.parametrize(
    "answer", [{}, {"error": "x"}, 5, None, {"results": {"results": {"results": {"results": []}}}}]
)
def test_an_answer_without_a_list_is_no_answer(answer):
    with pytest.raises(FetchFailed, match="lists no hits"):
        hits_in(answer)


def test_searxng_over_a_connection():
    body = json.dumps({"results": [{"url": "https://a.example/ü", "title": "Ü", "content": "水車"}] * 9})
    with serving({"/base/search": page(body, "application/json")}) as server:
        source = SearxngSource(server.url("/base/"), Pages(OPEN))
        found = source.search("Wer & wo?", 3)
        assert server.requests[-1].path == "/base/search?q=Wer+%26+wo%3F&format=json"
        assert [one.snippet for one in found] == ["水車"] * 3
        SearxngSource(server.url("/base?language=de"), Pages(OPEN)).search("Mühle", 3)
        assert server.requests[-1].path == "/base/search?language=de&q=M%C3%BChle&format=json"


def test_a_searxng_server_that_refuses_json_is_told_what_to_set():
    def refused(call):
        call.start(403)

    with serving({"/search": refused}) as server:
        with pytest.raises(FetchFailed, match=r"status 403\. In its settings\.yml, json must stand under search"):
            SearxngSource(server.url(), Pages(OPEN)).search("mill", 3)
        with pytest.raises(FetchFailed, match=r"status 403\. It refuses programs, or asks for a key"):
            HttpSource(server.url("/search?q={query}"), Pages(OPEN)).search("mill", 3)


def test_engines_that_did_not_answer_are_no_empty_answer():
    silent = {"results": [], "unresponsive_engines": [["google", "CAPTCHA"], ["brave"], "odd", []]}
    found = {"results": [{"url": "https://a.example/", "title": "A"}], "unresponsive_engines": [["google", "CAPTCHA"]]}
    bodies = {"/none": silent, "/some": found, "/empty": {"results": [], "unresponsive_engines": None}}
    with serving(
        {f"{path}/search": page(json.dumps(body), "application/json") for path, body in bodies.items()}
    ) as one:
        with pytest.raises(FetchFailed, match=r"did not answer: google \(CAPTCHA\), brave\."):
            SearxngSource(one.url("/none"), Pages(OPEN)).search("mill", 3)
        assert len(SearxngSource(one.url("/some"), Pages(OPEN)).search("mill", 3)) == 1
        assert SearxngSource(one.url("/empty"), Pages(OPEN)).search("mill", 3) == []


def test_any_http_search_by_its_template():
    with serving({"/find": page(json.dumps(ROWS), "application/json"), "/html": page("<p>no</p>")}) as server:
        HttpSource(server.url("/find?text={query}&n={k}"), Pages(OPEN)).search("a b/c", 4)
        assert server.requests[-1].path == "/find?text=a%20b%2Fc&n=4"
        HttpSource(server.url("/find?x=1"), Pages(OPEN)).search("a", 4)
        assert server.requests[-1].path == "/find?x=1&q=a"
        HttpSource(server.url("/find#top"), Pages(OPEN)).search("mill", 4)
        assert server.requests[-1].path == "/find?q=mill"
        with pytest.raises(FetchFailed, match="no JSON"):
            HttpSource(server.url("/html"), Pages(OPEN)).search("a", 4)
    for address in ("file:///etc/passwd", "http://{query}/find"):  # a model's words name no host
        with pytest.raises(InputError, match="form https://HOST"):
            HttpSource(address)


def test_pages_are_read_by_their_main_text_and_once():
    html = "<html><head><title>T</title></head><body><nav>Menu</nav><p>The wheel was hung by Brandt.</p></body></html>"
    routes = {
        "/own": page(html),
        "/moved": redirect("/own"),
        "/empty": page("<html><body></body></html>"),
        "/large": page("x" * 200_000, "text/plain"),
        "/closed": page("<p>secret</p>"),
        "/robots.txt": page("User-agent: *\nDisallow: /closed", "text/plain"),
        "/away": redirect("file:///etc/passwd"),
    }
    with serving(routes) as server:
        pages = Pages(OPEN)
        threads = [threading.Thread(target=pages.read, args=(server.url("/own"),)) for _ in range(5)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert server.asked("/own") == 1
        assert "hung by Brandt" in pages.read(server.url("/own")).text
        assert pages.read(server.url("/moved")).url == server.url("/own")
        refused = {"/empty": UnreadableSource, "/large": FetchFailed, "/closed": FetchFailed, "/away": FetchFailed}
        for path, kind in refused.items():
            with pytest.raises(kind):
                pages.read(server.url(path))
        for address in ("file:///etc/passwd", "ftp://x.example/"):
            with pytest.raises(FetchFailed, match="no web page"):
                pages.read(address)


HEAD = "<html><head><title>Mill</title>{}</head><body><main><p>The mill at Orra grinds barley.</p></main></body></html>"


@pytest.mark.parametrize(
    ("link", "stated"),
    [
        ('<link rel="canonical" href="/mill">', "/mill"),
        ("<LINK href='/mill?a=1&amp;b=2' rel='canonical'>", "/mill?a=1&b=2"),
        ('<link rel=stylesheet href=/x.css><link rel="CANONICAL alternate" href=/mill>', "/mill"),
        ('<link rel="canonical" href="https://elsewhere.example/mill">', ""),  # of another site, anybody could say it
        ('<link rel="canonical" href="/">', ""),
        ('<link rel="canonical" href="http://[::1/">', ""),
        ('<link rel="canonical">', ""),
        ('<link rel="alternate" href="/mill">', ""),
    ],
    ids=["plain", "quotes", "other links", "another site", "front page", "no address", "nothing", "alternate"],
)
def test_a_page_says_its_own_address(link, stated):
    with serving({"/mill/print": page(HEAD.format(link), "text/html")}) as server:
        found = Pages(OPEN).read(server.url("/mill/print"))
        assert found.metadata.get("canonical") == (server.url(stated) if stated else None)
        assert found.url == server.url("/mill/print")  # what is read, and opened, is the page that was found


def test_a_page_under_two_addresses_is_one_source_of_an_answer_and_of_a_report():
    body = HEAD.format('<link rel="canonical" href="/mill">')
    hits = [{"url": None, "title": "Mill", "content": "The mill at Orra grinds barley."} for _ in range(3)]
    with serving({path: page(body, "text/html") for path in ("/mill", "/mill/print", "/m/mill")}) as server:
        for one, path in zip(hits, ("/mill", "/mill/print", "/m/mill"), strict=True):
            one["url"] = server.url(path)
        with serving({"/search": page(json.dumps({"results": hits}), "application/json")}) as search:
            source = SearxngSource(search.url(), Pages(OPEN))
            answer = MindSearch(model_of(), source).ask("What does the mill at Orra grind?")
            assert len(server.requests) >= 3
            assert answer.numbers == (1,)
            assert {one.url for own in (answer.citations, *answer.beside) for one in own} <= {x["url"] for x in hits}
            report = DeepResearch(Filler(), source).report("What does the mill at Orra grind?", mode="quick")
            assert len(report.sources) == len(report.bibliography) == 1


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/", "http://10.0.0.1/", "http://169.254.169.254/latest", "http://[::1]/"]
)
def test_private_addresses_are_refused_unless_they_are_allowed(address):
    with pytest.raises(FetchFailed, match="private network"):
        Pages(replace(OPEN, fetch=replace(OPEN.fetch, allow_private=False, respect_robots=False))).read(address)


def test_a_search_that_the_person_names_may_be_private_and_nothing_that_it_names():
    closed = replace(OPEN, fetch=replace(OPEN.fetch, allow_private=False))
    with serving({"/page": page("<p>secret</p>"), "/search": page("[]", "application/json")}) as inside:
        hits = [{"url": inside.url("/page"), "title": "Inside"}]
        routes = {"/search": page(json.dumps(hits), "application/json"), "/moved": redirect(inside.url("/search"))}
        with serving(routes) as named:
            for source in (
                SearxngSource(named.url(""), Pages(closed)),
                HttpSource(named.url("/search"), Pages(closed)),
            ):
                [found] = source.search("mill", 3)
                with pytest.raises(FetchFailed, match="private network"):
                    source.read(found)
            with pytest.raises(FetchFailed, match="private network"):  # nor is where it redirects to
                HttpSource(named.url("/moved"), Pages(closed)).search("mill", 3)
            with pytest.raises(FetchFailed, match="private network"):  # nor are pages of the same server
                Pages(closed).read(named.url("/search"))
        assert inside.requests == []


@pytest.mark.parametrize("route", [silent(), dripping(), dripping(head=True)])
def test_a_fetch_that_is_under_way_stops_within_a_second(route):
    cancel = Cancel()
    with serving({"/slow": route}) as server:
        threading.Timer(0.3, cancel.set).start()
        begun = time.monotonic()
        with pytest.raises(Cancelled):
            Pages(OPEN).read(server.url("/slow"), cancel=cancel)
        assert time.monotonic() - begun < 1.0


def test_a_host_is_asked_a_few_times_at_once_and_not_too_fast():
    hosts = HostQueue(2, 0.0)
    lock, now, most = threading.Lock(), 0, 0

    def ask(url: str) -> None:
        nonlocal now, most
        with hosts.turn(url, None):
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.03)
            with lock:
                now -= 1

    threads = [threading.Thread(target=ask, args=(f"https://a.example/{one}",)) for one in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most == 2
    slow = HostQueue(9, 0.1)
    begun = time.monotonic()
    for _ in range(4):
        with slow.turn("https://a.example/", None):
            pass
    assert 0.3 <= time.monotonic() - begun < 1.0
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled), slow.turn("https://a.example/", cancel):
        pass


ENTRY = """<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>http://arxiv.org/abs/2407.20183v2</id>
<title>A Mill</title><summary>It turns.</summary></entry></feed>"""


def test_arxiv():
    with serving({"/api": page(ENTRY, "application/atom+xml")}) as server:
        settings = ArxivSettings(base_url=server.url("/api"), full_text=False, interval_s=0.0)
        source = ArxivSource(ArxivClient(settings, OPEN.fetch, pace=Pace()))
        found = source.search("mill wheel!", 3)
        assert [(one.url, one.title, one.snippet) for one in found] == [
            ("https://arxiv.org/abs/2407.20183", "A Mill", "It turns.")
        ]
        assert "all%3Amill" in server.requests[-1].path
        assert "It turns." in source.read(found[0]).text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("What is attention?", "all:attention"),
        ("sparse attention, long-context", "all:sparse AND all:attention AND all:long AND all:context"),
        ('RoBERTa\'s "linear" memory', "all:roberta AND all:linear AND all:memory"),
        ("C", "all:c"),
        ('what is "it"?', "all:what AND all:is AND all:it"),
    ],
)
def test_arxiv_is_asked_for_the_words_whatever_marks_stand_by_them(query, words):
    class Client:
        asked = ""

        def search(self, query, start, most):  # noqa: ARG002
            self.asked = query
            return []

    client = Client()
    ArxivSource(client).search(query, 3)  # type: ignore[arg-type]
    assert client.asked == words


def test_hits_of_several_queries_are_one_list_without_what_is_denied():
    answers = [
        [hit("https://a.example/1", "x"), hit("https://b.example/", "y")],
        [hit("http://www.a.example/1?utm_source=q", "z"), hit("https://sub.bad.example/"), hit("https://c.example/")],
    ]
    found = merged(answers, ["bad.example"])
    assert [(one.url, one.snippet) for one in found] == [
        ("https://a.example/1", "x\nz"),
        ("https://b.example/", "y"),
        ("https://c.example/", ""),
    ]


def test_several_sources_are_asked_and_read_as_one():
    one, other = Facts({"a": "The mill is red."}), Facts({"b": "The mill is old."})
    broken = Facts(broken=lambda _: True)
    both = Sources([broken, one, other])
    found = both.search("mill", 5)
    assert [hit.title for hit in found] == ["a", "b"]
    assert [both.read(hit).text for hit in found] == ["The mill is red.", "The mill is old."]
    with pytest.raises(FetchFailed, match="down"):
        Sources([broken]).search("mill", 5)


def test_of_several_sources_that_are_stopped_no_part_of_an_answer_is_taken_for_the_whole():
    class Stopped(Facts):
        def search(self, query, k, *, cancel=None):  # noqa: ARG002
            cancel.set()
            cancel.check()

    for first in (Facts({"a": "The mill is red."}), Facts(broken=lambda _: True)):
        with pytest.raises(Cancelled):
            Sources([first, Stopped()]).search("mill", 5, cancel=Cancel())


def test_sources_by_name(tmp_path, own_settings: Settings):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("# Orra\n\nThe mill at Orra was built by Petra.", encoding="utf-8")
    (tmp_path / "texts" / "b.txt").write_bytes(b"\0\1\2\3" * 50)
    folder = source_of(f"dir:{tmp_path / 'texts'}", own_settings)
    found = folder.search("Who built the mill?", 3)
    assert "Petra" in folder.read(found[0]).text
    assert found[0].title == "Orra"
    assert isinstance(source_of("searxng:https://s.example", own_settings), SearxngSource)
    assert source_of("searxng:https://s.example", own_settings).url == "https://s.example/search"
    for named in ("https://s.example/find?q={query}", "http:https://s.example/find?q={query}"):
        assert source_of(named, own_settings).url == "https://s.example/find?q={query}"
    assert isinstance(source_of("arxiv", own_settings), ArxivSource)
    with pytest.raises(UnknownName, match="There are: library, papers, dir"):
        source_of("gopher", own_settings)
    for named in ("dir:", "arxiv:x", "searxng:", f"dir:{tmp_path / 'none'}", "papers"):
        with pytest.raises(InputError):
            source_of(named, own_settings)


def test_a_ranker_that_is_none_is_told_before_a_run(own_settings: Settings):
    for named in ("library:hybrid+nobody", "library:+knrm", "papers:hybrid+nobody"):
        with pytest.raises(UnknownName, match="ranker"):
            source_of(named, own_settings, **({"papers": object()} if named.startswith("papers") else {}))


def test_a_library_is_searched_by_any_retriever_and_read_in_the_revision_that_was_found(own_settings: Settings):
    from honest import document

    from foveal.library import Library

    library = Library.open(settings=own_settings, encoder="none")
    library.add_documents(
        [document("mill", "The mill at Orra was built by Petra. " * 9, title="Orra"), document("x", "Cats.")]
    )
    source = source_of("library:lexical", own_settings)
    found = source.search("who built the mill", 5)
    assert [one.title for one in found] == ["Orra"]
    assert source.read(found[0]).revision == found[0].revision
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        source.search("mill", 5, cancel=cancel)


def test_a_library_with_nothing_in_it_is_said_before_a_model_is_loaded(own_settings: Settings):
    from foveal.library import Library

    Library.open(settings=own_settings, encoder="none")
    with pytest.raises(LibraryError, match="foveal add"):
        source_of("library", own_settings)


def test_documents_of_one_file_are_sources_of_their_own(tmp_path):
    """All mails of a mailbox were one source, cited by the title of one and the words of another."""
    from foveal.library import Library

    box = "file:///mails.mbox"
    told = {"alone": "Ada keeps the mill.", "other": "Bo keeps the mill, too."}
    mails = [Document.of(f"{box}#{name}", text, name, metadata={"source": box}) for name, text in told.items()]
    made = Document.of("made:here", "Cy keeps no mill.", "made")
    file = Document.of("file:///a.txt", "Dee keeps a mill.", "a", metadata={"source": "file:///a.txt"})
    library = Library.open(settings=Settings(home=tmp_path, cache=tmp_path / "cache", encoder="none"))
    library.add_documents([*mails, made, file])
    for source in (LibrarySource(library), DocumentsSource([*mails, made, file])):
        found = {one.title: one.url for one in source.search("who keeps the mill", 9)}
        assert len(set(found.values())) == len(found) == 4
        assert found["a"] == "file:///a.txt"
        assert found["alone"].startswith(f"{box}#")
        assert found["made"] == f"document:{made.id}"
