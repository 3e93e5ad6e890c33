"""Request IDs that are taken from events."""

from __future__ import annotations

import functools
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, TypeVar, Union

from .errors import Invalid
from .values import checked_name

Key = Union[str, Callable[..., str]]
F = TypeVar("F", bound=Callable[..., Any])


class Once:
    """The way from an event to its request."""

    def __init__(self, key: Key, scope: Optional[str]) -> None:
        if not callable(key) and not (isinstance(key, str) and key):
            raise Invalid(f"key is {key!r}: pass a function of the event, or a path such as 'detail.order_id'")
        self.key = key
        self.scope = checked_name("scope", scope)

    def request_of(self, function: Callable[..., Any], event: Any, more: Sequence[Any]) -> Tuple[str, str]:
        """Returns the ID and the scope of an event's request.

        Raises:
            Invalid: The event has no ID.
        """
        if callable(self.key):
            name, found = "the ID that key returned for the event", self.key(event, *more)
        else:
            name, found = f"the event's {self.key}", self._at_path(self.key, event)
        if found is None:
            raise Invalid(f"{name} is None, so that the event has no ID: nothing was run")
        if not isinstance(found, str):
            raise Invalid(f"{name} is of type {type(found).__qualname__}: give text by a function, for instance "
                          "key=lambda event, *_: str(event[…])")
        checked_name(name, found)
        return found, self.scope if self.scope is not None else f"{function.__module__}.{function.__qualname__}"

    @staticmethod
    def _at_path(path: str, event: Any) -> Any:
        found = event
        for part in path.split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise Invalid(f"the event has no {part!r} at the path {path!r} of its ID: nothing was run")
            found = found[part]
        return found

    @staticmethod
    def named_after(handle: F, function: Callable[..., Any]) -> F:
        """Gives a handler the name and the documentation of the function that it calls."""
        functools.update_wrapper(handle, function)
        # Its arguments are others than those of the function.
        del handle.__wrapped__  # type: ignore[attr-defined]
        return handle
