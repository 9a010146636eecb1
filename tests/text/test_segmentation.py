"""The segmenters by layout: windows, headings, sections; exact small cases, and what must hold of any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.text import windows
from foveal.text.headings import find_headings
from foveal.text.segmentation import FixedSegmenter, HeadingSegmenter, limited
from foveal.text.texttiling import TextTiling
from foveal.text.units import words
from foveal.types import Document

PIECES = [
    *("# A\n", "## B\n\n", "Title\n=====\n", "CHAPTER 4\n\n", "1.2 Some Title\n\n", "**Bold**\n\n", "LOUD WORDS\n\n"),
    *("```\n", "---\n", "word ", "Dog. ", "Cat! ", "\n", "\n\n", "- item\n", "漢字。", "第三章 总则\n\n", "...", "é"),
    *("\r\n", "\t", " | ", "-" * 15, "x" * 70),
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
LIMITS = st.integers(1, 12).flatmap(lambda most: st.tuples(st.just(most), st.integers(0, most)))


def document(text):
    return Document.of("test:segmentation", text, "a title")


def texts_of(segmenter, text):
    return [passage.text for passage in segmenter.segment(document(text))]


def check_passages(passages, text):
    """In order, without gaps, exactly the text, of this document."""
    assert all(passage.text == text[passage.span.start : passage.span.end] != "" for passage in passages)
    assert {passage.span.document_id for passage in passages} <= {document(text).id}
    edges = [0, *(passage.span.end for passage in passages)]
    assert all(passage.span.start <= edge for passage, edge in zip(passages, edges, strict=False))
    assert edges == sorted(set(edges))
    assert edges[-1] == len(text)


def sentence(number, length=8):
    return f"Sentence {number} " + "has words " * ((length - 4) // 2) + "here. "


# --- fixed windows ---


def test_windows_end_at_paragraphs_then_sentences_then_words():
    segmenter = FixedSegmenter(max_tokens=6)
    assert texts_of(segmenter, "One two three.\n\nFour five six.") == ["One two three.\n\n", "Four five six."]
    assert texts_of(segmenter, "One two three. Four five six.") == ["One two three. ", "Four five six."]
    assert texts_of(segmenter, "one two three four five six seven") == ["one two three four five six ", "seven"]
    assert texts_of(segmenter, "漢字漢字漢字漢字") == ["漢字漢字漢字", "漢字"]
    assert texts_of(segmenter, "x" * 200) == ["x" * 192, "x" * 8]


@pytest.mark.parametrize("overlap", [0, 20])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_logs_and_programs_are_cut_between_their_lines(end, overlap):
    lines = [f"{n},Person {n},{1900 + n % 99},remark number {n} on eyes{end}" for n in range(200)]
    for passage in FixedSegmenter(max_tokens=50, overlap=overlap).segment(document("".join(lines))):
        assert passage.text in "".join(lines)
        assert passage.text.splitlines(keepends=True)[0] in lines
        assert passage.text.splitlines(keepends=True)[-1] in lines


def test_a_long_sentence_is_not_cut_while_the_window_before_it_can_end_earlier():
    short, long = "One two three four five. ", "And " + "so on " * 5 + "it goes."
    assert texts_of(FixedSegmenter(max_tokens=16), short + long) == [short, long]
    even = HeadingSegmenter(max_tokens=16, min_tokens=0)
    assert texts_of(even, short + long + " " + long) == [short, long + " ", long]


def test_a_sentence_that_is_too_long_is_cut_behind_a_comma_and_not_at_the_end_of_its_lines():
    lines = "the whale of the north and of the south of the whole of the world\nswims on; the ship of the men and of"
    first, _ = texts_of(FixedSegmenter(max_tokens=24), f"{lines}\nthe sea goes on, and on, and on until it is late")
    assert first.endswith("world\nswims on; ")


def test_a_line_that_begins_with_a_name_is_prose_among_lines_of_prose():
    lines = [f"{opening} of the north and of the south of the whole of the world" for opening in "abcd"]
    lines.insert(2, "Ahab of the north, and of the south of the whole of the world")
    first, *_ = texts_of(FixedSegmenter(max_tokens=40), "\n".join(lines))
    assert first.endswith("Ahab of the north, ")


def test_a_window_does_not_end_where_a_sentence_goes_on_behind_a_blank_line():
    text = "Some text stands here. The code\n\nx = 1\n\nis what it is, and so on it goes on."
    assert texts_of(FixedSegmenter(max_tokens=14), text)[0] == "Some text stands here. "


def test_a_window_does_not_end_at_a_paragraph_that_leaves_it_nearly_empty():
    text = "A.\n\n" + " ".join(["word"] * 20)
    assert len(words(texts_of(FixedSegmenter(max_tokens=12), text)[0])) == 12


def test_a_window_does_not_end_after_what_leads_on():
    text = "Some text stands here.\n\nEither of:\n\none two three four five"
    assert texts_of(FixedSegmenter(max_tokens=10), text) == [
        "Some text stands here.\n\n",
        "Either of:\n\none two three four five",
    ]


def test_blank_ends_belong_to_a_neighbour_and_indentation_to_its_line():
    assert texts_of(FixedSegmenter(max_tokens=2), "\n \na b\n\n  c d \n\n") == ["\n \na b\n\n", "  c d \n\n"]
    assert texts_of(FixedSegmenter(max_tokens=2), " \n ") == [" \n "]
    assert texts_of(FixedSegmenter(), "") == []


def test_windows_overlap_from_a_sentence_or_word():
    text = "One two. Three four. Five six. Seven eight."
    assert texts_of(FixedSegmenter(max_tokens=6, overlap=3), text) == [
        "One two. Three four. ",
        "Three four. Five six. ",
        "Five six. Seven eight.",
    ]
    assert texts_of(FixedSegmenter(max_tokens=4, overlap=2), "a b c d e f") == ["a b c d ", "c d e f"]


def test_a_long_text_is_cut_the_same_as_a_short_one():
    text = "".join(f"Paragraph {n} " + sentence(n, 14) * 3 + "\n\n" for n in range(2000))  # several blocks
    passages = FixedSegmenter(max_tokens=60).segment(document(text))
    check_passages(passages, text)
    assert {len(words(passage.text)) for passage in passages} <= set(range(40, 61))
    assert all(passage.text.startswith("Paragraph") for passage in passages)


def test_a_long_text_without_any_space_is_cut():
    passages = FixedSegmenter(max_tokens=100).segment(document("x" * 300_000))
    assert {len(passage.text) for passage in passages[:-1]} == {3200}
    check_passages(passages, "x" * 300_000)


def test_tokens_that_share_characters_stay_together_and_a_huge_token_counts_as_several():
    def bytes_of(text):
        return [(at, at + 1) for at, character in enumerate(text) for _ in character.encode()]

    assert texts_of(FixedSegmenter(max_tokens=4, token_offsets=bytes_of), "é🙂éaa") == ["é", "🙂", "éaa"]
    assert texts_of(FixedSegmenter(max_tokens=3, token_offsets=bytes_of), "🙂🙂") == ["🙂", "🙂"]
    one = FixedSegmenter(max_tokens=2, token_offsets=lambda text: [(0, len(text))])
    assert [len(text) for text in texts_of(one, "x" * 200)] == [64, 64, 64, 8]


@given(TEXTS, st.integers(1, 12).flatmap(lambda most: st.tuples(st.just(most), st.integers(0, most - 1))))
def test_windows_cover_any_text_within_the_limit(text, sizes):
    segmenter = FixedSegmenter(max_tokens=sizes[0], overlap=sizes[1])
    passages = segmenter.segment(document(text))
    check_passages(passages, text)
    assert all(len(words(passage.text)) <= sizes[0] for passage in passages)
    assert passages == segmenter.segment(document(text))
    if not sizes[1]:
        assert "".join(passage.text for passage in passages) == text


@pytest.mark.parametrize("settings", [{"max_tokens": 0}, {"max_tokens": 5, "overlap": 5}, {"overlap": -1}])
def test_impossible_windows_are_refused(settings):
    with pytest.raises(InputError, match="overlap"):
        FixedSegmenter(**settings)


# --- headings ---

BODY = "Some text that says something in a whole sentence.\n\nAnd more of it.\n\n"


def outline(text):
    return [(heading.level, heading.title) for heading in find_headings(text)]


def test_markdown_headings():
    text = (
        "---\ntitle: Front matter\n---\n# One #\n\ntext\n\nTwo\n---\ntext\n```\n# code\n```\n"
        '~~~\n# code, too\n~~~\n### [Three](http://a.b) `x` {#id}\n<h2 align="center">Four</h2>\n#five\n####### six\n'
        "1\\. *Seven*\n===\n\n| a |\n---\n\nlong paragraph\nof two lines\n---\n"
    )
    assert outline(text) == [(1, "One"), (2, "Two"), (3, "Three x"), (2, "Four")]


def test_a_fence_that_nothing_closes_hides_no_code_behind_it():
    text = f"Intro\n\n~~~~~\n\n{BODY}```sh\n# code\n```\n\n# One\n\n{BODY}```\n# more code\n```\n\n## Two\n\n{BODY}"
    assert outline(text) == [(1, "One"), (2, "Two")]


def test_bold_lines_stand_below_marked_headings():
    text = f"# Top\n\n## Sub\n\n{BODY}**First**\n\ntext **not this**\n\n**a** and **b**\n\n## Sub 2\n\n{BODY}"
    text += f"**1. Second**\n\n{BODY}**Third:**\n\ntext\n"
    assert outline(text) == [(1, "Top"), (2, "Sub"), (8, "First"), (2, "Sub 2"), (7, "1. Second"), (8, "Third:")]


def test_where_few_headings_are_marked_others_are_guessed_below_them():
    text = "# Terms\n\n" + "".join(f"{n}\\. Part {'ABC'[n - 1]}\n\n{BODY}" for n in (1, 2, 3))
    assert outline(text) == [(1, "Terms"), (7, "1. Part A"), (7, "2. Part B"), (7, "3. Part C")]


def test_underlines_of_restructured_text_take_levels_by_appearance():
    text = "=====\nTitle\n=====\n\nText.\n\nPart\n****\n\nText.\n\nSection\n-------\n\nText.\n\nPart 2\n******\n"
    assert outline(text) == [(1, "Title"), (2, "Part"), (3, "Section"), (2, "Part 2")]


def test_wiki_titles():
    assert outline(" = Robert = \n\ntext\n\n = = Career = = \n\ntext = x\n\n== Films ==\n") == [
        (1, "Robert"),
        (2, "Career"),
        (2, "Films"),
    ]


@pytest.mark.parametrize(
    "titles",
    [
        ["CHAPTER 1. Loomings.", "CHAPTER 2. The Carpet-Bag.", "CHAPTER 3. A Bosom Friend."],
        ["Article I", "Article II", "Article III"],
        ["Section 1. Scope", "Section 2 - Terms", "Section 3."],
        ["PART A", "PART B", "PART C"],
        ["1 Introduction", "1.1 What Is New", "2. Methods"],
        ["I. Introduction", "II. Methods", "III. Results"],
        ["**Introduction**", "**Methods**", "**Results**"],
        ["DEFINITIONS", "FEES AND TAXES", "TERMINATION"],
        ["第一章 总则", "第二章 权利", "第三章 附则"],
        ["一、总则", "二、权利", "三、附则"],
        ["Глава 1", "Глава 2", "Глава 3"],
        ["§ 1 Zweck", "§ 2 Begriffe", "§ 3 Kosten"],
        ["Abstract", "1. Introduction", "References"],
        ["Psalms 1", "Psalms 2", "Psalms 3"],
        ["1 Samuel 1", "1 Samuel 2", "1 Samuel 3", "2 Samuel 1", "Obadiah 1"],
        ["Psalms 1", "Psalms 2", "Map 1", "Psalms 4", "Psalms 5"],  # one is missing, one is a stray
        ["Day 1", "Night 1", "Day 2", "Night 2", "Day 3", "Night 3"],
        ["1. You may copy the work in any medium as", "2. You may change your copy of it", "3. You may give it on"],
    ],
)
def test_plain_headings_are_guessed(titles):
    found = [title for _, title in outline("".join(f"{title}\n\n{BODY}" for title in titles))]
    assert found == [title.strip("*") for title in titles]


def test_levels_of_guessed_headings():
    names = ["PART I", "CHAPTER 1", "CHAPTER 2", "1. One", "1.1 Two", "PART II", "CHAPTER 3"]
    levels = [level for level, _ in outline("".join(f"{name}\n\n{BODY}" for name in names))]
    assert levels == [1, 2, 2, 3, 4, 1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "1. Buy Milk\n\n2. Buy Bread\n\n3. Buy Eggs\n\n4. Go Home\n\n" + BODY * 4,  # a list
        "CHAPTER 1\n\nCHAPTER 2\n\nCHAPTER 3\n\nCHAPTER 4\n\n" + BODY * 4,  # a table of contents
        "LOUD\n\n" + BODY * 4,  # two segments
        "ONE\n\nbody\n\nTWO\n\n\nTHREE\n\nFOUR\n\nFIVE\n\nx\n",  # more headings than text
        f"{BODY}the rules of\nSection 4 of the Act apply to this.\n\n" * 4,  # wrapped text
        "KETOS,    GREEK.\n\nCETUS,    LATIN.\n\nHVALT,    DANISH.\n\n" + BODY * 3,  # columns
        f"ALL OF A DOCUMENT\n\n{BODY * 20}" * 3,  # segments too long to trust capitals
        "".join(f"Page {n}\n\n{BODY}" for n in range(1, 9)),  # where pages end
        "".join(f"Vienna {year}\n\n{BODY}" for year in (1848, 1866, 1914, 1918)),  # numbers that count nothing
        "".join(f"  1 Now the sower\nsoweth {n}\n  2 And another\ntime\n\n{BODY}" for n in range(9)),  # verses
    ],
)
def test_what_only_looks_like_headings_is_none(text):
    assert outline(text) == []


def test_chapters_may_be_long():
    assert len(outline("".join(f"CHAPTER {n}\n\n{BODY * 30}" for n in (1, 2, 3)))) == 3


def test_a_title_on_the_next_line_belongs_to_its_number():
    text = "".join(f"Article {n}\nSubject matter\n\n{BODY}" for n in (1, 2, 3))
    assert outline(text)[0] == (1, "Article 1 Subject matter")


# --- sections ---


def test_a_passage_is_a_section_with_the_path_of_its_headings():
    text = f"Before.\n\n# A\n\n{sentence(1)}\n\n## B\n\n{sentence(2)}\n\n# C\n\n{sentence(3)}"
    passages = HeadingSegmenter(max_tokens=50, min_tokens=2).segment(document(text))
    assert [passage.heading for passage in passages] == [None, "A", "A > B", "C"]
    assert [passage.text[:3] for passage in passages] == ["Bef", "# A", "## ", "# C"]


def test_a_heading_without_text_stays_with_what_follows():
    text = f"# A\n\n## B\n\n{sentence(1)}\n\n## C\n\n{sentence(2)}"
    passages = HeadingSegmenter(max_tokens=50, min_tokens=2).segment(document(text))
    assert [(passage.heading, passage.text[:3]) for passage in passages] == [("A > B", "# A"), ("A > C", "## ")]


def test_a_heading_is_never_cut_from_its_text():
    text = "# A\n\n## B\n\n" + " ".join(["word"] * 30)
    assert texts_of(HeadingSegmenter(max_tokens=24, min_tokens=0), text)[0].startswith("# A\n\n## B\n\nword")


def test_long_sections_are_cut_evenly_and_keep_their_heading():
    text = "# A\n\n" + "".join(sentence(n, 10) for n in range(11))
    passages = HeadingSegmenter(max_tokens=100, min_tokens=10).segment(document(text))
    assert [passage.heading for passage in passages] == ["A", "A"]
    assert all(50 <= len(words(passage.text)) <= 75 for passage in passages)


def test_a_small_section_joins_its_nearest_kin():
    big = sentence(0, 20)
    text = f"# A\n\n{big}\n\n## A1\n\n{big}\n\n## A2\n\nTiny.\n\n# B\n\n{big}\n\n# C\n\nTiny, too.\n\n## C1\n\n{big}"
    passages = HeadingSegmenter(max_tokens=60, min_tokens=10).segment(document(text))
    assert [passage.heading for passage in passages] == ["A", "A", "B", "C"]
    assert "## A2" in passages[1].text  # with its sister, not with the next chapter
    assert passages[3].text.startswith("# C")  # with its child, not with the chapter before


@pytest.mark.parametrize(("before", "after", "heading"), [(10, 20, "A"), (20, 10, "B"), (10, 10, "B")])
def test_a_small_section_without_kin_joins_the_smaller_neighbour(before, after, heading):
    text = f"# A\n\n{sentence(0, before)}\n\n# B\n\nTiny.\n\n# C\n\n{sentence(1, after)}"
    passages = HeadingSegmenter(max_tokens=60, min_tokens=6).segment(document(text))
    (holding,) = [passage for passage in passages if "Tiny." in passage.text]
    assert (len(passages), holding.heading) == (2, heading)


def test_short_passages_are_joined_where_nothing_limits_their_length():
    text = "One two three. Four five. Six seven eight nine ten."
    starts = [0, 15, 26]
    assert [one.text for one in limited(document(text), starts, None, None, words)] == [
        "One two three. ", "Four five. ", "Six seven eight nine ten.",
    ]  # fmt: skip
    joined = [one.text for one in limited(document(text), starts, None, 4, words)]
    assert joined == ["One two three. Four five. ", "Six seven eight nine ten."]


CODE = "```sh\n" + "".join(f"mill --step {n} --wheel 'a. b'\n\n" for n in range(8)) + "```\n"


@pytest.mark.parametrize("before", [2, 6, 10, 14, 18])
@pytest.mark.parametrize("kind", [HeadingSegmenter, FixedSegmenter])
def test_fenced_code_that_fits_is_not_cut_and_what_leads_into_it_stays_with_it(kind, before):
    words_before, words_after = sentence(0, 5 * before), sentence(1, 60)
    text = f"{words_before}\n\nRun this:\n\n{CODE}\n{words_after}\n\n{words_after}"
    found = texts_of(kind(max_tokens=130), text)
    check_passages(kind(max_tokens=130).segment(document(text)), text)
    assert [CODE in one for one in found].count(True) == 1
    assert all("Run this:" in one for one in found if CODE in one)
    assert all(len(words(one)) <= 130 for one in found)


def test_fenced_code_that_does_not_fit_is_cut_between_its_lines():
    found = texts_of(HeadingSegmenter(max_tokens=60, min_tokens=5), f"{sentence(0, 20)}\n\n{CODE}\n{sentence(1, 40)}")
    assert len([one for one in found if "mill" in one]) > 1
    assert all(one.endswith("\n") for one in found[:-1])


@pytest.mark.parametrize(("lines", "limit"), [(3, 41), (6, 77), (11, 38)])
def test_no_passage_begins_with_the_fence_that_ends_code(lines, limit):
    code = "".join(f"mill = wheel({n}, lamp={n})  # {n}\n" for n in range(lines))
    found = texts_of(HeadingSegmenter(max_tokens=limit, min_tokens=5), f"```\n{code}```\n\n{sentence(0)} {sentence(1)}")
    assert len(found) > 1
    assert not [one for one in found if one.startswith("```\n\n")]


def test_no_passage_begins_in_code_where_a_topic_does():
    text = f"{sentence(0)}\n\n{CODE}\n{sentence(1)}"
    starts = [0, text.index("mill --step 3"), text.index("Sentence 1")]
    for most in (None, 400):
        found = [one.text for one in limited(document(text), starts, most, None, words)]
        assert found == [text[: starts[2]], text[starts[2] :]]


def test_a_text_is_cut_the_same_in_blocks_of_any_size(monkeypatch):
    text = "".join(f"{sentence(n, 5 + n % 9)}{'  ' if n % 4 else chr(10) * 2}" for n in range(120))
    text = text.replace("Sentence 9", "\n```\nmake it\n\nrun it so\n```\nSentence 9")
    whole = {overlap: texts_of(FixedSegmenter(max_tokens=30, overlap=overlap), text) for overlap in (0, 7)}
    for size in (300, 701, 1000):
        monkeypatch.setattr(windows, "BLOCK", size)
        for overlap, expected in whole.items():
            assert texts_of(FixedSegmenter(max_tokens=30, overlap=overlap), text) == expected


def test_nothing_is_joined_beyond_the_limit():
    big = sentence(0, 20)
    text = f"# A\n\n{big}\n\n# B\n\nTiny.\n\n# C\n\n{big}"
    assert len(texts_of(HeadingSegmenter(max_tokens=23, min_tokens=10), text)) == 3


def test_a_rule_without_words_stays_with_what_it_closes():
    first, last = "Some six words of this text.\n\n", "More words of a text that goes on."
    rule = "-" * 12 + "\n\n"
    assert texts_of(HeadingSegmenter(max_tokens=12, min_tokens=0), first + rule + last) == [first + rule, last]


@given(TEXTS, LIMITS)
def test_sections_cover_any_text_within_the_limits(text, limits):
    segmenter = HeadingSegmenter(max_tokens=limits[0], min_tokens=limits[1])
    passages = segmenter.segment(document(text))
    check_passages(passages, text)
    assert "".join(passage.text for passage in passages) == text
    assert passages == segmenter.segment(document(text))
    for passage in passages:
        last = max((at for at, character in enumerate(passage.text, 1) if character.isalnum()), default=0)
        assert len(words(passage.text[:last])) <= limits[0]
        assert len(words(passage.text)) <= 2 * limits[0]  # beyond its last word a passage may hold a table's rule


@pytest.mark.parametrize("settings", [{"max_tokens": 0}, {"min_tokens": -1}, {"max_tokens": 5, "min_tokens": 6}])
@pytest.mark.parametrize("kind", [HeadingSegmenter, TextTiling])
def test_impossible_limits_are_refused(kind, settings):
    with pytest.raises(InputError, match="max_tokens"):
        kind(**{"max_tokens": 50, "min_tokens": 1, **settings})
