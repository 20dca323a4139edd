"""The page of a plan: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.atomic import write_text
from reports.html import embedder, environment


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: heads, in which a line may be broken, and rows of as many texts; the first is a name."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the page: its title, what is said, a table and a figure (SVG text) where there are any."""

    title: str
    texts: tuple[str, ...] = ()
    table: Rows | None = None
    figure: str = ""


@dataclass(frozen=True, slots=True)
class PlanPage:
    """What the page says."""

    title: str
    asked: str
    headline: str
    details: tuple[str, ...]
    parts: Sequence[Part]
    config: str
    """The planned configuration, as YAML."""


def write_plan_page(path: Path, page: PlanPage) -> None:
    """Write the page, whole or not at all. Raises OSError."""
    template = environment().get_template("plan.html")
    write_text(path, template.render(page=page, embed=embedder()))
