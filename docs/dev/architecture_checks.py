"""What architectures.py checks of a decoder, part by part: how far each way of looking is from the model's own.

A check takes a `Subject` and gives the greatest error, in units of the logits' spread; it raises an error of
foveal.errors where Foveal refuses, and `Untried` where there is nothing to hold it against. What else is raised is a
fault.

attach         every method, keeping all there is to see: in one piece, in pieces, padded, packed, written, backwards;
               the recorder, chosen heads
caches         RetrievalAttention and HeadCache, holding all
longheads      LongHeads within its window
side by side   SharedPrefix, and BlockRank: the scores whatever the order of the documents, the logits by definition
landmarks      a landmark model, read whole and through its cache
gates, heads   training gates, detecting heads, the layer that readers take
edits          ACT and MaskHeads change what is computed
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from architecture_subjects import (
    LENGTH,
    WAYS,
    Different,
    Subject,
    Untried,
    cache_name,
    distance,
    ids,
    in_pieces,
    written,
)
from small_decoders import LAYERS, WORDS
from torch import Tensor

from foveal.attention import (
    ACT,
    DHSA,
    BlockTopK,
    Dense,
    DHSABlocks,
    FlexPrefill,
    HeadCache,
    LandmarkModel,
    LandmarkSettings,
    LongHeads,
    MaskHeads,
    RandomBlocks,
    Recorder,
    RetrievalAttention,
    SharedPrefix,
    SinkRule,
    Streaming,
    VerticalSlash,
    attach,
    watch,
)
from foveal.attention.head_detection import DetectionSettings, detect
from foveal.attention.head_gates import GateSettings, train_gates
from foveal.attention.landmark_training import own_tokenizer
from foveal.attention.profiles import last_layer
from foveal.errors import InputError
from foveal.models.language import LanguageModel
from foveal.ranking.blockrank import default_layer, full_layers
from foveal.ranking.blockrank_forward import read
from foveal.ranking.blockrank_plan import Ask
from foveal.ranking.blockrank_prompt import DocumentTokens, Segments, positions, visible

Check = Callable[[Subject], float]

# -- attach ------------------------------------------------------------------------------------------------------------

METHODS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "dense": Dense,
    "streaming": lambda: Streaming(sinks=128, recent=4096),
    "vertical-slash": lambda: VerticalSlash(vertical=4096, slash=4096),
    "block-topk": lambda: BlockTopK(density=1.0),
    "random": lambda: RandomBlocks(density=1.0),
    "flexprefill": lambda: FlexPrefill(gamma=1.0, min_budget=1),
    "dhsa": lambda: DHSA(density=1.0),
    "dhsa-blocks": lambda: DHSABlocks(density=1.0),
}
"""Each keeps all there is to see."""


@torch.inference_mode()
def attached(subject: Subject, *, method: str, way: str, **where: Any) -> float:
    """A way of reading under a method, against the model's own."""
    expected = subject.own(way)
    with attach(subject.model, METHODS[method](), **where):
        return distance(WAYS[way](subject.model), expected)


def backwards(subject: Subject) -> float:
    """Gradients under a method, against the model's own; they are held to a hundredth of what outputs are."""
    model = copy.deepcopy(subject.model).requires_grad_(True)
    try:
        own = _gradients(model)
    except Exception as error:
        raise Untried(f"the model itself cannot: {error}") from error
    with attach(model, BlockTopK(density=1.0)):
        found = _gradients(model)
    if found.keys() != own.keys():
        raise Different("other weights have gradients")
    return max(float((found[name] - own[name]).abs().max() / (1e-3 + own[name].abs().max())) for name in own) / 100


