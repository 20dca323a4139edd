"""Configurations of real servers as people write them, imported; and what a server would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.errors import ConfigError
from configs.kinds import kinds
from configs.load import parse_config
from configs.model import Config, DeviceConfig
from configs.servers.base import Fate, Remark
from delayline.exporting import export_config
from delayline.server_import import import_config
from policies.autoscale import Autoscale
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.mosec import Mosec
from policies.pipeline import Discipline
from policies.triton import Triton, TritonQueue
from tests.test_server_formats import MS, US, pipeline, stage


def read(folder: Path, files: Mapping[str, str], **keys: Any) -> tuple[Config, tuple[Remark, ...]]:
    """What files are as a configuration, each stage taking 1 ms."""
    for name, text in files.items():
        path = folder / "server" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found = import_config(folder / "server", out=folder / "x.yaml", **keys)
    stages = [{**each, "service": "1ms"} for each in found.mapping["stages"]]
    return parse_config({**found.mapping, "stages": stages}), found.remarks


RANKER = """
name: "ranker"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "features" data_type: TYPE_FP32 dims: [ 256 ] } ]
output [ { name: "score" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [
  { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] }
]
dynamic_batching {
  preferred_batch_size: [ 16, 32 ]
  max_queue_delay_microseconds: 500
  priority_levels: 2
  default_priority_level: 2
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 50000
    allow_timeout_override: true
    max_queue_size: 256
  }
}
optimization { cuda { graphs: true } }
"""


def test_a_triton_model_as_people_write_it(tmp_path: Path) -> None:
    config, told = read(tmp_path, {"ranker/config.pbtxt": RANKER})
    (found,) = config.stages
    assert found.policy == Triton(500 * US, (16, 32), 50 * MS, max_queue_size=256)
    assert (found.name, found.max_batch, found.queue_bound) == ("ranker", 64, None)
    # A count is so many on each GPU that is listed.
    assert (found.replicas, sorted(found.device)) == (4, ["gpu0", "gpu0", "gpu1", "gpu1"])
    assert config.devices == {f"gpu{i}": DeviceConfig(cuda=i, slots=2) for i in range(2)}
    assert found.discipline is Discipline.PRIORITY
    assert config.workload.priorities == (1.0, 1.0)
    texts = [each.text for each in told]
    assert "input, output, optimization, backend: of the model itself" in texts
    assert "allow_timeout_override: requests name no timeouts of their own" in texts


ENSEMBLE = """
platform: "ensemble"
max_batch_size: 8
input [ { name: "RAW" data_type: TYPE_UINT8 dims: [ -1 ] } ]
output [ { name: "SCORES" data_type: TYPE_FP32 dims: [ 10 ] } ]
ensemble_scheduling {
  step [
    { model_name: "blend" model_version: -1
      input_map { key: "A" value: "dense" } input_map { key: "B" value: "sparse" }
      output_map { key: "OUT" value: "SCORES" } },
    { model_name: "tower" model_version: -1
      input_map { key: "IN" value: "clean" } output_map { key: "OUT" value: "dense" } },
    { model_name: "lookup" model_version: -1
      input_map { key: "IN" value: "clean" } output_map { key: "OUT" value: "sparse" } },
    { model_name: "prepare" model_version: -1
      input_map { key: "IN" value: "RAW" } output_map { key: "OUT" value: "clean" } }
  ]
}
"""
MODELS = ("blend", "tower", "lookup", "prepare")


def repository(ensemble: str = ENSEMBLE, **models: str) -> dict[str, str]:
    """Four models and their ensemble."""
    texts = dict.fromkeys(MODELS, "max_batch_size: 8\ndynamic_batching {}\n") | models
    return {
        "scorer/config.pbtxt": ensemble,
        **{f"{name}/config.pbtxt": text for name, text in texts.items()},
    }


def test_tritons_queues_by_level_as_people_write_them(tmp_path: Path) -> None:
    """Level 1 is level 0 here; a level that is not named has the default queue, as ``priority_queue_policy``
    in model_config.proto says.
    """
    text = """
    max_batch_size: 8
    dynamic_batching {
      priority_levels: 3
      default_priority_level: 3
      default_queue_policy { default_timeout_microseconds: 9000 max_queue_size: 7 }
      priority_queue_policy {
        key: 2
        value { timeout_action: DELAY default_timeout_microseconds: 2000 }
      }
    }
    """
    config, _ = read(tmp_path, {"ranker/config.pbtxt": text})
    queues = (TritonQueue(9 * MS, max_queue_size=7), TritonQueue(2 * MS, "delay"))
    assert config.stages[0].policy == Triton(0, (), 9 * MS, "reject", 7, queues)
    assert config.stages[0].queue_bound is None


def test_an_ensemble_is_a_graph_whatever_the_order_of_its_steps(tmp_path: Path) -> None:
    files = repository(spare="max_batch_size: 2\n")
    config, told = read(tmp_path, files)
    assert config.name == "scorer"
    assert config.parents() == {
        "prepare": (),
        "tower": ("prepare",),
        "lookup": ("prepare",),
        "blend": ("tower", "lookup"),
    }
    assert Remark(Fate.LEFT_OUT, "spare", "the ensemble scorer does not use it") in told


def test_a_model_without_a_dynamic_batcher_serves_requests_one_by_one(tmp_path: Path) -> None:
    config, told = read(tmp_path, {"ranker/config.pbtxt": "max_batch_size: 8"})
    assert config.stages[0].max_batch == 1
    assert any("max_batch_size 8 without dynamic_batching" in each.text for each in told)


def test_tensorflow_servings_parameters_as_people_write_them(tmp_path: Path) -> None:
    text = """
    max_batch_size { value: 32 }
    batch_timeout_micros { value: 5000 }
    max_enqueued_batches { value: 100 }
    num_batch_threads { value: 8 }
    allowed_batch_sizes: 8
    allowed_batch_sizes: 32
    pad_variable_length_inputs: true
    """
    config, told = read(tmp_path, {"ranker/batching_parameters.txt": text})
    (found,) = config.stages
    assert (found.name, found.max_batch, found.replicas) == ("ranker", 32, 8)
    assert found.queue_bound == 3200
    assert found.policy == kinds("policy")["tf_serving"](batch_timeout_ns=5 * MS)
    assert found.pad_to == (8, 32)
    assert any("pad_variable_length_inputs" in each.text for each in told)


def test_tensorflow_servings_defaults(tmp_path: Path) -> None:
    config, told = read(tmp_path, {"ranker/batching_parameters.txt": ""})
    (found,) = config.stages
    assert (found.max_batch, found.replicas, found.queue_bound) == (1000, 1, 10_000)
    assert any("num_batch_threads" in each.text for each in told)


RAY = """
proxy_location: EveryNode
http_options: {host: 0.0.0.0, port: 8000, request_timeout_s: 1.5}
applications:
  - name: shop
    import_path: shop.serve:app
    deployments:
      - name: recall
        num_replicas: 2
        max_ongoing_requests: 100
        user_config: {max_batch_size: 8, batch_wait_timeout_s: 0.0005, index: faiss}
      - name: Ranker.v2
        autoscaling_config: {min_replicas: 1, max_replicas: 4}
        user_config: {max_batch_size: 16, batch_wait_timeout_s: 0.1}
