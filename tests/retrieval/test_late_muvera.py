from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.test_late import maxsim_by_definition, ragged, unit
from retrieval.test_late_index import texts_of_topics

from foveal.errors import InputError
from foveal.retrieval.late import TokenVectors, maxsim, maxsim_search
from foveal.retrieval.muvera import Muvera, rescored

PLAIN = {"projected": None, "final": None}


def blocks_by_definition(encoding, tokens, *, query):
    """The encoding before projections, from the partitions of the tokens: sums, or means with empty ones filled."""
    blocks = []
    for numbers in encoding.partitions(tokens):
        for partition in range(2**encoding.bits):
            inside = [token for token, number in zip(tokens, numbers, strict=True) if number == partition]
            if query:
                blocks.append(sum(inside) if inside else np.zeros(encoding.dimension))
            elif inside:
                blocks.append(sum(inside) / len(inside))
            else:
                differing = [bin(int(number) ^ partition).count("1") for number in numbers]
                blocks.append(tokens[differing.index(min(differing))])
    return np.concatenate(blocks) / encoding.repetitions**0.5


@pytest.mark.parametrize("bits", [0, 1, 3])
def test_sums_for_queries_and_means_for_documents(bits):
    """I8: MUVERA's fixed-size encodings."""
    encoding = Muvera(dimension=9, bits=bits, repetitions=3, **PLAIN)
    for tokens in ragged(bits, 5):
        assert encoding.queries([tokens])[0] == pytest.approx(
            blocks_by_definition(encoding, tokens, query=True), abs=1e-5
        )
        assert encoding.documents([tokens])[0] == pytest.approx(
            blocks_by_definition(encoding, tokens, query=False), abs=1e-5
        )


def test_the_most_partitions_that_there_may_be_are_filled_by_the_nearest_token():
    """Twelve signs: of 4,096 partitions nearly all are empty, and half of them differ in the last sign."""
    encoding, tokens = Muvera(dimension=9, bits=12, repetitions=1, **PLAIN), ragged(5, 1)[0][:3]
    assert encoding.documents([tokens])[0] == pytest.approx(
        blocks_by_definition(encoding, tokens, query=False), abs=1e-5
    )


def test_partitions_are_the_signs_of_random_directions():
    encoding = Muvera(dimension=6, bits=4, repetitions=200)
    one, near, opposite = unit(np.array([[1, 0, 0, 0, 0, 0], [1, 0.1, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0]]))
    first, second, third = encoding.partitions(np.stack([one, near, opposite])).T
    assert (first ^ third == 15).all()  # every sign differs
    angle = np.arccos(one @ near) / np.pi  # the chance that one sign differs
    assert (first == second).mean() == pytest.approx((1 - angle) ** 4, abs=0.08)


@given(st.integers(0, 10_000), st.integers(0, 4))
@settings(max_examples=30)
def test_without_projections_it_is_never_above_maxsim(seed, bits):
    """The paper's one-sided bound: a mean, and a filled-in token, are no better than the best token."""
    query, document = ragged(seed, 2)
    encoding = Muvera(dimension=9, bits=bits, repetitions=3, seed=seed, **PLAIN)
    product = float(encoding.queries([query])[0] @ encoding.documents([document])[0])
    assert product <= maxsim_by_definition(query, document) + 1e-4


def test_more_partitions_come_nearer_to_maxsim():
    queries, documents = TokenVectors.of(ragged(1, 10)), TokenVectors.of(ragged(2, 30, most=20))
    exact, gaps = maxsim(queries, documents), []
    for bits in (0, 2, 5, 9):
        encoding = Muvera(dimension=9, bits=bits, repetitions=8, **PLAIN)
        gaps.append(float((exact - encoding.queries(queries) @ encoding.documents(documents).T).mean()))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.5 * gaps[0]


@pytest.mark.parametrize(
    "projections", [{"projected": 4}, {"projected": None, "final": 40}, {"projected": 4, "final": 40}]
)
def test_projections_keep_products_on_average(projections):
    """Unbiased: the mean over many random signs is the product without them."""
    query, document = ragged(3, 2)
    differences = []
    for seed in range(300):
        plain = Muvera(dimension=9, bits=2, repetitions=2, seed=seed, **PLAIN)
        encoding = Muvera(dimension=9, bits=2, repetitions=2, seed=seed, **projections)
        assert encoding.documents([document]).shape == (1, encoding.size)
        products = [float(one.queries([query])[0] @ one.documents([document])[0]) for one in (encoding, plain)]
        differences.append(products[0] - products[1])
    assert abs(np.mean(differences)) < 4 * np.std(differences) / len(differences) ** 0.5
    assert np.std(differences) > 0


def test_few_candidates_hold_the_best_by_maxsim():
    """I8: plain search over MUVERA's vectors, a tenth of the documents re-scored, finds the exact top 10."""
    documents, queries = texts_of_topics(0, 500), [text[:8] for text in texts_of_topics(1, 20)]
    held, asked = TokenVectors.of(documents), TokenVectors.of(queries)
    encoding = Muvera(dimension=32)
    rows, scores = rescored(held, asked, encoding, encoding.documents(held), 10, candidates=50)
    true_rows, true_scores = maxsim_search(held, asked, 10)
    shares = [len(set(ours) & set(true)) / 10 for ours, true in zip(rows.tolist(), true_rows.tolist(), strict=True)]
    assert np.mean(shares) >= 0.95
    assert scores[:, 0] == pytest.approx(true_scores[:, 0], abs=1e-5)
    everything, _ = rescored(held, asked, encoding, encoding.documents(held), 10, candidates=500)
    assert np.array_equal(everything, true_rows)


def test_settings_and_vectors_that_do_not_fit_are_refused():
    for wrong in ({"bits": 13}, {"bits": -1}, {"repetitions": 0}, {"projected": -1}, {"final": -1}):
        with pytest.raises(InputError, match="MUVERA got"):
            Muvera(dimension=4, **wrong)
    with pytest.raises(InputError, match="vectors of 4 numbers and got some of 9"):
        Muvera(dimension=4).queries(ragged(0, 1))
    with pytest.raises(InputError, match="no texts"):
        Muvera(dimension=4).documents([])
