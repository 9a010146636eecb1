"""The library in OpenAI's chat protocol, for any client that speaks it: the last message of a user is the question.

    GET  /v1/models                 foveal, and foveal:RETRIEVER for each retriever; /v1/models/NAME  one of them
    POST /v1/chat/completions       {"model": "foveal", "messages": [{"role": "user", "content": "…"}], "stream": true}

What it asks, whom it lets, and how often are those of /api/ask. It is a job of the site, too, but of this connection:
who goes away stops it, and what came of it is told to whoever asked, and not kept.

Streamed    what is written of the answer goes into `reasoning_content`, as it comes: its numbers are those of a draft,
            and a client takes nothing back. The checked answer, with its places, is the `content`, in one piece
Follow-ups  are put into words that stand by themselves by a server's model, where one answers; for a model of this
            machine a rule puts the question before in front of one that leans on it (reading/query_rewriting.py)
Refused     in OpenAI's own shape (json_errors.py); so is what broke an answer off, as the last event before [DONE]
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from foveal import faults
from foveal.errors import FovealError, InputError, UnknownName
from foveal.models.chat import Message as Said
from foveal.models.chat import is_small
from foveal.models.counted_chat import Tokens
from foveal.reading.query_rewriting import carried, standalone
from foveal.web.answer_markdown import answer_markdown
from foveal.web.api_shapes import answer_of
from foveal.web.ask_pages import AskWork, ask_work
from foveal.web.chat_shapes import ChatQuestion, Choice, Completion, Message, Model, ModelList, Usage
from foveal.web.chat_usage import CountedModels
from foveal.web.embeddings import encoder_name
from foveal.web.job import MODEL, Job
from foveal.web.json_errors import FieldRefused, openai_error, status_of
from foveal.web.library_api import fresh, reads
from foveal.web.models import is_served
from foveal.web.offered import check_retriever, retrievers
from foveal.web.research_api import writes
from foveal.web.rights import Needs, whose_job
from foveal.web.signed_in import NOT_ANY_MORE, private
from foveal.web.site import Site, base_url, site_of
from foveal.web.small_forms import SmallForms
from foveal.web.streams import ALIVE, HEADERS, Asker, Events, told_by, while_signed_in

NAME = "foveal"
"""What the library is called as a model; a retriever stands behind it: "foveal:lexical"."""

LOOK_S = 1.0
"""Seconds between two looks whether somebody still waits for an answer that is not streamed."""

EMPTY = "The library of this site is empty: there is nothing to answer from. Add something to it first."
STOPPING = "The server is being stopped. Ask again in a minute."
STOPPED = "Somebody stopped this question before it was answered. Ask it again, if it is still wanted."

NOBODY = (401, NOT_ANY_MORE)
"""How a question ends whose token was revoked, or whose person removed, before it was answered."""

DONE = "data: [DONE]\n\n"
"""How a stream ends."""

GONE = 499
"""The status, which nobody gets, of an answer that nobody waits for any more."""

STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {Events.media_type: {"schema": {"type": "string"}}}}}

router = APIRouter(prefix="/v1", route_class=SmallForms, tags=["chat"], dependencies=[Depends(fresh)])


@dataclass
class ChatWork:
    """A question to the library that a connection waits for: it is not kept beyond this process."""

    ask: AskWork
    talk: Sequence[Said] = ()  # what was said before
    lane: str = MODEL
    question: str = ""  # as it came
    error: FovealError | None = None
    tokens: Tokens = field(default_factory=Tokens)  # that the models have read and written for it

    def __post_init__(self) -> None:
        self.question, self.served = self.ask.question, is_served(self.ask.models)
        self.ask.models = CountedModels(self.ask.models, self.tokens)

    @property
    def title(self) -> str:
        """For people."""
        return self.ask.title

    def page(self, key: str) -> str:
        """The page of jobs."""
        return f"/jobs/{key}"

    def __call__(self, job: Job) -> None:
        """Put the question in words that stand by themselves; ask it."""
        try:
            if self.talk:
                self.ask.question = self._understood(job)
            self.ask(job)
        except FovealError as error:
            self.error = error
            raise

    def _understood(self, job: Job) -> str:
        """The question in words that stand by themselves: a large model's, else by rule."""
        if not self.served or is_small(chat := self.ask.models.chat()):
            return carried(self.talk, self.question)
        job.progressed("Reading what was said before", 0, 3, now=True)
        return standalone(chat, self.talk, self.question, cancel=job.cancel)


@router.get("/models/", dependencies=reads, include_in_schema=False)  # clients join addresses as they like
@router.get("/models", dependencies=reads)
def models(request: Request) -> ModelList:
    """The ways to ask the library: foveal, and foveal:RETRIEVER for each retriever; last its encoder, if it has one."""
    site = site_of(request)
    encoder = encoder_name(site)
    return ModelList(data=[Model(id=name) for name in (*_names(site), *([encoder] if encoder else []))])


@router.get("/models/{model:path}", dependencies=reads)
def one_model(request: Request, model: str) -> Model:
    """One way to ask the library, or its encoder."""
    site, name = site_of(request), model.rstrip("/")
    if name != encoder_name(site):
        _retriever(site, name)
    return Model(id=name)


@router.post(
    "/chat/completions",
    response_model=Completion,
    responses=STREAMED,
    dependencies=[*writes, Depends(Needs("ask"))],
)
async def complete(request: Request, body: ChatQuestion) -> Response:
    """Answer the last message of a user from the library, whole or with `stream` as server-sent events."""
    reply = await to_thread.run_sync(_begun, request, body)
    if not body.stream:
        return await reply.whole(request)
    return _Stream(while_signed_in(request, reply.streamed(), _broken_off(openai_error(*NOBODY))), reply.stop)


