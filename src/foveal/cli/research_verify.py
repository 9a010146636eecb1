"""research verify, research eval: a written report checked against what it cites; scores of reports and answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.asking import MODELS, language_model
from foveal.cli.output import AsJson, Home, notes, open_library, print_json, results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foveal.research.checking import Checked, Ledger
    from foveal.research.verification import Verifier
    from foveal.settings import Settings

NOT_SUPPORTED = 4
"""Exit status where a claim is not supported, or there is none."""

STYLES = {"supported": "green", "partly": "yellow", "unsupported": "red", "contradicted": "bold red"}

evaluating = typer.Typer(help="Score reports and answers that lie in files.", no_args_is_help=True)

Report = Annotated[Path, typer.Argument(help="A report in Markdown, with numbered marks and a list of sources.")]
LedgerFile = Annotated[
    Path | None, typer.Option("--ledger", help="Its ledger (default: REPORT.ledger.json or REPORT.json, if there).")
]
ModelName = Annotated[str | None, typer.Option("--model", help=f"A local model that says yes or no, too: {MODELS}.")]
Rows = Annotated[Path, typer.Argument(help="JSON lines (.jsonl, .jsonl.gz).")]


def register(app: typer.Typer) -> None:
    """Put this module's commands into `app`."""
    app.command()(verify)
    app.add_typer(evaluating, name="eval")


def verify(
    report: Report, ledger: LedgerFile = None, model: ModelName = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Check each claim of REPORT against what it cites. Exit status 4: not all are supported.

    Cited is the evidence of the ledger; without one, documents of the library by their addresses. No network is used.
    """
    from foveal.settings import Settings

    settings = Settings.load(home)
    checked, changed = _checked(report, ledger, settings, model, home)
    if as_json:
        print_json({"claims": list(map(_row, checked.claims)), "unknown": checked.unknown, "changed": changed})
    else:
        results().print(_table(checked))
        _remarks(checked, changed)
    if not checked.good or changed:
        raise typer.Exit(NOT_SUPPORTED)


def _checked(
    report: Path, ledger: Path | None, settings: Settings, model: str | None, home: Path | None
) -> tuple[Checked, list[str]]:
    """The claims with their verdicts, and keys of evidence whose text has changed in the library."""
    from foveal.research.checking import Ledger, check_report, ledger_beside

    markdown, path = _text(report), ledger or ledger_beside(report)
    verifier = verifier_of(settings, model)
    if path is None:
        return check_report(markdown, verifier, find=open_library(home).get), []
    held = Ledger.read(path)
    return check_report(markdown, verifier, ledger=held), _changed(held, settings, home)


def _changed(held: Ledger, settings: Settings, home: Path | None) -> list[str]:
    from foveal.retrieval import tables

    return held.changed(open_library(home).get) if tables.exists(settings.library_uri) else []


def verifier_of(settings: Settings, model: str | None) -> Verifier:
    """The verifier with a home's encoder, and the model that is named."""
    from foveal.models import load_encoder
    from foveal.research.verification import Verifier

    encoder = None if settings.encoder == "none" else load_encoder(settings.encoder, cache=settings.cache)
    if model is None:
        return Verifier(encoder)
    from foveal.models.local_chat import LocalChat

    return Verifier(encoder, LocalChat(language_model(model, settings)))


def _ledger_of(report: Path, ledger: Path | None) -> Path:
    """The ledger that is named, or beside a report. InputError: there is none."""
    from foveal.errors import InputError
    from foveal.research.checking import ledger_beside

    path = ledger or ledger_beside(report)
    if path is None:
        raise InputError(f"There is no ledger beside {report}. Name it with --ledger.")
    return path


def _text(report: Path) -> str:
    from foveal.errors import InputError

    try:
        return report.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"{report} cannot be read ({said}). Name a report in Markdown.") from error


def _row(claim: Any) -> dict[str, Any]:
    return asdict(claim)


def _table(checked: Checked) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("verdict", "claim", "cites", "best place", box=None, pad_edge=False)
    for one in checked.claims:
        verdict = one.verdict
        label = verdict.label if verdict else "not checked"
        said = Text(one.text)
        if verdict and verdict.lacking:
            said.append(f"\n{verdict.lacking}", "yellow")
        quote = " ".join(verdict.quote.split())[:240] if verdict else ""
        score = f"{label} {verdict.score:.2f}" if verdict else label
        table.add_row(
            Text(score, STYLES.get(label, "")), said, Text(", ".join(one.evidence) or "nothing"), Text(quote, "dim")
        )
    return table if checked.claims else "There is no claim in it: no sentence has a mark, or a number, date or name."


