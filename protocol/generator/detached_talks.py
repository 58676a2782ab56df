# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Conversations about detached jobs (sections 3.17 to 3.19)."""

from __future__ import annotations

from typing import Any

from generator.control import JOBS, jobs, query, stop, stopped
from generator.detached import (
    ASKED,
    DETACHED,
    DRAIN,
    ENDED,
    FORGOTTEN,
    RUNNING,
    SUBMIT,
    TOLD,
    WAITING,
    attach,
    attached,
    forget,
    forgotten,
    kept,
    leave,
    left,
    listed,
)
from generator.encoder import Json, data, message, opaque
from generator.script import Conversations, Script, cancelled, grant, halted, refusal
from generator.values import HI, LOOP, MOST64, SECOND

RUNS, HAS_ENDED = 2, 3


def hand_over(s: Script, number: int, id: int, **fields: Any) -> Script:
    """A detached job whose image the worker has."""
    return s.client(message("SUBMIT", number, **(SUBMIT | fields))).worker(message("ACCEPTED", number, id=id))


def not_attached(number: int, code: int, **more: Any) -> Json:
    return message("ERROR", number, code=code, frame_type=0x15, **more)


def submission_talks(talks: Conversations) -> None:
    """SUBMIT with detach."""
    s = talks.script("detach", "a job is handed over: its image is wanted, and ACCEPTED ends its number")
    s.client(message("SUBMIT", 1, **SUBMIT)).worker(message("WANT_IMAGE", 1))
    s.client(data("IMAGE", 1, 0, HI, end=True)).worker(message("ACCEPTED", 1, queue_position=0, id=9))
    s.client(grant(1, 5), opaque("CANCEL", job=1), message("EXTEND", 1, steps=1), leave(1))
    s.run(2).worker(halted(2))

    s = talks.script("detach-input", "its input and its image come in any order; it is accepted behind both", input_window=4)
    s.client(message("SUBMIT", 1, **SUBMIT, input=True)).worker(message("WANT_IMAGE", 1))
    s.client(data("INPUT", 1, 0, b"ab")).worker(grant(1, 2)).client(data("IMAGE", 1, 0, HI, end=True), data("INPUT", 1, 2, b"cdef")).worker(grant(1, 4))
    s.client(data("INPUT", 1, 6, b"", end=True)).worker(message("ACCEPTED", 1, id=9))
    s.client(message("SUBMIT", 2, **SUBMIT, input=True)).worker(message("WANT_IMAGE", 2))
    s.client(data("INPUT", 2, 0, b"abcd", end=True), data("IMAGE", 2, 0, HI, end=True))
    s.worker(message("ACCEPTED", 2, id=10))

    s = talks.script("detach-key", "a key used twice means one job; with another submission it is taken")
    hand_over(s, 1, 9, key="week-7/alice").client(message("SUBMIT", 2, **SUBMIT, key="week-7/alice"))
    s.worker(message("ACCEPTED", 2, id=9, repeated=True))
    s.client(message("SUBMIT", 3, **SUBMIT, key="week-7/alice", step_budget=5)).worker(refusal(3, 84))

    s = talks.script("detach-refused", "what is refused of detached jobs")
    s.client(message("SUBMIT", 1, mode=1, image_bytes=9, key="k")).worker(refusal(1, 64))
    unseen: list[dict[str, Any]] = [{"pause": True}, {"trace": True}, {"dumps": [(0, 1)]}, {"snapshot": (1, 0)}]
    for number, more in enumerate(unseen, 2):
        s.client(message("SUBMIT", number, **SUBMIT, **more)).worker(refusal(number, 64))
    s.client(message("SUBMIT", 6, mode=0, image_bytes=0, detach=True, **{"from": "00" * 32})).worker(refusal(6, 64))
    s.client(message("SUBMIT", 7, **SUBMIT)).worker(refusal(7, 83))
    s.client(message("SUBMIT", 8, **SUBMIT)).worker(
        refusal(8, 80, limit=1000, value=1001, retryable=True, limit_name="tenant-kept-jobs")
    )

    s = talks.script("detach-cancelled", "CANCEL before image and input are complete: the job never was")
    s.client(message("SUBMIT", 1, **SUBMIT, input=True)).worker(message("WANT_IMAGE", 1))
    s.client(data("IMAGE", 1, 0, HI, end=True), opaque("CANCEL", job=1)).worker(
        message("ERROR", 1, code=76, frame_type=0x13)
    )


