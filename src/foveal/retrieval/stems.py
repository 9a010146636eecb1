"""English words without their endings, as the full-text index compares them: "regulations" and "regulated" are one.

    stem("regulations")  ->  "regul"

The index stems by itself (`tables.full_text`); this is for what is shown beside it, so that a word that was found is
marked, too.

Source    Snowball's English stemmer of version 3 (Porter, 2001), which is the index's; here as PyStemmer has it
Shapes    a word in lower case, without accents; of other letters than English ones it comes back as it is
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache

from Stemmer import Stemmer

_ENGLISH = re.compile(r"[a-z']{3,}")
_OWN = threading.local()  # a stemmer must not be shared between threads


@lru_cache(20_000)
def stem(word: str) -> str:
    """The word without its endings."""
    if not _ENGLISH.fullmatch(word):
        return word
    if not hasattr(_OWN, "stemmer"):
        _OWN.stemmer = Stemmer("english")
    return str(_OWN.stemmer.stemWord(word))
