"""`foveal serve`: the web app, on this machine or for a group."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import Home, notes
from foveal.cli.scaling import OnRay, RayAddress, on_cluster
from foveal.errors import FovealError, InputError
from foveal.registry import METHODS

if TYPE_CHECKING:
    from fastapi import FastAPI

    from foveal.scale.serving import Parts
    from foveal.settings import Settings
    from foveal.web.models import Models
    from foveal.web.settings import WebSettings
    from foveal.web.site import Site

CONNECTIONS = 2000
"""Connections beside the streams; more get 503 at once, before anything of them is read."""

LOCAL = ("127.0.0.1", "localhost", "::1")

REPLICAS = 4
"""Of each deployment, at most, where nobody says."""

OPEN_FILES = 16_384
"""Connections and files that may be open, where the system lets us have so many."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8_000,
    demo: Annotated[
        bool, typer.Option("--demo", help="A site filled with invented papers, in a home of its own.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="A name that the site is reached by (repeatable); '*' is any.")
    ] = None,
    url: Annotated[
        str, typer.Option(help="What feeds and mails call the site, such as https://papers.example.org.")
    ] = "",
    writers: Annotated[
        str | None,
        typer.Option(
            help="Who may add documents, ask and research: nobody, members (whoever is signed in; moderators remove), "
            "or anyone (who may remove, too). Default: as foveal.toml says; else anyone on this machine itself, "
            "without a --name or --url that others know (nor such a url in \\[mail]), and nobody elsewhere."
        ),
    ] = None,
    writable: Annotated[
        bool | None, typer.Option("--writable/--read-only", help="Short for --writers anyone, and --writers nobody.")
    ] = None,
    invited_only: Annotated[
        bool, typer.Option("--invited-only", help="Only people that `foveal admin user add` added may sign in.")
    ] = False,
    answerer: Annotated[
        str | None, typer.Option(help="Model that answers and researches, of the server at --answerer-url.")
    ] = None,
    answerer_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible server of --answerer, such as http://127.0.0.1:8080/v1.")
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            help="How windows attend to themselves when a document is read or asked: auto (by their length), "
            f"{', '.join(METHODS)} (docs/attention.md; default: as foveal.toml says, else auto)."
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=64,
            help="Tokens of a document that are read at once; a method may begin at more (default: as foveal.toml "
            "says, else 768).",
        ),
    ] = None,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Offer the library, reader and papers as tools of assistants, at /mcp.")
    ] = False,
    allow_changes: Annotated[
        bool,
        typer.Option("--allow-changes", help="With --mcp: tools that add and remove, too, for whom --writers lets."),
    ] = False,
    ray: OnRay = False,
    ray_address: RayAddress = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help=f"With --ray: most replicas of encoder, ranker and reader (default: {REPLICAS})."),
    ] = None,
    home: Home = None,
) -> None:
    """Open the web app: the daily papers, the library, reading, asking and research.

    While it runs, sources are read and the digest is sent at the hours of foveal.toml. With --ray encoder, ranker and
    reader are replicas on a Ray cluster, as many as are busy.
    """
    _check_partners(answerer, answerer_url, replicas, ray=ray or bool(ray_address), mcp=mcp, changes=allow_changes)
    from foveal.registry import require
    from foveal.settings import Settings

    writers = _writers(writers, writable=writable)
    named = _name_in(url) if url else ""
    from rich.markup import escape

    with notes().status("Starting …"):
        uvicorn = require("uvicorn", extra="web")
        for module in ("fastapi", "jinja2", "nh3", "latex2mathml", "python_multipart", "prometheus_client"):
            require(module, extra="web")
        from foveal.web.app import create_app
        from foveal.web.background import Background
        from foveal.web.models import LocalModels
        from foveal.web.serving import attentive, server_config
        from foveal.web.site import SiteSettings

    settings = Settings.load(home)
    if demo:
        settings = _demo_home(settings)
    web = _web_settings(settings)
    local = host in LOCAL
    names = [*(name or []), *([named] if named else [])]
    mailed = _named_in_mails(settings)
    public = _is_public(host, [*names, *mailed])
    options = SiteSettings(
        base_url=url.rstrip("/"),
        hosts=tuple(dict.fromkeys([*SiteSettings().hosts, *names, *mailed, *([] if local or names else ["*"])])),
        writers=writers or web.writers or ("nobody" if public else "anyone"),
        sign_up=not invited_only,
        demo=demo,
    )
    given: dict[str, Any] = {"attention": attention, "window": window}
    web = replace(web, **{name: one for name, one in given.items() if one is not None})
    models: Models = LocalModels(
        cache=settings.cache, url=answerer_url, answerer=answerer, served=settings,
        kept_mb=web.memory_mb,
    )  # fmt: skip
    with (
        _replicas(settings, replicas or REPLICAS, ray=ray, address=ray_address) as parts,
        _listening(host, port) as listening,
    ):
        app = create_app(settings, options, models=models if parts is None or answerer else parts, web=web)
        if parts is not None:
            _use(app.state.site, parts)
        if mcp:
            _offer_tools(app, changes=allow_changes)
        shown = "localhost" if local else f"[{host}]" if ":" in host else host
        address = escape(f"http://{shown}:{listening.getsockname()[1]}")
        _open_files()
        if not (writers or web.writers) and options.writers == "nobody":
            _say(web, "Visitors may look, but not add, ask or remove: --writers members lets people who sign in.")
        if options.writers == "members" and options.sign_up and public:
            _say(web, "Anybody with an address may sign in, and then add and ask: --invited-only lets in whom you add.")
        _say(web, f"Open [bold]{address}[/]   (Ctrl-C stops it)")
        config = server_config(
            app,
            log_config=None if _in_json(web) else uvicorn.config.LOGGING_CONFIG,
            timeout_graceful_shutdown=5,
            limit_concurrency=web.streams + CONNECTIONS,
        )
        app.openapi()  # now: FastAPI mutes a warning of pydantic's for it, which threads that load models would undo
        with Background(app.state.site), attentive():
            uvicorn.Server(config).run(sockets=[listening])


