# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Attacks by clients that do not read, do not go on, or are not there any more."""

from __future__ import annotations

import contextlib
import select
import signal
import struct
import subprocess
import threading
import time

from live import (
    CANCELLED,
    CODES,
    HALTED,
    PATIENCE,
    REAL16,
    USER64,
    WALL_TIME_EXHAUSTED,
    Client,
    Frame,
    LiveWorker,
    Silence,
)

from .scene import MEBIBYTE, MOST_CREDIT, SECOND, Attack, Scene

MILLISECOND = SECOND // 1000
KIBIBYTES_OF_A_JOB = 64 + 16  # what the worker holds of a job's output at most: its window, and the guest's last bytes


def write_all(client: Client) -> None:
    """Writes without reading."""
    end = time.monotonic() + PATIENCE
    while client.outgoing:
        poll = select.poll()
        poll.register(client.socket, select.POLLOUT)
        if not poll.poll((end - time.monotonic()) * 1000):
            raise TimeoutError("the worker does not read")
        client.write()


def others_meanwhile(scene: Scene, what: str, seconds: float) -> None:
    """Honest clients come one after the other, a little apart, so that the guests have the processors too."""
    served, slowest, end = 0, 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        slowest, served = max(slowest, scene.serve()), served + 1
        select.select([], [], [], 0.02)
    seen = f"{served}, slowest {slowest:.2f} s"
    scene.checks.that(f"{what}: others are served meanwhile", slowest < scene.PROMPT, seen)


def output_flood(scene: Scene) -> None:
    """Guests that write without end into a connection with all the credit there is, which nobody reads. PONGs have
    filled its socket, so what the guests write waits in the worker. A port write is 8 bytes, a console byte one."""
    wall = 1500 * MILLISECOND
    before = scene.worker.reset_peak()
    with scene.client(window=MOST_CREDIT) as client:
        floods = [
            client.submit(scene.guests["real16-port-flood"], port_writes=True, wall_budget=wall),
            client.submit(scene.guests["real16-output-flood"], wall_budget=wall),
            client.submit(scene.guests["user64-output-flood"], USER64, wall_budget=wall),
        ]
        write_all(client)
        client.until(lambda: all(job.started for job in floods), "start")
        pings = fill(client)
        others_meanwhile(scene, "output flood", 2)
        scene.memory("output flood: 3 jobs, nobody reads", before, 3 * KIBIBYTES_OF_A_JOB * 4 + 4096)
        client.until(lambda: len(client.pongs) == pings and all(job.over for job in floods), "the rest")
        outcomes = [job.outcome for job in floods]
        scene.checks.equal("output flood: ends by wall time", outcomes, [WALL_TIME_EXHAUSTED] * 3)
        console = [int((job.result or {})["output_bytes"]) for job in floods[1:]]
        scene.checks.equal("output flood: no byte is lost", [len(job.output) for job in floods[1:]], console)
        records = len(floods[0].output) // 8
        counted = int((floods[0].result or {})["unclaimed_port_writes"])
        # The guest that waits for credit has made the write that waits.
        scene.checks.that("output flood: no port write is lost", records == counted, f"{records} of {counted}")
        held = len(floods[0].output) / 1024
        scene.checks.that("output flood: the guest had to wait", 64 <= held <= 512, f"it wrote {held:.0f} KiB")


def credit_flood(scene: Scene) -> None:
    """Many jobs on one connection, each with all credit: what the worker holds is bounded for each of them."""
    before, jobs = scene.worker.reset_peak(), 100
    with scene.client(window=0) as client:
        guest = scene.guests["real16-port-flood"]
        floods = [client.submit(guest, port_writes=True, wall_budget=150 * MILLISECOND) for _ in range(jobs)]
        client.send(*(Frame("WINDOW", number, 0, {"credit": MOST_CREDIT}) for number in client.jobs))
        write_all(client)
        latency = scene.serve(60)  # it waits behind all of them
        scene.checks.that("credit flood: the job behind them had its turn", latency < 30, f"{latency:.2f} s")
        scene.memory(f"credit flood: {jobs} jobs, nobody reads", before, jobs * KIBIBYTES_OF_A_JOB * 2 + 8192)
        client.finish(*floods, seconds=60)
        outcomes = {job.outcome for job in floods}
        held = sum(len(job.output) for job in floods) // 1024
        scene.checks.equal(f"credit flood: all {jobs} end by wall time", outcomes, {WALL_TIME_EXHAUSTED})
        scene.checks.that("credit flood: more was written than a socket holds", held > 512, f"{held:,} KiB")


