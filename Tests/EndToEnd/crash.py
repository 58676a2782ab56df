#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Kills the service's worker while clients of all kinds are at it, and compares what they know with what the worker told them.

    crash.py SOCKET --seed N [--kvmjob PATH] [--service UNIT]

Runs on the machine of the service, as root. The seed decides after how many results SIGKILL comes. Then
 - every RESULT that came is complete and right, and every other job of its connection is known to be lost, none both;
 - clients in the middle of an upload, in the queue and at a pause learn of it at once;
 - kvmjob submit, kvmjob submit --json and kvmjob bench say so and leave with status 125;
 - whoever connects next is served.
Exit status 0 if all of that holds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import IO

from live import HALTED, PATIENCE, WALL_TIME_EXHAUSTED, Checks, Client, Job, Silence, data_frames

JOBS = 250  # a connection may have 256
ENDLESS = 8  # of these, the last ones
LOOP = bytes.fromhex("ebfe")  # jmp $
NEVER = 0  # no outcome's number
LONG = 60_000_000_000  # more than all of this takes
LOST = "the connection to the worker was closed before the job ended"


def printer(text: bytes) -> bytes:
    """mov al, CHARACTER; out 0xe9, al for each; hlt"""
    return b"".join(bytes([0xB0, character, 0xE6, 0xE9]) for character in text) + b"\xf4"


class Command:
    """A kvmjob beside the other clients."""

    def __init__(self, kvmjob: str, socket: str, *arguments: str) -> None:
        command = [kvmjob, arguments[0], "--socket", socket, *arguments[1:]]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.has_begun = threading.Event()
        assert self.process.stdout and self.process.stderr
        self.readers = [
            threading.Thread(target=self.read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self.read, args=(self.process.stderr, self.errors)),
        ]
        for reader in self.readers:
            reader.start()

    def read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))
            self.has_begun.set()
        self.has_begun.set()

    def end(self) -> int:
        status = self.process.wait(PATIENCE)
        for reader in self.readers:
            reader.join(PATIENCE)
        return status


