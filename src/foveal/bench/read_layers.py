"""bench read, layers: where in a model the evidence is looked at, for questions answered right and wrong.

The paper's observation: attention from the question to the sentence that holds the answer is strong in some layers,
and stronger where the model then answers right. Here on Natural Questions, each in one window around its evidence,
with every head of every layer that sees the whole text; the empty question is taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from foveal.attention import Recorder, SharedPrefix, watch
from foveal.attention.profiles import whole_layers
from foveal.bench.readers import Bench
from foveal.evaluation.answers import score
from foveal.evaluation.longdoc import Question, load, sample
from foveal.evaluation.plots import lines
from foveal.evaluation.tables import Row
from foveal.reading.prompts import NO_QUESTION
from foveal.reading.sentences import Sentence

WINDOW = 600  # tokens around the evidence


def layers(bench: Bench, pictures: Path) -> Iterator[Row]:
    """A picture, and rows with the layer where evidence is looked at most."""
    task = load("natural_question", bench.settings.data)
    count = 10 if bench.settings.quick else 40
    questions = [one for one in sample(task, 109, bench.settings.seed).questions if one.evidence][:count]
    numbers = whole_layers(bench.model.model.config)
    right: list[Tensor] = []
    wrong: list[Tensor] = []
    for question in questions:
        window = _window(bench, question)
        text = "".join(one.text for one in window)
        answer = bench.answer(text, [(0, len(text))], question.question)
        paid = _paid(bench, question, window, numbers)
        (right if score("recall", answer, question.answers) >= 0.5 else wrong).append(paid)
    series = {
        f"answered {name} ({len(found)})": torch.stack(found).mean(0).tolist()
        for name, found in (("right", right), ("wrong", wrong))
        if found
    }
    lines(
        numbers,
        series,
        pictures / f"read-layers-{bench.model_name}.png",
        title=f"Where {bench.model_name} looks at the evidence",
        x_label="layer",
        y_label="share of the question's attention (mean over heads)",
    )
    every = torch.stack([*right, *wrong]).mean(0)
    best = numbers[int(every.argmax())]
    yield Row.of(f"{bench.model_name}", "layer that looks most at the evidence", best, note=f"share {every.max():.3f}")
    last = float(every[-1] / every.max())
    yield Row.of(f"{bench.model_name}", "last layer's share / best layer's", last)
    if right and wrong:
        more = fmean(float(one.max()) for one in right) / max(1e-9, fmean(float(one.max()) for one in wrong))
        yield Row.of(f"{bench.model_name}", "attention to evidence, right / wrong answers", more)


def _window(bench: Bench, question: Question) -> list[Sentence]:
    """Sentences around the first evidence."""
    place = question.evidence[0][0].start
    sentences = bench.sentences(question.text)
    middle = next(number for number, one in enumerate(sentences) if one.end > place)
    first = last = middle
    size = len(sentences[middle])
    while size < WINDOW and (first > 0 or last + 1 < len(sentences)):
        if first > 0:
            first -= 1
            size += len(sentences[first])
        if last + 1 < len(sentences):
            last += 1
            size += len(sentences[last])
    return sentences[first : last + 1]


def _paid(bench: Bench, question: Question, window: Sequence[Sentence], numbers: Sequence[int]) -> Tensor:
    """(layers,) the mean attention of all heads to the evidence because of the question."""
    looking = bench.reader.looking
    tails = [looking.prompt.tail(question.question), looking.prompt.tail(NO_QUESTION)]
    text = [*looking.prompt.head, *(token for one in window for token in one.ids)]
    layout = SharedPrefix(torch.tensor([len(text)]), len(text), [len(tail) for tail in tails])
    span = question.evidence[0][0]
    held = [s.start < span.end and s.end > span.start for s in window for _ in s.ids]
    columns = len(looking.prompt.head) + torch.tensor(held).nonzero().flatten()

    def evidence(_: int, weights: Tensor) -> Tensor:
        paid = weights[0, :, :, columns].sum(-1).mean(0)
        return paid[: len(tails[0])].mean() - paid[len(tails[0]) :].mean()

    rows = torch.cat([layout.rows(0), layout.rows(1)], dim=1)
    recorder = Recorder(rows, dict.fromkeys(numbers), stop=True, reduce=evidence)
    ids = torch.tensor([text + tails[0] + tails[1]])
    watch(bench.model.model, ids, recorder, method=layout, positions=layout.positions)
    return torch.stack([recorder.attention[number] for number in numbers])
