# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""A program, run natively and as a guest with the same input, arguments and environment."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from live import LiveWorker, Programs

WALL_TIME = 60  # seconds for a program
# What a guest has without being asked, so that a native run must be given it.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/",
    "LANG": "C.UTF-8",
}


def as_it_is(output: bytes) -> bytes:
    return output


def sorted_lines(output: bytes) -> bytes:
    """For what comes in the order of a directory's entries, which every file system has its own of."""
    return b"\n".join(sorted(output.split(b"\n")))


@dataclass(frozen=True)
class Program:
    """One run of a program of this machine. Its working directory is the tree, which in a guest is the root."""

    name: str
    command: tuple[str, ...]
    """The program's absolute path, and its arguments."""
    stdin: bytes = b""
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    """Files and directories of this machine that it needs, besides itself, its libraries and the tree: `--file`."""
    compared: Callable[[bytes], bytes] = as_it_is
    """What both outputs go through before they are compared."""
    options: tuple[str, ...] = ()
    """Of `kvmjob run`."""


@dataclass
class Ran:
    """How a run went."""

    stdout: bytes
    stderr: bytes
    status: int
    """As a shell has it: 128 and the signal's number for a program that one has ended."""
    seconds: float
    told: bytes = b""
    """What kvmjob itself has added to standard error: of a signal that ended it, of calls that nothing serves."""


@dataclass
class Stage:
    """Where programs run: a worker, and a tree."""

    programs: Programs
    worker: LiveWorker
    tree: pathlib.Path
    elsewhere: pathlib.Path
    """A folder for the copies of the tree that native runs get."""
    failures: list[str] = field(default_factory=list)

    def native(self, program: Program) -> Ran:
        with tempfile.TemporaryDirectory(dir=self.elsewhere) as folder:
            here = pathlib.Path(folder) / "tree"
            shutil.copytree(self.tree, here, symlinks=True)
            ran = run(
                list(program.command), program.stdin, cwd=here, environment=ENVIRONMENT | dict(program.environment)
            )
            # There the tree is the root.
            at = str(here).encode()
            ran.stdout, ran.stderr = (
                out.replace(at + b"/", b"/").replace(at, b"/") for out in (ran.stdout, ran.stderr)
            )
            return ran

    def guest(self, program: Program) -> Ran:
        return without_notes(
            run(self.command(program), program.stdin, cwd=self.elsewhere, environment=dict(os.environ))
        )

    def command(self, program: Program) -> list[str]:
        options = ["--socket", self.worker.path, "--root", str(self.tree), "--wall-time", f"{WALL_TIME}s"]
        options += [word for file in program.files for word in ("--file", file)]
        options += [word for name, value in program.environment for word in ("--env", f"{name}={value}")]
        return [self.programs.kvmjob, "run", *options, *program.options, "--", *program.command]


def run(command: list[str], stdin: bytes, cwd: pathlib.Path, environment: dict[str, str]) -> Ran:
    begin = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment,
        preexec_fn=as_in_a_shell,
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=WALL_TIME + 20)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        stderr += b"(killed: it did not end)"
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Ran(stdout, stderr, status, time.monotonic() - begin)


def without_notes(ran: Ran) -> Ran:
    """Standard error as the program wrote it: kvmjob's own lines, behind all of the program's, are put aside."""
    own = re.search(rb"(\A|\n)((?:kvmjob: [^\n]*\n)+)\Z", ran.stderr)
    if own:
        # What is told begins a line of its own, for which it may have ended the program's.
        ran.stderr, ran.told = ran.stderr[: own.start(2)], own[2]
    return ran


def as_in_a_shell() -> None:
    """Python ignores SIGPIPE, and children would inherit that. Rights are what a guest's are."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.umask(0o022)


def difference(program: Program, native: Ran, guest: Ran) -> str:
    """What is not the same, for people; nothing if all is."""
    parts = []
    if native.status != guest.status:
        parts.append(f"status {guest.status}, natively {native.status}")
    for name in ("stdout", "stderr"):
        mine, theirs = program.compared(getattr(native, name)), program.compared(getattr(guest, name))
        if mine == theirs or (name == "stderr" and guest.told and theirs == mine + b"\n"):
            continue
        parts.append(f"{name}{first_difference(mine, theirs)}")
    if parts and guest.told:
        parts.append(guest.told.decode(errors="replace").strip())
    return "; ".join(parts)


def first_difference(native: bytes, guest: bytes) -> str:
    mine, theirs = native.split(b"\n"), guest.split(b"\n")
    for number, (one, other) in enumerate(zip(mine + [b"(end)"], theirs + [b"(end)"]), 1):
        if one != other:
            return f" line {number}: {other[:300]!r}, natively {one[:200]!r}"
    return f" has {len(theirs)} lines, natively {len(mine)}"
