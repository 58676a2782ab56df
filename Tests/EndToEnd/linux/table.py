# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The table of programs: whether each is as it is natively, how long it takes, and how many system calls it makes."""

from __future__ import annotations

import re
import statistics
import time

from .running import Program, Stage, difference

ROUNDS = 3
PATIENCE = 5.0  # seconds until the worker's line about a job that has ended counts as never coming


def write(stage: Stage, programs: list[Program]) -> None:
    """Prints it as Markdown: medians of a few runs in turn, one at a time.

    The guest's time is that of its job, in the worker; natively it is from fork to exit.
    """
    print("| program | as natively | guest ms | native ms | system calls | exits |\n|---|---|---:|---:|---:|---:|")
    for program in programs:
        natively, as_guest, calls, problem = [], [], "", ""
        for _ in range(ROUNDS):
            native = stage.native(program)
            before = len(stage.worker.log)
            guest = stage.guest(program)
            fields = finished(stage, before)
            natively.append(native.seconds * 1000)
            as_guest.append(int(fields.get("wall_usec", 0)) / 1000)
            calls = f"{fields.get('system_calls', '')} | {fields.get('exits', '')}"
            problem = difference(program, native, guest) or problem
        times = f"{statistics.median(as_guest):.1f} | {statistics.median(natively):.1f}"
        print(
            f"| {program.name.replace('|', chr(92) + '|')} | {'no' if problem else 'yes'} | {times} | {calls} |",
            flush=True,
        )


def finished(stage: Stage, before: int) -> dict[str, str]:
    """What the worker's log says of the job that has just ended."""
    patience = time.monotonic() + PATIENCE
    while time.monotonic() < patience:
        for line in stage.worker.log[before:]:
            if "event=job-finished" in line:
                return dict(re.findall(r"(\w+)=(\S+)", line))
        time.sleep(0.002)
    return {}
