# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Attacks by numbers of connections."""

from __future__ import annotations

import contextlib

from live import CODES, HALTED, Client, LiveWorker

from .scene import Attack, Scene

FEW = 20  # --connections of the worker that is to run out of them


def thousand(scene: Scene) -> None:
    before, held = scene.worker.reset_peak(), scene.worker.descriptors()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(scene.client()) for _ in range(1000)]
        for client in clients:
            client.greeted()
        scene.checks.that("a thousand: 1,000 connections at once all get HELLO", True)
        jobs = [client.add(scene.guests["add"]) for client in clients[::10]]
        for client in clients[::10]:
            client.until(lambda: not client.outgoing, "room")
        for client, job in zip(clients[::10], jobs):
            client.finish(job)
        seen = {(job.outcome, bytes(job.output)) for job in jobs}
        scene.checks.equal("a thousand: 100 of them run a job", seen, {(HALTED, b"4\n")})
        scene.memory("a thousand", before, 1000 * 40)
    scene.serve()
    scene.no_descriptor_left("a thousand", held)


def churn(scene: Scene) -> None:
    """Connections that come and go at once."""
    before, held = scene.worker.reset_peak(), scene.worker.descriptors()
    for _ in range(3000):
        Client(scene.worker.path, greet=False).socket.close()
    scene.serve()
    scene.no_descriptor_left("churn: 3,000 come and go", held)
    scene.memory("churn", before, 32 << 10)


def one_too_many(scene: Scene) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(scene.client()) for _ in range(FEW)]
        for client in clients:
            client.greeted()
        beyond = [stack.enter_context(scene.client(greet=False)) for _ in range(5)]
        for client in beyond:
            client.until_closed()
        seen = {(c.hello, (c.fatal or {}).get("code"), (c.fatal or {}).get("retryable")) for c in beyond}
        wanted = {(None, CODES["too-many-connections"], True)}
        scene.checks.equal(f"one too many: 5 beyond {FEW} are told so in place of HELLO", seen, wanted)
        scene.checks.that("one too many: those that are in are served", scene.still_good(clients[0]))
        clients[-1].socket.close()
        scene.still_good(clients[0])  # by then the worker has seen it go
        scene.serve()
        scene.checks.that("one too many: when one goes there is room for one", True)


def out_of_descriptors(scene: Scene) -> None:
    """A worker of its own that may have 64 descriptors, and 200 connections: the others wait, and nobody is lost."""
    with LiveWorker(scene.programs, "--slots", "1", descriptors=64) as worker, contextlib.ExitStack() as stack:
        tight = Scene(scene.checks, scene.programs, scene.guests, worker)
        clients = [stack.enter_context(tight.client()) for _ in range(200)]
        clients[0].greeted()
        scene.checks.that("out of descriptors: those that are in are served", tight.still_good(clients[0]))
        for client in clients:
            client.socket.close()
        latency = tight.serve()
        scene.checks.that("out of descriptors: when they go, the next is served", True, f"{latency:.2f} s")
        scene.checks.equal("out of descriptors: it drains with status 0", worker.stop(), 0)


ATTACKS: list[Attack] = [thousand, churn, out_of_descriptors]
ATTACKS_ON_FEW_CONNECTIONS: list[Attack] = [one_too_many]
