"""bench papers, audit: every public view of the site as Google's Lighthouse marks it, in a headless Chromium.

Lighthouse opens each page as a phone would and gives 0 to 100 for accessibility (axe's rules, weighted) and for best
practices (errors in the console, images of another shape, missing doctype, unsafe links, …); besides, no rule that axe
calls serious may be broken. The site is the demo of `foveal serve --demo`, in both themes. Needs Node.js (npx fetches
Lighthouse) and a Chromium on the path.

Source    github.com/GoogleChrome/lighthouse, run as it is
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foveal.bench.papers_serve import serving
from foveal.bench.settings import BenchSettings
from foveal.database import Database
from foveal.errors import FovealError, InputError
from foveal.evaluation.tables import Row
from foveal.settings import Settings

LIGHTHOUSE = "lighthouse@12.8.2"
CATEGORIES = {"accessibility": "accessibility", "best-practices": "best practices"}
LEAST = 95
SERIOUS = 7
"""Weight from which on a rule of accessibility is one that axe calls serious (7) or critical (10)."""
WITHIN_S, ENDS_S = 300, 5
"""Seconds that Lighthouse has for a page, and to end when it is stopped."""
THEMES = {"light": 1, "dark": 0}
"""Chromium's `preferredColorScheme`."""


def audit(settings: BenchSettings) -> Iterator[Row]:
    """Three rows for each view and theme. InputError: no Node.js, or no Chromium."""
    lighthouse, chromium = _tools()
    with tempfile.TemporaryDirectory(prefix="foveal-bench-") as folder:
        views = _filled(replace(Settings.load(folder), database="sqlite"))
        with serving(Path(folder), ready_s=0) as address:
            for name, path in list(views.items())[: 3 if settings.quick else None]:
                for theme in list(THEMES)[: 1 if settings.quick else None]:
                    yield from _rows(f"{name}, {theme}", _marked(lighthouse, chromium, address + path, theme))


def _tools() -> tuple[list[str], str]:
    """How Lighthouse is called, and which browser it takes."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise InputError("bench papers-audit looks at pages in a browser, and found none. Install Chromium.")
    installed, npx = shutil.which("lighthouse"), shutil.which("npx")
    if installed is None and npx is None:
        raise InputError("bench papers-audit runs Lighthouse, which needs Node.js (npx). Install it.")
    return ([installed] if installed else [str(npx), "--yes", LIGHTHOUSE]), chromium


def _filled(home: Settings) -> dict[str, str]:
    """The demo's papers in a home; addresses of the views that anybody may open."""
    from foveal.papers import sample
    from foveal.papers.periods import Period
    from foveal.papers.store import PaperStore

    database = Database.open(home)
    sample.load(database, datetime.now(UTC).date())
    store = PaperStore(database)
    day = store.latest_day()
    if day is None:
        raise FovealError("The demo's papers have no day. This is a mistake of the bench: report it.")
    paper = store.page(period=Period.around("day", day)).papers[0].id
    database.close()
    return {
        "day": f"/papers/date/{day}",
        "search": "/papers?q=attention",
        "paper": f"/papers/{paper}",
        "trending": "/papers/trending",
        "month": f"/papers/month/{day:%Y-%m}",
        "orders": "/papers/rankings",
        "topics": "/topics",
        "submit": "/papers/submit",
        "collections": "/collections",
        "library": "/library",
        "ask": "/ask",
        "research": "/research",
        "sign in": "/login",
        "subscribe": "/subscribe",
        "API": "/api",
    }


def _marked(lighthouse: list[str], chromium: str, address: str, theme: str) -> dict[str, Any]:
    """What Lighthouse says of a page. FovealError: it could not look at it."""
    flags = f"--headless --no-sandbox --blink-settings=preferredColorScheme={THEMES[theme]}"
    command = [*lighthouse, address, "--quiet", "--output=json", f"--chrome-flags={flags}"]
    command.append(f"--only-categories={','.join(CATEGORIES)}")
    try:
        output, complaints = _told(command, os.environ | {"CHROME_PATH": chromium})
    except subprocess.TimeoutExpired as error:
        said = f"Lighthouse was not done with {address} after {WITHIN_S} s, and was stopped."
        raise FovealError(f"{said} Try again while the machine does little else.") from error
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise FovealError(f"Lighthouse did not look at {address}: {complaints.strip()[-300:]}") from error
    if found.get("runtimeError"):
        raise FovealError(f"Lighthouse did not look at {address}: {found['runtimeError'].get('message')}")
    return found


def _told(command: list[str], environment: dict[str, str]) -> tuple[str, str]:
    """What a command writes, and its complaints. One that is stopped goes with what it began: npx has Lighthouse for a
    child, and Lighthouse, at an interrupt, stops its Chromium.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            return process.communicate(timeout=WITHIN_S)
        except BaseException:
            for how in (signal.SIGINT, signal.SIGKILL):
                with suppress(ProcessLookupError):  # all ended by themselves
                    os.killpg(process.pid, how)
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=ENDS_S)  # until none is left that could write
            raise


def _rows(system: str, found: dict[str, Any]) -> Iterator[Row]:
    for key, name in CATEGORIES.items():
        category = found["categories"][key]
        short = {
            one["id"]: one["weight"]
            for one in category["auditRefs"]
            if one["weight"] and (score := found["audits"][one["id"]]["score"]) is not None and score < 1
        }
        yield Row.of(system, name, 100 * category["score"], at_least=LEAST, note=", ".join(short))
        if key == "accessibility":  # a mark of 95 may hide one that keeps somebody out
            grave = [rule for rule, weight in short.items() if weight >= SERIOUS]
            yield Row.of(system, "serious rules of axe that are broken", len(grave), at_most=0, note=", ".join(grave))
