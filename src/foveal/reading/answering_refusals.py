"""Whether an answer says that the texts hold none, in the words of models small and large, in several languages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from foveal.reading.refusal_words import says_nothing
from foveal.reading.skim import content_words, held
from foveal.text.units import sentences

LONGEST = 160
"""Characters of a refusal; a longer answer that begins like one goes on to say something."""
LONGEST_UNCITED = 600
"""Characters of one that cites nothing, and in which every sentence is read."""
SAME = 0.65
"""Of an answer's words, the share that a sentence holds which says the same."""

_SAYS = (
    r"say|state|mention|contain|provide|specify|hold|tell|give|include|answer|explain|describe|reveal|indicate|discuss"
    r"|address|have|offer|name"
)
_GIVEN, _REST = r"(?:texts?|excerpts?|passages?|contexts?|documents?|sources?)", r"(?:(?!\bbut\b)[^.;])*"
_THEM = rf"(?:\w+ ){{0,3}}(?:{_GIVEN}|articles?|papers?|pages?|books?|reports?|stor(?:y|ies)|information)\b"
_IN_THEM = rf"(?: (?:here|anywhere))?(?: (?:in|by|within|from) {_THEM}{_REST})?"
_SPOKEN = r"(?:(?!only |just )\w+ ){0,2}"
_NOT = r"(?:do(?:es)? not|did not|can ?not|could not|(?:don|doesn|didn|can|couldn)['’]t|was(?:n['’]t| not) able to)"
_NAMED = "given|provided|above|cited|numbered|available|supplied|retrieved"
_FIRST = (
    rf"(?:(?:i['’]?m |i am )?sorry[,.;]? (?:but )?)?(?:(?:based on|from|according to) {_THEM}(?:, )?)?"
    r"(?:unfortunately[,.]? |however, )?"
)
"""What politely stands before a refusal."""
_W = r"(?:[\w-]+ )"
_GERMAN = r"(?:\w+ )?(?:text|auszüge|quelle|fundstelle|dokument)(?:en|e|n)?"
_KEINE = r"keine?n? (?:auskunft|aufschluss|angaben?|hinweise?|information(?:en)?|antwort)\b"
_FRENCH = r"(?:di[st]|mentionn|précis|contien|indiqu|donn|fourni|répond|nomm|parl|permet)"
_FUENTES = r"(?:textos?|extractos?|fragmentos|fuentes|documentos)"
_SPANISH = r"(?:dic|mencion|especific|contien|indic|proporcion|ofrec|nombr|respond)"
_FONTI = r"(?:test[oi]|estratti|fonti|documenti)"
_ITALIAN = r"(?:dic|menzion|specific|contien|contengono|indic|fornis|riport|nomin|precis|rispond)"
_BRONNEN = r"(?:bronnen|tekst(?:en)?|fragmenten|documenten)"
_DUTCH = r"(?:vermeld|zeg|noem|bevat|geef|geven|meld)\w*"
_ELSEWHERE = "|".join(
    (
        r"nicht gefunden\b|ich weiß (?:es )?nicht|die frage l(?:ä|ae)sst sich \b[^.;]* nicht beantworten",
        rf"d(?:iese|ie|er) {_GERMAN} {_W}?(?:(?:be)?sag|nenn|enth[aä]lt|erwähn|beantwort|verr[aä]t)\w* {_W}{{0,4}}?"
        r"(?:nichts?|keine?[nrm]?)\b",
        rf"(?:im|(?:in|aus) de[nrm]) {_GERMAN} (?:steh|finde|geh|ist|sind|wird)\w* {_W}{{0,4}}?(?:nichts?|keine?)\b",
        rf"(?:dazu|hierzu|darüber|d(?:ie|er) {_GERMAN}) {_W}{{1,4}}?{_KEINE}",
        r"keine[rs]? de[rs] (?:\w+ )?(?:texte|auszüge|quellen|fundstellen|dokumente) (?:sag|nenn|enthält|erwähn|beleg)",
        r"(?:non|pas) trouvée?\b|je ne sais pas|il n['’]y a (?:pas|aucune?) (?:d['’])?information",
        r"(?:les?|ces?|aucune? (?:des|de ces)) (?:textes?|extraits?|sources?|documents?) (?:\w+ )?n(?:e |['’])"
        rf"(?:l['’]|{_W})?{_FRENCH}",
        r"no (?:se )?(?:encontr|menciona|especifica)\w*|no lo sé",
        rf"(?:(?:el|l[oa]s) {_FUENTES} (?:\w+ )?no|ningun[oa] de l[oa]s {_FUENTES}) {_W}?{_SPANISH}",
        r"non trovat[oa]\b|non lo so\b|non (?:è|sono|viene) (?:indicat|menzionat|specificat|riportat)",
        rf"(?:(?:il|i|gli|le) {_FONTI} (?:\w+ )?non|nessun[oa] de(?:i|gli|lle) {_FONTI}) {_W}?{_ITALIAN}",
        r"niet gevonden\b",
        rf"(?:de|deze) {_BRONNEN} {_W}?{_DUTCH} {_W}{{0,3}}?(?:niets?|geen)\b|geen van de {_BRONNEN} {_DUTCH}",
    )
)
"""In German, French, Spanish, Italian and Dutch: what a text does not *say*; what it is not, is an answer."""
_REFUSAL = re.compile(
    rf"[\s*_#>-]*{_FIRST}(?:"
    rf"not found(?:{_IN_THEM}\s*(?:[^\w\s]|\n|$)| (?:as|because|since the|in \[))"
    r"|(?:the )?answer (?:is|was) not (?:in|found|given|stated|mentioned|provided|there|known|specified|contained)\b"
    rf"|(?:it is )?not (?:mentioned|specified|provided|stated|given){_IN_THEM}[.!]?\s*$"
    rf"|(?:there (?:is|was) )?no (?:mention|information|indication)\b{_REST} (?:in|by|within) (?:\w+ ){{0,3}}{_GIVEN}\b"
    r"|(?:there is )?no information(?: (?:is )?(?:available|given|provided))?"
    r"(?: (?:about|of|on|regarding|as to)(?:(?! (?:but|was|were) )[^.;\[])*)?\s*(?:[.;!]|$)"
    r"|i (?:do not|don['’]t) know"
    rf"|i {_NOT} (?:find|see|locate|determine|answer|tell)\b{_REST}\b(?:{_GIVEN}|answer|information)\b"
    r"|i (?:can ?not|can['’]t|won['’]t|(?:am|['’]m) (?:unable|not able) to) (?:help|assist|comply)"
    r"(?: you)?(?: with [^.,;]{1,40})?(?:[.!]|$)"
    rf"|(?:none|no one) of {_THEM} {_SPOKEN}(?:{_SAYS})s?\b"
    rf"|(?:the |these |those |this )?(?:(?:{_NAMED}) )?(?:text|excerpts?|passages?|context|sources?)s?"
    rf"(?: (?:above|here|alone|given|provided|shown))? {_NOT}"
    rf" {_SPOKEN}(?:{_SAYS})\b"
    rf"|(?:the |your )?question can ?not be answered\b{_REST}"
    rf"|{_ELSEWHERE}"
    r"|未(?:能)?(?:找到|提及|提到|提供|说明)|没有(?:找到|提及|提到|说明)|(?:文中|文章|文本|摘录)(?:中)?(?:没有|并?未)|不知道"
    r"|見つかりません|記載(?:が|は)?(?:ありません|ない(?!とき|と|[一-龠])))",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"(?:;|\b(?:but|however|aber|sondern|jedoch|mais|pero|sino|ma|però|maar)\b)[^\[]*\[\d", re.IGNORECASE
)
"""What says something after all, and cites it."""
_SENTENCE = re.compile(r"[^.!?。！？\n]*(?:[.!?](?!\s|$)[^.!?。！？\n]*)*[.!?。！？\n]?")
_NO = re.compile(
    r"\b(?:no|not|none|never|nor|neither|nothing|nobody|cannot|without|unknown|unclear|silent|insufficient|unable"
    r"|nicht|nichts|keine?[mnrs]?|ohne|pas|aucune?|jamais|rien|sans|ningun[oa]|ningún|nunca|nada|sin|non|nessun[oa]?|senza"
    r"|niet|niets|geen|zonder|não|nenhuma?|sem|не|нет|ни|без)\b|n['’]t\b|[不未没无無]|ない|なし|ません|없|않|아니|못",
    re.IGNORECASE,
)
_OF_TELLING = re.compile(
    rf"{_GIVEN}|materials?|find|found|(?:{_SAYS})s?|said|stated|mentioned|provided|specifie[sd]|given|included|answered"
    r"|explained|described|revealed|indicated|discussed|addressed|named|information|details?|question|determined?"
    r"|enough|whether",
    re.IGNORECASE,
)
"""Words of an answer that tell nothing of what it is about."""
_CITES = re.compile(r"[\[【(]\d")
_TURNS = re.compile(
    r"\b(?:but|however|although|though|instead|rather|only that|except|aber|sondern|jedoch|mais|cependant|pero|sino|ma"
    r"|però|maar|mas|porém|но|однако)\b|但|不过|しかし|ただし|하지만|그러나",
    re.IGNORECASE,
)
_IDLE = re.compile(
    r"^(?:they|it|these|this) (?:only|mainly|merely|just|do|does|discuss|mention|focus|cover|describe|deal|talk"
    rf"|contain)|\b(?:{_GIVEN}|you|your)\b|\bplease\b",
    re.IGNORECASE,
)
"""What a sentence behind a refusal has that goes on about the sources, or offers help."""
_POLITE = re.compile(
    r"[\s*_#>-]*(?:(?:i['’]?m |i am |i )?(?:sorry|apologi[sz]e)[,.;]? (?:but )?)?(?:unfortunately[,.]? |however, )?",
    re.IGNORECASE,
)


