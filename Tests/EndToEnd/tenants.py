#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Users who share a worker: real ones, whom the kernel names at the other end of a socket.

    tenants.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...

One keeps 10,000 jobs queued. Another's single jobs have to start within two turns of the slots, counted in jobs that end meanwhile;
he sees and stops nobody else's jobs, and his own limits are his own. Needs /dev/kvm and root, to become these users. Ends with the
line `N passed, N failed`. Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import traceback
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from live import CODES, HALTED, WALL_TIME_EXHAUSTED, Checks, Client, Frame, LiveWorker, Programs, did_not_run  # noqa: E402
from live import raise_descriptor_limit  # noqa: E402

SLOTS = 2
HOG, GUEST = 61001, 61002  # nobody's numbers
QUEUED = 10_000
JOBS_PER_CONNECTION = 256
ROUNDS = 20
HLT, ENDLESS = b"\xf4", b"\xeb\xfe"
JOB_NS = 20_000_000  # what one of the hog's jobs takes


class Watcher(Client):
    """A client that also asks how the worker is doing."""

    def __init__(self, path: str) -> None:
        self.answers: list[dict[str, Any]] = []
        super().__init__(path, checked=True)

    def take(self, frame: Frame) -> None:
        if frame.type in ("ANSWER", "STOPPED"):
            self.answers.append(frame.fields)
        super().take(frame)

    def ask(self, name: str = "QUERY", **fields: Any) -> dict[str, Any]:
        count = len(self.answers)
        self.send(Frame(name, 0, 0, fields))
        self.until(lambda: len(self.answers) > count, f"an answer to {name}")
        return self.answers[-1]

    def worker(self) -> dict[str, Any]:
        return self.ask(what=1)


