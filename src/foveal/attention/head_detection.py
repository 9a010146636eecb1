"""Detecting retrieval heads: sentences are hidden in a long text, asked for, and every head's looks while it answers
are counted.

    scores = detect(load_language_model(), store=folder / "runs.jsonl")      # resumable
    scores.share(0.1), scores.share(0.5), scores.top(10)

A head copies a token where the query that produced w looks most at a place of the sentence that holds w. Its score in a
run is the share of the sentence's places that it copied: a set of places, so that repeated words cannot push it above
1 (the published code adds them up). A run counts only if the answer was right: more than half of the words asked for.

With `by="reason"` sentences hold two things, of which the question wants one that it tells by a comparison; a head's
score is then what it pays to the sentence, word for word or not: at each step the attention to those of its best
places, as many as the sentence has, that lie in it, over all steps and by the sentence's places (HeadKV, arXiv
2410.19258).

Several sentences stand in one text, which is read once; each question is asked behind it alone, and the others are
distractors. Sentences are put in as text and found again by characters; one that cannot be found is an error.

Needs     a model of transformers whose attention can be switched. Layers that slide over the text cannot see the
          sentence: they score 0 and are named in `settings`
Source    Wu et al., ICLR 2025 (arXiv 2404.15574): score, filter, thresholds. Grid, several to a text, sets: ours
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from foveal.attention.estimates import capped
from foveal.attention.head_needles import reasoning_needles, retrieval_needles
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.profiles import architecture_of, whole_layers
from foveal.attention.retrieval_heads import HeadScores
from foveal.errors import InputError
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.haystack import Planted, haystack, manual, plant_all
from foveal.evaluation.needles import Needle
from foveal.evaluation.rouge import rouge
from foveal.models.chat import Sampling
from foveal.models.decoding import State, tokens
from foveal.models.key_values import rewind

if TYPE_CHECKING:
    from foveal.attention.attach import Context
    from foveal.models.language import LanguageModel

RIGHT = 0.5
"""Share of the words asked for that an answer must hold, and more."""

QUESTION = "Based on the content of the text above, answer in its own words.\nQuestion: {question}\nAnswer:"
_SPLIT = "\ue000"


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """The grid of runs: for each length so many texts, and in each so many sentences, spread over all depths."""

    lengths: tuple[int, ...] = (4096,)  # tokens of the text, without the question
    texts: int = 8  # of each length
    per_text: int = 3  # sentences in a text
    answer_tokens: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if not self.lengths or min(self.lengths) < 128 or min(self.texts, self.per_text, self.answer_tokens) < 1:
            raise InputError(
                f"Detection got lengths {list(self.lengths)}, {self.texts} texts, {self.per_text} sentences in each "
                f"and {self.answer_tokens} tokens to answer; lengths must be 128 or more, the others 1."
            )


@dataclass(frozen=True)
class Run:
    """One question: whether it was answered, and what each head scored ("layer-head" -> share; others 0)."""

    needle: str
    length: int
    depth: float
    right: bool
    answer: str
    copied: dict[str, float]
    detection: str = ""  # what it hangs on besides: a hash of the model's files, the texts, and the answer's tokens


class CopyWatch:
    """An `AttentionMethod` that leaves attention dense and notes, for one query, the key each head looks at most."""

    takes_sinks: ClassVar[bool] = True  # which key is looked at most does not change by them

    def __init__(self, layers: Sequence[int]) -> None:
        """Watch `layers`."""
        self.layers = frozenset(layers)
        self.looked: dict[int, Tensor] = {}  # layer -> (H,) places

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> None:  # noqa: ARG002
        """Look; dense attention goes on."""
        if context.layer in self.layers and query.shape[2] == 1:
            groups = key.shape[1]
            folded = query[0].float().reshape(groups, -1, query.shape[3])
            scores = capped(folded @ key[0].float().transpose(1, 2) * context.scale, context.softcap)
            if context.mask.window is not None:  # a Mistral: all of its layers slide, over windows that may hold a text
                scores[..., : -context.mask.window] = -torch.inf
            self.note(context.layer, scores.reshape(query.shape[1], -1), context.mask.k_offset)

    def note(self, layer: int, scores: Tensor, offset: int) -> None:
        """Take in a query's scores (H, K), of which the first key stands at place `offset`."""
        self.looked[layer] = scores.argmax(-1).cpu() + offset

    def shares(
        self, looks: Sequence[Mapping[int, Tensor]], told: Sequence[int], ids: Sequence[int], own: Sequence[int]
    ) -> dict[str, float]:
        """What each head scored by its looks at each step, when the tokens `told` came: those of a sentence, at the
        places `own` of the prompt's `ids`."""
        return {
            f"{layer}-{head}": len(copied(seen, told, ids, own)) / len(own)
            for layer in sorted(self.layers)
            for head, seen in enumerate(zip(*(one[layer].tolist() for one in looks), strict=True))
        }

    def seen(self, rows: Tensor, context: Context) -> None:
        """The model's own attention."""


