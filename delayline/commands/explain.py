"""``delayline explain``: why requests waited, from the records of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from configs.errors import nearest
from delayline import options
from delayline.console import print_json, results
from delayline.errors import CommandError
from delayline.gathering import recorded

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a recorded run.", show_default=False)
]
Request = Annotated[
    int | None,
    typer.Option(
        "--request",
        "-r",
        metavar="ID",
        help="The request whose story is told; ids count from 0 in order of arrival.",
        show_default=False,
    ),
]
Slowest = Annotated[
    int | None,
    typer.Option(
        "--slowest",
        metavar="N",
        min=1,
        help="List the N requests that took longest, or were at --stage for longest.",
        show_default=False,
    ),
]
Stage = Annotated[
    str | None,
    typer.Option("--stage", metavar="NAME", help="Look at one stage alone.", show_default=False),
]


def explain(
    run_folder: RunFolder,
    request: Request = None,
    slowest: Slowest = None,
    stage: Stage = None,
    json: options.Json = False,
) -> None:
    """Tell from the records why requests waited: held for size or for time, for want of a replica or of a
    slot, or at a join for a slower branch.

    Without --request: where the latency of all requests and of the slowest 1% went, and what would help.
    The parts of a request sum to its latency, to the nanosecond.
    """
    if request is not None and slowest is not None:
        raise CommandError("--request and --slowest are two questions; ask one of them")
    from reports.records import is_run

    if not run_folder.is_dir() or not (is_run(run_folder) or any(run_folder.glob("rep-*"))):
        raise CommandError(
            f"{run_folder} is not the folder of a run; give one that `simulate --out` or `run --out` wrote"
        )
    (run,) = recorded([run_folder])
    names = [each.name for each in run.log.stages]
    if stage is not None and stage not in names:
        raise CommandError(
            f"--stage {stage}: there is no such stage; {nearest(stage, names, called='stages')}"
        )
    console = results()
    if request is not None:
        from delayline.explained import Told
        from reports.explain import explain as explain_request

        told = Told(run, explain_request(run.log, request), stage)
        if json:
            print_json(told.to_json())
        else:
            told.print(console)
        return
    from delayline.attributed import Attributed

    found = Attributed(run)
    if json:
        print_json(found.to_json(slowest, stage))
    elif slowest is not None:
        found.print_slowest(console, slowest, stage)
    elif stage is not None:
        found.print_stage(console, stage)
    else:
        found.print(console)
