"""Protocol buffers in their text format, by the library: nothing is parsed by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from configs.errors import ConfigError, Problem
from configs.servers.base import MissingLibraryError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

LARGEST_BYTES = 16 * 1024 * 1024


def needs_extra(format_title: str, error: ImportError) -> MissingLibraryError:
    """What to say where protobuf, or the messages of a server, are not installed."""
    return MissingLibraryError(
        f"{format_title} is written and read by a library that is not installed ({error.name}):"
        " pip install 'delayline[servers]'"
    )


def triton_messages() -> Any:
    """The module of Triton's messages in its client library. Raises MissingLibraryError."""
    try:
        from tritonclient.grpc import model_config_pb2
    except ImportError as error:
        raise needs_extra("Triton's config.pbtxt", error) from error
    return model_config_pb2


def text_of(message: Message, comments: Iterable[str] = ()) -> str:
    """The message as text, after comments of a line each."""
    from google.protobuf import text_format

    return "".join(f"# {line}\n" for line in comments) + text_format.MessageToString(message)


def parsed(path: Path, message: M) -> M:
    """``message``, filled from the text in ``path``. Raises ConfigError with line and column (from 1)."""
    from google.protobuf import text_format

    source = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            [Problem(source, "", f"cannot be read: {error.strerror or error}")]
        ) from error
    if len(raw) > LARGEST_BYTES:
        raise ConfigError([Problem(source, "", f"is longer than {LARGEST_BYTES // 1024**2} MiB")])
    try:
        return text_format.Parse(raw.decode("utf-8-sig"), message)
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(source, "", "is not UTF-8 text; save it as UTF-8")]) from error
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        place = f"{source}:{line}:{column}" if line else source
        what = str(error).removeprefix(f"{line}:{column} : ")
        raise ConfigError([Problem(place, "", f"is not what it should be: {what}")]) from error