class PaidWatch(CopyWatch):
    """As `CopyWatch`; it notes the best `most` places of each head, and what it pays to them."""

    takes_sinks = False
    most = 1

    def note(self, layer: int, scores: Tensor, offset: int) -> None:
        """As above: (2, H, most), what is paid and the places."""
        best = scores.softmax(-1).topk(min(self.most, scores.shape[1]))
        self.looked[layer] = torch.stack([best.values.double(), (best.indices + offset).double()]).cpu()

    def shares(
        self, looks: Sequence[Mapping[int, Tensor]], told: Sequence[int], ids: Sequence[int], own: Sequence[int]
    ) -> dict[str, float]:
        """As above: what was paid to places of the sentence, over all steps, by the sentence's places."""
        del told, ids  # whatever the tokens are
        inside = torch.tensor(own, dtype=torch.double)
        found: dict[str, float] = {}
        for layer in sorted(self.layers):
            paid, places = torch.stack([one[layer] for one in looks]).unbind(1)
            sums = (paid * torch.isin(places, inside)).sum((0, 2)) / len(own)
            found |= {f"{layer}-{head}": value for head, value in enumerate(sums.tolist())}
        return found


WATCHES: dict[str, tuple[type[CopyWatch], Callable[[int, int], list[Needle]]]] = {
    "copy": (CopyWatch, retrieval_needles),
    "reason": (PaidWatch, reasoning_needles),
}
"""Ways to detect: what watches the heads, and what is hidden where nothing is said."""


def _way(by: str) -> tuple[type[CopyWatch], Callable[[int, int], list[Needle]]]:
    if by not in WATCHES:
        raise InputError(f"Heads are detected by {' or '.join(WATCHES)}, not by {by!r}.")
    return WATCHES[by]


def copied(looked: Sequence[int], tokens: Sequence[int], ids: Sequence[int], places: Sequence[int]) -> set[int]:
    """The places of the sentence that a head copied: at step t it looked at `looked[t]`, and `tokens[t]` came.

    `ids` are the prompt's tokens, `places` those of the sentence.
    """
    inside = set(places)
    return {j for j, w in zip(looked, tokens, strict=True) if j in inside and ids[j] == w}


def detect(
    model: LanguageModel,
    settings: DetectionSettings | None = None,
    *,
    by: str = "copy",
    texts: Sequence[str] | None = None,
    needles: Sequence[Needle] | None = None,
    store: Path | None = None,
    on_run: Callable[[int, int, Run], None] | None = None,
) -> HeadScores:
    """The scores of every head of `model`, of the kind `by`: "copy", or "reason".

    `texts`: what the haystacks are made of (default: Python's manual); `needles`: sentences to hide in turn (default:
    drawn). With `store` each text's runs are kept as they come, and a stopped detection goes on. `on_run(done, total,
    run)` is told of each. InputError: no run was answered, a text with its question does not fit the model, the store
    is of another model, or of other texts, or there are fewer needles than stand in a text.
    """
    settings = settings or DetectionSettings()
    watch, drawn = _way(by)
    whole = whole_layers(model.model.config)
    if not whole:
        raise InputError(f"Every layer of {model.name} slides over the text: it has no retrieval heads.")
    if max(settings.lengths) >= model.context_tokens:  # before the shorter ones are read
        raise InputError(
            f"Texts of {max(settings.lengths)} tokens were asked for, and {model.name} has {model.context_tokens} "
            "positions, in which a question and its answer need room, too. Detect at shorter lengths."
        )
    texts = list(texts or manual())
    total = len(settings.lengths) * settings.texts * settings.per_text
    needles = list(needles or drawn(total, settings.seed))
    if len(needles) < settings.per_text:
        raise InputError(
            f"{len(needles)} needles came, and {settings.per_text} are hidden in each text. Give as many, or detect "
            "with fewer per_text."
        )
    hangs_on = (model.fingerprint, settings.answer_tokens, texts, *([] if by == "copy" else [by]))
    told = repr(hangs_on).encode("utf-8", "surrogatepass")
    detection = hashlib.sha256(told).hexdigest()[:16]
    done = _stored(store, detection)
    runs: list[Run] = []
    for number, (length, planned) in enumerate(_planned(settings, needles)):
        key = [(one.question, length, depth) for one, depth in planned]
        if not all(place in done for place in key):
            text = _turned(texts, number)
            for run in _runs_of(model, watch(whole), text, length, planned, settings.answer_tokens):
                done[run.needle, run.length, run.depth] = replace(run, detection=detection)
            if store:
                write_lines(store, done.values())
        for place in key:
            runs.append(done[place])
            if on_run:
                on_run(len(runs), total, runs[-1])
    return scores_of(model, settings, runs, whole, by)


