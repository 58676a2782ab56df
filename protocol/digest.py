# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The digest of a result (PROTOCOL.md section 4), from what a job showed and left in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from kvmjob.codec import FIELD_HEADER, split_fields

OUTCOME, USED, STEPS, REGISTERS, SYSTEM = 0x0001, 0x0009, 0x000E, 0x0015, 0x0016
PROCESSORS, PROCESSOR_REGISTERS = 0x0027, 0x0028
OUTCOME_TAGS = range(0x0002, 0x000C)  # not 0x0021: a snapshot's name follows from the job
PAGE = 4096
TIME_AND_MEMORY = (7, 8, 11)  # outcomes whose `used` differs from run to run


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def memory_part(memory: bytes) -> bytes:
    """What the digest takes of guest memory, all of it from address 0 on."""
    parts = [len(memory).to_bytes(8, "big")]
    for address in range(0, len(memory), PAGE):
        page = memory[address : address + PAGE]
        if any(page):
            parts += [address.to_bytes(8, "big"), page]
    return sha256(b"".join(parts))


def memory_of(size: int, contents: Iterable[tuple[int, bytes]]) -> bytes:
    """Guest memory of this size that is zero but for these bytes."""
    memory = bytearray(size)
    for address, data in contents:
        memory[address : address + len(data)] = data
    return bytes(memory)


def processor_parts(fields: dict[int, bytes]) -> list[bytes]:
    """What it takes of several vCPUs, whose registers the RESULT tells."""
    parts: list[bytes] = []
    told, registers = fields.get(PROCESSORS, b""), fields.get(PROCESSOR_REGISTERS, b"")
    for number in range(len(told) // 17):
        entry = told[17 * number : 17 * (number + 1)]
        steps = b"\1" + entry[1:9] if STEPS in fields else b"\0"
        parts += [entry[:1], steps, registers[145 * number : 145 * (number + 1)]]
    return parts


def digest(result: bytes, console: bytes, port_writes: bytes, memory: bytes) -> bytes:
    """Of a RESULT's payload, all console bytes, all records of channel 3, and all of guest memory at the end."""
    fields = dict(split_fields(result))
    outcome = fields[OUTCOME][0]
    parts = [b"kvmjob-digest-1\0", bytes([outcome])]
    for tag, value in fields.items():
        if tag in OUTCOME_TAGS and not (tag == USED and outcome in TIME_AND_MEMORY):
            parts += [FIELD_HEADER.pack(tag, len(value)), value]
    parts += [b"\1", fields[STEPS]] if STEPS in fields else [b"\0"]
    parts += [b"\1", fields[REGISTERS], fields[SYSTEM]] if {REGISTERS, SYSTEM} <= fields.keys() else [b"\0"]
    parts += [sha256(console), sha256(port_writes), memory_part(memory)]
    parts += processor_parts(fields)
    return sha256(b"".join(parts))
