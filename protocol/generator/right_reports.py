# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Frames that are right: machine state in SUBMIT, what a RESULT tells of a job's end, PAUSED and EXTEND."""

from __future__ import annotations

from typing import Any

from generator.encoder import Json, data, exit_record, message
from generator.values import (
    COUNTERS,
    HI_DIGEST,
    HLT,
    KIB,
    MIB,
    MOST32,
    MOST64,
    MOST_SUBMIT,
    MOST_SYSTEM,
    PORT_OUT,
    POST_MORTEM,
    REGISTERS,
    SECOND,
    SYSTEM,
)

MOST_SEGMENT, MOST_TABLE = (MOST64, MOST32, 0xFFFF, 0x1FFF), (MOST64, 0xFFFF)
PIECES = [(MOST64 - n, n) for n in range(1024)]


class RightFrames:
    def __init__(self) -> None:
        self.entries: list[Json] = []

    def add(self, name: str, why: str, made: Json) -> None:
        length = int(made["hex"][:8], 16)
        self.entries.append({"name": name, "why": why} | ({"frame_limit": 65536} if length > 4096 else {}) | made)


def states(frames: RightFrames) -> None:
    """SUBMIT: budgets, how the machine starts, what is told."""
    frames.add(
        "submit-budgets",
        "every budget, exact steps, and a pause when they are used up",
        message(
            "SUBMIT",
            8,
            mode=3,
            image_bytes=9,
            step_budget=1000,
            wall_budget=SECOND,
            cpu_budget=SECOND // 2,
            exit_budget=100,
            output_budget=64 * KIB,
            memory_budget=MIB,
            meter=1,
            pause=True,
        ),
    )
    frames.add(
        "submit-budgets-zero",
        "the codec takes budgets of 0; the worker refuses them",
        message("SUBMIT", 8, mode=1, image_bytes=1, cpu_budget=0, exit_budget=0, output_budget=0, memory_budget=0),
    )
    frames.add(
        "submit-meter-stepped",
        "steps are counted without a budget",
        message("SUBMIT", 8, mode=1, image_bytes=1, meter=2),
    )
    for report in [0, 1, 2, 4, 8, 16, 31]:
        frames.add(
            f"submit-report-{report}",
            "what RESULT tells is a sum; nothing said is not the same as 0 said",
            message("SUBMIT", 8, mode=1, image_bytes=1, report=report),
        )
    frames.add(
        "submit-flags-false",
        "flags said to be 0 are not the same as flags left out",
        message("SUBMIT", 8, mode=1, image_bytes=1, pause=False, trace=False, deterministic=False),
    )
    frames.add(
        "submit-state",
        "some of the first state, numbers with gaps",
        message(
            "SUBMIT",
            9,
            mode=2,
            image_bytes=9,
            segments=[(0, (0x10000, 0xFFFF, 0x1000, 0x9B)), (6, (0x5000, 0x67, 0x28, 0x8B))],
            tables=[(1, (0x6000, 0x7FF))],
            controls=[(0, 0x11), (2, 0x9000), (5, 0)],
        ),
    )
    lists: dict[str, Any] = {n: [] for n in ["registers", "segments", "tables", "controls", "pieces", "dumps"]}
    frames.add("submit-lists-empty", "lists without entries", message("SUBMIT", 9, mode=1, image_bytes=1, **lists))
    frames.add(
        "submit-pieces",
        "an image in two pieces, the second below the first, and two windows to see at the end",
        message(
            "SUBMIT",
            9,
            mode=1,
            image_bytes=9,
            entry_point=0x7C00,
            pieces=[(0x7C00, 5), (0x500, 4)],
            dumps=[(0, 0x1000), (0x800, 0x1000)],
        ),
    )
    frames.add(
        "submit-pieces-any",
        "what the codec takes and the worker refuses: pieces that are empty, overlap, or end above 2^64",
        message(
            "SUBMIT",
            9,
            mode=1,
            image_bytes=1,
            pieces=[(0, 0), (MOST64, MOST64), (MOST64, MOST64)],
            dumps=[(MOST64, 2), (0, 0)],
        ),
    )
    frames.add(
        "submit-trace",
        "a job that is told step by step, and that runs the same way each time",
        message("SUBMIT", 9, mode=1, image_bytes=9, trace=True, deterministic=True),
    )
    for board, name in enumerate(["bare", "pc"]):
        frames.add(
            f"submit-board-{name}",
            "what the guest finds around its processor",
            message("SUBMIT", 9, mode=1, image_bytes=9, board=board),
        )
    frames.add(
        "submit-rom",
        "an image that is a ROM, on the board that has a place for it",
        message("SUBMIT", 9, mode=1, image_bytes=1 << 17, image_digest=HI_DIGEST, board=1, rom=True),
    )
    frames.add(
        "submit-vcpus",
        "several vCPUs that run at once",
        message("SUBMIT", 9, mode=3, image_bytes=9, vcpus=16),
    )
    frames.add(
        "submit-turn",
        "several vCPUs that take turns of so many steps, the same way each time",
        message("SUBMIT", 9, mode=3, image_bytes=9, deterministic=True, vcpus=2, turn=MOST64),
    )
    noisy = message("SUBMIT", 9, mode=1, image_bytes=1, segments=[(5, (0, 0, 0, 0xFFFF))])
    quiet = message("SUBMIT", 9, mode=1, image_bytes=1, segments=[(5, (0, 0, 0, 0x1FFF))])
    frames.add(
        "submit-attributes-top-bits",
        "bits 13-15 of a segment's attributes are ignored",
        {"hex": noisy["hex"], "canonical": quiet["hex"], "decoded": quiet["decoded"]},
    )
    frames.add(
        "submit-everything",
        "every field there is, every list at its most: 18,286 bytes, which only a frame_limit above 4096 takes",
        message(
            "SUBMIT",
            MOST32,
            **MOST_SUBMIT,
            cpu_budget=MOST64,
            exit_budget=MOST64,
            output_budget=MOST64,
            memory_budget=MOST64,
            meter=2,
            pause=True,
            report=31,
            segments=[(n, MOST_SEGMENT) for n in range(8)],
            tables=[(n, MOST_TABLE) for n in range(2)],
            controls=[(n, MOST64 - n) for n in range(6)],
            pieces=PIECES,
            dumps=PIECES[:64],
            trace=True,
            deterministic=True,
            image_digest="ff" * 32,
            snapshot=(3, MOST64),
            priority=9,
            wait_budget=MOST64,
            board=1,
            rom=True,
            vcpus=255,
            turn=MOST64,
            **{"from": "ee" * 32},
        ),
    )


