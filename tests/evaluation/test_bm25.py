"""The weights of BM25, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveal.evaluation import bm25


def test_a_word_weighs_more_the_fewer_texts_hold_it():
    assert bm25.idf(3, 1) == pytest.approx(math.log(1 + 2.5 / 1.5))
    assert bm25.idf(3, 3) == pytest.approx(math.log(1 + 0.5 / 3.5))


def test_a_text_as_long_as_the_mean_has_the_norm_k1_and_longer_ones_more():
    assert bm25.norm(20, 20) == pytest.approx(1.5)
    assert bm25.norm(np.array([0.0, 20.0, 40.0]), 20).tolist() == pytest.approx([0.375, 1.5, 2.625])
