"""headline: is a headline borne out by its article; write one; several people label them; how far they agree."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, Home, notes, print_json, results
from foveal.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.evaluation.headlines import HeadlinePair
    from foveal.evaluation.votes import Vote
    from foveal.papers.headline_writer import Writer
    from foveal.papers.headlines import HeadlineJudge
    from foveal.settings import Settings

SKIP, QUIT, BACK, HELP = "s", "q", "b", "?"

app = typer.Typer(help="Judge, write and label the headlines of articles, in any language.", no_args_is_help=True)

JudgeName = Annotated[
    str | None, typer.Option("--judge", help="A judge that was trained: HOME/models/NAME, or its folder.")
]
Pairs = Annotated[Path, typer.Argument(help="CSV with the columns headline, article (id, label), or JSON lines.")]


@app.callback()
def group() -> None:
    """Judge, write and label the headlines of articles, in any language."""


# -- judge, eval ------------------------------------------------------------------------------------------------------


@app.command()
def judge(
    headline: Annotated[str, typer.Argument(help="The headline.")],
    article: Annotated[str, typer.Argument(help="Its article: a file or URL, or - for standard input.")],
    name: JudgeName = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say how far ARTICLE bears HEADLINE out, and by which sentence. Without --judge: the evidence, no label."""
    from foveal.evaluation.headlines import TECLASS, check_texts
    from foveal.settings import Settings

    settings = Settings.load(home)
    text = _article(article, settings)
    check_texts(headline, text)
    if name is None:
        found = _evidence(headline, text)
        if as_json:
            print_json(found)
            return
        _show_evidence(results(), found["features"], found["evidence_sentence"])
        results().print("No judge was named, so there is no label: --judge NAME (foveal train headline-judge).")
        return
    chosen = _judge(name, settings)
    judgement = chosen.predict(headline, text)
    if as_json:
        print_json({**judgement.as_json(), "licence": chosen.licence})
        return
    console = results()
    shares = ", ".join(f"{label} {share:.2f}" for label, share in judgement.probabilities.items())
    meaning = TECLASS.meanings.get(judgement.label, "")
    said = f"{judgement.label}{'' if judgement.sure else ' (not sure)'}{meaning and f', {meaning}'}"
    console.print(f"{said}\n   {shares}", markup=False, soft_wrap=True)
    _show_evidence(console, judgement.features, judgement.evidence_sentence)


