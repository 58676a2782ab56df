# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Attacks by guests that never end, each against each budget that can stop it; with steps counted and without."""

from __future__ import annotations

import json

from live import PROTECTED32, REAL16, USER64

from .scene import SECOND, Attack, Scene

MILLISECOND = SECOND // 1000
MODES = {"real16": REAL16, "protected32": PROTECTED32, "user64": USER64}

# The field of SUBMIT, its limit, the number of the outcome, whether what was used must be the limit, and guests.
BUDGETS: list[tuple[str, int, int, bool, list[str]]] = [
    ("cpu_budget", 3 * MILLISECOND, 7, False,
     ["real16-spin", "user64-spin", "user64-port-flood", "protected32-rep-outs-gigabyte"]),
    ("exit_budget", 1000, 9, True,
     ["real16-port-flood", "user64-mmio-flood", "real16-input-wait", "user64-rep-outs-gigabyte"]),
    ("output_budget", 1000, 10, True, ["real16-output-flood", "user64-output-flood"]),
    ("memory_budget", 256 << 10, 11, False, ["protected32-touch", "user64-touch"]),
]


def endless_guests(scene: Scene) -> None:
    """Their wall time is a minute, so that only the budget can be what ends them in time."""
    for metered in ({}, {"step_budget": 1 << 40}):
        with scene.client(window=1 << 20) as client:
            for field, limit, outcome, is_exact, names in BUDGETS:
                for name in names:
                    fields = {field: limit, "wall_budget": 60 * SECOND} | metered
                    job = client.submit(scene.guests[name], MODES[name.split("-")[0]], **fields)
                    client.finish(job)
                    result = job.result or {}
                    used = int(result.get("used", -1))
                    good = job.outcome == outcome and (used == limit if is_exact else used >= limit)
                    how = "stepped" if metered else "free"
                    seen = json.dumps({key: result.get(key) for key in ("outcome", "limit", "used")})
                    scene.checks.that(f"endless guests: {name}, {how}, ends by its {field}", good, seen)


ATTACKS: list[Attack] = [endless_guests]
