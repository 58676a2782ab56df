# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Frames that are right: every message at its least, as it is usual, and at its most."""

from __future__ import annotations

from typing import Any

from generator.detached import detached_frames
from generator.encoder import Json, data, message, opaque, skipped
from generator.programs import programs
from generator.right_control import control
from generator.right_images import images_and_snapshots
from generator.right_reports import RightFrames, post_mortems, resumptions, states
from generator.values import (
    CLIENT_HELLO,
    COUNTERS,
    HALT,
    HI,
    MIB,
    MOST32,
    MOST64,
    MOST_CREDIT,
    MOST_SUBMIT,
    MOST_SYSTEM,
    OUTCOMES,
    SECOND,
    SYSTEM,
    WORKER_HELLO,
)


def connection_messages(frames: RightFrames) -> None:
    """HELLO, PING, PONG, GOAWAY, ERROR, WINDOW."""
    frames.add(
        "hello-minimum",
        "the three required fields at their least; window 0 is allowed",
        message("HELLO", version=(1, 0), frame_limit=4096, window=0),
    )
    frames.add("hello-client", "what the CLI says", message("HELLO", **CLIENT_HELLO))
    frames.add("hello-worker", "what a worker says", message("HELLO", **WORKER_HELLO))
    frames.add(
        "hello-maximum",
        "every field at its most: 128 bytes of text (not of characters), 256 modes, largest numbers",
        message(
            "HELLO",
            version=(1, 255),
            frame_limit=MIB,
            software="é" * 64,
            window=MOST_CREDIT,
            job_limit=MOST32,
            image_limit=MOST64,
            memory_minimum=MOST64,
            memory_maximum=MOST64,
            wall_maximum=MOST64,
            slots=MOST32,
            modes=[(1 + i % 4, i % 3) for i in range(256)],
        ),
    )
    frames.add(
        "hello-newer-minor",
        "minor 9 with fields unknown to 1.0: skipped, since they are not critical",
        message("HELLO", extra={0x000C: "00", 0x7FFF: "ff" * 9}, **(CLIENT_HELLO | {"version": (1, 9)})),
    )
    frames.add(
        "hello-tag-zero",
        "tag 0x0000 is unknown and not critical: skipped",
        message("HELLO", extra={0: ""}, **CLIENT_HELLO),
    )
    frames.add(
        "hello-empty-software", "text of no bytes is text", message("HELLO", **(CLIENT_HELLO | {"software": ""}))
    )
    for name in ["PING", "PONG"]:
        frames.add(f"{name.lower()}-zero", "exactly 8 bytes", opaque(name, "0000000000000000"))
        frames.add(f"{name.lower()}-bytes", "any 8 bytes", opaque(name, "00ff7f80c3280a0d"))
    frames.add("goaway-minimum", "reason only", message("GOAWAY", reason=2))
    frames.add("goaway-typical", "a drain that tells the last job", message("GOAWAY", reason=1, last_job=7))
    frames.add("goaway-none", "last_job 0: none was accepted", message("GOAWAY", reason=1, last_job=0))
    frames.add("goaway-maximum", "the largest job number", message("GOAWAY", reason=2, last_job=MOST32))
    frames.add("error-minimum", "code only, fatal", message("ERROR", code=21))
    frames.add(
        "error-typical",
        "a fatal error with the bound that was crossed",
        message(
            "ERROR", code=1, frame_type=0x11, limit=65536, value=65537, text="a frame of 65537 bytes; at most 65536"
        ),
    )
    frames.add(
        "error-refusal", "a refusal of job 3, retryable", message("ERROR", 3, code=74, frame_type=0x10, retryable=True)
    )
    frames.add(
        "error-not-retryable",
        "a flag that says 0 is still said",
        message("ERROR", 4, code=64, frame_type=0x10, field_tag=0x8004, retryable=False),
    )
    frames.add("error-unknown-code", "a receiver takes unknown codes as they are", message("ERROR", code=0xFFFF))
    frames.add(
        "error-maximum",
        "every field at its most",
        message(
            "ERROR",
            MOST32,
            code=0xFFFF,
            frame_type=0xFF,
            field_tag=0xFFFF,
            limit=MOST64,
            value=MOST64,
            retryable=True,
            text="𝄞" * 128,
            limit_name="é" * 32,
            retry_ns=MOST64,
        ),
    )
    frames.add("window-minimum", "one byte of credit", message("WINDOW", 1, credit=1))
    frames.add("window-typical", "half a window", message("WINDOW", 7, credit=32768))
    frames.add("window-maximum", "2^31-1", message("WINDOW", MOST32, credit=MOST_CREDIT))


