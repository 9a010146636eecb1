"""The parts as one site: papers with votes, discussion, follows, read marks, and the mail; by HTTP and by keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from lxml import html
from members import OTHER, PAPER, today, with_papers
from paper_site import select as within
from served import served
from sqlalchemy import delete
from visitors import Outbox, Visitor

from foveal.database import Database
from foveal.errors import InputError
from foveal.papers import curating, discussion, follows, votes
from foveal.papers.mail import subscriptions
from foveal.papers.mail.postman import Postman
from foveal.papers.schema import ListingRow
from foveal.papers.store import PaperStore
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.site import SiteSettings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def day() -> str:
    """The page of today: asked for as late as can be, for a run may go past midnight."""
    return f"/papers/date/{today()}"


MAIL = """
[mail]
host = "localhost"
security = "none"
sender = "Daily Papers <papers@example.org>"
url = "http://localhost"
postal = "A Reading Group, 1 Main Street"
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("one-site")
    with_papers(Database.open(Settings(home=home, cache=home))).close()
    return home / "foveal.db"


def made(filled: Path, home: Path, mail: str = "") -> FastAPI:
    shutil.copy(filled, home / "foveal.db")
    (home / "foveal.toml").write_text(mail, "utf-8")
    app = create_app(Settings(home=home, cache=home), SiteSettings(title="Foveal"))
    app.state.site.deliver = Outbox()
    return app


@pytest.fixture
def app(filled: Path, tmp_path: Path) -> Iterator[FastAPI]:
    app = made(filled, tmp_path, MAIL)
    yield app
    app.state.site.close()


@pytest.fixture
def visitor(app: FastAPI) -> Visitor:
    return Visitor(app)


def select(page: str, css: str) -> list[Any]:
    found: list[Any] = within(html.fromstring(page), css)
    return found


def state(app: FastAPI) -> dict[str, int]:
    return subscriptions.states(app.state.site.database)


def test_a_vote_on_a_list_is_there_afterwards_and_in_every_list(visitor: Visitor) -> None:
    assert select(visitor.get(day()).text, "a.votes")[0].get("href") == f"/login?next={day()}"
    ana = visitor.sign_in("ana")
    form = next(one for one in select(visitor.get(day()).text, "form.vote") if PAPER in one.get("action"))
    before = votes.standing(visitor.site.database, [PAPER], ana)[PAPER].votes
    assert visitor.submit(form.get("action"), day()).headers["location"] == day()
    assert votes.standing(visitor.site.database, [PAPER], ana)[PAPER] == votes.Standing(before + 1, True)
    for path in (day(), f"/papers/{PAPER}", "/papers/trending"):
        page = visitor.get(path).text
        pressed = select(page, f'form.vote[action="/unvote/{PAPER}"] button')
        assert [one.get("aria-pressed") for one in pressed] == ["true"], path
        others = select(page, f'form.vote[action="/vote/{OTHER}"]')
        assert others or path.startswith(f"/papers/{PAPER}")


def test_a_page_is_one_persons_and_an_anonymous_one_is_kept(app: FastAPI) -> None:
    nobody, ana, bo = Visitor(app), Visitor(app), Visitor(app)
    ana.sign_in("ana")
    bo.sign_in("bo")
    for path in (day(), f"/papers/{PAPER}"):
        nobody.get(path)
        answers = [one.get(path) for one in (nobody, ana, bo)]
        assert len({one.headers["etag"] for one in answers}) == 3
        assert all(one.headers["cache-control"] == "private, no-cache" for one in answers[1:])
        assert all("Cookie" in one.headers["vary"] for one in answers)
        tag = {"if-none-match": answers[0].headers["etag"]}
        assert nobody.get(path, headers=tag).status_code == 304
        assert ana.get(path, headers=tag).status_code == 200
    tag = {"if-none-match": ana.get(day()).headers["etag"]}
    assert ana.get(day(), headers=tag).status_code == 304
    ana.submit(f"/vote/{PAPER}", day())
    assert ana.get(day(), headers=tag).status_code == 200