def attach_talks(talks: Conversations) -> None:
    """ATTACH, ATTACHED, LEAVE, LEFT."""
    s = talks.script("attach-to-end", "a job is handed over, and attached to until its end")
    hand_over(s, 1, 9).client(attach(2, 9)).worker(attached(2, RUNS, 1, label="hi", output_bytes=0))
    s.worker(data("OUTPUT", 2, 0, b"Hi"), message("RESULT", 2, outcome=1, output_bytes=2))

    s = talks.script("attach-at-offset", "output goes on where the client is; with follow 0 no further than it is there")
    places = [(1, 4096), (2, 7)]
    s.client(attach(1, 9, run=2, offsets=places, follow=False)).worker(attached(1, RUNS, 2, output_bytes=5000))
    s.worker(data("OUTPUT", 1, 4096, b"more"), data("OUTPUT", 1, 7, b"errors", channel=2))
    s.worker(data("OUTPUT", 1, 0, bytes(8), channel=3), data("OUTPUT", 1, 4100, b"!"), left(1, TOLD))
    s.client(attach(2, 9, run=2, offsets=places, follow=False, output=False)).worker(attached(2, HAS_ENDED, 2), halted(2))

    s = talks.script("attach-window", "output waits for credit, and the result for the output", window=4)
    s.client(attach(1, 9)).worker(attached(1, HAS_ENDED, 1, output_bytes=6), data("OUTPUT", 1, 0, b"abcd"))
    s.client(grant(1, 2)).worker(data("OUTPUT", 1, 4, b"ef"), halted(1))

    s = talks.script("run-over", "the worker ended meanwhile, and the job began anew: what the client has is of no use")
    s.client(attach(1, 9, run=1, offsets=[(1, 70_000)])).worker(not_attached(1, 82, limit=2, value=1))
    s.client(attach(2, 9, run=2)).worker(attached(2, RUNS, 2, output_bytes=2), data("OUTPUT", 2, 0, b"Hi"), halted(2))

    s = talks.script("attach-unknown", "no such job, or not this user's; the connection goes on")
    s.client(attach(1, MOST64)).worker(not_attached(1, 81)).run(2).worker(halted(2))

    s = talks.script("attach-twice", "two numbers for one job, as from two connections")
    s.client(attach(1, 9), attach(2, 9, output=False)).worker(attached(1, RUNS, 1), attached(2, RUNS, 1))
    s.worker(data("OUTPUT", 1, 0, b"H"), data("OUTPUT", 1, 1, b"i"), halted(1), halted(2))

    s = talks.script("leave", "a client lets go, before ATTACHED and behind it; frames that cross LEFT are ignored")
    s.client(attach(1, 9)).worker(attached(1, RUNS, 1), data("OUTPUT", 1, 0, b"H")).client(leave(1))
    s.worker(data("OUTPUT", 1, 1, b"i"), left(1, ASKED)).client(grant(1, 2), leave(1), opaque("CANCEL", job=1))
    s.client(attach(2, 9), leave(2)).worker(left(2, ASKED))
    s.client(attach(3, 9), leave(3)).worker(attached(3, HAS_ENDED, 1), halted(3))

    s = talks.script("attach-cancel", "CANCEL of an attached job stops the job itself")
    s.client(attach(1, 9)).worker(attached(1, RUNS, 1)).client(opaque("CANCEL", job=1)).worker(cancelled(1, 4))

    s = talks.script("attach-drain", "the worker leaves; the job goes on with the next one")
    s.client(attach(1, 9)).worker(attached(1, RUNS, 1), message("GOAWAY", reason=1, last_job=0), left(1, DRAIN))

    s = talks.script("attach-forgotten", "another connection has the job forgotten")
    s.client(attach(1, 9)).worker(attached(1, HAS_ENDED, 1, output_bytes=6)).worker(left(1, FORGOTTEN))


def list_talks(talks: Conversations) -> None:
    """QUERY, STOP."""
    s = talks.script("detached-list", "what is kept, in pages; it is no list of the jobs in flight")
    s.client(query(DETACHED)).worker(listed(WAITING, RUNNING, more=True)).client(query(DETACHED, after=4), query(JOBS))
    s.worker(listed(ENDED), jobs())

    s = talks.script("forget", "what has ended is forgotten; what has not can be stopped")
    s.client(forget(9, 4, 5)).worker(forgotten(1, 3, 2)).client(stop(4)).worker(stopped(1))
    s.client(forget(4)).worker(forgotten(1))


def detached_talks(talks: Conversations) -> None:
    submission_talks(talks)
    attach_talks(talks)
    list_talks(talks)


