# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""What is known of a job and of a connection, without any way to wait: what both clients share."""

from __future__ import annotations

import os
from collections import deque
from typing import Optional

from .core import Answered, Core, Event, Greeted, Happening, Leaving, News, Ponged
from .errors import KVMJobError
from .messages import Fields
from .model import Acceptance, Attachment, Channel, Chunk, Completed, Pause, Result, Start
from .records import RecordStream, memory_value, trace_value

DEFAULT_PATH = "/run/kvmjob/kvmjobd.sock"


def default_path() -> str:
    """Where the worker listens: $KVMJOB_SOCKET, else the service's place."""
    return os.environ.get("KVMJOB_SOCKET") or DEFAULT_PATH


class Job:
    """A job, as far as the worker has told of it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._number = 0
        self._chunks: deque[Chunk] = deque()
        self._ending: Optional[News] = None
        self._is_detached = False
        self._drops = False  # nobody will read its output
        self.acceptance: Optional[Acceptance] = None
        self.attachment: Optional[Attachment] = None
        self.start: Optional[Start] = None
        self.paused: Optional[Pause] = None

    @property
    def id(self) -> Optional[int]:
        """The worker's own number for it, as in `kvmjob ps`."""
        return self.acceptance.id if self.acceptance else None

    @property
    def _is_known(self) -> bool:
        """Whether the worker has answered."""
        return self.acceptance is not None or self.attachment is not None or self.is_over

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it. Output can still be unread."""
        return self._ending is not None

    def cancel(self) -> None:
        """Asks the worker to end it; the result follows, `cancelled` unless it ended before. Output is dropped."""
        if not self.is_over:
            self._drop()
            self._core.cancel(self._number)

    def leave(self) -> None:
        """Lets go of a job that was attached to: it goes on, and has no result here. Its output is dropped."""
        if not self.is_over:
            self._drop()
            self._core.leave(self._number)

    def _let_go(self) -> None:
        """What is done for a reader who goes away."""
        if self.attachment is None:
            self.cancel()
        else:
            self.leave()

    def extend(self, steps: int) -> None:
        """Lets it go on after a pause, for so many steps; 0 ends it as steps-exhausted."""
        if self.paused and not self.is_over:
            self._core.extend(self._number, steps)
            self.paused = None

    def end_input(self) -> None:
        """Tells the guest that nothing more will be typed."""
        self._core.end_input(self._number)

    def _take(self, what: News) -> None:
        if isinstance(what, Chunk):
            if self._drops:
                self._core.consumed(self._number, len(what.data))
            else:
                self._chunks.append(what)
        elif isinstance(what, Acceptance):
            self.acceptance = what
            if self._is_detached:
                self._ending = what  # that is all that comes of it here
        elif isinstance(what, Attachment):
            self.attachment = what
        elif isinstance(what, Start):
            self.start = what
        elif isinstance(what, Pause):
            self.paused = what
        else:
            self._ending = what
            self.paused = None

    def _drop(self) -> None:
        self._drops = True
        while self._next_chunk():
            pass

    def _next_chunk(self) -> Optional[Chunk]:
        """Takes a chunk off the line, which in time lets the worker send another."""
        if not self._chunks:
            return None
        chunk = self._chunks.popleft()
        self._core.consumed(self._number, len(chunk.data))
        return chunk

    @property
    def _has_news(self) -> bool:
        """Whether an iteration has something to give, or to end for."""
        return bool(self._chunks) or self.is_over or self.paused is not None

    def _result(self) -> Result:
        if isinstance(self._ending, Result):
            return self._ending
        assert isinstance(self._ending, KVMJobError)
        raise self._ending

    def _answer(self) -> None:
        """Raises why the worker did not take it."""
        if isinstance(self._ending, KVMJobError) and self.acceptance is None and self.attachment is None:
            raise self._ending


class Collection:
    """A job's output put together."""

    def __init__(self) -> None:
        self.bytes = {channel: bytearray() for channel in (Channel.CONSOLE, Channel.ERRORS, Channel.PORT_WRITES)}
        self.records = {channel: RecordStream(channel) for channel in (Channel.MEMORY, Channel.TRACE)}

    def add(self, chunk: Chunk) -> None:
        if chunk.channel in self.bytes:
            self.bytes[chunk.channel] += chunk.data
        else:
            self.records[chunk.channel].feed(chunk.data)

    def completed(self, result: Result) -> Completed:
        return Completed(
            result,
            bytes(self.bytes[Channel.CONSOLE]),
            bytes(self.bytes[Channel.ERRORS]),
            bytes(self.bytes[Channel.PORT_WRITES]),
            tuple(map(memory_value, self.records[Channel.MEMORY].records)),
            tuple(map(trace_value, self.records[Channel.TRACE].records)),
        )


class Connection:
    """What has come over a connection."""

    def __init__(self, window: int) -> None:
        self._core = Core(window)
        self._jobs: dict[int, Job] = {}
        self._answers: deque[Fields] = deque()
        self._asked = 0  # requests so far
        self._answered = 0
        self._ponged = 0

    @property
    def leaving(self) -> Optional[Leaving]:
        """Set when the worker takes no more jobs."""
        return self._core.leaving

    def _take(self, event: Event) -> Optional[Job]:
        """Notes an event; the job that it is about, if any."""
        if isinstance(event, Happening):
            job = self._jobs.get(event.job)
            if job:
                job._take(event.what)
                if job.is_over:
                    del self._jobs[event.job]
            return job
        if isinstance(event, Answered):
            self._answers.append(event.fields)
            self._answered += 1
        elif isinstance(event, Ponged):
            self._ponged += 1
        else:
            assert isinstance(event, (Greeted, Leaving))
        return None

    def _lose(self, reason: KVMJobError) -> list[Job]:
        """The connection is over: every job that has no end yet gets this one."""
        lost = list(self._jobs.values())
        for job in lost:
            job._take(reason)
        self._jobs.clear()
        return lost

    def _add(self, job: Job, number: int) -> None:
        job._number = number
        self._jobs[number] = job
