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

    ran = client.run("order-21", order)      # takes effect once, however often it is called
    ran.result, ran.replayed                 # b"sold", False

Two runs that read the same stock and both take one from it do not lose an order: runs are serializable, and the one that was overtaken
runs again (`Client.run`).

What is tried again, and why that is safe: a call that cannot commit is repeated freely, in a new transaction, for whatever became of the
old one was only ever in its own buffer. A call that commits is repeated only in a form that cannot commit twice or in part: the same call on the
same transaction, or another attempt under the same request ID. Where neither is left, the error is `Unknown`. (docs/decisions/0008-clients.md)

A `Client` may be shared by threads, a `Transaction` is used by one at a time. Values are bytes; text is written as UTF-8.
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

# An idle connection is kept so long: below the 30 s after which a server closes it.
IDLE_S_MAX = 20.0
# Connections that are kept idle: as many calls as one program has under way, as a rule.
IDLE_CONNECTIONS_MAX = 64
# A larger value is sent at once, as a raw body: what it costs is bytes, not calls.
BUFFERED_VALUE_BYTES_MAX = 64 << 10
# Writes that wait for the commit call: half of what one call may have.
BUFFERED_WRITES_MAX = 500
# The most bytes of writes that may wait: in base64, with room to spare, below the 8 MiB that a body may have.
WRITE_BUFFER_BYTES_LIMIT = 4 << 20
# How long an opening waits, on the server, for another open attempt of its request: as long as servers do by default.
WAIT_S_MAX = 5.0
# How often a call inside a transaction is sent in all, where repeating it is harmless.
TRIES_IN_PLACE_MAX = 3
# How often a commit in doubt is sent again while another attempt could tell as well: then a new attempt is the better question.
COMMIT_AGAIN_MAX = 3
# The first pause before another try: some store round trips. The longest of our own: what a person would not call broken.
PAUSE_S_FIRST = 0.010
PAUSE_S_MAX = 1.0
# The longest pause that a server may ask for: longer than its own figures, far below a run's time.
ASKED_S_MAX = 5.0
# The longest key, as the server has it.
KEY_BYTES_MAX = 1088
# The longest answer, which is held in memory whole. Larger values and results are for a client that reads ranges.
ANSWER_BYTES_MAX = 256 << 20
# How long a run waits for the answer to its abort, whose only use is that nobody waits for a dead attempt.
ABORT_S_MAX = 2.0
# Commits that a session token names; the bytes before them, by its format (format, until when transactions are fresh; in format 3 also the node
# through which all was seen, and after which time that counts); the bytes of one (time, attempt, request hash, when it was heard of, flags), and
# of its identity.
SESSION_LEN_MAX = 8
SESSION_PREFIX_LEN = {2: 1 + 8, 3: 1 + 8 + 8 + 8}
SESSION_ENTRY_LEN = 8 + 16 + 32 + 8 + 1
SESSION_IDENTITY_LEN = 8 + 16 + 32
# For how long a merged session covers commits that had no room in it, by fresh transactions.
SESSION_COVER_MS = 60_000
DEFAULT_CONTENT_TYPE = "application/octet-stream"


# --- errors ---------------------------------------------------------------------------------------------------------


class AftError(Exception):
    """Why there is no result; the class says what the caller must do."""

    #: Whether it is certain that nothing was committed, and another attempt may succeed.
    retryable = False

    def __init__(self, detail: str, problem: Optional[Dict[str, Any]] = None) -> None:
        super().__init__(detail)
        self.detail = detail
        #: The server's own words (RFC 9457), if they are the server's.
        self.problem = problem
        self.request_id: Optional[str] = None
        self.transaction: Optional[str] = problem.get("transaction") if problem else None

    @property
    def code(self) -> Optional[str]:
        """The server's code, if this is a refusal of the server."""
        return self.problem.get("code") if self.problem else None

    @property
    def retry_after_ms(self) -> Optional[int]:
        """When to try again, if the server said so: not before, and of InProgress at the latest then."""
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
    """Nothing was committed, and the transaction is of no use any more: run the request again."""
    retryable = True


class Unavailable(AftError):
    """Nothing was committed: the server cannot be reached, starts, drains, or is at a bound. Try again later."""
    retryable = True