class Crash:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.checks = Checks()
        self.chance = random.Random(options.seed)
        self.killed_at = 0.0
        self.commands: list[Command] = []

    def client(self) -> Client:
        return Client(self.options.socket, checked=True)

    def command(self, *arguments: str) -> Command:
        self.commands.append(Command(self.options.kvmjob, self.options.socket, *arguments))
        return self.commands[-1]

    # Before

    def prepare(self) -> None:
        self.pausing = self.client()
        self.paused = self.pausing.submit(LOOP, step_budget=3, pause=True)
        self.pausing.until(lambda: self.paused.paused, "pause")
        self.uploading = self.client()
        image = bytes(1 << 20)
        frame = self.uploading.submit_frame(1, 1, len(image))
        # The last frame never leaves.
        self.uploading.send(frame, *data_frames("IMAGE", 1, image)[:-1])
        self.uploading.until(lambda: not self.uploading.outgoing, "room for the upload")
        # Many seconds of work, behind all that comes later: so that some of it is always lost.
        self.submit = self.command("submit", "--json", "--repeat", "300", "--wall-time", "60ms", "--priority", "4", "--hex", "ebfe")
        self.single = self.command("submit", "--wall-time", "60s", "--hex", "b0 61 e6 e9 b0 0a e6 e9 eb fe")
        self.bench = self.command("bench", "--duration", "60s", "--window", "4", "--warmup", "0ms", "--json")
        for command in (self.submit, self.single):
            self.checks.that("kvmjob has begun", command.has_begun.wait(PATIENCE))
        self.find_worker()
        self.batch = self.client()
        self.expected = [self.submit_one(number) for number in range(JOBS)]
        self.batch.until(lambda: not self.batch.outgoing, "room for the batch")
        self.queueing = self.client()
        self.queued = [self.queueing.submit(LOOP, wall_budget=LONG) for _ in range(20)]
        self.queueing.until(lambda: all(job.accepted for job in self.queued), "acceptance")

    def find_worker(self) -> None:
        # Not by SO_PEERCRED: it was systemd that listened first.
        show = ["systemctl", "show", "--value", "--property=MainPID", self.options.service]
        self.worker = int(subprocess.run(show, check=True, capture_output=True).stdout)

    def submit_one(self, number: int) -> tuple[Job, bytes, int]:
        """A job, and what its output and outcome will be. Those that run until they are stopped make the batch last."""
        if number >= JOBS - ENDLESS:
            return self.batch.submit(LOOP, wall_budget=LONG), b"", NEVER
        if self.chance.random() < 0.5:
            return self.batch.submit(LOOP, wall_budget=20_000_000), b"", WALL_TIME_EXHAUSTED
        text = b"job %d of seed %d" % (number, self.options.seed)
        return self.batch.submit(printer(text), label=f"crash-{self.options.seed}-{number}"), text, HALTED

    def results(self) -> int:
        return sum(job.over for job, _, _ in self.expected)

    # The instant

    def kill(self) -> None:
        self.batch.step(0)  # what has come meanwhile
        wanted = self.results() + self.chance.randrange(max(1, JOBS - ENDLESS - self.results()))
        delay = self.chance.uniform(0, 0.003)
        self.batch.until(lambda: self.results() >= wanted, "results")
        time.sleep(delay)
        os.kill(self.worker, signal.SIGKILL)
        self.killed_at = time.monotonic()
        print(f"     seed {self.options.seed}: SIGKILL after {self.results()} results and {delay * 1000:.1f} ms", flush=True)

    # After

    def compare(self) -> None:
        clients = (self.batch, self.queueing, self.pausing, self.uploading)
        for client in clients:
            client.until_closed()
        within = time.monotonic() - self.killed_at
        self.checks.that("every connection ends at once", within < 2, f"{within * 1000:.0f} ms")
        done = [(job, text, outcome) for job, text, outcome in self.expected if job.result]
        wrong = [job for job, text, outcome in done if (bytes(job.output), job.outcome) != (text, outcome)]
        self.checks.equal(f"all {len(done)} results of the batch are right", wrong, [])
        self.checks.equal("no job of the batch was refused", [job for job, _, _ in self.expected if job.refusal], [])
        lost = set(self.batch.conversation.open_jobs()) if self.batch.conversation else set()
        unfinished = {number for number, job in self.batch.jobs.items() if not job.result}
        self.checks.equal(f"the other {len(unfinished)} are lost", lost, unfinished)
        self.checks.that("which are some", bool(lost))
        self.checks.that("nothing finished in the queue", not any(job.over for job in self.queued))
        self.checks.that("the paused job has no end", self.paused.paused and not self.paused.over)
        upload = self.uploading.jobs[1]
        self.checks.that("the image on its way became no job", not upload.accepted and not upload.over)
        self.compare_commands()

    def compare_commands(self) -> None:
        self.checks.equal("kvmjob submit of one job leaves with status 125", self.single.end(), 125)
        self.checks.equal("having passed on what came", self.single.lines, ["a"])
        self.checks.that("and says that the job is lost", f"hex: lost: {LOST}" in "\n".join(self.single.errors), self.single.errors)
        self.checks.equal("kvmjob submit of many leaves with status 125", self.submit.end(), 125)
        ends = [json.loads(line) for line in self.submit.lines]
        self.checks.equal("it tells of each job once", len({end["name"] for end in ends}), 300)
        self.checks.equal("and no more", len(ends), 300)
        outcomes = [end["outcome"] for end in ends]
        finished, lost = outcomes.count("wall-time-exhausted"), outcomes.count("lost")
        self.checks.equal(f"{finished} have ended, {lost} are lost, and there is nothing else", finished + lost, 300)
        complete = all(end["wall_ns"] >= 60_000_000 for end in ends if end["outcome"] == "wall-time-exhausted")
        self.checks.that("those that have ended are complete", complete)
        errors = [end["error"] for end in ends if end["outcome"] == "lost"]
        clear = all(error["code"] == "connection-lost" and error["retryable"] for error in errors)
        self.checks.that("those that are lost can be run again", bool(errors) and clear, errors[:1])
        self.checks.equal("kvmjob bench leaves with status 125", self.bench.end(), 125)
        self.checks.equal("and says why", self.bench.errors, ["kvmjob: the worker closed the connection"])
        self.checks.equal("and has no figures", self.bench.lines, [])

    def go_on(self) -> None:
        with self.client() as client:
            job = client.submit(printer(b"again"))
            client.finish(job)
            self.checks.equal("the next connection is served", (bytes(job.output), job.outcome), (b"again", HALTED))
        print(f"     {time.monotonic() - self.killed_at:.1f} s after the kill")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("socket")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kvmjob", default="kvmjob")
    parser.add_argument("--service", default="kvmjobd.service")
    crash = Crash(parser.parse_args())
    try:
        crash.prepare()
        crash.kill()
        crash.compare()
        crash.go_on()
    except Silence as silence:
        crash.checks.that(f"no waiting in vain: {silence}", False)
    finally:
        for command in crash.commands:
            command.process.kill()
    return crash.checks.finish()


if __name__ == "__main__":
    sys.exit(main())
