"""Formats of real servers: round trips, the servers' own checks and bounds, and what is listed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.kinds import kinds
from configs.load import parse_config
from configs.model import Config, DeviceConfig, ObjectiveConfig, StageConfig, WorkloadConfig
from configs.servers.base import Fate
from configs.servers.ray_serve import ray_schema
from configs.servers.registry import FORMATS
from configs.yaml_text import parse_yaml
from delayline.exporting import Deployment, export_config, write_deployment
from delayline.server_import import import_config
from policies.autoscale import Autoscale
from policies.cadence import Cadence
from policies.contract import Policy
from policies.control_limit import ControlLimit
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.mosec import Mosec
from policies.nexus import Nexus
from policies.pipeline import Discipline
from policies.ray_serve import RayServe
from policies.tf_serving import TfServing
from policies.triton import Triton, TritonQueue
from sim.arrivals.poisson import Poisson
from sim.service.affine import Affine
from sim.service.deterministic import Deterministic
from tests.config_strategies import node

MS, US = 1_000_000, 1_000
UNITS_NS = {"triton": US, "tf_serving": US, "torchserve": MS, "mosec": MS, "bentoml": MS}
"""What a server's times are whole numbers of, where that is not the nanosecond."""
SERVERS = sorted(FORMATS)


def stage(name: str = "rank", **keys: Any) -> StageConfig:
    """A stage that takes 1 ms."""
    return StageConfig(
        **{"name": name, "policy": Immediate(), "service": Deterministic(MS), **keys}
    )


def pipeline(*stages: StageConfig, **keys: Any) -> Config:
    """A configuration of these stages."""
    workload = WorkloadConfig(arrivals=Poisson(100.0), requests=1000)
    return Config(**{"name": "shop", "workload": workload, "stages": stages, **keys})


