# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""What a client asks for and what it is told: values without behaviour.

Fields that are None were left out: the worker's default, or not known. Numbers of nanoseconds and bytes are in their
names; what a person chooses, a limit, is in seconds. Nothing here is checked: the worker judges what it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Optional, Union

Text = Union[str, bytes]


class _Named(IntEnum):
    """A number on the wire whose name in text is that of the member: `STEPS_EXHAUSTED` is `steps-exhausted`."""

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")


# What is asked for


class Mode(_Named):
    """How the vCPU starts (PROTOCOL.md section 4)."""

    REAL16 = 1
    PROTECTED32 = 2
    LONG64 = 3
    USER64 = 4
    LINUX = 5


class Meter(_Named):
    """How steps are counted: exactly, the fastest way that is; or exactly, by stopping after each instruction."""

    EXACT = 1
    STEPPED = 2


class Report(IntFlag):
    """What a result tells beyond its figures."""

    NOTHING = 0
    EXIT_LOG = 1
    CODE = 2
    STACK = 4
    FPU = 8
    DIGEST = 16


@dataclass(frozen=True)
class MemoryRange:
    """Bytes of guest physical memory."""

    address: int
    count: int


@dataclass(frozen=True)
class Segment:
    """A segment register with its hidden part; `attributes` as in PROTOCOL.md section 4."""

    base: int
    limit: int
    selector: int
    attributes: int


@dataclass(frozen=True)
class Table:
    """GDTR or IDTR."""

    base: int
    limit: int


@dataclass(frozen=True)
class Image:
    """Bytes to run. Registers, segments, tables and controls are by name: `rax`, `cs`, `gdt`, `cr0`.

    With `rom` it ends at 4 GiB, and the processor starts in it as behind a reset; such a job needs `Board.PC`.
    """

    data: bytes
    mode: Mode = Mode.REAL16
    load_address: Optional[int] = None
    entry_point: Optional[int] = None
    registers: Mapping[str, int] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    controls: Mapping[str, int] = field(default_factory=dict)
    pieces: Sequence[MemoryRange] = ()
    rom: bool = False


@dataclass(frozen=True)
class Program:
    """A Linux program by its path in its files. Its files are archives, the lowest first: see `kvmjob.archive`.

    Without `arguments` the program has its path as its only one.
    """

    path: Text
    layers: Sequence[bytes]
    arguments: Sequence[Text] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    same_clock: bool = False
    seed: Optional[int] = None
    scratch_bytes: Optional[int] = None


@dataclass(frozen=True)
class Snapshot:
    """A state that an earlier job ended in, by the name in its result."""

    name: bytes


class Board(_Named):
    """What the guest finds around its processor: PROTOCOL.md section 3.20."""

    BARE = 0
    PC = 1


class PointKind(_Named):
    """When a job ends to be kept: when it says that it is ready, after so many steps, or before an instruction."""

    READY = 1
    STEPS = 2
    ADDRESS = 3


@dataclass(frozen=True)
class SnapshotPoint:
    """Where a job ends and its machine is kept. `value` is of STEPS their number, of ADDRESS the linear address."""

    kind: PointKind = PointKind.READY
    value: int = 0


@dataclass(frozen=True)
class Limits:
    """What a job may use at most."""

    steps: Optional[int] = None
    wall_seconds: Optional[float] = None
    cpu_seconds: Optional[float] = None
    exits: Optional[int] = None
    output_bytes: Optional[int] = None
    touched_bytes: Optional[int] = None
    wait_seconds: Optional[float] = None


@dataclass(frozen=True)
class JobSpec:
    """A job: what to start, and how."""

    start: Union[Image, Program, Snapshot]
    limits: Limits = Limits()
    label: str = ""
    memory_bytes: Optional[int] = None
    priority: Optional[int] = None
    port_writes: bool = False
    meter: Optional[Meter] = None
    pause: bool = False
    report: Report = Report.NOTHING
    dumps: Sequence[MemoryRange] = ()
    trace: bool = False
    deterministic: bool = False
    snapshot: Optional[SnapshotPoint] = None
    board: Board = Board.BARE
    vcpus: int = 1
    turn: Optional[int] = None


# What is told


class Channel(_Named):
    """Streams of OUTPUT."""

    CONSOLE = 1
    ERRORS = 2
    PORT_WRITES = 3
    MEMORY = 4
    TRACE = 5


