# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Frames from values, for the test vectors: each as `{"hex", "decoded"}`.

Written from PROTOCOL.md on its own: this shares nothing with python/kvmjob/codec.py, so that one slip cannot hide in both. Hex
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


def segments(value: list[tuple[int, tuple[int, int, int, int]]]) -> tuple[str, Json]:
    return " ".join(f"{n:02x}{b:016x}{m:08x}{s:04x}{a:04x}" for n, (b, m, s, a) in value), [
        {"register": n, "base": str(b), "limit": m, "selector": s, "attributes": a & 0x1FFF}
        for n, (b, m, s, a) in value
    ]


def tables(value: list[tuple[int, tuple[int, int]]]) -> tuple[str, Json]:
    shown = [{"register": n, "base": str(b), "limit": m} for n, (b, m) in value]
    return " ".join(f"{n:02x}{b:016x}{m:04x}" for n, (b, m) in value), shown


def ranges(value: list[tuple[int, int]]) -> tuple[str, Json]:
    return " ".join(f"{a:016x}{n:016x}" for a, n in value), [{"address": str(a), "count": str(n)} for a, n in value]


def point(value: tuple[int, int]) -> tuple[str, Json]:
    return f"{value[0]:02x} {value[1]:016x}", {"kind": value[0], "value": str(value[1])}


def strings(value: list[bytes]) -> tuple[str, Json]:
    return " ".join(f"{part.hex()}00" for part in value), [part.hex() for part in value]


def layers(value: list[tuple[str, int]]) -> tuple[str, Json]:
    return " ".join(f"{d} {n:016x}" for d, n in value), [{"digest": d, "bytes": str(n)} for d, n in value]


def call_numbers(value: list[int]) -> tuple[str, Json]:
    return " ".join(f"{n:08x}" for n in value), value


def window(value: tuple[int, bytes]) -> tuple[str, Json]:
    address, content = value
    return f"{address:016x} {content.hex()}".rstrip(), {"address": str(address), "bytes": content.hex()}


def exit_record(value: tuple[int, int, int, int, int, int], zero: int = 0) -> tuple[str, Json]:
    kind, width, elements, address, first, rip = value
    return f"{kind:02x}{width:02x}{zero:04x}{elements:08x}{address:016x}{first:016x}{rip:016x}", {
        "kind": kind,
        "size": width,
        "elements": elements,
        "address": str(address),
        "value": str(first),
        "rip": str(rip),
    }


def exit_log(value: list[tuple[int, int, int, int, int, int]]) -> tuple[str, Json]:
    made = [exit_record(record) for record in value]
    return " ".join(hex for hex, _ in made), [shown for _, shown in made]


def numbers(size: int) -> Any:
    made = number(size)
    return lambda value: (" ".join(made(n)[0] for n in value), [made(n)[1] for n in value])


def counted(names: list[tuple[str, int]]) -> Any:
    """Records of numbers, which have a name and a size each; those without a name are zero."""

    def made(value: list[list[int]]) -> tuple[str, Json]:
        hexes, shown = [], []
        for row in value:
            assert len(row) == sum(bool(name) for name, _ in names)
            parts, left = dict[str, Json](), iter(row)
            hexes.append("".join(f"{next(left) if name else 0:0{2 * size}x}" for name, size in names))
            for (name, size), n in zip([part for part in names if part[0]], row):
                parts[name] = str(n) if size == 8 else n
            shown.append(parts)
        return " ".join(hexes), shown

    return made


PROCESSOR = [("state", 1), ("steps", 8), ("cpu_ns", 8)]
REGISTER_NAMES = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()
PROCESSOR_REGISTERS = [("known", 1)] + [(name, 8) for name in REGISTER_NAMES]
TENANT = [(name, 4) for name in ["user", "connections", "queued", "running", "paused", ""]]
TENANT += [(name, 8) for name in ["memory_bytes", "bytes_in_flight", "kept_bytes", "slot_ns", "finished", "failed"]]
TENANT += [("refused", 8)]
SAMPLE = [("kind", 2), ("label", 2), ("value", 8)]
BEFORE_TITLE = [("id", 8), ("user", 4), ("process", 4), ("state", 1), ("mode", 1), ("priority", 1)]
BEHIND_SIZE = [("memory_bytes", 8), ("queue_ns", 8), ("run_ns", 8)]


def job_list(value: list[tuple[list[int], str]]) -> tuple[str, Json]:
    """Each is nine numbers and a title."""
    hexes, shown = [], []
    for row, title in value:
        first, first_shown = counted(BEFORE_TITLE)([row[:6]])
        rest, rest_shown = counted(BEHIND_SIZE)([row[6:]])
        hexes.append(f"{first}{len(title.encode()):02x}{rest}{title.encode().hex()}")
        shown.append(first_shown[0] | rest_shown[0] | {"title": title})
    return " ".join(hexes), shown


BEFORE_SIZES = [("id", 8), ("user", 4), ("state", 1), ("outcome", 1)]
BEHIND_SIZES = [("run", 4), ("", 4), ("accepted_at", 8), ("ended_at", 8), ("output_bytes", 8)]


def detached_list(value: list[tuple[list[int], str, str]]) -> tuple[str, Json]:
    """Each is eight numbers, a label and a key."""
    hexes, shown = [], []
    for row, label, key in value:
        first, first_shown = counted(BEFORE_SIZES)([row[:4]])
        rest, rest_shown = counted(BEHIND_SIZES)([row[4:]])
        sizes = f"{len(label.encode()):02x}{len(key.encode()):02x}"
        hexes.append(f"{first}{sizes}{rest}{label.encode().hex()}{key.encode().hex()}")
        shown.append(first_shown[0] | rest_shown[0] | {"label": label, "key": key})
    return " ".join(hexes), shown


