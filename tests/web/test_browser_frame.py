"""The frame of all pages in a real browser: waits are shown, menus close, paper is light, the menu stays put."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from reading_site import STORY, made_app, served

from foveal.papers.accounts import add
from foveal.papers.sessions import request_link, use_link
from foveal.types import Document
from foveal.web.safety import SESSION

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    made = made_app(tmp_path_factory.mktemp("frame"))
    made.state.site.library.add_documents([Document.of("https://mill.example/", STORY, "The mill")])
    return made


@pytest.fixture(scope="module")
def base(app: FastAPI) -> Iterator[str]:
    with served(app) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(40_000)
    yield context.new_page()
    context.close()


def test_a_question_is_asked_once_and_its_button_says_that_it_is_at_work(page: Any, base: str) -> None:
    sent: list[str] = []

    def nothing_yet(route: Any) -> None:
        sent.append(route.request.method)
        route.fulfill(status=204)  # the page stays, as it does while a server thinks

    page.goto(f"{base}/ask")
    page.route("**/ask", nothing_yet)
    page.locator("#question").fill("What is the keeper of the tide mill called?")
    ask = page.get_by_role("button", name="Ask")
    ask.click()
    page.locator("button[aria-busy=true]", has_text="Ask").wait_for()
    ask.click()
    ask.press("Enter")
    page.wait_for_timeout(300)
    assert sent == ["POST"]


def test_the_slash_leads_to_where_one_asks_or_searches(page: Any, base: str) -> None:
    for path, field in (("/library", "q"), ("/research", "question"), ("/papers/trending", "q")):
        page.goto(base + path)
        page.locator("h1").click()
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == field
        page.keyboard.press("/")  # there it is a letter
        assert page.locator(f"#{field}").input_value() == "/"


def test_a_menu_closes_by_escape_and_by_a_press_elsewhere(page: Any, base: str) -> None:
    page.goto(f"{base}/library")
    page.evaluate("""document.querySelector("main").insertAdjacentHTML("beforeend",
        "<details class=more id=menu><summary>More</summary><ul><li><a href='#'>One</a></li></ul></details>")""")
    menu, summary = page.locator("#menu"), page.locator("#menu summary")
    summary.click()
    page.locator("#menu a").focus()
    page.keyboard.press("Escape")
    assert menu.get_attribute("open") is None
    assert summary.evaluate("(one) => one === document.activeElement")
    summary.click()
    page.locator("h1").click()
    assert menu.get_attribute("open") is None


@pytest.mark.parametrize("chosen", [False, True], ids=["system", "chosen"])
def test_paper_is_light_and_has_no_buttons(page: Any, base: str, chosen: bool) -> None:
    page.emulate_media(color_scheme="light" if chosen else "dark")
    page.goto(f"{base}/library?q=keeper")
    if chosen:
        page.locator("[data-theme-switch]").click()
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(14, 17, 22)"
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(17, 24, 39)"
    assert page.locator(".hit .quote").first.is_visible()
    assert page.locator(":is(nav, form, button, .button, .foot):visible").count() == 0


def test_the_menu_of_a_person_stays_where_it_is(page: Any, app: FastAPI, base: str) -> None:
    database = app.state.site.database
    add(database, "ana@example.org", login="ana", role="admin")
    link = request_link(database, "ana@example.org", ip="ana", browser="b")
    key = use_link(database, link.token, browser="b").token
    page.context.add_cookies([{"name": SESSION, "value": key, "url": base}])
    left = set()
    for path in ("/following", "/collections", "/settings", "/desk", "/admin/claims", "/admin"):
        page.goto(base + path)
        left.add(
            page.evaluate(
                "['.yours a', 'h1'].map((one) => document.querySelector(one).getBoundingClientRect().left).join()"
            )
        )
    assert len(left) == 1


@pytest.mark.parametrize("width", [360, 390])
def test_on_a_phone_the_frame_is_one_row_with_all_that_it_has(page: Any, base: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{base}/research")
    assert page.evaluate("document.querySelector('header.bar').offsetHeight") < 60
    names = [*("Papers", "Library", "Ask", "Research"), "Sign in"]
    boxes = [page.locator("header").get_by_role("link", name=name, exact=True).bounding_box() for name in names]
    assert all(box["height"] >= 36 and box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    assert page.locator("[data-theme-switch]").bounding_box()["width"] >= 36


def test_who_goes_through_their_jobs_by_keyboard_stays_where_they_are(page: Any, app: FastAPI, base: str) -> None:
    site = app.state.site
    with site.library.store.writing():  # the job waits meanwhile, and the list is fetched again and again
        page.goto(f"{base}/library")
        page.locator("#pasted").fill("Tide mills turn twice a day.")
        page.get_by_role("button", name="Add").click()
        page.wait_for_url("**/jobs/*")
        page.goto(f"{base}/jobs")
        link = page.get_by_role("link", name="Add Tide mills")
        link.focus()
        with page.expect_response(f"{base}/jobs"):
            pass
        page.wait_for_timeout(300)
        assert link.evaluate("(one) => one === document.activeElement")
    page.get_by_role("heading", name="Going on").wait_for(state="detached")


def test_nothing_moves_when_the_scripts_have_come(page: Any, base: str) -> None:
    places = []
    for scripts in (False, True):
        page.unroute_all()
        if not scripts:
            page.route("**/foveal.js*", lambda route: route.abort())
        page.goto(f"{base}/library")
        places.append(page.locator(".account").bounding_box())
        assert page.locator("[data-theme-switch]").is_visible() is scripts
    assert places[0] == places[1]


def test_what_a_refused_form_held_stands_again_on_its_page_once(page: Any, base: str) -> None:
    question = "What is the keeper called?\nAnd since when?"
    page.goto(f"{base}/ask")
    page.locator("#question").fill(question)
    page.evaluate("document.querySelector('main form [name=token]').value = 'of another day'")
    page.get_by_role("button", name="Ask").click()
    assert page.locator("[data-typed] textarea").input_value() == question
    page.goto(f"{base}/library")
    assert page.locator("#pasted").input_value() == ""
    page.goto(f"{base}/ask")
    page.get_by_text("What you wrote before is here again.").wait_for()
    assert page.locator("#question").input_value() == question
    page.reload()
    assert page.get_by_text("What you wrote before").count() == 0


def test_on_a_phone_ones_own_pages_stand_in_one_line_and_the_open_one_is_in_sight(
    browser: Any, app: FastAPI, base: str
) -> None:
    database = app.state.site.database
    add(database, "cy@example.org", login="cy", role="admin")
    link = request_link(database, "cy@example.org", ip="cy", browser="c")
    key = use_link(database, link.token, browser="c").token
    context = browser.new_context(viewport={"width": 390, "height": 800})
    context.set_default_timeout(40_000)
    context.add_cookies([{"name": SESSION, "value": key, "url": base}])
    page = context.new_page()
    page.goto(f"{base}/admin")  # the last of them
    line, here = page.locator(".yours").bounding_box(), page.locator(".yours [aria-current]").bounding_box()
    assert line["height"] < 64
    assert line["x"] <= here["x"]
    assert here["x"] + here["width"] <= line["x"] + line["width"] + 1
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.goto(f"{base}/settings")
    page.evaluate("document.documentElement.style.fontSize = '200%'")  # as who chose large text in the browser
    assert page.evaluate("getComputedStyle(document.body).fontSize") == "32px"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    app.state.site.library.add_documents([Document.of("https://mills.example/", STORY * 3, "Mills")])
    page.goto(f"{base}/library")
    page.get_by_role("link", name="Mills", exact=True).click()
    page.locator("form[role=search] #q").wait_for()
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()
