"""``delayline export``: a configuration in the format of a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from configs.servers.registry import FORMATS
from delayline import options
from delayline.console import print_json, results
from delayline.loading import load_config

Server = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="SERVER",
        help=f"Server to write for: {', '.join(FORMATS)}.",
        show_default=False,
    ),
]
Folder = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", help="Folder for the files.", show_default=False),
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Write over files that are there already.")
]


def export(
    config_file: options.ConfigFile,
    to: Server,
    out: Folder,
    sets: options.Sets = None,
    replace: Replace = False,
    json: options.Json = False,
) -> None:
    """Write a configuration's settings as a real server takes them.

    What the server's format cannot say, or only nearly, is printed and written to
    NOT_EXPORTED.md beside the files. Other files in the folder stay as they are.
    """
    from delayline.exporting import export_config, write_deployment
    from delayline.remark_tables import print_remarks, print_settings, remarks_json

    deployment = export_config(load_config(config_file, sets or []), to)
    paths = write_deployment(out, deployment, overwrite=replace)
    settings = deployment.exported.settings
    if json:
        print_json(
            {
                "server": to,
                "files": [str(path) for path in paths],
                "settings": {stage: dict(keys) for stage, keys in settings.items()},
                "remarks": remarks_json(deployment.remarks),
            }
        )
        return
    console = results()
    count = len(settings)
    stages = f"{count} stages" if count > 1 else "1 stage"
    console.print(f"{deployment.config.name}: {stages} as {deployment.format.title}")
    console.print()
    print_settings(console, settings)
    print_remarks(console, deployment.remarks)
    console.print()
    console.print(f"wrote {', '.join(str(path) for path in paths)}", soft_wrap=True)
