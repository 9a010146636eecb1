"""A Ray cluster to work on: one that runs already, or one of this machine's cores for as long as the work takes.

    with cluster("auto") as ray: …       one that RAY_ADDRESS names or that runs here; ray://HOST:10001 is another
    with cluster() as ray: …             one of this machine, on loopback, gone afterwards

A process that is connected already (a notebook, a test) stays connected.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from foveal.errors import FovealError, LibraryError
from foveal.registry import require

logger = logging.getLogger("foveal.scale")

LOCAL = "local"
"""The address that stands for a cluster of this machine."""

LOOPBACK = "127.0.0.2"
"""The address of `nodes`: in place of 127.0.0.1 Ray would ask for its first node at this machine's outer address."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray will do by default; until then it warns at each start
}
"""Variables that Ray reads at its start, where nothing else is set."""

RAYS = {"RayError", "RayServeException", "ConnectionError", "TimeoutError"}
"""Classes of what calls of Ray raise."""

TOLD = "RayTaskError"
"""The class of Ray's that stands for what a task raised, in `cause`."""


@contextmanager
def cluster(address: str = LOCAL, *, cores: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected. `cores` of this machine's own cluster (default: all that may be used).

    MissingExtra: ray is not installed. LibraryError: the cluster cannot be reached.
    """
    ray = require("ray", extra="scale")
    if ray.is_initialized():
        yield ray
        return
    try:
        with _starting():
            if address == LOCAL:
                _start(ray, cores or len(os.sched_getaffinity(0)))
            else:
                ray.init(address=address, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LibraryError(
            f"The Ray cluster {address!r} could not be used: {error} Give --ray-address the address that `ray start` "
            "printed, or leave it out for the cores of this machine."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, cores: int) -> None:
    """A cluster of one node, which only this machine can reach: so its processes ask each other for no token."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(
        address="local",  # else it would join what RAY_ADDRESS names, or what runs here
        num_cpus=cores,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        logging_level=logging.WARNING,
    )


@contextmanager
def _starting() -> Iterator[None]:
    """Ray's start, without what it and Lance remark: Ray forks a process that runs another program at once."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lancedb fork support", category=RuntimeWarning)
        yield


@contextmanager
def nodes(cores: Sequence[int]) -> Iterator[tuple[Any, Any]]:
    """A cluster of several nodes on this machine, so many cores each, for tests and benches: `ray`, and the cluster.

    The first node, which is the head and holds this process, does no work; `cluster.worker_nodes` are those that do.
    """
    ray = require("ray", extra="scale")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    head = {"num_cpus": 0, "node_ip_address": LOOPBACK, "include_dashboard": False}
    with _starting():
        made = import_module("ray.cluster_utils").Cluster(initialize_head=True, head_node_args=head)
    try:
        with _starting():
            for count in cores:
                made.add_node(num_cpus=count, node_ip_address=LOOPBACK)
            made.wait_for_nodes()
            ray.init(address=made.address, _node_ip_address=LOOPBACK, logging_level=logging.WARNING)
        yield ray, made
    finally:
        ray.shutdown()
        made.shutdown()


@contextmanager
def our_errors() -> Iterator[None]:
    """Around calls of Ray: raise what a task raised, where it was one of Foveal's errors; another's as Ray tells it.

    LibraryError: no task raised it, but its process, its node or the way to the cluster was lost.
    """
    try:
        yield
    except Exception as error:  # a task may raise anything; what is neither ours nor Ray's is raised as it is
        found: BaseException | None = error
        seen: list[BaseException] = []
        while found is not None and (_told(found) or not isinstance(found, FovealError)):
            seen.append(found)
            found = getattr(found, "cause", None) if _told(found) else found.__cause__
            found = None if found in seen else found
        if found is not None and found is not error:
            raise found from error
        if rays_own(error):
            raise LibraryError(
                f"The Ray cluster lost what it was asked for ({type(error).__name__}): a process, a node or the "
                "connection failed. See what `ray status` and the nodes' logs say of it, then do the same again."
            ) from error
        raise


def cancel(ray: Any, ref: Any) -> None:
    """Let Ray end a task that nobody wants any more; whoever does so has something else to tell, or nothing."""
    try:
        ray.cancel(ref)
    except Exception as error:  # whatever Ray raises of a cluster that is lost, and the task with it
        logger.warning("a task could not be cancelled (%s)", type(error).__name__)


def rays_own(error: BaseException | None) -> set[str]:
    """The names of an error's classes where it is Ray's own; none where a task raised it."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return kinds if kinds & RAYS and TOLD not in kinds else set()


def _told(error: BaseException) -> bool:
    """Whether it is Ray's account of what a task raised: of that one's class, too, but its text is a traceback."""
    return TOLD in {kind.__name__ for kind in type(error).__mro__}
