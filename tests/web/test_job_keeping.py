"""Jobs outlive their process: killed, stopped, or beside another server over the same home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from postgres import emptied
from reading_site import FACT, STORY, Held, OwnModels, made_app, text_of, visiting, wait_for
from sqlalchemy.exc import OperationalError
from test_jobs import events_of

from foveal import faults
from foveal.errors import InputError
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.job import Job, JobSettings
from foveal.web.job_keeping import Keeping
from foveal.web.jobs import Jobs
from foveal.web.kept_jobs import Beat, KeptJob
from foveal.web.site import SiteSettings

QUESTION = "Who is the keeper of the tide mill?"

SERVER = """
import sys, threading
from pathlib import Path
import uvicorn
from reading_site import Held, OwnModels, made_app
app = made_app(Path(sys.argv[1]), OwnModels(Held()))
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
def say():
    while not server.started:
        pass
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
threading.Thread(target=say, daemon=True).start()
server.run()
"""
"""A server whose model begins to answer, and never goes on."""


@contextmanager
def child(home: Path, **variables: str) -> Iterator[tuple[Any, str]]:
    """A server in a process of its own, and its address; it is dead when the block ends."""
    tests = Path(__file__).parents[1]
    code = f"import sys; sys.path[:0] = [{str(tests)!r}, {str(tests / 'web')!r}]\n{SERVER}"
    command = [sys.executable, "-c", code, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}) as process:
        try:
            assert process.stdout
            yield process, f"http://localhost:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def sent(base: str, path: str, files: Any = None, **fields: str) -> str:
    """Send a form as a browser does: the address of the job's page."""
    with httpx.Client(base_url=base, timeout=60) as client:
        token = client.get("/ask").text.split('data-token="')[1].split('"')[0]
        return client.post(path, data={"token": token, **fields}, files=files).headers["location"]


def ended_page(app: FastAPI, page: str) -> str:
    """The page of a job, once it shows an end."""
    with visiting(app) as visitor:
        wait_for(lambda: "data-events" not in visitor.client.get(page).text)
        return str(visitor.client.get(page).text)


def filled(home: Path) -> Path:
    with visiting(made_app(home)) as visitor:
        visitor.add(("mill.md", STORY.encode()))
    return home


@pytest.mark.slow
def test_a_question_that_a_killed_server_was_at_is_answered_by_the_next(tmp_path: Path) -> None:
    filled(tmp_path)
    with child(tmp_path) as (process, base):
        first, second = (sent(base, "/ask", question=f"{QUESTION} {number}") for number in (1, 2))
        wait_for(lambda: "# The" in httpx.get(base + first).text or "mill" in httpx.get(base + first).text)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with visiting(made_app(tmp_path)) as visitor:
        for page in (first, second):
            wait_for(lambda page=page: "data-events" not in visitor.client.get(page).text)
            assert FACT in text_of(visitor.client.get(page).text)
    assert FACT in text_of(ended_page(made_app(tmp_path), first))  # it is kept, whichever process is asked


def test_an_upload_that_a_killed_server_had_acknowledged_is_in_the_library(tmp_path: Path) -> None:
    filled(tmp_path)
    with child(tmp_path, FOVEAL_FAULTS="store.passages-written=kill") as (process, base):
        page = sent(base, "/library/add", files=[("files", ("wheel.md", b"# The wheel\n\nIt has twelve paddles."))])
        process.wait(60)
        assert process.returncode == -signal.SIGKILL
    app = made_app(tmp_path)
    text = text_of(ended_page(app, page))
    assert "is in the library now" in text
    assert len(app.state.site.library.documents()) == 2
    assert text_of(ended_page(made_app(tmp_path), page)) == text


def test_a_server_that_is_stopped_hands_on_what_is_not_done(tmp_path: Path) -> None:
    filled(tmp_path)
    held = Held()
    app = made_app(tmp_path, OwnModels(held))
    with visiting(app) as visitor:
        pages = [visitor.post("/ask", question=f"{QUESTION} {number}").url.path for number in (1, 2)]
        assert held.began.wait(10)
        assert "mill" in visitor.client.get(pages[0]).text
    for page in pages:
        assert FACT in text_of(ended_page(made_app(tmp_path), page))


def test_a_stop_keeps_the_file_that_was_sent(tmp_path: Path) -> None:
    app = made_app(filled(tmp_path))
    with app.state.site.library.store.writing(), visiting(app) as visitor:  # somebody else adds: the job waits
        answer = visitor.post("/library/add", [("files", ("wheel.md", b"# The wheel\n\nIt has twelve paddles."))])
        page = answer.url.path
        wait_for(lambda: "another process is adding" in visitor.client.get(page).text)
    assert "is in the library now" in text_of(ended_page(made_app(tmp_path), page))


