"""Whether a training runs in mixed precision here.

Where a processor has no instructions for bfloat16, PyTorch works by float32 and converts: a step of MiniLM then takes
four times as long as in float32 (seen on an Intel Xeon with AVX-512 but without AVX-512 BF16).
"""

from __future__ import annotations

import torch

from foveal.models.dtypes import native_bfloat16


def mixed_precision() -> bool:
    """Whether training in bfloat16 is faster: a GPU, where PyTorch sees one, or else the processor, computes in it."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return native_bfloat16()