def answered_without(model: LanguageModel, needles: Sequence[Needle], *, answer_tokens: int = 50) -> list[bool]:
    """Whether each question is answered behind no text at all: then the model knew, and its heads need not have copied.

    The control of a detection with sentences of one's own; the drawn ones hold invented names and numbers.
    """
    head, ask = prompt_parts(model, "")
    ids = model.encode(head)
    decoder = MethodDecoder(model.model)
    state, found = decoder.read(ids), []
    for needle in needles:
        state = rewound(decoder, state, ids)
        told, _ = _answered(model, decoder, state, CopyWatch(()), ask(needle.question), answer_tokens)
        found.append(_right(model.tokenizer.decode(told, skip_special_tokens=True), needle))
    return found


def _right(answer: str, needle: Needle) -> bool:
    return rouge(answer, needle.answer)["rouge1"].recall > RIGHT


def scores_of(
    model: LanguageModel, settings: DetectionSettings, runs: Sequence[Run], whole: Sequence[int], by: str = "copy"
) -> HeadScores:
    """The scores over the runs that were answered. InputError: none was."""
    right = [run for run in runs if run.right]
    if not right:
        said = runs[0].answer[:80] if runs else ""
        raise InputError(
            f"{model.name} answered none of {len(runs)} questions over {list(settings.lengths)} tokens (the first: "
            f"{said!r}), so no head can be told from another. Try shorter texts, or another model."
        )
    config = model.model.config.get_text_config()
    table = torch.zeros(len(right), config.num_hidden_layers, config.num_attention_heads, dtype=torch.float32)
    for number, run in enumerate(right):
        for name, share in run.copied.items():
            layer, head = map(int, name.split("-"))
            table[number, layer, head] = share
    told = {**asdict(settings), "lengths": list(settings.lengths), "asked": len(runs), "answered": len(right)}
    sliding = sorted(set(range(config.num_hidden_layers)) - set(whole))
    return HeadScores(
        table,
        by,
        model.name,
        model.fingerprint,
        architecture_of(config),
        told | ({"sliding_layers": sliding} if sliding else {}),
    )


def store_name(
    model: LanguageModel, settings: DetectionSettings, by: str = "copy", texts: Sequence[str] | None = None
) -> str:
    """A file name for the runs of this detection: another model, settings, or texts of one's own have another."""
    told = f"{model.fingerprint} {settings}" + ("" if by == "copy" else f" {by}") + (f" {texts}" if texts else "")
    return f"runs-{hashlib.sha256(told.encode()).hexdigest()[:16]}.jsonl"


def _planned(
    settings: DetectionSettings, needles: Sequence[Needle]
) -> Iterator[tuple[int, list[tuple[Needle, float]]]]:
    """For each text its length and its sentences with their depths: over all texts they cover 0 to 100 % evenly."""
    taken = 0
    for length in settings.lengths:
        for text in range(settings.texts):
            shift = (text + 0.5) / settings.texts
            depths = [round(100 * (place + shift) / settings.per_text, 2) for place in range(settings.per_text)]
            yield length, [(needles[(taken + i) % len(needles)], depth) for i, depth in enumerate(depths)]
            taken += settings.per_text


def _turned(texts: Sequence[str], number: int) -> list[str]:
    """The texts beginning with another one each time."""
    start = (number * 7) % len(texts)
    return [*texts[start:], *texts[:start]]


