"""What a cascade takes of quality for the compute that it saves, and whether quality is what was predicted.

First the shipped recommender against the full model, its ranker over all candidates: compute a request,
counted by torch as floating-point operations of matrix products, and NDCG@10, over widths. The share of the
full model's NDCG@10 that is kept has an interval of its own, by resampling users, of which each is in both.

Then every way of serving is run for real, one after the other: widths, levels, and, where the pipeline joins
branches, each set that may be missing. What the quality table predicts of the requests as they were recorded
is held against what the lists that came back are worth, and is to lie in the latter's bootstrap interval.

Run: ``python -m benchmarks.quality`` (some minutes; trains the recommender where there is none), or a part
of it: ``chain``, ``fused``, ``runs``. Figures go to ``benchmarks/results/quality.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from configs.atomic import write_text
from configs.levels import LevelConfig
from configs.model import Config, QualityConfig
from delayline import load_config
from delayline.evaluating import Evaluated, evaluate, served
from delayline.quality_grid import branches_of, with_keep
from delayline.real import brought_up, run_lists
from delayline.tables import plain_table
from executors.executor import Executor
from executors.recommender.source import RecommenderSource
from executors.recommender.train import train_or_reuse
from policies.contract import State, View
from policies.degrade import Degrade
from policies.immediate import Immediate
from policies.knobs import knob
from policies.workload import Workload
from reports.list_scores import SCORES
from reports.quality import Quality, measured, predicted
from reports.quality_table import QualityTable, Way, way

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
CHAIN, FUSED = "recommender.yaml", "recommender3.yaml"
"""One way of recall, and three of them fused; of the same weights."""
RESULTS = HERE / "results" / "quality.json"
WIDTHS = {"prerank": (200, 150, 100, 50, 25, 10), "rank": (50, 25, 10)}
"""Widths of the curve, in all combinations that go together."""
RUN_WIDTHS: tuple[Mapping[str, int], ...] = ({}, {"rank": 25}, {"prerank": 50, "rank": 10})
"""Widths that are run for real, where they differ from the configuration's."""
REQUESTS = 600
GAP_NS = 8_000_000
LESS_COMPUTE, KEPT = 4.0, 0.98
"""What is asked of the cascade."""
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Pinned(Degrade):
    """Every batch at one level."""

    kind: ClassVar[str] = "pinned"
    level: int = knob("the level", ge=0)

    @staticmethod
    def rule(view: View, now_ns: int, state: State, levels: int, level: int) -> int:
        """That level."""
        return level


@dataclass(frozen=True, slots=True)
class Point:
    """A pipeline of certain widths against the full model."""

    way: Way
    flops: float
    less_compute: float
    kept: float
    """Share of the full model's NDCG@10."""
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Held:
    """A real run: what was predicted of it, and what was measured."""

    served: str
    predicted: Quality
    measured: Quality

    def inside(self, score: str) -> bool:
        """Whether the prediction lies in the interval of the measurement."""
        # A rounding error of a mean is no miss where all users have the same.
        here, there = self.predicted.scores[score].value, self.measured.scores[score]
        assert there.low is not None
        assert there.high is not None
        return there.low - 1e-12 <= here <= there.high + 1e-12


def pipeline(file: str) -> Config:
    """The shipped one, with two cheaper levels of its ranker; trained where it is not yet."""
    config = load_config(CONFIGS / file)
    model = config.stages[0].model
    if not isinstance(model, RecommenderSource):
        raise TypeError(f"{file} runs no recommender")
    train_or_reuse(None, model.path, 1)
    lighter = replace(model, stage="prerank")
    levels = (LevelConfig(cost=0.6, take=50), LevelConfig(cost=0.3, take=50, model=lighter))
    stages = [
        replace(
            stage,
            policy=Immediate(),
            levels=levels if stage.name == "rank" else (),
            degrade=Pinned(level=0) if stage.name == "rank" else None,
        )
        for stage in config.stages
    ]
    return replace(config, stages=tuple(stages), tune={})


