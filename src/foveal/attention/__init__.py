"""Where a model looks: the switch on Hugging Face decoders (`attach`) and what watches it (`Recorder`).

    with foveal.attention.attach(model, method):      # any forward pass, generate too, attends by the method
        model(input_ids=ids)
    foveal.attention.watch(model, ids, recorder)      # what chosen rows look at, from one pass

Importing this package loads PyTorch and transformers.
"""

from foveal.attention.attach import AttentionMethod, Context, attach
from foveal.attention.recorder import Recorder
from foveal.attention.shared_prefix import SharedPrefix
from foveal.attention.watch import watch

__all__ = ["AttentionMethod", "Context", "Recorder", "SharedPrefix", "attach", "watch"]
