"""Every bad input by its exact message: file, key path, what was found, what was expected."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import sim.kinds  # noqa: F401
from configs.errors import ConfigError, Problem
from configs.load import load_config, parse_config
from configs.model import Config, StageConfig
from configs.yaml_text import parse_yaml
from policies.knobs import public_name
from policies.registry import POLICIES

ARRIVALS = "known: poisson, constant, gamma, mmpp, diurnal, trace, counts, windows, closed"
STAGE_KEYS, CONFIG_KEYS = (
    "known: " + ", ".join(public_name(field.name) for field in dataclasses.fields(part))
    for part in (StageConfig, Config)
)
NAME = "must be a name of at most 64 letters, digits, _ and - that begins with a letter"


def lines(text: str) -> list[str]:
    """The messages for a YAML text that is said to stand in p.yaml, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse_config(parse_yaml(text, "p.yaml"), file="p.yaml")
    found = str(caught.value).splitlines()
    assert all(line.startswith("p.yaml: ") for line in found)
    return [line.removeprefix("p.yaml: ") for line in found]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("replica: 2", "stages.rank.replica: unknown key; did you mean `replicas`?"),
        ("zzz: 2", f"stages.rank.zzz: unknown key; {STAGE_KEYS}"),
        ("replicas: 0", "stages.rank.replicas: must be at least 1, not 0"),
        ("replicas: true", "stages.rank.replicas: must be a whole number, not true"),
        ("replicas: 1.5", "stages.rank.replicas: must be a whole number, not 1.5"),
        ("replicas: 1e9", "stages.rank.replicas: must be at most 10000, not 1000000000"),
        (
            "max_batch: '8'",
            "stages.rank.max_batch: must be a whole number, not '8'; write 8 without quotes or separators",
        ),
        (
            "max_batch: 1_000",
            "stages.rank.max_batch: must be a whole number, not '1_000';"
            " write 1000 without quotes or separators",
        ),
        ("max_batch:", "stages.rank.max_batch: must be a whole number, not nothing"),
        ("delay: 2", "stages.rank.delay: needs a unit: write 2ms or 2s, not 2"),
        ("delay: -2ms", "stages.rank.delay: must not be negative, but is -2ms"),
        ("delay: 20000d", "stages.rank.delay: must be at most 3650d, not 20000d"),
        (
            "{delay: 2ms, policy: immediate}",
            "stages.rank: has both delay and policy; delay is short for a fixed policy, keep one",
        ),
        (
            "policy: fixd",
            "stages.rank.policy: there is no policy kind 'fixd'; did you mean `fixed`?",
        ),
        (
            "policy: {kind: zzz}",
            f"stages.rank.policy.kind: there is no policy kind 'zzz'; known: {', '.join(POLICIES)}",
        ),
        (
            "policy: {delay: 2ms}",
            f"stages.rank.policy.kind: is missing; policy kinds: {', '.join(POLICIES)}",
        ),
        (
            "policy: 2ms",
            "stages.rank.policy: must be a kind such as {kind: immediate, ...}, not '2ms'",
        ),
        (
            "policy: fixed",
            "stages.rank.policy.delay: is missing (longest that the oldest request is held)",
        ),
        (
            "policy: {kind: fixed, delay: 1ms, size: 33}",
            "stages.rank.policy: size must be at most max_batch (32), not 33",
        ),
        (
            "policy: {kind: fixed, dely: 1ms}",
            "stages.rank.policy.delay: is missing (longest that the oldest request is held)\n"
            "stages.rank.policy.dely: unknown key; did you mean `delay`?",
        ),
        (
            "policy: {kind: load_adaptive, threshold: 1.2}",
            "stages.rank.policy.threshold: must be at most 1, not 1.2",
        ),
        (
            "policy: {kind: load_adaptive, step: 0}",
            "stages.rank.policy.step: must be more than 0ms, not 0ms",
        ),
        (
            "policy: {kind: load_adaptive, own_load: yes}",
            "stages.rank.policy.own_load: must be true or false, not 'yes'; write true",
        ),
        (
            "policy: {kind: load_adaptive, own_load: off}",
            "stages.rank.policy.own_load: must be true or false, not 'off'; write false",
        ),
        (
            "policy: {kind: load_adaptive, threshold: .nan}",
            "stages.rank.policy.threshold: must be a finite number, not NaN",
        ),
        ("service: 5", "stages.rank.service: needs a unit: write 5ms or 5s, not 5"),
        (
            "service: {kind: table, points: {1: 1ms, x: 2ms}}",
            "stages.rank.service.points.x: must be a whole number, not 'x'",
        ),
        (
            "service: {kind: table, points: 5}",
            "stages.rank.service.points: must be a mapping of keys to values, not 5",
        ),
        (
            "service: {kind: exponential, mean: 2d}",
            "stages.rank.service.mean: must be at most 1d, not 2d",
        ),
        (
            "service: {kind: profile, path: 5}",
            "stages.rank.service.path: must be the path of a file, not 5",
        ),
        (
            "discipline: lifo",
            "stages.rank.discipline: must be one of fifo, edf, priority; not 'lifo'; did you mean `fifo`?",
        ),
        (
            "discipline: edf",
            "stages.rank.discipline: edf needs workload.deadline, which is not set",
        ),
        (
            "discipline: priority",
            "stages.rank.discipline: priority needs workload.priorities, which is not set",
        ),
        ("device: gpu0", "stages.rank.device: there is no device `gpu0`; devices: none"),
        ("device: [1]", f"stages.rank.device: {NAME}, not 1"),
        ("after: {}", "stages.rank.after: must be a name or a list of names, not a mapping"),
        ("after: recal", "stages.rank.after: there is no stage `recal`; did you mean `recall`?"),
        ("after: [recall, recall]", "stages.rank.after: names `recall` 2 times"),
        (
            "after: rank",
            "stages.rank.after: the stages wait for one another in a circle: rank -> rank",
        ),
        ("name: 5", f"stages[1].name: {NAME}, not 5"),
        ("name: a.b", f"stages.a.b.name: {NAME}, not 'a.b'"),
        ("name: recall", "stages.recall: 2 stages have this name; give each its own"),
    ],
)
def test_a_bad_stage(stage: str, message: str) -> None:
    given = parse_yaml(stage if stage.startswith("{") else f"{{{stage}}}", "p.yaml")
    mapping = {"stages": [{"name": "recall"}, {"name": "rank"} | given]}
    with pytest.raises(ConfigError) as caught:
        parse_config(mapping, file="p.yaml")
    assert str(caught.value) == "\n".join(f"p.yaml: {line}" for line in message.splitlines())


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("stage: 5", "stage: unknown key; did you mean `stages`?"),
        (
            "5: 3",
            f"5: unknown key; {CONFIG_KEYS}",
        ),
        ("seed: -1", "seed: must be at least 0, not -1"),
        (
            "seed: 9223372036854775808",
            "seed: must be at most 9223372036854775807, not 9223372036854775808",
        ),
        ("workload: 5", "workload: must be a mapping of keys to values, not 5"),
        (
            "workload: {arrivals: 5, requests: 1}",
            "workload.arrivals: needs a unit: write 5/s, not 5",
        ),
        (
            "workload: {arrivals: {kind: poison, rate: 5/s}, requests: 1}",
            "workload.arrivals.kind: there is no arrivals kind 'poison'; did you mean `poisson`?",
        ),
        (
            "workload: {arrivals: {kind: zzz}, requests: 1}",
            f"workload.arrivals.kind: there is no arrivals kind 'zzz'; {ARRIVALS}",
        ),
        (
            "workload: {arrivals: {kind: poisson, rate: 0/s}, requests: 1}",
            "workload.arrivals.rate: must be more than 0/s, not 0/s",
        ),
        (
            "workload: {arrivals: {kind: poisson, rate: 1ms}, requests: 1}",
            "workload.arrivals.rate: must be a rate such as 800/s, 12/min or 3600/h, not '1ms'",
        ),
        (
            "workload: {arrivals: 5/s}",
            "workload: these arrivals have no end: give `requests`, `duration` or both",
        ),
        (
            "workload: {arrivals: {kind: closed, clients: 3, think: 1s}, duration: 1s}",
            "workload: closed arrivals need `requests`: how many are sent decides when it ends",
        ),
        ("workload: {requests: 0}", "workload.requests: must be at least 1, not 0"),
        ("workload: {duration: 0}", "workload.duration: must be more than 0ms, not 0ms"),
        ("workload: {items: 0}", "workload.items: must be at least 1, not 0"),
        ("workload: {expire: true}", "workload.expire: needs workload.deadline, which is not set"),
        (
            "workload: {priorities: [0, 0]}",
            "workload: priorities are all 0; give at least one level a share",
        ),
        ("workload: {priorities: [-1]}", "workload.priorities[0]: must be at least 0, not -1"),
        ("workload: {priorities: 1}", "workload.priorities: must be a list, not 1"),
        ("objective: {}", "objective.latency: is missing (latency to stay within)"),
        (
            "objective: {latency: 5ms, percentile: 101}",
            "objective.percentile: must be at most 100, not 101",
        ),
        ("warmup: 100%", "warmup: must be less than 100%, not '100%'"),
        (
            "warmup: x",
            "warmup: must be a duration such as 2ms, 350us or 1.5s, not 'x', and no share such as 10%",
        ),
        ("devices: {gpu0: {slots: 0}}", "devices.gpu0.slots: must be at least 1, not 0"),
        (
            "devices: {gpu0: {cores: []}}",
            "devices.gpu0: cores is an empty list; leave the key out to let any core be used",
        ),
        ("devices: {gpu0: {cores: [1, 1]}}", "devices.gpu0: cores names core 1 twice"),
        ("devices: {gpu0: {cores: [-1]}}", "devices.gpu0.cores[0]: must be at least 0, not -1"),
        (
            "devices: {gpu0: {cores: [1], cuda: 0}}",
            "devices.gpu0: has both cores and cuda; give one of them",
        ),
        ("devices: {g.0: {}}", f"devices.g.0: {NAME}, not 'g.0'"),
        ("dispatcher: {cores: [2, 2]}", "dispatcher: cores names core 2 twice"),
        ("estimates: {weight: 0}", "estimates.weight: must be more than 0, not 0"),
        ("validate: {loads: [0.5, 2]}", "validate.loads[1]: must be less than 1.5, not 2"),
        (
            "tune: {seed: [1]}",
            "tune.seed: must be [low, high], not a list of 1; single values go under `choices:`",
        ),
        ("tune: {seed: {low: 1}}", "tune.seed: needs low and high, or choices"),
        ("tune: {seed: {choices: []}}", "tune.seed: choices is an empty list"),
        (
            "tune: {seed: {choices: [1], low: 2}}",
            "tune.seed: has choices and a range; keep one of them",
        ),
        (
            "tune: {seed: {low: 1, high: 2, log: true, step: 1}}",
            "tune.seed: has both log and step; keep one of them",
        ),
        ("tune: {seed: [2, 1]}", "tune.seed: low must be less than high, but 2 is not below 1"),
        ("tune: {seed: [-2, 1]}", "tune.seed: must be at least 0, not -2"),
        ("tune: {seed: {low: 0, high: 9, log: true}}", "tune.seed: log needs a low above 0, not 0"),
        (
            "tune: {seed: {low: 0, high: 9, step: 10}}",
            "tune.seed: step must be above 0 and at most high - low (9), not 10",
        ),
        ("tune: {sed: [1, 2]}", "tune.sed: there is no such knob; did you mean `seed`?"),
        ("tune: {name: [1, 2]}", "tune.name: is no number; list its values under `choices:`"),
        (
            "tune: {objective.latency: [1ms, 2ms]}",
            "tune.objective.latency: cannot be reached: the key above it is not set in this configuration",
        ),
        (
            "tune: {seed.x: [1, 2]}",
            "tune.seed.x: cannot be reached: the key above it holds a single value",
        ),
        (
            "tune: {stages.b.policy.delay: [1ms, 2ms]}",
            "tune.stages.b.policy.delay: there is no such stage; known: a",
        ),
        (
            "tune: {stages.a.policy.dely: [1ms, 2ms]}",
            "tune.stages.a.policy.dely: the kind `immediate` has no knobs",
        ),
        (
            "tune: {stages.a.policy.kind: {choices: [fixed]}}",
            "tune.stages.a.policy.kind: is no knob; name the key above it to choose among kinds",
        ),
    ],
)
def test_a_bad_part(part: str, message: str) -> None:
    assert lines(f"stages: [{{name: a}}]\n{part}") == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "stages: is missing (the stages, in order)"),
        ("stages: {}", "stages: must be a list, not a mapping"),
        ("stages: []", "stages: is an empty list; a pipeline needs at least one stage"),
        ("stages: [5]", "stages[0]: must be a mapping of keys to values, not 5"),
        (
            "stages: [{nme: a}]",
            "stages[0].name: is missing (what the stage is called; letters, digits, _ and -)\n"
            "stages[0].nme: unknown key; did you mean `name`?",
        ),
        (
            "stages: [{name: a, after: c}, {name: b, after: a}, {name: c, after: b}]",
            "stages.a.after: the stages wait for one another in a circle: a -> c -> b -> a",
        ),
        (
            "devices: {gpu0: {}}\nstages: [{name: a, device: gp0}]",
            "stages.a.device: there is no device `gp0`; did you mean `gpu0`?",
        ),
        (
            "devices: {g: {}, h: {}}\nstages: [{name: a, device: [g, h], replicas: 3}]",
            "stages.a.device: names 2 devices for 3 replicas; give one for all or one for each",
        ),
        (
            "workload: {items: 100}\nstages: [{name: a, max_items: 99}]",
            "stages.a.max_items: must be at least 100, the items of one request (workload.items), not 99",
        ),
        (
            "workload: {items: {kind: uniform, low: 1, high: 9}}\nstages: [{name: a, max_items: 8}]",
            "stages.a.max_items: must be at least 9, the items of one request (workload.items), not 8",
        ),
    ],
)
def test_parts_that_do_not_fit_together(text: str, message: str) -> None:
    assert lines(text) == message.splitlines()


