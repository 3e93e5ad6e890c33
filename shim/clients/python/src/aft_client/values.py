"""Values, operations, outcomes, and the checks of what a caller passes.

Arguments are checked before anything is sent: text and bytes are values, text is a key or an ID,
and everything else is rejected by name, since a guess (`bytes(3)` is three zero bytes) would be
stored.
"""

from __future__ import annotations

import base64
import enum
import inspect
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union
from urllib.parse import quote

from .errors import Invalid

Bytes = Union[bytes, bytearray, memoryview, str, None]


class Missing(enum.Enum):
    """The default of a condition that is not given.

    None is rejected there: as in `if_version=old and old.version` it would be a write without a
    condition.
    """
    MISSING = "missing"

    def __repr__(self) -> str:
        return "<no condition>"


MISSING = Missing.MISSING
IfVersion = Union[str, Missing]
IfValue = Union[bytes, bytearray, memoryview, str, Missing]

# The longest key in bytes, as the server has it.
KEY_BYTES_MAX = 1088
# The longest time in seconds that can be set, in all clients: the longest that Node's timers know.
SECONDS_MAX = 2_147_483
DEFAULT_CONTENT_TYPE = "application/octet-stream"
# The bytes of an operation in a call, beside its key, value and content type.
OP_BYTES_AROUND = 64


@dataclass(frozen=True)
class Value:
    """A value of a key, or a range of its bytes."""
    bytes: bytes
    #: The content type with which it was written; `application/octet-stream` if there was none.
    content_type: str
    #: The version's identity; `uncommitted` for the transaction's own write.
    version: str
    #: The size of the whole value in bytes. `bytes` is shorter if a range was asked for.
    size: int = -1

    def __post_init__(self) -> None:
        if self.size < 0:
            object.__setattr__(self, "size", len(self.bytes))
        assert len(self.bytes) <= self.size, "a range is not longer than its value"


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
    #: True if another attempt, not one of this run's, has committed: the writes of this run had no
    #: effect.
    replayed: bool
    #: The identity of the committed transaction; None if there was nothing to store.
    version: Optional[str]
    #: The size of the result in bytes, if it is too large for `result`, which is empty then;
    #: `Client.result` and `Client.result_stream` read it.
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
    #: `Client.result` and `Client.result_stream` read it.
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
    def get(cls, key: str) -> Op:
        """Reads a key. The value is among the results.

        Raises:
            Invalid: The key is no text, empty, too long or not valid UTF-8.
        """
        return cls("get", checked_key(key))

    @classmethod
    def put(cls, key: str, value: Bytes, content_type: Optional[str] = None, *, if_absent: bool = False,
            if_version: IfVersion = MISSING, if_value: IfValue = MISSING) -> Op:
        """Writes a value.

        Args:
            key: The key, of 1 to 1,088 bytes in UTF-8.
            value: The value, as bytes or text; None is empty.
            content_type: The content type, which reads return with the value.
            if_absent, if_version, if_value: A condition; at most one of them. None is rejected.

        Raises:
            Invalid: The key or the value is not valid, or there are several conditions.
        """
        content_type = None if content_type is None else checked_content_type(content_type)
        return cls("put", checked_key(key), as_bytes(value, "value"), content_type,
                   condition_of(if_absent, if_version, if_value))

    @classmethod
    def delete(cls, key: str, *, if_version: IfVersion = MISSING, if_value: IfValue = MISSING) -> Op:
        """Deletes a key; with a condition as in `put`.

        Raises:
            Invalid: The key is not valid, or there are several conditions.
        """
        return cls("delete", checked_key(key), condition=condition_of(False, if_version, if_value))

    @classmethod
    def check(cls, key: str, *, if_absent: bool = False, if_version: IfVersion = MISSING,
              if_value: IfValue = MISSING) -> Op:
        """Checks a condition, and does nothing else.

        Raises:
            Invalid: The key is not valid, or there is not exactly one condition.
        """
        condition = condition_of(if_absent, if_version, if_value)
        if condition is None:
            raise Invalid("a check without a condition does nothing: give it if_absent, if_version or if_value")
        return cls("check", checked_key(key), condition=condition)

    @classmethod
    def add(cls, key: str, by: int) -> Op:
        """Adds to the number that a key holds as decimal text. The sum is among the results.

        The operation is only possible in a call that commits, and not together with a get.

        Args:
            key: The key. If it has no value, it counts as 0.
            by: The number to add, an int. The sum must fit into 64 bits.

        Raises:
            Invalid: The key is not valid, or `by` is no int.
        """
        if isinstance(by, bool) or not isinstance(by, int):
            raise Invalid(f"by is {_a(by)}: pass an int, for instance int(by)")
        return cls("add", checked_key(key), by=by)

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
        return OP_BYTES_AROUND + len(self.key) + len(self.value or b"") + len(self.content_type or "")


