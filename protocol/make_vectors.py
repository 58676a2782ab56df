#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Writes the test vectors: `python3 protocol/make_vectors.py protocol/vectors`.

The encoder here was written from PROTOCOL.md on its own; it shares nothing with decoder.py, so that one slip cannot hide in both.
Hex strings are grouped as the page groups the bytes: header parts, then tag, length and value of each field.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
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
    "HELLO": 0x01, "PING": 0x02, "PONG": 0x03, "GOAWAY": 0x04, "ERROR": 0x05, "WINDOW": 0x06, "SUBMIT": 0x10, "IMAGE": 0x11,
    "INPUT": 0x12, "CANCEL": 0x13, "ACCEPTED": 0x20, "STARTED": 0x21, "OUTPUT": 0x22, "RESULT": 0x23,
}  # fmt: skip
TAGS: dict[str, dict[str, tuple[int, Any]]] = {
    "HELLO": {
        "version": (1, version), "frame_limit": (2, u32), "software": (3, words), "window": (4, u32), "job_limit": (5, u32),
        "image_limit": (6, u64), "memory_minimum": (7, u64), "memory_maximum": (8, u64), "wall_maximum": (9, u64),
        "slots": (10, u32), "modes": (11, modes),
    },
    "GOAWAY": {"reason": (1, u8), "last_job": (2, u32)},
    "ERROR": {
        "code": (1, u16), "frame_type": (2, u8), "field_tag": (3, u16), "limit": (4, u64), "value": (5, u64),
        "retryable": (6, flag), "text": (7, words),
    },
    "WINDOW": {"credit": (1, u32)},
    "SUBMIT": {
        "label": (1, words), "mode": (0x8002, u8), "image_bytes": (0x8003, u64), "load_address": (0x8004, u64),
        "entry_point": (0x8005, u64), "registers": (0x8006, first_registers), "memory_bytes": (0x8007, u64),
        "step_budget": (0x8008, u64), "wall_budget": (0x8009, u64), "port_writes": (0x800A, flag), "input": (0x800B, flag),
    },
    "ACCEPTED": {"queue_position": (1, u32)},
    "STARTED": {"queue_ns": (1, u64), "step_budget": (2, u64), "wall_budget": (3, u64), "memory_bytes": (4, u64)},
    "RESULT": {
        "outcome": (1, u8), "code": (2, u32), "vector": (3, u8), "error_code": (4, u32), "address": (5, u64), "rip": (6, u64),
        "instruction": (7, raw), "limit": (8, u64), "used": (9, u64), "canceller": (10, u8), "text": (11, words),
        "meter": (12, u8), "meter_reason": (13, words), "steps": (14, u64), "queue_ns": (15, u64), "wall_ns": (16, u64),
        "exits": (17, exits), "output_bytes": (18, u64), "unclaimed_port_writes": (19, u64),
        "dropped_memory_writes": (20, u64), "registers": (21, last_registers), "system": (22, system),
    },
}  # fmt: skip

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
    return {"hex": wire(TYPE[name], job, *(parts[tag] for tag in sorted(parts))), "canonical": known, "decoded": decoded}


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


KIB, MIB, SECOND = 1 << 10, 1 << 20, 1_000_000_000
MOST32, MOST64, MOST_CREDIT = 2**32 - 1, 2**64 - 1, 2**31 - 1
HALT = b"\xf4"
HI = bytes.fromhex("b048e6e9b069e6e9f4")  # mov al,'H'; out 0xe9,al; mov al,'i'; out 0xe9,al; hlt
ECHO = bytes.fromhex("e460e6e9ebfa")
LOOP = bytes.fromhex("ebfe")
CLIENT_HELLO = {"version": (1, 0), "frame_limit": 65536, "software": "kvmjob 0.1.0", "window": 65536}
WORKER_HELLO = {
    "version": (1, 0), "frame_limit": 65536, "software": "kvmjobd 0.1.0", "window": 65536, "job_limit": 256,
    "image_limit": 64 * MIB, "memory_minimum": MIB, "memory_maximum": 1024 * MIB, "wall_maximum": 3600 * SECOND, "slots": 2,
    "modes": [(1, 1), (2, 1), (3, 1), (4, 2)],
}  # fmt: skip
REGISTERS = [0x69, 0, 0, 0, 0, 0, 0, 0x7000, 0, 0, 0, 0, 0, 0, 0, 0, 0x1009, 0x2]
DATA16, CODE16 = 0x93, 0x9B
SYSTEM = {
    "cs": (0, 0xFFFF, 0, CODE16), "ds": (0, 0xFFFF, 0, DATA16), "es": (0, 0xFFFF, 0, DATA16), "fs": (0, 0xFFFF, 0, DATA16),
    "gs": (0, 0xFFFF, 0, DATA16), "ss": (0, 0xFFFF, 0, DATA16), "tr": (0, 0xFFFF, 0, 0x8B), "ldt": (0, 0xFFFF, 0, 0x1082),
    "gdt": (0, 0xFFFF), "idt": (0, 0x3FF), "cr0": 0x60000010, "cr2": 0, "cr3": 0, "cr4": 0, "cr8": 0, "efer": 0,
    "apic_base": 0xFEE00900,
}  # fmt: skip
MOST_SYSTEM = {name: (MOST64, MOST32, 0xFFFF, 0x1FFF) for name in ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"]} | {
    "gdt": (MOST64, 0xFFFF), "idt": (MOST64 - 1, 0xFFFE), "cr0": MOST64, "cr2": MOST64 - 2, "cr3": MOST64 - 3,
    "cr4": MOST64 - 4, "cr8": 15, "efer": MOST64 - 5, "apic_base": MOST64 - 6,
}  # fmt: skip
COUNTERS = {
    "meter": 1, "steps": 5, "queue_ns": 41_000, "wall_ns": 1_250_000, "exits": [2, 0, 5, 0, 1], "output_bytes": 2,
    "unclaimed_port_writes": 0, "dropped_memory_writes": 0, "registers": REGISTERS, "system": SYSTEM,
}  # fmt: skip
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
}


