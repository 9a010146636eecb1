"""The library in OpenAI's chat protocol, asked by OpenAI's own client and by ours over a real server."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from members import member
from reading.speakers import Quoter, Scripted
from reading_site import STORY, Held, OwnModels, made_app, served, wait_for

from foveal.errors import DatabaseError, FetchFailed, InputError
from foveal.library import Library
from foveal.models.chat import ChatModel, Messages
from foveal.models.openai_chat import OpenAIChat
from foveal.papers import accounts, personal_data, tokens
from foveal.settings import Settings
from foveal.types import Document
from foveal.web import signed_in, streams
from foveal.web.admission import WRITES
from foveal.web.app import create_app
from foveal.web.job import Job, JobSettings
from foveal.web.models import LocalModels, Models
from foveal.web.settings import WebSettings
from foveal.web.site import SiteSettings

QUESTION = "Who is the keeper of the tide mill?"
SAID = "# The mill It stands at the river. [1]"
"""What the quoter says."""

ROLES = ("user", "assistant")
MODEL = {"model": "foveal", "messages": [{"role": "user", "content": QUESTION}]}


def with_mill(
    home: Path, speaker: ChatModel | None = None, *, models: Models | None = None, text: str = STORY, **options: Any
) -> FastAPI:
    """The app over a library of one document."""
    settings = Settings(home=home, cache=home / "cache", encoder="none")
    Library.open(settings=settings).add_documents([Document.of("x:mill", text, "The mill")])
    return made_app(home, models or OwnModels(speaker or Quoter()), **options)


@contextmanager
def client_of(app: FastAPI, key: str = "none") -> Iterator[openai.OpenAI]:
    """OpenAI's own client at a server of the app; it does not try again."""
    with served(app) as base, openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with client_of(with_mill(tmp_path_factory.mktemp("chat"), api_per_hour=0)) as made:
        yield made


def ask(client: openai.OpenAI, *said: Any, **fields: Any) -> Any:
    """The message that answers a talk: the user begins, and speaks last."""
    return answered(client, *said, **fields).choices[0].message


def answered(client: openai.OpenAI, *said: Any, **fields: Any) -> Any:
    """The whole answer."""
    talk = [{"role": ROLES[place % 2], "content": one} for place, one in enumerate(said or (QUESTION,))]
    return client.chat.completions.create(**{"model": "foveal", "messages": talk, **fields})


# -- answers -----------------------------------------------------------------------------------------------------------


def test_an_answer_comes_with_its_places_as_a_text_and_as_the_api_has_them(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(model="foveal", messages=[{"role": "user", "content": QUESTION}])
    assert (told.object, told.model, told.choices[0].finish_reason) == ("chat.completion", "foveal", "stop")
    assert told.usage.completion_tokens == len(SAID)  # the quoter counts characters
    assert told.usage.prompt_tokens > len(QUESTION)
    assert told.usage.total_tokens == told.usage.prompt_tokens + told.usage.completion_tokens
    message = told.choices[0].message
    site = str(client.base_url).removesuffix("/v1/")
    first, second = message.content.split("\n\n")
    assert first == SAID
    quote, title, link = re.fullmatch(r"\[1\] “(.+)” \[(.+)\]\((.+)\)", second).groups()
    assert (quote, title) == ("It stands at the river.", "The mill")
    assert link.startswith(f"{site}/library/")
    marked = re.findall(r"<mark[^>]*>(.*?)</mark>", httpx.get(link).text, re.DOTALL)
    assert "It stands at the river." in " ".join(marked)

    begun = httpx.post(f"{site}/api/ask", json={"question": QUESTION}).json()
    jobs: list[Any] = []
    wait_for(lambda: jobs.append(httpx.get(site + begun["url"]).json()) or jobs[-1]["state"] == "done")
    assert {**message.answer, "seconds": 0} == {**jobs[-1]["answer"], "seconds": 0}
    assert message.answer["citations"][0]["quote"] in STORY


def test_a_stream_tells_the_draft_as_it_comes_then_the_answer(client: openai.OpenAI) -> None:
    asked = {"model": "foveal", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    chunks = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))
    assert {(one.object, one.model) for one in chunks} == {("chat.completion.chunk", "foveal")}
    assert len({one.id for one in chunks}) == 1
    *rest, usage = chunks
    deltas = [one.choices[0].delta for one in rest]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert "".join(getattr(one, "reasoning_content", "") for one in deltas) == SAID
    whole = ask(client)
    assert [one.content for one in deltas if one.content] == [whole.content]
    assert [one.choices[0].finish_reason for one in rest] == [None] * (len(rest) - 1) + ["stop"]
    assert {**deltas[-1].answer, "seconds": 0} == {**whole.answer, "seconds": 0}
    assert (usage.choices, usage.usage.completion_tokens, rest[-1].usage) == ([], len(SAID), None)
    assert usage.usage.total_tokens == usage.usage.prompt_tokens + len(SAID)
    assert all(one.usage is None and one.choices for one in client.chat.completions.create(**asked))
    raw = httpx.post(f"{client.base_url}chat/completions", json=asked)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.text.endswith("\n\ndata: [DONE]\n\n")


