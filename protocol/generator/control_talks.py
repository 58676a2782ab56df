# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Conversations with QUERY, ANSWER, STOP and STOPPED, and about the queue (sections 3.9, 3.17 and 3.18)."""

from __future__ import annotations

from generator.control import (
    ALICE,
    COUNTERS,
    HISTOGRAMS,
    JOBS,
    NOBODY,
    REPORT,
    RUNNING,
    SAMPLES,
    TENANTS,
    UNNAMED,
    WORKER,
    answer,
    job,
    jobs,
    query,
    stop,
    stopped,
    tenants,
)
from generator.encoder import Json, data, message
from generator.script import Conversations, cancelled, halted, refusal
from generator.values import LOOP, MOST64, SECOND, WORKER_HELLO


def control_talks(talks: Conversations) -> None:
    """Requests between jobs, and what they do to jobs."""
    s = talks.script("query", "each question, between the frames of a job")
    s.client(query(WORKER)).worker(answer(WORKER, **REPORT)).upload(1, LOOP).client(query(TENANTS))
    s.worker(tenants(ALICE)).accept(1).start(1).client(query(COUNTERS), query(JOBS))
    s.worker(answer(COUNTERS, samples=SAMPLES, histograms=HISTOGRAMS), jobs(RUNNING)).worker(halted(1))

    s = talks.script("query-pages", "lists go on above the last of the page before, and end")
    s.client(query(JOBS)).worker(jobs(job(1), job(5), more=True)).client(query(JOBS, after=5))
    s.worker(jobs(job(6), more=True)).client(query(JOBS, after=6)).worker(jobs())
    s.client(query(TENANTS)).worker(tenants([0] * 12, more=True)).client(query(TENANTS, after=0))
    s.worker(tenants(ALICE, NOBODY)).client(query(TENANTS, after=UNNAMED)).worker(tenants())

    s = talks.script("query-many", "16 requests are on their way at once; answers come in order, jobs go on between")
    s.run(1).client(*[query(WORKER) if n % 2 else query(JOBS, after=n) for n in range(15)], stop(1, 2, 3))
    s.worker(data("OUTPUT", 1, 0, b"H"))
    s.worker(*[answer(WORKER, **REPORT) if n % 2 else jobs(job(n + 1)) for n in range(15)])
    s.worker(data("OUTPUT", 1, 1, b"i")).client(query(COUNTERS)).worker(stopped(1, 2, 2))
    s.worker(answer(COUNTERS, samples=[], histograms=[]), cancelled(1, 4))

    s = talks.script("stop-jobs", "a job is stopped by another connection of its user, another by an operator")
    s.run(1, LOOP).run(2, LOOP).worker(cancelled(1, 4), cancelled(2, 5))
    s.client(stop(41, 42)).worker(stopped(2, 1)).run(3).worker(halted(3))

    s = talks.script("stop-worker", "an operator drains the worker: it answers, and is going away")
    s.run(1, LOOP).client(message("STOP", worker=True)).worker(
        message("STOPPED", drains=True), message("GOAWAY", reason=1, last_job=1)
    )
    s.client(query(WORKER)).worker(answer(WORKER, **(REPORT | {"draining": True}))).worker(cancelled(1, 3))

    s = talks.script("stop-worker-not", "others do not drain it")
    s.client(message("STOP", worker=True)).worker(message("STOPPED", drains=False)).run(1).worker(halted(1))

    queue_talks(talks)


def queue_talks(talks: Conversations) -> None:
    """What is said of the queue, and of limits."""
    s = talks.script("queue", "a job says how it waits, and is told its number and how long it may be")
    s.upload(1, priority=9, wait_budget=30 * SECOND).worker(
        message("ACCEPTED", 1, queue_position=4, id=4711, wait_ns=2 * SECOND)
    )
    s.start(1).worker(halted(1)).upload(2, priority=0, wait_budget=1)
    s.worker(message("ACCEPTED", 2, queue_position=0, id=MOST64), message("RESULT", 2, outcome=13, limit=1))
    s.upload(3, wait_budget=0).worker(refusal(3, 71, limit=1, value=0)).run(4).worker(halted(4))

    s = talks.script("tenant-limit", "this user has as many jobs as one may; later there is room")
    s.upload(1).worker(
        refusal(1, 80, limit=8, value=9, retryable=True, limit_name="tenant-queued-jobs", retry_ns=SECOND)
    )
    s.run(2).worker(halted(2))

    s = talks.bare("too-many-connections-user", "an ERROR in place of HELLO tells that the limit is the user's")
    s.worker(message("ERROR", code=20, limit=16, retryable=True, text="no more", limit_name="tenant-connections"))


def wrong_control_talks(talks: Conversations) -> None:
    """Requests and answers where they may not be."""
    never = "unexpected-frame"
    for made in [query(WORKER), stop(1)]:
        name = made["decoded"]["type"].lower()
        talks.bare(f"{name}-before-hello", "the client's first frame is HELLO").worker(
            message("HELLO", **WORKER_HELLO)
        ).client(made).wrong("hello-expected")
        talks.script(f"direction-{name}", "a client's frame from the worker").worker(made).wrong(never)
    for made in [tenants(), stopped(1)]:
        name = made["decoded"]["type"].lower()
        talks.script(f"direction-{name}", "a worker's frame from the client").client(made).wrong(never)
        talks.script(f"{name}-unasked", "nobody has asked").worker(made).wrong(never)
    s = talks.script("query-beyond", "a 17th request without an answer; the worker had 16 to look at")
    s.client(*[query(WORKER)] * 17).wrong("window-exceeded")
    s = talks.script("query-beyond-later", "the same after answers, with a job that is still owed its RESULT")
    s.run(1, LOOP).client(query(WORKER), stop(9)).worker(answer(WORKER, **REPORT), stopped(2))
    s.client(*[stop(9)] * 17).wrong("window-exceeded").worker(cancelled(1, 2))
    cases: list[tuple[str, str, Json, Json]] = [
        ("answer-topic", "another topic", query(JOBS), tenants()),
        ("answer-to-stop", "STOP is answered by STOPPED", stop(1), jobs()),
        ("stopped-to-query", "QUERY is answered by ANSWER", query(JOBS), stopped(1)),
        ("answer-not-above", "jobs are above the one that was named", query(JOBS, after=5), jobs(job(5))),
        ("answer-not-above-tenants", "users too", query(TENANTS, after=1000), tenants(ALICE)),
        ("answer-more-of-nothing", "a page that says that there is more has something", query(JOBS), jobs(more=True)),
        ("stopped-few", "an answer for each job", stop(1, 2), stopped(1)),
        ("stopped-many", "an answer for each job", stop(1, 2), stopped(1, 1, 1)),
        ("stopped-worker", "jobs were to be stopped", stop(1), message("STOPPED", drains=True)),
        ("stopped-jobs", "the worker was to be stopped", message("STOP", worker=True), stopped(1)),
    ]
    for name, why, asked, said in cases:
        talks.script(name, why).client(asked).worker(said).wrong(never)
    talks.script("answer-order", "in the order of asking").client(query(JOBS), query(WORKER)).worker(
        answer(WORKER, **REPORT)
    ).wrong(never)
    talks.script("answer-twice", "one answer for each").client(query(JOBS)).worker(jobs(), jobs()).wrong(never)
