"""A real model: it finds what a model of the same shape with random weights does not, and answers from a library."""

from __future__ import annotations

import copy
import random
import re
from dataclasses import replace

import pytest
import torch

from foveal.library import Library
from foveal.models.language import load_language_model
from foveal.reading import InfiniRetri, ReadSettings
from foveal.types import Document

NEEDLE = "The keeper of the tide mill at Fenwick is called Orsin Vale."
QUESTION = "What is the keeper of the tide mill at Fenwick called?"
SETTINGS = ReadSettings(budget=128, follow=0)


@pytest.fixture(scope="module")
def model():
    return load_language_model()


def haystack(seed: int) -> str:
    """About 1,500 tokens of Python's manual with the needle at a place that the seed says."""
    from pydoc_data.topics import topics

    generator = random.Random(seed)
    text = "\n\n".join(topics.values())
    start = generator.randrange(len(text) - 9000)
    sentences = re.split(r"(?<=[.]) (?=[A-Z])", text[start : start + 6000])
    sentences.insert(generator.randrange(1, len(sentences) - 1), NEEDLE)
    return " ".join(sentences)


def keeps(reader: InfiniRetri, seed: int) -> bool:
    reading = reader.retrieve(haystack(seed), QUESTION)
    assert reading.stats.memory_tokens <= SETTINGS.budget
    return any(NEEDLE in one.text for one in reading.excerpts)


@pytest.mark.model
@pytest.mark.slow
def test_a_needle_is_kept_by_what_the_model_has_learned(model):
    attention = replace(SETTINGS, words=False, meaning=False, budget=32)  # the needle and little more
    trained = InfiniRetri(model, attention)
    assert trained.looking.profile.calibrated
    assert all(keeps(trained, seed) for seed in range(4))
    weights = copy.deepcopy(model.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one in weights.parameters():
            noise = torch.randn(one.shape, generator=generator)
            one.copy_(noise * 0.02 if one.dim() > 1 else torch.ones_like(one))
    blank = InfiniRetri(replace(model, model=weights), replace(attention, floor=0.0), profile=trained.looking.profile)
    assert sum(keeps(blank, seed) for seed in range(4)) <= 2


@pytest.mark.model
def test_a_library_answers(model, own_settings):
    from foveal.text.sample import manual

    library = Library.open(settings=own_settings, encoder="none")
    mill = Document.of("test:mill", f"Mills are old. {NEEDLE} Rain fell.", "The mill")
    library.add_documents([*list(manual())[:12], mill])
    answer = library.ask(QUESTION, model="qwen2.5-coder-0.5b")
    assert "Orsin Vale" in answer.text
    assert answer.found
    assert [one.quote for one in answer.citations] == [NEEDLE]
