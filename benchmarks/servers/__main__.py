"""Measure real servers beside their simulated policies: ``python -m benchmarks.servers``.

Starts each installed server on loopback with a model of known time, sends it Poisson arrivals at three
loads, prints the comparison and, for all servers, writes ``benchmarks/results/servers.json``. Takes five to
six minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.run import RESULT as SIMULATOR_RESULT
from benchmarks.run import machine
from benchmarks.servers import report
from benchmarks.servers.client import LoadError
from benchmarks.servers.comparison import Compared, compare
from benchmarks.servers.kinds import KINDS, Kind
from benchmarks.servers.process import StartError
from benchmarks.servers.session import Plan, run_session

RESULT = SIMULATOR_RESULT.with_name("servers.json")
LEAST_S, MOST_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line."""

    kinds: tuple[Kind, ...]
    seconds: float
    seed: int

    @property
    def whole(self) -> bool:
        """Whether the result is kept."""
        return self.kinds == KINDS


def main() -> None:
    """Measure, print and keep."""
    asked = _asked()
    before = machine()
    servers: dict[str, Compared] = {}
    for kind in asked.kinds:
        missing = kind.missing()
        if missing is not None:
            _say(
                f"{kind.name} is skipped: there is no package {missing}; pip install -e '.[bench]'"
            )
            continue
        _say(f"measuring {kind.name} ...")
        try:
            session = run_session(kind, Plan(seconds=asked.seconds, seed=asked.seed))
            servers[kind.name] = compare(session, kind.policy_config(), asked.seed)
        except (StartError, LoadError) as error:
            _say(f"{kind.name} is left out: {error}")
    if not servers:
        sys.exit("error: no server was measured")
    report.show(servers)
    if asked.whole and len(servers) == len(KINDS):
        kept = {
            "caption": report.CAPTION,
            "machine": before,
            "packages": {name: version(name) for name in sorted({k.package for k in KINDS})},
            "seconds": asked.seconds,
            "seed": asked.seed,
            "servers": report.as_json(servers),
        }
        RESULT.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"written to benchmarks/results/{RESULT.name}")


def _asked() -> Asked:
    names = [kind.name for kind in KINDS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument(
        "--server", action="append", choices=names, help="only this one; repeatable"
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="at each load, default 15")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals, default 1")
    given = parser.parse_args()
    if not LEAST_S <= given.seconds <= MOST_S:
        parser.error(f"--seconds must be between {LEAST_S:g} and {MOST_S:g}, not {given.seconds:g}")
    if given.seed < 0:
        parser.error(f"--seed must not be negative, but is {given.seed}")
    kinds = tuple(kind for kind in KINDS if given.server is None or kind.name in given.server)
    return Asked(kinds, given.seconds, given.seed)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
