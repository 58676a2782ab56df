#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""An intruder who owns a worker's process tries what is forbidden: in the worker's own sandbox, in that of its unit, in both.

    sandbox.py [EXPLOITED-WORKER [KVMJOBD]]      default .build/debug/...

Prints a table "act | met with". Each act must be refused inside the closed sandbox, on every thread; what the unit alone has to
stop must be refused there without it, too; and most must succeed with nothing closed, or they would prove nothing.
The part in the unit needs root and systemd; without them it is left out, and the last line says so.
Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import errno
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from live import REPOSITORY, Checks, did_not_run  # noqa: E402

BOX = str(REPOSITORY / "Tests" / "EndToEnd" / "systemd-box")
PATIENCE = 60.0
THREADS = ("first", "slot", "new")
# What a sandbox answers. The last is what RestrictAddressFamilies= does.
REFUSALS = {errno.EPERM, errno.EACCES, errno.ENOSYS}
# And what a unit's name spaces answer: the thing is not there, or cannot be reached.
ABSENT = REFUSALS | {errno.EAFNOSUPPORT, errno.ENOENT, errno.ENXIO, errno.ESRCH, errno.ECONNREFUSED, errno.EROFS, errno.EAGAIN}
PROVING = 80  # acts that must succeed, or get as far as the kernel's own work, with nothing closed
UNIT_TOO = 1  # enum forbidden_act_scope


@dataclass
class Act:
    name: str
    for_unit: bool
    result: int | None = None  # None: it killed

    @property
    def met_with(self) -> str:
        if self.result is None:
            return "SIGSYS"
        return errno.errorcode.get(-self.result, str(-self.result)) if self.result < 0 else "nothing"

    def is_refused(self, refusals: set[int] = REFUSALS) -> bool:
        return self.result is None or -self.result in refusals


Runner = Callable[[int], tuple[str, bool]]


def acts_by(run: Runner) -> list[Act]:
    """Starts it until all acts have been tried. `run(first)` returns what it wrote, and whether SIGSYS ended it."""
    acts: dict[int, Act] = {}
    while True:
        text, was_killed = run(len(acts))
        before = len(acts)
        for word, number, rest in re.findall(r"^(try|met) (\d+) (.*)$", text, re.MULTILINE):
            if word == "try":
                scope, name = rest.split(" ", 1)
                acts[int(number)] = Act(name, int(scope) == UNIT_TOO)
            else:
                acts[int(number)].result = int(rest)
        if not before and "note kept jobs" not in text:
            raise RuntimeError(f"it could not keep jobs: {text!r:.2000}")
        if re.search(r"^end$", text, re.MULTILINE):
            return [acts[number] for number in sorted(acts)]
        was_killed |= bool(re.search(r"^dead$", text, re.MULTILINE))  # the act's thread, and not the process
        if not was_killed or len(acts) == before:
            raise RuntimeError(f"it ended before its time: {text!r:.2000}")


# Bare


