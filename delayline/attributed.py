"""Where all requests' latency went, and the slowest ones': tables, sentences, and an object."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from delayline.explain_words import HEADS, LATE, MERGE, remedy, said
from delayline.tables import number, plain_table
from policies.runlog import Outcome
from reports.freetime import contended
from reports.numbers import NONE, percent
from reports.percentiles import NS_PER_MS, percentile
from reports.reasons import LOST, REASONS, SERVICE, SLOT
from reports.run import Run
from reports.shares import (
    Attribution,
    JoinShares,
    Shares,
    attribute,
    dropped,
    groups,
    shares,
    slowest,
)

_HELP = 3
"""Reasons that are named."""
_WORTH_SAYING = 0.02
"""Share of the latency from which a reason is named."""


@dataclasses.dataclass(frozen=True, slots=True)
class Slow:
    """A slow request, and the reason and stage that took the most of its time."""

    request: int
    arrival_ns: int
    took_ns: int
    stage: str
    reason: str
    most_ns: int


class Attributed:
    """A run, taken apart."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.found: Attribution = attribute(run.log)
        self.all, self.slow = groups(self.found, run.warmup_ns)

    @property
    def groups(self) -> Iterator[tuple[str, Shares]]:
        """All requests and the slowest, where there are any."""
        if self.all.any():
            yield "all", shares(self.found, self.all)
            yield "slowest 1%", shares(self.found, self.slow)

    def to_json(self, count: int | None = None, stage: str | None = None) -> dict[str, object]:
        """The object of ``explain --json``, of ``--slowest`` and of ``--stage``; times in nanoseconds."""
        if count is not None:
            listed = [dataclasses.asdict(each) for each in self.slowest(count, stage)]
            return {"run": self.run.name, "slowest": listed}
        if stage is not None:
            heads = ("mean_ns", "p50_ns", "p99_ns", "max_ns", "slowest_mean_ns")
            table = {
                reason: dict(zip(heads, figures, strict=True))
                for reason, figures in self.stage(stage).items()
            }
            return {"run": self.run.name, "stage": stage, "parts": table}
        return {
            "run": self.run.name,
            "unanswered": {how.name.lower(): n for how, n in dropped(self.run.log).items()},
            "groups": {
                name.replace(" 1%", ""): dataclasses.asdict(each) for name, each in self.groups
            },
            "helps": [
                {"stage": where or None, "reason": reason, "more_ns": more_ns, "remedy": text}
                for where, reason, more_ns, text in self._causes()
            ],
        }

    def print(self, console: Console) -> None:
        """Shares over all requests and over the slowest, and what would help."""
        found = dict(self.groups)
        lost = {how: n for how, n in dropped(self.run.log).items() if n}
        counted = int(self.all.sum())
        console.print(f"{self.run.name}: where the latency of {counted:,} answers went")
        if lost:
            told = ", ".join(f"{n:,} {how.name.lower()}" for how, n in lost.items())
            first = next(iter(lost))
            console.print(f"not answered: {told}; the first was {self._first(first)}")
        for name, each in found.items():
            console.print()
            console.print(
                f"{name}: {each.requests:,} requests, mean {number(each.latency_ns / NS_PER_MS)} ms"
            )
            console.print(self._table(each))
            for join in each.joins:
                console.print(_merge(join), soft_wrap=True)
        if found:
            console.print()
            console.print(self.verdict(), soft_wrap=True)

    def verdict(self) -> str:
        """What sets the slowest apart, and what would help them, in a sentence or two."""
        named = dict(self.groups)
        everyone, slow = named["all"], named["slowest 1%"]
        more_ns = slow.latency_ns - everyone.latency_ns
        text = f"the slowest 1% take {number(slow.latency_ns / NS_PER_MS)} ms"
        if more_ns <= 0:
            return f"{text}, as all others do"
        text += f", {number(more_ns / NS_PER_MS)} ms more than the mean"
        causes = self._causes()
        if not causes:
            return text
        parts = (f"{number(ns / NS_PER_MS)} ms {said(why, at)}" for at, why, ns, _ in causes)
        remedies = dict.fromkeys(remedy for _, why, _, remedy in causes if why != SERVICE)
        text += f": {', '.join(parts)}"
        return f"{text}; what would help: {'; '.join(remedies)}" if remedies else text

    def _causes(self) -> list[tuple[str, str, float, str]]:
        """Where the slowest lose the most against the mean: stage, reason, nanoseconds, remedy."""
        named = dict(self.groups)
        if not named:
            return []
        everyone, slow = named["all"], named["slowest 1%"]
        lost = [
            (one.name, reason, one.parts[reason] - other.parts[reason])
            for one, other in zip(slow.stages, everyone.stages, strict=True)
            for reason in REASONS
        ]
        lost.append(("a join", MERGE, slow.merge_ns - everyone.merge_ns))
        lost.append(("", LATE, slow.late_ns - everyone.late_ns))
        least_ns = _WORTH_SAYING * slow.latency_ns
        first = sorted((each for each in lost if each[2] > least_ns), key=lambda each: -each[2])
        return [
            (stage, reason, ns, remedy(self.run.log, reason, stage))
            for stage, reason, ns in first[:_HELP]
        ]

    def _first(self, how: Outcome) -> str:
        requests = self.run.log.requests
        first = int((requests.outcome == how).argmax())
        reason = requests.reasons.get(first)
        return f"{first}" + (f" ({reason})" if reason else "")

    def _table(self, found: Shares) -> Table:
        unusual = {LOST} if contended(self.run.log) else {LOST, SLOT}
        reasons = [
            each
            for each in REASONS
            if each not in unusual or any(stage.parts[each] for stage in found.stages)
        ]
        table = plain_table(
            "share of\nthe mean", *(HEADS[each] for each in reasons), "all\n", "ms\n"
        )
        whole = found.latency_ns or 1.0
        for stage in found.stages:
            cells = [percent(stage.parts[each] / whole) for each in reasons]
            cells += [percent(stage.total_ns / whole), number(stage.total_ns / NS_PER_MS)]
            table.add_row(stage.name, *(_dashed(cell) for cell in cells))
        if found.merge_ns:
            merge = [percent(found.merge_ns / whole), number(found.merge_ns / NS_PER_MS)]
            table.add_row("at joins", *[""] * len(reasons), *merge)
        if found.late_ns:
            late = [percent(found.late_ns / whole), number(found.late_ns / NS_PER_MS)]
            table.add_row("sent late", *[""] * len(reasons), *late)
        return table

    def print_slowest(self, console: Console, count: int, stage: str | None) -> None:
        """The slowest requests, and where each lost the most."""
        head = "latency\nms" if stage is None else f"at {stage}\nms"
        table = plain_table("request\n", "arrived\nms", head, "most of it\nms", "share\n", "why\n")
        table.columns[-1].justify = "left"
        for each in self.slowest(count, stage):
            table.add_row(
                str(each.request),
                f"{each.arrival_ns / NS_PER_MS:,.3f}",
                number(each.took_ns / NS_PER_MS),
                number(each.most_ns / NS_PER_MS),
                percent(each.most_ns / max(each.took_ns, 1)),
                said(each.reason, each.stage),
            )
        console.print(table)

    def slowest(self, count: int, stage: str | None) -> list[Slow]:
        """The completed requests that took longest, or were at one stage for longest."""
        index = None if stage is None else self._index(stage)
        ids = slowest(self.found, count, index, self.run.warmup_ns)
        return [self._slow(int(request), index) for request in ids]

    def _slow(self, request: int, only: int | None) -> Slow:
        log = self.run.log
        parts: list[tuple[int, str, str]] = []
        for index, (stage, visits) in enumerate(zip(log.stages, self.found.visits, strict=True)):
            if index == only or (only is None and self.found.paths.critical[index, request]):
                at = int((visits.request == request).argmax())
                parts += [(int(ns[at]), why, stage.name) for why, ns in visits.parts.items()]
        took_ns = sum(ns for ns, _, _ in parts)
        if only is None:
            parts.append((int(self.found.late_ns[request]), LATE, ""))
            took_ns = int(self.found.latency_ns[request])
        most_ns, why, stage_name = max(parts, key=lambda part: part[0])
        arrival_ns = int(log.requests.arrival_ns[request])
        return Slow(request, arrival_ns, took_ns, stage_name, why, most_ns)

    def print_stage(self, console: Console, name: str) -> None:
        """How one stage's waits are distributed, over all requests and over the slowest."""
        table = plain_table("ms\n", "mean\n", "p50\n", "p99\n", "max\n", "mean of the\nslowest 1%")
        for head, figures in self.stage(name).items():
            label = HEADS.get(head, head).replace("\n", " ").strip()
            table.add_row(
                label, *(number(None if ns is None else ns / NS_PER_MS) for ns in figures)
            )
        console.print(f"{self.run.name}, {name}: what its visits consist of")
        console.print(table)

    def stage(self, name: str) -> dict[str, tuple[float | None, ...]]:
        """By reason, and for ``all``: mean, p50, p99 and maximum over the visits of completed requests,
        and the mean over those of the slowest.
        """
        visits = self.found.visits[self._index(name)]
        counted, slow = self.all[visits.request], self.slow[visits.request]
        columns = {**visits.parts, "all": visits.over_ns - visits.enqueued_ns}
        return {
            head: (
                float(values[counted].mean()),
                *(float(percentile(values[counted], p)) for p in (50, 99, 100)),
                float(values[slow].mean()),
            )
            if counted.any()
            else (None,) * 5
            for head, values in columns.items()
            if head not in (LOST, SLOT) or values.any()
        }

    def _index(self, name: str) -> int:
        return [stage.name for stage in self.run.log.stages].index(name)


def _merge(join: JoinShares) -> str:
    if not join.last:
        return f"no request came to {join.name or 'the answer'}"
    last, share = max(join.last.items(), key=lambda each: each[1])
    return (
        f"at {join.name or 'the answer'} the first branch waits {number(join.merge_ns / NS_PER_MS)} ms for"
        f" the last, which is {last} for {percent(share)}"
    )


def _dashed(cell: str) -> str:
    return NONE if cell in ("0", "0.0%", "0%") else cell
