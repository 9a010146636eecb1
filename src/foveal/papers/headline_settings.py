"""How headlines are judged: one frozen dataclass, checked when made, with those of its parts inside."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from foveal.errors import InputError, UnknownName
from foveal.evaluation.headlines import VIEWS
from foveal.papers.headline_features import PLAIN
from foveal.ranges import BELOW_ONE, INSIDE, require_settings
from foveal.text.ngrams import GramSettings
from foveal.training.linear import KINDS as FITTED
from foveal.training.linear import FitSettings
from foveal.training.loop import LoopSettings
from foveal.training.pair_classifiers import PairSettings

KINDS = (*FITTED, "pmi", "encoder")


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """How headlines are judged; checked when made."""

    kind: str = "lr"
    view: str = "primary"  # which labels: primary, binary or sub
    features: tuple[str, ...] = PLAIN
    texts: bool = True  # whether the words of headline and article count, not only how they meet
    encoder: str | None = None  # of kind encoder: what is fine-tuned; else: whose pooled states count, too
    chat: str | None = None  # the language model of the feature likelihood, and of kind pmi
    changed_numbers: bool = True  # learn from best headlines with a number changed, as ones of the next class
    abstain: float = 0.0  # lead of the best probability below which a judgement is not sure
    language: str | None = None  # whose abbreviations hold; None: by script
    dev_share: float = 0.15  # of the articles, held out for the temperature where no dev pairs are given
    grams: GramSettings = field(default_factory=GramSettings)
    fit: FitSettings = field(default_factory=lambda: FitSettings(c=4.0))
    pairs: PairSettings = field(default_factory=PairSettings)

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("view", VIEWS)):
            if getattr(self, name) not in known:
                raise UnknownName(
                    f"A headline judge got {name}={getattr(self, name)!r}. There are: {', '.join(known)}."
                )
        require_settings("A headline judge", self, abstain=BELOW_ONE, dev_share=INSIDE)
        if self.kind == "encoder" and not self.encoder:
            raise InputError('A judge of kind "encoder" needs the name of one, such as encoder="minilm".')
        if self.kind == "pmi" and not self.chat:
            raise InputError('A judge of kind "pmi" needs a language model, such as chat="gemma3-270m".')

    @property
    def names(self) -> tuple[str, ...]:
        """The features that are made."""
        if self.kind == "pmi":
            return ("likelihood",)
        return (*self.features, "likelihood") if self.chat and "likelihood" not in self.features else self.features

    @property
    def fitted(self) -> FitSettings:
        """How the classifier over features is fitted."""
        return replace(self.fit, kind="lr" if self.kind in ("pmi", "encoder") else self.kind)


def settings_of(kept: dict[str, Any]) -> JudgeSettings:
    pairs = {**kept["pairs"], "loop": LoopSettings(**kept["pairs"]["loop"])}
    nested = {"grams": GramSettings(**kept["grams"]), "fit": FitSettings(**kept["fit"]), "pairs": PairSettings(**pairs)}
    return JudgeSettings(**{**kept, **nested, "features": tuple(kept["features"])})