_OF_ITSELF = re.compile(
    rf"[\s*_#>-]*{_FIRST}(?:(?:i|i['’]m|ich|je)\b"
    r"|(?:no lo sé|non lo so"
    r"|(?:not|nicht|niet|non|pas|no) (?:found|gefunden|gevonden|trovat[oa]|trouvée?|encontrad[oa])"
    r"|no se encontró|unknown|nicht bekannt|не найден[оаы]?"
    r"|不知道|未知|未(?:能)?找到|没有找到|无法回答"
    r"|わかりません|不明(?:です)?|見つかりません|알 수 없(?:습니다|음|다))\W*$)",
    re.IGNORECASE,
)
"""A refusal that tells of who answers, or of nothing besides: that an excerpt has the same words bears nothing out."""
NEAR = 24
"""Characters beside a no in which it denies the same in an answer and in an excerpt."""


def refuses(answer: str, texts: Iterable[str] = ()) -> bool:
    """Whether an answer, without blanks around it, is that there is none.

    `texts`: the excerpts. Where a sentence of theirs says much the same, it is an answer: "There are no errors in the
    documents."
    """
    if len(answer) < LONGEST and not _GOES_ON.search(answer) and _REFUSAL.match(answer):
        return not _is_said(answer, texts)
    uncited = len(answer) < LONGEST_UNCITED and not _CITES.search(answer)
    return uncited and _says_nothing(answer) and not _is_said(answer, texts)


