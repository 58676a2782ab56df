# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The client for asyncio. Any number of tasks may use it at once; whoever does not read a job's output holds up that
job only.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Optional, cast

from . import messages, state
from .conversation import REQUESTS
from .core import HANDSHAKE_SECONDS, WINDOW
from .errors import ConnectError, KVMJobError
from .messages import Fields
from .model import (
    Acceptance, Channel, Chunk, Completed, Counters, DetachedJob, Forgotten, JobSpec, ListedJob, Pause, Result, Tenant,
    WorkerStatus, WorkerTerms,
)  # fmt: skip


class AsyncJob(state.Job):
    """A job on its way. To iterate over it is to read its output.

    It is cancelled when a task is cancelled that waits for it, and as a context unless it is over at the end.
    """

    def __init__(self, client: AsyncClient) -> None:
        super().__init__(client._core)
        self._client = client
        self._news = asyncio.Event()

    def __aiter__(self) -> AsyncJob:
        return self

    async def __anext__(self) -> Chunk:
        """The next chunk; the iteration ends when the job is over or paused (`paused` tells which)."""
        await self._until(lambda: self._has_news)
        chunk = self._next_chunk()
        self._client._flush()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def result(self) -> Result:
        """How it ended. Output that nobody has read is dropped. Raises why it has no result: ConnectionLost, say."""
        self._drop()
        self._client._flush()
        await self._until(lambda: self.is_over)
        return self._result()

    async def collect(self) -> Completed:
        """Reads everything up to its end, however much that is: set a limit of output."""
        collection = state.Collection()
        while True:
            async for chunk in self:
                collection.add(chunk)
            if self.is_over:
                return collection.completed(self._result())
            await self._until(lambda: self.paused is None or self.is_over)

    async def pause(self) -> Optional[Pause]:
        """Waits until it is paused, and drops its output until then; None if it ended instead."""
        async for _ in self:
            pass
        return self.paused

    async def write(self, data: bytes) -> None:
        """Types into a job that was submitted with `more_input`. Waits while the guest has as much as the worker keeps
        for it.
        """
        self._core.write(self._number, data)
        self._client._flush()
        await self._until(lambda: self._core.unwritten(self._number) == 0)

    def end_input(self) -> None:
        super().end_input()
        self._client._flush()

    def extend(self, steps: int) -> None:
        super().extend(steps)
        self._news.set()
        self._client._flush()

    def cancel(self) -> None:
        super().cancel()
        self._client._flush()

    def leave(self) -> None:
        super().leave()
        self._client._flush()

    async def _until(self, condition: Callable[[], bool]) -> None:
        try:
            while not condition():
                self._news.clear()
                await self._news.wait()
        except asyncio.CancelledError:
            self._let_go()
            raise

    async def __aenter__(self) -> AsyncJob:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._let_go()