def test_what_waits_is_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.02)
    held = Held()
    asked = MODEL | {"stream": True}
    with (
        served(with_mill(tmp_path, held)) as base,
        httpx.stream("POST", f"{base}/v1/chat/completions", json=asked, timeout=60) as answer,
    ):
        lines = answer.iter_lines()
        assert held.began.wait(30)
        for _ in range(3):
            wait_for(lambda: next(lines) == ": still here")
        held.go.set()
        assert [line for line in lines if line][-1] == "data: [DONE]"


def test_foveal_asks_foveal(client: openai.OpenAI) -> None:
    ours = OpenAIChat("foveal", str(client.base_url))
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    assert ours.chat(talk).startswith(f"{SAID}\n\n[1] “")
    assert "".join(ours.stream(talk)) == ours.chat(talk)
    with pytest.raises(InputError, match=r"no model 'magic'.*It has: foveal, foveal:lexical"):
        OpenAIChat("magic", str(client.base_url)).chat(talk)


def test_models_are_the_retrievers(client: openai.OpenAI) -> None:
    names = [one.id for one in client.models.list()]
    assert names[:3] == ["foveal", "foveal:lexical", "foveal:dense"]
    assert client.models.retrieve("foveal:lexical").id == "foveal:lexical"
    listed, one = httpx.get(f"{client.base_url}models/"), httpx.get(f"{client.base_url}models/foveal:lexical/")
    assert (listed.status_code, [each["id"] for each in listed.json()["data"]]) == (200, names)
    assert one.json() == {"id": "foveal:lexical", "object": "model", "created": 0, "owned_by": "foveal"}
    unknown = httpx.get(f"{client.base_url}models/gpt/")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert unknown.json()["error"]["message"].startswith("There is no model 'gpt' here.")
    assert ask(client, model="foveal:lexical").answer["found"]
    with pytest.raises(openai.BadRequestError, match="searched by words only"):
        ask(client, model="foveal:dense")
    with pytest.raises(openai.NotFoundError, match="There are: foveal, foveal:lexical") as refused:
        client.models.retrieve("gpt")
    assert refused.value.code == "model_not_found"


def test_parts_of_text_are_a_text_and_all_scripts_are_kept(tmp_path: Path) -> None:
    text = "Das Museum am Fluß gründete Jürgen. 博物馆由王明管理。\n"
    with client_of(with_mill(tmp_path, text=text)) as client:
        parts = [{"type": "text", "text": "谁管理"}, {"type": "text", "text": "das Museum am Fluß? 🕰"}]
        message = ask(client, parts)
        assert message.question == "谁管理 das Museum am Fluß? 🕰"
        assert message.answer["citations"][0]["quote"] == "Das Museum am Fluß gründete Jürgen."
        raw = httpx.post(
            f"{client.base_url}chat/completions",
            content=rb'{"model": "foveal", "messages": [{"role": "user", "content": "Museum \ud800"}]}',
            headers={"content-type": "application/json"},
        )
        assert raw.json()["choices"][0]["message"]["question"] == "Museum \ufffd"


