"""Pages in letters that the models do not know, read by Tesseract: a made one everywhere, the real one where it is."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from foveal.errors import InputError
from foveal.settings import Settings
from foveal.text import recognition
from foveal.text.loading import read_document
from foveal.text.recognised_pages import recognised_pages
from foveal.text.recognition import _Box, engine_name, known, recognised
from foveal.text.sources import load_settings
from foveal.text.tesseract import by_tesseract, installed, known_languages, other_languages

RUSSIAN = "Однажды лиса зашла в сад и увидела виноград на высокой лозе. Она прыгала долго, но не достала ни ягоды."
HEAD = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"
PICTURE = np.full((200, 400, 3), 255, np.uint8)

MADE = """#!{python}
import json, sys
from pathlib import Path
place = Path(__file__).parent
told = json.loads((place / "told.json").read_text())
if "--list-langs" in sys.argv:
    print("List of available languages (2):", *told, "osd", sep="\\n")
    raise SystemExit
sys.stdin.buffer.read()
language = sys.argv[sys.argv.index("-l") + 1]
with (place / "asked").open("a") as asked:
    asked.write(language + " ")
if told[language] is None:
    print("Error opening data file", file=sys.stderr)
    raise SystemExit(1)
print(told[language])
"""


def table(*words: tuple[str, float, int, int, int]) -> str:
    """Tesseract's: words as (text, certainty in percent, line, left, width), each 20 high."""
    rows = [
        f"5\t1\t1\t1\t{line}\t{number}\t{left}\t{50 * line}\t{width}\t20\t{sure}\t{text}"
        for number, (text, sure, line, left, width) in enumerate(words)
    ]
    return "\n".join([HEAD, "1\t1\t0\t0\t0\t0\t0\t0\t400\t200\t-1\t", *rows])


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Puts a `tesseract` on the path that says what it is told; gives which languages it was asked for."""
    if os.name == "nt":
        pytest.skip("a script is no program here")
    place = tmp_path / "bin"
    place.mkdir()
    program = place / "tesseract"
    program.write_text(MADE.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(place))

    def say(**told: str | None) -> None:
        (place / "told.json").write_text(json.dumps(told))
        (place / "asked").write_text("")
        installed.cache_clear()

    yield say, lambda: (place / "asked").read_text().split()
    installed.cache_clear()


def test_the_language_that_fits_is_told_by_its_certainty(made):
    say, asked = made
    say(ell=table(("ΑΒΓΔΕ", 41, 1, 10, 80)), eng="", rus=table(("лиса", 96, 1, 10, 60), ("зашла", 94, 1, 80, 70)))
    assert other_languages() == ("ell", "rus")
    found = by_tesseract(PICTURE, other_languages(), dots=150)
    assert (found.language, [one.text for one in found.parts]) == ("rus", ["лиса зашла"])
    assert found.sure == pytest.approx((4 * 0.96 + 5 * 0.94) / 9, abs=0.01)
    (part,) = found.parts
    assert (part.left, part.top, part.right, part.bottom) == (10, 50, 150, 70)
    assert asked() == ["ell", "rus"]


def test_the_language_of_the_page_before_comes_first_and_suffices(made):
    say, asked = made
    say(ell=table(("ΑΒΓΔΕ", 99, 1, 10, 80)), rus=table(("лисасад", 85, 1, 10, 60)))
    assert by_tesseract(PICTURE, ("ell", "rus"), dots=150, like="rus").language == "rus"
    assert asked() == ["rus"]
    assert by_tesseract(PICTURE, ("ell", "rus"), dots=150).language == "ell"


def test_what_fits_no_language_is_read_again_without_grain_and_then_left(made):
    say, asked = made
    say(rus=table(("лисасад", 79, 1, 10, 60)), ell=table(("Α", 99, 1, 10, 80)))  # one letter is a speck
    assert by_tesseract(PICTURE, ("ell", "rus"), dots=150) is None
    assert asked() == ["ell", "rus"] * 2


def test_a_wide_gap_parts_a_line_and_hebrew_runs_to_the_left(made):
    say, _ = made
    say(
        rus=table(("Цена", 95, 1, 10, 60), ("семь", 95, 1, 150, 60), ("рублей", 95, 2, 10, 60)),
        heb=table(("ניתן", 95, 1, 300, 60), ("לסיים", 95, 1, 230, 60)),
        tha=table(*(("ก", 95, 1, 10 + 12 * n, 10) for n in range(6)), ("ข", 95, 1, 95, 10)),
    )
    texts = {one: [part.text for part in by_tesseract(PICTURE, [one], dots=150).parts] for one in ("rus", "heb", "tha")}
    assert texts == {"rus": ["Цена", "семь", "рублей"], "heb": ["ניתן לסיים"], "tha": ["กกกกกก ข"]}


def test_a_failure_is_told_in_the_log_and_the_page_left(made, caplog):
    say, _ = made
    say(rus=None)
    assert by_tesseract(PICTURE, ["rus"], dots=150) is None
    assert "Error opening data file" in caplog.text


def test_where_it_finds_no_line_no_other_language_is_tried(made):
    say, asked = made
    say(ell=table(), rus=table(), tha=table())
    assert by_tesseract(PICTURE, ("ell", "rus", "tha"), dots=150) is None
    assert asked() == ["ell", "ell"]  # and once more without grain


def test_a_table_that_is_none_is_left(made, caplog):
    say, _ = made
    say(rus=HEAD + "\n5\t1\t1\t1\t1\t1\tx\t1\t1\t1\t95\tвиноград")
    assert by_tesseract(PICTURE, ["rus"], dots=150) is None
    assert "table cannot be read" in caplog.text


def test_one_that_hangs_is_left_and_the_models_read_on(made, monkeypatch, caplog):
    say, _ = made
    say(rus="")

    def hung(*_args, **_kept):
        raise TimeoutError("Tesseract took more than 300 s.")

    monkeypatch.setattr("foveal.text.recognition.by_tesseract", hung)
    monkeypatch.setattr("foveal.text.recognition._boxes", lambda _picture: [])
    dark = PICTURE.copy()
    dark[50:70, 10:150] = 0
    assert recognised(dark).lines == ()
    assert caplog.text.count("left to the models") == 1


def test_a_page_of_few_signs_is_done_where_nothing_else_is_dark(made, monkeypatch):
    say, asked = made
    say(rus="")
    dark = PICTURE.copy()
    dark[50:70, 10:60] = 0
    box = _Box("2021", 0.99, ((8, 48), (62, 48), (62, 72), (8, 72)))
    monkeypatch.setattr("foveal.text.recognition._boxes", lambda _picture: [box])
    assert [line.text for line in recognised(dark).lines] == ["2021"]
    assert asked() == []
    dark[120:150, 10:300] = 0
    recognised(dark)
    assert asked()


def test_a_language_that_is_not_there_is_named(made):
    say, _ = made
    say(rus="", eng="")
    assert known_languages("rus+eng") == "rus+eng"
    with pytest.raises(InputError, match=r"names 'vie', which Tesseract has not; it has eng, rus.*tesseract-ocr-vie"):
        known_languages("rus+vie")
    for wrong in ("rus, eng", "-c x", "../rus", "rus+"):
        with pytest.raises(InputError, match="needs names of Tesseract's languages"):
            known_languages(wrong)


def test_without_tesseract_there_are_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    installed.cache_clear()
    assert (installed(), other_languages()) == (frozenset(), ())
    assert "where Tesseract is installed" in known()
    installed.cache_clear()


def test_what_recognises_changes_with_its_languages(made):
    say, _ = made
    say(eng="")
    alone = engine_name()
    say(eng="", rus="")
    assert len({alone, engine_name(), engine_name("eng"), engine_name("rus+eng")}) == 4
    assert "by Tesseract those of rus" in known()


def test_a_page_is_read_turned_and_the_next_one_in_its_language(made, monkeypatch):
    """The models read nothing: each way to turn the page is tried."""
    say, _ = made
    say(rus="", ell="")
    asked = list[tuple[tuple[int, ...], tuple[str, ...], str]]()

    def looked(picture, languages, *, dots, like):
        asked.append((picture.shape[:2], tuple(languages), like))
        return reading if len(asked) != 1 else None

    say(rus=table(("лиса", 96, 1, 10, 60), ("зашла", 94, 1, 80, 70)), ell="")
    reading = by_tesseract(PICTURE, ["rus"], dots=150)
    monkeypatch.setattr("foveal.text.recognition.by_tesseract", looked)
    monkeypatch.setattr("foveal.text.recognition._boxes", lambda _picture: [])
    dark = PICTURE.copy()
    dark[50:70, 10:150] = 0
    pages = recognised_pages([1, 2], lambda _: (dark, 595.0), key="k", cache=None)
    assert [(page.turns, page.language, page.lines[0].text) for page in pages.values()] == [
        (2, "rus", "лиса зашла")
    ] * 2
    assert [like for *_, like in asked] == ["", "", "rus"]
    asked.clear()
    assert recognised(PICTURE).lines == ()
    assert not asked  # nothing is written on it


def test_named_languages_come_before_the_models(made, monkeypatch):
    say, asked = made
    say(vie=table(("Hợp", 96, 1, 10, 60), ("đồng", 96, 1, 80, 70)), rus="")
    monkeypatch.setattr("foveal.text.recognition._boxes", lambda _picture: pytest.fail("the models are not asked"))
    page = recognised(PICTURE, languages="vie")
    assert ([line.text for line in page.lines], page.language) == (["Hợp đồng"], "vie")
    assert asked() == ["vie"]


def test_the_setting_reaches_recognition(tmp_path):
    (tmp_path / "foveal.toml").write_text('ocr_languages = "vie+eng"\n')
    settings = Settings.load(tmp_path, environment={})
    assert load_settings(settings).recognition.languages == "vie+eng"


@pytest.mark.skipif("rus" not in installed(), reason="needs Tesseract with Russian (tesseract-ocr-rus)")
@pytest.mark.parametrize("turned", [0, 90, 180])
def test_a_page_of_russian_is_read(tmp_path, turned):
    import matplotlib as mpl

    font = ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif.ttf"), 30)
    page = Image.new("RGB", (1240, 700), "white")
    words, top = (RUSSIAN * 3).replace(".О", ". О").split(), 60
    while words:
        line = [words.pop(0)]
        while words and font.getlength(" ".join((*line, words[0]))) < 1060:
            line.append(words.pop(0))
        ImageDraw.Draw(page).text((90, top), " ".join(line), "black", font)
        top += 52
    page.rotate(turned, expand=True).save(tmp_path / "page.png")
    text = read_document(str(tmp_path / "page.png")).text
    found = text.split()
    assert sum(word in found for word in RUSSIAN.split()) >= 0.9 * len(RUSSIAN.split())
    assert sum(word in RUSSIAN for word in found) >= 0.9 * len(found)


def test_lines_in_other_letters_beside_known_ones_are_read(made, monkeypatch):
    """Of the second line the models read two points: Tesseract gets the page without the first one."""
    say, _ = made
    say(rus=table(("Мельница", 96, 3, 10, 100)))
    seen = list[np.ndarray]()

    def looked(picture, languages, *, dots, like):
        seen.append(picture)
        return reading

    reading = by_tesseract(PICTURE, ["rus"], dots=150)
    boxes = [box("The mill.", 40), box(". .", 140)]
    monkeypatch.setattr("foveal.text.recognition.by_tesseract", looked)
    monkeypatch.setattr("foveal.text.recognition._boxes", lambda _picture: boxes)
    dark = PICTURE.copy()
    dark[40:60, 10:110:2] = dark[140:160, 10:110:2] = 0
    page = recognised(dark)
    assert [line.text for line in page.lines] == ["The mill.", "Мельница"]
    assert (seen[0][40:60] == 255).all()
    assert (seen[0][140:160] == dark[140:160]).all()
    dark[140:160] = 255  # nothing more is written
    boxes.pop()
    assert [line.text for line in recognised(dark).lines] == ["The mill."]
    assert len(seen) == 1


def test_what_was_read_stays_where_tesseract_finds_nothing_beside(made, monkeypatch):
    say, _ = made
    say(rus="")
    monkeypatch.setattr("foveal.text.recognition.by_tesseract", lambda *_, **__: None)
    monkeypatch.setattr("foveal.text.recognition._boxes", lambda _picture: [box("The mill.", 40), box(". .", 140)])
    dark = PICTURE.copy()
    dark[40:60, 10:110:2] = dark[140:160, 10:110:2] = 0
    assert [line.text for line in recognised(dark).lines] == ["The mill.", ". ."]


def box(text: str, top: int) -> recognition._Box:
    return recognition._Box(text, 0.99, ((10, top), (110, top), (110, top + 20), (10, top + 20)))


@pytest.mark.skipif("rus" not in installed(), reason="needs Tesseract with Russian (tesseract-ocr-rus)")
def test_a_page_in_two_scripts_is_read():
    import matplotlib as mpl

    font = ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif.ttf"), 30)
    page = Image.new("RGB", (1240, 500), "white")
    lines = ["The fox went into the garden and saw the grapes.", "Однажды лиса зашла в сад и увидела виноград."]
    for number, line in enumerate(lines * 3):
        ImageDraw.Draw(page).text((90, 60 + 60 * number), line, "black", font)
    found = recognised(np.ascontiguousarray(np.asarray(page)[:, :, ::-1]))
    assert sorted(line.text for line in found.lines) == sorted(lines * 3)
