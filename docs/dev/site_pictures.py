"""Takes docs/images/papers-*, people-*, mail-subscribe* and web-library: the site over invented papers and these docs.

python docs/dev/site_pictures.py [NAME …] [--browser http://127.0.0.1:9222]

Without names all are taken. `--browser` is a Chromium that runs already, with --remote-debugging-port; else one is
started. Look at each before it is kept.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import sync_playwright

from foveal.database import Database
from foveal.library import Library
from foveal.papers import accounts, collecting, discussion, follows, sample, sessions, votes
from foveal.papers.accounts import Person
from foveal.papers.people_schema import SubscriptionRow
from foveal.papers.store import PaperStore
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.site import SiteSettings

DOCS = Path(__file__).parents[1]
IMAGES = DOCS / "images"
LIBRARY = "web-library"
WIDTHS = {"": 1440, "-768": 768, "-390": 390}
QUALITY = 82
MAIL = """[mail]
host = "localhost"
security = "none"
sender = "Daily Papers <papers@example.org>"
url = "http://localhost"
postal = "Example Reading Group, 1 Main Street, Springfield"
"""
QUESTION = (
    "How does this behave when the candidates are *longer* than the window? The bound of $O(n \\cdot m)$ in section 3 "
)
QUESTION += "seems to assume that all of them fit."
ANSWER = """They do not have to: each candidate sees only itself and the instruction, so that passages are read in \
pieces and the scores are added.

| passages | exact | in pieces |
| --- | --- | --- |
| 20 | 61.2 | 61.2 |
| 100 | 63.0 | 62.8 |
"""


def main() -> None:
    """Make a home, serve it, take the pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--browser", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        settings = Settings.load(Path(folder))
        (settings.home / "foveal.toml").write_text(MAIL, encoding="utf-8")
        paper, cookie = filled(settings)
        chromium = running.chromium
        browser = (
            chromium.connect_over_cdp(given.browser)
            if given.browser
            else chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        )
        pages = {
            "papers-day": ("/papers", 1000, False),
            "papers-search": ("/papers?q=how+do+readers+find+passages", 1000, False),
            "papers-trending": ("/papers/trending", 1000, False),
            "papers-paper": (f"/papers/{paper}", 1000, False),
            "people-desk": ("/desk", 1000, True),
            "people-discussion": (f"/discussion/{paper}", 1000, True),
            "people-settings": ("/settings", 1000, True),
            "mail-subscribe": ("/subscribe", 900, False),
            LIBRARY: ("/library?q=how+does+the+reader+choose+which+sentences+to+keep", 860, False),
        }
        if LIBRARY in (given.names or pages):
            Library.open(settings=settings).add(sorted(DOCS.glob("*.md")))
        with demo(settings) as address:
            for name in given.names or pages:
                path, height, signed_in = pages[name]
                for ending, width in ({"": 1280} if name == LIBRARY else WIDTHS).items():
                    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light")
                    context.set_default_timeout(240_000)
                    if signed_in:
                        context.add_cookies([{"name": "foveal_session", "value": cookie, "url": address}])
                    take(context, address + path, IMAGES / f"{name}{ending}.webp")
                    context.close()


def take(context: Any, address: str, file: Path) -> None:
    """One picture, of what is seen first."""
    page = context.new_page()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.evaluate("document.activeElement.blur()")
    taken(page, file)


def taken(page: Any, file: Path) -> None:
    """The picture of a page as it is seen now."""
    asked = {"format": "webp", "quality": QUALITY}
    told = page.context.new_cdp_session(page).send("Page.captureScreenshot", asked)
    file.write_bytes(base64.b64decode(told["data"]))
    sys.stdout.write(f"{file.name}\n")
    sys.stdout.flush()


def filled(settings: Settings) -> tuple[str, str]:
    """Papers, people, and what these did: the first paper of the day, and Ana's session."""
    database = Database.open(settings)
    sample.load(database, datetime.now(UTC).date())
    names = {"ana": "Ana Ferreira", "bo": "Bo Lindgren", "cy": "Cyrus Amini", "dee": "Dee Okafor"}
    for login, name in names.items():
        accounts.add(
            database, f"{login}@example.org", login=login, name=name, role="admin" if login == "ana" else "member"
        )
    people = {login: signed_in(database, login)[0] for login in names}
    store = PaperStore(database)
    latest = store.latest_day()
    paper = next(one.id for one in store.page(limit=50).papers if one.listed_on == latest)
    for login in ("bo", "cy", "dee"):
        votes.vote(database, people[login], paper)
    first = discussion.remark(database, people["bo"], paper, QUESTION)
    second = discussion.remark(database, people["ana"], paper, ANSWER, parent=first)
    discussion.remark(database, people["cy"], paper, "Which layers are these? Figure 2 shows three of them.")
    discussion.remark(database, people["dee"], paper, "We see the same on German text, with `k = 50`.")
    for login in ("bo", "cy"):
        discussion.rate(database, people[login], second, 1)
    collecting.put(database, people["ana"], collecting.make(database, people["ana"], "Reads of the week"), paper)
    follows.follow(database, people["ana"], "category", "cs.CL")
    with database.writing() as session:
        digest = {"query": "sparse attention", "hour": 7, "zone": "Europe/Paris", "state": "confirmed"}
        own = {"address": "ana@example.org", "address_key": "ana@example.org", "person_id": people["ana"].id}
        session.add(SubscriptionRow(**own, **digest, seed="none", unsubscribe_hash="none"))
    cookie = signed_in(database, "ana")[1]
    database.close()
    return paper, cookie


def signed_in(database: Database, login: str) -> tuple[Person, str]:
    """A person who used a link, and the session."""
    link = sessions.request_link(database, f"{login}@example.org", browser="b")
    used = sessions.use_link(database, link.token, browser="b", agent="Firefox on Linux")
    return used.person, used.token


@contextmanager
def demo(settings: Settings) -> Iterator[str]:
    """The address of the demo site, until the block ends; its search is made first."""
    app = create_app(settings, SiteSettings(demo=True))
    app.state.site.search.sync()
    app.state.site.search.warm()
    with served(app) as address:
        yield address


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of a site, until the block ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://localhost:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
    app.state.site.close()


if __name__ == "__main__":
    main()
