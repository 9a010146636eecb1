"""Documents with headings to paragraphs with section numbers: what a same-topic model learns from, without a label.

    for document in sectioned_documents(["policies/", "terms.jsonl"], SectionSettings(group="company")):
        …                                                # training.same_topic_pairs.Sectioned

Sections  the shallowest level of headings that gives at least four; or, with a table of topics, the paragraphs whose
          headings it knows, neighbours of one topic being one section (the paper's setting; all others are left out)
Leaks     no character of a heading's line is part of a paragraph
Left out  text that stands more than twice in a document (boilerplate), documents of fewer than ten paragraphs
Merging   as `paragraph_units` does where there are no headings to see; true boundaries that are lost so are counted
Group     a field of the metadata, else the site, else the folder: what is never split between learning and measuring
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from foveal.errors import InputError
from foveal.evaluation.segmentation import labels_to_masses
from foveal.text.loading import LoadSettings, Skipped, discover, load
from foveal.text.paragraph_units import SCRAP, merged, readable
from foveal.text.programs import headings_in
from foveal.text.segmentation import sections
from foveal.text.sources import DEFAULTS
from foveal.text.topic_tables import TopicTable, plain_heading
from foveal.text.units import paragraphs
from foveal.training.same_topic_pairs import Sectioned
from foveal.types import Document

BOILERPLATE = 2
"""Times that a paragraph may stand in a document."""

MOST_OF_IT = 0.8
"""Share of the paragraphs below a heading from which on it is the document's title."""


@dataclass(frozen=True, kw_only=True)
class SectionSettings:
    """Which documents are of use, and how they are parted."""

    least_sections: int = 4  # of a document
    least_paragraphs: int = 10  # of a document
    most_paragraphs: int = 400  # of a document, its first ones: so that none counts for ten
    merge_items: bool = True  # join list items to what introduces them, and scraps to what follows
    group: str | None = None  # a field of the metadata; None: the site or the folder

    def __post_init__(self) -> None:
        if self.least_sections < 2 or self.least_paragraphs < 2:
            raise InputError(
                f"Sections got least_sections={self.least_sections} and least_paragraphs={self.least_paragraphs}; both "
                "need to be at least 2, or there is no gap of either kind."
            )
        if self.most_paragraphs < self.least_paragraphs:
            raise InputError(
                f"Sections got most_paragraphs={self.most_paragraphs}, below least_paragraphs={self.least_paragraphs}; "
                "no document would be left."
            )


SECTIONS = SectionSettings()


@dataclass(frozen=True, slots=True)
class _Placed:
    """A paragraph and the titles that it stands under, from the highest down."""

    text: str
    path: tuple[str, ...]


def sectioned_documents(
    given: Sequence[str | Path],
    settings: SectionSettings = SECTIONS,
    topics: TopicTable | None = None,
    *,
    only_topics: bool = False,
    loading: LoadSettings = DEFAULTS,
) -> Iterator[Sectioned]:
    """The documents of files, folders and JSONL that have sections enough; what cannot be read is passed over.

    InputError: a path that is not there.
    """
    for source in discover(given, loading):
        if isinstance(source, Skipped):
            continue
        for document in load(source, loading):
            found = (
                None
                if isinstance(document, Skipped)
                else sectioned(document, settings, topics, only_topics=only_topics)
            )
            if found is not None:
                yield found


def sectioned(
    document: Document,
    settings: SectionSettings = SECTIONS,
    topics: TopicTable | None = None,
    *,
    only_topics: bool = False,
) -> Sectioned | None:
    """The document's paragraphs and sections; None where it has too few.

    A table names the paragraphs' topics; with `only_topics` what it does not know is left out, and neighbours of one
    topic are one section: that of the highest heading that it knows, else of the lowest. Without a table each heading
    is a topic.
    """
    placed = _without_boilerplate(_paragraphs(document))
    named = _topics([one.path for one in placed], topics, highest=only_topics)
    labels: list[Hashable] = [*named] if only_topics else [*_of_level(placed, settings.least_sections)]
    kept = [at for at, label in enumerate(labels) if label and not (only_topics and len(placed[at].text) < SCRAP)]
    numbers = _numbered([labels[at] for at in kept])
    texts = [placed[at].text for at in kept]
    groups = merged(texts) if settings.merge_items else [(at, at + 1) for at in range(len(texts))]
    groups = groups[: settings.most_paragraphs]
    firsts = [numbers[first] for first, _ in groups]
    if len(set(firsts)) < settings.least_sections or len(groups) < settings.least_paragraphs:
        return None
    order = {number: place for place, number in enumerate(dict.fromkeys(firsts))}
    return Sectioned(
        name=document.title,
        group=group_of(document, settings.group),
        paragraphs=tuple("\n".join(map(readable, texts[first:last])) for first, last in groups),
        sections=tuple(order[number] for number in firsts),
        topics=tuple(named[kept[first]] for first, _ in groups),
        headings=tuple(" ".join(placed[kept[first]].path) for first, _ in groups),
        lost=len(set(numbers[: groups[-1][1]])) - len(order),
    )


def group_of(document: Document, field: str | None) -> str:
    """What a document must not be split from. InputError: it lacks the field."""
    if field:
        if field not in document.metadata:
            raise InputError(
                f"{document.title!r} has no {field!r} in its metadata, by which documents were to be grouped; there "
                f"are: {', '.join(document.metadata) or 'none'}."
            )
        return str(document.metadata[field])
    if document.url:
        return urlsplit(document.url).netloc
    source = str(document.metadata.get("source", document.title))
    path = PurePosixPath(unquote(urlsplit(source).path))
    return path.stem if document.metadata.get("kind") == "jsonl" else path.parent.name or path.stem


def _paragraphs(document: Document) -> list[_Placed]:
    """The paragraphs outside of all headings' lines, in order."""
    found, text = [], document.text
    for section in sections(text, headings_in(document)):
        body = text[section.body : section.end]
        found += [_Placed(body[a:b].strip(), section.path) for a, b in paragraphs(body) if body[a:b].strip()]
    return found


def _without_boilerplate(placed: Sequence[_Placed]) -> list[_Placed]:
    counts = Counter(one.text for one in placed)
    return [one for one in placed if counts[one.text] <= BOILERPLATE]


def _of_level(placed: Sequence[_Placed], least: int) -> list[tuple[str, ...]]:
    """For each paragraph its path to the shallowest level that gives `least` sections; all empty where none does.

    What stands before the first heading is a section, too.
    """
    for level in range(1, max((len(one.path) for one in placed), default=0) + 1):
        paths = [one.path[:level] or ("",) for one in placed]
        if len(labels_to_masses(paths)) >= least:
            return paths
    return [()] * len(placed)


def _topics(paths: Sequence[tuple[str, ...]], topics: TopicTable | None, *, highest: bool) -> list[str]:
    """For each path its topic, "" for none. The document's own title, which stands above nearly all, is none."""
    counts = Counter(path[0] for path in paths if path)
    titles = {title for title, count in counts.items() if count > MOST_OF_IT * len(paths)}
    inner = [path[1:] if path and path[0] in titles else path for path in paths]
    if topics is None:
        return [plain_heading(path[-1]) if path else "" for path in inner]
    return [topics.of_path(path, highest=highest) or "" for path in inner]


def _numbered(labels: Sequence[Hashable]) -> list[int]:
    """For each label the number of its run."""
    return [number for number, run in enumerate(labels_to_masses(labels)) for _ in range(run)]
