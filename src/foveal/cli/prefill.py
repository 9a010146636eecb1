"""prefill: what a way of looking looks at in a text, what it leaves out, and what that changes; or the text is kept.

With `--keep` the model reads the whole text once and keeps it (attention/memory_store.py), for
`foveal read SOURCE QUESTION --attention retrieval`, or longheads, which does not read it again.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.answers import loading
from foveal.cli.asking import DEFAULT_MODEL, MODELS, language_model
from foveal.cli.output import AsJson, Home, notes, print_json, progress_bar, results
from foveal.cli.pictures import drawable
from foveal.cli.reading_sources import opened_source
from foveal.errors import FovealError, InputError
from foveal.registry import MEMORIES, METHODS

SHOWN = 4
"""Layers of a picture, where none are named."""

if TYPE_CHECKING:
    from foveal.attention import Report
    from foveal.attention.prefill import Looked
    from foveal.models.language import LanguageModel
    from foveal.reading.sources import Text
    from foveal.settings import Settings


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(prefill)


def prefill(
    source: Annotated[str, typer.Argument(help="A path, URL, arXiv id, document of the library, or - for stdin.")],
    attention: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(METHODS)} (default: flexprefill; docs/attention.md); with --keep one of "
            f"{', '.join(MEMORIES)} (docs/retrieval-attention.md, docs/longheads.md)."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the method, such as gamma=0.9.")
    ] = None,
    question: Annotated[str, typer.Option(help="What stands behind the text: many methods look for the end.")] = "",
    tokens: Annotated[
        int | None, typer.Option(min=256, help="Most tokens of SOURCE that are read (default: 8192; with --keep all).")
    ] = None,
    model: Annotated[str, typer.Option(help=f"Model that reads: {MODELS}.")] = DEFAULT_MODEL,
    keep: Annotated[
        bool, typer.Option("--keep", help="Read it whole and keep it, for `foveal read … --attention NAME`.")
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Remove what was kept of SOURCE.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Read it densely, too, and tell the difference.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="PNG of the blocks that each head looked at.", dir_okay=False, callback=drawable),
    ] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Layers in the picture (default: four of them).")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let a model read the beginning of SOURCE by a sparse method, and show what it looked at; or keep SOURCE."""
    from foveal.attention import method_by_name
    from foveal.attention.prefill import look
    from foveal.settings import Settings

    if keep or forget or attention in MEMORIES:
        apart = bool(question or compare or picture or layer)
        _check_keeping(keep=keep, forget=forget, attention=attention, apart=apart)
        if forget and (option or tokens):
            raise typer.BadParameter("--set and --tokens say how a text is kept; --forget removes it, however it was.")
        kept = _kept(source, attention or next(iter(MEMORIES)), _options(option or []), tokens, model, home, forget)
        if as_json:
            print_json(kept)
        else:
            results().print(_said_of_kept(kept, model, home), markup=False, highlight=False, soft_wrap=True)
        return
    if layer and not picture:
        raise typer.BadParameter("--layer chooses what --picture shows: give --picture, too.")
    attention = attention or "flexprefill"
    method = method_by_name(attention, **_options(option or []))
    settings = Settings.load(home)
    text = opened_source(source, settings)
    reader = language_model(model, settings)
    _require_layers(reader, layer or [])
    ids = _ids(reader, text, question, tokens or 8192)
    with notes().status(f"Reading {len(ids):,} tokens by {attention} …") as status:
        sparse = look(reader.model, ids, method, keep_blocks=picture is not None)
        status.update(f"Reading {len(ids):,} tokens densely …")
        dense = look(reader.model, ids, None) if compare else None
    told = summary(attention, len(ids), sparse, dense)
    if picture:
        layers = _drawn(sparse.report, layer)
        told["picture"] = str(sparse.report.picture(picture, layers=layers)) if layers else None
    if as_json:
        print_json(told | {"layers": _layers(sparse)})
        return
    if sparse.report.looks:
        results().print(sparse.report.table())
    results().print(_said(told))


