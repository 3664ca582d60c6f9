"""Values of `idk.yaml` against its types: a value that does not fit is named by its key, with what the key takes."""

from __future__ import annotations

import difflib
import types
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct, inspect

from proxy.config.sections import Config
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: What YAML's values are called in messages.
_NAMES: Final = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def config_of(tree: Any, where: str) -> Config:
    """Convert YAML's values to a configuration; raise ConfigError, which begins with ``where``."""
    try:
        return msgspec.convert(tree, Config)
    except (msgspec.ValidationError, OverflowError) as exc:
        problem = next(_problems("", tree, Config), f"the file: {exc}")
        raise ConfigError(f"{where}: {problem}") from exc


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the closest known name for a misspelt one; name all of them where none is close."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(known))}"


def _problems(place: str, value: Any, annotation: Any) -> Iterator[str]:
    """Yield the problems of the value at ``place``, the outermost first."""
    if _fits(value, annotation):
        return
    options, section = _options(annotation), _section(annotation)
    if isinstance(value, dict) and section is not None:
        yield from _section_problems(place, value, section)
    elif isinstance(value, dict) and (pair := _arguments(options, dict)):
        for key, inner in value.items():
            if not _fits(key, pair[0]):
                wrong = _mismatch(key, pair[0]) if isinstance(key, str) else f"the key {key!r} is not text"
                yield f"{_join(place, '')}: {wrong}"
            yield from _problems(_join(place, str(key)), inner, pair[1])
    elif isinstance(value, list) and (items := _arguments(options, tuple)):
        for number, inner in enumerate(value):
            yield from _problems(f"{place}[{number}]", inner, items[0])
    yield f"{_join(place, '')}: {_mismatch(value, annotation)}"


def _section_problems(place: str, values: dict[Any, Any], section: type[Struct]) -> Iterator[str]:
    hints = get_type_hints(section, include_extras=True)
    fields = {field.encode_name: hints[field.name] for field in msgspec.structs.fields(section)}
    for key, value in values.items():
        if key in fields:
            yield from _problems(_join(place, key), value, fields[key])
        elif isinstance(key, str):
            yield f"{_join(place, key)}: unknown key; {nearest(key, fields)}"
        else:
            yield f"{_join(place, '')}: the key {key!r} is not text; known are {', '.join(sorted(fields))}"
    for field in msgspec.structs.fields(section):
        if field.required and field.encode_name not in values:
            yield f"{_join(place, '')}: the required key `{field.encode_name}` is missing"


def _fits(value: Any, annotation: Any) -> bool:
    try:
        msgspec.convert(value, annotation)
    except (msgspec.ValidationError, OverflowError):
        return False
    return True


def _options(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type alone, each without what ``Annotated`` adds."""
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(plain) in (Union, types.UnionType):
        return tuple(option for each in get_args(plain) for option in _options(each))
    return (plain,)


def _section(annotation: Any) -> type[Struct] | None:
    return next(
        (each for each in _options(annotation) if isinstance(each, type) and issubclass(each, Struct)), None
    )


def _arguments(options: Iterable[Any], container: type) -> tuple[Any, ...]:
    return next((get_args(each) for each in options if get_origin(each) is container), ())


def _join(place: str, key: str) -> str:
    """Return the name of a key inside ``place``; with no key, that of the place itself."""
    return ".".join(filter(None, (place, key))) or "the file"


def _mismatch(value: Any, annotation: Any) -> str:
    """Say what the value is not, and what the key takes."""
    kinds = _kinds(inspect.type_info(annotation))
    for kind, meta in kinds:
        if isinstance(kind, inspect.LiteralType) and isinstance(value, str):
            wrong = f"is not a {meta['title']}" if "title" in meta else "is not one of its values"
            return f"{_quoted(value)} {wrong}; use {_choice(kind.values)}"
        if isinstance(kind, inspect.StrType) and isinstance(value, str) and "title" in meta:
            return f"{_quoted(value)} is not a {meta['title']}; use {meta['description']}"
    expected = ", or ".join(dict.fromkeys(_expected(kind) for kind, _ in kinds))
    return f"must be {expected}, not {_described(value)}"


def _kinds(info: inspect.Type) -> list[tuple[inspect.Type, dict[str, Any]]]:
    """Return the plain types of a type, each with the title and description of its ``Meta``."""
    if isinstance(info, inspect.UnionType):
        return [kind for each in info.types for kind in _kinds(each)]
    if isinstance(info, inspect.Metadata):
        return [(kind, {**(info.extra_json_schema or {}), **meta}) for kind, meta in _kinds(info.type)]
    return [(info, {})]


def _expected(kind: inspect.Type) -> str:
    match kind:
        case inspect.NoneType():
            return "null"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return _choice(kind.values)
        case inspect.IntType():
            return f"a whole number{_range(kind)}"
        case inspect.FloatType():
            return f"a number{_range(kind)}"
        case inspect.StrType():
            return "text of at least one character" if kind.min_length else "text"
        case inspect.VarTupleType():
            return f"a list{_length(kind)}"
    return "a mapping"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge:,.10g} to {kind.le:,.10g}"
    words = (("of at least", kind.ge), ("above", kind.gt), ("of at most", kind.le), ("below", kind.lt))
    bounds = " and ".join(f"{word} {bound:,.10g}" for word, bound in words if bound is not None)
    return f" {bounds}" if bounds else ""


def _length(kind: inspect.VarTupleType) -> str:
    if kind.max_length == kind.min_length == 1:
        return " of one entry"
    return " of at least one entry" if kind.min_length else ""


def _choice(values: Iterable[Any]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}" if first else last


def _described(value: Any) -> str:
    if value is None or isinstance(value, dict) or (isinstance(value, list) and value):
        return _NAMES[type(value)]
    if isinstance(value, list):
        return "an empty list"
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**20):
        return str(value).lower()
    if isinstance(value, int):
        return "a number of more than 20 digits"
    return f"{_NAMES.get(type(value), type(value).__name__)} ({_quoted(value)})"


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
