# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""QUERY, ANSWER, STOP, STOPPED: values and messages that the vectors share (sections 3.17 and 3.18)."""

from __future__ import annotations

from typing import Any

from generator.encoder import Json, message
from generator.values import MIB, MOST32, MOST64, SECOND

WORKER, TENANTS, JOBS, COUNTERS = 1, 2, 3, 4
UNNAMED, NOT_STARTED = MOST32, MOST64
REPORT: dict[str, Any] = {
    "software": "kvmjobd 0.1.0",
    "backend": "KVM 12",
    "uptime_ns": 90 * SECOND,
    "slots": 2,
    "running": 1,
    "queued": 3,
    "paused": 0,
    "connections": 2,
    "tenants": 1,
    "memory_limit": 4096 * MIB,
    "memory_bytes": 16 * MIB,
    "finished": 120,
    "failed": 4,
    "draining": False,
    "operator": False,
    "confinement": 3,
}
NOTHING = {name: "" if isinstance(value, str) else type(value)() for name, value in REPORT.items()}
MOST_REPORT: dict[str, Any] = {
    "software": "é" * 64,
    "backend": "b" * 128,
    "uptime_ns": MOST64,
    "slots": MOST32,
    "running": MOST32,
    "queued": MOST32,
    "paused": MOST32,
    "connections": MOST32,
    "tenants": MOST32,
    "memory_limit": MOST64,
    "memory_bytes": MOST64,
    "finished": MOST64,
    "failed": MOST64,
    "draining": True,
    "operator": True,
    "confinement": 255,
}
# user, connections, queued, running, paused; memory, in flight, kept, slot time, finished, failed, refused
ALICE = [1000, 1, 2, 1, 0, 16 * MIB, 9, MIB, 7 * SECOND, 100, 3, 1]
NOBODY = [UNNAMED, *[MOST32] * 4, *[MOST64] * 7]
# id, user, process, state, mode, priority, memory, queued, ran
RUNNING = ([7, 1000, 4242, 2, 5, 5, 256 * MIB, 41_000, SECOND], "/usr/bin/sort")
QUEUED = ([9, 1000, 0, 1, 1, 9, 16 * MIB, 2 * SECOND, NOT_STARTED], "")
SAMPLES = [[1, 0, 130], [2, 1, 110], [2, 14, 4], [4, 1, MOST64], [15, 0, 0]]
HISTOGRAMS = [(1, 5 * SECOND, [0, 100, 10, 0, 0, 0, 0, 0, 1]), (2, MOST64, [MOST64] * 9)]


def query(what: int, **fields: Any) -> Json:
    return message("QUERY", what=what, **fields)


def answer(what: int, **fields: Any) -> Json:
    return message("ANSWER", what=what, **fields)


def tenants(*rows: list[int], more: bool = False) -> Json:
    return answer(TENANTS, more=more, tenant_list=list(rows))


def jobs(*rows: tuple[list[int], str], more: bool = False) -> Json:
    return answer(JOBS, more=more, job_list=list(rows))


def job(number: int, title: str = "") -> tuple[list[int], str]:
    return [number, 1000, 1, 1, 1, 5, 16 * MIB, 0, NOT_STARTED], title


def stop(*ids: int) -> Json:
    return message("STOP", jobs=list(ids))


def stopped(*answers: int) -> Json:
    return message("STOPPED", jobs=list(answers))
