"""The errors of the client, and the meaning of an answer that is no success.

Inside the package a failed call is one of three: `AftError` (the server rejected it), `NotSent` (it
had no effect, and will have none), or `NoAnswer` (it may have had its effect, or may still have
it). `harmless` and `committing` turn them into errors for the caller.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Mapping, Optional, Type

# The characters of a foreign answer that an error quotes: enough to recognise whose page it is.
EXCERPT_LEN_MAX = 200
# The longest header of a foreign answer that an error quotes.
QUOTED_HEADER_LEN_MAX = 200
# The bytes of a foreign answer that are searched for text.
EXCERPT_BYTES_MAX = 64 << 10


class AftError(Exception):
    """The reason why a call has no result. There is one class for each thing that the caller can
    do."""

    #: True if certainly nothing was committed, and another attempt may succeed.
    retryable: bool = False

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
        self._retry_after_ms: Optional[int] = problem.get("retry_after_ms") if problem else None

    @property
    def code(self) -> Optional[str]:
        """The code of the server's problem document, if the server rejected the call."""
        return self.problem.get("code") if self.problem else None

    @property
    def retry_after_ms(self) -> Optional[int]:
        """The pause before the next try, in milliseconds, if the server or a proxy named one.

        It is the shortest sensible pause; for InProgress it is the longest.
        """
        return self._retry_after_ms

    def __str__(self) -> str:
        about = [f"[{self.code}]" if self.code else "", f"(request {self.request_id!r})" if self.request_id else "",
                 f"(transaction {self.transaction})" if self.transaction else ""]
        return " ".join([self.detail, *filter(None, about)])

    def _about(self, request_id: Optional[str], transaction: Optional[str]) -> AftError:
        self.request_id = request_id
        self.transaction = transaction or self.transaction
        return self

    def _as(self, kind: Type[AftError]) -> AftError:
        return kind(self.detail, self.problem)

    def _after(self, times: int, of: str) -> AftError:
        """Adds to the description that this was the last failure of several."""
        if times > 1:
            self.detail = f"{self.detail} (the last failure of {times} {of})"
        return self


class Retry(AftError):
    """Nothing was committed, and the transaction cannot continue: run the request again."""
    retryable = True


class Unavailable(AftError):
    """Nothing was committed: the server cannot be reached, starts, drains, or is at a bound.

    Try again later. If `retryable` is False, trying again does not help: the server's certificate
    is not trusted, or something that is not AFT (a proxy, for instance) rejects the calls. Then
    correct what the text names.
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
    """A condition of the call does not hold, and nothing took effect. Read the key, and decide
    again."""


class SessionLost(Invalid):
    """The store does not have a commit that this client's session names: it was restored from an
    older backup, has lost writes, or is another store. The client has dropped the session, so a new
    call reads what the store has."""


class NotFound(AftError):
    """The thing that the call names does not exist. A key without a value is not an error."""


class Unauthorized(AftError):
    """The credentials are missing, or do not allow the call: present others."""


class Internal(AftError):
    """The server or its store needs repair; or another kind of server answered.

    A commit that may have taken effect is Unknown instead, with the damage in its text.
    """


class Failed(Exception):
    """A call without an answer of AFT."""

    def __init__(self, detail: str, permanent: bool = False, turned_away: bool = False,
                 retry_after_ms: Optional[int] = None) -> None:
        super().__init__(detail)
        # True if another try would certainly meet the same failure.
        self.permanent = permanent
        # True if the call was rejected for now, by something that is still there.
        self.turned_away = turned_away
        self.retry_after_ms = retry_after_ms


class NotSent(Failed):
    """The call had no effect, and will have none."""


class Cut(NotSent):
    """The call was not sent to its end. The server cannot have the whole call, so it carries out
    nothing of it."""

    def __init__(self, detail: str, dead: bool) -> None:
        super().__init__(detail)
        # True if the connection broke, rather than that the server took nothing more.
        self.dead = dead


class NoAnswer(Failed):
    """The call may have had its effect, or may still have it."""


class Dead(NoAnswer):
    """The connection broke before the first byte of an answer."""


# The failures of a call that the package handles. Every other exception is the caller's own.
FAILURES = (AftError, Failed)


def harmless(why: Exception) -> AftError:
    """Returns the error of a call that cannot commit."""
    if isinstance(why, AftError):
        return why
    error = Unavailable(str(why))
    if isinstance(why, Failed):
        error.retryable = not why.permanent
        error._retry_after_ms = why.retry_after_ms
    return error


def committing(why: Exception) -> AftError:
    """Returns the error of a call that commits."""
    if not isinstance(why, NoAnswer):
        return harmless(why)
    error = Unknown(str(why))
    error._retry_after_ms = why.retry_after_ms
    return error


_OF_CODE: Dict[str, Type[AftError]] = {
    "overloaded": Unavailable, "not_serving": Unavailable, "store_unavailable": Unavailable, "in_progress": InProgress,
    "key_reused": KeyReused, "result_gone": ResultGone, "condition_failed": ConditionFailed,
    "session_lost": SessionLost,
}
_OF_ACTION: Dict[str, Type[AftError]] = {
    "retry": Retry, "unknown": Unknown, "conflict": Invalid, "invalid": Invalid, "not_found": NotFound,
    "unauthorized": Unauthorized, "internal": Internal,
}


def refusal(status: int, reason: str, headers: Mapping[str, str], body: bytes) -> Exception:
    """Returns the failure that an answer with a status of 300 or more stands for."""
    assert status >= 300, f"an answer with status {status} is no refusal"
    try:
        problem = json.loads(body)
        kind = _OF_CODE.get(problem["code"]) or _OF_ACTION[problem["action"]]
        return kind(str(problem.get("detail", problem["code"])), problem)
    except (ValueError, KeyError, TypeError):
        pass
    text = f"the server answered status {status}" + (f" {_printable(reason)}" if reason.strip() else "")
    text = foreign(text, headers, body)
    if status == 429:
        return NotSent(text, turned_away=True, retry_after_ms=_retry_after_ms(headers))
    if status == 408 or status >= 500 and status != 501:
        # The answer comes from a proxy, which may have passed the call on.
        return NoAnswer(text, retry_after_ms=_retry_after_ms(headers))
    return NotSent(text, permanent=True)


def foreign(text: str, headers: Mapping[str, str], body: bytes) -> str:
    """Returns `text` with a description of an answer that does not come from AFT."""
    named = [f"{name}: {_printable(headers[name.lower()])[:QUOTED_HEADER_LEN_MAX]}"
             for name in ("Location", "Server", "Via") if headers.get(name.lower())]
    about = f"{text} ({', '.join(named)})" if named else text
    excerpt = _excerpt(body)
    return f"{about}: this is not AFT's answer: a proxy's?" + (f" It reads: {excerpt}" if excerpt else "")


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable()).strip()


def _excerpt(body: bytes) -> str:
    text = body[:EXCERPT_BYTES_MAX].decode("utf-8", "replace")
    text = re.sub(r"(?is)<(script|style)\b.*?(</\1\s*>|$)|<!--.*?-->|<[^>]*>", " ", text)
    return _printable(" ".join(text.split()))[:EXCERPT_LEN_MAX]


def _retry_after_ms(headers: Mapping[str, str]) -> Optional[int]:
    """Returns the pause of a Retry-After header in seconds. A date there is ignored."""
    text = headers.get("retry-after", "").strip()
    return int(text) * 1000 if re.fullmatch(r"[0-9]{1,9}", text) else None
