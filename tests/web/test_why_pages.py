"""Why a passage was found, on its page: words, a match matrix, what speaks against; and what cannot be explained."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from reading_site import STORY, made_app, visiting
from retrieval.shelf import hit

from foveal.ranking.explanation import Explanation
from foveal.ranking.neural import build
from foveal.ranking.neural.inputs import Vocabulary
from foveal.ranking.neural.ranker import Neural
from foveal.ranking.neural.scorer import Scorer
from foveal.ranking.neural.vectors import WordVectors
from foveal.web.why_pages import Piece, matrix, pieces, reasons, strength

HAWKS = "Hawks have two foveas in each eye, and an old mill has none."


@pytest.fixture
def visitor(tmp_path):
    with visiting(made_app(tmp_path)) as opened:
        opened.add(("mill.md", STORY.encode()), ("hawk.txt", HAWKS.encode()))
        yield opened


def links(page: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'href="(/library/[0-9a-f]+/why\?[^"]*)"', page)]


def marked(page: str) -> list[str]:
    text = page.split('class="why-text"')[1].split("</blockquote>")[0]
    return re.findall(r'<mark class="w(?:\d)">(.*?)</mark>', text)


def test_each_hit_leads_to_what_counted_in_it(visitor):
    page = visitor.client.get("/library", params={"q": "foveas & eyes", "where": "kind=text"}).text
    found = links(page)
    assert len(found) == page.count('class="hit-title"') == 1
    answer = visitor.client.get(found[0])
    assert answer.status_code == 200
    assert marked(answer.text) == ["foveas", "eye"]
    assert HAWKS in unescape(re.sub("<[^>]+>", "", answer.text))  # the whole passage
    assert "share of a BM25 score" in answer.text
    back = next(one for one in re.findall(r'href="(/library\?[^"]*)"', answer.text) if "q=" in one)
    assert parse_qs(urlsplit(unescape(back)).query) == {"q": ["foveas & eyes"], "where": ["kind=text"]}


def test_a_passage_without_the_words_says_so(visitor):
    address = links(visitor.client.get("/library", params={"q": "foveas"}).text)[0]
    answer = visitor.client.get(address.replace("q=foveas", "q=zeppelin"))
    assert answer.status_code == 200
    assert "None of these words is in the passage as it was asked for: it was found by another form" in answer.text


def test_a_ranker_that_reads_word_by_word_shows_its_match_matrix(visitor, tmp_path):
    """The cells are those of the model's own matrix."""
    vocabulary, words = Vocabulary.of_texts([STORY, HAWKS], min_frequency=1), ["old", "mill", "eye"]
    scorer = Scorer(build("knrm", WordVectors.random(len(vocabulary), 8)), vocabulary)
    scorer.save(tmp_path / "models" / "own")
    page = visitor.client.get("/library", params={"q": " ".join(words), "rank": "own", "where": "kind=text"}).text
    assert "<option selected>own</option>" in page
    answer = visitor.client.get(links(page)[0]).text
    grid = answer.split('class="matrix"')[1].split("</table>")[0]
    heads = re.findall(r'<th scope="col"[^>]*><span>(.*?)</span>', grid)
    rows = re.findall(r'<tr><th scope="row"[^>]*>(.*?)</th>(.*?)</tr>', grid)
    assert [name for name, _ in rows] == words
    told = Neural(scorer).explain(" ".join(words), hit("d", 1.0, HAWKS))
    for number, (_, cells) in enumerate(rows):
        shown = re.findall(r">(-?\d\.\d\d)</td>", cells)
        right = {word: told.matches[number, place] for place, word in enumerate(told.document)}
        assert shown == [f"{right[head.lower()]:.2f}" for head in heads]
    assert {"old", "mill", "eye"} <= {head.lower() for head in heads}


LAMP = """# The **lamp**

Read [the log](log.md#oil) of *1859*: the lamp burns `oil`, 2 ** 3 litres.

```sh
# the lamp
lamp --on "**now**"
```

The lamp is **out**.
"""


def test_a_passage_is_shown_without_the_marks_of_markdown(tmp_path):
    """And what counted in it stays marked; code stands as it is."""
    with visiting(made_app(tmp_path)) as visitor:
        visitor.add(("lamp.md", LAMP.encode()))
        address = links(visitor.client.get("/library", params={"q": "lamp out"}).text)[0]
        page = visitor.client.get(address).text
    shown = page.split('class="why-text"')[1].split("</blockquote>")[0].partition(">")[2]
    assert re.findall(r"<mark[^>]*>(.*?)</mark>", shown) == ["lamp"] * 5 + ["out"]
    lines = [line for line in unescape(re.sub("<[^>]+>", "", shown)).split("\n") if line]
    assert lines == [
        "The lamp",
        "Read the log of *1859*: the lamp burns oil, 2 ** 3 litres.",
        "# the lamp",
        'lamp --on "**now**"',
        "The lamp is out.",
    ]


def test_an_underlined_title_is_shown_without_its_line(tmp_path):
    text = "The lamp\n========\n\nIt burns.\n\nOil\n---\n\nThe lamp burns oil.\n\n- one -- two\n"
    with visiting(made_app(tmp_path)) as visitor:
        visitor.add(("lamp.md", text.encode()))
        found = visitor.client.get("/library", params={"q": "lamp oil"}).text
        assert "===" not in found
        page = visitor.client.get(links(found)[0]).text
    shown = page.split('class="why-text"')[1].split("</blockquote>")[0].partition(">")[2]
    lines = [line for line in unescape(re.sub("<[^>]+>", "", shown)).split("\n") if line]
    assert lines == ["The lamp", "It burns.", "Oil", "The lamp burns oil.", "- one -- two"]


