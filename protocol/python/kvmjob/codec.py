# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The kvmjob wire, coded and decoded from PROTOCOL.md alone: a second opinion on the Swift codec.

Bytes become frames, fields become dictionaries that JSON can hold; numbers of 8 bytes become decimal strings, because
many JSON readers keep only 53 bits. The bytes of a stream stay bytes. `Reader` takes bytes in any pieces;
conversation.py knows what frames may follow each other.

    python3 -m kvmjob.codec FILE   prints the frames of one direction of a captured connection, one line of JSON each
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Json = Any
HEADER = struct.Struct(">IBBHI")
DATA_HEADER = struct.Struct(">BBHQ")
FIELD_HEADER = struct.Struct(">HI")
END = 1
FIRST_FRAME_LIMIT = 4096
LARGEST_FRAME_LIMIT = 1_048_576
LARGEST_CREDIT = 2**31 - 1


class WireError(Exception):
    """What an ERROR frame would say: job 0 ends the connection, another job refuses that SUBMIT."""

    def __init__(self, code: str, tag: int | None = None, job: int = 0) -> None:
        super().__init__(code, tag, job)
        self.code, self.tag, self.job = code, tag, job


# Kinds of values (section 2). `fits` judges the size; `read` gets bytes of that size and judges text, then value.


@dataclass(frozen=True)
class Kind:
    fits: Callable[[int], bool]
    read: Callable[[bytes], Json]
    write: Callable[[Json], bytes]


def require(condition: bool, code: str) -> None:
    if not condition:
        raise WireError(code)


def plain(value: int, size: int) -> Json:
    return str(value) if size == 8 else value


def uint(size: int, low: int = 0, high: int = 2**64 - 1) -> Kind:
    def read(data: bytes) -> Json:
        value = int.from_bytes(data, "big")
        require(low <= value <= high, "bad-value")
        return plain(value, size)

    return Kind(lambda n: n == size, read, lambda value: int(value).to_bytes(size, "big"))


def text(most: int) -> Kind:
    def read(data: bytes) -> Json:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise WireError("bad-text") from None

    return Kind(lambda n: n <= most, read, lambda value: value.encode("utf-8"))


def record(layout: str, names: str, count: range, valid: Callable[[list[Json]], bool] = lambda _: True) -> Kind:
    """A list of equal records, each a dictionary with these names. `x` in the layout is a byte that is ignored."""
    shape, keys = struct.Struct(">" + layout), names.split()
    sizes = [struct.calcsize(">" + letter) for letter in layout if letter != "x"]

    def read(data: bytes) -> Json:
        rows = [{k: plain(v, s) for k, v, s in zip(keys, row, sizes)} for row in shape.iter_unpack(data)]
        require(valid(rows), "bad-value")
        return rows

    def write(rows: Json) -> bytes:
        return b"".join(shape.pack(*(int(row[key]) for key in keys)) for row in rows)

    return Kind(lambda n: n % shape.size == 0 and n // shape.size in count, read, write)


def single(kind: Kind) -> Kind:
    """The one record of a list of one."""
    return Kind(kind.fits, lambda data: kind.read(data)[0], lambda value: kind.write([value]))


def rising(most: int, *never: int) -> Callable[[list[Json]], bool]:
    """Whether the records' register numbers rise strictly, are known, and are none of these."""

    def valid(rows: list[Json]) -> bool:
        numbers = [row["register"] for row in rows]
        known = all(n <= most and n not in never for n in numbers)
        return known and all(a < b for a, b in zip(numbers, numbers[1:]))

    return valid


def window(most: int) -> Kind:
    """A linear address and the memory from there on."""
    return Kind(
        lambda n: 8 <= n <= 8 + most,
        lambda data: {"address": str(int.from_bytes(data[:8], "big")), "bytes": data[8:].hex()},
        lambda value: U64.write(value["address"]) + bytes.fromhex(value["bytes"]),
    )


def snapshot_point() -> Kind:
    """A kind of point and its value, of which `ready` has none and steps are at least one."""
    kind = single(record("BQ", "kind value", range(1, 2)))

    def read(data: bytes) -> Json:
        point = kind.read(data)
        require(point["kind"] in (1, 2, 3), "bad-value")
        require(point["kind"] != 2 or int(point["value"]) > 0, "bad-value")
        return point | ({"value": "0"} if point["kind"] == 1 else {})

    return Kind(kind.fits, read, kind.write)


def path(most: int) -> Kind:
    """Bytes, at least one and none of them zero."""

    def read(data: bytes) -> Json:
        require(0 not in data, "bad-value")
        return data.hex()

    return Kind(lambda n: 1 <= n <= most, read, bytes.fromhex)


def strings(most: int, count: int) -> Kind:
    """Strings of bytes, behind each of which is a zero."""

    def read(data: bytes) -> Json:
        require(data[-1:] in (b"", b"\0") and data.count(0) <= count, "bad-value")
        return [part.hex() for part in data.split(b"\0")[:-1]]

    return Kind(lambda n: n <= most, read, lambda rows: b"".join(bytes.fromhex(row) + b"\0" for row in rows))


def named(digests: Kind) -> Kind:
    """Layers, whose digests are four numbers of 8 bytes to `record`, and one to people."""
    keys = ["a", "b", "c", "d"]

    def read(data: bytes) -> Json:
        return [
            {"digest": b"".join(U64.write(row[key]) for key in keys).hex(), "bytes": row["bytes"]}
            for row in digests.read(data)
        ]

    def write(rows: Json) -> bytes:
        return b"".join(bytes.fromhex(row["digest"]) + U64.write(row["bytes"]) for row in rows)

    return Kind(digests.fits, read, write)


def call_numbers(most: int) -> Kind:
    """Numbers of system calls, which rise strictly."""

    def read(data: bytes) -> Json:
        numbers = [int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4)]
        require(all(a < b for a, b in zip(numbers, numbers[1:])), "bad-value")
        return numbers

    return Kind(
        lambda n: n % 4 == 0 and n // 4 <= most, read, lambda value: b"".join(n.to_bytes(4, "big") for n in value)
    )


