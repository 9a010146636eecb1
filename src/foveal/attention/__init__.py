"""Where a model looks: the switch on Hugging Face decoders (`attach`) and what watches it (`Recorder`).

    with foveal.attention.attach(model, recorder=recorder) as attached:
        attached.base(input_ids=ids)

Importing this package loads PyTorch and transformers.
"""

from foveal.attention.attach import AttentionMethod, Context, attach
from foveal.attention.recorder import Recorder, watching
from foveal.attention.shared_prefix import SharedPrefix

__all__ = ["AttentionMethod", "Context", "Recorder", "SharedPrefix", "attach", "watching"]
