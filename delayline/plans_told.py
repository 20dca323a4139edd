"""Plans that were compared, told: sentences, tables, an object and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from configs.dump import dump_config
from delayline.plan_runs import BASELINE, Compared
from delayline.plan_verdicts import Verdict, headline, sentences, verdicts
from delayline.tables import number, plain_table
from reports.figures import plans as figures
from reports.numbers import NONE, percent
from reports.percentiles import NS_PER_MS
from reports.plan_page import Part, Rows
from reports.plan_rows import Outcome, Served
from reports.plans_page import PlansPage, write_plans_page

_COLUMNS: tuple[tuple[str, Callable[[Outcome], float | None]], ...] = (
    ("mean\nms", lambda run: run.mean_ms),
    ("p50\nms", lambda run: run.p50_ms),
    ("p99\nms", lambda run: run.p99_ms),
    ("max\nms", lambda run: run.max_ms),
    ("goodput\n/s", lambda run: run.goodput_rps),
    ("device s\nper 1,000", lambda run: run.busy_s_per_1000),
)
_MOST_COLUMNS = 11
_QUALITY: tuple[tuple[str, str], ...] = (
    ("NDCG\n@10", "ndcg"),
    ("recall", "recall"),
    ("agree-\nment", "agreement"),
)


class Told:
    """A comparison, told."""

    def __init__(self, compared: Compared) -> None:
        self.compared = compared
        share = compared.asked.objective.percentile / 100
        self.verdicts: list[Verdict] = verdicts(compared.rows, BASELINE, share)

    @property
    def asked(self) -> str:
        """What was measured."""
        asked = self.compared.asked
        loads = ", ".join(percent(load) for load in asked.loads)
        text = (
            f"plans at {loads} of {number(asked.capacity_hz)} requests/s, {asked.replications}"
            f" replications of {asked.requests:,} requests each; objective: p{asked.objective.percentile:g}"
            f" within {number(asked.objective.latency_ns / NS_PER_MS)} ms"
        )
        seconds = self.compared.seconds
        return text if seconds is None else f"{text}; real runs of {number(seconds)} s"

    def sentences(self) -> Iterator[str]:
        """Where each plan pays and where it does not."""
        yield from sentences(self.verdicts, BASELINE)

    def tables(self) -> Iterator[tuple[str, Rows]]:
        """A title and a table for each load, simulated and then real."""
        for real in (False, True):
            here = [row for row in self.compared.rows if row.real == real]
            for load in sorted({row.load for row in here}):
                title = f"{percent(load)} of the capacity, {'real' if real else 'simulated'}"
                yield title, _table([row for row in here if row.load == load])

    def to_json(self) -> dict[str, object]:
        """The object of ``compare --plans --json``, without ``wall_s``."""
        asked = self.compared.asked
        return {
            "capacity_rps": asked.capacity_hz,
            "loads": list(asked.loads),
            "replications": asked.replications,
            "requests": asked.requests,
            "objective_ms": asked.objective.latency_ns / NS_PER_MS,
            "baseline": BASELINE,
            "plans": [self._row_json(row) for row in self.compared.rows],
            "left_out": [
                {"plan": each.plan, "real": each.real, "reason": each.why}
                for each in self.compared.left
            ],
            "conclusions": list(self.sentences()),
        }

    def _row_json(self, row: Served) -> dict[str, object]:
        verdict = next(
            (
                each
                for each in self.verdicts
                if (each.plan, each.load, each.real) == (row.plan, row.load, row.real)
            ),
            None,
        )
        return {
            "plan": row.plan,
            "load": row.load,
            "real": row.real,
            "setting": row.setting,
            "mean_ms": row.mean(lambda run: run.mean_ms),
            "p50_ms": row.mean(lambda run: run.p50_ms),
            "p99_ms": row.mean(lambda run: run.p99_ms),
            "max_ms": row.mean(lambda run: run.max_ms),
            "goodput_rps": row.mean(lambda run: run.goodput_rps),
            "within": row.mean(lambda run: run.within),
            "device_s_per_1000": row.mean(lambda run: run.busy_s_per_1000),
            "quality": {name: row.mean(_judged(name)) for _, name in _QUALITY},
            "memory": None if row.memory is None else asdict(row.memory),
            "pays": None if verdict is None else verdict.pays,
            "against_baseline": None if verdict is None else str(verdict),
        }

    def print(self, console: Console) -> None:
        """Everything that fits a screen."""
        console.print(f"{self.compared.asked.config.name}: {self.asked}", soft_wrap=True)
        for title, rows in self.tables():
            console.print()
            console.print(title)
            for part in _narrow(rows):
                table = plain_table(*part.heads)
                for row in part.rows:
                    table.add_row(*row)
                console.print(table)
        console.print()
        for sentence in self.sentences():
            console.print(sentence, soft_wrap=True)
        for each in self.compared.left:
            kind = "not run for real" if each.real else "does not apply"
            console.print(f"{each.plan} {kind}: {each.why}", soft_wrap=True)

    def write_page(self, path: Path) -> None:
        """Write the page. Raises OSError."""
        asked = self.compared.asked
        write_plans_page(
            path,
            PlansPage(
                title=asked.config.name,
                asked=self.asked,
                headline=headline(self.verdicts, BASELINE),
                details=tuple(self.sentences()),
                parts=list(self._parts()),
                config=dump_config(asked.config, path.absolute().parent).partition("\n")[2],
            ),
        )

    def _parts(self) -> Iterator[Part]:
        goal_ms = self.compared.asked.objective.latency_ns / NS_PER_MS
        for real in (False, True):
            rows = [row for row in self.compared.rows if row.real == real]
            if not rows:
                continue
            where = "For real" if real else "Simulated"
            text = "Figures are means over replications; latencies are of completed requests."
            yield Part(where, (text,), figure=figures.points(rows, goal_ms))
            if any(row.mean(figures.ndcg_of) is not None for row in rows):
                yield Part(f"{where}: quality against cost", figure=figures.quality(rows))
        for title, table in self.tables():
            yield Part(title[0].upper() + title[1:], table=table)
        yield Part("What was chosen, and whether it pays", (), self._against())
        docs = tuple(f"{plan.name}: {plan.doc}" for plan in self.compared.asked.plans)
        yield Part("The plans", docs)
        left = tuple(dict.fromkeys(f"{each.plan}: {each.why}" for each in self.compared.left))
        if left:
            yield Part("Left out", left)

    def _against(self) -> Rows:
        rows = tuple(
            (
                each.plan,
                f"{percent(each.load)}{', real' if each.real else ''}",
                "yes" if each.pays else "no",
                self._setting(each),
            )
            for each in self.verdicts
        )
        return Rows(("plan", "load", "pays", "setting"), rows)

    def _setting(self, verdict: Verdict) -> str:
        return next(
            row.setting
            for row in self.compared.rows
            if (row.plan, row.load, row.real) == (verdict.plan, verdict.load, verdict.real)
        )


def _table(rows: Sequence[Served]) -> Rows:
    judged = [
        (head, name) for head, name in _QUALITY if any(row.mean(_judged(name)) for row in rows)
    ]
    memory = any(row.memory for row in rows)
    heads = [
        "plan",
        *(head for head, _ in _COLUMNS[:4]),
        "in\ntime",
        *(head for head, _ in _COLUMNS[4:]),
        *(head for head, _ in judged),
        *(("a replica\nMB", "in all\nMB") if memory else ()),
    ]
    return Rows(tuple(heads), tuple(tuple(_cells(row, judged, memory=memory)) for row in rows))


def _narrow(rows: Rows) -> Iterator[Rows]:
    """The table as it fits a screen: in two, where quality and memory are both known."""
    if len(rows.heads) <= _MOST_COLUMNS:
        yield rows
        return
    own = len(_COLUMNS) + 2
    yield Rows(rows.heads[:own], tuple(row[:own] for row in rows.rows))
    yield Rows((rows.heads[0], *rows.heads[own:]), tuple((row[0], *row[own:]) for row in rows.rows))


def _cells(row: Served, judged: Sequence[tuple[str, str]], *, memory: bool) -> Iterator[str]:
    yield row.plan
    for _, value in _COLUMNS[:4]:
        yield number(row.mean(value))
    yield percent(row.mean(lambda run: run.within))
    for _, value in _COLUMNS[4:]:
        yield number(row.mean(value))
    for _, name in judged:
        yield number(row.mean(_judged(name)))
    if memory and row.memory is not None:
        yield number(round(row.memory.replica_bytes / 1e6))
        yield number(round(row.memory.total_bytes / 1e6))
    elif memory:
        yield from (NONE, NONE)


def _judged(name: str) -> Callable[[Outcome], float | None]:
    def value(run: Outcome) -> float | None:
        found: float | None = None if run.judged is None else getattr(run.judged, name)
        return found

    return value
