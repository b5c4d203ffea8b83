"""Python callables named by an import path, such as `site_rules.meters:correct_ratio`."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

_IMPORT_PATH = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")


def import_callable(path: str) -> Callable[[Any], Any]:
    """The callable of one argument at `path`, written package.module:function.

    :raises ValueError: when the path is not written so, the module cannot be imported (its own error is quoted), or
        what is found is not callable with exactly one argument; the message says what to do.
    """
    if not _IMPORT_PATH.match(path):
        raise ValueError(f"{path!r} is not an import path; write package.module:function")
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # a module may fail in any way while it is imported
        raise ValueError(
            f"{path!r} cannot be imported: {type(error).__name__}: {error}; install the package that holds "
            f"{module_name!r} in this environment, or put it on PYTHONPATH"
        ) from error
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ValueError(f"{path!r} cannot be imported: {module_name!r} has no {attribute!r}") from None
    if not callable(found):
        raise ValueError(f"{path!r} is a {type(found).__name__}, not a function; name a callable that takes a Reading")
    _check_one_argument(path, found)
    return found  # type: ignore[no-any-return]


def _check_one_argument(path: str, function: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ValueError(f"{path!r} is a coroutine or a generator; write a plain function that returns its result")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some built-in callables have no signature to check
    try:
        signature.bind(object())
    except TypeError:
        raise ValueError(f"{path!r} takes {signature}; it must accept one argument, a Reading") from None
