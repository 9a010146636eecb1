"""bench read, speed: tokens of text a second beside the bare forward pass, growth with length, and the first answer.

rate        the reader at its default settings against transformers' own forward pass of 2,048 tokens, in turn
int8        the reader that looks in int8 beside the one that does not, and how alike their scores are
growth      seconds over tokens on a log-log line: 1 is linear
first       a process that reads a file of two pages, from its start to the first and the last token of the answer
decoding    tokens of the answer against transformers' `generate` (bench/decode.py)
drafts      answers that quote, several tokens a step (read_drafts.py)
exactness   the recorder against transformers' eager attention, in float32, and a whole pass against float64; the scores
            that the published package marks tokens by, against loops
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from foveal.attention import Context, Recorder, attach, watch
from foveal.attention.profiles import whole_layers
from foveal.bench.decode import decode_rates
from foveal.bench.read_drafts import drafts
from foveal.bench.read_needles import ABOUT_ESSAYS
from foveal.bench.readers import MODEL, Bench
from foveal.evaluation.needle import growth
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row, largest
from foveal.models.language import load_language_model
from foveal.reading import InfiniRetri
from foveal.reading.published import token_scores
from foveal.reading.sentences import packed

PREFILL = 2048
QUESTION = "What happens when an attribute is not found?"


def speed(bench: Bench) -> Iterator[Row]:
    """All rows of this module."""
    yield from exactness(bench)
    yield from rate(bench)
    yield from in_int8(bench)
    yield from growing(bench)
    yield from decoding(bench)
    yield from first_answer(bench)
    yield from drafts(bench)


def rate(bench: Bench) -> Iterator[Row]:
    """Tokens of text a second against the bare forward pass, which answers nothing and keeps nothing."""
    text = bench.haystack(4 * PREFILL)
    ids = torch.tensor([bench.reader.looking.tokens.encode(text)[:PREFILL]])
    tokens = sum(len(sentence) for sentence in bench.sentences(text))

    def bare() -> None:
        with torch.inference_mode():
            bench.model.model.base_model(input_ids=ids, use_cache=False)

    ratio = paired(bare, lambda: bench.reader.retrieve(text, QUESTION), runs=3 if bench.settings.quick else 7)
    faster = ratio.median * tokens / PREFILL
    note = f"bare {PREFILL / ratio.a_ms * 1e3:,.0f} tokens/s, reader {tokens / ratio.b_ms * 1e3:,.0f}"
    note += f"; pairs {ratio.low * tokens / PREFILL:.2f} to {ratio.high * tokens / PREFILL:.2f}"
    yield Row.of("reader / bare forward pass", "tokens/s, ratio", faster, at_least=1.5, note=note)
    reading = bench.reader.retrieve(text, QUESTION)
    yield Row.of("reader", "forward tokens / token of text", reading.stats.forward_tokens / reading.stats.tokens)


def in_int8(bench: Bench) -> Iterator[Row]:
    """The looking pass in int8 beside the same in the weights' own type, in turn; and the scores of both."""
    system, metric, quick = "looking in int8 / in full", "tokens/s, ratio", bench.settings.quick
    if not bench.reader.looking.rough:
        note = "not run: the processor has bfloat16, or no VNNI; the reader looks in the weights' own type"
        yield Row.of(system, metric, math.nan, note=note)
        return
    text = bench.haystack(1_000 if quick else 3_000)
    full, rough = (InfiniRetri(bench.model, replace(bench.read, int8=int8)) for int8 in (False, True))
    ratio = paired(
        lambda: full.retrieve(text, QUESTION), lambda: rough.retrieve(text, QUESTION), runs=3 if quick else 5
    )
    yield Row.of(system, metric, ratio.median, at_least=1.5, note=str(ratio))
    windows = list(packed(bench.sentences(text), bench.read.window))
    scores = [
        torch.cat([one.flatten() for one in reader.looking.scores(windows, ABOUT_ESSAYS)]) for reader in (full, rough)
    ]
    alike = float(torch.corrcoef(torch.stack(scores))[0, 1])
    note = f"{len(scores[0]):,} scores of sentences, under {len(ABOUT_ESSAYS)} questions"
    yield Row.of("scores in int8 and in full", "correlation", alike, at_least=0.98, note=note)


def growing(bench: Bench) -> Iterator[Row]:
    """Reading time over length; bench/read_needles.py goes on to a million tokens."""
    lengths = (4_000, 8_000, 16_000) if bench.settings.quick else (8_000, 16_000, 64_000)
    seconds = []
    for length in lengths:
        text = bench.haystack(length)
        start = time.perf_counter()
        reading = bench.reader.retrieve(text, QUESTION)
        seconds.append(time.perf_counter() - start)
        yield Row.of(f"reader, {length // 1000}k tokens", "tokens/s", reading.stats.tokens / seconds[-1])
    yield Row.of("reader", "growth of time with length (1: linear)", growth(lengths, seconds), at_most=1.15)


def decoding(bench: Bench) -> Iterator[Row]:
    """Tokens of an answer, after a prompt as long as a reader's."""
    ids = bench.reader.looking.tokens.encode(bench.haystack(1_000))[:600]
    rates = decode_rates(bench.model, ids, tokens=32 if bench.settings.quick else 64)
    note = f"{rates.per_token}; the same tokens up to {rates.same:.0%}"
    yield Row.of(
        "decoding / transformers' generate", "tokens/s, ratio", rates.per_token.median, at_least=1.5, note=note
    )


