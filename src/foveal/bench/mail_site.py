"""bench mail, the site: what scanners, mail providers, thieves and vandals get from a site in a process of its own.

All of it goes over HTTP, as from outside; what was done is then read in the database.

Scanner    GET and HEAD of every link of every mail: no table changes, no session is given
Button     the same links, confirmed and used by people; links that were used, are old, stolen or made up do nothing
Provider   the POST of RFC 8058, as a form and as multipart, twice: no cookie, no redirect, 200
Thief      every form that writes, from other origins, without a token or with another browser's
Vandal     a session that votes 10,000 times; scripts in remarks and abstracts; ids that are paths; bodies too large;
           `next` that leads elsewhere
"""

from __future__ import annotations

import email
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from email.policy import default
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from lxml import html
from sqlalchemy import func, inspect, select, text, update

from foveal import faults
from foveal.bench.mail_data import make_home, papers
from foveal.bench.mail_server import MailServer
from foveal.bench.papers_serve import serving
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.errors import FovealError
from foveal.evaluation.tables import Row
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import subscriptions
from foveal.papers.people_schema import LoginLinkRow, SessionRow, SubscriptionRow
from foveal.papers.schema import VoteRow
from foveal.papers.upserts import upsert

VOTES, QUICK_VOTES = 10_000, 300
PAPER, HOSTILE_PAPER = "2610.00000", "2610.66666"
READERS = 5
MAIL_WITHIN_S = 30
SESSION = "foveal_session"
FORM = "application/x-www-form-urlencoded"
_SCRIPT = re.compile(r"\s*(javascript|data|vbscript):|//", re.IGNORECASE)

HOSTILE = (
    "<script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "[a](javascript:alert(1)) <javascript:alert(1)>",
    "![a](data:image/svg+xml,<svg onload=alert(1)>)",
    "<a href=x hx-post=/settings/delete hx-trigger=load>a</a>",
    "$\\text{<img src=x onerror=alert(1)>}$ $\\href{javascript:alert(1)}{x}$",
    "</textarea></title><iframe src=//evil.example>",
)
ELSEWHERE = ("//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/\t/evil.example")
PATHS = ("../../../etc/passwd", "..%2f..%2fsecret.key", "%2e%2e/%2e%2e/foveal.db", f"{PAPER}/../../secret.key")
FORMS: dict[str, dict[str, str]] = {
    f"/vote/{PAPER}": {},
    f"/unvote/{PAPER}": {},
    f"/discussion/{PAPER}": {"text": "By a stranger"},
    "/follow": {"kind": "category", "value": "cs.CL"},
    "/mute": {"words": "attention"},
    f"/read/{PAPER}": {},
    "/settings/name": {"login": "eve"},
    "/settings/delete": {"sure": "ana"},
    "/settings/sessions": {"which": "others"},
    "/settings/replies": {"on": "yes"},
    "/collections": {"title": "Stolen"},
    "/login": {"email": "eve@example.org"},
    "/subscribe": {"email": "eve@example.org"},
    "/logout": {},
}


@dataclass(frozen=True)
class Site:
    """A running site, its database and the server that its mail goes to."""

    address: str
    database: Database
    secret: bytes
    server: MailServer


def site_rows(settings: BenchSettings) -> Iterator[Row]:
    """The rows of a site under all that it must bear."""
    with _running(settings.seed) as site, _browser(site) as ana:
        links = _asked(site, ana)
        yield from scanner_rows(site, links)
        yield from link_rows(site, ana, links)
        yield from provider_rows(site)
        yield from thief_rows(site, ana)
        yield from vandal_rows(site, ana, QUICK_VOTES if settings.quick else VOTES)


