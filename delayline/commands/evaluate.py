"""``delayline evaluate``: how good a pipeline's lists are, in every way that it may serve them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from delayline import options
from delayline.console import print_json, results
from delayline.errors import CommandError
from delayline.loading import load_config

Table = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="JSON file for the table, which a configuration names under `quality`.",
        show_default=False,
    ),
]
Users = Annotated[
    int | None,
    typer.Option(
        "--users",
        min=2,
        help="Measure on so many users, drawn; all if not given.",
        show_default=False,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="STAGE=N,N",
        help="Widths to measure beside the stage's own, such as rank=20,50. May be given again, for every"
        " combination; a half and a quarter of each stage's if not given.",
        show_default=False,
    ),
]
Ranker = Annotated[
    str | None,
    typer.Option(
        "--ranker",
        metavar="STAGE",
        help="The stage that, over all candidates, is the full model; the one that computes most if not"
        " given.",
        show_default=False,
    ),
]


def evaluate(
    config_file: options.ConfigFile,
    sets: options.Sets = None,
    keep: Keep = None,
    users: Users = None,
    ranker: Ranker = None,
    seed: options.Seed = None,
    out: Table = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure how good a pipeline's lists are: NDCG@10, recall and agreement with the full model.

    Lists are judged by the last interaction of each user, which the models are not told. There is a row for
    each width, each degradation level and each set of missing branches. --out keeps the table, by which
    simulations then predict quality.
    """
    from delayline import evaluating
    from delayline.evaluated import evaluated_json, print_evaluated
    from delayline.quality_grid import parse_keeps
    from reports.quality_table import write_table

    config = load_config(config_file, sets or ())
    if out is not None and out.is_dir():
        raise CommandError(f"--out {out} is a folder; give the file to write")
    began_s = time.perf_counter()
    found = evaluating.evaluate(
        config,
        keeps=parse_keeps(config, keep or ()),
        users=users,
        ranker=ranker,
        seed=seed,
        quiet=quiet,
    )
    if out is not None:
        write_table(out, found.table)
    wall_s = time.perf_counter() - began_s
    if json:
        written = None if out is None else str(out)
        print_json({"table": written, **evaluated_json(found.table), "wall_s": wall_s})
        return
    console = results()
    print_evaluated(console, config.name, found.table)
    wrote = "" if out is None else f", wrote {out}"
    console.print(f"evaluated in {wall_s:.1f} s{wrote}", soft_wrap=True)