def _curve_ways(config: Config) -> list[Way]:
    own = config.keeps()
    widths = product(WIDTHS["prerank"], WIDTHS["rank"])
    found = [
        way({**own, "prerank": prerank, "rank": rank})
        for prerank, rank in widths
        if rank <= prerank
    ]
    return list(dict.fromkeys([way(own), *found]))


def _run_ways(config: Config) -> list[Way]:
    own = config.keeps()
    levels = range(len(config.stage("rank").levels) + 1)
    found = [way({**own, **widths}, {"rank": at}) for widths in RUN_WIDTHS for at in levels]
    for branches in branches_of(config).values():
        found += [way(own, {}, gone) for gone in _subsets(branches)]
    return found


def curve(found: Evaluated) -> Iterator[Point]:
    """The widths, all served in full, by compute."""
    full_flops = sum(found.full_model.flops(served()).values())
    whole = [row.way for row in found.table.rows if row.way.whole]
    flops = {each: sum(found.models.flops(served(each)).values()) for each in whole}
    for each in sorted(whole, key=flops.__getitem__, reverse=True):
        kept = _ratio(found.scores[each]["ndcg"], found.full_scores["ndcg"])
        yield Point(each, flops[each], full_flops / flops[each], *kept)


def _ratio(these: Any, those: Any) -> tuple[float, float, float]:
    """Ratio of means over the same users, and its percentile bootstrap interval."""
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(len(these), np.full(len(these), 1 / len(these)), size=RESAMPLES)
    ratios = (drawn @ these) / (drawn @ those)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(these.mean() / those.mean()), float(low), float(high)


def held(config: Config, table: QualityTable) -> Iterator[Held]:
    """Every way for real: widths with all levels, then missing branches."""
    for widths in RUN_WIDTHS:
        narrowed = with_keep(config, widths)
        told = ", ".join(f"{name} keeps {keep}" for name, keep in widths.items())
        with brought_up(narrowed) as executor:
            for level in range(len(config.stage("rank").levels) + 1):
                pinned = _pinned(narrowed, {"rank": level})
                name = f"rank at level {level}" if level else "in full"
                yield _held(", ".join(filter(None, (told, name))), pinned, executor, table)
    for join, branches in branches_of(config).items():
        skipping = _skipping(config, join, branches)
        with brought_up(skipping) as executor:
            for gone in _subsets(branches):
                pinned = _pinned(skipping, dict.fromkeys(gone, 1))
                yield _held(f"without {' and '.join(gone)}", pinned, executor, table)


def _held(told: str, config: Config, executor: Executor, table: QualityTable) -> Held:
    workload = Workload.of(np.arange(REQUESTS, dtype=np.int64) * GAP_NS)
    log, users, lists = run_lists(config, executor, workload)
    prediction = predicted(table, config.keeps(), log)
    measurement = measured(table, log, users, lists)
    if prediction is None or measurement is None:
        raise RuntimeError(f"{told}: no request was answered")
    return Held(told, prediction, measurement)


def _pinned(config: Config, levels: Mapping[str, int]) -> Config:
    stages = [
        replace(stage, degrade=Pinned(level=levels.get(stage.name, 0))) if stage.levels else stage
        for stage in config.stages
    ]
    return replace(config, stages=tuple(stages))


