"""Scans and photographs: recognised, turned upright, put in order, kept, and refused with what to do."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from foveal.errors import Cancelled, InputError, UnreadableSource
from foveal.settings import Settings
from foveal.text import recognition
from foveal.text.discovery import discover
from foveal.text.ink import CAPITAL, SMALL, WIDE, em_of
from foveal.text.loading import LoadSettings, Skipped, Source, load, read_document
from foveal.text.pdf import read_pdf
from foveal.text.pictures import read_picture
from foveal.text.recognised_pages import key_of, recognised_pages
from foveal.text.recognition import Page, RecognitionSettings, Written, recognised
from foveal.text.sources import load_settings

ALICE = (
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or "
    "twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it. "
)
MILL = (
    "The keeper of the mill at Orsin was called Vale, and he kept the key behind the clock, where nobody looked. "
    "On the fourth of May the water rose by eleven feet, and the wheel was carried away as far as the bridge. "
)
AUTO = RecognitionSettings()
DPI = 150


@pytest.fixture(autouse=True)
def without_tesseract(monkeypatch):
    """Whatever this machine has: see test_tesseract.py."""
    monkeypatch.setattr("foveal.text.tesseract.installed", frozenset)


@pytest.fixture(scope="session")
def two_pages() -> bytes:
    """A PDF with text: a title, two chapters."""
    pdf = FPDF()
    for title, text in (("The Pool of Tears", ALICE), ("The Keeper of the Mill", MILL)):
        pdf.add_page()
        pdf.set_font("times", style="B", size=18)
        pdf.cell(0, 14, title, new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("times", size=12)
        pdf.multi_cell(0, 6, text * 2)
    return bytes(pdf.output())


def drawn(pdf: bytes, number: int = 0) -> Image.Image:
    """A page as a scanner gives it: a little askew, with grain."""
    import pypdfium2

    with pypdfium2.PdfDocument(pdf) as opened:
        clean = opened[number].render(scale=DPI / 72).to_pil().convert("RGB")
    turned = clean.rotate(0.6, fillcolor="white", resample=Image.Resampling.BICUBIC)
    grain = np.random.default_rng(number).normal(0, 8, (turned.height, turned.width, 3))
    noisy = Image.fromarray((np.asarray(turned) + grain).clip(0, 255).astype(np.uint8))
    return noisy.filter(ImageFilter.GaussianBlur(0.5))


def bgr(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def scan_of(*images: Image.Image, text: str = "") -> bytes:
    """A PDF whose pages are pictures; with `text` one more that is not."""
    pdf = FPDF()
    for image in images:
        pdf.add_page()
        pdf.image(image, 0, 0, 210, 297)
    if text:
        pdf.add_page()
        pdf.set_font("times", size=12)
        pdf.multi_cell(0, 6, text)
    return bytes(pdf.output())


@pytest.fixture(scope="session")
def images(two_pages: bytes) -> tuple[Image.Image, Image.Image]:
    return drawn(two_pages, 0), drawn(two_pages, 1)


def flat(text: str) -> str:
    return " ".join(text.split())


# pictures to lines


def test_a_page_is_recognised_with_its_sizes(images):
    page = recognised(bgr(images[0]))
    assert flat(" ".join(line.text for line in page.lines)) == flat(f"The Pool of Tears {ALICE * 2}")
    assert page.sure > 0.9
    title, *body = page.lines
    sizes = [line.size for line in body if len(line.text) > 20]
    assert 1.35 < title.size / np.median(sizes) < 1.65  # 18 points and 12
    assert max(sizes) < 1.12 * min(sizes)
    strokes = [line.stroke / line.size for line in body if len(line.text) > 20]
    assert title.stroke / title.size > 1.15 * np.median(strokes)  # bold


def test_a_page_in_letters_that_are_not_known_is_not_read(tmp_path):
    """Of Russian the models read the full stops, which were added as the page's text."""
    import matplotlib as mpl

    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    page = Image.new("RGB", (1240, 700), "white")
    line = "Однажды лиса зашла в сад, увидела виноград. Потом она, голодная, ушла."
    for number in range(6):
        ImageDraw.Draw(page).text((80, 80 + 60 * number), line, "black", ImageFont.truetype(str(font), 26))
    assert recognised(bgr(page)).lines == ()
    page.save(tmp_path / "page.png")
    with pytest.raises(UnreadableSource, match="Latin, Chinese and Japanese"):
        read_document(str(tmp_path / "page.png"))


