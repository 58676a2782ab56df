# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Attacks by jobs of ever other kinds, so that no machine that was kept serves the next job."""

from __future__ import annotations

import os
import pathlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from live import EXITED, HALTED, PATIENCE, USER64

from .scene import MEBIBYTE, Attack, Scene

# What deploy/README.md says of a worker: machines in use and kept in a slot, and those that wait to be destroyed.
IN_USE, KEPT, DOOMED = 2, 4, 16
SLOTS = 4
# mov rdi, 2 MiB; mov ecx, 12 MiB / 8; rep stosq; out 0xf4, al
FILL = bytes.fromhex("48c7c700002000 b900001800 f348ab e6f4")
FILL_MEMORY = 16 * MEBIBYTE


@contextmanager
def peak_of_machines(scene: Scene) -> Iterator[list[int]]:
    """The most machines that were seen meanwhile, in a list of one."""
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            most[0] = max(most[0], scene.worker.machines())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def wait_for_machines(scene: Scene, most: int) -> int:
    """The machines that are there when there are no more than so many, or when patience ends."""
    patience = time.monotonic() + PATIENCE
    while (left := scene.worker.machines()) > most and time.monotonic() < patience:
        time.sleep(0.1)
    return left


def alternating_kinds(scene: Scene) -> None:
    """2,000 jobs of 24 kinds in turn, many at once."""
    kinds: list[dict[str, Any]] = [
        {"memory_bytes": size * MEBIBYTE} | more
        for size in range(1, 7)
        for more in ({}, {"step_budget": 1000}, {"memory_budget": 4 * MEBIBYTE}, {"deterministic": True})
    ]
    scene.serve()
    before, held = scene.worker.reset_peak(), scene.worker.descriptors()
    bound = SLOTS * (IN_USE + KEPT) + DOOMED
    seen = set()
    with peak_of_machines(scene) as most, scene.client() as client:
        for batch in range(20):
            image, count = scene.guests["exit-byte"], 100
            jobs = [client.submit(image, **kinds[(batch * count + n) % len(kinds)]) for n in range(count)]
            client.finish(*jobs, seconds=60)
            seen |= {job.outcome for job in jobs}
    scene.checks.equal("alternating kinds: 2,000 jobs end", seen, {EXITED})
    scene.checks.that("alternating kinds: machines are bounded", most[0] <= bound, f"{most[0]}, bound {bound}")
    # Each holds some pages of its guest, of the kernel's answers, and of page tables.
    scene.memory("alternating kinds", before, bound * 512 + 8192)
    scene.no_descriptor_left("alternating kinds", held)
    left = wait_for_machines(scene, SLOTS)
    scene.checks.that("alternating kinds: idle slots keep one machine each", left <= SLOTS, f"{left}")


def full_machines(scene: Scene) -> None:
    """Guests of several kinds that write nearly all of their 16 MiB: what is kept of them is bounded, and given back."""
    kinds: list[dict[str, Any]] = [
        {"memory_bytes": FILL_MEMORY} | more
        for more in ({}, {"memory_bytes": FILL_MEMORY + 4096}, {"memory_budget": FILL_MEMORY}, {"deterministic": True})
    ]
    scene.serve()
    before = scene.worker.reset_peak()
    with scene.client() as client:
        jobs = [client.submit(FILL, USER64, **kinds[n % len(kinds)]) for n in range(20 * len(kinds))]
        client.finish(*jobs, seconds=60)
    scene.checks.equal("full machines: all end", {job.outcome for job in jobs}, {EXITED})
    bound = SLOTS * (IN_USE + KEPT) + DOOMED
    scene.memory("full machines", before, bound * (FILL_MEMORY >> 10) + 8192)
    # An idle machine keeps at most 1 MiB of its guest.
    bound = SLOTS * KEPT * 1024 + 8192
    grown = scene.worker.settled_memory(before + bound) - before
    seen = f"{grown:+,} KiB on {before:,}, bound {bound:,}"
    scene.checks.that("full machines: idle slots give memory back", grown <= bound, seen)


def tenants(scene: Scene) -> None:
    """Under --machines tenant, on one slot: what one user's job ran on, another's never does."""
    if os.geteuid() != 0:
        return scene.checks.that("tenants: only root can be several users, so it did not run", True)
    os.chmod(pathlib.Path(scene.worker.path).parent, 0o755)
    os.chmod(scene.worker.path, 0o666)
    machines, good = [], []
    wait_for_machines(scene, 1)
    for user in (1001, 1002, 1001, 1002, 1001, 1003):
        os.seteuid(user)
        try:
            client = scene.client()
        finally:
            os.seteuid(0)
        with client:
            good.append(scene.still_good(client))
        machines.append(scene.worker.machines())
    scene.checks.that("tenants: their jobs run", all(good))
    first = machines[0]
    wanted = [first, first + 1, first + 1, first + 1, first + 1, first + 2]
    scene.checks.equal("tenants: each has a machine of its own, and has it again", machines, wanted)


def never_twice(scene: Scene) -> None:
    """Under --machines fresh, on one slot: no machine is kept."""
    with peak_of_machines(scene) as most, scene.client() as client:
        for _ in range(3):
            jobs = [client.add(scene.guests["add"]) for _ in range(100)]
            client.finish(*jobs, seconds=60)
            scene.checks.equal("never twice: 100 jobs", {job.outcome for job in jobs}, {HALTED})
    bound = IN_USE + DOOMED
    scene.checks.that("never twice: machines are bounded", most[0] <= bound, f"{most[0]}, bound {bound}")
    left = wait_for_machines(scene, 1)
    scene.checks.that("never twice: the next one is all there is", left <= 1, f"{left}")


ATTACKS: list[Attack] = [alternating_kinds, full_machines]
ATTACKS_ON_TENANTS: list[Attack] = [tenants]
ATTACKS_ON_FRESH_MACHINES: list[Attack] = [never_twice]
