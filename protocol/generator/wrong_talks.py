# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Conversations that hold something wrong, and what its receiver answers."""

from __future__ import annotations

from generator.control_talks import wrong_control_talks
from generator.detached_talks import wrong_detached_talks
from generator.encoder import data, message, opaque, tlv, wire
from generator.right_images import wrong_images
from generator.script import Conversations, Script, cancelled, extend, grant, halted, paused, refusal
from generator.pause_talks import wrong_pauses
from generator.programs import wrong_program_talks
from generator.values import CLIENT_HELLO, HI, LOOP, MOST64, MOST_CREDIT, WORKER_HELLO

NEVER = "unexpected-frame"
SUBMIT = message("SUBMIT", 1, mode=1, image_bytes=9)
WITH_INPUT = message("SUBMIT", 1, mode=1, image_bytes=9, input=True)


def openings(talks: Conversations) -> None:
    """Before and in HELLO."""
    talks.bare("submit-before-hello", "the client's first frame is HELLO").worker(
        message("HELLO", **WORKER_HELLO)
    ).client(SUBMIT).wrong("hello-expected")
    talks.bare(
        "worker-without-hello",
        "the worker's first frame is HELLO or a fatal ERROR; assumes hello-expected at the client too",
    ).worker(message("GOAWAY", reason=2)).wrong("hello-expected")
    s = talks.bare("major-version", "another major version").worker(message("HELLO", **WORKER_HELLO))
    s.client(message("HELLO", **(CLIENT_HELLO | {"version": (2, 0)}))).wrong("version-unsupported")
    talks.script("second-hello", "HELLO comes once").client(message("HELLO", **CLIENT_HELLO)).wrong(NEVER)
    talks.script("second-hello-worker", "HELLO comes once").worker(message("HELLO", **WORKER_HELLO)).wrong(NEVER)


def numbers(talks: Conversations) -> None:
    """Job numbers."""
    zero = {"hex": wire(0x10, 0, tlv(0x8002, "01"), tlv(0x8003, f"{9:016x}"))}
    talks.script("job-zero", "SUBMIT of job 0").client(zero).wrong("bad-job")
    talks.script("job-reused", "a number that is in use").client(SUBMIT, SUBMIT).wrong("bad-job")
    s = talks.script(
        "job-reused-ended", "a number whose job has ended; the worker still has a RESULT to send for job 2"
    )
    s.run(1).run(2, LOOP).worker(halted(1)).client(SUBMIT).wrong("bad-job").worker(cancelled(2, 2))
    talks.script("job-reused-refused", "a number that was refused").upload(1).worker(
        refusal(1, 74, retryable=True)
    ).client(SUBMIT).wrong("bad-job")
    talks.script("job-falls", "a number below the last one").upload(5).client(
        message("SUBMIT", 4, mode=1, image_bytes=9)
    ).wrong("bad-job")


def unknown_jobs(talks: Conversations) -> None:
    """Frames of jobs that were never submitted."""
    talks.script("image-never-submitted", "IMAGE of a job that was never submitted").client(
        data("IMAGE", 1, 0, HI)
    ).wrong(NEVER)
    talks.script("input-never-submitted", "INPUT of a job that was never submitted").client(
        SUBMIT, data("INPUT", 2, 0, b"x")
    ).wrong(NEVER)
    talks.script("cancel-never-submitted", "CANCEL of a job that was never submitted").client(
        SUBMIT, opaque("CANCEL", job=2)
    ).wrong(NEVER)
    talks.script("window-never-submitted", "WINDOW for a job that was never submitted").client(grant(1, 1)).wrong(NEVER)
    talks.script("window-never-submitted-worker", "the same from the worker").client(SUBMIT).worker(grant(2, 1)).wrong(
        NEVER
    )


