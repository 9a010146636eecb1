"""A real browser, by keyboard alone: sign in, vote, comment; with and without JavaScript; axe in both themes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from members import PAPER, member
from served import served
from visitors import Outbox

from foveal.database import Database
from foveal.papers import accounts, complaints, discussion, sessions, tokens, votes
from foveal.papers.mail.links import Links
from foveal.papers.mail.replies import wants_replies
from foveal.papers.mail.settings import MailSettings
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import Preferences, confirm, subscribe, subscriptions

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    """The site, served on a port of its own."""
    with served(app) as here:
        yield here


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def to(page: Any, wanted: str, key: str = "Tab", most: int = 60) -> None:
    """Press Tab until that control has the focus: what a keyboard alone can reach."""
    for _ in range(most):
        page.keyboard.press(key)
        if page.locator(wanted).and_(page.locator(":focus")).count():  # works where a page's own scripts are off, too
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


@pytest.mark.parametrize(
    ("scripts", "theme"),
    [(True, "light"), pytest.param(True, "dark", marks=pytest.mark.slow), (False, "light")],
    ids=["htmx", "dark", "without JavaScript"],
)
def test_a_keyboard_is_enough(
    browser: Any, address: str, outbox: Outbox, database: Database, scripts: bool, theme: str
) -> None:
    context = browser.new_context(java_script_enabled=scripts, color_scheme=theme)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{address}/discussion/{PAPER}")
    to(page, ".vote button")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/login\?next=/discussion/"))
    page.locator("#email").wait_for()
    if not page.locator("#email:focus").count():  # it has the focus from the start
        to(page, "#email")
    page.keyboard.type("ana@example.org")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Look into your mail").wait_for()
    page.goto(address + outbox.posted(1))
    if not page.locator("main button:focus").count():
        to(page, "main button")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Settings").wait_for()
    to(page, "main a:text('Go on')")
    page.keyboard.press("Enter")
    page.locator("#community").wait_for()

    to(page, ".vote button")
    page.keyboard.press("Space")
    page.locator(".vote button[aria-pressed=true]").wait_for()
    ana = accounts.find(database, "ana@example.org")
    assert votes.standing(database, [PAPER], ana)[PAPER].mine
    if scripts:  # the button that was pressed keeps the focus, though it is a new one
        assert page.evaluate("document.activeElement.closest('.vote') !== null")

    to(page, "#text-new")
    page.keyboard.type("Written by keyboard, in $O(n)$.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Written by keyboard").wait_for()
    assert page.locator(".remark math").count() == 1
    to(page, ".remark summary:text('Reply')")
    page.keyboard.press("Enter")
    to(page, "#text-1")
    page.keyboard.type("And answered.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".remarks .remarks .remark", has_text="And answered.").wait_for()
    assert discussion.discussion(database, PAPER).count == 2
    context.close()


def test_what_goes_wrong_with_a_part_is_said(browser: Any, address: str, app: FastAPI, database: Database) -> None:
    from foveal.papers import moderation

    page, person = signed_in(browser, address, app, "light")
    page.goto(f"{address}/discussion/{PAPER}")
    moderation.close(database, PAPER, by=person)
    page.locator("#text-new").fill("Too late")
    page.get_by_role("button", name="Comment").click()
    page.get_by_role("alert").wait_for()
    assert "This discussion is closed" in page.get_by_role("alert").inner_text()
    page.context.close()


def signed_in(browser: Any, address: str, app: FastAPI, theme: str) -> tuple[Any, accounts.Person]:
    from foveal.papers.sessions import request_link, use_link

    database = app.state.site.database
    if not any(one.login == "ana" for one in accounts.people(database)):
        accounts.add(database, "ana@example.org", login="ana", role="admin")
    link = request_link(database, "ana@example.org", browser="b")
    signed = use_link(database, link.token, browser="b", agent="A browser")
    context = browser.new_context(color_scheme=theme, viewport={"width": 320, "height": 640})
    context.add_cookies([{"name": "foveal_session", "value": signed.token, "url": address}])
    page = context.new_page()
    page.set_default_timeout(20_000)
    return page, signed.person


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_320_pixels(
    browser: Any, address: str, app: FastAPI, database: Database, theme: str
) -> None:
    page, person = signed_in(browser, address, app, theme)
    one = discussion.remark(database, person, PAPER, "With $O(n)$ and `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    discussion.remark(database, person, PAPER, "An answer with a_very_long_word_" + "x" * 200, parent=one)
    complaints.report(database, member(database, "bo"), remark=one, reason="too_long_" + "x" * 200)
    tokens.make(database, person, "import_" + "x" * 50)
    own = ("/settings", "/settings/tokens", "/following", "/collections")
    own += ("/admin", "/admin/reports", "/admin/claims", "/desk")
    paths = (f"/discussion/{PAPER}", *own, f"/claim/{PAPER}", f"/papers/{PAPER}")
    found = {path: wrong(page, address + path) for path in (*paths, "/people/ana", "/remarks/1/edit")}
    page.goto(f"{address}/discussion/{PAPER}")
    cell = page.locator(".remark-text td").first
    assert cell.evaluate("(one) => getComputedStyle(one).overflowWrap") == "normal"  # words stay whole; it scrolls
    page.context.clear_cookies()
    found["/login"] = wrong(page, f"{address}/login")
    assert {path: told for path, told in found.items() if told} == {}
    page.context.close()


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_serious_on_pages_of_mail(
    browser: Any, address: str, app: FastAPI, database: Database, theme: str
) -> None:
    app.state.site.mail = MailSettings(
        host="127.0.0.1", security="none", sender="papers@example.org", url="https://papers.example.org", postal="Here"
    )
    page, _ = signed_in(browser, address, app, theme)
    wanted, sent = Preferences(query="sparse attention"), []
    for who in ("ana", "bo"):
        subscribe(
            database, app.state.secret, f"{who}@example.org", wanted, deliver=lambda *mail: sent.append(mail[2]),
            links=Links("https://papers.example.org"),
        )  # fmt: skip
    tokens = [text.split("/mail/confirm/")[1].split()[0] for text in sent]
    one = confirm(database, tokens[0])
    own = unsubscribe_token(app.state.secret, one.seed)
    link = sessions.request_link(database, "ana@example.org", browser="another").token
    private = ("/settings", f"/settings/mail/{one.id}")
    found = {path: wrong(page, address + path) for path in private}
    page.context.clear_cookies()
    anyones = ("/subscribe", f"/mail/confirm/{tokens[1]}", f"/mail/{own}", f"/u/{own}", f"/login/link/{link}")
    found |= {path: wrong(page, address + path) for path in (*anyones, "/mail/confirm/no-such", "/u/no-such")}
    assert {path: told for path, told in found.items() if told} == {}
    page.context.close()


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_subscribing_confirming_and_leaving_by_keyboard_alone(
    browser: Any, address: str, app: FastAPI, outbox: Outbox, database: Database, theme: str
) -> None:
    app.state.site.mail = MailSettings(
        host="127.0.0.1", security="none", sender="papers@example.org", url=address, postal="Here"
    )
    page = browser.new_context(color_scheme=theme, timezone_id="Europe/Lisbon").new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{address}/papers/trending")
    to(page, ".mail-band a")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Papers by mail").wait_for()
    to(page, "#email")
    page.keyboard.type("ana@example.org")
    to(page, "#cadence")
    page.keyboard.type("weekly")
    to(page, "#query")
    page.keyboard.type("sparse attention")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Look into your mail").wait_for()
    page.goto(address + outbox.posted(1))
    assert [one.state for one in subscriptions(database)] == ["unconfirmed"]  # opening it confirms nobody
    to(page, "main button")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="You are subscribed").wait_for()
    (one,) = subscriptions(database)
    wanted = one.preferences
    assert (one.state, wanted.cadence, wanted.query) == ("confirmed", "weekly", "sparse attention")
    assert wanted.zone == "Europe/Lisbon"  # the browser's own, since eight there is not eight in UTC
    to(page, "main a[href^='/mail/']")
    page.keyboard.press("Enter")
    page.locator("main a[href^='/u/']").wait_for()
    to(page, "main a[href^='/u/']")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Unsubscribe").wait_for()
    to(page, "main button")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="You are unsubscribed").wait_for()
    assert [one.state for one in subscriptions(database)] == ["unsubscribed"]
    page.context.close()


def test_answers_by_mail_are_a_switch_for_the_keyboard(
    browser: Any, address: str, app: FastAPI, database: Database
) -> None:
    app.state.site.mail = MailSettings(
        host="127.0.0.1", security="none", sender="papers@example.org", url="https://papers.example.org", postal="Here"
    )
    page, person = signed_in(browser, address, app, "dark")
    for wanted in (True, False):
        page.goto(f"{address}/settings")
        to(page, "[action='/settings/replies'] button")
        page.keyboard.press("Enter")
        page.locator(f"[action='/settings/replies'] button[aria-pressed={str(wanted).lower()}]").wait_for()
        assert wants_replies(database, person) is wanted
    page.context.close()


def wrong(page: Any, address: str) -> list[str]:
    """What axe finds serious on a page, and whether it is wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    serious = [
        one
        for one in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    told = [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in serious]
    return told + ["too wide"] * (page.evaluate("document.documentElement.scrollWidth - innerWidth") > 0)
