"""bench mail: the digest sent for real to a server here, undisturbed, and through kills, refusals, stalls and deaths.

Clean      every subscriber's message in one run: time, exactly one each, headers, text, HTML, DKIM
Chaos      the same while the sender (a process) is killed by SIGKILL again and again, at random moments and the worst
           ones (after the claim; after the server's 250), people leave, and the server refuses for now, refuses for
           good, stalls, takes a message and gives no answer, takes none and gives none, and dies. Waits between tries
           are skipped by setting their time to now
Beside     a loop as small sites have it (send, then write down; unknown errors are tried again), under the same chaos
Links      opened by a scanner: nothing changes; one-click twice
Site       the same over HTTP, and all that thieves and vandals try (mail_site.py)
"""

from __future__ import annotations

import email
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.policy import default
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select, text

from foveal import faults
from foveal.bench.mail_data import SITE, composer, make_home, skip_waiting, token_in, with_dkim
from foveal.bench.mail_keys import RsaKey, rsa_key
from foveal.bench.mail_server import MailServer, Taken, no_fault
from foveal.bench.mail_site import site_rows
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.errors import InputError
from foveal.evaluation.tables import Row
from foveal.papers.mail.links import Links
from foveal.papers.mail.message import MOST_BYTES
from foveal.papers.mail.morning import outbox_of, tick
from foveal.papers.mail.signing import unsubscribe_token
from foveal.papers.mail.subscriptions import (
    Preferences,
    confirm,
    peek,
    peek_unsubscribe,
    preferences_of,
    subscribe,
    subscriptions,
    unsubscribe,
)
from foveal.papers.people_schema import DeliveryPaperRow, DeliveryRow, SubscriptionRow
from foveal.papers.plain_titles import plain_tex
from foveal.papers.schema import PaperRow
from foveal.registry import require
from foveal.settings import Settings

FULL, QUICK = 1_000, 200
KILLS, QUICK_KILLS = 20, 6
SECONDS = 60.0
WORST = ("mail.claimed=kill@{n}", "mail.accepted=kill@{n}")
"""Fault points at which every fourth sender dies. The first one dies while it plans, the others at random moments."""


@dataclass(frozen=True, kw_only=True)
class Chaos:
    """What goes wrong; everything is drawn from the seed."""

    subscribers: int
    kills: int
    leaving: int
    deaths: int
    seed: int = 0

    shares: tuple[tuple[str, float], ...] = (
        ("later", 0.06), ("never", 0.01), ("policy", 0.01), ("stall", 0.02), ("drop", 0.01), ("drop-kept", 0.01),
        ("drop-lost", 0.01),
    )  # fmt: skip

    def fault(self, recipient: str, attempt: int) -> str:
        """What happens to a recipient's n-th try."""
        drawn = random.Random(f"{self.seed}/{recipient}/{attempt}").random()
        for name, share in self.shares:
            drawn -= share
            if drawn < 0:
                return name
        return ""


@dataclass
class Outcome:
    """What the chaos ended in; addresses by what is wrong with them."""

    kills: int = 0
    deaths: int = 0
    messages: int = 0  # that there were to be, one a subscriber where all clocks are right
    sent: int = 0
    unknown: int = 0
    refused: int = 0
    left: int = 0
    dropped: int = 0  # messages after whose body the server gave no answer
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # said to be sent, and not arrived, or never ended
    after_leaving: list[str] = field(default_factory=list)
    in_flight_s: float = 0.0  # the longest that a message arrived after its reader's leaving
    seconds: float = 0.0