def scanner_rows(site: Site, links: list[str]) -> Iterator[Row]:
    """Programs that open every link, as filters of mail do."""
    own = [unsubscribe_token(site.secret, one.seed) for one in subscriptions(site.database)]
    paths = [*links, *(f"/u/{token}" for token in own), *(f"/mail/{token}" for token in own)]
    before, given = _state(site.database), 0
    with _browser(site) as scanner:
        for path in paths:
            for answer in (scanner.get(path), scanner.head(path), scanner.get(path)):
                given += SESSION in answer.cookies
    changed = [name for name, held in _state(site.database).items() if held != before[name]]
    note = f"{len(paths)} links, over HTTP; {', '.join(changed) or 'none changed'}"
    yield Row.of("a scanner of mail", "tables changed by opening every link", len(changed), at_most=0, note=note)
    yield Row.of("a scanner of mail", "sessions it was given", given, at_most=0)


def link_rows(site: Site, ana: httpx.Client, links: list[str]) -> Iterator[Row]:
    """The button behind each link, then all that must not work with one."""
    sign_in = next(path for path in links if path.startswith("/login/link/"))
    confirms = [path for path in links if path.startswith("/mail/confirm/")]
    with _browser(site) as thief:
        stolen = _post(thief, "/login/link", link=sign_in.rpartition("/")[2])
        guessed = _post(thief, "/login/link", link=sign_in.rpartition("/")[2], email="eve@example.org")
    good = [_post(ana, path).status_code == 200 for path in confirms]
    good.append(SESSION in _post(ana, "/login/link", link=sign_in.rpartition("/")[2]).cookies)
    yield Row.of("the button", "share of links that then work", sum(good) / len(good), at_least=1.0,
                 note="confirmed by a form, or signed in")  # fmt: skip
    count = _count(site.database, SessionRow)
    with _browser(site) as other:
        replayed = _post(other, "/login/link", link=sign_in.rpartition("/")[2])
        late = _expired(site, other)
        made_up = [_post(other, "/login/link", link="x" * 43), _post(other, f"/mail/confirm/{'x' * 43}")]
    refused = [stolen, guessed, replayed, *late, *made_up]
    worked = sum(answer.status_code < 400 for answer in refused) + _count(site.database, SessionRow) - count
    yield Row.of("links used, expired, stolen, made up", "that worked", worked, at_most=0, note=f"{len(refused)} tried")


def provider_rows(site: Site) -> Iterator[Row]:
    """One click by a provider of mail, which knows no cookies."""
    answers = []
    for one in subscriptions(site.database, state="confirmed"):
        address = f"{site.address}/u/{unsubscribe_token(site.secret, one.seed)}"
        said = ("List-Unsubscribe", "One-Click")
        answers += [httpx.post(address, data=dict([said])), httpx.post(address, files={said[0]: (None, said[1])})]
    good = sum(answer.status_code == 200 for answer in answers)
    left = len(subscriptions(site.database, state="confirmed"))
    yield Row.of("a provider's one click", "share answered by 200, twice", good / len(answers), at_least=1.0,
                 note=f"{len(answers)} requests over HTTP, without a cookie, as a form and as multipart")  # fmt: skip
    yield Row.of("a provider's one click", "subscriptions left", left, at_most=0)


def thief_rows(site: Site, ana: httpx.Client) -> Iterator[Row]:
    """Forms that somebody else's page sends from Ana's browser."""
    with _browser(site) as eve:
        others = _token(eve)
    forged = forgeries(_token(ana), others)
    before = _state(site.database)
    answers = [
        ana.post(path, data={**fields, "token": token}, headers=headers)
        for path, fields in FORMS.items()
        for headers, token in forged
    ]
    refused = sum(answer.status_code == 403 for answer in answers)
    changed = [name for name, held in _state(site.database).items() if held != before[name]]
    note = f"{len(FORMS)} forms, {len(forged)} forgeries each; {', '.join(changed) or 'no table changed'}"
    yield Row.of("forged requests", "share refused", refused / len(answers), at_least=1.0, note=note)
    yield Row.of("forged requests", "tables changed", len(changed), at_most=0)


