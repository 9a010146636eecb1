"""calibrate, heads sinks, heads eval: a model is prepared for reading, or made to give less to attention sinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.asking import DEFAULT_MODEL, MODELS, language_model
from foveal.cli.output import AsJson, Home, notes, print_json, progress_bar, results
from foveal.cli.pictures import drawable
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.act_evaluation import Scored
    from foveal.attention.act_files import Calibration
    from foveal.attention.sink_report import SinkReport
    from foveal.evaluation.labelled import Labelled
    from foveal.models.language import LanguageModel

SHOWN = 12
"""Heads, or sinks, that are listed."""

BAR = 32
"""Signs of the longest bar: a loose rule finds dozens of sinks a head."""

Beta = Annotated[float, typer.Option(min=0, max=1, help="What a sink keeps of its attention.")]
RuleName = Annotated[str, typer.Option("--rule", help="A sink gets more than: alpha / tokens, least, or max of both.")]
Alpha = Annotated[float, typer.Option(help="Times an even spread from which a column is a sink.")]
Least = Annotated[float, typer.Option(help="Mean attention from which a column is a sink.")]
Scoring = Annotated[str, typer.Option(help="How a label is chosen: whole, compat or greedy (docs/act.md).")]
ModelOption = Annotated[str, typer.Option(help=f"{MODELS[0].upper()}{MODELS[1:]}.")]


def register(app: typer.Typer) -> None:
    """Put `calibrate` into `app`."""
    app.command()(calibrate)


def register_heads(app: typer.Typer) -> None:
    """Put `sinks` and `eval` into `foveal heads`."""
    app.command()(sinks)
    app.command("eval")(evaluate)


def calibrate(
    model: Annotated[str, typer.Argument(help=f"{MODELS[0].upper()}{MODELS[1:]}.")],
    examples: Annotated[
        Path | None,
        typer.Option(help="Labelled examples (JSON lines): calibrate attention sinks instead.", dir_okay=False),
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Examples that confirm it (default: a third of them).", dir_okay=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Calibration file (default: where `--attention act` finds it).", dir_okay=False)
    ] = None,
    strategy: Annotated[str, typer.Option(help="exhaustive, or halving: bad heads are given up early.")] = "halving",
    measure: Annotated[
        str, typer.Option(help="What a head is to gain: nats of the right label, or accuracy.")
    ] = "nats",
    scoring: Scoring = "whole",
    beta: Beta = 0.4,
    rule: RuleName = "max",
    alpha: Alpha = 5.0,
    least: Least = 0.1,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Find out which attention heads of MODEL find things; with --examples, in which heads attention sinks harm."""
    from foveal.attention.sinks import SinkRule
    from foveal.settings import Settings

    settings = Settings.load(home)
    if examples is None:
        usual = {"validation": validation is None, "out": out is None, "strategy": strategy == "halving"}
        usual |= {"measure": measure == "nats", "scoring": scoring == "whole", "beta": beta == 0.4}
        usual |= {"rule": rule == "max", "alpha": alpha == 5, "least": least == 0.1}
        if given := [f"--{name}" for name, left in usual.items() if not left]:
            raise typer.BadParameter(f"{', '.join(given)}: these go with --examples, by which sinks are calibrated.")
        _profile(model, settings, as_json)
        return
    from foveal.attention.act_search import SearchSettings

    asked = SearchSettings(
        strategy=strategy,
        measure=measure,
        scoring=scoring,
        beta=beta,
        rule=SinkRule(rule=rule, alpha=alpha, least=least),
    )
    own, other = _parts(examples, validation, asked.seed)
    loaded = language_model(model, settings)
    made, trials = _searched(loaded, own, other, asked, settings.home)
    path = made.save(out) if out else made.save_for(settings.home)
    trials.unlink(missing_ok=True)  # not before it is kept
    if as_json:
        print_json(made.as_json() | {"path": path})
        return
    results().print(_calibration_text(made))
    notes().print(f"Kept in {path}", markup=False, soft_wrap=True)


