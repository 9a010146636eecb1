"""bench attention: what sparse attention leaves out, what that costs, and what it saves.

    kernel      exactness, and time against dense attention at each share of the blocks (attention_kernel.py)
    choice      FlexPrefill's figures, and how it adapts; DHSA's captured mass (attention_choice.py)
    output      how far attention's output lies from dense attention's, by density (attention_output.py)
    prefill     whole prompts: seconds, share of the time spent choosing, peak memory (attention_prefill.py)
    tasks       RULER-style tasks and needles, each method beside dense attention (attention_tasks.py)
    likelihood  perplexity of what follows a long text (attention_tasks.py)

Each is also a bench of its own: `foveal bench attention-kernel`, and so on. Pictures go to `pictures/` in the bench's
cache. Needs the data set essays.
"""

from __future__ import annotations

from collections.abc import Iterator

from foveal.bench.attention_choice import choice
from foveal.bench.attention_kernel import kernel
from foveal.bench.attention_output import output
from foveal.bench.attention_prefill import whole_prompts
from foveal.bench.attention_tasks import likelihoods, tasks
from foveal.bench.parts import each
from foveal.bench.settings import BenchSettings
from foveal.evaluation.tables import Row


def attention(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench attention`."""
    yield from each((kernel, choice, output, whole_prompts, likelihoods, tasks), settings)
