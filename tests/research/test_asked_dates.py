"""The time that a question names, in six languages; what only looks like a date."""

from __future__ import annotations

from datetime import date

import pytest

from foveal.research.asked_dates import dates_in
from foveal.retrieval.event_matching import has_time_words

TODAY = date(2026, 3, 15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mills since May", ("2025-05-01", "")),  # this year's has not begun
        ("mills since February", ("2026-02-01", "")),
        ("mills since May 2024", ("2024-05-01", "")),
        ("mills after December 2024", ("2025-01-01", "")),
        ("papers before March 2024", ("", "2024-02-29")),
        ("papers from May 2024 to June 2025", ("2024-05-01", "2025-06-30")),
        ("what happened last year?", ("2025-01-01", "")),
        ("papers of last year", ("2025-01-01", "2025-12-31")),
        ("Mühlen seit 2020", ("2020-01-01", "")),
        ("Mühlen seit Mai", ("2025-05-01", "")),
        ("Studien zwischen 2010 und 2015", ("2010-01-01", "2015-12-31")),
        ("Was geschah im letzten Jahr?", ("2025-01-01", "")),
        ("Artikel vor März 2024", ("", "2024-02-29")),
        ("Mühlen in den letzten 5 Jahren", ("2021-03-15", "")),
        ("les moulins depuis mai 2024", ("2024-05-01", "")),
        ("études publiées entre 2010 et 2015", ("2010-01-01", "2015-12-31")),
        ("articles jusqu'en 2015", ("", "2015-12-31")),
        ("les moulins de l'année dernière", ("2025-01-01", "")),
        ("molinos desde enero de 2024", ("2024-01-01", "")),
        ("artículos antes de 2015", ("", "2014-12-31")),
        ("molinos en los últimos 5 años", ("2021-03-15", "")),
        ("molinos del año pasado", ("2025-01-01", "")),
        ("2020年以来的水磨", ("2020-01-01", "")),
        ("自2024年5月以来的水磨", ("2024-05-01", "")),
        ("2015年之前的论文", ("", "2014-12-31")),
        ("2015年之前的水磨", ("", "")),  # its subject
        ("2010年到2015年的研究", ("2010-01-01", "2015-12-31")),
        ("过去5年的水磨", ("2021-03-15", "")),
        ("去年的论文", ("2025-01-01", "2025-12-31")),
        ("2020年以降の水車", ("2020-01-01", "")),
        ("2010年から2015年までの論文", ("2010-01-01", "2015-12-31")),
        ("過去5年の水車", ("2021-03-15", "")),
    ],
)
def test_the_days_of_sources(text, expected):
    assert dates_in(text, TODAY) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("papers between March and May 2024", ("2024-03-01", "2024-05-31")),  # the year is that of both
        ("papers from November to January 2024", ("2023-11-01", "2024-01-31")),
        ("papers from November 2023 to January", ("2023-11-01", "2024-01-31")),
        ("papers from March 2023 to May", ("2023-03-01", "2023-05-31")),
        ("papers between November and February", ("2025-11-01", "2026-02-28")),
        ("papers from 2019 to February", ("2019-01-01", "2026-02-28")),
        ("Studien von März bis Mai 2024", ("2024-03-01", "2024-05-31")),
        ("2024年3月到5月的论文", ("2024-03-01", "2024-05-31")),
    ],
)
def test_a_year_that_is_named_once_is_that_of_both_dates(text, expected):
    assert dates_in(text, TODAY) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("papers since May 5, 2024", ("2024-05-05", "")),
        ("papers since May 5.", ("2025-05-05", "")),
        ("papers since March 20", ("2025-03-20", "")),  # this year's has not begun
        ("papers after the 31st of December 2023", ("2024-01-01", "")),
        ("papers before 1 March 2024", ("", "2024-02-29")),
        ("papers until 31 June 2024", ("", "2024-06-30")),  # there is none
        ("papers from 3 May 2024 to 7 June 2024", ("2024-05-03", "2024-06-07")),
        ("papers since 2024-05-10", ("2024-05-10", "")),
        ("news until 2024-05", ("", "2024-05-31")),
        ("papers since Jan 2024", ("2024-01-01", "")),
        ("papers since Sept. 3, 2023", ("2023-09-03", "")),
        ("mills since Jan left", ("", "")),  # somebody
        ("mills since May 1850", ("", "")),  # no May of ours
        ("mills since May 5, 1850", ("", "")),
        ("Mühlen seit dem 5. Mai 2024", ("2024-05-05", "")),
        ("les moulins depuis le 5 mai 2024", ("2024-05-05", "")),
        ("molinos desde el 5 de mayo de 2024", ("2024-05-05", "")),
        ("2024年5月3日以来的水磨", ("2024-05-03", "")),
    ],
)
def test_a_day_is_that_day(text, expected):
    assert dates_in(text, TODAY) == expected


@pytest.mark.parametrize(
    "text",
    [
        "who came after may apply",
        "what soldiers do before march begins",
        "a boat since Mayor Brown",
        "since 1850",
        "von 10 bis 20 Grad",
        "entre deux moulins",
        "13月以来",
        "2020 mills",
        "",
    ],
)
def test_what_is_no_date(text):
    assert dates_in(text, TODAY) == ("", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Was ist heute in Hamburg los?", True),
        ("Hamburg letzte Woche", True),
        ("nouvelles de cette semaine", True),
        ("noticias de ayer", True),
        ("les nouvelles de la semaine dernière", True),
        ("les ventes le mois dernier", True),
        ("La nuit étoilée de Van Gogh", False),
        ("la semaine de quatre jours", False),
        ("今年のオリンピック", True),
        ("最新的地震", True),
        ("Wie mahlt eine Mühle?", False),
        ("an actual mill of the past", False),
        ("水车怎么工作", False),
    ],
)
def test_words_of_time(text, says):
    assert has_time_words(text) == says
