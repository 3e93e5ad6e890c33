"""A client of AFT's HTTP API. Standard library only; Python 3.9 or newer.

    client = Client("http://127.0.0.1:7400")

    def order(t):
        stock = t.get("stock/tea")
        left = int(stock.bytes) if stock else 0
        if left == 0:
            return "sold out"
        t.put("stock/tea", str(left - 1))
        t.put("orders/21", "1 tea")
        return "sold"

    ran = client.run("order-21", order)      # takes effect once, also if it is called again
    ran.result, ran.replayed                 # b"sold", False

Concurrent runs: runs are serializable. If two runs read the same stock and both take one from it,
one commits, and the other runs again, so that no order is lost (`Client.run`).

Safe retries: a call that cannot commit is repeated freely, in a new transaction, since the old
transaction's writes were never visible to others. A call that commits is repeated only in a form
that can commit neither twice nor in part: the same call on the same transaction, or another attempt
under the same request ID. Where neither is possible, the error is `Unknown`.
(docs/decisions/0008-clients.md)

Threads may share a `Client`; a `Transaction` is used by one thread at a time. Values are bytes;
text is written as UTF-8.
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import select
import socket
import ssl
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Type, Union
from urllib.parse import quote, urlsplit

__all__ = [
    "Client", "Transaction", "Op", "Ran", "Executed", "Value", "Read", "Listed", "Found",
    "AftError", "Retry", "Unavailable", "Unknown", "InProgress", "KeyReused", "ResultGone", "Invalid", "ConditionFailed",
    "NotFound", "Unauthorized", "Internal",
]

Bytes = Union[bytes, bytearray, memoryview, str, None]

# The time that an idle connection is kept, in seconds: below the 30 s after which a server closes
# it.
IDLE_S_MAX = 20.0
# The most idle connections that are kept: as many as one program usually has calls in flight.
IDLE_CONNECTIONS_MAX = 64
# The largest value that is buffered. A larger one is sent at once, as a raw body: its cost is in
# its bytes, not in the call.
BUFFERED_VALUE_BYTES_MAX = 64 << 10
# The most writes that are buffered: half of what one call may have.
BUFFERED_WRITES_MAX = 500
# The most bytes of buffered writes that can be set: in base64 they are, with some room, below the
# 8 MiB that a body may have.
WRITE_BUFFER_BYTES_LIMIT = 4 << 20
# The longest time in seconds that an opening waits, on the server, for another open attempt of its
# request: the servers' default.
WAIT_S_MAX = 5.0
# The most times that a call inside a transaction is sent, if repeating it is harmless.
TRIES_IN_PLACE_MAX = 3
# The most times that a commit is sent if the request has an ID. After that a new attempt finds out
# as much, and makes progress.
COMMIT_AGAIN_MAX = 3
# The first pause between tries, in seconds: a few round trips to a store.
PAUSE_S_FIRST = 0.010
# The longest pause that the client chooses, in seconds: short enough that a person who waits does
# not notice a stall.
PAUSE_S_MAX = 1.0
# The longest pause that a server may ask for, in seconds: above the values that servers send, far
# below a run's time.
ASKED_S_MAX = 5.0
# The longest key in bytes, as the server has it.
KEY_BYTES_MAX = 1088
# The longest answer, which is held in memory as a whole. Larger values and results need a client
# that reads ranges.
ANSWER_BYTES_MAX = 256 << 20
# The time in seconds that a run waits for the answer to its abort. The abort's only use is that
# other attempts do not wait for a dead one.
ABORT_S_MAX = 2.0
# The most commits that a session token names.
SESSION_LEN_MAX = 8
# The bytes before the commits, by the token's format: the format's number, and the time until which
# transactions are fresh; in format 3 also the node through which everything was seen, and the time
# after which that counts.
SESSION_PREFIX_LEN = {2: 1 + 8, 3: 1 + 8 + 8 + 8}
# The bytes of a commit: its identity (time, attempt, request hash), the time when the client heard
# of it, and flags.
SESSION_ENTRY_LEN = 8 + 16 + 32 + 8 + 1
SESSION_IDENTITY_LEN = 8 + 16 + 32
# The time for which a merged session covers commits that it has no room for, by making transactions
# fresh.
SESSION_COVER_MS = 60_000
DEFAULT_CONTENT_TYPE = "application/octet-stream"


# --- errors


class AftError(Exception):
    """The reason why a call has no result.

    There is a class for each thing that the caller can do.
    """

    #: True if certainly nothing was committed, and another attempt may succeed.
    retryable = False

    def __init__(self, detail: str, problem: Optional[Dict[str, Any]] = None) -> None:
        super().__init__(detail)
        #: The description of the failure.
        self.detail = detail
        #: The server's problem document (RFC 9457), if the server rejected the call.
        self.problem = problem
        #: The request's ID, if it has one.
        self.request_id: Optional[str] = None
        #: The transaction's token, if it is known.
        self.transaction: Optional[str] = problem.get("transaction") if problem else None

    @property
    def code(self) -> Optional[str]:
        """The code of the server's problem document, if the server rejected the call."""
        return self.problem.get("code") if self.problem else None

    @property
    def retry_after_ms(self) -> Optional[int]:
        """The pause before the next try, in milliseconds, if the server named one.

        It is the shortest sensible pause; for InProgress it is the longest.
        """
        return self.problem.get("retry_after_ms") if self.problem else None

    def __str__(self) -> str:
        about = [f"[{self.code}]" if self.code else "", f"(request {self.request_id!r})" if self.request_id else "",
                 f"(transaction {self.transaction})" if self.transaction else ""]
        return " ".join([self.detail, *filter(None, about)])

    def _about(self, request_id: Optional[str], transaction: Optional[str]) -> "AftError":
        self.request_id = request_id
        self.transaction = transaction or self.transaction
        return self

    def _as(self, kind: Type["AftError"]) -> "AftError":
        return kind(self.detail, self.problem)


class Retry(AftError):
    """Nothing was committed, and the transaction cannot continue: run the request again."""
    retryable = True


class Unavailable(AftError):
    """Nothing was committed: the server cannot be reached, starts, drains, or is at a bound.

    Try again later.
    """
    retryable = True


class Unknown(AftError):
    """The outcome of the transaction is not known: it may have committed.

    With a request ID, run the request again under the same ID, or look it up with `Client.request`.
    Without one, read the keys that it would have written.
    """


class InProgress(AftError):
    """Another attempt of the request is open. Send the request again later to get its result."""


class KeyReused(AftError):
    """The request ID was used for another payload: use a new ID for a new request."""


class ResultGone(AftError):
    """The request committed long ago, and its result is no longer kept. It will not run again."""


class Invalid(AftError):
    """The call is not valid: correct it. In a transaction, nothing of the call took effect."""


class ConditionFailed(Invalid):
    """A condition of the call does not hold, and nothing of the call took effect.

    Read the key, and decide again.
    """


class NotFound(AftError):
    """The thing that the call names does not exist. A key without a value is not an error."""


class Unauthorized(AftError):
    """The credentials are missing, or do not allow the call: present others."""


class Internal(AftError):
    """The server or its store needs repair; or another kind of server answered.

    A commit that may have taken effect is Unknown instead, with the damage in its text.
    """


class _NotSent(Exception):
    """The call had no effect, and will have none."""


class _NoAnswer(Exception):
    """The call may have had its effect, or may still have it."""


_OF_CODE: Dict[str, Type[AftError]] = {
    "overloaded": Unavailable, "not_serving": Unavailable, "store_unavailable": Unavailable, "in_progress": InProgress,
    "key_reused": KeyReused, "result_gone": ResultGone, "condition_failed": ConditionFailed,
}
_OF_ACTION: Dict[str, Type[AftError]] = {
    "retry": Retry, "unknown": Unknown, "conflict": Invalid, "invalid": Invalid, "not_found": NotFound,
    "unauthorized": Unauthorized, "internal": Internal,
}


