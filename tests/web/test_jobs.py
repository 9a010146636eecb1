"""Long jobs: their turns, what is told and told again, cancelling, forgetting, and an end by Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import HTTPException
from reading_site import STORY, Held, OwnModels, made_app, served, visiting, wait_for

from foveal.errors import FetchFailed, InputError
from foveal.web.job import Job, JobSettings
from foveal.web.jobs import Jobs


@dataclass
class Task:
    """A `Work` that does what it is given."""

    do: Callable[[Job], object]
    title: str = "A task"
    lane: str = "one"

    def page(self, key: str) -> str:
        return f"/jobs/{key}"

    def __call__(self, job: Job) -> None:
        self.do(job)


@dataclass
class Gate:
    """What a task waits at, looking whether it is cancelled."""

    def __post_init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, job: Job) -> None:
        while not self.go.wait(0.005):
            job.cancel.check()


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs(JobSettings(waiting=3, kept=4, events=50, every_s=0.0, grace_s=2.0))
    yield made
    made.close()


def ended(job: Job) -> Job:
    wait_for(lambda: job.over)
    return job


def test_a_job_tells_what_happens_in_order(jobs):
    def work(job: Job) -> None:
        job.progressed("half", 1, 2)
        job.said("a line")
        job.tell("words", text="<b>")

    job = ended(jobs.start(Task(work)))
    assert (job.state, job.error, job.log) == ("done", None, ["a line"])
    events = job.since(0)
    assert [event.kind for event in events] == ["progress", "said", "words", "end"]
    assert [event.id for event in events] == sorted({event.id for event in events})
    assert events[-1].id == job.last
    assert dict(events[0].data) == {"text": "half", "done": 1, "total": 2}


def test_whoever_comes_back_gets_just_the_rest(jobs):
    job = ended(jobs.start(Task(lambda job: [job.tell("words", text=str(n)) for n in range(20)])))
    everything = job.since(0)
    for place, event in enumerate(everything):
        assert job.since(event.id) == everything[place + 1 :]
    assert job.since(job.last) == []


def test_what_is_too_old_to_be_told_again_is_said_to_be(jobs):
    job = ended(jobs.start(Task(lambda job: [job.tell("words", text=str(n)) for n in range(200)])))
    assert len(job.since(job.last - 10)) == 10
    again = job.since(5)
    assert [(event.kind, event.id) for event in again] == [("again", job.last)]


def test_progress_that_is_overtaken_leaves_no_trace_but_numbers_go_on(jobs):
    job = ended(jobs.start(Task(lambda job: [job.progressed("on", n, 1000) for n in range(1000)])))
    assert [event.kind for event in job.since(0)] == ["progress", "end"]
    assert job.since(0)[0].data["done"] == 999
    assert job.last > 1000


def test_jobs_of_a_lane_take_turns_and_others_do_not_wait(jobs):
    order, gate = [], Gate()
    first = jobs.start(Task(gate))
    wait_for(lambda: first.state == "running")
    second = jobs.start(Task(lambda _: order.append("second")))
    third = jobs.start(Task(lambda _: order.append("third")))
    other = jobs.start(Task(lambda _: order.append("other"), lane="two"))
    ended(other)
    assert order == ["other"]
    assert [jobs.ahead(job) for job in (first, second, third)] == [0, 1, 2]
    assert second.progress.text == "Waiting: 1 job goes first"
    assert jobs.unfinished("one") == [first, second, third]
    gate.go.set()
    ended(third)
    assert order == ["other", "second", "third"]


def test_as_many_run_at_once_as_the_settings_say():
    jobs, running, most = Jobs(JobSettings(running=3, waiting=20)), [0], [0]
    lock = threading.Lock()

    def work(_: Job) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1

    for job in [jobs.start(Task(work)) for _ in range(12)]:
        ended(job)
    assert most[0] == 3


def test_more_than_may_wait_are_refused(jobs):
    gate = Gate()
    for _ in range(5):
        jobs.start(Task(gate))
    with pytest.raises(HTTPException) as refused:
        jobs.start(Task(gate))
    assert refused.value.status_code == 503
    assert refused.value.headers["Retry-After"]


def test_an_error_of_ours_is_its_sentence_and_one_that_nobody_foresaw_gives_nothing_away(jobs, caplog):
    def ours(_: Job) -> None:
        raise FetchFailed("The server was too slow.")

    def theirs(_: Job) -> None:
        raise KeyError("the secret place")

    assert ended(jobs.start(Task(ours))).error == "The server was too slow."
    failed = ended(jobs.start(Task(theirs)))
    assert failed.state == "failed"
    assert "secret" not in failed.error
    assert "KeyError" in failed.error
    assert "the secret place" in caplog.text
    assert f"the job {failed.id} (one) failed" in caplog.text
    assert failed.work.title not in caplog.text  # which is what somebody asked
    assert ended(jobs.start(Task(lambda _: None))).state == "done"  # the lane is free again


def test_a_panic_of_rust_ends_a_job_and_frees_its_lane(jobs, caplog):
    class PanicException(BaseException):
        """As pyo3 derives it: no Exception."""

    def panics(_: Job) -> None:
        raise PanicException("called `Option::unwrap()` on a `None` value")

    failed = ended(jobs.start(Task(panics)))
    assert failed.state == "failed"
    assert "PanicException" in failed.error
    assert "unwrap" in caplog.text
    assert ended(jobs.start(Task(lambda _: None))).state == "done"


@pytest.mark.parametrize("where", ["the beginning", "the end"])
def test_a_lane_is_free_again_whatever_goes_wrong_around_a_job(jobs, monkeypatch, where):
    class Away:
        """A keeping whose database driver fails in a way that it does not know."""

        def __getattr__(self, name):
            return lambda *_: None

        def begun(self, _):
            raise OSError("the driver")

    def shut():
        raise RuntimeError("the event loop is closed")

    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda told: raised.append(told.exc_value))
    gate = Gate()
    jobs.keeping = Away() if where == "the beginning" else None
    job = jobs.start(Task(gate))
    if where == "the beginning":
        assert ended(job).state == "failed"
    else:
        waits = jobs.start(Task(lambda _: None))
        with job.watched(shut):
            gate.go.set()
            wait_for(lambda: job.over and raised)
        assert ended(waits).state == "done"
    jobs.keeping = None
    assert ended(jobs.start(Task(lambda _: None))).state == "done"
    wait_for(lambda: raised)
    assert [type(one) for one in raised] == [OSError if where == "the beginning" else RuntimeError]


def test_a_job_has_all_threads_also_where_a_model_took_one_as_it_began(jobs, monkeypatch):
    import torch

    from foveal.models import threads

    monkeypatch.setattr(threads, "MOST", 3)
    found = []
    with threads.with_threads(1):
        ended(jobs.start(Task(lambda _: found.append(torch.get_num_threads()))))
    assert found == [3]


class NoThread(threading.Thread):
    """What the system does not give."""

    def start(self):
        raise RuntimeError("can't start new thread")


def test_a_lane_goes_on_though_the_system_gave_no_thread(jobs, monkeypatch):
    """A job that gets no thread waits, and begins at a later look."""
    with monkeypatch.context() as none_left:
        none_left.setattr("foveal.web.jobs.threading.Thread", NoThread)
        first, second = jobs.start(Task(lambda _: None)), jobs.start(Task(lambda _: None))
        assert (first.state, second.state) == ("waiting", "waiting")
        assert first.progress.text == "Waiting: the server is too busy"
        jobs.go_on()
        assert first.state == "waiting"
    jobs.go_on()
    assert [ended(job).state for job in (first, second)] == ["done", "done"]


def test_what_looks_after_jobs_begins_those_that_could_not(tmp_path: Path, monkeypatch):
    with visiting(made_app(tmp_path)) as visitor:
        jobs = visitor.client.app.state.site.jobs
        with monkeypatch.context() as none_left:
            none_left.setattr("foveal.web.jobs.threading.Thread", NoThread)
            job = jobs.start(Task(lambda _: None))
        assert ended(job).state == "done"


def test_a_page_says_what_went_wrong_without_where_things_lie_and_the_log_says_all(tmp_path: Path, caplog):
    def broken(_):
        raise InputError(f"{tmp_path}/models/mine/ranker.json is damaged; see {tmp_path / 'cache'}/x, {Path.home()}/y.")

    site = made_app(tmp_path).state.site
    job = ended(site.jobs.start(Task(broken)))
    assert job.error == "HOME/models/mine/ranker.json is damaged; see CACHE/x, ~/y."
    assert f"{tmp_path}/models/mine/ranker.json is damaged" in caplog.text
    site.close()


def test_cancel_ends_a_running_job_and_one_that_waits_never_runs(jobs):
    ran, gate = [], Gate()
    first, second = jobs.start(Task(gate)), jobs.start(Task(ran.append))
    jobs.cancel(second)
    assert second.state == "cancelled"
    jobs.cancel(first)
    ended(first)
    assert (first.state, ran) == ("cancelled", [])
    jobs.cancel(first)  # once more changes nothing
    assert [event.kind for event in first.since(0)].count("end") == 1


def test_the_oldest_that_ended_are_forgotten_and_those_that_run_are_not(jobs):
    gate = Gate()
    running = jobs.start(Task(gate, lane="two"))
    done = [ended(jobs.start(Task(lambda _: None))) for _ in range(6)]
    assert jobs.get(running.id) is running
    assert [jobs.get(job.id) for job in done[2:]] == done[2:]
    for job in done[:2]:
        with pytest.raises(HTTPException, match="not kept here any more"):
            jobs.get(job.id)


def test_an_old_one_is_forgotten():
    jobs = Jobs(JobSettings(age_s=0.05))
    job = ended(jobs.start(Task(lambda _: None)))
    assert jobs.get(job.id) is job
    time.sleep(0.06)
    with pytest.raises(HTTPException):
        jobs.get(job.id)


def test_close_cancels_all_and_nothing_starts_after(jobs):
    running, waiting = jobs.start(Task(Gate())), jobs.start(Task(Gate()))
    jobs.close()
    assert (running.state, waiting.state) == ("cancelled", "cancelled")
    with pytest.raises(HTTPException):
        jobs.start(Task(Gate()))


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"running": 0}, {"kept": 0}, {"events": 0}, {"waiting": -1}, {"age_s": -1.0}):
        with pytest.raises(InputError):
            JobSettings(**wrong)


# -- pages and streams ---------------------------------------------------------------------------------------------


def events_of(lines: Iterator[str]) -> Iterator[tuple[int, str, dict[str, object]]]:
    """What an event stream says: number, kind, data."""
    fields: dict[str, str] = {}
    silences = 0
    for line in lines:
        silences += line.startswith(":")
        assert silences < 5, "A minute long nothing came."
        if not line and "data" in fields:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
        if not line:
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def asked(base: str, question: str = "Who is the keeper of the tide mill?") -> str:
    """Ask by a form, as a browser does: the job's page."""
    with httpx.Client(base_url=base, timeout=60) as client:
        token = client.get("/ask").text.split('data-token="')[1].split('"')[0]
        return client.post("/ask", data={"token": token, "question": question}).headers["location"]


