"""A planner that was taught (trained_planner.py) as the sequential planner of deep research."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.research.trained_planner import PlannerModel
from foveal.research.transcripts import Transcript, names_left


class TaughtQueries:
    """Writes the next query of a search, or none where enough was found; a `planning.NextQuery`."""

    def __init__(self, model: PlannerModel) -> None:
        self.model = model

    def __call__(self, question: str, searched: Sequence[tuple[str, Sequence[str]]]) -> str | None:
        """The first search is the question's own: the planner writes what comes behind it."""
        settings = self.model.settings.transcript
        transcript = Transcript(question)
        for query, lines in searched[1:]:
            shown = [(title, text) for title, _, text in (line.partition(": ") for line in lines)]
            transcript = transcript.and_then(query, shown, settings)
        behind = len(searched) > 1  # the planner's own first query, of which names were found
        names = [names_left(transcript)] if behind and self.model.settings.named else None
        return self.model.writer.write([transcript], must_search=not behind, names=names)[0].query