def test_a_page_whose_letters_are_mostly_guessed_is_not_read():
    """Of Armenian, the models make letters of other scripts, of which they are hardly sure."""
    import matplotlib as mpl

    font = ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif.ttf"), 30)
    page = Image.new("RGB", (1240, 700), "white")
    line = "Վարձակալության պայմանագիրը կարող է լուծվել կողմերից յուրաքանչյուրի"
    for number in range(6):
        ImageDraw.Draw(page).text((80, 80 + 60 * number), line, "black", font)
    assert recognised(bgr(page)).lines == ()


def test_a_page_of_operators_is_read():
    import matplotlib as mpl

    font = ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 34)
    page = Image.new("RGB", (1240, 500), "white")
    lines = ["+ - * / = < >", "== != <= >= && ||", "+= -= *= /= ->", "a + b * c / d", "x = - y"]
    for number, line in enumerate(lines):
        ImageDraw.Draw(page).text((90, 60 + 70 * number), line, "black", font)
    assert {"a + b * c / d", "x = - y"} <= {line.text for line in recognised(bgr(page)).lines}


def test_a_page_askew_stands_upright(images):
    tops = [line.top for line in recognised(bgr(images[0])).lines]
    assert tops == sorted(tops)
    long = [line for line in recognised(bgr(images[0].rotate(-2, fillcolor="white"))).lines if len(line.text) > 60]
    assert all(line.bottom - line.top < 20 for line in long)  # two degrees over a page's width would be as much again


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_page_that_lies_on_its_side_or_head_is_turned(images, turns):
    picture = np.ascontiguousarray(np.rot90(bgr(images[1]), turns))
    page = recognised(picture)
    assert page.turns == 4 - turns
    assert recognised(picture, turns=4 - turns) == page
    assert flat(" ".join(line.text for line in page.lines)).startswith(f"The Keeper of the Mill {MILL}")


def test_an_empty_page_and_a_tiny_one_hold_nothing():
    assert recognised(np.full((400, 300, 3), 255, np.uint8)) == Page()
    assert recognised(np.zeros((1, 1, 3), np.uint8)).lines == ()


# PDFs


def test_a_scan_is_read_with_headings_pages_and_title(images, tmp_path):
    said: list[tuple[int, int]] = []
    content = scan_of(*images)
    found = read_pdf(
        content, name="a.pdf", max_characters=10**6, recognition=AUTO, on_scan=lambda *one: said.append(one)
    )
    assert said == [(1, 2), (2, 2)]
    assert found.recognised == 2
    assert found.unread == 0
    assert found.title == "The Pool of Tears"
    assert flat(found.text[: found.pages[1]]).endswith(flat(ALICE))
    assert MILL[:60] in flat(found.text[found.pages[1] :])


def test_scanned_pages_among_others_are_read(images):
    found = read_pdf(scan_of(images[0], text=MILL), name="a.pdf", max_characters=10**6, recognition=AUTO)
    assert (found.recognised, found.unread) == (1, 0)
    assert flat(ALICE) in flat(found.text[: found.pages[1]])
    assert flat(found.text[found.pages[1] :]) == flat(MILL)