def _refusal(status: int, body: bytes) -> Exception:
    try:
        problem = json.loads(body)
        kind = _OF_CODE.get(problem["code"]) or _OF_ACTION[problem["action"]]
        return kind(str(problem.get("detail", problem["code"])), problem)
    except (ValueError, KeyError, TypeError):
        text = f"the answer has status {status} and no problem document; it may come from a proxy"
        # The server's HTTP library rejects a call with these statuses before it is read. Any other
        # comes from a proxy, which may have passed the call on.
        return Invalid(text) if status in (400, 414, 431) else _NoAnswer(text)


def _harmless(why: Exception) -> AftError:
    """Returns the error of a call that cannot commit."""
    return why if isinstance(why, AftError) else Unavailable(str(why))


def _committing(why: Exception) -> AftError:
    """Returns the error of a call that commits."""
    if isinstance(why, _NoAnswer):
        return Unknown(str(why))
    return _harmless(why)


# --- values, operations and outcomes


@dataclass(frozen=True)
class Value:
    """A value of a key."""
    bytes: bytes
    #: The content type with which it was written; `application/octet-stream` if there was none.
    content_type: str
    #: The version's identity; `uncommitted` for the transaction's own write.
    version: str


@dataclass(frozen=True)
class Read:
    """The result of a get or an add of a batch."""
    key: str
    #: The key's value; None if it has none.
    value: Optional[Value]


@dataclass(frozen=True)
class Listed:
    """A key of a listing."""
    key: str
    #: The size of the key's value in bytes.
    size: int
    #: The version's identity; `uncommitted` for the transaction's own write.
    version: str


@dataclass(frozen=True)
class Ran:
    """The outcome of a run, or of another call, that has committed."""
    #: The result of the attempt that committed.
    result: bytes
    #: True if an attempt that is not this run's has committed: this run's writes had no effect.
    replayed: bool
    #: The identity of the committed transaction; None if there was nothing to store.
    version: Optional[str]
    #: The size of the result in bytes, if it is too large for `result`, which is empty then;
    #: `Client.result` reads it.
    result_size: Optional[int] = None
    #: The number of attempts that this call made; for a run, the number of calls of its function. 0
    #: if the request had committed before.
    attempts: int = 0


@dataclass(frozen=True)
class Executed:
    """The outcome of a whole transaction that has committed."""
    #: The outcome of the commit. A replay may be that of an earlier try of this same call, whose
    #: answer was lost.
    ran: Ran
    #: One entry for every get and add, in order. Empty if the commit is known and its reads are
    #: not: after a replay, or if an answer was lost.
    reads: List[Read]


@dataclass(frozen=True)
class Found:
    """A committed request."""
    #: The hash of the request's ID, by which the store names its record.
    hash: str
    #: The identity of the committed transaction.
    version: str
    #: The time of the commit, and the time until which it is kept at least (RFC 3339).
    committed_at: str
    kept_until: str
    #: The keys that it wrote.
    keys: List[str]
    result: bytes
    #: The size of the result in bytes, if it is too large for `result`, which is empty then;
    #: `Client.result` reads it.
    result_size: Optional[int] = None


@dataclass(frozen=True)
class Op:
    """One operation of a batch.

    A put, a delete or a check may have one condition: `if_absent` (the key has no value),
    `if_version` (its value is of this version) or `if_value` (its value has these bytes). A
    condition is checked against the committed version, not against the transaction's own writes,
    and needs a serializable transaction, as `Client.run` and `Client.execute` open it. If it does
    not hold, the call raises ConditionFailed.
    """
    verb: str
    key: str
    value: Optional[bytes] = None
    content_type: Optional[str] = None
    condition: Optional[Tuple[str, Union[bool, str]]] = None
    by: Optional[int] = None

    @classmethod
    def get(cls, key: str) -> "Op":
        """Reads a key. The value is among the results.

        Raises:
            Invalid: The key is empty, too long or not valid UTF-8.
        """
        return cls("get", _checked(key))

    @classmethod
    def put(cls, key: str, value: Bytes, content_type: Optional[str] = None, *, if_absent: bool = False,
            if_version: Optional[str] = None, if_value: Bytes = None) -> "Op":
        """Writes a value.

        Args:
            key: The key, of 1 to 1,088 bytes in UTF-8.
            value: The value, as bytes or text.
            content_type: The content type, which reads return with the value.
            if_absent, if_version, if_value: A condition; at most one of them.

        Raises:
            Invalid: The key is not valid, or there are several conditions.
        """
        return cls("put", _checked(key), _bytes(value), content_type, _condition(if_absent, if_version, if_value))

    @classmethod
    def delete(cls, key: str, *, if_version: Optional[str] = None, if_value: Bytes = None) -> "Op":
        """Deletes a key; with a condition as in `put`.

        Raises:
            Invalid: The key is not valid, or there are several conditions.
        """
        return cls("delete", _checked(key), condition=_condition(False, if_version, if_value))

    @classmethod
    def check(cls, key: str, *, if_absent: bool = False, if_version: Optional[str] = None, if_value: Bytes = None) -> "Op":
        """Checks a condition, and does nothing else.

        Raises:
            Invalid: The key is not valid, or there is not exactly one condition.
        """
        condition = _condition(if_absent, if_version, if_value)
        if condition is None:
            raise Invalid("a check without a condition does nothing: give it if_absent, if_version or if_value")
        return cls("check", _checked(key), condition=condition)

    @classmethod
    def add(cls, key: str, by: int) -> "Op":
        """Adds to the number that a key holds as decimal text. The sum is among the results.

        The operation is only possible in a call that commits, and not together with a get.

        Args:
            key: The key. If it has no value, it counts as 0.
            by: The number to add. The sum must fit into 64 bits.

        Raises:
            Invalid: The key is not valid.
        """
        return cls("add", _checked(key), by=int(by))

    def _is_conditional(self) -> bool:
        return self.condition is not None or self.verb == "add"

    def _json(self) -> Dict[str, Any]:
        op: Dict[str, Any] = {self.verb: self.key}
        if self.condition is not None:
            op.update([self.condition])
        if self.by is not None:
            op["by"] = self.by
        if self.value is not None:
            op["value"] = base64.b64encode(self.value).decode()
        if self.content_type is not None:
            op["content_type"] = self.content_type
        return op

    def _weight(self) -> int:
        around = 64
        return around + len(self.key) + len(self.value or b"") + len(self.content_type or "")


def _condition(absent: bool, version: Optional[str], value: Bytes) -> Optional[Tuple[str, Union[bool, str]]]:
    given: List[Tuple[str, Union[bool, str]]] = []
    if absent:
        given.append(("if_absent", True))
    if version is not None:
        given.append(("if_version", version))
    if value is not None:
        given.append(("if_value", base64.b64encode(_bytes(value)).decode()))
    if len(given) > 1:
        raise Invalid("an operation can have only one condition: if_absent, if_version or if_value")
    return given[0] if given else None


def _bytes(value: Bytes) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else bytes(value)


def _checked(key: str) -> str:
    try:
        length = len(key.encode())
    except UnicodeEncodeError as why:
        raise Invalid(f"a key must be valid UTF-8: {why}") from None
    if not 1 <= length <= KEY_BYTES_MAX:
        raise Invalid(f"a key has 1 to {KEY_BYTES_MAX} bytes; this one has {length}")
    return key


def _unbase64(text: Optional[str]) -> bytes:
    return base64.b64decode(text) if text else b""


