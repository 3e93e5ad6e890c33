"""The connections to one server: opens, keeps and drops them, and sends one call.

It sends a call again in one case only: if the call reads, and the kept connection turned out dead.
What else may be sent again is decided above.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
import weakref
from typing import Any, AsyncIterator, Callable, Dict, List, Mapping, Optional, Tuple, Union
from urllib.parse import urlsplit

from .errors import Cut, Dead, Invalid, NoAnswer, NotSent, foreign, refusal
from .message import Response, head_of, receive
from .wire import Wire, World

# The time that an idle connection is kept, in seconds: below the 30 s after which a server closes
# it.
IDLE_S_MAX = 20.0
# The most idle connections that are kept: as many as one program usually has calls in flight.
IDLE_CONNECTIONS_MAX = 64
# The longest answer that is held in memory as a whole. Larger values and results are streamed.
ANSWER_BYTES_MAX = 256 << 20
_TOO_LONG = ("the answer is longer than 256 MiB, the most that is held in memory: read it in parts with `stream`, "
             "`result_stream` or `get_range`")
# The longest refusal that is read. A longer page of a proxy is cut off.
REFUSAL_BYTES_MAX = 1 << 20
# The largest body that is sent in one piece with its head.
JOINED_BODY_BYTES_MAX = 64 << 10


# The fields of replies that the client reads, with the types that they have where they are there.
_TYPES: Dict[str, type] = {
    "transaction": str, "version": str, "session": str, "result": str, "next": str, "hash": str, "committed_at": str,
    "kept_until": str, "committed": bool, "replayed": bool, "result_size": int, "results": list, "keys": list,
}


def is_typed(reply: Dict[str, Any]) -> bool:
    """Returns True if the fields of a reply have their types."""
    return (all(reply.get(name) is None or isinstance(reply[name], kind) for name, kind in _TYPES.items())
            and all(_has_key(read) and isinstance(read.get("value"), (str, type(None)))
                    for read in reply.get("results") or []))


def _has_key(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("key"), str)


def commits(reply: Dict[str, Any]) -> bool:
    """Returns True if a reply reports a commit."""
    return bool(reply.get("committed") or reply.get("replayed"))


def opens(reads: int) -> Callable[[Dict[str, Any]], bool]:
    """Returns a check of the reply to an opening with a number of reads."""
    return lambda reply: bool(reply.get("replayed") or reply.get("transaction") and answers(reads)(reply))


def answers(reads: int) -> Callable[[Dict[str, Any]], bool]:
    """Returns a check of the reply to a number of gets. A batch that only writes is answered with
    an empty object."""
    return lambda reply: len(reply.get("results") or []) == reads


def lists(reply: Dict[str, Any]) -> bool:
    """Returns True if a reply is a page of keys."""
    return isinstance(reply.get("keys"), list) and all(
        _has_key(listed) and isinstance(listed.get("size"), int) and isinstance(listed.get("version"), str)
        for listed in reply["keys"])


def finds(reply: Dict[str, Any]) -> bool:
    """Returns True if a reply is the record of a request."""
    return (all(isinstance(reply.get(name), str) for name in ("hash", "version", "committed_at", "kept_until"))
            and all(isinstance(key, str) for key in reply.get("keys") or []))


class Answer:
    """A success, with its whole body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def reply(self, is_whole: Callable[[Dict[str, Any]], bool]) -> Dict[str, Any]:
        """Returns the body as a JSON object.

        Args:
            is_whole: Finds in the object what a reply of its kind has at least.

        Raises:
            NoAnswer: It is no such object, so another kind of server has answered.
        """
        try:
            reply = json.loads(self.body)
        except ValueError:
            raise self.alien() from None
        if not (isinstance(reply, dict) and is_typed(reply) and is_whole(reply)):
            raise self.alien()
        return reply

    def empty(self) -> None:
        """Checks the answer to an abort, or to a write in a transaction. Raises NoAnswer."""
        if self.status != 204:
            raise self.alien()

    def alien(self) -> NoAnswer:
        """Returns the failure of a success that does not come from AFT: a captive portal's page,
        for instance."""
        text = foreign(f"the answer has status {self.status} and is no valid reply", self.headers, self.body)
        return NoAnswer(text, permanent=True)


Source = AsyncIterator[bytes]
Body = Union[bytes, "Streamed"]


class Streamed:
    """A body that is read from a source while it is sent, once."""

    def __init__(self, source: Source, size: Optional[int]) -> None:
        self.source, self.size = source, size
        #: True once the source was read from.
        self.begun = False


def parse_url(url: str) -> Tuple[str, str, int]:
    """Returns the scheme, host and port of a server's URL. No message repeats credentials in it.

    Raises:
        Invalid: It is no URL of a server.
    """
    if not isinstance(url, str):
        raise Invalid(f"the URL of the server is no text but a {type(url).__name__}: write http://HOST:PORT")
    if "@" in url:
        raise Invalid("the URL of the server must not have a user or a password: give the token by `token`")
    wrong = Invalid(f"{url!r} is not the URL of a server: write http://HOST:PORT or https://HOST:PORT, without a path")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or any(ord(char) <= 32 for char in url):
        raise wrong
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        raise wrong
    text = parts.netloc[parts.netloc.rfind("]") + 1:].rpartition(":")[2] if ":" in parts.netloc else ""
    if parts.netloc.endswith("]"):
        text = ""
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise Invalid(f"the port {text!r} in the URL of the server is no number from 1 to 65535")
    return parts.scheme, host, int(text) if text else 443 if parts.scheme == "https" else 80


def tls_context(ca: Optional[str], certificate: Optional[str], key: Optional[str]) -> ssl.SSLContext:
    """Returns the settings of TLS.

    Args:
        ca: The PEM file of the authorities to trust instead of the system's.
        certificate, key: The PEM files of the client's certificate and its key.

    Raises:
        Invalid: A file is missing or cannot be used, or one of `certificate` and `key` is missing.
    """
    if (certificate is None) != (key is None):
        raise Invalid("certificate and key belong together: pass both, or neither")
    for name, path in (("ca", ca), ("certificate", certificate), ("key", key)):
        if path is not None:
            try:
                with open(path, "rb"):
                    pass
            except (OSError, TypeError, ValueError) as why:
                reason = getattr(why, "strerror", None) or why
                raise Invalid(f"{name}: cannot read the file {path!r}: {reason}") from None
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as why:
        raise Invalid(f"ca: the file {ca!r} has no certificate in PEM form: {why}") from None
    # Python 3.13 rejects certificates of private authorities that lack some extensions. The same
    # file is to work in every version, and with the other clients.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if certificate is not None and key is not None:
        try:
            # An encrypted key must not stop the program with a prompt.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (ssl.SSLError, OSError, ValueError) as why:
            raise Invalid(f"certificate, key: the files {certificate!r} and {key!r} are not a certificate "
                          f"and its unencrypted key in PEM form: {why}") from None
    return context