def _skipping(config: Config, join: str, branches: Sequence[str]) -> Config:
    """With branches that can be skipped, and a join that waits for those that are not."""
    stages = []
    for stage in config.stages:
        if stage.name in branches:
            stage = replace(stage, levels=(LevelConfig(skip=True),), degrade=Pinned(level=0))
        if stage.name == join and stage.merge is not None:
            stage = replace(stage, merge=replace(stage.merge, quorum=len(branches)))
        stages.append(stage)
    return replace(config, stages=tuple(stages))


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All but none and all of them."""
    for bits in range(1, 2 ** len(names) - 1):
        yield tuple(name for place, name in enumerate(names) if bits >> place & 1)


def print_curve(console: Console, found: Evaluated, points: Sequence[Point]) -> None:
    """The curve, and whether a point of it reaches what is asked."""
    full_flops = found.full_model.flops(served())
    ranker = found.table.ranker
    console.print(
        f"full model: {ranker} over {found.table.candidates:,} candidates,"
        f" {sum(full_flops.values()) / 1e6:.1f} MFLOP a request, of it {full_flops[ranker] / 1e6:.1f} in"
        f" {ranker}; NDCG@10 {found.table.full['ndcg'].value:.4f}"
    )
    names = [
        stage["name"] for stage in found.table.stages if stage["name"] in dict(points[0].way.keep)
    ]
    table = plain_table(
        "keep\n" + names[0],
        *names[1:],
        "MFLOP",
        "times\nless",
        "NDCG@10",
        "of full",
        "95% interval",
    )
    for point in points:
        keep = dict(point.way.keep)
        table.add_row(
            *(str(keep[name]) for name in names),
            f"{point.flops / 1e6:.2f}",
            f"{point.less_compute:.1f}",
            f"{found.scores[point.way]['ndcg'].mean():.4f}",
            f"{100 * point.kept:.1f}%",
            f"{100 * point.low:.1f}% to {100 * point.high:.1f}%",
        )
    console.print(table)
    reached = [each for each in points if each.less_compute >= LESS_COMPUTE and each.kept >= KEPT]
    sure = [each for each in reached if each.low >= KEPT]
    console.print(
        f"at least {LESS_COMPUTE:g} times less compute at {KEPT:.0%} of the NDCG@10 or more:"
        f" {len(reached)} of {len(points)} widths, {len(sure)} with the whole interval"
    )


def print_held(console: Console, runs: Sequence[Held]) -> None:
    """Predicted against measured."""
    table = plain_table(
        "run for real", *(f"{name}\npredicted" for name in SCORES), *SCORES, "inside"
    )
    for run in runs:
        intervals = [run.measured.scores[name] for name in SCORES]
        table.add_row(
            run.served,
            *(f"{run.predicted.scores[name].value:.4f}" for name in SCORES),
            *(f"{each.low:.4f} to {each.high:.4f}" for each in intervals),
            f"{sum(run.inside(name) for name in SCORES)} of {len(SCORES)}",
        )
    console.print(table)
    inside = sum(run.inside(name) for run in runs for name in SCORES)
    console.print(
        f"predicted inside the measured interval: {inside} of {len(runs) * len(SCORES)} scores"
    )


def measure_curve(console: Console, file: str) -> dict[str, Any]:
    """A cascade against the full model: printed, and as plain values."""
    config = pipeline(file)
    console.print(file)
    found = evaluate(config, ways=_curve_ways(config), quiet=False)
    points = list(curve(found))
    print_curve(console, found, points)
    return {
        "full": {
            "ranker": found.table.ranker,
            "candidates": found.table.candidates,
            "users": len(found.table.users),
            "flops": found.full_model.flops(served()),
            "ndcg": found.table.full["ndcg"].to_json(),
        },
        "curve": [
            {
                "keep": dict(point.way.keep),
                "flops": point.flops,
                "less_compute": point.less_compute,
                "ndcg": float(found.scores[point.way]["ndcg"].mean()),
                "kept": {"value": point.kept, "low": point.low, "high": point.high},
            }
            for point in points
        ],
    }


def measure_runs(console: Console) -> list[dict[str, Any]]:
    """Real runs against their predictions: printed, and as plain values."""
    config = pipeline(FUSED)
    table = evaluate(config, ways=_run_ways(config), quiet=False).table
    # The path only says that lists are to be judged; the table is at hand.
    runs = list(held(replace(config, quality=QualityConfig(path=RESULTS)), table))
    print_held(console, runs)
    return [
        {
            "served": run.served,
            "predicted": run.predicted.to_json(),
            "measured": run.measured.to_json(),
            "inside": {name: run.inside(name) for name in SCORES},
        }
        for run in runs
    ]


PARTS: dict[str, Callable[[Console], object]] = {
    "chain": partial(measure_curve, file=CHAIN),
    "fused": partial(measure_curve, file=FUSED),
    "runs": measure_runs,
}


def main(asked: Sequence[str]) -> None:
    """Measure the parts that are asked for, or all; what is kept of the others stays."""
    console = Console(width=170)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for part in asked or PARTS:
        kept[part] = PARTS[part](console)
        console.print()
    write_text(RESULTS, json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
