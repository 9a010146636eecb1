"""The options --ray and --ray-address, which commands that can spread their work share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from foveal.cli.output import notes

OnRay = Annotated[
    bool, typer.Option("--ray", help="Spread the work over a Ray cluster: this machine's cores, or --ray-address.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        help="The cluster: auto (the one that runs here, or that RAY_ADDRESS names), HOST:PORT, ray://HOST:PORT.",
        show_default=False,
    ),
]


@contextmanager
def on_cluster(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected to the cluster that was named, or to one of this machine's cores."""
    from foveal.scale.cluster import LOCAL, cluster

    said = "Starting Ray …" if address is None else "Looking for the Ray cluster …"
    with notes().status(said) as status, cluster(address or LOCAL) as ray:
        status.stop()
        yield ray
