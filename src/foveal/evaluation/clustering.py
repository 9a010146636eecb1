"""How well a clustering fits labels: B-cubed precision, recall and F1 (Bagga and Baldwin, 1998).

An item's precision is the share of its cluster, among the labelled items, that has its label; its recall the share of
its label's items that are in its cluster; both are means over the labelled items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from foveal.errors import InputError


class BCubed(NamedTuple):
    """Each from 0 to 1."""

    precision: float
    recall: float
    f1: float


def b_cubed(labels: Mapping[str, Hashable], clusters: Mapping[str, Hashable]) -> BCubed:
    """B-cubed of item -> label against item -> cluster, over the labelled items.

    InputError: nothing is labelled, or a labelled item has no cluster.
    """
    if not labels:
        raise InputError("There are no labelled items, so a clustering cannot be judged. Give at least one.")
    missing = next((item for item in labels if item not in clusters), None)
    if missing is not None:
        raise InputError(f"The item {missing!r} has a label, but no cluster. Cluster it, or leave its label out.")
    both = Counter((clusters[item], label) for item, label in labels.items())
    of_cluster = Counter(clusters[item] for item in labels)
    of_label = Counter(labels.values())
    precision = sum(count * count / of_cluster[cluster] for (cluster, _), count in both.items()) / len(labels)
    recall = sum(count * count / of_label[label] for (_, label), count in both.items()) / len(labels)
    return BCubed(precision, recall, 2 * precision * recall / (precision + recall))