def test_that_it_is_not_in_the_library_is_an_answer_too(tmp_path: Path) -> None:
    with client_of(with_mill(tmp_path, Scripted("Not found."))) as client:
        message = ask(client)
    said, nearest, place = message.content.split("\n\n")
    assert (said, nearest) == ("Nothing in the library answers this.", "What comes nearest:")
    assert place.startswith("[1] “")
    assert (message.answer["found"], message.answer["citations"]) == (False, [])


def test_what_nothing_bears_out_is_said(tmp_path: Path) -> None:
    with client_of(with_mill(tmp_path, Scripted("Zebras graze nearby. [1]"))) as client:
        message = ask(client)
    assert "Not borne out by the text: “Zebras graze nearby.”" in message.content
    assert message.answer["unsupported"] == ["Zebras graze nearby."]


def test_texts_and_models_write_no_link_no_picture_and_no_html(tmp_path: Path) -> None:
    from markdown_it import MarkdownIt

    trap = "The keeper ![x](http://evil.example/a.png) <img src=http://evil.example> is Orsin Vale."
    app = with_mill(tmp_path, Scripted(f"{trap} [1]\n```"), text=f"{trap}\n")
    with client_of(app) as client:
        shown = MarkdownIt("commonmark").render(ask(client).content)
    assert "<img" not in shown
    assert re.findall(r'href="([^"]*)"', shown) != []
    assert "evil.example" not in " ".join(re.findall(r'href="([^"]*)"', shown))


# -- the talk before ---------------------------------------------------------------------------------------------------


class Rewriting(Quoter):
    """A server's model that knows what “it” is; of what it is not asked to rewrite it quotes."""

    def reply(self, messages: Messages) -> str:
        if "The question by itself:" not in messages[-1]["content"]:
            return super().reply(messages)
        self.asked.append(messages)
        return "Question: “Who built the tide mill?”\n"


BEFORE = ("What stands at the river?", "The tide mill. [1]")


def test_a_servers_model_puts_a_follow_up_in_words_that_stand_by_themselves(tmp_path: Path) -> None:
    speaker = Rewriting()
    models = LocalModels(url="http://127.0.0.1:9/v1", answerer="large", _chat=speaker)
    with client_of(with_mill(tmp_path, models=models)) as client:
        first = ask(client, "What stands at the river?")
        assert (len(speaker.asked), first.content.startswith(SAID)) == (1, True)  # nothing was said before
        told = answered(client, *BEFORE, "And who built it?")
    message = told.choices[0].message
    assert message.question == "Who built the tide mill?"
    assert message.content.split("\n\n")[:2] == ["Understood as: “Who built the tide mill?”", SAID]
    rewriting, answering = (asked[-1]["content"] for asked in speaker.asked[1:])
    assert told.usage.prompt_tokens == len(rewriting) + len(answering)
    assert "User: What stands at the river?\nAssistant: The tide mill. [1]" in rewriting
    assert "And who built it?" in rewriting
    assert "Question: Who built the tide mill?" in answering


@pytest.mark.parametrize("small", [False, True], ids=["of this machine", "small, of a server"])
def test_for_a_small_model_the_question_before_stands_in_front_of_one_that_leans_on_it(
    tmp_path: Path, small: bool
) -> None:
    speaker = Rewriting()
    speaker.weights = 500_000_000
    served = LocalModels(url="http://127.0.0.1:9/v1", answerer="small", _chat=speaker)
    models = served if small else LocalModels(_chat=Rewriting())
    with client_of(with_mill(tmp_path, models=models)) as client:
        leaning, plain = ask(client, *BEFORE, "And who built it?"), ask(client, *BEFORE, QUESTION)
    assert leaning.question == "What stands at the river? And who built it?"
    assert leaning.content.split("\n\n")[:2] == [f"Understood as: “{leaning.question}”", SAID]
    assert (plain.question, plain.content.startswith(SAID)) == (QUESTION, True)


