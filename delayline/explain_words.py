"""What reasons for waiting are called, and what would help against each."""

from __future__ import annotations

from collections.abc import Mapping

from policies.runlog import RunLog, StageLog
from reports.explain import AGAIN, AT_ONCE
from reports.freetime import contended
from reports.reasons import LOST, REPLICA, SERVICE, SIZE, SLOT, TIME

MERGE, LATE = "merge", "late"
HEADS: Mapping[str, str] = {
    LATE: "sent\nlate",
    SIZE: "held for\nsize",
    TIME: "held for\ntime",
    REPLICA: "no replica\nfree",
    SLOT: "no slot\nfree",
    LOST: "lost with\na replica",
    SERVICE: "service\n",
    MERGE: "merge\n",
}
"""Heads of columns, in their order."""
MARKS: Mapping[str, str] = {
    SIZE: "s",
    TIME: "t",
    REPLICA: "r",
    SLOT: "o",
    LOST: "x",
    SERVICE: "█",
    MERGE: "m",
}
"""In a timeline."""
_WENT = {
    SIZE: "its size had come",
    TIME: "its time had come",
    REPLICA: "a replica came free",
    SLOT: "a slot came free",
    AT_ONCE: "nothing held it up",
    AGAIN: "it was sent a second time",
}


def went(reason: str) -> str:
    """Why a batch went."""
    return _WENT[reason]


def said(reason: str, stage: str) -> str:
    """A reason at a stage, as it follows a figure."""
    return {
        SIZE: f"held for size at {stage}",
        TIME: f"held for time at {stage}",
        REPLICA: f"with no replica of {stage} free",
        SLOT: f"with no slot free for {stage}",
        LOST: f"in a batch of {stage} that was lost",
        SERVICE: f"in service at {stage}",
        LATE: "before it was sent",
        MERGE: f"at {stage} for a branch that it then went on without",
    }[reason]


def remedy(log: RunLog, reason: str, name: str) -> str:
    """What would help against a reason at a stage."""
    stage = next((each for each in log.stages if each.name == name), None)
    if stage is None and reason == MERGE:
        return "a smaller quorum or an earlier deadline of the merge"
    if stage is None:
        return "a load generator with a core of its own"
    return {
        SIZE: f"a smaller size or a shorter hold at {name}",
        TIME: f"a shorter hold at {name}",
        REPLICA: f"more replicas of {name}, or larger batches",
        SLOT: f"more slots on {_devices(log, stage)}, or larger batches of the stages on it",
        LOST: f"replicas of {name} that live",
        SERVICE: f"smaller batches or a faster model at {name}",
        MERGE: f"a smaller quorum or an earlier deadline at {name}",
    }[reason]


def _devices(log: RunLog, stage: StageLog) -> str:
    shared = [index for index in contended(log) if index in stage.replica_devices]
    return " and ".join(log.devices[index].name for index in shared) or "its device"
