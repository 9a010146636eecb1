"""What a server must not bring about: costs without end, a key that is shown, a call's fault that spoils others."""

from __future__ import annotations

import gc
import ssl
import threading
import time

import httpx
import openai
import pytest
from models.test_openai_chat import ASK, PATH, answering, event, events, failing, sent
from models.test_served_variations import TOO_LONG, told, unless
from servers import Call, Route, Server, broken, in_turn, page, redirect, serving

from foveal.errors import Cancelled, FetchFailed, InputError
from foveal.models import Cancel, Sampling, chat_pieces, openai_chat
from foveal.models.chat_dialect import MOST_REFUSALS
from foveal.models.chat_requests import ContextExceeded, context_limit, refused_by
from foveal.models.openai_chat import CONTEXT_TOKENS, OpenAIChat
from foveal.models.remote import pause, translated

KEY = "sk-very-secret-0123"
LISTED = told(200, {"object": "list", "data": [{"id": "small", "max_model_len": 4096}]})


pytestmark = pytest.mark.usefixtures("no_keys")


def chat(server: Server, **settings) -> OpenAIChat:
    return OpenAIChat("org/tiny", server.url("/v1"), **settings)


# -- costs ------------------------------------------------------------------------------------------------------------


def test_an_empty_answer_is_asked_for_once_more_and_no_oftener(server, routes):
    routes[PATH] = events(event(finish="stop"))
    with pytest.raises(FetchFailed, match="empty answer after 2 tries"):
        chat(server).chat(ASK)
    assert server.asked(PATH) == 2


def test_an_answer_that_begins_with_what_ends_it_is_empty(server, routes):
    """Of many conversations, one such would end all."""
    routes[PATH] = events(event(finish="stop"))
    model = chat(server)
    assert model.chat(ASK, Sampling(stop=("\n",))) == ""
    assert list(model.stream(ASK, Sampling(stop=("\n",)))) == []
    assert server.asked(PATH) == 2


def test_a_server_that_refuses_each_time_something_else_is_left(server, routes):
    def route(call: Call) -> None:
        counted = 3000 + len(server.requests)
        told(400, {"error": {"message": TOO_LONG.replace("3696", str(counted))}})(call)

    routes[PATH] = route
    with pytest.raises(InputError, match="status 400"):
        chat(server, context_tokens=8192).chat(ASK, Sampling(max_tokens=4000))
    assert server.asked(PATH) == MOST_REFUSALS + 1


def test_a_call_that_was_cancelled_asks_for_nothing_more(server, routes):
    """The thread that reads is left, and would send what it was refused in another form."""
    cancel, gone = Cancel(), threading.Event()

    def route(call: Call) -> None:
        cancel.set()
        gone.wait(20)
        told(400, {"error": {"message": "Unknown parameter: 'seed'", "param": "seed"}})(call)

    routes[PATH] = route
    with pytest.raises(Cancelled):
        chat(server).chat(ASK, cancel=cancel)
    gone.set()
    until = time.monotonic() + 20
    while any(one.name == "foveal-remote" for one in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.01)
    assert server.asked(PATH) == 1


@pytest.mark.parametrize(
    "route",
    [
        lambda call: (call.start(200, {"Content-Type": "text/event-stream"}), call.write(b"data: " + b"x" * 5000)),
        page(b"[" + b"1," * 5000, "application/json"),
        page(b"x" * 5000, "application/json", status=500),
    ],
    ids=["a line", "a whole", "an error"],
)
def test_a_server_that_sends_too_many_bytes_is_left_at_once(server, routes, route, monkeypatch):
    monkeypatch.setattr(chat_pieces, "MOST_BYTES", 1000)
    routes[PATH] = route
    with pytest.raises(FetchFailed, match="more than 1,000 bytes"):
        chat(server).chat(ASK)
    assert server.asked(PATH) == 1


def test_a_whole_answer_that_was_not_asked_for_as_one_needs_no_reason_to_end(server, routes):
    """It was paid for four times, and given up."""
    whole = {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "fovea"}}]}
    no_streams = told(400, {"error": {"message": "Streaming is not supported."}})
    routes[PATH] = unless("stream", no_streams, told(200, whole))
    assert chat(server).chat(ASK) == "fovea"
    assert server.asked(PATH) == 2
    routes[PATH] = unless("stream", no_streams, told(200, {"error": {"message": "no memory", "code": 400}}))
    with pytest.raises(FetchFailed, match="says: no memory"):
        chat(server).chat(ASK)


@pytest.mark.parametrize(
    ("status", "error"),
    [(402, {"message": "Insufficient Balance"}), (429, {"message": "no", "code": 429, "type": "insufficient_quota"})],
    ids=["a status", "a type"],
)
def test_an_account_without_credit_is_told_as_such(server, routes, status, error):
    routes[PATH] = told(status, {"error": error})
    with pytest.raises(FetchFailed, match="no credit left there"):
        chat(server).chat(ASK)
    assert server.asked(PATH) == 1


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_key_that_a_server_repeats_is_not_shown(server, routes, status):
    routes[PATH] = told(status, {"error": {"message": f"wrong: Bearer {KEY}"}})
    with pytest.raises((InputError, FetchFailed), match="wrong: Bearer …") as raised:
        chat(server, api_key=KEY, retries=0).chat(ASK)
    assert KEY not in str(raised.value)


