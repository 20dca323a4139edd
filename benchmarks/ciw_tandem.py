"""The tandem of four M/M/4 queues in ciw. Needs the extra ``bench``."""

from __future__ import annotations

import ciw

from benchmarks.pipelines import TANDEM_MEAN_S, TANDEM_RATE_HZ, TANDEM_SERVERS, TANDEM_STAGES


def run(requests: int, seed: int = 1) -> ciw.Simulation:
    """Simulate until so many customers have left."""
    onward = [[float(to == at + 1) for to in range(TANDEM_STAGES)] for at in range(TANDEM_STAGES)]
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(TANDEM_RATE_HZ)]
        + [None] * (TANDEM_STAGES - 1),
        service_distributions=[ciw.dists.Exponential(1 / TANDEM_MEAN_S)] * TANDEM_STAGES,
        number_of_servers=[TANDEM_SERVERS] * TANDEM_STAGES,
        routing=onward,
    )
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(requests, method="Finish")
    return simulation


def mean_latency_s(simulation: ciw.Simulation) -> float:
    """Mean time from arrival to departure, of those who left."""
    latencies_s = [
        customer.data_records[-1].exit_date - customer.data_records[0].arrival_date
        for customer in simulation.nodes[-1].all_individuals
    ]
    return float(sum(latencies_s) / len(latencies_s))
