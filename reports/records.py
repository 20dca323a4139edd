"""A run on disk: a folder of three Parquet tables and ``run.json``, written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.atomic import folder_in_place, write_synced
from policies.runlog import DeviceLog, RunLog, StageLog
from reports import record_tables
from reports.quality import quality_of_json
from reports.run import Objective, Run

FORMAT = "delayline-run/1"
RUN_FILE = "run.json"

_FILES = frozenset({RUN_FILE, *(f"{name}.parquet" for name in record_tables.SCHEMAS)})
_MAY_LIE_BESIDE = frozenset({"report.html"})
_PACKAGES = ("delayline", "numpy", "scipy", "simpy", "torch", "pyarrow")


class RecordsError(Exception):
    """Records cannot be written or read; the text names the file and what to do."""


def write(folder: Path, run: Run) -> None:
    """Record a run in ``folder``, which appears complete or not at all.

    A run folder that is there already is replaced, anything else is left alone. ``created`` and
    ``versions`` are filled in where the run has none. Raises RecordsError, with nothing left behind,
    where the folder is something else, or cannot be written for want of space or permission.
    """
    folder = folder.absolute()
    check_target(folder)
    try:
        with folder_in_place(folder, keep=_MAY_LIE_BESIDE) as filled:
            _write_tables(filled, run.log)
            document = json.dumps(_run_document(run), indent=2, allow_nan=False, ensure_ascii=False)
            write_synced(filled / RUN_FILE, document + "\n")
    except OSError as error:
        raise RecordsError(_why_not_written(folder, run.log, error)) from error


def read(folder: Path) -> Run:
    """The run that was recorded in ``folder``.

    Raises RecordsError where a file is missing, damaged or of another format.
    """
    document = _read_document(folder / RUN_FILE)
    tables = {name: _read_table(folder, name, document) for name in record_tables.SCHEMAS}
    try:
        return _run_of(document, tables)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RecordsError(
            f"{folder}: the records do not fit together ({error}); record the run again"
        ) from error


def is_run(folder: Path) -> bool:
    """Whether ``folder`` looks like a recorded run."""
    return (folder / RUN_FILE).is_file()


def check_target(folder: Path) -> None:
    """Whether :func:`write` may write to ``folder``, to be asked before a long run.

    Raises RecordsError for a file, or a folder that holds anything but a recorded run.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RecordsError(f"{folder} is a file; give a folder for the records")
    found = {entry.name for entry in folder.iterdir()}
    foreign = sorted(found - _FILES - _MAY_LIE_BESIDE)
    if found and (foreign or RUN_FILE not in found):
        named = foreign[0] if foreign else sorted(found)[0]
        raise RecordsError(
            f"{folder} is not the folder of a run (it holds {named}); "
            "give a new folder, or empty this one"
        )


def _write_tables(folder: Path, log: RunLog) -> None:
    tables: dict[str, Iterable[pa.Table]] = {
        "requests": record_tables.request_tables(log.requests),
        "visits": chain.from_iterable(
            record_tables.visit_tables(stage, record_tables.schema_of("visits", log))
            for stage in log.stages
        ),
        "batches": chain.from_iterable(
            record_tables.batch_tables(stage, record_tables.schema_of("batches", log))
            for stage in log.stages
        ),
    }
    for name, parts in tables.items():
        # A file of our own, so that the system's error for a full disk arrives as it is.
        with (folder / f"{name}.parquet").open("wb") as file:
            schema = record_tables.schema_of(name, log)
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for part in parts:
                    writer.write_table(part)
            file.flush()
            os.fsync(file.fileno())