def _runs_of(
    model: LanguageModel,
    watch: CopyWatch,
    texts: Sequence[str],
    length: int,
    planned: Sequence[tuple[Needle, float]],
    most: int,
) -> Iterator[Run]:
    """The runs of one text, which is read once."""
    hay = haystack(texts, length, lambda text: len(model.encode(text)))
    planted = plant_all(hay, [one for one, _ in planned], [depth for _, depth in planned])
    head, ask = prompt_parts(model, planted[0].text)
    ids, places = placed(model, head, planted)
    decoder = MethodDecoder(model.model, watch)
    state = decoder.read(ids)
    for (needle, depth), own in zip(planned, places, strict=True):
        state = rewound(decoder, state, ids)
        if isinstance(watch, PaidWatch):
            watch.most = len(own)
        told, looks = _answered(model, decoder, state, watch, ask(needle.question), most)
        answer = model.tokenizer.decode(told, skip_special_tokens=True)
        right = _right(answer, needle)
        shares = watch.shares(looks, told, ids, own)
        kept = {name: share for name, share in shares.items() if share}
        yield Run(needle.question, length, depth, right, answer.strip(), kept)


def prompt_parts(model: LanguageModel, text: str, template: str = QUESTION) -> tuple[str, Callable[[str], list[int]]]:
    """What a prompt over `text` begins with, and a function that gives the tokens of the rest for a question."""
    content = f"{text}\n\n{_SPLIT}"
    system = [{"role": "system", "content": ""}] if model.tokenizer.chat_template else []
    before, _, after = model.render([*system, {"role": "user", "content": content}]).partition(_SPLIT)
    return before, lambda question: model.encode(template.format(question=question) + after)


def placed(model: LanguageModel, head: str, planted: Sequence[Planted]) -> tuple[list[int], list[list[int]]]:
    """The tokens of `head`, and of each planted sentence the places of its tokens. InputError: one is not there."""
    encoded = model.tokenizer.backend_tokenizer.encode(head, add_special_tokens=False)
    places = []
    for one in planted:
        sentence = one.needle.sentences[0]
        start = head.find(sentence)
        end = start + len(sentence)
        own = [place for place, (a, b) in enumerate(encoded.offsets) if start >= 0 and a < end and b > start and a < b]
        if not own:
            raise InputError(
                f"The sentence {sentence[:60]!r} cannot be found in the prompt: the model's template cut it."
            )
        places.append(own)
    return encoded.ids, places


def rewound(decoder: MethodDecoder, state: State, ids: Sequence[int]) -> State:
    """The state that has read `ids` and no more; where a cache cannot forget, they are read again."""
    if state.lengths[0] == len(ids):
        return state
    if not state.lean:
        return decoder.read(ids)
    rewind(state.cache.layers, len(ids))
    state.lengths = [len(ids)]
    return state


def _answered(
    model: LanguageModel, decoder: MethodDecoder, state: State, watch: CopyWatch, ask: Sequence[int], most: int
) -> tuple[list[int], list[dict[int, Tensor]]]:
    """The answer's tokens, and for each what was noted of every watched head when it was produced."""
    if state.lengths[0] + len(ask) + most > model.context_tokens:
        raise InputError(
            f"Text, question and answer take {state.lengths[0] + len(ask) + most} tokens, and {model.name} has "
            f"{model.context_tokens} positions. Detect at shorter lengths."
        )
    decoder.step(state, [ask[:-1]])
    decoder.step(state, [ask[-1:]])  # alone: its row produces the first token
    if silent := sorted(watch.layers - watch.looked.keys()):
        raise InputError(
            f"Layers {silent} of {model.name} never looked at the text, though its configuration counts them. Choose "
            "another model."
        )
    told: list[int] = []
    looks: list[dict[int, Tensor]] = []
    for token in tokens(decoder, state, Sampling(max_tokens=most), stop_ids=model.stop_ids):
        if told and _breaks(model, token):
            break
        told.append(token)
        looks.append(dict(watch.looked))
    return told, looks


def _breaks(model: LanguageModel, token: int) -> bool:
    return "\n" in model.tokenizer.decode([token])


def _stored(store: Path | None, detection: str) -> dict[tuple[str, int, float], Run]:
    runs = stored_lines(store, Run, what="runs of a detection") if store else []
    if any(run.detection not in ("", detection) for run in runs):  # "": of before this was kept
        raise InputError(
            f"{store} holds runs of another detection (model, texts or answer_tokens differ). Remove it, or name "
            "another file."
        )
    return {(run.needle, run.length, run.depth): run for run in runs}