def again(deployment: Deployment, server: str, order: tuple[str, ...] = ()) -> Config:
    """What an export is when it is imported, given the service times."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "server"
        for path, text in deployment.exported.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        names = [each.name for each in deployment.config.stages]
        found = import_config(
            folder,
            server=server,
            services=dict.fromkeys(names, "1ms"),
            order=order,
            out=Path(made) / "imported.yaml",
        )
        return parse_config(found.mapping)


def remarks(config: Config, server: str, fate: Fate) -> dict[str, str]:
    """What an export remarks, by place."""
    found: dict[str, str] = {}
    for each in export_config(config, server).remarks:
        if each.fate is fate:
            found[each.where] = f"{found.get(each.where, '')} {each.text}".strip()
    return found


# Round trips


_RULES = (
    Autoscale(target=0.5, max=3),
    Autoscale(target_ongoing=2.0, max=9, interval_ns=40_000 * MS, scale_down_delay_ns=1500 * MS),
)


@st.composite
def _configs(
    draw: st.DrawFn, policies: st.SearchStrategy[Any], most: int = 3, *, graphs: bool = False
) -> Config:
    names = draw(st.permutations(["recall", "rank", "rerank"]))[: draw(st.integers(1, most))]
    levels: tuple[float, ...] = draw(st.sampled_from([(), (1.0,), (1.0, 1.0, 1.0)]))
    disciplines = [Discipline.FIFO, *([Discipline.PRIORITY] if levels else [])]
    expire = draw(st.booleans())
    stages = []
    for i, name in enumerate(names):
        max_batch = draw(st.integers(1, 96))
        policy: Policy = draw(policies)
        try:
            policy.check(max_batch)
        except ValueError:
            policy = Immediate()
        discipline = draw(st.sampled_from(disciplines))
        policy = _without_levels(policy, len(levels) if discipline is Discipline.PRIORITY else 0)
        replicas = draw(st.integers(1, 3))
        on = st.sampled_from(
            [(), ("gpu0",), ("gpu1",) * replicas, ("gpu0", "gpu1", "gpu0")[:replicas]]
        )
        stages.append(
            stage(
                name,
                policy=policy,
                max_batch=max_batch,
                pad_to=draw(st.sampled_from([(), (max_batch,), (1, max_batch + 1)])),
                replicas=replicas,
                device=draw(on),
                queue_bound=draw(st.none() | st.integers(1, 10**9)),
                discipline=discipline,
                autoscale=draw(st.sampled_from([None, *_RULES])),
                after=tuple(draw(_some(names[:i]))) if graphs else None,
            )
        )
    workload = WorkloadConfig(
        arrivals=Poisson(100.0),
        requests=1000,
        priorities=levels,
        expire=expire,
        deadline_ns=draw(st.integers(60 * 10**9, 10**12)) if expire else None,
    )
    devices = {f"gpu{i}": DeviceConfig(cuda=i, slots=8) for i in range(2)}
    name = draw(st.sampled_from(["shop", "recall", "a b/c", "2.0"]))
    return pipeline(*stages, workload=workload, devices=devices, name=name)


def _without_levels(policy: Policy, levels: int) -> Policy:
    """What of a policy makes sense with so many levels."""
    if isinstance(policy, Triton):
        return replace(policy, priority_queue_policy=policy.priority_queue_policy[:levels])
    if isinstance(policy, TfServing) and not levels:
        return TfServing(policy.batch_timeout_ns)
    return policy


def _some(names: Sequence[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True) if names else st.just([])


def _with_times(policy: Any, unit_ns: int = 1) -> Any:
    """``policy`` with times that are whole units, and below 20 s."""
    most = 20_000 * MS // unit_ns
    times = {
        each.name: max(1, getattr(policy, each.name) // unit_ns % most) * unit_ns
        for each in fields(policy)
        if each.name.endswith("_ns") and isinstance(getattr(policy, each.name), int)
    }
    if isinstance(policy, Triton):
        queues = tuple(_with_times(queue, unit_ns) for queue in policy.priority_queue_policy)
        times["priority_queue_policy"] = queues
    return replace(policy, **times)


@pytest.mark.parametrize("server", SERVERS)
@settings(max_examples=15)
@given(data=st.data())
def test_what_is_exported_imports_and_exports_to_the_same_files(
    server: str, data: st.DataObject
) -> None:
    names = sorted(set(kinds("policy")) - {"control_limit", "smdp"})  # those are optimised first
    policies = st.sampled_from(names).flatmap(lambda name: node(kinds("policy")[name]))
    policies = policies.map(_with_times)
    config = data.draw(_configs(policies, graphs=server == "triton"))
    first = export_config(config, server)
    found = again(first, server, tuple(each.name for each in config.stages))
    second = export_config(found, server)
    assert second.exported.files == first.exported.files
    assert second.exported.folders == first.exported.folders
    if server == "triton" and len(config.stages) > 1:
        edges = {name: set(parents) for name, parents in config.parents().items()}
        assert {name: set(parents) for name, parents in found.parents().items()} == edges


def _own(server: str) -> st.SearchStrategy[Any]:
    """The server's own policy, with knobs that its format can say."""

    def said(policy: Any) -> Any:
        if isinstance(policy, RayServe):  # the others are no settings, but the user's code
            policy = RayServe(policy.batch_wait_timeout_ns)
        policy = _with_times(policy, UNITS_NS.get(server, 1))
        if isinstance(policy, TfServing):  # low priority is set in the model's graph
            policy = TfServing(policy.batch_timeout_ns)
        return policy

    return node(kinds("policy")[server]).map(said)


@pytest.mark.parametrize("server", SERVERS)
@settings(max_examples=12)
@given(data=st.data())
def test_a_servers_own_policy_comes_back_with_all_its_knobs(
    server: str, data: st.DataObject
) -> None:
    config = data.draw(_configs(_own(server), most=1))
    (before,) = config.stages
    config = replace(config, workload=replace(config.workload, expire=False, deadline_ns=None))
    if isinstance(
        before.policy, Triton
    ):  # one bound: the stage's, or where there are levels each level's
        leveled = before.discipline is Discipline.PRIORITY
        policy = before.policy if leveled else replace(before.policy, max_queue_size=0)
        before = replace(before, policy=policy, queue_bound=None if leveled else before.queue_bound)
        config = replace(config, stages=(before,))
    (after,) = again(export_config(config, server), server).stages
    if isinstance(before.policy, Mosec):  # its wait is not looked at where there is a max_wait_time
        waits_ns = before.policy.max_wait_time_ns if before.max_batch > 1 else 0
        assert after.policy == Mosec(max_wait_time_ns=waits_ns)
    elif not isinstance(before.policy, Immediate):
        assert after.policy == before.policy
    assert (after.name, after.max_batch, after.replicas) == (
        before.name,
        before.max_batch,
        before.replicas,
    )
    leveled = server == "triton" and before.discipline is Discipline.PRIORITY
    if server in ("triton", "ray_serve", "torchserve", "mosec") and not leveled:
        assert after.queue_bound == before.queue_bound
    if server == "triton":
        assert after.discipline == before.discipline


