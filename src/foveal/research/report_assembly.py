"""From a desk full of evidence to a report: conflicts, outline, drafts, the best of them, a short answer before it.

Assembly(desk=desk, checks=checks, settings=settings).written()         # Report
… .put_together()       # the same without a model and without steps: quotes, checked by words
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from foveal.models.chat import ChatModel, Sampling
from foveal.research.checks import Checks, WordChecks
from foveal.research.conflicts import conflicts, debated
from foveal.research.desk import Desk
from foveal.research.evidence import Verdict
from foveal.research.outline import Planned, not_covered, outline
from foveal.research.planning import SubQuery
from foveal.research.report import Report
from foveal.research.report_drafts import (
    Draft,
    Drafted,
    checked,
    fitted,
    from_rows,
    mended,
    scored,
    sentence_of,
    to_rows,
    undated,
    without_repeats,
    without_unsupported,
)
from foveal.research.report_parts import LEAD, LEFT_OUT, NOT_SEARCHED, UNREAD, Conflict, cited_keys
from foveal.research.report_tables import with_tables
from foveal.research.report_writing import (
    SectionWriter,
    Sentence,
    all_sentences,
    answer_messages,
    held_by,
    own_words,
)
from foveal.research.steps import digest, unread_by

if TYPE_CHECKING:
    from foveal.research.deep_settings import DeepSettings

GOOD = 0.95
"""Score of a draft after which no other is written."""

NOTED_SHARE = 0.1
"""Of a writer's window, for what the run remembers; evidence may take 0.6 (report_writing.CONTEXT_SHARE)."""

UNREAD_FEWEST = 3
"""Steps of whose forms a model filled in none: one or two may be by chance."""

LEAD_WORDS, LEAD_LEAST = 70, 8
"""Words of the short answer, at most, and of a sentence that is moved there, at least: a shorter one is near to any
question on its subject, and says little."""

LEAD_SOURCES = 5
"""Passages that the short answer is written from (PaperQA2's answer_max_sources)."""