def exactness(bench: Bench) -> Iterator[Row]:
    """The recorded rows beside eager attention, over all whole layers: on the same hidden states, and end to end.

    End to end float32 itself is the limit: two ways to add the same numbers part by more than 1e-5 after 24 layers, so
    both are held against float64.
    """
    for name in (MODEL, "gemma3-270m"):
        loaded = load_language_model(name, dtype="float32")
        model, ids = loaded.model, torch.tensor([loaded.encode(bench.haystack(1_000))[:512]])
        rows = torch.arange(480, 512)[None]
        layers = whole_layers(model.config)
        recorder = Recorder(rows, dict.fromkeys(layers))
        with torch.inference_mode(), attach(model, _Eager(), recorder=recorder) as attached:
            attached.base(input_ids=ids, use_cache=False)
        eager = _eager(model, ids, rows, layers)
        worst = _largest(recorder.attention, eager)
        yield Row.of(
            f"recorder, {name}", "largest difference from eager", worst, at_most=1e-5, note="float32, 512 tokens"
        )
        yield token_score_row(name, recorder.attention[layers[-1]][0], eager[layers[-1]][0])
        whole = Recorder(rows, dict.fromkeys(layers))
        watch(model, ids, whole)
        exact = _eager(model.double(), ids, rows, layers)
        ours, theirs = _largest(whole.attention, exact), _largest(eager, exact)
        note = f"ours {ours:.1e}, eager {theirs:.1e} from float64"
        yield Row.of(f"a whole pass, {name}", "error in float32 / eager's", ours / theirs, at_most=1.5, note=note)


def token_score_row(name: str, recorded: Tensor, eager: Tensor) -> Row:
    """Scores by the recorded attention (H, R, K) of the last R of K tokens, beside loops over eager's.

    Phrases of an odd and of an even number of tokens; token j of N: the sum over rows i of w_i² G'[i, j], G' that of G
    over its phrase, w_i what row i pays to the rows.
    """
    ours, theirs = (part.sum(0).double().cpu().numpy() for part in (recorded, eager))
    count, rows = theirs.shape[1] - theirs.shape[0], range(theirs.shape[0])
    worst = []
    for phrase in (7, 8):
        before, after = math.ceil((phrase - 1) / 2), (phrase - 1) // 2
        found = token_scores(ours[:, :count], ours[:, count:].sum(1, keepdims=True), phrase)
        for j in range(count):
            near = range(max(0, j - before), min(count, j + after + 1))
            score = sum(theirs[i, count:].sum() ** 2 * sum(theirs[i, u] for u in near) for i in rows)
            worst.append(abs(found[j] - score) / score)
    note = "phrases of 7 and of 8 tokens, by loops over eager attention"
    return Row.of(f"token scores, {name}", "largest relative difference", largest(*worst), at_most=1e-4, note=note)


class _Eager:
    """The attention of transformers' eager, so that what a recorder sees is what eager sees."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor | None:
        share = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
        length = query.shape[2]
        seen = context.mask.rows(torch.arange(length).expand(len(query), -1))
        logits = (query @ key.transpose(2, 3) * context.scale).masked_fill(~seen, torch.finfo(query.dtype).min)
        return logits.softmax(-1, dtype=torch.float32).to(query.dtype) @ value

    def seen(self, rows: Tensor, context: Context) -> Tensor | None:  # noqa: ARG002
        return None


def _eager(model: Any, ids: Tensor, rows: Tensor, layers: Sequence[int]) -> dict[int, Tensor]:
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            every = model.base_model(input_ids=ids, use_cache=False, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    return {layer: every[layer][:, :, rows[0]] for layer in layers}


def _largest(found: Mapping[int, Tensor], expected: Mapping[int, Tensor]) -> float:
    return largest(*(float((found[at].double() - expected[at].double()).abs().max()) for at in expected))


_TWO_PAGES = """
import json, sys, time
start = time.time() - float(sys.argv[3])
from pathlib import Path
from foveal.models import load_language_model
from foveal.reading import AnswerDelta, Done, InfiniRetri
from foveal.text.loading import read_document
first = None
reader = InfiniRetri(load_language_model())
for event in reader.stream(read_document(Path(sys.argv[1])), sys.argv[2]):
    if isinstance(event, AnswerDelta) and first is None:
        first = time.time()
print(json.dumps([first, time.time()]))
"""


def first_answer(bench: Bench) -> Iterator[Row]:
    """A new process, its imports and the model's loading included; medians of three."""
    from pydoc_data.topics import topics

    text = bench.haystack(1_000) + "\n\n" + topics["attribute-access"][:1_500]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "two-pages.txt"
        path.write_text(text, encoding="utf-8")
        times = [_process(path) for _ in range(3)]
    words = f"{len(text.split()):,} words"
    yield Row.of(
        "a file of two pages", "seconds to the first token", median(t[0] for t in times), at_most=8, note=words
    )
    yield Row.of("a file of two pages", "seconds to the whole answer", median(t[1] for t in times), at_most=11)


def _process(path: Path) -> Sequence[float]:
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-c", _TWO_PAGES, str(path), "What does __getattribute__ do?", "0"],
        capture_output=True,
        check=True,
        text=True,
    )
    first, last = json.loads(done.stdout.splitlines()[-1])
    return (first or last) - start, last - start
