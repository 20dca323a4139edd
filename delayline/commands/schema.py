"""``delayline schema``: the JSON Schema of a configuration file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import delayline.loading  # noqa: F401  (makes every kind known)
from delayline.console import say


def schema(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="File to write.", show_default=False),
    ] = None,
) -> None:
    """Print the JSON Schema of configuration files, for editors.

    A file names it in its first line: `# yaml-language-server: $schema=schema.json`.
    """
    from configs.json_schema import schema_text

    if out is None:
        sys.stdout.write(schema_text())
        return
    from configs.atomic import write_text

    write_text(out, schema_text())
    say(f"wrote {out}")
