"""Conversational query rewriting: a question that follows on from a talk, written so that it stands by itself.

    standalone(model, talk, "And who built it?")        # "Who built the tide mill?"

A search knows nothing of a talk. So the model is shown the end of it, and asked to put what such words refer to in
their place. Nothing checks that it understood them right: whoever asks it is to show the question that came of it.
"""

from __future__ import annotations

import re

from foveal.models.chat import Cancel, ChatModel, Messages, Sampling

TURNS = 6
"""Messages of the talk that are shown, the last ones."""

OF_A_TURN = 800
"""Characters of each, its first."""

LONGEST = 2000
"""Characters of a question; what is longer is none."""

SAMPLING = Sampling(max_tokens=256)

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


def _question_in(written: str) -> str:
    """The first line that says something, without label, quotation marks and citations; "" where it is no question."""
    line = next(filter(None, map(_one_line, written.splitlines())), "")
    line = re.sub(r"^(?:the )?question(?: by itself)?:\s*", "", line, flags=re.IGNORECASE)
    inside = re.fullmatch(r"[\"“„«]([^\"“”„«»]+)[\"”“»]", line)
    line = re.sub(r"\s*\[\d{1,3}\](?=\W*$)", "", inside[1] if inside else line).strip()
    return line if re.search(r"\w", line) and len(line) <= LONGEST else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
