"""Trials of `scale-faults` on the site: servers die, their database does, peers are slow.

lost        a job whose form was answered by its page's address comes to its end, shows what came of it, and what it
            was to add is in the library once; a vote that was answered is counted once
not now     while the database is away a page is 503 with Retry-After, at once; afterwards all is as before
slow        pages are made while others send and read a byte at a time; a page that drips is left, and said to be
"""

from __future__ import annotations

import random
import re
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from foveal.bench.mail_data import papers
from foveal.bench.scale_faults_peers import dripping_page, slow_senders
from foveal.bench.scale_faults_trials import SETTINGS, Found, Trial, Unavailable, Victim, home_in
from foveal.database import Database
from foveal.errors import FovealError, MissingExtra
from foveal.library import Library
from foveal.papers import accounts, votes
from foveal.papers.sessions import request_link, use_link
from foveal.papers.upserts import upsert
from foveal.registry import require
from foveal.settings import Settings
from foveal.types import Document

FACT = "The keeper of mill {} is called Orsin {}."
PEOPLE = 3
PAUSE_S, MOST_JOBS = 0.05, 14
"""Seconds between what a visitor does, and jobs after which visitors only wait."""
PAGES = ("/papers/trending", "/library", "/ask", "/health")
SLOW_PEERS = 80
PROMPT_S = 3.0
"""Seconds within which a page must be there while others are slow; alone it takes some hundredths."""

OVER_WITHIN_S = 110.0
SESSION = "foveal_session"


@dataclass
class Acked:
    """What a site has acknowledged."""

    jobs: list[str] = field(default_factory=list)  # addresses of their pages
    added: list[str] = field(default_factory=list)  # texts
    votes: set[tuple[str, str]] = field(default_factory=set)  # login, paper


@contextmanager
def visiting(address: str, session: str = "") -> Iterator[httpx.Client]:
    """A browser at the site."""
    with httpx.Client(base_url=address, timeout=20, follow_redirects=False) as client:
        if session:
            client.cookies.set(SESSION, session)
        yield client


def token_of(client: httpx.Client) -> str:
    """What the forms of a browser carry."""
    return client.get("/ask").text.split('data-token="')[1].split('"')[0]


def keep_busy(address: str, sessions: dict[str, str], draw: random.Random, acked: Acked, stop: threading.Event) -> None:
    """Visit until it stops or the server is gone: add, ask, vote."""
    with suppress(httpx.HTTPError, IndexError), ExitStack() as browsers:
        client = browsers.enter_context(visiting(address))
        token = token_of(client)
        members = {login: browsers.enter_context(visiting(address, session)) for login, session in sessions.items()}
        tokens = {login: token_of(one) for login, one in members.items()}
        while not stop.wait(PAUSE_S):
            if len(acked.jobs) >= MOST_JOBS:
                continue
            number = draw.randrange(10**6)
            text = f"# Mill {number}\n\n" + FACT.format(number, number)
            sent = client.post("/library/add", data={"token": token}, files={"files": (f"{number}.md", text.encode())})
            if sent.status_code == 303:
                acked.jobs.append(sent.headers["location"])
                acked.added.append(text)
            asked = client.post("/ask", data={"token": token, "question": f"Who is the keeper of mill {number}?"})
            if asked.status_code == 303:
                acked.jobs.append(asked.headers["location"])
            login, paper = draw.choice(sorted(members)), f"2610.{draw.randrange(12):05d}"
            voted = members[login].post(f"/vote/{paper}", data={"token": tokens[login]})
            if voted.status_code == 303 and not voted.headers["location"].startswith("/login"):
                acked.votes.add((login, paper))


def all_there(address: str, home: Path, database: Database, acked: Acked, found: Found) -> None:
    """Hold a site against what it had acknowledged, once its jobs are over."""
    begun = time.perf_counter()
    with visiting(address) as client:
        for page in dict.fromkeys(acked.jobs):
            shown = _ended(client, page)
            found.hold(shown is not None, f"a job does not come to its end, or is lost: {page}")
            failed = re.search(r'class="notice bad"[^>]*>(.*?)<', shown or "")
            found.hold(failed is None, f"a job failed: {failed[1] if failed else ''}")
    found.recovery_s.append(time.perf_counter() - begun)
    library = Library.open(home, create=False) if acked.added else None
    texts = [library.get(entry.id).text for entry in library.documents()] if library else []
    for text in dict.fromkeys(acked.added):
        found.hold(texts.count(text) == 1, f"an upload is there {texts.count(text)} times")
    for login, paper in acked.votes:
        mine = votes.standing(database, [paper], accounts.find(database, login))[paper].mine
        found.hold(mine, f"a vote is lost: {login}, {paper}")


