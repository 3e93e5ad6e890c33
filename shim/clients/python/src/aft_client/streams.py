"""Values of any size, read and written piece by piece."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Optional

from .errors import FAILURES, Invalid, harmless
from .message import Response
from .transport import Transport
from .values import DEFAULT_CONTENT_TYPE, as_bytes

# The bytes that are read at once, from a source or from a connection.
PIECE_BYTES = 256 << 10


class Reader:
    """The value of an answer, while it arrives."""

    def __init__(self, transport: Transport, response: Response) -> None:
        self._transport = transport
        self._response = response
        self._open = True
        self.content_type = response.headers.get("content-type", DEFAULT_CONTENT_TYPE)
        self.version = response.headers.get("aft-version", "")
        self.size: Optional[int] = response.length

    async def piece(self, most: int = PIECE_BYTES) -> bytes:
        """Returns the next bytes; none at the end. Raises Unavailable if the connection breaks
        before it."""
        if self._response.complete:
            self._end()
            return b""
        if not self._open:
            raise Invalid("the reader is closed: open the stream again")
        try:
            taken = await self._response.piece(most, self._transport.call_timeout)
        except FAILURES as why:
            self.close()
            raise harmless(why) from None
        except BaseException:
            self.close()
            raise
        if self._response.complete:
            self._end()
        return taken

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._transport.finish(self._response)

    def close(self) -> None:
        """Closes the connection, if the value was not read to its end."""
        if self._open:
            self._open = False
            self._transport.drop(self._response.wire)


class Pieces:
    """The bytes of a source: a file object, or an iterable of bytes, in either world."""

    def __init__(self, source: Any, in_tasks: bool) -> None:
        self._in_tasks = in_tasks
        self._next: Callable[[], Any]
        self._ends: Any = StopIteration
        if hasattr(source, "read"):
            self._next = lambda: source.read(PIECE_BYTES)
            self._reads = True
            return
        self._reads = False
        if isinstance(source, (str, bytes, bytearray, memoryview)):
            whole = iter([as_bytes(source, "source")])
            self._next = lambda: next(whole)
        elif in_tasks and hasattr(source, "__aiter__"):
            iterator = source.__aiter__()
            self._next, self._ends = iterator.__anext__, StopAsyncIteration
        elif hasattr(source, "__iter__"):
            pieces = iter(source)
            self._next = lambda: next(pieces)
        else:
            raise Invalid(f"the source is of type {type(source).__qualname__}: pass a file object that is open for "
                          "reading bytes, or an iterable of bytes")

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = self._next()
            if self._in_tasks and inspect.isawaitable(piece):
                piece = await piece
        except (StopIteration, StopAsyncIteration) as end:
            if isinstance(end, self._ends):
                raise StopAsyncIteration from None
            raise
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise Invalid(f"the source gave a piece of type {type(piece).__qualname__}, not bytes: open the file in "
                          "binary mode")
        if self._reads and not piece:
            raise StopAsyncIteration
        return bytes(piece)


def size_of(source: Any, size: Optional[int]) -> Optional[int]:
    """Returns the number of bytes that a source has left, if that is known.

    Args:
        source: The source.
        size: The caller's number, which counts if there is one.

    Raises:
        Invalid: `size` is no number of bytes.
    """
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise Invalid(f"size is {size!r}: pass the number of bytes as an int, or None if it is not known")
        return size
    if isinstance(source, str):
        return len(as_bytes(source, "source"))
    if isinstance(source, (bytes, bytearray)):
        return len(source)
    return source.nbytes if isinstance(source, memoryview) else None