def test_letters_made_curves_are_read(two_pages):
    import pypdfium2
    from pypdfium2 import raw

    with pypdfium2.PdfDocument(two_pages) as one, pypdfium2.PdfDocument.new() as other:
        source, page = one[0], other.new_page(595, 842)
        text = source.get_textpage()
        x, y = 60.0, 700.0
        for _ in range(30):  # thirty squares in rows stand for letters
            for _ in range(10):
                path = raw.FPDFPageObj_CreateNewPath(x, y)
                for dx, dy in ((4, 0), (4, 6), (0, 6)):
                    raw.FPDFPath_LineTo(path, x + dx, y + dy)
                raw.FPDFPath_Close(path)
                raw.FPDFPath_SetDrawMode(path, raw.FPDF_FILLMODE_ALTERNATE, 0)
                raw.FPDFPage_InsertObject(page, path)
                x += 8
            x, y = 60.0, y - 14
        page.gen_content()
        kept = io.BytesIO()
        other.save(kept)
        text.close()
    with pytest.raises(UnreadableSource, match=r"1 page without text\. They are probably scans"):
        read_pdf(kept.getvalue(), name="a.pdf", max_characters=10**6)
    asked: list[int] = []

    def looked(picture, *, side, **_):
        asked.append(picture.shape[0])
        return Page((Written("recognised here", 10, 10, 90, 22, 10.0, 1.0),), 0.9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("foveal.text.recognised_pages.recognised", looked)
        read = read_pdf(kept.getvalue(), name="a.pdf", max_characters=10**6, recognition=AUTO)
    assert read.text == "recognised here"
    assert asked == [2000]  # pixels of the longer side


def test_without_recognition_a_scan_says_what_to_do(images, monkeypatch, caplog):
    content = scan_of(images[0])
    with pytest.raises(UnreadableSource, match=r"1 page without text.*The setting ocr is off: set it to auto"):
        read_pdf(content, name="a.pdf", max_characters=10**6)
    monkeypatch.setattr(recognition, "NEEDED", ("rapidocr", "no_such_package"))
    with pytest.raises(UnreadableSource, match=r"With text recognition they can be read: pip install 'foveal\[ocr\]'"):
        read_pdf(content, name="a.pdf", max_characters=10**6, recognition=AUTO)
    read_pdf(scan_of(images[0], text=MILL), name="a.pdf", max_characters=10**6, recognition=AUTO)
    assert "1 of its 2 pages are pictures without text" in caplog.text


def test_a_scan_of_nothing_is_said():
    with pytest.raises(UnreadableSource, match="found nothing to read there"):
        read_pdf(scan_of(Image.new("RGB", (600, 800), "white")), name="a.pdf", max_characters=10**6, recognition=AUTO)


# kept pages


def counted(monkeypatch) -> list[float]:
    asked: list[float] = []

    def looked(picture, *, side, **_):
        asked.append(side)
        return Page((Written(f"page {len(asked)}", 1, 2, 3, 4, 5.5, 0.5),), 0.75)

    monkeypatch.setattr("foveal.text.recognised_pages.recognised", looked)
    return asked


def test_pages_are_kept_and_a_broken_off_scan_goes_on(tmp_path, monkeypatch):
    asked = counted(monkeypatch)
    picture = np.zeros((4, 4, 3), np.uint8), 500.0

    def stopped(read: int, _of: int) -> None:
        if read == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        recognised_pages([1, 2, 3], lambda _: picture, key="k", cache=tmp_path, on_page=stopped)
    assert len(asked) == 2
    found = recognised_pages([1, 2, 3], lambda _: picture, key="k", cache=tmp_path)
    assert [page.lines[0].text for page in found.values()] == ["page 1", "page 2", "page 3"]
    assert len(asked) == 3
    assert found == recognised_pages([1, 2, 3], lambda _: picture, key="k", cache=tmp_path)
    assert len(asked) == 3
    recognised_pages([1], lambda _: picture, key="another", cache=tmp_path)
    assert len(asked) == 4


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"sure": 1}', '{"sure": 1, "lines": [["a", "b"]]}'])
def test_a_damaged_page_is_recognised_anew(tmp_path, monkeypatch, damage):
    asked = counted(monkeypatch)
    picture = np.zeros((4, 4, 3), np.uint8), 0.0
    recognised_pages([1], lambda _: picture, key="k", cache=tmp_path)
    (kept,) = tmp_path.rglob("1.json")
    json.loads(kept.read_text())
    kept.write_text(damage)
    assert recognised_pages([1], lambda _: picture, key="k", cache=tmp_path)[1].lines[0].text == "page 2"
    assert asked == [recognition.SIDE, recognition.SIDE]


