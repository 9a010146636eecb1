"""The sweep over all decoders (docs/dev/architectures.py): no method is left out, and a fault is no refusal."""

from __future__ import annotations

import pytest
import torch
from architecture_checks import METHODS, PARTS, attached
from architecture_subjects import Subject, Untried, distance
from architecture_tables import cell, tables, written_into
from architectures import Outcome, checked

from foveal import registry
from foveal.errors import InputError


@pytest.fixture(scope="module")
def subject():
    return Subject.of("llama", None)


def test_every_method_is_swept():
    assert METHODS.keys() - {"none"} == registry.METHODS.keys()


def test_what_is_exact_has_its_error(subject):
    ended = checked(subject, "attach", "dense: whole", PARTS["attach"]["dense: whole"])
    assert ended.verdict == "exact"
    assert ended.error is not None
    assert ended.error <= subject.tolerance


def raising(error):
    def check(_):
        raise error

    return check


@pytest.mark.parametrize(
    ("check", "verdict", "why"),
    [
        (lambda _: 2e-4, "WRONG", "differs by 2.0e-04"),
        (lambda _: float("nan"), "WRONG", "differs by nan"),
        (raising(InputError("It has sinks. Choose another.")), "refused", "It has sinks"),
        (raising(Untried("the model itself cannot: no cache")), "untried", "the model itself cannot: no cache"),
        (raising(KeyError("layer")), "WRONG", "KeyError: 'layer'"),
    ],
    ids=["other", "nan", "refused", "untried", "foreign"],
)
def test_how_a_check_ends(subject, check, verdict, why):
    ended = checked(subject, "attach", "case", check)
    assert ended.verdict == verdict
    assert ended.why.startswith(why)


def test_a_model_that_is_left_changed_is_wrong(subject):
    def check(subject):
        subject.model.train()
        return 0.0

    try:
        assert checked(subject, "attach", "case", check).verdict == "WRONG"
    finally:
        subject.model.eval()


def test_a_way_that_the_model_cannot_go_is_not_tried(subject):
    with pytest.raises(KeyError):
        attached(subject, method="dense", way="sideways")
    subject._own["pieces"] = RuntimeError("no cache")
    try:
        assert checked(subject, "attach", "case", PARTS["attach"]["dense: pieces"]).verdict == "untried"
    finally:
        del subject._own["pieces"]


def test_distances_are_in_units_of_the_spread():
    expected = 10 * torch.arange(-5.0, 6.0)
    assert distance(expected + 1, expected) == pytest.approx(1 / float(expected.std()))
    assert distance(expected / 100 + 1, expected / 100) == pytest.approx(1)  # a small spread makes no error large


# -- the tables --------------------------------------------------------------------------------------------------------


def ended(kind, part, verdict, why=""):
    return Outcome(kind, None, part, "case", verdict, 1e-6 if verdict == "exact" else None, why)


FOUND = [
    *(ended(kind, part, "exact") for kind in ("llama", "gemma_text", "gemma") for part in PARTS),
    *(ended("mistral", part, "exact") for part in PARTS if part != "gates"),
    ended("mistral", "gates", "refused", "Every layer of small slides over the text: no head ever needs all of it"),
    ended("mistral", "gates", "untried"),
    ended("bloom", "attach", "refused", "The attention of BloomForCausalLM cannot be switched: its code"),
    ended("blt", "made", "untried", "KeyError: 'layers' (a.py:1 b.py:2)"),
]


def test_what_ends_alike_stands_in_one_row():
    made = tables(FOUND)
    assert made["exact"][4:] == [
        "| gemma, llama | yes | yes | yes | yes | yes | yes | yes |",
        "| mistral | yes | yes | yes | yes | windows only | yes | yes |",
    ]
    assert made["exact"][0].startswith("4 of 6 architectures")
    assert made["refused"][2:] == ["| does not go through `AttentionInterface` | bloom |"]
    assert made["not tried"][2:] == ["| KeyError: 'layers' | blt |"]


def test_one_fault_makes_a_cell_wrong():
    assert cell([*FOUND, ended("llama", "gates", "WRONG")], "gates") == "WRONG"


def test_a_page_holds_each_table_once():
    page = "A\n" + "".join(f"<!-- architectures {name} -->\nold\n<!-- end -->\nB\n" for name in tables(FOUND))
    new = written_into(page, FOUND)
    assert "old" not in new
    assert new.count("\nB\n") == 3
    assert written_into(new, FOUND) == new
    with pytest.raises(SystemExit, match="0 places"):
        written_into("A", FOUND)
