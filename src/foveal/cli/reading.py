"""read: one text answers a question, each answer with the place that it stands at."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.answers import Watch, loading
from foveal.cli.asking import (
    DEFAULT_MODEL,
    MODELS,
    Answerer,
    Attention,
    Url,
    calibrated,
    is_act,
    language_model,
    memory_in,
    not_empty,
    server,
)
from foveal.cli.citing import Cite
from foveal.cli.output import AsJson, Home, notes
from foveal.cli.reading_shown import show
from foveal.cli.reading_sources import opened_source
from foveal.cli.scaling import OnRay, RayAddress, on_cluster
from foveal.errors import FovealError, InputError
from foveal.registry import READERS, lookup

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel
    from foveal.reading import InfiniRetri, Reading, ReadSettings
    from foveal.reading.looking import SpreadLooking
    from foveal.reading.sources import Text as Readable
    from foveal.settings import Settings

EFFORTS: dict[str, dict[str, float | int]] = {"quick": {"effort": 0.1}, "normal": {}, "full": {"follow": 4}}
"""quick reads the most promising tenth of the text; full takes a larger second look."""

LONG = 60_000
"""Characters of a text from which on a reading keeps its state without being asked to."""

REMARK = (
    "This will take about {minutes} minutes. --effort quick reads the most promising tenth; Ctrl-C keeps what was read."
)


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(read)


def read(
    source: Annotated[str, typer.Argument(help="A path, URL, arXiv id, document of the library, or - for stdin.")],
    question: Annotated[str, typer.Argument(callback=not_empty)],
    also: Annotated[
        list[str] | None, typer.Option("--also", help="Another question in the same pass.", callback=not_empty)
    ] = None,
    model: Annotated[str, typer.Option(help=f"Model that reads: {MODELS}.")] = DEFAULT_MODEL,
    window: Annotated[int, typer.Option(min=64, help="Tokens of text that are read at once.")] = 768,
    budget: Annotated[int, typer.Option(min=32, help="Most tokens of what is kept.")] = 1024,
    mode: Annotated[str, typer.Option(help="map (each window by itself) or sequential (with what was kept).")] = "map",
    effort: Annotated[str, typer.Option(help=f"{', '.join(EFFORTS)}, or the share of the text to read.")] = "normal",
    follow: Annotated[
        int | None, typer.Option(min=0, max=16, help="Windows of a second look, at what the first finds lead to.")
    ] = None,
    attention: Attention = "auto",
    row_beta: Annotated[
        float,
        typer.Option(min=0, max=1, help="What attention sinks keep when sentences are scored; 1: all (docs/act.md)."),
    ] = 1.0,
    int8: Annotated[
        bool, typer.Option(help="Look at the text in int8 where the processor is faster at it; answers never are.")
    ] = True,
    reader: Annotated[
        str,
        typer.Option(
            help="infiniretri (every window, with the question in hand) or titans (once, into a memory that is kept)."
        ),
    ] = "infiniretri",
    memory: Annotated[
        str | None, typer.Option(help="A memory that `train titans-reader` made: its name, or its folder.")
    ] = None,
    url: Url = None,
    answerer: Answerer = None,
    resume: Annotated[
        Path | None, typer.Option(help="State file to go on from; made if it is not there.", dir_okay=False)
    ] = None,
    passages_only: Annotated[
        bool, typer.Option("--passages-only", help="Show what was kept, as it stands in the text; do not answer.")
    ] = False,
    encoding: Annotated[str | None, typer.Option(help="Encoding of SOURCE, where it cannot be told.")] = None,
    ray: OnRay = False,
    ray_address: RayAddress = None,
    cite: Cite = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read all of SOURCE and answer QUESTION from the sentences that the question looks at."""
    from foveal.settings import Settings

    settings = Settings.load(home)
    questions = [question, *(also or [])]
    if effort not in EFFORTS:
        _share(effort)  # said before a model is loaded, as is a wrong mode
    if mode not in ("map", "sequential"):
        raise typer.BadParameter(f"--mode got {mode!r}; there are map and sequential.")
    own = {"mode": mode == "map", "effort": effort == "normal", "follow": follow is None, "window": window == 768}
    own |= {"row-beta": row_beta == 1, "no-int8": int8}  # of the passes over a text
    if reader != "infiniretri" or memory:
        from foveal.cli import reading_titans

        lookup(READERS, reader, kind="reader")
        _require_titans(reader, own | {"attention": attention == "auto"})
        reading_titans.read(
            source, questions, settings, model=model, chat=server(url, answerer, settings), memory=memory,
            budget=budget, state=resume, answer=not passages_only, encoding=encoding, as_json=as_json, cite=cite,
        )  # fmt: skip
        return
    from_kept = memory_in(attention)
    if from_kept:
        own |= {"budget": budget == 1024, "url": url is None, "answerer": answerer is None, "resume": resume is None}
        own |= {"passages-only": not passages_only, "ray": not ray, "ray-address": ray_address is None}
        _require_usual(own, f"not for --attention {attention}, which answers from all of a text that was read before")
    text = opened_source(source, settings, encoding)
    if from_kept:
        readings = _kept(source, text, questions, model, settings, attention, home)
        show(text, readings, as_json=as_json, passages_only=False, cite=cite)
        return
    chat = server(url, answerer, settings)
    loaded = language_model(model, settings, at_once=not (ray or ray_address))  # first: a wrong name is said at once
    from foveal.reading import InfiniRetri
    from foveal.reading.answering_settings import settings_for

    asked = _read_settings(window=window, budget=budget, mode=mode, effort=effort, follow=follow)
    asked = replace(asked, attention="auto" if is_act(attention) else attention, row_beta=row_beta, int8=int8)
    if chat or not (ray or ray_address):  # with a cluster there are no weights here yet
        from foveal.models.local_chat import LocalChat

        asked = replace(asked, answer=settings_for(chat or LocalChat(loaded), budget))
    if is_act(attention):
        chat = calibrated(attention, chat, loaded, settings)
    with _looking(loaded, asked, settings, ray=ray, address=ray_address) as looking:
        reads = InfiniRetri(loaded, asked, answerer=chat, home=settings.home, looking=looking)
        state = resume or _state(text, questions, reads, settings)
        readings = watched(reads, text, questions, state, not passages_only)
    show(text, readings, as_json=as_json, passages_only=passages_only, cite=cite)


