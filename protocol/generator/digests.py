# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Digests of results. Computed from values, not from frames: this shares nothing with digest.py."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from generator.encoder import TAGS, Json, message
from generator.values import COUNTERS, KIB, MIB, OUTCOMES, POST_MORTEM

OUTCOME_FIELDS = "code vector error_code address rip instruction limit used canceller text".split()
SMALL = [(0x1000, b"\xf4"), (0x7FFE, b"\1\2")]


def value(name: str, fields: dict[str, Any]) -> bytes:
    return bytes.fromhex(TAGS["RESULT"][name][1](fields[name])[0])


def outcome_part(fields: dict[str, Any]) -> bytes:
    out = bytes([fields["outcome"]])
    for name in OUTCOME_FIELDS:
        if name in fields and not (name == "used" and fields["outcome"] in (7, 8, 11)):
            out += TAGS["RESULT"][name][0].to_bytes(2, "big") + len(value(name, fields)).to_bytes(4, "big")
            out += value(name, fields)
    return out


def memory_part(size: int, contents: list[tuple[int, bytes]]) -> bytes:
    pages: dict[int, bytearray] = {}
    for address, data in contents:
        for at, byte in enumerate(data, address):
            pages.setdefault(at // 4096, bytearray(4096))[at % 4096] = byte
    memory = sha256(size.to_bytes(8, "big"))
    for number, page in sorted(pages.items()):
        memory.update((number * 4096).to_bytes(8, "big") + page)
    return memory.digest()


def digest(fields: dict[str, Any], console: bytes, ports: bytes, size: int, contents: list[tuple[int, bytes]]) -> str:
    whole = sha256(b"kvmjob-digest-1" + b"\0" + outcome_part(fields))
    whole.update(b"\1" + value("steps", fields) if "steps" in fields else b"\0")
    known = "registers" in fields and "system" in fields
    whole.update(b"\1" + value("registers", fields) + value("system", fields) if known else b"\0")
    for stream in [console, ports]:
        whole.update(sha256(stream).digest())
    whole.update(memory_part(size, contents))
    return whole.hexdigest()


class Digests:
    def __init__(self) -> None:
        self.entries: list[Json] = []

    def add(
        self,
        name: str,
        why: str,
        fields: dict[str, Any],
        console: bytes = b"",
        ports: bytes = b"",
        size: int = MIB,
        contents: list[tuple[int, bytes]] | None = None,
    ) -> None:
        contents = SMALL if contents is None else contents
        self.entries.append(
            {
                "name": name,
                "why": why,
                "result": message("RESULT", 1, **fields)["hex"],
                "console": console.hex(),
                "port_writes": ports.hex(),
                "memory_bytes": str(size),
                "memory": [{"address": str(address), "bytes": data.hex()} for address, data in contents],
                "digest": digest(fields, console, ports, size, contents),
            }
        )


def digests() -> list[Json]:
    made = Digests()
    for name, fields in OUTCOMES.items():
        made.add(name, "the outcome and its fields", fields)
    made.add(
        "used-differs",
        "what was used of a time does not count: as wall-time-exhausted",
        OUTCOMES["wall-time-exhausted"] | {"used": 1},
    )
    made.add("steps", "steps count, how they were counted does not", {"outcome": 1, "meter": 1, "steps": 5})
    known = {"outcome": 1, "steps": 5, "registers": COUNTERS["registers"], "system": COUNTERS["system"]}
    made.add("registers", "registers count where both blocks are known", known)
    made.add("registers-alone", "one block alone does not: as steps", {k: v for k, v in known.items() if k != "system"})
    made.add(
        "figures",
        "no figure but the steps counts, and no post-mortem: as registers",
        {"outcome": 1} | COUNTERS | POST_MORTEM,
    )
    ports = bytes.fromhex("0080010000000041")
    made.add("streams", "console and port writes, each on its own", known, b"Hi", ports)
    made.add("streams-swapped", "the same bytes, the other way round", known, ports, b"Hi")
    made.add("memory-zero", "memory without a byte that is not zero", known, size=64 * KIB, contents=[])
    made.add("memory-longer", "the size of memory counts", known, size=68 * KIB, contents=[])
    made.add("memory-last", "its last byte counts", known, size=64 * KIB, contents=[(64 * KIB - 1, b"\x80")])
    return made.entries