class Unknown(AftError):
    """Whether the transaction committed is not known. With a request ID: run the request again under the same ID, or ask `Client.request`.
    Without one: read what it would have written."""


class InProgress(AftError):
    """Another attempt of the request is open: it is being done. Come back for its result."""


class KeyReused(AftError):
    """The request ID belongs to another payload: a mistake of the caller."""


class ResultGone(AftError):
    """The request committed long ago, and its result is no longer kept. It will not run again."""


class Invalid(AftError):
    """The call is wrong as it stands. In a transaction, nothing of it took effect."""


class ConditionFailed(Invalid):
    """A condition of the call does not hold: nothing of the call took effect. Read the key, and decide anew."""


class NotFound(AftError):
    """What the call names does not exist. A key without a value is no error."""


class Unauthorized(AftError):
    """Present credentials that allow the call."""


class Internal(AftError):
    """Somebody has to mend the server or its store. A commit that may have taken effect is Unknown instead, with the damage named."""


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
        text = f"status {status} without a problem document"
        # The HTTP library refuses these before it reads; any other is of a proxy, which may have passed the call on.
        return Invalid(text) if status in (400, 414, 431) else _NoAnswer(text)


def _harmless(why: Exception) -> AftError:
    """The error of a call that cannot commit."""
    return why if isinstance(why, AftError) else Unavailable(str(why))


def _committing(why: Exception) -> AftError:
    """The error of a call that commits."""
    if isinstance(why, _NoAnswer):
        return Unknown(str(why))
    return _harmless(why)


# --- what is read, written, and told --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A value of a key."""
    bytes: bytes
    #: What it was written with; `application/octet-stream` if with nothing.
    content_type: str
    #: Which version it is, or `uncommitted` for the transaction's own write.
    version: str


@dataclass(frozen=True)
class Read:
    """What a get of a batch found."""
    key: str
    value: Optional[Value]


@dataclass(frozen=True)
class Listed:
    """A key of a listing: its value's size in bytes, its version or `uncommitted`."""
    key: str
    size: int
    version: str


@dataclass(frozen=True)
class Ran:
    """How a run, or a commit, went: a commit stands."""
    #: What the attempt that committed has left.
    result: bytes
    #: Another attempt, not one of this run's, had committed: what this run's function did has no effect.
    replayed: bool
    #: The committed transaction's identity; None if there was nothing to store.
    version: Optional[str]
    #: The size of what it has left, where that is too large to stand in `result`, which is empty then: `Client.result` reads it.
    result_size: Optional[int] = None
    #: The attempts that this call made: for a run, how often its function was called. 0 if the request had committed before.
    attempts: int = 0


@dataclass(frozen=True)
class Executed:
    """How a whole transaction went. `reads` has one entry for every get and add; none if the commit is known and its reads are not (a replay,
    perhaps of an earlier sending of this very call, or an answer that was lost)."""
    ran: Ran
    reads: List[Read]


@dataclass(frozen=True)
class Found:
    """A committed request."""
    hash: str
    version: str
    committed_at: str
    kept_until: str
    keys: List[str]
    result: bytes
    #: The size of the result, where that is too large to stand in `result`: `Client.result` reads it.
    result_size: Optional[int] = None


@dataclass(frozen=True)
class Op:
    """One operation of a batch.

    A put, a delete or a check may have one condition: `if_absent` (the key has no value), `if_version` (its value is of this version) or `if_value` (its
    value has these bytes). It speaks of what is committed, not of the transaction's own writes, and needs a serializable transaction, as `Client.run`
    and `Client.execute` have it. If it does not hold, the call raises ConditionFailed.
    """
    verb: str
    key: str
    value: Optional[bytes] = None
    content_type: Optional[str] = None
    condition: Optional[Tuple[str, Union[bool, str]]] = None
    by: Optional[int] = None

    @classmethod
    def get(cls, key: str) -> "Op":
        return cls("get", _checked(key))

    @classmethod
    def put(cls, key: str, value: Bytes, content_type: Optional[str] = None, *, if_absent: bool = False,
            if_version: Optional[str] = None, if_value: Bytes = None) -> "Op":
        return cls("put", _checked(key), _bytes(value), content_type, _condition(if_absent, if_version, if_value))

    @classmethod
    def delete(cls, key: str, *, if_version: Optional[str] = None, if_value: Bytes = None) -> "Op":
        return cls("delete", _checked(key), condition=_condition(False, if_version, if_value))

    @classmethod
    def check(cls, key: str, *, if_absent: bool = False, if_version: Optional[str] = None, if_value: Bytes = None) -> "Op":
        """A condition alone."""
        condition = _condition(if_absent, if_version, if_value)
        if condition is None:
            raise Invalid("a check needs if_absent, if_version or if_value: it does nothing else")
        return cls("check", _checked(key), condition=condition)

    @classmethod
    def add(cls, key: str, by: int) -> "Op":
        """Adds to the number that the key holds as decimal text; no value counts as 0. The sum is among the results. The call commits, and has no get."""
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
        raise Invalid("an operation has one of if_absent, if_version and if_value")
    return given[0] if given else None


