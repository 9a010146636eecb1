"""How much likelier a language model finds a headline once it has read the article: pointwise mutual information.

    gain = LikelihoodGain(load_chat("gemma3-270m"))
    gain(headline, article)                # mean nats a token, above 0 where the article speaks for the headline

It is mean log p(token | article, earlier tokens) - mean log p(token | earlier tokens), over the headline's tokens: what
is common to all headlines cancels out, and so does most of their length. Nothing is trained, and nothing is asked for
in words; any `ChatModel` that gives log-probabilities will do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

from foveal.models.chat import ChatModel

READ = "{article}\n\nHeadline:"
UNREAD = "Headline:"


@dataclass(frozen=True, eq=False)
class LikelihoodGain:
    """Mean nats a token that reading gains; what was asked before is remembered."""

    chat: ChatModel
    _known: dict[tuple[str, str], float] = field(default_factory=dict)

    def __call__(self, headline: str, article: str) -> float:
        """The gain of a headline by its article's text, which must fit the model's context."""
        return self._remembered(READ.format(article=article), headline) - self._remembered(UNREAD, headline)

    def _remembered(self, prompt: str, headline: str) -> float:
        key = prompt, headline
        if key not in self._known:
            self._known[key] = mean_score(self.chat, prompt, headline)
        return self._known[key]


def mean_score(chat: ChatModel, prompt: str, headline: str) -> float:
    """Mean log-probability of a token of the headline behind the prompt."""
    scores = chat.score([{"role": "user", "content": prompt}], f" {headline.strip()}")
    return fmean(scores) if scores else 0.0
