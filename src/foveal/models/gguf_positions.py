"""How the positions of a GGUF file's model turn, in transformers' words (`rope_parameters`).

Plain, linear and YaRN scaling are facts of the file. Llama 3 stretches its lower frequencies: the file has what each is
divided by, transformers computes that from four settings, which are found again. Phi-3's for long texts have two lists
of factors, for texts up to the length that it was first trained on and for longer ones.
"""

from __future__ import annotations

import math
from typing import Any

from foveal.models.gguf_file import Facts

PLAIN = 10_000.0
"""The base where a file states none."""

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What llama.cpp's converter takes for every model whose frequencies are stretched as Llama 3's."""

SCALING = ("type", "factor", "original_context_length", "finetuned", "yarn_beta_fast", "yarn_beta_slow")


def rope(facts: Facts) -> dict[str, Any]:
    """Plain, linear or YaRN positions. ValueError: scaling that is none of these, or that states more."""
    head = f"{facts.architecture}.rope.scaling."
    strange = [key for key in facts.file.facts if key.startswith(head) and key.removeprefix(head) not in SCALING]
    kind = facts.value("rope.scaling.type", "linear" if facts.has("rope.scaling.factor") else "none")
    if strange or kind not in ("none", "linear", "yarn"):
        raise ValueError(f"it scales its positions in a way that is not known ({', '.join([str(kind), *strange])})")
    found: dict[str, Any] = {"rope_type": "default", "rope_theta": facts.number("rope.freq_base", PLAIN)}
    if kind == "none":
        return found
    found |= {"rope_type": kind, "factor": facts.number("rope.scaling.factor")}
    if kind == "yarn":
        found["original_max_position_embeddings"] = facts.count("rope.scaling.original_context_length")
        betas = {name: f"rope.scaling.yarn_{name}" for name in ("beta_fast", "beta_slow")}
        found |= {name: facts.number(key) for name, key in betas.items() if facts.has(key)}
    return found


def llama_rope(facts: Facts) -> dict[str, Any]:
    """Llama's positions, stretched where the file says by how much. ValueError: otherwise than Llama 3's."""
    import numpy as np

    factors, plain = _factors(facts, "rope_freqs.weight"), rope(facts)
    if factors is None:
        return plain
    theta, dim, factor = plain["rope_theta"], facts.head_dim, max(factors)
    context, low, high = 8192, LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    turns = context * theta ** -(np.arange(0, dim, 2) / dim) / (2 * math.pi)  # of each frequency in the context
    kept = np.clip((turns - low) / (high - low), 0, 1)
    known = len(factors) == dim // 2 and np.allclose(1 / ((1 - kept) / factor + kept), factors, rtol=1e-4)
    if not known or plain["rope_type"] != "default":
        raise ValueError("it stretches its positions by other factors than Llama 3's (rope_freqs.weight)")
    return {"rope_type": "llama3", "rope_theta": theta, "factor": factor, **LLAMA3}


def phi3_rope(facts: Facts) -> dict[str, Any]:
    """Phi-3's positions: of a part of each head's dimensions, by factors where it reads long texts."""
    if (kind := facts.value("rope.scaling.type", "none")) not in ("none", "longrope"):
        raise ValueError(f"it scales its positions in a way that is not known ({str(kind)[:40]})")
    turned = facts.count("rope.dimension_count", facts.head_dim, most=facts.head_dim)
    found: dict[str, Any] = {"rope_theta": facts.number("rope.freq_base", PLAIN)}
    found["partial_rotary_factor"] = turned / facts.head_dim
    short, long = (_factors(facts, f"rope_factors_{length}.weight") for length in ("short", "long"))
    original = original_context(facts)
    if short is None and long is None and original == facts.count("context_length"):
        return found | {"rope_type": "default"}
    if short is None or long is None:
        raise ValueError("it is a Phi-3 for long texts without the factors by which its positions are stretched")
    if facts.has("rope.scaling.attn_factor"):
        found["attention_factor"] = facts.number("rope.scaling.attn_factor")
    stretched = {"short_factor": short, "long_factor": long, "original_max_position_embeddings": original}
    return found | {"rope_type": "longrope", **stretched}


def original_context(facts: Facts) -> int:
    """Tokens of the texts that the model was first trained on."""
    return facts.count("rope.scaling.original_context_length", facts.count("context_length"))


def _factors(facts: Facts, name: str) -> list[float] | None:
    """The numbers of a tensor that is a fact; None: there is no such tensor."""
    tensor = facts.file.tensors.get(name)
    if tensor is None:
        return None
    if tensor.kind != 0 or len(tensor.shape) != 1 or tensor.shape[0] > 2**14:
        raise ValueError(f"its {name} is no short list of numbers")
    return [float(one) for one in tensor.rows.view("<f4").ravel()]
