#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""A stream of clients that come and go while the service behind the socket does too.

    stream.py SOCKET [--connections N] [--clients N] [--gap-ms N] [--long N --long-ms N] [--commands N --kvmjob PATH]
              [--when K --run COMMAND]...

Each of --clients connects, runs one to three small jobs, and connects again after a gap of random length, --connections times in all.
--long clients stay for one job of --long-ms each, which has to run to its own end; --commands runs of `kvmjob submit` come beside
them. When K connections are over, the shell COMMAND runs beside the stream, once for each --when.

A connection is answered if every job of it ended as it should. Otherwise it is refused, if the worker said that it drains and took
none of the unanswered jobs, or lost. Prints one line of JSON; exit status 0 if nothing was lost and every command ran well.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import subprocess
import sys
import threading
import time

from live import CODES, HALTED, PATIENCE, WALL_TIME_EXHAUSTED, Client, Job, Silence, WireError

ADD = bytes.fromhex("00d8 e6e9 f4")  # add al, bl; out 0xe9, al; hlt
LOOP = bytes.fromhex("ebfe")  # jmp $


class Stream:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.trouble: list[str] = []
        self.slots: list[int] = []  # of the workers that were met, each time that it changed
        self.slowest = 0.0
        self.left = options.connections
        self.over = 0
        self.triggers = dict(zip(options.when, options.run))
        self.sides: list[subprocess.Popen[bytes]] = []

    def note(self, kind: str, seconds: float, trouble: str = "") -> None:
        with self.lock:
            self.counts[kind] += 1
            self.slowest = max(self.slowest, seconds)
            if trouble:
                self.trouble.append(trouble)

    def met(self, client: Client) -> None:
        with self.lock:
            slots = client.hello["slots"] if client.hello else 0
            if slots and self.slots[-1:] != [slots]:
                self.slots.append(slots)

    def take_turn(self) -> bool:
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def end_turn(self) -> None:
        with self.lock:
            self.over += 1
            if command := self.triggers.pop(self.over, None):
                self.sides.append(subprocess.Popen(command, shell=True))

    # Clients

    def short(self, seed: int) -> None:
        """Small jobs, one connection after the other."""
        chance = random.Random(seed)
        while self.take_turn():
            self.converse("", [(ADD, {"registers": register_pair(chance)}) for _ in range(chance.randint(1, 3))])
            self.end_turn()
            time.sleep(chance.uniform(0, self.options.gap_ms / 1000))

    def long(self) -> None:
        """One job that is still running when the service is told to stop."""
        budget = self.options.long_ms * 1_000_000
        self.converse("long_", [(LOOP, {"wall_budget": budget})])

    def converse(self, kind: str, jobs: list[tuple[bytes, dict[str, object]]]) -> None:
        begun = time.monotonic()
        try:
            with Client(self.options.socket, checked=True) as client:
                self.met(client)
                submitted = [client.submit(image, **fields) for image, fields in jobs]
                try:
                    client.finish(*submitted)
                except Silence:
                    pass  # what there is of answers decides
                verdict, why = judge(client, [fields for _, fields in jobs])
        except (Silence, OSError, WireError) as error:
            verdict, why = "lost", f"{type(error).__name__}: {error}"
        self.note(kind + verdict, time.monotonic() - begun, why)

    def commands(self) -> None:
        """`kvmjob submit`, with exit status and messages as people see them."""
        image = "b0 61 e6 e9 f4"  # mov al, 'a'; out 0xe9, al; hlt
        for _ in range(self.options.commands):
            begun = time.monotonic()
            command = [self.options.kvmjob, "submit", "--socket", self.options.socket, "--hex", image]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
            refused = ran.returncode == 126 and "takes no new jobs" in ran.stderr
            verdict = "answered" if (ran.returncode, ran.stdout) == (0, "a") else "refused" if refused else "lost"
            why = f"status {ran.returncode}: {ran.stdout}{ran.stderr}" if verdict == "lost" else ""
            self.note(f"command_{verdict}", time.monotonic() - begun, why)

    def run(self) -> None:
        seeds = range(self.options.clients)
        threads = [threading.Thread(target=self.short, args=(seed,)) for seed in seeds]
        threads += [threading.Thread(target=self.long) for _ in range(self.options.long)]
        threads += [threading.Thread(target=self.commands)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def report(self) -> dict[str, object]:
        lost = sum(count for kind, count in self.counts.items() if kind.endswith("lost"))
        return {
            **self.counts,
            "lost": lost,
            "trouble": self.trouble[:5],
            "slots": self.slots,
            "slowest_ms": round(self.slowest * 1000),
            "untriggered": sorted(self.triggers),
            "run_status": [side.wait(60) for side in self.sides],
        }


def register_pair(chance: random.Random) -> list[dict[str, int]]:
    return [{"register": number, "value": chance.randint(0, 127)} for number in (0, 1)]


def is_right(job: Job, fields: dict[str, object]) -> bool:
    if "wall_budget" in fields:
        return job.outcome == WALL_TIME_EXHAUSTED
    total = sum(pair["value"] for pair in fields["registers"])  # type: ignore[attr-defined]
    return job.outcome == HALTED and job.output == bytes([total])


def judge(client: Client, asked: list[dict[str, object]]) -> tuple[str, str]:
    """What became of a connection, and what is wrong with it if it is lost."""
    last = client.goaway["last_job"] if client.goaway else None
    refused = False
    for (number, job), fields in zip(client.jobs.items(), asked):
        if job.result:
            if not is_right(job, fields):
                return "lost", f"a wrong result of {fields}: {job}"
        elif job.refused == CODES["draining"] or (last is not None and number > last and not job.accepted):
            refused = True
        else:
            return "lost", f"goaway {client.goaway}, fatal {client.fatal}, closed {client.closed}: {job}"
    return ("refused", "") if refused else ("answered", "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("socket")
    parser.add_argument("--connections", type=int, default=300)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--gap-ms", type=int, default=0)
    parser.add_argument("--long", type=int, default=0)
    parser.add_argument("--long-ms", type=int, default=1000)
    parser.add_argument("--commands", type=int, default=0)
    parser.add_argument("--kvmjob", default="kvmjob")
    parser.add_argument("--when", type=int, action="append", default=[])
    parser.add_argument("--run", action="append", default=[])
    stream = Stream(parser.parse_args())
    stream.run()
    report = stream.report()
    print(json.dumps(report, sort_keys=True))
    return 1 if report["lost"] or report["untriggered"] or any(report["run_status"]) else 0  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
