"""Why a hit stands where it stands, of each kind of ranker, against what its ranker says by itself."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pytest
from honest import HashedWords
from retrieval.shelf import ByTruth, Words, hit
from tiny import tiny
from typer.testing import CliRunner

from foveal.cli.hits import hit_text
from foveal.cli.main import app
from foveal.errors import InputError
from foveal.library import Library
from foveal.ranking.blockrank import BlockRank
from foveal.ranking.blockrank_prompt import Layout
from foveal.ranking.cascade import Cascade, Stage
from foveal.ranking.explaining import WordWeights, by_leaving_out, explain
from foveal.ranking.explanation import Explanation, draw, wrapped
from foveal.ranking.legal_ranker import LegalRanker
from foveal.ranking.listwise import PointwiseRanker
from foveal.ranking.neural import build
from foveal.ranking.neural.inputs import Vocabulary
from foveal.ranking.neural.ranker import Neural
from foveal.ranking.neural.scorer import Scorer
from foveal.ranking.neural.vectors import WordVectors
from foveal.ranking.paraformer import Frozen, Paraformer
from foveal.ranking.sections import SectionRanker

TEXTS = [
    "The Fovea sees sharply. The retina is large, and the fovea is small.",
    "A mill grinds. The river drives the old mill.",
    "Rods work in dim light.",
]
HITS = [hit(f"d{number}", float(-number), text) for number, text in enumerate(TEXTS)]
WORDS = WordWeights.of(TEXTS)


def shown(explained):
    """The text of each part, with its weight."""
    return {explained.text(part): weight for part, weight in zip(explained.parts, explained.of_parts, strict=True)}


# -- words -------------------------------------------------------------------------------------------------------------


def test_the_shares_of_words_add_up_to_bm25():
    """sum of idf tf / (tf + k1 (1 - b + b length / mean)), function words and plurals' ends apart."""
    found = WORDS.explain("Where do small foveas see?", HITS[0])
    assert [found.text(part) for part in found.parts] == ["Fovea", "sees", "fovea", "small"]
    content = [["fovea", "sees", "sharply", "retina", "large", "fovea", "small"], 6, 4]
    mean = (len(content[0]) + sum(content[1:])) / 3
    norm = 1.5 * (0.25 + 0.75 * 7 / mean)
    rare = math.log(1 + 2.5 / 1.5)
    by_definition = rare * 2 / (2 + norm) + 2 * rare * 1 / (1 + norm)  # fovea twice, sees, small
    assert found.weights.sum() == pytest.approx(by_definition)
    assert found.query == ("where", "do", "small", "foveas", "see")
    assert [(reason.query, reason.text) for reason in found.best()] == [
        ("foveas", "fovea"), ("small", "small"), ("see", "sees"),
    ]  # fmt: skip
    assert found.best(1)[0].weight == pytest.approx(rare * 2 / (2 + norm))
    assert str(found).startswith("words: foveas ~ fovea ")


def test_words_that_are_searched_weigh_as_they_do_in_the_whole_collection():
    shelf = Words({f"d{number}": text for number, text in enumerate(TEXTS)})
    counted = WordWeights.searched("small mill", HITS, shelf, len(TEXTS))
    for found, expected in zip(explain("small mill", HITS, words=counted), explain("small mill", HITS, words=WORDS),
                               strict=True):  # fmt: skip
        np.testing.assert_allclose(found.weights, expected.weights)
    WordWeights.searched("small and small foveas, mills and steam", HITS, other := Words({"": ""}), len(TEXTS))
    assert [word for word, _ in other.asked] == [
        "small",
        "foveas",
        "mills",
    ]  # once, and no word that these passages lack
    nothing = WORDS.explain("steam", HITS[0])
    assert (nothing.parts, nothing.best(), str(nothing)) == ((), [], "words: nothing matched")
    with pytest.raises(InputError, match="no texts"):
        WordWeights.of([])


