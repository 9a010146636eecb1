"""What the tasks of ruler.py are filled with: nouns to be counted, and invented facts to be asked for."""

from __future__ import annotations

NOUNS = """
apple arrow badge barn basin bell berry boat bone bread brick bridge broom button cabin candle canoe castle chalk cheese
cherry circle cliff cloud clover coat cobalt comet copper coral cotton crane crown daisy desert drum eagle ember engine
fable falcon feather fern fiddle flame flint forest fox frost garden glass globe grape hammer harbor hazel helmet honey
horn island ivory jacket kettle ladder lantern leaf lemon linen maple marble meadow mirror moon moss needle north oak
ocean olive orchid otter paper pearl pepper pigeon pillow planet plum pocket prairie quartz rabbit raven ribbon river
rocket saddle salt sand shadow silver spoon spring stone sugar thunder tiger timber tower valley velvet violin walnut
willow window winter
"""

FORMS = """
The lighthouse of {place} was finished in {year}, after storms had carried its first tower away. {name}, who kept it for
thirty years, wrote down every ship that passed. In a winter the lamp burns {number} litres of oil.
How many litres of oil does the lighthouse of {place} burn in a winter?
{number}

The stone bridge at {place} has nine arches and a toll house on the eastern bank. It was drawn by {name}, who until then
had built nothing but barns. When it opened in {year}, a flock of {number} sheep was the first to cross.
Who drew the stone bridge at {place}?
{name}

The library of {place} began with {number} books that a retired captain left behind. Its reading room is heated by a
tiled stove, and nobody may speak there before noon. The oldest volume, an atlas of the stars, was printed in {town}.
In which town was the oldest volume of the library of {place} printed?
{town}

Since {year} a market has been held in {place} on the first Thursday of the month. A bell ends all bargaining, and what
is left is given to the poor. The right to hold it was bought from {name} for {number} barrels of herring.
From whom was the right to hold the market of {place} bought?
{name}

The brewery of {place} was founded in {year} by two sisters and has {number} customers today. Its pale beer is drunk in
summer only. The dark one, called {given}, is kept in caves below the hill until the snow melts.
What is the dark beer of the brewery of {place} called?
{given}

The observatory above {place} stands at {number} metres, beyond the last farm. Its mirror was ground by hand in {town}
and came up the mountain on a sledge. In {year} a comet was seen there before anywhere else.
At how many metres does the observatory above {place} stand?
{number}

The music school of {place} took in its first pupils in {year}, in rooms over a stable. {name} directs it today. The
trumpets practise in the cellar, since a neighbour complained of them {number} times.
In which year did the music school of {place} take in its first pupils?
{year}

The mountain railway of {place} was dug by miners who had lost their work. Its green carriages climb for an hour, with
a halt at a waterfall, and reach {town} at midday. In {year} it carried {number} passengers.
Which town does the mountain railway of {place} reach?
{town}

The chess club of {place} meets in the back room of a bakery. Of its {number} games against the club of {town} it has
won most. Its first champion, {name}, was a postman and thought about his moves on his rounds.
Who was the first champion of the chess club of {place}?
{name}

The clock museum of {place} shows {number} clocks, and all of them strike at different times. It was opened in {year}
in what had been a school. The most valuable piece, made in {town}, runs backwards.
How many clocks does the clock museum of {place} show?
{number}

The forest of {place} has belonged to the village since {year}. Charcoal was made there until the war. Its oldest oak,
which the children call {given}, is hollow, and {number} bats were once counted in it.
What do the children call the oldest oak in the forest of {place}?
{given}

The hospital of {place} was paid for by {name}, who had made a fortune with buttons. It opened in {year} with one doctor
and {number} blankets. Patients from {town} come by boat, because the road is often flooded.
Who paid for the hospital of {place}?
{name}

The theatre of {place} burnt down twice and was built again in {year}, this time of stone. Its curtain was painted by
{name} and shows a storm at sea. On good evenings all {number} seats are sold.
In which year was the theatre of {place} built again, of stone?
{year}

The dairy of {place} buys its milk from farms as far away as {town}. Its hard cheese lies in salt water, is brushed
every week and ripens for {number} hours. The recipe is said to be by {name}, a cook at court.
For how many hours does the cheese of the dairy of {place} ripen?
{number}

The weekly newspaper of {place} first came out in {year}, on a single sheet. It is edited by {name} from a kitchen
table and has {number} readers. Since its own press broke, it has been printed in {town}.
In which town is the weekly newspaper of {place} printed?
{town}

The ferry of {place} is pulled across the river on a chain. It was built in {town} in {year} and has never missed a day,
not even in the great flood. Its name is {given}, after the horse that turned the first winch.
What is the name of the ferry of {place}?
{given}
""".strip().split("\n\n")
"""A paragraph over several lines, a question on one, and its answer on the last."""
