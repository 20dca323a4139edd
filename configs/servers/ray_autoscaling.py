"""Ray Serve's ``autoscaling_config``: replicas that come and go with the requests that each has to do.

Names, defaults and bounds are those of ``AutoscalingConfig`` in ray-project/ray,
``python/ray/serve/config.py``; ``num_replicas: auto`` stands for it with a ``max_replicas`` of 100.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from configs.servers.base import Remark, left_out, nearly, to_fill_in
from configs.servers.settings import S_NS, Setting, Table, seconds, whole_ns
from configs.units import format_duration
from policies.autoscale import Autoscale

KEY = "autoscaling_config"
_TABLE = Table(
    (
        Setting("min_replicas", 0),
        Setting("initial_replicas", 0),
        Setting("max_replicas", 1),
        Setting("target_ongoing_requests", 0, whole=False),
        Setting("metrics_interval_s", 0, whole=False),
        Setting("look_back_period_s", 0, whole=False),
        Setting("upscale_delay_s", 0, whole=False),
        Setting("downscale_delay_s", 0, whole=False),
    )
)
_DEFAULTS: Mapping[str, Any] = {
    "min_replicas": 1,
    "max_replicas": 1,
    "target_ongoing_requests": 2,
    "look_back_period_s": 30,
    "upscale_delay_s": 30,
    "downscale_delay_s": 600,
}
_METRICS_S = 10
"""Ray's default of how often replicas report."""
_PUSH = "AUTOSCALING_METRIC_PUSH_INTERVAL_S"
_AUTO = {"max_replicas": 100}


def written(rule: Autoscale, replicas: int) -> dict[str, Any]:
    """The rule in Ray's terms; a target that it has no word for becomes Ray's default."""
    return {
        "min_replicas": rule.min,
        "initial_replicas": replicas,
        "max_replicas": rule.max,
        "target_ongoing_requests": float(
            rule.target_ongoing or _DEFAULTS["target_ongoing_requests"]
        ),
        "look_back_period_s": seconds(rule.interval_ns),
        "upscale_delay_s": 0,
        "downscale_delay_s": seconds(rule.scale_down_delay_ns),
    }


def lost(rule: Autoscale, where: str) -> Iterator[Remark]:
    """What of the rule Ray says only nearly, or not."""
    yield nearly(
        where,
        "Ray Serve looks ten times a second at the mean of look_back_period_s; here decisions are made"
        " at the end of each interval",
    )
    if rule.target is not None:
        default = _DEFAULTS["target_ongoing_requests"]
        text = f"it counts requests: target_ongoing_requests is its default, {default}"
        yield nearly(where, f"target: {rule.target:g} of the replicas busy: {text}")
    if rule.interval_ns <= _METRICS_S * S_NS:
        interval = format_duration(rule.interval_ns)
        text = f"replicas report every {_METRICS_S} s, and look_back_period_s must be longer: set"
        names = " and ".join(f"RAY_SERVE_{who}_{_PUSH}" for who in ("REPLICA", "HANDLE"))
        yield to_fill_in(where, f"interval: {interval}: {text} {names} in its environment")
    if rule.tolerance:
        yield left_out(where, f"tolerance: {rule.tolerance:g} (there is none)")
    if rule.cold_start_ns:
        cold = format_duration(rule.cold_start_ns)
        yield left_out(where, f"cold_start: {cold} (a property of the model and its machine)")


def read(values: Mapping[str, Any], auto: bool, source: str, where: str) -> dict[str, Any]:
    """``replicas`` and ``autoscale`` of a stage. Raises ConfigError for what Ray would refuse."""
    found = {**_DEFAULTS, **(_AUTO if auto else {}), **_TABLE.read(values, source, where)}
    least = max(1, found["min_replicas"])
    return {
        "replicas": max(least, found.get("initial_replicas", least)),
        "autoscale": {
            "target_ongoing": found["target_ongoing_requests"],
            "min": least,
            "max": found["max_replicas"],
            "interval": format_duration(whole_ns(found["look_back_period_s"], S_NS)),
            "scale_down_delay": format_duration(whole_ns(found["downscale_delay_s"], S_NS)),
            "tolerance": 0,
        },
    }


def unread(values: Mapping[str, Any], name: str) -> Iterator[Remark]:
    """What an import leaves behind."""
    delay_s = values.get("upscale_delay_s", _DEFAULTS["upscale_delay_s"])
    if delay_s:
        yield left_out(name, f"upscale_delay_s {delay_s}: more replicas come at once here")
    if values.get("min_replicas") == 0:
        yield nearly(name, "min_replicas 0: one replica stays here")
    yield from _TABLE.others(values, f"{name}.{KEY}")
