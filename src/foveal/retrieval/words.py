"""A person's query as a full-text query: words that may stand in a passage, "quoted words" that must, as a phrase."""

from __future__ import annotations

import unicodedata
from typing import Any

from foveal.evaluation.scripts import composed as composed
from foveal.models.characters import scalar

_FUNCTION_WORDS = (
    "a an and are as at be but by for from had has have he her his i if in into is it its of on or she such than that "
    "the their then there these they this those to was we were what which who will with you"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English words left out of word queries: they stand in nearly all passages, so that looking them up costs time and
hardly changes the order."""

_ASKING_WORDS = "do does did how when where why can could should would any"
ASKING_WORDS = frozenset(_ASKING_WORDS.split())
"""English words that a question is asked with, and that say nothing of what is asked for: looked up, but not marked."""

_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»「」『』＂", '"'))

_LETTERS = {"ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "ð": "d", "þ": "th"}
"""Letters of which Unicode does not say that they are others with an accent."""


def lexical_query(query: str) -> Any:
    """Words as a match query, "quoted words" as phrases that must stand there; None where there is neither.

    Function words are left out of the words (unless there are no others), but not of phrases, nor of the index.
    """
    from lancedb.query import BooleanQuery, MatchQuery, Occur, PhraseQuery

    text, phrases = _quoted(composed(scalar(query)))
    words = [word for word in text.split() if word.lower() not in FUNCTION_WORDS] or text.split()
    should = [(Occur.SHOULD, MatchQuery(" ".join(words), "indexed"))] if words else []
    must = [(Occur.MUST, PhraseQuery(phrase, "indexed")) for phrase in phrases]
    return BooleanQuery(must + should) if must else should[0][1] if should else None


def plain_quotes(query: str) -> str:
    """The query with the quotes of other keyboards and of word processors as `"`: people paste them."""
    return query.translate(_QUOTES)


def folded(text: str) -> str:
    """The text as the full-text index compares it, but for stems: in lower case, Latin letters without accents."""
    plain = composed(text).casefold()
    if plain.isascii():
        return plain
    return "".join(
        _plain_letter(one) if "\u0080" <= one < "\u0250" or "\u1e00" <= one < "\u1f00" else one for one in plain
    )


def _plain_letter(letter: str) -> str:
    parts = unicodedata.normalize("NFKD", _LETTERS.get(letter, letter))
    return "".join(one for one in parts if not unicodedata.combining(one))


def has_phrase(query: str) -> bool:
    """Whether the query holds "quoted words"."""
    return bool(_quoted(query)[1])


def _quoted(query: str) -> tuple[str, list[str]]:
    """What stands outside of the query's quotes, and what stands in each; a quote that is not closed counts as none."""
    parts = query.split('"')
    if len(parts) % 2 == 0:
        parts[-2:] = [f"{parts[-2]} {parts[-1]}"]
    return " ".join(parts[0::2]), [phrase for phrase in parts[1::2] if phrase.strip()]
