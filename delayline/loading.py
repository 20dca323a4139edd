"""Configurations, loaded with every kind of every room known by its name."""

from __future__ import annotations

import os
from collections.abc import Sequence

import executors.kinds  # noqa: F401
import sim.kinds  # noqa: F401
from configs.load import load_config as load_known
from configs.model import Config


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """The configuration in the YAML file at ``path``, with ``overrides`` (``PATH=VALUE``) put in.

    Raises ConfigError with everything that is wrong, one line each.
    """
    return load_known(path, overrides)
