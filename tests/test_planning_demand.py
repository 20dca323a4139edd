"""What plans are for: the busiest time of arrivals that vary, and the hours of a day."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.model import Config
from delayline.planning import plan
from sim.arrivals.gamma import Gamma
from sim.arrivals.mmpp import Mmpp
from sim.arrivals.poisson import Poisson
from sim.planning.demand import HOUR_NS, demand_of
from sim.planning.resampled import Resampled
from sim.streams import stream
from tests.planning_cases import EXPONENTIAL, counts, pipeline, within

S = 1_000_000_000


def under(arrivals: dict[str, Any], **workload: Any) -> Config:
    return pipeline(
        "1/s",
        within("75ms"),
        EXPONENTIAL,
        workload={"arrivals": arrivals, "requests": 50_000, **workload},
    )


def test_a_steady_rate_is_planned_for_as_it_is() -> None:
    demand = demand_of(under({"kind": "gamma", "rate": "300/s", "cv": 2}), 600.0)
    assert demand.arrivals == Gamma(600.0, 2)
    assert (demand.mean_hz, demand.planned_hz, demand.hours_hz) == (600, 600, ())


def test_the_busiest_time_of_a_diurnal_rate_is_around_its_peak() -> None:
    demand = demand_of(under({"kind": "diurnal", "rate": "100/s", "amplitude": 0.5}), 200.0)
    # Over a quarter of an hour, the mean of the curve at its peak; phase 0 peaks in the 6th hour.
    x = math.pi * 0.25 / 24
    assert demand.planned_hz == pytest.approx(200 * (1 + 0.5 * math.sin(x) / x), rel=1e-4)
    assert demand.arrivals == Poisson(demand.planned_hz)
    assert (len(demand.hours_hz), demand.hour_ns) == (24, HOUR_NS)
    assert demand.planned_hz == max(demand.hours_hz)
    assert int(np.argmin(demand.hours_hz)) in (17, 18)
    assert demand.because == "the busiest 15min"


def test_the_hours_of_a_short_cycle_are_short() -> None:
    demand = demand_of(
        under({"kind": "diurnal", "rate": "100/s", "amplitude": 1, "period": "4min", "phase": 0.25})
    )
    assert demand.hour_ns == 10 * S
    assert demand.because == "the busiest 2.5s"
    assert int(np.argmin(demand.hours_hz)) in (11, 12)
    assert np.argmax(demand.hours_hz) in (0, 23)


def test_bursts_are_met_often_or_planned_for_as_if_they_lasted() -> None:
    short = demand_of(under({"kind": "mmpp", "rates": ["100/s", "400/s"], "sojourn": ["2s", "1s"]}))
    assert isinstance(short.arrivals, Mmpp)
    assert (short.planned_hz, short.least_requests) == (200, 30 * 3 * 200)
    long = demand_of(under({"kind": "mmpp", "rates": ["100/s", "400/s"], "sojourn": ["2h", "1h"]}))
    assert (long.arrivals, long.mean_hz) == (Poisson(400.0), 200)


def test_answers_that_are_waited_for_have_no_rate() -> None:
    with pytest.raises(ValueError, match="its rate follows the answers"):
        demand_of(under({"kind": "closed", "clients": 3, "think": "1ms"}))


def recorded(folder: Path, times_s: np.ndarray[Any, Any]) -> dict[str, Any]:
    path = folder / "trace.csv"
    path.write_text(
        "timestamp,size\n" + "".join(f"{t:.6f},{i % 3 + 1}\n" for i, t in enumerate(times_s))
    )
    return {"kind": "trace", "path": str(path), "items_column": "size"}


def test_the_busiest_quarter_of_an_hour_of_a_record_is_found_wherever_it_begins(
    tmp_path: Path,
) -> None:
    busy = 4100 + np.arange(1800) * 0.5  # 2/s for 15 minutes, off any boundary
    calm = np.arange(0, 3 * 3600, 10.0)
    arrivals = recorded(tmp_path, np.sort(np.concatenate([busy, calm])))
    demand = demand_of(under(arrivals, items=None))
    assert demand.planned_hz == pytest.approx(2.1, rel=0.01)
    assert demand.hours_hz == pytest.approx([0.1, 2.1, 0.1], rel=0.05)
    assert demand.items is not None
    assert demand.items.mean_items() == pytest.approx(2, rel=0.05)
    twice = demand_of(under(arrivals), 2 * demand.mean_hz)
    assert twice.planned_hz == pytest.approx(2 * demand.planned_hz)
    assert twice.hours_hz == pytest.approx([2 * each for each in demand.hours_hz])


def test_a_record_of_less_than_an_hour_is_planned_for_as_a_whole(tmp_path: Path) -> None:
    demand = demand_of(under(recorded(tmp_path, np.arange(500) * 0.2)))
    assert demand.planned_hz == pytest.approx(5)
    assert demand.hours_hz == ()
    with pytest.raises(
        ValueError, match="the record has 90 arrivals; planning needs more than 100"
    ):
        demand_of(under(recorded(tmp_path, np.arange(90) * 0.2)))


def test_windows_are_planned_for_at_their_busiest(tmp_path: Path) -> None:
    path = tmp_path / "windows.csv"
    rates = [1.0] * 6 + [4.0] * 3 + [1.0] * 9
    rows = (f"0,{600 * i},{rate},Gamma,1.0\n" for i, rate in enumerate(rates))
    path.write_text("client,start_s,rate,family,p1\n" + "".join(rows))
    demand = demand_of(under({"kind": "windows", "path": str(path)}, requests=None), 30.0)
    assert demand.mean_hz == 30
    assert demand.planned_hz == pytest.approx(30 * 4 / 1.5, rel=0.06)
    assert len(demand.hours_hz) == 3
    assert int(np.argmax(demand.hours_hz)) == 1


def test_resampled_arrivals_keep_their_rate_and_their_bursts() -> None:
    bursts = np.repeat(np.arange(200) * 20, 50) + np.tile(np.arange(50), 200) * 0.01
    times_ns = np.rint(np.sort(bursts) * S).astype(np.int64)
    arrivals = Resampled.of(times_ns, 100.0)
    drawn = arrivals.times_ns(stream(1, 0, "arrivals"), 40_000, None)
    again = arrivals.times_ns(stream(1, 0, "arrivals"), 20_000, None)
    np.testing.assert_array_equal(drawn[:20_000], again)
    assert 40_000 / (drawn[-1] / S) == pytest.approx(100, rel=0.05)
    gaps = np.diff(drawn)
    recorded_gaps = np.diff(times_ns)
    assert gaps.std() / gaps.mean() == pytest.approx(
        recorded_gaps.std() / recorded_gaps.mean(), rel=0.1
    )
    # Within a burst of 50, 48 of 49 gaps are followed by one as short.
    short = gaps < gaps.mean()
    assert short[1:][short[:-1]].mean() == pytest.approx(48 / 49, abs=0.005)
    faster = arrivals.scaled(2.0).times_ns(stream(1, 0, "arrivals"), 1000, None)
    np.testing.assert_allclose(faster, drawn[:1000] / 2, atol=1)


def test_the_schedule_gives_each_hour_what_its_rate_needs() -> None:
    arrivals = {"kind": "diurnal", "rate": "200/s", "amplitude": 0.8, "period": "2min"}
    found = plan(under(arrivals), requests=10_000, confirm=4)
    assert found.schedule is not None
    hours = found.schedule.hours
    assert len(hours) == 24
    peak = max(hours, key=lambda hour: hour.rate_hz)
    assert [choice.count for choice in peak.allocation] == counts(found)
    assert all(hour.reached.within(75) for hour in hours)
    assert all(hour.reached.rate_hz >= hour.rate_hz * (1 - 1e-9) for hour in hours)
    by_rate = sorted(hours, key=lambda hour: hour.rate_hz)
    assert [hour.cost for hour in by_rate] == sorted(hour.cost for hour in hours)
    assert found.schedule.cost < found.schedule.static_cost == found.best.cost
    assert found.schedule.saved == pytest.approx(1 - found.schedule.cost / found.best.cost)