def test_a_stream_comes_as_it_happens_and_goes_on_where_it_broke_off(tmp_path: Path):
    held = Held()
    app = made_app(tmp_path, OwnModels(held))
    with visiting(app) as visitor:
        visitor.add(("mill.md", STORY.encode()))
    with served(made_app(tmp_path, OwnModels(held))) as base:
        page = asked(base)
        stream = f"{base}/jobs/{page.rpartition('/')[2]}/events"
        with httpx.stream("GET", stream, timeout=60) as first:
            assert first.headers["content-type"].startswith("text/event-stream")
            got = []
            for event in events_of(first.iter_lines()):
                got.append(event)
                if event[1] == "words":  # the answer has begun and is held: this came while it went on
                    break
        assert held.began.wait(5)
        assert '<meta http-equiv="refresh"' in httpx.get(base + page, timeout=60).text
        held.go.set()
        resumed = httpx.get(stream, headers={"last-event-id": str(got[-1][0])}, timeout=60)
        rest = list(events_of(iter(resumed.text.split("\n"))))
        numbers = [number for number, _, _ in got + rest]
        assert numbers == sorted(set(numbers))
        assert rest[-1][1:] == ("end", {"state": "done", "page": page})
        words = "".join(str(data["text"]) for _, kind, data in got + rest if kind == "words")
        assert words == "# The mill It stands at the river. [1]"  # as the model says it, nothing twice or left out
        assert httpx.get(stream, headers={"last-event-id": str(numbers[-1])}).status_code == 204
        assert httpx.get(f"{stream}?after={numbers[-1]}").status_code == 204
        assert "event: end" in httpx.get(stream, headers={"last-event-id": "9" * 5000}).text  # no number of ours: anew
        assert '<meta http-equiv="refresh"' not in httpx.get(base + page, timeout=60).text


