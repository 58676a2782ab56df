# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The records of OUTPUT channels 4 and 5 (PROTOCOL.md section 3.10): bytes in any pieces in, dictionaries out."""

from __future__ import annotations

import struct

from .codec import EXIT_LOG, FIRST_REGISTERS, Json, WireError
from .messages import REGISTERS, exit_record
from .model import Exit, MemoryRecord, Step

MEMORY, TRACE = 4, 5
MEMORY_HEADER = struct.Struct(">QI")
STEP_HEADER = struct.Struct(">BBBBQQ")
EXIT_BYTES = 33
LONGEST_HEADER = 20  # bytes that tell how long any record is
MOST_MEMORY, MOST_CODE, MOST_CHANGES = 32768, 15, 17


class BrokenStream(Exception):
    """There is no record where one should be."""


def memory_size(data: bytes) -> int | None:
    """Bytes of the record at the front, or None: its header is not complete."""
    if len(data) < MEMORY_HEADER.size:
        return None
    count: int = MEMORY_HEADER.unpack_from(data)[1]
    if count > MOST_MEMORY:
        raise BrokenStream(f"a memory record of {count} bytes")
    return MEMORY_HEADER.size + count


def memory_record(data: bytes) -> Json:
    return {"address": str(MEMORY_HEADER.unpack_from(data)[0]), "bytes": data[MEMORY_HEADER.size :].hex()}


def trace_size(data: bytes) -> int | None:
    if data[:1] == b"\2":
        return EXIT_BYTES
    if data[:1] not in (b"", b"\1"):
        raise BrokenStream(f"a trace record of kind {data[0]}")
    if len(data) < STEP_HEADER.size:
        return None
    _, code, changes, bits, _, _ = STEP_HEADER.unpack_from(data)
    if code > MOST_CODE or changes > MOST_CHANGES or bits not in (16, 32, 64):
        raise BrokenStream(f"a step of {code} bytes and {changes} changes in a segment of {bits} bits")
    return STEP_HEADER.size + int(code) + 9 * int(changes)


def trace_record(data: bytes) -> Json:
    try:
        if data[0] == 2:
            return {"kind": "exit"} | {("exit" if k == "kind" else k): v for k, v in EXIT_LOG.read(data[1:])[0].items()}
        _, code, _, bits, rip, linear = STEP_HEADER.unpack_from(data)
        end = STEP_HEADER.size + code
        step = {"kind": "step", "rip": str(rip), "linear_address": str(linear), "bits": bits}
        # A step's changes have the form of a SUBMIT's registers, and its rules.
        return step | {"code": data[STEP_HEADER.size : end].hex(), "changes": FIRST_REGISTERS.read(data[end:])}
    except WireError as error:
        raise BrokenStream(str(error)) from None


def encode(channel: int, record: Json) -> bytes:
    if channel == MEMORY:
        data = bytes.fromhex(record["bytes"])
        return MEMORY_HEADER.pack(int(record["address"]), len(data)) + data
    if record["kind"] == "exit":
        return b"\2" + EXIT_LOG.write([record | {"kind": record["exit"]}])
    code, changes = bytes.fromhex(record["code"]), record["changes"]
    numbers = (len(code), len(changes), record["bits"], int(record["rip"]), int(record["linear_address"]))
    return STEP_HEADER.pack(1, *numbers) + code + FIRST_REGISTERS.write(changes)


class RecordStream:
    """One channel of one job. After a BrokenStream it must not be fed again."""

    def __init__(self, channel: int) -> None:
        self.size, self.read = {MEMORY: (memory_size, memory_record), TRACE: (trace_size, trace_record)}[channel]
        self.buffer = b""
        self.records: list[Json] = []

    def feed(self, data: bytes) -> None:
        rest = memoryview(self.buffer + data)
        while (size := self.size(rest[:LONGEST_HEADER].tobytes())) is not None and size <= len(rest):
            self.records.append(self.read(rest[:size].tobytes()))
            rest = rest[size:]
        self.buffer = rest.tobytes()


def memory_value(record: Json) -> MemoryRecord:
    return MemoryRecord(int(record["address"]), bytes.fromhex(record["bytes"]))


def trace_value(record: Json) -> Step | Exit:
    if record["kind"] == "exit":
        return exit_record(record, "exit")
    changes = {REGISTERS[change["register"]]: int(change["value"]) for change in record["changes"]}
    rip, linear_address = int(record["rip"]), int(record["linear_address"])
    return Step(rip, linear_address, record["bits"], bytes.fromhex(record["code"]), changes)
