"""The page of a regime map: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.atomic import write_text
from reports.html import embedder, environment
from reports.plan_page import Part


@dataclass(frozen=True, slots=True)
class MapPage:
    """What the page says."""

    title: str
    asked: str
    headline: str
    details: tuple[str, ...]
    figure: str
    """SVG text."""
    parts: Sequence[Part]
    config: str
    """The configuration, as YAML."""


def write_map_page(path: Path, page: MapPage) -> None:
    """Write the page, whole or not at all. Raises OSError."""
    template = environment().get_template("map.html")
    write_text(path, template.render(page=page, embed=embedder()))
