"""Service models: means, spreads, measured quantiles, blocks, and independence of chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from configs.kinds import kinds
from configs.profile import ProfileError, ProfileRun, ServiceProfile, save_profile
from configs.published import BatchTimes
from policies.runlog import Int64
from sim import kinds as sim_kinds
from sim.columns import TraceError
from sim.service.affine import Affine
from sim.service.base import Float64, ServiceModel
from sim.service.blocks import Blocks
from sim.service.deterministic import Deterministic
from sim.service.empirical import Empirical
from sim.service.exponential import Exponential
from sim.service.gamma import Gamma
from sim.service.lognormal import Lognormal
from sim.service.measured import Batches, Pace, fit_affine, measure
from sim.service.profile import Profile
from sim.service.published import PublishedTimes
from sim.service.table import Table
from sim.streams import stream

US, MS = 1_000, 1_000_000
RANDOM: list[ServiceModel] = [
    Exponential(MS),
    Lognormal(MS, 0.7),
    Gamma(MS, 0.5),
    Affine(MS, 50 * US, 2 * US, cv=0.3),
    Table({1: MS, 8: 2_100 * US}, cv=0.4),
    Empirical(tuple(range(900 * US, 1_100 * US, 1_117)), block=7),
    PublishedTimes(
        points={
            1: BatchTimes(mean_ns=MS, p50_ns=900 * US, p99_ns=3 * MS),
            8: BatchTimes(mean_ns=2 * MS, p50_ns=2 * MS, p99_ns=2_100 * US),
        }
    ),
]
ALL: list[ServiceModel] = [Deterministic(MS), Affine(MS, 50 * US), Table({4: MS}), *RANDOM]


def rng(seed: int = 1) -> np.random.Generator:
    return stream(seed, 0, "service.rank")


def times(model: ServiceModel, requests: int, items: int, count: int = 100_000) -> Int64:
    noise = model.draw(rng(), count).tolist()
    return np.array([model.time_ns(each, requests, items) for each in noise])


@given(st.sampled_from(ALL), st.lists(st.integers(0, 400), max_size=6), st.integers(0, 2**32))
@settings(deadline=None)
def test_noise_does_not_depend_on_how_much_is_drawn_at_once(
    model: ServiceModel, chunks: list[int], seed: int
) -> None:
    generator = rng(seed)
    parts = [model.draw(generator, chunk) for chunk in chunks]
    whole = model.draw(rng(seed), sum(chunks))
    np.testing.assert_array_equal(np.concatenate([*parts, np.empty(0)]), whole)


@given(st.sampled_from(ALL), st.integers(1, 500), st.integers(0, 10**6), st.integers(0, 99))
@settings(deadline=None)
def test_every_time_is_a_whole_number_of_nanoseconds_not_below_zero(
    model: ServiceModel, requests: int, items: int, seed: int
) -> None:
    for noise in model.draw(rng(seed), 5).tolist():
        found = model.time_ns(noise, requests, items)
        assert type(found) is int
        assert found >= 0


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.kind)
@pytest.mark.parametrize(("requests", "items"), [(1, 1), (5, 40), (30, 30)])
def test_the_mean_is_the_expected_time(model: ServiceModel, requests: int, items: int) -> None:
    found = times(model, requests, items)
    # Block resampling correlates neighbours: allow for an effective number of draws.
    error = float(found.std()) * math.sqrt(2 * 20 / len(found))
    assert found.mean() == pytest.approx(model.expected_ns(requests, items), abs=4 * error + 1)


@pytest.mark.parametrize(
    ("model", "cv"),
    [
        (Exponential(MS), 1.0),
        (Lognormal(MS, 0.7), 0.7),
        (Gamma(MS, 0.5), 0.5),
        (Affine(MS, 50 * US, cv=0.3), 0.3),
        (Table({1: MS}, cv=0.4), 0.4),
        (Lognormal(MS, 0.0), 0.0),
        (Deterministic(MS), 0.0),
    ],
    ids=repr,
)
def test_the_cv_is_the_cv(model: ServiceModel, cv: float) -> None:
    found = times(model, 3, 3)
    assert found.std() / found.mean() == pytest.approx(cv, rel=0.03)


def test_exponential_times_are_exponential() -> None:
    assert stats.kstest(times(Exponential(MS), 1, 1), "expon", args=(0, MS)).pvalue > 0.01


def test_affine_counts_requests_and_items() -> None:
    model = Affine(base_ns=10, per_request_ns=3, per_item_ns=2)
    assert model.time_ns(1.0, 4, 50) == 10 + 12 + 100
    assert model.time_ns(0.5, 4, 50) == 61


def test_a_table_is_linear_between_flat_below_and_goes_on_above() -> None:
    table = Table({8: 2_100, 2: 900, 16: 3_700})
    expected = {1: 900, 2: 900, 5: 1_500, 8: 2_100, 12: 2_900, 16: 3_700, 20: 4_500}
    assert {size: table.time_ns(1.0, size, 1) for size in expected} == expected
    assert Table({4: 7}).time_ns(1.0, 400, 1) == 7
    falling = Table({1: 100, 8: 50})
    assert falling.time_ns(1.0, 8, 1) == falling.time_ns(1.0, 1_000, 1) == 50
    assert hash(Table({1: 2, 3: 4})) == hash(Table({3: 4, 1: 2}))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Table({}), "`points` needs one batch size"),
        (lambda: Table({0: 1}), "batch sizes from 1 on, not 0"),
        (lambda: Empirical(), "`samples` or `path`"),
        (lambda: Empirical((1,), Path("x.csv")), "`samples` or `path`"),
        (lambda: Empirical(path=Path("x.csv"), column="latency"), "must end in its unit"),
        (lambda: Empirical((1,), items_column="items"), "needs `requests_column`"),
    ],
)
def test_knobs_that_contradict_each_other_are_named(
    make: Callable[[], ServiceModel], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        make()


# Blocks


def blocks(length: int, *runs: int) -> Blocks:
    """Runs of such lengths, in which each value is its own index."""
    starts = np.cumsum((0, *runs))
    return Blocks.of([np.arange(a, b) * 1.0 for a, b in pairwise(starts)], length)


def test_blocks_are_stretches_of_a_run_of_the_mean_length() -> None:
    found = blocks(25, 300, 1_000).draw(rng(), 200_000)
    following = np.where(found == 299, 0, np.where(found == 1_299, 300, found + 1))
    broken = (found[1:] != following[:-1]).mean()
    assert broken == pytest.approx(1 / 25, rel=0.05)


def test_every_value_is_drawn_as_often() -> None:
    found = blocks(10, 20, 5, 75).draw(rng(), 400_000)
    seen = np.bincount(found.astype(int), minlength=100)
    assert seen / 4_000 == pytest.approx(np.ones(100), abs=0.12)
    assert abs(seen[20:25].mean() / seen[25:].mean() - 1) < 0.05


def test_blocks_of_one_are_independent_draws() -> None:
    found = blocks(1, 500).draw(rng(), 100_000)
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.015
    assert stats.kstest((found + 0.5) / 500, "uniform").statistic < 0.01


def test_blocks_need_a_generator_that_can_be_wound_back() -> None:
    with pytest.raises(TypeError, match="not MT19937"):
        blocks(5, 10).draw(np.random.Generator(np.random.MT19937(1)), 3)


# Measured batches


def machine(
    seed: int, sizes: Int64, items_each: int = 1, level: float = 1.0, memory: float = 0.9
) -> Batches:
    """A machine that takes 1 ms + 0.1 ms a request, times slow lognormal noise with memory."""
    generator = np.random.default_rng(seed)
    state = np.empty(len(sizes))
    now = 0.0
    for at, push in enumerate(generator.standard_normal(len(sizes)).tolist()):
        now = memory * now + math.sqrt(1 - memory**2) * push
        state[at] = now
    mean_ns = level * (MS + 100 * US * sizes)
    service_ns = np.rint(mean_ns * np.exp(0.2 * state)).astype(np.int64)
    return Batches(sizes, sizes * items_each, service_ns)


def sizes_of(seed: int, count: int, mean: float) -> Int64:
    return np.minimum(np.random.default_rng(seed).geometric(1 / mean, count), 32)


def test_at_a_measured_size_the_quantiles_are_the_samples() -> None:
    run = machine(1, np.repeat(np.array([1, 4, 16], np.int64), 400))
    model = measure([run], 20)
    for size in (1, 4, 16):
        samples = np.sort(run.service_ns[run.requests == size])
        ranks = (np.arange(400) + 0.5) / 400
        found = [model.time_ns(rank, size, size) for rank in ranks.tolist()]
        np.testing.assert_allclose(found, samples, rtol=0, atol=1)
        assert model.expected_ns(size, size) == pytest.approx(samples.mean())


def test_between_and_beyond_measured_sizes_the_affine_mean_carries_on() -> None:
    model = measure([machine(1, np.repeat(np.array([2, 16], np.int64), 5_000))], 20)
    for size in (1, 8, 64):
        assert model.expected_ns(size, size) == pytest.approx(MS + 100 * US * size, rel=0.15)
        low, high = model.time_ns(0.01, size, size), model.time_ns(0.99, size, size)
        assert high / low == pytest.approx(math.exp(2 * 2.326 * 0.2), rel=0.15)


def test_time_grows_with_rank() -> None:
    model = measure([machine(1, sizes_of(2, 3_000, 4.0))], 20)
    for size in range(1, 40):
        found = [model.time_ns(rank, size, size) for rank in np.linspace(0, 1, 101).tolist()]
        assert found == sorted(found)


def test_rare_sizes_share_a_distribution() -> None:
    sizes = np.array([1] * 60 + [2] * 30 + [3] * 30 + [4] * 5, np.int64)
    # 1 stands alone, 2 and 3 make up 50 together, and the few of 4 join them.
    centers = measure([machine(1, sizes)], 20).centers
    assert centers == pytest.approx((1.0, (2 * 30 + 3 * 30 + 4 * 5) / 65))
    assert len(measure([machine(1, sizes[:10])], 20).centers) == 1


def test_the_affine_fit_finds_what_made_the_times() -> None:
    generator = np.random.default_rng(1)
    requests = generator.integers(1, 33, 5_000)
    items = requests * generator.integers(1, 200, 5_000)
    exact = 1_000.0 * US + 30 * US * requests + 0.5 * US * items
    found = fit_affine(requests, items, exact)
    assert found.base_ns == pytest.approx(1_000 * US, rel=1e-6)
    assert found.per_request_ns == pytest.approx(30 * US, rel=1e-6)
    assert found.per_item_ns == pytest.approx(0.5 * US, rel=1e-6)


def test_what_the_data_cannot_tell_apart_is_settled_as_stated() -> None:
    sizes = np.repeat(np.arange(1, 9), 20)
    exact: Float64 = 1_000.0 + 10 * sizes.astype(np.float64)
    alone, hundred = fit_affine(sizes, sizes, exact), fit_affine(sizes, sizes * 100, exact)
    assert alone.per_request_ns == pytest.approx(10)
    assert hundred.per_item_ns == pytest.approx(0.1)
    assert alone.per_item_ns == hundred.per_request_ns == 0
    single = fit_affine(np.full(9, 4), np.full(9, 4), np.full(9, 80.0))
    assert single.base_ns == 0
    assert single.per_request_ns == pytest.approx(20)
    falling = fit_affine(sizes, sizes, 2_000.0 - exact)
    assert falling.per_request_ns == 0


def test_resampled_batches_remember_as_the_machine_does() -> None:
    sizes = sizes_of(3, 20_000, 3.0)
    run = machine(1, sizes)
    model = measure([run], 20)
    used = sizes_of(4, 20_000, 6.0)  # another load: other sizes
    noise = model.draw(rng(), 20_000).tolist()
    made = np.array([model.time_ns(u, n, n) for u, n in zip(noise, used.tolist(), strict=True)])

    def memory(service_ns: Int64, requests: Int64, lag: int) -> float:
        left = np.log(service_ns / (MS + 100 * US * requests))
        return float(np.corrcoef(left[lag:], left[:-lag])[0, 1])

    for lag in (1, 5):
        # A block ends with chance 1/20 at each step, and its memory with it.
        kept = memory(run.service_ns, sizes, lag) * (1 - 1 / 20) ** lag
        assert memory(made, used, lag) == pytest.approx(kept, abs=0.05)


def test_runs_share_their_times_but_are_ranked_each_by_itself() -> None:
    fast = machine(1, sizes_of(1, 4_000, 2.0), memory=0.0)
    slow = machine(2, sizes_of(2, 4_000, 2.0), memory=0.0, level=1.5)
    model = measure([fast, slow], 20)
    noise = model.draw(rng(), 50_000)
    assert stats.kstest(noise, "uniform").statistic < 0.02
    # Nothing is correlated within a run, and that one was slower throughout makes no spell of it.
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.05
    both = np.concatenate([run.service_ns[run.requests == 1] for run in (fast, slow)])
    assert model.expected_ns(1, 1) == pytest.approx(both.mean(), rel=1e-6)
    assert model.time_ns(0.9, 1, 1) == pytest.approx(np.quantile(both, 0.9), rel=1e-3)


def test_a_run_that_rarely_saw_a_size_still_spreads_its_ranks() -> None:
    often = machine(1, sizes_of(1, 4_000, 4.0))
    rare = machine(2, np.arange(1, 33, dtype=np.int64))
    ranks = measure([often, rare], 20).blocks.values[4_000:]
    assert np.sort(ranks) == pytest.approx((np.arange(32) + 0.5) / 32)


@pytest.mark.parametrize(
    ("service_ns", "says"), [([], "no batch was measured"), ([0, 0], "all measured times are 0")]
)
def test_runs_without_a_time_are_refused(service_ns: list[int], says: str) -> None:
    ones = np.ones(len(service_ns), np.int64)
    with pytest.raises(ValueError, match=says):
        measure([Batches(ones, ones, np.array(service_ns, np.int64))], 20)


# Empirical and profile


def test_inline_samples_hold_for_any_size() -> None:
    model = Empirical((100, 300, 200), block=2)
    assert set(times(model, 1, 1, 500).tolist()) == {100, 200, 300}
    assert set(times(model, 64, 6_400, 500).tolist()) == {100, 200, 300}
    assert model.expected_ns(64, 1) == pytest.approx(200)


def test_samples_of_a_file_follow_the_size_of_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    rows = [f"{n},{1.0 + 0.1 * n + 0.001 * k}" for k in range(60) for n in (1, 8)]
    path.write_text("\n".join(["batch,latency_ms", *rows]) + "\n")
    model = Empirical(path=path, column="latency_ms", requests_column="batch")
    assert model.expected_ns(1, 1) == pytest.approx(1.1295 * MS)
    assert model.expected_ns(8, 8) == pytest.approx(1.8295 * MS)
    flat = Empirical(path=path, column="latency_ms")
    assert flat.expected_ns(1, 1) == flat.expected_ns(99, 1) == pytest.approx(1.4795 * MS)
    path.write_text("latency_ms\n1\n-2\n")
    with pytest.raises(TraceError, match="line 3, column latency_ms: must be between 0 and a day"):
        Empirical(path=path, column="latency_ms").expected_ns(1, 1)
    path.write_text("latency_ms,n\n0,1\n0,2\n")
    with pytest.raises(TraceError, match="all measured times are 0"):
        Empirical(path=path, column="latency_ms", requests_column="n").expected_ns(1, 1)


def save(path: Path, *runs: Batches) -> Path:
    stage = [
        ProfileRun(0.5, "fixed", run.requests, run.items, run.service_ns, -np.ones_like(run.items))
        for run in runs
    ]
    save_profile(path, ServiceProfile("shop", "two cores", "abc", {"rank": stage, "empty": []}))
    return path


def test_a_profile_is_that_of_the_stage_that_uses_it(tmp_path: Path) -> None:
    run = machine(1, sizes_of(1, 500, 2.0))
    path = save(tmp_path / "shop.json", run)
    model = Profile(path)
    named = model.for_stage("rank")
    assert named == Profile(path, stage="rank") == named.for_stage("recall")
    assert named.expected_ns(1, 1) == measure([run], 20).expected_ns(1, 1)
    noise = named.draw(rng(), 50)
    np.testing.assert_array_equal(noise, measure([run], 20).draw(rng(), 50))
    with pytest.raises(ProfileError, match="say which `stage`"):
        model.expected_ns(1, 1)
    with pytest.raises(ProfileError, match="has stages rank, empty; none named recall"):
        model.for_stage("recall").expected_ns(1, 1)
    with pytest.raises(ProfileError, match="stage empty: no batch was measured"):
        model.for_stage("empty").expected_ns(1, 1)


def test_a_model_may_be_named_before_its_profile_is_taken(tmp_path: Path) -> None:
    model = Profile(tmp_path / "later.json", stage="rank")
    with pytest.raises(ProfileError, match="there is no profile"):
        model.draw(rng(), 1)
    save(tmp_path / "later.json", machine(1, sizes_of(1, 60, 2.0)))
    assert len(model.draw(rng(), 1)) == 1


def lindley_p99(service_ns: Sequence[int], interval_ns: float, seed: int) -> float:
    """The 99th percentile of response at one server fed by Poisson arrivals, batches of one."""
    gaps = np.random.default_rng(seed).exponential(interval_ns, len(service_ns))
    wait, found = 0.0, []
    for gap, service in zip(gaps.tolist(), service_ns, strict=True):
        found.append(wait + service)
        wait = max(0.0, wait + service - gap)
    return float(np.quantile(found, 0.99))


def test_blocks_predict_the_tail_of_a_machine_with_slow_spells_and_single_draws_do_not() -> None:
    ones = np.ones(60_000, np.int64)
    run = machine(1, ones)
    interval_ns = 1.1 * MS / 0.6
    # Runs that the profile has not seen, with the same arrivals.
    real = np.mean(
        [lindley_p99(machine(s, ones).service_ns.tolist(), interval_ns, s) for s in SEEDS]
    )

    def predicted(block: int) -> float:
        model = measure([run], block)
        found = []
        for seed in SEEDS:
            noise = model.draw(rng(seed), len(ones)).tolist()
            found.append(lindley_p99([model.time_ns(u, 1, 1) for u in noise], interval_ns, seed))
        return float(np.mean(found))

    assert predicted(1) < 0.8 * real
    # The memory of 10 batches needs blocks of several times that to survive.
    assert predicted(1) < predicted(20) < real
    assert predicted(80) == pytest.approx(real, rel=0.10)


SEEDS = (11, 12, 13, 14)


def test_every_kind_is_known_to_configurations_by_name() -> None:
    for family, classes in (
        ("arrivals", sim_kinds.ARRIVALS),
        ("items", sim_kinds.ITEMS),
        ("service", sim_kinds.SERVICE),
    ):
        assert {cls.kind: cls for cls in classes}.items() <= kinds(family).items()
    assert {"poisson", "closed", "windows"} <= set(kinds("arrivals"))


def rested_machine(seed: int, count: int = 4000) -> Batches:
    """Batches of 1 to 8 whose time grows by half with the logarithm of the rest before."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, count)
    rested_ns = np.rint(np.exp(random.uniform(0, np.log(10_000), count)) * 1000).astype(np.int64)
    cold = 0.8 + 0.4 * np.log1p(rested_ns / 1000) / np.log(10_000)
    noise = random.lognormal(-0.005, 0.1, count)
    service_ns = np.rint((1e6 + 1e5 * sizes) * cold * noise).astype(np.int64)
    rested_ns[0] = -1
    return Batches(sizes, sizes, service_ns, rested_ns)


