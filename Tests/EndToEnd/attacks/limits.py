# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Attacks by jobs that cannot be, and by more of everything than is allowed."""

from __future__ import annotations

import threading
import time
from typing import Any

from live import CANCELLED, CODES, HALTED, REAL16, Client, Frame, data_frames

from .scene import MEBIBYTE, Attack, Scene


def impossible_jobs(scene: Scene) -> None:
    most = 2**64 - 1
    byte = b"\xf4"
    # What is asked for, the image, and what the answer must be. All on one connection, which must stay good.
    jobs: list[tuple[str, bytes, dict[str, Any], str]] = [
        ("an image larger than memory", bytes(2 * MEBIBYTE), {"memory_bytes": MEBIBYTE}, "image-outside-memory"),
        ("an image that ends behind memory", bytes(2), {"load_address": (16 << 20) - 1}, "image-outside-memory"),
        ("a load address at the end of all", byte, {"load_address": most}, "image-outside-memory"),
        ("an entry point behind memory", byte, {"entry_point": 16 << 20}, "entry-outside-memory"),
        ("an entry point at the end of all", byte, {"entry_point": most}, "entry-outside-memory"),
        ("an entry point out of real mode's reach", byte, {"entry_point": 0x10000}, "entry-outside-memory"),
        ("memory of no size", byte, {"memory_bytes": 0}, "memory-size"),
        ("memory of all sizes", byte, {"memory_bytes": most}, "memory-size"),
        ("memory of half a page", byte, {"memory_bytes": MEBIBYTE + 2048}, "memory-size"),
        ("a wall-time budget of centuries", byte, {"wall_budget": most}, "budget-range"),
        ("a mode that is none", byte, {"mode": 99}, "mode-unavailable"),
    ]
    with scene.client() as client:
        for what, image, fields, code in jobs:
            job = client.submit(image, **fields)
            client.finish(job)
            good = scene.still_good(client)
            scene.checks.equal(f"impossible jobs: {what}", (job.refused, good), (CODES[code], True))
        for size, code in ((most, "image-too-large"), (64 * MEBIBYTE + 1, "image-too-large"), (0, "image-empty")):
            number = max(client.jobs) + 1
            client.send(client.submit_frame(number, REAL16, size))
            client.finish(client.jobs[number])
            seen = (client.jobs[number].refused, scene.still_good(client))
            scene.checks.equal(f"impossible jobs: an image of {size:,} bytes announced", seen, (CODES[code], True))


def too_many_jobs(scene: Scene) -> None:
    with scene.client() as client:
        client.greeted()
        limit = (client.hello or {})["job_limit"]
        image = scene.guests["add"]
        numbers = range(1, limit + 11)
        client.send(*(client.submit_frame(number, REAL16, len(image)) for number in numbers))
        beyond = [client.jobs[number] for number in numbers[limit:]]
        client.finish(*beyond)
        seen = {(job.refused, (job.refusal or {}).get("retryable")) for job in beyond}
        scene.checks.equal(f"too many jobs: 10 beyond {limit} are refused", seen, {(CODES["too-many-jobs"], True)})
        within = [client.jobs[number] for number in numbers[:limit]]
        for number in numbers[:limit]:
            client.send(*data_frames("IMAGE", number, image))
        client.finish(*within)
        outcomes = {job.outcome for job in within}
        scene.checks.equal(f"too many jobs: the {limit} then run", outcomes, {HALTED})
        scene.checks.that("too many jobs: and then there is room again", scene.still_good(client))


def too_many_uploads(scene: Scene) -> None:
    """Images that are announced and never sent, 128 MiB of them on a connection: they cost nothing until bytes come."""
    before = scene.worker.reset_peak()
    with scene.client() as client:
        client.send(*(client.submit_frame(number, REAL16, 64 * MEBIBYTE) for number in (1, 2)))
        client.send(client.submit_frame(3, REAL16, 1))
        client.finish(client.jobs[3])
        seen = [client.jobs[number].refused for number in (1, 2, 3)]
        wanted = [None, None, CODES["queue-full"]]
        scene.checks.equal("too many uploads: one byte beyond 128 MiB is refused", seen, wanted)
        client.send(Frame("CANCEL", 1))
        client.finish(client.jobs[1])
        scene.checks.that("too many uploads: and then there is room again", scene.still_good(client))
    scene.memory("too many uploads", before, 2048)


def too_much_input(scene: Scene) -> None:
    for extra in (0, 1):
        with scene.client() as client:
            client.greeted()
            window = (client.hello or {})["window"]
            client.send(client.submit_frame(1, REAL16, 1, input=True))
            typed = data_frames("INPUT", 1, bytes(window + extra))
            client.send(*typed)
            if extra:
                scene.fatal(f"too much input: {window + 1} bytes, one beyond the window", client, "window-exceeded")
            else:
                scene.checks.that(f"too much input: {window} bytes, the whole window", scene.still_good(client))


def rapid_reset(scene: Scene) -> None:
    """SUBMIT and CANCEL, 10,000 times, first before there is an image and then of jobs that run or wait."""
    image = scene.guests["real16-spin"]
    for what, with_image in (("before the image", False), ("of jobs", True)):
        before = scene.worker.reset_peak()
        with scene.client() as client:
            slowest, answers = during(scene, lambda: reset(client, image if with_image else None))
        wanted = {("result", CANCELLED)} if with_image else {("refused", CODES["cancelled-upload"])}
        scene.checks.equal(f"rapid reset: 10,000 CANCELs {what} are all answered", answers, wanted)
        meanwhile = f"rapid reset: others are served during 10,000 {what}"
        scene.checks.that(meanwhile, slowest < scene.PROMPT, f"slowest {slowest:.2f} s")
        scene.memory(f"rapid reset {what}", before, 16 << 10)


def reset(client: Client, image: bytes | None) -> set[tuple[str, int | None]]:
    """Goes 10,000 times; never more than 200 at once, or the job limit would be what answers."""
    waiting, seen = set(), set()
    for number in range(1, 10_001):
        client.send(client.submit_frame(number, REAL16, len(image or b"?")))
        if image:
            client.send(*data_frames("IMAGE", number, image))
        client.send(Frame("CANCEL", number))
        waiting.add(number)
        if len(waiting) == 200 or number == 10_000:
            client.finish(*(client.jobs[n] for n in waiting), seconds=60)
            for job in (client.jobs.pop(n) for n in waiting):
                seen.add(("result", job.outcome) if job.result else ("refused", job.refused))
            waiting.clear()
    return seen


def during(scene: Scene, act: Any) -> tuple[float, Any]:
    """Runs it on a thread while honest clients are served here; the slowest of these, and what it returned."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(act()))
    slowest = 0.0
    thread.start()
    end = time.monotonic() + 60
    while thread.is_alive() and time.monotonic() < end:
        slowest = max(slowest, scene.serve())
    thread.join(1)
    return slowest, results[0] if results else None


ATTACKS: list[Attack] = [impossible_jobs, too_many_jobs, too_many_uploads, too_much_input, rapid_reset]