def test_pages_that_cannot_be_kept_are_read(tmp_path, monkeypatch, caplog):
    counted(monkeypatch)
    (tmp_path / "k").write_text("in the way")
    found = recognised_pages([1, 2], lambda _: (np.zeros((4, 4, 3), np.uint8), 1.0), key="k", cache=tmp_path)
    assert [page.lines[0].text for page in found.values()] == ["page 1", "page 2"]
    assert caplog.text.count("could not be kept") == 1


def test_the_next_page_is_tried_as_the_last_one_lay(monkeypatch):
    tried: list[int] = []

    def looked(picture, *, side, turns, languages, like):
        tried.append(turns)
        return Page((Written("a", 1, 2, 3, 4),) if len(tried) != 2 else (), 0.9, 3 if len(tried) != 2 else 0)

    monkeypatch.setattr("foveal.text.recognised_pages.recognised", looked)
    recognised_pages([1, 2, 3], lambda _: (np.zeros((4, 4, 3), np.uint8), 1.0), key="k", cache=None)
    assert tried == [0, 3, 3]  # an empty page tells nothing


def test_a_page_that_cannot_be_drawn_is_empty():
    assert recognised_pages([7], lambda _: (np.zeros((0, 0, 3), np.uint8), 0.0), key="k", cache=None) == {7: Page()}


# pictures


def png(image: Image.Image, **more: object) -> bytes:
    kept = io.BytesIO()
    image.save(kept, **({"format": "PNG"} | more))
    return kept.getvalue()


def test_a_photograph_is_read_as_the_camera_held_it(images, tmp_path):
    turned = images[1].rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by the camera
    exif.get_ifd(0x8769)[36867] = "2024:05:31 12:30:00"
    path = tmp_path / "IMG_2041.JPG"
    path.write_bytes(png(turned, format="JPEG", quality=85, exif=exif))
    document = read_document(path)
    assert MILL[:80] in flat(document.text)
    assert document.title == "The Keeper of the Mill"
    assert document.metadata["kind"] == "picture"
    assert document.metadata["created"] == "2024-05-31T12:30:00+00:00"
    assert document.metadata["recognised_pages"] == 1


@pytest.mark.parametrize(
    ("line", "title"),
    [("and so it goes on over the page", "IMG"), ("A letter to the mill", "A letter to the mill"), ("W" * 90, "IMG")],
)
def test_a_page_from_the_middle_is_called_by_its_file(tmp_path, monkeypatch, line, title):
    page = Page((Written(line, 1, 2, 300, 14, 10.0, 1.0), Written("More of it.", 1, 16, 300, 28, 10.0, 1.0)), 0.9)
    monkeypatch.setattr("foveal.text.recognised_pages.recognised", lambda *_, **__: page)
    (tmp_path / "IMG.png").write_bytes(png(Image.new("RGB", (80, 60), "white")))
    assert read_document(tmp_path / "IMG.png").title == title


def test_a_tiff_of_two_pages_has_pages(images):
    content = png(images[0], format="TIFF", save_all=True, append_images=[images[1]])
    found = read_picture(content, name="fax.tif", recognition=AUTO)
    assert len(found.pages) == 2
    assert flat(MILL)[:60] in flat(found.text[found.pages[1] :])


