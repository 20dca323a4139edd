"""Candidates: how many come into a stage, what they take, and how a measured time follows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.kinds  # noqa: F401  (registers the kinds)
from configs.errors import ConfigError
from configs.load import parse_config
from configs.measured_width import MeasuredWidth
from configs.model import Config
from configs.profile import ProfileError, ProfileRun, ServiceProfile, load_profile, save_profile
from configs.widths import comes_in
from configs.yaml_text import parse_yaml
from delayline.width_notes import tuned_width_notes, width_notes
from policies.runlog import RunLog
from sim.engines import Engine
from sim.plans.base import Spot
from sim.plans.in_parallel import InParallel
from sim.plans.in_sequence import InSequence
from sim.plans.monolith import Monolith
from sim.plans.trials import Trials
from sim.service.affine import Affine
from sim.service.base import ServiceModel
from sim.service.level_costs import with_level_costs
from sim.service.measured import Batches, measure
from sim.service.of_stage import model_at_width, model_of_stage
from sim.service.profile import Profile
from sim.service.table import Table
from sim.simulate import simulate
from tests.command_line import runner, written

US, MS = 1_000, 1_000_000
CHAIN = """
name: chain
seed: 3
workload: {arrivals: 800/s, requests: 2000}
objective: {latency: 60ms}
stages:
  - {name: recall, max_batch: 16, keep: 200,
     service: {kind: affine, base: 1ms, per_request: 100us}}
  - {name: fetch, max_batch: 16, service: 200us}
  - {name: rank, replicas: 2, max_batch: 16, keep: 50,
     service: {kind: affine, base: 2ms, per_request: 40us, per_candidate: 2us, cv: 0.2}}
  - {name: rerank, max_batch: 16, keep: 10,
     service: {kind: table, points: {1: 500us, 16: 2ms}, candidates: 60, per_candidate: 1us}}
"""
FORK = """
name: fork
seed: 4
workload: {arrivals: 300/s, requests: 500}
objective: {latency: 60ms}
stages:
  - {name: towers, after: [], keep: 100, service: 1ms}
  - {name: items, after: [], keep: 50, service: 1ms}
  - {name: rank, after: [towers, items], keep: 20,
     service: {kind: affine, base: 1ms, per_candidate: 1us}}