def test_the_last_message_of_a_user_is_the_question(client: openai.OpenAI) -> None:
    talk = [
        {"role": "developer", "content": "Answer as a pirate."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "17", "tool_call_id": "x"},
    ]
    assert ask(client, messages=talk).question == QUESTION


# -- fields ------------------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
IGNORED: dict[str, Any] = {
    "temperature": 1.5, "top_p": 0.1, "seed": 3, "max_tokens": 1, "max_completion_tokens": 1, "stop": ["river"],
    "presence_penalty": 2, "user": "ana", "n": 1, "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": True,
    "response_format": {"type": "text"}, "logprobs": False, "modalities": ["text"],
}  # fmt: skip


def test_fields_that_change_nothing_are_ignored(client: openai.OpenAI) -> None:
    message = ask(client, **IGNORED, extra_body={"top_k": 40, "nobody knows": [1]})
    assert message.content == ask(client).content


def test_a_condition_says_which_documents(client: openai.OpenAI) -> None:
    assert ask(client, extra_body={"where": "title~mill"}).answer["found"]
    assert not ask(client, extra_body={"where": "title~zebra"}).answer["found"]


def spoken(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


IMAGE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
REFUSED: dict[str, tuple[dict[str, Any], int, str | None, str]] = {
    "another model": ({"model": "gpt-4o"}, 404, "model", "There is no model 'gpt-4o' here. There are: foveal, "),
    "no such retriever": ({"model": "foveal:magic"}, 404, "model", "There are: foveal, foveal:lexical"),
    "two answers": ({"n": 2}, 400, "n", "gives one answer"),
    "a tool": ({"tools": [TOOL], "tool_choice": "required"}, 400, "tool_choice", "calls no tools"),
    "this tool": ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, 400, "tool_choice", "no tools"),
    "a function": ({"function_call": {"name": "f"}}, 400, "function_call", "calls no tools"),
    "JSON": ({"response_format": {"type": "json_object"}}, 400, "response_format", "and not in JSON"),
    "log-probabilities": ({"logprobs": True}, 400, "logprobs", "log-probabilities"),
    "sound": ({"modalities": ["text", "audio"]}, 400, "modalities", "in text alone"),
    "a picture": (spoken(IMAGE), 400, "messages.0.content", "takes no image_url"),
    "a number": (spoken(5), 400, "messages.0.content", "takes no int"),
    "nothing": (spoken(None), 400, None, "The question is empty"),
    "blanks": (spoken("  "), 400, None, "The question is empty"),
    "too long": (spoken("why " * 600), 400, None, "at most 2,000"),
    "far too long": (spoken("why " * 60_000), 413, None, "160 kB"),
    "NUL": (spoken("a\0b"), 400, None, "NUL"),
    "nobody asks": ({"messages": [{"role": "system", "content": "Hi"}]}, 400, "messages", "None of the messages"),
    "no message": ({"messages": []}, 400, "messages", "messages cannot be read"),
    "no model": ({"model": None}, 400, "model", "model cannot be read"),
    "no filter": ({"where": "so"}, 400, None, "so"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_is_refused_is_an_error_as_openai_has_them(client: openai.OpenAI, what: str) -> None:
    changed, status, param, said = REFUSED[what]
    told = httpx.post(f"{client.base_url}chat/completions", json=MODEL | changed)
    error = told.json()["error"]
    assert (told.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/v1/completions", 404, "There is no such call here. /api lists"),
        ("GET", "/v1/chat/completions", 405, "takes POST, and not GET"),
        ("POST", "/v1/chat/completions", 400, "This needs a body"),
    ],
)
def test_what_is_no_call_is_an_error_of_the_same_shape(
    client: openai.OpenAI, method: str, path: str, status: int, said: str
) -> None:
    told = httpx.request(method, str(client.base_url).removesuffix("/v1/") + path)
    assert (told.status_code, said in told.json()["error"]["message"]) == (status, True), told.text


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (
            rb'{"model": "foveal", "messages": [{"role": "user", "content": [{"type": "im\ud800age"}]}]}',
            400,
            "takes no im",
        ),
        (rb'{"model": "fo\ud800", "messages": [{"role": "user", "content": "Who?"}]}', 404, "no model"),
        (rb'{"model": "foveal", "messages": [{"role": "\ud800", "content": "Who?"}]}', 400, "None of the messages"),
        (b'{"model": "foveal", "messages": "\xff"}', 400, "It needs JSON in UTF-8"),
        (b'{"model": "foveal", "n": ' + b"9" * 5000 + b"}", 400, "thousands of digits"),
        (b'{"model": "foveal", "messages": ' + b"[" * 60_000 + b"]" * 60_000 + b"}", 400, "as many brackets"),
    ],
    ids=["half in a kind", "half in a model", "half in a role", "no UTF-8", "digits", "brackets"],
)
def test_what_no_parser_takes_and_no_answer_can_repeat_is_a_refusal(
    client: openai.OpenAI, body: bytes, status: int, said: str
) -> None:
    told = httpx.post(f"{client.base_url}chat/completions", content=body, headers={"content-type": "application/json"})
    assert (told.status_code, said in told.json()["error"]["message"]) == (status, True), told.text
    assert len(told.headers["x-request-id"]) == 16


