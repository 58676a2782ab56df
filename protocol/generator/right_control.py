# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""QUERY, ANSWER, STOP, STOPPED, and what goes with the queue: frames that are right (sections 3.4 to 3.18)."""

from __future__ import annotations

from generator.control import (
    ALICE,
    COUNTERS,
    HISTOGRAMS,
    JOBS,
    MOST_REPORT,
    NOBODY,
    NOTHING,
    QUEUED,
    REPORT,
    RUNNING,
    SAMPLES,
    TENANTS,
    UNNAMED,
    WORKER,
    answer,
    jobs,
    query,
    stop,
    stopped,
    tenants,
)
from generator.encoder import SAMPLE, TENANT, counted, job_list, message, tlv, wire
from generator.right_reports import RightFrames
from generator.values import MOST32, MOST64, SECOND


def questions(frames: RightFrames) -> None:
    """QUERY, ANSWER."""
    for name, what in [("worker", WORKER), ("tenants", TENANTS), ("jobs", JOBS), ("counters", COUNTERS)]:
        frames.add(f"query-{name}", "what is asked for", query(what))
    frames.add("query-tenants-after", "those above a user", query(TENANTS, after=1000))
    frames.add("query-tenants-after-most", "nobody is above those without a name", query(TENANTS, after=UNNAMED))
    frames.add("query-jobs-after", "those above a job; 0 is one", query(JOBS, after=0))
    frames.add("query-jobs-after-most", "the largest number", query(JOBS, after=MOST64))
    frames.add("query-unknown-field", "skipped", message("QUERY", 0, {0x0009: "00"}, what=WORKER))
    frames.add("answer-worker", "what a worker says of itself", answer(WORKER, **REPORT))
    frames.add("answer-worker-nothing", "all of it is required, also where it is nothing", answer(WORKER, **NOTHING))
    frames.add("answer-worker-most", "every field at its most", answer(WORKER, **MOST_REPORT))
    frames.add("answer-unknown-field", "skipped", message("ANSWER", 0, {0x0020: "00"}, what=WORKER, **REPORT))
    frames.add("answer-tenants-none", "a list without entries is there all the same", tenants())
    few = tenants([0] * 12, ALICE, NOBODY, more=True)
    frames.add("answer-tenants", "two users and those without a name, and there are more", few)
    many = [[n * 16_777_216, n, *[0] * 10] for n in range(256)]
    frames.add("answer-tenants-many", "as many as there can be", tenants(*many))
    frames.add("answer-jobs-none", "no jobs", jobs())
    frames.add("answer-jobs", "one that runs, and one that waits and has no title", jobs(RUNNING, QUEUED))
    states = [([n, UNNAMED, MOST32, 1 + n % 4, 1 + n % 5, n % 10, n, n, n], "é" * (n % 65)) for n in range(256)]
    frames.add("answer-jobs-many", "as many as there can be", jobs(*states, more=True))
    longest = ([MOST64, 0, 1, 4, 5, 9, MOST64, MOST64, MOST64 - 1], "t" * 128)
    frames.add("answer-jobs-longest", "the largest numbers and the longest title", jobs(longest))
    some = answer(COUNTERS, samples=SAMPLES, histograms=HISTOGRAMS)
    frames.add("answer-counters", "some counts, and both histograms", some)
    frames.add("answer-counters-none", "nothing was counted", answer(COUNTERS, samples=[], histograms=[]))
    most = [[1 + n // 256, n % 256, n] for n in range(512)]
    frames.add("answer-counters-many", "as many as there can be", answer(COUNTERS, samples=most, histograms=[]))


def ignored(frames: RightFrames) -> None:
    """What a receiver of an ANSWER skips or ignores."""
    quiet = tenants(ALICE)
    noisy = counted([(name or "zero", size) for name, size in TENANT])([[*ALICE[:5], MOST32, *ALICE[5:]]])[0]
    fields = [tlv(1, "02"), tlv(2, "00"), tlv(48, noisy)]
    frames.add(
        "answer-tenants-zero",
        "what is called zero is ignored",
        quiet | {"hex": wire(0x31, 0, *fields), "canonical": quiet["hex"]},
    )
    quiet = answer(COUNTERS, samples=[[2, 1, 5]], histograms=[])
    noisy = counted(SAMPLE)([[0, 0, 1], [2, 1, 5], [16, 0, 2], [0xFFFF, 0xFFFF, 3]])[0]
    strange = "0003 0000" + "00" * 8 + " 0009 0001" + "00" * 16 + " ffff 0040" + "00" * 8 * 65
    fields = [tlv(1, "04"), tlv(50, noisy), tlv(51, strange)]
    frames.add(
        "answer-counters-unknown",
        "counts and histograms of kinds that are not known are skipped",
        quiet | {"hex": wire(0x31, 0, *fields), "canonical": quiet["hex"]},
    )
    quiet = jobs(QUEUED)
    fields = [tlv(1, "03"), tlv(2, "00"), tlv(16, "6b"), tlv(48), tlv(49, job_list([QUEUED])[0]), tlv(50)]
    frames.add(
        "answer-stray-fields",
        "fields of another topic are ignored",
        quiet | {"hex": wire(0x31, 0, *fields), "canonical": quiet["hex"]},
    )


def orders(frames: RightFrames) -> None:
    """STOP, STOPPED, and what goes with the queue in other messages."""
    frames.add("stop-job", "one job", stop(7))
    frames.add("stop-jobs", "in any order, and one twice", stop(9, 7, 0, MOST64, 7))
    frames.add("stop-jobs-most", "as many as there can be", stop(*range(1, 513)))
    frames.add("stop-worker", "the worker", message("STOP", worker=True))
    frames.add("stop-unknown-field", "skipped", message("STOP", 0, {0x0001: ""}, jobs=[7]))
    frames.add("stopped-jobs", "stopped, and unknown", stopped(1, 2))
    frames.add("stopped-jobs-most", "as many as there can be", stopped(*[1 + n % 2 for n in range(512)]))
    frames.add("stopped-drains", "the worker drains", message("STOPPED", drains=True))
    frames.add("stopped-drains-not", "who asked is no operator", message("STOPPED", drains=False))
    frames.add("stopped-unknown-field", "skipped", message("STOPPED", 0, {0x0009: "00"}, drains=True))
    for priority in [0, 5, 9]:
        frames.add(
            f"submit-priority-{priority}",
            "0 to 9; 5 said is not the same as nothing said",
            message("SUBMIT", 13, mode=1, image_bytes=9, priority=priority),
        )
    frames.add(
        "submit-wait-budget", "the longest wait", message("SUBMIT", 13, mode=1, image_bytes=9, wait_budget=MOST64)
    )
    frames.add(
        "submit-wait-budget-zero",
        "the codec takes what the worker will refuse",
        message("SUBMIT", 13, mode=1, image_bytes=9, wait_budget=0),
    )
    frames.add(
        "accepted-typical",
        "place, number and estimate",
        message("ACCEPTED", 1, queue_position=3, id=4711, wait_ns=SECOND),
    )
    frames.add("accepted-id", "the number alone", message("ACCEPTED", 1, id=1))
    frames.add(
        "error-limit-name",
        "whose limit it is, and when to try again",
        message(
            "ERROR",
            3,
            code=80,
            frame_type=0x10,
            limit=8,
            value=9,
            retryable=True,
            limit_name="tenant-queued-jobs",
            retry_ns=SECOND,
        ),
    )
    for canceller in [4, 5]:
        frames.add(
            f"result-canceller-{canceller}",
            "its user by another connection, or an operator",
            message("RESULT", 8, outcome=12, canceller=canceller),
        )


def control(frames: RightFrames) -> None:
    questions(frames)
    ignored(frames)
    orders(frames)
