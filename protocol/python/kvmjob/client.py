# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The client for programs without an event loop. It belongs to one thread at a time, and works only while one of its
methods runs: whoever reads nothing holds up the worker and, in the end, the guest.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Optional

from . import messages, state
from .core import HANDSHAKE_SECONDS, WINDOW
from .errors import ConnectError, KVMJobError
from .messages import Fields
from .model import (
    Acceptance, Channel, Chunk, Completed, Counters, DetachedJob, Forgotten, JobSpec, ListedJob, Pause, Result, Tenant,
    WorkerStatus, WorkerTerms,
)  # fmt: skip

READ_BYTES = 262_144


class Job(state.Job):
    """A job on its way. To iterate over it is to read its output.

    As a context, and as an iteration that is closed before its end, it is cancelled unless it is over.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client._core)
        self._client = client

    def __iter__(self) -> Iterator[Chunk]:
        """Chunks of output as they come, until the job is over or paused (`paused` tells which)."""
        try:
            while True:
                self._client._until(lambda: self._has_news)
                chunk = self._next_chunk()
                if chunk is None:
                    return
                yield chunk
        except (GeneratorExit, KeyboardInterrupt):
            self._let_go()
            self._client._write_some()
            raise

    def result(self) -> Result:
        """How it ended. Output that nobody has read is dropped. Raises why it has no result: ConnectionLost, say."""
        self._drop()
        self._client._until(lambda: self.is_over)
        return self._result()

    def collect(self) -> Completed:
        """Reads everything up to its end, however much that is: set a limit of output."""
        collection = state.Collection()
        while True:
            for chunk in self:
                collection.add(chunk)
            if self.is_over:
                return collection.completed(self._result())
            self._client._until(lambda: self.paused is None or self.is_over)

    def pause(self) -> Optional[Pause]:
        """Waits until it is paused, and drops its output until then; None if it ended instead."""
        for _ in self:
            pass
        return self.paused

    def write(self, data: bytes) -> None:
        """Types into a job that was submitted with `more_input`. Waits while the guest has as much as the worker keeps
        for it.
        """
        self._core.write(self._number, data)
        self._client._until(lambda: self._core.unwritten(self._number) == 0)

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if not self.is_over:
            self._let_go()
            self._client._write_some()


class Client(state.Connection):
    """A connection to a worker. Its end is the end of its jobs."""

    def __init__(self, path: Optional[str] = None, *, window: int = WINDOW) -> None:
        """Connects to the worker at a path; by default `$KVMJOB_SOCKET`, else the service's. Raises ConnectError."""
        super().__init__(window)
        path = path or state.default_path()
        self._socket = socket.socket(socket.AF_UNIX)
        self._unsent = memoryview(b"")
        self._poll = select.poll()
        try:
            self._socket.connect(path)
            self._socket.setblocking(False)
            self._greet(path)
        except OSError as error:
            self._socket.close()
            raise ConnectError(f"no worker answers at {path}: {error.strerror}") from error
        except KVMJobError:
            self._socket.close()
            raise

    def _greet(self, path: str) -> None:
        if not self._until(lambda: self._core.terms is not None or self.leaving is not None, HANDSHAKE_SECONDS):
            raise ConnectError(f"the worker at {path} says nothing")
        if self._core.terms is None and self.leaving and self.leaving.error:
            raise self.leaving.error

    @property
    def terms(self) -> WorkerTerms:
        """What the worker said of itself at the beginning."""
        assert self._core.terms
        return self._core.terms

    # Jobs

    def submit(self, spec: JobSpec, input: Optional[bytes] = None, *, more_input: bool = False) -> Job:
        """Submits a job and returns when it is accepted. Raises Refused.

        `input` is all that is typed; with `more_input` the rest comes by `write` and `end_input`.
        """
        job = Job(self)
        self._add(job, self._core.submit(spec, input, more_input))
        self._until(lambda: job._is_known)
        job._answer()
        return job

    def run(self, spec: JobSpec, input: Optional[bytes] = None) -> Completed:
        """Submits a job, and waits for its end with all its output."""
        with self.submit(spec, input) as job:
            return job.collect()

    def detach(self, spec: JobSpec, input: Optional[bytes] = None, *, key: Optional[str] = None) -> Acceptance:
        """Hands a job over: it goes on without this connection, survives the worker, and is kept until it is forgotten.

        Submitting again with the same key means the same job: then the acceptance says `repeated`. Raises Refused.
        """
        job = Job(self)
        job._is_detached = True
        self._add(job, self._core.detach(spec, input, key))
        self._until(lambda: job._is_known)
        job._answer()
        assert job.acceptance
        return job.acceptance

    def attach(
        self,
        id: int,
        *,
        run: Optional[int] = None,
        offsets: Optional[Mapping[Channel, int]] = None,
        output: bool = True,
        follow: bool = True,
    ) -> Job:
        """Attaches to a detached job by its id. Its output comes from the offsets on, which are of a run; then its
        result.

        Without `follow` only what there is now: then, if the job has not ended, `result()` raises Left. As a context
        that is left, and where a task is cancelled, it is let go of and goes on. Raises Refused.
        """
        job = Job(self)
        self._add(job, self._core.attach(messages.attachment_request(id, run, offsets, output, follow)))
        self._until(lambda: job._is_known)
        job._answer()
        return job

    def detached(self) -> list[DetachedJob]:
        """The detached jobs that the worker keeps."""
        return [messages.detached_job(row) for row in self._ask_for_all(5, "detached_list", "id")]

    def forget(self, ids: Sequence[int]) -> list[Forgotten]:
        """Drops detached jobs that have ended, with their output and results; what became of each."""
        answer = self._request(lambda: self._core.stop({"forget": [str(id) for id in ids]}))
        return [Forgotten(row) for row in answer["forgotten"]]

    # The worker

    def worker(self) -> WorkerStatus:
        """What the worker is doing."""
        return messages.worker_status(self._ask(1))

    def tenants(self) -> list[Tenant]:
        """The users that have connections or jobs: an operator sees all, others themselves."""
        return [messages.tenant(row) for row in self._ask_for_all(2, "tenant_list", "user")]

    def jobs(self) -> list[ListedJob]:
        """Jobs of all connections, by the worker's ids."""
        return [messages.listed_job(row) for row in self._ask_for_all(3, "job_list", "id")]

    def counters(self) -> Counters:
        """What the worker has counted since it started."""
        return messages.counters(self._ask(4))

    def stop(self, ids: Sequence[int]) -> list[bool]:
        """Stops jobs by the worker's ids; of each whether it was there to be stopped."""
        answer = self._request(lambda: self._core.stop({"jobs": [str(id) for id in ids]}))
        return [row == 1 for row in answer["jobs"]]

    def drain(self) -> bool:
        """Tells the worker to end what it has and to leave; False if only an operator may."""
        return bool(self._request(lambda: self._core.stop({"worker": True}))["drains"])

    def ping(self) -> float:
        """Seconds until the worker has answered."""
        began, count = time.monotonic(), self._ponged
        self._core.ping(b"\0" * 8)
        self._until(lambda: self._ponged > count)
        return time.monotonic() - began

    def _ask(self, what: int, after: Optional[int] = None) -> Fields:
        return self._request(lambda: self._core.query(what, after))

    def _ask_for_all(self, what: int, rows: str, key: str) -> Iterator[Fields]:
        after: Optional[int] = None
        while True:
            answer = self._ask(what, after)
            yield from answer[rows]
            if not answer["more"]:
                return
            after = int(answer[rows][-1][key])

    def _request(self, ask: Callable[[], None]) -> Fields:
        ask()
        self._asked += 1
        self._until(lambda: self._answered == self._asked)
        # Before it there may be those to questions that an exception interrupted.
        answer = self._answers[-1]
        self._answers.clear()
        return answer

    # Waiting

    def _until(self, condition: Callable[[], bool], seconds: Optional[float] = None) -> bool:
        """Writes and reads until the condition holds; whether it did in time. Raises why the connection is over."""
        end = None if seconds is None else time.monotonic() + seconds
        while not condition():
            if self._core.failure:
                raise self._core.failure
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._step(left)
        self._write_some()
        return True

    def _step(self, seconds: Optional[float]) -> None:
        wants = select.POLLIN | (select.POLLOUT if self._unsent or self._core.has_data_to_send else 0)
        self._poll.register(self._socket, wants)
        for _, events in self._poll.poll(None if seconds is None else seconds * 1000):
            if events & select.POLLOUT:
                self._write_some()
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._read_some()

    def _write_some(self) -> None:
        """Writes what the socket has room for."""
        try:
            while self._unsent or self._core.has_data_to_send:
                if not self._unsent:
                    self._unsent = memoryview(self._core.data_to_send())
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._unsent = memoryview(b"")  # what the worker said before it closed can still be read

    def _read_some(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        for event in self._core.receive(data):
            self._take(event)
        if not data or self._core.failure:
            self._write_some()
            self._lose(self._core.receive_end())

    def close(self) -> None:
        """Closes the connection: jobs that are not over are cancelled."""
        self._socket.close()
        self._lose(self._core.receive_end())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
