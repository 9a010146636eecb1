"""Orders of papers: the formulas of other sites and our own, each a pure function of what is known of one paper.

    score, sentence = RANKINGS["foveal"]
    score(signals)                                # higher stands further up; ties by id, see trending.py
    explain("foveal", signals)                    # [Term("votes", 0.9, "log10(1 + 7 votes of 7 days)"), …]

A formula is a list of terms and how they combine, a sum or a product, so that what a page explains is what was counted.
No formula looks at another paper: adding one changes no order of the others. Dates in the future count as now, and
stars that nobody counted as no growth; more votes never lower a score.

foveal          ours; scores of one moment compare, since its clock begins `WINDOW_DAYS` before that moment
hacker-news     news.arc as published; p is votes + 1, since a story there begins with its author's point
reddit          the hot order of the published code
lobsters        its hotness with the sign turned, so that higher is hotter
lamer           Lamer News
stars           growth of stars, of which Hugging Face's trending is said to be made (its formula is unpublished)
adoption        ParaPulse's weights over log10(1 + x); the recency, halved each 30 days, is ours
taste           arxiv-sanity-lite, see taste.py
Wilson's bound orders comments, which have votes for and against: `wilson`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

from foveal.errors import InputError, UnknownName

DAY_S = 86_400
WINDOW_DAYS = 30
"""Days before now at which Foveal's clock reads 0."""

