"""What servers and large models do that no protocol says: each is heeded, or told with what to do about it."""

from __future__ import annotations

import json
import threading
import time

import pytest
from models.test_openai_chat import ASK, PATH, answering, event, events, failing, sent
from pydantic import BaseModel, ConfigDict
from servers import Call, Route, Server, in_turn, page

from foveal.errors import FetchFailed, InputError
from foveal.models import Sampling
from foveal.models.answers import json_in
from foveal.models.chat import is_small
from foveal.models.chat_listing import weights_in
from foveal.models.chat_requests import ContextExceeded, context_limit, prompt_tokens, refused_by
from foveal.models.openai_chat import CONTEXT_TOKENS, MOST_CONTEXT, OpenAIChat
from foveal.research.budget import Budget, Meter, Metered

DONE = "data: [DONE]\n\n"


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid")
    query: str


pytestmark = pytest.mark.usefixtures("no_keys")


def chat(server: Server, **settings) -> OpenAIChat:
    return OpenAIChat("org/tiny", server.url("/v1"), **settings)


def told(status: int, body: object, **headers: str) -> Route:
    return page(json.dumps(body), "application/json", status=status, **headers)


def unless(refused: str, refusal: Route, answer: Route) -> Route:
    """A server that refuses what holds a field, and answers what comes without it."""
    return lambda call: (refusal if refused in json.loads(call.asked.body) else answer)(call)


# -- how an answer comes ----------------------------------------------------------------------------------------------


def test_an_answer_that_comes_whole_is_taken(server, routes):
    """It was read as a stream that broke off, four times."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "fovea"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    routes[PATH] = told(200, {"object": "chat.completion", "choices": [choice], "usage": usage})
    counts: list[tuple[int, int]] = []
    assert chat(server).chat(ASK, told=counts.append) == "fovea"
    assert (counts, server.asked(PATH)) == ([(7, 2)], 1)


def test_a_server_without_streams_is_asked_for_the_whole(server, routes):
    choice = {"index": 0, "message": {"role": "assistant", "content": "fovea"}, "finish_reason": "stop"}
    whole = told(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})
    routes[PATH] = unless("stream", told(400, {"error": {"message": "Streaming is not supported."}}), whole)
    model = chat(server)
    assert ["".join(model.stream(ASK)), model.chat(ASK)] == ["fovea", "fovea"]
    assert server.asked(PATH) == 3  # it is not asked for a stream again


def test_a_text_in_parts_is_put_together_without_what_the_model_thinks(server, routes):
    """They were passed over, and the answer was empty."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parts = [{"delta": {"content": [thought, {"type": "text", "text": text}]}} for text in ("the ", "fovea")]
    routes[PATH] = events(*("data: " + json.dumps({"choices": [one]}) + "\n\n" for one in parts), event(finish="stop"))
    assert chat(server).chat(ASK) == "the fovea"


def test_a_stream_may_be_cut_anywhere(server, routes):
    sent_on = (": keep-alive\n\n" + event("瞳孔") + event(" é") + event(finish="stop") + DONE).encode()

    def route(call: Call) -> None:
        call.start(200, {"Content-Type": "text/event-stream"})
        for start in range(0, len(sent_on), 2):
            call.write(sent_on[start : start + 2])

    routes[PATH] = route
    assert chat(server).chat(ASK) == "瞳孔 é"


@pytest.mark.parametrize("tag", ["thinking", "thought", "reasoning"])
def test_reasoning_by_other_names_is_none_of_the_answer(server, routes, tag):
    routes[PATH] = answering(f"<{tag}>hm", f" [2]</{tag}>\n\n", "fovea")
    assert chat(server).chat(ASK) == "".join(chat(server).stream(ASK)) == "fovea"


@pytest.mark.parametrize(
    ("sent_events", "said"),
    [
        ((event(finish="stop"),), "gave an empty answer after 2 tries"),
        ((event(tool_calls="x"), event(finish="tool_calls")), "called a tool in place of an answer"),
        ((event(refusal="I can't help with that."), event(finish="stop")), "refuses to answer: I can't help"),
        (('data: {"error": {"message": "Overloaded", "code": 503}}\n\n',), "after 2 tries, and says: Overloaded"),
        (('data: {"object": "error", "message": "no memory", "code": 500}\n\n',), "after 2 tries, and says: no memory"),
    ],
    ids=["empty", "tool", "refusal", "error", "error of vLLM"],
)
def test_what_is_no_answer_is_told_as_what_it_is(server, routes, sent_events, said):
    """An empty answer read as if nothing had been found in the texts."""
    routes[PATH] = events(*sent_events, DONE)
    with pytest.raises(FetchFailed, match=said):
        chat(server, retries=1).chat(ASK)