# --- checks of arguments


def _a(value: object) -> str:
    """Returns the type of a value with its module, as messages name it."""
    kind = type(value)
    of = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"of type {of}{kind.__qualname__}"


def as_bytes(value: Bytes, name: str) -> bytes:
    """Returns a value's bytes. None is empty.

    Args:
        value: The value.
        name: The value's name in messages.

    Raises:
        Invalid: It is neither bytes nor text.
    """
    if isinstance(value, bytes):
        return value
    if value is None:
        return b""
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as why:
            raise Invalid(f"{name} is not valid UTF-8: {why}; pass bytes") from None
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if inspect.iscoroutine(value):
        value.close()
        raise Invalid(f"{name} is a coroutine: await it; an async function needs aft_client.aio.Client")
    if inspect.isawaitable(value):
        raise Invalid(f"{name} is {_a(value)} that was not awaited: write await before it")
    raise Invalid(f"{name} is {_a(value)}: pass bytes or text, for instance str(value)")


def condition_of(absent: bool, version: IfVersion, value: IfValue) -> Optional[Tuple[str, Union[bool, str]]]:
    """Returns the only condition that is given, as the API names it; None if there is none."""
    given: List[Tuple[str, Union[bool, str]]] = []
    for name, condition in (("if_absent", absent), ("if_version", version), ("if_value", value)):
        if condition is None:
            raise Invalid(f"{name} is None: leave it out for a write without a condition; if_absent=True is the "
                          "condition that the key has no value")
    if not isinstance(absent, bool):
        raise Invalid(f"if_absent is {_a(absent)}: pass True or False")
    if absent:
        given.append(("if_absent", True))
    if version is not MISSING:
        if not isinstance(version, str):
            raise Invalid(f"if_version is {_a(version)}: pass the text of Value.version or Ran.version")
        given.append(("if_version", version))
    if value is not MISSING:
        given.append(("if_value", base64.b64encode(as_bytes(value, "if_value")).decode()))
    if len(given) > 1:
        raise Invalid("an operation can have only one condition: if_absent, if_version or if_value")
    return given[0] if given else None


def checked_key(key: str) -> str:
    """Returns a key. Raises Invalid if it is no text of 1 to 1,088 bytes."""
    if not isinstance(key, str):
        raise Invalid(f"the key is {_a(key)}: pass text, for instance str(key)")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as why:
        raise Invalid(f"a key must be valid UTF-8: {why}") from None
    if not 1 <= length <= KEY_BYTES_MAX:
        raise Invalid(f"a key has 1 to {KEY_BYTES_MAX} bytes; this one has {length}")
    return key


def checked_name(name: str, value: Optional[str]) -> Optional[str]:
    """Returns a request ID, a scope or a fingerprint.

    A blank one is rejected: every caller that lacks one would share it.

    Args:
        name: The argument's name in messages.
        value: The argument.

    Raises:
        Invalid: It is neither None nor text with something other than white space in it.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid(f"{name} is {_a(value)}: pass text, for instance str({name}), or None if there is none")
    if not value.strip():
        raise Invalid(f"{name} is blank ({value!r}), and would be shared by all who send it so: "
                      "pass None if there is none")
    try:
        value.encode()
    except UnicodeEncodeError as why:
        raise Invalid(f"{name} must be valid UTF-8: {why}") from None
    return value


def checked_seconds(name: str, value: float) -> float:
    """Returns a time in seconds. Raises Invalid if it is no number from 0 to SECONDS_MAX."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= SECONDS_MAX:
        raise Invalid(f"{name} is {value!r}: pass a number of seconds from 0 to {SECONDS_MAX:,} (24 days)")
    return float(value)