REDDIT_EPOCH_S = 1_134_028_003
Z_80 = 1.281551565545
"""Standard deviations that hold 80 % of a normal distribution: the confidence of `wilson`."""


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What is known of one paper at one moment; times are seconds since 1970."""

    now: float
    listed_at: float  # when a page first showed it; where none did, when it was published
    votes: int = 0  # for it, of all time, here and elsewhere
    votes_against: int = 0
    votes_7d: float = 0.0  # of the last 7 days, each by its weight
    comments: int = 0
    comments_7d: int = 0
    comment_scores: tuple[int, ...] = ()  # of comments by others than its authors
    stars: int | None = None  # of its repository today; None: nobody counted
    stars_7d_ago: int | None = None
    has_url: bool = True  # has a page or code of its own
    lightweight: bool = False  # says little, such as a bare announcement
    by_author: bool = False  # one of its authors listed it
    tag_modifiers: tuple[float, ...] = ()  # hours of hotness that its tags add or take, as Lobsters has it
    models: int = 0  # models that cite it
    downloads_7d: int = 0  # of these models
    downloads_growth_7d: int = 0
    taste: float = 0.0  # 100 times the decision of the best of somebody's tags

    def __post_init__(self) -> None:
        numbers = [self.now, self.listed_at, self.votes_7d, self.taste, *self.tag_modifiers]
        counts = [self.votes, self.votes_against, self.votes_7d, self.comments, self.comments_7d, self.models]
        if not all(map(math.isfinite, numbers)) or min(counts) < 0:
            shown = {one.name: getattr(self, one.name) for one in fields(self)}
            raise InputError(f"The signals {shown} need finite times and scores, and counts of 0 or more.")

    @property
    def moment(self) -> float:
        """When it was listed; now, where that lies in the future."""
        return min(self.listed_at, self.now)

    @property
    def age_s(self) -> float:
        """Seconds since then, 0 or more."""
        return self.now - self.moment

    @property
    def star_growth(self) -> int:
        """Stars of the last 7 days, 0 or more; 0 where either count is missing."""
        if self.stars is None or self.stars_7d_ago is None:
            return 0
        return max(0, self.stars - self.stars_7d_ago)


class Term(NamedTuple):
    """A part of a score, and in words what went in."""

    term: str
    value: float
    meaning: str


Terms = Sequence[Term]


@dataclass(frozen=True)
class Formula:
    """Signals -> score: `combine` over the values of `terms`."""

    terms: Callable[[Signals], Terms]
    combine: Callable[[Sequence[float]], float] = math.fsum

    def __call__(self, signals: Signals) -> float:
        return self.combine([term.value for term in self.terms(signals)])


class Ranking(NamedTuple):
    """A formula, and what it is in one sentence."""

    score: Formula
    sentence: str


def wilson(votes_for: int, votes_against: int, *, z: float = Z_80) -> float:
    """The lower bound of the share of votes for, at the confidence of `z` (Wilson, 1927); 0 without votes."""
    n = votes_for + votes_against
    if n == 0:
        return 0.0
    share = votes_for / n
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (share + z * z / (2 * n) - spread) / (1 + z * z / n))


def explain(name: str, signals: Signals) -> list[Term]:
    """The terms of a score, with the numbers that went in. UnknownName: no order is called that."""
    return list(ranking(name).score.terms(signals))


def ranking(name: str) -> Ranking:
    """The order called `name`. UnknownName lists those there are."""
    if name not in RANKINGS:
        raise UnknownName(f"No order of papers is called {name!r}. There are: {', '.join(RANKINGS)}.")
    return RANKINGS[name]


# -- the formulas ----------------------------------------------------------------------------------------------------


def _foveal(s: Signals) -> Terms:
    days = (s.moment - s.now) / DAY_S + WINDOW_DAYS
    grown = "not counted" if s.stars is None or s.stars_7d_ago is None else f"{s.star_growth} more in 7 days"
    return [
        Term("votes", math.log10(1 + s.votes_7d), f"log10(1 + v), v = {s.votes_7d:g} votes of the last 7 days"),
        Term("comments", 0.5 * math.log10(1 + s.comments_7d), f"0.5 log10(1 + c), c = {s.comments_7d} of 7 days"),
        Term("stars", 0.7 * math.log10(1 + s.star_growth), f"0.7 log10(1 + g), g = stars of its repository: {grown}"),
        Term("recency", days / 3 * 0.5, f"0.5 for each 3 days after the day {WINDOW_DAYS} days ago: {days:.2f} days"),
    ]


def _hacker_news(s: Signals) -> Terms:
    points = s.votes - s.votes_against + 1
    minutes = s.age_s / 60
    raised = (points - 1) ** 0.8 if points > 1 else float(points - 1)
    disputed = min(1.0, (points / s.comments) ** 2) if s.comments > 20 else 1.0
    return [
        Term("points", raised, f"(p - 1)^0.8, p = {points} points"),
        Term("gravity", ((minutes + 120) / 60) ** -1.8, f"1 / ((m + 120) / 60)^1.8, m = {minutes:.0f} minutes old"),
        Term("address", 1.0 if s.has_url else 0.4, "0.4 without a page or code of its own"),
        Term("weight", 0.3 if s.lightweight else 1.0, "0.3 where it says little"),
        Term("dispute", disputed, f"at most (p / comments)^2 above 20 comments: {s.comments} comments"),
    ]


def _reddit(s: Signals) -> Terms:
    net = s.votes - s.votes_against
    sign = (net > 0) - (net < 0)
    size = sign * math.log10(max(abs(net), 1))
    seconds = s.moment - REDDIT_EPOCH_S
    return [
        Term("votes", size, f"log10 of {abs(net)} votes, for less against"),
        Term("time", seconds / 45_000, f"{seconds:.0f} s after 8 December 2005, in units of 12.5 hours"),
    ]


def _rounded(values: Sequence[float]) -> float:
    return round(math.fsum(values), 7)


def _lobsters(s: Signals) -> Terms:
    score = s.votes - s.votes_against
    sign = (score > 0) - (score < 0)
    spoken = min(score, 0.5 * sum(one + 1 for one in s.comment_scores))
    base = math.fsum(s.tag_modifiers) + (0.25 if s.by_author else 0.0)
    return [
        Term(
            "votes",
            sign * math.log10(max(abs(score + 1) + spoken, 1)),
            f"log10(score + 1 + c), score = {score}, c = {spoken:g} from {len(s.comment_scores)} comments of others",
        ),
        Term("tags", base, f"what its tags add, and 0.25 if an author listed it: {base:g}"),
        Term("time", s.moment / 79_200, f"{s.moment:.0f} s since 1970, in units of 22 hours"),
    ]


def _lamer(s: Signals) -> Terms:
    if s.age_s > 30 * DAY_S:
        return [Term("age", -s.age_s, f"older than 30 days: minus its {s.age_s:.0f} s")]
    score = s.votes - s.votes_against
    return [
        Term("score", score * 1e6, f"1,000,000 times {score} votes"),
        Term("gravity", (s.age_s + 28_800) ** -1.1, f"1 / (a + 28,800)^1.1, a = {s.age_s:.0f} s old"),
    ]


def _stars(s: Signals) -> Terms:
    known = s.stars is not None and s.stars_7d_ago is not None
    told = f"{s.stars_7d_ago} a week ago, {s.stars} now" if known else "not counted on both days"
    return [Term("growth", math.log10(1 + s.star_growth), f"log10(1 + growth of stars in 7 days): {told}")]


def _adoption(s: Signals) -> Terms:
    grown = max(0, s.downloads_growth_7d)
    recent = 2.0 ** (-s.age_s / (30 * DAY_S))
    return [
        Term("models", 0.15 * math.log10(1 + s.models), f"0.15 log10(1 + {s.models} models that cite it)"),
        Term("downloads", 0.45 * math.log10(1 + max(0, s.downloads_7d)), f"0.45 log10(1 + {s.downloads_7d} of 7 days)"),
        Term("growth", 0.30 * math.log10(1 + grown), f"0.30 log10(1 + {grown} more than the week before)"),
        Term("recency", 0.10 * recent, f"0.10 times {recent:.2f}: halved every 30 days"),
    ]


def _taste(s: Signals) -> Terms:
    return [Term("taste", s.taste, "100 times how far the best of your collections' classifiers is for it")]


_product = partial(Formula, combine=math.prod)

RANKINGS: dict[str, Ranking] = {
    "foveal": Ranking(
        Formula(_foveal), "Votes, comments and new stars of the last 7 days by their size, and how recently it came."
    ),
    "hacker-news": Ranking(_product(_hacker_news), "Hacker News: points that age pulls down, slower than they came."),
    "reddit": Ranking(Formula(_reddit, _rounded), "Reddit's hot: ten times the votes are worth as much as 12.5 hours."),
    "lobsters": Ranking(
        Formula(_lobsters), "Lobsters: ten times the votes and comments are worth as much as 22 hours, tags move it."
    ),
    "lamer": Ranking(_product(_lamer), "Lamer News: votes over age, and by age alone after 30 days."),
    "stars": Ranking(Formula(_stars), "Growth of its repository's stars in 7 days, whenever the paper came."),
    "adoption": Ranking(Formula(_adoption), "How much models that cite it are downloaded, more than last week."),
    "taste": Ranking(Formula(_taste), "What resembles the papers in your collections (arxiv-sanity-lite)."),
}
"""Order -> (function, sentence)."""