def _bytes(value: Bytes) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else bytes(value)


def _checked(key: str) -> str:
    try:
        length = len(key.encode())
    except UnicodeEncodeError as why:
        raise Invalid(f"a key is UTF-8: {why}") from None
    if not 1 <= length <= KEY_BYTES_MAX:
        raise Invalid(f"a key has 1 to {KEY_BYTES_MAX} bytes; this one has {length}")
    return key


def _unbase64(text: Optional[str]) -> bytes:
    return base64.b64decode(text) if text else b""


def _result(result: bytes, request_id: Optional[str]) -> Dict[str, str]:
    """What a commit carries. Without a request ID nobody comes back for the result, and to store it would take the right to write."""
    return {"result": base64.b64encode(result).decode()} if result and request_id is not None else {}


def _read(read: Dict[str, Any]) -> Read:
    if read.get("value") is None:
        return Read(read["key"], None)
    value = Value(_unbase64(read["value"]), read.get("content_type", DEFAULT_CONTENT_TYPE), read.get("version", ""))
    return Read(read["key"], value)


def _path(text: str) -> str:
    return quote(text, safe="/~")


class _Session(NamedTuple):
    """What a session token says."""

    # Until when transactions are fresh.
    fresh: int
    # The node through which all was seen, and after which time that counts.
    through: int
    mixed: int
    entries: List[bytes]

    def seen(self) -> int:
        """When its client heard of the last commit that it names."""
        return max((_seen(entry) for entry in self.entries), default=0)


def _seen(entry: bytes) -> int:
    return int.from_bytes(entry[SESSION_IDENTITY_LEN:SESSION_IDENTITY_LEN + 8], "big")


def _parse_session(token: str) -> _Session:
    raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    prefix = SESSION_PREFIX_LEN.get(raw[0] if raw else 0, 0)
    if prefix == 0 or len(raw) < prefix:
        raise ValueError("not a session token of format 2 or 3")
    entries = [raw[at:at + SESSION_ENTRY_LEN] for at in range(prefix, len(raw), SESSION_ENTRY_LEN)]
    if any(len(entry) != SESSION_ENTRY_LEN or entry[-1] > 1 for entry in entries):
        raise ValueError("not a session token")
    fresh, through, mixed = (int.from_bytes(raw[at:at + 8], "big") if at < prefix else 0 for at in (1, 9, 17))
    return _Session(fresh, through, mixed, entries)


def _merge_through(one: _Session, other: _Session) -> Tuple[int, int]:
    """The node through which both were seen, and after which time that counts: when what was seen through the other node is shown by all."""
    mixed = max(one.mixed, other.mixed)
    empty = _Session(0, 0, 0, [])
    if one.through == other.through or other == empty:
        return one.through, mixed
    if one == empty:
        return other.through, mixed
    earlier, last = sorted((one, other), key=lambda session: (session.seen(), session.through))
    return last.through, max(mixed, earlier.fresh, earlier.seen() + SESSION_COVER_MS)


