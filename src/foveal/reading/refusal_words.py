"""How models say that the sources hold no answer, in a sentence of any shape, for answers that cite nothing.

A pattern wants a word for the sources, a no, and a word of telling or knowing near each other, or is one of the few
forms that do without. What merely holds a no ("The source does not freeze.") is an answer.
"""

from __future__ import annotations

import re

_OURS = r"(?:texts?|excerpts?|passages?|sources|(?:source )?(?:documents|materials?)|snippets?|search results)"
_ANY = (
    r"(?:texts?|excerpts?|passages?|contexts?|documents?|sources?|materials?|snippets?|articles?|papers?|books?|pages?"
    r"|reports?)"
)
_HANDED = r"(?:given|provided|retrieved|supplied|available|cited|numbered)"
_THE = r"(?:the|these|this|those|your|my|any|all)"
_SOURCES = rf"(?:{_THE} (?:[\w-]+ )?{_OURS}|{_THE} {_HANDED} (?:\w+ )?(?:{_ANY}|information)|{_THE} {_ANY} {_HANDED})"
"""By words that hardly stand for anything else; `_ANY` may be what a question is about."""
_FROM = r"(?:in|by|within|from|with|on|based on|using|given|according to|go by)"
_IN = rf"\b{_FROM} (?:any of )?{_SOURCES}\b"
_IN_ANY = rf"\b{_FROM} (?:any of )?{_THE} (?:[\w-]+ )?{_ANY}\b"
_ENDS = r"(?=\s*(?:[.!,;:(\n]|$))"
_IS_NOT = r"(?:is|are|was|were) ?(?:not|n['’]t|never)"
_DO_NOT = r"(?:do(?:es)? not|did not|(?:don|doesn|didn)['’]t)"
_CANNOT = r"(?:can ?not|can['’]t|could not|couldn['’]t)"
_TOLD = r"(?:mentioned|stated|specified|answered|addressed|discussed|disclosed|explained|indicated|clear|known)"
_HELD = r"(?:given|provided|available|included|found|present|contained|named|described|listed|covered|reported)"
_TELLS = (
    r"(?:says?|states?|mentions?|specif(?:y|ies)|tells?|answers?|explains?|reveals?|indicates?|discuss(?:es)?"
    r"|address(?:es)?|reports?|describes?)"
)
_FIND = r"(?:say|determine|answer|find|tell|know|establish|identify|locate|confirm|infer|conclude|provide|be certain)"
_FOUND = r"(?:determined|answered|found|established|identified|inferred|told|concluded|confirmed|located)"
_FACT = (
    r"(?:answers?|information|mention|details?|indication|evidence|references?|data|context|account|explanation|names?"
    r"|dates?|figures?|numbers?)"
)
_IT = r"(?:it|this|that|(?:(?:the|this|that|such|your) )?(?:exact |specific )?(?:answer|information|detail|question))"