class User:
    """A process of this user's that does something, and tells it in lines of JSON."""

    def __init__(self, number: int, act: Callable[[Callable[[Any], None]], None]) -> None:
        receive, send = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(receive)
            os.setgroups([])
            os.setgid(number)
            os.setuid(number)
            with os.fdopen(send, "w") as pipe:
                status = 1
                try:
                    act(lambda value: print(json.dumps(value), file=pipe, flush=True))
                    status = 0
                except BaseException:  # whatever it was, this process must not go on as its parent
                    traceback.print_exc()
                finally:
                    os._exit(status)
        os.close(send)
        self.pipe = os.fdopen(receive)

    def next(self) -> Any:
        return json.loads(self.pipe.readline() or "null")

    def end(self) -> int:
        self.pipe.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def hog(path: str) -> Callable[[Callable[[Any], None]], None]:
    """Keeps so many jobs queued, until it is killed."""

    def act(tell: Callable[[Any], None]) -> None:
        count = -(-(QUEUED + SLOTS) // JOBS_PER_CONNECTION) + 1
        clients = []
        for _ in range(count):
            client = Client(path)
            clients.append(client)
            for _ in range(JOBS_PER_CONNECTION):
                client.submit(ENDLESS, wall_budget=str(JOB_NS))
            client.until(lambda: all(job.accepted for job in client.jobs.values()), "acceptance")
        tell("full")
        while True:
            for client in clients:
                client.step(0.001)
                over = [number for number, job in client.jobs.items() if job.over]
                for number in over:
                    client.submit(ENDLESS, wall_budget=str(JOB_NS))
                    del client.jobs[number]

    return act


def guest(path: str) -> Callable[[Callable[[Any], None]], None]:
    """Submits single jobs, one after the other."""

    def act(tell: Callable[[Any], None]) -> None:
        with Watcher(path) as client:
            for number in range(ROUNDS):
                queued = client.worker()["queued"]
                job = client.submit(ENDLESS if number % 2 else HLT, wall_budget=str(JOB_NS))
                client.until(lambda: job.accepted, "acceptance")
                before = int(client.worker()["finished"])
                client.until(lambda: job.started, "start")
                after = int(client.worker()["finished"])
                client.finish(job)
                tell({"queued": queued, "turns": after - before, "outcome": job.outcome, "queue_ns": job.result["queue_ns"]})
            tell({"tenants": client.ask(what=2), "jobs": client.ask(what=3), "stop": client.ask("STOP", jobs=["1", "2"])})

    return act


def fairness(checks: Checks, worker: LiveWorker) -> None:
    hogger = User(HOG, hog(worker.path))
    try:
        checks.equal("one user has 10,000 jobs queued", hogger.next(), "full")
        single = User(GUEST, guest(worker.path))
        rounds = [single.next() for _ in range(ROUNDS)]
        last = single.next()
        checks.equal("another's jobs ended", single.end(), 0)
        checks.that("they stayed queued", min(one["queued"] for one in rounds) >= QUEUED - SLOTS, min(one["queued"] for one in rounds))
        turns = sorted(one["turns"] for one in rounds)
        # Counted at the client, which hears of a start some time after it: so the worst of them says less than the middle.
        what = "another's single jobs start within two turns of the slots"
        middle = turns[len(turns) // 2]
        checks.that(what, middle <= 2 * SLOTS and turns[-1] <= 10 * SLOTS, f"jobs that ended meanwhile, least to most: {turns}")
        waits = sorted(int(one["queue_ns"]) / JOB_NS for one in rounds)
        print(f"     waits in turns of {JOB_NS / 1e6:.0f} ms: median {waits[len(waits) // 2]:.2f}, most {waits[-1]:.2f}")
        outcomes = {one["outcome"] for one in rounds}
        checks.equal("and ends as it should", outcomes, {HALTED, WALL_TIME_EXHAUSTED})
        checks.equal("he is told of himself", [one["user"] for one in last["tenants"]["tenant_list"]], [GUEST])
        checks.equal("and of nobody else's jobs", last["jobs"].get("job_list", []), [])
        checks.equal("and cannot stop any", last["stop"]["jobs"], [2, 2])
        operators(checks, worker)
    finally:
        os.kill(hogger.pid, 9)
        hogger.end()


def operators(checks: Checks, worker: LiveWorker) -> None:
    with Watcher(worker.path) as root:
        tenants = {one["user"]: one for one in root.ask(what=2)["tenant_list"]}
        checks.that("root sees both users", {HOG, GUEST} <= tenants.keys(), sorted(tenants))
        checks.equal("and what became of their jobs", tenants[GUEST]["finished"], str(ROUNDS))
        jobs = root.ask(what=3)["job_list"]
        checks.that("root sees the jobs, a page at a time", len(jobs) == 256 and {job["user"] for job in jobs} == {HOG}, len(jobs))
        stopped = root.ask("STOP", jobs=[job["id"] for job in jobs[-5:]])
        checks.equal("and stops some", stopped["jobs"], [1] * 5)


def limits(checks: Checks, worker: LiveWorker) -> None:
    """Of a worker that lets one user have four waiting jobs and two connections."""

    def greedy(tell: Callable[[Any], None]) -> None:
        with Watcher(worker.path) as client, Client(worker.path, checked=True):
            jobs = [client.submit(ENDLESS, wall_budget=str(10**10)) for _ in range(SLOTS + 5)]
            client.until(lambda: any(job.refusal for job in jobs), "refusal")
            third = Client(worker.path)
            third.until(lambda: third.fatal is not None, "fatal error")
            tell([job.refusal for job in jobs if job.refusal] + [third.fatal])

    user = User(HOG, greedy)
    refused = user.next()
    checks.equal("a fifth waiting job is refused", refused[0]["code"], CODES["tenant-limit"])
    checks.equal("by name", refused[0]["limit_name"], "tenant-queued-jobs")
    checks.equal("with limit and use", (refused[0]["limit"], refused[0]["value"]), ("4", "5"))
    checks.that("and when to come back", int(refused[0]["retry_ns"]) > 0, refused[0]["retry_ns"])
    checks.equal("a third connection is turned away", refused[-1]["code"], CODES["too-many-connections"])
    checks.equal("by name too", refused[-1].get("limit_name"), "tenant-connections")
    checks.equal("he leaves, and his jobs with him", user.end(), 0)
    with Watcher(worker.path) as root:
        root.until(lambda: root.worker()["running"] + root.worker()["queued"] == 0, "end of all jobs")


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    if os.geteuid() != 0:
        did_not_run("it needs root, to be several users")
    raise_descriptor_limit()
    checks = Checks()
    with LiveWorker(programs, "--slots", str(SLOTS), "--log-jobs", "none") as worker:
        open_to_all(worker)
        fairness(checks, worker)
    options = ["--slots", str(SLOTS), "--tenant-queued-jobs", "4", "--tenant-connections", "2"]
    with LiveWorker(programs, *options) as worker:
        open_to_all(worker)
        limits(checks, worker)
    return checks.finish()


def open_to_all(worker: LiveWorker) -> None:
    os.chmod(worker.folder.name, 0o755)
    os.chmod(worker.path, 0o666)


if __name__ == "__main__":
    sys.exit(main())
