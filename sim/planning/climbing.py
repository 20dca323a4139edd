"""A cheap allocation that meets the objective, by steps: up until it does, down while it does, across."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement

from sim.planning.attempts import Attempts, Trial
from sim.planning.options import SAME_COST, Ranges, with_choice
from sim.planning.problem import Allocation, Choice

_STEPS = 200
_GLANCED = 600
"""Exchanges that are looked at by a short run."""
_TRIED = 6
"""Of these, how many are tried."""


def climb(attempts: Attempts, start: Allocation, ranges: Sequence[Ranges]) -> Trial:
    """From ``start`` up, each step where it gains most latency for its cost; where none seems to gain,
    the busiest pool gets more. The trial that it ends with may miss the objective.
    """
    trial = attempts.attempt(start)
    for _ in range(_STEPS):
        steps = list(_steps(trial.candidate.allocation, ranges))
        if trial.met or not steps:
            break
        found_ms = attempts.glance(steps, trial.candidate.settings)
        prices = [
            _price_of_gain(attempts.planned.cost(step) - trial.cost, trial.latency_ms - after_ms)
            for step, after_ms in zip(steps, found_ms, strict=True)
        ]
        if math.isinf(min(prices)):
            step = min(
                steps, key=lambda each: (attempts.busiest(each), -_least_spare(attempts, each))
            )
        else:
            step = steps[prices.index(min(prices))]
        trial = attempts.attempt(step)
    return trial


def _steps(allocation: Allocation, ranges: Sequence[Ranges]) -> Iterator[Allocation]:
    """An eighth more of one pool's device (one at least), or another device in its place."""
    for place, choice in enumerate(allocation):
        for device, counts in ranges[place].items():
            count = counts[0]
            if device == choice.device:
                count = choice.count + max(1, choice.count // 8)
            if count in counts:
                yield with_choice(allocation, place, Choice(device, count))


def _price_of_gain(cost: float, gain_ms: float) -> float:
    """What a millisecond less costs; infinite where there is no gain."""
    if not gain_ms > 0:  # or both are overloaded, and the difference is no number
        return math.inf
    return cost / gain_ms


def _least_spare(attempts: Attempts, allocation: Allocation) -> float:
    """The sum of the pools' spare shares: of two with one busiest pool, the emptier is the better."""
    pairs = zip(attempts.load, allocation, strict=True)
    return sum(1 - by_device[choice.device] / choice.count for by_device, choice in pairs)


def cut_back(attempts: Attempts, trial: Trial) -> Trial:
    """Fewer of any pool, the dearest first, for as long as the objective is met."""
    while True:
        allocation = trial.candidate.allocation
        steps = sorted(
            (
                with_choice(allocation, place, replace(choice, count=choice.count - 1))
                for place, choice in enumerate(allocation)
                if choice.count > 1
            ),
            key=attempts.planned.cost,
        )
        better = _first_met(attempts, steps)
        if better is None:
            return trial
        trial = better


def exchange(attempts: Attempts, trial: Trial) -> Trial:
    """Less of one pool or two and more of another, for as long as that is cheaper and meets the
    objective.
    """
    for _ in range(_STEPS):
        cheaper = [
            step
            for step in _exchanges(trial.candidate.allocation)
            if attempts.planned.cost(step) < trial.cost - SAME_COST
            and attempts.busiest(step) < 1
            and not attempts.ruled_out(step)
        ]
        cheaper = sorted(cheaper, key=attempts.busiest)[:_GLANCED]
        found_ms = attempts.glance(cheaper, trial.candidate.settings)
        order = sorted(range(len(cheaper)), key=found_ms.__getitem__)
        better = _first_met(attempts, [cheaper[place] for place in order[:_TRIED]])
        if better is None:
            break
        trial = better
    return trial


def _exchanges(allocation: Allocation) -> Iterator[Allocation]:
    places = range(len(allocation))
    for less, lesser in combinations_with_replacement(places, 2):
        for more in places:
            counts = [choice.count for choice in allocation]
            counts[less] -= 1
            counts[lesser] -= lesser != less
            counts[more] += 1
            if more not in (less, lesser) and min(counts) > 0:
                pairs = zip(allocation, counts, strict=True)
                yield tuple(replace(choice, count=count) for choice, count in pairs)


def _first_met(attempts: Attempts, steps: Sequence[Allocation]) -> Trial | None:
    found = (attempts.attempt(step) for step in steps if not attempts.ruled_out(step))
    return next((trial for trial in found if trial.met), None)
