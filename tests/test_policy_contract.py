"""The contract suite: every registered policy must pass it. A new policy is tested by being registered."""

from __future__ import annotations

import dataclasses
import pickle
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.contract import (
    NEVER_NS,
    Dispatch,
    Hold,
    Policy,
    Reads,
    RulePolicy,
    Shed,
    View,
    asker,
    decision_of,
    knob_values,
)
from policies.knobs import bounds_of
from policies.pipeline import Pipeline
from policies.registry import POLICIES
from policies.runlog import Outcome
from reports.invariants import check
from sim.compiled.rules import NotCompilableError, rules_of
from sim.service.base import ServiceModel
from sim.simulate import run
from tests.pipeline_strategies import ARRIVALS, pipelines, workload_of
from tests.test_compiled import MODELS, both
from tests.test_simpy_driver import DrawnTimes, same

KINDS = pytest.mark.parametrize("kind", sorted(POLICIES))
MAX_BATCH = 8
LONGEST_NS = 50
"""Of a time that is not drawn: as short as the times of the generated pipelines."""


def values(annotation: Any, field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Values that a knob's declaration allows."""
    bounds = bounds_of(field)
    low = bounds.ge if bounds.ge is not None else bounds.gt
    high = bounds.le if bounds.le is not None else bounds.lt
    if get_origin(annotation) is UnionType:
        return st.one_of(*(values(part, field) for part in get_args(annotation)))
    if annotation is type(None):
        return st.none()
    if get_origin(annotation) is tuple:
        return st.lists(values(get_args(annotation)[0], field), max_size=3).map(tuple)
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        hints = get_type_hints(annotation)
        knobs = {f.name: values(hints[f.name], f) for f in dataclasses.fields(annotation)}
        return st.builds(annotation, **knobs)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        bottom = int(low or 0) + (bounds.gt is not None)
        top = bottom + (200 if field.name.endswith("_ns") else 8)
        if high is not None:
            top = min(int(high), top) if field.name.endswith("_ns") else int(high)
        return st.integers(bottom, top)
    if annotation is float:
        most = high if high is not None else 10.0
        return st.floats(low or 0.0, most, exclude_min=bounds.gt is not None)
    raise TypeError(f"teach this suite to draw {field.name}: {annotation}")


@st.composite
def policies(draw: st.DrawFn, kind: str) -> Policy:
    """Policies of a kind that fit a stage of MAX_BATCH, their times those of the generated pipelines:
    knobs are drawn in any order, and one whose value does not fit what there is stays as it was.
    (Drawing all at once and filtering would throw most examples away.)
    """
    cls = POLICIES[kind]
    hints = get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    required = [f for f in fields if f.default is dataclasses.MISSING]
    start = {f.name: draw(values(hints[f.name], f)) for f in required}
    for field in fields:
        if field.name.endswith("_ns") and isinstance(field.default, int):
            start[field.name] = min(field.default, LONGEST_NS)
    policy = cls(**start)
    policy.check(MAX_BATCH)
    for field in draw(st.permutations([f for f in fields if f not in required])):
        value = draw(values(hints[field.name], field))
        changed = dataclasses.replace(policy, **{field.name: value})  # type: ignore[type-var]
        try:
            changed.check(MAX_BATCH)
        except ValueError:
            continue
        policy = changed
    return policy


@st.composite
def views(draw: st.DrawFn) -> tuple[View, int]:
    """A view that a scheduler could show, and the time."""
    now_ns = draw(st.integers(0, 10_000))
    waiting = draw(st.integers(1, 3 * MAX_BATCH))
    sendable = draw(st.one_of(st.just(min(waiting, MAX_BATCH)), st.integers(1, min(waiting, 8))))
    replicas = draw(st.integers(1, 4))
    view = View(
        waiting=waiting,
        sendable=sendable,
        waiting_items=draw(st.integers(waiting, 10 * waiting)),
        oldest_enqueued_ns=now_ns - draw(st.integers(0, min(now_ns, 300))),
        earliest_deadline_ns=draw(st.one_of(st.just(NEVER_NS), st.integers(0, 20_000))),
        idle_replicas=draw(st.integers(1, replicas)),
        replicas=replicas,
        idle_since_ns=draw(st.integers(0, now_ns)),
        next_idle_ns=draw(st.one_of(st.just(NEVER_NS), st.integers(0, 20_000))),
        last_dispatch_ns=draw(st.integers(-1, now_ns)),
        max_batch=MAX_BATCH,
        arrival_rate_hz=draw(st.floats(0, 1e6)),
        load=draw(st.floats(0, 1)),
        pipeline_load=draw(st.floats(0, 1)),
        service_ns=tuple(10 + 3 * n if n else 0 for n in range(MAX_BATCH + 1)),
        head_arrival_ns=now_ns - draw(st.integers(0, now_ns)),
        head_enqueued_ns=now_ns - draw(st.integers(0, min(now_ns, 300))),
        head_deadline_ns=draw(st.one_of(st.just(NEVER_NS), st.integers(0, 20_000))),
        newest_enqueued_ns=now_ns - draw(st.integers(0, min(now_ns, 300))),
        downstream_ns=tuple(5 + 2 * n if n else 0 for n in range(MAX_BATCH + 1)),
        batch_oldest_ns=now_ns - draw(st.integers(0, min(now_ns, 300))),
        urgent=draw(st.integers(0, waiting)),
    )
    return view, now_ns


@KINDS
def test_it_is_a_frozen_value_with_documented_knobs(kind: str) -> None:
    cls = POLICIES[kind]
    assert cls.kind == kind
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert cls.__doc__
    assert cls.reads <= frozenset(Reads)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        assert bounds_of(field).doc, f"{kind}.{field.name} has no text"


@KINDS
@given(data=st.data())
def test_it_survives_pickling_and_hashing(kind: str, data: st.DataObject) -> None:
    policy = data.draw(policies(kind))
    assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301
    assert hash(policy) == hash(dataclasses.replace(policy))  # type: ignore[type-var]


@KINDS
@given(data=st.data())
def test_its_answer_makes_sense_and_asking_twice_changes_nothing(
    kind: str, data: st.DataObject
) -> None:
    policy = data.draw(policies(kind))
    view, now_ns = data.draw(views())
    state = policy.initial_state()
    before = list(state)
    decision = policy.decide(view, now_ns, state)
    if isinstance(decision, Dispatch):
        assert 1 <= decision.requests <= view.sendable
        return
    if isinstance(decision, Shed):
        assert policy.sheds
        assert 1 <= decision.requests <= view.waiting
        return
    assert decision.until_ns > now_ns
    assert decision.size > view.waiting
    assert state == before
    assert policy.decide(view, now_ns, state) == decision


@KINDS
@given(data=st.data())
def test_the_form_that_engines_ask_is_the_decision(kind: str, data: st.DataObject) -> None:
    policy = data.draw(policies(kind))
    view, now_ns = data.draw(views())
    answer = asker(policy)(view, now_ns, policy.initial_state())
    assert policy.decide(view, now_ns, policy.initial_state()) == decision_of(*answer)


@KINDS
@given(data=st.data())
def test_a_hold_ends_at_its_time_or_its_size(kind: str, data: st.DataObject) -> None:
    policy = data.draw(policies(kind))
    view, now_ns = data.draw(views())
    state = policy.initial_state()
    decision = policy.decide(view, now_ns, state)
    if not isinstance(decision, Hold):
        return
    if decision.until_ns < NEVER_NS:
        later = policy.decide(view, decision.until_ns, state)
        assert not isinstance(later, Hold) or later.until_ns > decision.until_ns
    if decision.size <= MAX_BATCH:
        grown = view._replace(waiting=decision.size, sendable=decision.size)
        again = policy.decide(grown, now_ns, state)
        assert not isinstance(again, Hold) or again.size > decision.size


@KINDS
@given(data=st.data())
def test_ticks_and_observations_keep_the_state_integral(kind: str, data: st.DataObject) -> None:
    policy = data.draw(policies(kind))
    view, now_ns = data.draw(views())
    state = policy.initial_state()
    size = len(state)
    for _ in range(5):
        policy.on_tick(view, now_ns, state)
        policy.observe(view, now_ns, state, view.sendable, 100)
    assert len(state) == size
    assert all(type(value) is int for value in state)
    assert policy.tick_ns >= 0


@KINDS
def test_its_rule_takes_knobs_by_their_names(kind: str) -> None:
    cls = POLICIES[kind]
    if not issubclass(cls, RulePolicy):
        pytest.skip(f"{kind} decides without a rule")
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    required = {
        f.name: 1
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING
    }
    policy = cls(**required)
    derived = {name for name in dir(cls) if isinstance(getattr(cls, name), property)}
    assert set(knob_values(policy, cls.rule)) <= names | derived


@KINDS
@settings(max_examples=40)
@given(data=st.data())
def test_it_compiles_to_the_same(kind: str, data: st.DataObject) -> None:
    try:
        rules_of(POLICIES[kind])
    except NotCompilableError as error:
        pytest.skip(str(error))
    pipeline: Pipeline = data.draw(pipelines(policies(kind)))
    models: list[ServiceModel] = data.draw(
        st.lists(st.sampled_from(MODELS), min_size=4, max_size=4)
    )
    both(pipeline, models[: len(pipeline.stages)], workload_of(data.draw(ARRIVALS)))


@KINDS
@settings(max_examples=40)
@given(data=st.data())
def test_every_run_under_it_keeps_the_invariants_and_repeats(
    kind: str, data: st.DataObject
) -> None:
    pipeline: Pipeline = data.draw(pipelines(policies(kind)))
    workload = workload_of(data.draw(ARRIVALS))
    times = [DrawnTimes(k) for k in range(len(pipeline.stages))]
    log = run(pipeline, times, workload)
    assert check(log) == []
    assert not np.isin(log.requests.outcome, [Outcome.PENDING, Outcome.FAILED]).any()
    same(log, run(pipeline, times, workload))
