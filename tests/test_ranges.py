"""What settings may be: each number of each settings class is checked where it is made."""

from __future__ import annotations

import math
import pkgutil
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.ranges import BELOW_ONE, COUNT, INSIDE, LARGEST, POSITIVE, Range, require_number, require_settings

NEEDED: dict[str, dict[str, Any]] = {
    "foveal.nn.aaren:AarenSettings": {"dim": 8},
    "foveal.nn.causal_attention:StreamSettings": {},
    "foveal.nn.classifier:ClassifierSettings": {"mean": (0.0,), "spread": (1.0,)},
    "foveal.nn.codebook:CodebookSettings": {"width": 8},
    "foveal.nn.counts:CountSettings": {},
    "foveal.nn.decisions:DecisionSettings": {"mean": (0.0,), "spread": (1.0,)},
    "foveal.nn.event_model:EventModelSettings": {},
    "foveal.nn.forecaster:ForecasterSettings": {"mean": (0.0,), "spread": (1.0,)},
    "foveal.nn.full_attention:FullSettings": {"dim": 8},
    "foveal.nn.gated_delta:GatedDeltaSettings": {"dim": 8},
    "foveal.nn.goal_agent:AgentSettings": {"actions": 3, "goals": (2, 2)},
    "foveal.nn.goal_agent:EyeSettings": {"goals": (2, 2)},
    "foveal.nn.goal_filter:GoalFilterSettings": {"channels": 4, "goals": (2, 2)},
    "foveal.nn.lama:LamaSettings": {"dim": 8, "context": "mean", "context_dim": 4, "output_dim": 4},
    "foveal.nn.language_models:AarenConfig": {},
    "foveal.nn.language_models:RoutingConfig": {},
    "foveal.nn.language_models:TitansConfig": {},
    "foveal.nn.language_training:LanguageSize": {},
    "foveal.nn.language_training:LanguageTraining": {},
    "foveal.nn.neural_memory:MemorySettings": {"dim": 8, "max_surprise": 1.0, "expansion": 2.0, "dim_head": 2},
    "foveal.nn.passage_memory:PassageSettings": {},
    "foveal.nn.recurrent:RecurrentSettings": {"dim": 8},
    "foveal.nn.resnet:ResNetSettings": {},
    "foveal.nn.routing_heads:RoutingSettings": {"dim": 8},
    "foveal.nn.stepnet:StepSettings": {"channels": 8, "reduction": 4},
    "foveal.nn.text_classifier:TextClassifierConfig": {},
    "foveal.nn.text_filter:TextFilterSettings": {"channels": 4, "goal_width": 4},
    "foveal.nn.titans:TitansSettings": {"dim": 8},
    "foveal.nn.vision_transformer:VisionSettings": {},
    "foveal.nn.window_attention:WindowSettings": {"dim": 8, "dim_head": 2},
    "foveal.nn.agent_training:AgentTraining": {},
    "foveal.training.articles:ArticleTraining": {},
    "foveal.training.blockrank:BlockRankSettings": {},
    "foveal.training.bprop:BPropSettings": {"mlm_weight": 0.1},
    "foveal.training.bprop_sampling:Contrast": {},
    "foveal.training.bprop_sampling:Sets": {},
    "foveal.training.corpusbrain:CorpusBrainSettings": {},
    "foveal.training.corpusbrain_pairs:PairSettings": {},
    "foveal.training.encoders:EncoderSettings": {"negatives": 1, "window": 64},
    "foveal.training.events:EventTrainingSettings": {},
    "foveal.training.headline_writers:WriterSettings": {},
    "foveal.training.joint_index:JointSettings": {},
    "foveal.training.late_encoders:LateEncoderSettings": {"window": 64},
    "foveal.training.lexsembridge:LexSemBridgeSettings": {},
    "foveal.training.linear:FitSettings": {},
    "foveal.training.loop_settings:LoopSettings": {"steps": 1, "patience": 1},
    "foveal.training.losses:LossSettings": {},
    "foveal.training.pair_classifiers:PairSettings": {},
    "foveal.training.phrases:PhraseTraining": {"dimension": 8, "temperature": 1.0, "window": 64},
    "foveal.training.ppo:PPOSettings": {},
    "foveal.training.pretrained_encoders:PretrainingSettings": {},
    "foveal.training.rerankers:RerankerSettings": {"window": 64},
    "foveal.training.same_topic:SameTopicSettings": {},
    "foveal.training.small_seq2seq:SmallSettings": {},
    "foveal.training.sparse:SpladePrice": {},
    "foveal.ranking.attentive_cnn:AttentiveCNNSettings": {"sharpness": 1.0},
    "foveal.ranking.blockrank_prompt:Layout": {},
    "foveal.ranking.goal_training:GoalTraining": {},
    "foveal.ranking.legal:LegalSettings": {},
    "foveal.ranking.neural.knrm:KNRMSettings": {},
    "foveal.ranking.neural.losses:RankLossSettings": {"gamma": 1.0},
    "foveal.ranking.neural.training:NeuralSettings": {"negatives": 1},
    "foveal.ranking.paraformer:ParaformerSettings": {},
    "foveal.attention.landmark_cache:ReadSettings": {"chunk": 1, "most_blocks": 8},
    "foveal.attention.landmark_model:LandmarkSettings": {},
    "foveal.attention.landmark_training:LandmarkTraining": {},
    "foveal.attention.landmark_variants:LandmarkVariantSettings": {},
    "foveal.papers.headline_settings:JudgeSettings": {},
    "foveal.reading.titans_training:ReaderTraining": {},
    "foveal.research.planner_evolving:EvolvingSettings": {},
    "foveal.research.planner_settings:PlannerSettings": {},
    "foveal.research.planner_settings:RewardSettings": {},
}
"""Settings class -> what must be given to make one, every number of it not None."""

