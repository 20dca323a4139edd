"""A server's own settings with the server's own bounds, read out of a mapping and checked on the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from configs.errors import shown
from configs.servers.base import Remark, left_out, refused

MS_NS, S_NS = 1_000_000, 1_000_000_000


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: a whole number, or any number where it is not ``whole``, within the server's bounds."""

    name: str
    least: float
    most: float | None = None
    whole: bool = True
    also: tuple[object, ...] = ()
    """Values that are no number and are taken all the same."""

    def checked(self, value: Any, source: str, where: str = "") -> Any:
        """``value`` itself. Raises ConfigError with the bound, which is the server's."""
        place = f"{where}.{self.name}" if where else self.name
        if any(value is each or (isinstance(each, str) and value == each) for each in self.also):
            return value
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            a_number = "a whole number" if self.whole else "a number"
            raise refused(source, place, f"must be {a_number}, not {shown(value)}")
        if not value >= self.least:
            raise refused(source, place, f"must be at least {self.least:g}, not {value}")
        if self.most is not None and not value <= self.most:
            raise refused(source, place, f"must be at most {self.most:g}, not {value}")
        return value


@dataclass(frozen=True, slots=True)
class Table:
    """The settings of one place in a server's configuration."""

    settings: tuple[Setting, ...]

    def read(self, values: Any, source: str, where: str = "") -> dict[str, Any]:
        """The known keys that are there and not null. Raises ConfigError for one that is out of bounds."""
        values = mapping(values, source, where)
        return {
            each.name: each.checked(values[each.name], source, where)
            for each in self.settings
            if values.get(each.name) is not None
        }

    def check(self, values: Mapping[str, Any], source: str, where: str = "") -> None:
        """Raise ConfigError where a value that is to be written is out of bounds."""
        self.read(values, source, where)

    def others(self, values: Mapping[str, Any], where: str) -> Iterator[Remark]:
        """One remark for the keys that are not known, if there are any."""
        known = {each.name for each in self.settings}
        if names := [str(name) for name in values if name not in known]:
            yield left_out(where, f"{', '.join(names)}: not of batching")


def mapping(value: Any, source: str, where: str = "") -> Mapping[str, Any]:
    """``value``, which must be keys and values. Raises ConfigError."""
    if not isinstance(value, Mapping):
        raise refused(source, where, f"must hold keys and values, not {shown(value)}")
    return value


def sequence(value: Any, source: str, where: str = "") -> Sequence[Any]:
    """``value``, which must be a list. Raises ConfigError."""
    if not isinstance(value, list):
        raise refused(source, where, f"must be a list, not {shown(value)}")
    return value


def whole_ns(value: float, unit_ns: int) -> int:
    """A number of units as nanoseconds: what the decimal text of a float says, not its binary value."""
    return round(Fraction(str(value)) * unit_ns)


def seconds(duration_ns: int) -> float | int:
    """Nanoseconds as seconds; whole where they are."""
    whole, rest = divmod(duration_ns, S_NS)
    return duration_ns / S_NS if rest else whole
