"""``delayline import``: a configuration out of a real server's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from configs.servers.registry import FORMATS
from delayline import options
from delayline.console import print_json, results
from delayline.errors import CommandError
from delayline.loading import load_config

Place = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="Folder or file of the server's.", show_default=False),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="SERVER",
        help=f"Server that it is of, by the files' names if not given: {', '.join(FORMATS)}.",
        show_default=False,
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="CONFIG",
        help="Configuration whose stages take the settings and keep all else.",
        show_default=False,
    ),
]
Service = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        metavar="STAGE=SERVICE",
        help="Service times of a stage, such as rank=3ms. May be given again.",
        show_default=False,
    ),
]
Order = Annotated[
    str,
    typer.Option(
        metavar="STAGE,...",
        help="The stages in order, where the files do not tell it.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Configuration to write; NAME.imported.yaml if not given.",
        show_default=False,
    ),
]


def import_server(
    place: Place,
    server: Server = None,
    base: Base = None,
    service: Service = None,
    order: Order = "",
    out: Out = None,
    json: options.Json = False,
) -> None:
    """Make a configuration of a real server's settings.

    A server's files do not say how long a batch takes: give it by --service, or
    take it from a configuration that you have by --config. Without either, the
    file is refused until it is put in.
    """
    from configs.atomic import write_text
    from delayline.remark_tables import print_remarks, print_settings, remarks_json
    from delayline.server_import import import_config

    if out is None:
        whole = place.absolute()
        out = Path(f"{whole.stem if place.is_file() else whole.name}.imported.yaml")
    if out.is_dir():
        raise CommandError(f"--out {out} is a folder; give the file to write")
    if place.is_file() and out.absolute() == place.absolute():
        raise CommandError(f"--out {out} is the server's own file; give another")
    found = import_config(
        place,
        server=server,
        base=None if base is None else load_config(base),
        services=_services(service or []),
        order=[name.strip() for name in order.split(",") if name.strip()],
        out=out,
    )
    write_text(out, found.text())
    settings = {
        stage["name"]: {key: value for key, value in stage.items() if key != "name"}
        for stage in found.mapping["stages"]
        if stage["name"] in found.imported
    }
    if json:
        print_json(
            {
                "config": str(out),
                "server": found.format.name,
                "stages": settings,
                "remarks": remarks_json(found.remarks),
            }
        )
        return
    console = results()
    count = len(settings)
    stages = f"{count} stages" if count > 1 else "1 stage"
    console.print(f"{found.mapping['name']}: {stages} from {found.format.title}")
    console.print()
    print_settings(console, settings)
    print_remarks(console, found.remarks)
    console.print()
    console.print(f"wrote {out}", soft_wrap=True)


def _services(given: list[str]) -> dict[str, str]:
    """``STAGE=SERVICE`` by stage."""
    found = {}
    for text in given:
        stage, equals, service = text.partition("=")
        if not equals or not stage.strip() or not service.strip():
            raise CommandError(f"--service {text} must be STAGE=SERVICE, such as rank=3ms")
        found[stage.strip()] = service.strip()
    return found
