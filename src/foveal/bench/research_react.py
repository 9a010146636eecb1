"""Search by ReAct, the baseline of bench research: a model that was never taught thinks, acts, and reads.

    Thought 1: The architect must be found first.
    Action 1: Search[Orra mill architect]
    Observation 1: The mill at Orra was designed by Petra Lindqvist in 1842.

Source    ReAct (Yao et al., ICLR 2023, arXiv 2210.03629); the prompt is ours, with one example, as the planners have
Evidence  the same lines of the same passages as the planner is shown
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from foveal.models.chat import Cancel, Sampling
from foveal.models.decoding import Decoder, decode_rows
from foveal.models.language import LanguageModel
from foveal.research.query_writer import Written
from foveal.research.transcripts import Transcript

THOUGHT_TOKENS = 64
"""Of a thought and its action."""

EXAMPLE = """\
Question: Who taught the architect of the Orra mill?
Thought 1: The architect of the Orra mill must be found first.
Action 1: Search[Orra mill architect]
Observation 1: Orra mill: The mill at Orra was designed by Petra Lindqvist in 1842.
Thought 2: The architect is Petra Lindqvist. Now I need her teacher.
Action 2: Search[Petra Lindqvist teacher]
Observation 2: Petra Lindqvist was taught by Olof Brandt in Vasa.
Thought 3: Olof Brandt taught Petra Lindqvist, which answers the question.
Action 3: Finish[Olof Brandt]

"""

_SEARCH = re.compile(r"Action \d+: *Search\[([^\]\n]+)\]?")
_ACTION = re.compile(r"Action \d+:[^\n]*\n")


class ReAct:
    """Writes as `exploring.Writer` wants it; its thoughts are its own to remember."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.decoder = Decoder(model.model)
        self.thoughts: dict[tuple[str, ...], str] = {}  # question and queries -> what it wrote before the last of them

    def write(
        self,
        transcripts: Sequence[Transcript],
        *,
        must_search: bool = False,  # noqa: ARG002 (it acts as it thinks)
        temperature: float = 0.0,
        seeds: Sequence[int] | None = None,  # noqa: ARG002
        names: Sequence[Sequence[str]] | None = None,  # noqa: ARG002
        cancel: Cancel | None = None,
    ) -> list[Written]:
        """The next query of each, or none where it finishes or writes no action."""
        turns = [len(one.searched) + 1 for one in transcripts]
        prompts = [self._prompt(one) for one in transcripts]
        texts = self._written(prompts, temperature, cancel)
        made = []
        for transcript, turn, text in zip(transcripts, turns, texts, strict=True):
            found = _SEARCH.search(text)
            query = " ".join(found[1].split()) if found else None
            if query:
                asked = (*(one.query for one in transcript.searched), query)
                self.thoughts[(transcript.question, *asked)] = f"Thought {turn}:{text.split('Action')[0].rstrip()}"
            made.append(Written(query, ()))
        return made

    def _prompt(self, transcript: Transcript) -> str:
        lines, asked = [f"Question: {transcript.question}"], [transcript.question]
        for turn, one in enumerate(transcript.searched, 1):
            asked.append(one.query)
            observed = " ".join(one.lines) or "Nothing was found."
            lines += [
                self.thoughts.get(tuple(asked), f"Thought {turn}: This must be found."),
                f"Action {turn}: Search[{one.query}]", f"Observation {turn}: {observed}",
            ]  # fmt: skip
        return EXAMPLE + "\n".join([*lines, f"Thought {len(lines) // 3 + 1}:"])

    def _written(self, prompts: Sequence[str], temperature: float, cancel: Cancel | None) -> list[str]:
        start = self._start()
        ids = [[*start, *self.model.encode(one)] for one in prompts]
        rows: list[list[int]] = [[] for _ in prompts]

        def take(row: int, token: int) -> bool:
            rows[row].append(token)
            text: str = self.model.tokenizer.decode(rows[row])
            return _ACTION.search(text) is None and "\nQuestion:" not in text

        decode_rows(
            self.decoder, self.decoder.batch(ids, cancel=cancel), take, Sampling(temperature=temperature),
            limits=[THOUGHT_TOKENS] * len(ids), stop_ids=self.model.stop_ids, cancel=cancel,
        )  # fmt: skip
        return [str(self.model.tokenizer.decode(one)) for one in rows]

    def _start(self) -> list[int]:
        bos = self.model.tokenizer.bos_token_id
        return [int(bos)] if bos is not None and self.model.tokenizer("a")["input_ids"][:1] == [bos] else []
