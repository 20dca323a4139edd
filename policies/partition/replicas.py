"""How many replicas, and which device, each part gets."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def spread(loads_ns: Sequence[float], workers: int) -> tuple[int, ...]:
    """Replicas by part, ``workers`` in all, such that the busiest replica is least busy.

    One for each, and each further one to the part whose replicas are busiest: that is the optimum, as
    a part's load per replica only falls. Raises ValueError for fewer workers than parts.
    """
    if workers < len(loads_ns):
        raise ValueError(
            f"{len(loads_ns)} stages need a worker each; give {len(loads_ns)} or more, not {workers}"
        )
    replicas = [1] * len(loads_ns)
    queue = [(-load_ns, part) for part, load_ns in enumerate(loads_ns)]
    heapq.heapify(queue)
    for _ in range(workers - len(loads_ns)):
        _, part = heapq.heappop(queue)
        replicas[part] += 1
        heapq.heappush(queue, (-loads_ns[part] / replicas[part], part))
    return tuple(replicas)


def share_devices(loads_ns: Sequence[float], devices: int) -> tuple[int, ...]:
    """A device for each part: the costliest first, each to the device with least so far.

    At most 4/3 of the best (Graham 1969, "Bounds on Multiprocessing Timing Anomalies").
    """
    busy = [0.0] * devices
    chosen = [0] * len(loads_ns)
    for part in sorted(range(len(loads_ns)), key=lambda part: -loads_ns[part]):
        device = min(range(devices), key=busy.__getitem__)
        chosen[part] = device
        busy[device] += loads_ns[part]
    return tuple(chosen)
