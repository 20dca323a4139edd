"""Who is told when something is compiled that takes long; light enough to be imported by every command."""

from __future__ import annotations

from collections.abc import Callable

listener: Callable[[str], object] = lambda text: None  # noqa: E731
"""Called with one line before the loop is compiled; a front end may put its own here."""
