"""Trains the boundary predictors that are shipped, and prints what they find beside the baselines.

    python docs/dev/boundaries.py qwen2.5-coder-0.5b --per-kind 9 --threads 1
    python docs/dev/boundaries.py gemma3-270m --per-kind 36 --threads 1

Open texts only: Python's reference manual and the sources of its standard library (PSF licence), the King James Bible
(Debian's package bible-kjv), and the licences in /usr/share/common-licenses. Whole documents are held out, and what
shares a paragraph with one of them is not trained on. Of Gemma three layers see the whole text, so it reads more texts.
About a quarter of an hour a model on one core.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from rich.console import Console

import foveal
from foveal.attention.boundaries import Origin
from foveal.attention.boundary_training import Metrics, Progress, Recipe, TokenText, train_boundary_predictor
from foveal.attention.profiles import architecture_of
from foveal.models.language import LanguageModel, load_language_model
from foveal.text.sample import manual

SHIPPED = Path(foveal.__file__).parent / "attention" / "shipped"
HELD_OUT = {
    *("debugger", "formatstrings"),
    *("Ruth", "Eccl", "Jonah", "Mark", "1Cor"),
    *("MPL-1.1", "Artistic", "Artistic-2.0", "OFL-1.1", "CC0-1.0"),
    *("heapq.py", "shutil.py", "statistics.py", "textwrap.py"),
}
SHARED = 200  # characters from which on a paragraph that two documents share counts
SENTENCE = re.compile(r"[.!?][\"')\]]*(?=\s)|\S(?=\s*\n\s*\n)")
LINE = re.compile(r"\S(?=[ \t]*\n)")  # what ends a statement, in code

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Named:
    """A document."""

    name: str
    text: str


def manuals() -> Iterator[Named]:
    """The topics of Python's manual."""
    return (Named(str(topic.metadata["source"]).partition(":")[2], topic.text) for topic in manual())


def books() -> Iterator[Named]:
    """The books of the Bible, a paragraph a chapter, without the numbers of the verses."""
    command = ["bible", "-f", "gen1:1-rev22:21"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    verses = [found.groups() for found in (re.match(r"(\d?[A-Za-z]+)(\d+):\d+ (.*)", line) for line in lines) if found]
    for book, of_book in groupby(verses, key=lambda verse: verse[0]):
        chapters = ["\n".join(text for *_, text in verse) for _, verse in groupby(of_book, key=lambda verse: verse[1])]
        yield Named(book, "\n\n".join(chapters))


def licences() -> Iterator[Named]:
    """The licences that Debian keeps once for all packages."""
    for path in sorted(Path("/usr/share/common-licenses").iterdir()):
        if not path.is_symlink():
            yield Named(path.name, path.read_text(encoding="utf-8"))


def sources() -> Iterator[Named]:
    """The modules of the standard library that are one file."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):
        yield Named(path.name, path.read_text(encoding="utf-8"))


KINDS: dict[str, tuple[Callable[[], Iterator[Named]], re.Pattern[str]]] = {
    "manual": (manuals, SENTENCE),
    "bible": (books, SENTENCE),
    "licences": (licences, SENTENCE),
    "sources": (sources, LINE),
}


def split(documents: list[Named]) -> tuple[list[Named], list[Named]]:
    """The documents to train on, and those held out."""
    held = [document for document in documents if document.name in HELD_OUT]
    known = {paragraph for document in held for paragraph in paragraphs(document)}
    rest = [document for document in documents if document.name not in HELD_OUT]
    return [document for document in rest if known.isdisjoint(paragraphs(document))], held


def paragraphs(document: Named) -> set[str]:
    """The long ones, spaces made alike."""
    parts = (" ".join(part.split()) for part in re.split(r"\n\s*\n", document.text))
    return {part for part in parts if len(part) >= SHARED}


def windows(
    model: LanguageModel, documents: list[Named], ends: re.Pattern[str], count: int, length: int
) -> list[TokenText]:
    """`count` texts of `length` tokens, spread evenly over the documents, one after the other."""
    text = "\n\n".join(document.text for document in documents)
    encoding = model.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    last = {found.end() - 1 for found in ends.finditer(text)}
    marks = [any(place in last for place in range(start, end)) for start, end in encoding.offsets]
    room = len(encoding.ids) - length
    starts = [room * (2 * number + 1) // (2 * count) for number in range(count)]
    return [
        TokenText(
            encoding.ids[start : start + length],
            [place for place, mark in enumerate(marks[start : start + length]) if mark],
        )
        for start in starts
    ]


def texts(
    model: LanguageModel, per_kind: int, held_per_kind: int, length: int
) -> tuple[list[TokenText], list[TokenText]]:
    """Texts to train on, and held out, of all kinds."""
    train, held = [], []
    for documents, ends in KINDS.values():
        to_train, to_hold = split(list(documents()))
        train += windows(model, to_train, ends, per_kind, length)
        held += windows(model, to_hold, ends, held_per_kind, length)
    return train, held


def flat(metrics: Metrics) -> dict[str, float]:
    """The metrics as a predictor's file keeps them."""
    return {
        f"{name} {measure}": round(getattr(found, measure), 4)
        for name, found in metrics.items()
        for measure in ("precision", "recall", "f1", "overlap")
    }


def train(name: str, per_kind: int, held_per_kind: int, recipe: Recipe, seed: int) -> None:
    """Train, print and write the predictor of the model `name`."""
    model = load_language_model(name)
    train_on, held = texts(model, per_kind, held_per_kind, recipe.length)
    console.print(f"{name}: {len(train_on)} texts of {recipe.length} tokens to train on, {len(held)} held out")
    started = time.perf_counter()

    def report(progress: Progress) -> None:
        if progress.done % max(1, progress.total // 10) == 0:
            seconds = time.perf_counter() - started
            loss = "" if progress.loss is None else f"  loss {progress.loss:.4f}"
            console.print(f"{seconds:5.0f} s  {progress.stage} {progress.done}/{progress.total}{loss}")

    predictor, metrics = train_boundary_predictor(
        model.model, train_on, held_out=held, recipe=recipe, seed=seed, on_progress=report
    )
    for system, found in metrics.items():
        console.print(
            f"{system:10} precision {found.precision:.3f}  recall {found.recall:.3f}  f1 {found.f1:.3f}  "
            f"overlap {found.overlap:.3f}"
        )
    path = SHIPPED / f"boundaries-{name}.safetensors"
    origin = Origin(
        model=name,
        fingerprint=model.fingerprint,
        architecture=architecture_of(model.model.config),
        metrics=flat(metrics),
    )
    predictor.save(path, origin)
    console.print(f"{path}: {path.stat().st_size:,} bytes, {time.perf_counter() - started:.0f} s")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--per-kind", type=int, default=12, help="texts of each of the four kinds to train on")
    parser.add_argument("--held-per-kind", type=int, default=3, help="texts of each kind held out")
    parser.add_argument("--layers", type=int, default=12, help="layers drawn of each text")
    parser.add_argument("--epochs", type=int, default=Recipe().epochs)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = Recipe(epochs=given.epochs, layers_per_text=given.layers)
    for name in given.models:
        train(name, given.per_kind, given.held_per_kind, recipe, given.seed)


if __name__ == "__main__":
    main()
