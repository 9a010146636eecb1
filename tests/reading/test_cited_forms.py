"""Citations in the forms that large models write, and what only looks like one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reading.speakers import Scripted

from foveal.models.chat import Messages
from foveal.models.chat_requests import ContextExceeded
from foveal.reading.answer_marks import claims_of, folded, unmarked
from foveal.reading.answering import Evidence, drafted, messages
from foveal.reading.answering_refusals import refuses
from foveal.reading.answering_settings import AnswerSettings, settings_for
from foveal.reading.cited_forms import plain_marks, without_footnotes, without_preface
from foveal.reading.memory import Excerpt

FORMS = ("x【1】.", "x【1†source】.", "x [[1]].", "x[^1].", "x [Source 1].", "x (excerpt 1).", "x (1).", "xyz¹.",
         "x <sup>1</sup>.", "x [1](https://a.example/b).")  # fmt: skip


@pytest.mark.parametrize("answer", FORMS)
def test_each_form_is_a_citation(answer):
    plain = plain_marks(answer, range(1, 3))
    assert plain in ("x [1].", "xyz [1].")
    assert plain_marks(answer, range(1, 3), form="[[{}]]") == plain.replace("[1]", "[[1]]")


def test_lists_and_ranges_are_kept():
    assert plain_marks("x【1, 3】. y (excerpts 1 and 2).", range(1, 4)) == "x [1, 3]. y [1, 2]."
    assert plain_marks("x (Excerpt 1, Excerpt 2). y [Source 1; source 3].", range(1, 4)) == "x [1, 2]. y [1, 3]."
    assert plain_marks("x [0]. y [1-3].", range(4), form="[[{}]]") == "x [[0]]. y [[1, 2, 3]]."


@pytest.mark.parametrize(
    "answer",
    [
        "It holds 5 km² and m².",
        "It was built in (1811).",
        "x [1]. He has two (2).",
        "a[0] is the first.",
        "x (4).",
        "It calls f(1).",
        "df[[1, 2]] = 0",
        "At 【12:30】.",
        "See section (2).",
        "It is sin².",
        "`[^1]` and `a【1】`",
        "10<sup>3</sup> m",
    ],
)
def test_what_may_be_something_else_stays(answer):
    assert plain_marks(answer, range(1, 4)) == answer


def test_what_was_shown_is_no_citation():
    assert plain_marks("It says so (1).", range(1, 4), texts=["as is known (1)."]) == "It says so (1)."
    assert plain_marks("See [^1].", range(1, 4), texts=["See [^1]."]) == "See [^1]."


def test_marks_as_they_were_asked_for_leave_others_alone():
    assert plain_marks("x [[0]]. y [1].", range(3), form="[[{}]]") == "x [[0]]. y [1]."


@pytest.mark.parametrize(
    "answer",
    ["Sure! Here is the answer:\n\nIt is.", "**Answer:** It is.", "Certainly! It is.", "## Answer\n\nIt is.", "It is."],
)
def test_polite_words_are_no_part_of_an_answer(answer):
    assert without_preface(answer) == "It is."


@pytest.mark.parametrize(
    "answer",
    [
        "Sure.",
        "Here is the answer:",
        "Here is a mill.",
        "The answer is no.",
        "Sure, Inc. sold it.",
        "Here are three mills: a.",
    ],
)
def test_an_answer_that_only_begins_alike_stays(answer):
    assert without_preface(answer) == answer


@pytest.mark.parametrize(
    "notes",
    [
        "\n\n[1]: Excerpt 1\n[2]: The mill",
        "\n\nSources:\n- [1] The mill\n- [2] The dam",
        "\n\n**Sources:** [1], [3]",
        "\nSource: Excerpt 1",
        "\n\n## References\n1. The mill\n2. The dam\n",
        "\n\nReferences\n\n[1] The mill\n\n[2] The dam",
        "\n\n---\n\n**Sources:**\n* [1] The mill,\n  of 1850\n* [2] The dam",
        "\n***\n[1]: The mill",
        "\n\n**Références :**\n1. Le moulin",
        "\n\n参考文献：\n[1] 磨坊",
    ],
)
def test_footnotes_are_no_part_of_an_answer(notes):
    """Each line was told as a sentence that nothing bears out, under numbers that the answer no longer has."""
    assert without_footnotes(f"It is red [1].{notes}") == "It is red [1]."


def test_notes_before_more_of_the_answer_are_left_at_once():
    """Each blank of a note doubled the ways to fail: thirty notes took a minute."""
    answer = "It is red [1].\n" + "[1]: The mill\n" * 300 + "It is old."
    assert without_footnotes(answer) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "The texts say:\n[1]: It is red.\n[2]: It is old.",
        "Der Fluss hat zwei\nQuellen:\n1. die Breg\n2. die Brigach",
        "Sources:\n1. Lake A\n2. Lake B",
        "It has two.\nSources:\n1. Lake A [1]\n2. Lake B [2]",
        "It has more.\n\nSources of it:\n1. Lake A",
        "It has:\n[1] and [2] differ.",
    ],
)
def test_a_list_that_is_the_answer_stays(answer):
    assert without_footnotes(answer) == answer


GIVEN = [
    Evidence(name, Excerpt(0, len(text), text, 1.0, 0), f"Title {name}")
    for name, text in {"a": "Orsin Vale keeps the mill.", "b": "def f():\n    return [1]"}.items()
]


def test_a_variant_is_checked_as_the_form_that_was_asked_for():
    """It stood in the answer, was no citation, and all was reported as not borne out."""
    model = Scripted("Sure! Here is the answer:\n\nOrsin Vale keeps it【1†source】.")
    *_, found = whole(drafted(model, "Who?", GIVEN, AnswerSettings()))
    assert (found.text, found.unsupported) == ("Orsin Vale keeps it. [1]", ())
    assert [one.quote for one in found.citations] == ["Orsin Vale keeps the mill."]


def whole(words):
    """All that a generator yields, and what it returns."""
    returned = yield from words
    yield returned


@pytest.mark.parametrize("mark", ["[1] .", "【1】 ."])
def test_no_blank_is_left_before_a_full_stop(mark):
    *_, found = whole(drafted(Scripted(f"Orsin Vale keeps it {mark}"), "Who?", GIVEN, AnswerSettings()))
    assert found.text == "Orsin Vale keeps it. [1]"


MILLS = [
    Evidence(name, Excerpt(0, len(text), text, 1.0, 0), f"Title {name}")
    for name, text in {
        "a": "The dam was built of oak.",
        "b": "Orsin Vale keeps the mill.",
        "c": "The keeper of the mill is Orsin Vale.",
    }.items()
]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("According to [2], Orsin Vale keeps the mill.", "According to [1], Orsin Vale keeps the mill."),
        ("[2] states that Orsin Vale keeps it.", "[1] states that Orsin Vale keeps it."),
        ("As [2] and [3] say, Orsin Vale keeps the mill.", "As [1] and [2] say, Orsin Vale keeps the mill."),
        ("It is oak [1]. [2] says that Orsin Vale keeps it.", "It is oak. [1] [2] says that Orsin Vale keeps it."),
        ("Orsin Vale keeps it, as is said in [2].", "Orsin Vale keeps it, as is said in [1]."),
        ("According to [2], Ada keeps the windmill.", "According to [?], Ada keeps the windmill."),
        ("Orsin Vale keeps it [2][3].", "Orsin Vale keeps it. [1]"),
        ("Orsin Vale keeps it [2], [3].", "Orsin Vale keeps it. [1]"),
        ("Orsin Vale keeps it [2] and [3].", "Orsin Vale keeps it. [1]"),
        ("Orsin Vale keeps it ([2], [3]).", "Orsin Vale keeps it. [1]"),
        ("Orsin Vale keeps it (source: [2]).", "Orsin Vale keeps it. [1]"),
        ("Excerpt [2] states that Orsin Vale keeps it.", "Excerpt [1] states that Orsin Vale keeps it."),
        ("According to excerpt [2], Orsin Vale keeps it.", "According to excerpt [1], Orsin Vale keeps it."),
        ("However, [2] says Orsin Vale keeps it.", "However, [1] says Orsin Vale keeps it."),
        ("1. [2] says Orsin Vale keeps it.", "1. [1] says Orsin Vale keeps it."),
        ("- **[2]**: Orsin Vale keeps it.", "- **[1]**: Orsin Vale keeps it."),
        (
            "While [1] says the dam was of oak, [2] says Orsin Vale keeps the mill.",
            "While [1] says the dam was of oak, [2] says Orsin Vale keeps the mill.",
        ),
        (
            "According to [1], the dam was built of oak, and Orsin Vale keeps the mill [2].",
            "According to [1], the dam was built of oak, and Orsin Vale keeps the mill [2].",
        ),
        ("[1] The dam was of oak.\n[2] Orsin Vale keeps it.", "The dam was of oak. [1]\n Orsin Vale keeps it. [2]"),
        ("根据[2]，Orsin Vale keeps it.", "根据[1]，Orsin Vale keeps it."),
    ],
)
def test_a_number_that_is_a_word_of_its_sentence_is_changed_in_its_place(said, shown):
    """It was taken out, as one behind a sentence is: "According to, Orsin Vale keeps the mill. [1]"."""
    *_, found = whole(drafted(Scripted(said), "Who?", MILLS, AnswerSettings()))
    assert found.text == shown
    assert bool(found.unsupported) == ("[?]" in shown)


def test_a_source_that_another_is_set_against_bears_nothing_out_and_is_no_other_one():
    """It was lost: "Unlike [1] says that Orsin Vale keeps it", of the one that says it."""
    *_, found = whole(
        drafted(Scripted("Unlike [1], [2] says that Orsin Vale keeps it."), "Who?", MILLS, AnswerSettings())
    )
    assert found.text == "Unlike [?], [1] says that Orsin Vale keeps it."
    assert [one.quote for one in found.citations] == ["Orsin Vale keeps the mill."]


class Served:
    name, context_tokens = "served", 2000


def test_a_served_model_is_shown_titles_and_lines_within_half_of_what_it_reads():
    settings = settings_for(Served())  # type: ignore[arg-type]
    assert settings.context == 1000
    asked = messages("Who?", GIVEN, settings)[-1]["content"]
    assert "[1] Title a\nOrsin Vale keeps the mill.\n\n[2] Title b\ndef f():\n    return (1)\n\nQuestion: Who?" in asked
    assert "Title" not in messages("Who?", GIVEN[:1], settings)[-1]["content"]
    assert "Title" not in messages("Who?", GIVEN, AnswerSettings())[-1]["content"]


class Narrow(Scripted):
    """Reads one excerpt at most, as its server finds out."""

    def reply(self, messages: Messages) -> str:
        super().reply(messages)
        if "[2] " in messages[-1]["content"]:
            raise ContextExceeded("Too long.", 64)
        return self.answer


def test_where_the_passages_are_too_many_the_better_half_is_shown():
    better = replace(GIVEN[1], excerpt=replace(GIVEN[1].excerpt, score=2.0))
    model = Narrow("It returns a list [1].")
    list(drafted(model, "What does f return?", [GIVEN[0], better], AnswerSettings(lines=True)))
    assert "[1] def f():" in model.asked[-1][-1]["content"]
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        "The provided excerpts do not mention X.",
        "Based on the excerpts, the answer is not found.",
        "I couldn't find information about X in the excerpts.",
        "None of the excerpts mention X.",
        "**Not found.**",
        "Unfortunately, the excerpts do not say.",
        "I'm sorry, but I can't help with that.",
        "The question cannot be answered from the excerpts.",
        "The sources do not name the teacher.",
        "Die Quellen enthalten dazu keine Informationen.",
        "In den Quellen steht nichts dazu.",
        "Der Text nennt den Architekten nicht.",
        "Keine der Quellen nennt den Lehrer.",
        "Les sources ne disent pas qui c'était.",
        "Aucune des sources ne le mentionne.",
        "Las fuentes no dicen quién fue.",
        "Los textos no mencionan al maestro.",
        "Le fonti non dicono chi fosse.",
        "Il testo non lo dice.",
        "De bronnen vermelden niet wie dat was.",
    ],
)
def test_the_refusals_of_large_models(answer):
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot find fault, the judge said [1].",
        "None of the mills of Orsin stood.",
        "I can't help falling in love.",
        "The source code does not include tests [1].",
        "I could not find it in the excerpts, but the mill is red [1].",
        "Some texts do not have vowels [1].",
        "Based on the excerpts, Orsin Vale is the keeper [1].",
        "Unfortunately, the mill burnt down [1].",
        "The text does not only say it, it shows it [1].",
        "The findings do not explain the effect [1].",
        "Die Quelle versiegt nicht.",
        "Die Quelle ist nicht giftig [1].",
        "Der Text ist nicht von ihm [1].",
        "Die Quellen sagen nicht, wer es war, aber die Mühle ist rot [1].",
        "Le texte n'est pas de lui [1].",
        "El texto no es de Cervantes [1].",
        "Le fonti non si prosciugano.",
        "Aucune des sources ne tarit [1].",
        "Ninguna de las fuentes funciona [1].",
    ],
)
def test_answers_that_sound_like_refusals(answer):
    assert not refuses(answer)


BLANKS = " " * 300_000  # were a run of them parted in several ways, this would take hours


@pytest.mark.parametrize("answer", [f"It stands [source{BLANKS}.", f"x【1{BLANKS}†", f"x (see{BLANKS}excerpt{BLANKS}!"])
def test_blanks_in_what_is_no_citation_at_last(answer):
    assert plain_marks(answer, range(1, 3)) == answer


@pytest.mark.parametrize(
    "last",
    [f"Sources{BLANKS}x", f"Sources: [1]{BLANKS}x", f"Sources: {'[1] ' * 60_000}x", f"Sources{BLANKS}x\n[1] The mill"],
    ids=["head", "mark", "marks", "items"],
)
def test_a_line_that_is_no_list_of_sources_at_last(last):
    answer = f"It stands [1].\n{last}"
    assert without_footnotes(answer) == answer


@pytest.mark.parametrize(
    "sentence",
    [f"x [1]{BLANKS}z [2].", f"x (see{BLANKS}z [1].", f"{'*' * 300_000}x [1] z."],
    ids=["blanks", "see", "stars"],
)
def test_runs_beside_marks(sentence):
    assert folded(sentence) == sentence
    assert claims_of(sentence) == [unmarked(sentence)]