def test_an_error_in_a_stream_that_may_pass_is_tried_again(server, routes):
    routes[PATH] = in_turn(events('data: {"error": {"message": "busy", "code": 503}}\n\n'), answering("fovea"))
    assert chat(server).chat(ASK) == "fovea"


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs not permitted"}]}),
        (400, [{"error": {"code": 400, "message": 'Invalid JSON payload. Unknown name "seed": Cannot find field.'}}]),
        (400, {"error": {"message": "Unrecognized request argument supplied: seed"}}),
    ],
    ids=["by a schema", "by a list", "by a word"],
)
def test_a_field_that_is_refused_in_words_is_left_out(server, routes, status, body):
    routes[PATH] = unless("seed", told(status, body), answering("fovea"))
    assert chat(server).chat(ASK) == "fovea"
    assert "seed" not in sent(server)
    assert {"temperature", "top_p"} <= set(sent(server))


def test_a_refusal_that_names_no_field_is_none_of_a_field():
    asked = {"messages": ASK, "max_tokens": 9, "temperature": 0.0, "seed": 0, "stream": True}
    assert refused_by(400, None, "Invalid request: the seed of doubt", asked) is None
    assert refused_by(500, "seed", "Unknown parameter: 'seed'", asked) is None
    assert refused_by(400, None, "'temperature' does not support 0 with this model", asked) == "temperature"


def test_a_model_without_a_system_is_told_it_by_the_user(server, routes):
    def route(call: Call) -> None:
        roles = [one["role"] for one in json.loads(call.asked.body)["messages"]]
        refusal = told(400, {"object": "error", "message": "System role not supported", "code": 400})
        (refusal if "system" in roles else answering("fovea"))(call)

    routes[PATH] = route
    assert chat(server).chat([{"role": "system", "content": "Be brief."}, *ASK]) == "fovea"
    assert sent(server)["messages"] == [{"role": "user", "content": f"Be brief.\n\n{ASK[0]['content']}"}]


def test_a_system_that_says_nothing_is_not_sent(server, routes):
    routes[PATH] = answering("fovea")
    chat(server).chat([{"role": "system", "content": ""}, *ASK])
    assert sent(server)["messages"] == ASK


# -- contexts ---------------------------------------------------------------------------------------------------------

TOO_LONG = (
    "This model's maximum context length is 4096 tokens. However, you requested 4196 tokens (3696 in the messages, 500 "
    "in the completion)."
)


@pytest.mark.parametrize(
    ("text", "limit", "counted"),
    [
        (TOO_LONG, 4096, 3696),
        ('{"type": "exceed_context_size_error", "n_prompt_tokens": 2045, "n_ctx": 1500}', 1500, 2045),
        ("request (2045 tokens) exceeds the available context size (1500 tokens), try increasing it", 1500, 2045),
        ("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 4096, 5000),
        ("prompt is too long: 210000 tokens > 200000 maximum", 200_000, None),
        ("Please reduce the length of the messages. context_length_exceeded", None, None),
    ],
)
def test_the_context_is_read_in_the_words_of_each_server(text, limit, counted):
    assert context_limit(400, text) == (True, limit)
    assert prompt_tokens(text) == counted


def test_an_answer_gets_the_room_that_the_context_leaves(server, routes):
    body = {"object": "error", "message": TOO_LONG, "code": 400}
    routes[PATH] = lambda call: (
        told(400, body) if json.loads(call.asked.body)["max_tokens"] > 400 else answering("fovea")
    )(call)
    model = chat(server, context_tokens=8192)
    assert model.chat(ASK, Sampling(max_tokens=500)) == "fovea"
    assert (sent(server)["max_tokens"], model.context_tokens) == (400, 4096)


def test_a_prompt_that_is_too_long_is_told_with_what_to_do_and_remembered(server, routes):
    routes[PATH] = told(400, {"error": {"message": TOO_LONG.replace("3696", "4090")}})
    model = chat(server, context_tokens=8192)
    with pytest.raises(
        ContextExceeded, match=r"4,096 tokens that org/tiny .* reads.*longer context, or ask with fewer"
    ):
        model.chat(ASK)
    assert (server.asked(PATH), model.context_tokens) == (1, 4096)


@pytest.mark.parametrize(
    ("row", "context"),
    [
        ({"id": "org/tiny", "max_model_len": 4096}, 4096),
        ({"id": "other.gguf", "meta": {"n_ctx": 2048, "n_ctx_train": 131_072}}, 2048),
        ({"id": "org/tiny", "context_length": 1_000_000}, MOST_CONTEXT),
        ({"id": "org/tiny"}, CONTEXT_TOKENS),
    ],
    ids=["vLLM", "llama.cpp", "much", "nothing"],
)
def test_the_context_is_asked_of_the_server_once(server, routes, row, context):
    routes["/v1/models"] = told(200, {"object": "list", "data": [row]})
    model = chat(server)
    assert [model.context_tokens, model.context_tokens] == [context, context]
    assert server.asked("/v1/models") == 1
    assert chat(server, context_tokens=512).context_tokens == 512
    assert server.asked("/v1/models") == 1


@pytest.mark.parametrize(
    ("name", "row", "weights", "small"),
    [
        ("qwen.gguf", {"id": "qwen.gguf", "meta": {"n_ctx": 2048, "n_params": 630_167_424}}, 630_167_424, True),
        ("tiny-0.5b", {"id": "tiny-0.5b", "meta": {"n_params": 8_000_000_000}}, 8_000_000_000, False),
        ("tiny-0.5b", {"id": "tiny-0.5b", "meta": None}, 500_000_000, True),
        ("org/tiny", {"id": "org/tiny", "max_model_len": 4096}, None, False),
    ],
    ids=["told", "told otherwise", "named", "not known"],
)
def test_how_large_a_model_is_says_the_server_or_its_name(server, routes, name, row, weights, small):
    routes["/v1/models"] = told(200, {"object": "list", "data": [row]})
    model = OpenAIChat(name, server.url("/v1"))
    assert (model.weights, is_small(model), is_small(Metered(model, Meter(Budget())))) == (weights, small, small)
    assert model.context_tokens
    assert server.asked("/v1/models") == 1


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 500_000_000),
        ("gemma3:270m", 270_000_000),
        ("llama-3.2-1b-instruct-q4_k_m.gguf", 1_000_000_000),
        ("qwen3-30b-a3b", 30_000_000_000),
        ("mixtral-8x7b", None),
        ("phi-3.5-mini", None),
        ("gpt-5", None),
        ("some-model-8bit", None),
        ("internlm2-chat-1m", None),
        ("qwen2.5-7b-instruct-1m", 7_000_000_000),
    ],
)
def test_weights_are_read_in_a_name(name, weights):
    assert weights_in(name) == weights


