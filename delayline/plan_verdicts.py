"""Where a plan pays and where it does not, against the cascade: what it surely gains, and at what price."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log

from reports.numbers import NONE, percent
from reports.plan_rows import Outcome, Served, at
from sim.statistics import paired_interval

IN_TIME = "in time"
LEAST = 0.02
"""Relative differences below this are of no account."""
_LEAST_REAL = 0.1
"""The same for a single real run, of which no interval is known."""
_LEAST_POINTS = 0.001
"""Differences of the share in time below this are of no account."""


@dataclass(frozen=True, slots=True)
class Change:
    """How far a figure lies from the baseline's, where that is sure; the text is such as "-12%"."""

    figure: str
    text: str
    better: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A plan at a load against the baseline."""

    plan: str
    load: float
    real: bool
    changes: tuple[Change, ...]
    met: bool
    """Whether as large a share of the requests is in time as the objective asks for."""

    @property
    def gains(self) -> tuple[Change, ...]:
        """What is better."""
        return tuple(each for each in self.changes if each.better)

    @property
    def prices(self) -> tuple[Change, ...]:
        """What is worse."""
        return tuple(each for each in self.changes if not each.better)

    @property
    def pays(self) -> bool:
        """Whether anything is gained, and the objective is met, or at least more is in time."""
        sooner = any(each.figure == IN_TIME for each in self.gains)
        return bool(self.gains) and (self.met or sooner)

    def __str__(self) -> str:
        """In a few words: what is gained, then at which price."""
        if not self.changes:
            return "no difference"
        gained = _listed(self.gains) if self.gains else "no gain"
        return gained + (f"; {_listed(self.prices)}" if self.prices else "")


def _listed(changes: Sequence[Change]) -> str:
    return ", ".join(f"{each.figure} {each.text}" for each in changes)


@dataclass(frozen=True, slots=True)
class _Figure:
    name: str
    better: int
    """-1 where lower is better."""
    value: Callable[[Outcome], float | None]


def _judged(name: str) -> Callable[[Outcome], float | None]:
    return lambda run: None if run.judged is None else getattr(run.judged, name)


_RELATIVE = (
    _Figure("p99", -1, lambda run: run.p99_ms),
    _Figure("device time", -1, lambda run: run.busy_s_per_1000),
    _Figure("NDCG@10", 1, _judged("ndcg")),
    _Figure("recall", 1, _judged("recall")),
)


def verdicts(rows: Sequence[Served], baseline: str, share: float) -> list[Verdict]:
    """A verdict on every row of another plan, where the baseline was served at its load; the objective asks
    for a ``share`` of the requests in time.
    """
    found = []
    for row in rows:
        base = at(rows, baseline, row.load, real=row.real)
        if base is not None and row.plan != baseline:
            found.append(_verdict(row, base, share))
    return found


def _verdict(row: Served, base: Served, share: float) -> Verdict:
    changes = []
    if within := _within(row, base):
        changes.append(Change(IN_TIME, f"{100 * within:+.1f} points", within > 0))
    for figure in _RELATIVE:
        if change := _change(row, base, figure.value):
            better = change * figure.better > 0
            changes.append(Change(figure.name, _signed(change), better))
    if row.memory and base.memory:
        change = row.memory.total_bytes / base.memory.total_bytes - 1
        if abs(change) >= LEAST:
            changes.append(Change("memory", _signed(change), change < 0))
    met = (row.mean(lambda run: run.within) or 0.0) >= share
    return Verdict(row.plan, row.load, row.real, tuple(changes), met)


def _within(row: Served, base: Served) -> float:
    """By how much more is in time, where that is sure; else 0."""
    pairs = [(one.within, other.within) for one, other in zip(row.runs, base.runs, strict=True)]
    change = sum(one - other for one, other in pairs) / len(pairs)
    least = _LEAST_REAL if row.real else _LEAST_POINTS
    return change if abs(change) >= least and _sure(pairs) else 0.0


def _change(row: Served, base: Served, value: Callable[[Outcome], float | None]) -> float:
    """The relative difference of a figure, where that is sure; else 0."""
    pairs = []
    for one, other in zip(row.runs, base.runs, strict=True):
        mine, theirs = value(one), value(other)
        if mine is None or theirs is None:
            return 0.0
        pairs.append((mine, theirs))
    before = sum(theirs for _, theirs in pairs)
    if before <= 0:
        return 0.0
    change = sum(mine for mine, _ in pairs) / before - 1
    least = _LEAST_REAL if row.real else LEAST
    if all(mine > 0 and theirs > 0 for mine, theirs in pairs):
        # By factors: near saturation, levels differ more between replications than plans do in one.
        pairs = [(log(mine), log(theirs)) for mine, theirs in pairs]
    return change if abs(change) >= least and _sure(pairs) else 0.0


def _sure(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the 95% interval of the difference leaves zero out; taken for granted of a single run."""
    if len(pairs) < 2:
        return True
    found = paired_interval([one for one, _ in pairs], [other for _, other in pairs])
    return 0 not in found


