"""Regime maps: fair candidates, verdicts that know their doubt, and a table that grows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import delayline
from configs.kinds import kinds
from configs.model import Config
from delayline.map_grid import families
from delayline.mapping import measure, regime_map, run_map
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.runlog import Outcome
from reports.regime_table import SCHEMA
from reports.sweep_table import SweepError
from sim.backends.base import R, T
from sim.backends.threads import Threads
from sim.planning.problem import Setting
from sim.regimes.evaluate import Evaluator, Reached, Task
from sim.regimes.families import Caps, Family, Greedy, Held, Pair, configured
from sim.regimes.score import TUNING, Score, Scored, scored
from sim.regimes.verdict import LEAST_GAIN, Hold, judged
from sim.tuning.confirm import CONFIRMING_FROM
from tests.command_line import Run, agrees, runner, written

SMALL = ("--loads", "0.3,0.8", "--objectives", "5ms,9ms", "--requests", 400, "-n", 3)
FAMILIES: tuple[Family, ...] = (Greedy(), Caps(), Pair(), Held())
NAMES = [family.name for family in FAMILIES]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return delayline.load_config(written(tmp_path), ["stages.rank.policy=immediate"])


def score(family: Family, shares: Sequence[float], tuned: float | None = None) -> Score:
    reached = tuple(Reached((share,), 1.0, 1.0) for share in shares)
    return Score(family, (), fmean(shares) if tuned is None else tuned, 0, reached)


# Verdicts.


def test_what_lies_within_the_interval_is_neutral_and_the_plainest_wins() -> None:
    cell = Scored(1, (score(Greedy(), (0.90, 0.94, 0.92)), score(Pair(), (0.93, 0.92, 0.93))))
    found = judged(cell)
    assert (found.hold, found.winner.family.name) == (Hold.NEUTRAL, "greedy")
    assert found.by_holding is not None
    assert 0 in found.by_holding


@pytest.mark.parametrize(
    ("by", "hold", "wins"), [(0.05, "helps", "pair"), (-0.05, "hurts", "greedy")]
)
def test_common_noise_does_not_hide_a_difference(by: float, hold: str, wins: str) -> None:
    noise = (0.50, 0.60, 0.70)  # far wider than the difference, but shared
    held = [each + by + 0.001 * k for k, each in enumerate(noise)]
    found = judged(Scored(1, (score(Greedy(), noise), score(Pair(), held))))
    assert (found.hold, found.winner.family.name) == (hold, wins)
    assert found.over_first.estimate == pytest.approx(max(by + 0.001, 0))


def test_differences_of_no_account_are_neutral_however_sure() -> None:
    more = [share + LEAST_GAIN / 2 for share in (0.9, 0.9, 0.9)]
    found = judged(Scored(1, (score(Greedy(), (0.9, 0.9, 0.9)), score(Pair(), more))))
    assert (found.hold, found.winner.family.name) == (Hold.NEUTRAL, "greedy")


def test_gains_of_the_cap_are_not_credited_to_holding() -> None:
    shares = {"greedy": 0.5, "caps": 0.9, "pair": 0.9, "held": 0.9}
    each = tuple(score(family, (shares[family.name],) * 3) for family in FAMILIES)
    found = judged(Scored(1, each))
    assert (found.hold, found.winner.family.name) == (Hold.NEUTRAL, "caps")
    alone = judged(Scored(1, each[:2]))
    assert (alone.hold, alone.by_holding) == (None, None)


def test_who_stands_for_holding_is_chosen_on_the_tuning_seed() -> None:
    lucky = score(Held(), (0.9, 0.9, 0.9), tuned=0.4)
    chosen = score(Pair(), (0.6, 0.6, 0.6), tuned=0.7)
    found = judged(Scored(1, (score(Greedy(), (0.6, 0.6, 0.6)), chosen, lucky)))
    assert found.hold == Hold.NEUTRAL


# Candidates and measurement.


def test_candidates_turn_only_what_they_may(config: Config) -> None:
    spot = regime_map(config, objectives_ns=[9_000_000]).spot(0.5)
    most = [stage.max_batch for stage in config.stages]
    for family in FAMILIES:
        first = list(family.first(spot))
        around = list(family.around(spot, first[0]))
        assert len(set(first)) == len(first)
        assert first[0] not in around
        for settings in [*first, *around]:
            assert all(1 <= each.max_batch <= cap for each, cap in zip(settings, most, strict=True))
            policies = {each.policy for each in settings}
            assert len(policies) == 1
            assert isinstance(policies.pop(), Fixed if family.holds else Immediate)
            assert family.told(settings)
    (greedy,) = Greedy().first(spot)
    assert greedy in Caps().first(spot)
    assert all(
        each.policy.delay_ns > 0
        for s in Held().first(spot)
        for each in s
        if isinstance(each.policy, Fixed)
    )


def test_candidates_by_default_have_the_configured_policies_where_they_hold(config: Config) -> None:
    own = ["cadence"] if "cadence" in kinds("policy") else []
    assert [family.name for family in families(config, ())] == [*NAMES, *own, "configured"]
    eager = replace(config, stages=tuple(replace(s, policy=Immediate()) for s in config.stages))
    assert [family.name for family in families(eager, ())] == [*NAMES, *own]


def test_a_load_is_a_share_of_the_capacity(config: Config) -> None:
    spot = regime_map(config).spot(0.25)
    bound_hz = delayline.capacity_hz(config)
    assert spot.rate_hz == pytest.approx(bound_hz / 4)
    assert spot.config.workload.arrivals.mean_rate_hz() == pytest.approx(bound_hz / 4)
    # 1 ms + 0.1 ms a request: at cap 8 a load of 0.4 is the most below 900/s; the least cap that bears it
    assert bound_hz == pytest.approx(min(8 / 1.8e-3, 16 / 3.6e-3))


def test_shares_are_those_of_the_requests_themselves(config: Config) -> None:
    bounded = replace(config, stages=tuple(replace(s, queue_bound=3) for s in config.stages))
    log = delayline.simulate(bounded)
    took = log.requests.ended_ns - log.requests.arrival_ns
    answered = log.requests.outcome == Outcome.COMPLETED
    assert 0 < (~answered).sum() < len(took)
    found = measure(bounded, log, (4_000_000, 10**12))
    assert found.shares == ((answered & (took <= 4_000_000)).mean(), answered.mean())


class Counting(Threads):
    """Keeps the replications that it was given, and is interrupted after a number of tasks."""

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__(1)
        self.most = most
        self.seen: list[int] = []

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        for task in tasks:
            if len(self.seen) >= self.most:
                raise KeyboardInterrupt
            self.seen.append(task.replication)  # type: ignore[attr-defined]
            yield function(task)


def test_candidates_are_tuned_on_some_seeds_and_scored_on_fresh_ones(config: Config) -> None:
    asked = regime_map(config, objectives_ns=[5_000_000, 9_000_000], requests=300, replications=3)
    backend = Counting()
    evaluator = Evaluator(asked.spot(0.7), measure, backend, lambda done: None)
    cells = scored(FAMILIES, evaluator, 3)
    assert set(backend.seen) == {*TUNING, *range(CONFIRMING_FROM, CONFIRMING_FROM + 3)}
    for cell in cells:
        greedy, caps, *_ = cell.scores
        assert caps.tuned >= greedy.tuned  # its own settings are among those that it chooses from
        for each in cell.scores:
            task = Task(each.settings, CONFIRMING_FROM + 1)
            config_of = configured(evaluator.spot.config, each.settings)
            again = delayline.simulate(config_of, replication=CONFIRMING_FROM + 1)
            assert measure(config_of, again, asked.objectives_ns) == evaluator.reached(task)


def test_a_hold_helps_on_a_tight_shared_device_and_cannot_where_nothing_gains_by_a_batch(
    tmp_path: Path,
) -> None:
    shared = """