def test_a_key_goes_to_no_other_place_than_its_own(server, routes):
    there: dict[str, Route] = {PATH: answering("fovea")}
    with serving(there) as other:
        routes[PATH] = redirect(other.url(PATH), status=307)
        assert chat(server, api_key=KEY).chat(ASK) == "fovea"
        assert KEY not in str(other.requests[0].headers)
    assert KEY in str(server.requests[0].headers)


# -- what one call leaves to the others -------------------------------------------------------------------------------


def test_calls_at_once_find_the_address_together(server, routes):
    """The first moved it while the others were on their way, which then told that there is no such address."""
    met = threading.Barrier(4)
    routes[PATH] = answering("fovea")

    def missing(call: Call) -> None:
        met.wait(20)
        failing(404)(call)

    routes["/chat/completions"] = missing
    assert OpenAIChat("org/tiny", server.url("")).chat_many([ASK] * 4) == ["fovea"] * 4


def test_an_address_that_once_failed_with_v1_is_still_found(server, routes):
    routes[PATH] = in_turn(failing(400), failing(404), answering("fovea"))
    routes["/chat/completions"] = in_turn(failing(404), answering("here"))
    model = OpenAIChat("org/tiny", server.url(""))
    with pytest.raises(InputError, match="status 400"):
        model.chat(ASK)
    assert model.chat(ASK) == "here"


def test_of_two_addresses_that_of_the_server_is_told(server, routes):
    routes[PATH], routes["/v1/models"] = told(404, {"error": {"message": "try to pull it first"}}), LISTED
    with pytest.raises(InputError, match=r"/v1 has no model 'org/tiny'.*pull it first.*It has: small\."):
        OpenAIChat("org/tiny", server.url("")).chat(ASK)


def test_the_context_is_asked_of_an_address_without_a_path_too(server, routes):
    routes["/v1/models"] = LISTED
    assert OpenAIChat("org/tiny", server.url("")).context_tokens == 4096


def test_a_list_that_failed_is_asked_for_again_and_one_that_is_refused_is_not(server, routes, monkeypatch):
    routes["/v1/models"] = in_turn(failing(503), LISTED)
    model = chat(server)
    assert [model.context_tokens, model.context_tokens] == [CONTEXT_TOKENS] * 2
    assert server.asked("/v1/models") == 1
    monkeypatch.setattr(openai_chat, "LISTED_AGAIN_S", 0.0)
    assert model.context_tokens == 4096
    routes["/v1/models"] = failing(403)
    refused = chat(server)
    assert [refused.context_tokens, refused.context_tokens] == [CONTEXT_TOKENS] * 2
    assert server.asked("/v1/models") == 3


def test_a_most_that_helped_nothing_is_not_kept(server, routes):
    routes[PATH] = told(400, {"error": {"message": "max_tokens: at most 10 tools", "param": None}})
    model = chat(server)
    with pytest.raises(InputError):
        model.chat(ASK)
    routes[PATH] = answering("fovea")
    model.chat(ASK)
    assert sent(server)["max_tokens"] == 256


@pytest.mark.parametrize(
    "text",
    [
        "Error code: 400 - {'error': {'type': 'exceed_context_size_error'}} {\"error\":{\"code\":400}}",
        "context window exceeded', 'code': '413'}",
        "the context length of 128 is exceeded",
    ],
)
def test_a_status_or_a_small_number_is_no_context(text):
    assert context_limit(400, text) == (True, None)


def test_a_context_that_no_server_named_is_not_learnt(server, routes):
    body = {"error": {"message": "it exceeds the available context size", "type": "exceed_context", "code": 400}}
    routes[PATH] = told(400, body)
    model = chat(server, context_tokens=8192)
    with pytest.raises(ContextExceeded, match="can read"):
        model.chat(ASK)
    assert model.context_tokens == 8192


def test_an_upstream_is_no_stream():
    assert refused_by(400, None, "Provider error: upstream is not available", {"stream": True}) is None


# -- what may pass ----------------------------------------------------------------------------------------------------


def _connection(cause: Exception) -> openai.APIConnectionError:
    error = openai.APIConnectionError(request=httpx.Request("POST", "https://127.0.0.1:9/v1"))
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol", True),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch", False),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", False),
        ("[SSL] record layer failure", False),
    ],
)
def test_a_handshake_that_broke_off_is_not_one_that_fails_each_time(said, passes):
    error = _connection(ssl.SSLError(1, f"{said} (_ssl.c:1006)"))
    assert (pause(error, 0) is not None) is passes
    assert ("no certificate that this machine trusts" in str(translated(error, "m", silence_s=1))) is not passes


def test_a_client_error_of_no_request_is_told():
    assert "broke off (gone)" in str(translated(httpx.ReadError("gone"), "m", silence_s=1))


@pytest.mark.parametrize("value", ["²", "1e", "nan", "-5"])
def test_a_pause_that_is_no_number_is_none(server, routes, value):
    routes[PATH] = in_turn(failing(429, Retry_After_Ms=value), broken(), answering("fovea"))
    assert chat(server).chat(ASK) == "fovea"


def test_a_limit_is_waited_for_longer_than_a_failure():
    def waits(status: int) -> float:
        response = httpx.Response(status, request=httpx.Request("POST", "http://127.0.0.1:9/v1"))
        return pause(openai.APIStatusError("no", response=response, body=None), 0) or 0.0

    assert waits(429) > 2 * waits(500) > 0  # 4 times, each a quarter more or less


def test_who_is_no_longer_asked_holds_no_connection() -> None:
    chat = OpenAIChat("m", "http://127.0.0.1:9/v1")
    http = chat._client._client
    assert not http.is_closed
    del chat
    gc.collect()
    assert http.is_closed