def test_a_papers_page_holds_its_discussion(visitor: Visitor) -> None:
    path = f"/papers/{PAPER}"
    page = visitor.get(path).text
    assert select(page, "#community .notice a")[0].get("href") == f"/login?next={path}"
    visitor.sign_in("ana")
    assert select(visitor.get(path).text, "#community textarea")
    answer = visitor.submit(f"/discussion/{PAPER}", path, text="Is it $O(n)$?")
    assert answer.headers["location"] == f"{path}#c-1"
    remark = select(visitor.get(path).text, "#community .remark")[0]
    assert within(remark, "math")
    assert discussion.discussion(visitor.site.database, PAPER).count == 1


def test_follows_read_marks_muted_words_and_claims_are_on_the_pages(app: FastAPI, visitor: Visitor) -> None:
    paper = PaperStore(visitor.site.database).get(PAPER)
    author, path = f"/authors/{paper.authors[0].key}", f"/papers/{PAPER}"
    assert "claim authorship" not in visitor.get(path).text
    assert select(visitor.get(author).text, ".hero-name a.button")[0].get("href") == f"/login?next={author}"
    ana = visitor.sign_in("ana")
    for page in (author, *(f"/categories/{one}" for one in paper.categories[:1])):
        form = select(visitor.get(page).text, ".hero-name form")[0]
        fields = {one.get("name"): one.get("value") for one in within(form, "input")}
        visitor.submit("/follow", page, **{name: value for name, value in fields.items() if name != "token"})
        assert "Following" in visitor.get(page).text
    assert follows.follows(visitor.site.database, ana)[0].title == paper.authors[0].name
    assert select(visitor.get(path).text, f'.authors a[href="/claim/{PAPER}"]')

    assert "Read ✓" not in visitor.get(day()).text
    visitor.submit(f"/read/{PAPER}", path, on="yes")
    assert "Read ✓" in visitor.get(day()).text
    assert "Read ✓" in visitor.get(path).text

    word = max(re.findall(r"\w+", paper.title), key=len)
    visitor.submit("/mute", "/settings", words=word)
    page = visitor.get(day()).text
    assert f'href="{path}"' not in page
    assert "words that you muted" in page
    assert f'href="{path}"' in Visitor(app).get(day()).text


def test_who_adds_a_paper_is_named_by_login(visitor: Visitor) -> None:
    visitor.sign_in("ana")
    with visitor.site.database.writing() as session:
        session.execute(delete(ListingRow).where(ListingRow.paper_id == PAPER))
    assert visitor.submit("/papers/submit", "/papers/submit", id=PAPER).status_code == 303
    assert PaperStore(visitor.site.database).get(PAPER).listings[0].submitted_by == "@ana"
    for path in (day(), f"/papers/{PAPER}"):
        page = visitor.get(path).text
        assert select(page, 'main a[href="/people/ana"]')[0].text == "ana"
        assert "@ana" not in page
    assert visitor.get(f"/api/papers/{PAPER}").json()["submittedOnDailyBy"]["user"] == "ana"


def test_what_a_curator_plans_comes_with_its_day(visitor: Visitor) -> None:
    visitor.sign_in("cy", "curator")
    day = today() + timedelta(days=2)
    visitor.submit("/desk", f"/desk?day={day}", day=day, act="pick", paper=OTHER)
    assert OTHER in visitor.get(f"/desk?day={day}").text
    assert select(visitor.get(f"/papers/date/{day}").text, "article.card") == []
    assert [one.shown for one in curating.picks(visitor.site.database, day)] == [False]


