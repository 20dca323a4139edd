"""The table of all servers and loads, and the same as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.servers.comparison import TARGET, Compared, Errors, Run, Side, errors

CAPTION = f"""\
Real servers on loopback, one worker, beside their simulated policies at the same arrivals. Errors are medians
over runs of |simulated - real| / real: with the model's times alone; with the time that a request alone takes
longer added to every latency; and with the server's turnaround between batches in the batches' time. Reached:
the last at most {TARGET:.0%} at p50 and at p99."""
WAYS = ("bare", "constant", "own")


def by_load(compared: Compared) -> dict[float, list[Run]]:
    """The runs of each load."""
    loads: dict[float, list[Run]] = {}
    for run in compared.runs:
        loads.setdefault(run.load, []).append(run)
    return loads


def errors_of(runs: list[Run]) -> dict[str, Errors]:
    """Of one load, each way of simulating it."""
    return {way: errors([(run.real, _side(run, way)) for run in runs]) for way in WAYS}


def _side(run: Run, way: str) -> Side:
    side: Side = getattr(run, way)
    return side


def show(servers: Mapping[str, Compared], width: int = 140) -> None:
    """Print the table, and below it what each server takes itself."""
    table = Table(title=CAPTION, title_justify="left", title_style="")
    for name in ("server", "load", "requests", "batch", "simulated", "apart", "p50 ms"):
        table.add_column(name, justify="left" if name == "server" else "right")
    for name in ("p50 errors", "p99 ms", "p99 errors", "reached"):
        table.add_column(name, justify="right")
    for name, compared in servers.items():
        for row in _rows(name, compared):
            table.add_row(*row)
    console = Console(width=None if Console().is_terminal else width)
    console.print(table)
    for name, compared in servers.items():
        base, per_request = compared.service_ms
        console.print(
            f"{name}: the model took {base:.2f} ms + {per_request:.3f} ms a request; alone a request takes"
            f" {compared.constant_ms:.2f} ms longer; turnaround {compared.turnaround_ms:.2f} ms"
        )


def _rows(name: str, compared: Compared) -> Iterator[tuple[str, ...]]:
    for load, runs in by_load(compared).items():
        found = errors_of(runs)

        def middle(figure: str, side: str = "real", runs: list[Run] = runs) -> float:
            return float(statistics.median(getattr(_side(run, side), figure) for run in runs))

        yield (
            name,
            f"{load:.0%}",
            str(sum(run.requests for run in runs)),
            f"{middle('batch'):.2f}",
            f"{middle('batch', 'own'):.2f}",
            f"{found['own'].distance:.2f}",
            f"{middle('p50_ms'):.1f}",
            " ".join(f"{found[way].p50:.1%}" for way in WAYS),
            f"{middle('p99_ms'):.1f}",
            " ".join(f"{found[way].p99:.1%}" for way in WAYS),
            "yes" if found["own"].reached else "no",
        )


def as_json(servers: Mapping[str, Compared]) -> dict[str, Any]:
    """All figures, with the errors of each load."""
    return {
        name: {
            **asdict(compared),
            "errors": {
                f"{load:g}": {way: asdict(found) for way, found in errors_of(runs).items()}
                for load, runs in by_load(compared).items()
            },
        }
        for name, compared in servers.items()
    }