@dataclass(kw_only=True)
class Assembly:
    """Writes the report of one desk."""

    desk: Desk
    checks: Checks
    settings: DeepSettings
    _conflicts: list[Conflict] | None = field(default=None)

    def conflicts(self) -> list[Conflict]:
        """Where the evidence conflicts, so far."""
        desk = self.desk

        def work(_: ChatModel) -> Any:
            return [asdict(one) for one in conflicts(desk.evidence, desk.sources, desk.likeness, self.checks)]

        rows = desk.once("verify", f"conflicts {digest(list(desk.evidence))}", work)
        found = [_conflict_of(row) for row in rows]
        if not self.settings.debate:
            return found

        def argue(one: Conflict) -> Any:
            key = f"debate {digest(one.sides)}"
            return desk.once("reflect", key, lambda model: asdict(debated(desk.question, one, desk.evidence, model)))

        return [_conflict_of(argue(one)) for one in found]

    def written(self) -> Report:
        """The report, by the best of its drafts. Cancelled: the run was stopped, or its budget is spent."""
        against = self.conflicts()
        planned = self._outline()
        best = self._best(planned)
        lead = self._lead(best)
        if not lead:
            lead, best = self._moved(best)
        return self._report(planned, self._with_room(best, lead), lead, against)

    def put_together(self) -> Report:
        """What can be said without a model: the passages' own sentences."""
        planned, checks = self._outline(), WordChecks()
        writer = self._writer()
        sections: Drafted = tuple((plan, tuple(writer.write(plan, None))) for plan in planned)
        sections = without_repeats(checked(sections, self.desk.evidence, checks), self.desk.likeness)
        words = self.desk.brief.words
        draft = Draft(fitted(sections, words, lambda _: (), self.desk.likeness))
        return self._report(planned, scored(draft, planned, words), (), [])

    # -- parts --------------------------------------------------------------------------------------------------------

    def _outline(self) -> list[Planned]:
        desk = self.desk
        brief = desk.brief
        if self.settings.stage == 1:
            brief = replace(brief, words=min(brief.words, 250))
        return outline(desk.findings, desk.evidence, desk.likeness, brief)

    def _writer(self) -> SectionWriter:
        desk = self.desk
        plain = self.settings.plain
        return SectionWriter(desk.evidence, desk.sources, desk.likeness, self.checks, plain=plain, brief=desk.brief)

    def _best(self, planned: Sequence[Planned]) -> Draft:
        """The draft that is borne out best; the first of equals. Another one is written while it could be better."""
        best: Draft | None = None
        wrong: list[str] = []
        told = len(self.desk.board.state.drafts)
        for version in range(self.settings.drafts):
            draft = self._draft(planned, version, wrong)
            is_best = best is None or draft.score > best.score
            if version >= told:
                self._tell(draft, version, best=is_best)
            if is_best:
                best = draft
            wrong = [one.text for one in draft.dropped]
            if draft.score >= GOOD or not draft.dropped:  # what is missing, another draft would miss as well
                break
        assert best is not None
        return best

    def _draft(self, planned: Sequence[Planned], version: int, wrong: Sequence[str]) -> Draft:
        desk, words = self.desk, self.desk.brief.words
        sections: Drafted = tuple((plan, self._section(plan, version, wrong)) for plan in planned)
        key = f"draft {version} {digest(to_rows(Draft(sections)))}"
        rows = desk.once("verify", key, lambda _: to_rows(Draft(checked(sections, desk.evidence, self.checks))))
        sections = undated(from_rows(rows).sections, desk.evidence, desk.sources)
        if desk.memory is not None:
            desk.memory.cited = frozenset(key for _, said in sections for one in said for key in one.keys)
        sections = undated(self._mended(sections), desk.evidence, desk.sources)
        sections, dropped = without_unsupported(sections, mark=self.settings.mark)
        sections = without_repeats(sections, desk.likeness)
        used = {one.text for _, said in sections for one in said}
        sections = fitted(sections, words, lambda plan: self._spare(plan, used), desk.likeness)
        return scored(Draft(sections, dropped), planned, words)

    def _section(self, plan: Planned, version: int, wrong: Sequence[str]) -> tuple[Sentence, ...]:
        noted = self._noted(plan)

        def work(model: ChatModel) -> Any:
            written = self._writer().write(plan, model, seed=version, wrong=wrong, noted=noted)
            return [asdict(one) for one in written]

        key = digest(asdict(plan), list(wrong), *([noted] if noted else []))
        return tuple(map(sentence_of, self.desk.once("write", f"section {version} {key}", work)))

    def _noted(self, plan: Planned) -> list[str]:
        """What the run's memory recalls on a section's goal, for a writer that reads more than one passage."""
        desk = self.desk
        if desk.memory is None or self.settings.plain:
            return []
        room = int(NOTED_SHARE * desk.steps.model.context_tokens)
        return desk.memory.marked(plan.goal, tokens=room, keys=plan.evidence)

    def _mended(self, sections: Drafted) -> Drafted:
        """Sentences that nothing bears out, searched for once more."""
        desk = self.desk

        def search(text: str) -> Sequence[str]:
            if desk.enough:  # who asked wants the report now
                return ()
            desk.extra += 1
            found = desk.research([SubQuery(text[:200], text)])
            desk.findings = [one for one in desk.findings if one not in found]  # no branch of the plan
            return found[0].evidence if found else ()

        return mended(sections, search, desk.evidence, self.checks, self.settings.mended)

    def _spare(self, plan: Planned, used: set[str]) -> list[Sentence]:
        """More sentences of a section's passages, those that stand."""
        new = [one for one in self._writer().quotes(plan) if one.text not in used]

        def work(_: ChatModel) -> Any:
            return to_rows(Draft(checked(((plan, tuple(new)),), self.desk.evidence, self.checks)))

        rows = self.desk.once("verify", f"spare {digest(asdict(plan), [one.text for one in new])}", work)
        return [one for one in from_rows(rows).sections[0][1] if one.stands]

    def _lead(self, draft: Draft) -> tuple[Sentence, ...]:
        """The answer in a few sentences, each traced to evidence that bears it out; others are left out."""
        desk = self.desk
        keys = [one.keys[0] for _, said in draft.sections for one in said if one.keys]
        order = sorted(dict.fromkeys(keys), key=lambda key: -desk.evidence[key].relevance)
        near = desk.likeness.to(desk.question, [desk.evidence[key].summary for key in order])
        best = [order[place] for place in sorted(range(len(order)), key=lambda place: -near[place])[:LEAD_SOURCES]]
        if not best:
            return ()
        shown = [desk.evidence[key].summary for key in best]

        def write(model: ChatModel) -> Any:
            return model.chat(
                answer_messages(desk.question, shown, desk.brief.language), Sampling(max_tokens=120)
            ).strip()

        text = desk.once("write", f"answer {digest(shown)}", write)
        rows = desk.once("verify", f"answer {digest(text, best)}", lambda _: self._traced(text, best))
        found: list[Sentence] = []
        words = 0
        opening = ((Planned(LEAD, desk.question, ()), tuple(map(sentence_of, rows))),)
        for one in without_repeats(undated(opening, desk.evidence, desk.sources), desk.likeness)[0][1]:
            if not one.stands:
                continue
            if words + one.words <= min(LEAD_WORDS, desk.brief.words // 3) or not found:
                found.append(one)
                words += one.words
        return tuple(found)

    def _with_room(self, draft: Draft, lead: Sequence[Sentence]) -> Draft:
        """The draft at what the short answer leaves of the length; what that says word for word stands there alone."""
        left = max(1, self.desk.brief.words - sum(one.words for one in lead))
        first = {one.text for one in lead}
        sections = tuple(
            (plan, tuple(one for one in said if one.text not in first) or said) for plan, said in draft.sections
        )
        used = {one.text for _, said in sections for one in said} | first
        sections = fitted(sections, left, lambda plan: self._spare(plan, used), self.desk.likeness)
        return replace(draft, sections=sections)

    def _moved(self, draft: Draft) -> tuple[tuple[Sentence, ...], Draft]:
        """Where no answer of the model's is borne out: the two sentences that are nearest to the question, from where
        they stand; of a short report none."""
        flat = [one for _, said in draft.sections for one in said if not one.marked]
        if len(flat) < 6:
            return (), draft
        flat = [one for one in flat if one.words >= LEAD_LEAST] or flat
        near = self.desk.likeness.to(self.desk.question, [one.text for one in flat])
        best = sorted(range(len(flat)), key=lambda place: (-near[place], place))[:2]
        lead = tuple(flat[place] for place in best)
        left = tuple((plan, tuple(one for one in said if one not in lead)) for plan, said in draft.sections)
        return lead, replace(draft, sections=left)

    def _traced(self, text: str, keys: Sequence[str]) -> list[Any]:
        """The sentences of an answer that one of the passages bears out, with that one's key."""
        found = []
        for said in filter(None, map(own_words, all_sentences(text))):
            verdicts = self.checks.check_many([(said, [self.desk.evidence[key].passage]) for key in keys])
            best = max(range(len(keys)), key=lambda place: (_rank(verdicts[place]), -place))
            kept = not self.settings.plain or held_by(said, [self.desk.evidence[keys[best]].passage])
            if verdicts[best].label == "supported" and kept:
                found.append(asdict(Sentence(said, (keys[best],), verdict=verdicts[best])))
        return found

    def _tell(self, draft: Draft, version: int, *, best: bool) -> None:
        board = self.desk.board
        board.tell("draft", version=version, score=draft.score, best=best, words=draft.words, **_counts(draft))

    def _report(
        self, planned: Sequence[Planned], draft: Draft, lead: Sequence[Sentence], against: Sequence[Conflict]
    ) -> Report:
        desk = self.desk
        opening = Planned(LEAD, desk.question, ())
        whole = replace(draft, sections=(((opening, tuple(lead)),) if lead else ()) + draft.sections)
        missing = [] if desk.findings else [desk.question]
        missing += not_covered(desk.findings, planned, desk.brief, desk.likeness)
        missing += [f"{NOT_SEARCHED}{source}: {why}" for source, why in sorted(desk.silent.items())]
        missing += self._unread()
        missing += [f"{LEFT_OUT}{one.text}" for one in draft.left_out()]
        sections = with_tables(draft.sections, whole.to_sections(desk.brief.format), desk.evidence)
        return Report(
            question=desk.question, brief=desk.brief, title=desk.question.strip().rstrip("?"), sections=sections,
            sources=tuple(desk.sources.values()), evidence=tuple(desk.evidence.values()), claims=whole.claims(),
            not_covered=tuple(dict.fromkeys(missing)), conflicts=tuple(against),
        )  # fmt: skip

    def _unread(self) -> list[str]:
        """That a model does not fill in forms, where it mostly did not."""
        unread, asked = unread_by(self.desk.board)
        if unread < UNREAD_FEWEST or 2 * unread < asked:
            return []
        told = f"in {unread} of {asked} steps nothing that {self.desk.steps.model.name} answered had the form asked for"
        return [f"{UNREAD}{told}. The sources' own words stand there."]


def answer_events(report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    """The report as the answer of a run: its sources by number, and its text with these."""
    keys = {number: key for key, number in reversed(report.numbers.items())}
    added: dict[str, Any] = {}
    for number, source in report.bibliography.items():
        one = report.by_key[keys[number]]
        span = {
            "document_id": one.passage.span.document_id,
            "start": one.passage.span.start,
            "end": one.passage.span.end,
        }
        added[str(number)] = {
            "key": source.url, "url": one.url or source.url, "title": source.title, "summ": one.summary, "node": "",
            "quote": one.passage.text, "span": span, "revision": "" if one.url else source.revision,
            **({"unread": True} if one.unread else {}),
        }  # fmt: skip
    if added:
        yield "refs", {"added": added}
    parts = [f"## {one.heading}\n\n{_with_numbers(report, one.text)}" for one in report.sections]
    for claim in report.claims:
        yield "claim", claim.to_row()
    yield "answer.delta", {"text": "\n\n".join(parts) if parts else report.to_markdown()}


def _with_numbers(report: Report, text: str) -> str:
    for key in cited_keys(text):
        mark = f"[[{report.numbers[key]}]]" if key in report.numbers else ""
        text = text.replace(f"[[{key}]]", mark)
    return text


def _counts(draft: Draft) -> dict[str, int]:
    labels = [one.verdict.label for _, said in draft.sections for one in said if one.verdict]
    return {"supported": labels.count("supported"), "claims": len(labels), "dropped": len(draft.left_out())}


def _rank(verdict: Verdict) -> tuple[bool, float]:
    return verdict.label == "supported", verdict.score


def _conflict_of(row: Any) -> Conflict:
    return Conflict(about=row["about"], sides=tuple(map(tuple, row["sides"])), preferred=row["preferred"])