def test_a_digest_is_asked_for_confirmed_changed_and_ended(app: FastAPI, visitor: Visitor) -> None:
    assert select(visitor.get(day()).text, ".mail-band a")[0].get("href") == "/subscribe"
    outbox = app.state.site.deliver
    asked = visitor.submit("/subscribe", "/subscribe", email="ana@example.org", cadence="weekly", zone="Europe/Paris")
    assert (asked.status_code, state(app)) == (200, {"unconfirmed": 1})
    link = outbox.link
    for _ in range(3):  # whoever scans mail opens it
        assert Visitor(app).get(link).status_code == 200
    assert state(app) == {"unconfirmed": 1}
    assert Visitor(app).post(link).status_code == 403  # no page of ours
    done = visitor.submit(link, link)
    assert (done.status_code, state(app)) == (200, {"confirmed": 1})
    kept = subscriptions.subscriptions(app.state.site.database)[0]
    assert (kept.preferences.cadence, kept.preferences.zone) == ("weekly", "Europe/Paris")
    assert kept.consent_at is not None
    assert "weekly" in kept.consent_text
    for address in ("ana@example.org", "nobody@example.org"):  # the same answer, whoever it is
        assert visitor.submit("/subscribe", "/subscribe", email=address, cadence="weekly").text == asked.text

    wishes = select(done.text, "main a")[0].get("href")
    assert visitor.get(wishes).headers["referrer-policy"] == "no-referrer"
    assert visitor.submit(wishes, wishes, cadence="daily", query="long context", hour=6).status_code == 200
    assert subscriptions.subscriptions(app.state.site.database)[0].preferences.query == "long context"
    leave = wishes.replace("/mail/", "/u/")
    assert visitor.get(leave).status_code == 200
    assert state(app)["confirmed"] == 1
    for _ in range(2):  # as a mail provider: no cookie, no token, no origin
        answer = Visitor(app).post(leave, data={"List-Unsubscribe": "One-Click"})
        assert (answer.status_code, state(app).get("confirmed", 0)) == (200, 0)
    assert Visitor(app).post(leave, files={"List-Unsubscribe": (None, "One-Click")}).status_code == 200
    assert Visitor(app).post("/u/nobodys").status_code == 200
    assert visitor.get("/u/nobodys").status_code == 404
    assert visitor.get("/mail/confirm/nobodys").status_code == 410
    assert visitor.submit(link, link).status_code == 400  # its link is of no use after leaving


@pytest.mark.parametrize(
    "fields", [{"email": "nonsense"}, {"zone": "Mars/Olympus"}, {"cadence": "hourly"}, {"hour": 25}]
)
def test_what_cannot_be_subscribed_says_why_and_keeps_nothing(
    app: FastAPI, visitor: Visitor, fields: dict[str, Any]
) -> None:
    answer = visitor.submit("/subscribe", "/subscribe", **{"email": "ana@example.org", **fields})
    assert (answer.status_code, state(app)) == (400, {})


def test_a_site_without_mail_says_so_and_keeps_nothing(filled: Path, tmp_path: Path) -> None:
    app = made(filled, tmp_path)
    visitor = Visitor(app)
    form = visitor.get("/subscribe").text
    assert "This site sends no mail yet" in form
    assert "Nothing was kept" not in form  # nothing was sent
    assert select(visitor.get(day()).text, ".mail-band") == []  # nobody is invited to what cannot be had
    answer = visitor.submit("/subscribe", "/subscribe", email="ana@example.org")
    assert answer.status_code == 503
    assert "This site sends no mail yet" in answer.text
    assert "Nothing was kept" in answer.text
    assert (state(app), list(app.state.site.deliver)) == ({}, [])
    app.state.site.close()


def test_only_leaving_needs_no_token_of_a_form(app: FastAPI, visitor: Visitor) -> None:
    token = "0" * 64
    for path in ("/subscribe", f"/mail/confirm/{token}", f"/mail/{token}"):
        forged = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
        for headers, known in (({}, ""), (forged, visitor.token())):
            fields = {"email": "ana@example.org", "token": known}
            assert visitor.post(path, data=fields, headers=headers).status_code == 403, path
    assert (state(app), list(app.state.site.deliver)) == ({}, [])


