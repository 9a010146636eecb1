"""`foveal serve --ray`: what costs most in a site runs as three Ray Serve deployments, each with as many replicas as
are busy; the web app keeps pages, tables and jobs, and calls them.

    with cluster("auto"), served(Served(encoder="minilm", reader="qwen2.5-coder-0.5b", …)) as parts:
        library.encoder = parts.encoder        # an `Encoder`
        parts.rankers.get("blockrank", home)   # a `Ranker`
        parts.chat(), parts.reader()           # a `ChatModel`; a `LanguageModel` without weights, for `InfiniRetri`

Embedder    texts of requests that come within `WAIT_S` are encoded together, at most `TOGETHER`
Ranker      rankers by name, the two used last kept; a request is one query with its candidates, which is a batch itself
Reader      a language model: whole answers of the same settings are decoded together (`chat_many`), streams one by one,
            windows of a text as they come
Scaling     a deployment has `fewest` to `most` replicas, by the requests that wait; a replica that dies is replaced,
            and Ray Serve sends its requests to another. Requests beyond `QUEUED` a deployment are refused at once;
            those of `chat_many` are asked again (asking.py), since they come from one run, and may be more than that
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from foveal.errors import Cancelled, LibraryError
from foveal.models.chat import GREEDY, Cancel, Messages, Sampling, SchemaT
from foveal.models.language import LanguageModel, described_model
from foveal.reading.looking import Looking, Window
from foveal.scale.asking import answering, asked, asked_at_once, asked_until_answered, check
from foveal.scale.cluster import our_errors
from foveal.scale.reading import scored, sight
from foveal.types import Hit, Ranker

TOGETHER = 32
"""Texts, or conversations, of one batch."""

WAIT_S = 0.004
"""How long a batch waits for more: a query alone takes about as long to encode."""

QUEUED = 64
"""Requests that may wait for a deployment."""

FEW = 8
"""Texts up to which each is a request of its own, to share a batch with others'; more are a batch themselves."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """What is deployed, and how far it may grow."""

    encoder: str | None  # None: a library without vectors
    reader: str
    cache: Path
    home: Path
    fewest: int = 1  # replicas of each deployment
    most: int = 4
    cores: float = 0.5  # of a replica, as Ray counts them


@dataclass(frozen=True)
class Parts:
    """The deployments, as the protocols that the rest of Foveal knows; its `name`, `chat` and `reader` are a site's."""

    encoder: ServedEncoder | None
    rankers: ServedRankers
    answerer: ServedChat
    looker: LanguageModel

    @property
    def name(self) -> str:
        """The model that answers."""
        return self.answerer.name

    def chat(self) -> ServedChat:
        """What answers."""
        return self.answerer

    def reader(self) -> LanguageModel:
        """What reads: tokens and prompts here, attention by the replicas."""
        return self.looker


@contextmanager
def served(plan: Served) -> Iterator[Parts]:
    """Deploy to the cluster that is connected, wait until all answer, and take these down afterwards, no others.

    LibraryError: one of them cannot be started there.
    """
    serve = import_module("ray.serve")
    logs = _logs()
    serve.start(proxy_location="Disabled", logging_config=logs)
    site = uuid4().hex[:8]  # others may share the cluster
    apps: dict[str, Any] = {}  # by name; the handle of each that has started
    options = {
        "autoscaling_config": {"min_replicas": plan.fewest, "max_replicas": plan.most, "target_ongoing_requests": 2},
        "max_ongoing_requests": TOGETHER,
        "max_queued_requests": QUEUED,
        "ray_actor_options": {"num_cpus": plan.cores},
    }

    def deployed(kind: type, *given: Any) -> Any:
        name = kind.__name__.removeprefix("Batched").removesuffix("Replica").lower()
        bound = serve.deployment(kind).options(name=name, **options).bind(*given)
        app = f"foveal-{name}-{site}"
        apps[app] = None
        try:
            with our_errors():
                apps[app] = serve.run(bound, name=app, route_prefix=None, logging_config=logs)
        except RuntimeError as error:
            raise LibraryError(
                f"The cluster could not start the {name} of this site. Put Foveal and the same models on all nodes; "
                "Ray's `serve status` and the nodes' logs say more."
            ) from error
        return apps[app]

    try:
        encoder = (
            ServedEncoder.of(deployed(_batched(serve, EmbedderReplica, "encode"), plan.encoder, plan.cache, plan.home))
            if plan.encoder
            else None
        )
        rankers = ServedRankers(deployed(RankerReplica))
        chat = ServedChat.of(deployed(_batched(serve, ReaderReplica, "chat"), plan.reader, plan.cache))
        yield Parts(encoder, rankers, chat, described_model(plan.reader, chat.looked, cache=plan.cache))
    finally:
        _end(serve, apps)


