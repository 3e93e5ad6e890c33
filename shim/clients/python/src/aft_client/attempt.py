"""An open transaction: its calls, its buffered writes, and its commit.

Commits: the table of answers is in shim/clients/rust/src/commit.rs.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple, Union
from urllib.parse import quote

from .errors import (FAILURES, AftError, Internal, Invalid, NoAnswer, NotFound, NotSent, Retry, Unauthorized,
                     Unavailable, Unknown, committing, harmless)
from .options import Request
from .pace import Pace
from .transport import Answer, answers, commits, lists
from .values import (DEFAULT_CONTENT_TYPE, Listed, Op, Ran, Read, Value, checked_key, from_base64,
                     idempotency_header, key_target, read_of, result_field, with_query)
from .wire import Busy

if TYPE_CHECKING:
    from .core import Core

# The largest value that is buffered. A larger one is sent at once, as a raw body: its cost is in
# its bytes, not in the call.
BUFFERED_VALUE_BYTES_MAX = 64 << 10
# The most writes that are buffered: half of what one call may have.
BUFFERED_WRITES_MAX = 500
# The most times that a call inside a transaction is sent, if repeating it is harmless.
TRIES_IN_PLACE_MAX = 3
# The time in seconds that a run waits for the answer to its abort. The abort's only use is that
# other attempts do not wait for a dead one.
ABORT_S_MAX = 2.0
# The same if the caller's own exception (a time limit, Ctrl-C) interrupted a call: that exception
# must pass at once, and the server may be what hangs.
ABORT_AT_ONCE_S_MAX = 0.3

Span = Optional[Tuple[int, int]]


def range_header(span: Span) -> Dict[str, str]:
    """Returns the header that asks for a range, of a start and a length."""
    return {} if span is None else {"Range": f"bytes={span[0]}-{span[0] + span[1] - 1}"}


def value_of(answer: Answer, span: Span) -> Value:
    """Returns the value of a raw answer. Raises NoAnswer if it does not come from AFT."""
    headers, body = answer.headers, answer.body
    if "aft-version" not in headers:
        raise answer.alien()
    size = len(body)
    if span is not None and answer.status == 206:
        total = headers.get("content-range", "").rpartition("/")[2]
        if not total.isdigit() or int(total) < len(body) or len(body) > span[1]:
            raise NoAnswer(f"the answer has a range that was not asked for: {headers.get('content-range', '')!r}")
        size = int(total)
    elif span is not None:
        # A proxy may drop the header, and then the whole value comes.
        body = body[span[0]:span[0] + span[1]]
    return Value(body, headers.get("content-type", DEFAULT_CONTENT_TYPE), headers["aft-version"], size)


def sliced(value: Optional[Value], span: Span) -> Optional[Value]:
    """Returns a range of a value that is known already. Raises Invalid if it begins beyond the
    value's end."""
    if value is None or span is None:
        return value
    if span[0] >= len(value.bytes):
        raise Invalid(f"the range begins at {span[0]}, but the value has {len(value.bytes)} bytes: "
                      "ask for a range within it")
    return Value(value.bytes[span[0]:span[0] + span[1]], value.content_type, value.version, len(value.bytes))


def is_absent(error: AftError) -> bool:
    """Returns True if an error says that a key has no value."""
    return error.code == "absent"


