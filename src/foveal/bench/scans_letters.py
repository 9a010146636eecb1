"""Rows of `bench search-scans` for letters that the models of recognition do not know, where Tesseract has them.

Russian      our own words, set and scanned like the other pages, added as ever: nothing is set
Vietnamese   XQuAD's paragraphs, where they are: by the models, which lose letters with two marks, and by the setting
             `ocr_languages`
Beside       Tesseract called alone in that language
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import present
from foveal.evaluation.tables import Row
from foveal.text.tesseract import installed

LEAST = 0.9
"""Share of words right."""

PAGES, PAGES_QUICK = 4, 1

RUSSIAN = """
Смотритель старой мельницы вёл журнал с первого дня службы. Каждое утро он записывал, сколько зерна привезли, кто его
привёз и какая была вода в реке. Весной река поднималась, и тогда колесо вертелось так быстро, что дрожали стены; летом
она мелела, и мешки стояли под навесом до первых дождей. В четвёртый день мая вода поднялась на три метра, сорвала мост
и унесла колесо далеко за деревню. Журнал нашли через неделю в иле, под корнями ивы: бумага разбухла, но почерк был
виден. По этим записям потомки узнали, когда строили плотину, сколько стоил пуд муки и почему в год большой засухи
мельница молола только по ночам. Последнюю запись смотритель сделал карандашом. Он просил того, кто придёт после него,
не запирать дверь: путник, который идёт в дождь, должен знать, что здесь есть крыша, печь и хлеб.
"""

Read = Callable[[Any, str], str]
"""(picture, language) -> its text."""


def letters(
    settings: BenchSettings,
    set_pages: Callable[[str, int], tuple[list[Any], list[list[str]]]],
    right: Callable[[Sequence[str], Sequence[str]], float],
    *,
    ours: Read,
    theirs: Read,
) -> Iterator[Row]:
    """Rows of each language that Tesseract has; `set_pages`: (text, count) -> pictures, and the words on them."""
    count = PAGES_QUICK if settings.quick else PAGES

    def row(name: str, read: Read, language: str, least: float | None = None) -> Row:
        found = [read(picture, language).split() for picture in pictures]
        value = fmean(right(one, words) for one, words in zip(found, wanted, strict=True))
        return Row.of(name, "words right", value, at_least=least, note=f"{sum(map(len, wanted)):,} words")

    if "rus" in installed():
        pictures, wanted = set_pages(" ".join(RUSSIAN.split() * (6 * count)), count)
        yield row("Russian: Foveal", lambda picture, _: ours(picture, ""), "rus", LEAST)
        yield row("Russian: Tesseract", theirs, "rus")
    if "vie" in installed() and (text := _vietnamese(settings)):
        pictures, wanted = set_pages(text, count)
        yield row("Vietnamese: Foveal, by the models", lambda picture, _: ours(picture, ""), "vie")
        yield row("Vietnamese: Foveal, ocr_languages = vie", ours, "vie", LEAST)
        yield row("Vietnamese: Tesseract", theirs, "vie")


def _vietnamese(settings: BenchSettings) -> str:
    if not present(settings.data / "xquad", "xquad.vi.json").is_file():
        return ""
    told = json.loads(settings.text("xquad", "xquad.vi.json"))["data"]
    return " ".join(" ".join(part["context"].split()) for one in told[:6] for part in one["paragraphs"])
