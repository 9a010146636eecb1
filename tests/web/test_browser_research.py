"""Research in a real browser: a run that grows, its sources and nodes by keyboard, a reload, cancel, an edit; axe."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reading_site import served
from research_site import QUESTION, TWO_HOPS, Held, research_app
from test_browser_reading import says, serious

from foveal.bench.research_world import Rules

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
AT_TEACHER = "## Current problem\nWho taught Petra Lindqvist?"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(40_000)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert said == []  # nothing of ours breaks the content security policy


def held() -> Held:
    return Held(Rules(TWO_HOPS), at=AT_TEACHER)


def ask(page: Any, base: str) -> None:
    """Ask by keyboard alone."""
    page.goto(f"{base}/research")
    page.locator("#question").focus()
    page.keyboard.type(QUESTION)
    page.get_by_role("button", name="Research").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/research/[0-9a-f]{32}"))


REDRAWN = """() => htmx.ajax("GET", `${document.querySelector("[data-run]").dataset.run}/answer`,
                       {source: "#answer", target: "#answer", swap: "innerHTML"})"""


TWICE = """() => {
    const answer = document.querySelector("#answer");
    const tell = (name, on) => on.dispatchEvent(new CustomEvent(name, {bubbles: true, detail: {target: answer}}));
    for (const _ of [1, 2]) { tell("htmx:sseBeforeMessage", answer); answer.innerHTML = answer.innerHTML; }
    tell("htmx:afterSettle", answer.firstElementChild);
}"""


def test_a_run_grows_and_is_read_by_keyboard(page: Any, tmp_path: Path) -> None:
    model = held()
    with served(research_app(tmp_path, model)) as base:
        ask(page, base)
        page.locator("#graph svg .box").nth(3).wait_for()  # drawn while it goes on
        assert model.began.wait(60)
        page.locator(".outline-list", has_text="Who taught Petra Lindqvist? is being searched").wait_for()
        link = page.locator(".outline-list a", has_text="Who taught Petra Lindqvist?")
        assert link.evaluate("one => one.closest('ol').parentElement.querySelector('a').textContent") == (
            "Who designed the mill at Orra?"
        )
        link.focus()
        page.keyboard.press("Enter")
        page.locator("#panel-title", has_text="Who taught Petra Lindqvist?").wait_for()
        page.locator("#panel-title:focus").wait_for()
        assert page.locator("#graph svg [aria-current]").get_attribute("data-node") == "teacher"
        page.locator("#graph svg [data-node=teacher].state-running").wait_for()

        page.reload()  # the run goes on, and so does its page
        page.locator("#panel-title", has_text="Who taught Petra Lindqvist?").wait_for()
        assert page.locator("[sse-connect]").count() == 1
        model.go.set()
        page.locator(".ended-text", has_text="Answered").wait_for()
        page.locator("#panel .prose", has_text="Olof Brandt in Vasa").wait_for()
        page.locator("#panel", has_text="answered").wait_for()
        assert "Olof Brandt" in page.locator("#answer .prose").inner_text()
        says(page, "Answered")
        assert page.locator("#graph svg .searcher.state-finished").count() == 3
        page.locator("#graph svg .box.end.state-finished").wait_for()
        titles = page.locator("#graph svg .searcher title").all_text_contents()
        listed = page.locator(".outline-list ol a").all_inner_texts()
        assert sorted(titles) == sorted(listed)

        cite = page.locator("#answer button.cite").first
        cite.focus()
        page.keyboard.press("Enter")
        popup = page.locator("#answer .popup:popover-open")
        popup.wait_for()
        assert "Petra Lindqvist designed the mill at Orra." in popup.inner_text()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('.popup') !== null")
        page.keyboard.press("Escape")
        popup.wait_for(state="hidden")
        assert page.evaluate("document.activeElement.matches('button.cite')")
        cite.press("Enter")
        popup.wait_for()
        page.evaluate(REDRAWN)  # as an event that comes late would have it
        assert popup.is_visible()  # and is drawn anew once it is closed
        with page.expect_response(lambda one: one.url.endswith("/answer")):
            page.keyboard.press("Escape")
        page.locator("#answer:not(.htmx-request) button.cite:focus").wait_for()
        page.evaluate(TWICE)  # drawn anew again before the first time has settled
        assert page.evaluate("document.activeElement.matches('button.cite')")
        cite.press("Enter")
        popup.wait_for()
        page.keyboard.press("Tab")
        page.locator(".popup a:focus").wait_for()
        page.keyboard.press("Enter")  # to the place itself
        page.locator("mark.cited", has_text="designed the mill").wait_for()

        page.goto(f"{base}/research")
        page.locator(".document-title", has_text=QUESTION).wait_for()


def answered(page: Any, question: str) -> None:
    """Wait until the outline says so of a sub-question."""
    page.locator(f".outline-list a:text-is('{question}') + .state", has_text="answered").wait_for()


@pytest.mark.slow
def test_cancel_go_on_and_edit_a_node(page: Any, tmp_path: Path) -> None:
    model = held()
    with served(research_app(tmp_path, model)) as base:
        ask(page, base)
        assert model.began.wait(60)
        answered(page, "When was Petra Lindqvist born?")
        page.get_by_role("button", name="Cancel").focus()
        page.keyboard.press("Enter")
        page.locator(".ended-text", has_text="Cancelled").wait_for()
        assert "1871" in page.locator("#answer .prose").inner_text()  # what was found stays
        model.go.set()
        page.get_by_role("button", name="Go on").press("Enter")
        page.locator(".ended-text", has_text="Answered").wait_for()
        assert "Olof Brandt" in page.locator("#answer .prose").inner_text()

        before = len(model.prompts)
        page.locator(".outline-list a", has_text="When was Petra Lindqvist born?").press("Enter")
        page.locator("#edit-question").fill("Who was born in 1871?")
        page.get_by_role("button", name="Search anew").press("Enter")
        page.locator("#panel-title", has_text="Who was born in 1871?").wait_for()
        page.locator(".ended-text", has_text="Answered").wait_for()
        asked = "\n".join(one[-1]["content"] for one in model.prompts[before:])
        assert "## Current problem\nWho was born in 1871?" in asked
        assert "## Current problem\nWho designed the mill" not in asked  # it does not build on the node


@pytest.mark.slow
def test_answer_now_without_javascript(browser: Any, tmp_path: Path) -> None:
    model = held()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(40_000)
    with served(research_app(tmp_path, model)) as base:
        ask(page, base)
        assert model.began.wait(60)
        answered(page, "When was Petra Lindqvist born?")
        page.get_by_role("button", name="Answer now").press("Enter")
        page.locator(".ended-text", has_text="as you asked").wait_for()  # the page looks again by itself
        assert "1871" in page.locator("#answer .prose").inner_text()
        page.locator(".outline-list a", has_text="When was Petra Lindqvist born?").click()
        page.locator("#panel-title", has_text="When was").wait_for()
        page.locator("#panel button.cite").first.press("Enter")  # a pop-up needs no script
        page.locator("#panel .popup:popover-open").wait_for()
    context.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_every_page_can_be_used_by_all_and_fits_a_phone(page: Any, tmp_path: Path, scheme: str) -> None:
    model = held()
    page.emulate_media(color_scheme=scheme)
    with served(research_app(tmp_path, model)) as base:
        page.goto(f"{base}/research")
        seen = serious(page)
        ask(page, base)
        assert model.began.wait(60)
        page.locator("#graph svg .box").nth(3).wait_for()
        seen += serious(page)
        model.go.set()
        page.locator(".ended-text", has_text="Answered").wait_for()
        page.locator("details.more summary").click()
        page.locator("#answer button.cite").first.press("Enter")
        page.locator(".popup:popover-open").wait_for()
        seen += serious(page)
        page.set_viewport_size({"width": 320, "height": 700})
        page.goto(page.url.partition("?")[0] + "?node=teacher")
        assert page.locator("#answer").bounding_box()["y"] < page.locator("#outline").bounding_box()["y"]
        page.locator("details.more summary").click()
        seen += serious(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        page.goto(f"{base}/research")
        seen += serious(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert seen == []
