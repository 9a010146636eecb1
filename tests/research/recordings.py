"""A small world of recorded runs: mills, their architects and who taught them; each question takes two searches."""

from __future__ import annotations

import json
from pathlib import Path

from foveal.research.trajectories import Recorded, Source, Step, Trajectory

PLACES = ("orra", "vasa", "brenn", "kolda", "miro", "tesk", "ulm", "pern", "sava", "lorn", "dask", "yell")


def world(count: int = 12) -> Recorded:
    """`count` questions: who taught the architect of a mill. The question's own words lead to the architect only."""
    sources, runs = {}, []
    for number, place in enumerate(PLACES[:count]):
        architect, teacher = f"Archi{place}", f"Teach{place}"
        texts = {
            f"m{number}": (f"{place} mill", f"{place} mill stands by the river. The man behind it was {architect}."),
            f"a{number}": (architect, f"{architect} was a pupil of {teacher}."),
            f"t{number}": (f"{place} river", f"The river at {place} is short."),
        }
        sources |= {name: Source(name, *pair) for name, pair in texts.items()}
        steps = (Step(f"{place} mill", (f"m{number}",)), Step(f"{architect} pupil", (f"a{number}",)))
        question = f"Who taught the man behind the {place} mill?"
        runs.append(Trajectory(f"q{number}", question, (teacher,), steps, (f"a{number}",)))
    return Recorded("mills", sources, tuple(runs))


def written(recorded: Recorded, folder: Path) -> Path:
    """The same as files."""
    folder.mkdir(parents=True, exist_ok=True)
    passages = [{"_id": one.id, "title": one.title, "text": one.text} for one in recorded.sources.values()]
    runs = [
        {
            "_id": run.id, "text": run.question, "answers": list(run.answers), "predicted": "x", "judged_correct": True,
            "steps": [{"thought": "t", "query": one.query, "passages": list(one.passages)} for one in run.steps],
        }
        for run in recorded.trajectories
    ]  # fmt: skip
    for name, lines in (("corpus", passages), ("queries", runs)):
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder
