"""Byte streams to a server: sockets, TLS, and the two ways to wait for them.

    World        waits for a socket, sleeps, resolves a name: by blocking, or in an event loop
      Wire       a connected socket, with TLS or without; every wait has a limit

All sockets are non-blocking, and TLS is worked on in memory (`ssl.SSLObject`), so that one
implementation serves both worlds. The caller's own exceptions (of a signal handler, for instance)
pass through: only an exception that the socket itself raised means a failure of the connection.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
import threading
import time
from typing import Any, Coroutine, List, Optional, Tuple, TypeVar, Union

from .errors import Dead, Failed, NoAnswer, NotSent

try:
    import fcntl
    import termios
except ImportError:  # Not on Windows.
    fcntl = termios = None  # type: ignore[assignment]

# The most bytes that one call of the socket reads or writes: large enough that Python's own work
# does not count, small enough that an early answer is noticed soon.
PIECE_BYTES = 256 << 10
# The longest wait in seconds that the kernel is asked for; its limit is 24 days.
WAIT_S_MAX = 1_000_000.0
# The alerts by which a server rejects a client certificate or its absence. With TLS 1.3 they come
# after the handshake, in place of the answer.
CERTIFICATE_ALERTS = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_UNKNOWN",
                      "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "UNSUPPORTED_CERTIFICATE", "ACCESS_DENIED",
                      "DECRYPT_ERROR", "HANDSHAKE_FAILURE")
# OpenSSL's codes for a certificate whose authority is not known, or that has signed itself.
AUTHORITY_UNKNOWN = (2, 18, 19, 20, 21)

T = TypeVar("T")


def drive(call: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never suspends, and returns its result."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    except RuntimeError as why:
        # A coroutine cannot raise StopIteration; the caller's function may.
        if isinstance(why.__cause__, StopIteration) and str(why) == "coroutine raised StopIteration":
            own = why.__cause__
            while isinstance(own.__cause__, StopIteration):
                own = own.__cause__
            raise own from None
        raise
    call.close()
    raise AssertionError("a call of the blocking client suspended")


class Turn:
    """The right to use a transaction, which one call has at a time."""

    async def __aenter__(self) -> None:
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError

    async def quiet(self) -> None:
        """Waits until no call is in flight. Raises the first error of a call that nobody
        awaited."""

    def is_awaited(self) -> bool:
        """Returns False if the function of a run has returned, so that nobody awaits more calls."""
        return True


class Busy(Exception):
    """Another thread uses the transaction."""


class World:
    """The way in which a client waits."""

    async def wait(self, sock: socket.socket, reading: bool, writing: bool, seconds: float) -> bool:
        """Waits until the socket can be read or written. Returns False if that takes longer than
        `seconds`."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        """Sleeps."""
        raise NotImplementedError

    async def resolve(self, host: str, port: int) -> List[Any]:
        """Returns the addresses of a host. Raises OSError."""
        raise NotImplementedError

    def turn(self) -> Turn:
        """Returns the right to use a new transaction."""
        raise NotImplementedError


class _ThreadTurn(Turn):
    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise Busy

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class Blocking(World):
    """Waits by blocking the thread."""

    async def wait(self, sock: socket.socket, reading: bool, writing: bool, seconds: float) -> bool:
        # A wait that a stop of the process interrupted ends without a look at the socket.
        return poll(sock, reading, writing, seconds) or poll(sock, reading, writing, 0)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def resolve(self, host: str, port: int) -> List[Any]:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    def turn(self) -> Turn:
        return _ThreadTurn()


def poll(sock: socket.socket, reading: bool, writing: bool, seconds: float) -> bool:
    """Waits until the socket can be read or written, for some seconds. With 0 it only looks."""
    if hasattr(select, "poll"):
        polled = select.poll()
        polled.register(sock, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0))
        # Rounded up, since a poll of 0 ms would not wait at all.
        return bool(polled.poll(int(min(seconds, WAIT_S_MAX) * 1000 + 0.999)))
    found = select.select([sock] if reading else [], [sock] if writing else [], [sock], seconds)
    return any(found)


def _own(why: BaseException) -> bool:
    """Returns True if an exception came from the C code that the catching frame called.

    An exception of a signal handler comes from a deeper frame.
    """
    return why.__traceback__ is None or why.__traceback__.tb_next is None


class Wire:
    """A connected socket, with TLS or without."""

    def __init__(self, world: World, sock: socket.socket) -> None:
        self.world = world
        self.sock = sock
        self.tls: Optional[ssl.SSLObject] = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        #: The bytes that have arrived and were not used.
        self.buffer = bytearray()
        #: True once the server has sent its last byte.
        self.ended = False
        # The failure that was met while a call was being sent.
        self._failure: Optional[Failed] = None
        #: True if an earlier call has used the connection.
        self.reused = False
        #: True once bytes of the answer to the current call have arrived.
        self.answering = False

    # --- opening

    @classmethod
    async def connect(cls, world: World, host: str, port: int, context: Optional[ssl.SSLContext],
                      seconds: float) -> Wire:
        """Connects within a time, the handshake of TLS included. Raises NotSent."""
        until = time.monotonic() + seconds
        try:
            addresses = await world.resolve(host, port)
        except socket.gaierror as why:
            raise NotSent(f"cannot connect: the address of {host} is not known: {why}") from why
        except UnicodeError as why:
            raise NotSent(f"cannot connect: {host!r} is no name of a host: {why}", permanent=True) from why
        last: Optional[NotSent] = None
        for nth, (family, kind, protocol, _, address) in enumerate(addresses):
            # An address that does not answer must leave time for the others.
            left = max(0.0, until - time.monotonic())
            share = time.monotonic() + left / (len(addresses) - nth)
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as why:
                # The process has no descriptor left, or the kernel lacks the address family.
                if not isinstance(why.errno, int):
                    raise
                last = NotSent(f"cannot connect: {why}")
                continue
            wire = cls(world, sock)
            try:
                await wire._connect(address, share)
                if context is not None:
                    await wire._shake_hands(context, host, share)
                return wire
            except NotSent as why:
                wire.close()
                if why.permanent:
                    raise
                last = why
            except BaseException:
                wire.close()
                raise
        raise last or NotSent(f"cannot connect: {host} has no address")

    async def _connect(self, address: Tuple[Any, ...], until: float) -> None:
        self.sock.setblocking(False)
        place = f"{address[0]}, port {address[1]}"
        error = self.sock.connect_ex(address)
        if error in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
            if not await self._until(until, writing=True):
                raise NotSent(f"cannot connect to {place}: it takes longer than connect_timeout")
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise NotSent(f"cannot connect to {place}: {os.strerror(error)}")
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def _until(self, until: float, writing: bool = False) -> bool:
        return await self.world.wait(self.sock, not writing, writing, max(0.0, until - time.monotonic()))

    async def _shake_hands(self, context: ssl.SSLContext, host: str, until: float) -> None:
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            done, refused = False, None
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as why:
                raise NotSent(f"cannot connect: the server ended the TLS handshake: {why}") from why
            except (ssl.SSLError, ssl.CertificateError) as why:
                refused = why
            left = max(0.0, until - time.monotonic())
            try:
                # Also sends the alert that tells the server why it was refused.
                await self._send_raw(self._outgoing.read(), left)
            except NoAnswer as why:
                if refused is None:
                    raise NotSent(f"cannot connect: TLS: {why}") from why
            if refused is not None:
                raise NotSent(f"cannot connect: TLS failed: {_of_tls(refused)}", permanent=True) from refused
            if done:
                return
            if not await self._until(until):
                raise NotSent("cannot connect: the TLS handshake takes longer than connect_timeout")
            try:
                self._take(self._receive_raw())
            except NoAnswer as why:
                raise NotSent(f"cannot connect: TLS: {why}") from why
            if self.ended:
                raise NotSent("cannot connect: the server closed the connection in the TLS handshake")

    # --- sending

    async def send(self, data: bytes, silence: float) -> bool:
        """Sends bytes. Returns False if the server has answered or hung up before all were sent.

        Raises:
            NoAnswer: For `silence` seconds no byte could be sent.
        """
        for at in range(0, len(data), PIECE_BYTES):
            # The server may reject a large body before it has all of it.
            if at > 0 and self.has_answer():
                return False
            piece = memoryview(data)[at:at + PIECE_BYTES]
            if self.tls is not None:
                try:
                    while piece:
                        piece = piece[self.tls.write(piece):]
                except ssl.SSLError:
                    return False
                piece = memoryview(self._outgoing.read())
            if not await self._send_raw(piece, silence, is_call=True):
                return False
        return True

    async def _send_raw(self, data: Union[bytes, memoryview], silence: float, is_call: bool = False) -> bool:
        rest = memoryview(data)
        while rest:
            try:
                sent = self.sock.send(rest)
                rest = rest[sent:]
                continue
            except OSError as why:
                if not _own(why):
                    raise
                if not isinstance(why, BlockingIOError):
                    if is_call:
                        return False
                    raise NoAnswer(_broken(why)) from why
            if not await self.world.wait(self.sock, is_call, True, silence):
                raise NoAnswer(_silent(silence))
            if is_call and self.has_answer():
                return False
        return True

    # --- receiving

    async def fill(self, silence: float) -> bool:
        """Waits for more bytes in the buffer. Returns False if the server has sent its last one.

        Raises:
            NoAnswer: For `silence` seconds no byte came or went, or the connection broke.
            NotSent: The server has rejected the client's certificate.
        """
        if self.sock.fileno() < 0:
            raise Dead("no answer: the connection was closed, since the process has forked")
        before, queued = len(self.buffer), self._queued()
        while len(self.buffer) == before and not self.ended:
            if not await self.world.wait(self.sock, True, False, silence):
                # The call's last bytes may still wait in the kernel for a slow line.
                still = self._queued()
                if still == 0 or still >= queued:
                    raise NoAnswer(_silent(silence))
                queued = still
                continue
            self._take(self._receive_raw())
        if len(self.buffer) == before and self._failure is not None:
            raise self._failure
        return len(self.buffer) > before

    def has_answer(self) -> bool:
        """Returns True if bytes have arrived, or the connection has ended. Does not wait."""
        try:
            while not self.buffer and not self.ended and poll(self.sock, True, False, 0):
                self._take(self._receive_raw())
        except (NoAnswer, NotSent) as why:
            # An alert, for instance. The one who waits for the answer must hear of it.
            self.ended, self._failure = True, why
        return bool(self.buffer) or self.ended

    def _queued(self) -> int:
        """Returns the number of bytes that the kernel has not delivered yet, as far as it tells."""
        if fcntl is None or not hasattr(termios, "TIOCOUTQ"):
            return 0
        found = fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", found)[0])

    def _receive_raw(self) -> Optional[bytes]:
        """Returns the bytes that are there; None if there are none now."""
        try:
            return self.sock.recv(PIECE_BYTES)
        except OSError as why:
            if not _own(why):
                raise
            if isinstance(why, BlockingIOError):
                return None
            raise (NoAnswer if self.answering else Dead)(_broken(why)) from why

    def _take(self, received: Optional[bytes]) -> None:
        """Puts received bytes into the buffer, decrypted."""
        if received is None:
            return
        if self.tls is None or not received:
            self.buffer += received
            self.ended = not received
            self.answering = self.answering or bool(received)
            return
        self._incoming.write(received)
        if self.tls.version() is None:
            return  # The handshake has not ended.
        try:
            while True:
                clear = self.tls.read(PIECE_BYTES)
                if not clear:
                    self.ended = True
                    return
                self.buffer += clear
                self.answering = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self.ended = True
        except ssl.SSLError as why:
            if any(alert in (why.reason or "") for alert in CERTIFICATE_ALERTS):
                text = f"the server rejected the client's certificate, or needs one: {_of_tls(why)}"
                raise NotSent(f"{text}: pass certificate and key", permanent=True) from why
            raise NoAnswer(f"no answer: TLS failed: {_of_tls(why)}") from why

    # --- closing

    def close(self) -> None:
        """Closes the socket."""
        self.sock.close()

    def forget(self) -> None:
        """Closes this process's descriptor, and says nothing to the server, whose peer is the
        parent process."""
        descriptor = self.sock.detach()
        if descriptor >= 0:
            os.close(descriptor)


def _broken(why: OSError) -> str:
    return f"no answer: {type(why).__name__}: {why}"


def _silent(silence: float) -> str:
    return f"no answer: no byte came or went for {silence:.3g} s"


def _of_tls(why: BaseException) -> str:
    message = getattr(why, "verify_message", "")
    reason = str(getattr(why, "reason", None) or why)
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return f"{reason}: the port does not speak TLS: write http://, or the port that does"
    if message:
        text = f"the server's certificate is not trusted: {message}"
        is_of_authority = getattr(why, "verify_code", 0) in AUTHORITY_UNKNOWN
        return f"{text}: pass ca, the PEM file of its authority" if is_of_authority else text
    return reason