@app.command(name="eval")
def evaluate(
    file: Pairs,
    name: Annotated[str, typer.Option("--judge", help="A judge that was trained: HOME/models/NAME, or its folder.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Measure a judge on the labelled pairs of FILE: F1 by class, macro, weighted, what is taken for what."""
    from foveal.evaluation.headlines import read_pairs
    from foveal.settings import Settings

    pairs = read_pairs(file)
    report = _judge(name, Settings.load(home)).evaluate(pairs)
    confusion = report.confusion
    if as_json:
        told = {"f1": confusion.f1, "macro": confusion.macro, "weighted": confusion.weighted}
        told |= {"accuracy": confusion.accuracy, "calibration_error": report.calibration_error}
        print_json({**told, "sure": report.sure, "labels": confusion.labels, "counts": confusion.counts})
        return
    from rich.table import Table

    table = Table("right label", *(f"called {label}" for label in confusion.labels), "F1", box=None, pad_edge=False)
    for label, row in zip(confusion.labels, confusion.counts, strict=True):
        table.add_row(label, *map(str, row), f"{confusion.f1[label]:.3f}")
    console = results()
    console.print(table)
    console.print(
        f"macro F1 {confusion.macro:.3f}, weighted F1 {confusion.weighted:.3f}, accuracy {confusion.accuracy:.3f}, "
        f"calibration error {report.calibration_error:.3f}"
    )


# -- write ------------------------------------------------------------------------------------------------------------


@app.command()
def write(
    article: Annotated[
        str, typer.Argument(help="An article (file, URL, or -), or a CSV or JSON lines of pairs to rewrite.")
    ],
    writer: Annotated[
        str, typer.Option(help="A writer that was trained, or a language model; with --url the server's model.")
    ] = "gemma3-270m",
    n: Annotated[int, typer.Option("-n", min=1, max=32, help="Headlines to write and judge.")] = 1,
    name: JudgeName = None,
    out: Annotated[
        Path | None, typer.Option(help="Of pairs: write them here as JSON lines, the new headline beside the author's.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="OpenAI-compatible server, as http://127.0.0.1:8080/v1.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write headlines for ARTICLE. Of a file of pairs: for each a better one, kept beside the author's own."""
    from foveal.papers.headline_writer import written_by
    from foveal.settings import Settings

    settings = Settings.load(home)
    of_pairs = article.endswith((".csv", ".jsonl", ".csv.gz", ".jsonl.gz"))
    if of_pairs and (name is None or out is None):  # said before a model is loaded
        raise InputError("Rewriting a file of pairs needs --judge NAME, which says what is better, and --out FILE.")
    if out is not None and not of_pairs:
        raise InputError("--out is for a file of pairs (.csv or .jsonl); a single article's headlines are printed.")
    chosen = _judge(name, settings) if name else None
    made = _writer(writer, url, settings)
    if chosen is not None and out is not None:
        how = {"writer": writer, "url": url, "judge": name}
        _rewrite_all(Path(article), made, chosen, out, n, how, as_json=as_json)
        return
    found = written_by(made, _article(article, settings), n, judge=chosen)
    if as_json:
        print_json([{"text": one.text, "judgement": one.judgement} for one in found])
        return
    for one in found:
        label = f"   ({one.judgement.label})" if one.judgement else ""
        results().print(f"{one.text}{label}", markup=False, soft_wrap=True)


def _rewrite_all(
    file: Path,
    writer: Writer,
    judge: HeadlineJudge,
    out: Path,
    n: int,
    how: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    """Rewrite each pair of the file."""
    from foveal.evaluation.headlines import read_pairs
    from foveal.papers.headline_rewriting import Done, part_of, rewrite_all

    pairs = read_pairs(file)
    with notes().status("Writing …") as status:

        def show(now: Done) -> None:
            status.update(f"Writing: {now.pairs:,} of {len(pairs):,} pairs, {now.better:,} better")

        try:
            done = rewrite_all(writer, pairs, judge, out, n=n, how=how, on_progress=show)
        except KeyboardInterrupt:
            notes().print(f"What is done is kept in {part_of(out)}; the same command goes on.", markup=False)
            raise
    if as_json:
        print_json({"pairs": done.pairs, "better": done.better, "out": str(out)})
        return
    said = f"Wrote {done.pairs:,} pairs to {out}; {done.better:,} have a headline that is judged better, as `written`."
    results().print(said, markup=False, soft_wrap=True)


# -- annotate, agree --------------------------------------------------------------------------------------------------


@app.command()
def annotate(
    file: Pairs,
    annotator: Annotated[str, typer.Option(help="Your name: each vote is kept under it.")],
    votes: Annotated[Path | None, typer.Option(help="File of votes (default: FILE.votes.jsonl).")] = None,
    view: Annotated[str, typer.Option(help="Labels to give: primary, binary or sub.")] = "primary",
    again: Annotated[bool, typer.Option("--again", help="Also show what you labelled before.")] = False,
) -> None:
    """Label the headlines of FILE: the guideline, then one key each. A vote is on the disk before it is confirmed."""
    from foveal.evaluation.headlines import TECLASS, read_pairs
    from foveal.evaluation.votes import last_votes, read_votes, require_same

    annotator = annotator.strip()
    if not annotator:
        raise InputError("The annotator has no name; each vote is kept under it: --annotator NAME.")
    pairs = read_pairs(file).by_id()
    place = votes or file.with_name(f"{file.name}.votes.jsonl")
    labels = TECLASS.labels(view)
    given = read_votes(place)
    require_same(given, pairs, place)
    _require_labels(given, labels, place)
    console = results()
    console.print(guideline(labels), markup=False)
    known = last_votes(given)
    todo = [one for one in pairs.values() if again or annotator not in known.get(one.id, {})]
    if not todo:
        console.print(
            f"{annotator} has labelled all {len(pairs)} headlines. --again shows them once more.", markup=False
        )
        return
    count = _annotated(todo, labels, annotator, place, console)
    said = f"Labelled {count} of {len(todo)}; kept in {place}. When others have voted: foveal headline agree {place}"
    console.print(said if count else f"Nothing was labelled of {len(todo)}.", markup=False, soft_wrap=True)


def _require_labels(given: list[Vote], labels: tuple[str, ...], place: Path) -> None:
    """InputError: the file has votes of another view, with which these could not be counted."""
    other = next((vote.label for vote in given if vote.label not in labels), None)
    if other is not None:
        raise InputError(
            f"{place} has votes of another view, such as {other!r}; this one has {', '.join(labels)}. Take the --view "
            "that it was begun with, or another file: --votes FILE."
        )


def guideline(labels: tuple[str, ...]) -> str:
    """What a person reads before labelling."""
    from foveal.evaluation.headlines import TECLASS

    keys = "\n".join(f"  {n}  {label:<14}{TECLASS.meanings.get(label, '')}" for n, label in enumerate(labels, start=1))
    return (
        "How to label. Read the whole article first, then its headline.\n"
        "  - Judge only what the article says, not what you know of the matter.\n"
        "  - A number, name or place in the headline that the article gives otherwise makes it misleading.\n"
        "  - A conclusion counts as strong where the article's facts force it, as weak where they only allow it.\n"
        "  - Where two labels fit, take the one that is lower in this list.\n"
        "  - Do not talk about an article before all have voted on it.\n"
        f"{keys}\n  {SKIP} skip, {BACK} back, {HELP} this page, {QUIT} quit\n"
    )


def _annotated(todo: list[HeadlinePair], labels: tuple[str, ...], annotator: str, place: Path, console: Console) -> int:
    """Show each pair and keep the vote that is given; how many pairs got one."""
    keys = {str(n): label for n, label in enumerate(labels, start=1)}
    voted: set[str] = set()
    at = 0
    while at < len(todo):
        one = todo[at]
        console.print(f"\n{one.article.strip()}\n", markup=False)
        console.print(one.headline, markup=False, style="bold")
        answer = _answer(console, f"   {at + 1} of {len(todo)}", labels, {*keys, SKIP, BACK, QUIT})
        if answer == QUIT:
            break
        if answer in keys:
            _keep(one, annotator, keys[answer], place)
            voted.add(one.id)
            console.print(f"   Kept: {keys[answer]}.", markup=False)
        at = max(0, at - 1) if answer == BACK else at + 1
    return len(voted)


def _keep(one: HeadlinePair, annotator: str, label: str, place: Path) -> None:
    from foveal import faults
    from foveal.evaluation.votes import Vote, keep_vote

    keep_vote(place, Vote(one.id, one.headline, annotator, label, faults.now().isoformat(timespec="seconds")))


def _answer(console: Console, place: str, labels: tuple[str, ...], allowed: set[str]) -> str:
    """One of the keys; the end of the input quits."""
    from foveal.cli.judge import pressed_key

    while True:
        console.print(f"{place}. Label (1-{len(labels)}, {SKIP}, {BACK}, {HELP}, {QUIT}): ", end="", markup=False)
        found = pressed_key()
        console.print(found if found and found.isprintable() and sys.stdin.isatty() else "", markup=False)
        if found is None:
            return QUIT
        if found in allowed:
            return found
        if found != HELP:
            console.print(f"   {found!r} is none of the keys ({HELP} shows what they mean).", markup=False)
            continue
        console.print(guideline(labels), markup=False)


@app.command()
def agree(
    votes: Annotated[Path, typer.Argument(help="File of votes that `annotate` kept.")],
    pairs: Annotated[Path | None, typer.Option(help="The pairs that were labelled, for --out.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the pairs with the majority's label here, as JSON lines.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how far people agree: Fleiss' kappa, the share on which all agree, the majority's labels."""
    from dataclasses import asdict

    from foveal.evaluation.agreement import agreement, majority
    from foveal.evaluation.headlines import read_pairs
    from foveal.evaluation.votes import last_votes, read_votes, require_same

    given = read_votes(votes)
    if not given:
        raise InputError(f"{votes} holds no votes. Begin: foveal headline annotate FILE --annotator NAME.")
    last = {item: tuple(said.values()) for item, said in last_votes(given).items()}
    labels = _view_of(given)
    chosen = {item: majority(said) for item, said in last.items()}
    told: dict[str, Any] = {
        "unlabelled": sum(label is None for label in chosen.values()),
        "labels": {label: list(chosen.values()).count(label) for label in labels},
    }
    if out is None or any(len(said) > 1 for said in last.values()):  # who labels alone wants the labels
        told = {**asdict(agreement(last, labels)), **told}
    if out is not None:
        if pairs is None:
            raise InputError("--out writes the pairs with their labels; name the file that was labelled: --pairs FILE.")
        labelled = read_pairs(pairs).by_id()
        require_same(given, labelled, votes)
        _write_labelled(labelled, chosen, out)
    if as_json:
        print_json({**told, "majority": chosen})
        return
    _show_agreement(told)


def _view_of(given: list[Vote]) -> tuple[str, ...]:
    """The labels of the view that all votes are of. InputError: there is none."""
    from foveal.evaluation.headlines import TECLASS, VIEWS

    used = {vote.label for vote in given}
    view = next((view for view in VIEWS if used <= set(TECLASS.labels(view))), None)
    if view is None:
        known = "; ".join(f"{view}: {', '.join(TECLASS.labels(view))}" for view in VIEWS)
        raise InputError(f"The votes use {', '.join(sorted(used))}, which are not labels of one view ({known}).")
    return TECLASS.labels(view)


def _show_agreement(told: Mapping[str, Any]) -> None:
    said = ["One vote each, so nothing can be said of agreement"]
    if "kappa" in told:
        kappa, each = told["kappa"], f"{told['votes_each']} votes each"
        found = "none, as all votes are one label" if kappa is None else f"{kappa:.3f} (0: as by chance)"
        said = [f"Fleiss' kappa {found}; all agree on {told['unanimous']:.1%} of {told['items']} items with {each}"]
    if told.get("left_out"):
        said.append(f"left out, having another number of votes: {told['left_out']}")
    counted = ", ".join(f"{label} {count}" for label, count in told["labels"].items())
    said.append(f"majority: {counted}; unlabelled, as two labels lead: {told['unlabelled']}")
    for line in said:
        results().print(line, markup=False, soft_wrap=True)


def _write_labelled(pairs: Mapping[str, HeadlinePair], chosen: Mapping[str, str | None], out: Path) -> None:
    from foveal.evaluation.files import whole_file

    if not pairs.keys() & chosen.keys():
        raise InputError("No pair of --pairs has a vote: other ids stand there. Name the file that was labelled.")
    with whole_file(out) as partial, partial.open("w", encoding="utf-8") as lines:
        for one in pairs.values():
            label = chosen.get(one.id)
            if label is not None:
                told = {"id": one.id, "url": one.url, "article": one.article, "headline": one.headline, "label": label}
                lines.write(json.dumps(told, ensure_ascii=False) + "\n")


# -- parts ------------------------------------------------------------------------------------------------------------


def _article(source: str, settings: Settings) -> str:
    from foveal.reading.opening import opened
    from foveal.text.loading import read_document
    from foveal.text.sources import load_settings

    if source == "-":
        return "".join(opened(source, load_settings(settings)).blocks())
    return read_document(source, load_settings(settings)).text


def _judge(name: str, settings: Settings) -> HeadlineJudge:
    from foveal.papers.headlines import load_judge

    with _loading():
        found = load_judge(name, settings)
    if found.licence:
        notes().print(f"Note: {found.licence}", markup=False, soft_wrap=True)
    return found


def _writer(name: str, url: str | None, settings: Settings) -> Writer:
    from foveal.papers.headline_writer import ChatWriter, load_writer

    if url:
        from foveal.models.chats import load_chat, served_as

        return ChatWriter(load_chat(name, url=url, **served_as(settings)))
    with _loading():
        found = load_writer(name, settings)
    if found.licence:
        notes().print(f"Note: {found.licence}", markup=False, soft_wrap=True)
    return found


@contextmanager
def _loading() -> Iterator[None]:
    with notes().status("Loading …"):
        yield


def _evidence(headline: str, article: str) -> dict[str, Any]:
    """Features and evidence without a judge: the weights of n-grams are those of these two texts."""
    from foveal.papers.headline_features import Features
    from foveal.text.ngrams import CharacterTfIdf, GramSettings
    from foveal.text.tokens import words

    vocabulary = CharacterTfIdf.fit([words(headline), words(article)], GramSettings(least=1))
    found = Features(vocabulary).of([(headline, article)])
    place = found.evidence[0]
    return {
        "features": dict(zip(found.names, found.values[0].tolist(), strict=True)),
        "evidence_sentence": None if place is None else article[place[0] : place[1]],
        "evidence_span": place,
    }


def _show_evidence(console: Console, features: Mapping[str, float], sentence: str | None) -> None:
    console.print("   " + ", ".join(f"{name} {value:.2f}" for name, value in features.items()), markup=False)
    said = "The article has no words to bear it out." if sentence is None else f"Evidence: {sentence}"
    console.print(said, markup=False, soft_wrap=True)
