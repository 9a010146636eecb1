"""bench headlines, the judge on the Fake News Challenge: which features count, which classifier, and controls.

Each arm is fitted on the bodies that are learnt from and looked at, and measured on the others; what it said is kept in
the bench's cache by a hash of its settings and pairs, so that a run that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from foveal.bench.code import code_digest
from foveal.bench.headlines_data import Parts, by_body, by_body_and_headline, few, fnc
from foveal.bench.headlines_exact import pairs_a_second
from foveal.bench.known_sets import all_held_to, held_to, is_set
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.evaluation.classification import Confusion, calibration_error, fnc_score
from foveal.evaluation.files import whole_file
from foveal.evaluation.headlines import TECLASS, HeadlineSet, load_teclass
from foveal.evaluation.tables import Row, mean
from foveal.papers.headline_features import FIVE, PLAIN
from foveal.papers.headline_pairs import changed_number
from foveal.papers.headlines import HeadlineJudge, JudgeSettings
from foveal.training import checkpoints
from foveal.training.loop import LoopSettings
from foveal.training.pair_classifiers import PairSettings
from foveal.training.precision import mixed_precision

MACRO, GAIN = 0.84, 0.25
"""Macro F1 of each judge with relevance features, and what it is above TF-IDF alone."""

HELD = ("TF-IDF, all five, LR", "all of ours, LR", "all of ours, changed numbers, LR")
"""The paper's features, ours, and the judge that is trained where nothing else is said."""

TECLASS_MACRO = 0.58
"""Published of the five features beside TF-IDF, with logistic regression."""

ABOVE = 1e-4
"""What is more, on pairs of which nothing was measured before."""

CHANCE = 0.45
"""Macro F1 that labels which were shuffled may teach, at the most."""

FLIPPED = 0.9
"""Of best headlines with a number: how many are no longer called so once it is changed."""

BAND = 0.2
PAIR_CLASSIFIERS = "foveal.training.pair_classifiers"
"""Where encoders are trained as judges."""
PAIRS_A_SECOND = 2_000
SLACK = 0.10
"""Taken from bars with `--quick`, where a fifth of the pairs is used."""

UNRELATED = "LREL"


@dataclass(frozen=True)
class Said:
    """What an arm said of its test pairs."""

    gold: tuple[str, ...]
    given: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    decisions_temperature: float

    @cached_property
    def confusion(self) -> Confusion:
        """Right labels against given ones."""
        return Confusion.of(self.gold, self.given, TECLASS.labels())

    @property
    def right(self) -> np.ndarray:
        """The number of each right label."""
        return np.array([TECLASS.labels().index(one) for one in self.gold])


def arms(settings: BenchSettings) -> dict[str, JudgeSettings]:
    """The judges by name; all but the last group are in the paper's table."""
    plain = JudgeSettings(features=(), changed_numbers=False)
    five = replace(plain, features=FIVE)
    found = {
        "TF-IDF alone, LR": plain,
        "TF-IDF, cosine, LR": replace(plain, features=("cosine",)),
        "TF-IDF, cosine, LEAD-1, novel-1, LR": replace(plain, features=("cosine", "lead1", "novel_1")),
        "TF-IDF, all five, LR": five,
        "all five alone, LR": replace(five, texts=False),
        "all of ours, LR": replace(plain, features=PLAIN),
        "all of ours, changed numbers, LR": JudgeSettings(),
        "all of ours, SVM": replace(plain, features=PLAIN, kind="svm"),
        "all of ours, bagging": replace(plain, features=PLAIN, kind="bagging"),
        "all of ours, MLP": replace(plain, features=PLAIN, kind="mlp", grams=replace(plain.grams, most=10_000)),
        "all of ours, MiniLM's vectors, LR": replace(plain, features=PLAIN, encoder="minilm"),
    }
    if settings.quick:
        found.pop("all of ours, bagging")
    return found