def _result(result: bytes, request_id: Optional[str]) -> Dict[str, str]:
    """Returns the result's field of a commit.

    Without a request ID no later attempt can ask for the result, and storing it would need the
    right to write.
    """
    return {"result": base64.b64encode(result).decode()} if result and request_id is not None else {}


def _read(read: Dict[str, Any]) -> Read:
    if read.get("value") is None:
        return Read(read["key"], None)
    value = Value(_unbase64(read["value"]), read.get("content_type", DEFAULT_CONTENT_TYPE), read.get("version", ""))
    return Read(read["key"], value)


def _path(text: str) -> str:
    return quote(text, safe="/~")


class _Session(NamedTuple):
    """The contents of a session token."""

    # The time until which transactions are fresh.
    fresh: int
    # The node through which everything was seen, and the time after which that counts.
    through: int
    mixed: int
    # The commits, as they are encoded.
    entries: List[bytes]

    def seen(self) -> int:
        """Returns the time when the client heard of the last commit that the token names."""
        return max((_seen(entry) for entry in self.entries), default=0)


def _seen(entry: bytes) -> int:
    return int.from_bytes(entry[SESSION_IDENTITY_LEN:SESSION_IDENTITY_LEN + 8], "big")


def _parse_session(token: str) -> _Session:
    raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    prefix = SESSION_PREFIX_LEN.get(raw[0] if raw else 0, 0)
    if prefix == 0 or len(raw) < prefix:
        raise ValueError("the text is not a session token of format 2 or 3")
    entries = [raw[at:at + SESSION_ENTRY_LEN] for at in range(prefix, len(raw), SESSION_ENTRY_LEN)]
    if any(len(entry) != SESSION_ENTRY_LEN or entry[-1] > 1 for entry in entries):
        raise ValueError("the text is not a session token: its commits are not readable")
    fresh, through, mixed = (int.from_bytes(raw[at:at + 8], "big") if at < prefix else 0 for at in (1, 9, 17))
    return _Session(fresh, through, mixed, entries)


def _merge_through(one: _Session, other: _Session) -> Tuple[int, int]:
    """Returns the node through which both were seen, and the time after which that counts.

    By that time all nodes show what was seen through the other node.
    """
    mixed = max(one.mixed, other.mixed)
    empty = _Session(0, 0, 0, [])
    if one.through == other.through or other == empty:
        return one.through, mixed
    if one == empty:
        return other.through, mixed
    earlier, last = sorted((one, other), key=lambda session: (session.seen(), session.through))
    return last.through, max(mixed, earlier.fresh, earlier.seen() + SESSION_COVER_MS)


def merge_sessions(one: str, other: str) -> str:
    """Merges two session tokens of one client into one.

    The result names the newest commits of both; the others are covered by making transactions fresh
    for a while.

    Args:
        one, other: The tokens, in any order.

    Returns:
        The merged token.

    Raises:
        ValueError: A token cannot be read. It may come from a newer server.
    """
    this, that = _parse_session(one), _parse_session(other)
    through, mixed = _merge_through(this, that)
    # If both have an entry of the same commit, keep the one that was heard of last.
    newest: Dict[bytes, bytes] = {}
    for entry in this.entries + that.entries:
        identity = entry[:SESSION_IDENTITY_LEN]
        newest[identity] = max(entry, newest.get(identity, b""))
    entries = sorted(newest.values(), reverse=True)
    fresh = max(this.fresh, that.fresh)
    for entry in entries[SESSION_LEN_MAX:]:
        fresh = max(fresh, _seen(entry) + SESSION_COVER_MS)
    numbers = [fresh, through, mixed] if (through, mixed) != (0, 0) else [fresh]
    prefix = bytes([3 if len(numbers) == 3 else 2]) + b"".join(min(n, 2 ** 64 - 1).to_bytes(8, "big") for n in numbers)
    raw = prefix + b"".join(entries[:SESSION_LEN_MAX])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _repeats(request_id: Optional[str]) -> Dict[str, str]:
    """Returns the header by which a commit repeats its request.

    With it a server that has forgotten the transaction can answer from the request's record. A
    request ID with control characters cannot be sent in a header.
    """
    if request_id is None or any(ord(char) < 32 or ord(char) == 127 for char in request_id):
        return {}
    escaped = request_id.replace("\\", "\\\\").replace('"', '\\"')
    # The header's bytes are UTF-8. The library takes them as text with one byte for each character.
    return {"Idempotency-Key": f'"{escaped}"'.encode().decode("latin-1")}


def _pause(nth: int, in_progress: bool, asked_ms: Optional[int]) -> Tuple[float, float]:
    """Returns the shortest and the longest pause in seconds after `nth` earlier failures.

    `asked_ms` is the pause that the server asked for, in milliseconds.
    """
    own = min(PAUSE_S_FIRST * 2 ** min(nth, 20), PAUSE_S_MAX)
    if asked_ms is None:
        return own / 2, own
    asked = asked_ms / 1000
    if in_progress:
        # The server named the latest end of the other attempt, which is likely to end earlier.
        return min(own, asked) / 2, min(own, asked)
    # An earlier try is useless. The random part spreads the clients that got the same answer.
    least = min(asked, ASKED_S_MAX)
    return max(least, own / 2), least + own


