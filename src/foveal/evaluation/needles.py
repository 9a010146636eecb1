"""Needles: invented facts to hide in a long text, with a question that only they answer.

literal      the sentence and its question share words; a search by words finds it
paraphrase   no word but function words stands in both; it must be found by meaning
two-hop      one sentence names the entity of another, which holds the answer; the question shares words with the
             first only, so that the second is found by the name, or by meaning. Either may come first in the text

All sentences are our own. Names, places, numbers and codes are drawn from a seed, so no model can know an answer.
`wrong_question` makes the control: a reader that looks where the question points keeps none of its needles.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveal.errors import InputError, UnknownName

GAP = 30.0
"""Per cent of the text between the two sentences of a two-hop needle."""


@dataclass(frozen=True, slots=True)
class Needle:
    """Sentences in the order in which they are planted; `gap` is the distance from first to last, in % of the text."""

    kind: str
    sentences: tuple[str, ...]
    question: str
    answer: str
    gap: float = 0.0

    def depths(self, depth: float) -> tuple[float, ...]:
        """A depth for each sentence, in %, such that 0 puts the first one first and 100 the last one last."""
        first, steps = depth * (100.0 - self.gap) / 100.0, max(1, len(self.sentences) - 1)
        return tuple(first + self.gap * number / steps for number in range(len(self.sentences)))


def make(kind: str, count: int, seed: int) -> list[Needle]:
    """`count` needles of one kind, each form used once before any is used again; the same for the same seed.

    UnknownName: there is no such kind. InputError: `count` is below 1.
    """
    if kind not in KINDS:
        raise UnknownName(f"No kind of needle is called {kind!r}. There are: {', '.join(KINDS)}.")
    if count < 1:
        raise InputError(f"{count} needles were asked for; ask for at least 1.")
    draw = random.Random(f"{kind} {seed}")
    if kind == "two-hop":
        roles, facts = _in_turn(ROLES, count, draw), _in_turn(FACTS, count, draw)
        return [
            _two_hop(role, fact, number, draw) for number, (role, fact) in enumerate(zip(roles, facts, strict=True))
        ]
    return [_single(kind, form, draw) for form in _in_turn(FORMS[kind], count, draw)]


def wrong_question(needles: Sequence[Needle]) -> list[Needle]:
    """Each needle with the question of another, of those in the list the one that shares the fewest words with it.

    The answer stays the needle's own: retention and accuracy should both fall to what they are by chance.
    """
    if len(needles) < 2:
        raise InputError(f"{len(needles)} needles came; to exchange questions at least 2 are needed.")
    return [replace(needle, question=_farthest(place, needles).question) for place, needle in enumerate(needles)]


def _farthest(place: int, needles: Sequence[Needle]) -> Needle:
    own = _words(" ".join((*needles[place].sentences, needles[place].question)))
    others = [*needles[place + 1 :], *needles[:place]]  # the next one, where several are as far
    return min(others, key=lambda other: len(own & _words(other.question)))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _in_turn(forms: Sequence[tuple[str, str]], count: int, draw: random.Random) -> list[tuple[str, str]]:
    """`count` of the forms, in a new order each time that all were used."""
    chosen: list[tuple[str, str]] = []
    while len(chosen) < count:
        chosen += draw.sample(forms, len(forms))
    return chosen[:count]


def _single(kind: str, form: tuple[str, str], draw: random.Random) -> Needle:
    invented = _invented(draw)
    sentence, question = (part.format(**invented) for part in form)
    return Needle(kind, (sentence,), question, invented[_answer_slot(form[0])])


def _two_hop(role: tuple[str, str], fact: tuple[str, str], number: int, draw: random.Random) -> Needle:
    """Every other one has the sentence with the answer first."""
    invented = {**_invented(draw), "role": role[0]}
    naming, telling, question = (part.format(**invented) for part in (role[1], *fact))
    sentences = (naming, telling) if number % 2 == 0 else (telling, naming)
    return Needle("two-hop", sentences, question, invented[_answer_slot(fact[0])], GAP)


def _answer_slot(sentence: str) -> str:
    """What the question asks for: the slot that is neither the scene (`town`) nor the bearer of a role."""
    slots: list[str] = re.findall(r"{(\w+)}", sentence)
    return next(slot for slot in slots if slot not in ("town", "bearer"))


def _invented(draw: random.Random) -> dict[str, str]:
    """One of each slot; names within it differ in each part."""
    givens, families, places = (draw.sample(names, 3) for names in (GIVEN_NAMES, FAMILY_NAMES, PLACES))
    return {
        "given": givens[0],
        "name": f"{givens[1]} {families[1]}",
        "bearer": f"{givens[2]} {families[2]}",
        "place": places[0],
        "town": places[1],
        "number": str(draw.randint(211, 9899)),
        "code": "".join(draw.sample("BCDFGHJKLMNPQRSTVWXZ", 2)) + str(draw.randint(1000, 9999)),
    }


def _joined(starts: str, ends: str) -> list[str]:
    return [start + end for start in starts.split() for end in ends.split()]


def _pairs(text: str) -> list[tuple[str, str]]:
    """The lines two by two."""
    lines = text.strip().splitlines()
    return list(zip(lines[::2], lines[1::2], strict=True))


GIVEN_NAMES = _joined(
    "Or Vel Tam Bri Kes Dor Mal Ys Fen Hul Jor Nim Pel Quor Sab Thul Ul Wex Zan Ild",
    "sin ka ric enna wyn dov ith olo arda mund esk ivar una obel astri umi",
)
FAMILY_NAMES = _joined(
    "Ash Brack Crom Dunt Evers Flax Garr Hesk Ickl Kemb Lorr Munt Nash Ox Prend Rusk Skell",
    "aby eller idge omb uvane ardine etter ockwin ulliver",
)
PLACES = _joined(
    "Abb Blen Cald Dray Elm Fosk Grib Hox Inch Kell Lund Mard Nox Orl Prat Quen Rud Skip",
    "mere ingford erwick oway istead agate unholm eby oxley astair",
)

LITERAL = _pairs("""
The secret password of the {town} observatory is {code}.
What is the secret password of the {town} observatory?
The best thing to eat in {town} is a pie called {given}.
What is the best thing to eat in {town} called?
The registration number of the {town} ferry is {code}.
What is the registration number of the {town} ferry?
The {town} choral society has {number} members.
How many members does the {town} choral society have?
The first mayor of {town} was {name}.
Who was the first mayor of {town}?
The clock in the {town} town hall was built by {name}.
Who built the clock in the {town} town hall?
The magic number of the {town} lottery is {number}.
What is the magic number of the {town} lottery?
The special ingredient of {town} mustard is a herb named {given}.
Which herb is the special ingredient of {town} mustard?
The tunnel under {town} is {number} metres long.
How long is the tunnel under {town}, in metres?
The key to the {town} archive hangs on hook {code}.
On which hook does the key to the {town} archive hang?
The ghost of {town} castle is known as {name}.
What is the ghost of {town} castle known as?
The annual rent of the {town} windmill is {number} florins.
How many florins is the annual rent of the {town} windmill?
""")
"""Sentence and question."""

PARAPHRASE = _pairs("""
The harbour pilot's terrier answers only to {given}.
What is the dog of the man who guides ships into port called?
Our family physician, now retired, was christened {name}.
Which full name belongs to the doctor who used to treat us?
The vicar has moved to {number} Tallow Street.
At which house number does the clergyman live?
Night buses to the airfield leave from bay {code}.
From which stand does late public transport for people catching a plane depart?
Grandmother hid the key to the piano beneath a tile marked {code}.
What inscription is on the ceramic square covering the thing that unlocks the old lady's musical instrument?
The baker's youngest girl received the name {given} at her baptism.
What do people call the smallest daughter of the man who makes bread?
Fares on the cable car rose last spring to {number} crowns.
How much does a ride up the mountain in the gondola cost?
To open the wine cellar, turn the dial to {number}.
Which combination unlocks the room where the bottles are stored?
The schooner that won the regatta sails under the flag of {place}.
Which town does the boat that came first in the race represent?
The widow next door pays {number} pounds each month to her landlord.
How high is the rent of the neighbour whose husband died?
Breakfast on the sleeper train is served by a steward called {name}.
Who brings the morning meal to passengers on the overnight railway?
A choir boy by the name of {name} broke the chapel's stained window.
Which young singer smashed the coloured glass in the church?
The orchard's finest apples, the grower swears, come from the tree he labelled {code}.
What tag did the farmer put on the plant that bears his best fruit?
The museum keeps its stuffed whale in a hangar outside {place}.
Near which village can visitors see the preserved giant sea mammal?
Under {code} the librarian filed the only surviving atlas of the moon.
What shelf mark did the archive give the last remaining collection of lunar maps?
It took the blacksmith {number} days to forge the abbey gates.
How long did the metalworker need for the entrance doors of the monastery?
The ferryman weds {name} on Sunday.
Who is the bride of the fellow rowing travellers over the river?
Twice a week the mayor plays chess against {name}.
Who is the town leader's regular opponent at the board?
The beekeeper sold {number} jars last autumn.
How many containers of honey did the apiarist shift before winter?
The lift in the east tower stops working above {number} kilograms.
What is the greatest weight that the elevator can carry?
The murdered count was buried in the churchyard of {place}.
Where is the grave of the nobleman who was killed?
Stray cats of the quarter are fed by a locksmith, {name}.
Which person looks after homeless felines in the neighbourhood?
Rain ruined all but {number} of the posters.
How many placards survived the wet weather?
The orphanage burnt down while {name} was its head.
Who ran the home for parentless children at the time of the fire?
The assassin hid in a hayloft near {place}.
Close to which hamlet did the killer conceal himself?
The parrot in the tavern screeches '{given}' whenever the door opens.
Which word does the innkeeper's talking bird shout when guests enter?
The composer dedicated her last waltz to {name}.
For whom did the musician write the final dance?
The jury acquitted a notary, {name}, of forgery.
Which lawyer was found not guilty of faking documents?
Power to the greenhouse fails if the meter shows more than {number}.
Beyond what reading does the nursery for seedlings lose electricity?
The thief dropped the duchess's necklace into a well at {place}.
In which parish did the robber throw away the noblewoman's jewels?
""")
"""Sentence and question, without a common word of content."""

ROLES = _pairs("""
lighthouse keeper
The {role} is named {bearer}.
bell founder
Everyone here knows {bearer} as the {role}.
chief falconer
In those years {bearer} served as the {role}.
tram inspector
The post of {role} went to {bearer}.
pearl diver
They say that {bearer} became the {role} by chance.
clock mender
The {role} signed the register as {bearer}.
youngest senator
By two votes {bearer} was made the {role}.
ski instructor
The {role} answers to the name of {bearer}.
ice cream vendor
It was {bearer}, the {role}, who waved to us.
map engraver
The newspaper introduced {bearer} as the {role}.
circus juggler
It turned out that {bearer} was the {role}.
bridge warden
Since May the {role} has been {bearer}.
rope maker
Her cousin {bearer} is the {role}.
salt merchant
The {role} at the corner is {bearer}.
theatre prompter
Nobody but {bearer} wanted to be the {role}.
royal gardener
The court chose {bearer} to be the {role}.
""")
"""A role, and a sentence that says who bears it."""

FACTS = _pairs("""
{bearer} hides every spare coin in a jar labelled {code}.
What is written on the vessel in which the {role} puts savings?
{bearer} was born in {place}.
From which village does the {role} originate?
Last spring {bearer} married a cellist, {name}.
Who is the spouse of the {role}?
{bearer} owns {number} pairs of boots.
How large is the collection of footwear of the {role}?
The safe of {bearer} opens with {number}.
Which combination unlocks the strongbox of the {role}?
A tame raven named {given} sits on the shoulder of {bearer} all day.
What do people call the pet bird of the {role}?
{bearer} once stole a horse from {name}.
Whose animal did the {role} take without permission?
At night {bearer} paints the harbour of {place}, and nothing else.
Which port appears in all pictures by the {role}?
{bearer} sends a letter to {name} every week.
With whom does the {role} correspond regularly?
{bearer} weighs {number} ounces.
How heavy is the {role}?
Doctors told {bearer} to swallow drops of {given} before bed.
Which medicine was prescribed for the {role}?
{bearer} lodges in room {number} of the old mill.
Behind which door number does the {role} live?
{bearer} twice failed the examination at {place}.
In which town did the {role} not pass a test?
{bearer} inherited a vineyard near {place}.
Close to which hamlet lie the grapes that the {role} got from a dead relative?
""")
"""A sentence with the answer, and the question."""

FORMS = {"literal": LITERAL, "paraphrase": PARAPHRASE}
KINDS = (*FORMS, "two-hop")
