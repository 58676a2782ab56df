# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""What an attack gets: a worker to attack, guests to do it with, and an honest client to see whether it matters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from live import CODES, HALTED, Checks, Client, LiveWorker, Programs

SECOND = 1_000_000_000  # nanoseconds
MEBIBYTE = 1 << 20
MOST_CREDIT = 2**31 - 1


@dataclass
class Scene:
    checks: Checks
    programs: Programs
    guests: dict[str, bytes]
    worker: LiveWorker

    PROMPT = 3.0
    """Seconds in which an honest client must be served while somebody attacks; it takes some milliseconds."""

    def client(self, **options: Any) -> Client:
        return Client(self.worker.path, **options)

    def serve(self, seconds: float = 20.0) -> float:
        """A fresh client that behaves gets the classic example answered, by the process that was started. Returns how
        long that took."""
        begin = time.monotonic()
        with self.client(checked=True) as client:
            job = client.add(self.guests["add"])
            client.finish(job, seconds=seconds)
            if (job.outcome, bytes(job.output)) != (HALTED, b"4\n"):
                raise AssertionError(f"2 + 2 gave {bytes(job.output)!r} and {job.result or job.refusal}")
            if client.worker_pid != self.worker.process.pid or self.worker.process.poll() is not None:
                raise AssertionError(f"the worker is process {client.worker_pid}, was {self.worker.process.pid}")
        return time.monotonic() - begin

    def fatal(self, what: str, client: Client, code: str, seconds: float = 20.0) -> None:
        """The worker says this fatal error, then closes."""
        client.until_closed(seconds)
        self.checks.equal(what, client.fatal and client.fatal["code"], CODES[code])

    def still_good(self, client: Client) -> bool:
        """The same connection runs the classic example."""
        job = client.add(self.guests["add"])
        client.finish(job)
        return (job.outcome, bytes(job.output)) == (HALTED, b"4\n")

    def no_descriptor_left(self, what: str, before: int) -> None:
        """The worker holds as many descriptors as before, those of machines aside, or comes back to that while it serves.
        One connection may be on its way in or out."""
        after, patience = self.worker.descriptors(), time.monotonic() + 20.0
        while after > before + 1 and time.monotonic() < patience:
            self.serve()
            after = self.worker.descriptors()
        self.checks.that(f"{what}: no descriptor is left", after <= before + 1, f"{before}, then {after}")

    def memory(self, what: str, before: int, most: int) -> None:
        """The peak of resident memory since `before` was read is at most so many KiB above it."""
        grown = self.worker.status("VmHWM") - before
        seen = f"{grown:+,} KiB on {before:,}, bound {most:,}"
        self.checks.that(f"{what}: resident memory is bounded", grown <= most, seen)


Attack = Callable[[Scene], None]
