"""Words that a full stop follows without ending a sentence, by language: titles, initials, units. Data, no rules.

They are in lower case and without the stop. Where a text's language is not known its script gives it (`BY_SCRIPT`); an
unknown one has none. An initial, one letter of a script that has capitals, needs no entry.
"""

from __future__ import annotations


def _set(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


ABBREVIATIONS: dict[str, frozenset[str]] = {
    "en": _set(
        "mr mrs ms dr prof rev hon st gen col lt sgt capt cmdr sen rep gov pres messrs jr sr vs etc eg ie cf approx",
        "dept univ inc ltd co corp bros nos vol fig art sec jan feb mar apr jun jul aug sep sept oct nov dec mt ft",
        "e.g i.e u.s u.k u.n a.m p.m ph.d",
    ),
    "de": _set("dr prof hr fr nr bzw ca usw evtl ggf str abs art z.b d.h u.a jan feb aug sept okt nov dez"),
    "es": _set("sr sra srta dr dra prof d lic ing gral cía av núm pág ud uds etc ee.uu p.ej"),
    "fr": _set("m mm mme mlle dr prof st ste av bd etc env cf p.ex"),
    "te": _set(
        "ఎ ఏ బి సి సీ డి డీ ఇ ఈ ఎఫ్ జి జీ హెచ్ ఐ జె జే కె కే ఎల్ ఎం ఎమ్ ఎన్ ఒ ఓ",  # letters as initials
        "పి పీ క్యూ ఆర్ ఎస్ టి టీ యు యూ వి వీ డబ్ల్యు డబ్ల్యూ ఎక్స్ వై జెడ్",
        "డా డాక్టర్ శ్రీ శ్రీమతి ప్రొ ప్రొఫెసర్ మి మిస్టర్ కు చి రూ నం కి మీ సెం కిమీ గం",
    ),
    "hi": _set(
        "डॉ डा श्री श्रीमती सुश्री कु प्रो पं मो रु रू नं सं कि मी से",
        "ए बी सी डी ई एफ जी एच आई जे के एल एम एन ओ पी आर एस टी यू वी",
    ),
    "mr": _set(
        "डॉ श्री श्रीमती सौ कु प्रा पं रु नं क्र कि मी से",
        "ए बी सी डी ई एफ जी एच आय जे के एल एम एन ओ पी आर एस टी यू व्ही",
    ),
    "am": _set("ዶ ወ አቶ ኮ ም"),
    "ru": _set("г гг ул им т п д тыс млн млрд руб см стр рис проф акад т.е т.д т.п"),
    "ar": _set("د أ م ص ت هـ"),
}

BY_SCRIPT: dict[str, tuple[str, ...]] = {
    "LATIN": ("en",),
    "TELUGU": ("te",),
    "DEVANAGARI": ("hi", "mr"),
    "ETHIOPIC": ("am",),
    "CYRILLIC": ("ru",),
    "ARABIC": ("ar",),
}
"""The languages whose abbreviations hold for a text of that script, if nobody says which language it is."""

NEGATIONS: dict[str, frozenset[str]] = {
    "LATIN": _set(
        "not no never none nobody nothing neither nor without cannot isn wasn aren weren don doesn didn won wouldn",
        "couldn shouldn hasn haven hadn deny denies denied denying false hoax",
        "nicht kein keine keinen nie niemals ohne nunca jamás ningún ninguna sin ne pas jamais aucun sans ba babu",
    ),
    "TELUGU": _set("కాదు లేదు లేరు లేవు లేకుండా కాకుండా లేనట్లు కాలేదు వద్దు రాదు"),
    "DEVANAGARI": _set("नहीं नही न ना मत बिना नाही नाहीत नको नव्हे नसून विना"),
    "ETHIOPIC": _set("አይደለም የለም አልነበረም አይደሉም ያለ"),
    "CYRILLIC": _set("не нет ни без никогда никто ничего"),
    "ARABIC": _set("لا لم لن ليس ليست غير دون بدون"),
    "CJK": _set("不 没 沒 未 无 無 非 否"),
}
"""Words that say no, by script, in lower case."""
