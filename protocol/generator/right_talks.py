# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Conversations that are right."""

from __future__ import annotations

from typing import Any

from generator.control_talks import control_talks
from generator.detached_talks import detached_talks
from generator.encoder import data, message, opaque, skipped
from generator.programs import program_talks
from generator.right_images import images, snapshots
from generator.script import DONE, Conversations, Script, cancelled, grant, halted, refusal
from generator.pause_talks import channels, pauses
from generator.values import (
    CLIENT_HELLO,
    ECHO,
    HALT,
    HI,
    LOOP,
    MIB,
    MOST32,
    MOST_CREDIT,
    OUTCOMES,
    WORKER_HELLO,
)


def uploads(talks: Conversations) -> None:
    """Images, whole and in parts."""
    s = talks.script("plain-run", "one job from HELLO to RESULT")
    s.run(1).worker(data("OUTPUT", 1, 0, b"Hi"), DONE)

    s = talks.script(
        "image-in-parts", "an image in three frames, the last of them empty; its bytes are all there before END"
    )
    s.client(
        message("SUBMIT", 1, mode=1, image_bytes=len(HI)), data("IMAGE", 1, 0, HI[:4]), data("IMAGE", 1, 4, HI[4:])
    )
    s.client(data("IMAGE", 1, len(HI), b"", end=True)).accept(1).start(1).worker(data("OUTPUT", 1, 0, b"Hi"), DONE)

    s = talks.script(
        "images-interleaved",
        "two images at once, and job numbers with gaps, up to the largest; results come in any order",
    )
    s.client(message("SUBMIT", 7, mode=1, image_bytes=9), message("SUBMIT", MOST32, mode=1, image_bytes=2))
    s.client(data("IMAGE", 7, 0, HI[:5]), data("IMAGE", MOST32, 0, LOOP[:1]), data("IMAGE", 7, 5, HI[5:], end=True))
    s.accept(7).client(data("IMAGE", MOST32, 1, LOOP[1:], end=True)).start(7).accept(MOST32, 1).start(MOST32)
    s.worker(message("RESULT", MOST32, outcome=6, limit=100, used=100), data("OUTPUT", 7, 0, b"Hi"), halted(7))

    s = talks.script("image-full-frame", "a payload of exactly the frame_limit of the worker, here 4096")
    s.steps.clear()
    s.worker(message("HELLO", **(WORKER_HELLO | {"frame_limit": 4096}))).client(message("HELLO", **CLIENT_HELLO))
    image = b"\x90" * 4084 + HALT
    s.client(
        message("SUBMIT", 1, mode=3, image_bytes=4085),
        data("IMAGE", 1, 0, image[:4084]),
        data("IMAGE", 1, 4084, HALT, end=True),
    )
    s.accept(1).start(1).worker(halted(1))


def inputs(talks: Conversations) -> None:
    """INPUT and its window."""
    s = talks.script("input", "INPUT from right after SUBMIT on, between IMAGE frames and past RESULT", input_window=8)
    s.client(message("SUBMIT", 1, mode=1, image_bytes=len(ECHO), input=True), data("INPUT", 1, 0, b"abc"))
    s.client(data("IMAGE", 1, 0, ECHO, end=True), data("INPUT", 1, 3, b"defgh")).accept(1).start(1)
    s.worker(data("OUTPUT", 1, 0, b"abc"), grant(1, 3)).client(data("INPUT", 1, 8, b"ijk"))
    s.worker(data("OUTPUT", 1, 3, b"def"), grant(1, 3)).client(data("INPUT", 1, 11, b"l", end=True))
    s.worker(data("OUTPUT", 1, 6, b"ghijkl"), halted(1))

    s = talks.script(
        "input-after-result",
        "INPUT, WINDOW and CANCEL that cross the RESULT are ignored, whatever they hold",
        input_window=4,
    )
    s.run(1, ECHO, input=True).worker(halted(1))
    s.client(
        data("INPUT", 1, 0, b"late"),
        data("INPUT", 1, 99, b"and wrong", end=True),
        grant(1, MOST_CREDIT),
        opaque("CANCEL", job=1),
    )
    s.run(2).worker(halted(2))


