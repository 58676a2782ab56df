# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Frames from values, for the test vectors: each as `{"hex", "decoded"}`.

Written from PROTOCOL.md on its own: this shares nothing with decoder.py, so that one slip cannot hide in both. Hex
strings are grouped as the page groups the bytes: header parts, then tag, length and value of each field.
"""

from __future__ import annotations

from typing import Any

Json = Any


# Values: each gives (bytes as hex, what a decoder shows).


def number(size: int) -> Any:
    return lambda value: (f"{value:0{2 * size}x}", str(value) if size == 8 else value)


def words(value: str) -> tuple[str, Json]:
    return value.encode().hex(), value


def flag(value: bool) -> tuple[str, Json]:
    return ("01" if value else "00"), value


def version(value: tuple[int, int]) -> tuple[str, Json]:
    return f"{value[0]:02x}{value[1]:02x}", {"major": value[0], "minor": value[1]}


def modes(value: list[tuple[int, int]]) -> tuple[str, Json]:
    return " ".join(f"{m:02x}{k:02x}" for m, k in value), [{"mode": m, "meter": k} for m, k in value]


def first_registers(value: list[tuple[int, int]]) -> tuple[str, Json]:
    return " ".join(f"{n:02x}{v:016x}" for n, v in value), [{"register": n, "value": str(v)} for n, v in value]


def last_registers(value: list[int]) -> tuple[str, Json]:
    assert len(value) == 18
    return " ".join(f"{v:016x}" for v in value), [str(v) for v in value]


def exits(value: list[int]) -> tuple[str, Json]:
    names = ["port_io", "mmio", "debug", "interrupted", "other"]
    return " ".join(f"{v:016x}" for v in value), {n: str(v) for n, v in zip(names, value, strict=True)}


def raw(value: str) -> tuple[str, Json]:
    return value, value


def system(value: dict[str, Any]) -> tuple[str, Json]:
    hexes, shown = [], dict[str, Json]()
    for name in ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"]:
        base, limit, selector, attributes = value[name]
        hexes.append(f"{base:016x}{limit:08x}{selector:04x}{attributes:04x}")
        shown[name] = {"base": str(base), "limit": limit, "selector": selector, "attributes": attributes & 0x1FFF}
    for name in ["gdt", "idt"]:
        base, limit = value[name]
        hexes.append(f"{base:016x}{limit:04x}")
        shown[name] = {"base": str(base), "limit": limit}
    for name in ["cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base"]:
        hexes.append(f"{value[name]:016x}")
        shown[name] = str(value[name])
    return " ".join(hexes), shown


u8, u16, u32, u64 = number(1), number(2), number(4), number(8)
TYPE = {
    "HELLO": 0x01,
    "PING": 0x02,
    "PONG": 0x03,
    "GOAWAY": 0x04,
    "ERROR": 0x05,
    "WINDOW": 0x06,
    "SUBMIT": 0x10,
    "IMAGE": 0x11,
    "INPUT": 0x12,
    "CANCEL": 0x13,
    "ACCEPTED": 0x20,
    "STARTED": 0x21,
    "OUTPUT": 0x22,
    "RESULT": 0x23,
}
TAGS: dict[str, dict[str, tuple[int, Any]]] = {
    "HELLO": {
        "version": (1, version),
        "frame_limit": (2, u32),
        "software": (3, words),
        "window": (4, u32),
        "job_limit": (5, u32),
        "image_limit": (6, u64),
        "memory_minimum": (7, u64),
        "memory_maximum": (8, u64),
        "wall_maximum": (9, u64),
        "slots": (10, u32),
        "modes": (11, modes),
    },
    "GOAWAY": {"reason": (1, u8), "last_job": (2, u32)},
    "ERROR": {
        "code": (1, u16),
        "frame_type": (2, u8),
        "field_tag": (3, u16),
        "limit": (4, u64),
        "value": (5, u64),
        "retryable": (6, flag),
        "text": (7, words),
    },
    "WINDOW": {"credit": (1, u32)},
    "SUBMIT": {
        "label": (1, words),
        "mode": (0x8002, u8),
        "image_bytes": (0x8003, u64),
        "load_address": (0x8004, u64),
        "entry_point": (0x8005, u64),
        "registers": (0x8006, first_registers),
        "memory_bytes": (0x8007, u64),
        "step_budget": (0x8008, u64),
        "wall_budget": (0x8009, u64),
        "port_writes": (0x800A, flag),
        "input": (0x800B, flag),
    },
    "ACCEPTED": {"queue_position": (1, u32)},
    "STARTED": {"queue_ns": (1, u64), "step_budget": (2, u64), "wall_budget": (3, u64), "memory_bytes": (4, u64)},
    "RESULT": {
        "outcome": (1, u8),
        "code": (2, u32),
        "vector": (3, u8),
        "error_code": (4, u32),
        "address": (5, u64),
        "rip": (6, u64),
        "instruction": (7, raw),
        "limit": (8, u64),
        "used": (9, u64),
        "canceller": (10, u8),
        "text": (11, words),
        "meter": (12, u8),
        "meter_reason": (13, words),
        "steps": (14, u64),
        "queue_ns": (15, u64),
        "wall_ns": (16, u64),
        "exits": (17, exits),
        "output_bytes": (18, u64),
        "unclaimed_port_writes": (19, u64),
        "dropped_memory_writes": (20, u64),
        "registers": (21, last_registers),
        "system": (22, system),
    },
}

# Frames: each is {"hex", "decoded"}.


def size(*parts: str) -> int:
    return len("".join(parts).replace(" ", "")) // 2


def head(kind: int, job: int, length: int, flags: int = 0, reserved: int = 0) -> str:
    return f"{length:08x} {kind:02x} {flags:02x} {reserved:04x} {job:08x}"


def wire(kind: int, job: int, *parts: str, flags: int = 0, reserved: int = 0) -> str:
    return "  ".join([head(kind, job, size(*parts), flags, reserved), *filter(None, parts)])


def tlv(tag: int, value: str = "") -> str:
    return f"{tag:04x} {size(value):08x} {value}".rstrip()


def message(name: str, job: int = 0, extra: dict[int, str] | None = None, **fields: Any) -> Json:
    """A message of fields; `extra` holds fields that version 1.0 does not know, by tag."""
    parts, shown = dict[int, str](), dict[str, Json]()
    for key, (tag, kind) in TAGS[name].items():
        if key in fields:
            value, shown[key] = kind(fields.pop(key))
            parts[tag] = tlv(tag, value)
    assert not fields, fields
    known = wire(TYPE[name], job, *parts.values())
    decoded = {"type": name, "job": job, "flags": 0, "fields": shown}
    if not extra:
        return {"hex": known, "decoded": decoded}
    parts |= {tag: tlv(tag, value) for tag, value in extra.items()}
    return {
        "hex": wire(TYPE[name], job, *(parts[tag] for tag in sorted(parts))),
        "canonical": known,
        "decoded": decoded,
    }


def data(name: str, job: int, offset: int, content: bytes, end: bool = False, channel: int | None = None) -> Json:
    channel = channel if channel is not None else 1 if name == "OUTPUT" else 0
    groups = " ".join(content[i : i + 16].hex() for i in range(0, len(content), 16))
    shown = {"channel": channel, "offset": str(offset), "bytes": content.hex()}
    return {
        "hex": wire(TYPE[name], job, f"{channel:02x} 00 0000 {offset:016x}", groups, flags=int(end)),
        "decoded": {"type": name, "job": job, "flags": int(end), "fields": shown},
    }


def opaque(name: str, content: str = "", job: int = 0) -> Json:
    shown = {"bytes": content} if content else {}
    return {"hex": wire(TYPE[name], job, content), "decoded": {"type": name, "job": job, "flags": 0, "fields": shown}}


def skipped(kind: int, job: int, content: str, flags: int = 0) -> Json:
    return {"hex": wire(kind, job, content, flags=flags), "decoded": None}