_ENGLISH = (
    rf"\b{_IS_NOT} (?:\w+ ){{0,2}}?(?:{_TOLD} (?:\w+ ){{0,3}}?{_IN_ANY}|{_HELD} {_IN})",
    rf"\b(?:{_IS_NOT}|{_DO_NOT}) (?:appear )?{_IN}",
    rf"^{_IT} {_IS_NOT} (?:\w+ )?(?:mentioned|stated|specified|answered|given|provided|available){_ENDS}",
    rf"^(?:{_IT} )?{_CANNOT} be (?:\w+ )?(?:answered|determined){_ENDS}",
    r"^(?:(?!\b(?:if|when|where|because|unless|means)\b).)*?"
    r"(?:(?:\bnot|n['’]t)(?: have)? (?:enough|sufficient)|\binsufficient) (?:\w+ )?(?:information|context|details?)"
    rf"(?:{_ENDS}| (?:is |was )?(?:available|given|provided|(?:to|for) (?:\w+ )?(?:{_FIND}|answering)))",
    rf"^(?:nothing|neither|none|no one|no)(?: (?:in|of))?(?: {_THE})?(?: {_HANDED})? {_ANY} (?:\w+ )?{_TELLS}\b",
    r"^i (?:do not|don['’]t) have (?:\w+ ){0,2}(?:information|context|details?|data|access|knowledge)\b",
    r"^i(?: am|['’]m| was) (?:un|not )able to (?:\w+ )?(?:answer|find|determine|say|tell)\b",
    r"\b(?:texts?|excerpts?|passages?|contexts?|documents|sources) (?:\w+ )?"
    r"(?:give|provide|offer|contain|make|have|hold)s? "
    rf"(?:no(?: \w+)? {_FACT}\b|nothing{_ENDS}|nothing (?:about|on|regarding)\b)",
    rf"^(?:{_THE} (?:[\w-]+ )?)?{_ANY} {_DO_NOT} (?:\w+ )?(?:give|provide|include|contain|offer|have|hold) "
    r"(?:(?:any|enough|such|this|that|the|specific|sufficient|relevant|further) ){0,2}"
    r"(?:answers?|information|mention|details?|indication)\b",
    rf"\b{_ANY} (?:is|are) silent (?:on|about|as to)\b",
    rf"(?:^|\b(?:{_THE}|{_HANDED}) (?:[\w-]+ )?){_ANY}(?: (?:above|here|given|provided))? {_DO_NOT} "
    rf"(?:(?!only\b|just\b)\w+ ){{0,2}}?{_TELLS}\b",
    r"^(?:unknown|n/a|unanswerable|not (?:answerable|available|applicable|stated|known|specified))\W*$",
    r"^(?:no|not) (?:enough |relevant |such )?(?:answer|information)"
    r"(?: (?:was |is )?(?:found|available|given|provided))?\W*$",
    rf"^not (?:\w+ )?{_IN}",
)
_TEXTEN = r"(?:\w+ )?(?:texte?n?|auszügen?|quellen?|fundstellen?|dokumente?n?|passagen?|unterlagen|artikel|kontext)"
_NICHT = r"\b(?:nicht|nichts|keine?)\b"
_GENANNT = r"(?:erwähnt|genannt|enthalten|angegeben|beantwortet|zu finden)"
_FEHLT = rf"(?:hervor|{_GENANNT}|informationen?|angaben?|hinweise?|nichts|zu entnehmen)"
_GERMAN = (
    rf"\b(?:in|aus) (?:den|dem|der|diese[nmr]) {_TEXTEN} (?=[^.;]{{0,60}}?{_FEHLT})"
    rf"(?:geht|wird|werden|ist|sind|steht|stehen|findet|finden|gibt|lässt) [^.;]{{0,40}}?{_NICHT}",
    rf"\b(?:anhand|aufgrund|mit|aus|auf (?:basis|grundlage)) (?:von )?(?:de[nrms]|diese[nrms]) {_TEXTEN} "
    r"[^.;]{0,60}?\bnicht (?:\w+ )?(?:beantwort|sagen|bestimm|feststell|ermittel|erkenn|ersichtlich|hervor)",
    rf"^(?:den|dem|diese[nm]) {_TEXTEN} [^.;]{{0,40}}?{_NICHT}[^.;]{{0,40}}?ent(?:nehm|nomm)",
    rf"^(?:dazu|hierzu|darüber) (?=[^.;]{{0,60}}?(?:information|angabe|hinweis|aussage|auskunft|antwort|{_TEXTEN}))"
    rf"(?:steht|stehen|findet|finden|gibt|sagen?|liegen?) [^.;]{{0,40}}?{_NICHT}",
    rf"\b(?:in|aus) (?:den|dem|diese[nm]) {_TEXTEN} nicht (?:hervor|{_GENANNT})",
    rf"\bnicht in (?:den|dem|diese[nm]) {_TEXTEN} {_GENANNT}",
)
_EXTRAITS = r"(?:textes?|extraits?|sources?|documents?|passages?|contexte|articles?)"
_DANS = rf"[^.;]{{0,40}}?(?:dans|par) (?:les?|ces?|l['’]) ?(?:\w+ )?{_EXTRAITS}"
_FRENCH = (
    r"\bn(?:['’]est|e sont) pas (?:\w+ )?"
    rf"(?:mentionn|précis|indiqu|dit|donn|fourni|spécifi|présent|disponible|abord|répond)\w*{_DANS}",
    rf"\bn(?:e (?:figuren?t?|se trouven?t?)|['’]appara[iî](?:t|ssent)) pas {_DANS}",
    rf"\b(?:aucune?|pas d['’]) ?(?:information|mention|réponse|indication|précision)s? {_DANS}",
)
_FUENTES = r"(?:textos?|extractos?|fragmentos?|fuentes?|documentos?|pasajes?|contexto)"
_DICHO = r"(?:mencionad|indicad|especificad|incluid|dad|recogid|dich|disponible|present)\w*"
_SPANISH = (
    rf"\bno (?:(?:se )?(?:aparece|figura|consta|encuentra|indica|dice|menciona)\w*|está\w* (?:\w+ )?{_DICHO}) "
    rf"[^.;]{{0,40}}?en (?:el|l[oa]s|est[oa]s) (?:\w+ )?{_FUENTES}",
    rf"\b(?:ninguna|ningún|ningun[oa] de l[oa]s) {_FUENTES} (?:\w+ )?(?:dice|menciona|indica|responde)",
)
_FONTI = r"(?:test[oi]|estratt[oi]|font[ei]|document[oi]|brani|contesto)"
_DETTO = r"(?:menzionat|indicat|specificat|riportat|contenut|precisat|fornit|dett|present|disponibil)\w*"
_ITALIAN = (
    rf"\bnon (?:(?:è|sono|viene|vengono) (?:\w+ )?{_DETTO}|(?:compar|si trov)\w*) "
    rf"[^.;]{{0,40}}?(?:ne|da)(?:i|gli|l|lle|lla) (?:\w+ )?{_FONTI}",
    rf"\bnessun[oa]? {_FONTI} (?:dice|menziona|indica|risponde)",
)
_BRONNEN = r"(?:bron(?:nen)?|teksten|tekst|fragmenten|documenten|passages|context)"
_IS = r"\b(?:staat|staan|wordt|worden|is|zijn)"
_GEZEGD = r"(?:vermeld|genoemd|beschreven|beantwoord|gegeven|opgenomen|bekend|(?:terug )?te vinden)"
_DUTCH = (
    rf"{_IS} (?:\w+ ){{0,2}}?niet (?:(?:\w+ )?{_GEZEGD} )?(?:in|door) de(?:ze)? (?:\w+ )?{_BRONNEN}",
    rf"\bin de(?:ze)? (?:\w+ )?{_BRONNEN} {_IS} [^.;]{{0,40}}?"
    r"(?:niets|niet (?:\w+ )?(?:vermeld|genoemd)|geen (?:\w+ )?(?:informatie|vermelding|antwoord|gegevens))\b",
)
_TRECHOS = r"(?:textos?|trechos?|excertos?|fontes?|documentos?|passagens|contexto)"
_DITO = r"(?:mencionad|indicad|especificad|informad|fornecid|incluíd|dit|present|disponív)\w*"
_PORTUGUESE = (
    rf"\b(?:[oa]s?|est[ea]s?) {_TRECHOS} (?:\w+ )?não (?:\w+ )?"
    r"(?:mencion|diz|cont[éê]m|inform|indic|especific|respond|fornec)",
    rf"\bnão (?:(?:é|são|está|estão) (?:\w+ )?{_DITO}|(?:consta|aparece|figura)\w*) "
    rf"[^.;]{{0,40}}?n(?:os?|as?|est[ea]s) (?:\w+ )?{_TRECHOS}",
    rf"^não encontrad[oa](?:\W*$| n[oa]s? (?:\w+ )?{_TRECHOS})",
)
_OTRYVKI = r"(?:источник|текст|отрывк|документ|фрагмент|материал(?=ы|ах|ов|ам))\w*"
_RUSSIAN = (
    rf"\b(?:в|из) (?:\w+ ){{0,2}}?{_OTRYVKI} [^.;]{{0,40}}?"
    r"(?:нет (?:\w+ ){0,2}?(?:информац|сведен|данных|ответ|упоминан)|ничего не (?:сказан|говор|упом)"
    r"|не (?:\w+ )?(?:сказан|указ|упом|говор|содерж|привод|найд))",
    rf"\b{_OTRYVKI} (?:\w+ ){{0,2}}?(?:не|ничего не) (?:\w+ )?(?:говор|упом|содерж|указ|сообща|отвеча)",
    rf"^не найден[оаы]?(?:\W*$| в (?:\w+ ){{0,2}}?{_OTRYVKI})",
)
_KOREAN = r"(?:정보|문서|자료|출처|내용|본문|발췌문)"
_ASIAN = (
    r"(?:文本|资料|資料|文档|文件|材料|内容|来源|文章|摘录|段落|上下文|原文|信息)[^。;；,，]{0,12}?(?:没有|并未|未(?!来)|无(?![需须法]))"
    r"(?:任何)?[^。;；,，]{0,6}?(?:提|说|述|信息|答案|涉及|给出|包含|内容|记载|资料)",
    r"^(?:因此)?无法回答|^(?:因此)?无法(?:从|根据)[^。]{0,12}(?:文本|资料|文档|文件|内容|来源|文章|段落|上下文|原文|信息)"
    r"|没有(?:相关|足够)的?信息(?![的时])|^未知[。.]?$",
    r"(?:资料|文本|文档|内容|来源|信息|材料)[^。]{0,30}?无法[^。]{0,20}?(?:回答|确定|得知|判断)",
    r"(?:記載|記述|言及|情報|回答|答え)(?:が|は|も)?(?:見つかりません|ありません"
    r"|ない(?!とき|と|[一-龠])|されていません|なし)",
    r"(?:書かれて|述べられて|言及されて|示されて|触れられて)い(?:ません|ない(?![一-龠]))",
    r"^わかりません[。.]?$|^不明(?:です)?[。.]?$",
    rf"{_KOREAN}[^.]{{0,30}}?(?:정보|언급|내용|답|답변|설명|기록)[이가은는도]? (?:없습니다|없음)",
    r"(?:^|관련 ?|충분한 |해당 )정보[가는도]? ?(?:없습니다|없음)",
    rf"{_KOREAN}[^.]{{0,30}}?(?:찾을 수 없(?:습니다|음)|나와 ?있지 않습니다)",
    rf"{_KOREAN}[^.]{{0,30}}?(?:언급|포함|명시|기재|제시|설명|서술)(?:되어|돼|되|하고)? ?(?:있지|지) 않습니다",
    r"^알 수 없(?:습니다|음|다)[.]?$",
)
_CLEAR = (*_ENGLISH, *_GERMAN, *_FRENCH, *_SPANISH, *_ITALIAN, *_DUTCH, *_PORTUGUESE, *_RUSSIAN, *_ASIAN)
_DOUBTS = (
    rf"(?:not|n['’]t) possible (?:\w+ )?to {_FIND}\b",
    rf"{_CANNOT} be (?:\w+ )?{_FOUND}\b",
    rf"(?:un|not )able to (?:\w+ )?{_FIND}\b",
    rf"\b(?:is|are|was|were|remains?|it['’]s) (?:\w+ly )?(?:unclear|unknown|uncertain|not {_TOLD}|not {_HELD})\b",
    r"there(?: is| are|['’]s|['’]re| was| were) "
    rf"(?:nothing (?:about|on|regarding|in|that (?:says|tells))|(?:no|not (?:any|enough)) (?:\w+ )?{_FACT})\b",
    r"(?:no|not enough|insufficient) (?:\w+ )?(?:information|mention|details?|context|evidence)\b",
    r"\bn['’]est pas possible de (?:répondre|dire|déterminer|savoir|préciser)",
    r"\bno hay (?:\w+ )?(?:información|datos|mención|respuesta|detalles)\b",
    r"\bno (?:es posible|se puede) (?:responder|determinar|saber|decir)",
    r"\bnon (?:ci sono|c['’]è) (?:\w+ )?(?:informazion|dettagli|menzion|rispost)",
    r"\bnon è possibile (?:rispondere|determinare|dire|stabilire|sapere)",
    r"\bniet (?:worden )?(?:beantwoord|vast te stellen|te bepalen)",
    r"\bnão há (?:\w+ )?(?:informaç|menção|dados|resposta)|\bnão é possível (?:responder|determinar|dizer|saber)",
    r"\bнет (?:\w+ )?(?:информации|сведений|данных)",
)
"""What tells nothing where the sentence names the sources besides; else it may be of the world."""
_NAMED = (
    _IN, rf"\bas far as {_SOURCES}", rf"\bdes {_EXTRAITS}", rf"\b(?:l[oa]s|est[oa]s) {_FUENTES}",
    rf"(?:i|gli|le|lle|nel|dal) {_FONTI}", rf"\bde {_BRONNEN}", rf"\b(?:n|d)?[oa]s {_TRECHOS}", _OTRYVKI,
)  # fmt: skip
_OWN, _WEAK, _WITH = (re.compile("|".join(some), re.IGNORECASE) for some in (_CLEAR, _DOUBTS, _NAMED))


def says_nothing(sentence: str) -> bool:
    """Whether a sentence, without polite words before it, tells that the sources do not tell."""
    return bool(_OWN.search(sentence) or (_WEAK.search(sentence) and _WITH.search(sentence)))
