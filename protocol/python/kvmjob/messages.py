# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Between the fields of messages, as codec.py has them, and the values of model.py."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from typing import Optional, TypeVar

from .codec import SEGMENTS, SYSTEM_VALUES, TABLES, Json
from .model import (
    Acceptance, Attachment, Canceller, Channel, Counters, DetachedJob, DetachedState, Exit, ExitKind, Exits, Fault,
    Histogram, Image, JobSpec, JobState, ListedJob, MemoryRange, MemoryWindow, Mode, Outcome, Pause, Processor,
    ProcessorState, Program, Result, Sample, Segment, Start, System, Table, Tenant, Text, WorkerStatus, WorkerTerms,
)  # fmt: skip

REGISTERS = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()
CONTROLS = "cr0 cr2 cr3 cr4 cr8 efer".split()
NOBODY = 0xFFFFFFFF
NOT_STARTED = 2**64 - 1
LEAST_OFFERED = 4096  # bytes of an image that is worth a digest: a smaller one is sent sooner than it is looked up

Fields = dict[str, Json]
T = TypeVar("T")


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def encoded(text: Text) -> str:
    """Hexadecimal, as codec.py has bytes."""
    return (text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")).hex()


# SUBMIT


def submission(spec: JobSpec, has_input: bool) -> Fields:
    """The fields of SUBMIT. What says nothing is left out."""
    start, limits = spec.start, spec.limits
    if isinstance(start, Image):
        fields = of_image(start)
    elif isinstance(start, Program):
        fields = of_program(start)
    else:
        fields = {"mode": 0, "image_bytes": 0, "from": start.name.hex()}
    choices: Fields = {
        "label": spec.label or None,
        "memory_bytes": spec.memory_bytes,
        "step_budget": limits.steps,
        "wall_budget": in_nanoseconds(limits.wall_seconds),
        "cpu_budget": in_nanoseconds(limits.cpu_seconds),
        "exit_budget": limits.exits,
        "output_budget": limits.output_bytes,
        "memory_budget": limits.touched_bytes,
        "wait_budget": in_nanoseconds(limits.wait_seconds),
        "meter": spec.meter,
        "report": int(spec.report) or None,
        "priority": spec.priority,
        "dumps": ranges(spec.dumps),
        "snapshot": {"kind": int(spec.snapshot.kind), "value": spec.snapshot.value} if spec.snapshot else None,
        "port_writes": spec.port_writes or None,
        "input": has_input or None,
        "pause": spec.pause or None,
        "trace": spec.trace or None,
        "deterministic": spec.deterministic or None,
        "board": int(spec.board) or None,
        "vcpus": spec.vcpus if spec.vcpus != 1 else None,
        "turn": spec.turn,
    }
    return fields | {name: value for name, value in choices.items() if value is not None}


def in_nanoseconds(seconds: Optional[float]) -> Optional[int]:
    return None if seconds is None else nanoseconds(seconds)


def ranges(rows: Sequence[MemoryRange]) -> Json:
    return [{"address": row.address, "count": row.count} for row in rows] or None


def of_image(image: Image) -> Fields:
    fields: Fields = {
        "mode": int(image.mode),
        "image_bytes": len(image.data),
        "load_address": image.load_address,
        "entry_point": image.entry_point,
        "registers": values(image.registers, REGISTERS),
        "controls": values(image.controls, CONTROLS),
        "segments": sorted(
            ({"register": place(name, SEGMENTS)} | vars(segment) for name, segment in image.segments.items()), key=order
        ),
        "tables": sorted(
            ({"register": place(name, TABLES)} | vars(table) for name, table in image.tables.items()), key=order
        ),
        "pieces": ranges(image.pieces),
        "rom": image.rom or None,
    }
    if len(image.data) >= LEAST_OFFERED:
        fields["image_digest"] = hashlib.sha256(image.data).hexdigest()
    return {name: value for name, value in fields.items() if value is not None and value != []}


def place(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise ValueError(f"{name} is none of {', '.join(names)}")
    return names.index(name)


def order(row: Mapping[str, int]) -> int:
    return row["register"]


def values(registers: Mapping[str, int], names: Sequence[str]) -> Json:
    return sorted(({"register": place(name, names), "value": value} for name, value in registers.items()), key=order)


def of_program(program: Program) -> Fields:
    fields: Fields = {
        "mode": int(Mode.LINUX),
        "image_bytes": sum(map(len, program.layers)),
        "program": encoded(program.path),
        "arguments": [encoded(word) for word in program.arguments or [program.path]],
        "layers": [
            {"digest": hashlib.sha256(layer).hexdigest(), "bytes": len(layer)} for layer in program.layers
        ],
    }  # fmt: skip
    if program.environment:
        fields["environment"] = [encoded(f"{name}={value}") for name, value in program.environment.items()]
    if program.same_clock:
        fields["clock"] = 2
    if program.seed is not None:
        fields["seed"] = program.seed
    if program.scratch_bytes is not None:
        fields["scratch_bytes"] = program.scratch_bytes
    return fields


# ATTACH


def attachment_request(
    id: int, run: Optional[int], offsets: Optional[Mapping[Channel, int]], output: bool, follow: bool
) -> Fields:
    fields: Fields = {"id": id}
    if run is not None:
        fields["run"] = run
    rows = [{"channel": int(channel), "offset": offset} for channel, offset in sorted((offsets or {}).items())]
    if rows:
        fields["offsets"] = rows
    return fields | ({} if output else {"output": False}) | ({} if follow else {"follow": False})


# What comes back


def number(fields: Fields, name: str) -> Optional[int]:
    return int(fields[name]) if name in fields else None


def raw(fields: Fields, name: str) -> Optional[bytes]:
    return bytes.fromhex(fields[name]) if name in fields else None


def terms(fields: Fields) -> WorkerTerms:
    return WorkerTerms(
        version=(fields["version"]["major"], fields["version"]["minor"]),
        software=fields.get("software", ""),
        job_limit=number(fields, "job_limit"),
        image_limit=number(fields, "image_limit"),
        memory_minimum=number(fields, "memory_minimum"),
        memory_maximum=number(fields, "memory_maximum"),
        wall_maximum_ns=number(fields, "wall_maximum"),
        slots=number(fields, "slots"),
        modes={row["mode"]: row["meter"] for row in fields.get("modes", [])},
    )


def acceptance(fields: Fields) -> Acceptance:
    repeated = bool(fields.get("repeated", False))
    return Acceptance(number(fields, "id"), number(fields, "queue_position"), number(fields, "wait_ns"), repeated)


def start(fields: Fields) -> Start:
    step_budget, wall_budget = number(fields, "step_budget"), number(fields, "wall_budget")
    return Start(number(fields, "queue_ns"), step_budget, wall_budget, number(fields, "memory_bytes"))


def segment(row: Json) -> Segment:
    return Segment(int(row["base"]), int(row["limit"]), int(row["selector"]), int(row["attributes"]))


def system(fields: Fields) -> Optional[System]:
    if "system" not in fields:
        return None
    row = fields["system"]
    return System(
        {name: segment(row[name]) for name in SEGMENTS},
        {name: Table(int(row[name]["base"]), int(row[name]["limit"])) for name in TABLES},
        {name: int(row[name]) for name in SYSTEM_VALUES},
    )


def registers(fields: Fields) -> Optional[Mapping[str, int]]:
    return dict(zip(REGISTERS, map(int, fields["registers"]))) if "registers" in fields else None


def pause(fields: Fields) -> Pause:
    return Pause(int(fields["steps"]), int(fields["keep_ns"]), registers(fields), system(fields))


def window(fields: Fields, name: str) -> Optional[MemoryWindow]:
    row = fields.get(name)
    return MemoryWindow(int(row["address"]), bytes.fromhex(row["bytes"])) if row else None


def exit_record(row: Json, kind: str = "kind") -> Exit:
    rest = [int(row[name]) for name in ("size", "elements", "address", "value", "rip")]
    return Exit(ExitKind(row[kind]), *rest)


def fault(fields: Fields) -> Optional[Fault]:
    if "vector" not in fields:
        return None
    return Fault(fields["vector"], number(fields, "error_code"), number(fields, "address"), number(fields, "rip"))


def cause(fields: Fields) -> Optional[Fault]:
    if "cause_vector" not in fields:
        return None
    parts = number(fields, "cause_error_code"), number(fields, "cause_address")
    rip = (registers(fields) or {}).get("rip")
    return Fault(fields["cause_vector"], *parts, rip)


def processors(fields: Fields) -> tuple[Processor, ...]:
    told = fields.get("processor_registers", [])
    rows = fields.get("processors", [])
    states = [{name: int(row[name]) for name in REGISTERS} if row["known"] else None for row in told]
    states += [None] * (len(rows) - len(states))
    return tuple(
        Processor(
            ProcessorState(row["state"]), int(row["steps"]) if "steps" in fields else None, int(row["cpu_ns"]), state
        )
        for row, state in zip(rows, states)
    )


PLAIN = """code limit used meter steps queue_ns wall_ns cpu_ns output_bytes unclaimed_port_writes dropped_memory_writes
touched_bytes signal system_calls peak_bytes""".split()
BYTES = "instruction snapshot fpu digest".split()


def result(fields: Fields) -> Result:
    exits = fields.get("exits")
    return Result(
        outcome=Outcome(fields["outcome"]),
        fault=fault(fields),
        canceller=Canceller(fields["canceller"]) if "canceller" in fields else None,
        text=fields.get("text"),
        meter_reason=fields.get("meter_reason"),
        place=fields.get("place"),
        exits=Exits(**{name: int(count) for name, count in exits.items()}) if exits else None,
        registers=registers(fields),
        system=system(fields),
        cause=cause(fields),
        code_window=window(fields, "code_window"),
        stack_window=window(fields, "stack_window"),
        exit_log=tuple(map(exit_record, fields.get("exit_log", []))),
        unknown_calls=tuple(fields.get("unknown_calls", [])),
        processors=processors(fields),
        **{name: number(fields, name) for name in PLAIN},  # type: ignore[arg-type]
        **{name: raw(fields, name) for name in BYTES},  # type: ignore[arg-type]
    )


def attachment(fields: Fields) -> Attachment:
    label, output_bytes = fields.get("label", ""), number(fields, "output_bytes")
    return Attachment(DetachedState(fields["state"]), fields["run"], label, output_bytes)


# ANSWER


def worker_status(fields: Fields) -> WorkerStatus:
    text = ("software", "backend")
    flags = ("draining", "operator")
    names = [field.name for field in fields_of(WorkerStatus)]
    numbers = {name: int(fields[name]) for name in names if name not in text + flags}
    return WorkerStatus(**numbers, **{name: fields[name] for name in text + flags})  # type: ignore[arg-type]


def somebody(user: int) -> Optional[int]:
    return None if user == NOBODY else user


def tenant(row: Json) -> Tenant:
    rest = {name: int(value) for name, value in row.items() if name != "user"}
    return Tenant(somebody(row["user"]), **rest)


def listed_job(row: Json) -> ListedJob:
    run_ns = int(row["run_ns"])
    return ListedJob(
        id=int(row["id"]),
        user=somebody(row["user"]),
        process=row["process"],
        state=JobState(row["state"]),
        mode=Mode(row["mode"]),
        priority=row["priority"],
        memory_bytes=int(row["memory_bytes"]),
        queue_ns=int(row["queue_ns"]),
        run_ns=None if run_ns == NOT_STARTED else run_ns,
        title=row["title"],
    )


def detached_job(row: Json) -> DetachedJob:
    ended_at = int(row["ended_at"])
    return DetachedJob(
        id=int(row["id"]),
        user=somebody(row["user"]),
        state=DetachedState(row["state"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        run=row["run"],
        accepted_at=int(row["accepted_at"]),
        ended_at=ended_at or None,
        output_bytes=int(row["output_bytes"]),
        label=row["label"],
        key=row["key"],
    )


def counters(fields: Fields) -> Counters:
    samples = [Sample(row["kind"], row["label"], int(row["value"])) for row in fields["samples"]]
    rows = fields["histograms"]
    histograms = [Histogram(row["kind"], int(row["sum"]), tuple(map(int, row["counts"]))) for row in rows]
    return Counters(tuple(samples), tuple(histograms))
