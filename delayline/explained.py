"""One request's story: its table, its timeline, its batches, and a sentence; and as an object."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from delayline.explain_words import HEADS, LATE, MARKS, MERGE, remedy, said, went
from delayline.tables import number, plain_table
from policies.runlog import Outcome
from reports.explain import BatchTold, Explained, VisitTold
from reports.freetime import contended
from reports.numbers import NONE, percent
from reports.paths import ANSWER
from reports.percentiles import NS_PER_MS
from reports.reasons import LOST, REASONS, SERVICE, SLOT
from reports.run import Run

_WIDTH = 72
"""Cells of a timeline."""
_MOST_NAMED = 8
"""Companions that are named; of more the others are counted."""
_PATH = "›"
"""Before the stages of the critical path, where there are others."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A request of a run, or its visit to one stage alone."""

    run: Run
    found: Explained
    stage: str | None = None

    @property
    def visits(self) -> Sequence[VisitTold]:
        """Those that are shown, in order of time."""
        shown = [v for v in self.found.visits if self.stage in (None, v.stage)]
        return sorted(shown, key=lambda visit: visit.enqueued_ns)

    def to_json(self) -> dict[str, object]:
        """The object of ``explain --request --json``; times in whole nanoseconds."""
        found = self.found
        return {
            "run": self.run.name,
            "request": found.request,
            "outcome": found.outcome.name.lower(),
            "reason": found.reason or None,
            "arrival_ns": found.arrival_ns,
            "ended_ns": found.ended_ns,
            "latency_ns": found.latency_ns,
            "late_ns": found.late_ns,
            "verdict": verdict(self.run, found),
            "visits": [_visit_json(visit) for visit in self.visits],
        }

    def print(self, console: Console) -> None:
        """All that a person wants to know."""
        found = self.found
        console.print(
            f"{self.run.name}, request {found.request}: arrived at"
            f" {found.arrival_ns / NS_PER_MS:,.3f} ms, {_ended(found)}",
            soft_wrap=True,
        )
        if self.visits:
            console.print()
            console.print(self._table())
            console.print()
            for line in self._timeline():
                console.print(line, soft_wrap=True)
            console.print()
            for visit in self.visits:
                if visit.batch is not None:
                    console.print(_batch(visit, visit.batch, found.request), soft_wrap=True)
                elif visit.skipped:
                    console.print(
                        f"{visit.stage}: in no batch; at level {visit.level} it went on without the stage",
                        soft_wrap=True,
                    )
        elif self.stage is not None:
            console.print(f"it never entered the queue of {self.stage}")
        console.print()
        console.print(verdict(self.run, found), soft_wrap=True)

    def _table(self) -> Table:
        visits, found = self.visits, self.found
        forked = any(visit.merges for visit in visits)
        reasons = [reason for reason in HEADS if reason in self._shown()]
        table = plain_table(
            "ms", "from\n", *(HEADS[each] for each in reasons if each != LATE), "all\n"
        )
        for visit in visits:
            mark = f"{_PATH} " if visit.critical else "  "
            cells = {**visit.parts, MERGE: visit.merge_ns}
            table.add_row(
                f"{mark if forked else ''}{visit.stage}",
                _ms(visit.enqueued_ns - found.arrival_ns),
                *(_ms(cells[each]) if cells[each] else NONE for each in reasons if each != LATE),
                _ms(visit.over_ns - visit.enqueued_ns + visit.merge_ns),
            )
        if found.late_ns and self.stage is None:
            table.add_row("sent late", *[""] * (len(table.columns) - 2), _ms(found.late_ns))
        path = [visit for visit in visits if visit.critical]
        if len(path) > 1:
            sums = {each: sum(visit.parts.get(each, 0) for visit in path) for each in reasons}
            if MERGE in sums:
                sums[MERGE] = sum(_merges_along(path))
            table.add_row(
                "along ›" if forked else "sum",
                "",
                *(_ms(sums[each]) if sums[each] else NONE for each in reasons if each != LATE),
                _ms(sum(sums.values()) + (found.late_ns if self.stage is None else 0)),
            )
        return table

    def _shown(self) -> set[str]:
        """The columns that have something in them; what every run has is always there."""
        visits = self.visits
        used = {reason for reason in REASONS if any(visit.parts[reason] for visit in visits)}
        used |= set(REASONS) - {LOST, *([] if contended(self.run.log) else [SLOT])}
        return used | ({MERGE} if any(visit.merges for visit in visits) else set())

    def _timeline(self) -> Iterator[Text]:
        visits = self.visits
        begin = self.found.arrival_ns if self.stage is None else visits[0].enqueued_ns
        end = max(visit.over_ns + visit.merge_ns for visit in visits)
        width = max(len(visit.stage) for visit in visits)
        cell_ns = max(end - begin, 1) / _WIDTH
        for visit in visits:
            line = f"{visit.stage:{width}}  "
            line += " " * round((visit.enqueued_ns - begin) / cell_ns)
            at_ns = visit.enqueued_ns
            for reason, mark in MARKS.items():
                spent_ns = visit.merge_ns if reason == MERGE else visit.parts[reason]
                cells = round((at_ns + spent_ns - begin) / cell_ns)
                cells -= round((at_ns - begin) / cell_ns)
                line += mark * cells
                at_ns += spent_ns
            yield Text(line)
        shown = self._shown()
        words = (HEADS[each].replace("\n", " ").strip() for each in MARKS if each in shown)
        marks = (MARKS[each] for each in MARKS if each in shown)
        legend = "  ".join(f"{mark} {word}" for mark, word in zip(marks, words, strict=True))
        yield Text(f"{'':{width}}  {legend}")


