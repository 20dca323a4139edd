"""Bad input: one clear line that names the place, exit code 2, nothing left behind, no traceback."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from configs.profile import ProfileRun, ServiceProfile, save_profile
from tests.command_line import TWO_STAGES, Run, runner, written

SLOW_MODULES = (
    *("torch", "optuna", "pyarrow", "matplotlib", "scipy.linalg", "scipy.special", "pandas"),
    *("joblib", "jinja2", "ray"),
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def command(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    line: Sequence[str] = [sys.executable, "-m", "delayline", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("seed=-1", "seed: must be at least 0, not -1"),
        ("sed=1", "sed: unknown key; did you mean `seed`?"),
        ("stages.rank.policy.delay=-2ms", "must not be negative"),
        ("stages.rank.policy.delay=99999d", "must be at most 3650d"),
        ("stages.rank.policy.delay=2", "needs a unit"),
        ("stages.rank.policy.kind=fixd", "did you mean `fixed`?"),
        ("stages.rank.service.kind=afine", "did you mean `affine`?"),
        ("workload.arrivals.kind=poison", "did you mean `poisson`?"),
        ("stages.rank.device=gpu0", "there is no device `gpu0`"),
        ("stages.recall.after=rank", "recall -> rank -> recall"),
        ("workload.arrivals.rate=0/s", "must be more than 0/s"),
        ("stages.rank.policy.size=17", "size must be at most max_batch (16), not 17"),
        ("nothing", "must be PATH=VALUE"),
    ],
)
def test_settings_that_cannot_be(run: Run, tmp_path: Path, setting: str, told: str) -> None:
    # `after` on one stage makes the list no chain any more, so the other says what it follows too.
    chained = TWO_STAGES.replace("  - name: rank\n", "  - name: rank\n    after: recall\n")
    error = run("simulate", written(tmp_path, chained), "--set", setting).error
    assert error.startswith(f"--set {setting}: ")
    assert told in error


def test_every_problem_has_its_line(run: Run, tmp_path: Path) -> None:
    text = TWO_STAGES.replace("seed: 3", "seed: x").replace("max_batch: 8", "max_batch: 0")
    said = run("simulate", written(tmp_path, text))
    assert said.code == 2
    lines = said.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"error: {tmp_path}/shop.yaml: ") for line in lines)
    assert "seed" in lines[0]
    assert "stages.recall.max_batch" in lines[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stages: [", "shop.yaml:1:"),
        ("a: 1\na: 2", "shop.yaml:2:1"),
        ("- 1", "shop.yaml: "),
        ("", "shop.yaml: "),
        ("!!python/object/apply:os.system [true]", "shop.yaml:1:1"),
    ],
)
def test_files_that_are_no_configuration(run: Run, tmp_path: Path, text: str, told: str) -> None:
    assert told in run("simulate", written(tmp_path, text)).error


def test_a_missing_file_is_named(run: Run, tmp_path: Path) -> None:
    for name in ("simulate", "tune"):
        assert f"{tmp_path}/no.yaml" in run(name, tmp_path / "no.yaml").error
    assert f"{tmp_path}/no" in run("compare", tmp_path / "no").error
    assert f"no run is recorded in {tmp_path}/no (run.json is missing)" in (
        run("report", tmp_path / "no").error
    )


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("timestamp\n0.0\n2.0\n1.0\n", "trace.csv, line 4, column timestamp"),
        ("timestamp,n\n0.0,1\n,1\n2.0,1\n", "trace.csv, line 3, column timestamp"),
        ("time\n0.0\n1.0\n", "has no column 'timestamp'"),
        ("timestamp\n", "has no rows"),
        (None, "trace.csv cannot be read"),
    ],
)
def test_traces_that_cannot_be_used(run: Run, tmp_path: Path, rows: str | None, told: str) -> None:
    if rows is not None:
        (tmp_path / "trace.csv").write_text(rows)
    setting = "workload.arrivals={kind: trace, path: trace.csv}"
    assert told in run("simulate", written(tmp_path), "--set", setting).error


def test_a_profile_of_another_stage_names_those_it_has(run: Run, tmp_path: Path) -> None:
    path, setting = tmp_path / "p.json", "stages.rank.service={kind: profile, path: p.json}"
    assert (
        f"there is no profile {path}" in run("simulate", written(tmp_path), "--set", setting).error
    )
    ones = np.ones(4, np.int64)
    other = ProfileRun(0.5, "fixed 2ms", ones, ones, ones * 1000, ones)
    save_profile(path, ServiceProfile("shop", "two cores", "abc", {"ranker": (other,)}))
    error = run("simulate", written(tmp_path), "--set", setting).error
    assert f"profile {path} has stages ranker; none named rank" in error


@pytest.mark.parametrize("replications", [1, 2])
def test_records_that_do_not_fit_leave_nothing(tmp_path: Path, replications: int) -> None:
    """A limit on the size of files stands in for a full disk: the write fails half-way."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    out = tmp_path / "runs"
    words = ("simulate", written(tmp_path), "--out", out, "-n", replications)
    done = command(*words, preexec_fn=limit)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: cannot write the records to {out}")
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists() or list(out.iterdir()) == []
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry != out) == ["shop.yaml"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["simulate"], "Missing argument 'CONFIG'"),
        (["simulate", "a.yaml", "--frob"], "No such option: --frob"),
        (["simulate", "a.yaml", "-n", "0"], "'--replications' / '-n'"),
        (["simulate", "a.yaml", "-n", "many"], "'--replications' / '-n'"),
        (["simulat"], "No such command 'simulat'"),
        (["tune", "a.yaml", "--trials", "0"], "'--trials' / '-t'"),
        (["compare"], "Missing argument 'RUN_OR_CONFIG"),
        (["report"], "Missing argument 'RUN"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, words: list[str], told: str) -> None:
    error = run(*words).error
    assert told in error
    assert error.endswith("see `delayline COMMAND --help`")


def test_without_a_command_there_is_help(run: Run) -> None:
    said = run()
    assert (said.code, said.err) == (2, "")
    for name in ("simulate", "tune", "compare", "report", "schema"):
        assert name in said.out
        assert run(name, "--help").code == 0


def test_version(run: Run) -> None:
    said = run("--version")
    assert (said.code, said.out) == (0, "delayline 0.1.0\n")


def test_a_traceback_is_there_for_who_asks(tmp_path: Path) -> None:
    words = ("simulate", written(tmp_path), "--set", "seed=-1")
    assert "Traceback" not in command(*words).stderr
    asked = command(*words, env={**os.environ, "DELAYLINE_TRACEBACK": "1"})
    assert "Traceback" in asked.stderr
    assert "ConfigError" in asked.stderr


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "delayline", "schema"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "delayline", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")


def test_simulating_imports_nothing_slow(tmp_path: Path) -> None:
    path = written(tmp_path)
    program = (
        "import sys, delayline\n"
        "assert 'numpy' not in sys.modules\n"
        "from delayline.cli import main\n"
        f"assert main(['simulate', {str(path)!r}]) == 0\n"
        f"print([name for name in {SLOW_MODULES!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]", done


def test_the_public_names_are_there() -> None:
    program = (
        "import delayline\n"
        "for name in delayline.__all__: assert getattr(delayline, name).__doc__, name\n"
        "assert delayline.__version__ == '0.1.0'\n"
        "import sys; print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n", done
