"""The pauses between tries, and the time that a call has in all."""

from __future__ import annotations

import random
import time
from typing import Optional, Tuple

from .errors import AftError, InProgress
from .wire import World

# The first pause between tries, in seconds: a few round trips to a store.
PAUSE_S_FIRST = 0.010
# The longest pause that the client chooses, in seconds: short enough that a person who waits does
# not notice a stall.
PAUSE_S_MAX = 1.0
# The longest pause that a server may ask for, in seconds: above the values that servers send, far
# below a run's time.
ASKED_S_MAX = 5.0
# The shortest time in seconds for which another try is worth while: a few round trips. A try that
# is bound to run out of time would hide the failure before it.
TRY_S_MIN = 0.05
# The limit of silence, in seconds, of a call that begins after the time is over: the function of a
# run is not interrupted, and its attempt may still commit.
LATE_S_MAX = 1.0
# The time in seconds, after all is over, in which a commit in doubt is settled.
GRACE_S_MAX = 0.25


def pause_range(nth: int, in_progress: bool, asked_ms: Optional[int]) -> Tuple[float, float]:
    """Returns the shortest and the longest pause in seconds after `nth` earlier failures.

    `asked_ms` is the pause that the server asked for, in milliseconds.
    """
    own = min(PAUSE_S_FIRST * 2 ** min(nth, 20), PAUSE_S_MAX)
    if asked_ms is None:
        return own / 2, own
    asked = asked_ms / 1000
    if in_progress:
        # The server named the latest end of the other attempt, which is likely to end earlier.
        return min(own, asked) / 2, min(own, asked)
    # An earlier try is useless. The random part spreads the clients that got the same answer.
    least = min(asked, ASKED_S_MAX)
    return max(least, own / 2), least + own


class Pace:
    """The pauses between tries: exponential back-off with jitter, within a total time."""

    def __init__(self, world: World, seconds: float) -> None:
        assert seconds >= 0, f"a pace of {seconds} s"
        self.world = world
        self.until = time.monotonic() + seconds
        #: The number of failures so far.
        self.failures = 0

    def remaining(self) -> float:
        """Returns the time that is left, in seconds."""
        return max(0.0, self.until - time.monotonic())

    def silence(self) -> float:
        """Returns the limit of silence of a call that begins now, in seconds."""
        return self.remaining() or LATE_S_MAX

    def grace(self) -> float:
        """Returns the limit of silence of a call that settles a doubt. It is 0 some time after the
        end."""
        return max(0.0, self.until + GRACE_S_MAX - time.monotonic())

    async def pause(self, after: AftError, again: bool = True) -> bool:
        """Counts a failure, and pauses after it.

        Returns False at once if there is no other try: without `again`, or if no time would be left
        for it after the pause.
        """
        pause = random.uniform(*pause_range(self.failures, isinstance(after, InProgress), after.retry_after_ms))
        self.failures += 1
        if not again or pause + TRY_S_MIN >= self.remaining():
            return False
        await self.world.sleep(pause)
        return True

    def last(self, error: AftError) -> AftError:
        """Returns an error that says how many failures there were."""
        return error._after(self.failures, "tries")