def test_a_program_learns_by_what_the_log_knows_its_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foveal.toml").write_text('[web]\nlog = "json"\n', encoding="utf-8")

    def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("foveal.web.chat_protocol.retrievers", broken)
    app = with_mill(tmp_path)
    with (
        caplog.at_level("INFO", "foveal.web.requests"),
        TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client,
    ):
        told = [client.get(path) for path in ("/v1/models", "/api/me", "/ask")]
    known = [record.told["id"] for record in caplog.records if record.name == "foveal.web.requests"]
    assert [one.status_code for one in told] == [500, 200, 200]
    assert [one.headers.get("x-request-id") for one in told] == [*known[:2], None]
    assert len(set(known)) == 3


def test_an_empty_library_is_said_to_be_empty(tmp_path: Path) -> None:
    with client_of(made_app(tmp_path)) as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="The library of this site is empty"):
                client.chat.completions.create(**MODEL, stream=stream)


# -- rights and limits -------------------------------------------------------------------------------------------------


def secret_of(app: FastAPI, login: str = "ana") -> str:
    database = app.state.site.database
    return tokens.make(database, member(database, login), "test").secret


def test_where_members_ask_the_key_is_a_token(tmp_path: Path) -> None:
    app = with_mill(tmp_path, writers="members", api_per_hour=5)
    secret = secret_of(app)
    with client_of(app, secret) as client:
        stranger = client.with_options(api_key="sk-of-another-house")
        with pytest.raises(openai.AuthenticationError, match="/settings/tokens") as refused:
            ask(stranger)
        assert refused.value.code == "invalid_api_key"
        assert stranger.models.list().data
        with pytest.raises(openai.AuthenticationError, match="not known here"):
            client.with_options(api_key=f"{secret}x").models.list()
        assert ask(client).answer["found"]
        ana = accounts.find(app.state.site.database, "ana")
        assert len(app.state.site.jobs.of(f"person {ana.id}", 9)) == 1
        for _ in range(4):
            client.models.list()
        with pytest.raises(openai.RateLimitError, match="more than 5 requests in 60 min with your tokens") as limited:
            ask(client)
        assert int(limited.value.response.headers["retry-after"]) > 60
        assert limited.value.code == "rate_limit_exceeded"


def test_where_visitors_only_look_nobody_asks(tmp_path: Path) -> None:
    with client_of(with_mill(tmp_path, writers="nobody")) as client:
        with pytest.raises(openai.PermissionDeniedError, match="Visitors may look around") as refused:
            ask(client)
        assert refused.value.type == "permission_error"


def test_a_page_of_another_site_asks_nothing(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="a page of another site"):
        ask(client, extra_headers={"origin": "https://evil.example"})