def integers(size: int, count: range, low: int = 0, high: int = 2**64 - 1) -> Kind:
    """Numbers of one size, at least and at most so many."""
    kind = uint(size, low, high)

    def read(data: bytes) -> Json:
        return [kind.read(data[i : i + size]) for i in range(0, len(data), size)]

    return Kind(
        lambda n: n % size == 0 and n // size in count, read, lambda rows: b"".join(kind.write(row) for row in rows)
    )


def pieces_of(data: bytes, most: int, header: int, rest: Callable[[bytes], int]) -> list[bytes]:
    """Records of a header of one size and as many bytes as it says, at most so many."""
    out: list[bytes] = []
    while data:
        require(len(out) < most and len(data) >= header and len(data) >= header + rest(data), "field-size")
        size = header + rest(data)
        out.append(data[:size])
        data = data[size:]
    return out


def rises(numbers: list[int]) -> bool:
    return all(a < b for a, b in zip(numbers, numbers[1:]))


def job_list() -> Kind:
    """Jobs, each with a title behind it: a record's size, then all text, then all values."""
    kind = record("QIIBBBBQQQ", "id user process state mode priority n memory_bytes queue_ns run_ns", range(257))
    header, words = 44, text(255)

    def read(data: bytes) -> Json:
        parts = pieces_of(data, 256, header, lambda part: part[19])
        titles = [words.read(part[header:]) for part in parts]
        rows = kind.read(b"".join(part[:header] for part in parts))
        require(rises([int(row["id"]) for row in rows]), "bad-value")
        for row in rows:
            require(1 <= row["state"] <= 4 and 1 <= row["mode"] <= 5 and row["priority"] <= 9, "bad-value")
            require(row.pop("n") <= 128, "bad-value")
        return [row | {"title": title} for row, title in zip(rows, titles)]

    def write(rows: Json) -> bytes:
        titles = [words.write(row["title"]) for row in rows]
        made = [row | {"n": len(title)} for row, title in zip(rows, titles)]
        return b"".join(kind.write([row]) + title for row, title in zip(made, titles))

    return Kind(lambda n: n <= 256 * (header + 128), read, write)


