"""What reads and answers behind the pages: loaded when first asked for, then shared by all.

Site(settings, options, LocalModels("qwen2.5-coder-0.5b", settings.cache))
create_app(settings, options, models=…)     # anything with these three: a server's model, a fake in a test
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from foveal.types import Ranker

if TYPE_CHECKING:
    from foveal.models.chat import ChatModel
    from foveal.models.language import LanguageModel
    from foveal.models.prefix_cache import PrefixCache
    from foveal.settings import Settings

DEFAULT = "qwen2.5-coder-0.5b"


class Models(Protocol):
    """The models of a site."""

    @property
    def name(self) -> str:
        """As pages name what answers."""
        ...

    def chat(self) -> ChatModel:
        """What answers. ModelUnavailable: it cannot be had."""
        ...

    def reader(self) -> LanguageModel | None:
        """What reads whole documents, with attention that can be seen; None: the library can be asked, all the same."""
        ...


class RankersByName(Protocol):
    """The rankers of a site."""

    def get(self, name: str, home: Path) -> Ranker:
        """The ranker of that name. UnknownName: there is none."""
        ...


@dataclass
class LocalModels:
    """A model of this machine does both; with `url`, that server's model `answerer` answers."""

    model: str = DEFAULT
    cache: Path | None = None
    url: str | None = None  # OpenAI-compatible, as http://127.0.0.1:8080/v1
    answerer: str | None = None
    served: Settings | None = None  # how long that server may be silent and what it reads; None: as load_chat
    kept_mb: int = 512  # of what a local model has read, kept for prompts that begin alike
    kept: PrefixCache | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _chat: ChatModel | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The model that answers."""
        return self.answerer or self.model

    def chat(self) -> ChatModel:
        """The one chat model, loaded at the first call."""
        from foveal.models.chats import load_chat, served_as

        with self._lock:
            if self._chat is None:
                if not self.url:
                    from foveal.models.prefix_cache import PrefixCache

                    self.kept = self.kept or PrefixCache(self.kept_mb * 2**20)
                how = served_as(self.served) if self.served else {}
                self._chat = load_chat(self.name, url=self.url, cache=self.cache, kept=self.kept, **how)
            return self._chat

    def reader(self) -> LanguageModel | None:
        """The model that reads: the chat model's own, where it is on this machine."""
        own: LanguageModel | None = getattr(self.chat(), "language_model", None)
        if own is not None:
            return own
        from foveal.models import load_language_model

        return load_language_model(self.model, cache=self.cache)  # kept by the loader itself


def is_local(models: Models) -> bool:
    """Whether what answers runs on this machine, where two at once would only halve each other's speed."""
    return isinstance(models, LocalModels) and not models.url


def is_served(models: Models) -> bool:
    """Whether a model behind a server's address answers, which takes several questions at once."""
    return isinstance(models, LocalModels) and bool(models.url)


@dataclass
class Rankers:
    """The rankers that visitors choose by name, loaded once: the two used last."""

    _made: dict[tuple[str, tuple[int, ...]], Ranker] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, name: str, home: Path) -> Ranker:
        """The ranker of that name, as it was trained last. UnknownName: there is none."""
        from foveal.ranking.by_name import edition, load_ranker

        with self._lock:
            version = name, edition(name, home)
            ranker = self._made.pop(version, None) or load_ranker(name, home=home)
            self._made[version] = ranker
            for old in list(self._made)[:-2]:
                del self._made[old]
        return ranker
