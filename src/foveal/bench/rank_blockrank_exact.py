"""bench rank-blockrank, exact: what holds to the last digits, on the real model in float32.

order       documents that change places, each with its ID, change nothing; under full attention the same test fails
apart       one document changed: how many of the others have a key or value that differs in any bit, in any layer
paths       the signal by lean layers against transformers' own, against one T x T mask over all tokens, and against
            documents that were kept
kernel      one layer's queries, keys and values under the block mask: the block kernel, its plain loop and
            FlexAttention against masked scaled-dot-product attention, in float32 and bfloat16

Lists are XQuAD's test lists. FlexAttention runs uncompiled: its results are the same, and compiling it takes a minute.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention import Recorder, attach, block_attention
from foveal.attention.kernel import plain
from foveal.bench.attention_models import Capture
from foveal.bench.rank_blockrank_arms import KEPT_LAYOUT, LAYOUT
from foveal.bench.rank_blockrank_data import TEST, Asked, XQuad
from foveal.bench.settings import BenchSettings
from foveal.evaluation.output_error import far_apart
from foveal.evaluation.tables import Row
from foveal.models.language import LanguageModel, load_language_model
from foveal.ranking.blockrank import BlockRank, default_layer, full_layers
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.blockrank_forward import read
from foveal.ranking.blockrank_plan import Ask
from foveal.ranking.blockrank_prompt import Prompter, Segments, positions, segment_blocks, visible

DOCUMENTS = 6
SAME, CLOSE, ROUNDED = 1e-4, 1e-5, 1e-2


@dataclass(frozen=True)
class Case:
    """A list's prompt, and the model in float32."""

    model: LanguageModel
    layer: int
    asked: Asked

    @classmethod
    def of(cls, settings: BenchSettings) -> Case:
        """The first of XQuAD's test lists."""
        model = load_language_model(dtype="float32")
        (asked,) = XQuad.of(settings).task(TEST, 1, documents=DOCUMENTS).asked
        return cls(model, default_layer(model.model.config), asked)

    @property
    def segments(self) -> Segments:
        """The prompt."""
        return Prompter(self.model, LAYOUT).segments(self.asked.query, self.asked.texts)

    def scores(self, segments: Segments, *, full: bool = False, gradients: bool = False) -> Tensor:
        """The signal; with gradients on, through transformers instead of lean layers."""
        with torch.set_grad_enabled(gradients):
            return read(self.model.model, segments, Ask(layers=(self.layer,), full=full)).scores(self.layer).detach()


