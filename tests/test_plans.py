"""Plans: what each makes of a pipeline, what is chosen, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import sim.kinds  # noqa: F401  (registers the kinds)
from configs.load import parse_config
from configs.model import Config
from configs.yaml_text import parse_yaml
from delayline.plan_runs import configured_memory, plans_asked, tried
from delayline.plan_verdicts import headline, sentences, verdicts
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.load_adaptive import LoadAdaptive
from policies.merge_side_by_side import SideBySide
from reports.paths import missing_share
from reports.plan_rows import Judged, Memory, Outcome, Served
from sim.backends.threads import Threads
from sim.plans.adaptive import Adaptive
from sim.plans.base import NotApplicableError, Plan, Spot
from sim.plans.cascade import Cascade
from sim.plans.deadline_merge import MOST_LOST, DeadlineMerge
from sim.plans.degraded import Degraded
from sim.plans.in_parallel import InParallel
from sim.plans.in_sequence import InSequence
from sim.plans.monolith import Monolith
from sim.plans.one_hold import OneHold
from sim.plans.per_stage import PerStage
from sim.plans.registry import PLANS
from sim.plans.trials import REFUSED, TUNING, Trials
from sim.service.affine import Affine
from sim.service.of_stage import model_of_stage
from sim.service.widened import widened
from sim.simulate import engine_for, simulate
from tests.command_line import Run, agrees, runner, written

CHAIN = """
name: chain
seed: 3
workload: {arrivals: 500/s, requests: 1500}
objective: {latency: 60ms}
stages:
  - {name: recall, max_batch: 16, keep: 200, memory: 100MB,
     service: {kind: affine, base: 1ms, per_request: 100us}}
  - {name: prerank, max_batch: 16, keep: 50, memory: 50MB,
     service: {kind: affine, base: 1ms, per_request: 50us}}
  - {name: rank, replicas: 2, max_batch: 16, keep: 10, memory: 301MB,
     service: {kind: affine, base: 2ms, per_request: 400us, cv: 0.2}}
"""
FORK = """
name: fork
seed: 4
workload: {arrivals: 300/s, requests: 1500}
objective: {latency: 60ms}
stages:
  - {name: towers, after: [], max_batch: 8, keep: 100,
     service: {kind: affine, base: 3ms, per_request: 100us}}
  - {name: items, after: [], replicas: 3, max_batch: 8, keep: 50,
     service: {kind: lognormal, mean: 4ms, cv: 1}}
  - {name: rank, after: [towers, items], max_batch: 16, keep: 20,
     service: {kind: affine, base: 1ms, per_request: 200us}}
  - {name: rerank, after: rank, max_batch: 16, keep: 10,
     service: {kind: affine, base: 500us, per_request: 50us}}
