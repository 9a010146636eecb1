"""What a question took, in tokens: by a local model's own tokenizer, by what a server says, by an estimate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reading.speakers import Quoter, Scripted
from reading_site import OwnModels
from servers import Call, Route, Server, in_turn, page, serving
from tiny import tiny

from foveal.models.chat import Sampling
from foveal.models.local_chat import LocalChat
from foveal.models.openai_chat import OpenAIChat
from foveal.web.chat_usage import CountedModels

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who keeps the mill?"}]
PATH = "/v1/chat/completions"


def event(content: str = "", finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return "data: " + json.dumps({"choices": [choice]} | more) + "\n\n"


def usage(prompt: Any, completion: Any) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0}}


def sending(*sent: str) -> Route:
    def route(call: Call) -> None:
        call.start(200, {"Content-Type": "text/event-stream"})
        for one in sent:
            call.write(one.encode())

    return route


@pytest.fixture
def routes() -> dict[str, Route]:
    return {}


@pytest.fixture
def server(routes: dict[str, Route]) -> Iterator[Server]:
    with serving(routes) as one:
        yield one


def counted(server: Server) -> CountedModels:
    return CountedModels(OwnModels(OpenAIChat("large", server.url("/v1"), retries=0)))


def taken(models: CountedModels) -> tuple[int, int]:
    return models.tokens.prompt, models.tokens.completion


def test_a_local_models_own_tokens_are_counted(tmp_path: Path) -> None:
    chat = LocalChat(tiny("qwen", tmp_path))
    models = CountedModels(OwnModels(chat, language_model=chat.language_model))
    said = "".join(models.chat().stream(ASK, Sampling(max_tokens=7)))
    prompt = len(chat.language_model.encode(chat.language_model.render(ASK)))
    assert taken(models) == (prompt, chat.count_tokens(said))
    assert models.chat().chat(ASK, Sampling(max_tokens=7)) == said
    assert taken(models) == (2 * prompt, 2 * chat.count_tokens(said))  # all calls of a question
    assert (models.name, models.reader()) == ("quoter", chat.language_model)
    assert models.chat().language_model is chat.language_model  # which tells others that it is of this machine


def test_other_models_are_counted_as_they_count(tmp_path: Path) -> None:
    del tmp_path
    models = CountedModels(OwnModels(Scripted("Orsin Vale.")))
    assert models.chat().chat(ASK) == "Orsin Vale."
    assert taken(models) == (len("Be brief.Who keeps the mill?"), len("Orsin Vale."))
    pieces = models.chat().stream(ASK)
    assert next(pieces) == "Ors"
    del pieces  # nobody takes more of it
    assert models.tokens.completion == len("Orsin Vale.") + 3
    assert taken(CountedModels(OwnModels(Quoter()))) == (0, 0)


@pytest.mark.parametrize("whole", [True, False])
def test_a_server_is_asked_to_count_and_believed(server: Server, routes: dict[str, Route], whole: bool) -> None:
    last = "data: " + json.dumps({"choices": []} | usage(321, 12)) + "\n\n"
    routes[PATH] = sending(event("Orsin"), event(" Vale", "stop"), last, "data: [DONE]\n\n")
    models = counted(server)
    chat = models.chat()
    assert (chat.chat(ASK) if whole else "".join(chat.stream(ASK))) == "Orsin Vale"
    assert taken(models) == (321, 12)
    assert json.loads(server.requests[-1].body)["stream_options"] == {"include_usage": True}
    OpenAIChat("large", server.url("/v1")).chat(ASK)  # where nobody counts, nothing more is asked for
    assert "stream_options" not in json.loads(server.requests[-1].body)


def test_what_comes_with_each_piece_is_not_added_up(server: Server, routes: dict[str, Route]) -> None:
    routes[PATH] = sending(event("Orsin", **usage(9, 1)), event(" Vale", "stop", **usage(9, 2)), "data: [DONE]\n\n")
    models = counted(server)
    models.chat().chat(ASK)
    assert taken(models) == (9, 2)


@pytest.mark.parametrize(
    "told", [{}, {"usage": None}, {"usage": {}}, usage("many", 1), usage(-1, 1), usage(None, None)]
)
def test_a_server_that_does_not_say_is_estimated(
    server: Server, routes: dict[str, Route], told: dict[str, Any]
) -> None:
    routes[PATH] = sending(event("Orsin Vale", "stop", **told), "data: [DONE]\n\n")
    models = counted(server)
    models.chat().chat(ASK)
    count = models.chat().count_tokens
    assert taken(models) == (sum(count(one["content"]) for one in ASK), count("Orsin Vale"))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "Unknown parameter.", "param": "stream_options"}}),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}),
    ],
)
def test_an_older_server_that_knows_no_such_thing_is_asked_without(
    server: Server, routes: dict[str, Route], status: int, body: dict[str, Any]
) -> None:
    refusing = page(json.dumps(body), "application/json", status=status)
    routes[PATH] = in_turn(refusing, sending(event("Orsin Vale", "stop"), "data: [DONE]\n\n"))
    models = counted(server)
    for _ in range(2):
        assert models.chat().chat(ASK) == "Orsin Vale"
    assert ["stream_options" in json.loads(one.body) for one in server.requests] == [True, False, False]


def test_both_answers_of_a_model_that_reasons_are_counted(server: Server, routes: dict[str, Route]) -> None:
    thinking = sending(event("<think>so", "length", **usage(9, 256)), "data: [DONE]\n\n")
    routes[PATH] = in_turn(thinking, sending(event("Orsin", "stop", **usage(9, 300)), "data: [DONE]\n\n"))
    models = counted(server)
    assert models.chat().chat(ASK) == "Orsin"
    assert taken(models) == (18, 556)
