"""Sequences of events in time, each with a mark: read from JSON lines, with the gaps between them.

    {"times": [0.1, 0.2, …], "types": [3, 0, …]}          one sequence a line; `.gz` is unpacked

Times are in any unit and never fall; `types` are whole numbers from 0, and may be left out where all events are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation.files import json_lines


@dataclass(frozen=True, eq=False)
class Events:
    """Times (n,) that never fall, and marks (n,) from 0."""

    times: npt.NDArray[np.float64]
    marks: npt.NDArray[np.int64]

    @property
    def gaps(self) -> npt.NDArray[np.float64]:
        """(n - 1,): between each event and the one before."""
        return np.diff(self.times)

    def pieces(self, most: int) -> list[Events]:
        """Pieces of at most `most` events, of two or more each."""
        cuts = range(0, len(self.times), most)
        made = [Events(self.times[at : at + most], self.marks[at : at + most]) for at in cuts]
        return [one for one in made if len(one.times) > 1]


def read_events(path: Path) -> list[Events]:
    """The sequences of a file that have two events or more. InputError: damaged, times that fall, or marks below 0."""
    found = []
    for place, line in json_lines(path):
        try:
            times = np.asarray(line["times"], dtype=np.float64)
            types = np.asarray(line.get("types", np.zeros(len(times))), dtype=np.float64)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise InputError(f'{place} is no {{"times": […], "types": […]}} ({error!r}).') from error
        if times.ndim != 1 or times.shape != types.shape or not np.isfinite(times).all():
            raise InputError(f"{place} needs as many types as times, all of them numbers.")
        whole = (types >= 0) & (types < 2**53) & (types == np.floor(types))
        if (np.diff(times) < 0).any() or not whole.all():
            raise InputError(f"{place} needs times that never fall, and types that are whole numbers from 0.")
        if len(times) > 1:
            found.append(Events(times, types.astype(np.int64)))
    if not found:
        raise InputError(f"{path} holds no sequence of two events or more.")
    return found