def right_frames() -> list[Json]:
    out: list[Json] = []

    def add(name: str, why: str, made: Json) -> None:
        out.append({"name": name, "why": why} | made)

    add("hello-minimum", "the three required fields at their least; window 0 is allowed",
        message("HELLO", version=(1, 0), frame_limit=4096, window=0))  # fmt: skip
    add("hello-client", "what the CLI says", message("HELLO", **CLIENT_HELLO))
    add("hello-worker", "what a worker says", message("HELLO", **WORKER_HELLO))
    add("hello-maximum", "every field at its most: 128 bytes of text (not of characters), 256 modes, largest numbers",
        message("HELLO", version=(1, 255), frame_limit=MIB, software="é" * 64, window=MOST_CREDIT, job_limit=MOST32,
                image_limit=MOST64, memory_minimum=MOST64, memory_maximum=MOST64, wall_maximum=MOST64, slots=MOST32,
                modes=[(1 + i % 4, i % 3) for i in range(256)]))  # fmt: skip
    add("hello-newer-minor", "minor 9 with fields unknown to 1.0: skipped, since they are not critical",
        message("HELLO", extra={0x000C: "00", 0x7FFF: "ff" * 9}, **(CLIENT_HELLO | {"version": (1, 9)})))
    add("hello-tag-zero", "tag 0x0000 is unknown and not critical: skipped", message("HELLO", extra={0: ""}, **CLIENT_HELLO))
    add("hello-empty-software", "text of no bytes is text", message("HELLO", **(CLIENT_HELLO | {"software": ""})))
    for name in ["PING", "PONG"]:
        add(f"{name.lower()}-zero", "exactly 8 bytes", opaque(name, "0000000000000000"))
        add(f"{name.lower()}-bytes", "any 8 bytes", opaque(name, "00ff7f80c3280a0d"))
    add("goaway-minimum", "reason only", message("GOAWAY", reason=2))
    add("goaway-typical", "a drain that tells the last job", message("GOAWAY", reason=1, last_job=7))
    add("goaway-none", "last_job 0: none was accepted", message("GOAWAY", reason=1, last_job=0))
    add("goaway-maximum", "the largest job number", message("GOAWAY", reason=2, last_job=MOST32))
    add("error-minimum", "code only, fatal", message("ERROR", code=21))
    add("error-typical", "a fatal error with the bound that was crossed",
        message("ERROR", code=1, frame_type=0x11, limit=65536, value=65537, text="a frame of 65537 bytes; at most 65536"))  # fmt: skip
    add("error-refusal", "a refusal of job 3, retryable", message("ERROR", 3, code=74, frame_type=0x10, retryable=True))
    add("error-not-retryable", "a flag that says 0 is still said",
        message("ERROR", 4, code=64, frame_type=0x10, field_tag=0x8004, retryable=False))  # fmt: skip
    add("error-unknown-code", "a receiver takes unknown codes as they are", message("ERROR", code=0xFFFF))
    add("error-maximum", "every field at its most",
        message("ERROR", MOST32, code=0xFFFF, frame_type=0xFF, field_tag=0xFFFF, limit=MOST64, value=MOST64, retryable=True,
                text="𝄞" * 128))  # fmt: skip
    add("window-minimum", "one byte of credit", message("WINDOW", 1, credit=1))
    add("window-typical", "half a window", message("WINDOW", 7, credit=32768))
    add("window-maximum", "2^31-1", message("WINDOW", MOST32, credit=MOST_CREDIT))
    add("submit-minimum", "the two required fields", message("SUBMIT", 1, mode=1, image_bytes=1))
    add("submit-zero-values", "the codec takes what the worker will refuse: mode 0, no image, budgets of 0",
        message("SUBMIT", 2, mode=0, image_bytes=0, memory_bytes=0, step_budget=0, wall_budget=0))  # fmt: skip
    add("submit-typical", "an image with a budget and input",
        message("SUBMIT", 2, label="hello", mode=3, image_bytes=4096, registers=[(4, 0x10000), (7, 0x8000)],
                memory_bytes=16 * MIB, step_budget=1_000_000, wall_budget=10 * SECOND, input=True))  # fmt: skip
    add("submit-flags-zero", "flags said to be 0 are not the same as flags left out",
        message("SUBMIT", 3, mode=2, image_bytes=9, port_writes=False, input=False))  # fmt: skip
    add("submit-maximum", "every field at its most: 17 registers, all but rip",
        message("SUBMIT", MOST32, label="l" * 128, mode=255, image_bytes=MOST64, load_address=MOST64, entry_point=MOST64,
                registers=[(n, MOST64 - n) for n in range(18) if n != 16], memory_bytes=MOST64, step_budget=MOST64,
                wall_budget=MOST64, port_writes=True, input=True))  # fmt: skip
    add("submit-unknown-field", "a field of a later minor version, not critical, between label and mode: skipped. 0x0002 is not 0x8002",
        message("SUBMIT", 5, {0x0002: "0102", 0x7000: ""}, label="new", mode=4, image_bytes=6))  # fmt: skip
    refused = message("SUBMIT", 6, {0x8020: "01"}, mode=1, image_bytes=1)
    del refused["canonical"]
    refused["decoded"] = {"type": "SUBMIT", "job": 6, "refused": "unknown-critical-field", "field_tag": 0x8020}
    add("submit-unknown-critical", "section 6: in a SUBMIT that is otherwise in order this refuses the job, and is not fatal", refused)
    refused = message("SUBMIT", 7, {0x8000: "", 0xFFFF: ""}, mode=1, image_bytes=1)
    del refused["canonical"]
    refused["decoded"] = {"type": "SUBMIT", "job": 7, "refused": "unknown-critical-field", "field_tag": 0x8000}
    add("submit-unknown-critical-two", "of two unknown critical fields the first is told", refused)
    add("image-minimum", "one byte", data("IMAGE", 1, 0, HALT))
    add("image-empty-end", "the last frame may be empty", data("IMAGE", 1, 1, b"", end=True))
    add("image-typical", "a whole image in one frame", data("IMAGE", 1, 0, HI, end=True))
    add("image-maximum", "a payload of 4096 bytes, the most before HELLO; the largest offset",
        data("IMAGE", MOST32, MOST64, bytes(i % 251 for i in range(4084)), end=True))  # fmt: skip
    add("input-minimum", "one byte", data("INPUT", 1, 0, b"\0"))
    add("input-empty-end", "the end of the input on its own", data("INPUT", 1, 6, b"", end=True))
    add("input-typical", "some bytes", data("INPUT", 2, 6, b"input\n", end=True))
    add("input-maximum", "a payload of 4096 bytes", data("INPUT", MOST32, MOST64, bytes(255 - i % 256 for i in range(4084))))
    add("output-minimum", "one byte of console", data("OUTPUT", 1, 0, b"H"))
    add("output-typical", "console text", data("OUTPUT", 2, 1, b"ello, world\n"))
    add("output-port-writes", "channel 3: two records of port, size, zero, value",
        data("OUTPUT", 2, 16, bytes.fromhex("0080010000000041 0cf8040080000000"), channel=3))  # fmt: skip
    add("output-maximum", "a payload of 4096 bytes", data("OUTPUT", MOST32, MOST64, bytes(i % 7 for i in range(4084))))
    add("cancel-minimum", "no payload", opaque("CANCEL", job=1))
    add("cancel-maximum", "the largest job number", opaque("CANCEL", job=MOST32))
    add("accepted-minimum", "no field is required: an empty payload", message("ACCEPTED", 1))
    add("accepted-next", "a position of 0 is said", message("ACCEPTED", 1, queue_position=0))
    add("accepted-maximum", "the largest position", message("ACCEPTED", MOST32, queue_position=MOST32))
    add("started-minimum", "no field is required", message("STARTED", 1))
    add("started-typical", "an unmetered job: step_budget is absent",
        message("STARTED", 1, queue_ns=52_000, wall_budget=10 * SECOND, memory_bytes=16 * MIB))  # fmt: skip
    add("started-maximum", "every field at its most",
        message("STARTED", MOST32, queue_ns=MOST64, step_budget=MOST64, wall_budget=MOST64, memory_bytes=MOST64))  # fmt: skip
    for name, fields in OUTCOMES.items():
        add(f"result-{name}-minimum", "what this outcome requires, or has, and nothing else", message("RESULT", 1, **fields))
        add(f"result-{name}", "with counters and state", message("RESULT", 2, **fields, **COUNTERS))
    add("result-faulted-required", "a fault without error code or address",
        message("RESULT", 3, outcome=3, vector=6, rip=0x7C00))  # fmt: skip
    add("result-unemulatable-required", "rip is not known", message("RESULT", 3, outcome=5, instruction="0f"))
    add("result-bounded", "steps that may be off, and why",
        message("RESULT", 4, outcome=1, meter=2, meter_reason="syscall from ring 3 hides a step", steps=77))  # fmt: skip
    everything = {
        "meter": 2, "meter_reason": "m" * 512, "steps": MOST64, "queue_ns": MOST64, "wall_ns": MOST64,
        "exits": [MOST64 - i for i in range(5)], "output_bytes": MOST64, "unclaimed_port_writes": MOST64,
        "dropped_memory_writes": MOST64, "registers": [MOST64 - i for i in range(18)], "system": MOST_SYSTEM,
    }  # fmt: skip
    add("result-maximum-text", "every common field at its most, with the longest text",
        message("RESULT", MOST32, outcome=14, text="€" * 170 + "..", **everything))  # fmt: skip
    add("result-maximum-fault", "the largest fault",
        message("RESULT", MOST32, outcome=3, vector=255, error_code=MOST32, address=MOST64, rip=MOST64, **everything))  # fmt: skip
    add("result-maximum-exit", "the largest exit code", message("RESULT", MOST32, outcome=2, code=MOST32, **everything))
    add("result-maximum-instruction", "15 bytes of instruction",
        message("RESULT", MOST32, outcome=5, rip=MOST64, instruction=("66" * 14) + "90"))  # fmt: skip
    add("result-maximum-budget", "the largest budget", message("RESULT", MOST32, outcome=11, limit=MOST64, used=MOST64))
    for canceller in [2, 3]:
        add(f"result-canceller-{canceller}", "the other cancellers", message("RESULT", 8, outcome=12, canceller=canceller))
    add("result-unknown-field", "a field of a later minor version is skipped",
        message("RESULT", 9, {0x0017: "00" * 8}, outcome=2, code=0))  # fmt: skip
    stray = message("RESULT", 9, outcome=2, code=0, vector=13, canceller=1)
    del stray["decoded"]["fields"]["vector"], stray["decoded"]["fields"]["canceller"]
    add("result-stray-fields", "section 3.12: outcome fields of another outcome are ignored",
        {"hex": stray["hex"], "canonical": message("RESULT", 9, outcome=2, code=0)["hex"], "decoded": stray["decoded"]})  # fmt: skip
    noisy, quiet = SYSTEM | {"cs": (0, 0xFFFF, 0, 0xE09B)}, message("RESULT", 9, outcome=1, system=SYSTEM)
    add("result-attributes-top-bits", "bits 13-15 of a segment's attributes are ignored",
        {"hex": message("RESULT", 9, outcome=1, system=noisy)["hex"], "canonical": quiet["hex"], "decoded": quiet["decoded"]})  # fmt: skip
    add("skipped-empty", "an unknown type from 0x80 is skipped", skipped(0x80, 0, ""))
    add("skipped-flags", "its flags are not checked, nor its job, nor its payload", skipped(0xFF, 5, "00ff00ff00", flags=0xFF))
    return out


