"""heads: which attention heads of a model retrieve, what breaks without them, and what an answer copied."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli import calibrating
from foveal.cli.asking import DEFAULT_MODEL, MODELS, language_model, not_empty
from foveal.cli.output import AsJson, Home, notes, print_json, progress_bar, results
from foveal.cli.pictures import drawable
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.head_ablation import Ablated
    from foveal.attention.head_tracing import Trace
    from foveal.attention.retrieval_heads import HeadScores
    from foveal.models.language import LanguageModel

app = typer.Typer(
    help="Which attention heads of a model copy facts out of a text, what breaks without them, what an answer copied.",
    no_args_is_help=True,
)

SHOWN = 12
"""Heads that are listed."""
TEXTS, STEPS, REPEATED = 8, 72, 2500
"""Of a detection, of a training of gates, and tokens of a text that repeats itself, where nothing is said."""
METRIC = "mass"
"""What heads are judged by in examples of passages, where nothing is said."""

BY = {
    "copy": "what they copy while the model answers",
    "query": "what a query makes them look at",
    "gates": "which need the whole text",
    "reason": "what they give to a sentence that answers by a step of thought",
    "repeats": "what they give to earlier copies of a text that repeats itself",
}

Model = Annotated[str, typer.Argument(help=f"{MODELS[0].upper()}{MODELS[1:]}.")]
By = Annotated[str, typer.Option("--by", help=f"{'; '.join(f'{name}: {what}' for name, what in BY.items())}.")]
Picture = Annotated[Path | None, typer.Option(help="Draw all heads there, as PNG.", dir_okay=False, callback=drawable)]


@app.command()
def detect(
    model: Model = DEFAULT_MODEL,
    by: By = "copy",
    length: Annotated[
        list[int] | None, typer.Option(help="Tokens of a text; again for more lengths (copy, reason).")
    ] = None,
    texts: Annotated[
        int, typer.Option(min=1, help="Texts of each length, three sentences hidden in each (copy, reason).")
    ] = TEXTS,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training (gates).")] = STEPS,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens that stand four times in a text (repeats).")] = REPEATED,
    source: Annotated[
        list[Path] | None, typer.Option("--text", help="A text to hide sentences in (copy, reason).", dir_okay=False)
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help='JSON lines {"query", "passages", "gold": \\[places]} (query).', dir_okay=False)
    ] = None,
    metric: Annotated[
        str, typer.Option(help="mass: what passages with the answer get; ndcg: how well they are ranked (query).")
    ] = METRIC,
    picture: Picture = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Measure which heads of MODEL retrieve, and keep that for reading, citing and smaller caches."""
    from foveal.settings import Settings

    _known(by)
    asks = by in ("copy", "reason")
    _require_of(
        by,
        **{by if asks else "copy": {"length": length is None, "texts": texts == TEXTS, "text": source is None}},
        query={"examples": examples is None, "metric": metric == METRIC},
        gates={"steps": steps == STEPS},
        repeats={"tokens": tokens == REPEATED},
    )
    settings = Settings.load(home)
    _require_place(settings.home)
    loaded = language_model(model, settings)
    store = None
    if asks:
        scores, store = _asking(loaded, settings.home, tuple(length or (4096,)), texts, source, by)
    elif by == "query":
        scores = _querying(loaded, examples, metric)
    elif by == "gates":
        scores = _gating(loaded, steps)
    else:
        scores = _repeating(loaded, tokens)
    path = scores.save_for(settings.home)
    if store:
        store.unlink(missing_ok=True)  # not before they are kept
    _print_scores(scores, picture, as_json, path)


