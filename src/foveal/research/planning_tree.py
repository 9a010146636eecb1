"""A tree of sub-questions: which branch to follow is decided by how well its answers are borne out.

    node       a sub-question, its evidence, and a partial answer; value = mean of the verifier's score of that answer
               against its evidence and of the model's own estimate, 0 to 1
    select     from the root by UCT = Q/N + c · sqrt(ln N_parent / N), c = 1.4; one with room for children is expanded
    expand     at most 3 children, one at a time; each is searched and valued
    back up    each node above gets the value: Q is a sum, Q/N a mean
    stop       when the searches are used up, or the best leaf is settled: supported, with a score that says that it is
               true in 9 of 10 cases. The survey's 0.9 is that probability, not a score: each kind of checks says from
               which of its scores on it holds (`Checks.sure`; the verifier's was read off its training pairs)

Source     the survey's section 3.1.3; RAG-Star (arXiv 2412.12881) searches a tree with a verifier's rewards; UCT is
           Kocsis and Szepesvari's (ECML 2006)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, log, sqrt
from typing import Any, Protocol

from foveal.research.planning import Desk, Finding, SubQuery, split

C, CHILDREN = 1.4, 3


class Judges(Protocol):
    """Values what was found."""

    def verified(self, finding: Finding) -> float:
        """How well the evidence bears the partial answer out, 0 to 1."""
        ...

    def settled(self, finding: Finding) -> bool:
        """Whether the partial answer is borne out so well that no other branch is needed."""
        ...

    def sure(self, finding: Finding) -> float:
        """How sure the model is that the partial answer helps, 0 to 1."""
        ...

    def shown(self, node: TreeNode) -> None:
        """Told of each node whose value changed."""
        ...


@dataclass
class TreeNode:
    """A node, its visits and the sum of the values below it."""

    finding: Finding | None
    parent: TreeNode | None = None
    children: list[TreeNode] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    verified: float = 0.0
    open: list[SubQuery] | None = None  # children that were thought of and not searched yet; None: not thought of

    @property
    def mean(self) -> float:
        """Q/N; 0 before the first visit."""
        return self.total / self.visits if self.visits else 0.0

    def uct(self) -> float:
        """What selection goes by; a node that was never visited comes first."""
        if not self.visits or self.parent is None:
            return inf
        return self.mean + C * sqrt(log(max(1, self.parent.visits)) / self.visits)


def tree(desk: Desk, judges: Judges) -> list[Finding]:
    """All that the tree found, in the order in which it was found."""
    root = TreeNode(None)
    found: list[Finding] = []
    while len(found) < desk.plan.iterations and not desk.over():
        node = selected(root)
        sub = _next_child(desk, node)
        if sub is None:
            node.open = []
            if _is_closed(root):
                break
            continue
        finding = desk.research([sub])[0]
        found.append(finding)
        child = TreeNode(finding, node, open=None if finding.evidence else [])
        node.children.append(child)
        child.verified = judges.verified(finding)
        back_up(child, (child.verified + judges.sure(finding)) / 2)
        for one in above(child):
            judges.shown(one)
        best = best_leaf(root).finding
        enough = len(found) >= min(desk.plan.breadth, desk.plan.iterations)
        if enough and best is not None and judges.settled(best):
            break
    return found


def selected(root: TreeNode) -> TreeNode:
    """The node to expand: down from the root along the highest UCT until one has room for another child."""
    node = root
    while True:
        roomy = len(node.children) < CHILDREN and (node.open is None or bool(node.open))
        below = [child for child in node.children if not _is_closed(child)]
        if roomy or not below:
            return node
        node = max(below, key=lambda one: one.uct())


def back_up(node: TreeNode, value: float) -> None:
    """Add a value to a node and to all above it."""
    for one in above(node):
        one.visits += 1
        one.total += value


def above(node: TreeNode) -> list[TreeNode]:
    """The node and those above it."""
    path: list[TreeNode] = []
    at: TreeNode | None = node
    while at is not None:
        path.append(at)
        at = at.parent
    return path


def leaves(root: TreeNode) -> list[TreeNode]:
    """The nodes without children."""
    if not root.children:
        return [root]
    return [leaf for child in root.children for leaf in leaves(child)]


def best_leaf(root: TreeNode) -> TreeNode:
    """The leaf that is borne out best; of equals the first."""
    return max(leaves(root), key=lambda one: one.verified)


def _next_child(desk: Desk, node: TreeNode) -> SubQuery | None:
    """The next child of a node: thought of three at once, searched one by one."""
    if node.open is None:
        key = f"tree {node.finding.name if node.finding else 'root'}"
        question = node.finding.sub.goal if node.finding else desk.question
        node.open = split(desk, question, CHILDREN, key=key, after=node.finding)
    asked = set(desk.asked())
    node.open = [one for one in node.open if one.query not in asked]
    return node.open.pop(0) if node.open else None


def _is_closed(node: TreeNode) -> bool:
    """Whether nothing below a node, nor itself, can be expanded."""
    full = len(node.children) >= CHILDREN or (node.open is not None and not node.open)
    return full and all(map(_is_closed, node.children))


def told(node: TreeNode) -> dict[str, Any]:
    """A node's value for who watches."""
    return {"value": round(node.mean, 3), "visits": node.visits, "verified": round(node.verified, 3)}