def detached_list() -> Kind:
    """Detached jobs, each with a label and a key behind it; judged as a list of jobs is."""
    kind = record("QIBBBBIxxxxQQQ", "id user state outcome n m run accepted_at ended_at output_bytes", range(257))
    header, words = 48, text(255)

    def read(data: bytes) -> Json:
        parts = pieces_of(data, 256, header, lambda part: part[14] + part[15])
        texts = [
            {"label": words.read(part[header : header + part[14]]), "key": words.read(part[header + part[14] :])}
            for part in parts
        ]
        rows = kind.read(b"".join(part[:header] for part in parts))
        require(rises([int(row["id"]) for row in rows]), "bad-value")
        for row in rows:
            require(1 <= row["state"] <= 3 and row["outcome"] <= 15, "bad-value")
            require(row.pop("n") <= 128 and row.pop("m") <= 128, "bad-value")
        return [row | both for row, both in zip(rows, texts)]

    def write(rows: Json) -> bytes:
        out = b""
        for row in rows:
            label, key = words.write(row["label"]), words.write(row["key"])
            out += kind.write([row | {"n": len(label), "m": len(key)}]) + label + key
        return out

    return Kind(lambda n: n <= 256 * (header + 128 + 128), read, write)


def key(most: int) -> Kind:
    """Text of at least one byte."""
    kind = text(most)
    return Kind(lambda n: 1 <= n <= most, kind.read, kind.write)


def offsets() -> Kind:
    """How far a client is in each channel: channels rise, and no sum of an offset and bytes overflows."""

    def valid(rows: list[Json]) -> bool:
        channels = [row["channel"] for row in rows]
        return rises([0, *channels]) and all(row["channel"] <= 3 and int(row["offset"]) < 2**63 for row in rows)

    return record("BQ", "channel offset", range(4), valid)


def tenant_list() -> Kind:
    names = "user connections queued running paused memory_bytes bytes_in_flight kept_bytes slot_ns"
    layout, counts = "IIIIIxxxxQQQQQQQ", " finished failed refused"
    return record(layout, names + counts, range(257), lambda rows: rises([row["user"] for row in rows]))


def samples() -> Kind:
    """Counts in the order of kind and label; those of kinds that are not known are skipped."""
    kind = record(
        "HHQ", "kind label value", range(513), lambda rows: rises([row["kind"] << 16 | row["label"] for row in rows])
    )
    return Kind(kind.fits, lambda data: [row for row in kind.read(data) if 1 <= row["kind"] <= 15], kind.write)


def histograms() -> Kind:
    """Distributions in the order of their kinds; those of kinds that are not known are skipped."""
    header = 12

    def read(data: bytes) -> Json:
        parts = pieces_of(data, 16, header, lambda part: 8 * int.from_bytes(part[2:4], "big"))
        heads = [struct.unpack_from(">HHQ", part) for part in parts]
        require(rises([kind for kind, _, _ in heads]), "bad-value")
        require(all(n <= 64 and (kind not in (1, 2) or n == 9) for kind, n, _ in heads), "bad-value")
        return [
            {"kind": kind, "sum": str(total), "counts": [str(c) for c in struct.unpack(f">{n}Q", part[header:])]}
            for (kind, n, total), part in zip(heads, parts)
            if kind in (1, 2)
        ]

    def write(rows: Json) -> bytes:
        return b"".join(
            struct.pack(">HHQ", row["kind"], len(row["counts"]), int(row["sum"]))
            + b"".join(U64.write(count) for count in row["counts"])
            for row in rows
        )

    return Kind(lambda n: n <= 16 * (header + 8 * 64), read, write)


def blob(most: int, least: int = 0) -> Kind:
    return Kind(lambda n: least <= n <= most, bytes.hex, bytes.fromhex)


def meaningful_attributes(kind: Kind) -> Kind:
    """Segments whose attributes keep the bits that mean something; the others are ignored."""

    def read(data: bytes) -> Json:
        return [row | {"attributes": row["attributes"] & 0x1FFF} for row in kind.read(data)]

    return Kind(kind.fits, read, kind.write)


SEGMENTS = "cs ds es fs gs ss tr ldt".split()
TABLES = "gdt idt".split()
SYSTEM_VALUES = "cr0 cr2 cr3 cr4 cr8 efer apic_base".split()
SEGMENT = single(meaningful_attributes(record("QIHH", "base limit selector attributes", range(1, 2))))
TABLE = single(record("QH", "base limit", range(1, 2)))


