"""The tandem of four M/M/4 queues in salabim. Needs the extra ``bench``."""

from __future__ import annotations

from collections.abc import Generator

import salabim

from benchmarks.pipelines import TANDEM_MEAN_S, TANDEM_RATE_HZ, TANDEM_SERVERS, TANDEM_STAGES


def run(requests: int, seed: int = 1) -> list[float]:
    """Simulate so many customers; returns their latencies in seconds, in order of departure.

    Statistics of the resources are switched off, which makes it faster.
    """
    env = salabim.Environment(trace=False, random_seed=seed, yieldless=False)
    servers = [
        salabim.Resource(f"servers{number}", capacity=TANDEM_SERVERS, monitor=False)
        for number in range(TANDEM_STAGES)
    ]
    service_s = salabim.Exponential(TANDEM_MEAN_S)
    gap_s = salabim.Exponential(1 / TANDEM_RATE_HZ)
    latencies_s: list[float] = []

    class Customer(salabim.Component):
        def process(self) -> Generator[object, None, None]:
            arrived_s = env.now()
            for server in servers:
                yield self.request(server)
                yield self.hold(service_s.sample())
                self.release(server)
            latencies_s.append(env.now() - arrived_s)

    class Arrivals(salabim.Component):
        def process(self) -> Generator[object, None, None]:
            for _ in range(requests):
                yield self.hold(gap_s.sample())
                Customer(mode=None)

    Arrivals()
    env.run()
    return latencies_s
