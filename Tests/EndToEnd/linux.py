#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Ordinary Linux programs as guests, each compared with itself run natively, byte for byte; and programs that attack.

    linux.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...
    linux.py --table ...                            the programs' table in Markdown, with times and system calls
    linux.py --only REGEX ...                       the programs and attacks whose names match
    linux.py --twice                                natively only, twice: which programs are the same on each run

What is not installed here is left out, and named at the beginning. Needs /dev/kvm.
Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from linux import hostile, table  # noqa: E402
from linux.catalogue import GAPS, catalogue  # noqa: E402
from linux.running import Program, Stage, difference  # noqa: E402
from linux.workshop import Workshop  # noqa: E402
from live import Checks, LiveWorker, Programs  # noqa: E402

AT_ONCE = 2  # programs; each is run natively, then as a guest
SLOTS = 4


def options() -> argparse.Namespace:
    """Takes its own options off the command line; the rest is the programs under test."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--only", default="", type=re.compile)
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    return own


def compare(checks: Checks, stage: Stage, programs: list[Program], *, natively: bool = False) -> None:
    """Runs each program in both ways."""

    def both(program: Program) -> str:
        native = stage.native(program)
        return difference(program, native, stage.native(program) if natively else stage.guest(program))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for program, problem in zip(programs, pool.map(both, programs)):
            if program.name in GAPS and not natively:
                checks.that(f"{program.name}: differs, as is known: {GAPS[program.name]}", bool(problem))
            else:
                checks.that(f"{program.name}: as it is natively", not problem, problem)


def prepare(workshop: Workshop, only: re.Pattern[str]) -> list[Program]:
    workshop.lay_out()
    print(f"programs compiled in {workshop.build():.0f} s", flush=True)
    programs, missing = catalogue(workshop)
    for name, reason in sorted(missing.items()):
        print(f"*** NOT HERE: {name}: {reason}")
    return [program for program in programs if only.search(program.name)]


def main() -> int:
    wanted = options()
    programs = None if wanted.twice else Programs.from_arguments(__doc__)
    checks = Checks()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kvmjob-linux-") as folder:
        workshop = Workshop(pathlib.Path(folder))
        chosen = prepare(workshop, wanted.only)
        elsewhere = pathlib.Path(folder) / "elsewhere"
        elsewhere.mkdir()
        if programs is None:
            compare(checks, Stage(None, None, workshop.tree, elsewhere), chosen, natively=True)
            return checks.finish()
        with LiveWorker(programs, "--slots", str(SLOTS), "--log-jobs", "all" if wanted.table else "none") as worker:
            stage = Stage(programs, worker, workshop.tree, elsewhere)
            if wanted.table:
                table.write(stage, chosen)
                return 0
            compare(checks, stage, chosen)
            print(f"programs compared after {time.monotonic() - begin:.0f} s", flush=True)
        with LiveWorker(programs, *hostile.WORKER, "--slots", str(SLOTS), "--log-jobs", "none") as worker:
            hostile.attack(checks, Stage(programs, worker, workshop.tree, elsewhere), workshop, wanted.only)
            checks.equal("the worker lives, and drains with status 0", worker.stop(), 0)
    print(f"{time.monotonic() - begin:.0f} s in all")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