def images(talks: Conversations) -> None:
    """IMAGE."""
    talks.script("image-overrun", "one byte more than announced").client(
        SUBMIT, data("IMAGE", 1, 0, HI), data("IMAGE", 1, 9, b"x")
    ).wrong("data-overrun")
    talks.script("image-overrun-end", "the same in one frame with END").client(
        SUBMIT, data("IMAGE", 1, 0, HI + b"x", end=True)
    ).wrong("data-overrun")
    talks.script("image-ends-early", "END before the last byte").client(
        SUBMIT, data("IMAGE", 1, 0, HI[:8], end=True)
    ).wrong("payload-truncated")
    talks.script("image-ends-empty", "END and no byte at all").client(SUBMIT, data("IMAGE", 1, 0, b"", end=True)).wrong(
        "payload-truncated"
    )
    talks.script("image-after-end", "IMAGE after END").upload(1).client(data("IMAGE", 1, 9, b"", end=True)).wrong(NEVER)
    talks.script("image-while-running", "IMAGE after END, of a job that runs").run(1).client(
        data("IMAGE", 1, 9, b"x")
    ).wrong(NEVER).worker(cancelled(1, 2))
    talks.script("image-gap", "a byte is left out").client(
        SUBMIT, data("IMAGE", 1, 0, HI[:4]), data("IMAGE", 1, 5, HI[5:8])
    ).wrong("bad-offset")
    talks.script("image-repeats", "a byte comes twice").client(
        SUBMIT, data("IMAGE", 1, 0, HI[:4]), data("IMAGE", 1, 3, HI[3:8])
    ).wrong("bad-offset")
    talks.script("image-starts-late", "the first offset is 0").client(SUBMIT, data("IMAGE", 1, 1, HI[1:5])).wrong(
        "bad-offset"
    )
    talks.script("image-offset-most", "an offset whose end does not fit in 64 bits").client(
        SUBMIT, data("IMAGE", 1, MOST64, HI[:2])
    ).wrong("bad-offset")


def inputs(talks: Conversations) -> None:
    """INPUT."""
    s = talks.script("input-beyond-window", "one byte beyond the credit", input_window=4)
    s.client(WITH_INPUT, data("INPUT", 1, 0, b"abcd"), data("INPUT", 1, 4, b"e")).wrong("window-exceeded")
    s = talks.script("input-beyond-refill", "one byte beyond the credit after WINDOW", input_window=0)
    s.client(WITH_INPUT, data("IMAGE", 1, 0, HI, end=True)).accept(1).worker(grant(1, 3)).client(
        data("INPUT", 1, 0, b"abcd")
    )
    s.wrong("window-exceeded").worker(cancelled(1, 2))
    talks.script("input-after-end", "bytes after END").client(
        WITH_INPUT, data("INPUT", 1, 0, b"a", end=True), data("INPUT", 1, 1, b"b")
    ).wrong(NEVER)
    talks.script("input-end-twice", "END after END").client(
        WITH_INPUT, data("INPUT", 1, 0, b"", end=True), data("INPUT", 1, 0, b"", end=True)
    ).wrong(NEVER)
    talks.script("input-not-announced", "SUBMIT did not say that INPUT would come").client(
        SUBMIT, data("INPUT", 1, 0, b"a")
    ).wrong(NEVER)
    talks.script("input-gap", "a byte is left out").client(
        WITH_INPUT, data("INPUT", 1, 0, b"a"), data("INPUT", 1, 2, b"c")
    ).wrong("bad-offset")


def windows(talks: Conversations) -> None:
    """Too much credit."""
    talks.script("window-overflow", "credit of 2^31: one more than there can be", window=MOST_CREDIT).run(1).client(
        grant(1, 1)
    ).wrong("window-overflow").worker(cancelled(1, 2))
    talks.script("window-overflow-queued", "before the job has started", window=1).upload(1).client(
        grant(1, MOST_CREDIT)
    ).wrong("window-overflow")
    talks.script("window-overflow-worker", "the worker gives too much", input_window=MOST_CREDIT).client(
        WITH_INPUT
    ).worker(grant(1, 1)).wrong("window-overflow")