@dataclass(frozen=True)
class _Reply:
    """What is told of a job to whoever waits for it."""

    site: Site
    job: Job
    work: ChatWork
    model: str
    base: str  # the site's address
    usage: bool  # whether a stream ends with it
    created: int = field(default_factory=lambda: int(faults.now().timestamp()))

    @property
    def id(self) -> str:
        """By which a client knows its answer."""
        return f"chatcmpl-{self.job.id}"

    def stop(self) -> None:
        """Nobody waits any more. Nothing happens to a job that has ended."""
        self.site.jobs.cancel(self.job)

    async def whole(self, request: Request) -> Response:
        """The answer in one piece. FovealError, HTTPException: there is none."""
        asker = Asker(request)
        try:
            async for _ in told_by(self.site.jobs, self.job, 0, silence_s=LOOK_S):
                if await request.is_disconnected():
                    return Response(status_code=GONE)
                if await asker.is_gone():
                    raise HTTPException(*NOBODY)
        finally:
            self.stop()
        if (error := self._error()) is not None:
            raise error
        told = Completion(
            id=self.id, created=self.created, model=self.model, choices=[Choice(message=self._message())],
            usage=self._usage(),
        )  # fmt: skip
        return JSONResponse(told.model_dump(mode="json"), headers=private())

    async def streamed(self) -> AsyncGenerator[str, None]:
        """The draft as it comes, then the answer."""
        yield self._chunk({"role": "assistant", "content": ""})
        async for events in told_by(self.site.jobs, self.job, 0):
            words = "".join(event.data["text"] for event in events if event.kind == "words")
            yield self._chunk({"reasoning_content": words}) if words else ALIVE
        if (error := self._error()) is not None:
            yield _broken_off(self._refusal(error))
            return
        message = self._message().model_dump(mode="json")
        yield self._chunk({"content": message["content"]})
        yield self._chunk({name: message[name] for name in ("question", "answer")}, finish="stop")
        if self.usage:
            yield _data(self._head() | {"choices": [], "usage": self._usage().model_dump()})
        yield DONE

    def _message(self) -> Message:
        ask, answer = self.work.ask, answer_of(self.work.ask)
        assert answer is not None  # the job is done
        return Message(
            content=answer_markdown(ask, self.base, asked=self.work.question), question=ask.question, answer=answer
        )

    def _usage(self) -> Usage:
        counted = self.work.tokens
        return Usage.of(counted.prompt, counted.completion)

    def _error(self) -> Exception | None:
        """Why there is no answer; None where there is one."""
        if self.job.state == "done":
            return None
        if self.job.state == "failed":
            return self.work.error or HTTPException(500, self.job.error)
        if self.site.jobs.closing:
            return HTTPException(503, STOPPING, {"Retry-After": "60"})
        return HTTPException(409, STOPPED, {"X-Should-Retry": "false"})  # which OpenAI's own clients mind

    def _refusal(self, error: Exception) -> dict[str, Any]:
        """An error of ours, or of the protocol's, as a stream tells it."""
        if isinstance(error, HTTPException):
            return openai_error(error.status_code, str(error.detail))
        assert isinstance(error, FovealError)
        return openai_error(status_of(error), self.site.told(error))

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data(self._head() | {"choices": [choice]} | ({"usage": None} if self.usage else {}))

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}


class _Stream(Events):
    """A stream that says when it has ended, also where whoever asked went away before it began."""

    def __init__(self, content: AsyncIterator[str], ended: Callable[[], None]) -> None:
        super().__init__(content, headers=HEADERS)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def _begun(request: Request, body: ChatQuestion) -> _Reply:
    """The question as a job that has begun. InputError, HTTPException: it cannot be asked so, or not now."""
    site = site_of(request)
    body.check()
    question, talk = body.asked()
    retriever = _retriever(site, body.model)
    ask = ask_work(site, question, retriever, body.where)
    if not (site.has_library and site.library.store.counts()["documents"]):
        raise InputError(EMPTY)
    work = ChatWork(ask, talk)
    job = site.jobs.start(work, whose=whose_job(request))
    usage = bool(body.stream_options and body.stream_options.include_usage)
    return _Reply(site, job, work, body.model, base_url(request), usage)


def _retriever(site: Site, model: str) -> str:
    """The retriever that a model's name asks for; "" is the site's choice. FieldRefused: there is no such model."""
    name, _, retriever = model.partition(":")
    try:
        check_retriever(retriever, site.settings.home)
    except UnknownName:
        name = ""
    if name != NAME and model == encoder_name(site):
        raise FieldRefused("model", f"{model} makes vectors, at /v1/embeddings. What answers is called {NAME}.", 404)
    if name != NAME:
        names = ", ".join(_names(site))
        raise FieldRefused("model", f"There is no model {model[:60]!r} here. There are: {names}.", 404)
    return retriever


def _names(site: Site) -> list[str]:
    return [NAME, *(f"{NAME}:{one}" for one in retrievers(site.settings.home))]


def _broken_off(refusal: dict[str, Any]) -> str:
    """The end of a stream that has no answer."""
    return _data(refusal) + DONE


def _data(told: dict[str, Any]) -> str:
    return f"data: {json.dumps(told, ensure_ascii=False)}\n\n"
