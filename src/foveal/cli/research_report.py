"""research --report: a question becomes a report whose every sentence was checked against what it cites.

`foveal research QUESTION --report --out report.md` writes the report and, beside it, its ledger (report.json): who has
that can check each claim again, without a network. Exit status 3: the sources cannot answer it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from foveal.cli.characters import plain
from foveal.cli.output import echo, notes, print_json, results
from foveal.cli.research_setup import (
    SOURCES,
    events_of,
    is_file,
    kept_runs,
    model_and_sources,
    options_kept,
    options_of,
    sources_of,
    tell_of_change,
)
from foveal.cli.research_view import listened

if TYPE_CHECKING:
    from foveal.research.budget import Budget
    from foveal.research.deep import DeepResearch
    from foveal.research.deep_run import DeepRun
    from foveal.research.experiment import Experiment
    from foveal.research.report import Brief, Report
    from foveal.research.runs import Runs
    from foveal.research.state import RunState
    from foveal.settings import Settings

NOT_FOUND = 3
"""Exit status where the sources cannot answer the question."""


AsReport = Annotated[bool, typer.Option("--report", help="Write a report: sections, checked claims, sources.")]
ModeName = Annotated[
    Literal["quick", "normal", "deep"],
    typer.Option(help="Of a report: 200, 1,200 or 3,000 words, after one, two or three rounds of searches."),
]
TimingName = Annotated[
    Literal["always", "never", "tagged", "confidence", "attention", "consistency"],
    typer.Option(help="Of a report: when a sub-question is searched for; attention needs a model of this machine."),
]
Words = Annotated[int | None, typer.Option(min=50, help="Length of a report, within 15 %.")]
Clarify = Annotated[bool, typer.Option(help="Of a report: answer questions back, once; an empty answer skips one.")]
Mark = Annotated[bool, typer.Option(help="Of a report: keep what nothing bears out, marked; it is left out otherwise.")]
BriefFile = Annotated[
    Path | None,
    typer.Option(
        "--brief",
        help="Of a report: JSON with what it is judged by: any of goal, must_cover, out_of_scope, since, until, "
        "language, format (points), words.",
    ),
]
ExperimentFile = Annotated[
    Path | None,
    typer.Option(
        "--experiment",
        help="Of a report: Python to run in a box, once you have read it and said yes; its output is reviewed.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="File of a report: .md, .html, .slides.html, .pdf, .docx, .bib; its ledger (.json) beside it."),
]


@dataclass(frozen=True)
class ReportOptions:
    """How a report is asked for."""

    mode: str
    timing: str
    words: int | None
    budget: Budget
    clarify: bool = False
    brief: Path | None = None
    mark: bool = False
    experiment: Path | None = None
    out: Path | None = None
    json: bool = False


def new_report(
    settings: Settings, runs: Runs, question: str, asked: Mapping[str, Any], wanted: ReportOptions, trace: Path | None
) -> None:
    """Begin a run, show it, and print its report. InputError: nothing to search, or a file of another form."""
    from foveal.research.deep import settings_of
    from foveal.research.traces import TraceFile

    _check_out(wanted.out)
    brief = _brief(wanted, question)
    experiment = _approved(wanted.experiment)
    research, planner = _research(settings, asked)
    words = brief.words if brief else wanted.words
    changed: dict[str, Any] = {"words": words} if words else {}
    own = settings_of(wanted.mode, research.model, wanted.budget, mark=wanted.mark, **changed)
    most = research.expected(wanted.mode, planner, question) + len(brief.must_cover if brief else ())
    notes().print(
        f"Mode {wanted.mode}, planner {planner}: up to {most} searches, "
        f"about {own.words:,} words.", style="dim", markup=False,
    )  # fmt: skip
    named = {name: asked.get(name) for name in ("model", "url", "answerer", "planner")}
    options = named | {
        "sources": asked.get("sources") or ["library"], "report": True, "mode": wanted.mode, "words": words,
        "mark": wanted.mark, "timing": wanted.timing, "clarify": wanted.clarify,
        "brief": asdict(brief) if brief else None,
    }  # fmt: skip
    key = runs.new(question, options=options)
    keepers: list[Any] = [runs.keep(key)]
    try:
        if trace:
            keepers.append(TraceFile.open(trace))
        run = research.start(
            question, settings=own, planner=planner, timing=wanted.timing,
            brief=brief, ask=_asked if wanted.clarify else None, experiment=experiment,
            key=key, keepers=keepers,
        )  # fmt: skip
    except BaseException:
        for keeper in keepers:
            keeper.close()
        runs.remove(key)
        raise
    _finished(run, key, wanted.out, as_json=wanted.json)


def resumed_report(
    settings: Settings, which: str, named: Mapping[str, Any], budget: Budget, *, out: Path | None, as_json: bool
) -> bool:
    """Go on with the run of a report, which is then written to `out`; whether it is one."""
    from foveal.research.budget import Budget
    from foveal.research.deep import report_of, settings_of
    from foveal.research.report import Brief
    from foveal.research.scope import Said
    from foveal.research.state import RunState
    from foveal.research.traces import TraceFile

    events, key, trace = events_of(which, settings.home)
    with kept_runs(settings) as runs:
        options = runs.get(key).options if key else options_kept(settings, events)
        state = RunState.of(events)
        if not options.get("report") and state.run.get("settings", {}).get("kind") != "report":
            return False
        _check_out(out)
        if out and budget == Budget() and not any(named.values()) and _is_whole(state):
            _told(report_of(state), key or str(trace), out, as_json=as_json)  # nothing is left to do but the file
            return True
        research, planner = _research(settings, dict(options) | options_of(options, named))
        tell_of_change(research.model, research.source, events)
        keeper: Any = TraceFile.open(Path(which), goes_on=True) if is_file(which) and trace else runs.keep(str(key))
        events = events_of(which, settings.home)[0]  # read again: now nobody else adds to them
        limited = None if budget == Budget() else budget  # 0 is a limit, too
        brief = Brief.from_row(options["brief"]) if options.get("brief") else None
        ask = _asked if options.get("clarify") or options.get("attended") else None
        if events:
            said = Said(brief=brief) if brief else None
            run = research.go_on(events, budget=limited, said=said, ask=ask, keepers=[keeper])
        else:  # killed before its first event
            mode, timing = str(options.get("mode", "normal")), str(options.get("timing", "always"))
            changed: dict[str, Any] = {"words": options["words"]} if options.get("words") else {}
            own = settings_of(mode, research.model, budget, mark=bool(options.get("mark")), **changed)
            run = research.start(
                runs.get(str(key)).question, settings=own, planner=planner, timing=timing, brief=brief, ask=ask,
                key=key, keepers=[keeper],
            )  # fmt: skip
        _finished(run, key or str(trace), out, as_json=as_json)
    return True


def shown_again(state: RunState, form: str, *, as_json: bool) -> None:
    """The report of a run that is over."""
    from foveal.research.deep import report_of
    from foveal.research.report_exports import EXPORTS

    report = report_of(state)
    if as_json:
        print_json(report.ledger())
    else:
        echo(EXPORTS["html" if form == "html" else "markdown"].write(report).decode())


def _research(settings: Settings, asked: Mapping[str, Any]) -> tuple[DeepResearch, str]:
    """What the options name, and the planner; a trained one is a sequential one."""
    from foveal.models import load_encoder
    from foveal.research.deep import PLANNERS, DeepResearch
    from foveal.research.settings import load_research
    from foveal.research.verification import Verifier

    chat, places = model_and_sources(asked, settings, _sources)
    planner, taught = asked.get("planner") or "auto", None
    if planner not in PLANNERS:
        from foveal.research.planning_trained import TaughtQueries
        from foveal.research.trained_planner import PlannerModel, planner_folder

        taught, planner = (
            TaughtQueries(PlannerModel.load(planner_folder(planner, settings.home), cache=settings.cache)),
            "sequential",
        )
    encoder = None if settings.encoder == "none" else load_encoder(settings.encoder, cache=settings.cache)
    own, checks = load_research(settings), Verifier(encoder)
    research = DeepResearch(
        chat, places, encoder=encoder, checks=checks, taught=taught, remember=own.memory, denied=own.hosts
    )
    return research, planner


def _sources(named: Sequence[str], settings: Settings) -> Any:
    from foveal.errors import InputError, LibraryError

    try:
        return sources_of(named, settings)
    except LibraryError as error:
        raise InputError(
            f"There is nothing to search: {str(error).rstrip('.')}. Or name another place by --source: {SOURCES}."
        ) from error


def _asked(questions: Sequence[str]) -> list[str] | None:
    """The person's answers; None where nobody is there to ask."""
    if not sys.stdin.isatty():
        return None
    notes().print("Press Enter to skip a question.", style="dim")
    return [typer.prompt(plain(one), default="", show_default=False, err=True) for one in questions]


