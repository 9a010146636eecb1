"""Vectors in OpenAI's protocol, asked for by OpenAI's own client and by plain requests."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from fastapi import FastAPI
from honest import HashedWords
from members import member
from reading_site import OwnModels, made_app, served
from visitors import AT, Visitor

from foveal.library import Library
from foveal.models.bert import BertEncoder
from foveal.papers import tokens
from foveal.settings import Settings
from foveal.types import Document
from foveal.web.app import create_app
from foveal.web.site import SiteSettings

JSON = {"content-type": "application/json"}
TEXTS = ["The keeper of the tide mill", "Dem Müller gehört 博物馆 🕰", "a"]


def app_for(home: Path, **options: Any) -> FastAPI:
    """A site whose library was made with the encoder that comes along."""
    settings = Settings(home=home, cache=Settings.load().cache, encoder="minilm")
    Library.open(settings=settings)
    return create_app(settings, SiteSettings(**options), models=OwnModels())


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    made = app_for(tmp_path_factory.mktemp("vectors"), search_per_minute=0, api_per_hour=0)
    yield made
    made.state.site.close()


def asked(app: FastAPI, **fields: Any) -> Any:
    return Visitor(app).post("/v1/embeddings", json={"model": "minilm", "input": "mill"} | fields)


def test_vectors_are_the_encoders_in_both_formats(app: FastAPI) -> None:
    encoder = app.state.site.library.encoder
    expected = encoder.encode(TEXTS)
    with served(app) as base, openai.OpenAI(base_url=f"{base}/v1", api_key="any", max_retries=0) as client:
        packed = client.embeddings.create(model="minilm", input=TEXTS)  # base64, which the client unpacks
        plain = client.embeddings.create(model="minilm", input=TEXTS, encoding_format="float")
        assert client.models.retrieve("minilm").id == "minilm"
        assert [one.id for one in client.models.list()][-1] == "minilm"
    for told in (packed, plain):
        assert (told.object, told.model, [one.index for one in told.data]) == ("list", "minilm", [0, 1, 2])
        assert np.allclose([one.embedding for one in told.data], expected, atol=1e-3)
    assert np.allclose(np.linalg.norm([one.embedding for one in plain.data], axis=1), 1, atol=1e-5)
    read = sum(len(one.ids) for one in encoder.tokens(TEXTS))
    assert (plain.usage.prompt_tokens, plain.usage.total_tokens) == (read, read)


def test_each_text_is_cut_into_tokens_once(tmp_path: Path) -> None:
    class Counting(BertEncoder):
        cut = 0

        def tokens(self, texts: Sequence[str]) -> list[Any]:
            self.cut += len(texts)
            return super().tokens(texts)

        def token_offsets(self, text: str) -> list[tuple[int, int]]:
            self.cut += 1
            return super().token_offsets(text)

    app = app_for(tmp_path)
    library = app.state.site.library
    library.encoder = counting = Counting(library.encoder.folder)
    told = asked(app, input=[*TEXTS, "mill " * 2000]).json()
    assert counting.cut == len(TEXTS) + 1
    read = sum(len(one.ids) for one in BertEncoder.tokens(counting, [*TEXTS, "mill " * 2000]))
    assert told["usage"] == {"prompt_tokens": read, "total_tokens": read}
    app.state.site.close()


def test_one_text_has_one_vector_and_a_long_one_is_read_as_far_as_a_passage(app: FastAPI) -> None:
    told = asked(app, input="mill " * 2000).json()
    assert told["usage"]["prompt_tokens"] == app.state.site.library.encoder.max_tokens
    (one,) = told["data"]
    assert len(one["embedding"]) == app.state.site.library.encoder.dimension
    raw = asked(app, encoding_format="base64", dimensions=384, user="ana").json()["data"][0]["embedding"]
    assert len(np.frombuffer(base64.b64decode(raw), dtype="<f4")) == 384
    half = Visitor(app).post(
        "/v1/embeddings",
        content=rb'{"model": "minilm", "input": "\ud800"}',
        headers={"content-type": "application/json"},
    )
    assert half.status_code == 200


REFUSED: dict[str, tuple[dict[str, Any], int, str | None, str]] = {
    "tokens": ({"input": [1, 2, 3]}, 400, "input", "no numbers of tokens"),
    "lists of tokens": ({"input": [[1, 2], [3]]}, 400, "input", "check_embedding_ctx_length=False"),
    "no text": ({"input": []}, 400, "input", "no text in"),
    "an object": ({"input": {"a": 1}}, 400, "input", "no text in"),
    "an empty text": ({"input": ["a", " "]}, 400, "input", "One of the texts is empty"),
    "too many": ({"input": ["a"] * 2049}, 400, "input", "2,049 texts; at most 2,048"),
    "too much": ({"input": "a" * 200_000}, 413, None, "160 kB"),
    "another format": ({"encoding_format": "int8"}, 400, "encoding_format", "float or as base64"),
    "a format of no kind": ({"encoding_format": ["float"]}, 400, "encoding_format", "float or as base64"),
    "fewer dimensions": ({"dimensions": 100}, 400, "dimensions", "have 384 dimensions"),
    "another model": ({"model": "text-embedding-3-small"}, 404, "model", "There is: minilm"),
    "what answers": ({"model": "foveal"}, 404, "model", "There is: minilm"),
    "no model": ({"model": None}, 400, "model", "model cannot be read"),
    "no input": ({"input": None}, 400, "input", "no text in"),
    "NUL": ({"input": "a\0b"}, 400, None, "NUL"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_is_refused_says_why_as_openai_does(app: FastAPI, what: str) -> None:
    changed, status, param, said = REFUSED[what]
    told = asked(app, **changed)
    error = told.json()["error"]
    assert (told.status_code, error["param"], set(error)) == (status, param, {"message", "type", "param", "code"})
    assert said in error["message"]
    assert error["code"] == ("model_not_found" if status == 404 else None)


def test_the_encoder_answers_no_question(app: FastAPI) -> None:
    talk = {"model": "minilm", "messages": [{"role": "user", "content": "Who?"}]}
    told = Visitor(app).post("/v1/chat/completions", json=talk)
    assert (told.status_code, "makes vectors, at /v1/embeddings" in told.text) == (404, True)


def test_without_an_encoder_there_are_no_vectors(tmp_path: Path) -> None:
    app = made_app(tmp_path)
    for _ in range(2):  # first there is no library, then one that is searched by words
        told = Visitor(app).post("/v1/embeddings", json={"model": "minilm", "input": "a"})
        assert (told.status_code, "makes no vectors" in told.json()["error"]["message"]) == (400, True)
        assert "minilm" not in Visitor(app).get("/v1/models").text
        app.state.site.library.add_documents([Document.of("x:a", "A text of the mill.", "A")])
    app.state.site.close()


def test_a_folder_is_called_by_its_own_name(tmp_path: Path) -> None:
    app = app_for(tmp_path)
    library = app.state.site.library
    library.encoder = HashedWords()
    kept = {**library.store.settings, "encoder": str(tmp_path / "models" / "ours")}
    library.store.__dict__["settings"] = kept
    names = [one["id"] for one in Visitor(app).get("/v1/models").json()["data"]]
    assert names[-1] == "ours"
    assert str(tmp_path) not in Visitor(app).get("/v1/models").text
    assert asked(app, model="ours").status_code == 200
    app.state.site.close()


def test_who_may_search_may_ask_for_vectors_and_many_count_as_many_searches(tmp_path: Path) -> None:
    app = app_for(tmp_path, writers="members", search_per_minute=10)
    stranger = Visitor(app, client=("9.9.9.9", 1))
    body = {"model": "minilm", "input": ["mill " * 800] * 4}  # 16,000 characters: eight searches
    assert stranger.post("/v1/embeddings", json=body).status_code == 200
    refused = stranger.post("/v1/embeddings", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 30 <= int(refused.headers["retry-after"]) <= 40
    assert stranger.post("/v1/embeddings", json=body | {"input": "mill"}).status_code == 200
    assert Visitor(app, client=("8.8.8.8", 1)).post("/v1/embeddings", json=body).status_code == 200
    many = Visitor(app, client=("7.7.7.7", 1))
    for status in (200, 429):  # however short they are, forty are two searches, and 180 nine
        shorts = {"model": "minilm", "input": ["a"] * (40 if status == 200 else 180)}
        assert many.post("/v1/embeddings", json=shorts).status_code == status
    for _ in range(3):  # of this machine itself each is one
        assert Visitor(app).post("/v1/embeddings", json=body).status_code == 200
    app.state.site.close()


def test_a_page_of_another_site_and_a_token_of_nobody_get_none(app: FastAPI) -> None:
    body = {"model": "minilm", "input": "a"}
    theirs = Visitor(app).post("/v1/embeddings", json=body, headers={"origin": "https://evil.example"})
    assert theirs.status_code == 403
    secret = tokens.make(app.state.site.database, member(app.state.site.database, "ana"), "test").secret
    for sent, status in ((secret, 200), (f"{secret}x", 401)):
        headers = {"authorization": f"Bearer {sent}", "origin": AT}
        assert Visitor(app).post("/v1/embeddings", json=body, headers=headers).status_code == status
