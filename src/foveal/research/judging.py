"""Values what a branch of the tree found: is its partial answer borne out, and does the model think that it helps?

verified   the checks' score of the partial answer against its own evidence (0 of none)
settled    whether nine of ten answers that score so are true (`Checks.sure`), and it is supported: nothing is missing
sure       the model's own estimate: of one on this machine P("Yes") against P("No"), of others a number from 0 to 10
"""

from __future__ import annotations

from math import exp
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import FetchFailed
from foveal.models.chat import ChatModel, Message, Sampling, is_local
from foveal.research.checks import Checks
from foveal.research.desk import Desk
from foveal.research.planning import Finding, parsed
from foveal.research.planning_tree import TreeNode, told
from foveal.research.prompts import CONCISE, as_data
from foveal.research.steps import digest


class Sure(BaseModel):
    """How sure a model is, 0 to 10."""

    model_config = ConfigDict(extra="forbid")
    confidence: Annotated[int, Field(ge=0, le=10)]


class Judge:
    """`planning_tree.Judges` by the run's model and checks."""

    def __init__(self, desk: Desk, checks: Checks) -> None:
        self.desk, self.checks = desk, checks

    def verified(self, finding: Finding) -> float:
        """0 to 1."""
        return self._verdict(finding)[0]

    def settled(self, finding: Finding) -> bool:
        """Whether the answer is supported, with a score of `Checks.sure` or more."""
        score, label = self._verdict(finding)
        return label == "supported" and score >= self.checks.sure

    def _verdict(self, finding: Finding) -> tuple[float, str]:
        """Score and label of the partial answer."""
        text = self._partial(finding)
        if not text:
            return 0.0, "unsupported"
        passages = [self.desk.evidence[key].passage for key in finding.evidence]

        def work(_: ChatModel) -> Any:
            verdict = self.checks.check(text, passages)
            return [verdict.score, verdict.label]

        score, label = self.desk.once("verify", f"branch {digest(text, finding.evidence)}", work)
        return score, label

    def sure(self, finding: Finding) -> float:
        """0 to 1."""
        text = self._partial(finding)
        if not text:
            return 0.0
        key = f"sure {digest(finding.sub.goal, text)}"
        score: float = self.desk.once("reflect", key, lambda model: estimate(model, finding.sub.goal, text))
        return score

    def shown(self, node: TreeNode) -> None:
        """Tell who watches of a node's value."""
        if node.finding is None:
            return
        self.desk.board.tell("node.value", name=node.finding.name, **told(node))

    def _partial(self, finding: Finding) -> str:
        """The answer to a branch's goal from its evidence."""
        if not finding.evidence:
            return ""
        lines = self.desk.lines(finding.evidence[:3])
        key = f"partial {digest(finding.sub.goal, lines)}"

        def work(model: ChatModel) -> Any:
            shown = "\n".join(map(as_data, lines))
            content = f"{CONCISE}\n\n{shown}\n\nQuestion: {finding.sub.goal}\n\nAnswer:"
            return model.chat([{"role": "system", "content": ""}, {"role": "user", "content": content}],
                              Sampling(max_tokens=64, stop=("\n",))).strip()  # fmt: skip

        said: str = self.desk.once("reflect", key, work)
        return said


def estimate(model: ChatModel, question: str, answer: str) -> float:
    """The model's own estimate that an answer answers a question, 0 to 1; 0.5 where it cannot say."""
    asked = f"Question: {question}\nAnswer: {as_data(answer)}\n\nDoes the answer answer the question?"
    if not is_local(model):
        rule = f'{asked} How sure are you, 0 to 10? JSON: {{"confidence": …}}.'
        said = parsed(model, [{"role": "user", "content": rule}], Sure, 16)
        return 0.5 if said is None else said.confidence / 10
    messages: list[Message] = [{"role": "system", "content": ""}, {"role": "user", "content": f"{asked} Yes or No."}]
    try:
        yes, no = (sum(model.score(messages, word)) for word in ("Yes", "No"))
    except FetchFailed:
        return 0.5
    return exp(yes) / (exp(yes) + exp(no))