"""
NOT_THERE = {
    ("sequence", "chain"): "the stages are a chain already; see parallel",
    ("parallel", "fork"): "the stages have parallel branches already; see sequence",
    ("degraded", "chain"): "no stage has cheaper levels to go to; give one `levels` and `degrade`",
    ("degraded", "fork"): "no stage has cheaper levels to go to; give one `levels` and `degrade`",
    ("merge", "chain"): "no stage joins parallel branches",
    ("monolith", "fork"): "rank scores all 150 candidates that recall passes on already",
}


def config_of(text: str, *overrides: str) -> Config:
    return parse_config(parse_yaml(text, "f.yaml"), file="/f.yaml", overrides=overrides)


def spot(text: str, *overrides: str, candidates: int | None = None) -> Spot:
    config = config_of(text, *overrides)
    return Spot(config, 0.5, Trials(partial(tried, None), Threads(1)), candidates)


def made(plan: Plan, text: str, *overrides: str, candidates: int | None = None) -> Config:
    return plan.made(spot(text, *overrides, candidates=candidates))


def names(config: Config) -> list[str]:
    return [stage.name for stage in config.stages]


def latency_ms(config: Config) -> float:
    """Of requests that never meet: their mean."""
    log = simulate(config)
    return float((log.requests.ended_ns - log.requests.arrival_ns).mean()) / 1e6


ALONE = ("workload.arrivals={kind: constant, rate: 1/s}", "workload.requests=20")


@given(st.floats(0.1, 50), st.integers(1, 200), st.integers(0, 10_000), st.sampled_from([0.0, 0.3]))
def test_a_wider_model_takes_the_time_of_more_requests(
    factor: float, requests: int, items: int, cv: float
) -> None:
    model = Affine(base_ns=1_000_000, per_request_ns=1_000, per_item_ns=10, cv=cv)
    wide = widened(model, factor)
    expected = 1_000_000 + factor * (1_000 * requests + 10 * items)
    assert wide.expected_ns(requests, items) == pytest.approx(expected, rel=1e-12)
    assert wide.time_ns(2.0, requests, items) == pytest.approx(2 * expected, abs=1)


def test_a_wider_measured_model_takes_the_time_of_the_nearest_size() -> None:
    points = {1: {"mean": "1ms", "p99": "2ms"}, 64: {"mean": "9ms", "p99": "12ms"}}
    service = yaml.safe_dump({"kind": "published", "points": points}, default_flow_style=True)
    config = config_of(CHAIN, f"stages.rank.service={service.strip()}")
    model = model_of_stage(config, config.stage("rank"))
    wide = widened(model, 3.4)
    for requests, size in ((1, 3), (2, 7), (5, 17), (0, 0)):
        assert wide.time_ns(0.3, requests, requests) == model.time_ns(0.3, size, size)
        assert wide.expected_ns(requests, requests) == model.expected_ns(size, size)
    assert widened(model, 0.1).time_ns(0.3, 2, 2) == model.time_ns(0.3, 1, 1)
    assert wide.form(40) is not None


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
@pytest.mark.parametrize("text", [CHAIN, FORK], ids=["chain", "fork"])
def test_what_a_plan_makes_simulates_alike_on_both_drivers(plan: Plan, text: str) -> None:
    here = spot(text)
    if why := NOT_THERE.get((plan.name, here.config.name)):
        with pytest.raises(NotApplicableError, match=why):
            plan.made(here)
        return
    config = plan.made(here)
    assert engine_for(config)[0] == "compiled"
    compiled, simpy = (simulate(config, engine=engine) for engine in ("compiled", "simpy"))
    np.testing.assert_array_equal(compiled.requests.ended_ns, simpy.requests.ended_ns)
    assert plan.made(here) == config  # the same choice again


def test_the_cascade_is_the_configuration_without_holds() -> None:
    config = made(Cascade(), CHAIN, "stages.rank.policy={kind: fixed, delay: 5ms}")
    assert {stage.policy for stage in config.stages} == {Immediate()}
    given = config_of(CHAIN)
    assert simulate(config).requests.ended_ns.tolist() == simulate(given).requests.ended_ns.tolist()


def test_the_monolith_ranks_all_that_recall_found() -> None:
    config = made(Monolith(), CHAIN)
    assert names(config) == ["recall", "rank"]
    # 200 candidates in place of 50: 2 ms + 4 x 400 us.
    assert config.stage("rank").service.expected_ns(1, 1) == 3_600_000
    assert config.parents() == {"recall": (), "rank": ("recall",)}


def test_or_all_that_there_are() -> None:
    config = made(Monolith(), FORK, candidates=1500)
    assert names(config) == ["rank", "rerank"]
    assert config.stage("rank").service.expected_ns(1, 1) == 1_000_000 + 10 * 200_000
    assert latency_ms(made(Monolith(), FORK, *ALONE, candidates=1500)) == 3.55


def test_before_a_real_monolith_nothing_is_narrowed_down() -> None:
    mlp = "{kind: mlp}"
    config = made(Monolith(), CHAIN, f"stages.rank.model={mlp}", candidates=1000)
    assert names(config) == ["recall", "prerank", "rank"]
    assert [stage.keep for stage in config.stages] == [1000, 1000, 10]
    # Five times as many candidates at prerank as recall passed on, twenty times at rank.
    times = [stage.service.expected_ns(1, 1) for stage in config.stages]
    assert times == [1_100_000, 1_000_000 + 5 * 50_000, 2_000_000 + 20 * 400_000]
    fork = made(Monolith(), FORK, f"stages.rank.model={mlp}", candidates=1500)
    assert names(fork) == ["towers", "rank", "rerank"]
    assert fork.stage("rank").after == ("towers",)


def test_a_monolith_needs_to_know_how_many_candidates_there_are() -> None:
    bare = CHAIN.replace("keep: 200, ", "").replace("keep: 50, ", "")
    with pytest.raises(NotApplicableError, match="no stage says how many candidates it passes on"):
        made(Monolith(), bare)


def test_branches_in_sequence_take_the_sum_of_their_times() -> None:
    fixed = "stages.items.service=5ms"
    assert latency_ms(made(Cascade(), FORK, fixed, *ALONE)) == 5 + 1.2 + 0.55
    assert latency_ms(made(InSequence(), FORK, fixed, *ALONE)) == 3.1 + 5 + 1.2 + 0.55


def test_halves_share_the_work_of_a_request_and_each_pay_for_a_batch() -> None:
    quiet = ("stages.rank.service.cv=0", "stages.rank.service.per_request=20ms")
    config = made(InParallel(), CHAIN, *quiet, *ALONE)
    assert names(config) == ["recall", "prerank", "rank_part1", "rank_part2", "rank"]
    assert config.parents()["rank"] == ("rank_part1", "rank_part2")
    assert latency_ms(made(Cascade(), CHAIN, *quiet, *ALONE)) == 1.1 + 1.05 + 2 + 20
    assert latency_ms(config) == 1.1 + 1.05 + 2 + 10


def test_halves_take_the_memory_of_the_whole() -> None:
    assert configured_memory(config_of(CHAIN)) == Memory(301_000_000, 752_000_000)
    assert configured_memory(made(InParallel(), CHAIN)) == Memory(150_500_000, 752_000_000)


def test_memory_is_known_where_every_stage_that_works_says_it() -> None:
    assert configured_memory(config_of(FORK)) is None
    assert configured_memory(config_of(CHAIN, "stages.rank.memory=null")) is None


def test_the_best_hold_meets_the_objective_for_the_least_device_time() -> None:
    here = spot(CHAIN)
    chosen = OneHold().made(here)
    delays = {stage.policy.delay_ns for stage in chosen.stages if isinstance(stage.policy, Fixed)}
    assert len(delays) == 1
    (best,), (bare,) = here.trials.of([chosen]), here.trials.of([Cascade().made(here)])
    assert best.within >= 0.99
    assert best.busy_s_per_1000 < bare.busy_s_per_1000


def test_tuning_each_stage_is_no_worse_than_sending_at_once() -> None:
    here = spot(CHAIN)
    tuned, bare = here.trials.of([PerStage().made(here), Cascade().made(here)])
    assert here.order(tuned) <= here.order(bare)


def test_adaptive_holds_begin_at_none() -> None:
    policies = {stage.policy for stage in made(Adaptive(), CHAIN).stages}
    assert len(policies) == 1
    (policy,) = policies
    assert isinstance(policy, LoadAdaptive)
    assert policy.initial_ns == 0 < policy.max_ns


def test_a_merge_loses_no_more_than_it_may() -> None:
    here = spot(FORK)
    config = DeadlineMerge().made(here)
    merge = config.stage("rank").merge
    assert isinstance(merge, SideBySide)
    assert merge.deadline_ns is not None
    late, bare = here.trials.of([config, Cascade().made(here)])
    assert 0 < late.lost <= MOST_LOST
    assert late.p99_ms < bare.p99_ms
    assert bare.lost == 0


def test_only_one_plan_degrades() -> None:
    levels = "stages.rank.levels=[{cost: 0.5}]"
    when = "stages.rank.degrade={kind: hysteresis, raise_above: 5ms, lower_below: 1ms}"
    degraded = simulate(made(Degraded(), CHAIN, levels, when, "workload.arrivals=3500/s"))
    assert degraded.requests.level.max() == 1
    full = simulate(made(Cascade(), CHAIN, levels, when, "workload.arrivals=3500/s"))
    assert full.requests.level.max() == 0
    whole = (levels, "levels=[{rank: 1}]", f"degrade={when.partition('=')[2]}")
    chosen = simulate(made(Degraded(), CHAIN, *whole, "workload.arrivals=3500/s"))
    assert chosen.requests.level.max() == 1
    assert made(Cascade(), CHAIN, *whole).degrade is None
    assert degraded.requests.ended_ns[-1] < full.requests.ended_ns[-1]


def test_the_share_of_results_that_are_missing() -> None:
    # Of two branches one is always later than the merge waits.
    fixed = ("stages.items.service=20ms", "stages.rank.merge={kind: side_by_side, deadline: 5ms}")
    log = simulate(config_of(FORK, *fixed, *ALONE))
    assert missing_share(log) == 0.5
    assert missing_share(simulate(config_of(FORK, *ALONE))) == 0


def test_what_a_policy_refuses_comes_last() -> None:
    here = spot(CHAIN)
    short = replace(here.config, objective=replace(here.objective, latency_ns=1000))
    cadence = next(plan for plan in PLANS if plan.name == "cadence")
    refused = cadence.made(replace(here, config=short))
    assert here.trials.of([refused]) == [REFUSED]
    assert here.order(REFUSED) > here.order(here.trials.of([here.config])[0])


def test_settings_are_chosen_where_they_are_not_compared() -> None:
    asked = plans_asked(config_of(CHAIN), replications=50)
    assert not set(TUNING) & set(range(asked.replications))


def served(plan: str, *p99_ms: float, within: float = 1.0, **more: object) -> Served:
    runs = tuple(Outcome(1.0, 1.0, each, 9.0, 100.0, within, 2.0) for each in p99_ms)
    row = Served(plan, 0.5, real=False, setting="", runs=runs, memory=None)
    return replace(row, **more)  # type: ignore[arg-type]


def told(*rows: Served) -> list[str]:
    return list(sentences(verdicts(rows, "cascade", 0.99), "cascade"))


def test_only_sure_differences_count() -> None:
    base = served("cascade", 10.0, 12.0, 11.0)
    assert told(base, served("a", 8.0, 10.0, 9.0)) == ["a pays at every load: p99 -18%"]
    nothing = "at 50% of the capacity nothing pays against cascade"
    assert told(base, served("a", 5.0, 19.0, 8.0)) == ["a: no difference at any load", nothing]
    assert told(base, served("a", 10.1, 12.1, 11.1)) == ["a: no difference at any load", nothing]
    slower = ["a pays at no load: no gain, at the price of p99 +100%", nothing]
    assert told(base, served("a", 20.0, 24.0, 22.0)) == slower


def test_nothing_pays_that_misses_the_objective_for_it() -> None:
    base = served("cascade", 10.0, 10.0)
    found = verdicts([base, served("a", 5.0, 5.0, within=0.9)], "cascade", 0.99)
    assert [str(each) for each in found] == ["p99 -50%; in time -10.0 points"]
    assert not found[0].pays
    fine = verdicts([base, served("a", 5.0, 5.0, within=0.995)], "cascade", 0.99)
    assert fine[0].pays
    assert headline([*found, *fine], "cascade") == "What pays against the cascade at some loads: a"


def test_memory_and_quality_are_gains_and_prices() -> None:
    def judged(row: Served, ndcg: float) -> Served:
        return replace(
            row, runs=tuple(replace(run, judged=Judged(ndcg, None, None)) for run in row.runs)
        )

    base = judged(served("cascade", 10.0, 10.0, memory=Memory(5, 10)), 0.5)
    other = judged(served("a", 10.0, 10.0, memory=Memory(5, 20)), 0.4)
    found = verdicts([base, other], "cascade", 0.99)
    assert str(found[0]) == "no gain; NDCG@10 -20%, memory +100%"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_the_command_prints_tables_and_writes_a_page(run: Run, tmp_path: Path) -> None:
    path, page = written(tmp_path, CHAIN, "chain.yaml"), tmp_path / "plans.html"
    words = ("--requests", 1000, "-n", 3, "--loads", "0.2,0.8", "--quiet", "--report", page)
    agrees("plans", run("compare", path, "--plans", *words).out, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert all(f"{plan.name}: {plan.doc}" in text for plan in PLANS)
    assert "<svg" in text


def test_the_object_has_every_plan_that_was_served(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, FORK, "fork.yaml")
    words = ("--plans", "--plan", "merge", "--loads", "50%", "--requests", 500, "--json", "-q")
    found = run("compare", path, *words).object
    assert [row["plan"] for row in found["plans"]] == ["cascade", "merge"]
    assert found["plans"][0]["pays"] is None
    assert found["loads"] == [0.5]
    assert found["left_out"] == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("--plans", "--optimum"),
            "--optimum and --plans are two comparisons; leave one of them out",
        ),
        (("--plan", "hold"), "--plan is for --plans; add that, or leave it out"),
        (("--plans", "--plan", "holds"), "there is no plan `holds`; did you mean `hold`?"),
        (("--plans", "--seconds", "3"), "--seconds is for --real; add that, or leave it out"),
        (("--plans", "--loads", "7"), "--loads 7: a load is a share of the capacity"),
        (
            ("--plans", "--real"),
            "--real: stage recall has no model to run; leave --real out, or give it one",
        ),
        (("--plans", "--set", "objective=null"), "objective is not set; plans are compared by one"),
        (("--plans", "--latency-weight", "2"), "--latency-weight is for --optimum"),
        (("-n", "2"), "--replications is for --optimum or --plans; add that, or leave it out"),
    ],
)
def test_what_cannot_be_compared(
    run: Run, tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    assert text in run("compare", written(tmp_path, CHAIN, "chain.yaml"), *words).error


def test_plans_are_of_one_configuration(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, CHAIN, "chain.yaml")
    error = "--plans are made of one configuration; give one, and no recorded run"
    assert run("compare", path, path, "--plans").error == error
    assert run("compare", tmp_path, "--plans").error == error


def test_plans_run_on_their_models(run: Run, tmp_path: Path) -> None:
    text = CHAIN.replace("memory: 100MB", "model: {kind: mlp, width: 8}")
    text = text.replace("memory: 50MB", "model: {kind: mlp, width: 8}")
    path = written(tmp_path, text.replace("memory: 301MB", "model: {kind: mlp, width: 8}"))
    words = ("--loads", "0.05", "--requests", 300, "--seconds", "0.3", "--plan", "parallel")
    found = run("compare", path, "--plans", "--real", *words, "--json", "-q").object
    real = [row for row in found["plans"] if row["real"]]
    assert [row["plan"] for row in real] == ["cascade"]
    assert real[0]["memory"]["total_bytes"] > real[0]["memory"]["replica_bytes"] > 10**7
    assert [(each["plan"], each["real"]) for each in found["left_out"]] == [("parallel", True)]