class AsyncClient(state.Connection, asyncio.Protocol):
    """A connection to a worker, from `await AsyncClient.connect()`. Its end is the end of its jobs."""

    def __init__(self, window: int = WINDOW) -> None:
        super().__init__(window)
        self._transport: Optional[asyncio.Transport] = None
        self._may_write = True
        self._changed = asyncio.Event()  # of what is no job's
        self._waiters: deque[asyncio.Future[Fields]] = deque()
        self._turn = asyncio.Semaphore(REQUESTS)

    @classmethod
    async def connect(cls, path: Optional[str] = None, *, window: int = WINDOW) -> AsyncClient:
        """Connects to the worker at a path; by default `$KVMJOB_SOCKET`, else the service's. Raises ConnectError."""
        path = path or state.default_path()
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_unix_connection(lambda: cls(window), path)
        except OSError as error:
            raise ConnectError(f"no worker answers at {path}: {error.strerror or error}") from error
        try:
            told = client._until(lambda: client._core.terms is not None or client.leaving is not None)
            await asyncio.wait_for(told, HANDSHAKE_SECONDS)
            if client._core.terms is None and client.leaving and client.leaving.error:
                raise client.leaving.error
        except asyncio.TimeoutError:
            client.close()
            raise ConnectError(f"the worker at {path} says nothing") from None
        except BaseException:
            client.close()
            raise
        return client

    @property
    def terms(self) -> WorkerTerms:
        """What the worker said of itself at the beginning."""
        assert self._core.terms
        return self._core.terms

    # Jobs

    async def submit(self, spec: JobSpec, input: Optional[bytes] = None, *, more_input: bool = False) -> AsyncJob:
        """Submits a job and returns when it is accepted. Raises Refused.

        `input` is all that is typed; with `more_input` the rest comes by `write` and `end_input`.
        """
        job = AsyncJob(self)
        self._add(job, self._core.submit(spec, input, more_input))
        self._flush()
        await job._until(lambda: job._is_known)
        job._answer()
        return job

    async def run(self, spec: JobSpec, input: Optional[bytes] = None) -> Completed:
        """Submits a job, and waits for its end with all its output."""
        async with await self.submit(spec, input) as job:
            return await job.collect()

    async def detach(self, spec: JobSpec, input: Optional[bytes] = None, *, key: Optional[str] = None) -> Acceptance:
        """Hands a job over: it goes on without this connection, survives the worker, and is kept until it is forgotten.

        Submitting again with the same key means the same job: then the acceptance says `repeated`. Raises Refused.
        """
        job = AsyncJob(self)
        job._is_detached = True
        self._add(job, self._core.detach(spec, input, key))
        self._flush()
        await job._until(lambda: job._is_known)
        job._answer()
        assert job.acceptance
        return job.acceptance

    async def attach(
        self,
        id: int,
        *,
        run: Optional[int] = None,
        offsets: Optional[Mapping[Channel, int]] = None,
        output: bool = True,
        follow: bool = True,
    ) -> AsyncJob:
        """Attaches to a detached job by its id. Its output comes from the offsets on, which are of a run; then its
        result.

        Without `follow` only what there is now: then, if the job has not ended, `result()` raises Left. As a context
        that is left, and where a task is cancelled, it is let go of and goes on. Raises Refused.
        """
        job = AsyncJob(self)
        self._add(job, self._core.attach(messages.attachment_request(id, run, offsets, output, follow)))
        self._flush()
        await job._until(lambda: job._is_known)
        job._answer()
        return job

    async def detached(self) -> list[DetachedJob]:
        """The detached jobs that the worker keeps."""
        return [messages.detached_job(row) for row in await self._ask_for_all(5, "detached_list", "id")]

    async def forget(self, ids: Sequence[int]) -> list[Forgotten]:
        """Drops detached jobs that have ended, with their output and results; what became of each."""
        answer = await self._request(lambda: self._core.stop({"forget": [str(id) for id in ids]}))
        return [Forgotten(row) for row in answer["forgotten"]]

    # The worker

    async def worker(self) -> WorkerStatus:
        """What the worker is doing."""
        return messages.worker_status(await self._ask(1))

    async def tenants(self) -> list[Tenant]:
        """The users that have connections or jobs: an operator sees all, others themselves."""
        return [messages.tenant(row) for row in await self._ask_for_all(2, "tenant_list", "user")]

    async def jobs(self) -> list[ListedJob]:
        """Jobs of all connections, by the worker's ids."""
        return [messages.listed_job(row) for row in await self._ask_for_all(3, "job_list", "id")]

    async def counters(self) -> Counters:
        """What the worker has counted since it started."""
        return messages.counters(await self._ask(4))

    async def stop(self, ids: Sequence[int]) -> list[bool]:
        """Stops jobs by the worker's ids; of each whether it was there to be stopped."""
        answer = await self._request(lambda: self._core.stop({"jobs": [str(id) for id in ids]}))
        return [row == 1 for row in answer["jobs"]]

    async def drain(self) -> bool:
        """Tells the worker to end what it has and to leave; False if only an operator may."""
        return bool((await self._request(lambda: self._core.stop({"worker": True})))["drains"])

    async def ping(self) -> float:
        """Seconds until the worker has answered."""
        began, count = time.monotonic(), self._ponged
        self._core.ping(b"\0" * 8)
        self._flush()
        await self._until(lambda: self._ponged > count)
        return time.monotonic() - began

    async def _ask(self, what: int, after: Optional[int] = None) -> Fields:
        return await self._request(lambda: self._core.query(what, after))

    async def _ask_for_all(self, what: int, rows: str, key: str) -> list[Fields]:
        found: list[Fields] = []
        while True:
            answer = await self._ask(what, int(found[-1][key]) if found else None)
            found += answer[rows]
            if not answer["more"]:
                return found

    async def _request(self, ask: Callable[[], None]) -> Fields:
        await self._turn.acquire()
        answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda _: self._turn.release())
        try:
            ask()
        except KVMJobError:
            answer.cancel()
            raise
        self._waiters.append(answer)
        self._flush()
        return await asyncio.shield(answer)  # what is answered to one who has given up is nobody else's

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._core.receive(data):
            job = self._take(event)
            if job:
                cast(AsyncJob, job)._news.set()
        while self._answers:
            self._waiters.popleft().set_result(self._answers.popleft())
        self._changed.set()
        self._flush()
        if self._core.failure:
            self._end(self._core.failure)

    def connection_lost(self, error: Optional[Exception]) -> None:
        self._end(self._core.receive_end())

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._flush()

    def _flush(self) -> None:
        """Hands the transport what it has room for."""
        if self._transport is None or self._transport.is_closing():
            return
        while self._may_write and (data := self._core.data_to_send()):
            self._transport.write(data)

    def _end(self, reason: KVMJobError) -> None:
        for job in self._lose(reason):
            cast(AsyncJob, job)._news.set()
        for waiter in self._waiters:
            waiter.set_exception(reason)
            waiter.exception()  # somebody who gave up does not fetch it
        self._waiters.clear()
        self._changed.set()
        if self._transport:
            self._transport.close()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._core.failure:
                raise self._core.failure
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Closes the connection: jobs that are not over are cancelled."""
        if self._transport:
            self._transport.close()
        self._end(self._core.receive_end())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