def judge_rows(settings: BenchSettings) -> Iterator[Row]:
    """All arms by body; then what the best-known of them is asked besides."""
    pairs = fnc(settings)
    known = is_set("Fake News Challenge", len(pairs))
    if settings.quick:
        pairs = few(pairs, len(pairs) // 5, seed=settings.seed)
    parts = by_body(pairs, seed=settings.seed)
    slack = SLACK if settings.quick else 0.0
    for name, part in zip(("learnt from", "looked at", "measured"), parts, strict=True):
        yield Row.of(f"fnc1: pairs {name}", SIZE, len(part))
    said = {}
    for name, arm in arms(settings).items():
        said[name] = answered(arm, parts, settings)
        yield from all_held_to("the Fake News Challenge", known, arm_rows(name, said[name], slack))
    base = said["TF-IDF alone, LR"].confusion.macro
    for name in ("TF-IDF, all five, LR", "all of ours, LR"):
        gain, least = said[name].confusion.macro - base, GAIN - slack if known else ABOVE
        yield Row.of(f"{name}, less TF-IDF alone", "macro F1", gain, at_least=least)
    yield from calibration_rows(said["all of ours, changed numbers, LR"])
    yield from control_rows(pairs, parts, settings, slack)
    yield from slow_rows(parts, settings)


def arm_rows(name: str, said: Said, slack: float) -> Iterator[Row]:
    """F1 by class, macro, weighted, and the score of the challenge."""
    confusion = said.confusion
    least = {"at_least": MACRO - slack} if name in HELD else {}
    note = ", ".join(f"{label} {value:.3f}" for label, value in confusion.f1.items())
    yield Row.of(name, "macro F1", confusion.macro, note=note, **least)
    yield Row.of(name, "weighted F1", confusion.weighted)
    yield Row.of(name, "FNC score", fnc_score(said.gold, said.given, unrelated=UNRELATED))


def calibration_rows(said: Said) -> Iterator[Row]:
    """Probabilities as they were and by the temperature; accuracy outside the abstain band."""
    shares = np.array(said.shares)
    raw = shares**said.decisions_temperature
    raw /= raw.sum(axis=1, keepdims=True)
    before, after = (calibration_error(one, said.right) for one in (raw, shares))
    yield Row.of("probabilities, T = 1", "calibration error", before)
    yield Row.of("probabilities, T of the dev pairs", "calibration error", after, at_most=before,
                 note=f"T = {said.decisions_temperature:.2f}")  # fmt: skip
    ordered = np.sort(shares, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] >= BAND
    hit = shares.argmax(axis=1) == said.right
    note = f"sure of {sure.mean():.0%}; a lead of {BAND} or more"
    yield Row.of("where it is sure, less all", "accuracy", float(hit[sure].mean() - hit.mean()), at_least=0, note=note)


def control_rows(pairs: HeadlineSet, parts: Parts, settings: BenchSettings, slack: float) -> Iterator[Row]:
    """What has to fail, headlines that are new, numbers that were changed, and speed."""
    ours = arms(settings)["all of ours, LR"]
    labels = [one.label for one in parts.learnt.pairs]
    order = np.random.default_rng(settings.seed).permutation(len(labels))
    mixed = tuple(replace(one, label=labels[at]) for one, at in zip(parts.learnt.pairs, order, strict=True))
    shuffled = parts._replace(learnt=replace(parts.learnt, pairs=mixed))
    said = answered(ours, shuffled._replace(dev=few(shuffled.learnt, 50, seed=settings.seed)), settings)
    yield Row.of("all of ours, LR, labels shuffled", "macro F1", said.confusion.macro, at_most=CHANCE)
    apart = by_body_and_headline(pairs, seed=settings.seed)
    for name in ("TF-IDF alone, LR", "TF-IDF, all five, LR", "all of ours, LR"):
        found = answered(arms(settings)[name], apart, settings).confusion
        note = ", ".join(f"{label} {value:.3f}" for label, value in found.f1.items())
        yield Row.of(f"{name}, headlines not seen", "macro F1", found.macro, note=f"{len(apart.test)} pairs; {note}")
    yield from changed_rows(parts, settings, slack)
    by_bits, by_table, far = pairs_a_second([(one.headline, one.article) for one in parts.test.pairs])
    yield Row.of(
        "LEAD-1 and oracle, by bits", "pairs/s", by_bits, at_least=PAIRS_A_SECOND, note="articles are read once"
    )
    yield Row.of("LEAD-1 and oracle, by a table", "pairs/s", by_table)
    yield Row.of("LEAD-1 and oracle, bits against table", "largest difference", far, at_most=1e-12)


def changed_rows(parts: Parts, settings: BenchSettings, slack: float) -> Iterator[Row]:
    """Best headlines, called so, whose number is changed: how many are still called so."""
    draw = np.random.default_rng(settings.seed)
    best = [one for one in parts.test.pairs if one.label == "HREL"]
    made = [(one, changed_number(one.headline, one.article, draw)) for one in best]
    told = [(one, text) for one, text in made if text is not None]
    both = (*(one for one, _ in told), *(replace(one, headline=text) for one, text in told))
    names = {"all of ours, LR": "not taught", "all of ours, changed numbers, LR": "taught by changed numbers"}
    for name, note in names.items():
        arm = arms(settings)[name]
        given = answered(arm, parts._replace(test=replace(parts.test, pairs=both)), settings).given if both else ()
        before = [at for at in range(len(told)) if given[at] == "HREL"]
        flipped = mean([given[len(told) + at] != "HREL" for at in before])
        bars = {"at_least": FLIPPED - slack} if "taught by" in note else {}
        yield Row.of(f"a changed number, {note}", "share no longer HREL", flipped, note=f"of {len(before)}", **bars)


def slow_rows(parts: Parts, settings: BenchSettings) -> Iterator[Row]:
    """What reads by a model: an encoder that is fine-tuned, and a language model's likelihood, on few pairs."""
    if settings.quick:
        return
    learnt, dev, test = (
        few(part, most, seed=settings.seed) for part, most in zip(parts, (1500, 200, 1000), strict=True)
    )
    loop = LoopSettings(epochs=2, batch=8, learning_rate=5e-5, seed=42, bfloat16=mixed_precision())
    pairs = PairSettings(tokens=192, windows=2, dev_pairs=100, loop=loop)
    tuned = JudgeSettings(kind="encoder", encoder="minilm", pairs=pairs)
    some = Parts(learnt, dev, test)
    for name, arm in (("MiniLM, fine-tuned", tuned), ("all of ours, LR", arms(settings)["all of ours, LR"])):
        found = answered(arm, some, settings).confusion
        yield Row.of(f"{name}, {len(learnt):,} pairs", "macro F1", found.macro, note=f"{len(test):,} test pairs")
    by_chat = JudgeSettings(kind="pmi", chat="gemma3-270m")
    fewer = Parts(*(few(part, most, seed=settings.seed) for part, most in zip(parts, (150, 60, 150), strict=True)))
    found = answered(by_chat, fewer, settings).confusion
    note = f"{len(fewer.learnt)} pairs, {len(fewer.test)} test pairs; nothing but one number is read"
    yield Row.of("likelihood gained by reading, gemma3-270m", "macro F1", found.macro, note=note)


def teclass_rows(settings: BenchSettings) -> Iterator[Row]:
    """The published set, where the data folder has one's own copy: the five features with LR must reach what was
    published, .58 macro F1, on the whole of its test pairs."""
    if not (settings.data / "teclass").is_dir():
        yield Row(
            "TeClass itself", "macro F1", float("nan"), note="not run: the data folder has no teclass/ (research only)"
        )
        return
    found = load_teclass(settings.data / "teclass")
    parts = Parts(found["training"], found["development"], found["test"])
    whole = is_set("TeClass", len(parts.test))
    for name, published in (("TF-IDF alone, LR", 0.55), ("TF-IDF, all five, LR", TECLASS_MACRO)):
        said = answered(arms(settings)[name], parts, settings)
        bar = {"at_least": published} if published == TECLASS_MACRO else {}
        row = Row.of(f"TeClass: {name}", "macro F1", said.confusion.macro, note=f"published {published}", **bar)
        yield held_to("TeClass", whole, row)


# -- parts ------------------------------------------------------------------------------------------------------------


def answered(arm: JudgeSettings, parts: Parts, settings: BenchSettings) -> Said:
    """What the judge says of the test pairs, from the cache if it said so before."""
    told = json.dumps([asdict(arm), *(part.fingerprint for part in parts), _code()], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()[:24]
    path = settings.cache / "headlines" / f"{arm.kind}-{key}.json"
    kept = checkpoints.read(path)
    if kept is None:
        judge = _fitted(arm, parts, settings)
        found = judge.predict_many([(one.headline, one.article) for one in parts.test.pairs])
        kept = {
            "gold": parts.test.labelled(),
            "given": [one.label for one in found],
            "shares": [list(one.probabilities.values()) for one in found],
            "temperature": judge.temperature,
        }
        with whole_file(path) as partial:
            partial.write_text(json.dumps(kept), encoding="utf-8")
    shares = tuple(tuple(row) for row in kept["shares"])
    return Said(tuple(kept["gold"]), tuple(kept["given"]), shares, float(kept["temperature"]))


def _code() -> str:
    """What a judge is: its features and what is fitted to them."""
    return code_digest("foveal.papers.headlines", within="foveal.papers") + code_digest(PAIR_CLASSIFIERS)


def _fitted(arm: JudgeSettings, parts: Parts, settings: BenchSettings) -> HeadlineJudge:
    """The judge; an encoder's run lies in the cache, so that it goes on."""
    told = json.dumps([asdict(arm), parts.learnt.fingerprint, parts.dev.fingerprint, _code()])
    key = hashlib.sha256(told.encode()).hexdigest()[:24]
    return HeadlineJudge(arm).fit(parts.learnt, parts.dev, folder=settings.cache / "headlines" / f"run-{key}")
