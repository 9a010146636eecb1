"""Facts to hide and questions that ask for them: what a model's heads are probed with when it is calibrated.

All were written for this purpose and hold nothing true, so that no model can know an answer. They differ from the
needles of `foveal.evaluation`: what chooses the heads never measures the reader.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """Facts that stand apart in a text, and a question that they answer; `kind` says how it points at them."""

    kind: str  # literal: in their words; paraphrase: in others; chain: only the first shares words, and leads on
    facts: tuple[str, ...]
    question: str


def _literal(fact: str, question: str) -> Probe:
    return Probe("literal", (fact,), question)


def _paraphrase(fact: str, question: str) -> Probe:
    return Probe("paraphrase", (fact,), question)


def _chain(first: str, second: str, question: str) -> Probe:
    return Probe("chain", (first, second), question)


PROBES = (
    _literal("The access code of the east archive is 7304-KL.", "What is the access code of the east archive?"),
    _literal("The ferry to Sandholm leaves at 6:25 in the morning.", "When does the ferry to Sandholm leave?"),
    _literal("Doctor Immerling keeps bees on the roof of the clinic.", "What does Doctor Immerling keep on the roof?"),
    _literal("The favourite colour of the night porter is teal.", "What is the favourite colour of the night porter?"),
    _literal(
        "The best thing to do in Varnby is to row to the glass island.", "What is the best thing to do in Varnby?"
    ),
    _literal("The reactor test at Hollin Hill failed on 12 March 1987.", "On which date did the reactor test fail?"),
    _literal("Mrs Odenkirk's parrot is called Admiral Fig.", "What is Mrs Odenkirk's parrot called?"),
    _literal("The grant of the Lindqvist fund was 48,500 crowns.", "How large was the grant of the Lindqvist fund?"),
    _literal("The oldest tree in Quarrel Park is a black mulberry.", "Which tree is the oldest in Quarrel Park?"),
    _literal("The passphrase for the blue server is marzipan-tuba.", "What is the passphrase for the blue server?"),
    _paraphrase(
        "Old Benedikt has baked his bread with rye ever since the flood.", "What grain does the loaf maker use?"
    ),
    _paraphrase("Her physician told Ms Tarrow to stay away from peanuts.", "Which food is the patient allergic to?"),
    _paraphrase("The choir rehearses in the crypt on Thursdays.", "On what day of the week do the singers practise?"),
    _paraphrase(
        "It took the climbers nine days to come down from Mount Keld.", "How long did the mountaineers' descent last?"
    ),
    _paraphrase(
        "The innkeeper's daughter sailed off to Lisbon and never wrote.", "To which city did the girl emigrate?"
    ),
    _paraphrase(
        "Whoever breaks a window here pays for it with forty pennies.", "What is the fine for damaging the glass?"
    ),
    _paraphrase("Grandfather left his cello to the lighthouse museum.", "Who inherited the musical instrument?"),
    _paraphrase(
        "A goat ate the original manuscript of the opera.", "What happened to the composer's handwritten score?"
    ),
    _paraphrase(
        "The mayor commutes on a unicycle.", "By what means of transport does the head of the town get to work?"
    ),
    _paraphrase(
        "Snow kept the school shut for eleven days that winter.", "For how long were lessons cancelled by the weather?"
    ),
    _paraphrase("Mr Abelard earns his living by tuning church organs.", "What is the man's profession?"),
    _paraphrase("The twins first saw the light of day in a railway carriage.", "Where were the two siblings born?"),
    _paraphrase("Nobody but the cook holds a key to the cellar.", "Who can unlock the basement?"),
    _paraphrase("The jury gave the first prize to a photograph of a puddle.", "Which picture won the contest?"),
    _chain(
        "The night watchman of the mill is Casper Rune.",
        "Casper Rune keeps all that the post brings him in a hollow clock.",
        "Where does the night watchman of the mill hide his letters?",
    ),
    _chain(
        "The yellow barge belongs to Philippa Stroud.",
        "Philippa Stroud came into the world in Tromsø.",
        "Where was the owner of the yellow barge born?",
    ),
    _chain(
        "The prize of the harvest fair went to the Gullane dairy.",
        "Cheese has been made at Gullane by an astronomer since she gave up the stars.",
        "What was the earlier profession of whoever runs the winner of the harvest fair's prize?",
    ),
    _chain(
        "The bridge over the Inver was drawn by Tobias Kell.",
        "Nothing made Tobias Kell sneeze like lavender.",
        "Which scent could the man who drew the bridge over the Inver not stand?",
    ),
    _chain(
        "The stolen ruby turned up in the village of Osmeer.",
        "People travel to Osmeer for its painted doors.",
        "What is the village where the stolen ruby turned up known for?",
    ),
    _chain(
        "The captain of the Petrel married Anselma Voigt.",
        "Anselma Voigt settled what she owed the port in silver spoons.",
        "How did the wife of the captain of the Petrel pay the harbour dues?",
    ),
    _chain(
        "The clockmaker's apprentice is called Ignaz Thorn.",
        "Geese make Ignaz Thorn run.",
        "What is the clockmaker's apprentice afraid of?",
    ),
    _chain(
        "The expedition set up its camp beside Lake Morwen.",
        "Morwen turns to ice in the last week of October.",
        "When does the lake beside which the expedition set up its camp freeze over?",
    ),
)