def never_reads_and_leaves(scene: Scene) -> None:
    before = scene.worker.descriptors()
    for _ in range(50):
        with scene.client(window=MOST_CREDIT) as client:
            client.submit(scene.guests["user64-output-flood"], USER64, wall_budget=60 * SECOND)
            write_all(client)
            select.select([client.socket], [], [], PATIENCE)
    # An honest client's job gets a slot only when the guests of those that left are gone.
    latency = scene.serve()
    scene.checks.that("never reads and leaves: 50 guests of 60 s are gone", latency < scene.PROMPT, f"{latency:.2f} s")
    scene.no_descriptor_left("never reads and leaves", before)


def fill(client: Client, most: int = 32 * MEBIBYTE) -> int:
    """Sends PINGs and reads nothing, until the worker has not read for a while either. Returns how many PINGs."""
    sent = 0
    while sent * 20 < most:
        if not client.outgoing:
            client.outgoing += b"".join(struct.pack(">IBBHIQ", 8, 0x02, 0, 0, 0, sent + n) for n in range(1000))
            sent += 1000
        poll = select.poll()
        poll.register(client.socket, select.POLLOUT)
        if not poll.poll(300):
            break
        client.write()
    return sent


def ping_flood(scene: Scene) -> None:
    before, most = scene.worker.reset_peak(), 32 * MEBIBYTE
    with scene.client() as client:
        sent = fill(client, most)
        scene.checks.that("ping flood: the worker stops reading", sent * 20 < most, f"after {sent * 20 // 1024:,} KiB")
        scene.memory("ping flood", before, 8192)
        client.until(lambda: len(client.pongs) == sent, "PONG of each")
        in_order = client.pongs == [f"{n:016x}" for n in range(sent)]
        scene.checks.that("ping flood: read at last, every PONG is there in order", in_order, f"{sent:,}")


def stopped_client(scene: Scene) -> None:
    """The command line, stopped in the middle of its output by SIGSTOP."""
    before = scene.worker.reset_peak()
    guest = str(scene.programs.folder / "user64-output-flood.bin")
    options = ["--socket", scene.worker.path, "--mode", "user64", "--wall-time", "1500ms"]
    command = [scene.programs.kvmjob, "submit", *options, guest]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        try:
            assert client.stdout
            client.stdout.read(1)  # the guest runs, and its output arrives
            client.send_signal(signal.SIGSTOP)
            others_meanwhile(scene, "stopped client", 2)
            scene.memory("stopped client", before, 4096)
            client.send_signal(signal.SIGCONT)
            rest, _ = client.communicate(timeout=PATIENCE)
            scene.checks.equal("stopped client: goes on, and gets its result", client.returncode, 124)
            scene.checks.equal("stopped client: its output is whole", set(rest), set(b"y"))
        finally:
            client.kill()


def slow(scene: Scene) -> None:
    """Connections that never say HELLO, one of them byte by byte."""
    begin = time.monotonic()
    clients = [scene.client(greet=False) for _ in range(20)]
    drop, hello = clients[0], b"\0\0\0\x40\x01\0\0\0\0\0\0\0"
    sent, slowest = 0, 0.0
    times = []
    open_ones = list(clients)
    while open_ones and time.monotonic() < begin + 10:
        slowest = max(slowest, scene.serve())
        if drop in open_ones and sent < len(hello) and time.monotonic() - begin > sent * 0.4:
            drop.socket.send(hello[sent : sent + 1])
            sent += 1
        for client in open_ones:
            client.step(0)
        times += [time.monotonic() - begin for client in open_ones if client.closed]
        open_ones = [client for client in open_ones if not client.closed]
    codes = {client.fatal and client.fatal["code"] for client in clients}
    for client in clients:
        client.socket.close()
    seen = f"{min(times, default=0):.2f} to {max(times, default=0):.2f} s, {sent} bytes of a HELLO"
    on_time = len(times) == len(clients) and 4.9 <= min(times) and max(times) < 7
    scene.checks.that("slow: 20 silent connections are closed after 5 s", on_time, seen)
    scene.checks.equal("slow: as handshake-timeout", codes, {CODES["handshake-timeout"]})
    seen = f"slowest {slowest:.2f} s"
    scene.checks.that("slow: others are served meanwhile", slowest < scene.PROMPT, seen)


