"""digest: the morning mail: see it, send it, who gets it, what comes back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, Home, notes, print_json, progress_bar, results
from foveal.errors import InputError
from foveal.settings import existing

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.database import Database
    from foveal.papers.mail.outbox import Report
    from foveal.papers.mail.subscriptions import Subscription
    from foveal.settings import Settings

STATES = ("unconfirmed", "confirmed", "unsubscribed", "bounced", "complained")
"""What a subscription may be."""

app = typer.Typer(help="The morning mail: preview, send, subscribe, and what comes back.", no_args_is_help=True)

Cadence = Annotated[str, typer.Option(help="daily (weekdays), weekly (Mondays), monthly.")]
Topics = Annotated[list[str] | None, typer.Option("--topic", help="Name of a topic (repeatable).")]
Query = Annotated[str, typer.Option(help="A search whose finds are a section.")]


@app.callback()
def group() -> None:
    """The morning mail: preview, send, subscribe, and what comes back."""


@app.command()
def preview(
    address: Annotated[str | None, typer.Argument(help="A subscriber; without: what the options ask for.")] = None,
    cadence: Cadence = "daily",
    topic: Topics = None,
    query: Query = "",
    html: Annotated[Path | None, typer.Option(help="Write the HTML part to this file.")] = None,
    eml: Annotated[Path | None, typer.Option(help="Write the whole message to this file.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show the digest that a subscriber, or somebody with such wishes, would get now. Nothing is sent or kept."""
    from foveal.papers.mail import morning, schedule
    from foveal.papers.mail.subscriptions import Preferences, check_topics, subscriptions

    wanted = Preferences(cadence=cadence, topics=tuple(topic or ()), query=query)
    with _opened(home) as (settings, database):
        with database.reading() as session:
            check_topics(session, wanted)
        outbox = _as_if_set_up(morning.outbox_of(settings, database, whole=False))
        composer = morning.composer_of(settings, database)
        kept = subscriptions(database, address=address) if address else []
        digests = [one for one in kept if one.preferences.cadence in schedule.CADENCES]
        found = sorted(digests, key=lambda one: one.state != "confirmed")
        if address and not found:
            raise InputError(f"{address} has no subscription to a digest. `foveal admin subscriptions` lists them.")
        one = next(iter(found), None) or morning.nobody(wanted)
        raw = morning.preview(outbox, composer, one, schedule.current(one.preferences.cadence, composer.now.date()))
    if raw is not None:
        _show(raw, html, eml, as_json=as_json)
        return
    notes().print("There is nothing new: no mail would be sent.")
    if as_json:
        print_json(None)


