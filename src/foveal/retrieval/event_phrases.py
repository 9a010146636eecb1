"""A short phrase that names an event: the title nearest its centre, trimmed; or what a language model writes.

    trimmed("Quake hits Elazig - BBC News", source="bbc.co.uk")      -> "Quake hits Elazig"
    triple("Quake hits Elazig")                                      -> ("Quake", "hits", "Elazig")
    written(chat, titles)                                            -> one phrase by three fields, under a grammar

The triple is a plain cut at the first word that looks like a verb; it is what an encoder learns to write while it is
trained (`training.events`), where a wrong one now and then does little harm. Source: subject, action and object as in
Event-Centric Query Expansion (Zhang et al., ACL 2023, industry track, arXiv 2305.19019).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from foveal.evaluation.scripts import word_runs

if TYPE_CHECKING:
    from foveal.models.chat import ChatModel

SEPARATORS = re.compile(r"\s+[|»·•–—-]\s+|\s*::\s*|\s+\|\|\s+")
SHOWN_TITLES = 8
"""Titles of an event that a language model is shown."""


def trimmed(title: str, *, source: str = "") -> str:
    """The title without the names of its source and section, which separators set apart at its ends."""
    plain = " ".join(title.split())
    parts = [part.strip() for part in SEPARATORS.split(plain) if part.strip()]
    if len(parts) < 2:
        return plain
    names = set(word_runs(source.lower())) - {"www", "com", "org", "net", "co", "uk"}
    kept = [part for part in parts if not _names_source(part, names)] or parts
    longest = max(kept, key=lambda part: len(part.split()))
    return longest if len(longest.split()) >= 3 else " - ".join(kept)


def _names_source(part: str, names: set[str]) -> bool:
    words = word_runs(part.lower())
    joined = "".join(words)
    return bool(names) and len(words) <= 4 and any(name in joined or joined in name for name in names if len(name) > 2)


_VERB = re.compile(
    r"^(?:is|are|was|were|has|have|had|will|to|says?|said|gets?|got|wins?|won|hits?|dies?|cuts?|sets?|kills?|killed|"
    r"makes?|takes?|faces?|leads?|holds?|meets?|seeks?|plans?|calls?|[a-z]{3,}(?:ed|es|s))$"
)


def triple(phrase: str) -> tuple[str, str, str]:
    """Subject, verb and object of a headline; without anything that looks like a verb the whole is the subject."""
    words = phrase.split()
    for place in range(1, len(words) - 1):
        if _VERB.match(words[place].lower()) and not words[place - 1].lower().endswith(("'s", "’s")):
            end = place + 1
            while end < len(words) - 1 and words[place].lower() in ("will", "to", "is", "are", "was", "has", "have"):
                place, end = end, end + 1
            return " ".join(words[: end - 1]), words[end - 1], " ".join(words[end:])
    return phrase, "", ""


def written(chat: ChatModel, titles: Sequence[str]) -> str:
    """Who did what to whom, by a language model that sees the titles; one line. Errors: as `ChatModel.parse`."""
    from typing import Annotated

    from pydantic import BaseModel, ConfigDict, Field

    class EventFields(BaseModel):
        model_config = ConfigDict(extra="forbid")
        who: Annotated[str, Field(max_length=60)]
        did_what: Annotated[str, Field(max_length=60)]
        to_whom_and_when: Annotated[str, Field(max_length=80)]

    shown = "\n".join(f"- {title}" for title in titles[:SHOWN_TITLES])
    asked = (
        "These headlines report one event.\n"
        f"{shown}\n"
        "Say in three fields who acted, what they did, and to whom and when. Use words of the headlines only."
    )
    fields = chat.parse([{"role": "user", "content": asked}], EventFields)
    return " ".join(part for part in (fields.who, fields.did_what, fields.to_whom_and_when) if part.strip())