@pytest.mark.parametrize("mode", ["RGBA", "L", "1", "P", "CMYK", "I;16"])
def test_modes_of_pictures(mode, monkeypatch):
    """A dark stroke on paper that shows through, or has few greys, arrives as dark upon light."""
    seen: list[np.ndarray] = []

    def looked(picture, *, side, **_):
        seen.append(picture)
        return Page((Written("seen", 1, 2, 30, 14, 10.0, 1.0),), 0.9)

    monkeypatch.setattr("foveal.text.recognised_pages.recognised", looked)
    clear = Image.new("RGBA", (80, 60), (0, 0, 0, 0))
    clear.paste((10, 10, 10, 255), (20, 20, 60, 40))
    paper = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(paper.convert("L")).astype(np.uint16) * 257)
    else:
        image = clear if mode == "RGBA" else paper.convert(mode)
    content = png(image, format="TIFF" if mode in ("CMYK", "I;16") else "PNG")
    assert read_picture(content, name="a", recognition=AUTO).text == "seen"
    (picture,) = seen
    assert picture.shape == (60, 80, 3)
    assert picture[30, 40].max() < 60
    assert picture[5, 5].min() > 200


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"no picture", "is no picture that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "is no picture that can be read"),
        (b"%PDF-1.4", "is no picture that can be read"),
    ],
    ids=["text", "damaged", "pdf"],
)
def test_what_is_no_picture(content, match):
    with pytest.raises(UnreadableSource, match=match):
        read_picture(content, name="a.png", recognition=AUTO)


def seen(monkeypatch, failing: Sequence[int] = ()) -> list[np.ndarray]:
    """The pictures that are given to recognition, which fails on those with these numbers."""
    given: list[np.ndarray] = []

    def looked(picture, *, side, **_):
        given.append(picture)
        if len(given) in failing:
            raise RuntimeError("the models say no")
        return Page((Written(f"page {len(given)}", 1, 2, 300, 14, 10.0, 1.0),), 0.9)

    monkeypatch.setattr("foveal.text.recognised_pages.recognised", looked)
    return given


def tiff_of(count: int) -> bytes:
    pages = [Image.new("RGB", (80, 60), (n, 200, 200)) for n in range(count)]
    return png(pages[0], format="TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")


def strip_of(content: bytes, frame: int) -> tuple[int, int]:
    """Where the points of a frame lie in the file."""
    with Image.open(io.BytesIO(content)) as opened:
        opened.seek(frame)
        (start,), (length,) = opened.tag_v2[273], opened.tag_v2[279]
    return start, start + length


def test_of_a_tiff_with_a_damaged_page_the_others_are_read(tmp_path, monkeypatch, caplog):
    seen(monkeypatch)
    content = bytearray(tiff_of(3))
    start, end = strip_of(bytes(content), 1)
    content[start:end] = b"\xff" * (end - start)
    (tmp_path / "fax.tif").write_bytes(content)
    document = read_document(tmp_path / "fax.tif")
    assert flat(document.text) == "page 1 page 2"
    assert document.pages == (0, document.text.index("page 2"), document.text.index("page 2"))
    assert (document.metadata["recognised_pages"], document.metadata["unread_pages"]) == (2, 1)
    assert "Page 2 cannot be read or found" in caplog.text


def test_of_a_tiff_that_is_cut_short_the_first_pages_are_read(monkeypatch, caplog, recwarn):
    seen(monkeypatch)
    content = tiff_of(4)
    found = read_picture(content[: strip_of(content, 2)[0]], name="fax.tif", recognition=AUTO)
    assert found.text.split("\n")[0] == "page 1"
    assert "fax.tif is damaged behind page" in caplog.text
    assert not recwarn.list


def test_a_page_on_which_recognition_fails_is_left_out(monkeypatch, caplog):
    images = [Image.new("RGB", (80, 60), (n, 0, 0)) for n in range(3)]
    seen(monkeypatch, failing=[2])
    found = read_pdf(scan_of(*images), name="a.pdf", max_characters=10**6, recognition=AUTO)
    assert flat(found.text) == "page 1 page 3"
    assert (found.recognised, found.unread) == (2, 1)
    assert "the models say no" in caplog.text
    assert caplog.text.count("cannot be read or found") == 1  # why, and no more
    seen(monkeypatch, failing=[1])
    with pytest.raises(
        UnreadableSource, match=r"failed on page 1, by a fault of ours \(RuntimeError: the models say no"
    ):
        read_pdf(scan_of(images[0]), name="a.pdf", max_characters=10**6, recognition=AUTO)
    seen(monkeypatch, failing=[1])
    found = read_pdf(scan_of(images[0], text=MILL), name="a.pdf", max_characters=10**6, recognition=AUTO)
    assert flat(found.text) == flat(MILL)
    assert (found.recognised, found.unread) == (0, 1)