@dataclass(frozen=True)
class Chunk:
    """Some output. Offsets count per channel and have no gaps."""

    channel: Channel
    offset: int
    data: bytes


class Outcome(_Named):
    """How a job ended."""

    HALTED = 1
    EXITED = 2
    FAULTED = 3
    TRIPLE_FAULT = 4
    UNEMULATABLE = 5
    STEPS_EXHAUSTED = 6
    CPU_TIME_EXHAUSTED = 7
    WALL_TIME_EXHAUSTED = 8
    EXITS_EXHAUSTED = 9
    OUTPUT_EXHAUSTED = 10
    MEMORY_EXHAUSTED = 11
    CANCELLED = 12
    WAIT_EXPIRED = 13
    HOST_ERROR = 14
    SNAPSHOT_TAKEN = 15


class Canceller(_Named):
    """Who stopped a job."""

    CLIENT = 1
    DISCONNECT = 2
    DRAIN = 3
    USER = 4
    OPERATOR = 5


@dataclass(frozen=True)
class WorkerTerms:
    """What the worker said in its HELLO."""

    version: tuple[int, int]
    software: str
    job_limit: Optional[int]
    image_limit: Optional[int]
    memory_minimum: Optional[int]
    memory_maximum: Optional[int]
    wall_maximum_ns: Optional[int]
    slots: Optional[int]
    modes: Mapping[int, int]


@dataclass(frozen=True)
class Acceptance:
    """The worker took the job: `id` is its own number for it, as in `kvmjob ps`."""

    id: Optional[int]
    queue_position: Optional[int]
    wait_ns: Optional[int]
    repeated: bool = False


@dataclass(frozen=True)
class Start:
    """The job runs, with these limits in force."""

    queue_ns: Optional[int]
    step_budget: Optional[int]
    wall_budget_ns: Optional[int]
    memory_bytes: Optional[int]


@dataclass(frozen=True)
class System:
    """Segments, tables and control registers, by name."""

    segments: Mapping[str, Segment]
    tables: Mapping[str, Table]
    controls: Mapping[str, int]


@dataclass(frozen=True)
class Pause:
    """The job used up its steps and is kept for a while, to be extended."""

    steps: int
    keep_ns: int
    registers: Optional[Mapping[str, int]]
    system: Optional[System]


@dataclass(frozen=True)
class Exits:
    """Returns from KVM_RUN, by reason."""

    port_io: int
    mmio: int
    debug: int
    interrupted: int
    other: int


@dataclass(frozen=True)
class MemoryWindow:
    """Bytes at a linear address."""

    address: int
    data: bytes


class ExitKind(_Named):
    """Why the guest left KVM_RUN."""

    PORT_READ = 1
    PORT_WRITE = 2
    MEMORY_READ = 3
    MEMORY_WRITE = 4
    HALT = 5
    SHUTDOWN = 6
    INTERNAL_ERROR = 7
    FAILED_ENTRY = 8
    OTHER = 9


@dataclass(frozen=True)
class Exit:
    """An exit that the guest brought about."""

    kind: ExitKind
    size: int
    elements: int
    address: int
    value: int
    rip: int


@dataclass(frozen=True)
class Fault:
    """A CPU exception."""

    vector: int
    error_code: Optional[int]
    address: Optional[int]
    rip: Optional[int]


class ProcessorState(_Named):
    """How one of several vCPUs was left: it halted, it ended the job, the job ended while it ran, or nobody had started it."""

    HALTED = 0
    ENDED = 1
    STOPPED = 2
    WAITING = 3


@dataclass(frozen=True)
class Processor:
    """What is known of one of several vCPUs: PROTOCOL.md section 3.21."""

    state: ProcessorState
    steps: Optional[int]
    cpu_ns: int
    registers: Optional[Mapping[str, int]]


