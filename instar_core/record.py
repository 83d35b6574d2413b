"""A light stand-in for typing.NamedTuple.

The contract types are named tuples. `typing` costs more to import than half an interpreter start, and
`collections.namedtuple` compiles source for every class; this does neither. Type checkers never see it: modules that
use it import `typing.NamedTuple` under TYPE_CHECKING.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]


class _Meta(type):
    def __new__(mcs, name: str, bases: tuple, space: dict) -> type:  # type: ignore[type-arg]
        if not bases:
            return super().__new__(mcs, name, bases, space)
        fields = tuple(space.pop("__annotations__", ()))
        defaults = {field: space.pop(field) for field in fields if field in space}
        late = fields[len(fields) - len(defaults) :]
        if tuple(defaults) != late:
            raise TypeError(f"{name}: a field without a default follows one with a default")
        space.update(
            {field: _tuplegetter(index, "") for index, field in enumerate(fields)},
            __slots__=(),
            __match_args__=fields,
            _fields=fields,
            _field_defaults=defaults,
            _late=tuple(defaults.values()),
            __new__=_new,
            __repr__=_repr,
            _make=classmethod(_make),
            _replace=_replace,
            _asdict=_asdict,
            __getnewargs__=tuple,
        )
        return type.__new__(type, name, (tuple,), space)


def _new(cls, *values, **named):  # type: ignore[no-untyped-def]
    fields = cls._fields
    missing = len(fields) - len(values)
    if not named and 0 < missing <= len(cls._late):
        values += cls._late[-missing:]
    elif missing or named:
        if missing < 0:
            raise TypeError(f"{cls.__name__} takes {len(fields)} values, not {len(values)}")
        defaults = cls._field_defaults
        rest = []
        for field in fields[len(values) :]:
            if field in named:
                rest.append(named.pop(field))
            elif field in defaults:
                rest.append(defaults[field])
            else:
                raise TypeError(f"{cls.__name__} needs {field!r}")
        if named:
            raise TypeError(f"{cls.__name__} has no field {next(iter(named))!r} left to set")
        values += tuple(rest)
    return tuple.__new__(cls, values)


def _make(cls, values):  # type: ignore[no-untyped-def]
    return tuple.__new__(cls, values)


def _repr(self):  # type: ignore[no-untyped-def]
    return f"{type(self).__name__}({', '.join(f'{f}={v!r}' for f, v in zip(self._fields, self, strict=True))})"


def _replace(self, **changes):  # type: ignore[no-untyped-def]
    values, fields = list(self), self._fields
    for field, value in changes.items():
        if field not in fields:
            raise TypeError(f"{type(self).__name__} has no field {field!r}")
        values[fields.index(field)] = value
    return tuple.__new__(type(self), values)


def _asdict(self):  # type: ignore[no-untyped-def]
    return dict(zip(self._fields, self, strict=True))


class NamedTuple(metaclass=_Meta):
    """Base of a record: subclass it with annotated fields, defaults last."""
