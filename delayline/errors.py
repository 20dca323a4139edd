"""What a command says when it cannot go on: one clear line and an exit code, never a traceback.

``DELAYLINE_TRACEBACK=1`` in the environment asks for the traceback instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from typer.exceptions import TyperException

from configs.errors import ConfigError
from policies.scheduler import PolicyError

OK = 0
FAILED = 1
"""It went wrong, and not by what was given."""
BAD_INPUT = 2
INTERRUPTED = 130
TRACEBACK = "DELAYLINE_TRACEBACK"

_ROOMS = ("configs", "delayline", "executors", "policies", "reports", "sim")


class CommandError(ValueError):
    """What was asked of a command cannot be done; the text says why and what to do."""


def exit_code(error: BaseException) -> int:
    """2 for what the user can put right, otherwise 1.

    Rooms raise ValueErrors and exceptions of their own for input that cannot be used; a RuntimeError
    of theirs is a run that failed (a worker that would not start).
    """
    if isinstance(error, TyperException | ValueError | OSError | PolicyError):
        return BAD_INPUT
    return BAD_INPUT if _ours(error) and not isinstance(error, RuntimeError) else FAILED


def lines(error: BaseException) -> Iterator[str]:
    """What to tell the user: one line, or one for each problem of a configuration."""
    if isinstance(error, ConfigError):
        yield from (_one_line(str(problem)) for problem in error.problems)
    elif isinstance(error, TyperException):
        # Without a command there is no message: the help that was printed is enough.
        if text := _one_line(error.format_message()).removesuffix("."):
            yield f"{text}; see `delayline COMMAND --help`"
    elif isinstance(error, OSError) and error.strerror:
        yield f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        yield "out of memory; ask for fewer requests or replications"
    elif isinstance(error, ValueError) or _ours(error):
        yield _one_line(str(error))
    else:
        yield (
            f"{type(error).__name__}: {_one_line(str(error))}"
            f" (this is a fault of delayline; {TRACEBACK}=1 shows where)"
        )


def _ours(error: BaseException) -> bool:
    """Whether a room of ours has defined this exception, and so has worded it for the user."""
    return type(error).__module__.partition(".")[0] in _ROOMS


def _one_line(text: str) -> str:
    return " ".join(text.split())
