"""YAML in and out: plain values only, no duplicate keys, and the scalars of YAML 1.2.

PyYAML follows YAML 1.1, where ``on`` is true, ``010`` is 8, ``1:30`` is 90 and ``1e3`` is text; editors
and JSON Schema follow YAML 1.2, where none of that holds. This loader reads scalars as YAML 1.2's core
schema does, so that a file means the same to both. It is a SafeLoader: it builds no objects.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from configs.errors import ConfigError, Problem

LARGEST_BYTES = 16 * 1024 * 1024
"""Longest file that is read: no configuration is near it, data files that were named by mistake are."""


class _Loader(yaml.SafeLoader):
    """A SafeLoader with YAML 1.2 scalars that refuses duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, yaml.Mark] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # SafeLoader has the message for it
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key `{key}` stands here for a second time"
                    f" (the first is in line {seen[key].line + 1})",
                    key_node.start_mark,
                )
            seen[key] = key_node.start_mark
        return super().construct_mapping(node, deep)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 16 if text.startswith("0x") else 8 if text.startswith("0o") else 10)


_CORE_SCHEMA = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]{1,4000}|0o[0-7]{1,4000}|0x[0-9a-fA-F]{1,4000})$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("merge", r"^<<$", "<"),
)


class _Dumper(yaml.SafeDumper):
    """A SafeDumper that quotes text which either version of YAML would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


class Line(dict[Any, Any]):
    """A mapping that is written in one line, as ``{key: value}``."""


def _represent_line(dumper: yaml.SafeDumper, line: Line) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", line, flow_style=True)


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """PyYAML folds Unicode's own line breaks into spaces unless they are escaped."""
    style = '"' if set(text) & {"\x85", "\u2028", "\u2029"} else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)
_Dumper.add_representer(Line, _represent_line)
for _tag, _pattern, _first in _CORE_SCHEMA:
    _firsts = [*_first.replace("\0", ""), *([""] if "\0" in _first else [])]
    for _reader_or_writer in (_Loader, _Dumper):
        _reader_or_writer.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _firsts
        )
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def parse_yaml(text: str, source: str) -> Any:
    """The value that ``text`` holds. Raises ConfigError with line and column (from 1)."""
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "cannot be read"
        if mark is None:
            raise ConfigError([Problem(source, "", f"is not YAML: {what}")]) from error
        place = f"{source}:{mark.line + 1}:{mark.column + 1}"
        raise ConfigError([Problem(place, "", f"is not YAML that can be used: {what}")]) from error
    except yaml.reader.ReaderError as error:
        what = f"the character {error.character!r} at position {error.position} is not allowed"
        raise ConfigError([Problem(source, "", f"is not YAML: {what}")]) from error
    except RecursionError as error:
        raise ConfigError([Problem(source, "", "is nested too deeply")]) from error
    except ValueError as error:
        raise ConfigError([Problem(source, "", f"cannot be read: {error}")]) from error


def dump_yaml(data: Any) -> str:
    """``data`` (plain values) as text that :func:`parse_yaml` reads back."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping that the file at ``path`` holds. Raises ConfigError for a file that is missing,
    unreadable, not UTF-8, empty, or holds something else than a mapping.
    """
    source = str(path)

    def refuse(text: str, cause: BaseException | None = None) -> ConfigError:
        error = ConfigError([Problem(source, "", text)])
        error.__cause__ = cause
        return error

    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        raise refuse("there is no such file", error) from error
    except IsADirectoryError as error:
        raise refuse("is a folder; name the YAML file in it", error) from error
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror or error}", error) from error
    if len(raw) > LARGEST_BYTES:
        raise refuse(f"is longer than {LARGEST_BYTES // 1024**2} MiB; is it a configuration?")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise refuse(f"is not UTF-8 text (line {line}); save it as UTF-8", error) from error
    data = parse_yaml(text, source)
    if data is None:
        raise refuse("is empty; it needs at least `stages:`")
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise refuse(f"must hold keys and values such as `stages:`, not {kind}")
    return data
