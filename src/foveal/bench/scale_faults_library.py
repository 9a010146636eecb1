"""Trials of `scale-faults` on a library: adding, changing, removing and compacting while things go wrong.

What must hold afterwards, whatever struck:

lost        every document that was acknowledged is there, with the text that its file had then; every one whose removal
            was is not, and no other is gone but one: that whose removal was not acknowledged yet
half        a document that is there has one of its whole texts, and just the passages that its segmenter makes of it
found       it is found by a word that only it has, and a hit's text is what stands there
again       the same `add` comes to its end, and then each file is there once
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from foveal.bench.scale_faults_trials import Found, Pace, Trial, Victim, home_in
from foveal.errors import FovealError
from foveal.library import Library
from foveal.text.files import file_address
from foveal.types import document_id

DOCUMENTS = 36
POINTS = ("store.passages-written", "store.documents-written", "store.before-index", "store.write")
SEARCHED = 4
"""Documents that are searched for after a trial."""

TMPFS_KB = (300, 2000)
"""Sizes of the disks that become full."""

MEMORY_MB = (600, 2400)
"""Limits of memory, from too little to import anything to enough for all of it."""

T = TypeVar("T")

_pace = Pace(1.0)


def word_of(number: int, version: int) -> str:
    """A word that only one version of one document has."""
    return f"zq{number}v{version}x"


def text_of(number: int, version: int, draw: random.Random) -> str:
    """A document: some sections, its word in one of them."""
    sections = [
        f"## Part {part}\n\n"
        + " ".join(f"The mill {draw.randrange(10**6)} grinds." for _ in range(draw.randint(3, 40)))
        for part in range(draw.randint(1, 6))
    ]
    sections.insert(draw.randrange(len(sections) + 1), f"## The word\n\nIt is {word_of(number, version)} here.")
    return f"# Document {number}\n\n" + "\n\n".join(sections) + "\n"


class Files:
    """A folder of documents that change, and what each may be in the library."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder = folder / "documents"
        self.folder.mkdir()
        self.draw = draw
        self.texts: dict[str, list[str]] = {}  # document -> its texts, today's last
        self.words: dict[str, str] = {}
        self.paths: dict[str, Path] = {}
        for number in range(DOCUMENTS):
            self.write(number, 0)

    def write(self, number: int, version: int) -> None:
        """A new version of a file."""
        path = self.folder / f"{number}.md"
        text = text_of(number, version, self.draw)
        path.write_text(text, encoding="utf-8")
        key = document_id(file_address(path))
        self.texts.setdefault(key, []).append(text)
        self.words[key], self.paths[key] = word_of(number, version), path

    def change(self) -> None:
        """Half of them."""
        for number in self.draw.sample(range(DOCUMENTS), DOCUMENTS // 2):
            self.write(number, 1)


def held_against(
    home: Path,
    files: Files,
    found: Found,
    *,
    acked: Collection[str],
    today: Collection[str] = (),
    gone: Collection[str] = (),
) -> None:
    """Hold a library against what it must be; of `today` the last text was acknowledged; `gone` was removed."""
    begun = time.perf_counter()
    library = Library.open(home, create=False)
    there = {entry.id: entry for entry in library.documents()}
    for one in acked:
        found.hold(one in there, f"acknowledged and lost: {one}")
    for one in gone:
        found.hold(one not in there, f"removed and there: {one}")
    for one in there:
        document = library.get(one)
        found.hold(document.text in files.texts.get(one, ()), f"not a text of its file: {one}")
        if one in today:
            found.hold(document.text == files.texts[one][-1], f"acknowledged, and the text of before: {one}")
        made = sorted((p.span.start, p.span.end) for p in library.segmenter.segment(document) if p.text.strip())
        stored = [(start, end) for start, end, _ in library.store.places(one)]
        found.hold(stored == made, f"half visible: {one} has {len(stored)} of {len(made)} passages")
    for one in files.draw.sample(sorted(there), min(SEARCHED, len(there))):
        word = next(
            (word_of(int(files.paths[one].stem), v) for v, text in enumerate(files.texts[one])
             if text == library.get(one).text), ""
        )  # fmt: skip
        hits = library.search(word, 3, retriever="lexical")
        found.hold(any(hit.passage.span.document_id == one for hit in hits), f"not found by its word: {one}")
        for hit in hits:
            span = hit.passage.span
            found.hold(
                library.get(span.document_id).quote(span) == hit.passage.text, f"a hit that is not there: {span}"
            )
    found.recovery_s.append(time.perf_counter() - begun)


def all_but(home: Path, files: Files, gone: Collection[str], found: Found) -> None:
    """What was not removed is there: but for one, which was removed just before the kill, unacknowledged."""
    there = {entry.id for entry in Library.open(home, create=False).documents()}
    lacking = files.texts.keys() - there - set(gone)
    found.hold(len(lacking) <= 1, f"not removed and lost: {sorted(lacking)[:5]}")


def again(home: Path, files: Files, found: Found) -> None:
    """The same `add` comes to its end; then each file is there once, in today's version, and nothing else."""
    with Victim("add", home, files.folder) as victim:
        begun = victim.begun()
        status = victim.ended()
        found.hold(status == 0 and victim.done, f"the next add failed ({status}, {begun!r}): {victim.lines[-2:]}")
        held_against(home, files, found, acked=[*files.texts])
    library = Library.open(home, create=False)
    counts = library.store.counts()
    found.hold(counts["documents"] == len(files.texts), f"{counts['documents']} documents of {len(files.texts)} files")
    whole = sum(len(library.store.places(one)) for one in files.texts)
    found.hold(counts["passages"] == whole, f"{counts['passages']} passages are stored, {whole} belong to documents")
    for one, texts in files.texts.items():
        found.hold(library.get(one).text == texts[-1], f"not today's text: {one}")


def _fault(draw: random.Random, kind: str) -> Mapping[str, str]:
    """A point of the code at which something strikes; none for half of the trials."""
    if draw.random() < 0.5:
        return {}
    return {"FOVEAL_FAULTS": f"{draw.choice(POINTS)}={kind}@{draw.randint(1, 6)}"}


def killed_adding(draw: random.Random, folder: Path) -> Found:
    """`add` is killed twice, the second time while half of the files have changed."""
    found, home = Found(), home_in(folder)
    files = Files(folder, draw)
    acked: set[str] = set()
    for turn in range(2):
        with Victim("add", home, files.folder, variables=_fault(draw, "kill")) as victim:
            victim.begun()
            begun = time.perf_counter()
            found.struck += victim.kill_within(draw, 1.2 * _pace.seconds) or not victim.done
            if victim.done:
                _pace.learn(time.perf_counter() - begun)
            today = set(victim.acked)
            acked |= today
        if (home / "library").is_dir() and _made(home):
            held_against(home, files, found, acked=acked, today=today)
        else:
            found.hold(not acked, "documents were acknowledged, and there is no library")
        if turn == 0:
            files.change()
    again(home, files, found)
    return found


def killed_removing(draw: random.Random, folder: Path) -> Found:
    """Documents are removed one by one, and the library is compacted; it is killed."""
    found, home, files = _filled(draw, folder)
    with Victim("remove", home, str(draw.randrange(10**6)), variables=_fault(draw, "kill")) as victim:
        victim.begun()
        found.struck += victim.kill_within(draw, 2.0) or not victim.done
        gone = set(victim.acked)
    held_against(home, files, found, acked=(), gone=gone)
    all_but(home, files, gone, found)
    with Victim("remove", home, "1") as victim:  # compacts to its end
        found.hold(victim.ended() == 0, f"the next removal failed: {victim.lines[-2:]} {victim.errors}")
    again(home, files, found)
    return found


def full_disk(draw: random.Random, folder: Path) -> Found:
    """The disk becomes full: a small one of its own where that may be mounted, else at a point of the code."""
    found = Found()
    with _small_disk(folder / "disk", draw.randint(*TMPFS_KB)) as disk:
        home = home_in(disk or folder)
        files = Files(folder, draw)
        faults = {} if disk else {"FOVEAL_FAULTS": f"store.write=full@{draw.randint(1, 6)}"}
        with Victim("add", home, files.folder, variables=faults) as victim:
            victim.begun()
            status = victim.ended()
            acked = set(victim.acked)
            found.struck += status != 0
            told = [line for line in victim.lines if line.startswith("error ")]
            found.hold(status == 0 or bool(told), f"a full disk was not said in words: {status} {victim.errors[-600:]}")
        if _made(home):
            held_against(home, files, found, acked=acked)
        else:
            found.hold(not acked, "documents were acknowledged, and there is no library")
        roomy = folder / "roomy"
        shutil.copytree(home, roomy)
        again(roomy, files, found)
    return found


def out_of_memory(draw: random.Random, folder: Path) -> Found:
    """The worker that adds gets too little memory."""
    found, home = Found(), home_in(folder)
    files = Files(folder, draw)
    with Victim("add", home, files.folder, megabytes=draw.randint(*MEMORY_MB)) as victim:
        found.struck += victim.ended() != 0
        acked = set(victim.acked)
    if _made(home):
        held_against(home, files, found, acked=acked)
    else:
        found.hold(not acked, "documents were acknowledged, and there is no library")
    again(home, files, found)
    return found


def unreachable(draw: random.Random, folder: Path) -> Found:
    """The store goes away and comes back, while a library is open on it and while one is opened."""
    found, home, files = _filled(draw, folder)
    library = Library.open(home, create=False)
    one = draw.choice(sorted(files.words))
    library.search(files.words[one], 3, retriever="lexical")
    away = home / "away"
    (home / "library").rename(away)
    found.struck += 1
    for what in (
        lambda: library.search(files.words[one], 3, retriever="lexical"),
        lambda: library.get(one),
        lambda: Library.open(home, create=False),
    ):
        _in_words(what, found)
    if (home / "library").exists():  # what a reader must never do
        found.hold(False, "a reader made a library where its store was away")
        shutil.rmtree(home / "library")
    away.rename(home / "library")
    hits = library.search(files.words[one], 3, retriever="lexical")
    found.hold(bool(hits), "an open library does not find what is there again")
    held_against(home, files, found, acked=[*files.texts])
    return found


DAMAGES: Mapping[str, Callable[[Path, random.Random], None]] = {
    "cut": lambda path, draw: os.truncate(path, draw.randrange(max(1, path.stat().st_size))),
    "gone": lambda path, draw: path.unlink(),  # noqa: ARG005
    "zeroed": lambda path, draw: _overwritten(path, draw, lambda block: bytes(len(block))),
    "flipped": lambda path, draw: _overwritten(path, draw, lambda block: bytes(byte ^ 0x40 for byte in block)),
    "noise": lambda path, draw: _overwritten(path, draw, lambda block: draw.randbytes(len(block))),
}


def damaged(draw: random.Random, folder: Path) -> Found:
    """A file of the library is cut, deleted or overwritten: what is read is right, or it is said to be damaged."""
    found, home, files = _filled(draw, folder)
    paths = [path for path in sorted((home / "library").rglob("*")) if path.is_file() and path.stat().st_size]
    path, how = draw.choice(paths), draw.choice(sorted(DAMAGES))
    DAMAGES[how](path, draw)
    found.struck += 1
    said = f"{path.relative_to(home / 'library')} {how}"
    library = _in_words(lambda: Library.open(home, create=False), found, said)
    if library is None:
        return found
    for one, texts in files.texts.items():
        document = _in_words(lambda one=one: library.get(one), found, said)  # type: ignore[misc]
        if document is not None:
            found.hold(document.text in texts, f"wrong text shown ({said})")
    for one in files.draw.sample(sorted(files.words), SEARCHED):
        hits = _in_words(lambda one=one: library.search(files.words[one], 3, retriever="lexical"), found, said)  # type: ignore[misc]
        for hit in hits or ():
            text = files.texts.get(hit.passage.span.document_id, [""])[-1]
            found.shown += text[hit.passage.span.start : hit.passage.span.end] != hit.passage.text
    return found


def _in_words(what: Callable[[], T], found: Found, said: str = "its store was away") -> T | None:
    """What it gives; an error of ours is an answer, too, and any other a violation."""
    found.checked += 1
    try:
        return what()
    except FovealError:
        return None
    except Exception as error:
        found.violations.append(f"{type(error).__name__} instead of an error in words ({said}): {error!s:.200}")
        return None


def _filled(draw: random.Random, folder: Path) -> tuple[Found, Path, Files]:
    """A home with all documents added."""
    found, home = Found(), home_in(folder)
    files = Files(folder, draw)
    Library.open(home, encoder="none").add([files.folder])
    return found, home, files


def _made(home: Path) -> bool:
    """Whether there is a library; what a kill leaves before it is made is none."""
    from foveal.retrieval import tables

    return tables.exists(str(home / "library"))


def _overwritten(path: Path, draw: random.Random, change: Callable[[bytes], bytes]) -> None:
    content = bytearray(path.read_bytes())
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.choice((1, 16, 512)))
    content[start:end] = change(bytes(content[start:end]))
    path.write_bytes(content)


@contextmanager
def _small_disk(place: Path, kilobytes: int) -> Iterator[Path | None]:
    """A file system of that size; None where this user may not mount one."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


TRIALS: Sequence[tuple[str, Trial]] = (
    ("add, killed", killed_adding),
    ("remove and compact, killed", killed_removing),
    ("add, disk full", full_disk),
    ("add, too little memory", out_of_memory),
    ("library, store away", unreachable),
    ("library, file damaged", damaged),
)