def test_a_cancelled_job_is_not_taken_up_again(tmp_path: Path) -> None:
    filled(tmp_path)
    held = Held()
    with visiting(made_app(tmp_path, OwnModels(held))) as visitor:
        running, waiting = (visitor.post("/ask", question=f"{QUESTION} {number}").url.path for number in (1, 2))
        assert held.began.wait(10)
        for page in (waiting, running):
            visitor.waited(visitor.post(f"/jobs/{page.rpartition('/')[2]}/cancel"))
    with visiting(made_app(tmp_path)) as visitor:
        visitor.client.app.state.site.jobs.keeping.look()
        for page in (waiting, running):
            assert "It was cancelled." in visitor.client.get(page).text


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_two_servers_over_one_database_show_each_others_jobs(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = emptied(request.getfixturevalue("postgres")) if kind == "postgres" else "sqlite"
    settings = Settings(home=tmp_path, cache=tmp_path / "cache", encoder="none", database=url)

    def served_by(models: Any) -> FastAPI:
        app = create_app(settings, SiteSettings(), models=models)
        app.state.site.jobs.keeping._beat_s = 0.05
        return app

    held = Held()
    with visiting(served_by(OwnModels(held))) as one, visiting(served_by(OwnModels(Held()))) as two:
        added = one.post("/library/add", [("files", ("mill.md", STORY.encode()))]).url.path
        wait_for(lambda: "is in the library now" in two.client.get(added).text)
        page = one.post("/ask", question=QUESTION).url.path
        assert held.began.wait(10)
        wait_for(lambda: "Writing the answer" in two.client.get(page).text)
        stream = f"/jobs/{page.rpartition('/')[2]}/events"
        seen: list[tuple[int, str, dict[str, object]]] = []

        def look_on() -> None:
            with two.client.stream("GET", stream) as answer:
                seen.extend(events_of(answer.iter_lines()))

        watching = threading.Thread(target=look_on)
        watching.start()
        wait_for(lambda: not two.client.app.state.site.jobs.open_jobs())
        held.go.set()
        watching.join(30)
        assert [kind for _, kind, _ in seen][-1] == "end"
        assert [number for number, _, _ in seen] == sorted({number for number, _, _ in seen})
        assert FACT in text_of(two.client.get(page).text)
        assert (
            text_of(one.client.get(page).text).split(" s ·")[0] == text_of(two.client.get(page).text).split(" s ·")[0]
        )


def test_a_page_of_another_server_cancels_a_job(tmp_path: Path) -> None:
    filled(tmp_path)
    held = Held()
    app = made_app(tmp_path, OwnModels(held))
    app.state.site.jobs.keeping._beat_s = 0.05
    with visiting(app) as one, visiting(made_app(tmp_path)) as two:
        page = one.post("/ask", question=QUESTION).url.path
        assert held.began.wait(10)
        waiting = one.post("/ask", question=f"{QUESTION} Again.").url.path
        wait_for(lambda: "Waiting: 1 job goes first" in two.client.get(waiting).text)
        assert two.post(f"/jobs/{page.rpartition('/')[2]}/cancel").status_code == 200
        wait_for(lambda: "It was cancelled." in one.client.get(page).text)
        wait_for(lambda: "It was cancelled." in two.client.get(page).text)


class Away:
    """Jobs of a database that is away while `gone`."""

    holder = "x"

    def __init__(self) -> None:
        self.gone = False
        self.ends: list[tuple[str, str]] = []

    def _try(self) -> None:
        if self.gone:
            raise OperationalError("UPDATE", {}, Exception("connection refused"))

    def put(self, *_: object) -> None:
        self._try()

    def begun(self, _: str) -> bool:
        self._try()
        return True

    def ended(self, key: str, state: str, **_: Any) -> bool:
        self._try()
        self.ends.append((key, state))
        return True

    def beat(self, _: object) -> Any:
        self._try()
        return Beat({}, [])

    def let_go(self, _: object) -> None:
        self._try()


class Task:
    """Work that waits for its gate."""

    title, lane, kind = "A task", "one", "ask"

    def __init__(self) -> None:
        self.gate = threading.Event()

    def page(self, key: str) -> str:
        return f"/jobs/{key}"

    def to_row(self) -> dict[str, Any]:
        return {}

    def result(self) -> dict[str, Any]:
        return {}

    def __call__(self, _: Job) -> None:
        self.gate.wait(20)


def test_while_the_database_is_away_nothing_new_is_accepted_and_no_end_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away, jobs, task = Away(), Jobs(JobSettings(every_s=0.0)), Task()
    keeping = Keeping(jobs, lambda: away, lambda *_: task)  # type: ignore[arg-type, return-value]
    jobs.keeping = keeping
    job = jobs.start(task)
    away.gone = True
    with pytest.raises(OperationalError):
        jobs.start(Task())
    task.gate.set()
    wait_for(lambda: f"how the job {job.id} ended is stored later" in caplog.text)
    assert (job.state, away.ends) == ("done", [])
    with pytest.raises(OperationalError):
        away.beat({})
    away.gone = False
    keeping.beat()
    assert away.ends == [(job.id, "done")]
    jobs.close()


class Picky(Away):
    """A database that refuses what came of one job, and fails at whatever it is told of another."""

    refused = failing = ""

    def ended(self, key: str, state: str, **_: Any) -> bool:
        if key == self.failing:
            raise OperationalError("UPDATE", {}, Exception("row is too big"))
        if (key, state) == (self.refused, "done"):
            raise InputError("A number is too large for the database.")
        return super().ended(key, state)


def test_an_end_that_cannot_be_stored_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    picky, jobs, tasks = Picky(), Jobs(JobSettings(every_s=0.0)), [Task() for _ in range(4)]
    jobs.keeping = keeping = Keeping(jobs, lambda: picky, lambda *_: tasks[0])  # type: ignore[arg-type, return-value]
    begun = [jobs.start(task) for task in tasks]
    picky.refused, picky.failing = begun[0].id, begun[1].id
    tasks[2].result = lambda: {}["no such key"]  # type: ignore[method-assign]
    for task in tasks:
        task.gate.set()

    def stored() -> bool:
        keeping.beat()
        return len(picky.ends) == 3 and f"how the job {begun[1].id} ended is stored later" in caplog.text

    wait_for(stored)  # a job is over a little before its end is told
    assert sorted(picky.ends) == sorted([(begun[0].id, "failed"), (begun[2].id, "failed"), (begun[3].id, "done")])
    assert f"what came of the job {begun[0].id} cannot be stored" in caplog.text
    picky.failing = ""
    keeping.beat()
    assert picky.ends[-1] == (begun[1].id, "done")
    jobs.close()


def test_one_address_cannot_fill_the_queue() -> None:
    jobs = Jobs(JobSettings(of_one=1), people=lambda whose: 2 if whose == "9.9.9.9" else 1)
    tasks = [Task() for _ in range(4)]
    for task in tasks[:2]:
        jobs.start(task, whose="9.9.9.9")
    with pytest.raises(HTTPException) as refused:
        jobs.start(tasks[2], whose="9.9.9.9")
    assert refused.value.status_code == 429
    assert refused.value.headers["Retry-After"]
    jobs.start(tasks[2], whose="8.8.8.8")
    with pytest.raises(HTTPException):
        jobs.start(tasks[3], whose="8.8.8.8")
    jobs.start(tasks[3])
    for task in tasks:
        task.gate.set()
    jobs.close()


class Told:
    """A database in which another process has taken all jobs over."""

    def __init__(self) -> None:
        self.asked: dict[str, dict[str, Any]] = {}

    def put(self, key: str, _: str, asked: dict[str, Any]) -> None:
        self.asked[key] = asked

    def begun(self, _: str) -> bool:
        return True

    def beat(self, jobs: dict[str, Any]) -> Beat:
        return Beat({}, list(jobs))

    def ended(self, *_: Any, **__: Any) -> bool:
        return False

    def find(self, key: str) -> KeptJob:
        return KeptJob(key, "ask", self.asked[key], "running", {}, None, "", 1, faults.now())

    def let_go(self, _: object) -> None: ...


class Dropped(Task):
    """A task that would delete what it was given, once nobody does it."""

    kept = True

    def dropped(self, _: Job) -> None:
        self.kept = False


def test_a_waiting_job_that_another_process_has_is_shown_by_that_one_and_keeps_its_file() -> None:
    jobs, first, second = Jobs(JobSettings(every_s=0.0)), Task(), Dropped()
    jobs.keeping = keeping = Keeping(jobs, lambda: Told(), lambda *_: second)  # type: ignore[arg-type, return-value]
    jobs.start(first)
    waits = jobs.start(second, whose="9.9.9.9")
    keeping.beat()
    first.gate.set()
    assert (waits.over, second.kept) == (True, True)
    assert jobs.get(waits.id).state == "running"
    jobs.close()


def test_a_job_of_another_process_is_of_whoever_asked_for_it() -> None:
    told, seen = Told(), list[Any]()

    def rebuilt(_: str, asked: Any, __: Any) -> Task:
        seen.append(asked)
        return Task()

    one, two = Jobs(JobSettings(every_s=0.0)), Jobs(JobSettings(every_s=0.0))
    for jobs in (one, two):
        jobs.keeping = Keeping(jobs, lambda: told, rebuilt)  # type: ignore[arg-type, return-value]
    task = Task()
    key = one.start(task, whose="9.9.9.9").id
    assert two.get(key).whose == "9.9.9.9"
    assert seen == [{}]  # what was asked, as it was
    told.asked[key] = {}  # of an older Foveal
    assert two.get(key).whose == ""
    task.gate.set()
    one.close()