def submits(frames: RightFrames) -> None:
    """SUBMIT."""
    frames.add("submit-minimum", "the two required fields", message("SUBMIT", 1, mode=1, image_bytes=1))
    frames.add(
        "submit-zero-values",
        "the codec takes what the worker will refuse: mode 0, no image, budgets of 0",
        message("SUBMIT", 2, mode=0, image_bytes=0, memory_bytes=0, step_budget=0, wall_budget=0),
    )
    frames.add(
        "submit-typical",
        "an image with a budget and input",
        message(
            "SUBMIT",
            2,
            label="hello",
            mode=3,
            image_bytes=4096,
            registers=[(4, 0x10000), (7, 0x8000)],
            memory_bytes=16 * MIB,
            step_budget=1_000_000,
            wall_budget=10 * SECOND,
            input=True,
        ),
    )
    frames.add(
        "submit-flags-zero",
        "flags said to be 0 are not the same as flags left out",
        message("SUBMIT", 3, mode=2, image_bytes=9, port_writes=False, input=False),
    )
    frames.add(
        "submit-maximum",
        "every field of a plain job at its most: 17 registers, all but rip",
        message("SUBMIT", MOST32, **MOST_SUBMIT),
    )
    frames.add(
        "submit-unknown-field",
        "a field of a later minor version, not critical, between label and mode: skipped. 0x0002 is not 0x8002",
        message("SUBMIT", 5, {0x0002: "0102", 0x7000: ""}, label="new", mode=4, image_bytes=6),
    )
    refused = message("SUBMIT", 6, {0x8042: "01"}, mode=1, image_bytes=1)
    del refused["canonical"]
    refused["decoded"] = {"type": "SUBMIT", "job": 6, "refused": "unknown-critical-field", "field_tag": 0x8042}
    frames.add(
        "submit-unknown-critical",
        "section 6: in a SUBMIT that is otherwise in order this refuses the job, and is not fatal",
        refused,
    )
    refused = message("SUBMIT", 7, {0x8000: "", 0xFFFF: ""}, mode=1, image_bytes=1)
    del refused["canonical"]
    refused["decoded"] = {"type": "SUBMIT", "job": 7, "refused": "unknown-critical-field", "field_tag": 0x8000}
    frames.add(
        "submit-unknown-critical-two",
        "of two unknown critical fields the first is told; assumes that field_tag is the first",
        refused,
    )


def streams(frames: RightFrames) -> None:
    """IMAGE, INPUT, OUTPUT and CANCEL."""
    frames.add("image-minimum", "one byte", data("IMAGE", 1, 0, HALT))
    frames.add("image-empty-end", "the last frame may be empty", data("IMAGE", 1, 1, b"", end=True))
    frames.add("image-typical", "a whole image in one frame", data("IMAGE", 1, 0, HI, end=True))
    frames.add(
        "image-maximum",
        "a payload of 4096 bytes, the most before HELLO; the largest offset",
        data("IMAGE", MOST32, MOST64, bytes(i % 251 for i in range(4084)), end=True),
    )
    frames.add("input-minimum", "one byte", data("INPUT", 1, 0, b"\0"))
    frames.add("input-empty-end", "the end of the input on its own", data("INPUT", 1, 6, b"", end=True))
    frames.add("input-typical", "some bytes", data("INPUT", 2, 6, b"input\n", end=True))
    frames.add(
        "input-maximum",
        "a payload of 4096 bytes",
        data("INPUT", MOST32, MOST64, bytes(255 - i % 256 for i in range(4084))),
    )
    frames.add("output-minimum", "one byte of console", data("OUTPUT", 1, 0, b"H"))
    frames.add("output-typical", "console text", data("OUTPUT", 2, 1, b"ello, world\n"))
    frames.add(
        "output-port-writes",
        "channel 3: two records of port, size, zero, value",
        data("OUTPUT", 2, 16, bytes.fromhex("0080010000000041 0cf8040080000000"), channel=3),
    )
    frames.add(
        "output-maximum", "a payload of 4096 bytes", data("OUTPUT", MOST32, MOST64, bytes(i % 7 for i in range(4084)))
    )
    frames.add("cancel-minimum", "no payload", opaque("CANCEL", job=1))
    frames.add("cancel-maximum", "the largest job number", opaque("CANCEL", job=MOST32))


def answers(frames: RightFrames) -> None:
    """ACCEPTED and STARTED."""
    frames.add("accepted-minimum", "no field is required: an empty payload", message("ACCEPTED", 1))
    frames.add("accepted-next", "a position of 0 is said", message("ACCEPTED", 1, queue_position=0))
    frames.add("accepted-maximum", "every field at its most", message("ACCEPTED", MOST32, queue_position=MOST32, id=MOST64, wait_ns=MOST64))
    frames.add("started-minimum", "no field is required", message("STARTED", 1))
    frames.add(
        "started-typical",
        "an unmetered job: step_budget is absent",
        message("STARTED", 1, queue_ns=52_000, wall_budget=10 * SECOND, memory_bytes=16 * MIB),
    )
    frames.add(
        "started-maximum",
        "every field at its most",
        message("STARTED", MOST32, queue_ns=MOST64, step_budget=MOST64, wall_budget=MOST64, memory_bytes=MOST64),
    )


