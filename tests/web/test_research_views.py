"""What a run's page makes of its texts: numbers that open, sources that can be followed and those that cannot."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lxml import html

from foveal.research.graph import Node
from foveal.research.state import RunState
from foveal.web.research_views import Views, counted, outline, said_of


def ref(
    url: str, quote: str = "It was built in 1899.", title: str = "A page", document: str = "d" * 32
) -> dict[str, Any]:
    span = {"document_id": document, "start": 10, "end": 10 + len(quote)}
    return {
        "key": url,
        "url": url,
        "title": title,
        "summ": "",
        "node": "n",
        "quote": quote,
        "span": span,
        "revision": "r",
    }


def state_of(*urls: str) -> RunState:
    return RunState(refs={number: ref(url) for number, url in enumerate(urls, start=1)})


THREE = state_of("https://a.example/1", "https://b.example/2", "https://c.example/3")


@pytest.mark.parametrize(
    ("text", "buttons"),
    [
        ("One [[1]]. Two [[2]].", ["1", "2"]),
        ("Both [[1]][[2]] and [[2]] [[1]], twice [[3]] [[3]].", ["1, 2", "2, 1", "3"]),
        ("As one [[1, 3]] and again [[1;3]].", ["1, 3", "1, 3"]),
        ("Nobody [[9]], and [[1]][[9]] half.", ["1"]),
        ("Lines [[1]]\n\n[[2]] apart.", ["1", "2"]),
        ("`code [[1]]` and **bold [[2]]**", ["1", "2"]),
        ("\ue0000\ue001 is no number of ours", []),
        ("[text](https://evil.example) and <b>bold</b> ![x](https://evil.example/p.png)", []),
    ],
)
def test_numbers_become_buttons_each_with_its_pop_up(text: str, buttons: list[str]) -> None:
    written = Views().written(text, THREE, "a")
    page = html.fromstring(f"<div>{written.html}</div>")
    assert [one.text for one in page.iter("button")] == buttons
    popups = {popup: [source.number for source in sources] for popup, sources in written.popups}
    for button in page.iter("button"):
        assert popups[button.get("popovertarget")] == [int(one) for one in button.text.split(", ")]
        assert "A page" in button.get("aria-label")
    assert len(popups) == len(set(buttons))
    assert not page.xpath("//a | //img | //b")
    assert "[[" not in written.html


def test_a_number_opens_the_sentence_that_bears_out_what_stands_before_it() -> None:
    state = state_of("https://a.example/1", "https://b.example/2")
    oak = {"quote": "Its wheel is of oak.", "span": {"document_id": "e" * 32, "start": 40, "end": 60}, "revision": "s"}
    node = Node("n", "What of the wheel?", answer="The wheel is of oak [[1]].", quotes={"1": [oak]})
    state.graph.add(node)
    written = Views().written("It was built in 1899 [[1]]. The wheel is of oak [[1]]. Built in 1899 [[1]].", state, "a")
    assert [(popup, [one.quote for one in opened]) for popup, opened in written.popups] == [
        ("a-1", ["It was built in 1899."]),
        ("a-1_2", ["Its wheel is of oak."]),
    ]
    page = html.fromstring(f"<div>{written.html}</div>")
    assert [one.get("popovertarget") for one in page.iter("button")] == ["a-1", "a-1_2", "a-1"]
    assert written.popups[1][1][0].where == "characters 41 to 60"
    panel = Views().panel(state, "n")
    assert panel is not None
    assert [one.quote for one in panel.quotes] == ["Its wheel is of oak."]


@pytest.mark.parametrize(
    ("url", "address", "host"),
    [
        ("https://a.example/p", "https://a.example/p#:~:text=It%20was%20built%20in%201899.", "a.example"),
        ("https://a.example/p#part", "https://a.example/p#part", "a.example"),
        ("javascript:alert(1)", "", "javascript"),
        ("data:text/html,x", "", "data"),
        ('https://a.example/" onclick="x', "", "https"),
        ("/etc/passwd", "", "/etc/passwd"),
    ],
)
def test_only_web_addresses_can_be_followed(url: str, address: str, host: str) -> None:
    source = Views().sources(state_of(url))[0]
    assert (source.address, source.host, source.ours) == (address, host, False)
    assert source.where == "characters 11 to 31"


def test_the_words_of_a_search_have_no_place_in_a_page_that_was_not_read() -> None:
    state = RunState(refs={1: ref("https://a.example/p", "It was built in 1899.") | {"unread": True}})
    source = Views(lambda ids: dict.fromkeys(ids, "r")).sources(state)[0]
    assert (source.address, source.ours) == ("https://a.example/p", False)
    assert "could not be read" in source.where


def test_a_place_of_the_library_leads_there_and_a_long_quote_is_named_by_its_ends() -> None:
    known = Views(lambda ids: dict.fromkeys(ids, "r"))
    source = known.sources(THREE, [2, 7])[0]
    assert (source.ours, source.host) == (True, "this library")
    assert source.address == f"/library/{'d' * 32}?span=10-31&revision=r#c-10-31"
    state = RunState(refs={1: ref("https://a.example", "one two three-four " * 8)})
    fragment = Views().sources(state)[0].address.partition("#:~:text=")[2]
    assert re.fullmatch(r"[^,]+,[^,]+", fragment)
    assert "-" not in fragment


def test_a_node_in_words() -> None:
    state = RunState()
    state.graph.add(Node("root", "Why?", "root", "finished"))
    state.graph.add(
        Node("a", "What?", state="running", selected=[0, 1], pages=[{"index": 0}, {"index": 1, "error": "x"}])
    )
    state.graph.add(Node("b", "Who?", state="failed", error="Nobody."))
    state.graph.connect("root", "a")
    state.graph.connect("a", "b")
    assert [said_of(node) for node in state.graph.nodes.values()] == [
        "the question",
        "reading, 1 of 2 pages",
        "not found",
    ]
    root = outline(state.graph)[0]
    assert [one.node.name for one in (root, root.below[0], root.below[0].below[0])] == ["root", "a", "b"]
    assert counted(state) == "0 of 2 sub-questions answered"
    views = Views()
    panel = views.panel(state, "b")
    assert panel is not None
    assert (panel.parents, panel.number) == ((("a", "What?"),), 2)
    assert views.panel(state, "nobody") is None