@app.command()
def show(
    model: Model = DEFAULT_MODEL,
    by: By = "copy",
    file: Annotated[
        Path | None, typer.Option(help="A file of head scores instead, also one that the paper's authors published.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Write them there, in the form of the paper's authors.", dir_okay=False)
    ] = None,
    picture: Picture = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show the strongest heads of MODEL, as they were measured or shipped."""
    from foveal.attention.retrieval_heads import head_scores, load_scores
    from foveal.evaluation.files import whole_file
    from foveal.settings import Settings

    _known(by)
    if file and by != "copy":
        raise typer.BadParameter(f"--by {by}: would change nothing with --file, which holds scores of its own kind.")
    settings = Settings.load(home)
    scores = load_scores(file) if file else head_scores(language_model(model, settings), by, settings.home)
    if published:
        with whole_file(published) as partial:
            partial.write_text(scores.as_published(), encoding="utf-8")
    _print_scores(scores, picture, as_json, published)


@app.command()
def mask(
    model: Model = DEFAULT_MODEL,
    top: Annotated[list[int] | None, typer.Option(min=1, help="Heads to mask; again for more numbers.")] = None,
    needles: Annotated[int, typer.Option(min=2, help="Questions to ask.")] = 12,
    length: Annotated[int, typer.Option(min=128, help="Tokens of the text that they are hidden in.")] = 1024,
    draws: Annotated[int, typer.Option(min=1, help="Draws of as many other heads, for comparison.")] = 3,
    mode: Annotated[str, typer.Option(help="zero: they say nothing; uniform: they look everywhere alike.")] = "zero",
    phase: Annotated[str, typer.Option(help="all, or decode: only while the answer is generated.")] = "all",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Ask MODEL for hidden codes without its strongest retrieval heads, and without as many other ones."""
    from foveal.attention.head_ablation import AblationSettings, ablate
    from foveal.attention.retrieval_heads import head_scores
    from foveal.settings import Settings

    settings = Settings.load(home)
    loaded = language_model(model, settings)
    scores = head_scores(loaded, "copy", settings.home)
    asked = AblationSettings(
        counts=tuple(top or (5, 10, 20)), needles=needles, length=length, draws=draws, mode=mode, phase=phase
    )
    with progress_bar() as bar:
        task = bar.add_task("Asking", total=None)
        found = ablate(loaded, scores, asked, on_step=lambda done, total: bar.update(task, completed=done, total=total))
    if as_json:
        print_json(found)
        return
    results().print(_ablation_table(found))


@app.command()
def trace(
    source: Annotated[str, typer.Argument(help="A path, URL, arXiv id, document of the library, or - for stdin.")],
    question: Annotated[str, typer.Argument(callback=not_empty)],
    model: Annotated[str, typer.Option(help=f"Model that answers: {MODELS}.")] = DEFAULT_MODEL,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Answer QUESTION from SOURCE, which must fit the model, and show what each word was copied from."""
    from foveal.attention.head_tracing import traced, voters
    from foveal.attention.retrieval_heads import head_scores
    from foveal.cli.reading_sources import opened_source
    from foveal.models.chat import Sampling
    from foveal.models.local_chat import LocalChat
    from foveal.reading.grounding import one_line
    from foveal.settings import Settings

    settings = Settings.load(home)
    text = "".join(opened_source(source, settings).blocks())
    if not text.strip():
        raise InputError(f"{source} holds no text, so nothing can be copied from it.")
    loaded = language_model(model, settings)
    scores = head_scores(loaded, "copy", settings.home)
    voters(scores)  # where no head copies, it is said before the model answers
    line, places = one_line(text)
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": f"{line}\n\nAnswer from the text.\nQuestion: {question}\nAnswer:"},
    ]
    prompt = loaded.render(messages)
    start = prompt.find(line)
    if start < 0:
        raise InputError(f"The chat template of {loaded.name} changed the text; nothing can be traced in it.")
    with notes().status("Answering …") as status:
        answer = LocalChat(loaded).chat(messages, Sampling(max_tokens=64))
        status.update("Looking what was copied …")
        found = traced(loaded, prompt, answer, scores, sources=[(start, start + len(line))])
    if as_json:
        print_json(_trace_json(found, start, text, places))
    else:
        _print_trace(found, prompt, (start, start + len(line)))


def _known(by: str) -> None:
    if by not in BY:
        raise typer.BadParameter(f"--by got {by!r}; there are {', '.join(BY)}.")


def _require_place(home: Path) -> None:
    """Said now, not after minutes of measuring: there is no folder for scores, and none can be made."""
    from foveal.attention.retrieval_heads import folder_of

    folder = folder_of(home)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}, where scores are kept, cannot be written to. Name another home, by --home.")


def _require_of(by: str, **usual: dict[str, bool]) -> None:
    """Wrong usage: options of another way to measure were given; `usual` says which are as they are by default."""
    given = [f"--{name}" for of, left in usual.items() if of != by for name, is_usual in left.items() if not is_usual]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: would change nothing with --by {by}.")


def _asking(
    model: LanguageModel, home: Path, lengths: tuple[int, ...], texts: int, source: Sequence[Path] | None, by: str
) -> tuple[HeadScores, Path]:
    """The scores, and the file of the runs that they took."""
    from foveal.attention.head_detection import DetectionSettings, Run, detect, store_name
    from foveal.attention.retrieval_heads import folder_of

    settings = DetectionSettings(lengths=lengths, texts=texts)
    given = [_text(path) for path in source or []]
    store = folder_of(home) / store_name(model, settings, by, given)
    with progress_bar() as bar:
        task = bar.add_task("Asking", total=None)

        def told(done: int, total: int, run: Run) -> None:
            bar.update(
                task, completed=done, total=total, description="Asking" if run.right else "Asking (not answered)"
            )

        return detect(model, settings, by=by, texts=given or None, store=store, on_run=told), store


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}). Name a UTF-8 text file.") from error


def _querying(model: LanguageModel, examples: Path | None, metric: str) -> HeadScores:
    from foveal.attention.query_heads import detect_query_heads, read_examples

    given = read_examples(examples) if examples else None
    with progress_bar() as bar:
        task = bar.add_task("Examples", total=None)
        return detect_query_heads(
            model, given, metric=metric, on_run=lambda done, total: bar.update(task, completed=done, total=total)
        )


def _gating(model: LanguageModel, steps: int) -> HeadScores:
    from foveal.attention.head_gates import GateSettings, train_gates

    with progress_bar() as bar:
        task = bar.add_task("Steps", total=steps)
        return train_gates(
            model, GateSettings(steps=steps), on_step=lambda done, _, __: bar.update(task, completed=done)
        )


def _repeating(model: LanguageModel, tokens: int) -> HeadScores:
    from foveal.attention.head_repetition import RepeatSettings, detect_repeats

    with notes().status("Reading a text that repeats itself …"):
        return detect_repeats(model, RepeatSettings(tokens=tokens))


def _print_scores(scores: HeadScores, picture: Path | None, as_json: bool, path: Path | None) -> None:
    from foveal.attention.retrieval_heads import RETRIEVAL, STRONG
    from foveal.evaluation.plots import heatmap

    if picture is not None:
        heatmap(
            scores.scores.numpy(),
            picture,
            title=f"Heads of {scores.model}: {BY[scores.kind]}",
            x_label="head",
            y_label="layer",
            value_label="score",
        )
    if as_json:
        print_json(_scores_json(scores) | {"path": path})
        return
    from rich.table import Table

    layers, heads = scores.scores.shape
    console = results()
    if scores.kind == "copy":
        console.print(
            f"{scores.share(RETRIEVAL):.1%} of {layers * heads} heads score above {RETRIEVAL}, "
            f"{scores.share(STRONG):.1%} above {STRONG}; {len(scores.always_active())} copied in every one of "
            f"{len(scores.runs)} runs."
        )
    table = Table("layer.head", "score", "active in", box=None, pad_edge=False)
    for head in scores.top(SHOWN):
        table.add_row(f"{head[0]}.{head[1]}", f"{scores.scores[head]:.3f}", f"{scores.activation[head]:.0%}")
    console.print(table)
    for told in (path, picture):
        if told is not None:
            notes().print(f"Kept in {told}", markup=False, soft_wrap=True)


def _scores_json(scores: HeadScores) -> dict[str, Any]:
    return {
        "model": scores.model,
        "by": scores.kind,
        "runs": len(scores.runs),
        "settings": dict(scores.settings),
        "share_above_0.1": scores.share(0.1),
        "share_above_0.5": scores.share(0.5),
        "always_active": [list(head) for head in scores.always_active()],
        "heads": [
            {"layer": head[0], "head": head[1], "score": float(scores.scores[head])} for head in scores.top(SHOWN)
        ],
    }


def _ablation_table(found: Sequence[Ablated]) -> Any:
    from rich.table import Table

    table = Table("heads masked", "right", "nats a token", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.name, f"{one.right:.0%}", f"{one.nats:.2f}")
    return table


def _print_trace(found: Trace, prompt: str, text: tuple[int, int]) -> None:
    from rich.text import Text

    answer = Text()
    for token in found.tokens:
        style = "green" if token.share >= 0.5 else "yellow" if token.share >= 0.1 else "dim"
        answer.append(found.answer[token.start : token.end], style)
    console = results()
    console.print(answer)
    console.print(f"{found.grounded:.0%} copied from the text; {found.sink:.0%} of the heads' look rested on its start")
    for place in _places(found):
        around = prompt[max(text[0], place[0] - 60) : min(text[1], place[1] + 60)].strip()
        console.print(Text.assemble("  … ", (around, "dim"), " …"))


def _places(found: Trace) -> list[tuple[int, int]]:
    """The stretches that the answer's tokens were copied from, those that lie close as one."""
    places: list[tuple[int, int]] = []
    for start, end in sorted(token.source for token in found.tokens if token.source and token.share >= 0.1):
        if places and start - places[-1][1] < 80:
            places[-1] = (places[-1][0], max(end, places[-1][1]))
        else:
            places.append((start, end))
    return places


def _trace_json(found: Trace, start: int, text: str, places: Sequence[int]) -> dict[str, Any]:
    """As plain values; sources are of `text`, of which character `places[i]` is number `start + i` of the prompt."""
    tokens = []
    for token in found.tokens:
        source = None
        if token.source is not None:
            first = places[max(0, token.source[0] - start)]
            last = places[min(len(places), token.source[1] - start) - 1]
            source = {"text": text[first : last + 1], "start": first}
        said = found.answer[token.start : token.end]
        tokens.append({"token": said, "share": token.share, "sink": token.sink, "source": source})
    return {"answer": found.answer, "grounded": found.grounded, "sink": found.sink, "tokens": tokens}


calibrating.register_heads(app)