def windows(talks: Conversations) -> None:
    """OUTPUT and its window."""
    s = talks.script("window-refilled", "output stops at zero credit and goes on after WINDOW", window=4)
    s.run(1).worker(data("OUTPUT", 1, 0, b"abcd")).client(grant(1, 2)).worker(data("OUTPUT", 1, 4, b"ef"))
    s.client(grant(1, 1), grant(1, 3)).worker(data("OUTPUT", 1, 6, b"ghij"), halted(1))

    s = talks.script(
        "window-zero",
        "a first window of 0: nothing may come before WINDOW, which may come right after SUBMIT",
        window=0,
    )
    s.upload(1).client(grant(1, 2)).accept(1).start(1).worker(data("OUTPUT", 1, 0, b"Hi"), DONE)

    s = talks.script(
        "window-most",
        "credit may stand at 2^31-1, again and again; assumes that the bound is on what is left of the credit",
        window=MOST_CREDIT,
    )
    s.run(1).worker(data("OUTPUT", 1, 0, b"Hi")).client(grant(1, 2)).worker(DONE)

    s = talks.script("window-per-job", "each job has its own credit", window=2)
    s.run(1).worker(data("OUTPUT", 1, 0, b"Hi")).run(2).worker(data("OUTPUT", 2, 0, b"Hi"), halted(1), halted(2))

    s = talks.script("port-writes", "offsets count per channel, credit is one sum", window=12)
    s.run(1, port_writes=True).worker(
        data("OUTPUT", 1, 0, b"ab"), data("OUTPUT", 1, 0, bytes.fromhex("0080010000000041"), channel=3)
    )
    s.worker(data("OUTPUT", 1, 2, b"cd")).client(grant(1, 9)).worker(
        data("OUTPUT", 1, 8, bytes.fromhex("0080010000000042"), channel=3)
    )
    s.worker(data("OUTPUT", 1, 4, b"e"), message("RESULT", 1, outcome=1, output_bytes=5, unclaimed_port_writes=2))


def cancels(talks: Conversations) -> None:
    """CANCEL at every stage."""
    s = talks.script("cancel-queued", "a job that waits is cancelled: RESULT without STARTED")
    s.upload(1).accept(1, 3).client(opaque("CANCEL", job=1)).worker(
        message("RESULT", 1, outcome=12, canceller=1, queue_ns=70_000)
    )

    s = talks.script(
        "cancel-uploading",
        "CANCEL before the image is complete is answered by a refusal; what crosses it is ignored",
        input_window=4,
    )
    s.client(
        message("SUBMIT", 1, mode=1, image_bytes=9, input=True), data("IMAGE", 1, 0, HI[:3]), opaque("CANCEL", job=1)
    )
    s.worker(refusal(1, 76)).client(
        data("IMAGE", 1, 3, HI[3:6]), data("IMAGE", 1, 0, HI, end=True), data("INPUT", 1, 5, b"x")
    )
    s.client(grant(1, MOST_CREDIT), opaque("CANCEL", job=1)).run(2).worker(halted(2))

    s = talks.script("cancel-running", "a running job is cancelled")
    s.run(1, LOOP).client(opaque("CANCEL", job=1)).worker(data("OUTPUT", 1, 0, b"last words"), cancelled(1))

    s = talks.script("cancel-late", "how the job ended came first: CANCEL crosses the RESULT and is ignored")
    s.run(1).worker(DONE).client(opaque("CANCEL", job=1), opaque("CANCEL", job=1)).run(2).worker(halted(2))


def outcomes(talks: Conversations) -> None:
    """Every outcome."""
    for name, fields in OUTCOMES.items():
        s = talks.script(
            f"outcome-{name}",
            f"a job that ends as {name}, then one that halts: the outcome of a job does not touch the next",
        )
        if name == "wait-expired":
            s.upload(1).accept(1, 9)
        else:
            s.run(1, LOOP, **({"step_budget": 1000} if name == "steps-exhausted" else {}))
        if name == "cancelled":
            s.client(opaque("CANCEL", job=1))
        s.worker(message("RESULT", 1, **fields)).run(2).worker(halted(2))


def refusals(talks: Conversations) -> None:
    """Every refusal."""
    s = talks.script(
        "refusals", "every refusal, one job each; the connection goes on, and what is left of those jobs is ignored"
    )
    unknown = message("SUBMIT", 1, {0x8042: "2a"}, mode=1, image_bytes=1)
    unknown["decoded"] = {"type": "SUBMIT", "job": 1, "refused": "unknown-critical-field", "field_tag": 0x8042}
    s.client(unknown).worker(refusal(1, 7, field_tag=0x8042, retryable=False))
    cases: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
        (64, {"registers": [(8, 1)]}, {"field_tag": 0x8006}),  # real mode has no r8
        (65, {"image_bytes": 64 * MIB + 1}, {"field_tag": 0x8003, "limit": 64 * MIB, "value": 64 * MIB + 1}),
        (66, {"image_bytes": 0}, {"field_tag": 0x8003}),
        (67, {"memory_bytes": 16 * MIB + 1}, {"field_tag": 0x8007, "value": 16 * MIB + 1}),
        (68, {"load_address": 16 * MIB}, {"field_tag": 0x8004}),
        (69, {"entry_point": 64 * MIB}, {"field_tag": 0x8005}),
        (70, {"mode": 3, "load_address": 0}, {"field_tag": 0x8004}),
        (71, {"step_budget": 0}, {"field_tag": 0x8008}),
        (72, {"mode": 200}, {"field_tag": 0x8002}),
        (73, {}, {"limit": 256}),
        (74, {}, {}),
    ]
    for job, (code, fields, told) in enumerate(cases, 2):
        s.client(message("SUBMIT", job, **({"mode": 1, "image_bytes": 1} | fields)))
        s.worker(refusal(job, code, **told, retryable=code in (73, 74)))
        s.client(data("IMAGE", job, 0, HALT, end=True))
    s.run(20).worker(halted(20))

    s = talks.script("refused-when-complete", "the refusal may also come when the image is complete")
    s.upload(1, memory_bytes=4096).worker(refusal(1, 67, limit=MIB, value=4096)).upload(2).accept(2).start(2).worker(
        halted(2)
    )