def wrong_detached_talks(talks: Conversations) -> None:
    """Frames about detached jobs where they may not be."""
    never = "unexpected-frame"
    talks.script("attach-number", "numbers rise, whatever they are for").upload(5).client(attach(5, 9)).wrong("bad-job")
    talks.script("submit-number", "numbers rise").client(attach(5, 9)).client(
        message("SUBMIT", 4, mode=1, image_bytes=9)
    ).wrong("bad-job")
    talks.script("leave-never", "of nothing that ever was").client(leave(1)).wrong(never)
    talks.script("leave-submitted", "CANCEL is for a job that was submitted").run(1, LOOP).client(leave(1)).wrong(
        never
    ).worker(cancelled(1, 2))
    talks.script("attach-image", "there is no image to send").client(attach(1, 9), data("IMAGE", 1, 0, HI)).wrong(never)
    talks.script("attach-input", "its input came long ago").client(attach(1, 9), data("INPUT", 1, 0, b"a")).wrong(never)
    talks.script("attach-extend", "it cannot pause").client(attach(1, 9), message("EXTEND", 1, steps=1)).wrong(never)
    for made in [attach(1, 9), leave(1)]:
        name = made["decoded"]["type"].lower()
        talks.script(f"direction-{name}", "a client's frame from the worker").worker(made).wrong(never)
    for made in [attached(1, 2, 1), left(1, 1)]:
        name = made["decoded"]["type"].lower()
        talks.script(f"direction-{name}", "a worker's frame from the client").client(made).wrong(never)
        talks.script(f"{name}-never", "nobody has asked").worker(made).wrong(never)
        talks.script(f"{name}-submitted", "the job was submitted, not attached to").run(1).worker(made).wrong(never)
    s = talks.script("attached-twice", "once").client(attach(1, 9)).worker(attached(1, 2, 1))
    s.worker(attached(1, 2, 1)).wrong(never)
    first: list[tuple[str, Json]] = [
        ("output", data("OUTPUT", 1, 0, b"a")),
        ("result", halted(1)),
        ("accepted", message("ACCEPTED", 1)),
        ("started", message("STARTED", 1)),
        ("paused", message("PAUSED", 1, steps=1, keep_ns=SECOND)),
        ("want-image", message("WANT_IMAGE", 1)),
    ]
    for name, made in first:
        talks.script(f"attaching-{name}", "ATTACHED comes first").client(attach(1, 9)).worker(made).wrong(never)
    for name, made in first[2:]:
        s = talks.script(f"attached-{name}", "nothing of how it was submitted").client(attach(1, 9))
        s.worker(attached(1, 2, 1), made).wrong(never)
    s = talks.script("attach-offset-zero", "the stream goes on where ATTACH said").client(attach(1, 9, offsets=[(1, 5)]))
    s.worker(attached(1, 2, 1), data("OUTPUT", 1, 0, b"a")).wrong("bad-offset")
    s = talks.script("attach-offset-other", "offsets count per channel").client(attach(1, 9, offsets=[(1, 5)]))
    s.worker(attached(1, 2, 1), data("OUTPUT", 1, 5, b"a", channel=2)).wrong("bad-offset")
    s = talks.script("attach-credit", "credit is as ever", window=1).client(attach(1, 9)).worker(attached(1, 2, 1))
    s.worker(data("OUTPUT", 1, 0, b"ab")).wrong("window-exceeded")
    s = talks.script("attach-refused-late", "a refusal comes in place of ATTACHED").client(attach(1, 9))
    s.worker(attached(1, 2, 1), not_attached(1, 81)).wrong(never)
    s = talks.script("left-result", "LEFT is the end of the number").client(attach(1, 9))
    s.worker(attached(1, 2, 1), left(1, 2), halted(1)).wrong(never)
    s = hand_over(talks.script("detach-started", "ACCEPTED is the end of the number"), 1, 9)
    s.worker(message("STARTED", 1)).wrong(never)
    s = hand_over(talks.script("detach-output", "output is for who attaches"), 1, 9)
    s.worker(data("OUTPUT", 1, 0, b"a")).wrong(never)
    s = hand_over(talks.script("detach-result", "so is the result"), 1, 9)
    s.worker(halted(1)).wrong(never)
    s = talks.script("detach-early", "its input has not ended").client(message("SUBMIT", 1, **SUBMIT, input=True))
    s.worker(message("ACCEPTED", 1, id=9)).wrong(never)
    s = talks.script("detached-not-above", "jobs are above the one that was named").client(query(DETACHED, after=5))
    s.worker(listed(kept(5))).wrong(never)
    talks.script("forgotten-few", "an answer for each job").client(forget(1, 2)).worker(forgotten(1)).wrong(never)
    talks.script("forgotten-stopped", "jobs were to be forgotten").client(forget(1)).worker(stopped(1)).wrong(never)
    talks.script("stopped-forgotten", "jobs were to be stopped").client(stop(1)).worker(forgotten(1)).wrong(never)
