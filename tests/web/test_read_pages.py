"""Read: one document answers; what was looked at is a picture that says the same as its table."""

from __future__ import annotations

import re
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest
from reading.speakers import Quoter, Scripted
from reading_site import STORY, OwnModels, made_app, pdf, text_of, visiting
from tiny import tiny

from foveal.attention import method_for
from foveal.models.threads import with_threads
from foveal.reading import InfiniRetri, ReadSettings, looking
from foveal.reading.heat import Heat, Looked, over, watch_heat
from foveal.web.heat_strip import HEIGHT, WIDTH, Text, strip_of

LONG = "\n".join(f"The miller of house {n} counted {n * 7} sacks. It rained on day {n}!" for n in range(40))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with with_threads(1):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("qwen"))


def test_heat_is_every_score_that_the_reader_saw_and_changes_nothing(model):
    settings = ReadSettings(window=128, floor=0.0, follow=0, words=False, budget=4096)
    plain = InfiniRetri(model, settings, answerer=Quoter()).retrieve(LONG, "What did the miller count?")
    reader = InfiniRetri(model, settings, answerer=Quoter())
    heat = watch_heat(reader)
    assert reader.retrieve(LONG, "What did the miller count?").excerpts == plain.excerpts
    sentences = heat.sentences()
    assert [sentences[0].start, sentences[-1].end] == [0, len(LONG)]
    assert all(one.end == after.start for one, after in pairwise(sentences))
    assert heat.peaks(1)[0].score == pytest.approx(max(one.score for one in plain.excerpts))


def test_the_better_of_two_looks_counts():
    heat = Heat()
    for score in (0.4, 1.5, 0.2):
        heat.note(10, 20, score)
    heat.note(20, 30, 0.9)
    assert heat.sentences() == [Looked(10, 20, 1.5), Looked(20, 30, 0.9)]
    assert heat.peaks(5, least=1.0) == [Looked(10, 20, 1.5)]


def test_a_stretch_has_the_highest_score_in_it_or_none_where_nothing_was_read():
    sentences = [Looked(0, 5, 1.0), Looked(5, 20, 3.0), Looked(40, 50, 2.0)]
    borders = [0, 4, 10, 25, 40, 60, 70]
    by_definition = [
        max((one.score for one in sentences if one.start < b and one.end > a), default=None)
        for a, b in pairwise(borders)
    ]
    assert over(sentences, borders) == by_definition == [1.0, 3.0, 3.0, None, 2.0, None]


def test_the_picture_is_to_scale():
    text = "x" * 1600
    heat = Heat()
    heat.note(0, 800, 1.0)
    heat.note(1590, 1600, 8.0)
    strip = strip_of(heat, Text("d" * 32, "T", "r" * 64, text, (0, 800), [(0, 1600, "T > H")]))
    heights = [bar.height for bar in strip.bars]
    assert max(height for height in heights if height is not None) == HEIGHT
    assert heights[0] == strip.even  # score 1 is an even spread
    assert heights[100] is None
    assert strip.read == pytest.approx(81 / 160, abs=0.01)
    assert [peak.score for peak in strip.peaks] == [8.0, 1.0]
    assert strip.peaks[0].place.where == "page 2 · H"
    assert strip.peaks[0].place.address.startswith(f"/library/{'d' * 32}?span=1590-1600&revision={'r' * 16}#c-")
    assert strip.pages == ((1, 0.0), (2, WIDTH / 2))