def test_a_home_says_how_mail_leaves(tmp_path: Path) -> None:
    (tmp_path / "foveal.toml").write_text(MAIL, "utf-8")
    site = create_app(Settings(home=tmp_path, cache=tmp_path)).state.site
    assert isinstance(site.deliver, Postman)
    site.close()
    (tmp_path / "foveal.toml").write_text(MAIL.replace("postal", "user"), "utf-8")
    with pytest.raises(InputError, match=r"\[mail\] of foveal.toml says: postal"):
        create_app(Settings(home=tmp_path, cache=tmp_path))


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with served(app) as here:
        yield here


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def serious(page: Any) -> list[str]:
    """What axe finds in both themes that keeps people out of the page, and whether it is wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth") > 0
    told = [f"{page.url}: too wide"] * wide
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        rules = {"runOnly": ["color-contrast"]} if theme == "dark" else {}  # the rest does not depend on the theme
        found = [
            one
            for one in Axe().run(page, options=rules).response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        told += [f"{page.url}, {theme}: {one['id']}: {one['nodes'][0]['html'][:140]}" for one in found]
    return told


def press(page: Any, css: str, key: str = "Enter", most: int = 90) -> None:
    """Press Tab until that control has the focus, then the key: what a keyboard alone can reach."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement?.matches(wanted)", css):
            page.keyboard.press(key)
            return
    raise AssertionError(f"Tab does not lead to {css} on {page.url}")


@pytest.mark.slow
def test_vote_sign_in_comment_and_subscribe_by_keyboard_alone(browser: Any, address: str, app: FastAPI) -> None:
    outbox, database = app.state.site.deliver, app.state.site.database
    context = browser.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page, wrong = context.new_page(), []
    page.set_default_timeout(20_000)
    page.goto(f"{address}/papers/{PAPER}")
    wrong += serious(page)
    press(page, "a.votes")
    page.wait_for_url("**/login?next=**")
    press(page, "#email", "End")
    page.keyboard.type("ana@example.org")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Look into your mail").wait_for()
    page.goto(address + outbox.posted(1))
    press(page, "main button")
    page.get_by_role("heading", name="Settings").wait_for()
    press(page, f'main a[href="/papers/{PAPER}"]')
    page.wait_for_url(f"{address}/papers/{PAPER}")
    press(page, ".vote button", "Space")
    page.locator(".vote button[aria-pressed=true]").wait_for()
    press(page, "#text-new", "End")
    page.keyboard.type("By keyboard, in $O(n)$.")
    press(page, "#community .editor button")
    page.locator(".remark math").wait_for()
    wrong += serious(page)
    for path in (day(), "/papers/trending", "/topics", "/categories/cs.CL"):
        page.goto(address + path)
        wrong += serious(page)
    page.goto(address + day())
    press(page, ".mail-band a")
    page.wait_for_url("**/subscribe")
    wrong += serious(page)
    press(page, "#email", "End")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Look into your mail").wait_for()
    wrong += serious(page)
    page.goto(address + outbox.posted(2))
    wrong += serious(page)
    press(page, "main button")
    page.get_by_role("heading", name="You are subscribed").wait_for()
    assert state(app) == {"confirmed": 1}
    press(page, 'main a[href^="/mail/"]')
    page.get_by_role("heading", name="Your digest").wait_for()
    wrong += serious(page)
    press(page, 'main a[href^="/u/"]')
    page.get_by_role("heading", name="Unsubscribe").wait_for()
    wrong += serious(page)
    press(page, "main button")
    page.get_by_role("heading", name="You are unsubscribed").wait_for()
    assert state(app) == {"unsubscribed": 1}
    assert wrong == []
    assert discussion.discussion(database, PAPER).count == 1
    context.close()
