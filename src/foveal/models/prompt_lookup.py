"""Prompt lookup: what an answer may go on with, from where its end stood before. An answer from a text quotes it.

    lookup = PromptLookup(prompt_ids)
    lookup.add(new_ids)                  # as they are chosen
    lookup.draft(11)                     # what came after the same words, at most so many; often nothing

A step that reads a few tokens takes hardly longer than one that reads one: both read every weight once. So the token
loop (decoding.py) reads drafts on trust, and keeps those that it would have chosen: the same answer in fewer steps.

Shapes    token ids all; a draft is as long as the likeness promises: 2, 4, 7, 11 tokens behind 1, 2, 3, 4 alike
Against   transformers' `prompt_lookup_num_tokens` drafts equally many always, greedy only, one conversation at a time
Source    Yang et al., arXiv 2304.04487 (a reference as draft); Leviathan et al., arXiv 2211.17192 (drafts, checked)
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 11
"""Tokens of a draft: with the token before it they fill the registers of half_products.py. More gain little."""

ALIKE = 8
"""Tokens that are compared; where so many agree, no other place is looked at."""


class PromptLookup:
    """A text of tokens that grows, and where each token stands in it."""

    def __init__(self, ids: Sequence[int]) -> None:
        """Begin with a prompt."""
        self._ids: list[int] = []
        self._places: dict[int, list[int]] = {}
        self.add(ids)

    def add(self, ids: Sequence[int]) -> None:
        """The text goes on with these."""
        for token in ids:
            self._places.setdefault(token, []).append(len(self._ids))
            self._ids.append(token)

    def draft(self, most: int) -> list[int]:
        """What stands behind the place that the end is most like, the last of such; at most `most` tokens."""
        place, alike = self._most_alike()
        count = min(most, LONGEST, 1 + alike * (alike + 1) // 2)
        return self._ids[place + 1 : place + 1 + count] if alike and count > 0 else []

    def _most_alike(self) -> tuple[int, int]:
        """Where what ends there is like the end, and in how many tokens; (0, 0): nowhere."""
        end = len(self._ids) - 1
        best, most = 0, 0
        for place in reversed(self._places[self._ids[end]][:-1] if self._ids else ()):
            alike = 1
            while alike < min(ALIKE, place + 1) and self._ids[place - alike] == self._ids[end - alike]:
                alike += 1
            if alike > most:
                best, most = place, alike
            if most == ALIKE:
                break
        return best, most
