"""The holds that suit an allocation: a small search, stage by stage, on one short run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sim.planning.evaluate import Evaluator, Task
from sim.planning.problem import Allocation, Candidate, Planned, Setting, Settings

_SHARES = (0.0, 0.01, 0.03, 0.06, 0.12, 0.25)
"""Holds that are tried, as shares of the objective."""
_CAPS = (1, 2, 4, 8)
"""What max_batch is divided by."""
_HOPELESS = 4.0
"""Times the objective beyond which no hold is looked for."""
_FAR = 1.25
"""The same after one pass over the stages."""
_PASSES = 2
_GAIN = 0.98
"""A change counts where latency falls below so much of what it was: less is the luck of one run."""


class Holds:
    """Finds settings for allocations; what suited one is tried first for the next."""

    def __init__(self, evaluator: Evaluator, requests: int) -> None:
        self._evaluator = evaluator
        self._planned = evaluator.planned
        self._requests = requests
        self._suited: list[Settings] = []

    def enough(self, allocation: Allocation) -> tuple[Settings, float]:
        """Settings that meet the objective if some are found, else the best; and their latency in ms."""
        goal_ms = self._planned.objective_ms
        settings, latency_ms = self._best(allocation, self._starts())
        if goal_ms < latency_ms < _HOPELESS * goal_ms:
            settings, latency_ms = self._descend(allocation, settings, latency_ms, goal_ms)
        if latency_ms <= goal_ms and settings not in self._suited:
            self._suited = [settings, *self._suited][:2]
        return settings, latency_ms

    def best(self, candidate: Candidate, requests: int) -> Settings:
        """The settings of the lowest latency, from those of a candidate on, on a run of its own length.

        Batches are as large as configured, or as a candidate that needs smaller ones has them: a cap
        that gains little latency costs throughput when more comes.
        """
        longer = Holds(self._evaluator, requests)
        configured = self._planned.configured()
        uncapped = tuple(
            replace(setting, max_batch=before.max_batch)
            for setting, before in zip(candidate.settings, configured, strict=True)
        )
        starts = list(dict.fromkeys([candidate.settings, uncapped, *self._starts()]))
        settings, latency_ms = longer._best(candidate.allocation, starts)
        found = longer._descend(candidate.allocation, settings, latency_ms, 0.0, caps=False)
        return longer._usual(candidate.allocation, *found)

    def _usual(self, allocation: Allocation, settings: Settings, latency_ms: float) -> Settings:
        """As configured wherever that loses next to nothing."""
        for place, configured in enumerate(self._planned.configured()):
            changed = (*settings[:place], configured, *settings[place + 1 :])
            if self._best(allocation, [changed])[1] <= latency_ms / _GAIN:
                settings = changed
        return settings

    def _starts(self) -> list[Settings]:
        """As configured, without holds, and held for a share of the objective at every stage alike."""
        configured = self._planned.configured()
        alike = [
            tuple(setting.held(delay_ns) for setting in configured)
            for delay_ns in _delays_ns(self._planned)[:4]
        ]
        return list(dict.fromkeys([*self._suited, configured, *alike]))

    def _descend(
        self,
        allocation: Allocation,
        settings: Settings,
        latency_ms: float,
        goal_ms: float,
        *,
        caps: bool = True,
    ) -> tuple[Settings, float]:
        """Coordinate descent until the goal is met or nothing helps."""
        for _ in range(_PASSES):
            before_ms = latency_ms
            for place in range(len(settings)):
                options = [
                    (*settings[:place], option, *settings[place + 1 :])
                    for option in _options(self._planned, place, settings[place], caps=caps)
                ]
                found, found_ms = self._best(allocation, options)
                if found_ms < _GAIN * latency_ms:
                    settings, latency_ms = found, found_ms
                if latency_ms <= goal_ms:
                    return settings, latency_ms
            if latency_ms >= before_ms or latency_ms > _FAR * goal_ms > 0:
                break
        return settings, latency_ms

    def _best(self, allocation: Allocation, options: Sequence[Settings]) -> tuple[Settings, float]:
        tasks = [Task(Candidate(allocation, each), self._requests, 0) for each in options]
        found = self._evaluator.latencies_ms(tasks)
        place = min(range(len(found)), key=found.__getitem__, default=0)
        return (options[place], found[place]) if options else (self._planned.configured(), math.inf)


def _options(planned: Planned, place: int, now: Setting, *, caps: bool) -> Iterator[Setting]:
    """Other holds, and with ``caps`` other sizes of batch up to the configured one."""
    configured = planned.configured()[place]
    usual = replace(configured, max_batch=now.max_batch)
    found = [usual, *(usual.held(delay_ns) for delay_ns in _delays_ns(planned))]
    sizes = dict.fromkeys(max(1, configured.max_batch // by) for by in _CAPS)
    found += [replace(now, max_batch=size) for size in sizes] if caps else []
    yield from (each for each in dict.fromkeys(found) if each.allowed and each != now)


def _delays_ns(planned: Planned) -> list[int]:
    """Shares of the objective, to two digits."""
    return [_two_digits(share * planned.objective_ms * 1e6) for share in _SHARES]


def _two_digits(value: float) -> int:
    if value < 1:
        return 0
    unit = int(10 ** max(0, math.floor(math.log10(value)) - 1))
    return round(value / unit) * unit