def read_system(data: bytes) -> Json:
    out: dict[str, Json] = {}
    for i, name in enumerate(SEGMENTS):
        out[name] = SEGMENT.read(data[16 * i : 16 * i + 16])
    for i, name in enumerate(TABLES):
        out[name] = TABLE.read(data[128 + 10 * i : 138 + 10 * i])
    return out | dict(zip(SYSTEM_VALUES, map(str, struct.unpack(">7Q", data[148:]))))


def write_system(value: Json) -> bytes:
    parts = [SEGMENT.write(value[name]) for name in SEGMENTS] + [TABLE.write(value[name]) for name in TABLES]
    return b"".join(parts) + b"".join(U64.write(value[name]) for name in SYSTEM_VALUES)


U8, U16, U32, U64 = uint(1), uint(2), uint(4), uint(8)
FLAG = Kind(lambda n: n == 1, lambda data: bool(uint(1, 0, 1).read(data)), lambda value: bytes([value]))
SET_FLAG = Kind(FLAG.fits, lambda data: bool(uint(1, 1, 1).read(data)), FLAG.write)
VERSION = single(record("BB", "major minor", range(1, 2)))
MODES = record("BB", "mode meter", range(257), lambda rows: all(row["meter"] <= 2 for row in rows))
FIRST_REGISTERS = record("BQ", "register value", range(18), rising(17, 16))
FIRST_SEGMENTS = meaningful_attributes(record("BQIHH", "register base limit selector attributes", range(9), rising(7)))
FIRST_TABLES = record("BQH", "register base limit", range(3), rising(1))
FIRST_CONTROLS = record("BQ", "register value", range(7), rising(5))
PIECES = record("QQ", "address count", range(1025))
DUMPS = record("QQ", "address count", range(65))
SNAPSHOT = snapshot_point()
STRINGS = strings(122_880, 4096)
LAYERS = named(record("QQQQQ", "a b c d bytes", range(17)))
EXIT_LOG = record(
    "BBxxIQQQ", "kind size elements address value rip", range(33), lambda rows: all(1 <= r["kind"] <= 9 for r in rows)
)
LAST_REGISTERS = Kind(
    lambda n: n == 144,
    lambda data: [str(value) for value in struct.unpack(">18Q", data)],
    lambda value: struct.pack(">18Q", *map(int, value)),
)
PROCESSORS = record("BQQ", "state steps cpu_ns", range(17), lambda rows: all(r["state"] <= 3 for r in rows))
PROCESSOR_REGISTERS = record(
    "B" + "Q" * 18,
    "known rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags",
    range(17),
    lambda rows: all(r["known"] <= 1 for r in rows),
)
EXITS = single(record("QQQQQ", "port_io mmio debug interrupted other", range(1, 2)))
SYSTEM = Kind(lambda n: n == 204, read_system, write_system)

# Messages (section 3). A name with a star is required.

