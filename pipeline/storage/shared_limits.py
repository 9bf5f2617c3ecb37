"""Limits that the runs of a user on this machine share: one lane file for each endpoint, key and model.

A run alone works on its own memory and looks at one byte of the file for each request. When a second one comes, the
first puts its lane into the file within a quarter of a second, and both work on it there; the last to stay takes the
lane back. Limits learnt from headers, pauses and the lower rate after a refusal are part of the lane.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.core.bucket import TokenBucket
from pipeline.core.fairness import PATIENCE, Member, credited, is_ahead
from pipeline.core.lane import Charge, Lane
from pipeline.core.limits import Limits
from pipeline.errors import PipelineError
from pipeline.storage.filesystem import NETWORK, type_of
from pipeline.storage.lane_file import LaneFile
from pipeline.storage.local_secret import read_local_secret
from pipeline.storage.state import make_private
from pipeline.storage.usage import UsageLogError, usage_log_path
from pipeline.types import RateLimits

_LOOK = 0.1
"""The most seconds between two looks at a lane that others change too."""
_SOON = 0.01
"""Seconds to the next look where another run must go first, or has not yet put its lane into the file."""
_PUBLICATION = 1.0
"""Seconds within which the other run does so, unless it has been stopped."""


class SharedLane(Lane):
    """A lane that works on the file while there are other runs, and else as any lane does.

    Args:
        rpm: The configured limit of this run. Where the runs' differ, the highest is shared and each keeps to its own.
        tpm: The same for tokens.
        give_up: Called when the file fails; from then on the lane is this run's own.
    """

    __slots__ = ("_caps", "_configured", "_file", "_give_up", "_had", "_is_member", "_is_own", "_publication_until")

    def __init__(
        self, rpm: int | None, tpm: int | None, now: float, file: LaneFile, give_up: Callable[[Exception], None]
    ) -> None:
        super().__init__(rpm, tpm, now)
        self._configured = rpm, tpm
        self._caps = TokenBucket(rpm, now), TokenBucket(tpm, now)
        self._file: LaneFile | None = file
        self._give_up = give_up
        self._had = 0.0
        self._is_own = file.found_empty
        """Whether the lane is in this run's memory, and no other run has one."""
        self._is_member = False
        """Whether the lane is in the file. Neither, as long as another run has not yet put it there."""
        self._publication_until = now + _PUBLICATION

    @property
    def runs(self) -> int:
        # Where somebody removed the files of this run, the others do not count it.
        return 1 if self._file is None else max(1, self._file.count)

    def wait(self, tokens: int, now: float) -> float:
        if self._is_alone():
            return super().wait(tokens, now)
        with self._step(now):
            return self._wait_for_turn(tokens, now)

    def claim(self, tokens: int, now: float) -> Charge | None:
        if self._is_alone():
            return self.take(tokens, now)
        with self._step(now):
            if self._wait_for_turn(tokens, now) > 0:
                return None
            charge = self.take(tokens, now)
            if self._is_member:
                self._count(tokens, now)
            return charge

    def served(self, charge: Charge, used: int | None, limits: RateLimits | None, now: float) -> None:
        if self._is_alone():
            super().served(charge, used, limits, now)
            return
        with self._step(now):
            super().served(charge, used, limits, now)
            if used is not None:
                self._recount_tokens(charge, used, now)

    def failed(self, charge: Charge, limits: RateLimits | None, now: float) -> None:
        with self._step(now):
            super().failed(charge, limits, now)

    def unsent(self, charge: Charge, now: float) -> None:
        with self._step(now):
            super().unsent(charge, now)
            self._caps[0].settle(charge.requests, 0, now)
            self._recount_tokens(charge, 0, now)

    def refused(self, charge: Charge, limits: RateLimits | None, now: float) -> None:
        with self._step(now):
            super().refused(charge, limits, now)
            self._recount_tokens(charge, 0, now)

    def pause(self, charge: Charge, hint: float | None, jitter: float, now: float, *, ramp: bool = False) -> float:
        with self._step(now):
            return super().pause(charge, hint, jitter, now, ramp=ramp)

    def hold(self, until: float, tokens: float, now: float) -> None:
        with self._step(now):
            super().hold(until, tokens, now)

    def utilisation(self, now: float) -> float:
        """As of any lane; of what the other runs use it is taken that it is as much as this one does."""
        runs = self._file.count if self._file is not None and self._is_member else 1
        return super().utilisation(now) * runs

    def refresh(self, now: float) -> None:
        """See whether other runs have come or gone."""
        if self._is_alone():
            return
        with self._step(now):
            if self._file is not None:
                known = self._file.count
                if self._file.recount() < known:
                    self.forget_probes()

    def close(self) -> None:
        """Take part no more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _is_alone(self) -> bool:
        return self._file is None or (self._is_own and self._file.count == 1)

    @contextlib.contextmanager
    def _step(self, now: float) -> Iterator[None]:
        """Work on the lane in the file, where it is there."""
        file = self._file
        if file is None or self._is_alone():
            yield
            return
        try:
            file.lock()
        except OSError as error:
            self.close()
            self._part(now)
            self._give_up(error)
            yield
            return
        try:
            self._load(file, now)
            yield
            if self._is_member:
                file.write(self.state())
        finally:
            file.unlock()

    def _load(self, file: LaneFile, now: float) -> None:
        state = file.read()
        if state is None:
            if self._is_own or now >= self._publication_until:
                self._join(file)
            elif file.recount() == 1:
                self._is_own = True
            return
        paused_until = self.paused_until
        self.restore(state)
        if not self._is_member:
            self._join(file)
            self._hold(paused_until, 0.0, now)
            self.requests.agree(self._configured[0], now)
            self.tokens.agree(self._configured[1], now)
        elif file.count == 1:
            file.withdraw()
            self._part(now)

    def _join(self, file: LaneFile) -> None:
        self._is_own, self._is_member = False, True
        self._had = max(other.had for other in file.others())
        file.say(Member(self._had, 0.0))

    def _part(self, now: float) -> None:
        """Go on without the other runs."""
        self._is_own, self._is_member = True, False
        self.forget_probes()
        self.requests.keep_to(self._configured[0], now)
        self.tokens.keep_to(self._configured[1], now)

    def _wait_for_turn(self, tokens: int, now: float) -> float:
        file = self._file
        if file is None or self._is_own:
            return super().wait(tokens, now)
        if not self._is_member:
            return _SOON
        wait = super().wait(tokens, now)
        held_back = max(self._caps[0].wait(1, now), self._caps[1].wait(tokens, now))
        others = file.others()
        self._had = credited(self._had, others, now)
        if wait <= 0 and is_ahead(self._had, others, now):
            wait = _SOON
        # Who could go and does not, or may not for a reason of its own, holds nobody up.
        waits = wait > 0 and held_back <= 0
        file.say(Member(self._had, now + PATIENCE if waits else 0.0))
        return min(max(wait, held_back), _LOOK)

    def _recount_tokens(self, charge: Charge, used: int, now: float) -> None:
        self._caps[1].settle(charge.tokens, used, now)
        self._had += self.seconds(used) - self.seconds(round(charge.tokens.charge))

    def _count(self, tokens: int, now: float) -> None:
        self._had += self.seconds(tokens)
        self._caps[0].take(1, now)
        self._caps[1].take(tokens, now)
        if self._file is not None:
            self._file.say(Member(self._had, 0.0))


class SharedLimits:
    """Makes the lanes of one run.

    Args:
        environ: Says where the user's state is.
        account: What the limits belong to: base URL, key, organization, project.
        remark: Told once why limits are not shared, where they cannot be; each run then has them for itself.
    """

    def __init__(
        self, environ: Mapping[str, str], account: Sequence[str | None], remark: Callable[[str], None]
    ) -> None:
        self._environ = environ
        self._account = [part or "" for part in account]
        self._remark = remark
        self._place: tuple[Path, bytes] | None = None
        self._failed = False
        self._lanes: list[SharedLane] = []

    def lane(self, model: str, limits: Limits, now: float) -> Lane:
        """Return the lane of `model`, shared with the other runs where that can be done."""
        if not self._failed:
            try:
                lane = SharedLane(limits.rpm, limits.tpm, now, self._file(model), self._give_up)
            except (OSError, PipelineError, UsageLogError) as error:
                self._give_up(error)
            else:
                self._lanes.append(lane)
                return lane
        return Lane(limits.rpm, limits.tpm, now)

    def refresh(self, now: float) -> None:
        """See whether other runs have come or gone; call it every quarter of a second."""
        for lane in self._lanes:
            lane.refresh(now)

    def close(self) -> None:
        """Leave what is shared to the other runs."""
        for lane in self._lanes:
            lane.close()

    def _file(self, model: str) -> LaneFile:
        if self._place is None:
            directory = usage_log_path(self._environ).with_name("limits")
            make_private(directory)
            kind = type_of(directory)
            if kind in NETWORK:
                raise OSError(f"{directory} is on a network file system ({kind})")
            self._place = directory, read_local_secret(self._environ)
        directory, secret = self._place
        name = hmac.digest(secret, "\0".join([*self._account, model]).encode(), "sha256").hex()[:32]
        return LaneFile(directory / name)

    def _give_up(self, error: Exception) -> None:
        if not self._failed:
            self._remark(f"the limits are not shared with other runs of yours: {error}")
        self._failed = True
