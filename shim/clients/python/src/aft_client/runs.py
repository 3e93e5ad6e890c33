"""The attempts of one request, one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, List, Optional, Tuple, Union

from .attempt import Attempt, follows
from .errors import FAILURES, AftError, InProgress, NoAnswer, Retry, Unknown, harmless
from .options import Request
from .transport import opens
from .values import Ran, from_base64

if TYPE_CHECKING:
    from .core import Core

# The most times that a commit is sent if the request has an ID. After that a new attempt finds out
# as much, and makes progress.
COMMIT_AGAIN_MAX = 3


class Run:
    """The attempts of one request, one after the other.

    A named request may run again while a commit is in doubt, because one commit record decides for
    all attempts: the next opening, or the next commit, is answered with the winner's result.
    """

    def __init__(self, core: Core, request: Request) -> None:
        self.core, self.request = core, request
        self.pace = core.pace(request.seconds)
        self.attempts = 0
        # The number of attempts that failed with a conflict.
        self.conflicts = 0
        # True if an attempt of this run may still be open. Waiting for it would mean waiting for
        # its deadline, so the next attempt runs beside it.
        self.beside = False
        # The attempts that may have committed, each with the error that left it in doubt.
        self.doubts: List[Tuple[Attempt, AftError]] = []

    def may_go_on(self) -> bool:
        """Returns True if another attempt is allowed."""
        return self.attempts < self.core.settings.attempts_max

    async def open(self, by_hand: bool = False) -> Union[Attempt, Ran]:
        """Opens an attempt. Returns the outcome instead if the request has committed."""
        while True:
            message = self.request.begin(self.core.settings, self.core.session, self.pace, self.beside, self.conflicts)
            try:
                reply = await self.core.post("/v1/transactions", message, opens(len(self.request.reads)),
                                             silence=self.pace.silence())
                if reply.get("replayed"):
                    self.core.committed(reply.get("session"))
                    result = from_base64(reply.get("result"))
                    return self._replay(reply.get("version"), result, reply.get("result_size"))
                self.attempts += 1
                self.beside = True
                return Attempt(self.core, self.request, reply, pace=None if by_hand else self.pace)
            except FAILURES as why:
                self.beside = self.beside or isinstance(why, NoAnswer)
                error = harmless(why)._about(self.request.id, None)
            if not await self.pace.pause(error, error.retryable or isinstance(error, InProgress)):
                return await self.give_up(error)

    def _replay(self, version: Optional[str], result: bytes, result_size: Optional[int]) -> Ran:
        """Returns the outcome of a commit that was found.

        It is a replay unless the commit is one of this run's attempts in doubt.
        """
        own = any(attempt.committed_as(version) for attempt, _ in self.doubts)
        return Ran(result, not own, version, result_size, self.attempts)

    async def failed(self, opened: Attempt, own: Exception) -> Optional[Ran]:
        """Ends an attempt whose function raised `own`. Returns None if another attempt has to run.

        If a call of the transaction failed in a way that another attempt may not, run again: the
        function's exception is likely to follow from it. Otherwise raise it, but only if no earlier
        attempt has committed.
        """
        if opened.interrupted is not None and follows(own, opened.interrupted):
            # A time limit of the caller, for instance.
            await opened.abort_quietly(at_once=True)
            raise own
        # A limit of the caller may be an OSError: TimeoutError is one. A call has not failed with
        # it.
        at_once, doomed = isinstance(own, OSError), opened.doomed
        await opened.abort_quietly(at_once)
        if doomed is not None and (not at_once or follows(own, doomed)):
            if await self.pace.pause(doomed, self.may_go_on()):
                return None
            if own is doomed:
                self.pace.last(doomed)
        found = await self.clear_doubts()
        if found is None:
            raise own
        if isinstance(found, Ran):
            return found
        raise found from own

    async def commit(self, attempt: Attempt, result: bytes) -> Optional[Ran]:
        """Commits an attempt. Returns None if another attempt has to run."""
        named = self.request.id is not None
        try:
            ran = await attempt.settle(result, self.pace, COMMIT_AGAIN_MAX if named else None)
            if ran.replayed:
                return self._replay(ran.version, ran.result, ran.result_size)
            return replace(ran, attempts=self.attempts)
        except AftError as why:
            error = why
        self.conflicts += error.code == "conflict"
        if isinstance(error, Unknown):
            if not named:
                # Without a request ID a second attempt could commit the same request twice.
                raise error
            self.doubts.append((attempt, error))
        again = error.retryable or isinstance(error, Unknown)
        if await self.pace.pause(error, again and self.may_go_on()):
            return None
        return await self.give_up(error)

    async def give_up(self, error: AftError) -> Ran:
        """Ends the run with `error`, unless a commit in doubt has taken effect, or stays in
        doubt."""
        self.pace.last(error)
        found = await self.clear_doubts()
        if isinstance(found, Ran):
            return found
        if found is None and isinstance(error, Unknown):
            raise Retry("every attempt was aborted: nothing was committed")._about(self.request.id, None)
        raise found or self.core.told(error)

    async def clear_doubts(self) -> Union[None, Ran, AftError]:
        """Aborts the attempts in doubt, since an aborted transaction never commits.

        If that fails for one, looks the request up until it is found or the time is over. Returns
        None if no attempt has committed, the outcome if one has, and the error if that stays
        unknown.
        """
        left = []
        for attempt, why in self.doubts:
            try:
                if self.pace.grace() <= 0:
                    raise NoAnswer("the time is over")
                await attempt.send_abort(self.pace.grace())
            except FAILURES:
                left.append((attempt, why))
        self.doubts = left
        while self.doubts:
            doubt = self.doubts[-1][1]
            try:
                if self.pace.grace() > 0:
                    found = await self.core.look_up(self.request, self.pace.grace())
                    if found is not None:
                        return self._replay(found.version, found.result, found.result_size)
            except AftError:
                pass
            if not await self.pace.pause(doubt):
                return doubt
        return None