def test_all_problems_are_told_at_once() -> None:
    assert lines(
        "seed: x\nstages: [{name: a, delay: 5, max_batch: 0}, {name: b, policy: fixd}]\nobjectiv: 1"
    ) == [
        "seed: must be a whole number, not 'x'",
        "stages.a.max_batch: must be at least 1, not 0",
        "stages.a.delay: needs a unit: write 5ms or 5s, not 5",
        "stages.b.policy: there is no policy kind 'fixd'; did you mean `fixed`?",
        "objectiv: unknown key; did you mean `objective`?",
    ]


def test_problems_are_values_too() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"stages": [{"name": "a"}], "seed": -1}, file="dir/p.yaml")
    assert caught.value.problems == (Problem("dir/p.yaml", "seed", "must be at least 0, not -1"),)


def test_without_a_file_only_the_place_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"stages": [{"name": "a"}], "seed": -1})
    assert str(caught.value) == "seed: must be at least 0, not -1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a: [",
            "{}:1:5: is not YAML that can be used: expected the node content,"
            " but found '<stream end>'",
        ),
        (
            b"a: 1\n\tb: 2\n",
            "{}:2:1: is not YAML that can be used: found character '\\t'"
            " that cannot start any token",
        ),
        (
            b"a: 1\nb:\n  c: 1\n  c: 2\n",
            "{}:4:3: is not YAML that can be used: the key `c` stands here"
            " for a second time (the first is in line 3)",
        ),
        (b"a: 1\n---\nb: 2\n", "{}:2:1: is not YAML that can be used: but found another document"),
        (
            b"a: !!python/object/apply:os.getcwd []\n",
            "{}:1:4: is not YAML that can be used: could not"
            " determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd'",
        ),
        (b"a: \x00", "{}: is not YAML: the character 0 at position 3 is not allowed"),
        (b"a: 1\nb: \xff\n", "{}: is not UTF-8 text (line 2); save it as UTF-8"),
        (b"", "{}: is empty; it needs at least `stages:`"),
        (b"# nothing\n", "{}: is empty; it needs at least `stages:`"),
        (b"- a\n", "{}: must hold keys and values such as `stages:`, not a list"),
        (b"stages", "{}: must hold keys and values such as `stages:`, not a single value"),
        (b"[" * 5000, "{}: is nested too deeply"),
        (b"a: !!int x", "{}: cannot be read: invalid literal for int() with base 10: 'x'"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == message.format(path)


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        load_config(tmp_path / "none.yaml")
    assert str(missing.value) == f"{tmp_path / 'none.yaml'}: there is no such file"
    with pytest.raises(ConfigError) as folder:
        load_config(tmp_path)
    assert str(folder.value) == f"{tmp_path}: is a folder; name the YAML file in it"


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: is longer than 16 MiB; is it a configuration?"


def test_a_byte_order_mark_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbfstages: [{name: a}]\n")
    assert load_config(path).name == "p"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("yes", "yes"), ("true", True), ("010", 10), ("0o17", 15), ("0x1f", 31),
        ("1e3", 1000.0), ("1.5e-3", 0.0015), (".5", 0.5), ("1:30", "1:30"), ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"), ("~", None), ("", None), ("''", ""), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}", "x")["a"]
    assert (found, type(found)) == (value, type(value))


def test_anchors_and_merge_keys_work() -> None:
    assert parse_yaml("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}", "p")["d"] == {"b": 3, "c": 2}