def _gradients(model: Any) -> dict[str, Tensor]:
    model.zero_grad()
    model(input_ids=ids(1), use_cache=False).logits.square().mean().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def recorded(subject: Subject) -> float:
    """What chosen rows look at, against the attentions that the model itself tells."""
    rows = torch.tensor([[5, LENGTH // 2, LENGTH - 1]])
    recorder = Recorder(rows, dict.fromkeys(range(_layers(subject.model))))
    watch(subject.model, ids(1), recorder)
    found = [recorder.attention[layer] for layer in sorted(recorder.attention)]
    if not found:
        raise Different("nothing was recorded")
    own = _attentions(subject)
    if len(own) != len(found):
        raise Untried(f"it tells {len(own)} attentions, and {len(found)} layers were recorded")
    return max(distance(_shares(one), _shares(told[:, :, rows[0]])) for one, told in zip(found, own, strict=True))


def _shares(attention: Tensor) -> Tensor:
    """Of what is paid to tokens: some models (Granite) tell it without what their sinks take."""
    return attention / attention.sum(-1, keepdim=True)


def _attentions(subject: Subject) -> list[Tensor]:
    try:
        model = subject.fresh()
        model.set_attn_implementation("eager")
        with torch.inference_mode():
            told = model(input_ids=ids(1), output_attentions=True, use_cache=False).attentions
    except Exception as error:
        raise Untried(f"it tells no attentions: {error}") from error
    return [one for one in told or () if isinstance(one, Tensor) and one.shape[-2] == LENGTH]


def _layers(model: Any) -> int:
    return int(model.config.get_text_config().num_hidden_layers)


# -- methods with a cache of their own ---------------------------------------------------------------------------------

CACHES: dict[str, Callable[[], Any]] = {
    "retrieval, in its window": lambda: RetrievalAttention(n_sink=16, n_local=1024),
    "retrieval, all found": lambda: RetrievalAttention(n_sink=16, n_local=16, top_k=1000, index="flat", tail=False),
    "retrieval, full": lambda: RetrievalAttention(n_sink=16, n_local=16, index="full"),
    "head-cache, snapkv": lambda: HeadCache(policy="snapkv", keep=1.0),
    "head-cache, streaming": lambda: HeadCache(policy="streaming", keep=1.0, sinks=4),
}


def _longheads() -> LongHeads:
    return LongHeads(attention_length=512, chunk_size=32)


@torch.inference_mode()
def cached(subject: Subject, *, method: Callable[[], Any], way: str) -> float:
    """What is written from a method's cache, or read into it piece by piece.

    Pieces are held against the whole, too: some models (Moshi's windows) read otherwise in their own pieces.
    """
    model, made = subject.model, method()
    expected = subject.own(way)
    with attach(model, made):
        if way == "written":
            return distance(written(model, **{cache_name(model): made.make_cache(model)}), expected)
        found = in_pieces(model, made.make_cache(model, tokens=LENGTH))
    return min(distance(found, expected), distance(found, subject.own("whole")))


@torch.inference_mode()
def long_whole(subject: Subject) -> float:
    """LongHeads without a cache."""
    with attach(subject.model, _longheads()):
        found = subject.model(input_ids=ids(1), use_cache=False).logits
    return distance(found, subject.own("whole"))


# -- texts side by side ------------------------------------------------------------------------------------------------


def shared_prefix(subject: Subject) -> float:
    """The second of two questions behind a text looks as if the first were not there."""
    layout, text = SharedPrefix(torch.tensor([100]), 100, [15, 20]), ids(1, 135, seed=3)
    together = _looked(subject.model, text, layout.rows(1), layout)
    alone = _looked(subject.model, torch.cat([text[:, :100], text[:, 115:]], 1), torch.arange(100, 120)[None], None)
    if not alone:
        raise Different("nothing was recorded")
    without = {layer: torch.cat([paid[..., :100], paid[..., 115:]], -1) for layer, paid in together.items()}
    return max(distance(without[layer], paid) for layer, paid in alone.items())


def _looked(model: Any, text: Tensor, rows: Tensor, layout: SharedPrefix | None) -> dict[int, Tensor]:
    recorder = Recorder(rows, dict.fromkeys(range(_layers(model))))
    watch(model, text, recorder, method=layout, positions=layout.positions if layout else None)
    return recorder.attention


ORDER = [3, 1, 0, 2]


def _segments(order: list[int]) -> Segments:
    texts = [ids(1, length, seed=length)[0].tolist() for length in (20, 31, 9, 40)]
    documents = [DocumentTokens(str(n), tuple(text), (None,) * len(text)) for n, text in enumerate(texts)]
    return Segments(tuple(range(5, 25)), tuple(documents[n] for n in order), tuple(range(40, 60)), (18, 19), 200)


@torch.inference_mode()
def order_of_documents(subject: Subject) -> float:
    """BlockRank gives a document the same score wherever it stands."""
    model = subject.model
    layers = tuple(full_layers(model.config)[-2:]) or (default_layer(model.config),)
    first = read(model, _segments([0, 1, 2, 3]), Ask(layers=layers))
    other = read(model, _segments(ORDER), Ask(layers=layers))
    return max(distance(other.scores(layer), first.scores(layer)[ORDER]) for layer in layers)


@torch.inference_mode()
def by_definition(subject: Subject) -> float:
    """BlockRank's logits of the question, against the model's own under a mask that says what sees what."""
    model, segments = subject.model, _segments([0, 1, 2, 3])
    found = read(model, segments, Ask(rows="query")).logits
    try:
        own = _masked(subject, segments)
    except Exception as error:
        raise Untried(f"the model itself cannot: {type(error).__name__}: {error}") from error
    return distance(found, own[0, sum(segments.lengths[:-1]) + segments.signal[0] :])


def _masked(subject: Subject, segments: Segments) -> Tensor:
    model, lengths = subject.model, segments.lengths
    places, seen = positions(lengths, segments.offset), visible(lengths)
    text = model.config.get_text_config()
    window, kinds = getattr(text, "sliding_window", None), getattr(text, "layer_types", None)
    masks = {"full_attention": _as_mask(seen)}
    if window:
        masks["sliding_attention"] = _as_mask(seen & (places[:, None] - places < window))
    tokens = [*segments.instruction, *(token for one in segments.documents for token in one.ids), *segments.query]
    kind = "sliding_attention" if window and not kinds and _slides(subject) else "full_attention"
    mask = masks if window and kinds else masks[kind]
    given = (
        {"position_ids": places[None]} if {"position_ids", "kwargs"} & {*signature(model.forward).parameters} else {}
    )
    return model(input_ids=torch.tensor([tokens]), attention_mask=mask, use_cache=False, **given).logits


def _slides(subject: Subject) -> bool:
    """Whether it keeps to its window in a text that is read whole; Moshi does so in its cache alone."""
    causal = _as_mask(torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril())
    found = subject.model(input_ids=ids(1), attention_mask=causal, use_cache=False).logits
    return distance(found, subject.own("whole")) > subject.tolerance


def _as_mask(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]


# -- landmarks, gates, heads, edits ------------------------------------------------------------------------------------


@torch.inference_mode()
def landmarks(subject: Subject) -> float:
    """What a landmark model thinks of a text, read whole and through its cache."""
    model = LandmarkModel(subject.fresh(), LandmarkSettings(block=16, train_length=64))
    text = ids(1, model.settings.window_tokens)
    whole = model(text).logits.log_softmax(-1)[:, :-1].gather(-1, text[:, 1:, None])[..., 0]
    return distance(model.logprobs(text[:, :15]), whole[:, :14])


TEXTS = ["word " * 30 + "."] * 30


@cache
def _tokenizer() -> Any:
    return own_tokenizer(["a"], WORDS)


def _loaded(model: Any, folder: str) -> LanguageModel:
    return LanguageModel("small", Path(folder), model, _tokenizer(), Path(folder))


def gates(subject: Subject) -> float:
    """Two steps of training gates."""
    subject.own("pieces")  # what goes on from a cache
    settings = GateSettings(steps=2, length=200, texts=1, per_text=2, sinks=4, recent=16)
    with tempfile.TemporaryDirectory() as folder:
        table = torch.as_tensor(train_gates(_loaded(subject.model, folder), settings, texts=TEXTS).scores)
    return _finite(table)


def detection(subject: Subject) -> float:
    """One question, which a model of random weights need not answer."""
    subject.own("pieces")
    settings, runs = DetectionSettings(lengths=(200,), texts=1, per_text=1, answer_tokens=3), list[Any]()
    with tempfile.TemporaryDirectory() as folder:
        try:
            detect(_loaded(subject.model, folder), settings, texts=TEXTS, on_run=lambda *run: runs.append(run))
        except InputError:
            if not runs:
                raise
    return 0.0


def profile(subject: Subject) -> float:
    """The heads that readers take where no profile is known."""
    with tempfile.TemporaryDirectory() as folder:
        if not last_layer(_loaded(subject.model, folder)).heads:
            raise Different("no heads were found")
    return 0.0


def _act() -> ACT:
    heads = {layer: [0, 1] for layer in range(LAYERS)}
    return ACT(heads, beta=0.4, rule=SinkRule(rule="alpha", alpha=1.5))  # random weights have no stronger sinks


def _masked_heads() -> MaskHeads:
    return MaskHeads((layer, layer % 2) for layer in range(LAYERS))


@torch.inference_mode()
def edited(subject: Subject, *, method: Callable[[], Any]) -> float:
    """Under an edit the logits are others, and finite."""
    with attach(subject.model, method()):
        found = subject.model(input_ids=ids(1)).logits
    if torch.equal(found, subject.own("whole")):
        raise Different("it changed nothing")
    return _finite(found)


def _finite(found: Tensor) -> float:
    if not torch.isfinite(found).all():
        raise Different("it is not finite")
    return 0.0


PARTS: Mapping[str, Mapping[str, Check]] = {
    "attach": {
        **{f"{name}: whole": partial(attached, method=name, way="whole") for name in METHODS},
        **{f"none: {way}": partial(attached, method="none", way=way) for way in ("pieces", "padded left", "written")},
        **{f"dense: {way}": partial(attached, method="dense", way=way) for way in WAYS if way != "whole"},
        "block-topk: some heads": partial(attached, method="block-topk", way="whole", heads={0: [0], 1: None}),
        "block-topk: backwards": backwards,
        "recorder": recorded,
    },
    "caches": {
        **{f"{name}: written": partial(cached, method=made, way="written") for name, made in CACHES.items()},
        **{
            f"{name}: pieces": partial(cached, method=CACHES[name], way="pieces")
            for name in ("retrieval, in its window", "head-cache, snapkv")
        },
    },
    "longheads": {
        "whole": long_whole,
        **{way: partial(cached, method=_longheads, way=way) for way in ("written", "pieces")},
    },
    "side by side": {
        "shared prefix": shared_prefix,
        "blockrank: order of documents": order_of_documents,
        "blockrank: by definition": by_definition,
    },
    "landmarks": {"whole and through the cache": landmarks},
    "gates": {"two steps": gates},
    "heads": {"detection": detection, "last layer": profile},
    "edits": {
        "act": partial(edited, method=_act),
        "masked heads": partial(edited, method=_masked_heads),
    },
}
"""By part the checks of it, by name."""
LONG = ("landmarks", "gates", "heads")
"""Parts that are checked without short windows only: what they read is longer, and they say so."""
BOTH = ("longheads", "side by side", "none: whole", "dense: whole", "flexprefill: whole")
"""Parts and checks that are run with short windows and with windows beyond the text; all others with short ones."""