def _check_keeping(*, keep: bool, forget: bool, attention: str | None, apart: bool) -> None:
    """Wrong usage where the options do not go together."""
    if keep and forget:
        raise typer.BadParameter("--keep and --forget say opposite things; give one.")
    if attention in MEMORIES and not (keep or forget):
        raise typer.BadParameter(f"--attention {attention} keeps a text: give --keep, too.")
    if attention is not None and attention not in MEMORIES:
        raise typer.BadParameter(f"--keep goes with --attention {' or '.join(MEMORIES)}, not with {attention}.")
    if apart:
        raise typer.BadParameter(
            "--question, --compare, --picture and --layer look at a prompt; a text is kept without them."
        )


def _kept(
    source: str,
    attention: str,
    options: dict[str, object],
    tokens: int | None,
    model: str,
    home: Path | None,
    forget: bool,
) -> dict[str, Any]:
    """Keep the text, or forget it; what there is to tell of it."""
    from foveal.attention import memory_by_name
    from foveal.reading.kept import KeptText, folder_of
    from foveal.settings import Settings

    settings = Settings.load(home)
    method = memory_by_name(attention, **options)
    if forget:
        _forget(source, attention, model, settings)
        return {"source": source, "forgotten": True}
    text = opened_source(source, settings)
    reader = language_model(model, settings)
    folder = folder_of(text, reader.fingerprint, settings.home, attention)
    begun = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("Layers", total=None)
        kept = KeptText.keep(
            reader,
            text,
            folder,
            method,
            tokens=tokens,
            home=settings.home,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        ).kept
    seconds = round(time.perf_counter() - begun, 2)
    return {
        "source": source,
        "tokens": kept.tokens,
        "bytes": kept.bytes,
        "method": attention,
        "folder": str(folder),
        "seconds": seconds,
    }


def _forget(source: str, attention: str, model: str, settings: Settings) -> None:
    """Remove every revision that is kept of a source, which may have changed, or be gone, since; no model is loaded."""
    from foveal.attention.memory_store import forget
    from foveal.models.language import fingerprint_of
    from foveal.reading.kept import folder_of, revisions_of
    from foveal.settings import expanded
    from foveal.text.files import file_address
    from foveal.types import document_id

    with loading(model) as on_progress:
        fingerprint = fingerprint_of(model, cache=settings.cache, on_progress=on_progress)
    try:
        text = opened_source(source, settings)
    except FovealError:
        address = source if "://" in source else file_address(expanded(source))
        folders = revisions_of(document_id(address), fingerprint, settings.home, attention)
        if not folders:
            raise
    else:
        own = folder_of(text, fingerprint, settings.home, attention)
        # All that comes by standard input has one id: only this text of it is meant.
        every = [] if source == "-" else revisions_of(text.document_id, fingerprint, settings.home, attention)
        folders = every or [own]
    try:
        for folder in folders:
            forget(folder)
    except InputError as none:
        raise InputError(
            f"No text is kept of {source} by {attention} for {model}, so there is nothing to forget."
        ) from none


def _said_of_kept(kept: dict[str, Any], model: str, home: Path | None) -> str:
    if kept.get("forgotten"):
        return f"What was kept of {kept['source']} is gone."
    asked = shlex.quote(kept["source"])
    return (
        f"{kept['tokens']:,} tokens are kept, {kept['bytes'] / 1e6:,.0f} MB, in {kept['seconds']:.1f} s. Ask by:\n"
        f'foveal read {asked} "…" --attention {kept["method"]}{by_model(model)}{by_home(home)}'
    )


def by_model(model: str) -> str:
    """What a command needs besides, to mean the same model: what one keeps of a text, another cannot read."""
    return "" if model == DEFAULT_MODEL else f" --model {shlex.quote(model)}"


def by_home(home: Path | None) -> str:
    """What a command needs besides, to look in the same home: nothing, where none was named."""
    return "" if home is None else f" --home {shlex.quote(str(home))}"


def _options(given: Sequence[str]) -> dict[str, object]:
    """`name=value` each; a value is a number, true, false, or else a word."""
    found: dict[str, object] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--set got {one!r}; it needs NAME=VALUE, such as gamma=0.9.")
        try:
            found[name.strip().replace("-", "_")] = json.loads(value)
        except json.JSONDecodeError:
            found[name.strip().replace("-", "_")] = value
    return found


