"""bench heads-act: attention sinks, and a model that gives less to them (ACT).

    exact    against the definition by whole matrices (heads_act_exact.py)
    sinks    how many there are, by rule, length and layer, in two models (the same)
    cost     of a search, of a prompt, of memory; the reader's rows; needles with the heads that were searched
             (heads_act_cost.py)
    gain     heads searched on some data sets, tested on others, beside controls (heads_act_gain.py)

Needs the data sets essays, classification and xquad. Not run here: the paper's models of 7B parameters and more, its
other data sets (HellaSwag, ARC, PIQA, MMLU, MT-Bench), a GPU kernel that sums columns in the same pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.attention_models import QWEN
from foveal.bench.heads_act_cost import cost_rows, needle_rows
from foveal.bench.heads_act_exact import exact_rows, sink_rows
from foveal.bench.heads_act_gain import gain_rows, searched
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row
from foveal.models.language import load_language_model


def act(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench heads-act`."""
    yield from exact_rows(settings, load_language_model(QWEN))
    yield from sink_rows(settings)
    model = load_language_model(QWEN)
    yield from cost_rows(settings, model)
    made = searched(settings, model)
    yield from needle_rows(settings, model, made)
    yield from gain_rows(settings, model, made)