def follows(error: Optional[BaseException], from_: BaseException) -> bool:
    """Returns True if `from_` is `error`, or led to it: as a cause, or being handled when it was
    raised."""
    seen: List[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is from_:
            return True
        if one is not None and not any(one is other for other in seen):
            seen.append(one)
            waiting += [one.__cause__, one.__context__]
    return False


@dataclass
class BatchIsIn:
    """The answer that a batch has arrived, and that its commit is in flight or done."""
    doubt: AftError


class _InTurn:
    """The right to use a transaction for one call, with the checks that every call makes."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    async def __aenter__(self) -> None:
        attempt = self.attempt
        attempt.check_open()
        try:
            await attempt.turn.__aenter__()
        except Busy:
            # The other thread may be in the middle of a write, and this call is missing.
            error = Invalid("two threads use one transaction at once: use it in one thread, or with a lock of your own")
            attempt.torn = attempt.torn or error
            raise attempt.about(error) from None
        if attempt.ended:  # The call that had the turn before has ended the transaction.
            await attempt.turn.__aexit__(None, None, None)
            attempt.check_open()

    async def __aexit__(self, *why: Any) -> None:
        await self.attempt.turn.__aexit__(*why)


class Attempt:
    """An open transaction: an attempt of a run, or one by hand."""

    def __init__(self, core: Core, request: Request, opened: Mapping[str, Any], ran: Optional[Ran] = None,
                 pace: Optional[Pace] = None) -> None:
        self.core = core
        self.request = request
        #: The transaction's token; empty if the request was replayed.
        self.token: str = opened.get("transaction", "")
        #: The outcome, once it has committed.
        self.ran = ran
        #: The pace of the run; None for a transaction by hand, each of whose calls has a time of
        #: its own.
        self.pace = pace
        #: True if a run commits or aborts it.
        self.of_run = False
        self.ended = ran is not None
        self.turn = core.world.turn()
        self._pid = os.getpid()
        self._path = f"/v1/transactions/{self.token}"
        self._buffer: Dict[str, Op] = {}
        self._buffer_bytes = 0
        # True once a write was accepted.
        self._wrote = False
        # The values that the opening call read, of keys that were not written since.
        self._reads: Dict[str, Optional[Value]] = {read.key: read.value
                                                   for read in map(read_of, opened.get("results") or [])}
        #: The first error of a call after which another attempt may succeed.
        self.doomed: Optional[AftError] = None
        #: The first error after which writes that the caller believes done may be missing. No
        #: commit may follow it.
        self.torn: Optional[AftError] = None
        #: The caller's own exception that interrupted a call.
        self.interrupted: Optional[BaseException] = None

    # --- reads and writes

    async def get(self, key: str, span: Span = None) -> Optional[Value]:
        """Reads a key, or a range of it."""
        checked_key(key)
        async with _InTurn(self):
            own = self._buffer.get(key)
            if own is not None:
                if own.value is None:
                    return None
                return sliced(Value(own.value, own.content_type or DEFAULT_CONTENT_TYPE, "uncommitted"), span)
            if key in self._reads:
                return sliced(self._reads[key], span)
            try:
                target = key_target(self._path, key)
                return value_of(await self._send("GET", target, b"", range_header(span), reads=True), span)
            except FAILURES as why:
                if isinstance(why, AftError) and is_absent(why):
                    return None
                raise self._failed(why, False) from None

    async def write(self, op: Op) -> None:
        """Puts or deletes a key. A small value is buffered."""
        async with _InTurn(self):
            self._wrote = True
            most = self.core.settings.write_buffer_bytes_max
            if most > 0 and len(op.value or b"") <= BUFFERED_VALUE_BYTES_MAX:
                replaced = self._buffer.get(op.key)
                more = op._weight() - (replaced._weight() if replaced else 0)
                if self._buffer_bytes + more > most or len(self._buffer) + (replaced is None) > BUFFERED_WRITES_MAX:
                    await self._flush([])
                    more = op._weight()
                self._buffer[op.key] = op
                self._buffer_bytes += more
                self._reads.pop(op.key, None)
                return
            headers = {} if op.content_type is None else {"Content-Type": op.content_type}
            method = "DELETE" if op.value is None else "PUT"
            try:
                answer = await self._send(method, key_target(self._path, op.key), op.value or b"", headers, reads=False)
                answer.empty()
            except FAILURES as why:
                # A write that was rejected had no effect. A write without an answer may have had
                # its effect.
                raise self._failed(why, isinstance(why, NoAnswer)) from None
            self._reads.pop(op.key, None)
            waited = self._buffer.pop(op.key, None)
            self._buffer_bytes -= waited._weight() if waited else 0
            assert self._buffer_bytes >= 0, "the buffer's bytes are those of its writes"

    async def page(self, prefix: str, after: str, page_len: int) -> Tuple[List[Listed], Optional[str]]:
        """Lists a page of keys. Returns it, and the text after which the next one begins."""
        async with _InTurn(self):
            await self._flush([])
            query = f"?prefix={quote(prefix, safe='')}&after={quote(after, safe='')}&limit={page_len}"
            try:
                page = (await self._send("GET", f"{self._path}/keys{query}", b"", {}, reads=True)).reply(lists)
            except FAILURES as why:
                raise self._failed(why, False) from None
            listed = [Listed(listed["key"], listed["size"], listed["version"]) for listed in page["keys"]]
            return listed, page.get("next")

    async def batch(self, ops: List[Op]) -> List[Read]:
        """Runs several operations in one call, after the buffered writes."""
        async with _InTurn(self):
            self._wrote = self._wrote or any(op.verb != "get" for op in ops)
            if len(ops) > BUFFERED_WRITES_MAX or sum(map(Op._weight, ops)) > BUFFERED_VALUE_BYTES_MAX:
                # Send the buffered writes first: with them the call might be too large.
                await self._flush([])
            return await self._flush(ops)

    def _take(self) -> List[Op]:
        waited, self._buffer, self._buffer_bytes = list(self._buffer.values()), {}, 0
        return waited

    async def _flush(self, ops: List[Op]) -> List[Read]:
        """Sends the buffered writes, and `ops` after them."""
        for op in ops:
            if op.verb != "get":
                self._reads.pop(op.key, None)
        waited = self._take()
        all_ = waited + ops
        if not all_:
            return []
        reads_only = all(op.verb == "get" for op in all_)
        body = json.dumps({"ops": [op._json() for op in all_]}).encode()
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self._send("POST", f"{self._path}/batch", body, headers, reads=reads_only)
            reply = answer.reply(answers(sum(op.verb == "get" for op in all_)))
        except FAILURES as why:
            # The buffered writes are out of the buffer, and the caller believes them done: after
            # any failure the transaction must not commit without them.
            torn = bool(waited) or (not reads_only and isinstance(why, NoAnswer))
            raise self._failed(why, torn) from None
        return [read_of(read) for read in reply.get("results") or []]

    def _call_pace(self) -> Pace:
        """Returns the pace of one call: the run's, or a new one for a transaction by hand."""
        return self.pace if self.pace is not None else self.core.pace(self.request.seconds)

    async def _send(self, method: str, target: str, body: bytes, headers: Mapping[str, str], reads: bool) -> Answer:
        """Sends a call, and sends it again where that is harmless.

        That is if the server was overloaded, or if the call only reads and got no answer. A write
        without an answer is not sent again: its first copy may still be in flight, and would then
            take effect after later writes.
        """
        transport = self.core.transport
        silence = min(self._call_pace().silence(), transport.call_timeout)
        pace = Pace(self.core.world, silence)
        while True:
            try:
                return await transport.call(method, target, body, headers, reads=reads, silence=silence)
            except FAILURES as why:
                harmless_again = ((reads and isinstance(why, NoAnswer) and not why.permanent)
                                  or getattr(why, "turned_away", False)
                                  or getattr(why, "code", None) == "overloaded")
                again = harmless_again and pace.failures + 1 < TRIES_IN_PLACE_MAX
                if not await pace.pause(harmless(why), again):
                    raise
            except BaseException as own:
                # The caller's own exception. It may handle it and go on, but not commit without
                # the writes of this call.
                self.interrupted = own
                if not reads and self.torn is None:
                    self.torn = Retry(f"a call with writes was interrupted by {type(own).__name__}, and they may be "
                                      "missing: run the request again")
                raise

    def _failed(self, why: Exception, torn: bool) -> AftError:
        """Records what a failed call means for the transaction, and returns its error."""
        error = harmless(why)
        if isinstance(error, NotFound) and error.code != "no_such_path":
            # The node has forgotten the transaction, and no commit was sent: run the request again.
            error = error._as(Retry)
        self.about(error)
        if error.retryable and self.doomed is None:
            self.doomed = error
        if torn and self.torn is None:
            self.torn = error
        return error

    # --- the end

    def check_open(self) -> None:
        """Raises Invalid if the transaction takes no calls here."""
        if os.getpid() != self._pid:
            raise self.about(Invalid("the transaction was opened by another process, and this one is its fork: "
                                     "open a transaction after the fork"))
        if self.ended and self.of_run and not self.turn.is_awaited():
            raise self.about(Invalid("a call of this transaction was not awaited: the run had ended when it came"))
        if self.ended:
            raise self.about(Invalid("the transaction has ended and takes no more calls: begin a new one"))

    def check_by_hand(self) -> None:
        """Raises Invalid if a run ends the transaction."""
        if self.of_run:
            raise self.about(Invalid("the function of a run must not commit or abort: "
                                     "return a result to commit, or raise an exception to abort"))

    def about(self, error: AftError) -> AftError:
        """Names the request and the transaction in an error."""
        return error._about(self.request.id, self.token)

    def committed_as(self, version: Optional[str]) -> bool:
        """Returns True if this transaction committed `version`."""
        return version is not None and version.split("-", 1)[-1] == self.token.split("-", 1)[-1]

    async def abort(self) -> None:
        """Aborts the transaction by hand."""
        self.check_by_hand()
        async with _InTurn(self):
            self.ended = True
            try:
                await self.send_abort(self._call_pace().silence())
            except FAILURES as why:
                raise self.about(harmless(why)) from None

    async def send_abort(self, silence: float) -> None:
        """Sends an abort."""
        (await self.core.transport.call("POST", f"{self._path}/abort", silence=silence)).empty()

    async def abort_quietly(self, at_once: bool = False) -> None:
        """Aborts a transaction whose outcome is known: it fails. Errors are ignored."""
        if not self.ended and os.getpid() == self._pid:
            self.ended = True
            limit = ABORT_AT_ONCE_S_MAX if at_once else ABORT_S_MAX
            grace = self.pace.grace() if self.pace is not None else limit
            try:
                await self.send_abort(min(limit, max(grace, ABORT_AT_ONCE_S_MAX)))
            except FAILURES:
                pass  # Without an abort the transaction ends at its deadline.

    async def commit(self, result: bytes) -> Ran:
        """Commits by hand."""
        self.check_by_hand()
        self.check_open()
        try:
            await self.turn.quiet()
        except Exception:
            await self.abort_quietly()
            raise
        return await self.settle(result, self.core.pace(self.request.seconds), None)

    async def settle(self, result: bytes, pace: Pace, times_max: Optional[int]) -> Ran:
        """Commits, with at most `times_max` calls (and one more if a batch has arrived)."""
        async with _InTurn(self):
            if self.torn is not None:
                await self.abort_quietly()
                raise self.torn
            self.ended = True
            alone = result_field(result, self.request.id)
            ops = [op._json() for op in self._take()]
            try:
                reply = await self._settled(ops, alone, pace, times_max)
            except AftError as error:
                if not isinstance(error, Unknown):
                    self.ended = False
                    await self.abort_quietly()
                raise self.about(error)
            self.core.committed(reply.get("session"))
            replayed = reply.get("replayed", False)
            kept = from_base64(reply.get("result")) if replayed else result
            self.ran = Ran(kept, replayed, reply.get("version"), reply.get("result_size"), 1)
            return self.ran

    async def _settled(self, ops: List[Dict[str, Any]], alone: Dict[str, str], pace: Pace,
                       times_max: Optional[int]) -> Dict[str, Any]:
        if not self._wrote and self.request.id is None:
            assert not ops, "a transaction with buffered writes has written"
            return await self._end_of_reads(pace)
        if ops:
            # The whole call is repeated: if it never arrived, a bare commit would commit the
            # transaction without these writes.
            reply = await self.ask("/batch", {"ops": ops, "commit": True, **alone}, None, pace, times_max)
        else:
            reply = await self.ask("/commit", alone, None, pace, times_max)
        if isinstance(reply, BatchIsIn):
            reply = await self.ask("/commit", alone, reply.doubt, pace, times_max)
        if isinstance(reply, BatchIsIn):
            raise reply.doubt
        return reply

    async def _end_of_reads(self, pace: Pace) -> Dict[str, Any]:
        """Commits a transaction that has written nothing. Nothing can have taken effect, so it is
        never Unknown."""
        try:
            return await self.core.post(f"{self._path}/commit", {}, commits, silence=pace.silence())
        except FAILURES as why:
            error = harmless(why)
        if isinstance(error, (Unknown, NotFound)) or (isinstance(error, Unavailable) and error.retryable):
            # The server may have forgotten the reads; another attempt makes them again.
            raise error._as(Retry)
        raise error

    async def ask(self, rest: str, message: Dict[str, Any], doubt: Optional[AftError], pace: Pace,
                  times_max: Optional[int]) -> Union[Dict[str, Any], BatchIsIn]:
        """Sends a commit until its outcome is known.

        Raises Unknown, or the reason why the transaction did not commit.
        """
        headers = idempotency_header(self.request.id)
        target = with_query(f"{self._path}{rest}", scope=self.request.scope if headers else None)
        nth = 0
        while True:
            nth += 1
            error: AftError
            try:
                return await self.core.post(target, message, commits, headers, silence=pace.silence())
            except FAILURES as why:
                error = committing(why)
                if isinstance(why, NotSent) and doubt is None and not why.turned_away:
                    # The server that opened the transaction is gone, and the transaction with it;
                    # or a proxy does not pass commits on.
                    raise error from None
            if isinstance(error, Unknown):
                doubt = error
            elif (isinstance(error, Unavailable) and error.retryable) or error.code == "body_timeout":
                # The server rejected this call for now, which says nothing about an earlier one.
                pass
            elif error.code == "ended" and rest == "/batch" and doubt is not None:
                return BatchIsIn(doubt)
            elif isinstance(error, (NotFound, Unauthorized, Internal, Unavailable)) and doubt is not None:
                # The server has forgotten the transaction, or the error says nothing about the
                # first call.
                raise doubt
            else:
                raise error._as(Retry) if isinstance(error, NotFound) else error
            if not await pace.pause(error, times_max is None or nth < times_max):
                raise doubt or error
