"""Headlines with their articles: the classes of TeClass, its files, and files of one's own.

    sets = load_teclass(Path("teclass"))              # {"training": …, "development": …, "test": …}
    pairs = read_pairs(Path("mine.csv"))              # columns headline, article; also id, label, url

Classes    primary HREL, MREL, LREL, from highly to least related; sub-classes FME (main event), STC (strong
           conclusion), FSE (secondary event), WKC (weak conclusion), SEN (sensational), CBT (clickbait), MLC
           (misleading); binary Relevant, Less relevant. What the codes stand for is from memory
Source     Kanumolu et al., "TeClass", LREC-COLING 2024, arXiv 2404.11349
Licence    the set is CC BY-NC-SA 4.0, research use only; articles belong to their publishers. Foveal ships none of it:
           this reads your own copy, and whatever is trained on it carries the note `HeadlineSet.licence`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from foveal.errors import InputError, UnknownName
from foveal.evaluation.files import csv_rows, json_lines

VIEWS = ("primary", "binary", "sub")
SPLITS: Mapping[str, tuple[str, ...]] = {
    "training": ("training", "train"),
    "development": ("development", "dev", "validation", "valid"),
    "test": ("test", "testing"),
}
"""Split -> what its file may be called, before .csv or .csv.gz."""

TECLASS_COLUMNS = ("id", "url", "article", "headline", "label")
TECLASS_LICENCE = (
    "Trained on TeClass (CC BY-NC-SA 4.0: research use only, no commercial use; article texts belong to their "
    "publishers). Do not ship this model."
)


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """Classes of headlines, best first, and how the views fit together. InputError: they do not.

    `primary`: class -> its sub-classes. `relevant`: those classes, or sub-classes, that the binary view calls relevant.
    """

    primary: Mapping[str, tuple[str, ...]]
    relevant: frozenset[str]
    meanings: Mapping[str, str] = field(default_factory=dict)
    binary: tuple[str, str] = ("Relevant", "Less relevant")

    def __post_init__(self) -> None:
        every = [*self.primary, *(sub for subs in self.primary.values() for sub in subs)]
        if len(self.primary) < 2 or len(set(every)) < len(every):
            raise InputError(f"A taxonomy got the classes {every}; it needs two or more, each named once.")
        unknown = sorted(self.relevant - set(every))
        if unknown or not self.relevant:
            raise InputError(f"A taxonomy calls {unknown or 'nothing'} relevant; it needs some of: {', '.join(every)}.")

    def labels(self, view: str = "primary") -> tuple[str, ...]:
        """The labels of a view, best first. UnknownName: no such view."""
        if view not in VIEWS:
            raise UnknownName(f"No view of headlines is called {view!r}. There are: {', '.join(VIEWS)}.")
        if view == "binary":
            return self.binary
        return tuple(self.primary) if view == "primary" else tuple(s for subs in self.primary.values() for s in subs)

    def viewed(self, label: str, view: str = "primary") -> str:
        """A label as another view has it. InputError: an unknown one, or one that leaves open what the view tells."""
        if label in self.labels(view):
            return label
        parent = next((one for one, subs in self.primary.items() if label in subs), None)
        if parent is None and label not in (*self.primary, *self.binary):
            known = dict.fromkeys(one for name in VIEWS for one in self.labels(name))
            raise InputError(f"There is no label {label!r}. There are: {', '.join(known)}.")
        if view == "binary":
            return self.binary[0 if label in self.relevant or parent in self.relevant else 1]
        if view == "primary" and parent is not None:
            return parent
        told, wider = "sub-class" if view == "sub" else "class", "" if label in self.binary else "primary or "
        raise InputError(f"The label {label!r} does not say which {told} it is. Take the view {wider}binary.")


TECLASS = Taxonomy(
    primary={"HREL": ("FME",), "MREL": ("STC", "FSE"), "LREL": ("WKC", "SEN", "CBT", "MLC")},
    relevant=frozenset({"HREL", "MREL", "FME", "STC", "FSE"}),
    meanings={
        "HREL": "highly related: the headline states the core fact of the article",
        "MREL": "moderately related: supported, but secondary, or a conclusion that follows",
        "LREL": "least related: not what the article says",
        "FME": "factual main event",
        "STC": "strong conclusion",
        "FSE": "factual secondary event",
        "WKC": "weak conclusion",
        "SEN": "sensational",
        "CBT": "clickbait",
        "MLC": "misleading",
    },
)
"""The classes of TeClass. The paper groups sub-classes so in its binary view; the primary grouping is inferred."""


@dataclass(frozen=True, slots=True)
class HeadlinePair:
    """A headline with its article; `label` where somebody gave one. InputError: one of the two texts is empty."""

    headline: str
    article: str
    label: str | None = None
    id: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        check_texts(self.headline, self.article, of=f" of {self.id!r}" if self.id else "")


def check_texts(headline: str, article: str, *, of: str = "") -> None:
    """InputError: the headline or the article is empty."""
    for name, text in (("headline", headline), ("article", article)):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"The {name}{of} is empty. Give its text, or leave the pair out.")


@dataclass(frozen=True)
class HeadlineSet:
    """Pairs, in order; `licence` is a note that everything trained on them carries on."""

    name: str
    pairs: tuple[HeadlinePair, ...]
    licence: str = ""

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over texts and labels."""
        digest = hashlib.sha256()
        for one in self.pairs:
            told = json.dumps([one.headline, one.article, one.label])
            digest.update(told.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def by_id(self) -> dict[str, HeadlinePair]:
        """The pairs by their ids, in order; one that comes twice once. InputError: one id is that of two headlines."""
        found: dict[str, HeadlinePair] = {}
        for one in self.pairs:
            first = found.setdefault(one.id, one)
            if (first.headline, first.article) != (one.headline, one.article):
                raise InputError(
                    f"The id {one.id!r} is that of two pairs: {first.headline[:60]!r} and {one.headline[:60]!r}. Votes "
                    "are kept by the id: give each pair its own."
                )
        return found

    def labelled(self, taxonomy: Taxonomy = TECLASS, view: str = "primary") -> list[str]:
        """The label of each pair in that view. InputError: a pair without one, or an unknown one."""
        found = []
        for one in self.pairs:
            which = one.id or one.headline[:60]
            if one.label is None:
                raise InputError(f"The pair {which!r} has no label. Give one, or leave it out.")
            try:
                found.append(taxonomy.viewed(one.label, view))
            except InputError as error:
                raise InputError(f"The pair {which!r}: {error}") from error
        return found

    def only(self, labels: Sequence[str], taxonomy: Taxonomy = TECLASS) -> HeadlineSet:
        """The pairs that have one of these labels, or a sub-class of one. InputError: an unknown label, there too."""
        wanted = {sub for label in labels for sub in (label, *taxonomy.primary.get(label, ()))}
        known = {*taxonomy.labels("primary"), *taxonomy.labels("sub")}
        unknown = next((label for label in labels if label not in known), None)
        if unknown is not None:
            raise InputError(f"There is no label {unknown!r}. There are: {', '.join(sorted(known))}.")
        known |= {*taxonomy.binary}
        wrong = next((one for one in self.pairs if one.label is not None and one.label not in known), None)
        if wrong is not None:  # misspelt, it would be left out unseen
            of, there = wrong.id or wrong.headline[:60], ", ".join(sorted(known))
            raise InputError(f"The pair {of!r}: There is no label {wrong.label!r}. There are: {there}.")
        return HeadlineSet(self.name, tuple(one for one in self.pairs if one.label in wanted), self.licence)


def load_teclass(folder: Path) -> dict[str, HeadlineSet]:
    """The three splits of one's own copy of TeClass. InputError: which file is missing, or lacks which column, or has
    which unknown label.
    """
    files = {split: _split_file(folder, split) for split in SPLITS}
    missing = [split for split, path in files.items() if path is None]
    if missing:
        names = ", ".join(f"{SPLITS[split][0]}.csv" for split in missing)
        raise InputError(f"{folder} lacks {names} (each may end in .gz). It needs the three files of TeClass.")
    found = {split: read_pairs(path, needs=TECLASS_COLUMNS) for split, path in files.items() if path is not None}
    for split, pairs in found.items():
        pairs.labelled()  # an unknown label is named here, not an hour later
        found[split] = HeadlineSet(f"TeClass {split}", pairs.pairs, TECLASS_LICENCE)
    return found


def _split_file(folder: Path, split: str) -> Path | None:
    names = (folder / f"{name}.csv{end}" for name in SPLITS[split] for end in ("", ".gz"))
    return next((path for path in names if path.is_file()), None)


def read_pairs(path: Path, *, needs: Sequence[str] = ("article", "headline")) -> HeadlineSet:
    """The pairs of a CSV file with a header, or of JSON lines (.jsonl); .gz is unpacked. An empty label is none.

    InputError: no such file, a column is missing, a text is empty, or it holds no pairs.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}. Name a CSV file, or JSON lines, with headline and article.")
    rows = json_lines(path) if ".jsonl" in path.name else csv_rows(path, needs)
    pairs = tuple(_pair(where, row, needs, number) for number, (where, row) in enumerate(rows))
    if not pairs:
        raise InputError(f"{path} holds no pairs. It needs at least one headline with its article.")
    return HeadlineSet(path.name.partition(".")[0], pairs)


def _pair(where: str, row: Any, needs: Sequence[str], number: int) -> HeadlinePair:
    missing = [name for name in needs if not isinstance(row, Mapping) or not isinstance(row.get(name), str)]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}. Each needs {', '.join(needs)}.")
    optional = {name: str(row[name]) for name in ("url",) if row.get(name)}
    given = {name: str(row[name]) for name in ("id", "_id", "label") if row.get(name) not in (None, "")}  # 0 is one
    identity = given.get("id", given.get("_id", str(number)))
    try:
        return HeadlinePair(row["headline"], row["article"], given.get("label"), identity, **optional)
    except InputError as error:
        raise InputError(f"{where} {error}") from error