# -- limits, times, addresses -----------------------------------------------------------------------------------------


def test_a_pause_that_one_call_is_asked_for_is_kept_by_all(server, routes):
    routes[PATH] = in_turn(failing(429, Retry_After="0.5"), answering("fovea"))
    model = chat(server)
    first = threading.Thread(target=model.chat, args=(ASK,))
    first.start()
    until = time.monotonic() + 20
    while not server.requests and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.1)  # until the refusal is read
    begun = time.monotonic()
    assert model.chat(ASK) == "fovea"
    assert time.monotonic() - begun > 0.2
    first.join()


def test_a_limit_is_outlasted_longer_than_a_failure(server, routes):
    routes[PATH] = in_turn(*[failing(429)] * 5, answering("fovea"))
    assert chat(server).chat(ASK) == "fovea"


def test_no_credit_is_told_at_once(server, routes):
    routes[PATH] = told(429, {"error": {"message": "You exceeded your quota.", "code": "insufficient_quota"}})
    with pytest.raises(FetchFailed, match=r"exceeded your quota.*no credit left there"):
        chat(server).chat(ASK)
    assert server.asked(PATH) == 1


def test_the_pause_may_stand_in_the_words_of_the_error(server, routes):
    routes[PATH] = told(429, {"error": {"message": "Rate limit reached. Please try again in 90s."}})
    with pytest.raises(FetchFailed, match="It asks to wait for 90 s"):
        chat(server).chat(ASK)
    assert server.asked(PATH) == 1


def test_the_first_word_may_take_longer_than_the_others(server, routes):
    """A slow server reads all of a prompt before it says anything."""

    def slow(call: Call) -> None:
        call.start(200, {"Content-Type": "text/event-stream"})
        call.write(event(role="assistant").encode())
        call.ended.wait(0.7)
        call.write((event("fovea") + event(finish="stop")).encode())

    routes[PATH] = slow
    assert chat(server, timeout_s=0.3, retries=0).chat(ASK) == "fovea"


@pytest.mark.parametrize("given", ["", "/", "/v1/", "/v1/chat/completions"])
def test_an_address_is_completed(server, routes, given):
    routes[PATH] = answering("fovea")
    model = OpenAIChat("org/tiny", server.url(given))
    assert [model.chat(ASK), model.chat(ASK)] == ["fovea", "fovea"]
    assert server.asked(PATH) == 2


def test_an_address_that_is_no_better_with_v1_is_told_as_it_was_given(server, routes):
    with pytest.raises(InputError, match=rf"{server.port} has no model"):
        OpenAIChat("org/tiny", server.url("")).chat(ASK)


def test_a_server_without_tls_is_not_said_to_be_down(server):
    with pytest.raises(FetchFailed, match=r"no certificate that this machine trusts.*SSL_CERT_FILE.*http://"):
        OpenAIChat("org/tiny", server.url("/v1").replace("http:", "https:")).chat(ASK)


def test_a_proxy_that_is_asked_is_named(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FetchFailed, match=r"proxy of HTTP_PROXY; NO_PROXY=127\.0\.0\.1 goes past it"):
        chat(server, retries=0).chat(ASK)


# -- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        'Sure! Here is the JSON:\n\n```json\n{"query": "a"}\n```\n\nAnything else?',
        'Sure! {"query": "a"} is it.',
        'I take [1] and {x} together.\n{"query": "a"}',
        '<thinking>{"query": 5}</thinking>{"query": "a"}',
    ],
    ids=["fence", "words", "braces", "thought"],
)
def test_json_is_found_among_words_at_once(server, routes, answer):
    assert json.loads(json_in(answer)) == {"query": "a"}
    routes[PATH] = answering(answer)
    assert chat(server).parse(ASK, Query).query == "a"
    assert server.asked(PATH) == 1
