"""``delayline train``: the recommender that the shipped pipelines run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from delayline import options
from delayline.console import print_json, progress, results
from delayline.training import print_quality, steps

InteractionsFolder = Annotated[
    Path | None,
    typer.Option(
        "--interactions",
        metavar="DIR",
        help="Folder with MovieLens' ratings.csv; generated interactions if not given.",
        show_default=False,
    ),
]
WeightsFolder = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for the weights.")
]
TrainingSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all random numbers.")]


def train(
    interactions: InteractionsFolder = None,
    out: WeightsFolder = Path("artifacts/recommender"),
    seed: TrainingSeed = 1,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train the recommender and tell its quality beside popularity's.

    The last interaction of each user in time is held out for the figures, the one before for early
    stops. Weights that are there already from the same data and seed are kept.
    """
    from executors.recommender.train import train_or_reuse

    with progress("training", 100, quiet=quiet) as advance:
        result = train_or_reuse(interactions, out, seed, steps(advance))
    if json:
        print_json(
            {
                "path": str(result.path),
                "reused": result.reused,
                "wall_s": result.elapsed_s,
                **result.evaluation.to_json(),
            }
        )
        return
    console = results()
    print_quality(console, result.evaluation)
    done = "kept the weights of an earlier training" if result.reused else "trained"
    console.print(f"{done} in {result.elapsed_s:.1f} s, weights in {result.path}")
