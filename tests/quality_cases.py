"""A small recommender whose lists can be judged, and the pipeline that serves it."""

from __future__ import annotations

from pathlib import Path

from tests.recommender_cases import saved_recommender

LEVELS = """
    levels: [{take: 25, cost: 0.8}]
    degrade: {kind: hysteresis, raise_above: 600us, lower_below: 200us, hold: 3ms}"""


def pipeline_file(folder: Path, *, levels: str = "", more: str = "") -> Path:
    """A configuration in ``folder`` of a recommender whose weights are there too."""
    if not (folder / "weights").exists():
        saved_recommender(folder / "weights")
    file = folder / "small.yaml"
    stages = "".join(
        f"""
  - name: {name}
    keep: {keep}
    max_batch: 16
    model: {{kind: recommender, stage: {name}, path: weights}}
    service: {{kind: affine, base: 200us, per_request: {each}}}
    policy: immediate{levels if name == "rank" else ""}"""
        for name, keep, each in (
            ("recall", 60, "10us"),
            ("prerank", 40, "20us"),
            ("rank", 25, "80us"),
            ("rerank", 10, "10us"),
        )
    )
    file.write_text(
        f"""
seed: 3
workload: {{arrivals: 400/s, requests: 300}}
objective: {{latency: 50ms}}
devices: {{cpu: {{slots: 1}}}}
{more}
stages:{stages}
"""
    )
    return file
