#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""A live kvmjobd under attack by its clients. After each attack an honest client must be served, by the same process.

    hostile.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...
    ATTACKS=garbage,slow hostile.py ...               only these attacks

The attacks are in attacks/. Needs /dev/kvm and 1,100 descriptors. Ends with the line `N passed, N failed`.
Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from attacks import budgets, crowds, images, kinds, limits, readers, wrong_bytes  # noqa: E402
from attacks.scene import Attack, Scene  # noqa: E402
from live import Checks, LiveWorker, Programs, raise_descriptor_limit  # noqa: E402

# Options of kvmjobd, and the attacks on one process with these.
CAMPAIGNS: list[tuple[list[str], list[Attack]]] = [
    (
        ["--slots", str(kinds.SLOTS)],
        wrong_bytes.ATTACKS
        + limits.ATTACKS
        + budgets.ATTACKS
        + readers.ATTACKS
        + crowds.ATTACKS
        + kinds.ATTACKS,
    ),
    (["--slots", "1"], readers.ATTACKS_ON_ONE_SLOT),
    (["--slots", "4", "--image-cache", f"{images.CACHE_MIB}MiB"], images.ATTACKS),
    (["--slots", "1", "--connections", str(crowds.FEW)], crowds.ATTACKS_ON_FEW_CONNECTIONS),
    (["--slots", "1", "--machines", "tenant"], kinds.ATTACKS_ON_TENANTS),
    (["--slots", "1", "--machines", "fresh"], kinds.ATTACKS_ON_FRESH_MACHINES),
]

# KiB that may stay resident when all is over. What an attack needed for a moment is judged by that attack.
WORTH_OF_ALL = 32 << 10


def attack(scene: Scene, act: Attack) -> None:
    name, begin = act.__name__.replace("_", " "), time.monotonic()
    try:
        act(scene)
    except Exception as error:  # whatever it was, the other attacks still tell something
        where = traceback.extract_tb(error.__traceback__)[-1]
        scene.checks.that(f"{name}: runs to its end", False, f"{type(error).__name__}: {error}, line {where.lineno}")
    took = time.monotonic() - begin
    try:
        seen = f"in {scene.serve() * 1000:.0f} ms, after {took:.1f} s of attack"
        scene.checks.that(f"{name}: an honest client is served", True, seen)
    except Exception as error:
        scene.checks.that(f"{name}: an honest client is served", False, f"{type(error).__name__}: {error}")


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    raise_descriptor_limit()
    checks = Checks()
    wanted = os.environ.get("ATTACKS", "").split(",")
    with tempfile.TemporaryDirectory() as folder:
        guests = programs.write_guests(folder)
        for options, attacks in CAMPAIGNS:
            chosen = [act for act in attacks if wanted == [""] or act.__name__ in wanted]
            if not chosen:
                continue
            with LiveWorker(programs, *options) as worker:
                scene = Scene(checks, programs, guests, worker)
                scene.serve()
                name, resident = f"kvmjobd {' '.join(options)}", worker.status("VmRSS")
                for act in chosen:
                    attack(scene, act)
                grown = worker.settled_memory(resident + WORTH_OF_ALL) - resident
                seen = f"{grown:+,} KiB on {resident:,}, bound {WORTH_OF_ALL:,}"
                checks.that(f"{name}: all attacks together leave little in memory", grown <= WORTH_OF_ALL, seen)
                checks.equal(f"{name}: it drains with status 0 in the end", worker.stop(), 0)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