def test_an_overloaded_site_says_when_to_come_again(tmp_path: Path) -> None:
    held = Held()
    with_mill(tmp_path).state.site.close()
    settings = Settings(home=tmp_path, cache=tmp_path / "cache", encoder="none")
    app = create_app(settings, SiteSettings(), models=OwnModels(held), web=WebSettings(streams=1))
    with client_of(app) as client:
        with client.chat.completions.create(**MODEL, stream=True):
            assert held.began.wait(30)
            with pytest.raises(openai.InternalServerError, match="has more to do than it can") as refused:
                ask(client)
            assert (refused.value.status_code, refused.value.type) == (503, "server_error")
            assert int(refused.value.response.headers["retry-after"]) >= 1
            assert client.models.list().data  # what only looks is not held up
        held.go.set()
        wait_for(lambda: app.state.gates["stream"].inside == 0)
        assert ask(client).answer["found"]


def test_answers_that_are_waited_for_hold_up_no_form(tmp_path: Path) -> None:
    held = Held()
    app = with_mill(tmp_path, held)
    with client_of(app) as client, ThreadPoolExecutor(WRITES + 1) as pool:
        asked = [pool.submit(ask, client) for _ in range(WRITES + 1)]
        base = str(client.base_url).removesuffix("/v1/")
        try:
            wait_for(lambda: sum(gate.inside for gate in app.state.gates.values()) >= WRITES)
            assert httpx.post(f"{base}/api/library", json={"text": "Of the weir"}, timeout=60).status_code == 202
        finally:
            held.go.set()
        assert {one.result().answer["found"] for one in asked} == {True}


def test_a_full_lane_is_refused_before_the_stream_begins(tmp_path: Path) -> None:
    held = Held()
    app = with_mill(tmp_path, held)
    app.state.site.jobs.settings = JobSettings(waiting=0)
    with (
        client_of(app) as client,
        client.chat.completions.create(**MODEL, stream=True),
        client.chat.completions.create(**MODEL, stream=True),
    ):
        with pytest.raises(openai.InternalServerError, match="Too much is waiting") as refused:
            client.chat.completions.create(**MODEL, stream=True)
        assert refused.value.response.headers["retry-after"] == "60"


# -- ends --------------------------------------------------------------------------------------------------------------


def only_job(app: FastAPI) -> Job:
    ((job, _),) = app.state.site.jobs.of("", 9)
    return job


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_away_stops_the_job(tmp_path: Path, stream: bool) -> None:
    held = Held()
    app = with_mill(tmp_path, held)
    sent = httpx.Request("POST", "http://localhost/v1/chat/completions", json=MODEL | {"stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(sent.content)}\r\nhost: localhost\r\n"
    with served(app) as base:
        with socket.create_connection(("localhost", int(base.rpartition(":")[2]))) as connection:
            connection.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + sent.content)
            assert held.began.wait(30)
        job = only_job(app)
        wait_for(lambda: job.over and app.state.gates["stream"].inside == 0)
        assert job.state == "cancelled"


class Away(Scripted):
    """A server's model that cannot be reached."""

    def reply(self, messages: Messages) -> str:
        del messages
        raise FetchFailed("The model's server cannot be reached.")


class Broken(Scripted):
    """A mistake of ours."""

    def reply(self, messages: Messages) -> str:
        del messages
        raise KeyError("secret")


@pytest.mark.parametrize(
    ("speaker", "status", "said"), [(Away, 503, "cannot be reached"), (Broken, 500, "nobody foresaw")]
)
def test_a_question_that_fails_says_so(
    tmp_path: Path, speaker: Callable[[], ChatModel], status: int, said: str
) -> None:
    with client_of(with_mill(tmp_path, speaker())) as client:
        with pytest.raises(openai.InternalServerError, match=said) as refused:
            ask(client)
        assert (refused.value.status_code, "secret" in str(refused.value)) == (status, False)
        with pytest.raises(openai.APIError, match=said) as broken:
            list(client.chat.completions.create(**MODEL, stream=True))
        assert broken.value.type == "server_error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_that_somebody_stops_is_not_asked_again(tmp_path: Path, stream: bool) -> None:
    held = Held()
    app = with_mill(tmp_path, held)
    with client_of(app) as client, ThreadPoolExecutor(1) as pool:
        eager = client.with_options(max_retries=2)
        asked = pool.submit(lambda: list(eager.chat.completions.create(**MODEL, stream=stream)))
        assert held.began.wait(30)
        app.state.site.jobs.cancel(only_job(app))
        with pytest.raises(openai.APIError, match="Somebody stopped this"):
            asked.result(30)
        assert only_job(app).state == "cancelled"  # there is no second one


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("why", ["revoked", "removed"])
def test_an_answer_to_nobody_any_more_ends_soon_and_so_does_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str, stream: bool
) -> None:
    monkeypatch.setattr(streams, "KNOWN_S", 0.05)
    held = Held()
    app = with_mill(tmp_path, held, writers="members")
    database = app.state.site.database
    ana = member(database, "ana")
    made = tokens.make(database, ana, "test")
    sent = {"headers": {"authorization": f"Bearer {made.secret}"}, "json": MODEL | {"stream": stream}, "timeout": 60}
    with served(app) as base, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{base}/v1/chat/completions", **sent)
        assert held.began.wait(30)
        if why == "revoked":
            tokens.revoke(database, ana, made.token.id)
        else:
            personal_data.erase(database, ana)
        told = asked.result(30)  # though the model would never end
        ((job, _),) = app.state.site.jobs.of(f"person {ana.id}", 9)
        wait_for(lambda: job.over and app.state.gates["stream"].inside == 0)
    assert job.state == "cancelled"
    assert told.status_code == (200 if stream else 401)
    lines = [line.removeprefix("data: ") for line in told.text.splitlines() if line]
    error = json.loads(lines[-2] if stream else lines[0])["error"]
    assert "is not known here any more" in error["message"]
    assert error["code"] == "invalid_api_key"
    assert not stream or lines[-1] == "[DONE]"