def _ids(reader: LanguageModel, text: Text, question: str, most: int) -> list[int]:
    """The first `most` tokens of the text, or as many as the model holds, and the question behind them."""
    behind = reader.tokenizer(f"\n\n{question.strip()}", add_special_tokens=False).input_ids if question.strip() else []
    if len(behind) >= reader.context_tokens:
        raise InputError(f"The question alone fills the {reader.context_tokens:,} tokens of {reader.name}. Shorten it.")
    wanted, most = most, min(most, reader.context_tokens - len(behind))
    ids: list[int] = list(reader.tokenizer("").input_ids)  # what the model expects before any text
    for block in text.blocks():
        ids += reader.tokenizer(block, add_special_tokens=False).input_ids
        if len(ids) >= most:
            break
    else:
        if len(ids) < most:
            notes().print(f"{len(ids):,} tokens are all of it.", style="dim")
    if most < min(wanted, len(ids)):
        notes().print(
            f"{reader.name} was made for {reader.context_tokens:,} tokens: {most:,} are read.",
            style="dim",
            markup=False,
        )
    return [*ids[:most], *behind]


def summary(name: str, count: int, sparse: Looked, dense: Looked | None) -> dict[str, Any]:
    """What a person, or a program, is told of a reading, and of the dense one beside it."""
    report = sparse.report
    told: dict[str, Any] = {
        "method": name,
        "tokens": count,
        "seconds": round(sparse.seconds, 3),
        "density": round(report.density, 4),
        "recall": round(report.recall, 4),
        "layers_looked_at": len(report.looks),
    }
    if not report.looks:
        told["stayed_dense"] = report.why_dense
    if dense:
        mine, theirs = (one.logits[0].float().log_softmax(-1) for one in (sparse, dense))
        told |= {
            "dense_seconds": round(dense.seconds, 3),
            "same_next_token": bool(mine.argmax() == theirs.argmax()),
            "divergence_nats": round(float((theirs.exp() * (theirs - mine)).sum()), 5),
        }
    return told


def _require_layers(reader: LanguageModel, wanted: Sequence[int]) -> None:
    """InputError: the picture is to show layers that the model does not have, or that slide over a text."""
    from foveal.attention.choices import check_choice
    from foveal.attention.profiles import whole_layers

    config = reader.model.config.get_text_config()
    check_choice(config, wanted)
    whole = whole_layers(config)
    if sliding := sorted(set(wanted) - set(whole)):
        raise InputError(
            f"Nothing is ever chosen in layer {sliding[0]} of {reader.name}, which slides over the text; in these it "
            f"can be: {', '.join(map(str, whole))}."
        )


def _drawn(report: Report, wanted: Sequence[int] | None) -> list[int]:
    """The layers of the picture: of those that are wanted the ones in which something was chosen."""
    chosen = list(dict.fromkeys(one.layer for one in report.looks if one.keep is not None))
    if wanted:
        return [one for one in chosen if one in wanted]
    return chosen[:: max(1, len(chosen) // SHOWN)][:SHOWN]


def _layers(sparse: Looked) -> list[dict[str, Any]]:
    return [
        {
            "layer": one.layer,
            "density": [round(value, 4) for value in one.density.tolist()],
            "recall": [round(value, 4) for value in one.recall.tolist()],
            "choosing_seconds": one.selecting,
            "looking_seconds": one.attending,
            **{name: note.tolist() for name, note in one.notes.items()},
        }
        for one in sparse.report.looks
    ]


def _said(told: dict[str, Any]) -> str:
    lines = [f"{told['tokens']:,} tokens in {told['seconds']:.1f} s by {told['method']}"]
    if not told["layers_looked_at"]:
        lines[0] += f"; every layer stayed dense: {told['stayed_dense']}"
    else:
        lines[0] += f": {told['density']:.1%} of the blocks, {told['recall']:.1%} of the attention in them"
    if "dense_seconds" in told:
        times = told["dense_seconds"] / max(1e-9, told["seconds"])
        same = "the same" if told["same_next_token"] else "another"
        lines.append(
            f"Densely in {told['dense_seconds']:.1f} s ({times:.2f} times as long); {same} next token, "
            f"{told['divergence_nats']:.4f} nats of divergence"
        )
    if "picture" in told:
        lines.append(f"Picture: {told['picture'] or 'none, as nothing was chosen in its layers'}")
    return "\n".join(lines)