def killed(draw: random.Random, folder: Path) -> Found:
    """The one server is killed while it is visited, and started again."""
    found, home = Found(), home_in(folder)
    database, sessions = _people(home)
    acked = Acked()
    with closing(database):
        for _ in range(2):
            with Victim("site", home, "0.03") as server:
                found.struck += _visited_and_killed(server, sessions, draw, acked)
        with Victim("site", home, "0") as server:
            all_there(f"http://127.0.0.1:{server.begun()}", home, database, acked, found)
            found.hold(bool(acked.jobs), "nothing was acknowledged: the trial tried nothing")
    return found


def one_of_two_killed(draw: random.Random, folder: Path) -> Found:
    """Two servers share a home; one is killed, the other takes over what it had."""
    found, home = Found(), home_in(folder)
    database, sessions = _people(home)
    acked = Acked()
    with closing(database), Victim("site", home, "0.01") as stays:
        address = f"http://127.0.0.1:{stays.begun()}"
        with Victim("site", home, "0.05") as goes:
            found.struck += _visited_and_killed(goes, sessions, draw, acked)
        all_there(address, home, database, acked, found)
    return found


def stopped(draw: random.Random, folder: Path) -> Found:
    """A server is ended by SIGTERM, as at every deployment, in the middle of its work."""
    found, home = Found(), home_in(folder)
    database, sessions = _people(home)
    acked = Acked()
    with closing(database):
        with Victim("site", home, "0.05") as server:
            with _visitors(f"http://127.0.0.1:{server.begun()}", sessions, draw, acked):
                _some_more(acked)
                time.sleep(draw.random())
                server.process.terminate()
                server.ended(30)
            found.struck += 1
        with Victim("site", home, "0") as server:
            all_there(f"http://127.0.0.1:{server.begun()}", home, database, acked, found)
    return found


def database_away(draw: random.Random, folder: Path) -> Found:
    """PostgreSQL is stopped at once while the site is visited, and started again."""
    pgserver = _postgres()
    found, home = Found(), home_in(folder)
    postgres = pgserver.get_server(folder / "postgres", cleanup_mode="delete")
    try:
        (home / "foveal.toml").write_text(f'{SETTINGS}database = "{postgres.get_uri()}"\n', encoding="utf-8")
        database, sessions = _people(home)
        acked = Acked()
        with closing(database), Victim("site", home, "0.02") as server:
            address = f"http://127.0.0.1:{server.begun()}"
            with _visitors(address, sessions, draw, acked):
                _some_more(acked)
                time.sleep(draw.random())
                pgserver.pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=postgres.pgdata, user=postgres.system_user)
                found.struck += 1
                _answered_while_away(address, found)
            _started(postgres)
            with visiting(address) as client:
                _until(lambda: client.get("/ready").status_code == 200, "the site is not ready again")
            all_there(address, home, database, acked, found)
    finally:
        postgres.cleanup()
    return found


