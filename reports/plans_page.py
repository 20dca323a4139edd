"""The page of plans that were compared: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.atomic import write_text
from reports.html import embedder, environment
from reports.plan_page import Part


@dataclass(frozen=True, slots=True)
class PlansPage:
    """What the page says."""

    title: str
    asked: str
    headline: str
    details: tuple[str, ...]
    parts: Sequence[Part]
    config: str
    """The configuration that the plans are made of, as YAML."""


def write_plans_page(path: Path, page: PlansPage) -> None:
    """Write the page, whole or not at all. Raises OSError."""
    template = environment().get_template("plans.html")
    write_text(path, template.render(page=page, embed=embedder()))
