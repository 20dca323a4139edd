"""A run's figures as text and tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from reports.confidence import Estimate
from reports.metrics import Metrics, StageMetrics
from reports.numbers import NONE, count, figure, percent
from reports.objective import Attainment
from reports.percentiles import NS_PER_MS, STATISTICS
from reports.replicated import Replicated

_EXACT = (NONE, "0")
"""Half an interval where there is no doubt, or no way to tell."""
_OUTCOMES = ("completed", "shed", "expired", "failed")


def number(value: int | float | None) -> str:
    """Four digits, whole where it counts something; ``never`` for infinity, a dash for no value."""
    if isinstance(value, int):
        return count(value)
    return "never" if value == float("inf") else figure(value, 4)


def spread(found: Estimate | None) -> str:
    """A figure, with half the width of its interval where it has one."""
    if found is None:
        return NONE
    half = _half(found)
    return number(found.value) if half in _EXACT else f"{number(found.value)} ± {half}"


def _tally(found: Replicated, place: str) -> str:
    """A count of requests: whole where all replications have the same."""
    mean = found.figure(place)
    return count(_mean(mean)) if _half(mean) in _EXACT else spread(mean)


def _mean(found: Estimate | None) -> float | None:
    return None if found is None else found.value


def _half(found: Estimate | None) -> str:
    if found is None or found.low is None or found.high is None:
        return NONE
    return figure((found.high - found.low) / 2, 2)


def plain_table(*columns: str) -> Table:
    """A table without lines: the first column to the left, the others to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def print_summary(
    console: Console, name: str, found: Replicated, attainment: Attainment | None
) -> None:
    """Everything about one setting that fits a screen."""
    first, n = found.each[0], len(found.each)
    each = f"{n} replications, each " if n > 1 else ""
    console.print(
        f"{name}: {each}{_tally(found, 'arrived')} requests in"
        f" {spread(found.figure('duration_s'))} s on {first.engine}, seed {first.seed}"
    )
    console.print(f"objective: {told(attainment)}")
    ended = "  ".join(f"{name} {_tally(found, name)}" for name in _OUTCOMES)
    pending = sum(metrics.pending for metrics in found.each)
    console.print(ended + (f"  pending {pending:,}" if pending else ""))
    console.print(
        f"throughput {spread(found.figure('throughput_rps'))}/s"
        f"  goodput {spread(found.figure('goodput_rps'))}/s"
    )
    console.print()
    console.print(_latency_table(found))
    console.print()
    console.print(_stage_table(found))
    console.print()
    for stage in first.stages:
        _print_shares(console, found, stage)
    if first.level_shares is not None:
        degraded = percent(_mean(found.figure("degraded_share")))
        levels = _levels(first) if n == 1 else ""
        console.print(f"levels: {degraded} of the answers were not served in full{levels}")
    console.print(
        f"cost: {spread(found.figure('cost', 'busy_seconds'))} s busy{_discarded(found)} of"
        f" {spread(found.figure('cost', 'replica_seconds'))} replica-seconds,"
        f" {spread(found.figure('cost', 'replica_seconds_per_1000'))} per 1,000 answers"
    )
    if n > 1:
        console.print(f"± is half of the 95% confidence interval of the mean over {n} replications")


def _print_shares(console: Console, found: Replicated, stage: StageMetrics) -> None:
    """What requests of one key saved at a stage, where it looks at keys; and how far it degraded."""

    def mean(share: str) -> str:
        return percent(_mean(found.figure("stages", stage.name, share)))

    told = []
    if stage.computed_share is not None:
        told.append(f"{mean('computed_share')} of the requests were computed")
    if stage.missed_share is not None:
        told.append(f"{mean('missed_share')} of the keys were fetched")
    if stage.skipped_share is not None:
        told.append(f"{mean('skipped_share')} of the requests went on without it")
    if stage.missing_share is not None and _mean(
        found.figure("stages", stage.name, "missing_share")
    ):
        told.append(f"missing in {mean('missing_share')} of the answers")
    if stage.mean_level is not None:
        level = _mean(found.figure("stages", stage.name, "mean_level"))
        told.append(f"mean level {number(level)}")
    if told:
        console.print(f"{stage.name}: {', '.join(told)}")


def _levels(metrics: Metrics) -> str:
    """The shares of the levels of one run, where it had several."""
    shares = metrics.level_shares or ()
    told = [f"{percent(share)} at level {level}" for level, share in enumerate(shares) if level]
    return f" ({', '.join(told)})" if len(told) > 1 else ""


def _discarded(found: Replicated) -> str:
    """What of it was wasted on copies of hedging, or on branches that joins went on without."""
    if not any(metrics.cost.discarded_seconds for metrics in found.each):
        return ""
    joins = any(stage.missing_share is not None for stage in found.each[0].stages)
    what = "what came too late" if joins else "copies that came second"
    return f" ({spread(found.figure('cost', 'discarded_seconds'))} of it for {what})"


def told(attainment: Attainment | None) -> str:
    """The attainment in words."""
    if attainment is None:
        return "none given"
    asked = attainment.objective
    text = f"p{asked.percentile:g} within {number(asked.latency_ns / NS_PER_MS)} ms: "
    text += "met" if attainment.met else "NOT met"
    text += "" if attainment.sure else " (the interval reaches beyond it)"
    if attainment.reached_ms.value == float("inf"):
        return f"{text}, too many requests have no answer"
    return f"{text}, reached {spread(attainment.reached_ms)} ms"


def _latency_table(found: Replicated) -> Table:
    table = plain_table("latency", *STATISTICS)
    estimates = [found.figure("latency_ms", each) for each in STATISTICS]
    table.add_row("ms", *(number(_mean(each)) for each in estimates))
    if len(found.each) > 1:
        table.add_row("±", *(_half(each) for each in estimates))
    return table


def _stage_table(found: Replicated) -> Table:
    times = ("hold", "queue", "service")
    heads = [f"{time}\n{statistic} ms" for time in times for statistic in ("mean", "p99")]
    table = plain_table("stage", "batches", "mean\nbatch", "busy", *heads)
    for stage in found.each[0].stages:
        table.add_row(stage.name, *_stage_cells(found, stage.name, times))
    return table


def _stage_cells(found: Replicated, stage: str, times: tuple[str, ...]) -> Iterator[str]:
    def mean(*place: str) -> float | None:
        return _mean(found.figure("stages", stage, *place))

    yield count(mean("batches"))
    yield number(mean("mean_batch"))
    yield percent(mean("utilization"))
    for time in times:
        for statistic in ("mean", "p99"):
            yield number(mean(f"{time}_ms", statistic))