def results(frames: RightFrames) -> None:
    """RESULT, with every outcome."""
    for name, fields in OUTCOMES.items():
        frames.add(
            f"result-{name}-minimum",
            "what this outcome requires, or has, and nothing else",
            message("RESULT", 1, **fields),
        )
        frames.add(f"result-{name}", "with counters and state", message("RESULT", 2, **fields, **COUNTERS))
    frames.add(
        "result-faulted-required",
        "a fault without error code or address",
        message("RESULT", 3, outcome=3, vector=6, rip=0x7C00),
    )
    frames.add("result-unemulatable-required", "rip is not known", message("RESULT", 3, outcome=5, instruction="0f"))
    frames.add(
        "result-bounded",
        "steps that may be off, and why",
        message("RESULT", 4, outcome=1, meter=2, meter_reason="syscall from ring 3 hides a step", steps=77),
    )


def largest_results(frames: RightFrames) -> None:
    """RESULT, every field at its most."""
    everything: dict[str, Any] = {
        "meter": 2,
        "meter_reason": "m" * 512,
        "steps": MOST64,
        "queue_ns": MOST64,
        "wall_ns": MOST64,
        "exits": [MOST64 - i for i in range(5)],
        "output_bytes": MOST64,
        "unclaimed_port_writes": MOST64,
        "dropped_memory_writes": MOST64,
        "registers": [MOST64 - i for i in range(18)],
        "system": MOST_SYSTEM,
    }
    frames.add(
        "result-maximum-text",
        "every common field at its most, with the longest text",
        message("RESULT", MOST32, outcome=14, text="€" * 170 + "..", **everything),
    )
    frames.add(
        "result-maximum-fault",
        "the largest fault",
        message("RESULT", MOST32, outcome=3, vector=255, error_code=MOST32, address=MOST64, rip=MOST64, **everything),
    )
    frames.add(
        "result-maximum-exit", "the largest exit code", message("RESULT", MOST32, outcome=2, code=MOST32, **everything)
    )
    frames.add(
        "result-maximum-instruction",
        "15 bytes of instruction",
        message("RESULT", MOST32, outcome=5, rip=MOST64, instruction=("66" * 14) + "90"),
    )
    frames.add(
        "result-maximum-budget", "the largest budget", message("RESULT", MOST32, outcome=11, limit=MOST64, used=MOST64)
    )
    for canceller in [2, 3]:
        frames.add(
            f"result-canceller-{canceller}",
            "the other cancellers",
            message("RESULT", 8, outcome=12, canceller=canceller),
        )


def ignored_parts(frames: RightFrames) -> None:
    """What a receiver skips or ignores."""
    frames.add(
        "result-unknown-field",
        "a field of a later minor version is skipped",
        message("RESULT", 9, {0x0030: "00" * 8}, outcome=2, code=0),
    )
    stray = message("RESULT", 9, outcome=2, code=0, vector=13, canceller=1, snapshot="5a" * 32)
    for name in ["vector", "canceller", "snapshot"]:
        del stray["decoded"]["fields"][name]
    frames.add(
        "result-stray-fields",
        "section 3.13: outcome fields of another outcome are ignored",
        {"hex": stray["hex"], "canonical": message("RESULT", 9, outcome=2, code=0)["hex"], "decoded": stray["decoded"]},
    )
    noisy, quiet = SYSTEM | {"cs": (0, 0xFFFF, 0, 0xE09B)}, message("RESULT", 9, outcome=1, system=SYSTEM)
    frames.add(
        "result-attributes-top-bits",
        "bits 13-15 of a segment's attributes are ignored",
        {
            "hex": message("RESULT", 9, outcome=1, system=noisy)["hex"],
            "canonical": quiet["hex"],
            "decoded": quiet["decoded"],
        },
    )
    frames.add("skipped-empty", "an unknown type from 0x80 is skipped", skipped(0x80, 0, ""))
    frames.add(
        "skipped-flags",
        "its flags are not checked, nor its job, nor its payload",
        skipped(0xFF, 5, "00ff00ff00", flags=0xFF),
    )


def right_frames() -> list[Json]:
    frames = RightFrames()
    for part in [
        connection_messages,
        submits,
        states,
        streams,
        answers,
        results,
        largest_results,
        post_mortems,
        resumptions,
        images_and_snapshots,
        programs,
        control,
        detached_frames,
        ignored_parts,
    ]:
        part(frames)
    return frames.entries