def test_waits_of_mosec_that_its_command_line_sets_come_back() -> None:
    config = pipeline(stage(policy=Mosec(wait_ns=0)))
    assert again(export_config(config, "mosec"), "mosec").stages[0].policy == Mosec(wait_ns=0)
    config = pipeline(stage(policy=Mosec(wait_ns=4 * MS)))
    back = again(export_config(config, "mosec"), "mosec").stages[0].policy
    assert back == Mosec(max_wait_time_ns=4 * MS)


# The servers' own messages and schemas


def test_tritons_files_are_of_tritons_own_messages() -> None:
    config = pipeline(
        stage("recall", max_batch=8),
        stage(
            "rank",
            policy=Triton(3 * MS, (4, 8), 20 * MS),
            max_batch=16,
            replicas=2,
            device=("gpu0", "gpu1"),
            queue_bound=100,
        ),
        devices={"gpu0": DeviceConfig(cuda=0), "gpu1": DeviceConfig(cuda=3)},
    )
    files = export_config(config, "triton").exported.files
    assert set(files) == {"recall/config.pbtxt", "rank/config.pbtxt", "shop/config.pbtxt"}
    rank = text_format.Parse(files["rank/config.pbtxt"], model_config_pb2.ModelConfig())
    assert rank.max_batch_size == 16
    assert list(rank.dynamic_batching.preferred_batch_size) == [4, 8]
    assert rank.dynamic_batching.max_queue_delay_microseconds == 3000
    queue = rank.dynamic_batching.default_queue_policy
    assert (queue.max_queue_size, queue.default_timeout_microseconds) == (100, 20_000)
    assert queue.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert [(list(g.gpus), g.count) for g in rank.instance_group] == [([0], 1), ([3], 1)]
    whole = text_format.Parse(files["shop/config.pbtxt"], model_config_pb2.ModelConfig())
    # Triton refuses an ensemble that allows more than one of its models does.
    assert (whole.platform, whole.max_batch_size) == ("ensemble", 8)
    steps = whole.ensemble_scheduling.step
    assert [each.model_name for each in steps] == ["recall", "rank"]
    assert dict(steps[1].input_map) == {"INPUT": steps[0].output_map["OUTPUT"]}
    assert steps[1].output_map["OUTPUT"] == whole.output[0].name


def test_rays_file_is_of_rays_own_schema() -> None:
    config = pipeline(stage("recall"), stage("rank", replicas=3, max_batch=16, queue_bound=50))
    text = export_config(config, "ray_serve").exported.files["serve_config.yaml"]
    (application,) = ray_schema().model_validate(parse_yaml(text, "")).applications
    assert application.name == "shop"
    recall, rank = application.deployments
    assert (recall.num_replicas, rank.num_replicas, rank.max_queued_requests) == (1, 3, 50)
    # A batch can be no larger than what Serve lets a replica hold.
    assert rank.max_ongoing_requests >= rank.user_config["max_batch_size"] == 16


def test_ray_serve_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pipeline(stage("rank", max_batch=16))
    checked = export_config(config, "ray_serve").exported
    monkeypatch.setitem(sys.modules, "ray.serve.schema", None)
    assert ray_schema() is None
    assert export_config(config, "ray_serve").exported == checked


def test_bentomls_file_is_of_bentomls_own_schema() -> None:
    v2 = pytest.importorskip("bentoml._internal.configuration.v2")
    config = pipeline(stage("recall", max_batch=1), stage("rank", max_batch=16))
    text = export_config(config, "bentoml").exported.files["bentoml_configuration.yaml"]
    v2.SCHEMA.validate(parse_yaml(text, ""))


# What is translated to the nearest


def test_a_fixed_hold_for_a_size_sends_all_that_wait_in_triton_too() -> None:
    policy = Fixed(delay_ns=3 * MS, size=6)
    deployment = export_config(pipeline(stage(policy=policy, max_batch=8)), "triton")
    assert again(deployment, "triton").stages[0].policy == Triton(3 * MS, (6, 7, 8))
    assert "stages.rank.policy" not in remarks(deployment.config, "triton", Fate.NEARLY)


def test_a_hold_that_no_unit_can_say_is_rounded_and_never_to_none() -> None:
    config = pipeline(stage(policy=Fixed(delay_ns=100 * US)))
    exported = export_config(config, "torchserve").exported
    assert exported.settings["rank"]["maxBatchDelay"] == 1
    told = remarks(config, "torchserve", Fate.NEARLY)["stages.rank.policy"]
    assert "100us is written as 1ms: TorchServe counts in units of 1ms" in told
    assert "the wait counts from the moment a free worker takes the first request there" in told