def post_mortems(frames: RightFrames) -> None:
    """RESULT: figures and post-mortem; OUTPUT: the channels of memory and trace."""
    frames.add(
        "result-post-mortem",
        "what all bits of `report` ask for",
        message("RESULT", 5, outcome=1, **COUNTERS, **POST_MORTEM),
    )
    frames.add(
        "result-cause",
        "a triple fault that a page fault started",
        message("RESULT", 5, outcome=4, **COUNTERS, cause_vector=14, cause_error_code=2, cause_address=0xDEAD0000),
    )
    frames.add(
        "result-cause-vector",
        "one that an invalid instruction started",
        message("RESULT", 5, outcome=4, cause_vector=6),
    )
    frames.add(
        "result-windows-empty",
        "windows and a log of nothing; an address is always there",
        message("RESULT", 5, outcome=1, code_window=(MOST64, b""), stack_window=(0, b""), exit_log=[]),
    )
    frames.add(
        "result-exit-kinds",
        "an exit record of each kind",
        message(
            "RESULT",
            5,
            outcome=1,
            exit_log=[(n, 4 if n < 5 else 0, 1 if n < 5 else 0, n, n << 8, n << 16) for n in range(1, 10)],
        ),
    )
    noisy = message("RESULT", 5, outcome=1, exit_log=[PORT_OUT, HLT])
    frames.add(
        "result-exit-log-zero",
        "the zero part of an exit record is ignored",
        {
            "hex": noisy["hex"].replace(exit_record(HLT)[0], exit_record(HLT, zero=0xFFFF)[0]),
            "canonical": noisy["hex"],
            "decoded": noisy["decoded"],
        },
    )
    everything: dict[str, Any] = {
        "outcome": 14,
        "text": "€" * 170 + "..",
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
        "cpu_ns": MOST64,
        "touched_bytes": MOST64,
        "cause_vector": 255,
        "cause_error_code": MOST32,
        "cause_address": MOST64,
        "code_window": (MOST64, bytes(range(128))),
        "stack_window": (MOST64, bytes(i % 256 for i in range(512))),
        "exit_log": [(1 + i % 9, 255, MOST32, MOST64, MOST64 - 1, MOST64 - i) for i in range(32)],
        "fpu": bytes(i % 251 for i in range(512)).hex(),
        "digest": "ff" * 32,
    }
    made = message("RESULT", MOST32, **everything)
    assert int(made["hex"][:8], 16) < 4096  # section 3.13
    frames.add("result-everything", "every field at its most fits in the least frame_limit", made)
    several = {name: value for name, value in everything.items() if name != "exit_log"}
    several["processors"] = [[i % 4, MOST64 - i, MOST64] for i in range(16)]
    made = message("RESULT", MOST32, **several)
    assert int(made["hex"][:8], 16) < 4096  # section 3.13
    frames.add("result-vcpus-everything", "with several vCPUs too, as long as their registers and the last exits stay out of it", made)
    several["processor_registers"] = [[i % 2] + [(MOST64 - i) * (i % 2)] * 18 for i in range(16)]
    frames.add(
        "result-vcpus-registers",
        "the registers of 16 vCPUs, of which the worker does not know each",
        message("RESULT", MOST32, **several),
    )
    frames.add(
        "result-vcpus",
        "two vCPUs whose steps are not counted: one halted, the other ended the job",
        message(
            "RESULT", 2, outcome=2, code=7, processors=[[0, 0, 5000], [1, 0, 7000]],
            processor_registers=[[1] + list(range(18)), [0] * 19],
        ),
    )
    frames.add(
        "output-memory",
        "channel 4: half of a memory record; frames end anywhere",
        data("OUTPUT", 2, 0, bytes.fromhex("0000000000007000 00000010 0102030405"), channel=4),
    )
    frames.add(
        "output-trace",
        "channel 5: the step of `mov al,'H'` at 0x1000 in real mode",
        data(
            "OUTPUT",
            2,
            33,
            bytes.fromhex("01020110 0000000000001000 0000000000001000 b048 000000000000000048"),
            channel=5,
        ),
    )


