"""The settings of a client, and the options of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from .errors import Invalid
from .pace import Pace
from .values import checked_key, checked_name, checked_seconds, target_of, with_query

# The longest time in seconds that an opening waits, on the server, for another open attempt of its
# request: the servers' default.
WAIT_S_MAX = 5.0
# The most bytes of buffered writes that can be set: in base64 they are, with some room, below the
# 8 MiB that a body may have.
WRITE_BUFFER_BYTES_LIMIT = 4 << 20


@dataclass
class Settings:
    """The settings of a client, as `Client` documents them."""
    token: Optional[str] = None
    ca: Optional[str] = None
    certificate: Optional[str] = None
    key: Optional[str] = None
    connect_timeout: float = 5.0
    call_timeout: float = 30.0
    transaction_timeout: Optional[float] = None
    attempts_max: int = 10
    run_seconds_max: float = 60.0
    session: bool = True
    write_buffer_bytes_max: int = 1 << 20

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "call_timeout", "run_seconds_max"):
            checked_seconds(name, getattr(self, name))
        if self.transaction_timeout is not None:
            checked_seconds("transaction_timeout", self.transaction_timeout)
        for name in ("attempts_max", "write_buffer_bytes_max"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int):
                raise Invalid(f"{name} is {number!r}: pass an int")
        self.attempts_max = max(1, self.attempts_max)
        self.write_buffer_bytes_max = min(self.write_buffer_bytes_max, WRITE_BUFFER_BYTES_LIMIT)

    def names_files(self) -> bool:
        """Returns True if files of TLS are named."""
        return any(path is not None for path in (self.ca, self.certificate, self.key))


@dataclass
class Request:
    """A request of the outside, and the way to carry it out; see `Client.run`."""
    id: Optional[str]
    scope: Optional[str] = None
    fingerprint: Optional[str] = None
    timeout: Optional[float] = None
    retention: Optional[float] = None
    wait: bool = False
    fresh: bool = False
    reads: Tuple[str, ...] = ()
    isolation: Optional[str] = None
    # The limit of the run in seconds, if it is not the client's.
    seconds: Optional[float] = None

    def __post_init__(self) -> None:
        checked_name("request_id", self.id)
        checked_name("scope", self.scope)
        checked_name("fingerprint", self.fingerprint)
        times = (("timeout", self.timeout), ("retention", self.retention), ("run_seconds_max", self.seconds))
        for name, value in times:
            if value is not None:
                checked_seconds(name, value)
        if isinstance(self.reads, str):
            raise Invalid("reads is one text: pass a list of keys")
        self.reads = tuple(checked_key(key) for key in self.reads)

    @classmethod
    def named(cls, request_id: str, scope: Optional[str]) -> Request:
        """Returns a request to look up. Raises Invalid without an ID."""
        if request_id is None:
            raise Invalid("request_id is None: a request without an ID cannot be looked up; pass its ID")
        return cls(request_id, scope)

    def target(self, what: str) -> str:
        """Returns the target of the request's record (`what` is "request") or of its result
        ("result")."""
        assert self.id is not None, "only a request with an ID has a record"
        return with_query(target_of(f"/v1/{what}s", f"/v1/{what}", "id", self.id), scope=self.scope)

    def begin(self, settings: Settings, session: Optional[str], pace: Pace, beside: bool,
              conflicts: int) -> Dict[str, Any]:
        """Returns the message that opens an attempt.

        Args:
            settings, session: The client's.
            pace: The run's, which limits how long the server may wait for another attempt.
            beside: True to open the attempt beside another one.
            conflicts: The number of attempts that failed with a conflict.
        """
        timeout = self.timeout if self.timeout is not None else settings.transaction_timeout
        # The answer must come before the silence is too long.
        wait_s = min(WAIT_S_MAX, settings.call_timeout / 2, pace.silence() / 2)
        begin = {
            "request_id": self.id, "scope": self.scope, "fingerprint": self.fingerprint,
            "timeout_ms": None if timeout is None else int(timeout * 1000), "wait_ms": int(wait_s * 1000),
            "retention_s": None if self.retention is None else int(self.retention), "session": session,
            "ops": [{"get": key} for key in self.reads] or None, "isolation": self.isolation,
            "conflicts": conflicts or None,
        }
        begin = {name: value for name, value in begin.items() if value is not None}
        # Waiting for an attempt of this run would mean waiting for its deadline.
        begin["if_open"] = "wait" if self.wait and not beside else "run"
        if self.fresh:
            begin["fresh"] = True
        return begin
