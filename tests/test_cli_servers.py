"""``delayline export`` and ``delayline import``: what is printed, written and refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from delayline import load_config
from tests.command_line import TWO_STAGES, Run, agrees, runner, written

SHOP = """
name: shop
seed: 3
workload: {arrivals: {kind: poisson, rate: 900/s}, requests: 2000}
objective: {latency: 30ms}
devices: {gpu: {slots: 2, cuda: 0}}
stages:
  - {name: recall, max_batch: 8, replicas: 2, service: 1ms}
  - name: rank
    max_batch: 16
    max_items: 4000
    queue_bound: 100
    device: gpu
    service: {kind: affine, base: 2ms, per_request: 100us}
    policy: {kind: fixed, delay: 3ms, size: 12}
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs commands in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return runner(capsys)


@pytest.fixture
def shop(run: Run) -> Path:
    return written(Path(), SHOP)


@pytest.mark.parametrize("server", ["triton", "ray_serve"])
def test_a_person_reads_what_was_written(run: Run, shop: Path, server: str, tmp_path: Path) -> None:
    said = run("export", shop, "--to", server, "--out", "models")
    assert (said.code, said.err) == (0, "")
    agrees(f"export_{server}", said.out, tmp_path)
    notes = Path("models/NOT_EXPORTED.md").read_text(encoding="utf-8")
    # The page and the screen tell the same.
    for line in said.out.splitlines():
        if line.startswith("  ") and line[2] != " ":
            where, _, text = line.strip().partition(": ")
            assert f"- `{where}`: {text}\n" in notes


def test_a_person_reads_what_was_imported(run: Run, shop: Path, tmp_path: Path) -> None:
    run("export", shop, "--to", "triton", "--out", "models")
    said = run(
        "import", "models", "--service", "rank={kind: affine, base: 2ms, per_request: 0.1ms}"
    )
    assert (said.code, said.err) == (0, "")
    agrees("import_triton", said.out, tmp_path)
    # Recall's times are not known: the file is refused until they are put in.
    refused = run("simulate", "models.imported.yaml").error
    assert "stages.recall.service: must be a duration" in refused
    assert "not '? how long a batch takes'" in refused
    filled = run("simulate", "models.imported.yaml", "--set", "stages.recall.service=1ms")
    assert filled.code == 0


def test_a_configuration_takes_a_servers_settings_and_keeps_the_rest(run: Run) -> None:
    shop = written(Path(), TWO_STAGES)
    run("export", shop, "--to", "tf_serving", "--out", "tf")
    path = Path("tf/rank/batching_parameters.txt")
    text = path.read_text(encoding="utf-8").replace("value: 3000", "value: 4500")
    path.write_text(text.replace("value: 16", "value: 12"), encoding="utf-8")
    said = run("import", "tf", "--config", shop, "--out", "new/shop.yaml", "--json")
    assert said.object["config"] == "new/shop.yaml"
    assert said.object["stages"]["rank"]["policy"] == {
        "kind": "tf_serving",
        "batch_timeout": "4.5ms",
    }
    before, after = load_config(shop), load_config("new/shop.yaml")
    assert after.stage("rank").max_batch == 12
    assert after.stage("rank").service == before.stage("rank").service
    assert (after.workload, after.objective, after.seed) == (
        before.workload,
        before.objective,
        before.seed,
    )
    assert [stage.name for stage in after.stages] == ["recall", "rank"]


def test_the_order_of_stages_can_be_told(run: Run, shop: Path) -> None:
    run("export", shop, "--to", "torchserve", "--out", "models")
    alphabetical = run("import", "models")
    assert "stages: their order is not in the files: rank, recall; --order" in alphabetical.out
    told = run("import", "models", "--order", "recall,rank")
    assert "their order" not in told.out
    said = run("simulate", "models.imported.yaml", "--set", "stages.0.service=1ms").error
    assert "stages.rank.service" in said


def test_files_of_others_stay_and_are_not_written_over(run: Run, shop: Path) -> None:
    first = ("export", shop, "--to", "triton", "--out", "models")
    weights = Path("models/rank/1/model.onnx")
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    assert run(*first).code == 0
    assert run(*first).code == 0  # the same again changes nothing
    theirs = Path("models/rank/config.pbtxt")
    theirs.write_text("max_batch_size: 4\n", encoding="utf-8")
    assert "models/rank/config.pbtxt is there already; give another --out" in run(*first).error
    assert theirs.read_text(encoding="utf-8") == "max_batch_size: 4\n"
    assert run(*first, "--replace").code == 0
    assert "max_queue_delay" in theirs.read_text(encoding="utf-8")
    assert weights.read_bytes() == b"weights"


@pytest.mark.parametrize(("server", "module"), [
    ("triton", "tritonclient.grpc"), ("tf_serving", "google.protobuf"),
])  # fmt: skip
def test_a_missing_library_is_named(
    run: Run, shop: Path, server: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from configs.servers import tf_serving

    tf_serving._message_class.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    said = run("export", shop, "--to", server, "--out", "models").error
    assert said.endswith("pip install 'delayline[servers]'")
    assert not Path("models").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["import", "nowhere"], "nowhere: there is no such folder or file"),
        (["import", "."], ". holds no server's configuration (config.pbtxt, "),
        (["import", ".", "--from", "mosec"], ". holds no mosec.yaml"),
        (["import", "both"], "both holds configurations of litserve, mosec; choose by --from"),
        (["import", "both", "--from", "mosec", "--service", "rnk=1ms"],
         "--service rnk=...: there is no stage `rnk`; did you mean `rank`?"),
        (["import", "both", "--from", "mosec", "--service", "rank"],
         "--service rank must be STAGE=SERVICE, such as rank=3ms"),
        (["import", "both", "--from", "mosec", "--service", "rank=3"],
         "as imported: stages.rank.service: needs a unit"),
        (["import", "both", "--from", "mosec", "--order", "recall"],
         "--order recall leaves out rank"),
        (["import", "both", "--from", "mosec", "--order", "recall,rang"],
         "there is no stage `rang`; did you mean `rank`?"),
        (["import", "both", "--from", "mosec", "--out", "both"], "--out both is a folder"),
        (["import", "both/mosec.yaml", "--out", "both/mosec.yaml"], "is the server's own file"),
        (["import", "both", "--from", "mosec", "--config", "one.yaml"],
         "--config has no stage `rank`; stages: recall"),
        (["export", "shop.yaml", "--to", "tritn", "--out", "x"],
         "there is no server `tritn`; did you mean `triton`?"),
        (["export", "shop.yaml", "--to", "triton", "--out", "shop.yaml"], "--out shop.yaml is a file"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(run: Run, shop: Path, words: list[str], told: str) -> None:
    written(Path(), "stages: [{name: recall}]", "one.yaml")
    run("export", shop, "--to", "mosec", "--out", "both")
    run("export", shop, "--to", "litserve", "--out", "both")
    before = sorted(Path().rglob("*"))
    assert told in run(*words).error
    assert sorted(Path().rglob("*")) == before
