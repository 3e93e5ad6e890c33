"""Session tokens: what a client has committed and seen, in a text of bounded size.

Two transactions at once continue one token in two ways, and a replay starts a new one. So tokens
are merged; `shim/clients/vectors.json` has results on which all clients agree.
"""

from __future__ import annotations

import base64
from typing import Dict, List, NamedTuple, Tuple

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


class Session(NamedTuple):
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


def _parse_session(token: str) -> Session:
    raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    prefix = SESSION_PREFIX_LEN.get(raw[0] if raw else 0, 0)
    if prefix == 0 or len(raw) < prefix:
        raise ValueError("the text is not a session token of format 2 or 3")
    entries = [raw[at:at + SESSION_ENTRY_LEN] for at in range(prefix, len(raw), SESSION_ENTRY_LEN)]
    if any(len(entry) != SESSION_ENTRY_LEN or entry[-1] > 1 for entry in entries):
        raise ValueError("the text is not a session token: its commits are not readable")
    fresh, through, mixed = (int.from_bytes(raw[at:at + 8], "big") if at < prefix else 0 for at in (1, 9, 17))
    return Session(fresh, through, mixed, entries)


def _merge_through(one: Session, other: Session) -> Tuple[int, int]:
    """Returns the node through which both were seen, and the time after which that counts.

    By that time all nodes show what was seen through the other node.
    """
    mixed = max(one.mixed, other.mixed)
    empty = Session(0, 0, 0, [])
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


