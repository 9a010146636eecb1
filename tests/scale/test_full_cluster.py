"""What the web app holds of a cluster, over deployments that refuse, die or answer: no Ray is needed for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from foveal.errors import Cancelled, FetchFailed, InputError, UnknownName
from foveal.models.chat import Cancel
from foveal.scale import asking
from foveal.scale.serving import RankerReplica, ServedChat, ServedEncoder, ServedRanker, ServedRankers
from foveal.types import Hit, Passage, Span
from foveal.web.json_errors import status_of

ABOUT = {
    ServedEncoder: {"name": "e", "dimension": 2, "max_tokens": 9, "fingerprint": "f"},
    ServedChat: {"name": "c", "context_tokens": 99},
}


class BackPressureError(Exception):
    """As Ray Serve's, raised where a queue is full."""


class RayActorError(Exception):
    """As Ray's, of an actor that is gone."""


class ActorDiedError(RayActorError):
    """As Ray's, which inherits from the one above."""


@dataclass
class Response:
    """What a call of a deployment gives at once; asked for its result, it raises what it holds."""

    value: Any

    def result(self) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def __iter__(self) -> Iterator[Any]:
        yield from self.value[0]
        raise self.value[1]


@dataclass
class Handle:
    """A `DeploymentHandle`: each method answers by `answer`; with `at_once` the call itself raises."""

    answer: Callable[..., Any]
    at_once: bool = False

    def options(self, *, stream: bool) -> Handle:
        assert stream
        return self

    def __getattr__(self, name: str) -> Handle:
        return self

    def remote(self, *given: Any) -> Response:
        value = self.answer(*given)
        if self.at_once and isinstance(value, Exception):
            raise value
        return Response(value)


def calls(handle: Handle) -> dict[str, Callable[[], object]]:
    encoder, chat = (kind(handle, **about) for kind, about in ABOUT.items())
    asked = [{"role": "user", "content": "Where?"}]
    return {
        "a query": lambda: encoder.encode(["Where?"]),
        "a batch": lambda: encoder.encode(["a"] * 20),
        "offsets": lambda: encoder.token_offsets("a"),
        "ranking": lambda: ServedRanker(handle, "r", Path()).rank("Where?", []),
        "a ranker": lambda: ServedRankers(handle).get("r", Path()),
        "answer": lambda: chat.chat(asked),
        "answers": lambda: chat.chat_many([asked] * 3),
        "stream": lambda: list(chat.stream(asked)),
        "parse": lambda: chat.parse(asked, dict),
        "score": lambda: chat.score(asked, "there"),
        "count": lambda: chat.count_tokens("a"),
        "about": lambda: ServedChat.of(handle),
    }


@pytest.mark.parametrize("kind", [BackPressureError, RayActorError, ActorDiedError])
@pytest.mark.parametrize("at_once", [True, False], ids=["at the call", "at its result"])
@pytest.mark.parametrize("call", calls(Handle(print)))
def test_what_is_refused_is_a_503_in_words_whatever_was_asked(call, at_once, kind, monkeypatch):
    monkeypatch.setattr(asking, "AGAIN_S", (0.0, 0.0))

    def answer(*_):
        return ([], kind("no room")) if call == "stream" and not at_once else kind("no room")

    with pytest.raises(FetchFailed, match=f"takes no more requests of this kind now .{kind.__name__}.") as refused:
        calls(Handle(answer, at_once))[call]()
    assert status_of(refused.value) == 503


def test_an_answer_that_breaks_off_is_said_after_its_first_words():
    chat = ServedChat(Handle(lambda *_: (["The ", "mill"], ActorDiedError("gone"))), "c", 99)
    said = chat.stream([{"role": "user", "content": "Where?"}])
    assert [next(said), next(said)] == ["The ", "mill"]
    with pytest.raises(FetchFailed):
        next(said)


def test_of_several_texts_one_that_is_refused_is_enough():
    answers = iter([np.zeros(2, dtype=np.float32), BackPressureError("no room"), np.zeros(2, dtype=np.float32)])
    with pytest.raises(FetchFailed):
        ServedEncoder(Handle(lambda *_: next(answers)), **ABOUT[ServedEncoder]).encode(["a", "b", "c"])


@pytest.mark.parametrize("at_once", [True, False], ids=["at the call", "at its result"])
def test_many_conversations_wait_for_room_and_keep_their_order(monkeypatch, at_once):
    """A deployment that takes two at a time."""
    room, asked = [2], []

    def answer(request):
        asked.append(request[0])
        if not room[0]:
            return BackPressureError("no room")
        room[0] -= 1
        return f"answer to {request[0][0]}"

    def freed(*_):
        room[0] = 2

    monkeypatch.setattr(asking, "_paused", freed)
    found = ServedChat(Handle(answer, at_once), "c", 99).chat_many([[number] for number in range(7)])
    assert found == [f"answer to {number}" for number in range(7)]
    assert len(asked) == 7 + 5 + 3 + 1


def test_many_conversations_wait_longer_each_time_and_not_for_ever(monkeypatch):
    waited = []
    monkeypatch.setattr(asking, "_paused", lambda seconds, _: waited.append(seconds))
    chat = ServedChat(Handle(lambda *_: BackPressureError("no room")), "c", 99)
    with pytest.raises(FetchFailed, match="takes no more requests of this kind now"):
        chat.chat_many([[], []])
    assert waited == list(asking.AGAIN_S) == sorted(asking.AGAIN_S)


def test_a_wait_for_room_ends_where_it_is_cancelled():
    cancel = Cancel()
    chat = ServedChat(Handle(lambda *_: cancel.set() or BackPressureError("no room")), "c", 99)
    with pytest.raises(Cancelled):
        chat.chat_many([[]], cancel=cancel)


@pytest.mark.parametrize("error", [InputError("no such schema"), ZeroDivisionError("a mistake")], ids=str)
def test_other_errors_stay_what_they_are(error):
    for name, call in calls(Handle(lambda *_: error)).items():
        if name != "stream":
            with pytest.raises(type(error), match=str(error)):
                call()


def test_queries_are_encoded_in_their_order():
    handle = Handle(lambda text: np.full(2, len(text), dtype=np.float32))
    found = ServedEncoder(handle, **ABOUT[ServedEncoder]).encode(["a", "bbb"])
    assert found.tolist() == [[1, 1], [3, 3]]


class InThisProcess:
    """A `DeploymentHandle` of one replica, whose methods are called at once."""

    def __init__(self, replica: Any) -> None:
        self.replica = replica

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *given: Response(getattr(self.replica, name)(*given)))


def test_a_ranker_is_had_before_anything_is_asked_of_it(tmp_path):
    from foveal.ranking.attentive_cnn import AttentiveCNN, AttentiveCNNSettings, Vocabulary

    words = Vocabulary.of(["the rent is due in may", "the roof leaks"], least=1)
    AttentiveCNN(words, AttentiveCNNSettings(dimension=4, filters=4)).save(tmp_path / "models" / "articles")
    rankers = ServedRankers(InThisProcess(RankerReplica()))
    ranker = rankers.get("articles", tmp_path)  # it refuses an empty query, so that none may be asked to load it
    hits = [Hit(Passage(Span(text, 0, len(text)), text, None), 0.0, "words") for text in ("the roof leaks", "rent")]
    assert {hit.passage.text for hit in ranker.rank("rent", hits)} == {"the roof leaks", "rent"}
    with pytest.raises(UnknownName, match="No ranker is called"):
        rankers.get("no-such-ranker", tmp_path)
