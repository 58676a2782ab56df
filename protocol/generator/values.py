# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Values that the test vectors share."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

KIB, MIB, SECOND = 1 << 10, 1 << 20, 1_000_000_000
MOST32, MOST64, MOST_CREDIT = 2**32 - 1, 2**64 - 1, 2**31 - 1
HALT = b"\xf4"
HI = bytes.fromhex("b048e6e9b069e6e9f4")  # mov al,'H'; out 0xe9,al; mov al,'i'; out 0xe9,al; hlt
ECHO = bytes.fromhex("e460e6e9ebfa")
LOOP = bytes.fromhex("ebfe")
CLIENT_HELLO: dict[str, Any] = {"version": (1, 0), "frame_limit": 65536, "software": "kvmjob 0.1.0", "window": 65536}
WORKER_HELLO: dict[str, Any] = {
    "version": (1, 0),
    "frame_limit": 65536,
    "software": "kvmjobd 0.1.0",
    "window": 65536,
    "job_limit": 256,
    "image_limit": 64 * MIB,
    "memory_minimum": MIB,
    "memory_maximum": 1024 * MIB,
    "wall_maximum": 3600 * SECOND,
    "slots": 2,
    "modes": [(1, 1), (2, 1), (3, 1), (4, 2), (5, 0)],
}
HI_DIGEST, SNAPSHOT_NAME = sha256(HI).hexdigest(), sha256(b"a snapshot").hexdigest()
REGISTERS = [0x69, 0, 0, 0, 0, 0, 0, 0x7000, 0, 0, 0, 0, 0, 0, 0, 0, 0x1009, 0x2]
DATA16, CODE16 = 0x93, 0x9B
SYSTEM: dict[str, Any] = {
    "cs": (0, 0xFFFF, 0, CODE16),
    "ds": (0, 0xFFFF, 0, DATA16),
    "es": (0, 0xFFFF, 0, DATA16),
    "fs": (0, 0xFFFF, 0, DATA16),
    "gs": (0, 0xFFFF, 0, DATA16),
    "ss": (0, 0xFFFF, 0, DATA16),
    "tr": (0, 0xFFFF, 0, 0x8B),
    "ldt": (0, 0xFFFF, 0, 0x1082),
    "gdt": (0, 0xFFFF),
    "idt": (0, 0x3FF),
    "cr0": 0x60000010,
    "cr2": 0,
    "cr3": 0,
    "cr4": 0,
    "cr8": 0,
    "efer": 0,
    "apic_base": 0xFEE00900,
}
MOST_SYSTEM: dict[str, Any] = {
    name: (MOST64, MOST32, 0xFFFF, 0x1FFF) for name in ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"]
} | {
    "gdt": (MOST64, 0xFFFF),
    "idt": (MOST64 - 1, 0xFFFE),
    "cr0": MOST64,
    "cr2": MOST64 - 2,
    "cr3": MOST64 - 3,
    "cr4": MOST64 - 4,
    "cr8": 15,
    "efer": MOST64 - 5,
    "apic_base": MOST64 - 6,
}
# SUBMIT, every field of a plain job at its most: 17 registers, all but rip.
MOST_SUBMIT: dict[str, Any] = {
    "label": "l" * 128,
    "mode": 255,
    "image_bytes": MOST64,
    "load_address": MOST64,
    "entry_point": MOST64,
    "registers": [(n, MOST64 - n) for n in range(18) if n != 16],
    "memory_bytes": MOST64,
    "step_budget": MOST64,
    "wall_budget": MOST64,
    "port_writes": True,
    "input": True,
}
COUNTERS: dict[str, Any] = {
    "meter": 1,
    "steps": 5,
    "queue_ns": 41_000,
    "wall_ns": 1_250_000,
    "exits": [2, 0, 5, 0, 1],
    "output_bytes": 2,
    "unclaimed_port_writes": 0,
    "dropped_memory_writes": 0,
    "registers": REGISTERS,
    "system": SYSTEM,
}
# An access's kind, bytes of an element, elements, address, first value, RIP.
PORT_OUT, HLT = (2, 1, 1, 0xE9, 0x48, 0x1004), (5, 0, 0, 0, 0, 0x1009)
CODE_WINDOW, STACK_WINDOW = (0x1000, HI), (0x7000, bytes(16))
POST_MORTEM: dict[str, Any] = {
    "cpu_ns": 812_000,
    "touched_bytes": 24_576,
    "code_window": CODE_WINDOW,
    "stack_window": STACK_WINDOW,
    "exit_log": [PORT_OUT, HLT],
    "fpu": "7f03" + "00" * 22 + "801f0000ffff0000" + "00" * 480,
    "digest": "5a" * 32,
}
OUTCOMES: dict[str, dict[str, Any]] = {
    "halted": {"outcome": 1},
    "exited": {"outcome": 2, "code": 3},
    "faulted": {"outcome": 3, "vector": 14, "error_code": 2, "address": 0xDEAD0000, "rip": 0x100010},
    "triple-fault": {"outcome": 4},
    "unemulatable": {"outcome": 5, "rip": 0x1000, "instruction": "0f0bf4"},
    "steps-exhausted": {"outcome": 6, "limit": 1000, "used": 1000},
    "cpu-time-exhausted": {"outcome": 7, "limit": 2 * SECOND, "used": 2 * SECOND + 812_345},
    "wall-time-exhausted": {"outcome": 8, "limit": 10 * SECOND, "used": 10 * SECOND + 1_204},
    "exits-exhausted": {"outcome": 9, "limit": 1_000_000, "used": 1_000_001},
    "output-exhausted": {"outcome": 10, "limit": 64 * MIB, "used": 64 * MIB},
    "memory-exhausted": {"outcome": 11, "limit": 16 * MIB, "used": 16 * MIB + 4096},
    "cancelled": {"outcome": 12, "canceller": 1},
    "wait-expired": {"outcome": 13, "limit": 30 * SECOND},
    "host-error": {"outcome": 14, "text": "KVM_RUN failed: EFAULT"},
    "snapshot-taken": {"outcome": 15, "snapshot": SNAPSHOT_NAME},
}