@dataclass(frozen=True)
class Result:
    """How a job ended: PROTOCOL.md sections 3.13 and 5."""

    outcome: Outcome
    code: Optional[int] = None
    fault: Optional[Fault] = None
    instruction: Optional[bytes] = None
    limit: Optional[int] = None
    used: Optional[int] = None
    canceller: Optional[Canceller] = None
    text: Optional[str] = None
    snapshot: Optional[bytes] = None
    meter: Optional[int] = None
    meter_reason: Optional[str] = None
    steps: Optional[int] = None
    queue_ns: Optional[int] = None
    wall_ns: Optional[int] = None
    cpu_ns: Optional[int] = None
    exits: Optional[Exits] = None
    output_bytes: Optional[int] = None
    unclaimed_port_writes: Optional[int] = None
    dropped_memory_writes: Optional[int] = None
    touched_bytes: Optional[int] = None
    registers: Optional[Mapping[str, int]] = None
    system: Optional[System] = None
    cause: Optional[Fault] = None
    code_window: Optional[MemoryWindow] = None
    stack_window: Optional[MemoryWindow] = None
    exit_log: Sequence[Exit] = ()
    fpu: Optional[bytes] = None
    digest: Optional[bytes] = None
    signal: Optional[int] = None
    system_calls: Optional[int] = None
    unknown_calls: Sequence[int] = ()
    place: Optional[str] = None
    peak_bytes: Optional[int] = None
    processors: Sequence[Processor] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the guest ended by itself and well: it halted, exited with 0, or is kept as a snapshot."""
        return self.outcome in (Outcome.HALTED, Outcome.SNAPSHOT_TAKEN) or (
            self.outcome is Outcome.EXITED and self.code == 0
        )


@dataclass(frozen=True)
class MemoryRecord:
    """Guest memory at a job's end; one without bytes ends a window."""

    address: int
    data: bytes


@dataclass(frozen=True)
class Step:
    """An instruction that retired, and the registers that it changed."""

    rip: int
    linear_address: int
    bits: int
    code: bytes
    changes: Mapping[str, int]


# Detached jobs


class DetachedState(_Named):
    """Where a detached job is: one that was cut short by its worker's end waits again."""

    WAITING = 1
    RUNNING = 2
    ENDED = 3


@dataclass(frozen=True)
class Attachment:
    """The job that was attached to, as it was then. Offsets of output are of this run."""

    state: DetachedState
    run: int
    label: str
    output_bytes: Optional[int]


@dataclass(frozen=True)
class DetachedJob:
    """A job that the worker keeps. Times are seconds since 1970; `outcome` and `ended_at` are None until it ends."""

    id: int
    user: Optional[int]
    state: DetachedState
    outcome: Optional[Outcome]
    run: int
    accepted_at: int
    ended_at: Optional[int]
    output_bytes: int
    label: str
    key: str


class Forgotten(_Named):
    """What became of a job that was to be forgotten."""

    FORGOTTEN = 1
    UNKNOWN = 2
    UNFINISHED = 3


@dataclass(frozen=True)
class Completed:
    """A job that is over, with everything that it wrote."""

    result: Result
    console: bytes = b""
    errors: bytes = b""
    port_writes: bytes = b""
    memory: Sequence[MemoryRecord] = ()
    trace: Sequence[Union[Step, Exit]] = ()


# The worker and its jobs


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker is doing."""

    software: str
    backend: str
    uptime_ns: int
    slots: int
    running: int
    queued: int
    paused: int
    connections: int
    tenants: int
    memory_limit: int
    memory_bytes: int
    finished: int
    failed: int
    draining: bool
    operator: bool
    confinement: int


@dataclass(frozen=True)
class Tenant:
    """A user with connections or jobs; `user` is None for all whom the kernel cannot name."""

    user: Optional[int]
    connections: int
    queued: int
    running: int
    paused: int
    memory_bytes: int
    bytes_in_flight: int
    kept_bytes: int
    slot_ns: int
    finished: int
    failed: int
    refused: int


class JobState(_Named):
    """Where a job is; an ended one has output that its client has not taken."""

    QUEUED = 1
    RUNNING = 2
    PAUSED = 3
    ENDED = 4


@dataclass(frozen=True)
class ListedJob:
    """A job of any connection. `run_ns` is None for one that has not started."""

    id: int
    user: Optional[int]
    process: int
    state: JobState
    mode: Mode
    priority: int
    memory_bytes: int
    queue_ns: int
    run_ns: Optional[int]
    title: str


@dataclass(frozen=True)
class Sample:
    """A count since the worker started: PROTOCOL.md section 3.17 lists the kinds."""

    kind: int
    label: int
    value: int


@dataclass(frozen=True)
class Histogram:
    """Times, counted in buckets; `sum_ns` is of all of them."""

    kind: int
    sum_ns: int
    counts: Sequence[int]


@dataclass(frozen=True)
class Counters:
    """What a worker has counted."""

    samples: Sequence[Sample]
    histograms: Sequence[Histogram]