Table = dict[int, tuple[str, Kind]]
FIELDS: dict[str, Table] = {
    "HELLO": {
        0x0001: ("version*", VERSION),
        0x0002: ("frame_limit*", uint(4, FIRST_FRAME_LIMIT, LARGEST_FRAME_LIMIT)),
        0x0003: ("software", text(128)),
        0x0004: ("window*", uint(4, 0, LARGEST_CREDIT)),
        0x0005: ("job_limit", U32),
        0x0006: ("image_limit", U64),
        0x0007: ("memory_minimum", U64),
        0x0008: ("memory_maximum", U64),
        0x0009: ("wall_maximum", U64),
        0x000A: ("slots", U32),
        0x000B: ("modes", MODES),
    },
    "GOAWAY": {0x0001: ("reason*", uint(1, 1, 2)), 0x0002: ("last_job", U32)},
    "ERROR": {
        0x0001: ("code*", U16),
        0x0002: ("frame_type", U8),
        0x0003: ("field_tag", U16),
        0x0004: ("limit", U64),
        0x0005: ("value", U64),
        0x0006: ("retryable", FLAG),
        0x0007: ("text", text(512)),
        0x0008: ("limit_name", text(64)),
        0x0009: ("retry_ns", U64),
    },
    "WINDOW": {0x0001: ("credit*", uint(4, 1, LARGEST_CREDIT))},
    "SUBMIT": {
        0x0001: ("label", text(128)),
        0x8002: ("mode*", U8),
        0x8003: ("image_bytes*", U64),
        0x8004: ("load_address", U64),
        0x8005: ("entry_point", U64),
        0x8006: ("registers", FIRST_REGISTERS),
        0x8007: ("memory_bytes", U64),
        0x8008: ("step_budget", U64),
        0x8009: ("wall_budget", U64),
        0x800A: ("port_writes", FLAG),
        0x800B: ("input", FLAG),
        0x800C: ("cpu_budget", U64),
        0x800D: ("exit_budget", U64),
        0x800E: ("output_budget", U64),
        0x800F: ("memory_budget", U64),
        0x8010: ("meter", uint(1, 1, 2)),
        0x8011: ("pause", FLAG),
        0x8012: ("report", uint(1, 0, 31)),
        0x8013: ("segments", FIRST_SEGMENTS),
        0x8014: ("tables", FIRST_TABLES),
        0x8015: ("controls", FIRST_CONTROLS),
        0x8016: ("pieces", PIECES),
        0x8017: ("dumps", DUMPS),
        0x8018: ("trace", FLAG),
        0x8019: ("deterministic", FLAG),
        0x801A: ("image_digest", blob(32, 32)),
        0x801B: ("snapshot", SNAPSHOT),
        0x801C: ("from", blob(32, 32)),
        0x801D: ("program", path(4095)),
        0x801E: ("arguments", STRINGS),
        0x801F: ("environment", STRINGS),
        0x8020: ("layers", LAYERS),
        0x8021: ("clock", uint(1, 1, 2)),
        0x8022: ("seed", U64),
        0x8023: ("scratch_bytes", U64),
        0x8024: ("priority", uint(1, 0, 9)),
        0x8025: ("wait_budget", U64),
        0x8026: ("detach", FLAG),
        0x8027: ("key", key(128)),
        0x8028: ("board", uint(1, 0, 1)),
        0x8029: ("rom", FLAG),
        0x802A: ("vcpus", uint(1)),
        0x802B: ("turn", U64),
    },
    "ACCEPTED": {
        0x0001: ("queue_position", U32),
        0x0002: ("id", U64),
        0x0003: ("wait_ns", U64),
        0x0004: ("repeated", FLAG),
    },
    "STARTED": {
        0x0001: ("queue_ns", U64),
        0x0002: ("step_budget", U64),
        0x0003: ("wall_budget", U64),
        0x0004: ("memory_bytes", U64),
    },
    "RESULT": {
        0x0001: ("outcome*", uint(1, 1, 15)),
        0x0002: ("code", U32),
        0x0003: ("vector", U8),
        0x0004: ("error_code", U32),
        0x0005: ("address", U64),
        0x0006: ("rip", U64),
        0x0007: ("instruction", blob(15)),
        0x0008: ("limit", U64),
        0x0009: ("used", U64),
        0x000A: ("canceller", uint(1, 1, 5)),
        0x000B: ("text", text(512)),
        0x000C: ("meter", uint(1, 1, 2)),
        0x000D: ("meter_reason", text(512)),
        0x000E: ("steps", U64),
        0x000F: ("queue_ns", U64),
        0x0010: ("wall_ns", U64),
        0x0011: ("exits", EXITS),
        0x0012: ("output_bytes", U64),
        0x0013: ("unclaimed_port_writes", U64),
        0x0014: ("dropped_memory_writes", U64),
        0x0015: ("registers", LAST_REGISTERS),
        0x0016: ("system", SYSTEM),
        0x0017: ("cpu_ns", U64),
        0x0018: ("touched_bytes", U64),
        0x0019: ("cause_vector", U8),
        0x001A: ("cause_error_code", U32),
        0x001B: ("cause_address", U64),
        0x001C: ("code_window", window(128)),
        0x001D: ("stack_window", window(512)),
        0x001E: ("exit_log", EXIT_LOG),
        0x001F: ("fpu", blob(512, 512)),
        0x0020: ("digest", blob(32, 32)),
        0x0021: ("snapshot", blob(32, 32)),
        0x0022: ("signal", uint(1, 1, 64)),
        0x0023: ("system_calls", U64),
        0x0024: ("unknown_calls", call_numbers(64)),
        0x0025: ("place", text(256)),
        0x0026: ("peak_bytes", U64),
        0x0027: ("processors", PROCESSORS),
        0x0028: ("processor_registers", PROCESSOR_REGISTERS),
    },
    "EXTEND": {0x8001: ("steps*", U64)},
    "PAUSED": {
        0x0001: ("steps*", U64),
        0x0002: ("keep_ns*", U64),
        0x0003: ("registers", LAST_REGISTERS),
        0x0004: ("system", SYSTEM),
    },
    "WANT_IMAGE": {0x0001: ("layers", uint(4, 1))},
    "ATTACH": {
        0x8001: ("id*", U64),
        0x8002: ("run", U32),
        0x8003: ("offsets", offsets()),
        0x8004: ("output", FLAG),
        0x8005: ("follow", FLAG),
    },
    "ATTACHED": {
        0x0001: ("state*", uint(1, 1, 3)),
        0x0002: ("run*", U32),
        0x0003: ("label", text(128)),
        0x0004: ("output_bytes", U64),
    },
    "LEFT": {0x0001: ("reason*", uint(1, 1, 4))},
    "QUERY": {0x8001: ("what*", uint(1, 1, 5)), 0x8002: ("after", U64)},
    "ANSWER": {
        0x0001: ("what*", uint(1, 1, 5)),
        0x0002: ("more", FLAG),
        0x0010: ("software", text(128)),
        0x0011: ("backend", text(128)),
        0x0012: ("uptime_ns", U64),
        0x0013: ("slots", U32),
        0x0014: ("running", U32),
        0x0015: ("queued", U32),
        0x0016: ("paused", U32),
        0x0017: ("connections", U32),
        0x0018: ("tenants", U32),
        0x0019: ("memory_limit", U64),
        0x001A: ("memory_bytes", U64),
        0x001B: ("finished", U64),
        0x001C: ("failed", U64),
        0x001D: ("draining", FLAG),
        0x001E: ("operator", FLAG),
        0x001F: ("confinement", U8),
        0x0030: ("tenant_list", tenant_list()),
        0x0031: ("job_list", job_list()),
        0x0032: ("samples", samples()),
        0x0033: ("histograms", histograms()),
        0x0034: ("detached_list", detached_list()),
    },
    "STOP": {
        0x8001: ("jobs", integers(8, range(1, 513))),
        0x8002: ("worker", SET_FLAG),
        0x8003: ("forget", integers(8, range(1, 513))),
    },
    "STOPPED": {
        0x0001: ("jobs", integers(1, range(1, 513), 1, 2)),
        0x0002: ("drains", FLAG),
        0x0003: ("forgotten", integers(1, range(1, 513), 1, 3)),
    },
}
# what an ANSWER tells of: the tags that it requires, and all that it has
ANSWERS: dict[int, set[int]] = {
    1: {*range(0x0010, 0x0020)},
    2: {0x0002, 0x0030},
    3: {0x0002, 0x0031},
    4: {0x0032, 0x0033},
    5: {0x0002, 0x0034},
}
OUTCOME_TAGS = {*range(0x0002, 0x000C), 0x0021}
# outcome: the tags it requires (section 5), the tags it may have besides
OUTCOMES: dict[int, tuple[set[int], set[int]]] = {n: ({8, 9}, set()) for n in range(6, 12)} | {
    1: (set(), set()),
    2: ({2}, set()),
    3: ({3, 6}, {4, 5}),
    4: (set(), set()),
    5: ({7}, {6}),
    12: ({10}, set()),
    13: ({8}, set()),
    14: ({11}, set()),
    15: ({0x21}, set()),
}


