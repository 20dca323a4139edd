"""From frozen dataclasses to pydantic models and back.

Every part of a configuration, and every kind, is a frozen dataclass whose fields are knobs. Its pydantic
model is built here, once, from annotations, units and bounds; what a validation returns is the dataclass.
In YAML a knob goes by its public name: ``delay_ns`` is written ``delay``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    create_model,
)
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from configs.errors import Loc, nearest, shown
from configs.fields import NO_BOUNDS, refusal, single
from configs.kinds import kinds
from configs.messages import message
from configs.plain import plain, unit_of
from configs.short import FAMILIES, KIND, Full, in_full, kind_in_full
from policies.knobs import Bounds, bounds_of, public_name

T = TypeVar("T")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class NodeOf:
    """Marks a field that holds a dataclass of knobs."""

    cls: type[Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        def validate(value: object, info: ValidationInfo) -> Any:
            return value if isinstance(value, self.cls) else value_of(self.cls, value, info.context)

        return core_schema.with_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(
        self,
        schema: CoreSchema,
        handler: GetJsonSchemaHandler,
    ) -> dict[str, Any]:
        return schema_part(self.cls)


@dataclass(frozen=True, slots=True)
class KindOf:
    """Marks a field that holds a kind of a family, whichever is registered when it is read."""

    family: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, value: object, info: ValidationInfo) -> Any:
        known = kinds(self.family)
        if isinstance(value, tuple(known.values())):
            return value
        full = kind_in_full(self.family, value)
        if not isinstance(full.value, Mapping):
            raise refusal(f"must be a kind such as {self._example(known)}, not {shown(value)}")
        name = full.value.get(KIND)
        if name is None:
            raise _at((KIND,), value, f"is missing; {self._listed(known)}")
        if not isinstance(name, str) or name not in known:
            hint = nearest(name, known) if known else self._listed(known)
            text = f"there is no {self.family} kind {shown(name)}; {hint}"
            raise _at(full.place((KIND,)), name, text)
        try:
            return value_of(known[name], full.value, info.context)
        except ValidationError as error:
            raise _moved(full, error) from error

    def _example(self, known: Mapping[str, type[Any]]) -> str:
        return f"{{kind: {next(iter(known), '...')}, ...}}"

    def _listed(self, known: Mapping[str, type[Any]]) -> str:
        if known:
            return f"{self.family} kinds: {', '.join(known)}"
        return f"no {self.family} kinds are registered; import `sim.kinds` or `executors.kinds`"

    def __get_pydantic_json_schema__(
        self,
        schema: CoreSchema,
        handler: GetJsonSchemaHandler,
    ) -> dict[str, Any]:
        known = kinds(self.family)
        choices: list[dict[str, Any]] = [schema_part(cls) for cls in known.values()]
        bare = [name for name, cls in known.items() if not needed(cls)]
        if bare:
            choices.append({"enum": bare})
        scalar = FAMILIES[self.family].scalar
        if scalar is not None and scalar[0] in known:
            choices.append(schema_part(known[scalar[0]], scalar[1]))
        return {"anyOf": choices} if choices else {"not": {}}


PART = "part"
"""The keyword under which a schema names another dataclass's; ``configs.json_schema`` resolves it."""


def schema_part(cls: type[Any], knob: str = "") -> dict[str, Any]:
    """Stands for a dataclass's part of the JSON schema, or for one of its knobs there."""
    return {PART: model_name(cls) + (f"/properties/{knob}" if knob else "")}


def _at(loc: Loc, value: object, text: str) -> ValidationError:
    details = [InitErrorDetails(type=refusal(text), loc=loc, input=value)]
    return ValidationError.from_exception_data("configuration", details)


