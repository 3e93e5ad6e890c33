"""The way in which tasks of an event loop wait. Only `aft_client.aio` imports it, and with it
asyncio."""

from __future__ import annotations

import asyncio
import socket
import warnings
from types import TracebackType
from typing import Any, Callable, Coroutine, Dict, Generator, List, Optional, TypeVar

from .errors import Invalid
from .wire import Turn, World, poll

T = TypeVar("T")


class TaskTurn(Turn):
    """Calls of several tasks take turns, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._in_flight = 0
        self._awaited = True
        self._failure: Optional[BaseException] = None
        # The calls that were made and have not begun, in the order in which they were made.
        self._made: Dict[int, Call[Any]] = {}

    def made(self, call: Call[Any]) -> None:
        """Notes a call that has not begun."""
        self._made[id(call)] = call

    def begun(self, call: Call[Any]) -> None:
        """Notes that a call has begun, or that its caller has closed it."""
        self._made.pop(id(call), None)

    async def __aenter__(self) -> None:
        self._in_flight += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._in_flight -= 1
            raise

    async def __aexit__(self, *of: object) -> None:
        self._in_flight -= 1
        self._lock.release()
        if not self._awaited and self._failure is None and isinstance(of[1], Exception):
            self._failure = of[1]

    async def quiet(self) -> None:
        self._awaited = False
        try:
            # A task that was created and has not begun, or that goes on after a call, makes its
            # next call in the next turn of the loop.
            await asyncio.sleep(0)
            while self._in_flight:
                async with self._lock:
                    pass
                await asyncio.sleep(0)
        except BaseException:
            self._awaited = True
            raise
        if self._failure is not None:
            raise self._failure
        if self._made:
            # Their caller believes them done.
            names = ", ".join(dict.fromkeys(call.name for call in self._made.values()))
            for call in list(self._made.values()):
                call.close()
            raise Invalid(f"calls of the transaction were not awaited, and had no effect: {names}; "
                          "write await before each call")

    def is_awaited(self) -> bool:
        return self._awaited


class Tasks(World):
    """Waits in the event loop that runs the calling task."""

    async def wait(self, sock: socket.socket, reading: bool, writing: bool, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[bool] = loop.create_future()
        descriptor = sock.fileno()
        timer = loop.call_later(seconds, _settle, ready, False)
        try:
            if reading:
                loop.add_reader(descriptor, _settle, ready, True)
            if writing:
                loop.add_writer(descriptor, _settle, ready, True)
            # After the process stood still (a frozen function, a long computation) the time may be
            # over before the loop has looked at the socket.
            return await ready or poll(sock, reading, writing, 0)
        finally:
            timer.cancel()
            if reading:
                loop.remove_reader(descriptor)
            if writing:
                loop.remove_writer(descriptor)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def resolve(self, host: str, port: int) -> List[Any]:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)

    def turn(self) -> Turn:
        return TaskTurn()


class Call(Coroutine[Any, Any, T]):
    """A call of a transaction. It begins when it is awaited, as a coroutine does.

    Its transaction knows of it from the moment when it is made, and does not commit without it.
    """

    def __init__(self, turn: TaskTurn, name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.name = self.__name__ = self.__qualname__ = name
        self._turn, self._make = turn, make
        self._begun: Optional[Coroutine[Any, Any, T]] = None
        self._is_heeded = False
        turn.made(self)

    def _begin(self) -> Coroutine[Any, Any, T]:
        if self._begun is None:
            if self._is_heeded:
                raise RuntimeError(f"cannot await {self.name}: it was closed")
            self._heed()
            self._begun = self._make()
        return self._begun

    def __await__(self) -> Generator[Any, Any, T]:
        return self._begin().__await__()

    def send(self, value: Any) -> Any:
        return self._begin().send(value)

    def throw(self, kind: Any, value: Any = None, traceback: Optional[TracebackType] = None) -> Any:
        return self._begin().throw(kind if value is None else value)

    def close(self) -> None:
        """Ends the call. One that has not begun has no effect then, as its caller wishes."""
        self._heed()
        if self._begun is not None:
            self._begun.close()

    def _heed(self) -> None:
        self._is_heeded = True
        self._turn.begun(self)

    def __del__(self) -> None:
        if not self._is_heeded:
            warnings.warn(f"{self.name} was never awaited", RuntimeWarning, stacklevel=2, source=self)


def _settle(ready: asyncio.Future[bool], result: bool) -> None:
    if not ready.done():
        ready.set_result(result)
