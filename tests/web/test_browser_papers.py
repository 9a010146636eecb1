"""The pages of papers in a real browser: axe in both themes, the keyboard, HTMX and no JavaScript, narrow and wide.

Needs a Chromium on the path and playwright; without either these tests are skipped.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import uvicorn
from paper_site import TODAY, day_address, site_app, with_rising

from foveal.papers.periods import Period
from foveal.web import papers_views as views

playwright = pytest.importorskip("playwright.sync_api")
axe_core = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")

MONTH = views.period_address(Period.around("month", TODAY))
VIEWS = {
    "day": day_address(TODAY),
    "empty day": "/papers/date/2020-01-01",
    "month": MONTH,
    "search": "/papers?q=sparse+attention&category=cs.CL",
    "trending": "/papers/trending",
    "orders": "/papers/rankings",
    "paper": "/papers/2611.00001",
    "missing": "/papers/2612.99999",
    "submit": "/papers/submit?id=2101.00001",
    "topics": "/topics",
    "api": "/api",
    "error": "/papers/no-such-id",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = site_app(tmp_path_factory.mktemp("browser"))
        with_rising(app.state.site.database)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(20_000)
    opened = context.new_page()
    yield opened
    context.close()


MOST_SEEN = ("day", "search", "paper", "submit", "error")


@pytest.mark.parametrize(
    ("theme", "views"),
    [
        ("light", MOST_SEEN),
        pytest.param("light", [name for name in VIEWS if name not in MOST_SEEN], marks=pytest.mark.slow),
        pytest.param("dark", list(VIEWS), marks=pytest.mark.slow),
    ],
    ids=["light", "light, the others", "dark"],
)
def test_axe_finds_nothing_serious_and_no_page_breaks_its_own_rules(
    browser: Any, address: str, theme: str, views: Sequence[str]
):
    context = browser.new_context(base_url=address, color_scheme=theme)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    found = {}
    rules: dict[str, Any] = {"resultTypes": ["violations"]}
    if theme == "dark":  # the rest does not depend on the theme
        rules["runOnly"] = ["color-contrast"]
    for name in views:
        path = VIEWS[name]
        answer = page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        if answer.status == 200:
            assert not complaints, (name, complaints)
        complaints.clear()
        violations = axe_core.Axe().run(page, options=rules).response["violations"]
        grave = [one for one in violations if one["impact"] in ("serious", "critical")]
        if grave:
            found[name] = [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in grave]
    context.close()
    assert not found


@pytest.mark.parametrize("width", [320, 390])
def test_on_a_phone_a_day_of_the_strip_has_its_number_beside_how_many_papers_it_has(page: Any, width: int):
    """ "Wed 12" would be read as a date."""
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(VIEWS["day"])
    days = page.locator(".strip a, .strip .off")
    assert days.count() == 7
    for number in range(7):
        playwright.expect(days.nth(number).locator("i")).to_be_visible()
        inside = days.nth(number).evaluate("e => e.scrollWidth <= e.clientWidth")
        assert inside, number


@pytest.mark.parametrize("width", [320, 768, 1440])
def test_nothing_sticks_out_at_any_width(browser: Any, address: str, width: int):
    context = browser.new_context(base_url=address, viewport={"width": width, "height": 800})
    page = context.new_page()
    wide = {}
    for name, path in VIEWS.items() if width == 320 else [(name, VIEWS[name]) for name in ("day", "paper")]:
        page.goto(path)
        if (seen := page.evaluate("document.documentElement.scrollWidth")) > width:
            wide[name] = seen
    columns = {320: 1, 768: 2, 1440: 3}[width]
    page.goto(VIEWS["day"])
    assert page.evaluate("getComputedStyle(document.querySelector('.grid')).gridTemplateColumns").count("px") == columns
    context.close()
    assert not wide


@pytest.mark.slow
def test_at_twice_the_size_nothing_sticks_out(browser: Any, address: str):
    zoomed = browser.new_context(base_url=address, viewport={"width": 640, "height": 450}, device_scale_factor=2)
    larger = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    wide = {}
    for context, width in ((zoomed, 640), (larger, 1280)):
        page = context.new_page()
        for name, path in VIEWS.items():
            page.goto(path)
            if context is larger:  # the reader's own larger letters, in a window of the same size
                page.evaluate("document.documentElement.style.fontSize = '200%'")
            if (seen := page.evaluate("document.documentElement.scrollWidth")) > width:
                wide[name, width] = seen
        context.close()
    assert not wide


def test_nothing_moves_for_whom_motion_disturbs(page: Any):
    moving = """[...document.querySelectorAll('*')].filter(one => {
        const style = getComputedStyle(one)
        const durations = `${style.transitionDuration}, ${style.animationDuration}`.split(', ')
        return durations.some(one => parseFloat(one) > 0.01)
    }).length"""
    for name in ("day", "trending", "search", "paper"):
        page.goto(VIEWS[name])
        assert (page.evaluate("document.getAnimations().length"), page.evaluate(moving)) == (0, 0), name


@pytest.mark.slow
def test_the_page_does_not_move_while_it_loads(page: Any):
    page.add_init_script(
        "window.moved = 0; new PerformanceObserver(list => list.getEntries().forEach(e => { window.moved += e.value }))"
        ".observe({type: 'layout-shift', buffered: true});"
    )
    for name in ("day", "trending", "search"):
        page.goto(VIEWS[name])
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.moved") < 0.02, name


def test_by_keyboard_alone_from_the_search_to_a_paper(page: Any):
    page.goto(VIEWS["day"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("/")
    page.keyboard.type("sparse attention")
    page.keyboard.press("Enter")
    page.wait_for_url("**/papers?q=sparse+attention")
    first = page.locator(".result h3 a").first
    for _ in range(40):
        page.keyboard.press("Tab")
        if first.evaluate("element => element === document.activeElement"):
            break
    assert first.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
    page.keyboard.press("Enter")
    page.wait_for_url("**/papers/2611.*")
    assert page.locator("h1").count() == 1


def test_more_papers_come_into_the_page_and_its_address(page: Any):
    page.goto("/categories/cs.CL")
    assert page.locator("article.card").count() == 50
    page.get_by_role("link", name="More papers").click()
    page.locator("article.card").nth(50).wait_for()
    ids = page.eval_on_selector_all("article.card h3 a", "all => all.map(one => one.getAttribute('href'))")
    assert len(ids) == len(set(ids))
    assert page.url.endswith("p=1")
    assert page.locator("#more").count() == 1


def test_after_going_back_what_javascript_adds_still_works(page: Any):
    page.goto("/categories/cs.CL")
    page.get_by_role("link", name="More papers").click()
    page.locator("article.card").nth(50).wait_for()
    page.go_back()
    page.locator("article.card").nth(50).wait_for(state="detached")
    page.click("[data-theme-switch]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_what_cannot_be_sent_is_said_until_it_can(page: Any):
    page.goto("/categories/cs.CL")
    page.context.set_offline(True)
    page.get_by_role("link", name="More papers").click()
    page.get_by_role("alert").get_by_text("cannot be reached").wait_for()
    page.context.set_offline(False)
    page.get_by_role("link", name="More papers").click()
    page.locator("article.card").nth(50).wait_for()
    assert page.get_by_role("alert").count() == 0


@pytest.mark.slow
def test_a_button_that_was_pressed_twice_says_again_what_it_does(page: Any):
    page.goto(VIEWS["paper"])
    button = page.locator(".crumbs .copy")
    button.click()
    button.click()
    page.wait_for_timeout(3500)
    assert button.inner_text() == "Copy link"


@pytest.mark.parametrize("width", [320, 375])
def test_the_tab_that_is_shown_is_in_sight_on_a_phone(page: Any, width: int):
    page.set_viewport_size({"width": width, "height": 700})
    page.goto("/topics")
    tab = page.locator(".tabs [aria-current]")
    assert tab.inner_text() == "Topics"
    place = tab.evaluate("(tab) => [tab, tab.parentElement].map((one) => one.getBoundingClientRect().right)")
    assert place[0] <= place[1]


def test_similar_papers_come_when_they_are_looked_at(page: Any):
    page.goto(VIEWS["paper"])
    page.locator("aside h2", has_text="Similar papers").scroll_into_view_if_needed()
    page.wait_for_selector("aside #similar li")
    assert page.locator("aside #similar li").count() == 6


def test_all_of_it_works_without_javascript(browser: Any, address: str):
    context = browser.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.fill("#q", "sparse attention")
    page.click(".find button")
    page.wait_for_url(lambda url: "/papers?q=sparse+attention" in url)  # a click does not wait for what it leads to
    page.click(".result h3 a >> nth=0")
    page.wait_for_url(lambda url: "/papers?" not in url)
    page.click("aside >> text=Show papers like this one")
    page.wait_for_url(lambda url: url.endswith("/similar"))
    assert page.locator("#similar li").count() == 6
    page.goto("/categories/cs.CL")
    page.click("text=More papers")
    page.wait_for_url(lambda url: url.endswith("?p=1"))
    assert page.locator("article.card").count() > 0
    assert page.locator("[data-copy]:visible, [data-theme-switch]:visible").count() == 0
    context.close()


def test_a_chosen_theme_holds_on_the_next_page(page: Any):
    page.goto(VIEWS["day"])
    page.click("[data-theme-switch]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto(VIEWS["trending"])
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 17, 22)"