def wrong_frames() -> list[Json]:
    out: list[Json] = []

    def add(level: str, name: str, why: str, text: str, error: str, tag: int | None = None, to: str = "worker",
            limit: int = 65536, hello: bool = True) -> None:  # fmt: skip
        entry = {"name": name, "why": why, "level": level, "to": to, "frame_limit": limit, "after_hello": hello, "hex": text}
        out.append(entry | {"error": error, "job": 0} | ({"field_tag": tag} if tag is not None else {}))

    def header(name: str, why: str, text: str, error: str, **more: Any) -> None:
        add("header", name, why, text, error, **more)

    def payload(name: str, why: str, text: str, error: str, tag: int | None = None, **more: Any) -> None:
        add("payload", name, why, text, error, tag, **more)

    def connection(name: str, why: str, text: str, error: str, **more: Any) -> None:
        add("connection", name, why, text, error, **more)

    before: dict[str, Any] = {"limit": 4096, "hello": False}
    # Header, one wrong part at a time.
    long, zero, unknown, job = "frame-too-long", "reserved-not-zero", "unknown-type", "bad-job"
    header("length-over", "one byte more than the receiver takes", head(0x11, 1, 65537), long)
    header("length-over-least", "one byte more than the least limit", head(0x11, 1, 4097), long, limit=4096)
    header("length-over-most", "one byte more than the largest limit there is", head(0x22, 1, MIB + 1), long, limit=MIB, to="client")
    header("length-over-before-hello", "before the receiver has said HELLO its limit is 4096", head(0x01, 0, 4097), long, **before)
    header("length-top-byte", "the top byte of the length is always zero", head(0x11, 1, 1 << 24), long, limit=MIB)
    header("length-all-ones", "the largest length: nothing may be allocated for it", head(0x11, 1, MOST32), long)
    header("length-over-skippable", "a frame to skip has the same limit", head(0x80, 0, 65537), long)
    header("http", "an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".hex(), long, **before)
    hello = "16 0301 0061 01 00005d 0303 5f9a1c3e7b204d6688aa02c4e6f81133557799bbddff00224466880123456789"
    header("tls", "a TLS ClientHello", hello, long, **before)
    header("text", "a line of text", b"hello, worker\n".hex(), long, limit=MIB, hello=False)
    header("ssh", "an SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n".hex(), long, limit=MIB)
    header("reserved-high", "the reserved part, its first byte", head(0x02, 0, 8, reserved=0x0100), zero)
    header("reserved-low", "the reserved part, its second byte", head(0x02, 0, 8, reserved=0x0001), zero)
    header("reserved-skippable", "the reserved part of a frame to skip is checked; only its flags are not",
           head(0x80, 0, 8, reserved=1), zero)  # fmt: skip
    for bit in range(8):
        header(f"flag-{bit}-cancel", "CANCEL has no flags", head(0x13, 1, 0, flags=1 << bit), zero)
    for bit in range(1, 8):
        header(f"flag-{bit}-image", "IMAGE has END and no other flag", head(0x11, 1, 13, flags=1 << bit), zero)
    for name, kind in TYPE.items():
        if name not in ("IMAGE", "INPUT", "OUTPUT", "CANCEL"):
            receiver = "worker" if name in ("HELLO", "PING", "PONG", "ERROR", "WINDOW", "SUBMIT") else "client"
            number = 1 if kind >= 0x10 or name == "WINDOW" else 0
            header(f"end-{name.lower()}", "END is only for IMAGE, INPUT and OUTPUT", head(kind, number, 8, flags=1), zero, to=receiver)
    for kind in [0x00, 0x07, 0x0F, 0x14, 0x1F, 0x24, 0x7F]:
        header(f"type-{kind:02x}", "no such type, and below 0x80 it is not to skip", head(kind, 0, 0), unknown)
    header("type-7f-client", "the same towards the client", head(0x7F, 1, 0), unknown, to="client")
    for name in ["WINDOW", "SUBMIT", "IMAGE", "INPUT", "CANCEL"]:
        header(f"job-zero-{name.lower()}", "speaks of a job, so job 0 is wrong", head(TYPE[name], 0, 0), job)
    for name in ["ACCEPTED", "STARTED", "OUTPUT", "RESULT"]:
        header(f"job-zero-{name.lower()}", "speaks of a job, so job 0 is wrong", head(TYPE[name], 0, 0), job, to="client")
    for name in ["HELLO", "PING", "PONG"]:
        header(f"job-one-{name.lower()}", "speaks of the connection, so a job is wrong", head(TYPE[name], 1, 8), job)
    header("job-one-goaway", "speaks of the connection, so a job is wrong", head(TYPE["GOAWAY"], MOST32, 7), job, to="client")
    # Header, several wrong parts: the order of the checks.
    header("order-length-first", "everything is wrong: length comes first", head(0x7F, 1, 65537, flags=0xFF, reserved=1), long)
    header("order-reserved-second", "reserved, type and job are wrong", head(0x7F, 1, 0, reserved=1), zero)
    header("order-flags-before-type", "flags and type are wrong", head(0x7F, 1, 0, flags=2), zero)
    header("order-end-before-type", "an unknown type below 0x80 has no END", head(0x00, 0, 0, flags=1), zero)
    header("order-flags-before-job", "flags and job are wrong", head(0x11, 0, 0, flags=2), zero)
    header("order-header-before-payload", "the job is wrong, and so is the payload that comes with it",
           wire(0x10, 0, tlv(0x8002, "0102")), job)  # fmt: skip
    header("order-header-before-hello", "an unknown type before HELLO: the header is checked first", head(0x7F, 0, 0), unknown, **before)

    # Fields: truncation.
    cut, order, critical, wrong = "payload-truncated", "field-order", "unknown-critical-field", "field-size"
    value, missing, encoding = "bad-value", "field-missing", "bad-text"
    mode, image = tlv(0x8002, "01"), tlv(0x8003, "0000000000000001")
    first, second, fourth = tlv(1, "0100"), tlv(2, "00010000"), tlv(4, "00010000")
    whole = f"8002 00000001 01 8003 00000008 {1:016x}".replace(" ", "")
    for length in [1, 2, 5, 6, 8, 12, 20]:
        payload(f"submit-cut-{length}", f"the payload ends {length} bytes into its fields",
                wire(0x10, 1, whole[: 2 * length]), cut)  # fmt: skip
    payload("value-beyond-payload", "the value says it is longer than what is left",
            wire(0x10, 1, mode, "8003 00000009 0000000000000001"), cut)  # fmt: skip
    payload("value-length-most", "a length that overflows 32-bit sums: the bound must not wrap",
            wire(0x10, 1, mode, "8003 ffffffff 0000000000000001"), cut)  # fmt: skip
    payload("value-length-wraps", "6 + 0xfffffffa is 0 in 32 bits", wire(0x06, 1, "0001 fffffffa 00000001"), cut)
    payload("unknown-value-cut", "a field to skip must be complete as well", wire(0x06, 1, tlv(1, "00000001"), "0009 00000002 00"), cut)
    # Fields: order.
    payload("tag-twice", "a field comes twice", wire(0x06, 1, tlv(1, "00000001"), tlv(1, "00000001")), order, 1)
    payload("tag-falls", "tags fall", wire(0x10, 1, image, mode), order, 0x8002)
    payload("tag-falls-unknown", "unknown tags must rise as well",
            wire(0x06, 1, tlv(1, "00000001"), tlv(9), tlv(8)), order, 8)  # fmt: skip
    payload("tag-twice-unknown", "an unknown tag comes twice", wire(0x06, 1, tlv(1, "00000001"), tlv(9), tlv(9)), order, 9)
    payload("tag-zero-twice", "even tag 0", wire(0x06, 1, tlv(0), tlv(0), tlv(1, "00000001")), order, 0)
    payload("critical-before-plain", "tags are compared as 16 bits: 0x8002 is above 0x0009", wire(0x10, 1, mode, tlv(9), image), order, 9)
    payload("hello-tag-falls", "in HELLO too", wire(0x01, 0, second, first, fourth), order, 1, **before)
    # Fields: unknown critical.
    for name, kind, number, fine, to in [
        ("hello", 0x01, 0, [first, second, fourth], "worker"), ("goaway", 0x04, 0, [tlv(1, "01")], "client"),
        ("error", 0x05, 0, [tlv(1, "0015")], "worker"), ("window", 0x06, 1, [tlv(1, "00000001")], "worker"),
        ("accepted", 0x20, 1, [], "client"), ("started", 0x21, 1, [], "client"), ("result", 0x23, 1, [tlv(1, "01")], "client"),
    ]:  # fmt: skip
        payload(f"critical-{name}", "a critical field that the receiver does not know",
                wire(kind, number, *fine, tlv(0x8001, "00")), critical, 0x8001, to=to, hello=name != "hello")  # fmt: skip
    # Fields: sizes. Every field of a fixed size, one byte less and one more.
    fixed = {
        "HELLO": {1: 2, 2: 4, 4: 4, 5: 4, 6: 8, 7: 8, 8: 8, 9: 8, 10: 4}, "GOAWAY": {1: 1, 2: 4},
        "ERROR": {1: 2, 2: 1, 3: 2, 4: 8, 5: 8, 6: 1}, "WINDOW": {1: 4},
        "SUBMIT": {0x8002: 1, 0x8003: 8, 0x8004: 8, 0x8005: 8, 0x8007: 8, 0x8008: 8, 0x8009: 8, 0x800A: 1, 0x800B: 1},
        "ACCEPTED": {1: 4}, "STARTED": {1: 8, 2: 8, 3: 8, 4: 8},
        "RESULT": {1: 1, 2: 4, 3: 1, 4: 4, 5: 8, 6: 8, 8: 8, 9: 8, 10: 1, 12: 1, 14: 8, 15: 8, 16: 8, 17: 40, 18: 8, 19: 8,
                   20: 8, 21: 144, 22: 204},
    }  # fmt: skip
    for name, tags in fixed.items():
        for tag, right in tags.items():
            for length in [right - 1, right + 1]:
                ahead = [outcome_owner(tag)] if name == "RESULT" and tag != 1 else []
                to = "client" if name in ("GOAWAY", "ACCEPTED", "STARTED", "RESULT") else "worker"
                number = 1 if TYPE[name] >= 0x10 or name == "WINDOW" else 0
                payload(f"size-{name.lower()}-{tag:04x}-{length}", f"{right} bytes, not {length}",
                        wire(TYPE[name], number, *ahead, tlv(tag, "01" * length)), wrong, tag, to=to,
                        hello=name != "HELLO")  # fmt: skip
    payload("size-label", "129 bytes of label", wire(0x10, 1, tlv(1, "61" * 129), mode, image), wrong, 1)
    payload("size-label-characters", "65 characters of 2 bytes are 130 bytes", wire(0x10, 1, tlv(1, "c3a9" * 65), mode, image), wrong, 1)
    payload("size-software", "129 bytes of software", wire(1, 0, first, second, tlv(3, "61" * 129), fourth), wrong, 3, **before)
    payload("size-error-text", "513 bytes of text", wire(5, 0, tlv(1, "0015"), tlv(7, "61" * 513)), wrong, 7)
    payload("size-result-text", "513 bytes of text", wire(0x23, 1, tlv(1, "0e"), tlv(11, "61" * 513)), wrong, 11, to="client")
    payload("size-meter-reason", "513 bytes of reason", wire(0x23, 1, tlv(1, "01"), tlv(13, "61" * 513)), wrong, 13, to="client")
    payload("size-instruction", "16 bytes of instruction", wire(0x23, 1, tlv(1, "05"), tlv(7, "90" * 16)), wrong, 7, to="client")
    payload("size-registers", "not a multiple of 9", wire(0x10, 1, mode, image, tlv(0x8006, "00" * 10)), wrong, 0x8006)
    eighteen = "".join(f"{n:02x}{0:016x}" for n in range(18))
    payload("size-registers-18", "18 entries, one too many; size is judged before the values",
            wire(0x10, 1, mode, image, tlv(0x8006, eighteen)), wrong, 0x8006)  # fmt: skip
    payload("size-modes-odd", "modes come in pairs of bytes", wire(1, 0, first, second, fourth, tlv(11, "010101")), wrong, 11,
            to="client", **before)  # fmt: skip
    payload("size-modes-257", "257 modes, one too many", wire(1, 0, first, second, fourth, tlv(11, "0101" * 257)), wrong, 11,
            to="client", **before)  # fmt: skip
    for name, length in [("PING", 7), ("PING", 9), ("PONG", 0), ("PONG", 16)]:
        payload(f"size-{name.lower()}-{length}", "exactly 8 bytes", wire(TYPE[name], 0, "00" * length), wrong)
    payload("size-cancel", "CANCEL carries nothing", wire(0x13, 1, "00"), wrong)
    # Fields: text.
    for name, text in {
        "ff": "ff", "lone-continuation": "80", "cut-short": "61c3", "overlong": "c0af", "surrogate": "eda080", "above-10ffff": "f4908080",
    }.items():  # fmt: skip
        payload(f"text-{name}", "not UTF-8", wire(0x10, 1, tlv(1, text), mode, image), encoding, 1)
    payload("text-software", "not UTF-8", wire(1, 0, first, second, tlv(3, "6bff"), fourth), encoding, 3, **before)
    payload("text-error", "not UTF-8", wire(5, 0, tlv(1, "0015"), tlv(7, "fe")), encoding, 7, to="client")
    payload("text-result", "not UTF-8", wire(0x23, 1, tlv(1, "0e"), tlv(11, "fe")), encoding, 11, to="client")
    payload("text-meter-reason", "not UTF-8", wire(0x23, 1, tlv(1, "01"), tlv(13, "fe")), encoding, 13, to="client")
    # Fields: values.
    for limit in [0, 4095, MIB + 1, MOST32]:
        payload(f"value-frame-limit-{limit}", "4096 to 1,048,576", wire(1, 0, first, tlv(2, f"{limit:08x}"), fourth), value, 2, **before)
    payload("value-window-hello", "a client's window is at most 2^31-1",
            wire(1, 0, first, second, tlv(4, "80000000")), value, 4, **before)  # fmt: skip
    payload("value-meter-hello", "meters are 0, 1 and 2", wire(1, 0, first, second, fourth, tlv(11, "0103")), value, 11,
            to="client", **before)  # fmt: skip
    for text in ["00", "03", "ff"]:
        payload(f"value-reason-{text}", "reasons are 1 and 2", wire(4, 0, tlv(1, text)), value, 1, to="client")
    payload("value-retryable", "a flag is 0 or 1", wire(5, 1, tlv(1, "004a"), tlv(6, "02")), value, 6, to="client")
    for text in ["00000000", "80000000", "ffffffff"]:
        payload(f"value-credit-{text}", "credit is 1 to 2^31-1", wire(6, 1, tlv(1, text)), value, 1)
    payload("value-port-writes", "a flag is 0 or 1", wire(0x10, 1, mode, image, tlv(0x800A, "02")), value, 0x800A)
    payload("value-input", "a flag is 0 or 1", wire(0x10, 1, mode, image, tlv(0x800B, "ff")), value, 0x800B)
    for name, numbers in {"rip": [16], "unknown": [18], "most": [255], "twice": [3, 3], "fall": [3, 2]}.items():
        text = "".join(f"{n:02x}{1:016x}" for n in numbers)
        payload(f"value-registers-{name}", "known numbers but rip, rising strictly",
                wire(0x10, 1, mode, image, tlv(0x8006, text)), value, 0x8006)  # fmt: skip
    for text in ["00", "0f", "ff"]:
        payload(f"value-outcome-{text}", "the list of outcomes is closed", wire(0x23, 1, tlv(1, text)), value, 1, to="client")
    for text in ["00", "04"]:
        payload(f"value-canceller-{text}", "cancellers are 1, 2 and 3", wire(0x23, 1, tlv(1, "0c"), tlv(10, text)), value, 10, to="client")
    for text in ["00", "03"]:
        payload(f"value-meter-{text}", "meters are 1 and 2; not counted is said by absence",
                wire(0x23, 1, tlv(1, "01"), tlv(12, text)), value, 12, to="client")  # fmt: skip
    # Fields: missing.
    payload("missing-hello-all", "of several the lowest tag", wire(1, 0), missing, 1, **before)
    payload("missing-version", "required", wire(1, 0, second, fourth), missing, 1, **before)
    payload("missing-frame-limit", "required", wire(1, 0, first, fourth), missing, 2, **before)
    payload("missing-window", "required", wire(1, 0, first, second), missing, 4, to="client", **before)
    payload("missing-reason", "required", wire(4, 0, tlv(2, "00000001")), missing, 1, to="client")
    payload("missing-error-code", "required", wire(5, 0, tlv(7, "6f6f7073")), missing, 1)
    payload("missing-credit", "required", wire(6, 1), missing, 1)
    payload("missing-submit-all", "of several the lowest tag", wire(0x10, 1), missing, 0x8002)
    payload("missing-mode", "required; the plain field 0x0002 does not stand in for 0x8002", wire(0x10, 1, tlv(2, "01"), image), missing, 0x8002)
    payload("missing-image-bytes", "required", wire(0x10, 1, mode), missing, 0x8003)
    payload("missing-outcome", "required", wire(0x23, 1), missing, 1, to="client")
    for number, tag, part in [
        (2, 2, []), (3, 3, [tlv(6, "00" * 8)]), (3, 6, [tlv(3, "0e")]), (3, 3, []), (5, 7, [tlv(6, "00" * 8)]), (12, 10, []),
        (13, 8, []), (14, 11, []), *((n, 8, [tlv(9, "00" * 8)]) for n in range(6, 12)),
        *((n, 9, [tlv(8, "00" * 8)]) for n in range(6, 12)),
    ]:  # fmt: skip
        lone = "" if part else "-alone"
        payload(f"missing-outcome-{number}-{tag:04x}{lone}", "required by this outcome (section 5)",
                wire(0x23, 1, tlv(1, f"{number:02x}"), *part), missing, tag, to="client")  # fmt: skip
    # Fields: the order of the checks.
    payload("order-cut-before-order", "a field that falls and is cut short", wire(0x10, 1, image, "8002 00000002 01"), cut)
    payload("order-order-before-critical", "an unknown critical field that falls", wire(0x10, 1, mode, image, tlv(0x8001)), order, 0x8001)
    payload("order-first-critical", "of two faults in two fields the first is told",
            wire(0x23, 1, tlv(1, "01"), tlv(0x9000), tlv(0x8000)), critical, 0x9000, to="client")  # fmt: skip
    payload("order-order-before-size", "a field that comes twice and has a wrong size", wire(6, 1, tlv(1, "00000001"), tlv(1)), order, 1)
    payload("order-size-before-text", "too long and not UTF-8", wire(0x10, 1, tlv(1, "ff" * 129), mode, image), wrong, 1)
    payload("order-field-by-field", "a bad value comes before a later cut", wire(1, 0, first, tlv(2, "00000000"), "0004"), value, 2, **before)
    payload("order-value-before-missing", "a bad value and a missing field", wire(0x10, 1, mode, tlv(0x800B, "02")), value, 0x800B)
    payload("order-fatal-before-refusal", "a SUBMIT with a wrong size before an unknown critical field is malformed, not refused",
            wire(0x10, 1, tlv(0x8002, "0101"), image, tlv(0x8020)), wrong, 0x8002)  # fmt: skip
    # Data.
    for name, to in [("IMAGE", "worker"), ("INPUT", "worker"), ("OUTPUT", "client")]:
        kind, channel, low = TYPE[name], "01" if name == "OUTPUT" else "00", name.lower()
        payload(f"data-cut-{low}", "11 bytes: the data header is cut short", wire(kind, 1, channel + "00" * 10), cut, to=to)
        payload(f"data-none-{low}", "no payload at all", wire(kind, 1, flags=1), cut, to=to)
        payload(f"data-vcpu-{low}", "vcpu is 0", wire(kind, 1, f"{channel} 01 0000 {0:016x}", "61"), value, to=to)
        payload(f"data-reserved-{low}", "reserved is zero", wire(kind, 1, f"{channel} 00 0001 {0:016x}", "61"), zero, to=to)
        payload(f"data-order-{low}", "vcpu comes before reserved", wire(kind, 1, f"{channel} 01 0100 {0:016x}", "61"), value, to=to)
        payload(f"data-nothing-{low}", "neither bytes nor END", wire(kind, 1, f"{channel} 00 0000 {0:016x}"), value, to=to)
        payload(f"data-reserved-nothing-{low}", "reserved comes before neither bytes nor END",
                wire(kind, 1, f"{channel} 00 8000 {0:016x}"), zero, to=to)  # fmt: skip
        for bad in ["01", "03", "ff"] if name != "OUTPUT" else ["00", "02", "04"]:
            payload(f"data-channel-{bad}-{low}", "no such channel here", wire(kind, 1, f"{bad} 00 0000 {0:016x}", "61"), value, to=to)
    # Connection: a well-formed frame at a wrong place, whatever went before.
    connection("hello-expected-submit", "the client's first frame is HELLO", wire(0x10, 1, mode, image), "hello-expected", **before)
    connection("hello-expected-ping", "the client's first frame is HELLO", wire(2, 0, "00" * 8), "hello-expected", **before)
    newer = wire(1, 0, tlv(1, "0200"), second, fourth)
    connection("version-2", "another major version", newer, "version-unsupported", **before)
    connection("version-0", "another major version", wire(1, 0, tlv(1, "0009"), second, fourth), "version-unsupported", **before)
    connection("hello-twice", "a second HELLO", message("HELLO", **CLIENT_HELLO)["hex"], "unexpected-frame")
    connection("hello-twice-worker", "a second HELLO", message("HELLO", **WORKER_HELLO)["hex"], "unexpected-frame", to="client")
    for made in [message("GOAWAY", reason=1), message("ACCEPTED", 1), message("STARTED", 1), data("OUTPUT", 1, 0, b"x"),
                 message("RESULT", 1, outcome=1)]:  # fmt: skip
        name = made["decoded"]["type"].lower()
        connection(f"direction-{name}", "only a worker sends this", made["hex"], "unexpected-frame")
    for made in [message("SUBMIT", 1, mode=1, image_bytes=1), data("IMAGE", 1, 0, b"x"), data("INPUT", 1, 0, b"x"), opaque("CANCEL", job=1)]:
        name = made["decoded"]["type"].lower()
        connection(f"direction-{name}", "only a client sends this", made["hex"], "unexpected-frame", to="client")
    return out


