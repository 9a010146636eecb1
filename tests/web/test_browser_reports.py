"""Reports in a real browser: made before one's eyes, read by keyboard, without JavaScript, as a file; axe."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reading_site import served
from reports import QUESTION, whole_report
from research_site import research_app
from scripted_reports import ScriptedReporter
from test_browser_reading import says, serious
from test_report_scope import site as scope_site

from foveal.research.report_html import html_of, slides_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
FAST = "On 32,000 tokens, sparse attention takes 0.094 s where dense attention takes 0.59 s."


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, ScriptedReporter]]:
    """An address, and what makes its reports, which waits before it reads."""
    app = research_app(tmp_path)
    app.state.site.reporter = reporter = ScriptedReporter(hold=("read",))
    with served(app) as base:
        yield base, reporter


def opened(browser: Any, **options: Any) -> tuple[Any, list[str]]:
    """A page, and what its console says."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    context.set_default_timeout(40_000)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return page, said


def ask(page: Any, base: str) -> None:
    """Ask for a report, by keyboard alone."""
    page.goto(f"{base}/research")
    page.locator("#question").focus()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")  # from an answer to a report
    page.get_by_role("button", name="Research").press("Enter")
    page.wait_for_url("**/research/*")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_a_report_grows_and_is_read_by_keyboard_and_by_all(
    browser: Any, site: tuple[str, ScriptedReporter], scheme: str
) -> None:
    base, reporter = site
    page, said = opened(browser, color_scheme=scheme)
    ask(page, base)
    page.locator(".steps .busy", has_text="Where to Look").wait_for()
    seen = serious(page)
    reporter.go.set()
    page.locator(".ended-text", has_text="Answered").wait_for()
    page.locator("#body h2", has_text="Where sources differ").wait_for()
    says(page, "Answered")

    cite = page.locator("#body button.cite").first
    cite.press("Enter")
    popup = page.locator(".quote-pop:popover-open")
    assert FAST in popup.inner_text()
    seen += serious(page)
    page.keyboard.press("Escape")
    popup.wait_for(state="hidden")
    page.locator("button.cite:focus").wait_for()
    cite.press("Enter")
    popup.locator(".to-panel").press("Enter")
    page.locator("#panel mark", has_text=FAST).wait_for()
    page.locator("#panel-title:focus").wait_for()
    seen += serious(page)
    page.locator("#panel a", has_text="Close").press("Enter")
    page.locator("#panel", has_text="In this report").wait_for()
    page.locator("button.cite:focus").wait_for()

    page.set_viewport_size({"width": 320, "height": 700})
    page.goto(page.url + "?cite=c1-1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.locator("#panel").bounding_box()["y"] < page.locator("#body").bounding_box()["y"]
    page.locator("details.more summary", has_text="More").click()
    seen += serious(page)
    assert seen == []
    assert said == []  # nothing of ours breaks the content security policy
    page.context.close()


def test_what_is_opened_as_the_run_ends_stays(browser: Any, site: tuple[str, ScriptedReporter]) -> None:
    base, reporter = site
    page, said = opened(browser)
    held: list[Any] = []
    ask(page, base)
    page.locator(".steps .busy", has_text="Where to Look").wait_for()
    page.route("**/panel*", lambda route: held.append(route))
    reporter.go.set()
    page.locator("#body h2", has_text="Where sources differ").wait_for()
    waits_for(page, held, 1)  # the end of the run asks for the panel
    page.locator("#body button.cite").first.press("Enter")
    page.locator(".quote-pop:popover-open .to-panel").press("Enter")
    waits_for(page, held, 2)  # and so does its reader
    for route in held:
        with page.expect_response(route.request.url):
            route.continue_()
    page.locator("#panel mark", has_text=FAST).wait_for()
    page.locator("#panel-title:focus").wait_for()
    assert said == []
    page.context.close()


def waits_for(page: Any, held: list[Any], count: int) -> None:
    """Wait until so many requests are held."""
    for _ in range(200):
        if len(held) >= count:
            return
        page.wait_for_timeout(100)
    pytest.fail(f"{len(held)} requests came instead of {count}")


@pytest.mark.slow
def test_a_report_without_javascript(browser: Any, site: tuple[str, ScriptedReporter]) -> None:
    base, reporter = site
    page, _ = opened(browser, java_script_enabled=False)
    ask(page, base)
    page.locator(".steps .busy", has_text="Where to Look").wait_for()
    reporter.go.set()
    page.locator(".ended-text", has_text="Answered").wait_for()  # the page looks again by itself
    page.locator("#body button.cite").first.press("Enter")
    page.locator(".quote-pop:popover-open .to-panel").click()
    page.locator("#panel mark", has_text=FAST).wait_for()
    page.context.close()


def test_the_files_open_quotes_and_slides_without_a_script(browser: Any, tmp_path: Path) -> None:
    report = replace(whole_report(), title="A title")
    (tmp_path / "report.html").write_text(html_of(report), encoding="utf-8")
    (tmp_path / "slides.html").write_text(slides_of(report), encoding="utf-8")
    page, said = opened(browser, viewport={"width": 320, "height": 700}, color_scheme="dark")
    page.goto(f"file://{tmp_path}/report.html")
    page.locator("button.cite").first.press("Enter")
    assert FAST in page.locator(".quote-pop:popover-open").inner_text()
    seen = serious(page)
    page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size({"width": 1200, "height": 800})
    cite = page.locator("button.cite").first
    cite.hover()
    page.locator(".cited .quote-pop:visible").wait_for()  # by the mouse alone
    page.emulate_media(media="print")
    page.mouse.move(0, 0)
    assert page.locator(".quote-pop:visible").count() == 0
    assert FAST in page.locator(".source-list").inner_text()
    page.emulate_media(media="screen")
    page.goto(f"file://{tmp_path}/slides.html")
    seen += serious(page)
    page.locator("#slide-1 a[rel=next]").press("Enter")
    page.wait_for_url("**#slide-2")
    page.wait_for_timeout(100)
    assert abs(page.locator("#slide-2").bounding_box()["y"]) < 20
    page.mouse.move(600, 400)
    page.mouse.wheel(0, 700)  # as the space bar does: not quite a page
    for _ in range(100):
        page.wait_for_timeout(50)
        if abs(page.locator("#slide-3").bounding_box()["y"]) < 20:
            break
    assert abs(page.locator("#slide-3").bounding_box()["y"]) < 20
    assert (seen, said) == ([], [])
    page.context.close()


def test_a_report_that_asks_first_does_so_on_its_page_as_it_is(browser: Any, tmp_path: Path) -> None:
    app = scope_site(tmp_path)
    page, said = opened(browser)
    with served(app) as base:
        ask(page, base)
        page.locator(".scope input[name=answer]").first.wait_for()  # no reload: the run tells its page
        says(page, "Waits for you")
        seen = serious(page)
        page.locator(".scope input[name=answer]").first.fill("the one at Orra")
        page.keyboard.press("Enter")
        page.locator(".scope textarea[name=cover]").wait_for()
        page.set_viewport_size({"width": 320, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        seen += serious(page)
        page.locator(".scope select[name=format]").select_option("points")
        page.get_by_role("button", name="Begin").press("Enter")
        page.locator(".ended-text", has_text="Answered").wait_for()
        page.locator("#body .report-text li").first.wait_for()
    assert seen == []
    assert said == []
    page.context.close()
