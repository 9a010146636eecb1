"""Fleiss' kappa by hand, at chance level, and where nothing can be said; votes that are kept, cut off and damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foveal.errors import InputError, StorageFull
from foveal.evaluation import appended
from foveal.evaluation.agreement import agreement, fleiss_kappa, majority
from foveal.evaluation.votes import Vote, keep_vote, last_votes, read_votes

LABELS = ("HREL", "MREL", "LREL")


def test_kappa_by_hand():
    """Two items, three votes: (3,0) agrees wholly, (1,2) by 1/3; P = 2/3, shares 4/6 and 2/6, E = 5/9."""
    assert fleiss_kappa([(3, 0), (1, 2)]) == pytest.approx((2 / 3 - 5 / 9) / (1 - 5 / 9))


def test_kappa_of_chance_is_near_zero():
    drawn = np.random.default_rng(0).integers(0, 3, (5000, 3))
    assert abs(fleiss_kappa([[int((row == label).sum()) for label in range(3)] for row in drawn])) < 0.02


def test_kappa_says_nothing_where_only_one_label_was_given():
    assert fleiss_kappa([(3, 0), (3, 0)]) is None
    assert fleiss_kappa([(3, 0), (0, 3)]) == 1


@pytest.mark.parametrize("counts", [[], [(1, 0)], [(2, 0), (3, 0)]])
def test_kappa_refuses_other_tables(counts):
    with pytest.raises(InputError, match="same number of votes"):
        fleiss_kappa(counts)


def test_agreement_leaves_out_items_with_other_numbers_of_votes():
    found = agreement({"a": ["HREL"] * 3, "b": ["HREL", "LREL", "LREL"], "c": ["HREL"], "d": ["LREL", "LREL"]}, LABELS)
    assert (found.items, found.votes_each, found.left_out, found.unanimous) == (2, 3, 2, 0.5)
    with pytest.raises(InputError, match="no label"):
        agreement({"a": ["X", "X"]}, LABELS)
    with pytest.raises(InputError, match="second person"):
        agreement({"a": ["HREL"]}, LABELS)


def test_the_majority_and_ties():
    assert majority(["HREL", "LREL", "HREL"]) == "HREL"
    assert majority(["HREL", "LREL"]) is None
    assert majority(["HREL", "MREL", "LREL"]) is None
    assert majority([]) is None


def test_every_vote_is_kept_and_a_persons_last_one_counts(tmp_path):
    path = tmp_path / "votes.jsonl"
    for name, label in (("asha", "HREL"), ("ravi", "LREL"), ("asha", "MREL")):
        keep_vote(path, Vote("1", "headline", name, label))
    assert [vote.label for vote in read_votes(path)] == ["HREL", "LREL", "MREL"]
    assert last_votes(read_votes(path)) == {"1": {"asha": "MREL", "ravi": "LREL"}}


def test_a_line_that_was_cut_off_is_passed_over_and_goes(tmp_path):
    path = tmp_path / "votes.jsonl"
    keep_vote(path, Vote("1", "వార్త", "asha", "HREL"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert len(read_votes(path)) == 1
    keep_vote(path, Vote("2", "h", "asha", "LREL"))
    assert [json.loads(line)["item"] for line in path.read_text(encoding="utf-8").splitlines()] == ["1", "2"]


def test_a_last_vote_without_its_line_end_is_kept(tmp_path):
    path = tmp_path / "votes.jsonl"
    keep_vote(path, Vote("1", "h", "asha", "HREL"))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))  # by hand, or two files joined
    assert [vote.item for vote in read_votes(path)] == ["1"]
    keep_vote(path, Vote("2", "h", "asha", "LREL"))
    assert [vote.item for vote in read_votes(path)] == ["1", "2"]


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path, monkeypatch):
    path = tmp_path / "votes.jsonl"
    keep_vote(path, Vote("1", "h", "asha", "HREL"))
    before = path.read_bytes()
    monkeypatch.setattr(appended.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageFull, match="vote again"):
        keep_vote(path, Vote("2", "h", "asha", "HREL"))
    assert path.read_bytes() == before


def test_damage_is_named(tmp_path):
    path = tmp_path / "votes.jsonl"
    path.write_text('{"item": "1"}\n')
    with pytest.raises(InputError, match=r"line 1, is no vote \(it needs item, headline, annotator, label, at\)"):
        read_votes(path)
    assert read_votes(tmp_path / "none.jsonl") == []
    with pytest.raises(InputError, match="no annotator"):
        Vote("1", "h", " ", "HREL")
