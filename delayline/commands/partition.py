"""``delayline partition``: one model cut into the stages of a pipeline."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import typer

from configs.atomic import folder_in_place, write_text
from configs.units import parse_duration
from delayline import options
from delayline.console import print_json
from delayline.errors import CommandError
from delayline.loading import load_config
from policies.partition.choices import Goal, Strategy

PIPELINE = "pipeline.yaml"
_OURS = ("weights.safetensors", "examples.safetensors", PIPELINE)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A .pt2 archive of torch.export, or package.module:factory, which returns the module and its"
        " example inputs.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder for the parts.", show_default=False),
]
Stages = Annotated[
    int | None,
    typer.Option(
        "--stages",
        min=1,
        max=64,
        help="Parts to make; 2 if not given, or as many as the strategy makes.",
        show_default=False,
    ),
]
GoalOption = Annotated[
    Goal,
    typer.Option(
        "--goal", help="The slowest part fastest, or one batch's way with transfer least."
    ),
]
StrategyOption = Annotated[
    Strategy,
    typer.Option(
        "--strategy",
        help="By costs; lookups apart from dense layers; or after the nodes that --cut names.",
    ),
]
Cuts = Annotated[
    list[str] | None,
    typer.Option(
        "--cut",
        metavar="NODE,...",
        help="End a part after these nodes or modules; implies --strategy manual. May be given again.",
        show_default=False,
    ),
]
Cost = Annotated[
    str, typer.Option("--cost", metavar="measure|count", help="Time the operators, or count them.")
]
Batch = Annotated[
    int, typer.Option("--batch", min=2, max=65536, help="Rows of the batch that costs are for.")
]
Hop = Annotated[
    str, typer.Option("--hop", metavar="TIME", help="What each stage adds to a batch's way.")
]
Device = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Where parts run: cpu, cpu:CORE,... or cuda:NUMBER. May be given again.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Replicas in all, spread by the parts' costs.", show_default=False
    ),
]
Examples = Annotated[
    Path | None,
    typer.Option(
        "--examples",
        metavar="FILE",
        help="Example inputs by name, as safetensors, in place of the model's own.",
        show_default=False,
    ),
]
Listed = Annotated[
    bool, typer.Option("--list", help="Tell what can be apart and its cost, and cut nothing.")
]


def partition(
    model: Model,
    out: Out = None,
    stages: Stages = None,
    goal: GoalOption = Goal.THROUGHPUT,
    strategy: StrategyOption = Strategy.BALANCED,
    cut: Cuts = None,
    cost: Cost = "measure",
    batch: Batch = 32,
    hop: Hop = "100us",
    device: Device = None,
    workers: Workers = None,
    examples: Examples = None,
    listed: Listed = False,
    seed: options.Seed = None,
    json: options.Json = False,
) -> None:
    """Cut a model into stages, and write them with the pipeline that runs them.

    A request is a row of the model's inputs. The parts together are held against the whole model on
    random rows before anything is written.
    """
    from delayline.partition_tables import partition_json, print_analysis, print_partition
    from delayline.partitioned import deploy, parse_device, pipeline_yaml
    from executors.partition import partition as parts
    from executors.partition.costs import CostKind
    from executors.placement import available_cores

    if Path(model).suffix in (".yaml", ".yml"):
        raise CommandError(
            f"{model} is a pipeline, whose stages are models of their own; partition cuts one model into"
            f" stages. Choose `keep`, replicas and holds by `delayline tune {model}`, and see whether"
            f" other stages would pay by `delayline compare {model} --plans`"
        )
    if cost not in (known := [kind.value for kind in CostKind]):
        raise CommandError(f"--cost {cost} must be {' or '.join(known)}")
    if out is None and not listed:
        raise CommandError("give the folder for the parts with --out DIR, or --list to look first")
    if out is not None and out.exists() and not out.is_dir():
        raise CommandError(f"--out {out} is a file; give a folder")
    if cut and strategy is Strategy.BY_OPERATOR_KIND:
        raise CommandError("--cut is for the manual strategy; leave --strategy out")
    devices = [parse_device(text) for text in dict.fromkeys(device or [])]
    plan = parts.PartitionPlan(
        stages=stages,
        strategy=Strategy.MANUAL if cut else strategy,
        goal=goal,
        cuts=tuple(cut or ()),
        cost=CostKind(cost),
        batch=batch,
        hop_ns=_hop_ns(hop),
        device=devices[0].torch_device if devices else "cpu",
        threads=devices[0].threads if devices else 1,
        seed=seed or 0,
    )
    analysis = parts.analyse(model, plan, examples)
    if listed or out is None:
        print_analysis(analysis, plan)
        return
    chosen = parts.choose(analysis, plan)
    file = out / PIPELINE
    with folder_in_place(out.resolve(), keep=_kept(out)) as folder:
        found = parts.partition(analysis, chosen, plan, folder)
        deployment = deploy(found, devices, workers, len(available_cores()))
        text = pipeline_yaml(out.resolve().name, str(file), found, plan, deployment)
        write_text(folder / PIPELINE, text)
        load_config(folder / PIPELINE)
    if json:
        print_json(partition_json(found, plan, deployment, file))
    else:
        print_partition(found, plan, deployment, file)


def _hop_ns(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--hop {text}: {error}") from error


def _kept(out: Path) -> list[str]:
    """What else lies in the folder and stays. Raises CommandError for a folder in it."""
    if not out.exists():
        return []
    others = [
        entry
        for entry in out.iterdir()
        if entry.name not in _OURS and not fnmatch(entry.name, "part*.pt2")
    ]
    for entry in others:
        if entry.is_dir():
            raise CommandError(
                f"--out {out} holds the folder {entry.name}, which is no part of a partition; give a"
                " new folder"
            )
    return [entry.name for entry in others]
