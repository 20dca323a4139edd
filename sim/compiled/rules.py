"""The rules of policies, admissions and degradations as machine code: one function pointer each, of the
same type for all classes.

Knobs come as arrays of integers and of floats, so that a rule is compiled once for its class and not for
each of its settings. Functions of modules that a rule calls are compiled with it.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from policies.admission import Admission
from policies.contract import Policy, RulePolicy, knob_parameters
from policies.degrade import Degrade
from sim.compiled import views
from sim.compiled.cache import digest_of, kept, sources
from sim.compiled.calls import ADMIT, ASK, DEGRADE, OBSERVE, TICK, address_of
from sim.compiled.jit import called

Ruled = Policy | Admission | Degrade
"""What decides by rules."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A rule of a class, and how it is called when it is compiled."""

    rule: str
    signature: Any
    more: str = ""
    """Parameters beyond the board, the stage and the time."""
    own: Callable[..., Any] = views.own
    returns: str = "return {call}"


_PARTS = {
    "ask": _Part("rule", ASK),
    "tick": _Part("tick_rule", TICK, returns="{call}; return 0"),
    "observe": _Part("observe_rule", OBSERVE, ", requests, service_ns", returns="{call}; return 0"),
    "urgency": _Part("urgency_rule", TICK),
}
"""Of a policy."""
_GATE = {"admit": _Part("rule", ADMIT, ", deadline_ns", views.gate, "return 1 if {call} else 0")}
"""Of an admission."""
_BRAKE = {"degrade": _Part("rule", DEGRADE, ", levels", views.brake)}
"""Of a degradation."""


class NotCompilableError(Exception):
    """Why a policy's rules cannot be compiled, in one line."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Addresses of the compiled rules of a class, by part, and how its knobs are laid out."""

    addresses: Mapping[str, int]
    knobs: tuple[tuple[str, str], ...]
    """(name, kind) of the knobs that the rules take; the kind is int, float, bool or ints."""
    compiled: tuple[Callable[..., Any], ...]
    """Kept so that the addresses stay good."""

    def laid_out(self, owner: Ruled) -> tuple[list[int], list[float]]:
        """The knobs of one of the class as the compiled rules read them. Raises OverflowError beyond 64
        bits.
        """
        ints: list[int] = []
        floats: list[float] = []
        lists: list[tuple[int, Sequence[int]]] = []
        for name, kind in self.knobs:
            value = getattr(owner, name)
            if kind == "float":
                floats.append(float(value))
            elif kind == "ints":
                lists.append((len(ints), value))
                ints += [0, len(value)]
            else:
                ints.append(int(value))
        for at, values in lists:
            ints[at] = len(ints)
            ints += values
        return ints, floats


@functools.cache
def rules_of(cls: type[Ruled]) -> Rules:
    """The rules of a class, compiled or taken from disk. Raises NotCompilableError."""
    parts = {name: part for name, part in _parts_of(cls).items() if getattr(cls, part.rule)}
    rules = [getattr(cls, part.rule) for part in parts.values()]
    names = dict.fromkeys(name for rule in rules for name in knob_parameters(rule))
    hints = typing.get_type_hints(cls)
    knobs = tuple(
        (name, _kind(cls, name, hints.get(name) or _returned(cls, name))) for name in names
    )
    compiled = {name: _compiled(cls, name, part, knobs) for name, part in parts.items()}
    addresses = {name: address_of(function) for name, function in compiled.items()}
    return Rules(addresses, knobs, tuple(compiled.values()))


def _parts_of(cls: type[Ruled]) -> Mapping[str, _Part]:
    if issubclass(cls, Admission):
        return _GATE
    if issubclass(cls, Degrade):
        return _BRAKE
    if not issubclass(cls, RulePolicy):
        raise NotCompilableError(f"{_named(cls)} has no rule")
    if not cls.decides_by_rules():
        raise NotCompilableError(f"{_named(cls)} overrides what its rules say")
    return _PARTS


def _named(cls: type[Ruled]) -> str:
    families = {Admission: "admission", Degrade: "degrade"}
    family = next((name for base, name in families.items() if issubclass(cls, base)), "policy")
    return f"{family} {cls.kind}"


def _returned(cls: type[Ruled], name: str) -> Any:
    """What a property that stands for a knob returns."""
    found = getattr(cls, name, None)
    if not isinstance(found, property):
        return None
    return typing.get_type_hints(found.fget).get("return")


def _kind(cls: type[Ruled], name: str, hint: Any) -> str:
    kinds = {int: "int", float: "float", bool: "bool", tuple[int, ...]: "ints"}
    if hint not in kinds:
        raise NotCompilableError(
            f"{_named(cls)}: knob {name} of its rule is {hint}; compiled rules take"
            " int, float, bool or tuple[int, ...]"
        )
    return kinds[hint]


def _compiled(
    cls: type[Ruled], name: str, part: _Part, knobs: tuple[tuple[str, str], ...]
) -> Callable[..., Any]:
    rule = getattr(cls, part.rule)
    if not isinstance(rule, FunctionType) or rule.__closure__:
        raise NotCompilableError(f"{_named(cls)}: its {part.rule} is no plain function")
    places = _places(knobs)
    passed = ["shown(board, k), now_ns, state" + part.more]
    passed += [places[knob] for knob in knob_parameters(rule)]
    call = f"rule({', '.join(passed)})"
    text = (
        f"def {name}(board, k, now_ns{part.more}):\n"
        "    state, ints, floats = own(board, k)\n"
        f"    {part.returns.format(call=call)}\n"
    )
    digests: list[str] = []
    try:
        found = {"rule": _jitted(rule, {}, digests), "shown": views.shown, "own": part.own}
        return kept(name, text, found, part.signature, "\n".join([sources(), *digests]))
    except Exception as error:  # numba has many ways to say no
        raise NotCompilableError(
            f"{_named(cls)}: its {part.rule} does not compile: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """The line of numba's message that says what it did not like."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Failed in")]
    return told[0] if told else type(error).__name__


def _places(knobs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """For each knob the expression that reads it; as :meth:`Rules.laid_out` lays them out."""
    places = {}
    ints = floats = 0
    for name, kind in knobs:
        if kind == "float":
            places[name] = f"floats[{floats}]"
            floats += 1
        elif kind == "ints":
            places[name] = f"ints[ints[{ints}] : ints[{ints}] + ints[{ints + 1}]]"
            ints += 2
        else:
            places[name] = f"ints[{ints}]" + (" != 0" if kind == "bool" else "")
            ints += 1
    return places


def _jitted(
    function: FunctionType, known: dict[FunctionType, Any], digests: list[str]
) -> Callable[..., Any]:
    """A function for numba, with the functions of modules that it calls made ready as well."""
    if function in known:
        return typing.cast("Callable[..., Any]", known[function])
    names = dict(function.__globals__)
    copy = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    known[function] = dispatcher = called(copy)
    digests.append(digest_of(function.__code__) + repr(function.__defaults__))
    for name in sorted(_names(function.__code__)):
        value = names.get(name)
        if isinstance(value, FunctionType):
            names[name] = _jitted(value, known, digests)
        elif isinstance(value, int | float | tuple):
            digests.append(f"{name}={value!r}")
    return typing.cast("Callable[..., Any]", dispatcher)


def _names(code: CodeType) -> set[str]:
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*(_names(each) for each in inner))
