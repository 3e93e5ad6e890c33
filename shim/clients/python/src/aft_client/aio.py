"""The same client for asyncio: `aft_client.aio.Client`, whose calls are awaited.

    client = aio.Client("http://127.0.0.1:7400")

    async def order(t):
        stock = await t.get("stock/tea")
        await t.put("stock/tea", str(int(stock.bytes) - 1))
        return "sold"

    ran = await client.run("order-21", order)

Names, arguments, results and errors are those of `aft_client.Client`. If a task is cancelled, the
call in flight ends at once, its transaction is aborted, and CancelledError passes on. The event
loop must be able to watch sockets (`add_reader`), as all but Windows' default loop are; the client
may be used in one loop after another.
"""

from __future__ import annotations

import inspect
from typing import Any, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, List, Optional, TypeVar, Union

from .attempt import Attempt
from .client import SERIALIZABLE, Shared, keys_of
from .errors import Invalid
from .once import Key, Once
from .options import Request
from .streams import Pieces, size_of
from .tasks import Call, Tasks, TaskTurn
from .transaction import SharedStream, SharedTransaction, read_exactly
from .values import (MISSING, Bytes, Executed, Found, IfValue, IfVersion, Listed, Op, Ran, Read, Value, as_bytes,
                     checked_ops, checked_range)
from .wire import World

__all__ = ["Client", "Transaction", "Stream"]

Result = Union[Bytes, Awaitable[Bytes]]
T = TypeVar("T")


