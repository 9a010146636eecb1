"""Sentences by hand for `bench report-citations`: one, a true paraphrase of it, and one with exchanged roles.

Actives and passives, comparatives, prepositions, converse verbs, clauses; of two halves the one that the verifier's
rules were not looked at on.
"""

from __future__ import annotations

WRITTEN: tuple[tuple[str, str, str], ...] = (
    (
        "The Treaty of Orm ceded Vallia from Drost to Karst.",
        "By the Treaty of Orm, Vallia passed from Drost to Karst.",
        "The Treaty of Orm ceded Vallia from Karst to Drost.",
    ),
    (
        "The upper house rejected the plan of the lower house.",
        "The plan of the lower house was rejected by the upper house.",
        "The lower house rejected the plan of the upper house.",
    ),
    (
        "Parliament dismissed the minister whom the president had named.",
        "The minister whom the president named was dismissed by Parliament.",
        "The president dismissed the minister whom Parliament had named.",
    ),
    (
        "The Lindt family sold the estate to the Kohler family in 1720.",
        "The Kohler family bought the estate from the Lindt family in 1720.",
        "The Kohler family sold the estate to the Lindt family in 1720.",
    ),
    (
        "The bill was proposed by the Left and opposed by the Right.",
        "The Left proposed the bill, and the Right opposed it.",
        "The bill was proposed by the Right and opposed by the Left.",
    ),
    (
        "Olivia Reyes was the first wife of Marco Sanz and the mother of Pablo Sanz.",
        "Pablo Sanz was a son of Olivia Reyes.",
        "Olivia Reyes was the first wife of Pablo Sanz and the mother of Marco Sanz.",
    ),
    (
        "Team Falcon finished ahead of Team Otter in the relay.",
        "Team Otter finished behind Team Falcon in the relay.",
        "Team Otter finished ahead of Team Falcon in the relay.",
    ),
    (
        "The committee led by Nash dissolved the board led by Orr.",
        "The board led by Orr was dissolved by Nash's committee.",
        "The committee led by Orr dissolved the board led by Nash.",
    ),
    (
        "Demand for copper exceeds the supply of it.",
        "The supply of copper is exceeded by the demand.",
        "The supply of copper exceeds the demand for it.",
    ),
    (
        "The court of Lorne overruled the court of Fife.",
        "The court of Fife was overruled by the court of Lorne.",
        "The court of Fife overruled the court of Lorne.",
    ),
    (
        "In 1641 the regent Dara imprisoned Prince Salim.",
        "Prince Salim was imprisoned by the regent Dara in 1641.",
        "In 1641 Prince Salim imprisoned the regent Dara.",
    ),
    (
        "In the final, Denmark beat Norway by two goals.",
        "Norway was beaten by Denmark in the final.",
        "In the final, Norway beat Denmark by two goals.",
    ),
    (
        "Ulm was captured by the French after Elchingen.",
        "The French captured Ulm after Elchingen.",
        "Elchingen was captured by the French after Ulm.",
    ),
    (
        "William's army outnumbered Harold's army.",
        "Harold's army was outnumbered by that of William.",
        "Harold's army outnumbered William's army.",
    ),
    (
        "Lord Byrne challenged Sir Giles to a duel.",
        "Sir Giles was challenged to a duel by Lord Byrne.",
        "Sir Giles challenged Lord Byrne to a duel.",
    ),
    (
        "The treasurer blamed the chairman for the loss.",
        "The chairman was blamed for the loss by the treasurer.",
        "The chairman blamed the treasurer for the loss.",
    ),
    (
        "Inspector Roy suspected the gardener, and the gardener suspected the cook.",
        "The gardener was suspected by Inspector Roy.",
        "The gardener suspected Inspector Roy, and the cook suspected the gardener.",
    ),
    (
        "The mother of Edwin was a cousin of Harold.",
        "Edwin's mother was Harold's cousin.",
        "The mother of Harold was a cousin of Edwin.",
    ),
    (
        "Gene A represses gene B in the liver.",
        "In the liver gene B is repressed by gene A.",
        "Gene B represses gene A in the liver.",
    ),
    (
        "The village of Ebb depends on the village of Flo for water.",
        "For water, Ebb depends on Flo.",
        "The village of Flo depends on the village of Ebb for water.",
    ),
    (
        "The Normans conquered the Saxons in 1066.",
        "The Saxons were conquered by the Normans in 1066.",
        "The Saxons conquered the Normans in 1066.",
    ),
    (
        "Mora's novel inspired the film by Jan Teller.",
        "The film by Jan Teller was inspired by Mora's novel.",
        "The film by Jan Teller inspired Mora's novel.",
    ),
    (
        "Ellen Frost defended Max Gruber in the trial.",
        "Max Gruber was defended in the trial by Ellen Frost.",
        "Max Gruber defended Ellen Frost in the trial.",
    ),
    (
        "The state of Orin supports the rebels, while Pelia supports the government.",
        "Orin supports the rebels, Pelia the government.",
        "The state of Pelia supports the rebels, while Orin supports the government.",
    ),
    (
        "The empress Zoe adopted Michael, who later exiled her.",
        "Michael, adopted by the empress Zoe, later exiled her.",
        "Michael adopted the empress Zoe, who later exiled him.",
    ),
    (
        "The shepherd warned the farmer about the wolf.",
        "The farmer was warned about the wolf by the shepherd.",
        "The farmer warned the shepherd about the wolf.",
    ),
    (
        "The library received the manuscripts from the abbey.",
        "The abbey gave the manuscripts to the library.",
        "The abbey received the manuscripts from the library.",
    ),
    (
        "The guild of weavers paid the guild of dyers forty crowns.",
        "Forty crowns were paid to the dyers by the weavers' guild.",
        "The guild of dyers paid the guild of weavers forty crowns.",
    ),
    (
        "Sulphur dioxide oxidises iodide to iodine.",
        "Iodide is oxidised to iodine by sulphur dioxide.",
        "Iodide oxidises sulphur dioxide to iodine.",
    ),
    (
        "Anna Kerr taught the painter Luis Mora for three years.",
        "Luis Mora learned painting from Anna Kerr.",
        "Luis Mora taught Anna Kerr for three years.",
    ),
    (
        "Aldo Neri was born in Turin and died in Genoa.",
        "Aldo Neri, who was born in Turin, died in Genoa.",
        "Aldo Neri was born in Genoa and died in Turin.",
    ),
    (
        "Halden Bank bought Norden Insurance in the spring.",
        "Norden Insurance was bought by Halden Bank.",
        "Norden Insurance bought Halden Bank in the spring.",
    ),
    (
        "Stella Moss interviewed Oscar Lind for the radio.",
        "Oscar Lind was interviewed by Stella Moss for the radio.",
        "Oscar Lind interviewed Stella Moss for the radio.",
    ),
    (
        "The lions of the south are bigger than the lions of the north.",
        "The northern lions are smaller than those of the south.",
        "The lions of the north are bigger than the lions of the south.",
    ),
    (
        "Hannah Stone introduced Leo Marsh to chess.",
        "Leo Marsh was introduced to chess by Hannah Stone.",
        "Leo Marsh introduced Hannah Stone to chess.",
    ),
    (
        "Lake Aro drains into Lake Bero through a narrow gorge.",
        "Through a narrow gorge the waters of Lake Aro drain into Lake Bero.",
        "Lake Bero drains into Lake Aro through a narrow gorge.",
    ),
    (
        "The landlord of the Swan cheated the brewer of Hull.",
        "The brewer of Hull was cheated by the landlord of the Swan.",
        "The brewer of Hull cheated the landlord of the Swan.",
    ),
    (
        "Victor Lang was elected by the council over Simon Petit.",
        "The council elected Victor Lang over Simon Petit.",
        "Simon Petit was elected by the council over Victor Lang.",
    ),
    (
        "The Dutch ousted the Portuguese from Malacca.",
        "The Portuguese were ousted from Malacca by the Dutch.",
        "The Portuguese ousted the Dutch from Malacca.",
    ),
    (
        "Marta Ferri reviewed a book by Igor Belov.",
        "A book by Igor Belov was reviewed by Marta Ferri.",
        "Igor Belov reviewed a book by Marta Ferri.",
    ),
    (
        "The river Orra flows into the Lake of Senn.",
        "The Lake of Senn is fed by the river Orra.",
        "The Lake of Senn flows into the river Orra.",
    ),
    (
        "The editor Paula Winn rejected the story that Adam Cray sent her.",
        "Adam Cray's story was rejected by the editor Paula Winn.",
        "The editor Adam Cray rejected the story that Paula Winn sent him.",
    ),
    (
        "Tim Ashe produced an album of the band Grey Owls.",
        "An album of the band Grey Owls was produced by Tim Ashe.",
        "The band Grey Owls produced an album of Tim Ashe.",
    ),
    (
        "Jill Carver lives above Ned Porter in the same house.",
        "Ned Porter lives below Jill Carver.",
        "Ned Porter lives above Jill Carver in the same house.",
    ),
    (
        "Coach Ferris traded Lopez to Chicago for Grant.",
        "In exchange for Grant, Lopez was traded to Chicago by coach Ferris.",
        "Coach Ferris traded Grant to Chicago for Lopez.",
    ),
    (
        "Alto Games is a subsidiary of Brio Media.",
        "Brio Media is the parent company of Alto Games.",
        "Brio Media is a subsidiary of Alto Games.",
    ),
    (
        "The bank moved its seat from Basel to Zurich.",
        "From Basel the bank moved its seat to Zurich.",
        "The bank moved its seat from Zurich to Basel.",
    ),
    (
        "Professor Adler nominated Dr. Weiss for the prize.",
        "Dr. Weiss was nominated by Professor Adler.",
        "Dr. Weiss nominated Professor Adler for the prize.",
    ),
    (
        "The bridge was designed by Carl Ost and built by Ivan Petrov.",
        "Carl Ost designed the bridge, and Ivan Petrov built it.",
        "The bridge was designed by Ivan Petrov and built by Carl Ost.",
    ),
    (
        "Heat flows from the warm plate to the cold plate.",
        "The cold plate takes up heat from the warm plate.",
        "Heat flows from the cold plate to the warm plate.",
    ),
    (
        "The south tower was damaged by the fall of the north tower.",
        "The fall of the north tower damaged the south tower.",
        "The north tower was damaged by the fall of the south tower.",
    ),
    (
        "Gold is heavier than silver.",
        "Silver is lighter than gold.",
        "Silver is heavier than gold.",
    ),
    (
        "The duke's son Henry married Clara, the daughter of a merchant.",
        "Clara married Henry, the son of the duke.",
        "Henry, the son of a merchant, married Clara, the daughter of the duke.",
    ),
    (
        "The caravan travelled from Samar through Tolun to Bukhet.",
        "From Samar the caravan travelled to Bukhet, by way of Tolun.",
        "The caravan travelled from Bukhet through Tolun to Samar.",
    ),
    (
        "The tenor Carlo Bini was discovered in Parma and made his debut in Siena.",
        "Carlo Bini made his debut in Siena.",
        "The tenor Carlo Bini was discovered in Siena and made his debut in Parma.",
    ),
    (
        "Sweden ceded Finland to Russia.",
        "Finland was ceded to Russia by Sweden.",
        "Russia ceded Finland to Sweden.",
    ),
    (
        "Tomas Ivers plays the guitar and Piet Joosten plays the drums.",
        "The guitar is played by Tomas Ivers and the drums by Piet Joosten.",
        "Piet Joosten plays the guitar and Tomas Ivers plays the drums.",
    ),
    (
        "Kate Bloom directed the play that Tom Rees wrote.",
        "Tom Rees wrote the play, and Kate Bloom directed it.",
        "Tom Rees directed the play that Kate Bloom wrote.",
    ),
    (
        "The moon Ilo orbits the planet Tarn.",
        "The planet Tarn is orbited by the moon Ilo.",
        "The planet Tarn orbits the moon Ilo.",
    ),
    (
        "The Greens won more seats than the Liberals in the capital.",
        "The Liberals won fewer seats in the capital than the Greens.",
        "The Liberals won more seats than the Greens in the capital.",
    ),
    (
        "Aaron Pike is the uncle of Lucy Pike.",
        "Lucy Pike is the niece of Aaron Pike.",
        "Lucy Pike is the uncle of Aaron Pike.",
    ),
    (
        "The city is 40 km north of Arles and 60 km south of Lyon.",
        "From Lyon it is 60 km south to the city.",
        "The city is 40 km north of Lyon and 60 km south of Arles.",
    ),
    (
        "Emperor Leo II was the grandson of Leo I.",
        "Leo I was the grandfather of Leo II.",
        "Leo I was the grandson of Leo II.",
    ),
    (
        "The novelist Karl Faber influenced the poet Emil Tropp.",
        "The poet Emil Tropp was influenced by the novelist Karl Faber.",
        "The poet Emil Tropp influenced the novelist Karl Faber.",
    ),
    (
        "The senator accused the governor of fraud.",
        "The governor was accused of fraud by the senator.",
        "The governor accused the senator of fraud.",
    ),
    (
        "The parasite lives inside the snail.",
        "The snail has the parasite inside it.",
        "The snail lives inside the parasite.",
    ),
    (
        "Sales in Asia grew faster than sales in Europe.",
        "Sales in Europe grew more slowly than those in Asia.",
        "Sales in Europe grew faster than sales in Asia.",
    ),
    (
        "The actress Mia Lang was discovered by the director Paul Orth.",
        "Paul Orth, a director, discovered the actress Mia Lang.",
        "The director Paul Orth was discovered by the actress Mia Lang.",
    ),
    (
        "Mount Aster is higher than Mount Brill.",
        "Mount Brill is lower than Mount Aster.",
        "Mount Brill is higher than Mount Aster.",
    ),
    (
        "The insurer owes the shipyard two million crowns.",
        "Two million crowns are owed to the shipyard by the insurer.",
        "The shipyard owes the insurer two million crowns.",
    ),
    (
        "The caliph sent an envoy to the emperor.",
        "An envoy was sent to the emperor by the caliph.",
        "The emperor sent an envoy to the caliph.",
    ),
    (
        "Linda Park hired Samuel Roth as an editor in 1987.",
        "Samuel Roth was hired by Linda Park in 1987.",
        "Samuel Roth hired Linda Park as an editor in 1987.",
    ),
    (
        "The rebels of Taro freed the prisoners of Kemp.",
        "The prisoners of Kemp were freed by the rebels of Taro.",
        "The prisoners of Kemp freed the rebels of Taro.",
    ),
    (
        "The Romans learned the craft from the Etruscans.",
        "The Etruscans taught the Romans the craft.",
        "The Etruscans learned the craft from the Romans.",
    ),
    (
        "Ireland imports more beef from Brazil than from Chile.",
        "Less beef comes to Ireland from Chile than from Brazil.",
        "Ireland imports more beef from Chile than from Brazil.",
    ),
    (
        "More people moved to Lyra than left Lyra for Corva.",
        "Lyra gained more people than it lost to Corva.",
        "More people left Lyra for Corva than moved to Lyra.",
    ),
    (
        "Rain clouds move from the west to the east over the island.",
        "Over the island, clouds of rain go eastward from the west.",
        "Rain clouds move from the east to the west over the island.",
    ),
    (
        "Peter Holm is the father of the architect Erik Holm.",
        "The architect Erik Holm is the son of Peter Holm.",
        "The architect Erik Holm is the father of Peter Holm.",
    ),
    (
        "The Danes paid tribute to the Franks.",
        "Tribute was paid to the Franks by the Danes.",
        "The Franks paid tribute to the Danes.",
    ),
    (
        "The bishop crowned the king in the old cathedral.",
        "The king was crowned by the bishop in the old cathedral.",
        "The king crowned the bishop in the old cathedral.",
    ),
    (
        "The comet was named after Edda Holst by Jiri Novak.",
        "Jiri Novak named the comet after Edda Holst.",
        "The comet was named after Jiri Novak by Edda Holst.",
    ),
)