def exact(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench rank-blockrank-exact`."""
    case = Case.of(settings)
    yield from order_rows(case)
    yield apart_row(case)
    yield from path_rows(case)
    yield from kernel_rows(case)


def order_rows(case: Case) -> Iterator[Row]:
    """The largest change of a document's score when the list is turned round."""
    segments = case.segments
    moved = replace(segments, documents=segments.documents[::-1])
    for name, full in (("BlockRank", False), ("full attention", True)):
        before, after = (case.scores(one, full=full) for one in (segments, moved))
        bars = {"at_least": SAME} if full else {"at_most": SAME}
        note = "the control: it must change" if full else f"{len(before)} documents"
        change = float((after.flip(0) - before).abs().max())
        yield Row.of(f"{name}, list turned round", "largest change of a score", change, note=note, **bars)


def apart_row(case: Case) -> Row:
    """Documents beside the changed one whose keys or values are not the same to the bit."""
    segments, last = case.segments, full_layers(case.model.model.config)[-1]
    first, *rest = segments.documents
    changed = replace(segments, documents=(replace(first, ids=first.ids[::-1]), *rest))
    with torch.inference_mode():
        before, after = (read(case.model.model, one, Ask(keep=last)).blocks() for one in (segments, changed))
    same = [all(torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in zip(before, after, strict=True)]
    others = [not told for place, told in enumerate(same) if place != 1]
    note = f"{len(others)} others, {last + 1} layers; the changed one differs: {not same[1]}"
    count = float("nan") if same[1] else sum(others)  # keys that no text moves say nothing
    return Row.of("one document changed", "others that change", count, at_most=0, note=note)


def path_rows(case: Case) -> Iterator[Row]:
    """Largest differences of a score between the ways to compute it."""
    segments = case.segments
    ours = case.scores(segments)
    others = {
        "through transformers": case.scores(segments, gradients=True),
        "one mask over all tokens": by_definition(case, segments),
    }
    for name, theirs in others.items():
        yield Row.of(f"lean layers against {name}", "largest difference", far_apart(ours, theirs), at_most=CLOSE)
    read_now, held = (
        BlockRank(case.model, layer=case.layer, layout=KEPT_LAYOUT, cache=cache) for cache in (None, BlockCache())
    )
    held.keep(case.asked.hits)
    both = [torch.tensor(one.scores(case.asked.query, case.asked.hits)) for one in (read_now, held)]
    yield Row.of("documents kept against read", "largest difference", far_apart(*both), at_most=CLOSE)


def by_definition(case: Case, segments: Segments) -> Tensor:
    """The signal from transformers' own attention under a T x T mask."""
    ids, places, mask = _whole(segments)
    lengths = segments.lengths
    first = sum(lengths[:-1])
    rows = torch.tensor([[first + place for place in segments.signal]])
    recorder = Recorder(rows, {case.layer: None})
    with torch.inference_mode(), attach(case.model.model, recorder=recorder) as attached:
        attached.base(input_ids=ids, position_ids=places, attention_mask=mask, use_cache=False)
    paid = recorder.attention[case.layer][0, :, :, lengths[0] : first]
    share = (paid / paid.sum(-1, keepdim=True)).mean((0, 1))
    return torch.stack([part.sum() for part in torch.split(share, lengths[1:-1])])


def _whole(segments: Segments) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and positions (1, T) of all tokens in the order of the prompt, and the mask (1, 1, T, T) that is added."""
    lengths, seen = segments.lengths, visible(segments.lengths)
    documents = (token for one in segments.documents for token in one.ids)
    ids = torch.tensor([[*segments.instruction, *documents, *segments.query]])
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return ids, positions(lengths, segments.offset)[None], mask[None, None]


def kernel_rows(case: Case) -> Iterator[Row]:
    """The same layer's attention by each kernel."""
    segments = case.segments
    ids, places, mask = _whole(segments)
    capture = Capture([case.layer])
    with torch.inference_mode(), attach(case.model.model, capture) as attached:
        attached.base(input_ids=ids, position_ids=places, attention_mask=mask, use_cache=False)
    query, key, context = capture.kept[case.layer]
    value = torch.randn(key.shape, generator=torch.Generator().manual_seed(0))
    blocks, seen, scale = segment_blocks(segments.lengths), visible(segments.lengths), context.scale
    for dtype, bar in ((torch.float32, CLOSE), (torch.bfloat16, ROUNDED)):
        q, k, v = (part.to(dtype) for part in (query, key, value))
        right = scaled_dot_product_attention(
            q.float(), k.float(), v.float(), attn_mask=seen, scale=scale, enable_gqa=True
        )
        told = {
            "block kernel": block_attention(q, k, v, blocks, scale=scale)[0],
            "plain loop": plain(q, k, v, blocks, scale=scale)[0],
            "FlexAttention": _flex(q, k, v, blocks.block_mask(), scale),
        }
        for name, output in told.items():
            rounds = name == "FlexAttention" and dtype == torch.bfloat16  # a peer, which rounds its scores, too
            note = f"{len(seen)} tokens in {len(segments.lengths)} segments, {str(dtype).removeprefix('torch.')}"
            system = f"{name} against masked attention"
            yield Row.of(
                system, "largest difference", far_apart(output, right), at_most=None if rounds else bar, note=note
            )


def _flex(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scale: float) -> Tensor:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # it says that it is slow when it is not compiled
        output: Tensor = flex_attention(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)
        return output
