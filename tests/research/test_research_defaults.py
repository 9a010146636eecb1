"""What is usual where nobody says otherwise: the figures of the papers, and of the systems that they are taken from."""

from __future__ import annotations

import pytest
from report_worlds import Filler

from foveal.research import (
    conflicts,
    identities,
    likeness,
    memory_consolidation,
    memory_lookup,
    memory_updating,
    planning_tree,
    report_assembly,
    report_drafts,
    report_writing,
    searcher,
    verification,
)
from foveal.research.acquisition import FilterSettings
from foveal.research.deep import MODES, settings_of
from foveal.research.planner_settings import RewardSettings
from foveal.research.planning import PlanSettings
from foveal.research.run import RunLimits
from foveal.research.searcher import SearchSettings
from foveal.research.structure import StructureRules
from foveal.research.timing import Confidence
from foveal.research.web_sources import WebSettings


def test_mindsearch():
    limits, search, web = RunLimits(), SearchSettings(), WebSettings()
    assert (limits.max_turns, limits.max_parallel) == (10, 10)
    assert (search.topk, search.max_pages, search.max_turns, searcher.FALLBACK_PAGES) == (6, 4, 4, 2)
    assert (web.fetch.timeout_s, web.fetch.max_bytes, web.fetch.max_redirects) == (5.0, 2 * 2**20, 5)
    assert web.fetch.respect_robots
    assert not web.fetch.allow_private


@pytest.mark.parametrize(
    ("mode", "iterations", "words", "evidence", "breadth"),
    [("quick", 2, 200, 5, 3), ("normal", 6, 1200, 10, 3), ("deep", 25, 3000, 20, 3)],
)
def test_modes_of_deep_research(mode, iterations, words, evidence, breadth):
    own = settings_of(mode, Filler())
    assert (own.plan.iterations, own.words, own.choose.kept, own.plan.breadth) == (iterations, words, evidence, breadth)
    assert (own.choose.cut_off, own.plan.parallel) == (1.0, 4)
    assert set(MODES) == {"quick", "normal", "deep"}


def test_deep_research():
    plan, rules, choose, reward = PlanSettings(), StructureRules(), FilterSettings(), RewardSettings()
    assert (plan.breadth, plan.depth, plan.parallel) == (3, 2, 4)
    assert (rules.tokens, rules.overlap) == (1200, 100)
    assert (choose.kept, choose.cut_off, report_assembly.LEAD_SOURCES) == (10, 1.0, 5)
    assert (planning_tree.C, planning_tree.CHILDREN) == (1.4, 3)
    assert (likeness.SAME, identities.SAME_TEXT, Confidence().theta) == (0.92, 0.85, 0.4)
    assert (report_drafts.SLACK, report_writing.CONTEXT_SHARE, conflicts.ROUNDS) == (0.15, 0.6, 3)
    assert (memory_consolidation.FULL, memory_consolidation.STATE_TOKENS) == (0.6, 1024)
    assert (memory_lookup.RECENCY, memory_updating.SIMILAR) == (0.995, 10)
    weights = memory_lookup.LookupSettings()
    assert weights.recency == weights.importance == weights.relevance == 1.0
    assert 4 <= reward.samples <= 8
    assert verification.Verifier().sure == verification.shipped()["plain"].sure