# -- rankers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_only", [False, True])
def test_a_neural_ranker_shows_its_match_matrix_over_the_text(content_only):
    vocabulary = Vocabulary.of_texts(TEXTS, min_frequency=1)
    vectors = WordVectors.random(len(vocabulary), 8)
    ranker = Neural(Scorer(build("knrm", vectors), vocabulary, document_length=6, content_only=content_only))
    told = ranker.explain("fovea mill", HITS[0])
    found = explain("fovea mill", HITS[:1], ranker, words=WORDS)[0]
    assert [found.text(part).lower() for part in found.parts] == list(told.document)
    np.testing.assert_allclose(found.weights, told.matches)
    assert found.query == ("fovea", "mill")
    assert found.best(1)[0] == type(found.best(1)[0])("fovea", "fovea", pytest.approx(1.0))


def test_the_few_reasons_that_are_told_are_not_those_of_function_words():
    """Equal words match with 1, and of a question most are words that stand in any text."""
    text = "what is the fovea of the eye"
    words = [(found.start(), found.end()) for found in re.finditer(r"\w+", text)]
    query = ("what", "is", "the", "keenest", "eye")
    matches = np.array([[float(text[a:b] == one) or 0.1 for a, b in words] for one in query])
    told = Explanation(hit("a", 0.0, text), "knrm", "how well words match", query, tuple(words), matches, adds=False)
    assert [(reason.query, reason.text) for reason in told.best()] == [("eye", "eye"), ("keenest", "fovea")]
    alone = replace(told, query=("what", "is"), weights=matches[:2])
    assert [(reason.query, reason.text) for reason in alone.best()] == [("what", "what"), ("is", "is")]
    looked = Explanation(hit("a", 0.0, text), "blockrank", "share", (), tuple(words), matches[:1] + matches[4:])
    assert [reason.text for reason in looked.best()] == ["eye", "fovea"]


def test_a_picture_shows_each_words_matches_before_those_of_function_words():
    """The vectors of function words lie near one another: by their sum these fill the picture, and the word that
    matches "lamp" best has no place in it."""
    text = "the light of a tower and the keepers of the tower"
    words = [(found.start(), found.end()) for found in re.finditer(r"\w+", text)]
    query = ("tower", "with", "a", "lamp")
    near = {("tower", "tower"): 1.0, ("lamp", "light"): 0.4, ("lamp", "keepers"): 0.3, ("tower", "light"): 0.2}
    matches = np.array([[near.get((one, text[a:b]), 0.8 if one in ("with", "a") else 0.0) for a, b in words]
                        for one in query])  # fmt: skip
    told = Explanation(hit("a", 0.0, text), "knrm", "how well words match", query, tuple(words), matches, adds=False)

    def chosen(count):
        return [told.text(told.parts[place]) for place in told.strongest(count)]

    assert chosen(2) == ["light", "tower"]
    assert chosen(4) == ["light", "tower", "keepers", "tower"]
    assert chosen(20) == text.split()
    added = replace(told, adds=True)
    assert added.strongest(2) == sorted(np.argsort(-matches.sum(0), kind="stable")[:2])
    alone = replace(told, query=("with", "a"), weights=matches[1:3])  # of function words only: no other order
    assert len(alone.strongest(3)) == 3


def test_matches_are_shown_where_they_stand_whatever_the_script():
    texts = ["İki değirmen is in İstanbul", "ΟΔΟΣ ΜΥΛΟΣ and mill", "नदी हिन्दी mill"]
    vocabulary = Vocabulary.of_texts(texts, min_frequency=1)
    ranker = Neural(Scorer(build("knrm", WordVectors.random(len(vocabulary), 8)), vocabulary))
    found = explain("mill", [hit(text, 0.0, text) for text in texts], ranker, words=WORDS)
    for one, text in zip(found, texts, strict=True):
        assert [one.text(part) for part in one.parts] == text.split()


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("qwen"))