def _check_partners(
    answerer: str | None, url: str | None, replicas: int | None, *, ray: bool, mcp: bool, changes: bool
) -> None:
    """Wrong usage: an option without the one that it goes with."""
    if bool(answerer) != bool(url):
        raise typer.BadParameter("--answerer and --answerer-url go together: the model, and the server to ask it at.")
    if replicas is not None and not ray:
        raise typer.BadParameter("--replicas goes with --ray or --ray-address: replicas are what a Ray cluster runs.")
    if changes and not mcp:
        raise typer.BadParameter("--allow-changes goes with --mcp: it is about the tools that are offered there.")


def _offer_tools(app: FastAPI, *, changes: bool) -> None:
    """Mount the tools of assistants."""
    from foveal.registry import require

    require("mcp", extra="mcp")
    from foveal.agents.http import mount

    mount(app, changes=changes)


def _writers(writers: str | None, *, writable: bool | None) -> str | None:
    """Who may write, as asked for; None: nobody says. Wrong usage: it is said twice."""
    if writable is None:
        return writers
    if writers is not None:
        raise typer.BadParameter("--writers says who may write: leave --writable and --read-only out.")
    return "anyone" if writable else "nobody"


def _name_in(url: str) -> str:
    """The name in the address of the site. Wrong usage: it is no address, or one below another site's."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        name = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        name = None
    if name and (parts.path.strip("/") or parts.query or parts.fragment):
        raise typer.BadParameter(
            f"--url got {url!r}; a site has a name of its own, without a path behind it: https://papers.example.org."
        )
    if not name:
        raise typer.BadParameter(f"--url got {url!r}; it needs the site's address, such as https://papers.example.org.")
    return name


def _named_in_mails(settings: Settings) -> list[str]:
    """What links in mails call the site: who follows one is to arrive, though nobody gave --url."""
    from foveal.papers.mail.settings import load_mail

    mail = load_mail(settings)
    return [mail.host_name] if mail.host and mail.url else []


def _is_public(host: str, names: Sequence[str]) -> bool:
    """Whether others reach the site: it listens to them, or a proxy of this machine does, and calls it by a name."""
    return host not in LOCAL or any(name not in LOCAL for name in names)


def _open_files() -> None:
    """Ask the system for as many as `CONNECTIONS` and the library need: a service often gets 1,024 at first."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Waiting(logging.Handler):
    """Keeps records until it is known how they are to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _web_settings(settings: Settings) -> WebSettings:
    """How the site runs; what is warned of while that is read is logged as it says."""
    from foveal.web.settings import load_web

    logger, waiting = logging.getLogger("foveal"), _Waiting()
    before, logger.handlers = logger.handlers, [waiting]
    try:
        web = load_web(settings)
        logger.handlers = before
        _log_and_trace(web)
        return web
    finally:
        if waiting in logger.handlers:  # the settings cannot be read
            logger.handlers = before
        for record in waiting.records:
            logger.handle(record)


def _in_json(web: WebSettings) -> bool:
    """Whether all that is said is JSON: for a program that reads it, one plain line is one that it cannot read."""
    from foveal.cli.output import logs_json

    return web.log == "json" or logs_json()


def _say(web: WebSettings, text: str) -> None:
    """A remark to whoever starts the site: on the terminal, or in a log that is JSON throughout."""
    if not _in_json(web):
        notes().print(text)
        return
    from rich.text import Text

    logger = logging.getLogger("foveal.web.start")
    logger.setLevel(logging.INFO)
    logger.info(Text.from_markup(text).plain)


def _log_and_trace(web: WebSettings) -> None:
    """As the home's settings say."""
    from foveal.cli.output import json_to_stderr

    if _in_json(web):
        json_to_stderr("foveal", "uvicorn")
    if web.log == "json":
        logging.getLogger("foveal.web.requests").setLevel(logging.INFO)
    if web.traces:
        from foveal.web.tracing import set_up

        set_up()