def error_without_credit(scene: Scene) -> None:
    """A fatal error while output waits for credit that will never come: the result comes without it, then the end."""
    guests = {"has ended": ("add", HALTED), "waits to write": ("user64-output-flood", WALL_TIME_EXHAUSTED)}
    for what, (name, outcome) in guests.items():
        with scene.client(window=0) as client:
            mode = USER64 if name.startswith("user64") else REAL16
            job = client.submit(scene.guests[name], mode, wall_budget=300 * MILLISECOND)
            client.until(lambda: job.started, "start")
            if outcome == HALTED:
                scene.serve()
            client.outgoing += b"GET / HTTP/1.1\r\n\r\n"
            client.until(lambda: client.fatal is not None, "fatal error")
            with contextlib.suppress(Silence):
                client.until_closed(3)
            seen = (job.outcome, client.closed)
            check = f"error without credit: a guest that {what}: RESULT, then the end"
            scene.checks.equal(check, seen, (outcome, True))


def drain_without_credit(scene: Scene) -> None:
    """SIGTERM to a worker of its own whose guest waits for credit: it is cancelled, and its result arrives."""
    with LiveWorker(scene.programs, "--slots", "1", "--drain-timeout", "1s") as worker:
        with Client(worker.path, window=0) as client:
            job = client.submit(scene.guests["user64-output-flood"], USER64, wall_budget=600 * SECOND)
            client.until(lambda: job.started, "start")
            status = threading.Thread(target=lambda: statuses.append(worker.stop()))
            statuses: list[int] = []
            status.start()
            with contextlib.suppress(Silence):
                client.until_closed(15)
            scene.checks.equal("drain without credit: the result arrives", job.outcome, CANCELLED)
            status.join(PATIENCE)
            scene.checks.equal("drain without credit: and the worker ends with status 0", statuses, [0])


def vanishes(scene: Scene) -> None:
    """With one slot: a client that leaves its endless guest behind, in each way of leaving."""
    for name, mode in (("real16-spin", REAL16), ("user64-spin", USER64)):
        with scene.client() as client:
            spin = client.submit(scene.guests[name], mode, wall_budget=600 * SECOND)
            client.until(lambda: spin.started, "start")
        latency = scene.serve()
        what = f"vanishes: the slot of {name} is free at once"
        scene.checks.that(what, latency < scene.PROMPT, f"{latency * 1000:.0f} ms")
    with scene.client() as client:
        spin = client.submit(scene.guests["real16-spin"], wall_budget=600 * SECOND)
        client.until(lambda: spin.started, "start")
        client.outgoing += b"garbage garbage"
        client.until(lambda: client.fatal is not None, "fatal error")
    latency = scene.serve()
    scene.checks.that("vanishes: also behind a fatal error", latency < scene.PROMPT, f"{latency * 1000:.0f} ms")


def results_left_behind(scene: Scene) -> None:
    """Results that wait for credit, of clients that then leave: nothing of them may stay, least of all their images."""
    image = scene.guests["add"] + bytes(8 * MEBIBYTE)
    rounds = 24
    scene.serve()
    before = scene.worker.reset_peak()
    for _ in range(rounds):
        with scene.client(window=0) as client:
            client.submit(image, load_address=0x1000)
            client.until(lambda: client.jobs[1].started, "start")
            scene.serve()  # with one slot: that job has ended
    grown = scene.worker.status("VmRSS") - before
    seen = f"{grown:+,} KiB after {rounds} images of 8 MiB"
    scene.checks.that("results left behind: their images are gone", grown < 5 * 8192, seen)


ATTACKS: list[Attack] = [
    output_flood,
    credit_flood,
    never_reads_and_leaves,
    ping_flood,
    stopped_client,
    slow,
]
# These want to know that a job has ended of which they hear nothing: with one slot, the next one has run.
ATTACKS_ON_ONE_SLOT: list[Attack] = [
    vanishes,
    error_without_credit,
    drain_without_credit,
    results_left_behind,
]