def _profile(model: str, settings: Any, as_json: bool) -> None:
    """Which heads find things, for `read` and `ask`."""
    from foveal.attention import profiles
    from foveal.reading import calibration

    loaded = language_model(model, settings)
    with progress_bar() as bar:
        task = bar.add_task("Trials", total=None)
        profile = calibration.calibrate(
            loaded, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    path = profiles.save(profile, settings.home)
    if as_json:
        print_json(asdict(profile) | {"depth": profile.depth, "path": path})
        return
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    heads = ", ".join(f"{layer}.{head}" for layer, head in profile.heads)
    table.add_row("heads", f"{heads} (layer.head, strongest first)")
    table.add_row("depth", f"{profile.depth} of {loaded.model.config.num_hidden_layers} layers are run")
    for name, value in profile.measured.items():
        table.add_row(name, f"{value:.3g}")
    results().print(table)
    notes().print(f"Kept in {path}", markup=False, soft_wrap=True)


def _parts(examples: Path, validation: Path | None, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Examples to search on, and to confirm by."""
    from foveal.evaluation.labelled import read_labelled, split

    own = read_labelled(examples)
    if validation:
        return own, read_labelled(validation)
    count = len({one.prompt for one in own})
    if count < 6:
        raise InputError(f"{examples} holds {count} different examples; a search needs six, better some hundred.")
    first, second = split(own, [count - count // 3, count // 3], seed)
    return first, second


def _searched(
    model: LanguageModel, own: Sequence[Labelled], other: Sequence[Labelled], asked: Any, home: Path
) -> tuple[Calibration, Path]:
    """The calibration, and the file of the trials that it took."""
    from foveal.attention.act_files import folder_of
    from foveal.attention.act_search import search_heads, search_key

    store = folder_of(home) / f"search-{search_key(model, own, asked)}.jsonl"
    with progress_bar() as bar:
        task = bar.add_task("Heads", total=None)

        def told(what: str, done: int, total: int) -> None:
            bar.update(task, description=what.capitalize(), completed=done, total=total)

        return search_heads(model, own, other, asked, store=store, on_step=told), store


def _calibration_text(made: Calibration) -> Any:
    from rich.console import Group
    from rich.table import Table

    told = made.measured
    lines = [
        f"{told['heads_passed']} of {told['heads_tried']} heads gain alone on {told['examples']} examples "
        f"({told['accuracy']:.1%} right as the model is)."
    ]
    still = sum(one.low == one.high == 0 for one in made.gains)
    if still:
        lines.append(f"{still} heads changed nothing here; in short texts many have no sinks by this rule.")
    if made.heads:
        lines.append(
            f"{len(made.heads)} of them together gain {told['validation_gain']:.3g} "
            f"({told['validation_gain_low']:.3g} to {told['validation_gain_high']:.3g}) {made.measure} an example on "
            f"{told['validation_examples']} others; right there: {told['validation_accuracy']:.1%} before, "
            f"{told['validation_accuracy_calibrated']:.1%} after."
        )
    else:
        lines.append("No set of heads gains on other examples: the calibration names none, and changes nothing.")
    table = Table("layer.head", made.measure, "95 %", "points right", "", box=None, pad_edge=False)
    kept = set(made.heads)
    moved = [one for one in made.gains if not one.low == one.high == 0]
    for one in sorted(moved, key=lambda one: -one.shrunk)[:SHOWN]:
        mark = "kept" if (one.layer, one.head) in kept else ""
        table.add_row(
            f"{one.layer}.{one.head}",
            f"{one.gain:+.4f}",
            f"{one.low:+.4f} to {one.high:+.4f}",
            f"{one.accuracy:+.1f}",
            mark,
        )
    return Group(*lines, *([table] if moved else []))


def sinks(
    source: Annotated[str, typer.Argument(help="A path, URL, arXiv id, document of the library, or - for stdin.")],
    model: ModelOption = DEFAULT_MODEL,
    tokens: Annotated[int, typer.Option(min=32, help="Most tokens of SOURCE that are read.")] = 256,
    rule: RuleName = "max",
    alpha: Alpha = 5.0,
    least: Least = 0.1,
    picture: Annotated[
        Path | None, typer.Option(help="Draw tokens and layers there, as PNG.", dir_okay=False, callback=drawable)
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show which tokens of SOURCE swallow attention, beside the first one, and in which heads."""
    from foveal.attention.act_evaluation import prompt_ids
    from foveal.attention.sink_report import find_sinks
    from foveal.attention.sinks import SinkRule
    from foveal.cli.reading_sources import opened_source
    from foveal.settings import Settings

    chosen = SinkRule(rule=rule, alpha=alpha, least=least)
    settings = Settings.load(home)
    text = ""
    for block in opened_source(source, settings).blocks():
        text += block
        if len(text) > 16 * tokens:  # more characters than so many tokens have
            break
    loaded = language_model(model, settings)
    report = find_sinks(loaded, prompt_ids(loaded, text)[:tokens], chosen)
    if picture:
        report.picture(picture)
    if as_json:
        print_json(report.as_json() | {"strongest": [asdict(one) for one in report.strongest(SHOWN)]})
        return
    _print_sinks(report)
    if picture:
        notes().print(f"Drawn in {picture}", markup=False, soft_wrap=True)


def _print_sinks(report: SinkReport) -> None:
    from rich.table import Table
    from rich.text import Text

    console = results()
    layers, heads = report.counts.shape
    console.print(
        f"{len(report.tokens)} tokens. The first gets {float(report.first.mean()):.1%} of the attention; later sinks "
        f"stand in {report.share:.1%} of {layers * heads} heads, {float(report.counts.float().mean()):.2f} a head."
    )
    table = Table("token", "place", "layer.head", "attention", box=None, pad_edge=False)
    for one in report.strongest(SHOWN):
        token = Text(repr(one.token))  # Text: a token such as [/INST] looks like markup
        table.add_row(token, str(one.place), f"{one.layer}.{one.head}", f"{one.score:.3f}")
    if table.row_count:
        console.print(table)
        often = ", ".join(f"{token!r} {times}" for token, times in report.kinds(SHOWN))
        console.print(f"Most often, over heads and places: {often}", markup=False)
    bars = Table("layer", "sinks a head", "", "first token", box=None, pad_edge=False)
    counts = report.counts.float().mean(1).tolist()
    unit = min(4, BAR / max(*counts, 1))
    for layer, count in enumerate(counts):
        bars.add_row(str(layer), f"{count:.2f}", "█" * round(unit * count), f"{float(report.first[layer].mean()):.0%}")
    console.print(bars)


def evaluate(
    examples: Annotated[
        Path, typer.Argument(help="Labelled examples (JSON lines), none that the search has seen.", dir_okay=False)
    ],
    calibration: Annotated[str, typer.Option(help="act: the one kept for the model; act:FILE.")] = "act",
    model: ModelOption = DEFAULT_MODEL,
    scoring: Scoring = "whole",
    metric: Annotated[str, typer.Option(help="How answers in words are scored (docs/evaluation.md).")] = "f1",
    draws: Annotated[int, typer.Option(min=0, help="Draws of as many other heads, for comparison.")] = 3,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Answer EXAMPLES by MODEL as it is and calibrated, beside controls: other heads, all heads, other columns."""
    from foveal.attention.act_files import calibration_by_name
    from foveal.evaluation.labelled import read_labelled, template_of
    from foveal.settings import Settings

    settings = Settings.load(home)
    asked = read_labelled(examples)
    loaded = language_model(model, settings)
    made = calibration_by_name(calibration, loaded, settings.home)
    if template_of(asked) != made.template:
        notes().print("These examples ask in other words than those that chose the heads.", style="dim")
    found = _evaluated(loaded, asked, made, scoring, metric, draws)
    told = _told(found)
    if as_json:
        print_json(told)
        return
    from rich.table import Table

    table = Table("attention", "right", "less the model as it is, points", "p", box=None, pad_edge=False)
    for one in told:
        if "low" in one:
            change = f"{one['points']:+.1f} ({one['low']:+.1f} to {one['high']:+.1f})"
            table.add_row(one["name"], f"{one['right']:.1%}", change, f"{one['p']:.3f}")
        else:
            table.add_row(one["name"], f"{one['right']:.1%}", "", "")
    results().print(table)


def _evaluated(
    model: LanguageModel, asked: Sequence[Labelled], made: Calibration, scoring: str, metric: str, draws: int
) -> dict[str, list[Scored]]:
    """Every arm over the examples: labels where they have choices, else answers in words."""
    from foveal.attention.act_controls import arms
    from foveal.attention.act_evaluation import answered, scored

    found = {}
    words = all(one.answers and not one.choices for one in asked)
    todo = arms(model, made, draws=draws)
    with progress_bar() as bar:
        task = bar.add_task("Examples", total=len(todo) * len(asked))
        for number, (name, method) in enumerate(todo.items()):

            def told(done: int, _: int, number: int = number) -> None:
                bar.update(task, completed=number * len(asked) + done)

            if words:
                found[name] = answered(model, asked, method, metric=metric, on_step=told)
            else:
                found[name] = scored(model, asked, method, scoring=scoring, on_step=told)
    return found


def _told(found: dict[str, list[Scored]]) -> list[dict[str, Any]]:
    from foveal.attention.act_evaluation import accuracy, compared

    names = list(found)
    made = []
    for name in names:
        one: dict[str, Any] = {"name": name, "right": accuracy(found[name]), "examples": len(found[name])}
        if name != names[0] and len(found[name]) > 1:
            less = compared(found[name], found[names[0]], seed=0)
            points = {
                key: 100 * getattr(less.accuracy, what)
                for key, what in (("points", "mean"), ("low", "low"), ("high", "high"))
            }
            one |= {**points, "p": less.p}
        made.append(one)
    return made