@dataclass(frozen=True)
class Message:
    name: str
    senders: str  # "c", "w" or "cw"
    job: str  # as in the table: "0", "n" or "0/n"
    shape: str | int | tuple[int, ...]  # "fields", so many opaque bytes, or the channels of data


MESSAGES: dict[int, Message] = {
    0x01: Message("HELLO", "cw", "0", "fields"),
    0x02: Message("PING", "cw", "0", 8),
    0x03: Message("PONG", "cw", "0", 8),
    0x04: Message("GOAWAY", "w", "0", "fields"),
    0x05: Message("ERROR", "cw", "0/n", "fields"),
    0x06: Message("WINDOW", "cw", "n", "fields"),
    0x10: Message("SUBMIT", "c", "n", "fields"),
    0x11: Message("IMAGE", "c", "n", (0,)),
    0x12: Message("INPUT", "c", "n", (0,)),
    0x13: Message("CANCEL", "c", "n", 0),
    0x14: Message("EXTEND", "c", "n", "fields"),
    0x15: Message("ATTACH", "c", "n", "fields"),
    0x16: Message("LEAVE", "c", "n", 0),
    0x20: Message("ACCEPTED", "w", "n", "fields"),
    0x21: Message("STARTED", "w", "n", "fields"),
    0x22: Message("OUTPUT", "w", "n", (1, 2, 3, 4, 5)),
    0x23: Message("RESULT", "w", "n", "fields"),
    0x24: Message("PAUSED", "w", "n", "fields"),
    0x25: Message("WANT_IMAGE", "w", "n", "fields"),
    0x26: Message("ATTACHED", "w", "n", "fields"),
    0x27: Message("LEFT", "w", "n", "fields"),
    0x30: Message("QUERY", "c", "0", "fields"),
    0x31: Message("ANSWER", "w", "0", "fields"),
    0x32: Message("STOP", "c", "0", "fields"),
    0x33: Message("STOPPED", "w", "0", "fields"),
}
NUMBERS = {message.name: number for number, message in MESSAGES.items()}


