"""What BlockRank's training reads, and its one call: the layer is chosen, a copy is trained, the result is saved.

    folder, report = fine_tune(load_language_model(dtype="float32"), lists, run=RunSettings(home=home))
    BlockRank.load(str(folder))

The objective and the loop are `training.blockrank`; this is the part that knows the prompt and the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError
from foveal.models.language import LanguageModel
from foveal.ranking.blockrank import AUTO, checked_layer, full_layers
from foveal.ranking.blockrank_decode import ID_TOKENS
from foveal.ranking.blockrank_forward import read
from foveal.ranking.blockrank_plan import Ask
from foveal.ranking.blockrank_prompt import Layout, Prompter, Segments
from foveal.training.blockrank import BlockRankSettings, RankingList, split, telling, train_blockrank
from foveal.training.report import Report
from foveal.training.runs import RunSettings


@dataclass(frozen=True, eq=False)
class ListReading:
    """A `training.blockrank.Reading` by the attention of one layer.

    `full` attends as any decoder does, at ordinary positions: the arm that BlockRank is compared with.
    """

    language_model: LanguageModel  # whose tokenizer writes the prompts
    layer: int
    layout: Layout = field(default_factory=Layout)
    completion: bool = True  # whether the answer's likelihood is a loss, too; only while gradients are on
    full: bool = False

    @cached_property
    def prompter(self) -> Prompter:
        """Writes the prompts."""
        return Prompter(self.language_model, self.layout)

    def __call__(self, model: Any, listed: RankingList) -> tuple[Tensor, Tensor | None]:
        """The scores (documents,) and the cross entropy of the completion, a mean over its tokens."""
        segments = listed_segments(self.prompter, listed, full=self.full)
        if not (self.completion and torch.is_grad_enabled()):
            return read(model, segments, Ask(layers=(self.layer,), full=self.full)).scores(self.layer), None
        answers = self.prompter.completion([segments.documents[n].number for n in listed.positives()])
        chain = tuple((token, place - 1) for place, token in enumerate(answers))
        ask = Ask(layers=(self.layer,), rows="query", full=self.full)
        told = read(model, replace(segments, branches=chain), ask)
        assert told.logits is not None
        opened = segments.query[segments.signal[0] + 1 :]
        target = torch.tensor([*opened, *answers], device=told.logits.device)
        return told.scores(self.layer), F.cross_entropy(told.logits[:-1].float(), target)


def listed_segments(prompter: Prompter, listed: RankingList, *, full: bool = False) -> Segments:
    """The prompt of a list, its documents in order, with room for its answers."""
    texts, titles = [one.text for one in listed.documents], [one.title for one in listed.documents]
    return prompter.segments(listed.query, texts, titles, after=ID_TOKENS * len(listed.answers), full=full)


def fine_tune(
    model: LanguageModel,
    lists: Sequence[RankingList],
    settings: BlockRankSettings | None = None,
    *,
    run: RunSettings[Sequence[RankingList]],
    layer: int | str = AUTO,
    layout: Layout | None = None,
    full: bool = False,
    decide: Callable[[Report], Report] = lambda report: report,
) -> tuple[Path | None, Report]:
    """Train a copy of `model` to rank lists by the attention of `layer`; see `training.blockrank.train_blockrank`.

    "auto" takes the layer that ranks the dev lists best before training (`best_layer`); where that is none much better
    than another, the default depth does as well. InputError: as there, or no such layer.
    """
    settings, layout = settings or BlockRankSettings(), layout or Layout()
    dev = run.dev
    if dev is None:
        lists, dev = split(lists, share=settings.dev_share)
    looked_at = dev[: settings.dev_lists]
    chosen = (
        best_layer(
            model,
            looked_at,
            layout,
            full=full,
            bfloat16=settings.loop.bfloat16,
            told=telling(run, "Choosing the layer: list", len(looked_at)),
        )[0]
        if layer == AUTO
        else checked_layer(model, layer)
    )
    reading = ListReading(model, chosen, layout, settings.objective == "ntp+aux", full)
    kept = {"layer": chosen, "layout": asdict(layout), **({"full": True} if full else {})}
    run = replace(run, dev=dev)
    return train_blockrank(model, lists, reading, kept, settings, run=run, decide=decide)


def best_layer(
    model: LanguageModel,
    lists: Sequence[RankingList],
    layout: Layout | None = None,
    *,
    full: bool = False,
    bfloat16: bool = False,
    told: Callable[[int], None] = lambda _: None,
) -> tuple[int, dict[int, dict[str, float]]]:
    """The layer whose signal finds an answer first most often on these lists, and what each layer reached.

    Of equal ones by precision at 1 the best mean reciprocal rank counts, then the shallowest. An answer stands behind
    what scores as high, so that a layer that says nothing is no good one. One pass a list, with `bfloat16` in mixed
    precision; `full` as in `ListReading`. `told` hears the number of each list before it is read.
    """
    layers = tuple(full_layers(model.model.config))
    prompter = Prompter(model, layout or Layout())
    ranks: dict[int, list[int]] = {layer: [] for layer in layers}
    mixed = torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16)
    for number, listed in enumerate(lists):
        told(number + 1)
        with torch.inference_mode(), mixed:
            found = read(model.model, listed_segments(prompter, listed, full=full), Ask(layers=layers, full=full))
        for layer in layers:
            scores, answers = found.scores(layer), listed.positives()
            rivals = [place for place in range(len(scores)) if place not in answers]
            ranks[layer].append(1 + int((~(scores[rivals] < scores[answers].max())).sum()))  # NaN is below nothing
    reached = {
        layer: {
            "precision@1": sum(rank == 1 for rank in found) / len(found),
            "mrr": sum(1 / rank for rank in found) / len(found),
        }
        for layer, found in ranks.items()
        if found
    }
    if not reached:
        raise InputError("A layer is chosen by lists with known answers; none came. Give some, or name the layer.")
    return max(reached, key=lambda layer: (reached[layer]["precision@1"], reached[layer]["mrr"], -layer)), reached