name: shared
workload: {arrivals: 100/s, requests: 9}
devices: {gpu: {slots: 2}}
stages:
  - {name: a, device: gpu, replicas: 2, service: {kind: affine, base: 1ms, per_request: 20us}}
  - {name: b, device: gpu, replicas: 2, service: {kind: affine, base: 3ms, per_request: 50us}}
"""
    flat = """
name: flat
workload: {arrivals: 100/s, requests: 9}
stages: [{name: a, service: {kind: affine, base: 0ms, per_request: 1ms}}]
"""
    holds = []
    for text, name in ((shared, "shared.yaml"), (flat, "flat.yaml")):
        asked = regime_map(
            delayline.load_config(written(tmp_path, text, name)),
            loads=[0.4],
            objectives_ns=[9_000_000],
            policies=NAMES,
            requests=3000,
            replications=3,
        )
        (cell,) = run_map(asked, tmp_path / f"{name}.parquet").regimes.cells
        holds.append((cell.hold, cell.winner.name in ("pair", "held")))
    assert holds[0] == (Hold.HELPS, True)
    assert holds[1][0] in (Hold.NEUTRAL, Hold.HURTS)


# The table.


def test_a_map_goes_on_where_it_was_and_grows(config: Config, tmp_path: Path) -> None:
    def asked(*loads: float) -> object:
        return regime_map(
            config,
            loads=loads,
            objectives_ns=[9_000_000],
            policies=["greedy", "caps"],
            requests=200,
            replications=2,
        )

    whole, out = tmp_path / "whole.parquet", tmp_path / "map.parquet"
    assert run_map(asked(0.2, 0.5, 0.8), whole).new == 3  # type: ignore[arg-type]
    enough = Counting()
    run_map(asked(0.2), tmp_path / "one.parquet", backend=enough)  # type: ignore[arg-type]
    stopped = run_map(asked(0.2, 0.5), out, backend=Counting(len(enough.seen) + 5))  # type: ignore[arg-type]
    assert (stopped.new, stopped.missing, out.exists()) == (1, 1, False)
    assert run_map(asked(0.2, 0.5), out).new == 1  # type: ignore[arg-type]
    assert run_map(asked(0.2, 0.5, 0.8), out).new == 1  # type: ignore[arg-type]
    assert pq.read_table(out).equals(pq.read_table(whole))
    assert sorted(path.name for path in tmp_path.glob("*.journal")) == []
    other = regime_map(config, loads=[0.2], objectives_ns=[9_000_000], requests=300)
    with pytest.raises(SweepError, match="holds another map"):
        run_map(other, out)


def test_a_person_reads_who_wins(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = [word for name in (*NAMES, "configured") for word in ("--policy", name)]
    said = run("map", written(tmp_path), *SMALL, *named, "--report", "map.html")
    assert (said.code, said.err) == (0, "")
    agrees("map", said.out, tmp_path)
    table = pq.read_table("shop.map.parquet")
    assert table.schema.names == SCHEMA.names
    assert table.num_rows == 2 * 2 * 5
    assert table["winner"].to_pylist().count(True) == 4
    assert Path("shop.map.svg").read_text(encoding="utf-8").startswith("<?xml")
    page = Path("map.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "Who wins" in page


def test_candidates_by_name_into_csv_and_an_object(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "map.csv"
    policies = ("--policy", "immediate", "--policy", "{kind: fixed, delay: 1ms}")
    words = (*SMALL, *policies, "--figure", tmp_path / "map.png", "--out", out, "--json")
    found = run("map", written(tmp_path), *words).object
    assert found["candidates"] == ["immediate", "{kind: fixed, delay: 1ms}"]
    assert len(found["cells"]) == 4
    assert sum(found["holding"].values()) == 4
    assert found["least_ms"] == pytest.approx(1.1 + 2.1)
    assert json.dumps(found)
    assert pyarrow.csv.read_csv(out).num_rows == 8
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_policies_that_are_fitted_to_an_objective_are_fitted_to_each(config: Config) -> None:
    spot = regime_map(config, objectives_ns=[5_000_000, 9_000_000], requests=300).spot(0.5)
    evaluator = Evaluator(spot, measure, Counting(), lambda done: None)
    settings = tuple(Setting(Immediate(), stage.max_batch) for stage in config.stages)
    tasks = [Task(settings, 0), Task(settings, 0, 5_000_000)]
    evaluator.run(tasks)
    assert evaluator.reached(tasks[0]) == evaluator.reached(tasks[1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--loads", "0"),
            "--loads 0: a load is a share of the capacity, above 0 and at most 2, not 0",
        ),
        (
            ("--loads", "0.1..0.9"),
            "--loads 0.1..0.9: a range needs a count of 2 to 100, such as 0.1..0.9:6",
        ),
        (("--loads", "0.9..0.1:3"), "--loads 0.9..0.1:3: 0.9 is not below 0.1"),
        (("--loads", "half"), "--loads half: half is no number; write 0.5 or 50%"),
        (
            ("--objectives", "3ms"),
            "--objectives 3ms is out of reach: by its mean service times a request takes 3.2ms even if it"
            " never waits; ask for more",
        ),
        (("--objectives", "0ms"), "--objectives 0ms: an objective must be more than 0ms"),
        (
            ("--policy", "gredy"),
            "--policy gredy: there is no such candidate; did you mean `greedy`?",
        ),
        (
            ("--policy", "fixed"),
            "--policy fixed: delay is missing (longest that the oldest request is held)",
        ),
        (
            ("--policy", "{kind: fixed, delay: 1ms, size: 9}"),
            "--policy {kind: fixed, delay: 1ms, size: 9}: stages.recall.policy: size must be at most"
            " max_batch (8), not 9",
        ),
        (("--policy", "caps", "--policy", "caps"), "--policy caps is given twice"),
        (
            ("--set", "workload.arrivals={kind: closed, clients: 3, think: 1ms}"),
            "workload.arrivals is closed: its rate follows the answers and cannot be set; use another kind,"
            " such as poisson",
        ),
    ],
)
def test_wrong_input_is_told_in_a_line(
    run: Run, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    assert run("map", written(tmp_path), *words).error == told


def test_stages_that_take_no_time_have_no_load(run: Run, tmp_path: Path) -> None:
    path = written(
        tmp_path, "workload: {arrivals: 9/s, requests: 9}\nstages: [{name: a}]\n", "free.yaml"
    )
    assert run("map", path).error == (
        "no stage takes any time, so that no load can be set; give them service"
    )