def offsets(value: list[tuple[int, int]]) -> tuple[str, Json]:
    return " ".join(f"{c:02x}{at:016x}" for c, at in value), [{"channel": c, "offset": str(at)} for c, at in value]


def histograms(value: list[tuple[int, int, list[int]]]) -> tuple[str, Json]:
    return " ".join(
        f"{kind:04x}{len(counts):04x}{total:016x}" + "".join(f"{n:016x}" for n in counts)
        for kind, total, counts in value
    ), [{"kind": kind, "sum": str(total), "counts": [str(n) for n in counts]} for kind, total, counts in value]


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
    "EXTEND": 0x14,
    "ATTACH": 0x15,
    "LEAVE": 0x16,
    "ACCEPTED": 0x20,
    "STARTED": 0x21,
    "OUTPUT": 0x22,
    "RESULT": 0x23,
    "PAUSED": 0x24,
    "WANT_IMAGE": 0x25,
    "ATTACHED": 0x26,
    "LEFT": 0x27,
    "QUERY": 0x30,
    "ANSWER": 0x31,
    "STOP": 0x32,
    "STOPPED": 0x33,
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
        "limit_name": (8, words),
        "retry_ns": (9, u64),
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
        "cpu_budget": (0x800C, u64),
        "exit_budget": (0x800D, u64),
        "output_budget": (0x800E, u64),
        "memory_budget": (0x800F, u64),
        "meter": (0x8010, u8),
        "pause": (0x8011, flag),
        "report": (0x8012, u8),
        "segments": (0x8013, segments),
        "tables": (0x8014, tables),
        "controls": (0x8015, first_registers),
        "pieces": (0x8016, ranges),
        "dumps": (0x8017, ranges),
        "trace": (0x8018, flag),
        "deterministic": (0x8019, flag),
        "image_digest": (0x801A, raw),
        "snapshot": (0x801B, point),
        "from": (0x801C, raw),
        "program": (0x801D, raw),
        "arguments": (0x801E, strings),
        "environment": (0x801F, strings),
        "layers": (0x8020, layers),
        "clock": (0x8021, u8),
        "seed": (0x8022, u64),
        "scratch_bytes": (0x8023, u64),
        "priority": (0x8024, u8),
        "wait_budget": (0x8025, u64),
        "detach": (0x8026, flag),
        "key": (0x8027, words),
        "board": (0x8028, u8),
        "rom": (0x8029, flag),
        "vcpus": (0x802A, u8),
        "turn": (0x802B, u64),
    },
    "ACCEPTED": {"queue_position": (1, u32), "id": (2, u64), "wait_ns": (3, u64), "repeated": (4, flag)},
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
        "cpu_ns": (23, u64),
        "touched_bytes": (24, u64),
        "cause_vector": (25, u8),
        "cause_error_code": (26, u32),
        "cause_address": (27, u64),
        "code_window": (28, window),
        "stack_window": (29, window),
        "exit_log": (30, exit_log),
        "fpu": (31, raw),
        "digest": (32, raw),
        "snapshot": (33, raw),
        "signal": (34, u8),
        "system_calls": (35, u64),
        "unknown_calls": (36, call_numbers),
        "place": (37, words),
        "peak_bytes": (38, u64),
        "processors": (39, counted(PROCESSOR)),
        "processor_registers": (40, counted(PROCESSOR_REGISTERS)),
    },
    "EXTEND": {"steps": (0x8001, u64)},
    "PAUSED": {"steps": (1, u64), "keep_ns": (2, u64), "registers": (3, last_registers), "system": (4, system)},
    "WANT_IMAGE": {"layers": (1, u32)},
    "ATTACH": {
        "id": (0x8001, u64),
        "run": (0x8002, u32),
        "offsets": (0x8003, offsets),
        "output": (0x8004, flag),
        "follow": (0x8005, flag),
    },
    "ATTACHED": {"state": (1, u8), "run": (2, u32), "label": (3, words), "output_bytes": (4, u64)},
    "LEFT": {"reason": (1, u8)},
    "QUERY": {"what": (0x8001, u8), "after": (0x8002, u64)},
    "ANSWER": {
        "what": (1, u8),
        "more": (2, flag),
        "software": (16, words),
        "backend": (17, words),
        "uptime_ns": (18, u64),
        "slots": (19, u32),
        "running": (20, u32),
        "queued": (21, u32),
        "paused": (22, u32),
        "connections": (23, u32),
        "tenants": (24, u32),
        "memory_limit": (25, u64),
        "memory_bytes": (26, u64),
        "finished": (27, u64),
        "failed": (28, u64),
        "draining": (29, flag),
        "operator": (30, flag),
        "confinement": (31, u8),
        "tenant_list": (48, counted(TENANT)),
        "job_list": (49, job_list),
        "samples": (50, counted(SAMPLE)),
        "histograms": (51, histograms),
        "detached_list": (52, detached_list),
    },
    "STOP": {"jobs": (0x8001, numbers(8)), "worker": (0x8002, flag), "forget": (0x8003, numbers(8))},
    "STOPPED": {"jobs": (1, numbers(1)), "drains": (2, flag), "forgotten": (3, numbers(1))},
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