def test_a_stream_of_a_job_that_is_not_there_is_404(tmp_path: Path):
    with visiting(made_app(tmp_path)) as visitor:
        assert visitor.client.get("/jobs/nothing/events").status_code == 404
        assert "not kept here any more" in visitor.client.get("/jobs/nothing").text


def test_cancel_is_a_guarded_form(tmp_path: Path):
    held = Held()
    app = made_app(tmp_path, OwnModels(held))
    with visiting(app) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        page = visitor.post("/ask", question="Who is the keeper?")
        assert held.began.wait(5)
        key = page.url.path.rpartition("/")[2]
        assert visitor.client.post(f"/jobs/{key}/cancel").status_code == 403
        assert not app.state.site.jobs.get(key).cancel.cancelled
        text = visitor.waited(visitor.post(f"/jobs/{key}/cancel"))
        assert "It was cancelled." in text
        assert app.state.site.jobs.get(key).state == "cancelled"


def test_a_job_that_waits_says_so_without_javascript(tmp_path: Path):
    held = Held()
    with visiting(made_app(tmp_path, OwnModels(held))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        visitor.post("/ask", question="Who is the keeper?")
        second = visitor.post("/ask", question="What may nobody do on Sundays?")
        assert "Waiting: 1 job goes first" in second.text
        assert '<noscript><meta http-equiv="refresh"' in second.text
        assert visitor.client.get(f"/jobs/{second.url.path.rpartition('/')[2]}").status_code == 200
        held.go.set()
        assert "Where it stands" in visitor.waited(second)


SERVER = """
import sys, threading
from pathlib import Path
import uvicorn
from reading_site import made_app
from test_jobs import Gate, Task
app = made_app(Path(sys.argv[1]))
job = app.state.site.jobs.start(Task(Gate()))
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=100))
def say():
    while not server.started:
        pass
    print(server.servers[0].sockets[0].getsockname()[1], job.id, flush=True)
threading.Thread(target=say, daemon=True).start()
try:
    server.run()
except KeyboardInterrupt:  # as the server hands it on
    print(job.state, flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_ends_streams_and_jobs_at_once(tmp_path: Path):
    tests = Path(__file__).parents[1]
    code = f"import sys; sys.path[:0] = [{str(tests)!r}, {str(tests / 'web')!r}]\n{SERVER}"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout
            port, key = child.stdout.readline().split()
            with httpx.stream("GET", f"http://localhost:{port}/jobs/{key}/events", timeout=60) as response:
                lines = response.iter_lines()
                assert next(lines) == "retry: 1000"
                begun = time.monotonic()
                child.send_signal(signal.SIGINT)
                list(lines)  # comes to an end
            assert child.stdout.read().strip() == "cancelled"
            assert time.monotonic() - begun < 60  # the server would have waited for the stream longer
        finally:
            child.kill()