class Transport:
    """The connections to one server. It keeps idle connections open."""

    def __init__(self, world: World, url: str, token: Optional[str], context: Optional[ssl.SSLContext],
                 connect_timeout: float, call_timeout: float) -> None:
        self.world = world
        scheme, self.host, self.port = parse_url(url)
        if token is not None and not (isinstance(token, str) and token.isprintable()):
            raise Invalid("the bearer token has characters that a header cannot hold: remove line breaks from it")
        self.context = context if scheme == "https" else None
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = name if self.port == {"http": 80, "https": 443}[scheme] else f"{name}:{self.port}"
        self.token = token
        self.connect_timeout, self.call_timeout = connect_timeout, call_timeout
        self._pid = os.getpid()
        self._start()
        heed_forks(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        # The idle connections, each with the monotonic and the wall-clock time since when it is
        # idle.
        self._idle: List[Tuple[Wire, float, float]] = []
        self._in_use: weakref.WeakSet[Wire] = weakref.WeakSet()

    # --- one call

    async def call(self, method: str, target: str, body: Body = b"", headers: Optional[Mapping[str, str]] = None, *,
                   reads: bool = False, silence: Optional[float] = None) -> Answer:
        """Sends a call and returns its answer, a success.

        Args:
            method, target, body, headers: The call.
            reads: True if the call only reads, so that it may be sent twice.
            silence: The limit of silence in seconds, if it is below `call_timeout`.

        Raises:
            AftError: The server rejected the call.
            NotSent, NoAnswer: There is no answer of AFT.
        """
        response = await self.begin(method, target, body, headers, reads=reads, silence=silence)
        limit = self.limit(silence)
        try:
            if (response.length or 0) > ANSWER_BYTES_MAX:
                raise Invalid(_TOO_LONG)
            whole, is_all = await response.whole(ANSWER_BYTES_MAX, limit)
        except BaseException:
            self.drop(response.wire)
            raise
        if not is_all:
            self.drop(response.wire)
            raise Invalid(_TOO_LONG)
        self.finish(response)
        return Answer(response.status, response.headers, whole)

    async def begin(self, method: str, target: str, body: Body = b"", headers: Optional[Mapping[str, str]] = None,
                    *, reads: bool = False, silence: Optional[float] = None) -> Response:
        """Sends a call, as `call` does, and returns its answer as soon as the head of a success has
        arrived.

        The caller must end with `finish` or `drop`.
        """
        connect_timeout = self.connect_timeout if silence is None else min(self.connect_timeout, silence)
        # A streamed body cannot be sent twice, so it does not meet a kept connection that may be
        # dead.
        wire = None if isinstance(body, Streamed) else self._take_idle()
        if wire is not None:
            wire.answering, wire.reused = False, True
            try:
                return await self._exchange(wire, method, target, body, headers, silence)
            except (Dead, Cut) as why:
                # The server closed the connection while it was idle, or the machine was frozen.
                if not (reads if isinstance(why, Dead) else why.dead):
                    raise
        wire = await Wire.connect(self.world, self.host, self.port, self.context, connect_timeout)
        self._in_use.add(wire)
        return await self._exchange(wire, method, target, body, headers, silence)

    async def _exchange(self, wire: Wire, method: str, target: str, body: Body,
                        headers: Optional[Mapping[str, str]], silence: Optional[float]) -> Response:
        limit = self.limit(silence)
        whole = False
        try:
            try:
                whole = await self._send(wire, method, target, body, dict(headers or {}), limit)
                response = await receive(wire, method, limit)
            except NoAnswer as why:
                if whole or wire.answering:
                    raise
                # The server cannot have the whole call, and carries out no part of one.
                detail = f"the call was not sent to its end, and had no effect: {why}"
                raise Cut(detail, dead=isinstance(why, Dead)) from why
            if response.status < 300 and whole:
                return response
            if response.status < 300:
                # A success to a part of the body says nothing about the call.
                raise NoAnswer(f"the server answered status {response.status} before the whole body was sent")
            text, _ = await response.whole(REFUSAL_BYTES_MAX, limit)
            if response.complete and whole:
                self.finish(response)
            else:
                self.drop(wire)
        except BaseException:
            self.drop(wire)
            raise
        raise refusal(response.status, response.reason, response.headers, text)

    async def _send(self, wire: Wire, method: str, target: str, body: Body, headers: Dict[str, str],
                    silence: float) -> bool:
        """Sends a call. Returns False if the server has answered or hung up before all of it was
        sent."""
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if isinstance(body, Streamed):
            return await self._send_stream(wire, method, target, body, headers, silence)
        if body or method in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        head = head_of(method, target, self.authority, headers)
        if len(body) <= JOINED_BODY_BYTES_MAX:
            return await wire.send(head + body, silence)
        return await wire.send(head, silence) and await wire.send(body, silence)

    async def _send_stream(self, wire: Wire, method: str, target: str, body: Streamed, headers: Dict[str, str],
                           silence: float) -> bool:
        if body.size is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(body.size)
        if not await wire.send(head_of(method, target, self.authority, headers), silence):
            return False
        sent = 0
        body.begun = True
        async for piece in body.source:
            if not piece:
                continue
            sent += len(piece)
            if body.size is not None and sent > body.size:
                raise Invalid(f"the source has more than the {body.size} bytes that `size` promised: "
                              "nothing was written")
            framed = piece if body.size is not None else b"%x\r\n%b\r\n" % (len(piece), piece)
            # The server may reject the body before it has all of it.
            if wire.has_answer() or not await wire.send(framed, silence):
                return False
        if body.size is None:
            return await wire.send(b"0\r\n\r\n", silence)
        if sent < body.size:
            raise Invalid(f"the source ended after {sent} of the {body.size} bytes that `size` promised: "
                          "nothing was written")
        return True

    def limit(self, silence: Optional[float]) -> float:
        """Returns the limit of silence of a call, in seconds."""
        return self.call_timeout if silence is None else min(silence, self.call_timeout)

    # --- the connections

    def finish(self, response: Response) -> None:
        """Ends a call whose answer was read: keeps the connection for another call if that is
        possible."""
        assert response.complete or not response.keeps or response.status >= 300, "a part of an answer is unread"
        wire = response.wire
        self._in_use.discard(wire)
        if response.keeps and response.complete and not wire.buffer and not wire.ended:
            with self._lock:
                if len(self._idle) < IDLE_CONNECTIONS_MAX:
                    self._idle.append((wire, time.monotonic(), time.time()))
                    return
        wire.close()

    def drop(self, wire: Wire) -> None:
        """Ends a call by closing its connection."""
        self._in_use.discard(wire)
        wire.close()

    def _take_idle(self) -> Optional[Wire]:
        """Returns an idle connection that is still open; None if there is none."""
        if os.getpid() != self._pid:
            self.forget()
        while True:
            with self._lock:
                if not self._idle:
                    return None
                wire, since, since_wall = self._idle.pop()
            # While the machine was frozen the monotonic clock may have stood still.
            age, age_wall = time.monotonic() - since, time.time() - since_wall
            if max(age, age_wall) < IDLE_S_MAX and age_wall >= 0 and not wire.has_answer():
                self._in_use.add(wire)
                return wire
            wire.close()

    def forget(self) -> None:
        """Drops the connections of the parent process after a fork, without a word to the
        server."""
        inherited = [wire for wire, *_ in self._idle] + list(self._in_use)
        self._pid = os.getpid()
        self._start()
        for wire in inherited:
            wire.forget()

    def close(self) -> None:
        """Closes the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for wire, *_ in idle:
            wire.close()

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self.close()


# Everything whose state a child process must not share with its parent.
_OF_FORKS: weakref.WeakSet[Any] = weakref.WeakSet()


def heed_forks(thing: Any) -> None:
    """Lets `thing.forget()` be called in the child of every fork."""
    _OF_FORKS.add(thing)


def _after_fork() -> None:
    for thing in list(_OF_FORKS):
        thing.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
