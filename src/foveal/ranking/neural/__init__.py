"""Neural rankers before BERT: eighteen small models that order candidates and can show which words matched.

    Neural(folder).rank(query, hits)                          a trained one, as a `Ranker` (ranker.py)
    train_ranker("knrm", examples, found, run=RunSettings(home=home))          any of them, with any loss (training.py)

Source    the survey of Guo et al., "A Deep Look into Neural Ranking Models for Information Retrieval", IP&M 2020, sorts
          them by three tags, which each class has: symmetric or not, focus, granularity (`base.NeuralRanker`)
Shared    inputs.py words and ids; vectors.py word vectors; matches.py match matrices; losses.py objectives;
          scorer.py a model with its vocabulary; one module for each model

Importing this loads no model and no torch.
"""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError
from foveal.registry import lookup

if TYPE_CHECKING:
    from foveal.ranking.neural.base import NeuralRanker
    from foveal.ranking.neural.vectors import WordVectors

MODELS: dict[str, str] = {
    "dssm": "foveal.ranking.neural.dssm:DSSM",
    "cdssm": "foveal.ranking.neural.cdssm:CDSSM",
    "arc-i": "foveal.ranking.neural.arc_i:ARCI",
    "arc-ii": "foveal.ranking.neural.arc_ii:ARCII",
    "match-pyramid": "foveal.ranking.neural.match_pyramid:MatchPyramid",
    "mv-lstm": "foveal.ranking.neural.mv_lstm:MVLSTM",
    "match-srnn": "foveal.ranking.neural.match_srnn:MatchSRNN",
    "drmm": "foveal.ranking.neural.drmm:DRMM",
    "drmm-tks": "foveal.ranking.neural.drmm_tks:DRMMTKS",
    "knrm": "foveal.ranking.neural.knrm:KNRM",
    "conv-knrm": "foveal.ranking.neural.conv_knrm:ConvKNRM",
    "duet": "foveal.ranking.neural.duet:DUET",
    "pacrr": "foveal.ranking.neural.pacrr:PACRR",
    "co-pacrr": "foveal.ranking.neural.co_pacrr:CoPACRR",
    "anmm": "foveal.ranking.neural.anmm:ANMM",
    "deeprank": "foveal.ranking.neural.deeprank:DeepRank",
    "hint": "foveal.ranking.neural.hint:HiNT",
    "tk": "foveal.ranking.neural.tk:TK",
}
"""Name -> where the class stands; its settings are called <Class>Settings and stand beside it."""


def model_class(name: str) -> type[NeuralRanker]:
    """The class of the model called `name`. UnknownName lists them."""
    found: type[NeuralRanker] = lookup(MODELS, name, kind="neural ranker")
    return found


def settings_class(name: str) -> type[Any]:
    """The settings dataclass of the model called `name`. UnknownName as in `model_class`."""
    kind = model_class(name)
    found: type[Any] = getattr(importlib.import_module(kind.__module__), f"{kind.__name__}Settings")
    return found


def build(name: str, vectors: WordVectors, *, seed: int = 0, **sizes: Any) -> NeuralRanker:
    """An untrained model of that name: `sizes` are fields of its settings, its weights are drawn from the seed.

    UnknownName: no such model. InputError: no such field, or a value that its settings refuse.
    """
    import torch

    settings = settings_class(name)
    known = [one.name for one in fields(settings)]
    unknown = sorted(sizes.keys() - set(known))
    if unknown:
        raise InputError(f"{name} has no setting called {unknown[0]!r}. There are: {', '.join(known) or 'none'}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(name)(vectors, settings(**sizes))
