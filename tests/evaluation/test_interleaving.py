"""Team draft, its log and its test, against what the paper says in so many words; B-cubed by its definition."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.evaluation.clustering import b_cubed
from foveal.evaluation.interleaving import Impression, InterleavingLog, sign_test, team_draft, verdict

A, B = list("abcdefgh"), list("bxcyaz")


def drafted_by_definition(a, b, k, coins):
    """Algorithm 2 of the paper: while both have something, the team behind picks its best that is not shown yet."""
    shown, teams = [], []
    while len(shown) < k and (set(a) - set(shown) or set(b) - set(shown)):
        ours, theirs = teams.count("A"), teams.count("B")
        team = "A" if ours < theirs or (ours == theirs and next(coins) == 0) else "B"
        if not set(a if team == "A" else b) - set(shown):
            team = "B" if team == "A" else "A"
        shown.append(next(one for one in (a if team == "A" else b) if one not in shown))
        teams.append(team)
    return shown, teams


@pytest.mark.parametrize("seed", range(12))
def test_a_draft_is_its_definition(seed):
    coins = np.random.default_rng(seed)
    mixed = team_draft(A, B, 9, np.random.default_rng(seed))
    assert (list(mixed.keys), list(mixed.teams)) == drafted_by_definition(
        A, B, 9, iter(lambda: int(coins.integers(2)), None)
    )


def test_teams_are_never_more_than_one_apart_and_nothing_repeats():
    for seed in range(40):
        mixed = team_draft(A, list("hgfedcba"), 8, np.random.default_rng(seed))
        assert len(set(mixed.keys)) == 8
        for count in range(1, 9):
            assert abs(mixed.teams[:count].count("A") - mixed.teams[:count].count("B")) <= 1


def test_a_search_against_itself_gives_its_own_order():
    assert team_draft(A, A, 5, np.random.default_rng(0)).keys == tuple(A[:5])
    assert team_draft([], B, 3, np.random.default_rng(0)).teams == ("B",) * 3
    assert team_draft([], [], 3, np.random.default_rng(0)).keys == ()
    with pytest.raises(InputError, match="k=0"):
        team_draft(A, B, 0, np.random.default_rng(0))


def test_the_sign_test_is_the_binomial_tail():
    assert sign_test(0, 0) == 1.0
    assert sign_test(5, 5) == 1.0
    expected = 2 * sum(math.comb(12, wins) for wins in range(3)) / 2**12
    assert sign_test(10, 2) == sign_test(2, 10) == pytest.approx(expected)
    with pytest.raises(InputError):
        sign_test(-1, 2)


def test_ten_thousand_wins_are_counted_at_once(monkeypatch):
    """The tail is a sum of binomial coefficients; each of its own took a minute."""
    monkeypatch.setattr(math, "comb", lambda *_: pytest.fail("a coefficient from scratch"))
    assert sign_test(5000, 5000) == 1.0
    assert sign_test(5100, 4900) == pytest.approx(0.0466, abs=1e-3)  # normal: 2 (1 - Phi(199 / 100))


def test_a_verdict_counts_impressions_not_clicks():
    def one(clicks):
        return Impression("i", "q", "a", "b", ("k", "l", "m"), ("A", "B", "A"), clicks)

    found = verdict([one((0, 2)), one((1, 1)), one((0, 1)), one(())])
    assert (found.a, found.b, found.ties, found.unclicked) == (1, 1, 1, 1)
    assert found.preference == 0.0
    assert verdict([]).preference == 0.0
    found = verdict([one((0, 2)), one((0,)), one((1, 2, 0)), one((1,)), one((2,)), one(())])
    assert (found.a, found.b, found.ties, found.unclicked) == (4, 1, 0, 1)
    assert found.preference == 4 / 5 - 0.5  # A's
    assert found.p_value == sign_test(4, 1)


def test_the_log_keeps_what_was_shown_and_a_cut_line_costs_only_itself(tmp_path):
    log = InterleavingLog(tmp_path / "deep" / "log.jsonl")
    first = log.shown("näher", "hybrid", "fresh", team_draft(A, B, 4, np.random.default_rng(1)))
    log.clicked(first.id, 3)
    with log.path.open("a") as file:
        file.write('{"clicked": {"id": "')  # a kill
    assert log.impressions()[0].clicks == (3,)
    second = log.shown("again", "hybrid", "fresh", team_draft(A, B, 4, np.random.default_rng(2)))
    log.clicked(second.id, 0)
    assert [(one.query, one.clicks) for one in log.impressions()] == [("näher", (3,)), ("again", (0,))]
    lines = log.path.read_text().splitlines()
    assert sum(not line.endswith("}") for line in lines) == 1  # the cut one, which nothing was glued to
    for impression, place, said in ((first.id, 4, "no place 4"), ("nobody", 0, "no impression")):
        with pytest.raises(InputError, match=said):
            log.clicked(impression, place)
    with log.path.open("a") as file:
        file.write(json.dumps({"clicked": {"id": "nobody", "place": 1}}) + "\n")
    with pytest.raises(InputError, match="line 6"):
        log.impressions()  # whole, but of nothing that was shown


def test_a_line_cut_within_a_letter_and_half_a_surrogate_stop_no_log(tmp_path):
    log = InterleavingLog(tmp_path / "log.jsonl")
    log.shown("näher", "a", "b", team_draft(A, B, 2, np.random.default_rng(0)))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + whole[: whole.index("ä".encode()) + 1])  # a kill
    log.shown("caf\udce9", "a", "b", team_draft(A, B, 2, np.random.default_rng(0)))  # as a terminal sends Latin-1
    assert [one.query for one in log.impressions()] == ["näher", "caf\udce9"]


def test_a_click_on_no_place_is_damage_that_is_named(tmp_path):
    log = InterleavingLog(tmp_path / "log.jsonl")
    one = log.shown("q", "a", "b", team_draft(A, B, 2, np.random.default_rng(0)))
    with log.path.open("a") as file:
        file.write(json.dumps({"clicked": {"id": one.id, "place": 2}}) + "\n")
    with pytest.raises(InputError, match=r"line 2, .* no place 2"):
        log.impressions()


def test_b_cubed_is_its_definition():
    labels = {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2}
    clusters = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "y", "unlabelled": "x"}
    precision = [
        sum(clusters[two] == clusters[one] and labels[two] == labels[one] for two in labels)
        / sum(clusters[two] == clusters[one] for two in labels)
        for one in labels
    ]
    recall = [
        sum(clusters[two] == clusters[one] and labels[two] == labels[one] for two in labels)
        / sum(labels[two] == labels[one] for two in labels)
        for one in labels
    ]
    found = b_cubed(labels, clusters)
    p, r = sum(precision) / 5, sum(recall) / 5
    assert tuple(found) == pytest.approx((p, r, 2 * p * r / (p + r)))
    assert b_cubed(labels, labels) == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="'c' has a label"):
        b_cubed(labels, {"a": 1, "b": 1})
    with pytest.raises(InputError, match="no labelled"):
        b_cubed({}, {})
