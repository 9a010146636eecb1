"""Time series in tables, and labelled series: read, split, standardised.

    table = read_table(Path("ETTh1.csv"))              # a CSV: dates first, then one column of numbers per series
    parts = split_rows(table)                          # train, dev and test rows, in order of time
    labelled = read_ts(Path("JapaneseVowels_TRAIN.ts"))    # the UEA archive's form

Splits    tables named ETT…: 12, 4 and 4 months of 30 days, as all who publish figures on them; others: 70, 10, 20 %
Units     values are as in the file; `standardised` gives them with the mean and spread of the training rows
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Table:
    """Values (rows, series), the series' names, and the moments of the rows."""

    name: str
    names: tuple[str, ...]
    values: Floats
    moments: tuple[datetime, ...]

    @property
    def seconds(self) -> float:
        """Between the first two rows."""
        return (self.moments[1] - self.moments[0]).total_seconds()


def read_table(path: Path) -> Table:
    """A CSV of ETTh1's layout; `.gz` is unpacked. InputError: no such file, no dates, or what is no number."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}). Name a CSV file of dates and numbers.") from error
    if sum(map(bool, rows)) < 3 or len(rows[0]) < 2:
        raise InputError(f"{path} needs a header, two rows or more, and a column of numbers behind the dates.")
    moments, values = [], []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        try:
            moments.append(datetime.fromisoformat(row[0].strip()))
            if (moments[-1].tzinfo is None) != (moments[0].tzinfo is None):
                raise ValueError("its date has a zone, or the first one has, and the other has none")
            values.append([float(one) for one in row[1:]])
        except ValueError as error:
            form = "A row is a date (2016-07-01 00:00), then numbers."
            raise InputError(f"{path}, line {number}: {error}. {form}") from error
        if len(row) != len(rows[0]) or not (np.abs(values[-1]) <= np.finfo(np.float32).max).all():
            raise InputError(
                f"{path}, line {number}, needs {len(rows[0]) - 1} numbers, as the header has names, of at most 3.4e38."
            )
    return Table(path.name, tuple(rows[0][1:]), np.asarray(values, dtype=np.float32), tuple(moments))


@dataclass(frozen=True)
class Parts:
    """Half-open ranges of rows."""

    train: tuple[int, int]
    dev: tuple[int, int]
    test: tuple[int, int]


def split_rows(table: Table) -> Parts:
    """By time. An ETT table has 12, 4 and 4 months of 30 days, what follows is left out."""
    count = len(table.values)
    month = round(30 * 86_400 / table.seconds) if table.seconds > 0 else count
    if table.name.upper().startswith("ETT") and count >= 20 * month:
        ends = 12 * month, 16 * month, 20 * month
    else:
        ends = round(0.7 * count), round(0.8 * count), count
    return Parts((0, ends[0]), (ends[0], ends[1]), (ends[1], ends[2]))


def standardised(values: Floats, train: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Values with mean 0 and spread 1 over the training rows; that mean and that spread, (series,) each."""
    part = values[slice(*train)].astype(np.float64)  # in float32 even equal values get a spread, by rounding
    mean, spread = part.mean(0).astype(np.float32), part.std(0)
    spread = np.where(spread > 0, spread, 1).astype(np.float32)
    return (values - mean) / spread, mean, spread


# -- labelled series ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Labelled:
    """Series (T, channels) of any lengths, and the label of each."""

    series: tuple[Floats, ...]
    labels: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that occur, in order."""
        return tuple(sorted(set(self.labels)))


def read_ts(path: Path) -> Labelled:
    """A `.ts` file of the UEA and UCR archives. A value that is missing ("?") becomes the one before it.

    InputError: no such file, or a line that is none of the form.
    """
    series, labels = [], []
    for number, line in _data_lines(path):
        *channels, label = line.split(":")
        try:
            made = [np.array([_number(one) for one in row.split(",")]) for row in channels]
        except ValueError as error:
            form = "A line is channels, apart by colons, then a label."
            raise InputError(f"{path}, line {number}: {error}. {form}") from error
        if not made or not label.strip():
            raise InputError(f"{path}, line {number}, has no channel, or no label.")
        if any((np.abs(one) > np.finfo(np.float32).max).any() for one in made):
            raise InputError(f"{path}, line {number}, has a number beyond 3.4e38. Give it in another unit, or as ?.")
        tokens = max(map(len, made))
        series.append(np.stack([_filled(one, tokens) for one in made], 1).astype(np.float32))
        labels.append(label.strip())
    if not series or len({one.shape[1] for one in series}) != 1:
        raise InputError(f"{path} holds no series, or series of different numbers of channels.")
    return Labelled(tuple(series), tuple(labels))


def _data_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines behind @data, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}). Name a .ts file.") from error
    begin = next((at for at, line in enumerate(lines) if line.strip().lower() == "@data"), None)
    if begin is None:
        raise InputError(f"{path} has no line @data; it is no .ts file.")
    for number, line in enumerate(lines[begin + 1 :], begin + 2):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _number(told: str) -> float:
    return float("nan") if told.strip() == "?" else float(told)


def _filled(values: npt.NDArray[np.float64], tokens: int) -> npt.NDArray[np.float64]:
    """As long as the longest channel; missing values are the last known one, else 0."""
    values = np.concatenate([values, np.full(tokens - len(values), np.nan)])
    known = np.where(np.isnan(values), 0, np.arange(1, tokens + 1))
    last = np.maximum.accumulate(known)
    return np.where(last > 0, values[np.maximum(last - 1, 0)], 0.0)