def outcome_owner(tag: int) -> str:
    """The outcome field of a RESULT to which this tag belongs, so that the tag is not a stray one."""
    owner = {2: 2, 3: 3, 4: 3, 5: 3, 6: 3, 7: 5, 8: 6, 9: 6, 10: 12, 11: 14}.get(tag, 1)
    return tlv(1, f"{owner:02x}")


# Conversations.


class Script:
    """Steps in an order in which both ends may have seen them."""

    def __init__(self, name: str, why: str) -> None:
        self.name, self.why = name, why
        self.steps: list[Json] = []
        self.expect: Json = "ok"

    def client(self, *frames: Json) -> Script:
        return self.add("client", frames)

    def worker(self, *frames: Json) -> Script:
        return self.add("worker", frames)

    def add(self, sender: str, frames: tuple[Json, ...]) -> Script:
        self.steps += [{"from": sender, "hex": f["hex"]} | ({"decoded": f["decoded"]} if "decoded" in f else {}) for f in frames]
        return self

    def hello(self, window: int = 65536, input_window: int = 65536) -> Script:
        self.worker(message("HELLO", **(WORKER_HELLO | {"window": input_window})))
        return self.client(message("HELLO", **(CLIENT_HELLO | {"window": window})))

    def upload(self, job: int, image: bytes = HI, **fields: Any) -> Script:
        self.client(message("SUBMIT", job, **({"mode": 1, "image_bytes": len(image)} | fields)))
        return self.client(data("IMAGE", job, 0, image, end=True))

    def accept(self, job: int, position: int = 0) -> Script:
        return self.worker(message("ACCEPTED", job, queue_position=position))

    def start(self, job: int) -> Script:
        return self.worker(message("STARTED", job, queue_ns=41_000, wall_budget=10 * SECOND, memory_bytes=16 * MIB))

    def run(self, job: int, image: bytes = HI, **fields: Any) -> Script:
        return self.upload(job, image, **fields).accept(job).start(job)

    def wrong(self, error: str) -> Script:
        """The last step is wrong. Its receiver answers with a fatal ERROR."""
        self.expect = {"error": error, "at_step": len(self.steps) - 1}
        codes = ["", "frame-too-long", "reserved-not-zero", "unknown-type", "bad-job", "payload-truncated", "field-order",
                 "unknown-critical-field", "field-size", "bad-text", "bad-value", "field-missing", "hello-expected",
                 "version-unsupported", "handshake-timeout", "unexpected-frame", "bad-offset", "data-overrun",
                 "window-exceeded", "window-overflow"]  # fmt: skip
        kind = bytes.fromhex(self.steps[-1]["hex"])[4]
        if error == "hello-expected" and self.steps[-1]["from"] == "worker":
            return self  # the client's own first frame would have to be HELLO
        answer = message("ERROR", code=codes.index(error), frame_type=kind)
        return self.worker(answer) if self.steps[-1]["from"] == "client" else self.client(answer)


