"""The way in which tasks of an event loop wait. Only `aft_client.aio` imports it, and with it
asyncio."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, List, Optional

from .wire import Turn, World


class _TaskTurn(Turn):
    """Calls of several tasks take turns, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._in_flight = 0
        self._awaited = True
        self._failure: Optional[BaseException] = None

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
            return await ready
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
        return _TaskTurn()


def _settle(ready: asyncio.Future[bool], result: bool) -> None:
    if not ready.done():
        ready.set_result(result)
