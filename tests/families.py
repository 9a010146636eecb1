"""Models of some kilobytes of many families of transformers, with random weights that attend far from evenly.

model = of("gemma2")            # float32, from a seed; a family that this transformers has not is skipped
"""

from __future__ import annotations

from typing import Any

import pytest
from small_decoders import WORDS, decoder  # docs/dev/small_decoders.py: what each family needs to be made
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

__all__ = ["WORDS", "of"]

WINDOW = 32

OWN: dict[str, dict[str, Any]] = {
    "cohere2": {"logit_scale": 0.5},
    "gemma2": {"query_pre_attn_scalar": 1, "attn_logit_softcapping": 0.5},
    "gemma4_text": {"head_dim": 8, "global_head_dim": 8},  # it does not scale its products: wide ones round far apart
    "gpt_oss": {"head_dim": 8},
}
"""What tests want of a family besides."""


def of(family: str, **options: Any) -> Any:
    """A small model of a family, in eval mode, with windows of `WINDOW` tokens where it can have them."""
    if family not in CONFIG_MAPPING:
        pytest.skip(f"this transformers has no {family}")
    return decoder(family, window=WINDOW, **OWN.get(family, {}) | options).requires_grad_(True)
