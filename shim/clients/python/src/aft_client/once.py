"""Request IDs that are taken from events."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Mapping, Optional, Sequence, TypeVar, Union

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

    def scope_of(self, function: Callable[..., Any]) -> str:
        """Returns the scope of a function's requests: the given one, or the function's name.

        Raises:
            Invalid: None is given, and the function has no name of its own, so that others would
                share its requests.
        """
        if not callable(function):
            raise Invalid(f"the function is of type {type(function).__qualname__}: decorate a function of a "
                          "transaction and an event")
        if self.scope is not None:
            return self.scope
        name = getattr(function, "__qualname__", None)
        if name is None or name.endswith("<lambda>"):
            raise Invalid(f"the function is a {type(function).__qualname__} without a name of its own, and another one "
                          "would share its requests: pass scope")
        return f"{function.__module__}.{name}"

    def request_of(self, function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> str:
        """Returns the ID of an event's request.

        Args:
            function: The decorated function.
            given, named: The arguments of the call, the event being the first one of the function
                after the transaction.

        Raises:
            Invalid: The event has no ID.
        """
        arguments = self._bound(function, given, named)
        if callable(self.key):
            name, found = "the ID that key returned for the event", self.key(*arguments.args[1:], **arguments.kwargs)
        else:
            name, found = f"the event's {self.key}", self._at_path(self.key, arguments.args[1])
        if found is None:
            raise Invalid(f"{name} is None, so that the event has no ID: nothing was run")
        if not isinstance(found, str):
            raise Invalid(f"{name} is of type {type(found).__qualname__}: give text by a function, for instance "
                          "key=lambda event, *_: str(event[…])")
        checked_name(name, found)
        return found

    @staticmethod
    def _bound(function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]) -> inspect.BoundArguments:
        """Returns the arguments of the function by position where it takes them so."""
        try:
            signature = inspect.signature(function)
        except ValueError:  # A function of C may have none.
            signature = inspect.signature(lambda transaction, event, *more, **named: None)
        bound = signature.bind(None, *given, **named)
        if len(bound.args) < 2:
            raise Invalid("the function takes no event by position: its first two arguments are the transaction and "
                          "the event")
        return bound

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