def _brief(wanted: ReportOptions, question: str) -> Brief | None:
    """The brief of a file; what it does not say is as it would be without it. InputError: it cannot be used."""
    from foveal.errors import InputError
    from foveal.research.deep import MODES
    from foveal.research.report import Brief

    if wanted.brief is None:
        return None
    if wanted.clarify:
        raise InputError("--clarify asks for what --brief says. Leave one of them out.")
    try:
        row = json.loads(wanted.brief.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--brief got {wanted.brief}, which cannot be read ({error}). Name a file of JSON.") from error
    if not isinstance(row, dict):
        raise InputError(f'--brief got {wanted.brief}, which is no brief. It is as {{"must_cover": ["its price"]}}.')
    named = {"words": wanted.words} if wanted.words else {}
    return Brief.from_row({"goal": question, "words": MODES[wanted.mode].words} | row | named)


def _approved(file: Path | None) -> Experiment | None:
    """The experiment of a file, after a person has seen its code and said yes. NotAllowed: they said no."""
    from foveal.errors import InputError, NotAllowed
    from foveal.research.experiment import Experiment

    if file is None:
        return None
    try:
        planned = Experiment(code=file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--experiment got {file}, which cannot be read ({error}). Name a file of Python.") from error
    notes().print(planned.code, markup=False, highlight=False)
    limits = planned.limits
    allowed = f"without a network, {limits.seconds} s and {limits.memory_mb:,} MB at most"
    if not typer.confirm(f"Run this once, {allowed}?", err=True):
        raise NotAllowed("The experiment was not approved, so nothing was done.")
    return planned


def _is_whole(state: RunState) -> bool:
    """Whether a run has its report, nothing stopped it, and all its searches came through."""
    ended = state.done is not None and not state.done.get("stopped_by")
    return state.report is not None and ended and not state.search_failed


def _finished(run: DeepRun, key: str, out: Path | None, *, as_json: bool) -> None:
    _told(listened(run, json=as_json), key, out, as_json=as_json)


def _told(report: Report, key: str, out: Path | None, *, as_json: bool) -> None:
    """Write and print a report, and what it took."""
    if out:
        _write(report, out)
    if as_json:
        print_json(report.ledger())
    elif not out:
        _show(report)
    used = report.usage
    where = (key if key.endswith(".jsonl") else f"run {key[:8]}") + (f"; written to {out}" if out else "")
    notes().print(
        f"{used.get('searches', 0)} searches, {used.get('pages', 0)} pages, {used.get('calls', 0)} calls, "
        f"{used.get('tokens', 0):,} tokens, {used.get('seconds', 0.0):.0f} s; kept as {where}",
        style="dim", markup=False, soft_wrap=True,
    )  # fmt: skip
    if out and (lacks := _lacks(report)):
        notes().print(lacks, style="yellow", markup=False, soft_wrap=True)
    if not report.found:
        raise typer.Exit(NOT_FOUND)


def _lacks(report: Report) -> str:
    """What whoever opens the file should know before; "" if there is nothing."""
    if not report.found:
        return f"{report.state} What was tried stands in the file."
    open_ones = f"Not covered, and named in the file: {len(report.not_covered)}." if report.not_covered else ""
    return " ".join(filter(None, (report.state, open_ones)))


def _show(report: Report) -> None:
    from rich.markdown import Markdown

    console = results()
    if console.is_terminal:
        console.print(Markdown(report.to_markdown()))
    else:
        echo(report.to_markdown())


def _check_out(out: Path | None) -> None:
    """InputError: no form ends so, or the ledger would take the place of a JSON file that is none. MissingExtra:
    what makes the form is not installed; a run of an hour must not end with that."""
    from foveal.errors import InputError
    from foveal.research.report_exports import ready

    if out is None or ready(out) == "ledger":
        return
    beside = out.with_suffix(".json")
    if beside.exists() and not _is_ledger(beside):
        raise InputError(
            f"The ledger of {out} is written to {beside}, where another file is. Move that one, or name another --out."
        )


def _is_ledger(path: Path) -> bool:
    """Whether a file is the ledger of an earlier report, which a new one may replace."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and "foveal_report" in row


def _write(report: Report, out: Path) -> None:
    """The report in its form, and its ledger beside it."""
    from foveal.research.report_exports import written

    written(report, out)
    written(report, out.with_suffix(".json"), "ledger")
