"""The front door: the public Python API and the command line.

Names are imported when they are first used, so that ``import delayline`` costs nothing:

    import delayline

    config = delayline.load_config("configs/pipeline4.yaml", ["stages.rank.policy.delay=2ms"])
    log = delayline.simulate(config)
    print(delayline.measure(log).latency.p99_ms)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from configs.dump import dump_config as dump_config
    from configs.errors import ConfigError as ConfigError
    from configs.kinds import register as register
    from configs.knob_paths import knob_value as knob_value
    from configs.knob_paths import with_knob as with_knob
    from configs.model import Config as Config
    from delayline.exporting import export_config as export_config
    from delayline.loading import load_config as load_config
    from delayline.planned import write_plan as write_plan
    from delayline.planning import plan as plan
    from delayline.real import brought_up as brought_up
    from delayline.real import run_real as run_real
    from delayline.runs import read_run as read_run
    from delayline.runs import run_of as run_of
    from delayline.runs import write_run as write_run
    from delayline.server_import import import_config as import_config
    from delayline.sweeping import sweep as sweep
    from delayline.tuned import write_tuned as write_tuned
    from delayline.tuning import tune as tune
    from policies.runlog import RunLog as RunLog
    from reports.compare import compare as compare
    from reports.metrics import Metrics as Metrics
    from reports.metrics import measure as measure
    from reports.run import Run as Run
    from sim.capacity import capacity_hz as capacity_hz
    from sim.simulate import replications as replications
    from sim.simulate import simulate as simulate
    from sim.simulate import workload_of as workload_of

_HOMES = {
    "Config": "configs.model",
    "ConfigError": "configs.errors",
    "Metrics": "reports.metrics",
    "Run": "reports.run",
    "RunLog": "policies.runlog",
    "brought_up": "delayline.real",
    "capacity_hz": "sim.capacity",
    "compare": "reports.compare",
    "dump_config": "configs.dump",
    "export_config": "delayline.exporting",
    "import_config": "delayline.server_import",
    "knob_value": "configs.knob_paths",
    "load_config": "delayline.loading",
    "measure": "reports.metrics",
    "plan": "delayline.planning",
    "read_run": "delayline.runs",
    "register": "configs.kinds",
    "replications": "sim.simulate",
    "run_of": "delayline.runs",
    "run_real": "delayline.real",
    "simulate": "sim.simulate",
    "sweep": "delayline.sweeping",
    "tune": "delayline.tuning",
    "with_knob": "configs.knob_paths",
    "workload_of": "sim.simulate",
    "write_plan": "delayline.planned",
    "write_run": "delayline.runs",
    "write_tuned": "delayline.tuned",
}
"""Where each public name is defined."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("delayline")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*_HOMES, "__version__"]
