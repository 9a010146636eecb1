"""bench headlines: the data sets as headlines with articles, and how they are parted.

fnc1        Fake News Challenge: agree and disagree -> HREL, discuss -> MREL, unrelated -> LREL; parted by body,
            70/15/15, or by body and headline at once, so that no test headline was seen
semrel      pairs of sentences with human scores of how related they are, in seven languages
clickbait   headlines alone, half of them clickbait, in five folds with equal shares of both
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.files import csv_rows, present
from foveal.evaluation.headlines import HeadlinePair, HeadlineSet

LABELS = {"agree": "HREL", "disagree": "HREL", "discuss": "MREL", "unrelated": "LREL"}
SHARES = (0.70, 0.85)
"""Where the bodies that are learnt from end, and those that are looked at; the rest is measured."""

LANGUAGES = ("tel", "mar", "hin", "amh", "hau", "esp", "eng")
"""What comes first where it is there; other languages follow by name."""
CLICKBAIT = "clickbait"

Ints = npt.NDArray[np.int64]


class Parts(NamedTuple):
    """Pairs to learn from, to look at, and to measure on."""

    learnt: HeadlineSet
    dev: HeadlineSet
    test: HeadlineSet


def fnc(settings: BenchSettings) -> HeadlineSet:
    """All pairs; `url` is the body's id. InputError: the set is not there whole."""
    folder = settings.folder("fnc1", ("bodies.csv", "stances.csv"))
    bodies = {row["body_id"]: row["text"] for _, row in csv_rows(present(folder, "bodies.csv"), ("body_id", "text"))}
    pairs = []
    columns = ("label", "body_id", "headline")
    for number, (where, row) in enumerate(csv_rows(present(folder, "stances.csv"), columns)):
        if row["label"] not in LABELS or row["body_id"] not in bodies:
            raise InputError(
                f"{where} has the label {row['label']!r} and the body {row['body_id']!r}; one is unknown. "
                f"Labels are {', '.join(LABELS)}; bodies those of bodies.csv."
            )
        pairs.append(
            HeadlinePair(row["headline"], bodies[row["body_id"]], LABELS[row["label"]], str(number), row["body_id"])
        )
    return HeadlineSet(
        "fnc1", tuple(pairs), "Trained on FakeNewsChallenge data, whose licence is not stated. Do not ship."
    )


def by_body(pairs: HeadlineSet, *, seed: int = 0) -> Parts:
    """Parted by body: no body is in two parts."""
    part = _parts(sorted({one.url for one in pairs.pairs}, key=_number), seed)
    return Parts(*(_chosen(pairs, [one for one in pairs.pairs if part[one.url] == side]) for side in range(3)))


def by_body_and_headline(pairs: HeadlineSet, *, seed: int = 0) -> Parts:
    """Parted by body and by headline: what is in no part by both is left out."""
    bodies = _parts(sorted({one.url for one in pairs.pairs}, key=_number), seed)
    heads = _parts(sorted({" ".join(one.headline.lower().split()) for one in pairs.pairs}), seed + 1)
    sides = []
    for side in range(3):
        own = (one for one in pairs.pairs if bodies[one.url] == side)
        sides.append(_chosen(pairs, [one for one in own if heads[" ".join(one.headline.lower().split())] == side]))
    return Parts(*sides)


def few(pairs: HeadlineSet, most: int, *, seed: int = 0) -> HeadlineSet:
    """At most so many pairs, drawn from the seed."""
    order = np.random.default_rng(seed).permutation(len(pairs))[:most]
    return _chosen(pairs, [pairs.pairs[at] for at in sorted(order.tolist())])


@dataclass(frozen=True)
class Related:
    """Pairs of sentences with their human scores, and all sentences that weights may be learnt from."""

    language: str
    split: str
    pairs: tuple[tuple[str, str], ...]
    scores: tuple[float, ...]
    learnt: tuple[str, ...]


def languages_in(settings: BenchSettings) -> list[str]:
    """The languages that there are test or dev pairs of. InputError: none."""
    folder = settings.data / "semrel"
    found = {path.name.partition(".")[0].rpartition("_")[0] for kind in ("test", "dev")
             for path in folder.glob(f"*_{kind}.csv*")}  # fmt: skip
    if not found:
        raise InputError(
            f"{folder} holds no pairs: <language>_test.csv, _train.csv, _dev.csv with sentence1, sentence2, score. "
            "Name the folder that holds semrel/ by --data or FOVEAL_DATA."
        )
    return [*(one for one in LANGUAGES if one in found), *sorted(found.difference(LANGUAGES))]


def related(settings: BenchSettings, language: str) -> Related:
    """Test pairs (Spanish: dev pairs, as its test scores are not published), and the other pairs' sentences."""
    folder = settings.data / "semrel"
    split = "test" if _there(folder, f"{language}_test.csv") else "dev"
    settings.folder("semrel", (f"{language}_{split}.csv",))
    pairs, scores = _scored(present(folder, f"{language}_{split}.csv"))
    others = [name for name in ("train", "dev") if name != split and _there(folder, f"{language}_{name}.csv")]
    learnt = [
        text for name in others for pair in _scored(present(folder, f"{language}_{name}.csv"))[0] for text in pair
    ]
    return Related(language, split, tuple(pairs), tuple(scores), tuple(learnt))


def _scored(path: Path) -> tuple[list[tuple[str, str]], list[float]]:
    pairs, scores = [], []
    for where, row in csv_rows(path, ("sentence1", "sentence2", "score")):
        try:
            scores.append(float(row["score"]))
        except (TypeError, ValueError):
            raise InputError(f"{where} has the score {row['score']!r}; it needs a number.") from None
        pairs.append((row["sentence1"], row["sentence2"]))
    return pairs, scores


def clickbait(settings: BenchSettings) -> tuple[list[str], Ints]:
    """Headlines, and 1 for each that is clickbait; of other labels the second by name. InputError: not two of them."""
    folder = settings.folder("classification/clickbait", ("all.csv",))
    path = present(folder, "all.csv")
    rows = [row for _, row in csv_rows(path, ("label", "headline"))]
    labels = sorted({row["label"] for row in rows})
    if len(labels) != 2:
        raise InputError(f"{path} has the labels {', '.join(labels) or 'of no row'}; this bench needs two of them.")
    chosen = CLICKBAIT if CLICKBAIT in labels else labels[1]
    return [row["headline"] for row in rows], np.array([row["label"] == chosen for row in rows], dtype=np.int64)


def folds(classes: Ints, count: int = 5, *, seed: int = 0) -> list[Ints]:
    """`count` parts of the rows, each class dealt out evenly."""
    fold = np.zeros(len(classes), dtype=np.int64)
    generator = np.random.default_rng(seed)
    for one in np.unique(classes):
        own = generator.permutation(np.flatnonzero(classes == one))
        fold[own] = np.arange(len(own)) % count
    return [np.flatnonzero(fold == one) for one in range(count)]


def _parts(names: Sequence[str], seed: int) -> dict[str, int]:
    """Name -> part 0, 1, 2 of a seeded shuffle."""
    order = np.random.default_rng(seed).permutation(len(names))
    edges = [round(share * len(names)) for share in SHARES]
    return {names[at]: int(np.searchsorted(edges, place, side="right")) for place, at in enumerate(order)}


def _chosen(pairs: HeadlineSet, chosen: Sequence[HeadlinePair]) -> HeadlineSet:
    return HeadlineSet(pairs.name, tuple(chosen), pairs.licence)


def _number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (0, name)


def _there(folder: Path, name: str) -> bool:
    return present(folder, name).is_file()
