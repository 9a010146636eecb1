"""The segmenter: joint decoding by its definition, trees, titles, confidences, and any text."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pytest
from honest import HashedWords, document
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError, UnknownName
from foveal.text import embedding_segmentation
from foveal.text.embedding_segmentation import segment_vectors
from foveal.text.same_topic import SameTopicSegmenter, model_folder
from foveal.text.segment_titles import segment_titles
from foveal.text.segment_tree import Leaf, nested_levels, tree_of
from foveal.training.same_topic_model import SameTopicModel

ENCODER = HashedWords()


@dataclass(frozen=True)
class SameFirstWord:
    """A head that is sure: a section goes on where two paragraphs begin with the same word."""

    sure: float = 3.0
    kind: str = "first word"
    far: bool = False

    def score(self, read, distance):
        words = [text.split()[0] if text.split() else "" for text in read.texts]
        pairs = zip(words[:-distance], words[distance:], strict=True)
        return np.float32([self.sure if a == b else -self.sure for a, b in pairs])

    def arrays(self):
        return {}


MODEL = SameTopicModel(heads={"first word": SameFirstWord()})


def segmenter(**changes):
    return SameTopicSegmenter(**{"encoder": ENCODER, "model": MODEL, "max_tokens": None, "min_tokens": None, **changes})


def paragraphs_of(*runs):
    """Paragraphs, so many of each word."""
    lines = [
        f"{word} is what this paragraph number {n} is all about, at length."
        for word, count in runs
        for n in range(count)
    ]
    return "\n\n".join(lines)


# -- the joint segmentation -------------------------------------------------------------------------------------------


def every_segmentation(count):
    for inner in range(count):
        yield from (list(bounds) for bounds in combinations(range(1, count), inner))


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_costs_of_each_unit_join_the_dynamic_programming(monkeypatch, rows):
    monkeypatch.setattr(embedding_segmentation, "ROWS", rows)
    rng = np.random.default_rng(rows)
    for case in range(80):
        count = int(rng.integers(1, 9))
        vectors = rng.standard_normal((count, 3)) * (case % 2)
        costs = rng.standard_normal(count) * 2
        sizes = rng.integers(1, 9, count).tolist()
        least, most = (int(rng.integers(0, 9)), int(rng.integers(9, 20))) if case % 3 else (0, 10**6)

        def worth(bounds, vectors=vectors, costs=costs, sizes=sizes, least=least, most=most):
            spans = list(pairwise([0, *bounds, len(sizes)]))
            held = all(sum(sizes[a:b]) <= most or b - a == 1 for a, b in spans)
            short = sum(sum(sizes[a:b]) < least for a, b in spans)
            return held, -short, sum(np.linalg.norm(vectors[a:b].sum(axis=0)) - costs[a] for a, b in spans)

        found = segment_vectors(vectors, costs, sizes=sizes, min_size=least, max_size=most)
        best = max(map(worth, every_segmentation(count)))
        assert worth(found)[:2] == best[:2]
        assert worth(found)[2] == pytest.approx(best[2], abs=1e-9)


def test_equal_costs_are_one_penalty_and_wrong_ones_are_refused():
    vectors = np.random.default_rng(0).standard_normal((30, 4))
    assert segment_vectors(vectors, np.full(30, 1.1)) == segment_vectors(vectors, 1.1)
    for wrong in (np.ones(3), np.full(30, np.nan)):
        with pytest.raises(InputError, match="each needs one"):
            segment_vectors(vectors, wrong)


def test_without_limits_a_section_ends_wherever_the_odds_are_below_the_threshold():
    text = paragraphs_of(("Cats", 3), ("Rain", 2), ("Law", 4))
    found = segmenter().segment(document("a", text))
    assert [passage.text.split()[0] for passage in found] == ["Cats", "Rain", "Law"]
    assert "".join(passage.text for passage in found) == text
    assert len(segmenter(threshold=-9.0).segment(document("a", text))) == 1
    assert len(segmenter(threshold=9.0).segment(document("a", text))) == 9


def test_limits_of_tokens_hold_and_cuts_fall_where_they_hurt_least():
    text = paragraphs_of(("Cats", 3), ("Rain", 3))
    size = len(ENCODER.token_offsets(text)) // 6
    found = segmenter(max_tokens=3 * size + 2).segment(document("a", text))
    assert [passage.text.split()[0] for passage in found] == ["Cats", "Rain"]
    fewer = segmenter(max_tokens=2 * size + 2).segment(document("a", text))
    assert max(len(ENCODER.token_offsets(passage.text)) for passage in fewer) <= 2 * size + 2
    assert any(passage.text.startswith("Rain") for passage in fewer)
    joined = segmenter(min_tokens=4 * size).segment(document("a", text))
    assert len(joined) == 1


# -- confidences, levels, titles --------------------------------------------------------------------------------------


def test_borders_say_how_sure_they_are():
    outline = segmenter().outline(document("a", paragraphs_of(("Cats", 3), ("Rain", 2))))
    cats, rain = outline.leaves
    sure = 1 / (1 + np.exp(-3.0))
    assert (cats.before, rain.after) == (1.0, 1.0)
    assert cats.after == rain.before == pytest.approx(sure)
    assert (cats.method, rain.method) == ("start", "topic")
    assert [round(value, 3) for _, value in outline.gaps] == [round(1 - sure, 3)] * 2 + [round(sure, 3)] + [
        round(1 - sure, 3)
    ]
    cut = segmenter(max_tokens=8).outline(document("b", paragraphs_of(("Cats", 1))))
    assert [leaf.before for leaf in cut.leaves][1:] == [0.0] * (len(cut.leaves) - 1)
    assert {leaf.method for leaf in cut.leaves[1:]} == {"size"}


def test_headings_are_trusted_and_only_long_sections_are_cut():
    section = paragraphs_of(("Cats", 2), ("Rain", 2))
    text = "".join(f"# Part {n}\n\n{section}\n\n" for n in range(3))
    size = len(ENCODER.token_offsets(section))
    outline = segmenter(max_tokens=size + 9).outline(document("a", text))
    assert [leaf.title for leaf in outline.leaves] == ["Part 0", "Part 1", "Part 2"]
    assert all(leaf.before == leaf.after == 1.0 for leaf in outline.leaves)
    assert outline.gaps == ()  # nothing had to be decided
    smaller = segmenter(max_tokens=size - 9, min_tokens=3).outline(document("a", text))
    assert [part.title for part in smaller.tree] == ["Part 0", "Part 1", "Part 2"]
    for part in smaller.tree:
        assert [leaf.method for leaf in part.parts] == ["heading", "topic"]
    assert [passage.heading for passage in smaller.passages] == [
        "Part 0",
        "Part 0",
        "Part 1",
        "Part 1",
        "Part 2",
        "Part 2",
    ]


def test_two_headings_stay_borders_but_what_is_below_is_decided():
    text = f"# Title\n\n{paragraphs_of(('Cats', 3), ('Rain', 3))}"
    found = segmenter().segment(document("a", text))
    assert [passage.text.split()[0] for passage in found] == ["#", "Rain"]
    assert found[0].heading.startswith("Title > ")


def test_levels_nest_and_the_surest_borders_are_at_the_top():
    confidences = [0.9, 0.2, 0.5, 0.7, 0.1, 0.95, 0.3, 0.4, 0.6, 0.8, 0.55, 0.45, 0.35, 0.25, 0.15]
    levels = nested_levels(confidences, 2)
    top = {at for at, level in enumerate(levels) if level == 1}
    assert len(top) == round(16**0.5) - 1
    assert min(confidences[at] for at in top) > max(confidences[at] for at in range(15) if at not in top)
    deep = nested_levels(confidences, 3)
    assert {at for at, level in enumerate(deep) if level == 1} <= {at for at, level in enumerate(deep) if level <= 2}
    assert nested_levels([0.1, 0.2], 1) == [1, 1]
    assert nested_levels([], 3) == []


def test_a_tree_covers_its_leaves_in_order():
    leaves = [
        Leaf(10 * n, 10 * n + 10, 1, opens, title=f"t{n}", confidence=n / 10) for n, opens in enumerate([1, 3, 2, 1, 3])
    ]
    tree = tree_of("d", leaves, {(0, 3): "first"})
    assert [(part.span.start, part.span.end) for part in tree] == [(0, 30), (30, 50)]
    assert tree[0].title == "first"
    assert [(part.span.start, part.level) for part in tree[0].parts] == [(0, 2), (20, 2)]
    assert [leaf.span.start for part in tree for leaf in part.leaves] == [0, 10, 20, 30, 40]
    assert [(part.before, part.after) for part in tree] == [(0.0, 0.3), (0.3, 1.0)]
    assert tree_of("d", [], {}) == ()
    told = tree[0].as_json()
    assert told["parts"][0]["parts"][1]["title"] == "t1"


def test_titles_are_phrases_of_the_segment_that_others_lack():
    texts = [
        "The whale is hunted. A sperm whale dives deep; the sperm whale breathes air.",
        "The key of the mill hangs behind the clock. The mill key is old, and the mill key is brass.",
        "The and of it.",
    ]
    titles = segment_titles(texts)
    assert titles[0].lower() == "sperm whale"
    assert titles[1].lower() == "mill key"
    assert titles[2] is None
    vectors = ENCODER.encode(texts)
    close = segment_titles(texts, ENCODER, vectors)
    assert close[0].lower() in texts[0].lower()
    assert segment_titles([]) == []
    assert segment_titles(["漢字の文章。"])[0] is not None


def test_of_phrases_that_come_once_one_whose_words_come_again_is_the_title():
    texts = [
        "Wireless services ends early. The deposit is paid first; a late deposit refund is no refund.",
        "A mill grinds corn. The river drives the mill.",
    ]
    assert segment_titles(texts)[0] == "Deposit refund"


@pytest.mark.parametrize(
    "text", ["दिल्ली, दिल्ली। भारत", "re\u0301sume\u0301, re\u0301sume\u0301", "ที่นี่, ที่นี่"], ids=["hi", "nfd", "th"]
)
def test_a_title_keeps_the_marks_of_its_words(text):
    assert segment_titles([text])[0].lower() == text.partition(",")[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("料金は、毎月一日に支払う。利用料金を払う者は利用者である。利用料金は返さない。", "利用料金"),
        ("服务费用，按月支付。服务费用，概不退还。", "服务费用"),
    ],
    ids=["ja", "zh"],
)
def test_a_title_goes_over_no_mark_of_any_script(text, wanted):
    assert segment_titles([text]) == [wanted]


def test_what_no_space_parts_for_a_page_is_no_title():
    assert segment_titles(["กรุงเทพมหานครเป็นเมืองหลวง" * 20]) == [None]


def test_headless_segments_are_named_and_headed_ones_keep_their_names():
    text = paragraphs_of(("Cats", 3), ("Rain", 3))
    outline = segmenter().outline(document("a", text))
    assert all(leaf.title and leaf.title.lower() in text.lower() for leaf in outline.leaves)
    assert [passage.heading for passage in outline.passages] == [leaf.title for leaf in outline.leaves]
    assert all(passage.heading is None for passage in segmenter(titles=False).segment(document("a", text)))


# -- models and encoders ----------------------------------------------------------------------------------------------


def test_without_a_model_for_the_encoder_vectors_decide():
    alone = SameTopicSegmenter(encoder=ENCODER, max_tokens=None, min_tokens=None)
    assert alone.trained is None
    text = "\n\n".join(["cats cats cats cats cats"] * 6 + ["rain rain rain rain rain"] * 6)
    assert [passage.text[:4] for passage in alone.segment(document("a", text))] == ["cats", "rain"]


def test_a_model_that_is_not_there_or_does_not_fit_is_refused():
    with pytest.raises(UnknownName, match="foveal train segmenter"):
        model_folder("nobody")
    with pytest.raises(InputError, match="trained over the vectors of minilm"):
        SameTopicSegmenter(encoder=ENCODER, model="terms")
    for wrong in ({"coherence": -1.0}, {"levels": 0}, {"min_tokens": 9, "max_tokens": 3}):
        with pytest.raises(InputError, match="it needs"):
            segmenter(**wrong)


# -- any text ---------------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(
            ["Cats purr. ", "Rain fell!\n\n", "\n\n", "# Head\n\n", "- item\n", "You may:\n\n", "漢字。", "x" * 90]
        ),
        max_size=25,
    ).map("".join),
)


@settings(max_examples=60)
@given(TEXTS, st.sampled_from([None, 5, 40]))
def test_passages_cover_any_text_and_trees_hold_them(text, most):
    one = document("a", text)
    outline = segmenter(max_tokens=most, min_tokens=2 if most else None).outline(one)
    assert "".join(passage.text for passage in outline.passages) == text
    assert [leaf.span for leaf in outline.leaves] == [passage.span for passage in outline.passages]
    assert all(0 <= leaf.before <= 1 and 0 <= leaf.after <= 1 for leaf in outline.leaves)
    assert all(one.quote(passage.span) == passage.text for passage in outline.passages)


def test_nothing_and_one_paragraph():
    assert segmenter().segment(document("a", "")) == []
    one = segmenter().outline(document("a", "One paragraph, and no more of it."))
    assert len(one.passages) == 1
    assert (one.leaves[0].before, one.leaves[0].after) == (1.0, 1.0)


@pytest.mark.slow
def test_a_paragraph_of_ten_megabytes_is_cut_by_size():
    text = f"{'w' * 49} " * 200_000
    found = segmenter(max_tokens=50_000).segment(document("a", "Cats first.\n\n" + text))
    assert sum(len(passage.text) for passage in found) == len(text) + 13
    assert max(len(passage.text) for passage in found) <= 50 * 50_000


def test_languages_may_mix():
    text = "\n\n".join(
        ["Die Katze schläft lange.", "猫は長い時間眠ります。", "Кошка спит долго.", "The cat sleeps long."]
    )
    assert "".join(passage.text for passage in segmenter(max_tokens=12).segment(document("a", text))) == text


@pytest.mark.model
def test_the_shipped_model_finds_sections_of_a_contract_without_headings():
    from foveal.models import load_encoder

    encoder = load_encoder("minilm")
    parts = [
        "These Terms are governed by the laws of Ireland, without regard to its conflict of law rules.",
        "The courts of Dublin have exclusive jurisdiction over any dispute that arises from these Terms.",
        "Payment is due within thirty days of the date of the invoice, in euro, by bank transfer.",
        "If you do not pay on time we may charge interest on the amount that is overdue.",
        "We use cookies to remember your preferences and to count visits to our pages.",
        "You can switch cookies off in the settings of your browser at any time.",
    ]
    made = SameTopicSegmenter(encoder=encoder, max_tokens=None, min_tokens=None)
    assert made.trained is not None
    assert "ODC-By" in made.trained.card["credit"]
    outline = made.outline(document("a", "\n\n".join(parts)))
    gaps = [value for _, value in outline.gaps]
    assert min(gaps[1], gaps[3]) > max(gaps[0], gaps[2], gaps[4])
