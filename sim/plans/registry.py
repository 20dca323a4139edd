"""The plans, in the order of tables; the cascade is what the others are measured against. A new one adds its
line here.
"""

from __future__ import annotations

from sim.plans.adaptive import Adaptive
from sim.plans.base import Plan
from sim.plans.cascade import Cascade
from sim.plans.deadline_merge import DeadlineMerge
from sim.plans.degraded import Degraded
from sim.plans.in_parallel import InParallel
from sim.plans.in_sequence import InSequence
from sim.plans.monolith import Monolith
from sim.plans.one_hold import OneHold
from sim.plans.per_stage import PerStage
from sim.plans.trains import Trains

PLANS: tuple[Plan, ...] = (
    Monolith(),
    Cascade(),
    OneHold(),
    PerStage(),
    Adaptive(),
    Trains(),
    InSequence(),
    InParallel(),
    DeadlineMerge(),
    Degraded(),
)