def merge_sessions(one: str, other: str) -> str:
    """One token for what two tell of one client's commits: the newest ones; the others are covered by fresh transactions. Raises ValueError if
    one cannot be read."""
    this, that = _parse_session(one), _parse_session(other)
    through, mixed = _merge_through(this, that)
    # Of two entries of one commit, the one that was heard of last.
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
    """The header by which a commit repeats its request: a server that has forgotten the transaction answers from the request's record."""
    if request_id is None or any(ord(char) < 32 or ord(char) == 127 for char in request_id):
        return {}
    escaped = request_id.replace("\\", "\\\\").replace('"', '\\"')
    # Headers are bytes: UTF-8, which the library takes as text of one byte a character.
    return {"Idempotency-Key": f'"{escaped}"'.encode().decode("latin-1")}


def _pause(nth: int, in_progress: bool, asked_ms: Optional[int]) -> Tuple[float, float]:
    """The least and the greatest pause after so many failures before, in seconds, if the server asked for one."""
    own = min(PAUSE_S_FIRST * 2 ** min(nth, 20), PAUSE_S_MAX)
    if asked_ms is None:
        return own / 2, own
    asked = asked_ms / 1000
    if in_progress:
        # When the other attempt ends at the latest: it is likely to end before.
        return min(own, asked) / 2, min(own, asked)
    # Before that it is no use. Those who were told the same do not come back at once.
    least = min(asked, ASKED_S_MAX)
    return max(least, own / 2), least + own


class _Pace:
    """When to try again: exponential back-off with jitter, within a total time."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.nth = 0

    def remaining(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def pause(self, after: AftError) -> bool:
        """Pauses after a failure; False, without a pause, if the time would be over after it."""
        pause = random.uniform(*_pause(self.nth, isinstance(after, InProgress), after.retry_after_ms))
        self.nth += 1
        if pause >= self.remaining():
            return False
        time.sleep(pause)
        return True


# --- one call -------------------------------------------------------------------------------------------------------


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
            raise _NoAnswer(f"an answer that is no reply: {why}") from None


class _Transport:
    """Sends calls over kept-alive connections; tries nothing twice."""

    def __init__(self, url: str, token: Optional[str], connect_timeout: float, call_timeout: float) -> None:
        self.lock = threading.Lock()
        self.idle: List[Tuple[http.client.HTTPConnection, float]] = []
        parts = urlsplit(url)
        plain = parts.path in ("", "/") and not parts.query and not parts.username
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise Invalid(f"{url!r} is no server: it is written http://HOST:PORT, without a path")
        if token is not None and not token.isprintable():
            raise Invalid("the bearer token has characters that a header cannot hold")
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.host, self.port = parts.hostname, parts.port
        self.token = token
        self.connect_timeout, self.call_timeout = connect_timeout, call_timeout

    def send(self, method: str, path: str, body: Bytes = None, headers: Optional[Dict[str, str]] = None,
             timeout: Optional[float] = None) -> _Answer:
        """A success; raises the refusal, _NotSent, or _NoAnswer."""
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
                # A server may refuse a large body before it has all of it, and close: then its answer has come, and is to be read.
                cut_off = True
            response = connection.getresponse()
            if response.length is None and not response.chunked:
                raise http.client.HTTPException("an answer whose end nobody can tell from a broken connection")
            answer = response.read(ANSWER_BYTES_MAX + 1)
            # A response whose connection ends before the first byte of its body counts as closed as well: what is left to come tells.
            if len(answer) > ANSWER_BYTES_MAX or response.length or not response.isclosed():
                raise http.client.HTTPException("the answer is too long or not whole")
        except (OSError, http.client.HTTPException) as why:
            connection.close()
            raise _NoAnswer(f"{type(why).__name__}: {why}") from why
        except BaseException:
            connection.close()
            raise
        if cut_off and response.status < 400:
            connection.close()
            raise _NoAnswer(f"status {response.status} to a call that was cut off")
        if response.will_close or cut_off:
            connection.close()
        else:
            self._keep(connection)
        if 200 <= response.status < 300:
            return _Answer(response.headers, answer)
        raise _refusal(response.status, answer)

    def _connection(self) -> http.client.HTTPConnection:
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
    """A response's file that remembers its last line."""

    def __init__(self, fp: Any) -> None:
        self.fp, self.last = fp, b""

    def readline(self, *limit: int) -> bytes:
        self.last = self.fp.readline(*limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fp, name)


