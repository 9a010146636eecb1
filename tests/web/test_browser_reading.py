"""In a real browser: a file is dropped and asked, its citation leads to the marked place; by keyboard, in both themes.

Besides: nothing breaks the content security policy, and axe finds nothing serious.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from reading_site import FACT, STORY, Held, OwnModels, made_app, pdf, served
from tiny import tiny

CHROMIUM = shutil.which("chromium")
FILLING = "Water comes twice a day and turns the wheel. " * 40

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes], name));
  for (const kind of ["dragover", "drop"])
    document.querySelector("[data-drop]").dispatchEvent(new DragEvent(kind, { dataTransfer: dropped, bubbles: true }));
}"""

IN_VIEW = """(mark) => {
  const place = mark.getBoundingClientRect();
  return place.height > 0 && place.top >= 0 && place.bottom <= innerHeight;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser) -> Iterator:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(40_000)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    context.close()
    assert said == []  # nothing of ours breaks the content security policy


def says(page, text: str) -> None:
    """The line that is read aloud says it, now or soon."""
    from playwright.sync_api import expect

    expect(page.locator("#said")).to_contain_text(text)


def serious(page) -> list[str]:
    """What axe finds that keeps people out."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def test_drop_ask_and_follow_the_citation(page, tmp_path: Path):
    held = Held()
    with served(made_app(tmp_path, OwnModels(held))) as base:
        page.goto(f"{base}/library")
        page.evaluate(DROP, ["mills.pdf", base64.b64encode(pdf(FILLING, FILLING, f"{FACT} {FILLING}")).decode()])
        assert "mills.pdf" in page.locator("[data-chosen]").inner_text()
        page.keyboard.press("Enter")  # the button to add has the focus
        page.get_by_text("is in the library now").wait_for()

        page.goto(f"{base}/ask")
        page.keyboard.type("What is the keeper of the tide mill called?")
        page.get_by_role("button", name="Ask").press("Enter")
        assert held.began.wait(60)
        page.locator('[data-live="words"]').get_by_text("The").wait_for()  # while it is written
        page.locator("#found .hit").first.wait_for()  # and what was found
        held.go.set()
        link = page.locator("a.cite").first
        link.wait_for()
        says(page, "Done.")
        link.focus()
        page.keyboard.press("Enter")
        mark = page.locator("mark.cited").first
        mark.wait_for()
        assert FACT in mark.inner_text()
        assert mark.evaluate(IN_VIEW)
        assert page.evaluate("document.activeElement.matches('mark')")
        page.locator(".notice.place").get_by_text("page 3").wait_for()


@pytest.mark.slow
def test_cancel_works_while_it_goes_on(page, tmp_path: Path):
    held = Held()
    app = made_app(tmp_path, OwnModels(held))
    with served(app) as base:
        page.goto(f"{base}/library")
        page.locator("#pasted").fill(STORY)
        page.get_by_role("button", name="Add").click()
        page.get_by_text("is in the library now").wait_for()
        page.goto(f"{base}/ask")
        page.locator("#question").fill("What is the keeper of the tide mill called?")
        page.get_by_role("button", name="Ask").click()
        assert held.began.wait(60)
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("It was cancelled.").wait_for()


@pytest.mark.slow
def test_a_page_whose_stream_is_refused_comes_back(browser, tmp_path: Path):
    held = Held()
    context = browser.new_context()
    context.set_default_timeout(40_000)
    page, refused = context.new_page(), []

    def refuse_once(route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route)
            route.fulfill(status=503, body="")

    with served(made_app(tmp_path, OwnModels(held))) as base:
        page.goto(f"{base}/library")
        page.locator("#pasted").fill(STORY)
        page.get_by_role("button", name="Add").click()
        page.get_by_text("is in the library now").wait_for()
        page.route("**/events*", refuse_once)
        page.goto(f"{base}/ask")
        page.locator("#question").fill("What is the keeper of the tide mill called?")
        page.get_by_role("button", name="Ask").click()
        page.get_by_text("The server does not answer just now").wait_for()
        held.go.set()
        page.locator("a.cite").first.wait_for()
        assert refused
        context.close()


def test_what_is_too_large_or_nothing_is_said_before_it_is_sent(page, tmp_path: Path):
    with served(made_app(tmp_path, max_upload_mb=1)) as base:
        page.goto(f"{base}/library")
        page.get_by_role("button", name="Add").click()
        page.get_by_text("Choose a file, or paste").wait_for()
        page.evaluate(DROP, ["big.txt", base64.b64encode(b"word " * 300_000).decode()])
        page.get_by_text("at most 1.0 MB are taken").wait_for()
        page.get_by_role("button", name="Add").click()
        assert page.url == f"{base}/library"


@pytest.mark.slow
def test_a_place_without_its_part_is_found(page, tmp_path: Path):
    with served(made_app(tmp_path)) as base:
        page.goto(f"{base}/library")
        text = "One line of many.\n" * 4000 + FACT
        page.evaluate(DROP, ["lines.txt", base64.b64encode(text.encode()).decode()])
        page.get_by_role("button", name="Add").click()
        page.locator(".outcome a").first.wait_for()
        address = page.locator(".outcome a").first.get_attribute("href")
        start = text.index(FACT)
        page.goto(f"{base}{address}#c-{start}-{start + len(FACT)}")
        page.locator("mark.cited").wait_for()
        assert page.locator("mark.cited").inner_text() == FACT


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_every_page_can_be_used_by_all_and_fits_a_phone(page, tmp_path: Path, scheme):
    held = Held()
    held.go.set()
    app = made_app(tmp_path, OwnModels(held, tiny("qwen", tmp_path / "model")))
    page.emulate_media(color_scheme=scheme)
    with served(app) as base:
        page.goto(f"{base}/library")
        seen = serious(page)  # while it is empty
        page.locator("#pasted").fill(STORY)
        page.get_by_role("button", name="Add").click()
        page.locator(".outcome a").first.wait_for()
        seen += serious(page)
        address = page.locator(".outcome a").first.get_attribute("href")
        for path, button in (("/ask", "Ask"), (f"{address}/read", "Read")):
            page.goto(base + path)
            seen += serious(page)
            page.locator("#question").fill("What is the keeper of the tide mill called?")
            page.get_by_role("button", name=button).click()
            page.get_by_role("link", name="nother question").wait_for()
            page.set_viewport_size({"width": 320, "height": 700})
            seen += serious(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
            page.set_viewport_size({"width": 1200, "height": 800})
        for path in ("/library", "/library?q=keeper", address, f"{address}?span=4-40", f"{address}/remove"):
            page.set_viewport_size({"width": 320, "height": 700})
            page.goto(base + path)
            seen += serious(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
    assert seen == []
