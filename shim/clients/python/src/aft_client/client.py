"""The blocking client."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Optional

from .attempt import Attempt
from .core import Core
from .options import Request, Settings
from .once import Key, Once
from .streams import Pieces, size_of
from .transaction import Stream, Transaction
from .values import MISSING, Bytes, Executed, Found, IfValue, IfVersion, Op, Ran, Value, checked_range
from .wire import Blocking, World, drive

# The default level of runs and whole transactions, which run again after a conflict.
SERIALIZABLE = "serializable"


class Shared:
    """The parts of a client that never wait, the same for `Client` and `aio.Client`."""

    def __init__(self, url: str, *, token: Optional[str] = None, ca: Optional[str] = None,
                 certificate: Optional[str] = None, key: Optional[str] = None, connect_timeout: float = 5.0,
                 call_timeout: float = 30.0, transaction_timeout: Optional[float] = None, attempts_max: int = 10,
                 run_seconds_max: float = 60.0, session: bool = True, write_buffer_bytes_max: int = 1 << 20) -> None:
        settings = Settings(token, ca, certificate, key, connect_timeout, call_timeout, transaction_timeout,
                            attempts_max, run_seconds_max, session, write_buffer_bytes_max)
        self._core = Core(self._world(), url, settings)

    def _world(self) -> World:
        raise NotImplementedError

    @property
    def session(self) -> Optional[str]:
        """The session's token, which another process can pass to `join_session`.

        It is None before the first commit, after SessionLost, and if sessions are off.
        """
        return self._core.session

    def join_session(self, token: Optional[str]) -> None:
        """Merges the session of another process into this one.

        Transactions that begin from now on see the commits of that session. If sessions are off,
        nothing happens.

        Args:
            token: The other client's `session`; with None nothing happens.

        Raises:
            Invalid: It is no session token.
        """
        self._core.join_session(token)


class Client(Shared):
    """A client of one server. Threads may share it: it keeps a pool of connections, and one
    session.

    Nothing is sent before the first call. After a fork the child opens connections of its own.

    Args:
        url: The server, `http://HOST[:PORT]` or `https://HOST[:PORT]`.
        token: The bearer token to present to the server.
        ca: The PEM file of the authorities that may have signed the server's certificate. They are
            trusted instead of the system's.
        certificate, key: The PEM files of the client's certificate and its key, if the server
            demands one.
        connect_timeout: The timeout for opening a connection, its TLS handshake included, in
            seconds. The system's look-up of the host's name comes before it, and has limits of its
            own.
        call_timeout: The longest silence within a call, in seconds: the time in which no byte comes
            or goes. A call whose bytes keep moving may take longer.
        transaction_timeout: The deadline of transactions, in seconds from their opening, unless the
            call sets its own. With None the server chooses it, a minute by default.
        attempts_max: The most attempts of a run or a whole transaction; at least one.
        run_seconds_max: The limit of a run, or of another call, in seconds, unless the call sets
            its own. It bounds everything that the client does for the run: after it no attempt and
            no pause begins, and a call's limit of silence is the smaller of `call_timeout` and what
            is left of it. It does not interrupt a function that is running; the commit after it
            gets a second.
        session: True if each transaction sees the commits that this client made before it began, on
            any node.
        write_buffer_bytes_max: The most bytes of small writes that are buffered until the commit;
            at most 4 MiB. With 0 each write is a call of its own, and its errors are raised at
            once.

    Raises:
        Invalid: The URL has another form, the token cannot be sent in a header, a file cannot be
            used, a setting has another type, or a time is not from 0 to 2,147,483 s (24 days).
    """

    def _world(self) -> World:
        return Blocking()

    def close(self) -> None:
        """Closes the idle connections."""
        self._core.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- runs

    def run(self, request_id: Optional[str], function: Callable[[Transaction], Bytes], *,
            scope: Optional[str] = None, fingerprint: Optional[str] = None, timeout: Optional[float] = None,
            retention: Optional[float] = None, wait: bool = False, fresh: bool = False, reads: Iterable[str] = (),
            isolation: Optional[str] = SERIALIZABLE, run_seconds_max: Optional[float] = None) -> Ran:
        """Calls `function(transaction)` until its request has committed once.

        The function is called once for each attempt: once as a rule, several times after failures,
        and not at all if the request has committed before. Its effects outside the transaction may
        therefore be repeated. If the function raises an exception, the attempt is aborted and the
        run raises that exception; but if a call of the transaction had failed before with a
        retryable error, the function is called again, in a new attempt. An exception that
        interrupts a call from outside (a signal handler's, KeyboardInterrupt) passes at once.

        Args:
            request_id: The ID of what the outside asked for once (a message's ID, an order's
                number); never use one ID for two requests. With None no later call can find the
                outcome.
            function: The function. Its result (bytes, text or None) is returned to later attempts.
            scope: A name that keeps the same IDs of different functions apart.
            fingerprint: A fingerprint of the payload: a request with the same ID and another
                fingerprint is rejected with KeyReused.
            timeout: The deadline of each attempt's transaction, in seconds from its opening. The
                default is the client's `transaction_timeout`.
            retention: The time in whole seconds for which the commit and its result are kept; a day
                by default.
            wait: True to wait for another open attempt of the request instead of running at once
                beside it: for requests whose work is expensive, and that arrive twice. An attempt
                whose process has died is waited for until its deadline. The request takes effect
                once in any case.
            fresh: True to see every commit that was acknowledged before the attempt began, on any
                server of the store.
            reads: Keys to read in the call that opens the transaction, so that getting them needs
                no call.
            isolation: The isolation level.
                "serializable" (the default): an attempt commits only if the versions that it read
                are still the newest. An attempt that loses has no effect, and another follows after
                a random pause that grows with each failure, until `attempts_max` or
                `run_seconds_max` is used up. The check may cost a run that only reads a round trip
                to the store. "read_atomic": nothing is checked; two runs that read the same version
                may both overwrite it. None: on a shared store (s3:, dynamodb:, redis:) the level of
                    the keys that the run writes; on a
                store that a single process holds (memory:, local:) read atomic.
                On a shared store a serializable run cannot list keys, and cannot use keys whose
                prefix is read atomic: the server rejects both with the reason (Invalid). Ask for
                    "read_atomic" there.
            run_seconds_max: The limit of this run in seconds, instead of the client's.

        Returns:
            The outcome of the attempt that committed.

        Raises:
            Unknown: An attempt may have committed. After any other error none has. A run without an
                ID that has only read is never Unknown.
            Retry: The attempts or the time were used up; `code` is "conflict" if the last attempt
                lost a conflict.
            Unavailable: The server could not be reached, or had no room, until the time was used
                up; or, with `retryable` False, trying again does not help.
            InProgress: Another attempt of the request was open until the time was used up.
            KeyReused, ResultGone, Invalid, NotFound, Unauthorized, Internal: The server rejected a
            call, or an
                argument or the function's result is not valid.
            Exception: The function's own.
        """
        request = Request(request_id, scope, fingerprint, timeout, retention, wait, fresh, keys_of(reads), isolation,
                          run_seconds_max)

        async def call(attempt: Attempt) -> Bytes:
            return function(Transaction(attempt))

        return drive(self._core.run(request, call))

    def once(self, key: Key, *, scope: Optional[str] = None, fingerprint: Optional[str] = None,
             timeout: Optional[float] = None, retention: Optional[float] = None, wait: bool = False,
             fresh: bool = False, reads: Iterable[str] = (), isolation: Optional[str] = SERIALIZABLE,
             run_seconds_max: Optional[float] = None) -> Callable[[Callable[..., Bytes]], Callable[..., bytes]]:
        """Makes a function of a transaction and an event take effect once for each event.

            @client.once(key="detail.order_id")
            def handle(t, event, context):
                t.put(f"orders/{event['detail']['order_id']}", "1 tea")
                return "sold"

            handle(event, context)  # b"sold", however often the event comes

        The decorated function is called as `function(transaction, event, …)` in a run (see `run`),
        and the decorator's function takes the arguments after the transaction, by position or by
        name, and returns the result of the attempt that committed.

        Args:
            key: The request ID: a function of the event and the other arguments, `lambda event,
                context: event["id"]`, or a dotted path into the event, `"detail.order_id"`.
            scope: As in `run`; by default the function's module and qualified name, `module.name`.
                Pass one that stays, if the function may be moved or renamed while its requests are
                still retried. A lambda, a partial or another object without a name of its own needs
                one.
            fingerprint, timeout, retention, wait, fresh, reads, isolation, run_seconds_max: As
            in `run`.

        Returns:
            A decorator.

        Raises:
            Invalid: At once: the function has no name of its own, and `scope` is missing. When the
                event comes: it lacks a part of the path, or its ID is None, blank or
                no text. Nothing runs then.
            AftError: When the event comes: the errors of `run`.
        """
        once = Once(key, scope)
        listed = keys_of(reads)

        def decorate(function: Callable[..., Bytes]) -> Callable[..., bytes]:
            in_scope = once.scope_of(function)

            def handle(*given: Any, **named: Any) -> bytes:
                request_id = once.request_of(function, given, named)
                ran = self.run(request_id, lambda t: function(t, *given, **named), scope=in_scope,
                               fingerprint=fingerprint, timeout=timeout, retention=retention, wait=wait, fresh=fresh,
                               reads=listed, isolation=isolation, run_seconds_max=run_seconds_max)
                if ran.result_size is None or ran.result:
                    return ran.result
                return self.result(request_id, in_scope) or b""
            return once.named_after(handle, function)
        return decorate

    def transaction(self, request_id: Optional[str] = None, *, scope: Optional[str] = None,
                    fingerprint: Optional[str] = None, timeout: Optional[float] = None,
                    retention: Optional[float] = None, wait: bool = False, fresh: bool = False,
                    reads: Iterable[str] = (), isolation: Optional[str] = None,
                    run_seconds_max: Optional[float] = None) -> Transaction:
        """Opens a transaction by hand.

        As a context manager it commits at its end with `t.result`, and aborts if an exception
        leaves it. If the request has committed already, `t.replayed` is True, `t.ran` is the
        outcome, and the transaction takes no calls.

        A transaction by hand is not run again after a conflict: the commit of a serializable one
        raises Retry then. Use `run` for that.

        Args:
            request_id: The request's ID; with None no later call can find the outcome.
            scope, fingerprint, timeout, retention, wait, fresh, reads: As in `run`.
            isolation: The level, as in `run`. With None, the default, it is left to the store: on a
                store that a single process holds it is read atomic.
            run_seconds_max: The limit in seconds of the opening, and of each later call of the
                transaction, instead of the client's.

        Returns:
            The transaction.

        Raises:
            InProgress: Another attempt of the request was open until `run_seconds_max` was used up.
            Unavailable: The server could not be reached, or had no room, until the time was used
                up.
            KeyReused, ResultGone, Invalid, NotFound, Unauthorized, Internal: The server rejected
            the opening.
        """
        request = Request(request_id, scope, fingerprint, timeout, retention, wait, fresh, keys_of(reads), isolation,
                          run_seconds_max)
        return Transaction(drive(self._core.transaction(request)))

    # --- whole transactions

    def execute(self, request_id: Optional[str], ops: Iterable[Op], result: Bytes = None, *,
                scope: Optional[str] = None, fingerprint: Optional[str] = None, timeout: Optional[float] = None,
                retention: Optional[float] = None, wait: bool = False, fresh: bool = False,
                isolation: Optional[str] = SERIALIZABLE, run_seconds_max: Optional[float] = None) -> Executed:
        """Runs operations as one transaction, in one call and in order.

        After a conflict the transaction is sent again, at most `attempts_max` times in all;
        `Executed.ran.attempts` is the number of tries.

        If a condition or an `Op.add` is among the operations, a request without an ID gets a random
        one. So the server recognises a call that is sent again because its answer was lost, and the
        call does not conflict with its own write.

        Args:
            request_id: The request's ID. With None, and without conditions and adds, a lost answer
                is Unknown if there are writes.
            ops: The operations.
            result: The result (bytes or text) that is returned to later attempts of the request.
            scope, fingerprint, timeout, retention, wait, fresh, isolation, run_seconds_max: As
            in `run`.

        Returns:
            The outcome, with the results of gets and adds.

        Raises:
            ConditionFailed: A condition does not hold, and nothing took effect.
            Unknown: The transaction may have committed. After any other error it has not.
            AftError: Otherwise the errors of `run`.
        """
        request = Request(request_id, scope, fingerprint, timeout, retention, wait, fresh, (), isolation,
                          run_seconds_max)
        return drive(self._core.execute(request, ops, result))

    # --- single keys

    def get(self, key: str, *, fresh: bool = False, run_seconds_max: Optional[float] = None) -> Optional[Value]:
        """Reads one key in a transaction of its own.

        Args:
            key: The key.
            fresh: True to read the value of the newest commit that was acknowledged before the
                call, on any server of the store, or a newer one.
            run_seconds_max: The limit of this call in seconds, instead of the client's.

        Returns:
            The value; None if the key has none.

        Raises:
            Invalid: The key is not valid, or the value is longer than 256 MiB: use `stream`.
            Unavailable: The server did not answer until `run_seconds_max` was used up.
            AftError: The server rejected the call.
        """
        return drive(self._core.get(key, fresh, run_seconds_max))

    def get_range(self, key: str, start: int, length: int, *, fresh: bool = False,
                  run_seconds_max: Optional[float] = None) -> Optional[Value]:
        """Reads a range of one key's value in a transaction of its own.

        Args:
            key: The key.
            start: The position of the first byte, from 0.
            length: The number of bytes, at least 1. The range ends at the value's end if that comes
                first.
            fresh, run_seconds_max: As in `get`.

        Returns:
            The range, with the size of the whole value in `size`; None if the key has no value.

        Raises:
            Invalid: The range is empty, or begins beyond the value's end.
            AftError: Otherwise the errors of `get`.
        """
        return drive(self._core.get(key, fresh, run_seconds_max, checked_range(start, length)))

    def put(self, key: str, value: Bytes, content_type: Optional[str] = None, *, if_absent: bool = False,
            if_version: IfVersion = MISSING, if_value: IfValue = MISSING,
            run_seconds_max: Optional[float] = None) -> Ran:
        """Writes one key in a transaction of its own.

        If the answer is lost, the write is not sent again, since another client may have written a
        newer value meanwhile. For a write that must take effect exactly once, use `run` or
        `execute` with a request ID.

        With a condition (see `Op`) the write takes effect once, also if the call is sent several
        times. The value must then fit into one call.

        Args:
            key: The key.
            value: The value, as bytes or text; None is empty.
            content_type: The content type, which reads return with the value.
            if_absent, if_version, if_value: A condition; at most one of them. None is rejected.
            run_seconds_max: The limit of this call in seconds, instead of the client's.

        Returns:
            The outcome of the commit.

        Raises:
            ConditionFailed: The condition does not hold, and nothing was written.
            Unknown: The answer was lost, and the write may have taken effect.
            Invalid: The key, the value, the content type or the conditions are not valid.
            Unavailable: The server could not be reached until `run_seconds_max` was used up.
            AftError: The server rejected the call.
        """
        return drive(self._core.put(key, value, content_type, if_absent, if_version, if_value, run_seconds_max))

    def delete(self, key: str, *, if_version: IfVersion = MISSING, if_value: IfValue = MISSING,
               run_seconds_max: Optional[float] = None) -> Ran:
        """Deletes one key in a transaction of its own.

        Args:
            key: The key.
            if_version, if_value: A condition, as in `put`.
            run_seconds_max: The limit of this call in seconds, instead of the client's.

        Returns:
            The outcome of the commit.

        Raises:
            AftError: The errors of `put`.
        """
        return drive(self._core.delete(key, if_version, if_value, run_seconds_max))

    def add(self, key: str, by: int = 1, *, run_seconds_max: Optional[float] = None) -> Optional[int]:
        """Adds to the number that a key holds as decimal text, in a transaction of its own.

        The number is added once, also if the call is sent several times.

        Args:
            key: The key. If it has no value, it counts as 0.
            by: The number to add, an int.
            run_seconds_max: The limit of this call in seconds, instead of the client's.

        Returns:
            The sum; None if the number was added but the answer with the sum was lost.

        Raises:
            Invalid: The key holds no number, `by` is no int, or the sum does not fit into 64 bits.
            AftError: Otherwise the errors of `execute`.
        """
        return drive(self._core.add(key, by, run_seconds_max))

    # --- large values

    def stream(self, key: str, *, fresh: bool = False, run_seconds_max: Optional[float] = None) -> Optional[Stream]:
        """Reads one key's value of any size piece by piece, in a transaction of its own.

        Args:
            key: The key.
            fresh: As in `get`.
            run_seconds_max: The limit, in seconds, of the time until the value begins to arrive,
                instead of the client's.

        Returns:
            The value as a stream, which must be read to its end or closed; None if the key has no
            value.

        Raises:
            AftError: The errors of `get`.
        """
        reader = drive(self._core.stream(key, fresh, run_seconds_max))
        return None if reader is None else Stream(reader)

    def put_stream(self, key: str, source: Any, size: Optional[int] = None, content_type: Optional[str] = None, *,
                   run_seconds_max: Optional[float] = None) -> Ran:
        """Writes one key from a source of any size, in a transaction of its own and in one call.

        Once the source was read from, the call is not sent again. An exception of the source passes
        through, and nothing is written then.

        Args:
            key: The key.
            source: A file object that is open for reading bytes, or an iterable of bytes.
            size: The number of bytes, if it is known. With it the server can reject a value that is
                too large at once, and a source that ends early is noticed.
            content_type: The content type, which reads return with the value.
            run_seconds_max: The limit of this call in seconds, instead of the client's.

        Returns:
            The outcome of the commit.

        Raises:
            Invalid: The source has more or fewer bytes than `size`, or gives no bytes. Nothing was
                written.
            Unknown: The answer was lost, and the write may have taken effect.
            Unavailable: The server could not be reached, or had no room.
            AftError: The server rejected the call.
        """
        size, pieces = size_of(source, size), Pieces(source, in_tasks=False)
        return drive(self._core.put_stream(key, pieces, size, content_type, run_seconds_max))

    # --- requests

    def request(self, request_id: str, scope: Optional[str] = None, *,
                run_seconds_max: Optional[float] = None) -> Optional[Found]:
        """Looks a request up.

        Args:
            request_id: The request's ID.
            scope: The scope under which it ran.
            run_seconds_max: The limit of this call in seconds, instead of the client's.

        Returns:
            Its commit, with the time, the keys and the result; None if no commit of it is known.

        Raises:
            Invalid: The ID or the scope is not valid.
            Unavailable: The server did not answer until `run_seconds_max` was used up.
            AftError: The server rejected the call.
        """
        return drive(self._core.request(request_id, scope, run_seconds_max))

    def result(self, request_id: str, scope: Optional[str] = None, *,
               run_seconds_max: Optional[float] = None) -> Optional[bytes]:
        """Reads the result of a committed request, of up to 256 MiB.

        Args:
            request_id, scope, run_seconds_max: As in `request`.

        Returns:
            The result; None if no commit of the request is known, or if it has no result.

        Raises:
            AftError: The errors of `request`.
        """
        return drive(self._core.result(request_id, scope, run_seconds_max))

    def result_stream(self, request_id: str, scope: Optional[str] = None, *,
                      run_seconds_max: Optional[float] = None) -> Optional[Stream]:
        """Reads the result of a committed request, of any size, piece by piece.

        Args:
            request_id, scope: As in `request`.
            run_seconds_max: As in `stream`.

        Returns:
            The result as a stream; None if no commit of the request is known, or if it has no
            result.

        Raises:
            AftError: The errors of `request`.
        """
        reader = drive(self._core.result_stream(request_id, scope, run_seconds_max))
        return None if reader is None else Stream(reader)


def keys_of(reads: Iterable[str]) -> Any:
    """Returns the keys as they are checked: a text is one mistake, not many keys."""
    return reads if isinstance(reads, str) else tuple(reads)
