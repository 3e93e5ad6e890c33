"""HTTP/1.1 messages: the head of a call, and an answer whose end is certain.

The end of the connection is never taken for the end of a head or a body: an answer must state its
length or be chunked, and one that was cut off raises NoAnswer.
"""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, Optional, Tuple

from .errors import Dead, NoAnswer, NotSent
from .wire import Wire

# The longest head of an answer: a session token takes 1 KiB, and proxies add some lines.
HEAD_BYTES_MAX = 64 << 10
# The bytes with which an answer begins.
_BEGIN = b"HTTP/"
# The longest line that begins a chunk.
CHUNK_LINE_BYTES_MAX = 4 << 10


def head_of(method: str, target: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Returns the head of a call."""
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n"]
    for name, value in headers.items():
        assert "\r" not in value and "\n" not in value, f"the header {name} has a line break"
        lines.append(f"{name}: {value}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode()


class Response:
    """An answer whose head has arrived, and whose body is read piece by piece."""

    def __init__(self, wire: Wire, method: str, head: bytes) -> None:
        self.wire = wire
        status_line, *lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?", status_line)
        if not found:
            raise NoAnswer(f"the answer is not HTTP/1.1: it begins with {status_line[:40]!r}")
        self.status, self.reason = int(found[2]), found[3] or ""
        self.headers: Dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            if not colon or not name or line[0] in " \t":
                raise NoAnswer(f"the answer has a malformed header: {line[:40]!r}")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        options = [option.strip() for option in self.headers.get("connection", "").lower().split(",")]
        #: True if the connection can take another call once the body is read.
        self.keeps = "close" not in options and (found[1] == "1" or "keep-alive" in options)
        # The bytes that are left of the body, or of the chunk; None while the body has no end.
        self._left: Optional[int]
        self._chunked = False
        #: True once the whole answer was read.
        self.complete = False
        self._plan(method)
        #: The length of the body in bytes; None if the answer does not state it.
        self.length = None if self._chunked else self._left

    def _plan(self, method: str) -> None:
        """Determines how the body ends (RFC 9112, section 6.3)."""
        if method == "HEAD" or self.status in (204, 304) or self.status < 200:
            self._left, self.complete = 0, True
            return
        coding = self.headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked":
                raise NoAnswer(f"the answer has the transfer encoding {coding!r}, which was not asked for")
            self._left, self._chunked = 0, True
            return
        lengths = {length.strip() for length in self.headers.get("content-length", "").split(",")}
        if len(lengths) != 1 or not re.fullmatch("[0-9]{1,18}", length := lengths.pop()):
            if self.status < 300:
                raise NoAnswer("the answer states no length, so that a broken connection could not be detected")
            # A refusal is one in any length. Its text, as far as it comes, is for people.
            self._left, self.keeps = None, False
            return
        self._left = int(length)
        self.complete = self._left == 0

    async def piece(self, most: int, silence: float) -> bytes:
        """Returns the next bytes of the body, at most `most`; none at its end. Raises NoAnswer."""
        buffer = self.wire.buffer
        if self._chunked and not self._left and not self.complete:
            await self._next_chunk(silence)
        if self.complete:
            return b""
        if not buffer and not await self.wire.fill(silence):
            if self._left is None:
                self.complete = True
                return b""
            raise NoAnswer(f"the answer is incomplete: the connection ended {self._left} bytes early")
        most = most if self._left is None else min(most, self._left)
        taken = bytes(buffer[:most])
        del buffer[:most]
        if self._left is not None:
            self._left -= len(taken)
            assert self._left >= 0, "a body is not longer than its length"
            if not self._chunked:
                self.complete = self._left == 0
            elif self._left == 0 and await self._line(silence) != b"":
                raise NoAnswer("the answer has a malformed chunk")
        return taken

    async def _next_chunk(self, silence: float) -> None:
        size = (await self._line(silence)).partition(b";")[0].strip()
        if not re.fullmatch(b"[0-9a-fA-F]{1,15}", size):
            raise NoAnswer("the answer has a malformed chunk")
        self._left = int(size, 16)
        if self._left == 0:
            while await self._line(silence):
                pass  # A trailer.
            self.complete = True

    async def _line(self, silence: float) -> bytes:
        buffer = self.wire.buffer
        while True:
            end = buffer.find(b"\r\n")
            if end >= 0:
                line = bytes(buffer[:end])
                del buffer[:end + 2]
                return line
            if len(buffer) > CHUNK_LINE_BYTES_MAX:
                raise NoAnswer("the answer has a malformed chunk")
            if not await self.wire.fill(silence):
                raise NoAnswer("the answer is incomplete: the connection ended within a chunked body")

    async def whole(self, most: int, silence: float) -> Tuple[bytes, bool]:
        """Returns the body, and False if it is longer than `most` bytes and was not read to its
        end."""
        first = await self.piece(most, silence)
        if self.complete:
            return first, True
        pieces: List[bytes] = [first]
        length = len(first)
        while length <= most:
            taken = await self.piece(1 << 20, silence)
            if not taken and self.complete:
                return b"".join(pieces), True
            pieces.append(taken)
            length += len(taken)
        return b"".join(pieces), False


async def receive(wire: Wire, method: str, silence: float) -> Response:
    """Waits for the head of an answer.

    Raises:
        Dead: The connection ended before the first byte.
        NoAnswer: There is no whole head.
        NotSent: The server speaks TLS, or something else than HTTP, and so has not understood the
            call.
    """
    interim = False
    while True:
        searched = 0
        while True:
            end = wire.buffer.find(b"\r\n\r\n", max(0, searched - 3))
            if end >= 0:
                break
            searched = len(wire.buffer)
            if wire.tls is None and wire.buffer[:2] == b"\x15\x03":
                raise NotSent("the server speaks TLS: write https:// in the URL", permanent=True)
            if not wire.reused and not interim and not _BEGIN.startswith(wire.buffer[:len(_BEGIN)]):
                # The first bytes on a connection: a server of another kind, which understands no
                # call. After an answer they could be a rest of it.
                raise NotSent("the server does not speak HTTP, so this is not AFT's answer: it begins with "
                              f"{bytes(wire.buffer[:40]).decode('latin-1')!r}; check the host and the port of the URL",
                              permanent=True)
            if searched > HEAD_BYTES_MAX:
                raise NoAnswer("the head of the answer is longer than 64 KiB")
            if not await wire.fill(silence):
                if searched == 0:
                    raise Dead("no answer: the server closed the connection")
                raise NoAnswer("the head of the answer is incomplete")
        head = bytes(wire.buffer[:end])
        del wire.buffer[:end + 4]
        response = Response(wire, method, head)
        if response.status >= 200:
            return response
        # An interim answer (100, 103): the answer follows.
        interim = True
