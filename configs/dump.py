"""A configuration as text that loads back to an equal one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.model import Config
from configs.plain import plain
from configs.yaml_text import dump_yaml

SCHEMA_LINE = "# yaml-language-server: $schema={}\n"
"""The comment by which editors find a file's schema."""


def plain_config(config: Config, folder: Path | None = None) -> dict[str, Any]:
    """``config`` as plain values, units in text; what has its default is left out."""
    found: dict[str, Any] = plain(config, folder=folder)
    return found


def dump_config(config: Config, folder: Path | None = None, schema: str = "schema.json") -> str:
    """YAML for a file in ``folder``; ``load_config`` makes an equal configuration of it.

    Files below ``folder`` are named relative to it, others by their absolute path. ``schema`` is where
    an editor finds the schema, from the file.
    """
    return SCHEMA_LINE.format(schema) + dump_yaml(plain_config(config, folder))
