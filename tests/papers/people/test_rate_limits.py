"""Token buckets against their definition, and against many at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from members import at_once
from sqlalchemy import func, select

from foveal.database import Database
from foveal.errors import InputError, TooMany
from foveal.papers.people_schema import BucketRow
from foveal.papers.rate_limits import IDLE, VOTES, Limit, forget_idle, take

FIVE = Limit(name="five", most=5, seconds=10, what="things came")
START = datetime(2026, 10, 2, 8, tzinfo=UTC)


def taken_by_definition(limit: Limit, moments: list[float]) -> list[bool]:
    """A bucket as it is explained to a child: full at first, fills evenly, never over its edge."""
    left, before, answers = float(limit.most), moments[0] if moments else 0.0, []
    for moment in moments:
        left = min(limit.most, left + (moment - before) * limit.most / limit.seconds)
        before = moment
        answers.append(left >= 1)
        left -= left >= 1
    return answers


def tried(database: Database, limit: Limit, whose: str, moment: datetime) -> bool:
    try:
        take(database, limit, whose, at=moment)
    except TooMany:
        return False
    return True


WHOSE = count()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from([0, 0, 0, 1, 2, 7, 30]), min_size=8, max_size=30))
def test_a_bucket_gives_what_its_definition_gives(database: Database, steps: list[int]) -> None:
    whose = next(WHOSE)  # the database outlives an example
    moments = [float(sum(steps[: n + 1])) for n in range(len(steps))]
    given = [tried(database, FIVE, str(whose), START + timedelta(seconds=moment)) for moment in moments]
    assert given == taken_by_definition(FIVE, moments)


def test_both_databases_count_alike(both: Database) -> None:
    moments = [0, 0, 0, 0, 0, 0, 1, 2, 2, 3.5, 4, 20, 20, 20, 20, 20, 20]
    given = [tried(both, FIVE, "ana", START + timedelta(seconds=moment)) for moment in moments]
    assert given == taken_by_definition(FIVE, [float(moment) for moment in moments])
    assert 0 < sum(given) < len(given)


def test_many_at_once_get_no_more_than_there_are(both: Database) -> None:
    answers = at_once(lambda _: [tried(both, VOTES, "ana", START) for _ in range(10)], times=8)
    assert sum(sum(one) for one in answers if isinstance(one, list)) == VOTES.most
    assert all(isinstance(one, list) for one in answers)


def test_who_waits_as_long_as_was_said_gets_one(database: Database) -> None:
    for _ in range(5):
        take(database, FIVE, "ana", at=START)
    with pytest.raises(TooMany, match=r"Too many: 5 things came within 10 seconds\. Come again in 2 seconds") as told:
        take(database, FIVE, "ana", at=START)
    assert told.value.retry_after == 2
    assert not tried(database, FIVE, "ana", START + timedelta(seconds=1))
    assert tried(database, FIVE, "ana", START + timedelta(seconds=2))
    assert tried(database, FIVE, "bo", START)  # another bucket


def test_a_clock_that_goes_back_fills_nothing(database: Database) -> None:
    for _ in range(5):
        take(database, FIVE, "ana", at=START)
    assert not tried(database, FIVE, "ana", START - timedelta(seconds=9))
    assert not tried(database, FIVE, "ana", START + timedelta(seconds=1))


def test_a_clock_that_was_wrong_by_far_keeps_nobody_out(both: Database) -> None:
    for _ in range(5):
        take(both, FIVE, "ana", at=START + timedelta(days=365))
    given = [tried(both, FIVE, "ana", START + timedelta(seconds=second)) for second in (0, 0, 0, 0, 0, 0, 2, 2)]
    assert given == [True] * 5 + [False, True, False]


def test_the_database_holds_no_addresses_and_forgets_full_buckets(database: Database) -> None:
    take(database, FIVE, "ana@example.org", at=START)
    with database.writing() as session:
        assert "ana" not in session.scalars(select(BucketRow.key)).one()
        forget_idle(session, START + IDLE + timedelta(seconds=1))
        assert session.scalar(select(func.count()).select_from(BucketRow)) == 0
    take(database, FIVE, "ana@example.org", at=START + timedelta(days=365))
    with database.writing() as session:
        forget_idle(session, START)
        assert session.scalar(select(func.count()).select_from(BucketRow)) == 0


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        Limit(name="none", most=0, seconds=1, what="")
    with pytest.raises(InputError, match="up to 2 days"):
        Limit(name="slow", most=1, seconds=1e6, what="")