def resumptions(frames: RightFrames) -> None:
    """PAUSED and EXTEND."""
    frames.add("paused-minimum", "the two required fields", message("PAUSED", 1, steps=0, keep_ns=0))
    frames.add(
        "paused-typical",
        "with the registers as they stand",
        message("PAUSED", 1, steps=1000, keep_ns=60 * SECOND, registers=REGISTERS, system=SYSTEM),
    )
    frames.add(
        "paused-maximum",
        "every field at its most",
        message(
            "PAUSED",
            MOST32,
            steps=MOST64,
            keep_ns=MOST64,
            registers=[MOST64 - i for i in range(18)],
            system=MOST_SYSTEM,
        ),
    )
    frames.add(
        "paused-unknown-field",
        "a field of a later minor version is skipped",
        message("PAUSED", 1, {0x0005: "00"}, steps=5, keep_ns=6),
    )
    frames.add("extend-minimum", "no more steps: the job ends", message("EXTEND", 1, steps=0))
    frames.add("extend-typical", "a thousand more", message("EXTEND", 1, steps=1000))
    frames.add("extend-maximum", "as many as there can be", message("EXTEND", MOST32, steps=MOST64))
    frames.add(
        "extend-unknown-field", "a field that is not critical is skipped", message("EXTEND", 1, {0x0001: "ff"}, steps=2)
    )