def forgeries(ours: str, others: str) -> tuple[tuple[dict[str, str], str], ...]:
    """Headers and token of requests that are none of ours."""
    return (
        ({}, ""),
        ({}, others),
        ({"origin": "https://evil.example"}, ours),
        ({"origin": "null"}, ours),
        ({"sec-fetch-site": "cross-site"}, ours),
        ({"sec-fetch-site": "same-site"}, ours),
    )


def vandal_rows(site: Site, ana: httpx.Client, votes: int) -> Iterator[Row]:
    """What somebody who is signed in tries."""
    yield from _vote_rows(site, ana, votes)
    remarks = [_post(ana, f"/discussion/{PAPER}", text=words).status_code for words in HOSTILE]
    hostile = replace(papers(faults.now())[0], id=HOSTILE_PAPER, title=HOSTILE[0], abstract=" ".join(HOSTILE))
    upsert(site.database, [hostile])
    pages = [ana.get(f"/discussion/{PAPER}"), ana.get(f"/papers/{PAPER}"), ana.get(f"/papers/{HOSTILE_PAPER}")]
    found = [one for page in pages for one in live(page.text)]
    kept = sum(status == 303 for status in remarks)
    note = f"{kept} remarks and an abstract, on {len(pages)} pages{': ' + found[0] if found else ''}"
    whole = all(page.status_code == 200 for page in pages) and kept == len(HOSTILE)
    yield Row.of("hostile words", "that run, load or lead to a script", len(found) if whole else -1, at_least=0,
                 at_most=0, note=note)  # fmt: skip
    led = [_leads(site, ana, where) for where in ELSEWHERE]
    yield Row.of("redirects", "that lead elsewhere", sum(led), at_most=0, note=f"{len(led)} kinds of next")
    kinds = ("/papers/{}", "/papers/{}.md", "/api/papers/{}")
    asked = [site.address + kind.format(path) for path in PATHS for kind in kinds]
    answers = [ana.get(address) for address in asked]
    bad = sum(answer.status_code not in (400, 404) or b"root:" in answer.content for answer in answers)
    yield Row.of("ids that are paths", "that were answered", bad, at_most=0, note=f"{len(answers)} tried")
    large = [ana.post(path, content=b"text=" + b"a" * 300_000, headers={"content-type": FORM}) for path in FORMS]
    refused = sum(answer.status_code == 413 for answer in large)
    yield Row.of("bodies of 300 kB", "share refused", refused / len(large), at_least=1.0, note=f"{len(large)} forms")


def live(page: str) -> list[str]:
    """What would run, load from elsewhere, or send by itself in a page, as a browser reads it."""
    found = []
    for element in html.fromstring(page).iter("*"):
        whole = html.tostring(element, encoding="unicode")
        acts = any(name.startswith("on") or name in ("style", "srcdoc") for name in element.attrib)
        sends = element.get("hx-post") == "/settings/delete"
        leads = any(_SCRIPT.match(element.get(name, "")) for name in ("href", "src", "action"))
        script = element.tag == "script" and not element.get("src", "").startswith("/static/")
        foreign = element.tag in ("iframe", "object", "embed", "base") or (element.tag == "svg" and "alert" in whole)
        if acts or sends or leads or script or foreign:
            found.append(whole[:120])
    return found


def _vote_rows(site: Site, ana: httpx.Client, votes: int) -> Iterator[Row]:
    headers = {"x-foveal-token": _token(ana), "origin": site.address}
    start = time.monotonic()
    answers = [ana.post(f"/{'un' if n % 2 else ''}vote/{PAPER}", headers=headers).status_code for n in range(votes)]
    seconds = time.monotonic() - start
    taken, refused = sum(status < 400 for status in answers), answers.count(429)
    kept = _count(site.database, VoteRow)
    note = f"{votes:,} in {seconds:.0f} s from one session: {taken} taken, {refused:,} answered by 429"
    yield Row.of("votes", "kept of one person for one paper", kept, at_most=1, note=note)
    yield Row.of("votes", "taken above 60 and one a second", max(0.0, taken - 61 - seconds), at_most=0)
    yield Row.of("votes", "answered by neither", votes - taken - refused, at_most=0)


