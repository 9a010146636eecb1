"""What was read is kept for prompts that begin alike: the same answer to the bit, one limit in bytes, any threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch

from foveal.errors import InputError
from foveal.models.decoding import Decoder
from foveal.models.key_values import KeyValues
from foveal.models.language import LanguageModel, load_language_model
from foveal.models.local_chat import LocalChat
from foveal.models.prefix_cache import PrefixCache, restore

CHUNK = 4


def layers_of(ids: Sequence[int], count: int = 2) -> list[KeyValues]:
    """Layers that hold, for each token, numbers that only it and those before it decide."""
    made = []
    for number in range(count):
        values = [float(hash((number, *ids[: place + 1])) % 1000) for place in range(len(ids))]
        layer = KeyValues()
        row = torch.tensor(values)[None, None, :, None].expand(1, 1, -1, 2).contiguous()
        layer.update(row, row + 0.5)
        made.append(layer)
    return made


def test_a_prompt_gets_the_chunks_that_it_begins_with_and_reads_one_token_itself() -> None:
    kept = PrefixCache(10**9)
    ids = list(range(12))
    kept.put(ids, layers_of(ids), CHUNK)
    for prompt, chunks in (
        (ids, 2),
        ([*ids, 99], 3),
        ([*ids[:4], 99, 99, 99, 99, 99], 1),
        ([99, *ids], 0),
        (ids[:4], 0),
        ([], 0),
    ):
        held = kept.match(prompt, CHUNK)
        assert len(held) == chunks, prompt
        layers = [KeyValues(), KeyValues()]
        restore(layers, held, 0)
        for layer, true in zip(layers, layers_of(prompt), strict=True):
            if chunks:
                assert torch.equal(layer.keys[:, :, : chunks * CHUNK], true.keys[:, :, : chunks * CHUNK])
                assert torch.equal(layer.values[:, :, : chunks * CHUNK], true.values[:, :, : chunks * CHUNK])


def test_what_documents_share_is_held_once_and_the_oldest_leaf_goes_first() -> None:
    one = PrefixCache(10**9)
    head = [1] * CHUNK
    one.put(head, layers_of(head), CHUNK)
    chunk = one.bytes
    kept = PrefixCache(4 * chunk)
    for document in (10, 20, 30):
        ids = [*head, *[document] * CHUNK]
        kept.put(ids, layers_of(ids), CHUNK)
    assert kept.bytes == 4 * chunk
    kept.match([*head, *[10] * CHUNK, 0], CHUNK)  # used again: 20 is the oldest now
    ids = [*head, *[40] * CHUNK]
    kept.put(ids, layers_of(ids), CHUNK)
    assert kept.bytes == 4 * chunk
    found = {one: len(kept.match([*head, *[one] * CHUNK, 0], CHUNK)) for one in (10, 20, 30, 40)}
    assert found == {10: 2, 20: 1, 30: 2, 40: 2}
    tiny = PrefixCache(1)
    tiny.put(ids, layers_of(ids), CHUNK)
    assert tiny.bytes == 0
    with pytest.raises(InputError):
        PrefixCache(0)


def test_threads_share_it() -> None:
    kept = PrefixCache(40 * 4 * CHUNK * 2 * 4)
    wrong: list[object] = []

    def work(seed: int) -> None:
        for step in range(60):
            ids = [1] * CHUNK + [(seed * step) % 7] * CHUNK + [step % 5] * CHUNK
            held = kept.match(ids, CHUNK)
            layers = [KeyValues(), KeyValues()]
            restore(layers, held, 0)
            for layer, true in zip(layers, layers_of(ids), strict=True):
                if held and not torch.equal(layer.keys[:, :, : layer.length], true.keys[:, :, : layer.length]):
                    wrong.append(ids)
            kept.put(ids, layers_of(ids), CHUNK)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert kept.bytes <= kept.most_bytes


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model("qwen2.5-coder-0.5b")


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_answers_the_same_to_the_bit_and_reads_a_document_once(model: LanguageModel) -> None:
    document = "The keeper of the tide mill is called Orsin Vale, and he has two cats. " * 18
    other = "The lock of the upper canal was built of oak by a guild of carpenters. " * 18
    talks = [
        [{"role": "system", "content": text}, {"role": "user", "content": question}]
        for question in ("Who keeps the mill?", "How many cats are there?")
        for text in (document, other)
    ]
    kept = PrefixCache(2**30)
    plain, shared = LocalChat(model), LocalChat(model, kept=kept)
    prompts = [model.encode(model.render(talk)) for talk in talks]
    fresh = [Decoder(model.model).prefill(prompt).logits for prompt in prompts]
    decoder = Decoder(model.model, kept=kept)
    for prompt, logits in zip(prompts, fresh, strict=True):
        assert torch.equal(decoder.prefill(prompt).logits, logits)
    chunks = [(len(prompt) - 1) // 256 * 256 for prompt in prompts]
    assert min(chunks) > 0
    assert kept.found >= sum(chunks[2:])  # the second question reads neither document again
    from foveal.models.chat import Sampling

    few = Sampling(max_tokens=4)
    assert shared.chat(talks[2], few) == plain.chat(talks[2], few)
    assert kept.bytes <= kept.most_bytes