@app.command()
def send(
    now: Annotated[bool, typer.Option("--now", help="Today's digest to everybody, whatever their hour.")] = False,
    dry_run: Annotated[
        Path | None, typer.Option("--dry-run", help="Write .eml files to this folder; send and keep nothing.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send no more than so many.")] = None,
    retry_unknown: Annotated[
        bool, typer.Option("--retry-unknown", help="Send once more what may or may not have arrived.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and look each minute what is due.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Send the digests that are due. Twice is as good as once: each subscriber gets each of them once."""
    from foveal.papers.mail import delivery, morning

    with _opened(home) as (settings, database):
        outbox = morning.outbox_of(settings, database)
        if watch:
            notes().print("Sending what is due, each minute, until Ctrl-C. -v shows what is done.")
            morning.Morning(settings, database).run(outbox.stop)
            return
        if dry_run is not None:
            written = morning.dry_run(outbox, morning.composer_of(settings, database), dry_run, everybody=now)
            if as_json:
                print_json([str(path) for path in written])
            else:
                count = f"{len(written):,} message{'s' * (len(written) != 1)}"
                results().print(f"{count} written to {dry_run}; nothing was sent.", markup=False)
            return
        if retry_unknown:
            again = delivery.retry_unknown(database)
            notes().print(f"{again} messages that may have arrived are sent once more.")
        with _progress() as on_sent:
            report = morning.tick(
                outbox,
                lambda: morning.composer_of(settings, database),
                everybody=now,
                limit=limit,
                on_sent=on_sent,
            )
    print_json(report) if as_json else _show_report(report)
    if report.stopped:
        raise typer.Exit(1)


@app.command()
def status(home: Home = None, as_json: AsJson = False) -> None:
    """Show subscriptions by state, runs with what became of their messages, and who is sending."""
    from sqlalchemy import select

    from foveal.papers import lease
    from foveal.papers.mail import delivery, subscriptions
    from foveal.papers.people_schema import MailDayRow

    with _opened(home) as (_, database):
        states, runs = subscriptions.states(database), delivery.counts(database)
        held = lease.has(database, delivery.LEASE, seconds=delivery.LEASE_S)
        with database.reading() as session:
            days = session.scalars(select(MailDayRow).order_by(MailDayRow.day.desc(), MailDayRow.state).limit(60)).all()
    if as_json:
        print_json(
            {
                "subscriptions": states,
                "runs": [{"cadence": c, "period": p, "messages": found} for (c, p), found in runs.items()],
                "sending": held and {"holder": held.holder, "until": held.until},
                "days": [{"day": row.day, "state": row.state, "messages": row.messages} for row in days],
            }
        )
        return
    console = results()
    console.print("Subscriptions: " + (", ".join(f"{n} {state}" for state, n in states.items()) or "none"))
    console.print(f"Sending: {held.holder}, until {held.until:%Y-%m-%d %H:%M:%S} UTC" if held else "Sending: nobody")
    console.print(_runs_table(runs) if runs else "Runs: none yet; `foveal digest send` makes the first.")


@app.command()
def subscribe(
    address: Annotated[str, typer.Argument(help="Whom to ask.")],
    cadence: Cadence = "daily",
    topic: Topics = None,
    query: Query = "",
    hour: Annotated[int, typer.Option(min=0, max=23, help="Local hour.")] = 8,
    zone: Annotated[str, typer.Option(help="Time zone, such as Europe/Paris.")] = "UTC",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Ask ADDRESS whether it wants the digest: it gets a mail with a link, and nothing before that is confirmed."""
    from foveal.papers.mail import subscriptions
    from foveal.papers.mail.links import Links
    from foveal.papers.mail.settings import load_mail
    from foveal.papers.secrets import secret_of

    wanted = subscriptions.Preferences(cadence=cadence, topics=tuple(topic or ()), query=query, hour=hour, zone=zone)
    with _opened(home) as (settings, database):
        mail = load_mail(settings)
        links = Links(mail.url or "http://localhost:8000")
        answer = subscriptions.subscribe(
            database,
            secret_of(settings.home),
            address,
            wanted,
            deliver=deliverer(settings, notes() if as_json else results()),
            links=links,
        )
        if not mail.host:  # the answer says that a mail may be on its way
            answer = "Nothing was sent, since no mail is set up."
    print_json({"address": address, "said": answer}) if as_json else results().print(answer, markup=False)


@app.command()
def unsubscribe(
    who: Annotated[str, typer.Argument(help="An address, or the token of a message.")],
    never_again: Annotated[bool, typer.Option("--never-again", help="Also refuse this address from now on.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """End the subscriptions of an address, or the one of a token."""
    from foveal.papers.mail import subscriptions
    from foveal.papers.mail_addresses import canonical

    with _opened(home) as (_, database):
        if "@" not in who:
            left = subscriptions.unsubscribe(database, who)
            if left is None:
                raise InputError("This token belongs to no subscription.")
            told = {"address": left.address, "said": f"{left.address} is not sent {left.what} any more."}
            print_json(told) if as_json else results().print(told["said"], markup=False)
            return
        address = canonical(who)
        known = bool(subscriptions.subscriptions(database, address=address)) or never_again
        with database.writing() as session:
            new = subscriptions.suppress(session, address, "asked")
            if new and not never_again:  # an address that bounced or complained is not to be lifted by this
                subscriptions.lift(session, address)
    said = "gets no digest any more." if known else "had no subscription; nothing was changed."
    told = {"address": address, "said": f"{address} {said}"}
    print_json(told) if as_json else results().print(told["said"], markup=False)


@app.command()
def bounce(
    source: Annotated[str, typer.Argument(help="A mail that came back: a file, a folder of them, or - .")] = "-",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read mails that came back: failures, complaints, requests to leave. For a mail server's pipe, or a Maildir."""
    from foveal.papers.mail.bounces import apply, read_report

    done = []
    with _opened(home) as (_, database):
        for name, raw in _mails(source):
            try:
                report = read_report(raw)
            except InputError as error:  # one that is too large: those behind it are read
                done.append({"mail": name, "kind": "other", "done": str(error)})
                continue
            done.append({"mail": name, "kind": report.kind, "done": apply(database, report)})
    if as_json:
        print_json(done)
        return
    for one in done:
        results().print(f"{one['mail']}: {one['done']}", markup=False)


def show_subscriptions(home: Path | None, state: str | None, lift: str | None, as_json: bool) -> None:
    """`foveal admin subscriptions`."""
    from foveal.papers.mail import subscriptions
    from foveal.papers.mail_addresses import canonical

    if state not in (None, *STATES):
        raise InputError(f"No subscription is ever {state!r}. There are: {', '.join(STATES)}.")
    with _opened(home) as (_, database):
        if lift:
            with database.writing() as session:
                found = subscriptions.lift(session, canonical(lift))
            if as_json:
                print_json({"address": lift, "lifted": bool(found)})
                return
            results().print(f"{lift} {'may be written to again' if found else 'was not refused'}.", markup=False)
            return
        rows = subscriptions.subscriptions(database, state=state)
    if as_json:
        print_json([_told(one) for one in rows])
    elif rows:
        results().print(_subscriptions_table(rows))
    else:
        told = f"Nobody's subscription is {state}." if state else "Nobody has subscribed yet: people do at /subscribe."
        results().print(told, markup=False)


# -- parts ------------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(home: Path | None) -> Iterator[tuple[Settings, Database]]:
    from foveal.database import Database
    from foveal.settings import Settings

    settings = Settings.load(home)
    database = Database.open(settings)
    try:
        yield settings, database
    finally:
        database.close()


def deliverer(settings: Settings, console: Console | None = None) -> Callable[[str, str, str], None]:
    """Sends at once, or shows the mail, on standard output or `console`, where none is set up."""
    from foveal.papers.mail.postman import send_now
    from foveal.papers.mail.settings import load_mail
    from foveal.papers.mail.signing import dkim_of
    from foveal.papers.mail.smtp import Gone, Refused

    mail = load_mail(settings)

    def show(address: str, subject: str, text: str) -> None:
        notes().print("No mail is set up (docs/mail.md). This is what would have been sent:")
        (console or results()).print(f"To: {address}\nSubject: {subject}\n\n{text}", markup=False)

    def deliver(address: str, subject: str, text: str) -> None:
        from foveal.errors import MailFailed

        try:
            send_now(settings.home, mail, address, subject, text, dkim=dkim_of(mail, settings.home))
        except (Gone, Refused) as error:
            raise MailFailed(f"The mail to {address} could not be sent: {error}.") from error

    if not mail.host:
        return show
    mail.complete()
    return deliver


def _as_if_set_up(outbox: Any) -> Any:
    """For a preview where mail is not set up yet: what is missing is invented."""
    from dataclasses import replace

    missing = {"sender": "Daily Papers <papers@example.org>", "url": "https://papers.example.org", "postal": "…"}
    told = {name: value for name, value in missing.items() if not getattr(outbox.mail, name)}
    return replace(outbox, mail=replace(outbox.mail, **told))


def _show(raw: bytes, html: Path | None, eml: Path | None, *, as_json: bool) -> None:
    import email
    from email.policy import default

    from foveal.evaluation.files import whole_file

    message = email.message_from_bytes(raw, policy=default)
    parts = {part.get_content_subtype(): part.get_content() for part in message.walk() if not part.is_multipart()}
    for path, content in ((html, parts["html"].encode()), (eml, raw)):
        if path is not None:
            with whole_file(path) as partial:
                partial.write_bytes(content)
            notes().print(f"{path} was written.", markup=False)
    if as_json:
        print_json({"subject": str(message["Subject"]), "text": parts["plain"], "html": parts["html"]})
    else:
        results().print(f"Subject: {message['Subject']}\n\n{parts['plain']}", markup=False)


def _mails(source: str) -> Iterator[tuple[str, bytes]]:
    if source == "-":
        yield "standard input", sys.stdin.buffer.read()
        return
    path = existing(source)
    if path is None:
        raise InputError(f"{source} is not there. Give a mail's file, a folder of such files, or - for standard input.")
    for one in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        yield str(one), one.read_bytes()


@contextmanager
def _progress() -> Iterator[Callable[[Report], None] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    with progress_bar() as bar:
        task = bar.add_task("sending", total=None)
        yield lambda report: bar.update(task, completed=report.sent, total=max(report.planned, report.sent))


def _show_report(report: Report) -> None:
    from dataclasses import asdict

    told = [f"{count} {name}" for name, count in asdict(report).items() if name != "stopped" and count]
    results().print(", ".join(told) or "Nothing is due.")
    if report.stopped:
        notes().print(report.stopped, markup=False, style="bold red")


def _runs_table(runs: dict[tuple[str, str], dict[str, int]]) -> Any:
    from rich.table import Table

    shown = Table(title="Runs", title_justify="left", box=None, pad_edge=False)
    for name in ("cadence", "period", "queued", "sent", "failed", "suppressed", "unknown", "empty"):
        shown.add_column(name, justify="left" if name in ("cadence", "period") else "right")
    for (cadence, period), found in list(runs.items())[:20]:
        waiting = found.get("queued", 0) + found.get("sending", 0)
        rest = [str(found.get(name, "")) for name in ("sent", "failed", "suppressed", "unknown", "empty")]
        shown.add_row(cadence, period, str(waiting or ""), *rest)
    return shown


_OF_ITSELF = {"replies": "answers to remarks", "changes": "watched questions"}
"""Cadences that have no hour: what such mails are about."""


def _subscriptions_table(rows: list[Subscription]) -> Any:
    from rich.table import Table
    from rich.text import Text

    title = f"{len(rows)} subscription{'s' * (len(rows) != 1)}"
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("id", "address", "state", "cadence", "hour", "what", "since"):
        shown.add_column(name, overflow="fold")
    for one in rows:
        wanted = one.preferences
        wishes = (*wanted.topics, *([f"“{wanted.query}”"] if wanted.query else ()))
        what = _OF_ITSELF.get(wanted.cadence) or ", ".join(wishes) or "what trends"
        since = f"{one.consent_at:%Y-%m-%d}" if one.consent_at else ""
        hour = "" if wanted.cadence in _OF_ITSELF else f"{wanted.hour}:00 {wanted.zone}"
        shown.add_row(str(one.id), Text(one.address), one.state, wanted.cadence, hour, Text(what), since)
    return shown


def _told(one: Subscription) -> dict[str, Any]:
    """All but what makes tokens."""
    from dataclasses import asdict

    return {name: value for name, value in asdict(one).items() if name != "seed"}
