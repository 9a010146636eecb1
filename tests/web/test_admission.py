"""Who may come in: a gate by its plain definition, refusals that are quick, turns that end when the answer begins."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading_site import made_app
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from foveal.web import admission
from foveal.web.admission import Admission, Gate, Refused, kind_of
from foveal.web.settings import WebSettings


class Plain:
    """A gate by its definition: two lists."""

    def __init__(self, room: int, waiting: int) -> None:
        self.room, self.waiting = room, waiting
        self.inside, self.queue, self.refused = list[int](), list[int](), 0

    def come(self, number: int) -> None:
        if len(self.inside) < self.room:
            self.inside.append(number)
        elif len(self.queue) < self.waiting:
            self.queue.append(number)
        else:
            self.refused += 1

    def leave(self) -> None:
        self.inside.pop(0)
        if self.queue:
            self.inside.append(self.queue.pop(0))


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 3), st.integers(0, 4))
def test_a_gate_holds_its_room_and_its_queue_and_keeps_the_order(steps: list[bool], room: int, waiting: int) -> None:
    """True: somebody comes; False: the first who is inside leaves."""

    async def walked() -> None:
        gate, entered, tasks = Gate(room, waiting, 60.0), list[int](), dict[int, asyncio.Task[None]]()
        plain = Plain(room, waiting)

        async def come(number: int) -> None:
            await gate.enter()
            entered.append(number)

        for number, comes in enumerate(steps):
            if comes:
                tasks[number] = asyncio.create_task(come(number))
                plain.come(number)
            elif plain.inside:
                gate.leave(0.0)
                plain.leave()
            for _ in range(4):
                await asyncio.sleep(0)
            assert (gate.inside, gate.queued, gate.refused) == (len(plain.inside), len(plain.queue), plain.refused)
            assert entered == sorted(entered)
            assert entered[-len(plain.inside) :] == plain.inside or not plain.inside
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    asyncio.run(walked())


def test_who_gives_up_waiting_takes_no_turn() -> None:
    async def walked() -> None:
        gate = Gate(1, 5, 60.0)
        await gate.enter()
        first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert gate.queued == 1
        gate.leave(0.1)
        await asyncio.wait_for(second, 1)
        assert (gate.inside, gate.queued) == (1, 0)

    asyncio.run(walked())


def test_patience_ends_in_a_refusal_that_says_how_long_the_queue_is() -> None:
    async def walked() -> None:
        gate = Gate(2, 50, 0.05, mean_s=0.5)
        for _ in range(2):
            await gate.enter()
        waiting = [asyncio.create_task(gate.enter()) for _ in range(20)]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, Refused) for one in found)
        assert found[0].seconds == 5  # nineteen behind it, half a second each, two at a time
        assert (gate.inside, gate.queued, gate.refused) == (2, 0, 20)

    asyncio.run(walked())


def called(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def test_an_overloaded_app_refuses_at_once_and_answers_those_that_are_in() -> None:
    begun = 0

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0.2)
        await PlainTextResponse("made")(scope, receive, send)

    async def walked() -> None:
        gates: dict[str, Gate] = {}
        app = Admission(slow, settings=WebSettings(pages_at_once=2, pages_waiting=3), gates=gates)
        async with called(app) as client:

            async def one(path: str) -> tuple[float, httpx.Response]:
                start = time.perf_counter()
                answer = await client.get(path)
                return time.perf_counter() - start, answer

            found = await asyncio.gather(*(one("/papers/trending") for _ in range(40)))
            refused = [(seconds, answer) for seconds, answer in found if answer.status_code == 503]
            assert (len(refused), begun) == (35, 5)
            assert max(seconds for seconds, _ in refused) < 0.15
            assert all(1 <= int(answer.headers["retry-after"]) <= 60 for _, answer in refused)
            said = await asyncio.gather(*(one("/api/papers/2605.01234") for _ in range(8)))
            assert {"error"} == {key for _, answer in said if answer.status_code == 503 for key in answer.json()}
            assert (gates["page"].inside, gates["page"].queued) == (0, 0)

    asyncio.run(walked())


def test_who_reads_slowly_holds_no_room() -> None:
    async def dripping() -> Any:
        yield b"a"
        await asyncio.sleep(0.3)
        yield b"b"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(dripping())(scope, receive, send)

    async def walked() -> None:
        gates: dict[str, Gate] = {}
        async with called(
            Admission(app, settings=WebSettings(pages_at_once=1, pages_waiting=1), gates=gates)
        ) as client:
            found = await asyncio.gather(*(client.get("/topics") for _ in range(2)))
            start = time.perf_counter()
            more = await asyncio.gather(*(client.get("/topics") for _ in range(2)))
            assert time.perf_counter() - start < 0.55
            assert {one.status_code for one in [*found, *more]} == {200}
            streams = await asyncio.gather(*(client.get("/jobs/x/events") for _ in range(3)))
            assert {one.status_code for one in streams} == {200}

    asyncio.run(walked())


def test_a_body_that_stops_coming_ends_in_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "SLOW_S", 0.1)

    async def stuck() -> Any:
        yield b"email=a"
        await asyncio.sleep(30)

    async def walked() -> int:
        headers = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        async with called(made_app(tmp_path)) as client:
            answer = await asyncio.wait_for(client.post("/login", content=stuck(), headers=headers), 10)
            return answer.status_code

    assert asyncio.run(walked()) == 408


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("GET /", "page"),
        ("GET /papers?q=attention", "search"),
        ("GET /papers?p=2", "page"),
        ("GET /papers/2605.01234/similar", "search"),
        ("GET /api/papers/search?q=x", "search"),
        ("GET /feed/q/attention.xml", "search"),
        ("GET /feed/day.xml", "page"),
        ("GET /feed/topic/sparse.xml", "search"),
        ("GET /topics", "page"),
        ("GET /topics/sparse", "search"),
        ("GET /following", "search"),
        ("GET /following/feed/1-abc.xml", "search"),
        ("POST /following/feed", "write"),
        ("GET /library?q=mill", "search"),
        ("GET /library?where=&%71=mill", "search"),
        ("GET /library?seq=1", "page"),
        ("GET /library?q=&retriever=&rank=", "page"),
        ("GET /library?q=mill&retriever=&rank=", "search"),
        ("GET /library?q=mill&rank=pairwise", "rank"),
        ("GET /papers?r%61nk=pairwise&q=mill", "rank"),
        ("GET /topics/sparse?rank=pairwise", "rank"),
        ("GET /jobs/abc/events", "stream"),
        ("GET /static/papers.css", "free"),
        ("GET /health", "free"),
        ("HEAD /papers", "page"),
        ("POST /ask", "write"),
        ("POST /library/add", "upload"),
        ("DELETE /vote/2605.01234", "write"),
        ("GET /papers/submit", "page"),
        ("GET /papers/submit?id=2605.01234", "fetch"),
        ("POST /papers/submit", "fetch"),
        ("POST /api/papers", "fetch"),
        ("POST /api/library/files", "upload"),
        ("POST /api/library", "write"),
        ("GET /api/library/search?q=mill", "search"),
        ("GET /api/library/search?q=mill&rank=pairwise", "rank"),
        ("GET /api/jobs/abc/events", "stream"),
        ("POST /v1/chat/completions", "stream"),
        ("GET /v1/models", "page"),
        ("POST /v1/embeddings", "rank"),
    ],
)
def test_what_a_request_costs(address: str, kind: str) -> None:
    method, _, rest = address.partition(" ")
    path, _, query = rest.partition("?")
    assert kind_of({"type": "http", "method": method, "path": path, "query_string": query.encode()}) == kind


FORM = {"content-type": "multipart/form-data; boundary=b", "sec-fetch-site": "same-origin"}
BEGUN = b'--b\r\nContent-Disposition: form-data; name="files"; filename="mill.txt"\r\n\r\nThe mill'


def from_(app: ASGIApp, address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(address, 1)), base_url="http://localhost")


def test_uploads_that_trickle_are_few_of_one_address_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form may come as slowly as that: it holds no room."""
    monkeypatch.setattr(admission, "SLOW_S", 0.5)
    monkeypatch.setattr(admission, "SLOWEST", 1)

    async def trickling() -> Any:
        yield BEGUN
        for _ in range(3000):
            await asyncio.sleep(0.01)
            yield b"."

    async def walked() -> None:
        app = made_app(tmp_path)
        async with from_(app, "9.9.9.9") as one, from_(app, "8.8.8.8") as other, from_(app, "127.0.0.1") as owner:

            async def sent(client: httpx.AsyncClient) -> httpx.Response:
                return await client.post("/library/add", content=trickling(), headers=FORM)

            begun = time.perf_counter()
            told = await asyncio.wait_for(asyncio.gather(*(sent(client) for client in [one] * 6 + [other] * 2)), 20)
            assert sorted(answer.status_code for answer in told[:6]) == [408] * 4 + [429] * 2
            assert [answer.status_code for answer in told[6:]] == [408] * 2
            assert time.perf_counter() - begun < 10
            refused = next(answer for answer in told if answer.status_code == 429)
            assert "4 uploads of yours are under way already" in refused.text
            assert refused.headers["retry-after"] == "20"
            assert app.state.gates["upload"].inside == 0
            again = await asyncio.gather(*(sent(client) for client in [one] * 4 + [owner] * 6))
            assert {answer.status_code for answer in again} == {408}  # none of them counts any more

    asyncio.run(walked())


def test_where_visitors_only_look_an_upload_is_refused_before_it_comes(tmp_path: Path) -> None:
    read = 0

    async def counted() -> Any:
        nonlocal read
        for _ in range(50):
            read += 1
            yield BEGUN

    async def walked() -> None:
        async with from_(made_app(tmp_path, writers="nobody"), "9.9.9.9") as client:
            answer = await client.post("/library/add", content=counted(), headers=FORM)
            assert (answer.status_code, "Visitors may look around" in answer.text) == (403, True)

    asyncio.run(walked())
    assert read <= 1
