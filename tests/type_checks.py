"""What is annotated is checked in every call: types, and sizes of arrays, which must agree within a call.

jaxtyping's import hook decorates all functions of the packages. Its decorator makes and compiles two checks wherever a
function is defined, and looks at arguments twice in every call, so that a function which is defined within another
costs milliseconds every time. Here the same annotations are checked by beartype once per call, under jaxtyping's memory
of sizes where there are arrays, and functions of one code share their checks.
"""

import functools
import inspect
import typing
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from beartype.door import die_if_unbearable


class AnnotationError(TypeError):
    """What is annotated is something else."""


_ORIGINAL = jaxtyping.jaxtyped
_CONF = BeartypeConf(violation_type=AnnotationError)
_checked_once = beartype(conf=_CONF)
_ANY_NUMBER = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def install() -> None:
    """Takes the place of jaxtyping's decorator, for modules that are imported from now on."""
    jaxtyping.jaxtyped = checked


def checked(given: Any = None, **options: Any) -> Any:
    """As `jaxtyping.jaxtyped`."""
    if given is None:
        return functools.partial(checked, **options)
    if not isinstance(given, FunctionType) or inspect.isgeneratorfunction(given):
        return _ORIGINAL(given, **options)
    known = _hints.get(given.__code__) or _hints.setdefault(given.__code__, _hints_of(given))
    hints, of_arrays = known
    if hints is None:
        return _ORIGINAL(given, **options)
    if not hints:
        return given
    if "<locals>" in given.__qualname__ and not given.__code__.co_flags & _ANY_NUMBER:
        return _checked_within(given, hints, of_arrays)
    once: Any = _checked_once(given)
    return _ORIGINAL(once, typechecker=None) if of_arrays else once


_hints: dict[CodeType, tuple[dict[str, Any] | None, bool]] = {}
"""Of functions, and whether there are arrays; None where annotations name what is not known outside."""


def _hints_of(function: FunctionType) -> tuple[dict[str, Any] | None, bool]:
    within = function.__qualname__.split(".")[0]
    own = {within: _Own} if within != function.__name__ else {}  # a class that is being defined
    try:
        hints = typing.get_type_hints(function, function.__globals__, own, include_extras=True)
    except (NameError, AttributeError):
        return None, True
    return hints, any(map(_has_arrays, hints.values()))


class _Own:
    """Stands for the class of a method, which beartype finds when it is called."""


def _has_arrays(hint: Any) -> bool:
    if isinstance(hint, list | tuple):
        return any(map(_has_arrays, hint))
    named = getattr(hint, "__module__", "").startswith("jaxtyping")
    return named or _has_arrays(typing.get_args(hint)) or isinstance(hint, type) and _is_array(hint)


def _is_array(hint: type) -> bool:
    return issubclass(hint, jaxtyping.AbstractArray)


def _checked_within(function: Callable, hints: dict[str, Any], of_arrays: bool) -> Callable:
    """A function that is defined anew in every call of another."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]

    def call(*arguments: Any, **named: Any) -> Any:
        for name, value in (*zip(names, arguments, strict=False), *named.items()):
            if name in hints:
                die_if_unbearable(value, hints[name], conf=_CONF)
        result = function(*arguments, **named)
        if "return" in hints:
            die_if_unbearable(result, hints["return"], conf=_CONF)
        return result

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        if not of_arrays:
            return call(*arguments, **named)
        with _ORIGINAL("context"):
            return call(*arguments, **named)

    return run