def _is_said(answer: str, texts: Iterable[str]) -> bool:
    """Whether one sentence of the texts holds a no, and most of the answer's words of telling and of its others."""
    if _OF_ITSELF.match(answer):
        return False
    denied = {word for place in _denied(answer) for word in content_words(place) if not _NO.fullmatch(word)}
    words = {word for word in content_words(answer) if not _NO.fullmatch(word)}
    telling = {word for word in words if _OF_TELLING.fullmatch(word)}
    groups = [words - telling, telling]

    def holds(text: str) -> bool:
        return all(len(held(text, one)) >= SAME * len(one) for one in groups)

    def says(text: str) -> bool:
        told = (text[start:end] for start, end in sentences(text))
        return any(holds(one) and any(held(place, denied) for place in _denied(one)) for one in told)

    return words != telling and any(holds(text) and says(text) for text in texts)


def _denied(text: str) -> Iterator[str]:
    """What stands right behind each no, in whole words; what stands before it where nothing does."""
    for no in _NO.finditer(text):
        behind = text[no.end() : no.end() + NEAR]
        yield behind if any(map(str.isalnum, behind)) else text[max(0, no.start() - NEAR) : no.start()]


def _says_nothing(answer: str) -> bool:
    """Whether the first sentence of an answer tells that the sources do not, and none behind it tells anything."""
    told = _POLITE.sub("", answer, count=1)
    sentences = [sentence for one in _SENTENCE.findall(told) if (sentence := one.strip(" *_\n"))]
    if not sentences or _TURNS.search(told):
        return False
    return says_nothing(sentences[0]) and all(map(_goes_on, sentences[1:]))


def _goes_on(sentence: str) -> bool:
    """Whether a sentence behind a refusal tells of the sources again, or offers help."""
    return _IDLE.search(sentence) is not None or says_nothing(sentence)
