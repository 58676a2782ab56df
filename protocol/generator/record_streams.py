# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Records of OUTPUT channels 4 and 5: streams of them, right and wrong, and what a reader shows."""

from __future__ import annotations

from generator.encoder import Json, exit_record
from generator.values import HI, HLT, MOST32, MOST64, PORT_OUT


def memory(address: int, content: bytes) -> bytes:
    return bytes.fromhex(f"{address:016x}{len(content):08x}") + content


def shown_memory(address: int, content: bytes) -> Json:
    return {"address": str(address), "bytes": content.hex()}


def step(rip: int, code: bytes, changes: list[tuple[int, int]], linear: int | None = None, bits: int = 16) -> bytes:
    head = f"01{len(code):02x}{len(changes):02x}{bits:02x}{rip:016x}{rip if linear is None else linear:016x}"
    return bytes.fromhex(head + code.hex() + "".join(f"{n:02x}{v:016x}" for n, v in changes))


def shown_step(
    rip: int, code: bytes, changes: list[tuple[int, int]], linear: int | None = None, bits: int = 16
) -> Json:
    return {
        "kind": "step",
        "rip": str(rip),
        "linear_address": str(rip if linear is None else linear),
        "bits": bits,
        "code": code.hex(),
        "changes": [{"register": n, "value": str(v)} for n, v in changes],
    }


def leave(record: tuple[int, int, int, int, int, int], zero: int = 0) -> bytes:
    return bytes.fromhex("02" + exit_record(record, zero)[0])


def shown_exit(record: tuple[int, int, int, int, int, int]) -> Json:
    shown = exit_record(record)[1]
    number = shown.pop("kind")
    return {"kind": "exit", "exit": number} | shown


class Streams:
    def __init__(self) -> None:
        self.entries: list[Json] = []

    def add(self, name: str, why: str, channel: int, content: bytes, records: list[Json], end: str = "whole") -> None:
        """The stream ends behind a `whole` record, is `cut` within one, or is `broken`: holds what is none."""
        entry = {"name": name, "why": why, "channel": channel, "hex": content.hex(), "records": records, "end": end}
        self.entries.append(entry)


def memory_streams(streams: Streams) -> None:
    """Channel 4."""
    streams.add("memory-nothing", "a stream without bytes", 4, b"", [])
    streams.add("memory-end", "a window of zeros: only its end", 4, memory(0x8000, b""), [shown_memory(0x8000, b"")])
    parts = [(0x7000, bytes(range(16))), (0x7800, b"x"), (0x8000, b""), (MOST64, b"\xff"), (0, b"")]
    content = b"".join(memory(*part) for part in parts)
    streams.add("memory-windows", "two windows and their ends", 4, content, [shown_memory(*part) for part in parts])
    most = bytes(i * 7 % 256 for i in range(32768))
    streams.add("memory-most", "the longest record", 4, memory(1 << 20, most), [shown_memory(1 << 20, most)])
    streams.add("memory-cut", "a record that ends early", 4, content[:40], [shown_memory(*parts[0])], "cut")
    streams.add("memory-cut-header", "no whole header", 4, memory(1, b"a") + bytes(11), [shown_memory(1, b"a")], "cut")
    for count in [32769, MOST32]:
        wrong = bytes.fromhex(f"{0:016x}{count:08x}")
        streams.add(f"memory-count-{count}", "a record has at most 32,768 bytes", 4, wrong, [], "broken")
        streams.add(
            f"memory-count-{count}-second",
            "what came before it counts",
            4,
            memory(*parts[0]) + wrong,
            [shown_memory(*parts[0])],
            "broken",
        )


def trace_streams(streams: Streams) -> None:
    """Channel 5."""
    most = [(n, MOST64 - n) for n in range(18) if n != 16]
    steps = [
        (0x1000, HI[:2], [(0, 0x48)], None, 16),
        (0, b"", [], MOST64, 32),
        (MOST64, bytes(range(15)), most, 0, 64),
    ]
    names = ["typical", "least", "most"]
    for name, one in zip(names, steps, strict=True):
        streams.add(f"trace-step-{name}", "one step", 5, step(*one), [shown_step(*one)])
    for kind in range(1, 10):
        record = (kind, 255, MOST32, MOST64, MOST64 - 1, MOST64 - 2)
        streams.add(f"trace-exit-{kind}", "an exit of each kind", 5, leave(record), [shown_exit(record)])
    content = step(*steps[0]) + leave(PORT_OUT) + step(*steps[2]) + leave(HLT)
    shown = [shown_step(*steps[0]), shown_exit(PORT_OUT), shown_step(*steps[2]), shown_exit(HLT)]
    streams.add("trace-both", "steps and exits", 5, content, shown)
    streams.add("trace-exit-zero", "the zero part is ignored", 5, leave(HLT, 0xFFFF), [shown_exit(HLT)])
    streams.entries[-1]["canonical"] = leave(HLT).hex()
    streams.add("trace-cut", "a step that ends early", 5, content[:70], shown[:2], "cut")
    streams.add("trace-cut-kind", "no more than a kind", 5, step(*steps[0]) + b"\2", shown[:1], "cut")


def wrong_trace_streams(streams: Streams) -> None:
    """Channel 5, with what is no record."""
    first, shown = step(0x1000, HI[:2], [(0, 0x48)]), [shown_step(0x1000, HI[:2], [(0, 0x48)])]
    for kind in [0, 3, 255]:
        streams.add(f"trace-kind-{kind}", "kinds are 1 and 2", 5, first + bytes([kind]) + bytes(40), shown, "broken")
    for kind in [0, 10, 255]:
        wrong = leave((kind, 0, 0, 0, 0, 0))
        streams.add(f"trace-exit-kind-{kind}", "kinds of exits are 1 to 9", 5, first + wrong, shown, "broken")
    for bits in [0, 8, 33, 255]:
        wrong = step(0, b"", [], bits=bits)
        streams.add(f"trace-bits-{bits}", "16, 32 or 64", 5, first + wrong, shown, "broken")
    streams.add("trace-code-16", "at most 15 bytes of code", 5, first + step(0, bytes(16), []), shown, "broken")
    streams.add(
        "trace-counts-most",
        "255 bytes of code, 255 changes: not waited for",
        5,
        b"\1\xff\xff\x10" + bytes(16),
        [],
        "broken",
    )
    changes = {"18": [(n, 0) for n in range(18)], "rip": [(16, 0)], "unknown": [(18, 0)], "twice": [(3, 0), (3, 0)]}
    changes |= {"fall": [(3, 0), (2, 0)], "most": [(255, 0)]}
    for name, wrong_changes in changes.items():
        wrong = step(0, b"\x90", wrong_changes)
        streams.add(f"trace-changes-{name}", "numbers but rip's, rising strictly", 5, first + wrong, shown, "broken")


def record_streams() -> list[Json]:
    streams = Streams()
    for part in [memory_streams, trace_streams, wrong_trace_streams]:
        part(streams)
    return streams.entries