def slow_peers(draw: random.Random, folder: Path) -> Found:
    """Many send a form a byte at a time, and read as slowly; a page that is added drips without end."""
    found, home = Found(), home_in(folder)
    (home / "foveal.toml").write_text(f"{SETTINGS}allow_private_addresses = true\n", encoding="utf-8")
    database, sessions = _people(home)
    acked = Acked()
    with closing(database), Victim("site", home, "0") as server, dripping_page() as drips:
        port = int(server.begun())
        address = f"http://127.0.0.1:{port}"
        with visiting(address) as client:
            for path in PAGES:  # what a first page loads is not the peers' doing
                client.get(path)
        with slow_senders(port, draw.randint(SLOW_PEERS // 2, SLOW_PEERS)) as peers, visiting(address) as client:
            found.struck += peers
            token = token_of(client)
            dripped = client.post("/library/add", data={"token": token, "pasted": drips})
            for path in PAGES * 3:
                begun = time.perf_counter()
                answer = client.get(path)
                seconds = time.perf_counter() - begun
                found.hold(answer.status_code == 200, f"{path} is {answer.status_code} beside slow peers")
                found.hold(seconds < PROMPT_S, f"{path} took {seconds:.1f} s beside slow peers")
            stop = threading.Event()
            threading.Timer(1.0, stop.set).start()
            keep_busy(address, sessions, draw, acked, stop)
            shown = _ended(client, dripped.headers["location"])
            found.hold(shown is not None and "was not added" in shown, "a page that drips is not left")
        all_there(address, home, database, acked, found)
    return found


def _people(home: Path) -> tuple[Database, dict[str, str]]:
    """A database with papers and members, a session of each, and a library that is not empty."""
    settings = Settings.load(home, environment={})
    Library.open(settings=settings).add_documents([Document.of("trial:first", FACT.format(0, 0), "The first mill")])
    database = Database.open(settings)
    from foveal import faults

    upsert(database, papers(faults.now()))
    sessions = {}
    for number in range(PEOPLE):
        login = f"reader{number}"
        address = f"{login}@example.org"
        accounts.add(database, address, login=login)
        link = request_link(database, address, ip=login, browser="theirs")
        sessions[login] = use_link(database, link.token if link else "", browser="theirs").token
    return database, sessions


@contextmanager
def _visitors(address: str, sessions: dict[str, str], draw: random.Random, acked: Acked) -> Iterator[None]:
    stop = threading.Event()
    seeds = [random.Random(draw.random()) for _ in range(2)]
    threads = [threading.Thread(target=keep_busy, args=(address, sessions, one, acked, stop)) for one in seeds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _visited_and_killed(server: Victim, sessions: dict[str, str], draw: random.Random, acked: Acked) -> int:
    with _visitors(f"http://127.0.0.1:{server.begun()}", sessions, draw, acked):
        _some_more(acked)
        return int(server.kill_within(draw, 1.5))


def _some_more(acked: Acked) -> None:
    """Wait until the site has acknowledged another job, for a while."""
    before, until = len(acked.jobs), time.monotonic() + 20
    while len(acked.jobs) <= before and time.monotonic() < until:
        time.sleep(0.01)


def _ended(client: httpx.Client, page: str) -> str | None:
    """A job's page once it shows an end; None where it does not come."""
    until = time.monotonic() + OVER_WITHIN_S
    while time.monotonic() < until:
        with suppress(httpx.HTTPError):
            answer = client.get(page)
            if answer.status_code == 200 and "data-events" not in answer.text:
                return answer.text
        time.sleep(0.1)
    return None


def _answered_while_away(address: str, found: Found) -> None:
    with visiting(address) as client:
        for path in ("/papers/trending", "/api/daily_papers", "/ready"):
            begun = time.perf_counter()
            answer = client.get(path)
            seconds = time.perf_counter() - begun
            found.hold(answer.status_code == 503, f"{path} is {answer.status_code} without a database")
            found.hold(seconds < PROMPT_S, f"{path} took {seconds:.1f} s to say that the database is away")
            known = path == "/ready" or answer.headers.get("retry-after", "").isdecimal()
            found.hold(known, f"{path} does not say when to come again")
        found.hold(client.get("/health").status_code == 200, "the site is not alive without a database")


def _until(holds: Callable[[], bool], said: str) -> None:
    until = time.monotonic() + OVER_WITHIN_S
    while time.monotonic() < until:
        with suppress(httpx.HTTPError):
            if holds():
                return
        time.sleep(0.1)
    raise FovealError(said)


def _started(postgres: Any) -> None:
    """Start a database server again, which mends itself first: that may take longer than its package waits."""
    for turn in range(5):
        try:
            postgres.ensure_postgres_running()
            return
        except subprocess.TimeoutExpired:
            if turn == 4:
                raise


def _postgres() -> Any:
    try:
        with warnings.catch_warnings():  # platformdirs asks for a folder that a server's user need not have
            warnings.simplefilter("ignore")
            return require("pgserver", extra="dev")
    except MissingExtra as missing:
        raise Unavailable(str(missing)) from missing


TRIALS: Sequence[tuple[str, Trial]] = (
    ("serve, killed", killed),
    ("serve, one of two killed", one_of_two_killed),
    ("serve, stopped", stopped),
    ("serve, database away", database_away),
    ("serve, slow peers", slow_peers),
)