class _Pace:
    """The pauses between tries: exponential back-off with jitter, within a total time."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.nth = 0

    def remaining(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def pause(self, after: AftError) -> bool:
        """Pauses after a failure.

        Returns False at once, without a pause, if the time would be over after it.
        """
        pause = random.uniform(*_pause(self.nth, isinstance(after, InProgress), after.retry_after_ms))
        self.nth += 1
        if pause >= self.remaining():
            return False
        time.sleep(pause)
        return True


# --- one call


@dataclass
class _Answer:
    headers: http.client.HTTPMessage
    body: bytes

    def reply(self) -> Dict[str, Any]:
        try:
            reply = json.loads(self.body)
            if isinstance(reply, dict):
                return reply
            raise ValueError("not an object")
        except ValueError as why:
            raise _NoAnswer(f"the answer is not a valid reply: {why}") from None


class _Transport:
    """The connections to one server. It keeps idle connections open, and does not retry."""

    def __init__(self, url: str, token: Optional[str], connect_timeout: float, call_timeout: float) -> None:
        self.lock = threading.Lock()
        self.idle: List[Tuple[http.client.HTTPConnection, float]] = []
        parts = urlsplit(url)
        plain = parts.path in ("", "/") and not parts.query and not parts.username
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise Invalid(f"{url!r} is not the URL of a server: write http://HOST:PORT, without a path")
        if token is not None and not token.isprintable():
            raise Invalid("the bearer token contains characters that a header cannot hold: remove line breaks from it")
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.host, self.port = parts.hostname, parts.port
        self.token = token
        self.connect_timeout, self.call_timeout = connect_timeout, call_timeout

    def send(self, method: str, path: str, body: Bytes = None, headers: Optional[Dict[str, str]] = None,
             timeout: Optional[float] = None) -> _Answer:
        """Sends a call and returns its answer, a success.

        Raises the server's error, _NotSent, or _NoAnswer.
        """
        headers = dict(headers or {})
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = self._connection()
        try:
            connection.sock.settimeout(self.call_timeout if timeout is None else min(timeout, self.call_timeout))
            cut_off = False
            try:
                connection.request(method, path, body=_bytes(body) if body is not None else None, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                # A server may reject a large body before it has received all of it, and close the
                # connection. Then its answer has arrived, and is read below.
                cut_off = True
            response = connection.getresponse()
            if response.length is None and not response.chunked:
                raise http.client.HTTPException(
                    "the answer states no length, so a broken connection could not be detected")
            answer = response.read(ANSWER_BYTES_MAX + 1)
            # `isclosed` alone does not show that the answer is complete: a response counts as
            # closed as well if the connection ends before the first byte of its body. Then `length`
            # is not zero.
            if len(answer) > ANSWER_BYTES_MAX or response.length or not response.isclosed():
                raise http.client.HTTPException("the answer is longer than 256 MiB, or incomplete")
        except (OSError, http.client.HTTPException) as why:
            connection.close()
            raise _NoAnswer(f"no answer: {type(why).__name__}: {why}") from why
        except BaseException:
            connection.close()
            raise
        # A success to a part of the body says nothing about the call.
        if cut_off and response.status < 400:
            connection.close()
            raise _NoAnswer(f"the server answered status {response.status} before the whole body was sent")
        if response.will_close or cut_off:
            connection.close()
        else:
            self._keep(connection)
        if 200 <= response.status < 300:
            return _Answer(response.headers, answer)
        raise _refusal(response.status, answer)

    def _connection(self) -> http.client.HTTPConnection:
        """Returns an idle connection that is still open, or opens one. Raises _NotSent."""
        while True:
            with self.lock:
                if not self.idle:
                    break
                connection, since = self.idle.pop()
            if time.monotonic() - since < IDLE_S_MAX and not _readable(connection.sock):
                return connection
            connection.close()
        kind = http.client.HTTPConnection
        more: Dict[str, Any] = {}
        if self.tls is not None:
            kind, more = http.client.HTTPSConnection, {"context": self.tls}
        connection = kind(self.host, self.port, timeout=self.connect_timeout, **more)
        connection.response_class = _Response
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as why:
            connection.close()
            raise _NotSent(f"cannot connect: {why}") from why
        return connection

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self.lock:
            if len(self.idle) < IDLE_CONNECTIONS_MAX:
                self.idle.append((connection, time.monotonic()))
                return
        connection.close()

    def close(self) -> None:
        with self.lock:
            idle, self.idle = self.idle, []
        for connection, _ in idle:
            connection.close()

    def __del__(self) -> None:
        self.close()


class _Lines:
    """The file of a response, which remembers the last line that was read."""

    def __init__(self, fp: Any) -> None:
        self.fp, self.last = fp, b""

    def readline(self, *limit: int) -> bytes:
        self.last = self.fp.readline(*limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fp, name)


class _Response(http.client.HTTPResponse):
    """A response that checks that its head is complete.

    The library takes the end of the connection for the end of the head, and so would take a value
    that was cut off for an empty one.
    """

    def begin(self) -> None:
        self.fp = lines = _Lines(self.fp)
        super().begin()
        if lines.last not in (b"\r\n", b"\n"):
            raise http.client.HTTPException("the head of the answer is incomplete")


def _readable(sock: socket.socket) -> bool:
    """Returns True if an idle connection has something to read: the server has closed it."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


# --- the client


# The default level of runs and whole transactions, which run again after a conflict.
_SERIALIZABLE = "serializable"


@dataclass
class _Request:
    id: Optional[str]
    scope: Optional[str] = None
    fingerprint: Optional[str] = None
    timeout: Optional[float] = None
    retention: Optional[float] = None
    overlap: bool = False
    fresh: bool = False
    reads: Tuple[str, ...] = ()
    isolation: Optional[str] = None

    def path(self, under: str) -> str:
        query = f"?scope={quote(self.scope, safe='')}" if self.scope else ""
        return f"/v1/{under}/{_path(self.id or '')}{query}"

    def begin(self, client: "Client", wait: float, beside: bool, conflicts: int) -> Dict[str, Any]:
        timeout = self.timeout if self.timeout is not None else client.transaction_timeout
        begin = {
            "request_id": self.id, "scope": self.scope, "fingerprint": self.fingerprint,
            "timeout_ms": None if timeout is None else int(timeout * 1000), "wait_ms": int(wait * 1000),
            "retention_s": None if self.retention is None else int(self.retention), "session": client.session,
            "ops": [{"get": _checked(key)} for key in self.reads] or None, "isolation": self.isolation, "conflicts": conflicts or None,
        }
        begin = {name: value for name, value in begin.items() if value is not None}
        if self.overlap or beside:
            begin["if_open"] = "run"
        if self.fresh:
            begin["fresh"] = True
        return begin