def test_no_wait_is_none_in_servers_whose_zero_means_something_else() -> None:
    config = pipeline(stage(policy=Immediate()))
    assert "arguments:\n  wait: 0\n" in export_config(config, "mosec").exported.files["mosec.yaml"]
    assert export_config(config, "torchserve").exported.settings["rank"]["maxBatchDelay"] == 1
    told = remarks(config, "torchserve", Fate.NEARLY)["stages.rank.policy"]
    assert "without one, TorchServe batches two jobs at most" in told


def test_a_policy_is_fitted_to_its_place_first() -> None:
    policy = ControlLimit(rate_hz=100.0, batch_cost_ns=40 * MS, delay_ns=500 * MS)
    rank = stage(policy=policy, max_batch=4)
    settings = export_config(pipeline(rank), "triton").exported.settings["rank"]
    # The best limit is found; from there on every size goes at once.
    assert settings["preferred_batch_size"] == [3, 4]
    assert settings["max_queue_delay_microseconds"] == 500_000


def test_the_most_that_a_policy_sends_is_the_servers_maximum() -> None:
    config = pipeline(stage(policy=Nexus(batch=6, latency_ns=20 * MS), max_batch=16))
    assert export_config(config, "triton").exported.settings["rank"]["max_batch_size"] == 6
    told = remarks(config, "triton", Fate.NEARLY)
    assert told["stages.rank.max_batch"] == "6, the most that `nexus` sends, not 16"
    assert told["stages.rank.policy"] == "requests that cannot be in time are not dropped"


def test_sizes_that_batches_are_padded_to_end_with_the_servers_maximum() -> None:
    config = pipeline(stage(max_batch=10, pad_to=(4, 8, 16)))
    text = export_config(config, "tf_serving").exported.files["rank/batching_parameters.txt"]
    assert text.endswith("".join(f"allowed_batch_sizes: {size}\n" for size in (4, 8, 10)))
    assert "not 16" in remarks(config, "tf_serving", Fate.NEARLY)["stages.rank.pad_to"]
    assert "[4, 8, 16]" in remarks(config, "triton", Fate.LEFT_OUT)["stages.rank.pad_to"]


@pytest.mark.parametrize("server", SERVERS)
def test_a_policy_that_no_server_has_is_named(server: str) -> None:
    policy = kinds("policy")["load_adaptive"]()
    told = remarks(pipeline(stage(policy=policy)), server, Fate.NEARLY)["stages.rank.policy"]
    assert "the delay does not follow the load" in told or "nothing of `load_adaptive`" in told


# What is left out


@pytest.mark.parametrize("server", SERVERS)
def test_everything_that_a_format_does_not_say_is_listed(server: str) -> None:
    text = """
    name: shop
    seed: 4
    workload: {arrivals: 5/s, requests: 10, items: 3, deadline: 1s}
    objective: {latency: 20ms}
    devices: {gpu: {slots: 2}}
    stages:
      - {name: recall, max_items: 9, keep: 5, discipline: edf}
      - {name: rank, device: gpu, service_on: {gpu: 1ms}}
    """
    config = parse_config(parse_yaml(text, ""))
    told = remarks(config, server, Fate.LEFT_OUT)
    for where in (
        *("workload.arrivals", "workload.items", "workload.deadline", "objective"),
        *("devices.gpu.slots", "stages.recall.max_items", "stages.recall.keep"),
        *("stages.recall.discipline", "stages.rank.device", "stages.rank.service_on"),
    ):
        assert where in told, where
    assert any("seed" in where for where in told)
    if server not in ("triton", "mosec"):
        assert told["stages"].startswith("their order (recall before rank)")


# Every registered format


@pytest.mark.parametrize("server", SERVERS)
def test_a_format_finds_its_own_files_and_no_other_does(server: str, tmp_path: Path) -> None:
    write_deployment(tmp_path, export_config(pipeline(stage(), stage("last")), server))
    assert [name for name, each in FORMATS.items() if each.found(tmp_path)] == [server]