def test_blockrank_gives_each_word_the_attention_of_its_tokens(qwen):
    ranker = BlockRank(qwen, layout=Layout(query_offset=1024))
    told = {one.hit.passage.span: one for one in ranker.explain("Where is the mill?", HITS)}
    found = explain("Where is the mill?", HITS, ranker, words=WORDS)
    assert [one.hit for one in found] == HITS
    for one in found:
        whole = told[one.hit.passage.span]
        assert one.weights.sum() == pytest.approx(whole.hit.score - whole.frame, rel=1e-5)
        text = one.hit.passage.text
        first = next(token for token in whole.tokens if text[token.start : token.end].strip())
        assert one.weights[0, 0] >= first.mass * 0.999
        assert [one.text(part) for part in one.parts][-1] == "."
        assert "." not in [reason.text for reason in one.best(99)]  # it is looked at, and says nothing
    assert sum(one.weights.sum() for one in found) < 1


def test_an_article_model_gives_each_sentence_its_attention():
    ranker = SectionRanker(Paraformer(Frozen(HashedWords())), budget=1)
    found = explain("the old mill", HITS, ranker, words=WORDS)
    assert [one.hit for one in found] == HITS
    weights = shown(found[1])
    assert list(weights) == ["A mill grinds.", "The river drives the old mill."]
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["The river drives the old mill."] > weights["A mill grinds."]
    beside = explain("the old mill", HITS, LegalRanker(ranker), words=WORDS)
    assert [one.weights.tolist() for one in beside] == [one.weights.tolist() for one in found]


def test_a_sentence_weighs_what_the_score_loses_without_it():
    def score(texts):
        return [2.0 * text.count("mill") - text.count("grinds") for text in texts]

    found = by_leaving_out("counting", HITS[1], score)
    assert shown(found) == {"A mill grinds.": 1.0, "The river drives the old mill.": 2.0}
    assert [(reason.text, reason.weight) for reason in found.best()] == [
        ("The river drives the old mill.", 2.0), ("A mill grinds.", 1.0),
    ]  # fmt: skip

    over = by_leaving_out("counting", HITS[1], score, until=time.monotonic())
    assert over.weights.shape == (1, 0)
    assert over.says.endswith("(0 of 2 sentences were looked at: there was no time for more)")
    assert over.best() == []
    within = by_leaving_out("counting", HITS[1], score, until=time.monotonic() + 60)
    assert (within.says, shown(within)) == (found.says, shown(found))

    @dataclass
    class CrossEncoderRanker:
        def scores(self, query, texts):
            return np.array([float(text.count(query)) for text in texts])

    found = explain("mill", HITS[1:2], CrossEncoderRanker(), words=WORDS)[0]
    assert (found.by, list(shown(found).values())) == ("cross-encoder", [1.0, 1.0])


def test_a_pointwise_ranker_is_asked_without_each_sentence(qwen):
    ranker = PointwiseRanker(qwen)
    found = explain("Where is the mill?", HITS[1:2], ranker, words=WORDS)[0]
    without = hit("d1", text="The river drives the old mill.")
    whole, rest = (ranker.scores("Where is the mill?", [one])[0] for one in (HITS[1], without))
    assert abs(whole - rest) > 1e-4
    assert found.weights[0, 0] == pytest.approx(whole - rest, abs=1e-6)


def test_a_cascades_hits_are_explained_by_the_stage_that_saw_them_last():
    sections = SectionRanker(Paraformer(Frozen(HashedWords())))

    class CrossEncoderRanker(ByTruth):
        def scores(self, query, texts):  # noqa: ARG002
            return np.zeros(len(texts))

    cascade = Cascade([Stage(sections, 2), Stage(CrossEncoderRanker({}), 1, least=1)])
    by = [one.by for one in explain("mill", HITS, cascade, words=WORDS)]
    assert by == ["cross-encoder", "paraformer", "words"]
    by = [one.by for one in explain("mill", HITS, cascade, words=WORDS, counts=(3, 0))]
    assert by == ["paraformer"] * 3
    assert explain("mill", [], cascade, words=WORDS) == []
    by = [one.by for one in explain("mill", HITS, ByTruth({}), words=WORDS)]
    assert by == ["words"] * 3


# -- the form, and the picture -----------------------------------------------------------------------------------------


