"""What of a page is shown: all of a short one, the passages that are needed of a long one, wherever they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.research.pages import PIECE, AttentionReading, BestPassages, pieces
from foveal.types import Document, Passage, Span


def words(text: str) -> int:
    return len(text.split())


def page(text: str) -> Document:
    return Document.of("https://x.example", text, "page")


@given(st.text(alphabet="ab. \n。é", max_size=3000))
def test_pieces_cover_a_page_but_for_blanks(text):
    found = pieces(page(text))
    assert "".join(one.text for one in found).split() == text.split() or "".join(
        "".join(one.text.split()) for one in found
    ) == "".join(text.split())
    assert all(text[one.span.start : one.span.end] == one.text for one in found)
    assert all(0 < len(one.text) <= PIECE for one in found)


@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
def test_a_fact_is_found_anywhere_in_a_page_longer_than_any_cut(place):
    filler = [f"The river goes by in year {one} as it did before. " for one in range(4000)]
    filler.insert(int(place * 4000), "The carpenter Brandt hung the great wheel. ")
    whole = page("".join(filler))
    assert len(whole.text) > 10 * 8192
    found = BestPassages().read(whole, "Who hung the wheel?", tokens=300, count=words)
    assert any("carpenter Brandt" in one.text for one in found)
    assert sum(words(one.text) for one in found) <= 300
    assert all(whole.text[one.span.start : one.span.end] == one.text for one in found)
    assert [one.span.start for one in found] == sorted(one.span.start for one in found)


def test_the_order_of_passages_is_that_of_an_index():
    from foveal.research.pages import _ranked
    from foveal.retrieval.past_lexical import PastIndex

    texts = [
        f"{'wheel ' * (one % 3)}mill {'river ' * (one % 5)}{'Brandt' if one == 7 else ''} x{one}" for one in range(20)
    ]
    found = [Passage(Span("d" * 32, 0, len(text)), text) for text in texts]
    scores = PastIndex(texts, [0.0] * 20).scores("wheel river Brandt?", 0.0)
    assert _ranked(found, "wheel river Brandt?") == sorted(
        range(20), key=lambda place: (-round(scores[place], 9), place)
    )


def test_a_short_page_is_shown_whole_and_a_foreign_one_from_its_beginning():
    assert BestPassages().read(page("  One.\n\nTwo. "), "?", tokens=10, count=words)[0].text == "One.\n\nTwo."
    foreign = page("水車は川にある。" * 3000)
    found = BestPassages().read(foreign, "Who built it?", tokens=500, count=len)
    assert found[0].span.start == 0
    assert 0 < sum(len(one.text) for one in found) <= 500


def test_one_sentence_that_is_too_long_is_cut_and_not_left_out():
    found = BestPassages().read(page("wheel " * 5000), "wheel?", tokens=20, count=words)
    assert 0 < words(found[0].text) <= 20


def test_a_local_model_reads_long_pages_by_its_attention(tmp_path):
    from tiny import tiny

    from foveal.attention.profiles import Profile
    from foveal.reading import InfiniRetri, ReadSettings

    model = tiny("qwen", tmp_path)
    reader = InfiniRetri(model, ReadSettings(window=128, budget=64, floor=0.0))
    assert isinstance(reader.looking.profile, Profile)
    whole = page(" ".join(f"The mill of year {one} has a river." for one in range(120)))
    found = AttentionReading(reader).read(whole, "Who keeps the key?", tokens=60, count=words)
    assert found
    assert sum(words(one.text) for one in found) <= 60
    assert all(whole.text[one.span.start : one.span.end] == one.text for one in found)


def test_of_a_book_a_local_model_reads_the_promising_parts(tmp_path, monkeypatch):
    from tiny import tiny

    from foveal.reading import InfiniRetri, ReadSettings
    from foveal.reading.events import ReadStarted

    reader = InfiniRetri(tiny("qwen", tmp_path), ReadSettings(window=64, budget=64, floor=0.0, follow=0))
    seen, streamed = [], reader.stream

    def stream(*given, **options):
        for event in streamed(*given, **options):
            seen.extend([event.windows] if isinstance(event, ReadStarted) else [])
            yield event

    monkeypatch.setattr(reader, "stream", stream)
    text = " ".join(f"The mill of year {one} has a river." for one in range(120)) + " Olof keeps the key of the house."
    whole = AttentionReading(reader)
    assert whole.read(page(text), "Who keeps the key?", tokens=60, count=words)
    monkeypatch.setattr("foveal.research.pages.MOST_READ", len(text) // 4)
    part = whole.read(page(text), "Who keeps the key?", tokens=60, count=words)
    assert part
    assert 0 < seen[1] <= seen[0] / 3