def directions(talks: Conversations) -> None:
    """Frames that travel the wrong way."""
    for made in [
        message("ACCEPTED", 1),
        message("STARTED", 1),
        data("OUTPUT", 1, 0, b"x"),
        halted(1),
        message("GOAWAY", reason=1),
        paused(1),
    ]:
        name = made["decoded"]["type"].lower()
        talks.script(f"direction-{name}", "a worker's frame from the client").client(SUBMIT, made).wrong(NEVER)
    for made in [
        SUBMIT,
        data("IMAGE", 1, 0, HI),
        data("INPUT", 1, 0, b"x"),
        opaque("CANCEL", job=1),
        extend(1, 1),
    ]:
        name = made["decoded"]["type"].lower()
        talks.script(f"direction-{name}", "a client's frame from the worker").client(WITH_INPUT).worker(made).wrong(
            NEVER
        )


def answers(talks: Conversations) -> None:
    """ACCEPTED, STARTED, RESULT and refusals out of order."""
    talks.script("result-twice", "exactly one RESULT").run(1).worker(halted(1), halted(1)).wrong(NEVER)
    talks.script("result-before-accepted", "RESULT of a job that was not accepted").upload(1).worker(halted(1)).wrong(
        NEVER
    )
    talks.script("result-after-refusal", "nothing follows a refusal").upload(1).worker(refusal(1, 74), halted(1)).wrong(
        NEVER
    )
    talks.script("result-never-submitted", "RESULT of a job that was never submitted").worker(halted(1)).wrong(NEVER)
    talks.script("accepted-never-submitted", "ACCEPTED of a job that was never submitted").upload(1).accept(2).wrong(
        NEVER
    )
    talks.script("accepted-after-refusal", "nothing follows a refusal").upload(1).worker(refusal(1, 74)).accept(
        1
    ).wrong(NEVER)
    talks.script("refused-after-accepted", "ACCEPTED or a refusal, not both").upload(1).accept(1).worker(
        refusal(1, 74)
    ).wrong(NEVER)
    talks.script("started-after-result", "nothing of the job comes after its RESULT").upload(1).accept(1).worker(
        cancelled(1)
    ).start(1).wrong(NEVER)


def outputs(talks: Conversations) -> None:
    """OUTPUT."""
    talks.script("output-after-result", "all OUTPUT comes before RESULT").run(1).worker(
        halted(1), data("OUTPUT", 1, 0, b"x")
    ).wrong(NEVER)
    talks.script("output-beyond-window", "one byte beyond the credit", window=4).run(1).worker(
        data("OUTPUT", 1, 0, b"abcde")
    ).wrong("window-exceeded")
    s = talks.script("output-beyond-sum", "credit is one sum over the channels", window=8).run(1, port_writes=True)
    s.worker(data("OUTPUT", 1, 0, b"a"), data("OUTPUT", 1, 0, bytes.fromhex("0080010000000041"), channel=3)).wrong(
        "window-exceeded"
    )
    talks.script("output-gap", "a byte is left out").run(1).worker(
        data("OUTPUT", 1, 0, b"a"), data("OUTPUT", 1, 2, b"c")
    ).wrong("bad-offset")
    s = talks.script("output-offset-channels", "offsets count per channel").run(1, port_writes=True)
    s.worker(data("OUTPUT", 1, 0, b"a"), data("OUTPUT", 1, 1, bytes.fromhex("0080010000000041"), channel=3)).wrong(
        "bad-offset"
    )


def wrong_conversations() -> list[Script]:
    talks = Conversations("bad-")
    for part in [
        openings,
        numbers,
        unknown_jobs,
        images,
        inputs,
        windows,
        directions,
        answers,
        outputs,
        wrong_pauses,
        wrong_images,
        wrong_program_talks,
        wrong_control_talks,
        wrong_detached_talks,
    ]:
        part(talks)
    return talks.scripts