@contextmanager
def _replicas(settings: Settings, most: int, *, ray: bool, address: str | None) -> Iterator[Parts | None]:
    """Encoder, ranker and reader on a cluster, where one was asked for."""
    if not (ray or address):
        yield None
        return
    from foveal.library import Library

    encoder = Library.open(settings=settings).store.settings["encoder"]
    with on_cluster(address):
        from foveal.models.language import DEFAULT
        from foveal.scale.serving import Served, served

        own = None if encoder == "none" else encoder
        plan = Served(encoder=own, reader=DEFAULT, cache=settings.cache, home=settings.home, most=most)
        with notes().status("Deploying encoder, ranker and reader …") as status, served(plan) as parts:
            status.stop()
            yield parts


def _use(site: Site, parts: Parts) -> None:
    """Let a site encode and rank by replicas. LibraryError: their encoder is not the one of its library."""
    site.rankers = parts.rankers
    if parts.encoder is not None:
        parts.encoder.require(site.library.store.settings["fingerprint"])
        site.library.encoder = parts.encoder


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there. InputError: it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, port))
        except OSError as error:
            raise InputError(
                f"Nothing can be served at {host}, port {port} ({error.strerror}). Choose another; --port 0 takes one "
                "that is free."
            ) from error
        yield made


def _demo_home(settings: Settings) -> Settings:
    """A home of its own in the cache, with the invented papers of today, and documents added while it is looked at."""
    from foveal import faults
    from foveal.database import Database
    from foveal.papers import sample

    home = settings.cache / "demo-site"
    made = replace(settings, home=home, database="sqlite", library_at="home")
    database = Database.open(made)
    sample.load(database, faults.now().date())
    database.close()
    threading.Thread(target=_add_documents, args=(made,), daemon=True).start()
    return made


def _add_documents(settings: Settings) -> None:
    """Python's manual and the READMEs at hand: what the Library and Ask pages show."""
    from foveal.library import Library
    from foveal.text.sample import manual, readmes

    try:
        Library.open(settings=settings).add_documents([*readmes(), *manual()])
    except FovealError as error:
        notes().print(f"The demo's library is not filled: {error}", markup=False)