DONE = message("RESULT", 1, outcome=1, meter=1, steps=5, queue_ns=41_000, wall_ns=1_250_000, exits=[2, 0, 5, 0, 1], output_bytes=2)


def halted(job: int) -> Json:
    return message("RESULT", job, outcome=1)


def cancelled(job: int, canceller: int = 1) -> Json:
    return message("RESULT", job, outcome=12, canceller=canceller)


def refusal(job: int, code: int, **more: Any) -> Json:
    return message("ERROR", job, code=code, frame_type=0x10, **more)


def grant(job: int, credit: int) -> Json:
    return message("WINDOW", job, credit=credit)


def right_conversations() -> list[Script]:
    out: list[Script] = []

    def script(name: str, why: str, **hello: int) -> Script:
        out.append(Script(name, why).hello(**hello))
        return out[-1]

    s = script("plain-run", "one job from HELLO to RESULT")
    s.run(1).worker(data("OUTPUT", 1, 0, b"Hi"), DONE)

    s = script("image-in-parts", "an image in three frames, the last of them empty; its bytes are all there before END")
    s.client(message("SUBMIT", 1, mode=1, image_bytes=len(HI)), data("IMAGE", 1, 0, HI[:4]), data("IMAGE", 1, 4, HI[4:]))
    s.client(data("IMAGE", 1, len(HI), b"", end=True)).accept(1).start(1).worker(data("OUTPUT", 1, 0, b"Hi"), DONE)

    s = script("images-interleaved", "two images at once, and job numbers with gaps, up to the largest; results come in any order")
    s.client(message("SUBMIT", 7, mode=1, image_bytes=9), message("SUBMIT", MOST32, mode=1, image_bytes=2))
    s.client(data("IMAGE", 7, 0, HI[:5]), data("IMAGE", MOST32, 0, LOOP[:1]), data("IMAGE", 7, 5, HI[5:], end=True))
    s.accept(7).client(data("IMAGE", MOST32, 1, LOOP[1:], end=True)).start(7).accept(MOST32, 1).start(MOST32)
    s.worker(message("RESULT", MOST32, outcome=6, limit=100, used=100), data("OUTPUT", 7, 0, b"Hi"), halted(7))

    s = script("image-full-frame", "a payload of exactly the frame_limit of the worker, here 4096")
    s.steps.clear()
    s.worker(message("HELLO", **(WORKER_HELLO | {"frame_limit": 4096}))).client(message("HELLO", **CLIENT_HELLO))
    image = b"\x90" * 4084 + HALT
    s.client(message("SUBMIT", 1, mode=3, image_bytes=4085), data("IMAGE", 1, 0, image[:4084]), data("IMAGE", 1, 4084, HALT, end=True))
    s.accept(1).start(1).worker(halted(1))

    s = script("input", "INPUT from right after SUBMIT on, between IMAGE frames and past RESULT", input_window=8)
    s.client(message("SUBMIT", 1, mode=1, image_bytes=len(ECHO), input=True), data("INPUT", 1, 0, b"abc"))
    s.client(data("IMAGE", 1, 0, ECHO, end=True), data("INPUT", 1, 3, b"defgh")).accept(1).start(1)
    s.worker(data("OUTPUT", 1, 0, b"abc"), grant(1, 3)).client(data("INPUT", 1, 8, b"ijk"))
    s.worker(data("OUTPUT", 1, 3, b"def"), grant(1, 3)).client(data("INPUT", 1, 11, b"l", end=True))
    s.worker(data("OUTPUT", 1, 6, b"ghijkl"), halted(1))

    s = script("input-after-result", "INPUT, WINDOW and CANCEL that cross the RESULT are ignored, whatever they hold", input_window=4)
    s.run(1, ECHO, input=True).worker(halted(1))
    s.client(data("INPUT", 1, 0, b"late"), data("INPUT", 1, 99, b"and wrong", end=True), grant(1, MOST_CREDIT), opaque("CANCEL", job=1))
    s.run(2).worker(halted(2))

    s = script("window-refilled", "output stops at zero credit and goes on after WINDOW", window=4)
    s.run(1).worker(data("OUTPUT", 1, 0, b"abcd")).client(grant(1, 2)).worker(data("OUTPUT", 1, 4, b"ef"))
    s.client(grant(1, 1), grant(1, 3)).worker(data("OUTPUT", 1, 6, b"ghij"), halted(1))

    s = script("window-zero", "a first window of 0: nothing may come before WINDOW, which may come right after SUBMIT", window=0)
    s.upload(1).client(grant(1, 2)).accept(1).start(1).worker(data("OUTPUT", 1, 0, b"Hi"), DONE)

    s = script("window-most", "credit may stand at 2^31-1, and be filled up to it again", window=MOST_CREDIT)
    s.run(1).worker(data("OUTPUT", 1, 0, b"Hi")).client(grant(1, 2)).worker(DONE)

    s = script("window-per-job", "each job has its own credit", window=2)
    s.run(1).worker(data("OUTPUT", 1, 0, b"Hi")).run(2).worker(data("OUTPUT", 2, 0, b"Hi"), halted(1), halted(2))

    s = script("port-writes", "offsets count per channel, credit is one sum", window=12)
    s.run(1, port_writes=True).worker(data("OUTPUT", 1, 0, b"ab"), data("OUTPUT", 1, 0, bytes.fromhex("0080010000000041"), channel=3))
    s.worker(data("OUTPUT", 1, 2, b"cd")).client(grant(1, 9)).worker(data("OUTPUT", 1, 8, bytes.fromhex("0080010000000042"), channel=3))
    s.worker(data("OUTPUT", 1, 4, b"e"), message("RESULT", 1, outcome=1, output_bytes=5, unclaimed_port_writes=2))

    s = script("cancel-queued", "a job that waits is cancelled: RESULT without STARTED")
    s.upload(1).accept(1, 3).client(opaque("CANCEL", job=1)).worker(message("RESULT", 1, outcome=12, canceller=1, queue_ns=70_000))

    s = script("cancel-uploading", "CANCEL before the image is complete is answered by a refusal; what crosses it is ignored", input_window=4)
    s.client(message("SUBMIT", 1, mode=1, image_bytes=9, input=True), data("IMAGE", 1, 0, HI[:3]), opaque("CANCEL", job=1))
    s.worker(refusal(1, 76)).client(data("IMAGE", 1, 3, HI[3:6]), data("IMAGE", 1, 0, HI, end=True), data("INPUT", 1, 5, b"x"))
    s.client(grant(1, MOST_CREDIT), opaque("CANCEL", job=1)).run(2).worker(halted(2))

    s = script("cancel-running", "a running job is cancelled")
    s.run(1, LOOP).client(opaque("CANCEL", job=1)).worker(data("OUTPUT", 1, 0, b"last words"), cancelled(1))

    s = script("cancel-late", "how the job ended came first: CANCEL crosses the RESULT and is ignored")
    s.run(1).worker(DONE).client(opaque("CANCEL", job=1), opaque("CANCEL", job=1)).run(2).worker(halted(2))

    for name, fields in OUTCOMES.items():
        s = script(f"outcome-{name}", f"a job that ends as {name}, then one that halts: the outcome of a job does not touch the next")
        if name == "wait-expired":
            s.upload(1).accept(1, 9)
        else:
            s.run(1, LOOP, **({"step_budget": 1000} if name == "steps-exhausted" else {}))
        if name == "cancelled":
            s.client(opaque("CANCEL", job=1))
        s.worker(message("RESULT", 1, **fields)).run(2).worker(halted(2))

    s = script("refusals", "every refusal, one job each; the connection goes on, and what is left of those jobs is ignored")
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

    s = script("refused-when-complete", "the refusal may also come when the image is complete")
    s.upload(1, memory_bytes=4096).worker(refusal(1, 67, limit=MIB, value=4096)).upload(2).accept(2).start(2).worker(halted(2))

    s = script("drain", "GOAWAY: accepted jobs get their RESULT, new ones are refused")
    s.run(1).upload(2).accept(2, 1).worker(message("GOAWAY", reason=1, last_job=2)).upload(3).worker(refusal(3, 75, retryable=True))
    s.worker(data("OUTPUT", 1, 0, b"Hi"), DONE).start(2).worker(cancelled(2, 3))

    script("goaway-idle", "an idle worker takes its leave").worker(message("GOAWAY", reason=2, last_job=0))

    s = Script("minor-versions", "a client of version 1.9: what 1.0 does not know is skipped, in every place and on both sides")
    out.append(s)
    extra = {0x0030: "00", 0x7ABC: "0102030405060708"}
    s.worker(message("HELLO", extra=extra, **WORKER_HELLO), skipped(0x90, 0, ""))
    s.client(message("HELLO", extra=extra, **(CLIENT_HELLO | {"version": (1, 9)})), skipped(0x80, 0, "", flags=0xFF))
    s.client(skipped(0xFE, 1, "ff" * 40, flags=0x81), message("SUBMIT", 1, {0x0030: "6e6577"}, mode=1, image_bytes=9))
    s.client(skipped(0xC0, 1, "00"), data("IMAGE", 1, 0, HI[:4]), skipped(0xC1, 77, "00"), data("IMAGE", 1, 4, HI[4:], end=True))
    s.worker(message("ACCEPTED", 1, extra, queue_position=0), skipped(0xFF, 1, "deadbeef", flags=1), message("STARTED", 1, extra, queue_ns=5))
    s.worker(data("OUTPUT", 1, 0, b"Hi"), skipped(0x88, MOST32, "00" * 12)).client(message("WINDOW", 1, extra, credit=2))
    s.worker(message("RESULT", 1, extra, outcome=1), message("GOAWAY", extra=extra, reason=2, last_job=1))
    s.client(message("ERROR", extra=extra, code=21))

    s = Script("older-minor-worker", "the worker is the one with the higher minor version")
    out.append(s)
    s.worker(message("HELLO", **(WORKER_HELLO | {"version": (1, 3)}))).client(message("HELLO", **CLIENT_HELLO)).run(1).worker(halted(1))

    s = script("ping", "PING from both ends, in the middle of an upload too; a PONG that answers nothing is ignored")
    s.client(opaque("PING", "0000000000000001")).worker(opaque("PONG", "0000000000000001"), opaque("PING", "ffffffffffffffff"))
    s.client(message("SUBMIT", 1, mode=1, image_bytes=9), data("IMAGE", 1, 0, HI[:2]), opaque("PONG", "ffffffffffffffff"))
    s.client(opaque("PONG", "0123456789abcdef"), data("IMAGE", 1, 2, HI[2:], end=True)).accept(1).start(1).worker(halted(1))

    s = Script("too-many-connections", "an ERROR in place of the worker's HELLO")
    out.append(s.worker(message("ERROR", code=20, retryable=True, text="64 connections are open; at most 64")))

    s = Script("handshake-timeout", "no HELLO within 5 s")
    out.append(s.worker(message("HELLO", **WORKER_HELLO), message("ERROR", code=14)))

    s = Script("client-first", "both HELLOs are on their way at once, and the client does not wait for the worker's")
    out.append(s.client(message("HELLO", **CLIENT_HELLO)).worker(message("HELLO", **WORKER_HELLO)).run(1).worker(halted(1)))

    s = script("internal-error", "after a fatal ERROR the worker reads nothing more, but its accepted jobs get their RESULTs")
    s.run(1).upload(2).accept(2).client(message("SUBMIT", 3, mode=1, image_bytes=1)).worker(message("ERROR", code=21))
    s.client(data("IMAGE", 3, 0, HALT, end=True), opaque("CANCEL", job=3)).worker(halted(1), cancelled(2, 2))

    s = script("client-disconnects", "the client closes its sending side after its last frame here: its jobs are cancelled")
    s.run(1, LOOP).upload(2).accept(2, 1).worker(cancelled(2, 2), cancelled(1, 2))
    return out