def _logs() -> dict[str, Any]:
    """What Ray Serve is to log: what goes wrong; where Foveal tells what it does, each call, too."""
    told = logging.getLogger("foveal").isEnabledFor(logging.INFO)
    logging.getLogger("ray.serve").setLevel(logging.INFO if told else logging.WARNING)
    return {"log_level": "INFO" if told else "WARNING", "enable_access_log": told}


def _end(serve: Any, apps: Mapping[str, Any]) -> None:
    """Take down all at once, and wait for it."""
    try:
        with our_errors():
            for app in apps:
                serve.delete(app, _blocking=False)
            for app in apps:
                serve.delete(app)
    finally:
        for handle in apps.values():
            if handle is not None:
                handle.shutdown()  # else its threads go on to ask Ray, which starts anew where it has ended


# -- the deployments ---------------------------------------------------------------------------------------------------


def _batched(serve: Any, kind: type, method: str) -> type:
    """The class with the requests of a method, one argument each, given to it together."""
    together = serve.batch(max_batch_size=TOGETHER, batch_wait_timeout_s=WAIT_S)
    return type(f"Batched{kind.__name__}", (kind,), {method: together(getattr(kind, method))})


class EmbedderReplica:
    """The deployment of an encoder."""

    def __init__(self, name: str, cache: Path, home: Path) -> None:
        from foveal.models import load_encoder

        self._encoder = load_encoder(name, cache=cache, home=home)  # one that was trained lies in the home
        self.together(["ready"])  # loads what is loaded when first used

    def about(self) -> dict[str, Any]:
        """What `Encoder` says of itself."""
        return {name: getattr(self._encoder, name) for name in ("name", "dimension", "max_tokens", "fingerprint")}

    def together(self, texts: list[str]) -> np.ndarray:
        """Vectors (n, dimension)."""
        return self._encoder.encode(texts)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Places of a text's tokens."""
        return self._encoder.token_offsets(text)

    async def encode(self, texts: list[str]) -> list[np.ndarray]:
        """The vectors of texts of several requests."""
        return list(await asyncio.to_thread(self.together, texts))


class RankerReplica:
    """The deployment of rankers."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Path, tuple[int, ...]], Ranker] = {}

    def load(self, name: str, home: Path) -> None:
        """Have the ranker called `name` at hand. UnknownName, ModelUnavailable: as `load_ranker`."""
        self._ranker(name, home)

    def rank(self, name: str, home: Path, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits in the order of the ranker called `name`."""
        return self._ranker(name, home).rank(query, hits)

    def _ranker(self, name: str, home: Path) -> Ranker:
        from foveal.ranking.by_name import edition, load_ranker

        version = name, home, edition(name, home)  # a replica lives as long as the site
        ranker = self._made.pop(version, None) or load_ranker(name, home=home)
        self._made[version] = ranker
        for old in list(self._made)[:-2]:
            del self._made[old]
        return ranker


class ReaderReplica:
    """The deployment of a language model."""

    def __init__(self, name: str, cache: Path) -> None:
        from foveal.models import load_chat

        self._chat = load_chat(name, cache=cache)

    def about(self) -> dict[str, Any]:
        """What `ChatModel` says of itself."""
        return {"name": self._chat.name, "context_tokens": self._chat.context_tokens}

    async def chat(self, asked: list[tuple[Messages, Sampling]]) -> list[str]:
        """The answers to several requests, those of the same settings decoded together."""
        return await asyncio.to_thread(self._together, asked)

    def _together(self, asked: list[tuple[Messages, Sampling]]) -> list[str]:
        answers = [""] * len(asked)
        for sampling in dict.fromkeys(sampling for _, sampling in asked):
            rows = [row for row, (_, own) in enumerate(asked) if own == sampling]
            given = self._chat.chat_many([asked[row][0] for row in rows], sampling)
            for row, answer in zip(rows, given, strict=True):
                answers[row] = answer
        return answers

    def stream(self, messages: Messages, sampling: Sampling) -> Iterator[str]:
        """An answer in pieces."""
        yield from self._chat.stream(messages, sampling)

    def parse(self, messages: Messages, schema: type[SchemaT], sampling: Sampling | None) -> SchemaT:
        """An answer that the schema accepts; no sampling is the model's own."""
        return self._chat.parse(messages, schema, *([] if sampling is None else [sampling]))

    def score(self, messages: Messages, continuation: str) -> list[float]:
        """Log-probabilities of a continuation."""
        return self._chat.score(messages, continuation)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self._chat.count_tokens(text)

    def looked(self, how: bytes, windows: Any, questions: Sequence[str], content_free: bool) -> list[Any]:
        """Scores of windows, by the same weights."""
        return scored(how, windows, questions, content_free)


