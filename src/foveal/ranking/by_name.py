"""A ranker by the name that a person types: a method of the registry, a model trained here, a folder, or a hub id.

    load_ranker("blockrank")                             the default language model reads the candidates
    load_ranker("my-reranker")                           HOME/models/my-reranker, whichever kind `foveal train` made it
    load_ranker("knrm:100,blockrank", budget_ms=300)     a cascade: names and candidates, the cheap ones first

What a folder holds is told by its files: ranker.json (a neural ranker), blockrank.json (a language model that was
trained to rank), article-model.json (Paraformer and its like; with legal.json beside the search's own scores),
goal-ranker.json (a goal filter), a model of token vectors (`foveal train late`), or a cross-encoder's config.json.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError, UnknownName
from foveal.registry import RANKERS, lookup
from foveal.retrieval.pipeline import CANDIDATES, usual_candidates
from foveal.settings import Settings, expanded
from foveal.training import checkpoints
from foveal.training.kept import lost
from foveal.types import Ranker

if TYPE_CHECKING:
    from foveal.ranking.cascade import Cascade, CascadeReport

log = logging.getLogger("foveal.ranking")

NARROWING = 5
"""Times as many candidates that the stage before another one takes where none are named."""

WEAK = ("blockrank", "listwise", "pointwise")
"""Ways by which a model that was not trained to rank was measured, and put a third of the answers first where words put
nearly all (docs/blockrank.md)."""

FILES = (
    "ranker.json", "feature-ranker.json", "blockrank.json", "legal.json", "article-model.json", "goal-ranker.json"
)  # fmt: skip
"""One of them is in each folder of a ranker that is no model of token vectors and no cross-encoder."""

_SIZED = re.compile(r"(.*):(\d+)", re.DOTALL)
"""A stage of a cascade that says how many candidates it takes."""

_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def load_ranker(name: str | Path, *, home: Path | None = None, **cascade: Any) -> Ranker:
    """The `Ranker` called `name`; `home` holds the models trained here (default: that of the settings).

    Names with commas between them, one with its candidates ("knrm:50"), or a `budget_ms`, make a cascade
    (`load_cascade`). UnknownName: nothing is called so. ModelUnavailable, MissingExtra: as its kind says.
    """
    name, home = str(name), home or Settings.load().home
    if cascade.get("budget_ms") is not None or _is_cascade(name, home):
        return load_cascade(name, home=home, **cascade)
    if name in RANKERS:
        from foveal.models.language import load_language_model

        model = load_language_model()
        _warn(name, model.folder)
        made: Ranker = lookup(RANKERS, name, kind="ranker")(model)
        return made
    folder = _located(name, home)
    loaded: Ranker = _kind(folder)(str(folder or name))
    return loaded


def _warn(name: str, folder: Path) -> None:
    """Say of a language model that ranks, and was not trained to, what comes of it."""
    from foveal.ranking.blockrank import saved_settings

    if name in WEAK and not saved_settings(folder):
        log.warning(
            "The language model was not trained to rank, and by %s it orders worse than words alone do. Train it: "
            "foveal train blockrank --name mine; then --rank mine.", name,
        )  # fmt: skip


def require_ranker(name: str, *, home: Path | None = None) -> None:
    """UnknownName, InputError: as of `load_ranker`, but nothing is loaded; a hub id may be none."""
    home = home or Settings.load().home
    if _is_cascade(name, home):
        for one, _ in _sizes(name):
            require_ranker(one, home=home)
    elif name not in RANKERS:
        _located(name, home)


def _is_cascade(name: str, home: Path) -> bool:
    return ("," in name or _SIZED.fullmatch(name) is not None) and _folder(name, home) is None


def _located(name: str, home: Path) -> Path | None:
    """The folder that is meant; None: a hub id. UnknownName: it is neither, or orders nothing."""
    folder = _folder(name, home)
    if folder is None and (trained_by := _trained_by(name)) and not lost(name, home):
        raise UnknownName(
            f"{name} is a kind of ranker that has to learn first: {trained_by} --name mine; then it is called mine. "
            f"Trained here: {', '.join(trained_rankers(home)) or 'none'}."
        )
    if folder is not None and (other := _other_kind(folder, home)):
        there = ", ".join(trained_rankers(home)) or "none"
        raise UnknownName(
            f"{name} is {other}, and orders nothing. Name a ranker: one of {', '.join(RANKERS)}, a folder, a hub id, "
            f"or one trained here (there are: {there})."
        )
    if folder is None and not _HUB_ID.fullmatch(name):
        raise UnknownName(
            f"No ranker is called {name!r}{lost(name, home)}. There are: {', '.join(RANKERS)}; trained here: "
            f"{', '.join(trained_rankers(home)) or 'none'}; or name a folder that exists, or a hub id such as "
            '"cross-encoder/ms-marco-MiniLM-L6-v2"; or several of them with commas between, the cheap ones first.'
        )
    return folder


def load_cascade(
    names: str,
    *,
    budget_ms: float | None = None,
    home: Path | None = None,
    on_report: Callable[[CascadeReport], None] = lambda _: None,
) -> Cascade:
    """The cascade that "a,b:50,c" means; ":50" is how many candidates that stage takes at most.

    Where none are named the last stage takes `CANDIDATES`, and one before another `NARROWING` times as many, but none
    more than the one before; a single stage takes its ranker's own (`usual_candidates`). InputError: a name is missing,
    candidates that grow, or a budget that is not above 0. Else as `load_ranker`.
    """
    from foveal.ranking.cascade import Cascade, Stage

    sized = _sizes(names)
    if budget_ms is not None and not budget_ms > 0:  # said before models are loaded
        raise InputError(f"A cascade got a budget of {budget_ms:g} ms; it needs more than 0, or none for no limit.")
    for name, _ in sized:  # a wrong name is told before another is loaded
        require_ranker(name, home=home)
    rankers, counts = [load_ranker(name, home=home) for name, _ in sized], [count for _, count in sized]
    if [name for name, _ in sized] == [names.strip()]:  # one alone, whose candidates are not named
        counts = [usual_candidates(rankers[0])]
    stages = [Stage(ranker, count, name=name) for ranker, count, (name, _) in zip(rankers, counts, sized, strict=True)]
    return Cascade(stages, budget_ms, on_report=on_report)


def _sizes(names: str) -> list[tuple[str, int]]:
    """The names of a cascade, each with its candidates. InputError: as of `load_cascade`."""
    from foveal.ranking.cascade import require_falling

    sized = [_sized(part.strip()) for part in names.split(",")]
    if not all(name for name, _ in sized):
        raise InputError(
            f"The cascade {names!r} lacks a name. Write names with commas between, each with the candidates that it "
            'takes if you like: "knrm:100,blockrank:20".'
        )
    counts = _counts([count for _, count in sized])
    require_falling(counts)
    return [(name, count) for (name, _), count in zip(sized, counts, strict=True)]


def edition(name: str | Path, home: Path) -> tuple[int, ...]:
    """When the models of that name were written: another one means that they were trained anew since, under the name.

    Who keeps a ranker that `load_ranker` loaded loads it again then.
    """
    name = str(name)
    names = [name] if _folder(name, home) else [re.sub(r":\d+$", "", part.strip()) for part in name.split(",")]
    folders = [_folder(one, home) for one in names if one]
    try:
        return tuple(0 if folder is None else folder.stat().st_mtime_ns for folder in folders)
    except OSError:  # it is just being put in its place, or taken away: loading says which
        return ()


def _trained_by(name: str) -> str:
    """The command that trains a ranker of this kind; "" where it is none."""
    from foveal.ranking.neural import MODELS

    if name in (*MODELS, "cross-encoder", "coordinate-ascent", "lambdamart"):
        return f"foveal train ranker {name}"
    return f"foveal train legal {name}" if name in ("paraformer", "attentive-cnn") else ""


def trained_rankers(home: Path) -> list[str]:
    """The names of the models trained here that rank; what cannot be read is left out."""
    return sorted(path.name for path in (home / "models").glob("*") if path.is_dir() and _ranks(path))


OTHERS = {
    "judge.json": "a headline judge (foveal headline judge … --judge {name})",
    "writer.json": "a headline writer (foveal headline write … --writer {name})",
    "planner.json": "a planner of research (foveal research … --planner {name})",
    "events.json": (
        "an event model (foveal add … --encoder {folder}/encoder --home NEW, then foveal search … --retriever "
        "fresh:{folder} --home NEW)"
    ),
    "corpusbrain.json": "a model of titles (foveal search … --retriever generative:{name})",
    "lexsembridge.json": "a bridge (foveal search … --retriever lexsembridge:{name})",
    "phrases.json": "a model of phrases (docs/phrases.md)",
    "same_topic.json": "a segmenter (foveal segment … --method same-topic:{name})",
    "passage_memory.json": "a reader's memory (foveal read … --reader titans --memory {name})",
    "landmark.json": "a model with landmarks (docs/landmark.md)",
    "stream.json": "a model of streams (docs/aaren.md)",
    "agent.json": "an agent (docs/codebook.md)",
}
"""Files of models that rank nothing, what these are, and where their name goes."""


def _other_kind(folder: Path, home: Path) -> str:
    """What a model of this home is, where it is of another kind; "" of one that may rank."""
    if folder.parent != home / "models" or _ranks(folder):
        return ""
    if known := next((said for name, said in OTHERS.items() if (folder / name).is_file()), ""):
        return known.format(name=folder.name, folder=folder)
    own = str((checkpoints.read(folder / "config.json") or {}).get("model_type"))
    if own == "foveal-text-classifier":
        return f"a text classifier (foveal classify {folder.name} …)"
    if own.startswith("foveal-"):
        return "a language model (docs/nn.md)"
    if (folder / "modules.json").is_file():
        return f"an encoder (foveal admin encoder {folder.name})"
    return ""


def _ranks(folder: Path) -> bool:
    from foveal.retrieval.late_tokens import is_multi_vector

    if any((folder / name).is_file() for name in FILES):
        return True
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        one_score = "ForSequenceClassification" in str(told.get("architectures")) and len(told.get("id2label", ())) == 1
        return one_score or is_multi_vector(folder)
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _counts(named: Sequence[int | None]) -> list[int]:
    """The candidates of each stage, those that are not named filled in."""
    counts: list[int] = []
    for count in reversed(named):
        counts.insert(0, count or (NARROWING * counts[0] if counts else CANDIDATES))
    for place in range(1, len(counts)):
        if named[place] is None:
            counts[place] = min(counts[place], counts[place - 1])
    return counts


def _sized(part: str) -> tuple[str, int | None]:
    """A name, and its candidates where they are named."""
    found = _SIZED.fullmatch(part)
    if found is None:
        return part, None
    if not int(found[2]):
        raise InputError(
            f"The stage {part!r} of a cascade takes no candidates; let it take at least 1, or leave it out."
        )
    return found[1].strip(), int(found[2])


def _folder(name: str, home: Path) -> Path | None:
    """The folder that is meant: a path that exists, or a model trained here.

    The model goes first where the name is no path: a folder of texts that lies here by that name is not meant.
    """
    if not name.strip():  # to a path "" is this folder
        return None
    here, trained = expanded(name), home / "models" / name
    is_path = Path(name).name != name or name == ".."
    places = (here, trained) if is_path else (trained, here)
    try:
        return next((one for one in places if one.is_dir()), None)
    except (OSError, RuntimeError):  # longer than any file's name, or the home of a user that there is not
        return None


def _kind(folder: Path | None) -> Callable[[str], Any]:
    """What loads the ranker in `folder`; None is a hub id."""
    if folder is not None and (folder / "ranker.json").is_file():
        from foveal.ranking.neural.ranker import Neural

        return Neural
    if folder is not None and (folder / "feature-ranker.json").is_file():
        from foveal.ranking.feature_ranker import FeatureRanker

        return FeatureRanker
    if folder is not None and (folder / "blockrank.json").is_file():
        from foveal.ranking.blockrank import saved_settings
        from foveal.ranking.blockrank_kept import load_kept
        from foveal.ranking.listwise import ListwiseRanker

        return ListwiseRanker.load if saved_settings(folder).get("full") else load_kept
    if folder is not None and (folder / "legal.json").is_file():
        from foveal.ranking.legal_ranker import LegalRanker

        return LegalRanker.load
    if folder is not None and (folder / "article-model.json").is_file():
        from foveal.ranking.sections import SectionRanker

        return SectionRanker.load
    if folder is not None and (folder / "goal-ranker.json").is_file():
        from foveal.ranking.goal_ranker import GoalRanker

        return GoalRanker.load
    from foveal.retrieval.late_tokens import is_multi_vector

    if folder is not None and is_multi_vector(folder):
        from foveal.ranking.late_ranker import LateRanker

        return LateRanker.load
    from foveal.ranking.cross_encoder import CrossEncoderRanker

    return CrossEncoderRanker.load
