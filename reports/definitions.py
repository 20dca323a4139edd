"""Every metric that is reported, defined once: docs and reports print these, ``metrics`` computes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric: its name in tables, its place in ``--json``, its unit, formula and meaning."""

    name: str
    key: str
    unit: str
    formula: str
    meaning: str


DEFINITIONS = (
    Definition(
        "window",
        "duration_s",
        "s",
        "W = [w, end), duration = end - w",
        "What is measured: the run after the warm-up cut w, up to its last event. Without a cut w = 0, "
        "the whole run.",
    ),
    Definition(
        "counts",
        "arrived, completed, shed, expired, failed",
        "requests",
        "arrived = completed + shed + expired + failed",
        "How every request of the run ended, warm-up included. Shed: refused at a full queue. Expired: "
        "dropped at its deadline. Failed: given up with a reason. A run that was interrupted also has "
        "pending requests, which then belong to the sum.",
    ),
    Definition(
        "unanswered",
        "",
        "share",
        "1 - completed / arrived",
        "Requests that were shed, expired or failed, warm-up included; a column of sweeps.",
    ),
    Definition(
        "latency",
        "latency_ms",
        "ms",
        "completed(i) - arrival(i), over completed requests i with arrival(i) >= w",
        "From a request's arrival to its answer. Under an open load the arrival is the scheduled time, "
        "so a late sender does not hide waiting.",
    ),
    Definition(
        "percentile",
        "p50, p90, p95, p99, p99.9",
        "ms",
        "p-th = value of rank ceil(p n / 100) of n in ascending order",
        "Nearest rank: always a value that was observed, never interpolated.",
    ),
    Definition(
        "objective",
        "",
        "ms",
        "p-th percentile of latency <= objective, over all requests i with arrival(i) >= w",
        "Whether a latency objective is met. A request that was not answered counts as later than any "
        "other, so that a setting cannot look good by dropping what is late.",
    ),
    Definition(
        "throughput",
        "throughput_rps",
        "requests/s",
        "|{i: completed(i) in W}| / duration",
        "Answers a second.",
    ),
    Definition(
        "goodput",
        "goodput_rps",
        "requests/s",
        "|{i: completed(i) in W, latency(i) <= objective}| / duration",
        "Answers a second that are in time: within the latency objective; without one, by the request's "
        "deadline; a request with neither counts.",
    ),
    Definition(
        "queue",
        "stages.NAME.queue_ms",
        "ms",
        "dispatched(i, s) - enqueued(i, s)",
        "A request's whole wait at a stage, until the batch that served it was sent; if that was a hedge's "
        "copy, until the batch was first sent. If a replica was lost under an earlier attempt, that "
        "attempt is part of it.",
    ),
    Definition(
        "hold",
        "stages.NAME.hold_ms",
        "ms",
        "F_s(dispatched(i, s)) - F_s(enqueued(i, s)); F_s(t) = time in [0, t) in which s was free",
        "The part of the queue time during which a replica of the stage was up and idle and its device "
        "had a free slot: waiting by choice. A replica is busy on [dispatched, finished). An earlier "
        "attempt that was lost is no part of the hold.",
    ),
    Definition(
        "service",
        "stages.NAME.service_ms",
        "ms",
        "finished(b) - dispatched(b), once for each request in batch b",
        "From the batch's dispatch to its end, hand-over included; of one that a hedge sent twice, from "
        "its first dispatch to its first answer.",
    ),
    Definition(
        "merge wait",
        "",
        "ms",
        "enqueued(i, s) - min over parents p of finished(i, p)",
        "At a join: how long a request's first branch to finish waited for its last, or until the join went "
        "on without it. It lies before the stage's queue time.",
    ),
    Definition(
        "batches",
        "stages.NAME.batches",
        "batches",
        "|{b: dispatched(b) in W}|",
        "Batches that a stage sent. A batch sent again, after a loss or by a hedge, counts each time.",
    ),
    Definition(
        "mean batch",
        "stages.NAME.mean_batch",
        "requests",
        "sum of requests(b) / batches",
        "Requests in a batch, over batches.",
    ),
    Definition(
        "computed share",
        "stages.NAME.computed_share",
        "share",
        "sum of computed(b) / sum of requests(b), over b dispatched in W",
        "At a stage that coalesces: how many of the requests that it answered were run. Those that waited "
        "for the answer of a running batch are logged as batches that ran nothing and took no time; these "
        "count here, but not as batches, nor in the mean batch.",
    ),
    Definition(
        "missed share",
        "stages.NAME.missed_share",
        "share",
        "sum of missed(b) / sum of computed(b), over b dispatched in W",
        "At a stage with locality: for how many of the requests that it ran the replica did not hold the "
        "key. The rest is the caches' hit rate.",
    ),
    Definition(
        "skipped share",
        "stages.NAME.skipped_share",
        "share",
        "skipped / (skipped + sum of requests(b) over b dispatched in W), skipped = |{i: skipped(i) in W}|",
        "At a stage that may be skipped: how many of the requests that left its queue went on without it.",
    ),
    Definition(
        "missing share",
        "stages.NAME.missing_share",
        "share",
        "|{i: some join s after p has finished(i, p) > enqueued(i, s), or p did not serve i}| / completed",
        "At the last stage of a branch that a join may go on without: how many of the completed requests "
        "with arrival(i) >= w did so.",
    ),
    Definition(
        "mean level",
        "mean_level, stages.NAME.mean_level",
        "levels",
        "mean over completed requests i with arrival(i) >= w of max over stages s of level(b(i, s)); "
        "of a stage: sum of level(b) x requests(b) / sum of requests(b), over b dispatched in W",
        "How far answers were degraded: 0 is full service, 1 the first of a stage's levels. A request that "
        "went on without the stage counts at the level of that. Only where a stage degrades.",
    ),
    Definition(
        "degraded share",
        "degraded_share",
        "share",
        "|{i: level(i) > 0}| / |{i}|, over completed requests i with arrival(i) >= w",
        "Answers that some stage did not serve in full. The level of each request is in the records.",
    ),
    Definition(
        "utilization",
        "stages.NAME.utilization",
        "share",
        "sum over b of |[dispatched(b), finished(b)) in W| / (replicas x duration)",
        "Share of the replicas' time in which they ran a batch; time in which autoscaling had no use for a "
        "replica does not count. For a device: over all stages on it, by slots instead of replicas.",
    ),
    Definition(
        "busy seconds",
        "cost.busy_seconds",
        "s",
        "sum over stages and batches of |[dispatched(b), finished(b)) in W|",
        "Replica time that was used.",
    ),
    Definition(
        "busy seconds per 1,000",
        "",
        "s",
        "1000 x busy seconds / |{i: completed(i) in W}|",
        "Replica time that a thousand answers used.",
    ),
    Definition(
        "discarded seconds",
        "cost.discarded_seconds",
        "s",
        "sum over discarded batches of |[dispatched(b), finished(b)) in W| + sum over late batches of "
        "late(b) / requests(b) x |[dispatched(b), finished(b)) in W|",
        "The part of the busy seconds that was wasted. By hedging: a batch that was sent to two replicas is "
        "answered by one, and the other copy runs to its end for nothing. By merges: late(b) are the "
        "requests of a branch's batch that a join had gone on with when it was finished; where the branch "
        "leads elsewhere too, none are.",
    ),
    Definition(
        "replica-seconds",
        "cost.replica_seconds",
        "s",
        "sum over stages of replicas x duration",
        "Replica time that was paid for, busy or not: less the time in which autoscaling had no use for a "
        "replica, while one that starts is paid for.",
    ),
    Definition(
        "replica-seconds per 1,000",
        "cost.replica_seconds_per_1000",
        "s",
        "1000 x replica-seconds / |{i: completed(i) in W}|",
        "What a thousand answers cost.",
    ),
    Definition(
        "error",
        "scenarios[].*_error_pct",
        "%",
        "100 x (other - real) / real",
        "How far a prediction, a replay or a repeat lies from the real run, for one latency statistic; "
        "positive where it is higher.",
    ),
)
"""In the order in which they are read."""


def markdown() -> str:
    """The definitions as the page ``docs/metrics.md``."""
    lines = [
        "# Metrics",
        "",
        "Every number that `simulate`, `run`, `validate`, `compare` and `report` print is defined here.",
        "Requests are i, stages s, batches b; all times are on the run's clock, which starts at 0 and",
        "counts whole nanoseconds. A metric without data is `null`, never NaN.",
    ]
    for item in DEFINITIONS:
        key = f" — `{item.key}`" if item.key else ""
        lines += ["", f"## {item.name}{key}", "", f"    {item.formula}    [{item.unit}]"]
        lines += ["", item.meaning]
    return "\n".join(lines) + "\n"