def drains(talks: Conversations) -> None:
    """GOAWAY."""
    s = talks.script("drain", "GOAWAY: accepted jobs get their RESULT, new ones are refused")
    s.run(1).upload(2).accept(2, 1).worker(message("GOAWAY", reason=1, last_job=2)).upload(3).worker(
        refusal(3, 75, retryable=True)
    )
    s.worker(data("OUTPUT", 1, 0, b"Hi"), DONE).start(2).worker(cancelled(2, 3))

    talks.script("goaway-idle", "an idle worker takes its leave").worker(message("GOAWAY", reason=2, last_job=0))


def versions(talks: Conversations) -> None:
    """Other minor versions."""
    s = talks.bare(
        "minor-versions", "a client of version 1.9: what 1.0 does not know is skipped, in every place and on both sides"
    )
    extra = {0x0030: "00", 0x7ABC: "0102030405060708"}
    s.worker(message("HELLO", extra=extra, **WORKER_HELLO), skipped(0x90, 0, ""))
    s.client(message("HELLO", extra=extra, **(CLIENT_HELLO | {"version": (1, 9)})), skipped(0x80, 0, "", flags=0xFF))
    s.client(skipped(0xFE, 1, "ff" * 40, flags=0x81), message("SUBMIT", 1, {0x0030: "6e6577"}, mode=1, image_bytes=9))
    s.client(
        skipped(0xC0, 1, "00"),
        data("IMAGE", 1, 0, HI[:4]),
        skipped(0xC1, 77, "00"),
        data("IMAGE", 1, 4, HI[4:], end=True),
    )
    s.worker(
        message("ACCEPTED", 1, extra, queue_position=0),
        skipped(0xFF, 1, "deadbeef", flags=1),
        message("STARTED", 1, extra, queue_ns=5),
    )
    s.worker(data("OUTPUT", 1, 0, b"Hi"), skipped(0x88, MOST32, "00" * 12)).client(
        message("WINDOW", 1, extra, credit=2)
    )
    s.worker(message("RESULT", 1, extra, outcome=1), message("GOAWAY", extra=extra, reason=2, last_job=1))
    s.client(message("ERROR", extra=extra, code=21))

    s = talks.bare("older-minor-worker", "the worker is the one with the higher minor version")
    s.worker(message("HELLO", **(WORKER_HELLO | {"version": (1, 3)}))).client(message("HELLO", **CLIENT_HELLO)).run(
        1
    ).worker(halted(1))


def connections(talks: Conversations) -> None:
    """PING, openings and endings of a connection."""
    s = talks.script(
        "ping", "PING from both ends, in the middle of an upload too; a PONG that answers nothing is ignored"
    )
    s.client(opaque("PING", "0000000000000001")).worker(
        opaque("PONG", "0000000000000001"), opaque("PING", "ffffffffffffffff")
    )
    s.client(
        message("SUBMIT", 1, mode=1, image_bytes=9), data("IMAGE", 1, 0, HI[:2]), opaque("PONG", "ffffffffffffffff")
    )
    s.client(opaque("PONG", "0123456789abcdef"), data("IMAGE", 1, 2, HI[2:], end=True)).accept(1).start(1).worker(
        halted(1)
    )

    s = talks.bare("too-many-connections", "an ERROR in place of the worker's HELLO")
    s.worker(message("ERROR", code=20, retryable=True, text="64 connections are open; at most 64"))

    s = talks.bare("handshake-timeout", "no HELLO within 5 s")
    s.worker(message("HELLO", **WORKER_HELLO), message("ERROR", code=14))

    s = talks.bare(
        "client-first", "both HELLOs are on their way at once; assumes that the client need not wait for the worker's"
    )
    s.client(message("HELLO", **CLIENT_HELLO)).worker(message("HELLO", **WORKER_HELLO)).run(1).worker(halted(1))

    s = talks.script(
        "internal-error", "after a fatal ERROR the worker reads nothing more, but its accepted jobs get their RESULTs"
    )
    s.run(1).upload(2).accept(2).client(message("SUBMIT", 3, mode=1, image_bytes=1)).worker(message("ERROR", code=21))
    s.client(data("IMAGE", 3, 0, HALT, end=True), opaque("CANCEL", job=3)).worker(halted(1), cancelled(2, 2))

    s = talks.script(
        "client-disconnects", "the client closes its sending side after its last frame here: its jobs are cancelled"
    )
    s.run(1, LOOP).upload(2).accept(2, 1).worker(cancelled(2, 2), cancelled(1, 2))


def right_conversations() -> list[Script]:
    talks = Conversations()
    for part in [
        uploads,
        inputs,
        windows,
        cancels,
        outcomes,
        refusals,
        drains,
        versions,
        connections,
        pauses,
        channels,
        images,
        snapshots,
        program_talks,
        control_talks,
        detached_talks,
    ]:
        part(talks)
    return talks.scripts
