# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Runs guest images and Linux programs on a kvmjob worker, each in a virtual machine of its own, within limits.

`Client` is for plain programs, `AsyncClient` for asyncio. The standard library is all that is needed.
"""

from .aio import AsyncClient, AsyncJob
from .archive import File, Link, archive
from .client import Client, Job
from .core import VERSION as __version__
from .core import Leaving
from .errors import (
    ConnectError, ConnectionLost, KVMJobError, Left, ProtocolError, Refused, Rejection, WorkerError,
)  # fmt: skip
from .model import (
    Acceptance, Attachment, Board, Canceller, Channel, Chunk, Completed, Counters, DetachedJob, DetachedState, Exit,
    ExitKind, Exits, Fault, Forgotten, Histogram, Image, JobSpec, JobState, Limits, ListedJob, MemoryRange, MemoryRecord,
    MemoryWindow, Meter, Mode, Outcome, Pause, PointKind, Processor, ProcessorState, Program, Report, Result, Sample,
    Segment, Snapshot, SnapshotPoint, Start, Step, System, Table, Tenant, WorkerStatus, WorkerTerms,
)  # fmt: skip

__all__ = [
    "Acceptance", "AsyncClient", "AsyncJob", "Attachment", "Board", "Canceller", "Channel", "Chunk", "Client",
    "Completed", "ConnectError", "ConnectionLost", "Counters", "DetachedJob", "DetachedState", "Exit",
    "ExitKind", "Exits", "Fault", "File", "Forgotten", "Histogram", "Image", "Job", "JobSpec", "JobState",
    "KVMJobError", "Leaving", "Left", "Limits", "Link", "ListedJob", "MemoryRange", "MemoryRecord",
    "MemoryWindow", "Meter", "Mode", "Outcome", "Pause", "PointKind", "Processor", "ProcessorState",
    "Program", "ProtocolError", "Refused", "Rejection", "Report", "Result", "Sample", "Segment", "Snapshot", "SnapshotPoint", "Start", "Step",
    "System", "Table", "Tenant", "WorkerError", "WorkerStatus", "WorkerTerms", "archive",
]  # fmt: skip
