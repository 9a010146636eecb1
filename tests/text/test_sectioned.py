"""Documents with headings to paragraphs with sections: units, topics, and no word of a heading in a paragraph."""

from __future__ import annotations

import json

import pytest
from honest import document
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.text.paragraph_units import GROUP_WORDS, merged, paragraph_units, readable
from foveal.text.sectioned import SectionSettings, group_of, sectioned, sectioned_documents
from foveal.text.topic_tables import TopicTable, plain_heading

SENTENCE = "This paragraph says something about it, and then some more."


def policy(sections, paragraphs=3, title="Terms"):
    """Markdown with a title and sections."""
    parts = [f"# {title}\n"]
    for at, name in enumerate(sections):
        parts.append(f"## {at + 1}. {name}\n")
        parts += [f"{SENTENCE} Number {at}-{n}.\n" for n in range(paragraphs)]
    return "\n".join(parts)


NAMES = ["Definitions", "Payment terms", "Limitation of Liability", "Governing law"]


def test_paragraphs_keep_their_sections_and_no_heading():
    found = sectioned(document("a", policy(NAMES)))
    assert found.masses == [3, 3, 3, 3]
    assert found.sections == (0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)
    assert found.topics[::3] == tuple(plain_heading(name) for name in NAMES)
    assert found.headings[3] == "Terms 2. Payment terms"
    said = " ".join(found.paragraphs)
    assert not any(name in said for name in ("Terms", *NAMES))


def test_the_shallowest_level_with_sections_enough_is_taken():
    text = policy(["One", "Two"]).replace("## 2.", "## 3.\n\n### 2.") + policy(NAMES, title="More").replace(
        "# More", "## More"
    )
    text = "# All\n\n" + "".join(
        f"## Part {n}\n\n### Inner {n}a\n\n{SENTENCE} {n}.1\n\n{SENTENCE} {n}.2\n\n### Inner {n}b\n\n"
        f"{SENTENCE} {n}.3\n\n"
        for n in range(4)
    )
    assert sectioned(document("a", text)).masses == [3, 3, 3, 3]
    assert sectioned(document("a", text), SectionSettings(least_sections=6)).masses == [2, 1] * 4


@pytest.mark.parametrize("text", ["", "No heading.\n\n" * 30, policy(NAMES[:2], 9), policy(NAMES, 2)])
def test_a_document_with_too_little_is_none(text):
    assert sectioned(document("a", text)) is None


def test_only_topics_leaves_out_unknown_headings_and_joins_neighbours_of_one_topic():
    names = ["Definitions", "Whales", "Payment terms", "Billing", "Our liability", "Choice of law", "Severability"]
    found = sectioned(document("a", policy(names)), topics=TopicTable.terms(), only_topics=True)
    assert found.masses == [3, 6, 3, 3, 3]
    assert found.topics[::3] == ("definitions", "payment", "payment", "liability", "governing law", "severability")
    raw = sectioned(document("a", policy(names)), topics=TopicTable.terms())
    assert raw.masses == [3] * 7
    assert raw.topics[3] == ""


def test_boilerplate_and_scraps_are_left_out():
    text = policy(NAMES).replace(f"{SENTENCE} Number 1-1.", "Back to top") + "\n\n".join(
        ["", *["Back to top of this page"] * 3]
    )
    found = sectioned(document("a", text), topics=TopicTable.terms(), only_topics=True)
    assert sum("Back" in one for one in found.paragraphs) == 0


def test_boundaries_lost_by_merging_are_counted():
    text = (
        policy(NAMES)
        .replace(f"{SENTENCE} Number 0-2.", "You agree to the following:")
        .replace(f"{SENTENCE} Number 1-0.", "- to pay in time and in full")
    )
    found = sectioned(document("a", text), SectionSettings(least_paragraphs=8))
    assert found.lost == 0  # the section has more paragraphs
    assert found.masses == [3, 2, 3, 3]
    assert found.paragraphs[2] == "You agree to the following:\n- to pay in time and in full"
    alone = policy(["One", "Two", "Three", "Four", "Five"], 3).replace(f"{SENTENCE} Number 0-2.", "As follows:")
    for n in range(3):
        alone = alone.replace(f"{SENTENCE} Number 1-{n}.", f"- an item {n}")
    assert sectioned(document("a", alone)).lost == 1