@dataclass(frozen=True)
class Frame:
    """A frame of a known type, or (`type` is a number from 0x80) one to skip, or a SUBMIT to refuse."""

    type: str | int
    job: int = 0
    flags: int = 0
    fields: dict[str, Json] = field(default_factory=dict)
    data: bytes = b""  # of PING, PONG, IMAGE, INPUT and OUTPUT
    refusal: WireError | None = None

    def json(self) -> Json:
        if isinstance(self.type, int):
            return None
        if self.refusal:
            return {"type": self.type, "job": self.job, "refused": self.refusal.code, "field_tag": self.refusal.tag}
        shape = MESSAGES[NUMBERS[self.type]].shape
        has_bytes = isinstance(shape, tuple) or (isinstance(shape, int) and shape > 0)
        fields = self.fields | {"bytes": self.data.hex()} if has_bytes else self.fields
        return {"type": self.type, "job": self.job, "flags": self.flags, "fields": fields}


def check_header(header: bytes, frame_limit: int) -> tuple[int, int, int, int]:
    """The header's checks, in the order of section 1: (length, type, flags, job)."""
    length, number, flags, reserved, job = HEADER.unpack(header)
    message = MESSAGES.get(number)
    require(length <= frame_limit, "frame-too-long")
    require(reserved == 0, "reserved-not-zero")
    if number < 0x80:
        require(flags & ~(END if message and isinstance(message.shape, tuple) else 0) == 0, "reserved-not-zero")
        require(message is not None, "unknown-type")
    if message:
        require(message.job == "0/n" or (job != 0) == (message.job == "n"), "bad-job")
    return length, number, flags, job


def decode_payload(number: int, flags: int, job: int, payload: bytes) -> Frame:
    message = MESSAGES.get(number)
    if message is None:
        return Frame(number, job, flags)
    if message.shape == "fields":
        return decode_fields(message.name, job, payload)
    if isinstance(message.shape, int):
        require(len(payload) == message.shape, "field-size")
        return Frame(message.name, job, flags, data=payload)
    require(len(payload) >= DATA_HEADER.size, "payload-truncated")
    channel, vcpu, reserved, offset = DATA_HEADER.unpack_from(payload)
    data = payload[DATA_HEADER.size :]
    require(channel in message.shape and vcpu == 0, "bad-value")
    require(reserved == 0, "reserved-not-zero")
    require(bool(data) or flags & END != 0, "bad-value")
    return Frame(message.name, job, flags, {"channel": channel, "offset": str(offset)}, data)


def split_fields(payload: bytes) -> Iterator[tuple[int, bytes]]:
    at, last = 0, -1
    while at < len(payload):
        require(at + FIELD_HEADER.size <= len(payload), "payload-truncated")
        tag, length = FIELD_HEADER.unpack_from(payload, at)
        at += FIELD_HEADER.size
        require(at + length <= len(payload), "payload-truncated")
        if tag <= last:
            raise WireError("field-order", tag)
        yield tag, payload[at : at + length]
        at, last = at + length, tag


