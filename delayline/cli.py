"""The command line: one module a command in ``delayline.commands``, entered here by one line each.

Command modules are imported at every start, so they import what is slow inside the command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from delayline.commands.compare import compare
from delayline.commands.demo import demo
from delayline.commands.evaluate import evaluate
from delayline.commands.explain import explain
from delayline.commands.export import export
from delayline.commands.import_profile import import_profile
from delayline.commands.import_server import import_server
from delayline.commands.map import regime_map
from delayline.commands.partition import partition
from delayline.commands.plan import plan
from delayline.commands.profile import profile
from delayline.commands.report import report
from delayline.commands.run import run
from delayline.commands.schema import schema
from delayline.commands.simulate import simulate
from delayline.commands.sweep import sweep
from delayline.commands.train import train
from delayline.commands.tune import tune
from delayline.commands.validate import validate
from delayline.console import say
from delayline.errors import FAILED, INTERRUPTED, OK, TRACEBACK, exit_code, lines
from sim.compiled import notice

app = typer.Typer(
    name="delayline",
    help="Simulate, tune and run delay scheduling for multi-stage model serving.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    demo,
    simulate,
    sweep,
    tune,
    plan,
    partition,
    train,
    evaluate,
    profile,
    import_profile,
    run,
    validate,
    compare,
    explain,
    report,
    export,
    schema,
):
    app.command()(_command)
app.command("map")(regime_map)
app.command("import")(import_server)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"delayline {metadata.version('delayline')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Simulate, tune and run delay scheduling for multi-stage model serving."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. The console script ``delayline``."""
    if sys.stderr.isatty():
        notice.listener = say
    try:
        code = app(args=None if argv is None else list(argv), standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()  # the reader has seen enough
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(TRACEBACK) == "1":
            raise
        _drop_output()
        for line in lines(error):
            say(f"error: {line}")
        return exit_code(error)
    return code if isinstance(code, int) else OK


def _drop_output() -> None:
    """Let what stdout cannot take go, or Python would complain of it once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