class _Response(http.client.HTTPResponse):
    """A response whose head is whole. The library takes the end of the connection for the end of the head, and so a value that was cut off for an
    empty one."""

    def begin(self) -> None:
        self.fp = lines = _Lines(self.fp)
        super().begin()
        if lines.last not in (b"\r\n", b"\n"):
            raise http.client.HTTPException("the answer's head is not whole")


def _readable(sock: socket.socket) -> bool:
    """Whether an idle connection has something to say: then it is its end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


# --- the client -----------------------------------------------------------------------------------------------------


# The level of runs and whole transactions: they run again after a conflict.
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
    """A client of one server. Threads may share it: it keeps a pool of connections, and one session.

    token: the bearer token to present. connect_timeout, call_timeout: seconds for a connection to open, and for each wait within a call.
    transaction_timeout: seconds that a transaction may stay open (the server's default, a minute, if None). attempts_max: how often a run may call its
    function, and a whole transaction may run.
    run_seconds_max: after how long a run begins nothing new. session: whether each transaction sees what this client committed before it began, on
    whatever node. write_buffer_bytes_max: bytes of small writes that wait for the commit call; with 0 each write is a call.
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
        """The session's token, to be handed to another process; None before the first commit."""
        with self._lock:
            return self._session if self._sessions else None

    def join_session(self, token: Optional[str]) -> None:
        """Goes on with the session of another process too."""
        self._committed(token)

    def _committed(self, token: Optional[str]) -> None:
        # Two transactions at once continue one token in two ways, and a replay starts a new one: so tokens are merged.
        if not token or not self._sessions:
            return
        with self._lock:
            try:
                self._session = merge_sessions(token, self._session) if self._session else token
            except ValueError:
                # Of a newer server: then the last one counts.
                self._session = token

    # --- runs

    def run(self, request_id: Optional[str], function: Callable[["Transaction"], Bytes], *,
            scope: Optional[str] = None, fingerprint: Optional[str] = None, timeout: Optional[float] = None,
            retention: Optional[float] = None, overlap: bool = False, fresh: bool = False, reads: Iterable[str] = (),
            isolation: Optional[str] = _SERIALIZABLE) -> Ran:
        """Calls `function(transaction)` until its request has committed once; gives the result of the attempt that did.

        The function is called once an attempt, perhaps several times, perhaps not at all: what it does outside the transaction it must be ready to do
        again. Its result (bytes or text) is what later attempts are answered. An exception of its own aborts the attempt and is raised as it is; after
        a call of the transaction has failed with a retryable error, a failing function is called again, in a new attempt.

        request_id: what the outside asked for once; never one ID for two requests. With None no later call can find the outcome.
        scope: keeps IDs of different functions apart. fingerprint: stands for the payload; another one under the same ID is KeyReused.
        timeout: seconds each attempt may stay open. retention: seconds the commit is remembered (a day). overlap: run at once beside another open
        attempt, because that one is known to be gone. fresh: see every commit that was acknowledged before, on whatever server of the store. reads: keys to read in the call that opens the transaction.

        isolation: the level.
        "serializable" (the default): an attempt commits only if what it read is still the newest. One that
        was overtaken has no effect, and another follows after a pause that is drawn at random and grows,
        until the client's attempts or its time are used up: then Retry. `Ran.attempts` tells how many
        there were. The check may cost a run that only reads a round trip to the store.
        "read_atomic": nothing is checked; two runs that read the same version may both overwrite it.
        None: the level of the keys that it writes on a shared store (s3:, dynamodb:, redis:), read atomic
        on one that a single process holds (memory:, local:).
        On a shared store a serializable run cannot list keys, and cannot use keys whose prefix is read
        atomic: the server refuses both with the reason (Invalid). Ask for "read_atomic" there.

        Raises Unknown if an attempt may have committed; after any other error none has.
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
        """Opens a transaction by hand. As a context manager it commits at its end with `t.result`, and aborts if an exception leaves it.

        If the request has committed already, `t.replayed` is True, `t.ran` tells, and nothing can be done in it. Nothing is run again: that is what
        `run` is for. So the level is left to the store unless `isolation` names one: on a store that a
        single process holds it is read atomic. A serializable transaction that was overtaken raises Retry
        when it commits.
        """
        run = _Run(self, _Request(request_id, scope, fingerprint, timeout, retention, overlap, fresh, tuple(reads), isolation))
        opened = run.open()
        return opened if isinstance(opened, Transaction) else Transaction(self, request_id, {}, opened)

    # --- whole transactions

    def execute(self, request_id: Optional[str], ops: Iterable[Op], result: Bytes = None, *,
                scope: Optional[str] = None, fingerprint: Optional[str] = None, timeout: Optional[float] = None,
                retention: Optional[float] = None, overlap: bool = False, fresh: bool = False,
                isolation: Optional[str] = _SERIALIZABLE) -> Executed:
        """Runs operations as one transaction, in one call, in order. Without a request ID a lost answer is Unknown.

        With a condition or an `Op.add` among the operations, a request without an ID is given one that is drawn at random: a call that is sent again,
        since its answer was lost, is then known again, and does not meet its own write.

        isolation: as in `run`. After a conflict it is sent again, as often as a run calls its function;
        `Executed.ran.attempts` tells how often it ran.
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
                    error = why  # It is known by now that it did not commit.
            if isinstance(error, Unknown):
                doubt = error
            elif not error.retryable and not isinstance(error, InProgress):
                # Credentials that no longer hold, or a store that is damaged now, say nothing of an earlier sending.
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
        """What became of a commit in doubt of a request without an ID: only its transaction can be asked, if it is known."""
        if doubt.transaction is None:
            raise doubt
        transaction = Transaction(self, None, {"transaction": doubt.transaction})
        reply = transaction._ask("/commit", {}, doubt, pace, None)
        if isinstance(reply, _BatchIsIn):
            raise doubt
        return reply

    def get(self, key: str, *, fresh: bool = False) -> Optional[Value]:
        """A key's value, read by itself; None if it has none. fresh: that of the newest commit that was acknowledged before, on whatever server of
        the store, or a newer one."""
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
        """Writes one key by itself. Unknown if the answer was lost: it is not sent again, since meanwhile somebody may have written a newer value.
        Where it must be made exactly once, use `run` or `execute` with a request ID.

        With a condition (see `Op`) it is written once, however often it is sent; ConditionFailed if the condition does not hold. Then the value is
        at most what one call takes."""
        if _condition(if_absent, if_version, if_value) is not None:
            op = Op.put(key, value, content_type, if_absent=if_absent, if_version=if_version, if_value=if_value)
            return self.execute(None, [op]).ran
        headers = {} if content_type is None else {"Content-Type": _content_type(content_type)}
        return self._write("PUT", key, _bytes(value), headers)

    def delete(self, key: str, *, if_version: Optional[str] = None, if_value: Bytes = None) -> Ran:
        """Deletes one key by itself; otherwise as `put`."""
        if _condition(False, if_version, if_value) is not None:
            return self.execute(None, [Op.delete(key, if_version=if_version, if_value=if_value)]).ran
        return self._write("DELETE", key, None, {})

    def add(self, key: str, by: int = 1) -> Optional[int]:
        """Adds to the number that a key holds as decimal text, and returns the sum; no value counts as 0. It is added once, however often the call is
        sent. None: it was added, and the answer that told the sum was lost."""
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
        """Did the request commit, when, which keys, with what result? None: no commit of it is known."""
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
        """What a committed request has left, whatever its size; None if no commit of it is known, or it left nothing."""
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
        raise Invalid(f"a content type is visible ASCII, not {text!r}")
    return text


# --- a transaction --------------------------------------------------------------------------------------------------


@dataclass
class _BatchIsIn:
    """The batch has arrived, and its commit is under way or done."""
    doubt: AftError


@dataclass(eq=False)
class Transaction:
    """An open transaction: reads committed versions that fit together and its own writes; writes nothing that others see before it commits.

    Made by `Client.transaction` and `Client.run`. Small writes wait in it and go with the commit.
    """
    _client: Client
    _request_id: Optional[str]
    _opened: Dict[str, Any]
    #: How it went, once a commit stands.
    ran: Optional[Ran] = None
    _scope: Optional[str] = None
    #: What `with` commits with.
    result: Bytes = None
    # A run commits or aborts it.
    _of_run: bool = False
    _ended: bool = False
    _buffer: Dict[str, Op] = field(default_factory=dict)
    _buffer_bytes: int = 0
    # What the opening call read, of keys that were not written since.
    _reads: Dict[str, Optional[Value]] = field(default_factory=dict)
    # A call failed in a way that another attempt may not.
    _doomed: Optional[AftError] = None
    # Writes that the caller believes made may be missing: no commit may follow.
    _torn: Optional[AftError] = None

    def __post_init__(self) -> None:
        #: Names it in logs and problems; empty if the request was replayed.
        self.token: str = self._opened.get("transaction", "")
        for read in map(_read, self._opened.get("results", [])):
            self._reads[read.key] = read.value
        self._ended = self.ran is not None

    @property
    def replayed(self) -> bool:
        """Another attempt of the request has committed: nothing is to be done, and `ran` has its result."""
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
        """A key's value; None if it has none. Raises Retry if no version is left that fits what was read before."""
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
        """Writes a value. What is wrong with a value that waits for the commit is told by the commit."""
        self._write(Op.put(key, value, content_type if content_type is None else _content_type(content_type)))

    def delete(self, key: str) -> None:
        """Deletes a key."""
        self._write(Op.delete(key))

    def list(self, prefix: str = "", after: str = "", page_len: int = 1000) -> Iterator[Listed]:
        """The keys that begin with a prefix, in the order of their bytes; each page is a call."""
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
        """Several operations in one call, in order, with the writes that wait; gives one result for every get. They take effect together in the
        transaction, or not at all."""
        self._open()
        ops = list(ops)
        if len(ops) > BUFFERED_WRITES_MAX or sum(map(Op._weight, ops)) > BUFFERED_VALUE_BYTES_MAX:
            # The writes that wait would perhaps not fit in beside these.
            self._flush([])
        return self._flush(ops)

    def commit(self, result: Bytes = None) -> Ran:
        """Commits; `result` is what later attempts of the request are answered. An outcome in doubt is asked for until it is known, or the run's
        time is over: then Unknown. After any other error it did not commit and will not. Inside `Client.run`, which commits by
        itself, Invalid."""
        self._by_hand()
        return self._settle(_bytes(result), _Pace(self._client.run_seconds_max), None)

    def abort(self) -> None:
        """Aborts. To do nothing would do the same, only later."""
        self._by_hand()
        self._open()
        self._ended = True
        try:
            self._send_abort()
        except (AftError, _NotSent, _NoAnswer) as why:
            raise self._about(_harmless(why)) from None

    def _by_hand(self) -> None:
        if self._of_run:
            raise self._about(Invalid("a run commits or aborts its transaction by itself: return a result or raise"))

    def _open(self) -> None:
        if self._ended:
            raise self._about(Invalid("the transaction has ended: nothing more can be done in it"))

    def _about(self, error: AftError) -> AftError:
        return error._about(self._request_id, self.token)

    def _wrote(self, version: Optional[str]) -> bool:
        """Whether a version names what this transaction committed."""
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
            # What was refused is as if it had never been asked for; what was not answered may stand or not.
            raise self._failed(why, isinstance(why, _NoAnswer)) from None
        self._reads.pop(op.key, None)
        waited = self._buffer.pop(op.key, None)
        self._buffer_bytes -= waited._weight() if waited else 0

    def _take(self) -> List[Op]:
        waited, self._buffer, self._buffer_bytes = list(self._buffer.values()), {}, 0
        return waited

    def _flush(self, ops: List[Op]) -> List[Read]:
        """Sends what waits, and these operations after it."""
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
            torn = bool(waited) or (not reads_only and isinstance(why, _NoAnswer))
            raise self._failed(why, torn) from None
        return [_read(read) for read in reply.get("results", [])]

    def _send(self, method: str, rest: str, body: Bytes, headers: Dict[str, str], reads: bool) -> _Answer:
        """Sends a call, and again where that is harmless: if it was turned away for want of room, and if it only reads and was not answered.

        A write without an answer is not sent again: its first copy may still be on its way, and would then land after later writes.
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
        """Notes what a failed call means for the transaction."""
        error = _harmless(why)
        if isinstance(error, NotFound) and error.code != "no_such_path":
            # Its node has forgotten it, and no commit was sent.
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
                pass  # Silence is abort too.

    # --- the commit. The table of answers stands in shim/clients/rust/src/commit.rs.

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
                # Sent again whole: if it never arrived, a bare commit would commit the transaction without these writes.
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
        """Sends a commit until its outcome is known. Raises Unknown, or why it did not commit."""
        nth, headers = 0, _repeats(self._request_id)
        while True:
            nth += 1
            error: AftError
            try:
                query = f"?scope={quote(self._scope, safe='')}" if self._scope and headers else ""
                reply = self._client._post(f"/v1/transactions/{self.token}{rest}{query}", message, headers)
                if reply.get("committed") or reply.get("replayed"):
                    return reply
                error = Unknown("an answer to a commit that tells of none")
            except (AftError, _NotSent, _NoAnswer) as why:
                error = _committing(why)
                if isinstance(why, _NotSent) and doubt is None:
                    # Whoever has opened the transaction is gone, and the transaction with it.
                    raise error from None
            if isinstance(error, Unknown):
                doubt = error
            elif isinstance(error, Unavailable) or error.code == "body_timeout":
                pass  # This call was turned away: that says nothing of an earlier one.
            elif error.code == "ended" and rest == "/batch" and doubt is not None:
                return _BatchIsIn(doubt)
            elif isinstance(error, (NotFound, Unauthorized, Internal)) and doubt is not None:
                raise doubt  # Nobody is left to ask, or what is wrong now says nothing of the first call.
            else:
                raise error._as(Retry) if isinstance(error, NotFound) else error
            if (times_max is not None and nth >= times_max) or not pace.pause(error):
                raise doubt or error


# --- a run ----------------------------------------------------------------------------------------------------------


class _Run:
    """Attempts of one request, one after the other. While a commit is in doubt a named request may run again: one commit record decides for
    all attempts, and the next opening, or the next commit, is answered with the winner's result."""

    def __init__(self, client: Client, request: _Request) -> None:
        self.client, self.request = client, request
        self.pace = _Pace(client.run_seconds_max)
        self.attempts = 0
        # Attempts that met a conflict.
        self.conflicts = 0
        # An attempt of this run may still be open: waiting for it would be waiting for its deadline.
        self.beside = False
        # Attempts that may have committed, each with why that is not known.
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
                    raise _NoAnswer("an opening was answered without a transaction")
                self.attempts += 1
                self.beside = True
                return Transaction(self.client, self.request.id, reply, _scope=self.request.scope)
            except (AftError, _NotSent, _NoAnswer) as why:
                self.beside = self.beside or isinstance(why, _NoAnswer)
                error = _harmless(why)._about(self.request.id, None)
            if not (error.retryable or isinstance(error, InProgress)) or not self.pace.pause(error):
                return self.give_up(error)

    def _replay(self, version: Optional[str], result: bytes, result_size: Optional[int]) -> Ran:
        """A commit that was found; perhaps it is one of this run's own."""
        own = any(transaction._wrote(version) for transaction, _ in self.doubts)
        return Ran(result, not own, version, result_size, self.attempts)

    def commit(self, transaction: Transaction, result: bytes) -> Optional[Ran]:
        """Commits; None if another attempt is to run."""
        named = self.request.id is not None
        try:
            ran = transaction._settle(result, self.pace, COMMIT_AGAIN_MAX if named else None)
            return self._replay(ran.version, ran.result, ran.result_size) if ran.replayed else replace(ran, attempts=self.attempts)
        except AftError as why:
            error = why
        self.conflicts += error.code == "conflict"
        if isinstance(error, Unknown):
            if not named:
                raise error  # Nobody could tell a second commit from the first.
            self.doubts.append((transaction, error))
        elif not error.retryable:
            return self.give_up(error)
        if self.may_go_on() and self.pace.pause(error):
            return None
        return self.give_up(error)

    def give_up(self, error: AftError) -> Ran:
        """The run ends with this error, unless a commit in doubt is found, or stays in doubt."""
        found = self.clear_doubts()
        if isinstance(found, Ran):
            return found
        if found is None and isinstance(error, Unknown):
            raise Retry("every attempt was aborted: nothing was committed")._about(self.request.id, None)
        raise found or error

    def clear_doubts(self) -> Union[None, Ran, AftError]:
        """Aborts the attempts in doubt (one that was aborted never commits), or finds out that one has committed. None: none did."""
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