WRONG = {int: (2.5, math.nan, 1e20, 10**20, -(10**20), True, "4"), float: (math.nan, "4", True, -math.inf, 10**400)}


def changed(settings: Any, **changes: Any) -> Any:
    if is_dataclass(settings) and not hasattr(settings, "to_diff_dict"):
        return replace(settings, **changes)
    return type(settings)(**changes)


def numbers(settings: Any) -> dict[str, Any]:
    """The fields that hold numbers, or several."""
    if hasattr(settings, "to_diff_dict"):  # of the configs only what is ours: the rest is transformers'
        own = {
            name
            for one in type(settings).__mro__
            if "foveal" in one.__module__
            for name in vars(one).get("__annotations__", {})
        }
    else:
        own = {one.name for one in fields(settings)}
    values = {name: getattr(settings, name) for name in sorted(own)}
    kinds = (int, float)
    return {
        name: value
        for name, value in values.items()
        if type(value) in kinds or (isinstance(value, tuple) and value and type(value[0]) in kinds)
    }


@pytest.mark.parametrize("path", NEEDED)
def test_a_number_that_cannot_be_is_refused_where_settings_are_made(path: str) -> None:
    settings = pkgutil.resolve_name(path)(**NEEDED[path])
    found = numbers(settings)
    assert found
    for name, value in found.items():
        several = isinstance(value, tuple)
        for wrong in WRONG[type(value[0] if several else value)]:
            given = (wrong, *value[1:]) if several else wrong
            with pytest.raises(InputError, match=rf"\b{name} = "):
                changed(settings, **{name: given})


@dataclass(frozen=True, kw_only=True)
class Some:
    whole: int = 1
    part: float | None = None
    pair: tuple[int, int] = (1, 2)
    several: tuple[float, ...] = ()
    switch: bool = True
    endless: float = math.inf
    name: str = ""

    def __post_init__(self) -> None:
        require_settings(
            "A thing", self, whole=COUNT, part=BELOW_ONE, pair=COUNT, several=POSITIVE,
            endless=Range(0, infinite=True),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"whole": 2.5}, "A thing got whole = 2.5; it needs a whole number, at least 1."),
        ({"whole": np.nan}, "A thing got whole = nan; it needs a whole number, at least 1."),
        ({"whole": 0}, "A thing got whole = 0; it needs a whole number, at least 1."),
        ({"whole": None}, "A thing got whole = None; it needs a whole number, at least 1."),
        ({"whole": 2**31}, f"got whole = {2**31}; it needs a whole number, at least 1, and no more than {LARGEST}."),
        ({"part": 1.0}, "A thing got part = 1.0; it needs a number from 0 to below 1, or None."),
        ({"pair": (1,)}, r"A thing got pair = (1,); it needs 2 whole numbers, at least 1."),
        ({"pair": (1, 0)}, r"A thing got pair = (1, 0); it needs 2 whole numbers, at least 1."),
        ({"several": (0.5, 0)}, r"A thing got several = (0.5, 0); it needs a list of numbers above 0."),
        ({"several": 0.5}, "A thing got several = 0.5; it needs a list of numbers above 0."),
        ({"switch": 1}, "A thing got switch = 1; it needs True or False."),
        ({"endless": math.nan}, "A thing got endless = nan; it needs a number, at least 0."),
    ],
)
def test_an_error_says_what_came_and_what_is_needed(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        Some(**given)
    assert told in str(error.value)


def test_what_fits_is_kept_as_it_came() -> None:
    made = Some(whole=np.int64(3), part=0, pair=[1, 2], several=(np.float32(0.5),), endless=math.inf, name=3)  # type: ignore[arg-type]
    assert (type(made.whole), made.part, made.pair) == (np.int64, 0, [1, 2])
    assert Some(whole=LARGEST).whole == LARGEST


def test_ranges_are_told_in_words_and_hold_their_ends() -> None:
    told = {
        str(one): [value in one for value in (0, 0.5, 1, 2)] for one in (COUNT, INSIDE, Range(0, 1), Range(), POSITIVE)
    }
    assert told == {
        ", at least 1": [False, False, True, True],
        " between 0 and 1": [False, True, False, False],
        " from 0 to 1": [True, True, True, False],
        "": [True, True, True, True],
        " above 0": [False, True, True, True],
    }
    assert str(Range(0, 0.5, open_least=True)) == " above 0, at most 0.5"


def test_a_number_by_itself() -> None:
    require_number("A gate", "most", 2.0, POSITIVE)
    with pytest.raises(InputError, match=r"A gate got most = 0\.0; it needs a number above 0\."):
        require_number("A gate", "most", 0.0, POSITIVE)
    with pytest.raises(InputError, match=r"reduction = 2\.0; it needs a whole number"):
        require_number("A gate", "reduction", 2.0, COUNT, whole=True)


def test_a_range_of_what_is_no_number_is_a_slip_of_ours() -> None:
    with pytest.raises(TypeError, match="no numbers called name"):
        require_settings("A thing", Some(), name=COUNT)
