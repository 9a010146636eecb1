"""Lines of Chinese and Japanese are put together; lines of other scripts, and short ones, stay."""

import pytest

from foveal.text.pdf_lines import joined
from foveal.text.pdf_title import first_line
from foveal.text.unspaced import goes_on, usual_width, width

CHINESE = (
    "从前有一只狐狸，他走进了一座果园，看见葡萄藤上挂着一串串熟透的葡\n"
    "萄。他跳了又跳，怎么也够不着，只好一边走一边说：“这些葡萄一定是\n"
    "酸的。”后来人们这样说话。\n"
    "第二天早晨，守门人发现了篱笆上的洞，于是他用Python 3.11写了一个程\n"
    "序来记录每天来访的动物。"
)


def test_words_that_a_line_cuts_are_whole_and_paragraphs_apart():
    text, _ = joined([CHINESE])
    first, second = text.split("\n\n")
    assert "熟透的葡萄。他跳了" in first
    assert "一定是酸的。”后来人们这样说话。" in first
    assert second == "第二天早晨，守门人发现了篱笆上的洞，于是他用Python 3.11写了一个程序来记录每天来访的动物。"


def test_a_word_that_a_page_cuts_is_whole():
    before, after = CHINESE.split("\n", 1)
    text, pages = joined([before, after])
    assert "熟透的葡萄。他跳了" in text
    assert text[pages[1] :].startswith("萄。")


def test_verse_and_lists_keep_their_lines():
    verse = "床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡。"
    text, _ = joined([CHINESE + "\n\n" + verse])
    assert "床前明月光，\n疑是地上霜。" in text.replace("\n\n", "\n")


@pytest.mark.parametrize(
    "text",
    [
        "“Who goes there?” he called into the dark of the house.”\n“Nobody,” said the keeper, and closed the gate.",
        "옛날에 여우 한 마리가 과수원에 들어가 포도가 매달려 있는 것\n을 보았습니다. 닿지 않았습니다.",
        "กาลครั้งหนึ่งมีสุนัขจิ้งจอกตัวหนึ่งเดินเข้าไปในสวนและเห็นพวงองุ่น\nสุกห้อยอยู่บนเถา",
        "Однажды лиса зашла в сад и увидела на лозе спелые гроздья\nвинограда. Она прыгала снова и снова.",
    ],
)
def test_other_scripts_keep_their_lines(text):
    assert joined([text])[0] == text


def test_japanese():
    japanese = "昔々、一匹の狐が果樹園に入り、蔓に熟した葡萄が下がっているのを見"
    assert joined([f"{japanese}\nました。"])[0] == f"{japanese}ました。"


def test_ideographs_are_as_wide_as_two_letters():
    assert width("葡萄 ab") == 7
    usual = usual_width(["葡萄" * 8] * 4)
    assert goes_on("葡萄" * 8, "葡萄", usual)
    assert not goes_on("葡萄葡萄", "葡萄", usual)
    assert usual_width(["No such line."]) == 0


def test_narrow_lines_are_entries_of_lists_and_verses():
    for entries in (
        ["北京大学人工智能研究院", "清华大学计算机科学系", "浙江大学计算机科学院"],
        ["第一章　绪论与研究背景", "第二章　机器学习的原理", "第三章　神经网络的结构"],
        ["申请人姓名：", "申请人住址：", "联系电话号："],
    ):
        assert "".join(entries) not in joined(["\n".join(entries)])[0]
        assert usual_width(entries) == 0


def test_rows_are_not_as_wide_as_the_text_around_them():
    text, row = "葡萄" * 19, "江苏 南京 8475万 位于中国东部的一个省份"
    assert not goes_on(row, row, usual_width([text, text, row, row, row, row]))


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("从前有一只狐狸走进果园，看见葡萄。" * 5, "从前有一只狐狸走进果园，看见葡萄"),
        ("从前有一只狐狸走进果园，看见葡萄，" * 5, ("从前有一只狐狸走进果园，看见葡萄，" * 5)[:59] + "…"),
        ("从前有一只狐狸走进果园。看见葡萄", "从前有一只狐狸走进果园。看见葡萄"),
        ("The fox went into the garden. It saw " * 3, ("The fox went into the garden. It saw " * 3).strip()),
    ],
)
def test_of_a_paragraph_without_blanks_the_first_sentence_is_the_title(line, title):
    """It is one line of its PDF, and was the title as a whole."""
    assert first_line(line + "\nMore.") == title
