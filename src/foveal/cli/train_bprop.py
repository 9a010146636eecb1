"""train bprop: a re-ranker from texts alone, without any query (B-PROP, or PROP)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli import training
from foveal.cli.output import AsJson, Home, notes, open_library
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.settings import Settings

Texts = Annotated[
    Path | None, typer.Option(help="Folder with corpus.jsonl, as BEIR has it; without it the library's passages.")
]
Base = Annotated[str, typer.Option(help="Encoder to begin with: a name of `foveal models`, a folder, or a hub id.")]


def bprop(
    data: Texts = None,
    objective: Annotated[
        str, typer.Option(help="How word sets are drawn: bprop (attention) or prop (likelihood).")
    ] = "bprop",
    rop_loss: Annotated[str, typer.Option(help="hinge, as the paper, or softmax-margin, as its code.")] = "hinge",
    base: Base = "minilm",
    name: training.Name = None,
    temperature: Annotated[
        float, typer.Option(help="Above 0, in deviations of the words' scores; the higher, the more they are alike.")
    ] = 0.35,
    margin: Annotated[
        float, typer.Option(min=0.0, help="Share of the better set's score by which the two of a pair differ at least.")
    ] = 0.2,
    query_words: Annotated[
        float, typer.Option(help="Words of a drawn set, on average: as many as your queries have.")
    ] = 3.0,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of word sets of a text.")] = 10,
    window: Annotated[int, typer.Option(min=8, help="Tokens of word set and text together: fewer is faster.")] = 512,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="Times that half of a text's pairs are seen.")] = None,
    steps: training.Steps = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pairs of a batch.")] = None,
    learning_rate: training.Rate = None,
    seed: training.Seed = 0,
    anew: training.Anew = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Pre-train a re-ranker on texts, without a query. Stopped with Ctrl-C, the same command goes on."""
    from foveal.settings import Settings
    from foveal.training.bprop import BPropSettings, pretrain_bprop

    settings = Settings.load(home)
    usual = BPropSettings()
    chosen = replace(
        usual,
        objective=objective,
        rop_loss=rop_loss,
        contrast=replace(usual.contrast, temperature=temperature),
        sets=replace(usual.sets, pairs=pairs, length=query_words, margin=margin),
        used=max(1, pairs // 2),
        max_tokens=window,
    )
    loop = training.loop_of(
        chosen.loop, epochs=epochs, steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, patience=None,
        mixed=True,
    )  # fmt: skip
    texts = titled_texts(data, settings)
    with training.progress() as on_progress:
        run = training.run_of(settings, name, on_progress, anew=anew)
        folder, report = pretrain_bprop(texts, base, replace(chosen, loop=loop), run=run)
    named = f"{report.name} {training.of_home(settings)}"
    use = f"It orders hits: foveal search … --rank {named}; on judged queries it goes on to learn: foveal train "
    use += f"reranker --base {named}"
    training.told(report, folder, use, settings, as_json=as_json)


def titled_texts(data: Path | None, settings: Settings) -> dict[str, str]:
    """Texts by id, each with its title before it."""
    if data is not None:
        return _of_folder(data)
    library = open_library(settings)
    texts = {}
    with notes().status("Reading the library's passages …"):
        for document in library.store.texts():
            for passage in library.segmenter.segment(document):
                place = f"{document.id}:{passage.span.start}-{passage.span.end}"
                texts[place] = _titled(document.title, passage.text)
    if not texts:
        raise InputError("The library holds no passage to learn from. Fill it: foveal add FILE_OR_FOLDER")
    return texts


def _of_folder(folder: Path) -> dict[str, str]:
    from foveal.evaluation.files import json_lines

    path = next((path for end in ("", ".gz") if (path := folder / f"corpus.jsonl{end}").is_file()), None)
    if path is None:
        raise InputError(f"{folder} holds no corpus.jsonl (nor .gz). Each of its lines has _id, text, and maybe title.")
    texts: dict[str, str] = {}
    for where, row in json_lines(path):
        if not isinstance(row, dict) or not isinstance(row.get("_id"), str) or not isinstance(row.get("text"), str):
            raise InputError(f"{where} has no _id or no text. Each line needs both, as strings.")
        if row["_id"] in texts:
            raise InputError(f"{where} repeats the id {row['_id']!r}; ids must differ.")
        texts[row["_id"]] = _titled(str(row.get("title") or ""), row["text"])
    return texts


def _titled(title: str, text: str) -> str:
    return f"{title.strip()}. {text}" if title.strip() else text