def test_marks_of_punctuation_and_of_markdown_are_no_reasons():
    text = "` fovea | = ** 5 €"
    parts = tuple(found.span() for found in re.finditer(r"\S+", text))
    looked = Explanation(hit("a", 0.0, text), "blockrank", "share", (), parts, np.full((1, len(parts)), 0.1))
    assert [reason.text for reason in looked.best()] == ["fovea", "5", "€"]


def test_an_explanation_is_checked_and_is_plain_as_json():
    found = WORDS.explain("small fovea", HITS[0])
    plain = json.loads(json.dumps(found.as_json()))
    assert plain["query"] == ["small", "fovea"]
    assert plain["parts"][0] == {"start": 4, "end": 9, "text": "Fovea"}
    assert np.array(plain["weights"]).shape == (2, 3)
    with pytest.raises(InputError, match=r"shape \(1, 3\)"):
        replace(found, weights=found.weights[:1])
    cosines = replace(found, adds=False, weights=np.full((2, 3), 0.5))
    assert cosines.of_parts.tolist() == [0.5] * 3
    assert cosines.best(1)[0].weight == 0.5
    matched = replace(cosines, weights=np.array([[0.2, 0.9, 0.1], [0.3, 0.0, 0.4]])).best()
    assert [(one.query, one.text, one.weight) for one in matched] == [("small", "fovea", 0.9), ("fovea", "small", 0.4)]


def test_pictures_are_drawn_of_a_matrix_and_of_a_marked_text(tmp_path):
    matrix = draw(WORDS.explain("small fovea", HITS[0]), tmp_path / "matrix.png")
    marked = draw(by_leaving_out("counting", HITS[1], lambda texts: [len(text) * -1.0 for text in texts]),
                  tmp_path / "marked.png")  # fmt: skip
    for path in (matrix, marked):
        assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="Nothing of the passage matched"):
        draw(WORDS.explain("steam", HITS[0]), tmp_path / "nothing.png")


def test_lines_together_are_the_text():
    text = "A line.\n\n" + "word " * 30 + "x" * 50
    lines = wrapped(text, 20)
    assert "".join(piece for _, piece in lines) == text
    assert all(text[start : start + len(piece)] == piece and len(piece) <= 21 for start, piece in lines)


@pytest.mark.parametrize("end", ["\r\n", "  \n", "\n"])
def test_blanks_before_a_line_s_end_make_no_line_of_their_own(end):
    text = f"One line.{end}Another.{end}"
    assert [piece for _, piece in wrapped(text, 20)] == [f"One line.{end}", f"Another.{end}"]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_terminal_marks_what_counted():
    @dataclass
    class Entry:
        title: str = "Eyes"
        pages: tuple = ()
        metadata = MappingProxyType({})
        published_at = None

    text = "\n".join(["nothing here"] * 9 + ["the fovea"])
    one = hit("d", text=text)
    start = text.index("fovea")
    found = Explanation(one, "test", "weight", (), ((start, start + 5),), np.ones((1, 1)))
    made = hit_text(1, one, Entry(), "here", full=False, explained=found)
    marked = [made.plain[span.start : span.end] for span in made.spans if "yellow" in str(span.style)]
    assert marked == ["fovea"]  # in the line that is shown for it, though the query's word stands in others
    assert "test: fovea 1" in made.plain


def test_search_explains_and_draws(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number, text in enumerate(TEXTS):
        (texts / f"{number}.txt").write_text(text, encoding="utf-8")
    Library.open(tmp_path / "home", encoder="none").add([str(texts)])
    picture, home = tmp_path / "why.png", ["--home", str(tmp_path / "home")]
    done = CliRunner().invoke(app, ["search", "small fovea", "--explain", "--picture", str(picture), "--json", *home])
    assert done.exit_code == 0, done.output
    first = json.loads(done.stdout)["hits"][0]
    assert [part["text"] for part in first["explanation"]["parts"]] == ["Fovea", "fovea", "small"]
    assert picture.is_file()
    plain = CliRunner().invoke(app, ["search", "small fovea", "--explain", *home])
    assert "words: " in plain.stdout