def test_tritons_queues_are_written_by_level() -> None:
    """``DELAY``, and a level of its own, whose queue has nothing of the default's."""
    queues = (TritonQueue(5 * MS, "delay", 10), TritonQueue())
    config = pipeline(
        stage(
            max_batch=8,
            discipline=Discipline.PRIORITY,
            policy=Triton(MS, (), 20 * MS, "reject", 50, queues),
        ),
        workload=WorkloadConfig(arrivals=Poisson(1.0), requests=9, priorities=(1.0, 1.0, 1.0)),
    )
    text = export_config(config, "triton").exported.files["rank/config.pbtxt"]
    dynamic = text_format.Parse(text, model_config_pb2.ModelConfig()).dynamic_batching
    action = model_config_pb2.ModelQueuePolicy
    written = {
        level: (each.default_timeout_microseconds, each.timeout_action, each.max_queue_size)
        for level, each in dynamic.priority_queue_policy.items()
    }
    assert written == {1: (5000, action.DELAY, 10), 2: (0, action.REJECT, 0)}
    rest = dynamic.default_queue_policy
    assert (rest.default_timeout_microseconds, rest.timeout_action) == (20_000, action.REJECT)
    assert rest.max_queue_size == 50
    for server in ("tf_serving", "mosec"):
        told = remarks(config, server, Fate.NEARLY)
        assert (
            "levels have no queues with times and sizes of their own" in told["stages.rank.policy"]
        )


def test_low_priority_is_not_in_tensorflow_servings_file() -> None:
    config = pipeline(
        stage(max_batch=8, discipline=Discipline.PRIORITY, policy=TfServing(MS, 4, MS, 10)),
        workload=WorkloadConfig(arrivals=Poisson(1.0), requests=9, priorities=(1.0, 1.0)),
    )
    told = remarks(config, "tf_serving", Fate.NEARLY)["stages.rank.policy"]
    assert told == "no batch is filled up with requests of low priority there"


def test_rays_autoscaling_comes_back() -> None:
    rule = Autoscale(
        target_ongoing=1.5,
        min=2,
        max=7,
        interval_ns=20_000 * MS,
        scale_down_delay_ns=0,
        tolerance=0.0,
    )
    config = pipeline(stage(replicas=3, autoscale=rule))
    exported = export_config(config, "ray_serve")
    text = exported.exported.files["serve_config.yaml"]
    (deployment,) = ray_schema().model_validate(parse_yaml(text, "")).applications[0].deployments
    assert deployment.autoscaling_config["initial_replicas"] == 3
    (after,) = again(exported, "ray_serve").stages
    assert (after.replicas, after.autoscale) == (3, rule)
    assert "stages.rank.autoscale" not in remarks(config, "ray_serve", Fate.LEFT_OUT)


def test_autoscaling_that_ray_has_no_word_for_is_listed_and_all_of_it_elsewhere() -> None:
    rule = Autoscale(target=0.6, max=4, cold_start_ns=1000 * MS, interval_ns=2000 * MS)
    config = pipeline(stage(autoscale=rule))
    near = remarks(config, "ray_serve", Fate.NEARLY)["stages.rank.autoscale"]
    assert "target: 0.6 of the replicas busy" in near
    short = remarks(config, "ray_serve", Fate.TO_FILL_IN)["stages.rank.autoscale"]
    assert "interval: 2s: replicas report every 10 s" in short
    lost = remarks(config, "ray_serve", Fate.LEFT_OUT)["stages.rank.autoscale"]
    assert lost == (
        "tolerance: 0.1 (there is none) cold_start: 1s (a property of the model and its machine)"
    )
    for server in sorted(set(SERVERS) - {"ray_serve"}):
        assert "target: 0.6" in remarks(config, server, Fate.LEFT_OUT)["stages.rank.autoscale"]


@pytest.mark.parametrize("blocks", [True, False])
def test_whether_a_batched_function_blocks_is_listed(blocks: bool) -> None:
    config = pipeline(stage(policy=RayServe(MS, blocks=blocks)))
    lost = remarks(config, "ray_serve", Fate.LEFT_OUT)["stages.rank.policy"]
    assert lost.startswith(f"blocks: {str(blocks).lower()} (whether the batched function")


def test_the_cap_that_cadence_plans_is_the_servers_maximum() -> None:
    config = pipeline(
        stage("recall", policy=Cadence(), max_batch=64, replicas=4, service=Affine(MS, MS // 10)),
        stage("rank", policy=Cadence(), max_batch=64, replicas=4, service=Affine(MS, MS // 10)),
        objective=ObjectiveConfig(latency_ns=12 * MS),
    )
    near = remarks(config, "triton", Fate.NEARLY)
    text = export_config(config, "triton").exported.files["rank/config.pbtxt"]
    model = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert 1 < model.max_batch_size < 64
    most = f"{model.max_batch_size}, the most that `cadence` sends, not 64"
    assert near["stages.rank.max_batch"] == most
    assert "nothing is held by the pace of batches before" in near["stages.recall.policy"]
    assert "stages.rank.policy" not in near
