"""Whether an answer says that the texts hold none, in the words of models small and large, in several languages."""

from __future__ import annotations

import re

LONGEST = 160
"""Characters of a refusal; a longer answer that begins like one goes on to say something."""

_SAYS = (
    r"say|state|mention|contain|provide|specify|hold|tell|give|include|answer|explain|describe|reveal|indicate|discuss"
    r"|address|have|offer"
)
_GIVEN, _REST = r"(?:texts?|excerpts?|passages?|contexts?|documents?|sources?)", r"(?:(?!\bbut\b)[^.;])*"
_THEM = rf"(?:\w+ ){{0,3}}(?:{_GIVEN}|articles?|papers?|pages?|books?|reports?|stor(?:y|ies)|information)\b"
_IN_THEM = rf"(?: (?:here|anywhere))?(?: (?:in|by|within|from) {_THEM}{_REST})?"
_SPOKEN = r"(?:\w+ ){0,2}"
_NOT = r"(?:do(?:es)? not|did not|can ?not|could not|(?:don|doesn|didn|can|couldn)['’]t|was(?:n['’]t| not) able to)"
_NAMED = "given|provided|above|cited|numbered|available|supplied|retrieved"
_FIRST = (
    rf"(?:(?:i['’]?m |i am )?sorry[,.;]? (?:but )?)?(?:(?:based on|from|according to) {_THEM}(?:, )?)?"
    r"(?:unfortunately[,.]? |however, )?"
)
"""What politely stands before a refusal."""
_REFUSAL = re.compile(
    rf"[\s*_#>-]*{_FIRST}(?:"
    rf"not found(?:{_IN_THEM}\s*(?:[^\w\s]|\n|$)| (?:as|because|since the|in \[))"
    rf"|(?:the )?(?:text|excerpts?|passages?|context)s? (?:do(?:es)? not|(?:don|doesn)['’]t) (?:\w+ ){{0,2}}(?:{_SAYS})"
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
    r"|nicht gefunden\b|(?:der|im|den|die) (?:text|auszüge|quelle|fundstelle)n? (?:\w+ )?(?:nicht|keine?)\b"
    r"|ich weiß (?:es )?nicht"
    r"|(?:non|pas) trouvée?\b|(?:le texte|les extraits?) (?:ne|n['’])|je ne sais pas"
    r"|no (?:se )?(?:encontr|menciona|especifica)\w*|(?:el texto|los (?:extractos|fragmentos)) no\b|no lo sé"
    r"|未(?:能)?(?:找到|提及|提到|提供|说明)|没有(?:找到|提及|提到|说明)|(?:文中|文章|文本|摘录)(?:中)?(?:没有|并?未)|不知道"
    r"|見つかりません|記載(?:が|は)?(?:ありません|ない))",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"(?:;|\b(?:but|however)\b)[^\[]*\[\d", re.IGNORECASE)
"""What says something after all, and cites it."""


def refuses(answer: str) -> bool:
    """Whether an answer, without blanks around it, is that there is none."""
    return len(answer) < LONGEST and not _GOES_ON.search(answer) and _REFUSAL.match(answer) is not None
