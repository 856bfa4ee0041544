"""The Jinja2 environment that templates run in: sandboxed, strict, metered.

Owns what a template may touch: which tags, filters, tests, methods and globals exist, and what each of them may use up. It has no
loader and reaches no file. Loaded only when the first template with Jinja2 in it is compiled. Nothing is evaluated at compile
time, so that every operation is metered.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import wraps
from types import BuiltinMethodType
from typing import Any, Final

from jinja2 import StrictUndefined, UndefinedError, pass_context
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import Cycler, Joiner, Namespace, missing

from runner.errors import TemplateError
from runner.templates.filters import FILTERS
from runner.templates.guards import FILTER_GUARDS, METHOD_GUARDS, guard_binary
from runner.templates.meter import CALL_UNITS, Meter, TooMuch
from runner.templates.record import LazyText, Record, mapping_of, unprintable

_JINJA_FILTERS: Final = (
    "abs",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "sum",
    "title",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
)
"""Jinja2's own, without those that are random, make HTML, or reach attributes."""

_TEXT_FILTERS: Final = frozenset(
    {"capitalize", "center", "format", "indent", "lower", "replace", "title", "trim", "truncate", "upper", "wordcount"}
)
"""Jinja2's own that would turn anything into text first: they get what may be printed, and nothing else."""

_JINJA_TESTS: Final = sorted(set(JINJA_TESTS) - {"filter", "test", "callable", "escaped"})

_METHODS: Final[dict[type, frozenset[str]]] = {
    str: frozenset(
        (
            "capitalize",
            "casefold",
            "center",
            "count",
            "endswith",
            "find",
            "format",
            "index",
            "isalnum",
            "isalpha",
            "isascii",
            "isdecimal",
            "isdigit",
            "islower",
            "isnumeric",
            "isspace",
            "istitle",
            "isupper",
            "join",
            "ljust",
            "lower",
            "lstrip",
            "partition",
            "removeprefix",
            "removesuffix",
            "replace",
            "rfind",
            "rindex",
            "rjust",
            "rpartition",
            "rsplit",
            "rstrip",
            "split",
            "splitlines",
            "startswith",
            "strip",
            "swapcase",
            "title",
            "upper",
            "zfill",
        )
    ),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
}
"""Python methods that templates may call, by type; everything else on plain data is out of reach."""

WALK: Final = "(walk)"
WEIGH: Final = "(weigh)"
CONCAT: Final = "(concat)"
"""Internal filters; no template can spell these names."""

_MAX_RANGE: Final = 100_000


class Missing(UndefinedError):
    """Something that does not exist was used: ``name`` of ``owner`` (None: of the context itself)."""

    def __init__(self, message: str | None, owner: object, name: object) -> None:
        super().__init__(message)
        self.owner = owner
        self.name = name