def wrong_conversations() -> list[Script]:
    out: list[Script] = []

    def script(name: str, why: str, **hello: int) -> Script:
        out.append(Script(f"bad-{name}", why).hello(**hello))
        return out[-1]

    def bare(name: str, why: str) -> Script:
        out.append(Script(f"bad-{name}", why))
        return out[-1]

    never = "unexpected-frame"
    submit = message("SUBMIT", 1, mode=1, image_bytes=9)
    with_input = message("SUBMIT", 1, mode=1, image_bytes=9, input=True)

    bare("submit-before-hello", "the client's first frame is HELLO").worker(message("HELLO", **WORKER_HELLO)).client(submit).wrong("hello-expected")
    bare("worker-without-hello", "the worker's first frame is HELLO too").worker(message("GOAWAY", reason=2)).wrong("hello-expected")
    s = bare("major-version", "another major version").worker(message("HELLO", **WORKER_HELLO))
    s.client(message("HELLO", **(CLIENT_HELLO | {"version": (2, 0)}))).wrong("version-unsupported")
    script("second-hello", "HELLO comes once").client(message("HELLO", **CLIENT_HELLO)).wrong(never)
    script("second-hello-worker", "HELLO comes once").worker(message("HELLO", **WORKER_HELLO)).wrong(never)

    zero = {"hex": wire(0x10, 0, tlv(0x8002, "01"), tlv(0x8003, f"{9:016x}"))}
    script("job-zero", "SUBMIT of job 0").client(zero).wrong("bad-job")
    script("job-reused", "a number that is in use").client(submit, submit).wrong("bad-job")
    s = script("job-reused-ended", "a number whose job has ended; the worker still has a RESULT to send for job 2")
    s.run(1).run(2, LOOP).worker(halted(1)).client(submit).wrong("bad-job").worker(cancelled(2, 2))
    script("job-reused-refused", "a number that was refused").upload(1).worker(refusal(1, 74, retryable=True)).client(submit).wrong("bad-job")
    script("job-falls", "a number below the last one").upload(5).client(message("SUBMIT", 4, mode=1, image_bytes=9)).wrong("bad-job")

    script("image-never-submitted", "IMAGE of a job that was never submitted").client(data("IMAGE", 1, 0, HI)).wrong(never)
    script("input-never-submitted", "INPUT of a job that was never submitted").client(submit, data("INPUT", 2, 0, b"x")).wrong(never)
    script("cancel-never-submitted", "CANCEL of a job that was never submitted").client(submit, opaque("CANCEL", job=2)).wrong(never)
    script("window-never-submitted", "WINDOW for a job that was never submitted").client(grant(1, 1)).wrong(never)
    script("window-never-submitted-worker", "the same from the worker").client(submit).worker(grant(2, 1)).wrong(never)

    script("image-overrun", "one byte more than announced").client(submit, data("IMAGE", 1, 0, HI), data("IMAGE", 1, 9, b"x")).wrong("data-overrun")
    script("image-overrun-end", "the same in one frame with END").client(submit, data("IMAGE", 1, 0, HI + b"x", end=True)).wrong("data-overrun")
    script("image-ends-early", "END before the last byte").client(submit, data("IMAGE", 1, 0, HI[:8], end=True)).wrong("payload-truncated")
    script("image-ends-empty", "END and no byte at all").client(submit, data("IMAGE", 1, 0, b"", end=True)).wrong("payload-truncated")
    script("image-after-end", "IMAGE after END").upload(1).client(data("IMAGE", 1, 9, b"", end=True)).wrong(never)
    script("image-while-running", "IMAGE after END, of a job that runs").run(1).client(data("IMAGE", 1, 9, b"x")).wrong(never).worker(cancelled(1, 2))
    script("image-gap", "a byte is left out").client(submit, data("IMAGE", 1, 0, HI[:4]), data("IMAGE", 1, 5, HI[5:8])).wrong("bad-offset")
    script("image-repeats", "a byte comes twice").client(submit, data("IMAGE", 1, 0, HI[:4]), data("IMAGE", 1, 3, HI[3:8])).wrong("bad-offset")
    script("image-starts-late", "the first offset is 0").client(submit, data("IMAGE", 1, 1, HI[1:5])).wrong("bad-offset")
    script("image-offset-most", "an offset whose end does not fit in 64 bits").client(submit, data("IMAGE", 1, MOST64, HI[:2])).wrong("bad-offset")

    s = script("input-beyond-window", "one byte beyond the credit", input_window=4)
    s.client(with_input, data("INPUT", 1, 0, b"abcd"), data("INPUT", 1, 4, b"e")).wrong("window-exceeded")
    s = script("input-beyond-refill", "one byte beyond the credit after WINDOW", input_window=0)
    s.client(with_input, data("IMAGE", 1, 0, HI, end=True)).accept(1).worker(grant(1, 3)).client(data("INPUT", 1, 0, b"abcd"))
    s.wrong("window-exceeded").worker(cancelled(1, 2))
    script("input-after-end", "bytes after END").client(with_input, data("INPUT", 1, 0, b"a", end=True), data("INPUT", 1, 1, b"b")).wrong(never)
    script("input-end-twice", "END after END").client(with_input, data("INPUT", 1, 0, b"", end=True), data("INPUT", 1, 0, b"", end=True)).wrong(never)
    script("input-not-announced", "SUBMIT did not say that INPUT would come").client(submit, data("INPUT", 1, 0, b"a")).wrong(never)
    script("input-gap", "a byte is left out").client(with_input, data("INPUT", 1, 0, b"a"), data("INPUT", 1, 2, b"c")).wrong("bad-offset")

    script("window-overflow", "credit of 2^31: one more than there can be", window=MOST_CREDIT).run(1).client(grant(1, 1)).wrong(
        "window-overflow").worker(cancelled(1, 2))  # fmt: skip
    script("window-overflow-queued", "before the job has started", window=1).upload(1).client(grant(1, MOST_CREDIT)).wrong("window-overflow")
    script("window-overflow-worker", "the worker gives too much", input_window=MOST_CREDIT).client(with_input).worker(grant(1, 1)).wrong("window-overflow")

    for made in [message("ACCEPTED", 1), message("STARTED", 1), data("OUTPUT", 1, 0, b"x"), halted(1), message("GOAWAY", reason=1)]:
        name = made["decoded"]["type"].lower()
        script(f"direction-{name}", "a worker's frame from the client").client(submit, made).wrong(never)
    for made in [submit, data("IMAGE", 1, 0, HI), data("INPUT", 1, 0, b"x"), opaque("CANCEL", job=1)]:
        name = made["decoded"]["type"].lower()
        script(f"direction-{name}", "a client's frame from the worker").client(with_input).worker(made).wrong(never)

    script("result-twice", "exactly one RESULT").run(1).worker(halted(1), halted(1)).wrong(never)
    script("result-before-accepted", "RESULT of a job that was not accepted").upload(1).worker(halted(1)).wrong(never)
    script("result-after-refusal", "nothing follows a refusal").upload(1).worker(refusal(1, 74), halted(1)).wrong(never)
    script("result-never-submitted", "RESULT of a job that was never submitted").worker(halted(1)).wrong(never)
    script("accepted-never-submitted", "ACCEPTED of a job that was never submitted").upload(1).accept(2).wrong(never)
    script("accepted-after-refusal", "nothing follows a refusal").upload(1).worker(refusal(1, 74)).accept(1).wrong(never)
    script("refused-after-accepted", "ACCEPTED or a refusal, not both").upload(1).accept(1).worker(refusal(1, 74)).wrong(never)
    script("started-after-result", "nothing of the job comes after its RESULT").upload(1).accept(1).worker(cancelled(1)).start(1).wrong(never)
    script("output-after-result", "all OUTPUT comes before RESULT").run(1).worker(halted(1), data("OUTPUT", 1, 0, b"x")).wrong(never)
    script("output-beyond-window", "one byte beyond the credit", window=4).run(1).worker(data("OUTPUT", 1, 0, b"abcde")).wrong("window-exceeded")
    s = script("output-beyond-sum", "credit is one sum over the channels", window=8).run(1, port_writes=True)
    s.worker(data("OUTPUT", 1, 0, b"a"), data("OUTPUT", 1, 0, bytes.fromhex("0080010000000041"), channel=3)).wrong("window-exceeded")
    script("output-gap", "a byte is left out").run(1).worker(data("OUTPUT", 1, 0, b"a"), data("OUTPUT", 1, 2, b"c")).wrong("bad-offset")
    s = script("output-offset-channels", "offsets count per channel").run(1, port_writes=True)
    s.worker(data("OUTPUT", 1, 0, b"a"), data("OUTPUT", 1, 1, bytes.fromhex("0080010000000041"), channel=3)).wrong("bad-offset")
    return out


# Files.


def lines(entry: Json, indent: str) -> str:
    rows = [f"{indent} {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
    return f"{indent}{{\n" + ",\n".join(rows) + f"\n{indent}}}"


def listing(entries: list[Json], indent: str = " ") -> str:
    return "[\n" + ",\n".join(lines(entry, indent) for entry in entries) + f"\n{indent[1:]}]"


def conversation(script: Script) -> str:
    rest = {"name": script.name, "why": script.why, "expect": script.expect}
    rows = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in rest.items()]
    return "{\n" + ",\n".join(rows) + ',\n "steps": ' + listing(script.steps, "  ") + "\n}\n"


def files() -> dict[str, str]:
    """Every vector file by its path under vectors/."""
    out = {"frames.json": listing(right_frames()) + "\n", "bad.json": listing(wrong_frames()) + "\n"}
    for script in right_conversations() + wrong_conversations():
        path = f"transcripts/{script.name}.json"
        assert path not in out, path
        out[path] = conversation(script)
    return out


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for path, content in files().items():
        target = Path(sys.argv[1]) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