def _remarks(checked: Checked, changed: list[str]) -> None:
    from collections import Counter

    counts: Counter[str] = Counter(one.verdict.label for one in checked.claims if one.verdict)
    notes().print(", ".join(f"{counts[name]} {name}" for name in STYLES if counts[name]) or "0 claims", style="dim")
    if checked.unknown:
        notes().print(f"These marks lead to nothing: {', '.join(checked.unknown)}", style="yellow", markup=False)
    if changed:
        notes().print(
            f"The text of this evidence has changed since: {', '.join(changed)}", style="yellow", markup=False
        )


# -- eval -------------------------------------------------------------------------------------------------------------


@evaluating.callback()
def group() -> None:
    """Score reports and answers that lie in files."""


@evaluating.command("race")
def eval_race(
    rows: Rows,
    criteria: Annotated[
        Path | None,
        typer.Option(help="Weights (DeepResearch Bench's criteria.jsonl); ROWS then hold a judge's scores."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """RACE of reports: the means of per-task results, or, with --criteria, from a judge's scores of each criterion.

    A line of scores: {"id", "target": {dimension: {criterion: score}}, "reference": the same}.
    """
    from foveal.evaluation.reports import DIMENSIONS, mean_of_tasks, race, read_criteria, read_race_rows, read_rows

    if criteria is None:
        _scores(mean_of_tasks(read_race_rows(rows)), as_json)
        return
    from foveal.errors import InputError

    weights = {str(task): one for task, one in read_criteria(criteria).items()}
    found = []
    for row in read_rows(rows, ("id", "target", "reference")):
        if str(row["id"]) not in weights:
            raise InputError(f"{criteria} has no weights for task {row['id']}; it has {len(weights)} tasks.")
        try:
            scored = race(weights[str(row["id"])], row["target"], row["reference"])
        except (AttributeError, TypeError) as error:
            raise InputError(
                f"The scores of task {row['id']} cannot be read ({error}); target and reference need the form "
                '{"dimension": {"criterion": 7}}.'
            ) from error
        found.append(
            {**{name: scored.dimensions.get(name, 0.0) for name in DIMENSIONS}, "overall_score": scored.overall}
        )
    _scores(mean_of_tasks(found), as_json)


@evaluating.command("fact")
def eval_fact(
    rows: Annotated[Path, typer.Argument(help="JSON lines (.jsonl, .jsonl.gz), or a report (.md) with a ledger.")],
    ledger: LedgerFile = None,
    model: ModelName = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """FACT: citation accuracy and effective citations, of judged statements, or of a report, which the verifier judges.

    A line: {"id", "statement", "url", "judgement": supported, unsupported or unknown}; a report without citations has
    one line with its id alone.
    """
    from foveal.evaluation.reports import fact, read_rows

    if rows.suffix.lower() in (".md", ".markdown"):
        _scores(asdict(fact([_judged(rows, ledger, model, home)])), as_json)
        return
    tasks: dict[str, list[tuple[str, str, str]]] = {}
    for row in read_rows(rows, ("id",)):
        of = tasks.setdefault(str(row["id"]), [])
        if "statement" in row:
            of.append((str(row["statement"]), str(row.get("url", "")), str(row.get("judgement"))))
    _scores(asdict(fact(list(tasks.values()))), as_json)


def _judged(report: Path, ledger: Path | None, model: str | None, home: Path | None) -> list[tuple[str, str, str]]:
    from foveal.research.checking import Ledger
    from foveal.research.report_scores import judged
    from foveal.settings import Settings

    held = Ledger.read(_ledger_of(report, ledger))
    return list(judged(_text(report), verifier_of(Settings.load(home), model), ledger=held))


@evaluating.command("coverage")
def eval_coverage(
    report: Report,
    brief: Annotated[Path | None, typer.Option(help="JSON with must_cover (default: the brief of the ledger).")] = None,
    ledger: LedgerFile = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """How much of its brief a report treats: the share of what it must cover, and what is missing."""
    from foveal.errors import InputError
    from foveal.research.likeness import Likeness
    from foveal.research.report_scores import untreated
    from foveal.settings import Settings

    path = brief or _ledger_of(report, ledger)
    points = _points(path)
    if not points:
        raise InputError(f"{path} names nothing that the report must cover. Name it: --brief with must_cover in it.")
    missing = untreated(points, _text(report), Likeness(verifier_of(Settings.load(home), None).encoder))
    told = {"points": len(points), "coverage": 1 - len(missing) / len(points)}
    _scores(told | {"missing": missing if as_json else "; ".join(missing) or "nothing"}, as_json)


def _points(path: Path) -> tuple[str, ...]:
    """What a brief, or the brief of a ledger, must cover. InputError: the file is neither."""
    import json

    from foveal.errors import InputError
    from foveal.research.report_parts import Brief

    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}). Name a ledger, or a brief: a file of JSON.") from error
    told = row.get("brief", row) if isinstance(row, dict) else None
    if not isinstance(told, dict):
        raise InputError(f'{path} is no brief. It is as {{"must_cover": ["its price"]}}.')
    return Brief.from_row({"goal": "the report"} | (told if told is not row or "must_cover" in row else {})).must_cover


@evaluating.command("alce")
def eval_alce(
    report: Report, ledger: LedgerFile = None, model: ModelName = None, home: Home = None, as_json: AsJson = False
) -> None:
    """ALCE of a report with a ledger: recall and precision of its citations; the verifier says what entails what.

    A sentence that cites nothing counts where it states a number, a date or a name.
    """
    from foveal.evaluation.reports import alce
    from foveal.research.checking import Ledger
    from foveal.research.claims import addresses_of, claims_of
    from foveal.research.verification import entails
    from foveal.settings import Settings

    markdown, held = _text(report), Ledger.read(_ledger_of(report, ledger))
    addresses = addresses_of(markdown)
    passages: list[str] = []
    sentences: list[tuple[str, list[int]]] = []
    for claim in claims_of(markdown):
        behind = held.behind(claim, addresses)
        lost = [-1] * any(not held.leads(key, addresses) for key in claim.evidence)  # no passage has that number
        sentences.append((claim.text, [*range(len(passages), len(passages) + len(behind)), *lost]))
        passages += [f"{one.heading or ''}\n{one.text}".strip() for one in behind]
    _scores(asdict(alce(sentences, passages, entails(verifier_of(Settings.load(home), model)))), as_json)


@evaluating.command("answers")
def eval_answers(rows: Rows, as_json: AsJson = False) -> None:
    """EM and F1 of answers. A line: {"answers": list of gold ones, "predicted" or "answer": text}.

    Where all lines have them: "shown" (what was read: does a gold answer stand in it?), "searches", "steps", "success".
    """
    from statistics import fmean

    from foveal.errors import InputError
    from foveal.evaluation.answers import score
    from foveal.evaluation.reports import read_rows

    given = read_rows(rows, ("answers",))
    if not given:
        raise InputError(f"{rows} holds no answers.")
    texts: list[str] = []
    for number, row in enumerate(given, start=1):
        text, golds = row.get("predicted", row.get("answer")), row["answers"]
        if not isinstance(text, str) or not isinstance(golds, list) or not all(isinstance(one, str) for one in golds):
            raise InputError(
                f"Answer {number} of {rows} cannot be scored; it needs a list of texts under answers, and a text under "
                "predicted or answer."
            )
        texts.append(text)
    names = {"exact": "EM", "f1": "F1", "contains": "holds the gold answer"}
    found = {shown: fmean(score(name, text, row["answers"]) for text, row in zip(texts, given, strict=True))
             for name, shown in names.items()}  # fmt: skip
    _scores({"answers": len(given), **found, **_sought(rows, given, texts)}, as_json)


SOUGHT = {"shown": (str, "gold in evidence"), "searches": (int, "searches"), "steps": (int, "steps"),
          "success": (bool, "success")}  # fmt: skip
"""Fields of a run that seeks: their kind, and what `seeking` calls their mean."""


def _sought(rows: Path, given: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> dict[str, float]:
    """What lines tell of how answers were sought, of the fields that all of them have."""
    from foveal.errors import InputError
    from foveal.evaluation.seeking import Sought, seeking

    told = [name for name in SOUGHT if all(name in row for row in given)]
    for number, row in enumerate(given, start=1):
        wrong = [name for name in told if type(row[name]) is not SOUGHT[name][0]]
        if wrong:
            raise InputError(
                f"Answer {number} of {rows} cannot be scored: shown needs a text, searches and steps whole numbers, "
                f"success true or false, and {', '.join(wrong)} has something else."
            )
    made = [
        Sought(text, tuple(row["answers"]), **{name: row[name] for name in told})
        for text, row in zip(texts, given, strict=True)
    ]
    found = seeking(made)
    return {SOUGHT[name][1]: found[SOUGHT[name][1]] for name in told}


def _scores(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(dict(found))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in found.items():
        shown = "none" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
        table.add_row(name.replace("_", " "), shown)
    results().print(table)
