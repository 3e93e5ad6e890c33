"""Transactions and streams of the blocking client."""

from __future__ import annotations

from typing import Iterable, Iterator, List, Optional

from .attempt import Attempt
from .errors import Invalid
from .streams import PIECE_BYTES, Reader
from .values import Bytes, Listed, Op, Ran, Read, Value, as_bytes, checked_ops, checked_range
from .wire import drive


class SharedTransaction:
    """The parts of a transaction that never wait, the same for both clients."""

    def __init__(self, opened: Attempt) -> None:
        #: The result with which `with` commits.
        self.result: Bytes = None
        self._attempt = opened

    @property
    def token(self) -> str:
        """The transaction's token, which identifies it in logs and problems; empty if the request
        was replayed."""
        return self._attempt.token

    @property
    def ran(self) -> Optional[Ran]:
        """The outcome, once it has committed."""
        return self._attempt.ran

    @property
    def replayed(self) -> bool:
        """True if another attempt of the request has committed: nothing is left to do, and `ran` is
        its outcome."""
        return self.ran is not None and self.ran.replayed


class Transaction(SharedTransaction):
    """An open transaction. `Client.transaction` and `Client.run` make it.

    It reads its own writes and a read-atomic snapshot of committed versions; others see its writes
    only after it has committed. Small writes are buffered in it and sent with the commit. One
    thread uses it at a time: a call beside another one raises Invalid, and the transaction does not
        commit.
    """

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        if self._attempt.ended:
            return
        if kind is None:
            try:
                self.commit(self.result)
            except Invalid:
                # After a result that is no value the transaction would stay open.
                drive(self._attempt.abort_quietly())
                raise
        else:
            drive(self._attempt.abort_quietly(not issubclass(kind, Exception) or issubclass(kind, OSError)))

    def get(self, key: str) -> Optional[Value]:
        """Reads a key.

        Args:
            key: The key.

        Returns:
            The value; None if the key has none.

        Raises:
            Retry: No version is left that fits the earlier reads, or the server has forgotten the
                transaction: run the request again.
            Unavailable: The server did not answer.
            Invalid: The key is not valid, the value is longer than 256 MiB, or the transaction has
                ended.
        """
        return drive(self._attempt.get(key))

    def get_range(self, key: str, start: int, length: int) -> Optional[Value]:
        """Reads a range of a key's value.

        Args:
            key: The key.
            start: The position of the first byte, from 0.
            length: The number of bytes, at least 1. The range ends at the value's end if that comes
                first.

        Returns:
            The range, with the size of the whole value in `size`; None if the key has no value.

        Raises:
            Invalid: The range is empty, or begins beyond the value's end.
            AftError: Otherwise the errors of `get`.
        """
        return drive(self._attempt.get(key, checked_range(start, length)))

    def put(self, key: str, value: Bytes, content_type: Optional[str] = None) -> None:
        """Writes a value. A small value is buffered; errors of the server about it are raised by
        the commit.

        Args:
            key: The key.
            value: The value, as bytes or text; None is empty.
            content_type: The content type, which reads return with the value.

        Raises:
            Invalid: The key, the value or the content type is not valid, or the transaction has
                ended.
            Retry, Unavailable: The value was too large for the buffer, and its call failed: run the
                request again.
        """
        drive(self._attempt.write(Op.put(key, value, content_type)))

    def delete(self, key: str) -> None:
        """Deletes a key.

        Args:
            key: The key.

        Raises:
            AftError: The errors of `put`.
        """
        drive(self._attempt.write(Op.delete(key)))

    def list(self, prefix: str = "", after: str = "", page_len: int = 1000) -> Iterator[Listed]:
        """Lists the keys that begin with a prefix, in the order of their bytes. Each page is one
        call.

        Args:
            prefix: The prefix; by default all keys are listed.
            after: The text up to and including which keys are skipped.
            page_len: The number of keys on a page, 1 to 1,000.

        Returns:
            An iterator over the keys.

        Raises:
            AftError: The errors of `get`, while the iterator runs. A serializable transaction
                cannot list keys on a shared store (Invalid).
        """
        following: Optional[str] = after
        while following is not None:
            page, following = drive(self._attempt.page(prefix, following, page_len))
            yield from page

    def batch(self, ops: Iterable[Op]) -> List[Read]:
        """Runs several operations in one call, in order and after the buffered writes.

        They take effect together in the transaction, or not at all.

        Args:
            ops: The operations.

        Returns:
            One result for every get, in order.

        Raises:
            ConditionFailed: A condition does not hold, and no operation took effect.
            AftError: Otherwise the errors of `get` and `put`.
        """
        return drive(self._attempt.batch(checked_ops(ops)))

    def commit(self, result: Bytes = None) -> Ran:
        """Commits. A commit in doubt is sent again until its outcome is known, or `run_seconds_max`
        is used up.

        Args:
            result: The result (bytes or text) that is returned to later attempts of the request. It
                is stored only if the request has an ID.

        Returns:
            The outcome.

        Raises:
            Unknown: The transaction may have committed. After any other error it has not, and will
                not.
            Retry: It lost a conflict, or its time was over: run the request again. Also if the
                answer was lost and the transaction has only read, so that nothing can have
                committed.
            Invalid: The result is not valid, the transaction has ended, or it belongs to
                `Client.run`, which commits by itself.
            AftError: The server rejected the commit.
        """
        return drive(self._attempt.commit(as_bytes(result, "result")))

    def abort(self) -> None:
        """Aborts the transaction and drops its writes. Without a call it would be aborted at its
        deadline.

        Raises:
            Invalid: The transaction has ended, or belongs to `Client.run`, which aborts if its
                function raises.
            AftError: The call failed.
        """
        drive(self._attempt.abort())


class SharedStream:
    """The parts of a stream that never wait, the same for both clients."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def size(self) -> Optional[int]:
        """The size of the whole value in bytes; None if the answer does not state it."""
        return self._reader.size

    @property
    def content_type(self) -> str:
        """The content type with which the value was written."""
        return self._reader.content_type

    @property
    def version(self) -> str:
        """The version's identity."""
        return self._reader.version


class Stream(SharedStream):
    """A value of any size, which is read piece by piece: `Client.stream` and `Client.result_stream`
    make it.

        with client.stream("films/1") as film:
            for piece in film:
                file.write(piece)

    If the connection breaks before the value's end, reading raises Unavailable. A stream that is
    not read to its end must be closed, by `with` or `close`.
    """

    def read(self, size: int = -1) -> bytes:
        """Reads the next bytes.

        Args:
            size: The number of bytes; fewer are returned only at the value's end. With -1 all that
                are left are returned.

        Raises:
            Unavailable: The connection broke.
            Invalid: The stream is closed.
        """
        return drive(read_exactly(self._reader, size))

    def __iter__(self) -> Iterator[bytes]:
        while True:
            piece = drive(self._reader.piece())
            if not piece:
                return
            yield piece

    def close(self) -> None:
        """Closes the stream."""
        self._reader.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def read_exactly(reader: Reader, size: int) -> bytes:
    """Reads `size` bytes, or all that are left if it is negative; fewer only at the value's end."""
    pieces, length = [], 0
    while size < 0 or length < size:
        piece = await reader.piece(PIECE_BYTES if size < 0 else min(PIECE_BYTES, size - length))
        if not piece:
            break
        pieces.append(piece)
        length += len(piece)
    return b"".join(pieces)