def _why_not_written(folder: Path, log: RunLog, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(_existing(folder)).free
        return (
            f"no space for the records in {folder}: they need up to {_nbytes(log) / 1e6:.1f} MB and "
            f"{free / 1e6:.1f} MB are free; make room or choose another folder"
        )
    return f"cannot write the records to {folder}: {error.strerror or error}; choose another folder"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _nbytes(log: RunLog) -> int:
    """Size of the tables before compression, an upper estimate of what the files take."""
    visits = sum(len(stage.visits.request) for stage in log.stages)
    batches = sum(len(stage.batches.batch) for stage in log.stages)
    return 56 * len(log.requests) + 56 * visits + 64 * batches + 16_384


def _run_document(run: Run) -> dict[str, object]:
    log, objective = run.log, run.objective
    return {
        "format": FORMAT,
        "name": run.name,
        "created": run.created or datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": log.info.get("seed"),
        "engine": log.info.get("engine"),
        "objective": None
        if objective is None
        else {"latency_ns": objective.latency_ns, "percentile": objective.percentile},
        "warmup_ns": run.warmup_ns,
        "end_ns": log.end_ns,
        "rows": {
            "requests": len(log.requests),
            "visits": sum(len(stage.visits.request) for stage in log.stages),
            "batches": sum(len(stage.batches.batch) for stage in log.stages),
        },
        "stages": [
            {
                "name": stage.name,
                "replicas": stage.replicas,
                "replica_devices": stage.replica_devices,
                "max_batch": stage.max_batch,
                "branch": stage.branch,
                "parents": stage.parents,
                "down": stage.down,
                "off": stage.off,
                "partial": stage.partial,
                "skips_at": 0 if stage.skipped is None else stage.skipped.level,
            }
            for stage in log.stages
        ],
        "devices": [{"name": device.name, "slots": device.slots} for device in log.devices],
        "info": log.info,
        "config": dict(run.config),
        **({} if run.quality is None else {"quality": run.quality.to_json()}),
        "versions": dict(run.versions) or _versions(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordsError(
            f"no run is recorded in {path.parent} ({path.name} is missing); give the folder of --out"
        ) from None
    except (OSError, ValueError) as error:
        raise RecordsError(f"{path} cannot be read ({error}); record the run again") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise RecordsError(
            f"{path} has format {found!r}, this version reads {FORMAT!r}; record the run again, "
            "or use the version of delayline that wrote it"
        )
    return dict(document)


def _read_table(folder: Path, name: str, document: Mapping[str, Any]) -> pa.Table:
    path = folder / f"{name}.parquet"
    try:
        file = pq.ParquetFile(path)
        schema = record_tables.schema_in(name, file.schema_arrow.names)
        table = file.read(schema.names).select(schema.names).cast(schema)
    except FileNotFoundError:
        raise RecordsError(f"{path} is missing; record the run again") from None
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise RecordsError(f"{path} is damaged ({error}); record the run again") from error
    expected = document.get("rows", {}).get(name)
    if table.num_rows != expected:
        raise RecordsError(
            f"{path} has {table.num_rows} rows, {RUN_FILE} says {expected}; "
            "the files are of different runs: record the run again"
        )
    return table


def _run_of(document: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> Run:
    objective = document["objective"]
    log = RunLog(
        requests=record_tables.read_requests(tables["requests"]),
        stages=tuple(
            _stage_of(entry, tables["visits"], tables["batches"]) for entry in document["stages"]
        ),
        devices=tuple(DeviceLog(**entry) for entry in document["devices"]),
        end_ns=document["end_ns"],
        info=document["info"],
    )
    return Run(
        name=document["name"],
        log=log,
        objective=None if objective is None else Objective(**objective),
        warmup_ns=document["warmup_ns"],
        config=document["config"],
        created=document["created"],
        quality=quality_of_json(document.get("quality")),
        versions=document["versions"],
    )


def _stage_of(entry: Mapping[str, Any], visits: pa.Table, batches: pa.Table) -> StageLog:
    batch_log = record_tables.read_batches(_of_stage(batches, entry["name"]))
    own = _of_stage(visits, entry["name"])
    visit_log = record_tables.read_visits(own)
    if len(visit_log.row) and int(visit_log.row.max()) >= len(batch_log.batch):
        raise ValueError(f"stage {entry['name']} has visits to batches that are not recorded")
    return StageLog(
        name=entry["name"],
        replicas=entry["replicas"],
        replica_devices=tuple(entry["replica_devices"]),
        max_batch=entry["max_batch"],
        branch=entry["branch"],
        parents=tuple(entry["parents"]),
        batches=batch_log,
        visits=visit_log,
        down=tuple((replica, start, end) for replica, start, end in entry["down"]),
        partial=entry.get("partial", False),
        off=tuple((replica, start, end) for replica, start, end in entry.get("off", ())),
        skipped=record_tables.read_skipped(own, entry.get("skips_at", 0)),
    )


def _of_stage(table: pa.Table, name: str) -> pa.Table:
    """The rows of one stage, in their order."""
    if table.num_rows == 0:
        return table
    column = table["stage"].combine_chunks()
    names = column.dictionary.to_pylist()
    code = names.index(name) if name in names else -1
    return table.filter(pa.array(column.indices.to_numpy() == code))