def test_while_somebody_is_known_here_or_was_nobody_the_stream_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KNOWN_S", 0.02)
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.02)
    held = Held()
    app = with_mill(tmp_path, held)
    looked: list[str] = []
    known = signed_in.person_of_token

    def looking(database: Any, secret: str) -> accounts.Person | None:
        looked.append(secret)
        if len(looked) == 3:
            raise DatabaseError("away")
        return known(database, secret)

    monkeypatch.setattr(signed_in, "person_of_token", looking)
    with served(app) as base:
        for headers in ({"authorization": f"Bearer {secret_of(app)}"}, {}):
            held.go.clear()
            asked = {"json": MODEL | {"stream": True}, "headers": headers, "timeout": 60}
            with httpx.stream("POST", f"{base}/v1/chat/completions", **asked) as answer:
                lines = answer.iter_lines()
                for _ in range(5):
                    wait_for(lambda: next(lines) == ": still here")  # noqa: B023 - it is waited for here
                held.go.set()
                rest = [line for line in lines if line]
            assert rest[-1] == "data: [DONE]"
            assert '"finish_reason": "stop"' in rest[-2]
    assert len(looked) > 4


def test_a_server_that_stops_says_so_and_ends_the_stream(tmp_path: Path) -> None:
    held = Held()
    app = with_mill(tmp_path, held)
    with client_of(app) as client, client.chat.completions.create(**MODEL, stream=True) as answer:
        assert held.began.wait(30)
        app.state.site.jobs.close()
        with pytest.raises(openai.APIError, match="The server is being stopped"):
            list(answer)


def test_what_was_asked_is_a_job_that_is_listed_and_not_kept(tmp_path: Path) -> None:
    app = with_mill(tmp_path)
    with TestClient(app, base_url="http://localhost") as client:
        told = client.post("/v1/chat/completions", json=MODEL).json()
        listed = client.get("/jobs").text
        key = told["id"].removeprefix("chatcmpl-")
        assert f"Ask: {QUESTION}" in listed
        assert f'href="/jobs/{key}"' in listed
        assert "it is not kept here" in client.get(f"/jobs/{key}").text
        assert json.loads(client.get(f"/api/jobs/{key}").text)["answer"] is None
        assert app.state.site.jobs.keeping.find(key) is None