def test_sentences_that_counted_are_told_without_marks():
    text = "# The mill\nIt has **two** [cats](cats.md)."
    told = explained(text, ((0, len(text)),), [[1.0]])
    assert [one.text for one, _ in reasons(told)] == ["The mill It has two cats."]


def test_what_is_not_there_any_more_is_not_explained(visitor):
    [first] = links(visitor.client.get("/library", params={"q": "Orsin"}).text)[:1]
    parts = urlsplit(first)
    asked = {name: value[0] for name, value in parse_qs(parts.query).items()}
    for wrong, status in (
        ({"end": "3"}, 400),
        ({"revision": "0" * 64}, 400),
        ({"q": " "}, 400),
        ({"rank": "../../etc"}, 400),
    ):
        answer = visitor.client.get(parts.path, params=asked | wrong)
        assert answer.status_code == status, (wrong, answer.text[-600:])
    assert visitor.client.get("/library/ffffffff/why", params=asked).status_code == 404


def explained(text: str, parts, weights, *, query=(), adds=True) -> Explanation:
    return Explanation(hit("d", 1.0, text), "one", "a weight", query, parts, np.array(weights, dtype=float), adds)


def test_pieces_are_the_text_with_shades_by_share_of_the_strongest():
    told = explained("aa bb cc dd", ((0, 2), (3, 5), (6, 8), (9, 11)), [[1.0, -0.5, 0.05, 0.3]])
    found = pieces(told)
    assert "".join(one.text for one in found) == "aa bb cc dd"
    assert [one for one in found if one.strength] == [Piece("aa", 4), Piece("bb", -3), Piece("dd", 2)]
    assert [(one.text, shade) for one, shade in reasons(told)] == [("aa", 4), ("dd", 2), ("cc", 1)]
    assert matrix(told) is None


def test_nothing_that_counted_is_the_plain_text():
    for weights, parts in (([[]], ()), ([[0.0]], ((0, 2),)), ([[float("nan")]], ((0, 2),))):
        told = explained("aa bb", parts, weights)
        assert [one.strength for one in pieces(told)] == [0] * len(pieces(told))
        assert "".join(one.text for one in pieces(told)) == "aa bb"
        assert reasons(told) == []
    assert strength(0.0, 0.0) == 0


def test_parts_that_overlap_show_no_letter_twice():
    told = explained("aa bb", ((0, 4), (3, 5)), [[1.0, 1.0]])
    assert "".join(one.text for one in pieces(told)) == "aa bb"


def test_columns_are_of_the_words_that_match_what_is_asked_for():
    """Those of function words, which match themselves in any text, come last."""
    text = " ".join([*(f"of{number}" for number in range(20)), "of", "lamp"])
    words = [(one.start(), one.end()) for one in re.finditer(r"\w+", text)]
    near = [[0.5 + number / 100 for number in range(20)] + [1.0, 0.2], [0.1] * 20 + [0.3, 1.0]]
    found = matrix(explained(text, tuple(words), near, query=("of", "lamp"), adds=False))
    assert found is not None
    assert (len(found.columns), found.columns[-1], "of" in found.columns) == (16, "lamp", False)


def test_a_word_that_comes_again_is_one_column_its_best():
    told = explained(
        "mill Mill red", ((0, 4), (5, 9), (10, 13)), [[0.2, 0.9, 0.1], [0.3, 0, 0.4]], query=("a", "b"), adds=False
    )
    found = matrix(told)
    assert found is not None
    assert list(found.columns) == ["Mill", "red"]
    assert [[weight for weight, _ in cells] for _, cells in found.rows] == [[0.9, 0.1], [0.0, 0.4]]


def test_a_matrix_of_many_words_holds_the_strongest_in_the_order_of_the_text():
    words = [f"w{number:02}" for number in range(40)]
    places = tuple((4 * number, 4 * number + 3) for number in range(40))
    weights = np.linspace(0, 1, 80).reshape(2, 40)
    told = explained(" ".join(words), places, weights, query=("one", "two"), adds=False)
    found = matrix(told)
    assert found is not None
    assert list(found.columns) == words[-16:]
    assert [name for name, _ in found.rows] == ["one", "two"]
    assert [weight for weight, _ in found.rows[1][1]] == pytest.approx(weights[1, -16:].tolist())


def test_a_table_in_a_passage_is_shown_as_cells_apart(tmp_path):
    with visiting(made_app(tmp_path)) as visitor:
        visitor.add(("lamps.md", b"What burns:\n\n| lamp | oil |\n|---|---|\n| Skerry | seal |\n| Vasa | whale |\n"))
        answer = visitor.client.get(links(visitor.client.get("/library", params={"q": "whale lamp"}).text)[0])
        text = answer.text.split('class="why-text"')[1].split("</blockquote>")[0]
        lines = [
            " ".join(line.split()) for line in unescape(re.sub("<[^>]+>", "", text.partition(">")[2])).splitlines()
        ]
        assert [line for line in lines if line] == ["What burns:", "lamp · oil", "Skerry · seal", "Vasa · whale"]
        assert marked(answer.text) == ["lamp", "whale"]
