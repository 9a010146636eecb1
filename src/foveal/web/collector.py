"""Python's garbage collector while the app serves: what is there for ever is walked once, not in the middle of a page.

A full collection walks every object that was not frozen, most of them modules, classes and compiled templates: several
times the work of a page. Call `settle` again after something large was loaded (an encoder).
"""

from __future__ import annotations

import gc

YOUNG = 20_000
"""Objects after which the young ones are walked: a page makes some ten thousand, and nearly all die with it. Python's
own 700 walk those that are in use some fifteen times."""


def settle() -> None:
    """Collect what is garbage now, and leave alone what lives: until `gc.unfreeze` it is taken to live for ever."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
