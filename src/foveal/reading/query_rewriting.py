"""Conversational query rewriting: a question that follows on from a talk, written so that it stands by itself.

    standalone(model, talk, "And who built it?")        # "Who built the tide mill?"
    carried(talk, "And who built it?")                  # "What is the tide mill? And who built it?"

A search knows nothing of a talk. So a model is shown the end of it, and asked to put what such words refer to in their
place. A small one cannot do that; for it a rule puts the question before in front of one that leans on it: one that
has no name of its own, and says “it”, “they” or the like before it says much else, or says nothing but “And why?”. The
rule knows English alone, and would rather leave a question as it is. Nothing checks that either understood it right:
whoever asks is to be shown the question that came of it.
"""

from __future__ import annotations

import re

from foveal.models.chat import Cancel, ChatModel, Messages, Sampling
from foveal.reading.skim import content_words

TURNS = 6
"""Messages of the talk that are shown, the last ones."""

OF_A_TURN = 800
"""Characters of each, its first."""

LONGEST = 2000
"""Characters of a question; what is longer is none."""

SAMPLING = Sampling(max_tokens=256)

LONGEST_BEFORE = 300
"""Characters of a question that is put in front of another; a longer one would drown it."""

OWN, BEGUN = 1, 2
"""Words of its own that a question may have and lean on another: before the word that leans; in all, behind “And”."""

_BEGINS = re.compile(r"(?:and|but|or|so|what about|how about)\b[\s,]*", re.IGNORECASE)
_NAME = re.compile(r"(?<=\s)[^\w\s]*[A-Z]|\w[A-Z]|[\d_/`“”\"«»]|\w\.\w|[^\W_a-zA-Z]")
"""What a question has that names something; a letter that English lacks, too, as the rule knows no other language."""

_LEANS = re.compile(
    r"\b(?:its?|they|them|theirs?|he|him|his|she|hers?)\b"
    r"|\b(?:does|did|do|is|are|was|were|can|could|will|would|should|of|for|to|by|from|with|without|about) "
    r"(?:this|that|these|those)(?=\W*(?:\w+\W*)?$)"
    r"|(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )(?<!\bhi )(?<!\bhello )(?<!\bhey )\bthere(?=\W*$)",
    re.IGNORECASE,
)
_SAYS_NOTHING = re.compile(
    r"\b(?:is|was) it (?:possible|true|allowed|safe|worth|better|best|necessary|enough|hard|easy|likely|good)\b"
    r"|\bit takes? to\b|\b(?:does|did|will|would) it take to\b|\b(?:what|which) (?:time|day) is it\b"
    r"|\bhow (?:many|much)\b|\b(?:may|might|must|shall|one)\b",
    re.IGNORECASE,
)
"""An “it” that stands for nothing, and words that count for none."""

_TO_YOU = re.compile(r"\byour?s?\b", re.IGNORECASE)
"""Whoever answers is asked about itself ("Who are you?"), and not about what it said."""

ASKED = (
    "Below stand a conversation, and the question that comes next in it. Write that question so that it is understood "
    "by somebody who has not read the conversation: put names in the place of words such as “it”, “she” or “there”. "
    "Change nothing else, and keep its language. If it is understood as it is, repeat it. Write the question and "
    "nothing else.\n\nConversation:\n{talk}\n\nThe question that comes next: {question}\n\nThe question by itself:"
)


def standalone(model: ChatModel, talk: Messages, question: str, *, cancel: Cancel | None = None) -> str:
    """`question` as it is understood without the messages before it; as it is where there are none, or `model` gives
    no question.
    """
    if not talk:
        return question
    shown = "\n".join(f"{one['role'].capitalize()}: {_one_line(one['content'])[:OF_A_TURN]}" for one in talk[-TURNS:])
    asked = ASKED.format(talk=shown, question=_one_line(question))
    written = model.chat([{"role": "user", "content": asked}], SAMPLING, cancel=cancel)
    return _question_in(written) or question


def carried(talk: Messages, question: str) -> str:
    """`question` behind the last one of the talk that stands by itself, where it leans on one; else as it is."""
    if not leans(question):
        return question
    asked = [_one_line(one["content"]) for one in talk[-TURNS:] if one["role"] == "user"]
    before = next((one for one in reversed(asked) if one and not leans(one)), "")
    if not 0 < len(before) <= LONGEST_BEFORE or len(before) + len(question) >= LONGEST:
        return question
    return f"{before}{'' if before[-1] in '.?!…' else '.'} {_one_line(question)}"


def leans(question: str) -> bool:
    """Whether an English question seems to be about what was said before it."""
    question = _one_line(question)
    if _NAME.search(question):
        return False
    begins, plain = _BEGINS.match(question), _SAYS_NOTHING.sub(" ", question)
    own = len(content_words(plain))
    if (own == 0 and not _TO_YOU.search(plain)) or (begins and own <= BEGUN):
        return bool(re.search(r"[a-z]", plain, re.IGNORECASE))
    found = _LEANS.search(plain)
    return found is not None and len(content_words(plain[: found.start()])) <= OWN


def _question_in(written: str) -> str:
    """The first line that says something, without label, quotation marks and citations; "" where it is no question."""
    line = next(filter(None, map(_one_line, written.splitlines())), "")
    line = re.sub(r"^(?:the )?question(?: by itself)?:\s*", "", line, flags=re.IGNORECASE)
    inside = re.fullmatch(r"[\"“„«]([^\"“”„«»]+)[\"”“»]", line)
    line = re.sub(r"\s*\[\d{1,3}\](?=\W*$)", "", inside[1] if inside else line).strip()
    return line if re.search(r"\w", line) and len(line) <= LONGEST else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