def verdict(run: Run, found: Explained) -> str:
    """What there is to say of a request in one sentence."""
    if found.outcome != Outcome.COMPLETED:
        where = found.visits[-1].stage if found.visits else ""
        last = (
            f", waiting at {where} when the run ended" if found.outcome == Outcome.PENDING else ""
        )
        return (
            f"request {found.request} was never answered: {found.reason or 'it is pending'}{last}"
        )
    text = f"request {found.request} took {_ms(found.latency_ns or 0)} ms{_against(run, found)}"
    parts = [
        (ns, reason, visit.stage)
        for visit in found.visits
        if visit.critical
        for reason, ns in visit.parts.items()
    ]
    path = [visit for visit in found.visits if visit.critical]
    parts += [
        (ns, MERGE, after or "the answer")
        for ns, after in zip(
            _merges_along(path), [*(visit.stage for visit in path[1:]), ANSWER], strict=True
        )
    ]
    service_ns = sum(ns for ns, reason, _ in parts if reason == SERVICE)
    text += f": {_ms(service_ns)} ms in service"
    waits = [part for part in parts if part[1] != SERVICE]
    spent_ns, reason, stage = max([(found.late_ns, LATE, ""), *waits], key=lambda part: part[0])
    if not spent_ns:
        return f"{text}, without any wait"
    share = percent(spent_ns / (found.latency_ns or 1))
    text += f"; its longest wait, {_ms(spent_ns)} ms ({share}), was {said(reason, stage)}"
    return f"{text}{_merge(found)}; what would help: {remedy(run.log, reason, stage)}"


def _merges_along(path: Sequence[VisitTold]) -> list[int]:
    """The merge wait after each stage of the critical path."""
    after = [*(visit.stage for visit in path[1:]), ANSWER]
    return [visit.merge_before(name) for visit, name in zip(path, after, strict=True)]


def _against(run: Run, found: Explained) -> str:
    if run.objective is None or found.latency_ns is None:
        return ""
    over_ns = found.latency_ns - run.objective.latency_ns
    limit = number(run.objective.latency_ns / NS_PER_MS)
    how = "more" if over_ns > 0 else "less"
    return f", {_ms(abs(over_ns))} ms {how} than the objective of {limit} ms"


def _merge(found: Explained) -> str:
    """The join that kept its first branch waiting longest, and who was late there."""
    merges = [merge for visit in found.visits for merge in visit.merges]
    longest = max(merges, key=lambda merge: merge.wait_ns, default=None)
    if longest is None or not longest.wait_ns:
        return ""
    where = longest.join or "the answer"
    return (
        f"; at {where} other branches waited up to {_ms(longest.wait_ns)} ms for {longest.slowest}"
    )


def _ended(found: Explained) -> str:
    how = found.outcome.name.lower()
    if found.latency_ns is None:
        return "pending when the run ended"
    return f"{how} after {_ms(found.latency_ns)} ms"


def _batch(visit: VisitTold, batch: BatchTold, request: int) -> str:
    """A batch in words: what it was, who was in it, why it went, and what its oldest waited."""
    others = [each.request for each in batch.members if each.request != request]
    text = f"{visit.stage}: batch {batch.number} on replica {batch.replica}"
    if not others:
        text += f", alone (of at most {batch.max_batch})"
    else:
        named = ", ".join(map(str, others[:_MOST_NAMED]))
        more = len(others) - _MOST_NAMED
        named += f" and {more} more" if more > 0 else ""
        text += f", {len(others) + 1} of at most {batch.max_batch}, with {named}"
    text += f", at level {visit.level}" if visit.level else ""
    text += f"; it went when {went(batch.went)}"
    oldest = batch.oldest
    mine = next(each for each in batch.members if each.request == request)
    if oldest.waited_ns == mine.waited_ns:
        return f"{text}; none had waited longer" if others else text
    more_ns = oldest.waited_ns - mine.waited_ns
    return (
        f"{text}; its oldest, {oldest.request}, had waited {_ms(oldest.waited_ns)} ms,"
        f" {_ms(more_ns)} ms more than this one"
    )


def _visit_json(visit: VisitTold) -> dict[str, object]:
    batch = visit.batch
    return {
        "stage": visit.stage,
        "branch": visit.branch or None,
        "critical": visit.critical,
        "enqueued_ns": visit.enqueued_ns,
        "over_ns": visit.over_ns,
        "parts_ns": dict(visit.parts),
        "merges": [dataclasses.asdict(merge) for merge in visit.merges],
        "level": visit.level,
        "skipped": visit.skipped,
        "batch": None
        if batch is None
        else {
            "number": batch.number,
            "replica": batch.replica,
            "attempt": batch.attempt,
            "dispatched_ns": batch.dispatched_ns,
            "items": batch.items,
            "max_batch": batch.max_batch,
            "went": batch.went,
            "requests": [each.request for each in batch.members],
            "oldest": dataclasses.asdict(batch.oldest),
        },
    }


def _ms(ns: int) -> str:
    return f"{ns / NS_PER_MS:,.3f}"