class _Undefined(StrictUndefined):
    """Jinja2's strict undefined, which remembers what was missing where."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: object = missing, name: str | None = None, exc: type[Any] = UndefinedError
    ) -> None:
        owner = None if obj is missing else obj

        def report(message: str | None) -> Missing:
            return Missing(message, owner, name)

        raising: Any = report if exc is UndefinedError and hint is None else exc
        super().__init__(hint, obj, name, raising)


def safe_range(*limits: int) -> range:
    """``range`` with at most 100,000 numbers of ordinary size."""
    numbers = range(*limits)
    if len(numbers) > _MAX_RANGE or any(abs(limit) > 2**53 for limit in limits):
        raise TooMuch(f"range({', '.join(str(limit) for limit in limits)}) is too big; {_MAX_RANGE:,} numbers are allowed")
    return numbers


GLOBALS: Final[Mapping[str, object]] = {
    "range": safe_range,
    "dict": dict,
    "namespace": Namespace,
    "cycler": Cycler,
    "joiner": Joiner,
}


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates of one manifest."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, max_chars: int, max_seconds: float) -> None:
        self.meter = meter = Meter(max_chars, max_seconds)

        @pass_context  # so that Jinja2 does not call it for constants at compile time
        def finalize(_context: Context, value: object) -> object:
            if type(value) is not str:
                value = as_printed(value)
                if type(value) is not str:
                    return value
            meter.charge(len(value))
            return value

        super().__init__(undefined=_Undefined, autoescape=False, optimized=False, cache_size=0, finalize=finalize)
        self.globals.clear()
        self.globals.update(GLOBALS)
        tests: Mapping[str, Any] = JINJA_TESTS
        self.tests = {name: self._metered(name, tests[name], {}) for name in _JINJA_TESTS}
        self.filters = self._all_filters()

    def _all_filters(self) -> dict[str, Callable[..., Any]]:
        table: dict[str, Callable[..., object]] = {name: JINJA_FILTERS[name] for name in _JINJA_FILTERS}
        table |= {name: entry.call for name, entry in FILTERS.items()}
        table |= {"string": as_text}
        metered = {name: self._metered(name, call, FILTER_GUARDS) for name, call in table.items()}
        return metered | {WALK: self._walk, WEIGH: self._weigh, CONCAT: self._concat}

    def _metered(self, name: str, call: Callable[..., Any], guards: Mapping[str, Any]) -> Callable[..., Any]:
        """``call`` with plain data in and out, charged by size, and refused beforehand where its guard says so."""
        meter, guard, strict = self.meter, guards.get(name), bool(guards) and name not in ("default", "d")
        skip = 1 if hasattr(call, "jinja_pass_arg") else 0

        @wraps(call)
        def metered(*args: object, **kwargs: object) -> object:
            data = [self._concrete(value) for value in args[skip:]]
            meter.charge(CALL_UNITS)
            for value in (*data, *kwargs.values()):
                if not isinstance(value, Undefined):
                    meter.weigh(value, strict=strict)
            if name in _TEXT_FILTERS:
                as_printed(data[0])
            if guard is not None:
                guard(meter, *data, **kwargs)
            result = self._concrete(call(*args[:skip], *data, **kwargs))
            if not isinstance(result, Undefined):
                meter.weigh(result)
            return result

        return metered

    def _concrete(self, value: object) -> object:
        """Lazy results as lists and records as mappings, so that their size is known."""
        if type(value) is str:
            return value
        if type(value) is Record:
            return dict(mapping_of(value))
        if isinstance(value, Iterator) and not isinstance(value, Undefined):
            items: list[object] = []
            for item in self.meter.walk(value):
                items.append(item)
                self.meter.predict(len(items))
            return items
        return value

    def _walk(self, items: Iterable[object], units: int) -> Iterator[object]:
        return self.meter.walk(iter(items), units)

    def _weigh(self, value: object) -> object:
        if not isinstance(value, Undefined):
            self.meter.weigh(value)
        return value

    def _concat(self, parts: list[object]) -> str:
        texts = [as_text(part) for part in parts]
        self.meter.predict(sum(map(len, texts)))
        joined = "".join(texts)
        self.meter.weigh(joined)
        return joined

    def getattr(self, obj: object, attribute: str) -> object:
        """``obj.attribute``: an item of a mapping first, whatever Python would call it."""
        if type(obj) is Record:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if isinstance(obj, LazyText):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """``obj[argument]``."""
        if isinstance(obj, (Record, LazyText)):
            known = isinstance(argument, str) and argument in obj
            return obj[str(argument)] if known else self.undefined(obj=obj, name=str(argument))
        return super().getitem(obj, argument)

    def wrap_str_format(self, value: object) -> Callable[..., str] | None:
        """``format`` in its sandboxed form; ``format_map`` is not among the listed methods."""
        return None if getattr(value, "__name__", "") == "format_map" else super().wrap_str_format(value)

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        """Only listed methods of plain data; of other objects what Jinja2 thinks safe."""
        for kind, names in _METHODS.items():
            if isinstance(obj, kind):
                return attr in names
        if isinstance(obj, (type, int, float, range, set, frozenset)):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: object, /, *args: object, **kwargs: object) -> object:
        """Call something from a template, charged."""
        meter = self.meter
        meter.charge(CALL_UNITS)
        method = getattr(obj, "__wrapped__", obj)
        if isinstance(method, BuiltinMethodType) and isinstance(method.__self__, (str, list, tuple, dict)):
            data = [self._concrete(value) for value in args]
            for value in (method.__self__, *data, *kwargs.values()):
                meter.weigh(value, strict=not isinstance(value, Undefined))
            guard = METHOD_GUARDS.get(method.__name__) if isinstance(method.__self__, str) else None
            if guard is not None:
                plain = {name: value for name, value in kwargs.items() if not name.startswith("_")}
                guard(meter, method.__self__, *data, **plain)
            args = tuple(data)
        result = self._concrete_call(super().call(context, obj, *args, **kwargs))
        if not isinstance(result, Undefined):
            meter.weigh(result)
        return result

    def _concrete_call(self, result: object) -> object:
        return list(result) if isinstance(result, (KeysView, ValuesView, ItemsView)) else result

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """``+ * ** %``: refused before they are done when the result would be too big."""
        if not isinstance(left, Undefined) and not isinstance(right, Undefined):
            guard_binary(self.meter, operator, left, right)
        return super().call_binop(context, operator, left, right)


def as_printed(value: object) -> object:
    """What may stand in text: raises ``TemplateError`` for nothing, lists, records and objects."""
    if isinstance(value, (str, bool, int, float, Undefined)):
        return value
    if isinstance(value, Record):
        raise unprintable(value)
    if value is None:
        raise TemplateError(
            "an empty value (null) stands where text is needed", hint="Give it a default: {{ product.x | default('...', true) }}."
        )
    if isinstance(value, Mapping):
        raise TemplateError("a whole mapping cannot be printed", hint="Name one field of it, or use `| tojson`.")
    if isinstance(value, (list, tuple, set, range)):
        raise TemplateError("a list cannot be printed as it is", hint="Join it: {{ product.tags | join(', ') }}.")
    raise TemplateError(f"a {type(value).__name__} is not text", hint="Call it, or name one of its fields.")


def as_text(value: object) -> str:
    """``value`` as it would be printed. Raises as ``as_printed``, and for what is undefined."""
    return str(as_printed(value))