def test_groups_come_from_metadata_the_site_or_the_folder():
    with_company = document("a", "x", metadata={"company": "Acme"})
    assert group_of(with_company, "company") == "Acme"
    with pytest.raises(InputError, match="no 'author' in its metadata"):
        group_of(with_company, "author")
    assert group_of(document("a", "x", url="https://acme.example/terms"), None) == "acme.example"
    assert group_of(document("a", "x", metadata={"source": "file:///data/acme/terms.md"}), None) == "acme"


def test_folders_and_jsonl_are_read(tmp_path):
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "terms.md").write_text(policy(NAMES))
    (tmp_path / "acme" / "empty.md").write_text("Nothing here.")
    (tmp_path / "acme" / "page.html").write_text(
        "<html><body><article>"
        + "".join(
            f"<h2>{name}</h2>" + f"<p>{SENTENCE}</p><p>{SENTENCE} More.</p><p>{SENTENCE} Most.</p>" for name in NAMES
        )
        + "</article></body></html>"
    )
    (tmp_path / "more.jsonl").write_text(json.dumps({"_id": "a", "text": policy(NAMES), "metadata": {"company": "B"}}))
    found = list(sectioned_documents([tmp_path]))
    assert {one.group for one in found} == {"acme", "more"}
    by_company = list(sectioned_documents([tmp_path / "more.jsonl"], SectionSettings(group="company")))
    assert [one.group for one in by_company] == ["B"]


def test_items_join_what_introduces_them_but_clauses_stay():
    short = ["You may not:", "- sell it", "- break it", "Other text stands here.", "1. A clause."]
    assert merged(short) == [(0, 3), (3, 5)]  # the last is a scrap
    clause = "- " + "word " * 70
    assert merged(["The parties to this contract agree:", clause, clause]) == [(0, 1), (1, 2), (2, 3)]
    many = ["You may not:", *[f"- {'word ' * 50}" for _ in range(6)]]
    assert merged(many)[0] == (0, 4)
    assert sum(len(one.split()) for one in many[:4]) <= GROUP_WORDS
    assert merged(["1. First clause of the contract.", "2. Second clause of the contract."]) == [(0, 1), (1, 2)]


@given(
    st.lists(
        st.sampled_from(["You may not:", "- an item", "x", "A longer paragraph of text.", "", "1. one"]), max_size=12
    )
)
def test_groups_cover_all_paragraphs_in_order(texts):
    groups = merged(texts)
    assert [at for first, last in groups for at in range(first, last)] == list(range(len(texts)))


@given(st.text(max_size=200))
def test_units_cover_the_text(text):
    units = paragraph_units(text)
    assert "".join(text[start:end] for start, end in units) == text


def test_what_is_read_has_no_marks():
    assert (
        readable("See our **[Terms](https://a.example/x_y)** and\n_policies_, snake_case.")
        == "See our Terms and policies, snake_case."
    )
    assert readable("1\\. About <b>us</b>") == "1. About us"


def test_a_table_finds_headings_whole_or_inside():
    table = TopicTable.terms()
    assert table.of("12. LIMITATION OF LIABILITY") == "liability"
    assert table.of("Disclaimer of warranties and the like") == "disclaimer of warranties"
    assert table.of("Whales") is None
    assert table.of("1.2.3") is None
    assert table.of_path(["Payment", "Whales"]) == "payment"
    assert table.of_path(["Payment", "Taxes", "Whales"]) == "taxes"
    assert table.of_path(["Sea", "Payment", "Taxes"], highest=True) == "payment"
    assert len(table.topics) > 60


def test_a_table_of_ones_own(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps({"animals": ["Whales", "Sea lions"], "plants": ["Trees"]}))
    table = TopicTable.read(tmp_path / "t.json")
    assert table.of("The sea lions of Ulm") == "animals"
    for wrong in ("[]", "{", '{"a": "b"}', '{"a": []}'):
        (tmp_path / "t.json").write_text(wrong)
        with pytest.raises(InputError, match=r"topics"):
            TopicTable.read(tmp_path / "t.json")
    with pytest.raises(InputError, match="at least 2"):
        SectionSettings(least_sections=1)


def test_only_the_first_paragraphs_of_a_very_long_document_count():
    found = sectioned(document("a", policy(NAMES, 30)), SectionSettings(most_paragraphs=100))
    assert found.masses == [30, 30, 30, 10]
    assert found.lost == 0
    with pytest.raises(InputError, match="no document would be left"):
        SectionSettings(most_paragraphs=5)
