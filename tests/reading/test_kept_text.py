"""A kept text's answers, where a model's template opens a thought before them."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from foveal.attention import RetrievalAttention
from foveal.errors import InputError
from foveal.models import decoding
from foveal.reading.kept import KeptText
from foveal.reading.sources import text_of

METHOD = RetrievalAttention(index="flat", n_sink=4, n_local=16, top_k=8)


@pytest.mark.parametrize(
    ("said", "answer"),
    [("He reads. So it is he.</think>\n\nThe keeper is Orsin Vale.", "The keeper is Orsin Vale."), ("He reads.", None)],
)
def test_reasoning_that_the_template_began_is_no_answer(qwen, tmp_path, monkeypatch, said, answer):
    tokenizer = copy.deepcopy(qwen.tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}<|turn|>assistant\n<think>\n"
    )
    model = replace(qwen, tokenizer=tokenizer)
    text = text_of("The keeper of the mill is Orsin Vale. It rained upon the river. " * 20)
    kept = KeptText.keep(model, text, tmp_path / "kept", METHOD)
    monkeypatch.setattr(decoding, "tokens", lambda *_, **__: iter(model.encode(said)))
    if answer is None:
        with pytest.raises(InputError, match="reasoned to its last token"):
            kept.read("Who keeps the mill?")
    else:
        assert kept.read("Who keeps the mill?").text.startswith(answer.removesuffix("."))
