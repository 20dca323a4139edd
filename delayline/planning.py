"""Planning from end to end: what is asked, on which backend, and the plan that comes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from configs.errors import nearest
from configs.model import Config, ObjectiveConfig
from configs.units import parse_duration, parse_rate
from delayline.console import progress
from delayline.errors import CommandError
from delayline.runs import objective_of, warmup_ns
from policies.runlog import RunLog
from reports.objective import reached_ms
from reports.run import Run
from sim.backends.base import Backend
from sim.backends.threads import Threads
from sim.planning.demand import demand_of
from sim.planning.plan import Plan, make_plan
from sim.simulate import engine_for

_TAIL = {"compiled": 1000, "simpy": 200}
"""Requests beyond the percentile in a simulation, unless told otherwise, by driver."""
_LEAST_TAIL = 20
_FEWEST, _MOST = 20_000, 5_000_000
_USUAL_STEPS = 200


def latency_ms(config: Config, log: RunLog) -> float:
    """The latency of a run at the objective's percentile; see :func:`reports.objective.reached_ms`."""
    return reached_ms(Run(config.name, log, objective_of(config), warmup_ns(config, log)))


def plan(
    config: Config,
    *,
    rate_hz: float | None = None,
    requests: int | None = None,
    confirm: int = 8,
    most: int | Mapping[str, int] | None = None,
    backend: Backend | None = None,
    quiet: bool = True,
) -> Plan:
    """The cheapest replicas, devices and holds that keep a configuration's objective.

    Arrivals are scaled to a mean of ``rate_hz``, if given. Simulations are of ``requests`` requests, by
    default so many that 1,000 lie beyond the percentile (200 where the compiled driver cannot run), 20,000
    at least, on ``backend`` (default: in this thread). ``most`` bounds the replicas of every stage, or of
    those that it names. See :func:`sim.planning.plan.make_plan`. Raises CommandError without an objective
    or for one that cannot be computed, InfeasibleError where nothing meets it.
    """
    if config.objective is None:
        raise CommandError("objective is not set; planning needs one, such as --objective p99=50ms")
    length = _length(config, config.objective.percentile, requests)
    if isinstance(most, Mapping):
        _check_names(config, most)
    demand = demand_of(config, rate_hz)
    with progress("planning", _USUAL_STEPS, quiet=quiet) as advance:
        return make_plan(
            config,
            demand,
            latency_ms,
            Threads(1) if backend is None else backend,
            requests=max(length, demand.least_requests),
            confirm=confirm,
            most=most,
            told=advance,
        )


def with_objective(config: Config, text: str) -> Config:
    """``config`` with the objective that ``text`` (``p99=50ms``) says. Raises CommandError."""
    name, equals, value = text.partition("=")
    try:
        if not equals or not name.strip().startswith("p"):
            raise ValueError("must be a percentile and a latency, such as p99=50ms")
        try:
            percentile = float(name.strip()[1:])
        except ValueError:
            raise ValueError(f"{name.strip()} is no percentile; write p99 or p99.9") from None
        if not 0 < percentile <= 100:
            raise ValueError(f"a percentile lies above 0 and at most at 100, not at {percentile:g}")
        latency_ns = parse_duration(value.strip())
        if not latency_ns:
            raise ValueError("the latency must be more than 0ms")
    except ValueError as error:
        raise CommandError(f"--objective {text}: {error}") from error
    return replace(config, objective=ObjectiveConfig(latency_ns=latency_ns, percentile=percentile))


def parse_mean_rate(text: str) -> float:
    """Requests a second of ``--rate``. Raises CommandError."""
    try:
        rate_hz = parse_rate(text)
        if not rate_hz:
            raise ValueError("must be more than 0/s")
    except ValueError as error:
        raise CommandError(f"--rate {text}: {error}") from error
    return rate_hz


def parse_most(texts: list[str] | None) -> int | dict[str, int] | None:
    """``--max-replicas 8`` for every stage, ``--max-replicas rank=8`` for one. Raises CommandError."""
    named: dict[str, int] = {}
    for text in texts or []:
        name, equals, value = text.rpartition("=")
        if not value.strip().isdecimal() or not int(value) or (equals and not name.strip()):
            raise CommandError(
                f"--max-replicas {text}: must be a number of 1 or more, for one stage with its name"
                " before it, such as rank=8"
            )
        if not equals:
            if len(texts or []) > 1:
                raise CommandError(
                    f"--max-replicas {text} is for every stage; give it alone, or name the stage"
                )
            return int(value)
        named[name.strip()] = int(value)
    return named or None


def _check_names(config: Config, most: Mapping[str, int]) -> None:
    known = [*(stage.name for stage in config.stages), *config.devices]
    for name in most:
        if name not in known:
            raise CommandError(
                f"--max-replicas {name}: there is no such stage; {nearest(name, known, called='stages')}"
            )


def _length(config: Config, percentile: float, requests: int | None) -> int:
    """Requests in a simulation."""
    if percentile == 100:
        raise CommandError(
            "p100 is the latest request of a run, which comes the later the longer the run; plan for"
            " a percentile below, such as p99.9"
        )
    beyond = 1 - percentile / 100
    if requests is None:
        driver, _ = engine_for(config)
        requests = min(max(math.ceil(_TAIL[driver] / beyond - 1e-6), _FEWEST), _MOST)
    if requests * beyond < _LEAST_TAIL * (1 - 1e-9):
        least = math.ceil(_LEAST_TAIL / beyond - 1e-6)
        raise CommandError(
            f"p{percentile:g} of {requests:,} requests would rest on {requests * beyond:.2g} of them;"
            f" simulate {least:,} or more with --requests"
        )
    return requests
