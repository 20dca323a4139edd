"""Estimation windows and ticks in the compiled driver; mirrors ``policies.alarms`` and ``estimates``."""

from __future__ import annotations

from typing import Any

from sim.compiled import calls
from sim.compiled.jit import called, inlined
from sim.compiled.layout import UNABLE

_NS_PER_S = 1e9


@inlined
def ask_again(b: Any, k: int) -> None:
    """Something that a hold may depend on has changed."""
    st = b.stages[k]
    if st.waiting and st.wake_size != UNABLE:
        b.run[0].dirty |= 1 << k


@inlined
def ran(b: Any, k: int, from_ns: int, to_ns: int) -> None:
    """A batch ran until ``to_ns``, in the present window; its part before counted already."""
    run = b.run[0]
    b.stages[k].busy_ns += to_ns - max(from_ns, run.ends_ns - run.window_ns)


@called
def close_windows(b: Any, now_ns: int) -> None:
    """Close the windows that have ended."""
    run = b.run[0]
    while run.estimates and run.ends_ns <= now_ns:
        _close_window(b)


@called
def _close_window(b: Any) -> None:
    run = b.run[0]
    weight = 1.0 if run.first else run.weight
    run.first = 0
    busiest = 0.0
    for k in range(len(b.stages)):
        st = b.stages[k]
        for replica in range(st.replica_at, st.replica_at + st.replicas):
            if b.replicas[replica].batch >= 0:
                ran(b, k, b.replicas[replica].dispatched_ns, run.ends_ns)
        rate_hz = st.entered * (_NS_PER_S / run.window_ns)
        load = st.busy_ns / (run.window_ns * st.replicas)
        st.rate_hz += weight * (rate_hz - st.rate_hz)
        st.load += weight * (load - st.load)
        st.entered = 0
        st.busy_ns = 0
        busiest = max(busiest, st.load)
    run.ends_ns += run.window_ns
    for k in range(len(b.stages)):
        b.stages[k].pipeline_load = busiest
        if b.stages[k].reads_estimates:
            ask_again(b, k)


@called
def tick(b: Any, now_ns: int) -> None:
    """Tick the policies that are due."""
    for k in range(len(b.stages)):
        st = b.stages[k]
        while st.next_tick_ns <= now_ns:
            if st.tick:
                calls.tick(st.tick, (b, k, now_ns))
            st.next_tick_ns += st.tick_ns
            ask_again(b, k)