class Client:
    """A client of one server, with a pool of connections and one session. Threads may share it.

    Nothing is sent before the first call.

    Args:
        url: The server, `http://HOST[:PORT]` or `https://HOST[:PORT]`.
        token: The bearer token to present to the server.
        connect_timeout: The timeout for opening a connection, in seconds.
        call_timeout: The timeout for each wait on the connection within a call, in seconds.
        transaction_timeout: The deadline of transactions, in seconds from their opening, unless the
            call sets its own. With None the server chooses it, a minute by default.
        attempts_max: The most attempts of a run or a whole transaction; at least one.
        run_seconds_max: The time in seconds after which a run, or another call, starts no new
            attempt. It does not interrupt a function that is running.
        session: True if each transaction sees the commits that this client made before it began, on
            any node.
        write_buffer_bytes_max: The most bytes of small writes that are buffered until the commit;
            at most 4 MiB. With 0 each write is a call of its own, and its errors are raised at
            once.

    Raises:
        Invalid: The URL has another form, or the token cannot be sent in a header.
    """

    def __init__(self, url: str, *, token: Optional[str] = None, connect_timeout: float = 5.0,
                 call_timeout: float = 30.0, transaction_timeout: Optional[float] = None, attempts_max: int = 10,
                 run_seconds_max: float = 60.0, session: bool = True, write_buffer_bytes_max: int = 1 << 20) -> None:
        self._transport = _Transport(url, token, connect_timeout, call_timeout)
        self.transaction_timeout = transaction_timeout
        self.attempts_max = max(1, attempts_max)
        self.run_seconds_max = run_seconds_max
        self.write_buffer_bytes_max = min(write_buffer_bytes_max, WRITE_BUFFER_BYTES_LIMIT)
        self._wait_max = min(WAIT_S_MAX, call_timeout / 2)
        self._sessions = session
        self._session: Optional[str] = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the idle connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the session

    @property
    def session(self) -> Optional[str]:
        """The session's token, which another process can pass to `join_session`.

        It is None before the first commit, and if sessions are off.
        """
        with self._lock:
            return self._session if self._sessions else None

    def join_session(self, token: Optional[str]) -> None:
        """Merges the session of another process into this one.

        Transactions that begin from now on see the commits of that session. If sessions are off,
        nothing happens.

        Args:
            token: The other client's `session`; with None nothing happens.
        """
        self._committed(token)

    def _committed(self, token: Optional[str]) -> None:
        # Two transactions at once continue one token in two ways, and a replay starts a new one. So
        # tokens are merged.
        if not token or not self._sessions:
            return
        with self._lock:
            try:
                self._session = merge_sessions(token, self._session) if self._session else token
            except ValueError:
                # The token comes from a newer server: then the last one is kept.
                self._session = token

    # --- runs

    def run(self, request_id: Optional[str], function: Callable[["Transaction"], Bytes], *,
            scope: Optional[str] = None, fingerprint: Optional[str] = None, timeout: Optional[float] = None,
            retention: Optional[float] = None, overlap: bool = False, fresh: bool = False, reads: Iterable[str] = (),
            isolation: Optional[str] = _SERIALIZABLE) -> Ran:
        """Calls `function(transaction)` until its request has committed once.

        The function is called once for each attempt: once as a rule, several times after failures,
        and not at all if the request has committed before. Its effects outside the transaction may
        therefore be repeated. If the function raises an exception, the attempt is aborted and the
        run raises that exception; but if a call of the transaction had failed before with a
        retryable error, the function is called again, in a new attempt.

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
            overlap: True to run at once beside another open attempt of the request instead of
                waiting for it, for instance because that one is known to be gone. The request takes
                effect once in any case.
            fresh: True to see every commit that was acknowledged before the attempt began, on any
                server of the store.
            reads: Keys to read in the call that opens the transaction: getting them needs no other
                call.
            isolation: The isolation level.
                "serializable" (the default): an attempt commits only if the versions that it read
                are still the newest. An attempt that loses has no effect, and another follows after
                a random pause that grows with each failure, until `attempts_max` or
                `run_seconds_max` of the client is used up. The check may cost a run that only reads
                a round trip to the store.
                "read_atomic": nothing is checked; two runs that read the same version may both
                overwrite it.
                None: on a shared store (s3:, dynamodb:, redis:) the level of the keys that the run
                writes; on a store that a single process holds (memory:, local:) read atomic.
                On a shared store a serializable run cannot list keys, and cannot use keys whose
                prefix is read atomic: the server rejects both with the reason (Invalid). Ask for
                "read_atomic" there.

        Returns:
            The outcome of the attempt that committed.

        Raises:
            Unknown: An attempt may have committed. After any other error none has.
            Retry: The attempts or the time were used up; `code` is "conflict" if the last attempt
                lost a conflict.
            Unavailable: The server could not be reached, or had no room, until the time was up.
            InProgress: Another attempt of the request was open until the time was used up.
            KeyReused, ResultGone, Invalid, NotFound, Unauthorized, Internal: The server rejected a
                call.
            Exception: The function's own.
        """
        run = _Run(self, _Request(request_id, scope, fingerprint, timeout, retention, overlap, fresh, tuple(reads), isolation))
        while True:
            opened = run.open()
            if isinstance(opened, Ran):
                return opened
            opened._of_run = True
            try:
                result = _bytes(function(opened))
            except Exception as own:
                # If a call of the transaction failed in a way that another attempt may not, run
                # again: the function's exception is likely to follow from it. Otherwise raise it,
                # but only if no earlier attempt has committed.
                doomed = opened._doomed
                opened._abort_quietly()
                if doomed is not None and run.may_go_on() and run.pace.pause(doomed):
                    continue
                found = run.clear_doubts()
                if found is None:
                    raise
                if isinstance(found, Ran):
                    return found
                raise found from own
            except BaseException:
                opened._abort_quietly()
                raise
            ran = run.commit(opened, result)
            if ran is not None:
                return ran

    def transaction(self, request_id: Optional[str] = None, *, scope: Optional[str] = None,
                    fingerprint: Optional[str] = None, timeout: Optional[float] = None,
                    retention: Optional[float] = None, overlap: bool = False, fresh: bool = False,
                    reads: Iterable[str] = (), isolation: Optional[str] = None) -> "Transaction":
        """Opens a transaction by hand.

        As a context manager it commits at its end with `t.result`, and aborts if an exception
        leaves it. If the request has committed already, `t.replayed` is True, `t.ran` is the
        outcome, and the transaction takes no calls.

        A transaction by hand is not run again after a conflict: the commit of a serializable one
        raises Retry then. Use `run` for that.

        Args:
            request_id: The request's ID; with None no later call can find the outcome.
            scope, fingerprint, timeout, retention, overlap, fresh, reads: As in `run`.
            isolation: The level, as in `run`. With None, the default, it is left to the store: on a
                store that a single process holds it is read atomic.

        Returns:
            The transaction.

        Raises:
            InProgress: Another attempt of the request was open until `run_seconds_max` was used up.
            Unavailable: The server could not be reached, or had no room, until the time was up.
            KeyReused, ResultGone, Invalid, NotFound, Unauthorized, Internal: The server rejected
                the opening.
        """
        run = _Run(self, _Request(request_id, scope, fingerprint, timeout, retention, overlap, fresh, tuple(reads), isolation))
        opened = run.open()
        return opened if isinstance(opened, Transaction) else Transaction(self, request_id, {}, opened)

    # --- whole transactions

    def execute(self, request_id: Optional[str], ops: Iterable[Op], result: Bytes = None, *,
                scope: Optional[str] = None, fingerprint: Optional[str] = None, timeout: Optional[float] = None,
                retention: Optional[float] = None, overlap: bool = False, fresh: bool = False,
                isolation: Optional[str] = _SERIALIZABLE) -> Executed:
        """Runs operations as one transaction, in one call and in order.

        After a conflict the transaction is sent again, at most `attempts_max` times in all;
        `Executed.ran.attempts` is the number of tries.

        If a condition or an `Op.add` is among the operations, a request without an ID gets a random
        one. So the server recognises a call that is sent again because its answer was lost, and the
        call does not conflict with its own write.

        Args:
            request_id: The request's ID. With None, and without conditions and adds, a lost answer
                is Unknown.
            ops: The operations.
            result: The result (bytes or text) that is returned to later attempts of the request.
            scope, fingerprint, timeout, retention, overlap, fresh, isolation: As in `run`.

        Returns:
            The outcome, with the results of gets and adds.

        Raises:
            ConditionFailed: A condition does not hold, and nothing took effect.
            Unknown: The transaction may have committed. After any other error it has not.
            AftError: Otherwise the errors of `run`.
        """
        ops = list(ops)
        if request_id is None and any(op._is_conditional() for op in ops):
            request_id = uuid.uuid4().hex
        request = _Request(request_id, scope, fingerprint, timeout, retention, overlap, fresh, (), isolation)
        result = _bytes(result)
        ops = [op._json() for op in ops]
        pace, doubt, conflicts = _Pace(self.run_seconds_max), None, 0
        while True:
            begin = request.begin(self, min(self._wait_max, pace.remaining()), doubt is not None, conflicts)
            begin["ops"] = ops
            begin.update(_result(result, request_id))
            try:
                return self._executed(self._post("/v1/execute", begin), result, conflicts)
            except (AftError, _NotSent, _NoAnswer) as why:
                error = _committing(why)
            error._about(request_id, None)
            if isinstance(error, Unknown) and request_id is None:
                try:
                    return self._executed(self._resolve(error, pace), result, conflicts)
                except (Retry, Unavailable) as why:
                    error = why  # The query showed that it did not commit.
            if isinstance(error, Unknown):
                doubt = error
            elif not error.retryable and not isinstance(error, InProgress):
                # Credentials that are rejected now, or a store that is damaged now, say nothing
                # about an earlier try.
                raise doubt if doubt and isinstance(error, (Unauthorized, Internal)) else error
            conflicts += error.code == "conflict"
            if conflicts >= self.attempts_max or not pace.pause(error):
                raise doubt or error

    def _executed(self, reply: Dict[str, Any], result: bytes, conflicts: int) -> Executed:
        self._committed(reply.get("session"))
        replayed = reply.get("replayed", False)
        kept = _unbase64(reply.get("result")) if replayed else result
        ran = Ran(kept, replayed, reply.get("version"), reply.get("result_size"), conflicts + int(not replayed))
        return Executed(ran, [_read(read) for read in reply.get("results", [])])

    def _resolve(self, doubt: AftError, pace: _Pace) -> Dict[str, Any]:
        """Asks for the outcome of a commit in doubt of a request without an ID.

        Only its transaction can be asked. Without a token this raises `doubt`.
        """
        if doubt.transaction is None:
            raise doubt
        transaction = Transaction(self, None, {"transaction": doubt.transaction})
        reply = transaction._ask("/commit", {}, doubt, pace, None)
        if isinstance(reply, _BatchIsIn):
            raise doubt
        return reply

    def get(self, key: str, *, fresh: bool = False) -> Optional[Value]:
        """Reads one key in a transaction of its own.

        Args:
            key: The key.
            fresh: True to read the value of the newest commit that was acknowledged before the
                call, on any server of the store, or a newer one.

        Returns:
            The value; None if the key has none.

        Raises:
            Invalid: The key is not valid.
            Unavailable: The server did not answer until `run_seconds_max` was used up.
            AftError: The server rejected the call.
        """
        path = self._alone(key) + ("?fresh=true" if fresh else "")
        pace = _Pace(self.run_seconds_max)
        while True:
            try:
                answer = self._transport.send("GET", path, headers=self._session_header())
                self._committed(answer.headers.get("Aft-Session"))
                return _raw_value(answer)
            except (AftError, _NotSent, _NoAnswer) as why:
                error = _harmless(why)
            if error.code == "absent":
                return None
            if not error.retryable or not pace.pause(error):
                raise error

    def put(self, key: str, value: Bytes, content_type: Optional[str] = None, *, if_absent: bool = False,
            if_version: Optional[str] = None, if_value: Bytes = None) -> Ran:
        """Writes one key in a transaction of its own.

        If the answer is lost, the write is not sent again, since another client may have written a
        newer value meanwhile. For a write that must take effect exactly once, use `run` or
        `execute` with a request ID.

        With a condition (see `Op`) the write takes effect once, also if the call is sent several
        times. The value must then fit into one call.

        Args:
            key: The key.
            value: The value, as bytes or text.
            content_type: The content type, which reads return with the value.
            if_absent, if_version, if_value: A condition; at most one of them.

        Returns:
            The outcome of the commit.

        Raises:
            ConditionFailed: The condition does not hold, and nothing was written.
            Unknown: The answer was lost, and the write may have taken effect.
            Invalid: The key, the content type or the conditions are not valid.
            Unavailable: The server could not be reached until `run_seconds_max` was used up.
            AftError: The server rejected the call.
        """
        if _condition(if_absent, if_version, if_value) is not None:
            op = Op.put(key, value, content_type, if_absent=if_absent, if_version=if_version, if_value=if_value)
            return self.execute(None, [op]).ran
        headers = {} if content_type is None else {"Content-Type": _content_type(content_type)}
        return self._write("PUT", key, _bytes(value), headers)

    def delete(self, key: str, *, if_version: Optional[str] = None, if_value: Bytes = None) -> Ran:
        """Deletes one key in a transaction of its own.

        Args:
            key: The key.
            if_version, if_value: A condition, as in `put`.

        Returns:
            The outcome of the commit.

        Raises:
            AftError: The errors of `put`.
        """
        if _condition(False, if_version, if_value) is not None:
            return self.execute(None, [Op.delete(key, if_version=if_version, if_value=if_value)]).ran
        return self._write("DELETE", key, None, {})

    def add(self, key: str, by: int = 1) -> Optional[int]:
        """Adds to the number that a key holds as decimal text, in a transaction of its own.

        The number is added once, also if the call is sent several times.

        Args:
            key: The key. If it has no value, it counts as 0.
            by: The number to add.

        Returns:
            The sum; None if the number was added but the answer with the sum was lost.

        Raises:
            Invalid: The key holds no number, or the sum does not fit into 64 bits.
            AftError: Otherwise the errors of `execute`.
        """
        reads = self.execute(None, [Op.add(key, by)]).reads
        return int(reads[0].value.bytes) if reads and reads[0].value else None

    def _write(self, method: str, key: str, body: Optional[bytes], headers: Dict[str, str]) -> Ran:
        path, pace = self._alone(key), _Pace(self.run_seconds_max)
        while True:
            try:
                reply = self._transport.send(method, path, body, {**headers, **self._session_header()}).reply()
            except (AftError, _NotSent, _NoAnswer) as why:
                error = _committing(why)
                if isinstance(error, Unknown):
                    reply = self._resolve(error, pace)
                elif error.retryable and pace.pause(error):
                    continue
                else:
                    raise error
            self._committed(reply.get("session"))
            return Ran(b"", False, reply.get("version"), attempts=1)

    def _alone(self, key: str) -> str:
        return f"/v1/keys/{_path(_checked(key))}"

    def _session_header(self) -> Dict[str, str]:
        session = self.session
        return {} if session is None else {"Aft-Session": session}

    def request(self, request_id: str, scope: Optional[str] = None) -> Optional[Found]:
        """Looks a request up.

        Args:
            request_id: The request's ID.
            scope: The scope under which it ran.

        Returns:
            Its commit, with the time, the keys and the result; None if no commit of it is known.

        Raises:
            Unavailable: The server did not answer until `run_seconds_max` was used up.
            AftError: The server rejected the call.
        """
        pace = _Pace(self.run_seconds_max)
        while True:
            try:
                return self._look_up(_Request(request_id, scope))
            except AftError as error:
                if not error.retryable or not pace.pause(error):
                    raise

    def _look_up(self, request: _Request) -> Optional[Found]:
        try:
            found = self._transport.send("GET", request.path("requests")).reply()
        except (AftError, _NotSent, _NoAnswer) as why:
            error = _harmless(why)._about(request.id, None)
            if isinstance(error, NotFound):
                return None
            raise error from None
        return Found(found["hash"], found["version"], found["committed_at"], found["kept_until"],
                     found.get("keys", []), _unbase64(found.get("result")),
                     found.get("result_size"))

    def result(self, request_id: str, scope: Optional[str] = None) -> Optional[bytes]:
        """Reads the result of a committed request, of any size.

        Args:
            request_id: The request's ID.
            scope: The scope under which it ran.

        Returns:
            The result; None if no commit of the request is known, or if it has no result.

        Raises:
            AftError: The errors of `request`.
        """
        pace = _Pace(self.run_seconds_max)
        while True:
            try:
                return self._transport.send("GET", _Request(request_id, scope).path("results")).body
            except (AftError, _NotSent, _NoAnswer) as why:
                error = _harmless(why)._about(request_id, None)
            if isinstance(error, NotFound):
                return None
            if not error.retryable or not pace.pause(error):
                raise error

    def _post(self, path: str, message: Dict[str, Any], headers: Optional[Dict[str, str]] = None) -> Dict[str, Any]:
        headers = {"Content-Type": "application/json", **(headers or {})}
        return self._transport.send("POST", path, json.dumps(message), headers).reply()