class Client(Shared):
    """A client of one server for asyncio. Tasks may share it.

    Args:
        url, token, ca, certificate, key, connect_timeout, call_timeout, transaction_timeout,
        attempts_max,
            run_seconds_max, session, write_buffer_bytes_max: As in `aft_client.Client`.

    Raises:
        Invalid: As in `aft_client.Client`.
    """

    def _world(self) -> World:
        return Tasks()

    async def close(self) -> None:
        """Closes the idle connections."""
        self._core.transport.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def run(self, request_id: Optional[str], function: Callable[[Transaction], Result], *,
                  scope: Optional[str] = None, fingerprint: Optional[str] = None, timeout: Optional[float] = None,
                  retention: Optional[float] = None, wait: bool = False, fresh: bool = False,
                  reads: Iterable[str] = (), isolation: Optional[str] = SERIALIZABLE,
                  run_seconds_max: Optional[float] = None) -> Ran:
        """Calls `function(transaction)` until its request has committed once, as
        `aft_client.Client.run` does.

        Calls of the transaction that tasks of the function have begun are awaited before the
        commit. If one of them fails, the run fails, or runs again, as if the function had raised
        that error. A call that comes after the commit has begun raises Invalid. So does the run if
        a call was made and never awaited: it had no effect.

        Args:
            function: The function, async or not.
            request_id, scope, fingerprint, timeout, retention, wait, fresh, reads, isolation,
            run_seconds_max:
                As in `aft_client.Client.run`.

        Returns:
            The outcome of the attempt that committed.

        Raises:
            CancelledError: The task was cancelled, and the attempt aborted. If that came while the
                commit was in flight, it may have committed.
            AftError: The errors of `aft_client.Client.run`.
        """
        request = Request(request_id, scope, fingerprint, timeout, retention, wait, fresh, keys_of(reads),
                          isolation, run_seconds_max)

        async def call(attempt: Attempt) -> Bytes:
            result: Any = function(Transaction(attempt))
            if inspect.isawaitable(result):
                result = await result
            return as_bytes(result, "the result of the function")

        return await self._core.run(request, call)

    def once(self, key: Key, *, scope: Optional[str] = None, fingerprint: Optional[str] = None,
             timeout: Optional[float] = None, retention: Optional[float] = None, wait: bool = False,
             fresh: bool = False, reads: Iterable[str] = (), isolation: Optional[str] = SERIALIZABLE,
             run_seconds_max: Optional[float] = None
             ) -> Callable[[Callable[..., Result]], Callable[..., Awaitable[bytes]]]:
        """Makes a function of a transaction and an event take effect once for each event.

        Args:
            key, scope, fingerprint, timeout, retention, wait, fresh, reads, isolation,
            run_seconds_max: As in
                `aft_client.Client.once`.

        Returns:
            A decorator. Its function is async; the decorated one may be.

        Raises:
            AftError: As in `aft_client.Client.once`.
        """
        once = Once(key, scope)
        listed = keys_of(reads)

        def decorate(function: Callable[..., Result]) -> Callable[..., Awaitable[bytes]]:
            in_scope = once.scope_of(function)

            async def handle(*given: Any, **named: Any) -> bytes:
                request_id = once.request_of(function, given, named)
                ran = await self.run(request_id, lambda t: function(t, *given, **named), scope=in_scope,
                                     fingerprint=fingerprint, timeout=timeout, retention=retention, wait=wait,
                                     fresh=fresh, reads=listed, isolation=isolation, run_seconds_max=run_seconds_max)
                if ran.result_size is None or ran.result:
                    return ran.result
                return await self.result(request_id, in_scope) or b""
            return once.named_after(handle, function)
        return decorate

    async def transaction(self, request_id: Optional[str] = None, *, scope: Optional[str] = None,
                          fingerprint: Optional[str] = None, timeout: Optional[float] = None,
                          retention: Optional[float] = None, wait: bool = False, fresh: bool = False,
                          reads: Iterable[str] = (), isolation: Optional[str] = None,
                          run_seconds_max: Optional[float] = None) -> Transaction:
        """Opens a transaction by hand: `async with await client.transaction() as t`.

        Arguments, result and errors are those of `aft_client.Client.transaction`.
        """
        request = Request(request_id, scope, fingerprint, timeout, retention, wait, fresh, keys_of(reads),
                          isolation, run_seconds_max)
        return Transaction(await self._core.transaction(request))

    async def execute(self, request_id: Optional[str], ops: Iterable[Op], result: Bytes = None, *,
                      scope: Optional[str] = None, fingerprint: Optional[str] = None,
                      timeout: Optional[float] = None, retention: Optional[float] = None, wait: bool = False,
                      fresh: bool = False, isolation: Optional[str] = SERIALIZABLE,
                      run_seconds_max: Optional[float] = None) -> Executed:
        """Runs operations as one transaction, in one call and in order:
        `aft_client.Client.execute`."""
        request = Request(request_id, scope, fingerprint, timeout, retention, wait, fresh, (), isolation,
                          run_seconds_max)
        return await self._core.execute(request, ops, result)

    async def get(self, key: str, *, fresh: bool = False,
                  run_seconds_max: Optional[float] = None) -> Optional[Value]:
        """Reads one key in a transaction of its own: `aft_client.Client.get`."""
        return await self._core.get(key, fresh, run_seconds_max)

    async def get_range(self, key: str, start: int, length: int, *, fresh: bool = False,
                        run_seconds_max: Optional[float] = None) -> Optional[Value]:
        """Reads a range of one key's value: `aft_client.Client.get_range`."""
        return await self._core.get(key, fresh, run_seconds_max, checked_range(start, length))

    async def put(self, key: str, value: Bytes, content_type: Optional[str] = None, *, if_absent: bool = False,
                  if_version: IfVersion = MISSING, if_value: IfValue = MISSING,
                  run_seconds_max: Optional[float] = None) -> Ran:
        """Writes one key in a transaction of its own: `aft_client.Client.put`."""
        return await self._core.put(key, value, content_type, if_absent, if_version, if_value, run_seconds_max)

    async def delete(self, key: str, *, if_version: IfVersion = MISSING, if_value: IfValue = MISSING,
                     run_seconds_max: Optional[float] = None) -> Ran:
        """Deletes one key in a transaction of its own: `aft_client.Client.delete`."""
        return await self._core.delete(key, if_version, if_value, run_seconds_max)

    async def add(self, key: str, by: int = 1, *, run_seconds_max: Optional[float] = None) -> Optional[int]:
        """Adds to the number that a key holds: `aft_client.Client.add`."""
        return await self._core.add(key, by, run_seconds_max)

    async def stream(self, key: str, *, fresh: bool = False,
                     run_seconds_max: Optional[float] = None) -> Optional[Stream]:
        """Reads one key's value of any size piece by piece: `aft_client.Client.stream`."""
        reader = await self._core.stream(key, fresh, run_seconds_max)
        return None if reader is None else Stream(reader)

    async def put_stream(self, key: str, source: Any, size: Optional[int] = None,
                         content_type: Optional[str] = None, *, run_seconds_max: Optional[float] = None) -> Ran:
        """Writes one key from a source of any size: `aft_client.Client.put_stream`.

        The source may also be an async iterable of bytes, or an object whose `read` is async.
        """
        size, pieces = size_of(source, size), Pieces(source, in_tasks=True)
        return await self._core.put_stream(key, pieces, size, content_type, run_seconds_max)

    async def request(self, request_id: str, scope: Optional[str] = None, *,
                      run_seconds_max: Optional[float] = None) -> Optional[Found]:
        """Looks a request up: `aft_client.Client.request`."""
        return await self._core.request(request_id, scope, run_seconds_max)

    async def result(self, request_id: str, scope: Optional[str] = None, *,
                     run_seconds_max: Optional[float] = None) -> Optional[bytes]:
        """Reads the result of a committed request: `aft_client.Client.result`."""
        return await self._core.result(request_id, scope, run_seconds_max)

    async def result_stream(self, request_id: str, scope: Optional[str] = None, *,
                            run_seconds_max: Optional[float] = None) -> Optional[Stream]:
        """Reads the result of a committed request piece by piece:
        `aft_client.Client.result_stream`."""
        reader = await self._core.result_stream(request_id, scope, run_seconds_max)
        return None if reader is None else Stream(reader)


