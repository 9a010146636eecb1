"""Questions in scripts that part no words: they are found, marked, counted and skimmed like others."""

from __future__ import annotations

import pytest

from foveal.evaluation.scripts import pieces
from foveal.library import Library
from foveal.papers.paper_search import TYPED_WEIGHT, dense_weight
from foveal.reading.skim import content_words, promising
from foveal.research.scope import clarifying
from foveal.retrieval.terms import terms
from foveal.types import Document
from foveal.web.passage_marks import marked_words

ASKED = {  # question -> the passage that answers it, what of it is marked at least, and a passage that does not
    "th": ("โรงสีน้ำตั้งอยู่ที่ไหน", "ในหมู่บ้านนี้ โรงสีน้ำเก่าตั้งอยู่ริมแม่น้ำเจ้าพระยา", "โรงสีน้ำ", "แมวสองตัวนอนหลับบนหลังคาบ้านสีแดง"),
    "lo": ("ໂຮງສີຢູ່ໃສ", "ໃນບ້ານນີ້ ໂຮງສີເກົ່າຢູ່ແຄມແມ່ນໍ້າຂອງ", "ໂຮງສີ", "ແມວສອງໂຕນອນຫຼັບຢູ່ເທິງຫຼັງຄາ"),
    "km": ("ម៉ាស៊ីនកិនស្រូវនៅឯណា", "ក្នុងភូមិនេះ ម៉ាស៊ីនកិនស្រូវចាស់នៅមាត់ទន្លេ", "ម៉ាស៊ីនកិនស្រូវ", "ឆ្មាពីរក្បាលគេងលើដំបូល"),
    "my": ("ရေစက်ဘယ်မှာရှိလဲ", "ဤရွာတွင် ရေစက်ဟောင်းသည် မြစ်ကမ်းပေါ်၌ရှိသည်", "ရေစက်", "ကြောင်နှစ်ကောင်အိပ်နေသည်"),
    "zh": ("水磨坊在哪里？", "在这个村子里，旧水磨坊在河边。", "水磨坊", "两只猫睡在红色的屋顶上。"),
    "ja": ("水車小屋はどこですか", "この村には、古い水車小屋が川のそばにある。", "水車小屋", "猫が赤い屋根で眠る。"),
}


@pytest.mark.parametrize("language", ASKED)
def test_the_passage_is_found_and_its_words_are_marked_whole(language, tmp_path):
    question, right, word, wrong = ASKED[language]
    library = Library.open(tmp_path, encoder="none")
    library.add_documents(Document.of(f"test:{n}", text, "t") for n, text in enumerate((wrong, right)))
    hits = library.search(question, 2)
    assert hits[0].passage.text == right
    marked = [one.text for one in marked_words(right, question) if one.marked]
    assert any(word in one for one in marked)  # one mark, and not the first two letters of it
    assert "".join(one.text for one in marked_words(right, question)) == right
    assert len("".join(one.text for one in marked_words(wrong, question) if one.marked)) < len(word)


@pytest.mark.parametrize("language", ASKED)
def test_a_question_is_several_words_and_a_text_is_skimmed_for_them(language):
    question, right, _, wrong = ASKED[language]
    assert len(set(terms(question))) >= 3
    assert clarifying(None, question, plain=True) == []  # a question that says enough is not asked back
    assert content_words(question) & content_words(right)
    assert promising([wrong, right, wrong], [question], effort=0.3) == [1]


def test_a_paragraph_in_thai_is_no_typed_word():
    assert dense_weight(ASKED["th"][1]) != TYPED_WEIGHT
    assert dense_weight("โรงสี") == TYPED_WEIGHT


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("mills", ["mills"]),
        ("mühle", ["mühle"]),
        ("東", ["東"]),
        ("東京都", ["東京", "京都"]),
        ("กินข้าว", ["กินข้", "นข้า", "ข้าว"]),
        ("มือ", ["มือ"]),
        ("iphoneสีดำ", ["iphone", "สีดำ"]),
        ("తెలుగు", ["తెలుగు"]),
    ],
)
def test_pieces_of_a_run(run, expected):
    assert pieces(run) == expected
