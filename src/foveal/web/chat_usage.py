"""What a question to a chat model took, in tokens (`models/counted_chat.py`), of whichever model a site has.

counted = CountedModels(site.models)          # in the place of the models, for one question
…
counted.tokens.prompt, counted.tokens.completion
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from foveal.models.chat import ChatModel
from foveal.models.counted_chat import CountedChat, Tokens

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel
    from foveal.web.models import Models


@dataclass
class CountedModels:
    """The models of a site, whose answers to one question are counted."""

    models: Models
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def name(self) -> str:
        """As pages name what answers."""
        return self.models.name

    def chat(self) -> ChatModel:
        """What answers, counted. ModelUnavailable: it cannot be had."""
        return cast(ChatModel, CountedChat(self.models.chat(), self.tokens))

    def reader(self) -> LanguageModel | None:
        """What reads, which is not counted."""
        return self.models.reader()