class Transaction(SharedTransaction):
    """An open transaction. `Client.transaction` and `Client.run` make it.

    Several tasks may use it: their calls take turns, in the order in which they came. Await every
    call: a commit without one that was made raises Invalid, and aborts.
    """

    async def __aenter__(self) -> Transaction:
        return self

    async def __aexit__(self, kind: Optional[type], *_: object) -> None:
        if self._attempt.ended or kind is GeneratorExit:
            return
        if kind is None:
            try:
                await self.commit(self.result)
            except Exception:
                # After a result that is no value the transaction would stay open.
                await self._attempt.abort_quietly()
                raise
        else:
            await self._attempt.abort_quietly(not issubclass(kind, Exception))

    def _call(self, name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> Call[T]:
        turn = self._attempt.turn
        assert isinstance(turn, TaskTurn), "the transactions of this client are used by tasks"
        return Call(turn, name, make)

    def get(self, key: str) -> Coroutine[Any, Any, Optional[Value]]:
        """Reads a key: `aft_client.Transaction.get`."""
        return self._call(f"get({key!r})", lambda: self._attempt.get(key))

    def get_range(self, key: str, start: int, length: int) -> Coroutine[Any, Any, Optional[Value]]:
        """Reads a range of a key's value: `aft_client.Transaction.get_range`."""
        return self._call(f"get_range({key!r})", lambda: self._attempt.get(key, checked_range(start, length)))

    def put(self, key: str, value: Bytes, content_type: Optional[str] = None) -> Coroutine[Any, Any, None]:
        """Writes a value: `aft_client.Transaction.put`."""
        return self._call(f"put({key!r})", lambda: self._attempt.write(Op.put(key, value, content_type)))

    def delete(self, key: str) -> Coroutine[Any, Any, None]:
        """Deletes a key: `aft_client.Transaction.delete`."""
        return self._call(f"delete({key!r})", lambda: self._attempt.write(Op.delete(key)))

    async def list(self, prefix: str = "", after: str = "", page_len: int = 1000) -> AsyncIterator[Listed]:
        """Lists the keys that begin with a prefix: `async for listed in t.list()`;
        `aft_client.Transaction.list`."""
        following: Optional[str] = after
        while following is not None:
            page, following = await self._attempt.page(prefix, following, page_len)
            for listed in page:
                yield listed

    def batch(self, ops: Iterable[Op]) -> Coroutine[Any, Any, List[Read]]:
        """Runs several operations in one call: `aft_client.Transaction.batch`."""
        return self._call("batch", lambda: self._attempt.batch(checked_ops(ops)))

    def commit(self, result: Bytes = None) -> Coroutine[Any, Any, Ran]:
        """Commits: `aft_client.Transaction.commit`."""
        return self._call("commit", lambda: self._attempt.commit(as_bytes(result, "result")))

    def abort(self) -> Coroutine[Any, Any, None]:
        """Aborts the transaction and drops its writes: `aft_client.Transaction.abort`."""
        return self._call("abort", self._attempt.abort)


class Stream(SharedStream):
    """A value of any size, which is read piece by piece: `async for piece in stream`; see
    `aft_client.Stream`."""

    async def read(self, size: int = -1) -> bytes:
        """Reads the next bytes: `aft_client.Stream.read`."""
        return await read_exactly(self._reader, size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            piece = await self._reader.piece()
            if not piece:
                return
            yield piece

    async def close(self) -> None:
        """Closes the stream."""
        self._reader.close()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