def checked_content_type(text: str) -> str:
    """Returns a content type. Raises Invalid if a header cannot hold it."""
    if not isinstance(text, str):
        raise Invalid(f"the content type is {_a(text)}: pass text")
    if not text.isascii() or not text.isprintable():
        raise Invalid(f"a content type must be printable ASCII, not {text!r}")
    return text


def checked_ops(ops: Iterable[Op]) -> List[Op]:
    """Returns the operations as a list. Raises Invalid if one is no `Op`."""
    if isinstance(ops, Op):
        raise Invalid("ops is one Op: pass a list of them")
    found = list(ops)
    for op in found:
        if not isinstance(op, Op):
            raise Invalid(f"an operation is {_a(op)}: make it with Op.get, Op.put, Op.delete, Op.check or Op.add")
    return found


def checked_range(start: int, length: int) -> Tuple[int, int]:
    """Returns a range. Raises Invalid if it is empty or begins below 0."""
    for name, number, least in (("start", start, 0), ("length", length, 1)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise Invalid(f"{name} is {number!r}: pass an int of at least {least}")
    return start, length


# --- the form of values in calls


def from_base64(text: Optional[str]) -> bytes:
    """Returns the bytes of a field; none if the field is missing."""
    return base64.b64decode(text) if text else b""


def result_field(result: bytes, request_id: Optional[str]) -> Dict[str, str]:
    """Returns the result's field of a commit.

    Without a request ID no later attempt can ask for the result, and storing it would need the
    right to write.
    """
    return {"result": base64.b64encode(result).decode()} if result and request_id is not None else {}


def read_of(read: Dict[str, Any]) -> Read:
    """Returns one result of a call's reply."""
    if read.get("value") is None:
        return Read(read["key"], None)
    value = Value(from_base64(read["value"]), read.get("content_type", DEFAULT_CONTENT_TYPE), read.get("version", ""))
    return Read(read["key"], value)


def target_of(many: str, one: str, parameter: str, name: str) -> str:
    """Returns the path and query that name a key or a request.

    A name with a segment that is empty, `.` or `..` stands in the query: proxies rewrite such
    paths, and the call would reach another key.

    Args:
        many: The path under which a name stands as a path, `/v1/keys` for instance.
        one: The path at which it stands in the query, `/v1/key` for instance.
        parameter: The query parameter's name.
        name: The key or request ID.
    """
    if any(segment in ("", ".", "..") for segment in name.split("/")):
        return f"{one}?{parameter}={quote(name, safe='~')}"
    return f"{many}/{quote(name, safe='/~')}"


def with_query(target: str, **parameters: Optional[str]) -> str:
    """Returns a target with more query parameters; those that are None are left out."""
    for name, value in parameters.items():
        if value is not None:
            target += f"{'&' if '?' in target else '?'}{name}={quote(value, safe='~')}"
    return target


def key_target(under: str, key: str) -> str:
    """Returns the target of a key under `/v1` or under a transaction."""
    return target_of(f"{under}/keys", f"{under}/key", "name", key)


def idempotency_header(request_id: Optional[str]) -> Dict[str, str]:
    """Returns the header by which a commit repeats its request.

    With it a server that has forgotten the transaction can answer from the request's record. A
    request ID with control characters cannot be sent in a header.
    """
    if request_id is None or any(ord(char) < 32 or ord(char) == 127 for char in request_id):
        return {}
    escaped = request_id.replace("\\", "\\\\").replace('"', '\\"')
    return {"Idempotency-Key": f'"{escaped}"'}