def _moved(full: Full, error: ValidationError) -> ValidationError:
    """The same error at the places that were written."""
    details = [
        InitErrorDetails(type=refusal(e["msg"]), loc=full.place(e["loc"]), input=e["input"])
        for e in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data("configuration", details)


def _internal(attribute: str) -> str:
    """The pydantic field's name: out of the way of BaseModel's own attributes."""
    return f"knob_{attribute}"


def needed(cls: type[Any]) -> list[str]:
    """Public names of the knobs that must be given."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return [
        public_name(f.name)
        for f in dataclasses.fields(cls)
        if _default(hints[f.name], f) is _MISSING
    ]


_MISSING = (..., False)


def _default(hint: Any, field: dataclasses.Field[Any]) -> tuple[Any, bool]:
    """(default, whether it is still to be read): a field's own, or what its type implies."""
    if field.default is not dataclasses.MISSING:
        return field.default, False
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory(), False
    family = family_of(hint)
    if family is not None and FAMILIES[family].default is not None:
        return FAMILIES[family].default, True
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and not needed(hint):
        return {}, True
    return _MISSING


def value_of(cls: type[T], raw: object, context: dict[str, Any] | None = None) -> T:
    """The frozen dataclass that ``raw``, a mapping of public names, describes.

    Raises ValidationError whose messages are final; ``context["folder"]`` is where relative paths
    count from.
    """
    try:
        full = in_full(cls, raw)
    except ValueError as error:
        raise refusal(str(error)) from error
    if not isinstance(full.value, Mapping):
        raise refusal(f"must be a mapping of keys to values, not {shown(raw)}")
    model = model_of(cls)
    try:
        found = model.model_validate(dict(full.value), context=context)
    except ValidationError as error:
        raise _moved(full, _worded(cls, error)) from error
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    try:
        return cls(**{name: getattr(found, _internal(name)) for name in names})
    except ValueError as error:
        raise refusal(str(error)) from error


def _worded(cls: type[Any], error: ValidationError) -> ValidationError:
    """The same error in words for a reader of the configuration."""
    docs = {public_name(f.name): bounds_of(f).doc for f in dataclasses.fields(cls)}
    keys = [KIND, *docs] if isinstance(getattr(cls, KIND, None), str) else list(docs)
    details = [
        InitErrorDetails(type=refusal(message(e, keys, docs)), loc=e["loc"], input=e["input"])
        for e in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data("configuration", details)


_MODELS: dict[type[Any], type[BaseModel]] = {}


def model_of(cls: type[Any]) -> type[BaseModel]:
    """The pydantic model of a dataclass of knobs; a kind's has its ``kind`` as a first field."""
    if cls not in _MODELS:
        _MODELS[cls] = _build_model(cls)
    return _MODELS[cls]


def _build_model(cls: type[Any]) -> type[BaseModel]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {}
    name = getattr(cls, "kind", None)
    if isinstance(name, str):
        fields[_internal(KIND)] = (Literal[name], Field(alias=KIND))
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        default, unread = _default(hint, field)
        extra = {} if default is ... else {"default": plain(default, unit_of(field.name))}
        fields[_internal(field.name)] = (
            field_type(hint, field),
            Field(
                default,
                alias=public_name(field.name),
                validate_default=unread,
                description=bounds_of(field).doc or None,
                json_schema_extra=extra,
            ),
        )
    doc = (cls.__doc__ or "").strip().partition("\n\n")[0]
    return create_model(model_name(cls), __base__=_Model, __doc__=" ".join(doc.split()), **fields)


def model_name(cls: type[Any]) -> str:
    """A name that no other model has: two families may have kinds, and classes, of one name."""
    kind = getattr(cls, KIND, None)
    family = next((f for f in FAMILIES if kinds(f).get(str(kind)) is cls), None)
    return f"{kind}_{family}" if family else cls.__name__


def family_of(annotation: Any) -> str | None:
    """The family of a field that is marked :class:`KindOf`, optional or not."""
    for option in get_args(annotation) if get_origin(annotation) is Union else ():
        if family_of(option) is not None:
            return family_of(option)
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, KindOf):
            return extra.family
    return None


def field_type(annotation: Any, field: dataclasses.Field[Any]) -> Any:
    """The pydantic type that reads the knob that a field declares."""
    return read_type(annotation, unit_of(field.name), bounds_of(field))


def read_type(annotation: Any, unit: str | None, bounds: Bounds) -> Any:
    """The pydantic type that reads ``annotation``, unit and bounds applied to the numbers inside.

    Raises TypeError for a type that no configuration holds.
    """
    found = single(annotation, unit, bounds)
    if found is not None:
        return found
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated or annotation is Any or origin is Literal:
        return annotation
    if origin in (Union, types.UnionType):
        return Union[tuple(a if a is type(None) else read_type(a, unit, bounds) for a in args)]  # noqa: UP007
    if origin is tuple:
        inner = tuple(a if a is Ellipsis else read_type(a, unit, bounds) for a in args)
        return Annotated[tuple[inner], BeforeValidator(_listlike)]  # type: ignore[valid-type]
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        key = read_type(args[0], None, NO_BOUNDS)
        return dict[key, read_type(args[1], unit, bounds)]  # type: ignore[valid-type,misc]
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return Annotated[Any, NodeOf(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return annotation
    raise TypeError(f"a knob has a type that no configuration holds: {annotation}")


def _listlike(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise refusal(f"must be a list, not {shown(value)}")
    return value
