"""What the parts of the scheduler share: the stages at work, and what is to be decided and done."""

from __future__ import annotations

from policies.commands import Command
from policies.contract import NEVER_NS
from policies.estimates import Estimates
from policies.pipeline import Pipeline, downstream_ns, end_of_branch, joins_that_give_up
from policies.requests import RequestTable
from policies.runlog import Outcome
from policies.service_level import AsChosen, ServiceLevels
from policies.stage_state import DeviceState, StageState
from policies.superseding import Newest


class Board:
    """The scheduler's state. ``policies.scheduler`` works on it, with ``flow`` and ``alarms``."""

    def __init__(self, pipeline: Pipeline, requests: RequestTable) -> None:
        self.pipeline = pipeline
        self.requests = requests
        devices = {device.name: DeviceState(device.slots) for device in pipeline.devices}
        self.stages = [
            StageState(
                index,
                spec,
                requests,
                devices,
                pipeline.expire or pipeline.supersede,
                pipeline.reads(spec),
            )
            for index, spec in enumerate(pipeline.stages)
        ]
        by_name = {stage.spec.name: stage for stage in self.stages}
        for stage in self.stages:
            for parent in stage.spec.parents:
                by_name[parent].children.append(stage)
            for device in stage.devices:
                device.stages.append(stage)
        for stage in self.stages:
            if stage.has_say:
                mates = {mate.index: mate for device in stage.devices for mate in device.stages}
                stage.rivals = tuple(mate for mate in mates.values() if mate.has_say)
        downstream = downstream_ns(pipeline, [stage.service_ns for stage in self.stages])
        for stage, after_ns in zip(self.stages, downstream, strict=True):
            stage.downstream_ns = after_ns
        for join, before in joins_that_give_up(pipeline):
            joining = self.stages[join].joining
            if joining is not None:
                joining.gives_up = [self.stages[index] for index in before]
                for stage in joining.gives_up:
                    stage.given_up_by.append(joining)
        for stage in self.stages:
            if stage.degrading is not None and stage.degrading.skips_at:
                join, stage.degrading.parent = end_of_branch(pipeline, stage.index)
                stage.degrading.join = self.stages[join]
        self.service_levels = self._service_levels()
        self.roots = [stage for stage in self.stages if stage.is_root]
        self.scaled = [stage for stage in self.stages if stage.scaling is not None]
        self.hedged = [stage for stage in reversed(self.stages) if stage.hedging is not None]
        self.sinks = sum(not stage.children for stage in self.stages)
        self.forked = (
            len(self.roots) > 1
            or self.sinks > 1
            or any(len(stage.children) > 1 for stage in self.stages)
        )
        """A request can be in two places at once."""
        self.expire = pipeline.expire
        self.newest = Newest(requests.keyed()) if pipeline.supersede else None
        self.ended = 0
        """Requests that have an outcome."""
        self.drops: dict[int, tuple[int, Outcome, str]] = {}
        """Request to (when, outcome, reason), for those that were not completed."""
        self.sinks_done: dict[int, int] = {}
        """With several sinks: request to how many of them have finished it."""
        self.dirty = 0
        """Bit k is set when stage k's policy is to be asked."""
        self.out: list[Command] = []
        """Commands of this instant."""
        self.deadlines: list[tuple[int, int]] = []
        """Heap of (deadline_ns, request) of those that may expire."""
        self.merge_ns = NEVER_NS
        """When the timer of merges is set for."""
        self.expiry_ns = NEVER_NS
        """When the expiry timer is set for."""
        reads = any(stage.reads_estimates for stage in self.stages)
        self.estimates = (
            Estimates(len(self.stages), pipeline.estimate_window_ns, pipeline.estimate_weight)
            if reads
            else None
        )

    def _service_levels(self) -> ServiceLevels | None:
        """How requests get theirs; and the stages are told that follow them."""
        if self.pipeline.degrade is None or not self.pipeline.chooses:
            return None
        found = ServiceLevels(self.pipeline.degrade, self.pipeline)
        for stage in self.stages:
            if stage.spec.by_request and stage.spec.levels:
                levels = [0, *(each[stage.index] for each in self.pipeline.levels)]
                stage.as_chosen = AsChosen(levels, found.of, stage.spec.skips_at)
                stage.degrading = stage.as_chosen
        return found

    def ask_again(self, stage: StageState) -> None:
        """Something that a hold may depend on has changed."""
        if stage.waiting and stage.can_be_asked:
            self.dirty |= 1 << stage.index
