"""The calls of a client, written once for both worlds.

Every method is a coroutine over a `World`. The blocking client drives them (they never suspend
there), and the asyncio client awaits them.
"""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any, Awaitable, Callable, Dict, Iterable, Optional, Union

from .attempt import Attempt, BatchIsIn, Span, is_absent, range_header, value_of
from .errors import (FAILURES, AftError, InProgress, Internal, Invalid, NoAnswer, NotFound, Retry, SessionLost,
                     Unauthorized, Unavailable, Unknown, committing, harmless)
from .options import Request, Settings
from .pace import Pace
from .runs import Run
from .session import merge_sessions
from .streams import Reader
from .transport import Answer, Source, Streamed, Transport, commits, finds, heed_forks, tls_context
from .values import (Bytes, Executed, Found, IfValue, IfVersion, Op, Ran, Value, as_bytes, checked_content_type,
                     checked_key, checked_ops, checked_seconds, from_base64, key_target, read_of, result_field,
                     with_query)
from .wire import World


class Core:
    """The logic of a client of one server."""

    def __init__(self, world: World, url: str, settings: Settings) -> None:
        self.world, self.settings = world, settings
        context = None
        if str(url).startswith("https:") or settings.names_files():
            context = tls_context(settings.ca, settings.certificate, settings.key)
        self.transport = Transport(world, url, settings.token, context, settings.connect_timeout, settings.call_timeout)
        self._session: Optional[str] = None
        self._lock = threading.Lock()
        heed_forks(self)

    # --- the session

    @property
    def session(self) -> Optional[str]:
        """The session's token."""
        with self._lock:
            return self._session if self.settings.session else None

    def join_session(self, token: Optional[str]) -> None:
        """Merges the session of another process into this one."""
        if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
            raise Invalid("the session token is not one that Client.session returned: pass it unchanged")
        self.committed(token)

    def committed(self, token: Optional[str]) -> None:
        """Merges the token of a reply into the session."""
        if not token or not self.settings.session:
            return
        with self._lock:
            try:
                self._session = merge_sessions(token, self._session) if self._session else token
            except ValueError:
                # The token comes from a newer server: then the last one is kept.
                self._session = token

    def told(self, error: AftError) -> AftError:
        """Returns an error that the caller gets now.

        If the store has lost a commit of the session, the session is dropped here and no earlier:
        so no call reads the older state before the caller has heard of the loss.
        """
        if isinstance(error, SessionLost):
            with self._lock:
                self._session = None
        return error

    def _session_header(self) -> Dict[str, str]:
        session = self.session
        return {} if session is None else {"Aft-Session": session}

    def forget(self) -> None:
        """Makes the lock new in the child of a fork, where nobody would release it."""
        self._lock = threading.Lock()

    # --- helpers

    def pace(self, seconds: Optional[float]) -> Pace:
        """Returns the pace of a call, whose limit may override the client's."""
        if seconds is None:
            return Pace(self.world, self.settings.run_seconds_max)
        return Pace(self.world, checked_seconds("run_seconds_max", seconds))

    async def post(self, path: str, message: Dict[str, Any], is_whole: Callable[[Dict[str, Any]], bool],
                   headers: Optional[Dict[str, str]] = None, silence: Optional[float] = None) -> Dict[str, Any]:
        """Posts a JSON message and returns the reply, in which `is_whole` finds what it must
        have."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        answer = await self.transport.call("POST", path, json.dumps(message).encode(), headers, silence=silence)
        return answer.reply(is_whole)

    async def _reading(self, pace: Pace, call: Callable[[float], Awaitable[Any]], request_id: Optional[str] = None,
                       absent: Callable[[AftError], bool] = lambda error: False) -> Any:
        """Makes a call that only reads until it succeeds or the time is over. Returns None for
        `absent`."""
        while True:
            try:
                return await call(pace.silence())
            except FAILURES as why:
                error = harmless(why)._about(request_id, None)
            if absent(error):
                return None
            if not await pace.pause(error, error.retryable):
                raise self.told(pace.last(error))

    # --- runs

    async def run(self, request: Request, function: Callable[[Attempt], Awaitable[Bytes]]) -> Ran:
        """Calls `function(attempt)` until its request has committed once."""
        run = Run(self, request)
        while True:
            opened = await run.open()
            if isinstance(opened, Ran):
                return opened
            opened.of_run = True
            try:
                result = as_bytes(await function(opened), "the result of the function")
                await opened.turn.quiet()
            except Exception as own:
                ran = await run.failed(opened, own)
                if ran is None:
                    continue
                return ran
            except GeneratorExit:
                raise  # The coroutine is closed, and cannot wait for anything more.
            except BaseException:
                await opened.abort_quietly(at_once=True)
                raise
            committed = await run.commit(opened, result)
            if committed is not None:
                return committed

    async def transaction(self, request: Request) -> Attempt:
        """Opens a transaction by hand. It has ended if the request has committed."""
        opened = await Run(self, request).open(by_hand=True)
        return opened if isinstance(opened, Attempt) else Attempt(self, request, {}, opened)

    # --- whole transactions

    async def execute(self, request: Request, ops: Iterable[Op], result: Bytes) -> Executed:
        """Runs operations as one transaction, in one call and in order."""
        ops = checked_ops(ops)
        if request.id is None and any(op._is_conditional() for op in ops):
            request.id = uuid.uuid4().hex
        kept = as_bytes(result, "result")
        reads_only = request.id is None and all(op.verb == "get" for op in ops)
        messages = [op._json() for op in ops]
        pace, doubt, conflicts = self.pace(request.seconds), None, 0
        while True:
            error: AftError
            begin = request.begin(self.settings, self.session, pace, doubt is not None, conflicts)
            begin["ops"] = messages
            begin.update(result_field(kept, request.id))
            try:
                reply = await self.post("/v1/execute", begin, commits, silence=pace.silence())
                return self._executed(reply, kept, conflicts)
            except FAILURES as why:
                # Without a write nothing can have taken effect.
                error = harmless(why) if reads_only else committing(why)
                # Something that is not AFT took the call, and would take the next one.
                foreign = isinstance(why, NoAnswer) and why.permanent
            if reads_only and isinstance(error, Unknown):
                error = error._as(Retry)
            error._about(request.id, None)
            if foreign:
                raise doubt or error
            if isinstance(error, Unknown) and request.id is None:
                try:
                    return self._executed(await self.resolve(error, pace), kept, conflicts)
                except (Retry, Unavailable) as why:
                    error = why  # The query showed that it did not commit.
            if isinstance(error, Unknown):
                doubt = error
            elif not error.retryable and not isinstance(error, InProgress):
                # Credentials that are rejected now, a store that is damaged or has lost writes now,
                # or a proxy, say nothing about an earlier try.
                blind = isinstance(error, (Unauthorized, Internal, Unavailable, SessionLost))
                await pace.pause(error, False)
                raise self.told(pace.last(doubt if doubt is not None and blind else error))
            conflicts += error.code == "conflict"
            if not await pace.pause(error, conflicts < self.settings.attempts_max):
                raise pace.last(doubt or error)

    def _executed(self, reply: Dict[str, Any], result: bytes, conflicts: int) -> Executed:
        self.committed(reply.get("session"))
        replayed = reply.get("replayed", False)
        kept = from_base64(reply.get("result")) if replayed else result
        ran = Ran(kept, replayed, reply.get("version"), reply.get("result_size"), conflicts + int(not replayed))
        return Executed(ran, [read_of(read) for read in reply.get("results") or []])

    async def resolve(self, doubt: AftError, pace: Pace) -> Dict[str, Any]:
        """Asks for the outcome of a commit in doubt of a request without an ID.

        Only its transaction can be asked. Without a token this raises `doubt`.
        """
        if doubt.transaction is None:
            raise doubt
        attempt = Attempt(self, Request(None), {"transaction": doubt.transaction})
        reply = await attempt.ask("/commit", {}, doubt, pace, None)
        if isinstance(reply, BatchIsIn):
            raise doubt
        return reply

    # --- single keys

    async def get(self, key: str, fresh: bool, seconds: Optional[float],
                  span: Span = None) -> Optional[Value]:
        """Reads one key, or a range of it, in a transaction of its own."""
        target = with_query(key_target("/v1", checked_key(key)), fresh="true" if fresh else None)
        pace = self.pace(seconds)

        async def call(silence: float) -> Value:
            headers = {**self._session_header(), **range_header(span)}
            answer = await self.transport.call("GET", target, headers=headers, reads=True, silence=silence)
            value = value_of(answer, span)
            self.committed(answer.headers.get("aft-session"))
            return value

        value: Optional[Value] = await self._reading(pace, call, absent=is_absent)
        return value

    async def put(self, key: str, value: Bytes, content_type: Optional[str], if_absent: bool,
                  if_version: IfVersion, if_value: IfValue, seconds: Optional[float]) -> Ran:
        """Writes one key in a transaction of its own."""
        op = Op.put(key, value, content_type, if_absent=if_absent, if_version=if_version, if_value=if_value)
        if op.condition is not None:
            return (await self.execute(Request(None, isolation="serializable", seconds=seconds), [op], None)).ran
        headers = {} if content_type is None else {"Content-Type": content_type}
        return await self._write("PUT", key, op.value or b"", headers, seconds)

    async def delete(self, key: str, if_version: IfVersion, if_value: IfValue, seconds: Optional[float]) -> Ran:
        """Deletes one key in a transaction of its own."""
        op = Op.delete(key, if_version=if_version, if_value=if_value)
        if op.condition is not None:
            return (await self.execute(Request(None, isolation="serializable", seconds=seconds), [op], None)).ran
        return await self._write("DELETE", key, b"", {}, seconds)

    async def add(self, key: str, by: int, seconds: Optional[float]) -> Optional[int]:
        """Adds to the number that a key holds."""
        request = Request(None, isolation="serializable", seconds=seconds)
        reads = (await self.execute(request, [Op.add(key, by)], None)).reads
        return int(reads[0].value.bytes) if reads and reads[0].value else None

    async def _write(self, method: str, key: str, body: Union[bytes, Streamed], headers: Dict[str, str],
                     seconds: Optional[float]) -> Ran:
        target, pace = key_target("/v1", checked_key(key)), self.pace(seconds)
        while True:
            try:
                headers = {**headers, **self._session_header()}
                answer = await self.transport.call(method, target, body, headers, silence=pace.silence())
                reply = answer.reply(commits)
            except FAILURES as why:
                error = committing(why)
                if isinstance(error, Unknown):
                    reply = await self.resolve(error, pace)
                elif await pace.pause(error, error.retryable and not _is_used(body)):
                    continue
                else:
                    raise self.told(pace.last(error))
            self.committed(reply.get("session"))
            return Ran(b"", False, reply.get("version"), attempts=1)

    # --- large values

    async def put_stream(self, key: str, source: Source, size: Optional[int], content_type: Optional[str],
                         seconds: Optional[float]) -> Ran:
        """Writes one key from a source."""
        headers = {} if content_type is None else {"Content-Type": checked_content_type(content_type)}
        return await self._write("PUT", key, Streamed(source, size), headers, seconds)

    async def stream(self, key: str, fresh: bool, seconds: Optional[float]) -> Optional[Reader]:
        """Opens a reader of one key."""
        target = with_query(key_target("/v1", checked_key(key)), fresh="true" if fresh else None)
        return await self._stream(target, seconds, None)

    async def result_stream(self, request_id: str, scope: Optional[str], seconds: Optional[float]) -> Optional[Reader]:
        """Opens a reader of a request's result."""
        return await self._stream(Request.named(request_id, scope).target("result"), seconds, request_id)

    async def _stream(self, target: str, seconds: Optional[float], request_id: Optional[str]) -> Optional[Reader]:
        async def call(silence: float) -> Reader:
            response = await self.transport.begin("GET", target, headers=self._session_header(), reads=True,
                                                  silence=silence)
            if "aft-version" not in response.headers:
                self.transport.drop(response.wire)
                raise Answer(response.status, response.headers, b"").alien()
            self.committed(response.headers.get("aft-session"))
            return Reader(self.transport, response)

        reader: Optional[Reader] = await self._reading(
            self.pace(seconds), call, request_id, _is_not_known)
        return reader

    # --- requests

    async def request(self, request_id: str, scope: Optional[str], seconds: Optional[float]) -> Optional[Found]:
        """Looks a request up."""
        request, pace = Request.named(request_id, scope), self.pace(seconds)
        found: Optional[Found] = await self._reading(pace, lambda silence: self.look_up(request, silence), request_id)
        return found

    async def look_up(self, request: Request, silence: float) -> Optional[Found]:
        """Looks a request up with one call."""
        try:
            answer = await self.transport.call("GET", request.target("request"), reads=True, silence=silence)
            found = answer.reply(finds)
        except FAILURES as why:
            error = harmless(why)._about(request.id, None)
            if _is_not_known(error):
                return None
            raise error from None
        return Found(found["hash"], found["version"], found["committed_at"], found["kept_until"],
                     found.get("keys") or [], from_base64(found.get("result")), found.get("result_size"))

    async def result(self, request_id: str, scope: Optional[str], seconds: Optional[float]) -> Optional[bytes]:
        """Reads the result of a committed request."""
        target = Request.named(request_id, scope).target("result")

        async def call(silence: float) -> bytes:
            answer = await self.transport.call("GET", target, reads=True, silence=silence)
            if "aft-version" not in answer.headers:
                raise answer.alien()
            return answer.body

        result: Optional[bytes] = await self._reading(
            self.pace(seconds), call, request_id, _is_not_known)
        return result


def _is_not_known(error: AftError) -> bool:
    """Returns True if an error says that a request, or its result, is not known."""
    return isinstance(error, NotFound) and error.code != "no_such_path"


def _is_used(body: Union[bytes, Streamed]) -> bool:
    """Returns True if a body was read from a source, which cannot be done twice."""
    return isinstance(body, Streamed) and body.begun