def _signed(change: float) -> str:
    return f"x{1 + change:.3g}" if change > 1 else f"{100 * change:+.0f}%"


def headline(found: Sequence[Verdict], baseline: str) -> str:
    """Which plans pay against the baseline at every load, at some, at none; simulated, where any was."""
    here = [each for each in found if not each.real] or list(found)
    told: dict[str, list[str]] = {"at every load": [], "at some loads": [], "at none": []}
    for plan in dict.fromkeys(each.plan for each in here):
        pays = [each.pays for each in here if each.plan == plan]
        when = "at every load" if all(pays) else "at some loads" if any(pays) else "at none"
        told[when].append(plan)
    parts = [f"{when}: {', '.join(plans)}" for when, plans in told.items() if plans]
    return f"What pays against the {baseline} {'; '.join(parts)}"


def sentences(found: Sequence[Verdict], baseline: str) -> Iterator[str]:
    """In words, plan by plan, what it gains and costs at each load; then the loads at which nothing pays."""
    for real in (False, True):
        here = [each for each in found if each.real == real]
        where = "for real, " if real else ""
        for plan in dict.fromkeys(each.plan for each in here):
            yield where + _of_plan(plan, [each for each in here if each.plan == plan])
        for load in sorted({each.load for each in here}):
            if not any(each.pays for each in here if each.load == load):
                yield f"{where}at {percent(load)} of the capacity nothing pays against {baseline}"


def _of_plan(plan: str, mine: Sequence[Verdict]) -> str:
    """``hold: device time -71% / -39% / -10%, at the price of p99 x4.3 / x2.3 / +5%``."""
    if not any(each.changes for each in mine):
        return f"{plan}: no difference at any load"
    gains = _over_loads(mine, better=True)
    prices = _over_loads(mine, better=False)
    loads = [percent(each.load) for each in mine if each.pays]
    pays = "pays at no load" if not loads else f"pays at {' and '.join(loads)}"
    if len(loads) == len(mine):
        pays = "pays at every load"
    told = [gains or "no gain", *([f"at the price of {prices}"] if prices else [])]
    return f"{plan} {pays}: {', '.join(told)}"


def _over_loads(mine: Sequence[Verdict], *, better: bool) -> str:
    """Each figure that is better (or worse) at some load, with its change at every one."""
    found = {}
    for each in mine:
        for change in each.changes:
            if change.better == better:
                found[change.figure] = [_text(one, change.figure, better) for one in mine]
    return ", ".join(f"{figure} {' / '.join(texts)}" for figure, texts in found.items())


def _text(verdict: Verdict, figure: str, better: bool) -> str:
    changes = (c.text for c in verdict.changes if c.figure == figure and c.better == better)
    return next(changes, NONE)