def test_a_document_is_read_and_answers_with_places_and_a_picture(tmp_path: Path, model):
    speaker = Scripted("He has two cats.")
    with visiting(made_app(tmp_path, OwnModels(speaker, model))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        which = visitor.only()
        assert f"all {len(STORY)} characters" in text_of(visitor.client.get(f"/library/{which}/read").text)
        page = visitor.waited(visitor.post(f"/library/{which}/read", question="What has he?"))
        text = text_of(page)
        assert "He has two cats. 1 Where it stands" in text
        shown = visitor.client.get(unescape(re.search(r'class="cite" href="([^"#]+)', page)[1])).text
        assert re.findall(r'<mark class="cited"[^>]*>([^<]*)</mark>', shown) == ["He has two cats."]
        picture = page.split('<svg viewBox="0 0 960')[1].split("</svg>")[0]
        assert re.findall(r'<rect class="h\d" ', picture)
        row = r"<tr><td>([\d.]+)</td><td><bdi>[^<]*</bdi></td><td dir=\"auto\"><a href=\"([^\"]+)\">([^<]+)</a>"
        rows = re.findall(row, page)
        scores = [float(score) for score, _, _ in rows]
        assert scores == sorted(scores, reverse=True)
        assert scores
        for _, address, quote in rows:
            page = visitor.client.get(unescape(address)).text
            marked = "".join(re.findall(r'<mark class="cited"[^>]*>(.*?)</mark>', page, re.DOTALL))
            assert unescape(quote).split() == unescape(re.sub(r"<[^>]+>", "", marked)).split()
        assert "tokens in 1 window" in text


@pytest.mark.parametrize("chosen", ["streaming", None])
def test_a_document_is_read_by_the_attention_of_the_site_and_a_library_asked_by_none(
    tmp_path: Path, model, monkeypatch, chosen
):
    """As foveal.toml says; without that by the length of each window."""
    if chosen:
        (tmp_path / "foveal.toml").write_text(f'[web]\nattention = "{chosen}"\n', encoding="utf-8")
    asked = []
    monkeypatch.setattr(looking, "method_for", lambda name, tokens: asked.append(name) or method_for(name, tokens))
    with visiting(made_app(tmp_path, OwnModels(Scripted("He has two cats."), model))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        for path, used in ((f"/library/{visitor.only()}/read", {chosen or "auto"}), ("/ask", set())):
            assert "He has two cats." in text_of(visitor.waited(visitor.post(path, question="What has he?")))
            assert set(asked) == used
            asked.clear()


def test_windows_are_as_long_as_the_site_says(tmp_path: Path, model):
    """The story is one window of those by default."""
    (tmp_path / "foveal.toml").write_text("[web]\nwindow = 64\n", encoding="utf-8")
    with visiting(made_app(tmp_path, OwnModels(Scripted("He has two cats."), model))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        page = visitor.waited(visitor.post(f"/library/{visitor.only()}/read", question="What has he?"))
        assert re.search(r"tokens in [2-9] windows", text_of(page))


def test_parts_of_the_picture_come_while_it_is_read_and_cancel_ends_it(tmp_path: Path, model):
    app = made_app(tmp_path, OwnModels(Quoter(), model))
    with visiting(app) as visitor:
        visitor.add(("long.txt", (LONG * 12).encode()))
        which = visitor.only()
        answer = visitor.post(f"/library/{which}/read", question="What did the miller count?")
        visitor.waited(answer)
        job = app.state.site.jobs.get(answer.url.path.rpartition("/")[2])
        assert sum(event.kind == "look" for event in job.since(0)) > 2
        again = app.state.site.jobs.start(type(job.work)(which, "Long", "What?", job.work.models, job.work.library))
        app.state.site.jobs.cancel(again)
        assert "It was cancelled." in visitor.waited(visitor.client.get(again.page))


def test_a_text_that_does_not_hold_the_answer_says_so(tmp_path: Path, model):
    with visiting(made_app(tmp_path, OwnModels(Scripted("not found"), model))) as visitor:
        visitor.add(("tides.pdf", pdf("Water comes twice a day.", "It goes at noon.")))
        page = visitor.waited(visitor.post(f"/library/{visitor.only()}/read", question="Who?"))
        assert "The text does not hold the answer" in text_of(page)


def test_without_a_model_that_shows_its_attention_the_reason_is_given(tmp_path: Path):
    with visiting(made_app(tmp_path, OwnModels(Quoter()))) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        page = visitor.waited(visitor.post(f"/library/{visitor.only()}/read", question="Who?"))
        assert "needs a model on this machine" in text_of(page)


@pytest.mark.parametrize(
    ("fields", "said"), [({"question": ""}, "is empty"), ({"question": "Who?", "effort": "x"}, "No effort")]
)
def test_a_reading_that_cannot_be_is_refused_beside_the_form(tmp_path: Path, fields, said):
    with visiting(made_app(tmp_path)) as visitor:
        visitor.add(("mill.md", STORY.encode()))
        answer = visitor.post(f"/library/{visitor.only()}/read", **fields)
        assert answer.status_code == 400
        assert said in text_of(answer.text)
        assert visitor.client.get("/library/" + "0" * 32 + "/read").status_code == 404