"""


def config_of(text: str, *overrides: str) -> Config:
    return parse_config(parse_yaml(text, "f.yaml"), file="/f.yaml", overrides=overrides)


def refused(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        config_of(text, *overrides)
    return str(error.value)


def model(config: Config, stage: str) -> ServiceModel:
    return model_of_stage(config, config.stage(stage))


def ended(log: RunLog) -> list[int]:
    found: list[int] = log.requests.ended_ns.tolist()
    return found


# How many come in


def test_what_comes_in_is_what_the_stages_before_pass_on() -> None:
    chain = config_of(CHAIN)
    come = [comes_in(chain, stage.name) for stage in chain.stages]
    assert come == [None, 200, 200, 50]  # fetch keeps nothing back
    assert comes_in(config_of(FORK), "rank") == 150
    assert comes_in(config_of(CHAIN, "stages.recall.keep=null", *SILENT), "rank") is None
    half = config_of(FORK, "stages.items.keep=null", "stages.rank.service=1ms")
    assert comes_in(half, "rank") is None  # of one branch nobody says it


SILENT = ("stages.rank.service=1ms",)


@pytest.mark.parametrize(
    ("merge", "come"),
    [
        ("side_by_side", 150),
        ("concat", 150),
        ("zip", 150),
        ("rrf", 100),
        ("{kind: top_k, keep: 80}", 80),
        ("mean", 100),
    ],
)
def test_what_comes_in_at_a_join_is_what_its_merge_makes(merge: str, come: int) -> None:
    assert comes_in(config_of(FORK, f"stages.rank.merge={merge}"), "rank") == come


def test_a_merge_by_a_function_tells_nothing() -> None:
    merge = "stages.rank.merge={kind: function, function: 'a.b:c'}"
    assert comes_in(config_of(FORK, merge, "stages.rank.service=1ms"), "rank") is None
    assert "nothing says how many candidates come in" in refused(FORK, merge)


def test_no_stage_passes_on_more_than_it_was_given() -> None:
    assert (
        "stages.rank.keep: is 300, more than the 200 candidates that come in; keep 200"
        in refused(CHAIN, "stages.rank.keep=300")
    )
    assert "stages.rank.keep: is 151, more than the 150" in refused(FORK, "stages.rank.keep=151")
    assert config_of(FORK, "stages.rank.keep=150").stage("rank").keep == 150


def test_a_time_by_candidates_needs_to_know_how_many_there_are() -> None:
    says = "nothing says how many candidates come in; give the stages before a `keep`"
    told = refused(CHAIN, "stages.recall.keep=null")
    assert f"stages.rank.service.per_candidate: is given, and {says}" in told
    first = (
        "stages.recall.service={kind: table, points: {1: 1ms}, candidates: 9, per_candidate: 1us}"
    )
    assert f"stages.recall.service.per_candidate: is given, and {says}" in refused(CHAIN, first)
    lacks = "stages.rerank.service={kind: table, points: {1: 1ms}, per_candidate: 1us}"
    assert "has a per_candidate, and not how many came in when it was measured" in refused(
        CHAIN, lacks
    )
    with pytest.raises(ValueError, match="not how many candidates come in"):
        Affine(per_candidate_ns=2).expected_ns(1, 1)


# What they take


@given(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 10**4))
def test_affine_by_candidates_is_affine_by_requests_of_so_many(
    base: int, each: int, per_candidate: int, candidates: int
) -> None:
    given_ns = Affine(base, each, 3, cv=0.1, per_candidate_ns=per_candidate)
    assert given_ns.with_candidates(candidates) == Affine(
        base, each + candidates * per_candidate, 3, cv=0.1
    )


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_simulation_by_candidates_is_the_one_by_requests_bit_for_bit(engine: Engine) -> None:
    plain = (
        "stages.rank.service={kind: affine, base: 2ms, per_request: 440us, cv: 0.2}",
        "stages.rerank.service={kind: table, points: {1: 490us, 16: 1840us}}",
    )
    by_candidates = simulate(config_of(CHAIN), engine=engine)
    assert ended(by_candidates) == ended(simulate(config_of(CHAIN, *plain), engine=engine))


@pytest.mark.parametrize("path", ["stages.recall.keep", "stages.rank.keep"], ids=["recall", "rank"])
def test_both_drivers_agree_at_every_width(path: str) -> None:
    for keep in (10, 33, 50):
        config = config_of(CHAIN, f"{path}={keep}", "stages.rank.keep=10", f"{path}={keep}")
        assert ended(simulate(config, engine="simpy")) == ended(simulate(config, engine="compiled"))


def test_a_stage_costs_less_where_the_one_before_keeps_less() -> None:
    wide, narrow = config_of(CHAIN), config_of(CHAIN, "stages.recall.keep=50")
    assert model(wide, "rank").expected_ns(4, 4) == 2 * MS + 4 * (40 + 400) * US
    assert model(narrow, "rank").expected_ns(4, 4) == 2 * MS + 4 * (40 + 100) * US
    assert model(wide, "recall") == model(narrow, "recall")  # nothing comes in there


# Measured times


def runs(*levels: float) -> list[ProfileRun]:
    found = []
    for level in levels:
        requests = np.tile(np.arange(1, 9, dtype=np.int64), 40)
        noise = np.random.default_rng(1).lognormal(0, 0.1, len(requests))
        service_ns = np.rint(level * (MS + 100 * US * requests) * noise).astype(np.int64)
        rested = -np.ones_like(requests)
        found.append(ProfileRun(0.5, "fixed", requests, requests, service_ns, rested))
    return found


def saved(path: Path, width: MeasuredWidth | None) -> Path:
    widths = {} if width is None else {"rank": width}
    save_profile(path, ServiceProfile("f", "two cores", "a", {"rank": runs(1.0)}, widths=widths))
    return path


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 2000), st.integers(1, 500), st.integers(1, 1000), st.integers(1, 32))
def test_a_profile_adds_what_each_candidate_takes(
    tmp_path_factory: pytest.TempPathFactory, each_ns: float, measured: int, used: int, size: int
) -> None:
    width = MeasuredWidth(measured, each_ns)
    path = saved(tmp_path_factory.mktemp("p") / "p.json", width)
    profile = Profile(path, "rank")
    assert profile.width == width == load_profile(path).widths["rank"]
    # Measured were 1 ms + 0.1 ms a request: what a batch takes before its first request stays.
    each_us = max(100 + each_ns * (used - measured) / 1000, 0)
    expected_ns = MS + each_us * US * size
    found_ns = profile.with_candidates(used).expected_ns(size, size)
    assert found_ns == pytest.approx(expected_ns, rel=0.05)


def test_where_items_bear_the_cost_candidates_change_it_all_the_same() -> None:
    (run,) = runs(1.0)
    items = run.requests * 30
    measured = measure([Batches(run.requests, items, run.service_ns)], 20)
    assert measured.mean.per_request_ns == 0
    half_ns = measured.mean.per_item_ns * 30 / 2
    more = measured.with_more(half_ns)
    assert more.expected_ns(4, 120) == pytest.approx(measured.expected_ns(4, 180), rel=1e-9)
    nothing_left = measured.with_more(-1e9)
    assert nothing_left.expected_ns(4, 120) == nothing_left.expected_ns(4, 0)
    assert nothing_left.expected_ns(4, 0) == pytest.approx(measured.mean.base_ns, rel=0.05)


def test_at_the_width_that_was_measured_a_profile_is_itself(tmp_path: Path) -> None:
    profile = Profile(saved(tmp_path / "p.json", MeasuredWidth(70, 300.0)), "rank")
    same = profile.with_candidates(70)
    for rank in (0.01, 0.4, 0.99):
        assert same.time_ns(rank, 5, 5) == profile.time_ns(rank, 5, 5)


def test_a_profile_of_no_known_share_stays_as_it_is(tmp_path: Path) -> None:
    for number, width in enumerate((None, MeasuredWidth(200))):
        profile = Profile(saved(tmp_path / f"{number}.json", width), "rank")
        assert not profile.follows_candidates
        assert profile.with_candidates(7).time_ns(0.5, 5, 5) == profile.time_ns(0.5, 5, 5)
    later = Profile(tmp_path / "later.json", "rank")
    assert later.width is None
    assert not later.follows_candidates


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ('_ns":5.5', '_ns":-1', "stages.rank.width: per_candidate_ns must be 0 or more, not -1"),
        ('_ns":5.5', '_ns":NaN', "per_candidate_ns must be 0 or more, not nan"),
        ('"candidates":9', '"candidates":0', "candidates must be 1 or more, not 0"),
        ('"candidates":9', '"candidates":"9"', "candidates is of the wrong type"),
        ("per_candidate_ns", "per_item", "lacks stages.rank.width.per_candidate_ns"),
    ],
)
def test_a_damaged_width_is_named(tmp_path: Path, was: str, now: str, says: str) -> None:
    path = saved(tmp_path / "p.json", MeasuredWidth(9, 5.5))
    path.write_text(path.read_text().replace(was, now))
    with pytest.raises(ProfileError, match=says):
        load_profile(path)


def test_both_drivers_agree_on_a_profile_at_another_width(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.json", MeasuredWidth(120, 700.0))
    service = f"stages.rank.service={{kind: profile, path: {path}}}"
    config = config_of(FORK, service)
    assert ended(simulate(config, engine="simpy")) == ended(simulate(config, engine="compiled"))
    at_120 = config_of(FORK, service, "stages.items.keep=20")
    assert model(at_120, "rank").expected_ns(3, 3) == Profile(path, "rank").expected_ns(3, 3)


MODELS = st.one_of(
    st.builds(
        Affine, st.integers(0, MS), st.integers(0, MS), per_candidate_ns=st.integers(0, 10 * US)
    ),
    st.builds(
        Table,
        st.dictionaries(st.integers(1, 32), st.integers(0, MS), min_size=1, max_size=4),
        per_candidate_ns=st.integers(0, 10 * US),
        candidates=st.integers(1, 500),
    ),
)


@given(MODELS, st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 40))
def test_narrower_is_never_slower(service: ServiceModel, one: int, other: int, size: int) -> None:
    narrow, wide = sorted((one, other))
    times = [service.with_candidates(width).time_ns(1.0, size, size) for width in (narrow, wide)]
    assert times[0] <= times[1]


# What is told


def notes_of(config: Config) -> list[str]:
    return list(width_notes(config))


def test_a_profile_of_another_width_says_so_where_it_cannot_follow(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.json", MeasuredWidth(150))
    service = f"stages.rank.service={{kind: profile, path: {path}}}"
    assert notes_of(config_of(FORK, service)) == []
    assert notes_of(config_of(FORK, service, "stages.items.keep=30")) == [
        "130 candidates come into rank, and its profile was taken with 150 and does not know what each"
        " takes: its times are those of 150; take it again with `delayline profile`"
    ]
    saved(path, MeasuredWidth(150, 10.0))
    assert notes_of(config_of(FORK, service, "stages.items.keep=30")) == []


def test_a_tuning_of_widths_names_stages_whose_time_does_not_follow() -> None:
    tune = "tune={stages.recall.keep: {choices: [100, 200]}, stages.rank.replicas: [1, 2]}"
    (note,) = tuned_width_notes(config_of(CHAIN, tune))
    assert note.startswith("what is tuned changes how many candidates come into fetch, whose")
    assert list(tuned_width_notes(config_of(FORK, tune.replace("recall", "items")))) == []


def test_widths_are_tuned_within_what_comes_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, CHAIN + TUNED, "chain.yaml")
    words = (
        "tune",
        path,
        "--trials",
        "12",
        "--confirm",
        "2",
        "--out",
        tmp_path / "t.yaml",
        "--json",
    )
    told = runner(capsys)(*words).object
    best = told["best"]["setting"]
    assert 0 < told["refused"] < 12
    assert best["stages.rank.keep"] <= best["stages.recall.keep"]
    assert told["best"]["cost"] < told["start"]["cost"]


TUNED = """
tune:
  stages.recall.keep: {choices: [20, 100, 200]}
  stages.rank.keep: {choices: [20, 50, 150]}