@contextmanager
def _looking(
    model: LanguageModel, asked: ReadSettings, settings: Settings, *, ray: bool, address: str | None
) -> Iterator[SpreadLooking | None]:
    """What scores windows: a cluster where one was asked for; None: the reader itself. Wrong usage: in sequence."""
    if not (ray or address):
        yield None
        return
    if asked.mode == "sequential":
        raise typer.BadParameter("--ray goes with --mode map: in sequence each window waits for the one before it.")
    with on_cluster(address) as connected:
        from foveal.scale.reading import RayLooking

        options = {"attention": asked.attention, "row_beta": asked.row_beta, "int8": asked.int8}
        yield RayLooking.of(model, connected, settings.home, **options)


def _require_titans(reader: str, usual: dict[str, bool]) -> None:
    """Wrong usage: options of one reader were given with the other."""
    if reader != "titans":
        raise typer.BadParameter("--memory goes with --reader titans.")
    _require_usual(usual, "not for --reader titans, which reads every text once, whole")


def _require_usual(usual: dict[str, bool], why: str) -> None:
    """Wrong usage: options were given that would change nothing; `usual` says which are as they are by default."""
    given = [f"--{name}" for name, left in usual.items() if not left]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: {why}.")


def _kept(
    source: str,
    text: Readable,
    questions: Sequence[str],
    model: str,
    settings: Settings,
    attention: str,
    home: Path | None,
) -> tuple[Reading, ...]:
    """Answers from the text as `foveal prefill --keep` has kept it; nothing of it is read again.

    InputError: it is not kept, by this method, for this model.
    """
    from foveal.cli.prefill import by_home, by_model
    from foveal.models.language import fingerprint_of
    from foveal.reading import Done
    from foveal.reading.kept import KeptText, folder_of

    with loading(model) as on_progress:
        fingerprint = fingerprint_of(model, cache=settings.cache, on_progress=on_progress)
    folder = folder_of(text, fingerprint, settings.home, attention)
    if not folder.is_dir():
        raise InputError(
            f"No text is kept of {source}, as it is now, by {attention} for {model}. Keep it by:\n"
            f"foveal prefill {shlex.quote(source)} --keep --attention {attention}{by_model(model)}{by_home(home)}"
        )
    reader = language_model(model, settings)
    kept = KeptText(reader, text, folder, home=settings.home)
    readings: list[Reading] = []
    with Watch() as watch:
        for question in questions:
            for event in kept.stream(question):
                watch.show(event)
                if isinstance(event, Done):
                    readings += event.readings
    every = [one.stats for one in readings]
    spent = {name: sum(getattr(one, name) for one in every) for name in ("forward_tokens", "seconds")}
    stats = replace(every[-1], **spent)  # each question had a pass of its own
    return tuple(replace(one, stats=stats) for one in readings)


