"""LongHeads, room for what it reads: rows that know beforehand how many will come.

A long text is read in pieces. Were room made for each piece as it comes, all that is there would be moved time and
again, and once more by the first new token, which then takes as long as the text is. Here room is made once.

Shapes    as in rows.py
"""

from __future__ import annotations

from foveal.attention.rows import Rows

SPARE = 4096
"""Rows that are left free behind a long text, for what is said about it."""


class RoomyRows(Rows):
    """Rows that can be told how many more are to come."""

    def reserve(self, count: int) -> None:
        """Make room for `count` more rows. Where those before must be moved, there is then room for others, too.

        It is twice what was held, or `SPARE` rows more than are needed; at most twice what is needed.
        """
        end = self._added + count
        if end > self._room.shape[1]:
            spare = max(min(end, SPARE), self._added - count)
            room = -(-(end + spare) // self.chunk) * self.chunk
            larger = self.base.new_zeros((self.groups, room, self.width))
            larger[:, : self._added] = self.added
            self._room = larger