"""


# Levels

DEGRADE = "degrade: {kind: hysteresis, raise_above: 2ms, lower_below: 1ms, hold: 5ms}"
LEVELS = CHAIN.replace(
    "  - {name: rank, replicas: 2,",
    f"  - {{name: rank, levels: [{{take: 100}}, {{take: 50}}], {DEGRADE}, replicas: 1,",
)


def test_a_level_costs_what_a_full_batch_takes_of_so_many_candidates() -> None:
    config = config_of(LEVELS)
    full, half, quarter = (2000 + 16 * (40 + 2 * width) for width in (200, 100, 50))
    levels = with_level_costs(config).stage("rank").levels
    assert [level.cost for level in levels] == [half / full, quarter / full]
    first, second = (
        f"{{take: {take}, cost: {width / full!r}}}" for take, width in ((100, half), (50, quarter))
    )
    same = config_of(LEVELS, f"stages.rank.levels=[{first}, {second}]")
    assert with_level_costs(same) is same
    logs = [simulate(each, engine=engine) for each in (config, same) for engine in DRIVERS]
    assert logs[0].requests.level.max() > 0
    assert len({str(ended(log)) for log in logs}) == 1


DRIVERS: tuple[Engine, ...] = ("simpy", "compiled")


def test_a_level_whose_cost_nobody_knows_is_refused(tmp_path: Path) -> None:
    assert "stages.rank.levels[0].cost: is missing: what share" in refused(
        LEVELS, "stages.rank.levels=[{take: 100, model: {kind: mlp}}]"
    )
    alone = refused(LEVELS, "stages.recall.keep=null", "stages.rank.service=1ms")
    assert "nothing says of how many candidates the level takes 100" in alone
    lawless = config_of(LEVELS, "stages.rank.service=1ms")
    with pytest.raises(ConfigError, match="does not say what a candidate takes; give it, or"):
        simulate(lawless)
    rising = config_of(LEVELS, "stages.rank.levels=[{take: 100}, {take: 150}]")
    with pytest.raises(ConfigError, match="more than at the level before"):
        simulate(rising)
    path = saved(tmp_path / "p.json", MeasuredWidth(200, 250.0))
    measured = config_of(LEVELS, f"stages.rank.service={{kind: profile, path: {path}}}")
    first, second = (level.cost or 0 for level in with_level_costs(measured).stage("rank").levels)
    assert 1 > first > second > 0


# Plans


def spot(config: Config, candidates: int | None = None) -> Spot:
    def unasked(_: Config, __: RunLog) -> None:
        raise AssertionError

    return Spot(config, 0.5, Trials(unasked, None), candidates)  # type: ignore[arg-type]


def test_a_monolith_follows_the_law_of_its_ranker_where_it_has_one() -> None:
    config = config_of(CHAIN, "stages.fetch.keep=80")
    whole = Monolith().made(spot(config)).stage("rank")
    assert whole.service.expected_ns(3, 3) == 2 * MS + 3 * (40 + 200 * 2) * US
    every = Monolith().made(spot(config, candidates=1000)).stage("rank")
    assert every.service.expected_ns(3, 3) == 2 * MS + 3 * (40 + 1000 * 2) * US
    lawless = config_of(
        CHAIN, "stages.fetch.keep=80", "stages.rank.service={kind: affine, per_request: 80us}"
    )
    rank = lawless.stage("rank")
    assert model_at_width(lawless, rank, 80) == model_of_stage(lawless, rank)
    assert model_at_width(lawless, rank, 200).expected_ns(3, 3) == 3 * 80 * US * 200 / 80


def test_branches_in_sequence_take_what_they_took_side_by_side() -> None:
    made = InSequence().made(spot(config_of(FORK)))
    assert model(made, "rank").expected_ns(1, 1) == 1 * MS + 150 * US


def test_halves_of_a_stage_have_half_its_candidates_work_and_pass_on_what_it_did() -> None:
    made = InParallel().made(
        spot(config_of(CHAIN, "stages.fetch.keep=80", "stages.rank.replicas=1"))
    )
    half = model(made, "rank_part1")
    assert half.expected_ns(2, 2) == 2 * MS + 2 * (40 + 80 * 2) * US / 2
    assert comes_in(made, "rerank") == 50