class Surroundings:
    """What there is to be reached: sockets of every kind, and a process that waits."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="kvmjob-")
        self.stream, self.datagram = f"{self.folder.name}/stream", f"{self.folder.name}/datagram"
        self.abstract = f"kvmjob-{os.getpid()}"
        self.state = f"{self.folder.name}/state"
        os.mkdir(self.state, 0o700)
        self.sockets = [
            self.listening(socket.AF_UNIX, self.stream),
            self.listening(socket.AF_UNIX, f"\0{self.abstract}"),
            self.listening(socket.AF_INET, ("127.0.0.1", 0)),
        ]
        self.port = self.sockets[-1].getsockname()[1]
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(self.datagram)
        self.sockets.append(receiver)
        self.victim = subprocess.Popen(["sleep", "1000"])

    @staticmethod
    def listening(family: int, address: object) -> socket.socket:
        listener = socket.socket(family)
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(1000)
        return listener

    def __enter__(self) -> Surroundings:
        return self

    def __exit__(self, *_: object) -> None:
        self.victim.kill()
        self.victim.wait()
        for each in self.sockets:
            each.close()
        self.folder.cleanup()

    def runner(self, program: str, sandbox: str, thread: str) -> Runner:
        def run(first: int) -> tuple[str, bool]:
            words = [program, sandbox, thread, first, self.victim.pid, self.stream, self.abstract, self.datagram, self.port, self.state]
            # stderr too, as libraries write there.
            ended = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=PATIENCE)
            return ended.stdout, ended.returncode == -signal.SIGSYS

        return run


def bare(checks: Checks, program: str) -> dict[str, list[Act]]:
    with Surroundings() as surroundings:
        columns = {"with nothing closed": acts_by(surroundings.runner(program, "open", "slot"))}
        for thread in THREADS:
            columns[thread] = acts_by(surroundings.runner(program, "closed", thread))
    total = len(columns["slot"])
    for thread in THREADS:
        through = [act.name for act in columns[thread] if not act.is_refused()]
        checks.that(f"closed, {thread} thread: all {total} acts are refused", not through, through or "")
    idle = [act.name for act in columns["with nothing closed"] if act.is_refused()]
    checks.that(f"with nothing closed at least {PROVING} of them go through", total - len(idle) >= PROVING, total - len(idle))
    return {"with nothing closed": columns["with nothing closed"], "closed": columns["slot"]}


# In the unit


class Unit:
    """kvmjobd.service in a box of its own, with another program behind ExecStart=."""

    output = "/run/forbidden-acts"
    unit = "kvmjobd.service"

    def __init__(self, program: str) -> None:
        self.name = f"kvmjob-sandbox-{os.getpid()}"
        subprocess.run([BOX, "start", self.name, "--cgroup", "hybrid", "--bind", f"{REPOSITORY}:{REPOSITORY}:ro"], check=True)
        self.root = subprocess.run([BOX, "root", self.name], check=True, capture_output=True, text=True).stdout.strip()
        self.install(program, "/usr/libexec/kvmjob/exploited-worker", 0o755)
        for name in ("kvmjobd.socket", "kvmjobd.service"):
            self.install(REPOSITORY / "deploy" / name, f"/etc/systemd/system/{name}")
        self.install(REPOSITORY / "deploy" / "kvmjob.sysusers", "/etc/sysusers.d/kvmjob.conf")
        self.sh("systemd-sysusers; systemctl daemon-reload; systemctl start kvmjobd.socket")

    def install(self, source: str | pathlib.Path, path: str, mode: int = 0o644) -> None:
        target = pathlib.Path(self.root + path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(pathlib.Path(source).read_bytes())
        target.chmod(mode)

    def sh(self, command: str, check: bool = True) -> str:
        return subprocess.run(
            [BOX, "exec", self.name, "--", "sh", "-c", command], check=check, capture_output=True, text=True, timeout=PATIENCE
        ).stdout

    def start(self, arguments: str, *settings: str) -> tuple[str, str]:
        """Runs it in the unit to its end. Returns what it wrote and how it ended, as systemd says it."""
        lines = ["[Service]", "ExecStart=", f"ExecStart=/usr/libexec/kvmjob/exploited-worker {arguments}", "Type=oneshot"]
        lines += ["Restart=no", "WatchdogSec=0", f"StandardOutput=truncate:{self.output}", *settings]
        folder = pathlib.Path(f"{self.root}/etc/systemd/system/{self.unit}.d")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "intruder.conf").write_text("\n".join(lines) + "\n")
        state = self.sh(
            f"systemctl daemon-reload; systemctl start {self.unit}; "
            f"systemctl show --value --property=Result --property=ExecMainStatus {self.unit}",
            check=False,
        )
        text = self.sh(f"cat {self.output}", check=False)
        return text, " ".join(state.split())

    def runner(self, sandbox: str) -> Runner:
        # Everybody may write to these; PID 1 is somebody else's process.
        around = "1 /run/systemd/journal/stdout kvmjob /run/systemd/journal/socket 22 /var/lib/kvmjob"

        def run(first: int) -> tuple[str, bool]:
            text, state = self.start(f"{sandbox} slot {first} {around}")
            return text, str(int(signal.SIGSYS)) in state.split()

        return run

    def __enter__(self) -> Unit:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([BOX, "stop", self.name], check=False)


def in_unit(checks: Checks, program: str) -> dict[str, list[Act]]:
    with Unit(program) as unit:
        columns = {"in the unit, open": acts_by(unit.runner("open")), "in the unit, closed": acts_by(unit.runner("closed"))}
        through = [act.name for act in columns["in the unit, closed"] if not act.is_refused(ABSENT)]
        checks.that("in the unit, closed: all acts are refused", not through, through or "")
        wanted = [act for act in columns["in the unit, open"] if act.for_unit]
        through = [act.name for act in wanted if not act.is_refused(ABSENT)]
        checks.that(f"in the unit, open: the {len(wanted)} that it has to stop are refused", not through, through or "")
        resources(checks, unit)
    return columns


def resources(checks: Checks, unit: Unit) -> None:
    """More memory and more threads than the unit allows."""
    text, state = unit.start("threads", "TasksMax=50")
    found = re.search(r"^threads (\d+)$", text, re.MULTILINE)
    count = int(found[1]) if found else -1
    if count >= 1000:
        checks.that("threads: this machine's control groups bound none, so nothing was tried", True, count)
    else:
        checks.that("more threads than TasksMax= are refused", 0 < count < 50, f"{count} {state}")
    text, state = unit.start("memory", "MemoryMax=64M")
    if "memory 512" in text:
        checks.that("memory: this machine's control groups bound none, so nothing was tried", True, state)
    else:
        checks.that("more memory than MemoryMax= ends the process", "oom-kill" in state or "9" in state.split(), state)


# The table


def show(columns: dict[str, list[Act]]) -> None:
    first = next(iter(columns.values()))
    print(f"\n| act | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for number, act in enumerate(first):
        print(f"| {act.name} | {' | '.join(column[number].met_with for column in columns.values())} |")
    print()


def main() -> int:
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / ".build" / "debug" / "exploited-worker")
    if not os.access(program, os.X_OK):
        did_not_run(f"there is no {program} (swift build)")
    checks = Checks()
    began = time.monotonic()
    columns = bare(checks, program)
    missing = subprocess.run([BOX, "check"], capture_output=True, text=True)
    if missing.returncode == 0:
        columns |= in_unit(checks, program)
    show(columns)
    print(f"{time.monotonic() - began:.0f} s")
    if missing.returncode != 0:
        print(f"*** THE UNIT'S PART DID NOT RUN: {(missing.stdout + missing.stderr).strip()} ***")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