def test_pages_of_text_are_read_though_recognition_cannot_be_loaded(monkeypatch, caplog):
    def missing(*_args, **_more) -> Page:
        raise UnreadableSource("Text recognition cannot be loaded (libx is missing).")

    monkeypatch.setattr("foveal.text.recognised_pages.recognised", missing)
    image = Image.new("RGB", (80, 60))
    assert MILL[:40] in read_pdf(scan_of(image, text=MILL), name="a", max_characters=10**6, recognition=AUTO).text
    assert "Scanned pages are left out. Text recognition cannot be loaded (libx" in caplog.text
    assert "found nothing to read" not in caplog.text
    with pytest.raises(UnreadableSource, match="libx"):
        read_pdf(scan_of(image, image), name="a", max_characters=10**6, recognition=AUTO)


def test_a_long_screenshot_is_read_strip_by_strip_and_no_line_is_cut(monkeypatch):
    given = seen(monkeypatch)
    long = np.full((6000, 600, 3), 255, np.uint8)
    for top in range(20, 5960, 40):
        long[top : top + 24, 50:550:3] = 0  # lines of sixteen points between them
    found = read_picture(png(Image.fromarray(long)), name="a.png", recognition=AUTO)
    assert found.pages == ()
    assert sum(len(picture) for picture in given) == 6000
    assert (np.concatenate(given) == long).all()
    assert all((picture[[0, -1]] == 255).all() for picture in given)
    assert len(given) == 7


@pytest.mark.parametrize("shape", [(2000, 20), (20, 2000), (2000, 1)], ids=str)
def test_a_narrow_picture_is_widened_before_the_models_enlarge_it(monkeypatch, shape):
    given: list[tuple[int, ...]] = []

    def engine(picture):
        given.append(picture.shape)
        return SimpleNamespace(txts=None, boxes=None)

    monkeypatch.setattr(recognition, "_engine", lambda: engine)
    assert recognised(np.zeros((*shape, 3), np.uint8)) == Page()
    assert given  # a strip is turned, too, if that may help
    assert all(max(one) / min(one[:2]) == pytest.approx(3, rel=0.01) for one in given)