def decode_fields(name: str, job: int, payload: bytes) -> Frame:
    table, values = FIELDS[name], dict[int, Json]()
    refusal: WireError | None = None
    for tag, data in split_fields(payload):
        if tag in table:
            values[tag] = read_value(tag, table[tag][1], data)
        elif tag & 0x8000 and name != "SUBMIT":
            raise WireError("unknown-critical-field", tag)
        elif tag & 0x8000 and refusal is None:  # section 6: a refusal, if the rest is in order
            refusal = WireError("unknown-critical-field", tag, job)
    required = {tag for tag, (label, _) in table.items() if label.endswith("*")}
    if name == "RESULT" and 1 in values:
        needed, allowed = OUTCOMES[values[1]]
        required |= needed
        values = {tag: value for tag, value in values.items() if tag not in OUTCOME_TAGS or tag in needed | allowed}
    if name == "ANSWER" and 1 in values:
        required |= ANSWERS[values[1]]
        values = {tag: value for tag, value in values.items() if tag in ANSWERS[values[1]] | {1}}
    if name in ("STOP", "STOPPED") and not values:
        required |= {min(table)}
    if missing := required - values.keys():
        raise WireError("field-missing", min(missing))
    check_together(name, values)
    fields = {table[tag][0].rstrip("*"): value for tag, value in values.items()}
    return Frame(name, job, 0, fields, refusal=refusal)


def check_together(name: str, values: dict[int, Json]) -> None:
    """Fields that do not go with each other, looked at behind the last."""
    if name == "QUERY" and 0x8002 in values:
        most = {2: 2**32 - 1, 3: 2**64 - 1, 5: 2**64 - 1}.get(values[0x8001], -1)
        if int(values[0x8002]) > most:
            raise WireError("bad-value", 0x8002)
    if name in ("STOP", "STOPPED") and len(values) > 1:
        raise WireError("bad-value", max(values))


def read_value(tag: int, kind: Kind, data: bytes) -> Json:
    if not kind.fits(len(data)):
        raise WireError("field-size", tag)
    try:
        return kind.read(data)
    except WireError as error:
        raise WireError(error.code, tag) from None


def encode(frame: Frame) -> bytes:
    """The one encoding of a decoded frame of a known type."""
    assert isinstance(frame.type, str)
    shape = MESSAGES[NUMBERS[frame.type]].shape
    if shape == "fields":
        payload = b"".join(
            FIELD_HEADER.pack(tag, len(data)) + data
            for tag, (name, kind) in FIELDS[frame.type].items()
            if (value := frame.fields.get(name.rstrip("*"))) is not None
            for data in [kind.write(value)]
        )
    else:
        payload = frame.data
        if isinstance(shape, tuple):
            payload = DATA_HEADER.pack(frame.fields["channel"], 0, 0, int(frame.fields["offset"])) + payload
    return HEADER.pack(len(payload), NUMBERS[frame.type], frame.flags, 0, frame.job) + payload


class Reader:
    """Bytes of one direction in any pieces, frames out. After a WireError it must not be used again."""

    def __init__(self, frame_limit: int = FIRST_FRAME_LIMIT) -> None:
        self.frame_limit = frame_limit
        self.buffer = bytearray()
        self.header: tuple[int, int, int, int] | None = None

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def take(self, size: int) -> bytes | None:
        if len(self.buffer) < size:
            return None
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def next(self) -> Frame | None:
        """The next frame, or None: more bytes are needed. The header is judged as soon as it is there."""
        if self.header is None:
            if (header := self.take(HEADER.size)) is None:
                return None
            self.header = check_header(header, self.frame_limit)
        length, number, flags, job = self.header
        if (payload := self.take(length)) is None:
            return None
        self.header = None
        return decode_payload(number, flags, job, payload)

    def frames(self) -> Iterator[Frame]:
        while frame := self.next():
            yield frame

    @property
    def between_frames(self) -> bool:
        return self.header is None and not self.buffer


def main(path: str) -> int:
    reader = Reader(LARGEST_FRAME_LIMIT)
    with open(path, "rb") as file:
        reader.feed(file.read())
    try:
        for frame in reader.frames():
            print(json.dumps(frame.json()))
    except WireError as error:
        print(f"{error.code} (field {error.tag})", file=sys.stderr)
        return 1
    if not reader.between_frames:
        print("the last frame is cut short", file=sys.stderr)
    return 0 if reader.between_frames else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