# -- what the web app holds --------------------------------------------------------------------------------------------


@dataclass
class ServedEncoder:
    """An `Encoder` whose texts are encoded by replicas."""

    handle: Any
    name: str
    dimension: int
    max_tokens: int
    fingerprint: str

    @classmethod
    def of(cls, handle: Any) -> ServedEncoder:
        """That of a deployment."""
        return cls(handle, **asked(handle.about))

    def require(self, fingerprint: str) -> None:
        """LibraryError: another encoder's vectors are to be searched."""
        if self.fingerprint != fingerprint:
            raise LibraryError(
                f"The encoder {self.name} of the cluster is not the one that made this library's vectors. Put the "
                "same model on all nodes."
            )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors (len(texts), dimension), float32."""
        if not texts or len(texts) > FEW:
            vectors: np.ndarray = asked(self.handle.together, list(texts))
            return vectors
        return np.stack(asked_at_once(self.handle.encode, texts))

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end character of each token."""
        offsets: list[tuple[int, int]] = asked(self.handle.offsets, text)
        return offsets


@dataclass(frozen=True)
class ServedRanker:
    """A `Ranker` whose queries are ranked by replicas."""

    handle: Any
    name: str
    home: Path

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """Order the hits anew, best first."""
        ranked: list[Hit] = asked(self.handle.rank, self.name, self.home, query, list(hits))
        return ranked


@dataclass
class ServedRankers:
    """Rankers by name, as a site asks for them."""

    handle: Any
    _known: set[tuple[str, Path]] = field(default_factory=set)

    def get(self, name: str, home: Path) -> ServedRanker:
        """The ranker of that name. UnknownName: there is none, as the first replica that is asked says."""
        if (name, home) not in self._known:
            asked(self.handle.load, name, home)
            self._known.add((name, home))
        return ServedRanker(self.handle, name, home)


@dataclass
class ServedChat:
    """A `ChatModel` whose answers are written by replicas. A cancelled call ends here; a replica ends its own turn."""

    handle: Any
    name: str
    context_tokens: int

    @classmethod
    def of(cls, handle: Any) -> ServedChat:
        """That of a deployment."""
        return cls(handle, **asked(handle.about))

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        """The whole answer, decoded together with others'."""
        check(cancel)
        answer: str = asked(self.handle.chat, (list(messages), sampling))
        return answer

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer in pieces."""
        check(cancel)
        with answering():
            pieces = self.handle.options(stream=True).stream.remote(list(messages), sampling)
            for piece in pieces:
                if cancel is not None and cancel.cancelled:
                    pieces.cancel()
                    raise Cancelled("The call was cancelled by its caller.")
                yield piece

    def parse(
        self, messages: Messages, schema: type[SchemaT], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> SchemaT:
        """An answer that `schema` accepts."""
        check(cancel)
        parsed: SchemaT = asked(self.handle.parse, list(messages), schema, None if sampling is GREEDY else sampling)
        return parsed

    def score(self, messages: Messages, continuation: str, *, cancel: Cancel | None = None) -> list[float]:
        """Natural-log probabilities of the tokens of `continuation`."""
        check(cancel)
        scores: list[float] = asked(self.handle.score, list(messages), continuation)
        return scores

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The whole answer to each conversation, by as many replicas as there are; what they refuse is asked again."""
        check(cancel)
        wanted = [(list(messages), sampling) for messages in conversations]
        return asked_until_answered(self.handle.chat, wanted, cancel)

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`."""
        count: int = asked(self.handle.count, text)
        return count

    def looked(
        self, looking: Looking, windows: Sequence[Window], questions: Sequence[str], content_free: bool
    ) -> list[Tensor]:
        """The scores of windows, by a replica (see `models.language.described_model`)."""
        found = asked(self.handle.looked, sight(looking), list(windows), list(questions), content_free)
        return [torch.from_numpy(one.copy()) for one in found]
