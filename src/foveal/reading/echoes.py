"""An answer that only gives its excerpts back, one after the other, as small models do that are shown too much.

echo = Echo([mill, key, bell])              # each as it was shown
echo.goes_on(mill[:40])                     # True: so far it may be one
echo.is_one(f"[2] {key}\n\n[3] {bell}")     # True: where they are long; a few short ones may have been asked for
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence

from foveal.reading.events import AnswerDelta
from foveal.reading.loops import until_round

LEAST, NEXT = 400, 6
"""Characters given back that make an echo, of one excerpt to its end, and of the next behind it."""

_NO_WORDS = re.compile(r"\[\d*(?:\]|\Z)|\s+")


class Echo:
    """What an echo of excerpts would be, from each of them on; of one excerpt alone there is none."""

    def __init__(self, shown: Sequence[str]) -> None:
        """`shown`: the excerpts, as the model was shown them."""
        said = [_words(one) for one in shown]
        self._from = ["".join(said[place:]) for place in range(len(said) - 1)]
        self._enough = [max(LEAST, len(one) + NEXT) for one in said[:-1]]

    def goes_on(self, answer: str) -> bool:
        """Whether an answer, as far as it is written, is nothing but excerpts, of which the first may go on."""
        said = _words(answer)
        return any(one.startswith(said) for one in self._from)

    def is_one(self, answer: str) -> bool:
        """Whether an answer begins with a whole excerpt and what was shown behind it."""
        said = _words(answer)
        return any(
            len(said) >= enough and len(one) >= enough and said.startswith(one[:enough])
            for one, enough in zip(self._from, self._enough, strict=True)
        )


def heard(pieces: Iterable[str], echo: Echo) -> Generator[AnswerDelta, None, str]:
    """The words of an answer as they come; all of them, up to where they go round, is the value returned.

    What may become an echo of the excerpts is passed on once it has become none; one that is, is not.
    """
    said, shown = "", 0
    for piece in until_round(pieces):
        said += piece
        if not shown and echo.is_one(said):
            return said
        if not shown and echo.goes_on(said):
            continue
        yield AnswerDelta(said[shown:])
        shown = len(said)
    if shown < len(said):
        yield AnswerDelta(said[shown:])
    return said


def _words(text: str) -> str:
    """A text without white space and numbers of citations."""
    return _NO_WORDS.sub("", text)