def _read_settings(*, window: int, budget: int, mode: str, effort: str, follow: float | None) -> ReadSettings:
    from foveal.reading import ReadSettings

    chosen: dict[str, Any] = dict(EFFORTS[effort]) if effort in EFFORTS else {"effort": _share(effort)}
    if follow is not None:
        chosen["follow"] = follow
    return ReadSettings(window=window, budget=budget, mode=mode, **chosen)  # type: ignore[arg-type]


def _share(effort: str) -> float:
    try:
        share = float(effort)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise typer.BadParameter(f"--effort got {effort!r}; it needs {', '.join(EFFORTS)}, or a share such as 0.25.")
    return share


def _state(text: Readable, questions: Sequence[str], reader: InfiniRetri, settings: Settings) -> Path | None:
    """Where a long reading keeps its state: in a place of its own, so that the same command goes on from it."""
    if text.characters < LONG:
        return None
    heads = reader.looking.profile.heads  # other heads after `foveal calibrate`: another reading
    kind = [text.document_id, text.revision, questions, reader.model.name, heads, asdict(reader.settings)]
    key = hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:16]
    folder = settings.home / "runs" / "read"
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(there, os.W_OK):  # a home that others may only read: a reading needs nothing of it
        notes().print(f"{there} cannot be written to: stopped, this reading would begin again.", markup=False)
        return None
    return folder / f"{key}.json"


def watched(
    reader: InfiniRetri, text: Readable, questions: Sequence[str], state: Path | None, answer: bool = True
) -> tuple[Reading, ...]:
    """Read, showing how far it is; the state is deleted once there is an answer."""
    from foveal.reading import Done

    remark = REMARK if reader.settings.effort == 1 else ""
    events = reader.stream(text, questions, state, answer=answer)
    with Watch(remark) as watch, _resumable(watch, state), closing(events):
        for event in events:
            watch.show(event)
            if isinstance(event, Done):
                readings = event.readings
    if state:
        state.unlink(missing_ok=True)
    return readings


@contextmanager
def _resumable(watch: Watch, state: Path | None) -> Iterator[None]:
    """Say how to go on after Ctrl-C, or after a failure in the middle."""
    try:
        yield
    except (KeyboardInterrupt, FovealError):
        if state and state.exists() and watch.windows:
            own = [] if any(one.split("=")[0] == "--resume" for one in sys.argv) else ["--resume", str(state)]
            command = shlex.join(["foveal", *sys.argv[1:], *own])
            notes().print(f"{watch.windows} windows are read. To go on:\n{command}", markup=False, soft_wrap=True)
        raise
