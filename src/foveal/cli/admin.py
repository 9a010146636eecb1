"""admin: care of a home: the library's files, copies of it all, people with an account, who is subscribed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli import digest, people
from foveal.cli.output import AsJson, Home, notes, open_library, print_json, progress_bar, results, size
from foveal.errors import InputError
from foveal.retrieval.lance_indexes import INDEXES, chosen_index, lance_index

app = typer.Typer(
    help="Care of the library's files, of people with an account, and of the mail's subscribers.", no_args_is_help=True
)
people.register(app)


@app.callback()
def group() -> None:
    """Care of the library's files, of people with an account, and of the mail's subscribers."""


@app.command()
def compact(home: Home = None, as_json: AsJson = False) -> None:
    """Merge small files and drop older versions: a smaller and faster library."""
    library = open_library(home)
    before = library.stats().bytes
    with notes().status("Compacting …"):
        library.compact()
    after = library.stats().bytes
    if as_json:
        print_json({"bytes_before": before, "bytes_after": after})
    else:
        results().print(f"{size(before)} before, {size(after)} now.")
        if after > before:
            told = "What was replaced in the last minute stays, for searches that read it: compact again later."
            notes().print(told, soft_wrap=True)


@app.command()
def index(
    name: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(INDEXES)}; or late:MODEL, sparse:MODEL, an index of its own; or "
            "blockrank:MODEL, what a BlockRank of `foveal train blockrank --kept` reads. Without it the one that is "
            "used is told.",
            metavar="[NAME]",
        ),
    ] = None,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="late and sparse: read every passage again; the old index serves meanwhile."),
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Choose the index by which the library's vectors are searched; it is made at once, where passages are enough.

    late[:MODEL] and sparse:MODEL make one beside it, for --retriever; blockrank:MODEL reads the passages for --rank.
    Stopped, the same command goes on.
    """
    from foveal.retrieval.store import INDEX_FROM

    kind, _, model = (name or "").partition(":")
    if anew and kind not in ("late", "sparse"):
        raise InputError(f"--anew goes with late:MODEL and sparse:MODEL; it got {name or 'no name'}. Leave it out.")
    if kind == "blockrank":
        _keep_passages(model, home, as_json=as_json)
        return
    if kind in ("late", "sparse"):
        _index_passages(kind, model or None, home, anew=anew, as_json=as_json)
        return
    store = open_library(home).store
    if not store.dimension:
        raise InputError(
            "This library was made without an encoder, so there are no vectors to index. Words have an index of their "
            "own. To search by meaning, too: foveal admin encoder minilm"
        )
    if name is not None:
        lance_index(name)  # an unknown name is refused before anything is written
        with notes().status("Making the index …"), store.writing():
            store.use_index(name)
    chosen, passages = chosen_index(store.settings), store.counts()["passages"]
    exact = chosen.config is None or passages < INDEX_FROM
    if as_json:
        print_json({"index": chosen.name, "passages": passages, "exact": exact})
        return
    said = f"Vectors of {passages:,} passages are searched by {chosen.name}."
    if exact and chosen.config is not None:
        said += f" Below {INDEX_FROM:,} passages every search is exact; the index is made when there are so many."
    results().print(said, markup=False, soft_wrap=True)


@app.command()
def encoder(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A name of `foveal models` or of `foveal train encoder`, a folder, or a hub id. Without it the one "
            "that the library has is told.",
            metavar="[NAME]",
        ),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Encode the library's passages anew, by another encoder; searches go on by the old one until all is done.

    Stopped, the same command goes on. Nothing is added to the library meanwhile.
    """
    library = open_library(home)
    encoded = 0
    if name is not None:
        with progress_bar() as bar:
            task = bar.add_task("Encoding passages", total=None)
            encoded = library.encode_anew(name, on_progress=lambda done, of: bar.update(task, completed=done, total=of))
    has, passages = library.store.settings["encoder"], library.store.visible_passages()
    if as_json:
        print_json({"encoder": has, "passages": passages, "encoded": encoded})
        return
    told = "has no vectors: searches go by words" if has == "none" else f"has its vectors from {has}"
    results().print(f"The library, {passages:,} passages, {told}.", markup=False, soft_wrap=True)


def _index_passages(kind: str, model: str | None, home: Path | None, *, anew: bool, as_json: bool) -> None:
    """An index of passages beside Lance's own, made or brought up to date."""
    from foveal.retrieval.passage_making import bring_up_to_date

    with progress_bar() as bar:
        task = bar.add_task("Reading passages", total=None)
        index = bring_up_to_date(
            open_library(home),
            kind,
            model,
            anew=anew,
            on_progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    name, passages = f"{kind}:{model}" if model else kind, len(index)
    if as_json:
        print_json({"index": name, "passages": passages, "exact": False})
    else:
        results().print(f"{passages:,} passages. Search them: foveal search … --retriever {name}", markup=False)


def _keep_passages(model: str, home: Path | None, *, as_json: bool) -> None:
    """Read a library's passages by a trained BlockRank, before anybody asks."""
    from foveal.ranking.blockrank import BlockRank
    from foveal.ranking.blockrank_kept import keep_library
    from foveal.ranking.by_name import load_ranker

    library = open_library(home)
    ranker = load_ranker(model, home=library.settings.home) if model else None
    if not isinstance(ranker, BlockRank):
        raise InputError("Name a BlockRank that was trained here: foveal admin index blockrank:MODEL")
    with progress_bar() as bar:
        task = bar.add_task("Reading passages", total=None)
        passages = keep_library(
            ranker, library, on_progress=lambda done, of: bar.update(task, completed=done, total=of)
        )
    if as_json:
        print_json({"index": f"blockrank:{model}", "passages": passages, "exact": True})
    else:
        results().print(f"{passages:,} passages. Rank by them: foveal search … --rank {model}", markup=False)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
    everything: Annotated[
        bool,
        typer.Option("--everything", help="With what a model has read, and states of work: they are large."),
    ] = False,
    wait: Annotated[
        int, typer.Option(min=0, help="Seconds to wait for whoever adds to the library; without it, none.")
    ] = 0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Copy the home, whole, while it is in use: library, database, uploads, models, settings, its secret."""
    from foveal.backup import backup as made
    from foveal.settings import Settings

    done = made(Settings.load(home), folder, everything=everything, wait_s=wait)
    if as_json:
        print_json(done)
        return
    results().print(f"{done.files:,} files, {size(done.bytes)}, in {done.folder}", markup=False)
    for one in done.elsewhere:
        notes().print(f"Not in it: {one}.", markup=False)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that `foveal admin backup` made.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup into a home that is empty; every file is held against its hash first."""
    from foveal.backup import restore as put_back
    from foveal.settings import Settings

    done = put_back(folder, Settings.load(home).home)
    if as_json:
        print_json(done)
    else:
        results().print(f"{done.files:,} files, {size(done.bytes)}, in {done.folder}", markup=False)


@app.command()
def subscriptions(
    state: Annotated[str | None, typer.Option(help=f"Only those that are {', '.join(digest.STATES)}.")] = None,
    lift: Annotated[
        str | None, typer.Option(help="Let this address be written to again after a bounce, complaint or request.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List who gets the digest, since when, and with which wishes."""
    digest.show_subscriptions(home, state, lift, as_json)
