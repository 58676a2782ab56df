#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""What Linux programs cost as guests, each held against the same work natively in the same rounds.

    programs.py [--rounds N] [KVMJOBD [KVMJOB]]      default Tests/Benchmarks/.build/release/...

A guest's time is that of its job, from its first instruction to its end, by the worker's own record; natively it is from spawn to exit.
Rounds take all subjects in turn; printed are the ratio of each round, its median and range, and the goal. Ends with status 1
unless every goal is reached. Needs /dev/kvm, gcc, musl-gcc, busybox and /usr/bin/python3.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Callable

HERE = pathlib.Path(__file__).resolve().parent
HELLO = 'int puts(const char *); int main(void) { puts("hello"); return 0; }\n'
LOOP = 'int main(void) { for (unsigned long i = 0; i < 1000000000; i++) __asm__ volatile(""); return 0; }\n'
INPUT = bytes(range(256)) * 4096 * 50  # 50 MiB


class Worker:
    """A kvmjobd whose record of each job is read."""

    def __init__(self, kvmjobd: str, folder: str) -> None:
        self.path = f"{folder}/kvmjobd.sock"
        command = [kvmjobd, "--socket", self.path, "--log-target", "stderr", "--log-jobs", "all", "--slots", "1"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        self.wait("event=worker-ready", 0)

    def read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()

    def wait(self, text: str, start: int) -> str:
        """The first line from `start` on that has this text."""
        with self.changed:
            found: list[str] = []

            def is_there() -> bool:
                found[:] = [line for line in self.lines[start:] if text in line]
                return bool(found)

            if not self.changed.wait_for(is_there, 60):
                raise RuntimeError(f"the worker has not said {text}: {self.lines[start:]}")
            return found[0]

    def seconds(self, run: Callable[[], None]) -> float:
        """How long the job took that this runs."""
        start = len(self.lines)
        run()
        line = self.wait("outcome=exited", start)
        found = re.search(r"wall_usec=(\d+)", line)
        return int(found[1]) / 1e6 if found else 0.0


def spawned(command: list[str], typed: bytes = b"", expected: bytes | None = None) -> float:
    """Seconds from spawn to exit."""
    begin = time.monotonic()
    done = subprocess.run(command, input=typed, stdout=subprocess.PIPE, check=True)
    seconds = time.monotonic() - begin
    if expected is not None and done.stdout != expected:
        raise RuntimeError(f"{command} printed {done.stdout[:200]!r}")
    return seconds


def quickest(command: list[str], times: int = 20) -> float:
    """The median of a few spawns without pipes: what a shell pays."""
    spent = []
    with open(os.devnull, "w") as nothing:
        actions = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 1)]
        for _ in range(times):
            begin = time.monotonic()
            os.waitpid(os.posix_spawn(command[0], command, os.environ, file_actions=actions), 0)
            spent.append(time.monotonic() - begin)
    return statistics.median(spent)


@dataclass
class Subject:
    name: str
    goal: float
    guest: Callable[[], float]
    native: Callable[[], float]


def subjects(worker: Worker, kvmjob: str, folder: pathlib.Path) -> list[Subject]:
    for name, text in {"hello": HELLO, "loop": LOOP}.items():
        (folder / f"{name}.c").write_text(text)
        compiler = "musl-gcc" if name == "hello" else "gcc"
        subprocess.run([compiler, "-O1", "-static", "-o", folder / name, folder / f"{name}.c"], check=True)
    script = folder / "one.py"
    script.write_text("print(1)")
    run = [kvmjob, "run", "--socket", worker.path, "--"]
    python = [kvmjob, "python", "--socket", worker.path, "--python", "/usr/bin/python3", "--", str(script)]
    digest = f"{hashlib.sha256(INPUT).hexdigest()}  -\n".encode()

    def job(command: list[str], expected: bytes, typed: bytes = b"", times: int = 1) -> Callable[[], float]:
        return lambda: statistics.median(
            worker.seconds(lambda: spawned(command, typed, expected) and None) for _ in range(times)
        )

    hello, loop, sum_ = str(folder / "hello"), str(folder / "loop"), ["/bin/busybox", "sha256sum"]
    return [
        Subject("static hello / spawn of /bin/echo", 0.5, job([*run, hello], b"hello\n", times=10), lambda: quickest(["/bin/echo", "hello"])),
        Subject("busybox sha256sum of 50 MiB / natively", 2.5, job([*run, *sum_], digest, INPUT), lambda: spawned(sum_, INPUT, digest)),
        Subject("loop of 1e9 / natively", 1.03, job([*run, loop], b"", times=3), lambda: quickest([loop], 3)),
        Subject("python print(1), warm / natively", 1.0, job(python, b"1\n", times=5), lambda: quickest(["/usr/bin/python3", "-I", "-c", "print(1)"], 5)),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("kvmjobd", nargs="?", default=str(HERE / ".build/release/kvmjobd"))
    parser.add_argument("kvmjob", nargs="?", default=str(HERE / ".build/release/kvmjob"))
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="kvmjob-benchmark-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        worker = Worker(os.path.abspath(options.kvmjobd), name)
        try:
            chosen = subjects(worker, os.path.abspath(options.kvmjob), pathlib.Path(name))
            for subject in chosen:  # machines, files and the warm interpreter are there from here on
                subject.guest(), subject.native()
            figures: dict[str, list[tuple[float, float]]] = {subject.name: [] for subject in chosen}
            for number in range(options.rounds):
                turn = number % len(chosen)
                for subject in chosen[turn:] + chosen[:turn]:
                    figures[subject.name].append((subject.guest(), subject.native()))
        finally:
            worker.process.terminate()
            worker.process.wait()
    for subject in chosen:
        pairs = figures[subject.name]
        ratios = sorted(guest / native for guest, native in pairs)
        median = statistics.median(ratios)
        guest, native = (statistics.median(values) * 1000 for values in zip(*pairs))
        verdict = "ok" if median <= subject.goal else "MISSED"
        missed += median > subject.goal
        print(
            f"{subject.name}: {median:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}), goal {subject.goal}: {verdict}; "
            f"{guest:.2f} ms, {native:.2f} ms"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