def _raw_value(answer: _Answer) -> Value:
    content_type = answer.headers.get("Content-Type", DEFAULT_CONTENT_TYPE)
    return Value(answer.body, content_type, answer.headers.get("Aft-Version", ""))


def _content_type(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise Invalid(f"a content type must be printable ASCII, not {text!r}")
    return text


# --- a transaction


@dataclass
class _BatchIsIn:
    """The answer that a batch has arrived, and that its commit is in flight or done."""
    doubt: AftError


@dataclass(eq=False)
class Transaction:
    """An open transaction. `Client.transaction` and `Client.run` make it.

    It reads its own writes and a read-atomic snapshot of committed versions; others see its writes
    only after it has committed. Small writes are buffered in it and sent with the commit. One
    thread uses it at a time.
    """
    _client: Client
    _request_id: Optional[str]
    _opened: Dict[str, Any]
    #: The outcome, once it has committed.
    ran: Optional[Ran] = None
    _scope: Optional[str] = None
    #: The result with which `with` commits.
    result: Bytes = None
    # True if a run commits or aborts it.
    _of_run: bool = False
    _ended: bool = False
    _buffer: Dict[str, Op] = field(default_factory=dict)
    _buffer_bytes: int = 0
    # The values that the opening call read, of keys that were not written since.
    _reads: Dict[str, Optional[Value]] = field(default_factory=dict)
    # The first error of a call after which another attempt may succeed.
    _doomed: Optional[AftError] = None
    # The first error after which writes that the caller believes done may be missing. No commit may
    # follow it.
    _torn: Optional[AftError] = None

    def __post_init__(self) -> None:
        #: The transaction's token, which identifies it in logs and problems; empty if the request
        #: was replayed.
        self.token: str = self._opened.get("transaction", "")
        for read in map(_read, self._opened.get("results", [])):
            self._reads[read.key] = read.value
        self._ended = self.ran is not None

    @property
    def replayed(self) -> bool:
        """True if another attempt of the request has committed.

        Nothing is left to do then, and `ran` is its outcome.
        """
        return self.ran is not None and self.ran.replayed

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        if self._ended:
            return
        if kind is None:
            self.commit(self.result)
        else:
            self._abort_quietly()

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
            Invalid: The key is not valid, or the transaction has ended.
        """
        self._open()
        own = self._buffer.get(_checked(key))
        if own is not None:
            if own.value is None:
                return None
            return Value(own.value, own.content_type or DEFAULT_CONTENT_TYPE, "uncommitted")
        if key in self._reads:
            return self._reads[key]
        try:
            return _raw_value(self._send("GET", f"/keys/{_path(key)}", None, {}, reads=True))
        except (AftError, _NotSent, _NoAnswer) as why:
            if isinstance(why, AftError) and why.code == "absent":
                return None
            raise self._failed(why, False) from None

    def put(self, key: str, value: Bytes, content_type: Optional[str] = None) -> None:
        """Writes a value.

        A small value is buffered; errors of the server about it are raised by the commit.

        Args:
            key: The key.
            value: The value, as bytes or text.
            content_type: The content type, which reads return with the value.

        Raises:
            Invalid: The key or the content type is not valid, or the transaction has ended.
            Retry, Unavailable: The value was too large for the buffer, and its call failed: run the
                request again.
        """
        self._write(Op.put(key, value, content_type if content_type is None else _content_type(content_type)))

    def delete(self, key: str) -> None:
        """Deletes a key.

        Args:
            key: The key.

        Raises:
            AftError: The errors of `put`.
        """
        self._write(Op.delete(key))

    def list(self, prefix: str = "", after: str = "", page_len: int = 1000) -> Iterator[Listed]:
        """Lists the keys that begin with a prefix, in the order of their bytes.

        Each page is one call.

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
        next_: Optional[str] = after
        while next_ is not None:
            self._open()
            self._flush([])
            query = f"?prefix={quote(prefix, safe='')}&after={quote(next_, safe='')}&limit={page_len}"
            try:
                page = self._send("GET", f"/keys{query}", None, {}, reads=True).reply()
            except (AftError, _NotSent, _NoAnswer) as why:
                raise self._failed(why, False) from None
            for listed in page["keys"]:
                yield Listed(listed["key"], listed["size"], listed["version"])
            next_ = page.get("next")

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
        self._open()
        ops = list(ops)
        if len(ops) > BUFFERED_WRITES_MAX or sum(map(Op._weight, ops)) > BUFFERED_VALUE_BYTES_MAX:
            # Send the buffered writes first: with them the call might be too large.
            self._flush([])
        return self._flush(ops)

    def commit(self, result: Bytes = None) -> Ran:
        """Commits.

        A commit in doubt is sent again until its outcome is known, or `run_seconds_max` is used up.

        Args:
            result: The result (bytes or text) that is returned to later attempts of the request. It
                is stored only if the request has an ID.

        Returns:
            The outcome.

        Raises:
            Unknown: The transaction may have committed. After any other error it never will.
            Retry: It lost a conflict, or its time was over: run the request again.
            Invalid: The transaction has ended, or belongs to `Client.run`, which commits by itself.
            AftError: The server rejected the commit.
        """
        self._by_hand()
        return self._settle(_bytes(result), _Pace(self._client.run_seconds_max), None)

    def abort(self) -> None:
        """Aborts the transaction and drops its writes.

        Without a call it would be aborted at its deadline.

        Raises:
            Invalid: The transaction has ended, or belongs to `Client.run`, which aborts if its
                function raises.
            AftError: The call failed.
        """
        self._by_hand()
        self._open()
        self._ended = True
        try:
            self._send_abort()
        except (AftError, _NotSent, _NoAnswer) as why:
            raise self._about(_harmless(why)) from None

    def _by_hand(self) -> None:
        if self._of_run:
            raise self._about(Invalid("the function of a run must not commit or abort: "
                                      "return a result to commit, or raise an exception to abort"))

    def _open(self) -> None:
        if self._ended:
            raise self._about(Invalid("the transaction has ended and takes no more calls: begin a new one"))

    def _about(self, error: AftError) -> AftError:
        return error._about(self._request_id, self.token)

    def _wrote(self, version: Optional[str]) -> bool:
        """Returns True if this transaction committed `version`."""
        return version is not None and version.split("-", 1)[-1] == self.token.split("-", 1)[-1]

    def _write(self, op: Op) -> None:
        self._open()
        most = self._client.write_buffer_bytes_max
        if most > 0 and len(op.value or b"") <= BUFFERED_VALUE_BYTES_MAX:
            replaced = self._buffer.get(op.key)
            more = op._weight() - (replaced._weight() if replaced else 0)
            if self._buffer_bytes + more > most or len(self._buffer) + (replaced is None) > BUFFERED_WRITES_MAX:
                self._flush([])
                more = op._weight()
            self._buffer[op.key] = op
            self._buffer_bytes += more
            self._reads.pop(op.key, None)
            return
        headers = {} if op.content_type is None else {"Content-Type": op.content_type}
        try:
            self._send("DELETE" if op.value is None else "PUT", f"/keys/{_path(op.key)}", op.value, headers, reads=False)
        except (AftError, _NotSent, _NoAnswer) as why:
            # A write that was rejected had no effect. A write without an answer may have had its
            # effect.
            raise self._failed(why, isinstance(why, _NoAnswer)) from None
        self._reads.pop(op.key, None)
        waited = self._buffer.pop(op.key, None)
        self._buffer_bytes -= waited._weight() if waited else 0

    def _take(self) -> List[Op]:
        waited, self._buffer, self._buffer_bytes = list(self._buffer.values()), {}, 0
        return waited

    def _flush(self, ops: List[Op]) -> List[Read]:
        """Sends the buffered writes, and `ops` after them."""
        for op in ops:
            if op.verb != "get":
                self._reads.pop(op.key, None)
        waited = self._take()
        all_ = waited + ops
        if not all_:
            return []
        reads_only = all(op.verb == "get" for op in all_)
        body = json.dumps({"ops": [op._json() for op in all_]})
        try:
            reply = self._send("POST", "/batch", body, {"Content-Type": "application/json"}, reads=reads_only).reply()
        except (AftError, _NotSent, _NoAnswer) as why:
            # The buffered writes are out of the buffer, and the caller believes them done: after
            # any failure the transaction must not commit without them.
            torn = bool(waited) or (not reads_only and isinstance(why, _NoAnswer))
            raise self._failed(why, torn) from None
        return [_read(read) for read in reply.get("results", [])]

    def _send(self, method: str, rest: str, body: Bytes, headers: Dict[str, str], reads: bool) -> _Answer:
        """Sends a call, and sends it again where that is harmless.

        That is if the server was overloaded, or if the call only reads and got no answer. A write
        without an answer is not sent again: its first copy may still be in flight, and would then
        take effect after later writes.
        """
        transport = self._client._transport
        pace, tries = _Pace(transport.call_timeout), 1
        while True:
            try:
                return transport.send(method, f"/v1/transactions/{self.token}{rest}", body, headers)
            except (AftError, _NotSent, _NoAnswer) as why:
                harmless = (reads and isinstance(why, _NoAnswer)) or getattr(why, "code", None) == "overloaded"
                if not harmless or tries == TRIES_IN_PLACE_MAX or not pace.pause(_harmless(why)):
                    raise
            tries += 1

    def _failed(self, why: Exception, torn: bool) -> AftError:
        """Records what a failed call means for the transaction, and returns its error."""
        error = _harmless(why)
        if isinstance(error, NotFound) and error.code != "no_such_path":
            # The node has forgotten the transaction, and no commit was sent: run the request again.
            error = error._as(Retry)
        self._about(error)
        if error.retryable and self._doomed is None:
            self._doomed = error
        if torn and self._torn is None:
            self._torn = error
        return error

    def _send_abort(self, timeout: Optional[float] = None) -> None:
        self._client._transport.send("POST", f"/v1/transactions/{self.token}/abort", timeout=timeout)

    def _abort_quietly(self) -> None:
        if not self._ended:
            self._ended = True
            try:
                self._send_abort(ABORT_S_MAX)
            except (AftError, _NotSent, _NoAnswer):
                pass  # Without an abort the transaction ends at its deadline.

    # --- the commit. The table of answers is in shim/clients/rust/src/commit.rs.

    def _settle(self, result: bytes, pace: _Pace, times_max: Optional[int]) -> Ran:
        self._open()
        if self._torn is not None:
            self._abort_quietly()
            raise self._torn
        self._ended = True
        alone = _result(result, self._request_id)
        ops = [op._json() for op in self._take()]
        try:
            if ops:
                # The whole call is repeated: if it never arrived, a bare commit would commit the
                # transaction without these writes.
                reply = self._ask("/batch", {"ops": ops, "commit": True, **alone}, None, pace, times_max)
            else:
                reply = self._ask("/commit", alone, None, pace, times_max)
            if isinstance(reply, _BatchIsIn):
                reply = self._ask("/commit", alone, reply.doubt, pace, times_max)
            if isinstance(reply, _BatchIsIn):
                raise reply.doubt
        except AftError as error:
            if not isinstance(error, Unknown):
                self._ended = False
                self._abort_quietly()
            raise self._about(error)
        self._client._committed(reply.get("session"))
        replayed = reply.get("replayed", False)
        kept = _unbase64(reply.get("result")) if replayed else result
        self.ran = Ran(kept, replayed, reply.get("version"), reply.get("result_size"), 1)
        return self.ran

    def _ask(self, rest: str, message: Dict[str, Any], doubt: Optional[AftError], pace: _Pace,
             times_max: Optional[int]) -> Union[Dict[str, Any], _BatchIsIn]:
        """Sends a commit until its outcome is known.

        Raises Unknown, or the reason why the transaction did not commit.
        """
        nth, headers = 0, _repeats(self._request_id)
        while True:
            nth += 1
            error: AftError
            try:
                query = f"?scope={quote(self._scope, safe='')}" if self._scope and headers else ""
                reply = self._client._post(f"/v1/transactions/{self.token}{rest}{query}", message, headers)
                if reply.get("committed") or reply.get("replayed"):
                    return reply
                error = Unknown("the answer to a commit reports no commit")
            except (AftError, _NotSent, _NoAnswer) as why:
                error = _committing(why)
                if isinstance(why, _NotSent) and doubt is None:
                    # The server that opened the transaction is gone, and the transaction with it.
                    raise error from None
            if isinstance(error, Unknown):
                doubt = error
            elif isinstance(error, Unavailable) or error.code == "body_timeout":
                # The server rejected this call for now, which says nothing about an earlier one.
                pass
            elif error.code == "ended" and rest == "/batch" and doubt is not None:
                return _BatchIsIn(doubt)
            elif isinstance(error, (NotFound, Unauthorized, Internal)) and doubt is not None:
                # The transaction is forgotten, or the error says nothing about the first call.
                raise doubt
            else:
                raise error._as(Retry) if isinstance(error, NotFound) else error
            if (times_max is not None and nth >= times_max) or not pace.pause(error):
                raise doubt or error


# --- a run


class _Run:
    """The attempts of one request, one after the other.

    A named request may run again while a commit is in doubt, because one commit record decides for
    all attempts: the next opening, or the next commit, is answered with the winner's result.
    """

    def __init__(self, client: Client, request: _Request) -> None:
        self.client, self.request = client, request
        self.pace = _Pace(client.run_seconds_max)
        self.attempts = 0
        # The number of attempts that failed with a conflict.
        self.conflicts = 0
        # True if an attempt of this run may still be open. Waiting for it would mean waiting for
        # its deadline, so the next attempt runs beside it.
        self.beside = False
        # The attempts that may have committed, each with the error that left it in doubt.
        self.doubts: List[Tuple[Transaction, AftError]] = []

    def may_go_on(self) -> bool:
        return self.attempts < self.client.attempts_max

    def open(self) -> Union[Transaction, Ran]:
        while True:
            wait = min(self.client._wait_max, self.pace.remaining())
            try:
                reply = self.client._post("/v1/transactions", self.request.begin(self.client, wait, self.beside, self.conflicts))
                if reply.get("replayed"):
                    self.client._committed(reply.get("session"))
                    return self._replay(reply.get("version"), _unbase64(reply.get("result")), reply.get("result_size"))
                if not reply.get("transaction"):
                    raise _NoAnswer("the answer to an opening names no transaction")
                self.attempts += 1
                self.beside = True
                return Transaction(self.client, self.request.id, reply, _scope=self.request.scope)
            except (AftError, _NotSent, _NoAnswer) as why:
                self.beside = self.beside or isinstance(why, _NoAnswer)
                error = _harmless(why)._about(self.request.id, None)
            if not (error.retryable or isinstance(error, InProgress)) or not self.pace.pause(error):
                return self.give_up(error)

    def _replay(self, version: Optional[str], result: bytes, result_size: Optional[int]) -> Ran:
        """Returns the outcome of a commit that was found.

        It is a replay unless the commit is one of this run's attempts in doubt.
        """
        own = any(transaction._wrote(version) for transaction, _ in self.doubts)
        return Ran(result, not own, version, result_size, self.attempts)

    def commit(self, transaction: Transaction, result: bytes) -> Optional[Ran]:
        """Commits an attempt. Returns None if another attempt has to run."""
        named = self.request.id is not None
        try:
            ran = transaction._settle(result, self.pace, COMMIT_AGAIN_MAX if named else None)
            return self._replay(ran.version, ran.result, ran.result_size) if ran.replayed else replace(ran, attempts=self.attempts)
        except AftError as why:
            error = why
        self.conflicts += error.code == "conflict"
        if isinstance(error, Unknown):
            if not named:
                # Without a request ID a second attempt could commit the same request twice.
                raise error
            self.doubts.append((transaction, error))
        elif not error.retryable:
            return self.give_up(error)
        if self.may_go_on() and self.pace.pause(error):
            return None
        return self.give_up(error)

    def give_up(self, error: AftError) -> Ran:
        """Ends the run with `error`, unless a commit in doubt took effect, or stays in doubt."""
        found = self.clear_doubts()
        if isinstance(found, Ran):
            return found
        if found is None and isinstance(error, Unknown):
            raise Retry("every attempt was aborted: nothing was committed")._about(self.request.id, None)
        raise found or error

    def clear_doubts(self) -> Union[None, Ran, AftError]:
        """Aborts the attempts in doubt, since an aborted transaction never commits.

        If that fails for one, looks the request up until it is found or the time is over. Returns
        None if no attempt has committed, the outcome if one has, and the error if that stays
        unknown.
        """
        left = []
        for transaction, why in self.doubts:
            try:
                transaction._send_abort()
            except (AftError, _NotSent, _NoAnswer):
                left.append((transaction, why))
        self.doubts = left
        while self.doubts:
            why = self.doubts[-1][1]
            try:
                found = self.client._look_up(self.request)
                if found is not None:
                    return self._replay(found.version, found.result, found.result_size)
            except AftError:
                pass
            if not self.pace.pause(why):
                return why
        return None
