"""A person's query as a full-text query: words that may stand in a passage, "quoted words" that must, as a phrase."""

from __future__ import annotations

import re
import unicodedata
from itertools import chain, islice, product
from typing import Any

from foveal.evaluation.scripts import composed, word_runs
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

_DOTTED = "i\u0307"
"""The small letter of "İ" by Unicode's rules: no one character."""

MOST_FORMS = 8
"""Of a phrase: each is a search, of words that mostly stand nowhere."""

_LAST_SIGMA = re.compile(r"(?<=\w)[Σσς](?!\w)")
_FIRST_I = re.compile(r"(?<!\w)[iI]")


def lexical_query(query: str) -> Any:
    """Words as a match query, "quoted words" as phrases that must stand there; None where there is neither.

    Function words are left out of the words (unless there are no others), but not of phrases, nor of the index. Each
    is asked for in all `spellings` that the index tells apart.
    """
    from lancedb.query import BooleanQuery, MatchQuery, Occur, PhraseQuery

    text, phrases = _quoted(composed(scalar(query)))
    words = [word for word in text.split() if word.lower() not in FUNCTION_WORDS] or text.split()
    runs = [run for run in word_runs(" ".join(words)) if run.lower() not in FUNCTION_WORDS]
    words += [other for run in runs for other in spellings(run)[1:]]  # of runs: parts of "well-defined" count once
    should = [(Occur.SHOULD, MatchQuery(" ".join(words), "indexed"))] if words else []

    def stands(phrase: str) -> Any:
        forms = [PhraseQuery(form, "indexed") for form in _phrase_spellings(phrase)]
        return forms[0] if len(forms) == 1 else BooleanQuery([(Occur.SHOULD, form) for form in forms])

    must = [(Occur.MUST, stands(phrase)) for phrase in phrases]
    return BooleanQuery(must + should) if must else should[0][1] if should else None


def spellings(text: str) -> list[str]:
    """The text as given, in small letters, with capitals first, and in capitals, where the index tells these apart.

    It lowers letter by letter: "Σ" becomes "σ" at a word's end, too, and "İ" no "i". Texts that are indexed so already
    are found by a query in all these forms; each form is there once, or its words would count twice.
    """
    given = _LAST_SIGMA.sub(lambda one: "ς" if one[0] == "ς" else "σ", text)
    small = _LAST_SIGMA.sub("ς", given.replace("İ", "i").replace(_DOTTED, "i"))
    capitals = _LAST_SIGMA.sub("σ", small.replace("i", "İ").replace("I", "İ"))
    return list(dict.fromkeys((given, small, _FIRST_I.sub("İ", small), capitals)))


def _phrase_spellings(phrase: str) -> list[str]:
    """The phrase as a whole in each form, and with words of different forms, as far as `MOST_FORMS` goes."""
    words = phrase.split()
    forms = chain(spellings(" ".join(words)), map(" ".join, product(*map(spellings, words))))
    return list(dict.fromkeys(islice(forms, 2 * MOST_FORMS)))[:MOST_FORMS]


def plain_quotes(query: str) -> str:
    """The query with the quotes of other keyboards and of word processors as `"`: people paste them."""
    return query.translate(_QUOTES)


def folded(text: str) -> str:
    """The text as the full-text index compares it, but for stems: in lower case, Latin letters without accents."""
    plain = composed(text).casefold().replace(_DOTTED, "i")
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