def test_the_pace_after_a_rest_is_found_and_taken_out_of_the_spread() -> None:
    found = measure([rested_machine(1)], 20)
    warm, cold = found.pace(2_000), found.pace(8_000_000)
    assert cold / warm == pytest.approx(1.19 / 0.85, rel=0.05)
    assert found.pace(-1) == 1.0
    rests = [10**k for k in range(3, 8)]
    assert sorted(map(found.pace, rests)) == list(map(found.pace, rests))
    flat = measure([replace(rested_machine(1), rested_ns=None)], 20)
    assert flat.pace(8_000_000) == 1.0
    spread, wider = (max(m.ratios[3]) / min(m.ratios[3]) for m in (found, flat))
    assert spread < 0.8 * wider


def test_a_slow_spell_between_runs_is_no_pace() -> None:
    # One run rests briefly on a fast machine, the other long on a slow one: neither shows a dependence.
    size = np.full(500, 4)
    fast = Batches(size, size, np.full(500, 10**6), np.full(500, 10_000))
    late = Batches(size, size, np.full(500, 2 * 10**6), np.full(500, 10**7))
    assert measure([fast, late], 20).pace(10**7) == pytest.approx(1.0)


@given(st.lists(st.integers(-1, 10**10), min_size=1, max_size=30))
def test_a_pace_stays_within_what_was_measured(rests: list[int]) -> None:
    pace = Pace((1.0, 4.0, 9.0), (0.9, 1.1, 1.3))
    assert all(0.9 <= pace(rest) <= 1.3 for rest in rests)