"""


def test_rays_file_as_people_write_it(tmp_path: Path) -> None:
    config, told = read(tmp_path, {"serve_config.yaml": RAY})
    recall, rank = config.stages
    policy = kinds("policy")["ray_serve"]
    assert (recall.policy, recall.max_batch) == (policy(batch_wait_timeout_ns=500 * US), 8)
    assert (recall.replicas, recall.queue_bound) == (2, None)
    # Serve sends a replica five requests at most, unless told otherwise: no batch is larger.
    assert (rank.name, rank.max_batch) == ("Ranker_v2", 5)
    assert (config.workload.deadline_ns, config.workload.expire) == (1500 * MS, True)
    texts = " ".join(f"{each.where}: {each.text}" for each in told)
    assert "max_ongoing_requests 5 lets no batch reach max_batch_size 16" in texts
    assert "recall.user_config: index: not of batching" in texts
    assert rank.autoscale == Autoscale(
        target_ongoing=2.0,
        min=1,
        max=4,
        interval_ns=30_000 * MS,
        scale_down_delay_ns=600_000 * MS,
        tolerance=0.0,
    )
    assert "upscale_delay_s 30: more replicas come at once here" in texts
    assert "Ranker.v2: is called Ranker_v2 here" in texts


def test_bentomls_file_with_settings_for_all_services(tmp_path: Path) -> None:
    text = """
    services:
      traffic: {timeout: 30}
      workers: 2
      ranker:
        resources: {gpu: 1}
        batching: {enabled: true, max_batch_size: 16, max_latency_ms: 300}
      gateway: {workers: cpu_count}
    """
    config, told = read(tmp_path, {"bentoml_configuration.yaml": text})
    ranker, gateway = config.stages
    assert (ranker.replicas, ranker.max_batch) == (2, 16)
    assert ranker.policy == kinds("policy")["bentoml"](max_latency_ns=300 * MS)
    assert (gateway.replicas, gateway.max_batch, gateway.policy) == (1, 1, Immediate())
    assert config.workload.deadline_ns == 30_000 * MS
    assert any("cpu_count" in each.text for each in told)


def test_torchserves_file_as_people_write_it(tmp_path: Path) -> None:
    text = """
    # frontend settings
    minWorkers: 2
    maxWorkers: 4
    batchSize: 8
    maxBatchDelay: 50
    responseTimeout: 120
    deviceType: gpu
    handler: {top_k: 5}
    """
    config, told = read(tmp_path, {"bert/model-config.yaml": text})
    (found,) = config.stages
    assert (found.name, found.replicas, found.max_batch) == ("bert", 2, 8)
    assert found.policy == kinds("policy")["torchserve"](max_batch_delay_ns=50 * MS)
    texts = " ".join(each.text for each in told)
    assert "responseTimeout, deviceType, handler: not of batching" in texts
    assert "2 workers are started, and up to 4" in texts


def test_litserves_and_mosecs_arguments(tmp_path: Path) -> None:
    text = """
    ranker:
      LitAPI: {max_batch_size: 16, batch_timeout: 0.05}
      LitServer: {workers_per_device: 2, devices: 2, accelerator: cuda}
    """
    (found,) = read(tmp_path, {"litserve.yaml": text})[0].stages
    assert (found.replicas, found.max_batch) == (4, 16)
    assert found.policy == kinds("policy")["litserve"](batch_timeout_ns=50 * MS)
    text = """
    arguments: {capacity: 64, timeout: 500}
    workers:
      - {worker: Prepare, num: 2}
      - {worker: Rank, max_batch_size: 16, max_wait_time: 5}
    """
    config, _ = read(tmp_path / "2", {"mosec.yaml": text})
    prepare, rank = config.stages
    assert (prepare.queue_bound, prepare.replicas, prepare.max_batch) == (64, 2, 1)
    assert (rank.policy, rank.max_batch) == (Mosec(max_wait_time_ns=5 * MS), 16)
    assert config.workload.deadline_ns == 500 * MS


# What a server would refuse


def one(text: str) -> dict[str, str]:
    return {"ranker/config.pbtxt": text}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (one("max_batch_size: 8 dynamic_batching { preferred_batch_size: [4, 16] }"),
         "config.pbtxt: preferred_batch_size: must be at most max_batch_size (8), not 16"),
        (one("max_batch_size: 8 dynamic_batching { preferred_batch_size: 0 }"),
         "preferred_batch_size: must be at least 1, not 0"),
        (one("max_batch_size: -1"), "max_batch_size: must be at least 0, not -1"),
        (one("max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: -1 }"),
         "config.pbtxt:1:68: is not what it should be"),
        (one("max_batch: 8"), 'config.pbtxt:1:1: is not what it should be: Message type'),
        (one("max_batch_size: 8 dynamic_batching { priority_levels: 2 }"),
         "default_priority_level: must be 1 to priority_levels (2), not 0"),
        (one("max_batch_size: 8 sequence_batching {}"), "the sequence batcher is not simulated"),
        (one('name: "rank" max_batch_size: 8'), "name: must be the folder's, ranker, as Triton has it"),
        (one("max_batch_size: 100000 dynamic_batching {}"), "stages.ranker.max_batch: must be at most 65536"),
        (repository(ENSEMBLE.replace('"dense" } }', '"sparse" } }')),
         "the tensor sparse is written by two steps"),
        (repository(ENSEMBLE.replace('model_name: "tower"', 'model_name: "towr"')),
         "names towr, of which there is no towr/config.pbtxt"),
        (repository(ENSEMBLE.replace('value: "RAW"', 'value: "raw"')),
         "no step and no input writes the tensor raw"),
        (repository(ENSEMBLE.replace('value: "RAW"', 'value: "SCORES"')),
         "the stages wait for one another in a circle"),
        (repository(tower=ENSEMBLE), "has the ensembles "),
        ({"r/batching_parameters.txt": "max_batch_size { value: 0 }"},
         "max_batch_size: must be at least 1, not 0"),
        ({"r/batching_parameters.txt": "batch_timeout_micros { value: -5 }"},
         "batch_timeout_micros: must be at least 0, not -5"),
        ({"r/batching_parameters.txt": "max_batch_size { value: 8 } allowed_batch_sizes: 4"},
         "allowed_batch_sizes: must end with max_batch_size (8), not 4"),
        ({"r/batching_parameters.txt": "max_batch_size { value: 8 } allowed_batch_sizes: [8, 8]"},
         "allowed_batch_sizes: must rise from 1 on"),
        ({"serve_config.yaml": RAY.replace("max_ongoing_requests: 100", "max_ongoing_requests: 0")},
         "Ray Serve refuses it: Input should be greater than 0"),
        ({"serve_config.yaml": RAY.replace("0.1}", "-0.1}")},
         "batch_wait_timeout_s: must be at least 0, not -0.1"),
        ({"serve_config.yaml": "applications: []"}, "applications: must be one, the pipeline, not 0"),
        ({"bentoml_configuration.yaml": "services: {r: {batching: {enabled: true, max_batch_size: 1}}}"},
         "services.r.batching.max_batch_size: must be at least 2"),
        ({"bentoml_configuration.yaml": "services: {r: {batching: {max_latency_ms: 0}}}"},
         "services.r.batching.max_latency_ms: must be at least 1, not 0"),
        ({"bentoml_configuration.yaml": "version: 1\nrunners: {}"}, "version: must be 2"),
        ({"r/model-config.yaml": "batchSize: 0"}, "model-config.yaml: batchSize: must be at least 1, not 0"),
        ({"r/model-config.yaml": "maxBatchDelay: 1.5"}, "maxBatchDelay: must be a whole number, not 1.5"),
        ({"r/model-config.yaml": "{minWorkers: 4, maxWorkers: 2}"},
         "minWorkers: must be at most maxWorkers (2), not 4"),
        ({"litserve.yaml": "r: {LitAPI: {batch_timeout: 31}}"},
         "r.batch_timeout: must be at most timeout (30 s)"),
        ({"litserve.yaml": "r: {LitAPI: {batch_timeout: -1}}"}, "batch_timeout: must be at least 0, not -1"),
        ({"mosec.yaml": "workers: [{worker: r, num: 0}]"}, "workers.0.num: must be at least 1, not 0"),
        ({"mosec.yaml": "workers: [{num: 1}]"}, "workers.0.worker: is missing"),
        ({"mosec.yaml": "workers: {}"}, "workers: must be a list, not a mapping"),
    ],
)  # fmt: skip
def test_what_a_server_would_refuse_is_refused(
    tmp_path: Path, files: dict[str, str], told: str
) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        read(tmp_path, files)
    assert told in str(error.value)


def test_what_a_server_would_refuse_is_not_exported() -> None:
    with pytest.raises(ConfigError, match=r"stages\.workers\.name: is a setting's name in BentoML"):
        export_config(pipeline(stage("workers")), "bentoml")
    slow = pipeline(stage(policy=Fixed(delay_ns=31_000 * MS)))
    with pytest.raises(ConfigError, match=r"must be at most timeout \(30 s\), as LitServe has it"):
        export_config(slow, "litserve")
