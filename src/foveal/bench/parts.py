"""A bench that is several: its parts in turn. One that cannot be run falls short in a row that says why.

So a data folder that holds some of the sets is measured by these. A bench by itself stops with the error, as does one
of several of which none can be run: then the data folder is not what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from foveal.bench.settings import BenchSettings
from foveal.errors import InputError, MissingExtra
from foveal.evaluation.tables import Row
from foveal.registry import BENCHES

Part = Callable[[BenchSettings], Iterator[Row]]


def each(parts: Sequence[Part], settings: BenchSettings) -> Iterator[Row]:
    """The rows of all parts. InputError, MissingExtra: no part has any."""
    failed: list[tuple[Part, InputError | MissingExtra]] = []
    some = False
    for part in parts:
        try:
            for row in part(settings):
                some = True
                yield row
        except (InputError, MissingExtra) as error:
            failed.append((part, error))
    if failed and not some:
        raise failed[0][1]
    for part, why in failed:
        told = str(why).replace(f"{settings.data}/", "")  # a report names no path of the machine
        yield Row(name_of(part), "parts run to their end", 0.0, bar="≥ 1", ok=False, note=f"not run: {told}")


def name_of(part: Part) -> str:
    """What the bench of this function is called; what is no bench of its own, as its function."""
    place = f"{part.__module__}:{part.__name__}"
    return next((name for name, path in BENCHES.items() if path == place), part.__name__.replace("_", " "))