def mail(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench mail`."""
    key = rsa_key(2048, random.Random(7 + settings.seed))
    yield from clean_rows(settings, key)
    yield from chaos_rows(settings, key)
    yield from link_rows(settings)
    yield from site_rows(settings)


# -- undisturbed ------------------------------------------------------------------------------------------------------


def clean_rows(settings: BenchSettings, key: RsaKey) -> Iterator[Row]:
    """One run without faults."""
    count = QUICK if settings.quick else FULL
    yield Row.of("subscribers", "size", count)
    with _site(count, key, seed=settings.seed) as (home, database, _, server):
        start, used = time.perf_counter(), time.process_time()
        outbox = outbox_of(Settings.load(home, environment={}), database)
        report = tick(outbox, lambda: composer(database, faults.now()), everybody=True)
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
        note = f"{report.sent} messages, signed; sender and server take {cpu:.1f} s of a processor"
        yield Row.of("undisturbed", "seconds for 1,000", seconds * FULL / count, at_most=SECONDS, note=note)
        got = Counter(one.recipient for one in server.taken)
        exactly = sum(got[one.address] == 1 for one in subscriptions(database)) / count
        yield Row.of("undisturbed", "share that got exactly one", exactly, at_least=1.0)
        yield from message_rows(server.taken, database, key)


def message_rows(taken: list[Taken], database: Database, key: RsaKey) -> Iterator[Row]:
    """What is true of every message."""
    with database.reading() as session:
        titles = {row.id: plain_tex(row.title) for row in session.scalars(select(PaperRow))}
        held: dict[str, list[str]] = {}
        wanted = select(DeliveryRow.message_id, DeliveryPaperRow.paper_id).join(
            DeliveryPaperRow, DeliveryPaperRow.delivery_id == DeliveryRow.id
        )
        for name, paper in session.execute(wanted):
            held.setdefault(name, []).append(titles[paper])
    dkim = require("dkim", extra="mail")

    def verified(raw: bytes) -> bool:
        return bool(dkim.verify(raw, dnsfunc=lambda *_, **__: key.dkim_record))

    def reads(raw: bytes) -> bool:
        message = email.message_from_bytes(raw, policy=default)
        shown = " ".join(_part(message, "plain").split())
        return all(" ".join(title.split()) in shown for title in held[str(message["Message-ID"])])

    checks: dict[str, Callable[[bytes], bool]] = {
        "share whose headers survive a round trip": _round_trip,
        "share that DKIM verifies": verified,
        "share whose text names every paper": reads,
        "share whose HTML loads nothing": lambda raw: not {"<img", "<script", "url("} & set(_finds(raw)),
    }
    for name, check in checks.items():
        yield Row.of("messages", name, sum(check(one.raw) for one in taken) / max(1, len(taken)), at_least=1.0)
    largest = max(len(one.raw) for one in taken)
    yield Row.of("messages", "bytes of the largest", largest, at_most=MOST_BYTES)


def _round_trip(raw: bytes) -> bool:
    """Parsed and written again, the headers say the same; those of the list are there, each on its line."""
    first = email.message_from_bytes(raw, policy=default)
    second = email.message_from_bytes(first.as_bytes(), policy=default)
    link = str(first["List-Unsubscribe"])
    lines = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return (
        [(n, str(v).split()) for n, v in first.items()] == [(n, str(v).split()) for n, v in second.items()]
        and link.startswith(f"<{SITE}/u/")
        and f"List-Unsubscribe: {link}".encode() in lines
        and b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines
        and all(first[name] for name in ("From", "To", "Subject", "Date", "Message-ID", "List-Id", "Auto-Submitted"))
    )


def _part(message: Any, kind: str) -> str:
    return next(str(part.get_content()) for part in message.walk() if part.get_content_subtype() == kind)


def _finds(raw: bytes) -> list[str]:
    html = _part(email.message_from_bytes(raw, policy=default), "html").lower()
    return [what for what in ("<img", "<script", "url(") if what in html]


# -- chaos ------------------------------------------------------------------------------------------------------------


def chaos_rows(settings: BenchSettings, key: RsaKey) -> Iterator[Row]:
    """The same with everything that can go wrong."""
    count, kills = (QUICK, QUICK_KILLS) if settings.quick else (FULL, KILLS)
    chaos = Chaos(subscribers=count, kills=kills, leaving=count // 20, deaths=2, seed=settings.seed)
    with _site(count, key, seed=settings.seed, fault=chaos.fault) as (home, database, secret, server):
        found = run_chaos(chaos, home, database, secret, server)
    note = f"{found.deaths} deaths of the server, {found.dropped} answers that never came, {found.seconds:.0f} s"
    yield Row.of("chaos", "senders killed", found.kills, at_least=kills, note=note)
    yield Row.of("chaos", "subscribers who got two", len(found.twice), at_most=0)
    yield Row.of("chaos", "subscribers who got none, and nobody knows", len(found.lost), at_most=0)
    accounted = found.sent + found.unknown + found.refused + found.left
    told = f"{found.sent} sent, {found.unknown} unknown, {found.refused} refused for good, {found.left} left before"
    yield Row.of("chaos", "share sent, or known not to be", accounted / count, at_least=1.0, at_most=1.0, note=told)
    most = found.kills + found.dropped + found.deaths
    note = "one a kill, lost answer or death at most"
    yield Row.of("chaos", "messages marked unknown", found.unknown, at_most=most, note=note)
    late = f"{found.left} left; a body that was under way then arrived {1000 * found.in_flight_s:.0f} ms later at most"
    yield Row.of("chaos", "messages begun after leaving", len(found.after_leaving), at_most=0, note=late)
    with _site(count, key, seed=settings.seed, fault=chaos.fault) as (home, database, _, server):
        twice, lost = run_naive(chaos, home, database, server)
    note = "send, then write down; anything but a clear refusal is tried again"
    yield Row.of("a plain loop", "subscribers who got two", twice, note=note)
    yield Row.of("a plain loop", "subscribers who got none", lost)


def run_chaos(chaos: Chaos, home: Path, database: Database, secret: bytes, server: MailServer) -> Outcome:
    """Send to everybody through the chaos; what came of it."""
    found, start = Outcome(), time.perf_counter()
    draw = random.Random(chaos.seed)
    leaving = draw.sample(subscriptions(database), chaos.leaving)
    gone: dict[str, float] = {}
    with _leavers(database, secret, server, leaving, gone, draw, chaos):
        for number in range(chaos.kills):
            share = (chaos.subscribers - len(server.taken)) // (chaos.kills - number + 1)
            goal = len(server.taken) + draw.randint(1, max(1, share))
            found.kills += _run_until_killed(home, server, goal, draw, _worst(number))
            if number in _death_turns(chaos):
                server.die(0.3)
                found.deaths += 1
            skip_waiting(database)
        for _ in range(12):  # five tries a message, and a server that is away for a while
            _finish(home)
            if not skip_waiting(database) and not _open(database):
                break
    found.seconds = time.perf_counter() - start
    judge(found, database, server, gone)
    return found


def _run_until_killed(home: Path, server: MailServer, goal: int, draw: random.Random, worst: str) -> int:
    """Start a sender; kill it once the server has taken `goal` messages and a moment more. 1: it died of that."""
    variables = {"FOVEAL_FAULTS": worst.format(n=draw.randint(1, 5))} if worst else {}
    child = _sender(home, variables)
    while child.poll() is None and (worst or len(server.taken) < goal):
        time.sleep(0.002)
    if child.poll() is None:
        time.sleep(draw.random() * 0.03)
        child.kill()
    child.communicate()
    return int(child.returncode == -signal.SIGKILL)


def _worst(number: int) -> str:
    """The fault point at which the n-th sender dies, "" for a random moment."""
    if number == 0:
        return "mail.planned=kill@1"
    return WORST[number // 4 % 2] if number % 4 == 3 else ""


def _finish(home: Path) -> None:
    child = _sender(home, {})
    _, said = child.communicate()
    if child.returncode:
        raise InputError(f"The sender of the bench ended with status {child.returncode}: {said[-800:].decode()}")


def _sender(home: Path, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    import os

    command = [sys.executable, "-m", "foveal.bench.mail_sender", str(home)]
    return subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip


def _death_turns(chaos: Chaos) -> set[int]:
    return {chaos.kills * (one + 1) // (chaos.deaths + 1) for one in range(chaos.deaths)}


@contextmanager
def _leavers(
    database: Database,
    secret: bytes,
    server: MailServer,
    leaving: list[Any],
    gone: dict[str, float],
    draw: random.Random,
    chaos: Chaos,
) -> Iterator[None]:
    """People who leave while it is sent, each once a number of messages has been taken, by one click, twice."""
    turns = sorted(draw.randrange(chaos.subscribers * 3 // 4) for _ in leaving)
    end = threading.Event()

    def leave() -> None:
        for turn, one in zip(turns, leaving, strict=True):
            while len(server.taken) < turn and not end.wait(0.002):
                pass
            if end.is_set():
                return
            unsubscribe(database, unsubscribe_token(secret, one.seed))
            gone[one.address] = time.time()
            unsubscribe(database, unsubscribe_token(secret, one.seed))

    thread = threading.Thread(target=leave)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _open(database: Database) -> bool:
    with database.reading() as session:
        return (
            session.scalar(select(DeliveryRow.id).where(DeliveryRow.state.in_(("queued", "sending"))).limit(1))
            is not None
        )


def judge(found: Outcome, database: Database, server: MailServer, gone: dict[str, float]) -> None:
    """Hold what the database says, message by message, against what the server took."""
    got = Counter((one.recipient, _name_of(one.raw)) for one in server.taken)
    arrived = {one.recipient: one.at for one in server.taken}
    found.twice = [address for (address, _), count in got.items() if count > 1]
    found.dropped = sum(server.dropped.values())
    wanted = select(SubscriptionRow, DeliveryRow).outerjoin(
        DeliveryRow, DeliveryRow.subscription_id == SubscriptionRow.id
    )
    with database.reading() as session:
        rows = [(row[0], row[1]) for row in session.execute(wanted)]
    for person, delivery in rows:
        state = delivery.state if delivery is not None else "suppressed"
        arrivals = got.pop((person.address, delivery.message_id), 0) if delivery is not None else 0
        found.messages += state != "empty"
        found.sent += state == "sent"
        found.unknown += state == "unknown"
        found.refused += state == "failed"
        found.left += state == "suppressed"
        if (state == "sent" and not arrivals) or state in ("queued", "sending"):
            found.lost.append(person.address)
        if state in ("failed", "suppressed", "empty") and arrivals:
            found.twice.append(person.address)
        if person.address in gone and delivery is not None and delivery.claimed_at is not None:
            if delivery.claimed_at.timestamp() > gone[person.address]:
                found.after_leaving.append(person.address)
            late = arrived.get(person.address, 0.0) - gone[person.address]
            found.in_flight_s = max(found.in_flight_s, late)
    found.twice += [address for address, _ in got]  # nobody planned these


def _name_of(raw: bytes) -> str:
    return str(email.message_from_bytes(raw)["Message-ID"])


# -- the plain loop ---------------------------------------------------------------------------------------------------


def run_naive(chaos: Chaos, home: Path, database: Database, server: MailServer) -> tuple[int, int]:
    """The same chaos with a loop that sends and then writes down; (who got two, who got none without being refused)."""
    done = home / "sent.txt"
    draw = random.Random(chaos.seed)
    refused = {one.address for one in subscriptions(database) if chaos.fault(one.address, 1) in ("never", "policy")}
    for number in range(chaos.kills):
        goal = len(server.taken) + max(1, (chaos.subscribers - len(server.taken)) // (chaos.kills - number + 1))
        child = _naive(home, done)
        while child.poll() is None and len(server.taken) < goal:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.03)
        child.kill()
        child.communicate()
        if number in _death_turns(chaos):
            server.die(0.3)
    for _ in range(6):
        _naive(home, done).communicate()
    got = Counter(one.recipient for one in server.taken)
    none = [one.address for one in subscriptions(database) if not got[one.address] and one.address not in refused]
    return sum(count > 1 for count in got.values()), len(none)


def _naive(home: Path, done: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "foveal.bench.mail_naive", str(home), str(done)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# -- links ------------------------------------------------------------------------------------------------------------


def link_rows(settings: BenchSettings) -> Iterator[Row]:
    """What opening and clicking does."""
    with _site(20, None, seed=settings.seed) as (_, database, secret, _):
        mails: list[str] = []
        for number in range(20):
            subscribe(
                database, secret, f"new{number}@example.org", Preferences(), links=Links(SITE),
                deliver=lambda _, __, words: mails.append(words),
            )  # fmt: skip
        own = [unsubscribe_token(secret, one.seed) for one in subscriptions(database)]
        before = _digest(database)
        for words in mails:
            peek(database, token_in(words))
        for token in own:
            peek_unsubscribe(database, token)
            preferences_of(database, token)
        same = _digest(database) == before
        yield Row.of("a scanner", "tables that changed when it opened every link", 0 if same else 1, at_most=0,
                     note=f"{len(mails)} links to confirm, {2 * len(own)} of messages")  # fmt: skip
        confirmed = [confirm(database, token_in(words)).state for words in mails]
        yield Row.of("the button", "share confirmed", confirmed.count("confirmed") / len(mails), at_least=1.0)
        twice = [(unsubscribe(database, token), unsubscribe(database, token)) for token in own]
        good = [a is not None and a == b and a.state == "unsubscribed" for a, b in twice]
        yield Row.of("one click", "share that may be clicked twice", sum(good) / len(own), at_least=1.0)


def _digest(database: Database) -> str:
    """A hash of all that the database holds."""
    held = sha256()
    with database.reading() as session:
        for name in sorted(inspect(database.engine).get_table_names()):
            for row in session.execute(text(f'SELECT * FROM "{name}"')):
                held.update(repr(tuple(row)).encode())
    return held.hexdigest()


@contextmanager
def _site(
    count: int, key: RsaKey | None, *, seed: int, fault: Any = no_fault
) -> Iterator[tuple[Path, Database, bytes, MailServer]]:
    with tempfile.TemporaryDirectory() as folder, MailServer(fault=fault, stall_s=0.2) as server:
        home = Path(folder) / "home"
        signing = with_dkim(home, key.pem) if key else ""
        database, secret = make_home(home, server.port, subscribers=count, settings=signing, seed=seed)
        with closing(database):
            yield home, database, secret, server