def _expired(site: Site, other: httpx.Client) -> list[httpx.Response]:
    """Links whose time has passed, tried by the button of the browser that asked for them."""
    seen = len(site.server.taken)
    _post(other, "/login", email="late@example.org")
    _post(other, "/subscribe", email="late@example.org")
    links = _links(site, seen, 2)
    past = faults.now() - timedelta(seconds=1)
    with site.database.writing() as session:
        session.execute(update(LoginLinkRow).where(LoginLinkRow.used_at.is_(None)).values(expires_at=past))
        late = SubscriptionRow.address == "late@example.org"
        session.execute(update(SubscriptionRow).where(late).values(confirm_expires_at=past))
    return [
        _post(other, "/login/link", link=path.rpartition("/")[2]) if path.startswith("/login/") else _post(other, path)
        for path in links
    ]


def _leads(site: Site, ana: httpx.Client, where: str) -> bool:
    """Whether `next` takes somebody who is signed in to another site."""
    answer = ana.get("/login", params={"next": where})
    to = urlsplit(str(httpx.URL(site.address).join(answer.headers.get("location", ""))))
    return answer.status_code != 303 or to.netloc != urlsplit(site.address).netloc


def _asked(site: Site, ana: httpx.Client) -> list[str]:
    """Somebody who signs in and subscribes, and others who subscribe; the links of all the mails."""
    seen = len(site.server.taken)
    _post(ana, "/login", email="ana@example.org")
    for cadence in ("daily", "weekly", "monthly"):
        _post(ana, "/subscribe", email="ana@example.org", cadence=cadence)
    return _links(site, seen, 4)


def _links(site: Site, seen: int, count: int) -> list[str]:
    """Paths of the links of the next mails, once so many have come. FovealError: they do not come."""
    until = time.monotonic() + MAIL_WITHIN_S
    while len(site.server.taken) < seen + count:
        if time.monotonic() > until:
            raise FovealError(f"Of {count} mails of the site {len(site.server.taken) - seen} came.")
        time.sleep(0.02)
    found = []
    for one in site.server.taken[seen:]:
        words = str(email.message_from_bytes(one.raw, policy=default).get_content())
        found += [urlsplit(address).path for address in re.findall(r"https?://\S+", words)]
    return found


def _post(browser: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """A form of ours, as its page sends it."""
    headers = {"origin": str(browser.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    return browser.post(path, data={**fields, "token": _token(browser)}, headers=headers)


def _token(browser: httpx.Client) -> str:
    """What forms of this browser carry."""
    found = re.search(r'data-token="([^"]+)"', browser.get("/subscribe").text)
    if found is None:
        raise FovealError("A page of the site bears no token for its forms. This is a mistake of the bench: report it.")
    return found[1]


@contextmanager
def _browser(site: Site) -> Iterator[httpx.Client]:
    """Somebody with cookies of their own, whom redirects do not take along."""
    with httpx.Client(base_url=site.address, follow_redirects=False, timeout=60) as client:
        yield client


def _count(database: Database, table: Any) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _state(database: Database) -> dict[str, str]:
    """Table -> a hash of what it holds; leases come and go by the clock, and a session says when it was last seen."""
    held = {}
    with database.reading() as session:
        for name in sorted({*inspect(database.engine).get_table_names()} - {"lease", "session_key"}):
            rows = [tuple(row) for row in session.execute(text(f'SELECT * FROM "{name}"'))]
            held[name] = sha256(repr(rows).encode()).hexdigest()
    return held


@contextmanager
def _running(seed: int) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="foveal-bench-") as folder, MailServer() as server:
        home = Path(folder) / "home"
        database, secret = make_home(home, server.port, subscribers=READERS, seed=seed)
        with closing(database), serving(home, ready_s=0) as address:
            yield Site(address, database, secret, server)