def test_a_picture_cut_short(images):
    content = png(images[0])
    with pytest.raises(UnreadableSource, match="damaged or cut short"):
        read_picture(content[: len(content) // 2], name="a.png", recognition=AUTO)


def test_a_picture_of_very_many_points(monkeypatch):
    monkeypatch.setattr("foveal.text.pictures.MOST_POINTS", 100)
    with pytest.raises(
        UnreadableSource, match=r"^a\.png is a picture of 80 by 60 points, which is too large\. Save it smaller\.$"
    ):
        read_picture(png(Image.new("RGB", (80, 60))), name="a.png", recognition=AUTO)


def test_a_picture_without_text():
    with pytest.raises(UnreadableSource, match="found nothing to read"):
        read_picture(png(Image.new("RGB", (300, 300), "skyblue")), name="a.png", recognition=AUTO)


def test_pictures_of_a_folder_are_read_only_when_asked_for(tmp_path):
    (tmp_path / "logo.png").write_bytes(png(Image.new("RGB", (9, 9))))
    (tmp_path / "notes.txt").write_text("The mill.")
    found = {Path(one.address).name: one for one in discover([tmp_path])}
    assert isinstance(found["notes.txt"], Source)
    assert isinstance(found["logo.png"], Skipped)
    assert "of a folder they are not read. Name it, or set ocr to all" in found["logo.png"].reason
    every = LoadSettings(recognition=RecognitionSettings(ocr="all"))
    assert {one.kind for one in discover([tmp_path], every) if isinstance(one, Source)} == {"text", "picture"}
    (named,) = discover([tmp_path / "logo.png"])
    assert isinstance(named, Source)
    assert named.kind == "picture"


def test_a_picture_of_a_telephone_is_read(tmp_path, monkeypatch):
    page = Path(__file__).with_name("page.heic").read_bytes()  # drawn by us: two lines
    assert "The keeper of the mill at Orsin" in read_picture(page, name="IMG_2041.HEIC", recognition=AUTO).text
    with pytest.raises(UnreadableSource, match="damaged"):
        read_picture(page[:1500], name="IMG_2041.HEIC", recognition=AUTO)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(UnreadableSource, match=r"is a HEIC picture, which pi-heif reads. Install it: pip install"):
        read_picture(page, name="IMG_2041.HEIC", recognition=AUTO)


@pytest.mark.parametrize("kind", ["avif", "jp2"])
def test_pictures_of_other_kinds_are_read(kind, images):
    packed = io.BytesIO()
    images[0].save(packed, {"avif": "AVIF", "jp2": "JPEG2000"}[kind])
    assert "Alice was beginning" in read_picture(packed.getvalue(), name=f"page.{kind}", recognition=AUTO).text


def test_pictures_of_kinds_that_are_not_read_are_told_what_to_do(tmp_path):
    (tmp_path / "IMG_2041.JXL").write_bytes(bytes(range(256)))
    (found,) = discover([tmp_path / "IMG_2041.JXL"])
    assert "is a picture of a kind not read. Save it as JPEG or PNG" in found.reason


def test_settings(tmp_path):
    settings = Settings.load(tmp_path, environment={"FOVEAL_OCR": "off", "FOVEAL_CACHE": str(tmp_path / "c")})
    found = load_settings(settings).recognition
    assert (found.ocr, found.cache, found.active) == ("off", tmp_path / "c" / "recognised", False)
    (tmp_path / "a.png").write_bytes(png(Image.new("RGB", (9, 9))))
    (source,) = discover([tmp_path / "a.png"])
    with pytest.raises(UnreadableSource, match="The setting ocr is off"):
        next(load(source, load_settings(settings)))
    with pytest.raises(InputError, match="ocr got 'of'; it needs one of auto, all, off"):
        load_settings(Settings.load(tmp_path, environment={"FOVEAL_OCR": "of"}))


def test_recognition_that_cannot_be_loaded(monkeypatch):
    def missing() -> SimpleNamespace:
        raise UnreadableSource("Text recognition cannot be loaded (libx is missing).")

    monkeypatch.setattr(recognition, "_engine", missing)
    with pytest.raises(UnreadableSource, match="libx"):
        recognised(np.zeros((50, 50, 3), np.uint8))


def test_the_models_are_loaded_anew_after_many_pages(monkeypatch):
    loaded: list[int] = []

    @lru_cache(maxsize=1)
    def engine():
        loaded.append(1)
        return lambda _picture: SimpleNamespace(txts=None, boxes=None)

    monkeypatch.setattr(recognition, "_engine", engine)
    monkeypatch.setattr(recognition, "_PAGES", count(1))
    monkeypatch.setattr(recognition, "RENEWED", 4)
    for _ in range(9):
        recognised(np.zeros((50, 50, 3), np.uint8))
    assert len(loaded) == 3


@pytest.mark.parametrize(
    ("text", "part"), [("Über", SMALL), ("ÜBER 12", CAPITAL), ("1987", CAPITAL), ("the MILL", SMALL), ("水车", WIDE)]
)
def test_what_part_of_the_size_a_line_shows(text, part):
    assert em_of(text) == part


def test_keys_tell_files_apart():
    assert key_of(b"one") != key_of(b"other")
    assert len(key_of(b"one")) == 32
