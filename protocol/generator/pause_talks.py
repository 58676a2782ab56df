# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Conversations with PAUSED and EXTEND, and with the channels of memory and trace."""

from __future__ import annotations

from generator.encoder import data, message, opaque
from generator.record_streams import memory, step
from generator.script import Conversations, cancelled, extend, grant, halted, paused, steps_exhausted
from generator.values import ECHO, HI, LOOP, MOST64, MOST_CREDIT

NEVER = "unexpected-frame"
WINDOW = memory(0x7000, bytes(range(16))) + memory(0x8000, b"")


def pauses(talks: Conversations) -> None:
    """PAUSED and what may follow it."""
    s = talks.script("pause-extend", "a job is paused twice, extended twice, and writes output in between")
    s.run(1, HI, step_budget=2, pause=True).worker(data("OUTPUT", 1, 0, b"H"), paused(1, 2)).client(extend(1, 2))
    s.worker(paused(1, 4)).client(extend(1, 10)).worker(data("OUTPUT", 1, 1, b"i"), halted(1))

    s = talks.script("pause-extend-zero", "no more steps: the job ends, and its windows are still sent")
    s.pause(1, dumps=[(0x7000, 0x1000)]).client(extend(1, 0))
    s.worker(data("OUTPUT", 1, 0, WINDOW, channel=4), steps_exhausted(1))

    s = talks.script("pause-extend-most", "as many steps more as there can be")
    s.pause(1).client(extend(1, MOST64)).worker(message("RESULT", 1, outcome=8, limit=9, used=10))

    s = talks.script(
        "pause-kept-no-longer", "nobody extends the job: it ends by itself, and its windows are still sent"
    )
    s.pause(1, dumps=[(0x7000, 0x1000)]).worker(data("OUTPUT", 1, 0, WINDOW, channel=4), steps_exhausted(1))
    s.run(2).worker(halted(2))

    s = talks.script(
        "pause-extend-late", "EXTEND crosses the RESULT and is ignored, as it is for a job that was refused"
    )
    s.pause(1).worker(steps_exhausted(1)).client(extend(1, 1000), extend(1, 0))
    s.client(message("SUBMIT", 2, mode=1, image_bytes=9, pause=True), opaque("CANCEL", job=2))
    s.worker(message("ERROR", 2, code=76, frame_type=0x13)).client(extend(2, 5)).run(3).worker(halted(3))

    s = talks.script(
        "pause-extend-crosses-windows", "EXTEND crosses the windows of a job that ends, and changes nothing"
    )
    s.pause(1, dumps=[(0x7000, 0x1000)]).worker(data("OUTPUT", 1, 0, WINDOW[:30], channel=4)).client(extend(1, 1000))
    s.worker(data("OUTPUT", 1, 30, WINDOW[30:], channel=4), steps_exhausted(1))

    s = talks.script("pause-cancel", "a paused job is cancelled")
    s.pause(1).client(opaque("CANCEL", job=1)).worker(cancelled(1))

    s = talks.script("pause-crosses-cancel", "CANCEL crosses PAUSED: the job ends all the same")
    s.run(1, LOOP, step_budget=1000, pause=True).client(opaque("CANCEL", job=1)).worker(paused(1), cancelled(1))

    s = talks.script("pause-cancel-extend", "EXTEND behind a CANCEL is no mistake: the job is paused until its RESULT")
    s.pause(1).client(opaque("CANCEL", job=1), extend(1, 5)).worker(cancelled(1))

    s = talks.script("pause-not-kept", "a worker that cannot keep the machine sends RESULT in place of PAUSED")
    s.run(1, LOOP, step_budget=1000, pause=True).worker(steps_exhausted(1))

    s = talks.script("pause-disconnect", "the client leaves a paused job behind")
    s.pause(1).worker(cancelled(1, 2))

    s = talks.script("pause-streams", "WINDOW and INPUT go on while a job is paused", window=2, input_window=2)
    s.run(1, ECHO, step_budget=3, pause=True, input=True).client(data("INPUT", 1, 0, b"a"))
    s.worker(data("OUTPUT", 1, 0, b"a"), grant(1, 1), paused(1, 3)).client(grant(1, 1), data("INPUT", 1, 1, b"bc"))
    s.client(extend(1, 6)).worker(data("OUTPUT", 1, 1, b"bc"), steps_exhausted(1, 9))

    s = talks.script("pause-two-jobs", "two jobs are paused at once; each EXTEND is for its own")
    s.pause(1).pause(2).client(extend(2, 1), extend(1, 1)).worker(steps_exhausted(1, 1001), halted(2))


def channels(talks: Conversations) -> None:
    """OUTPUT on the channels 4 and 5."""
    s = talks.script("dump", "windows of memory come behind all other output, in frames that end anywhere")
    s.run(1, dumps=[(0x7000, 0x1000)]).worker(data("OUTPUT", 1, 0, b"Hi"))
    for at in range(0, len(WINDOW), 15):
        s.worker(data("OUTPUT", 1, at, WINDOW[at : at + 15], channel=4))
    s.worker(halted(1))

    s = talks.script(
        "dump-cut-short", "a cancelled job does not wait for credit: its windows end where the credit does", window=20
    )
    s.run(1, dumps=[(0x7000, 0x1000)]).worker(data("OUTPUT", 1, 0, WINDOW[:20], channel=4))
    s.client(opaque("CANCEL", job=1)).worker(cancelled(1))

    s = talks.script("trace", "steps between the output; credit is one sum over all channels", window=46)
    one, two = step(0x1000, HI[:2], [(0, 0x48)]), step(0x1002, HI[2:4], [])
    s.run(1, trace=True).worker(data("OUTPUT", 1, 0, one, channel=5), data("OUTPUT", 1, 0, b"H"))
    s.worker(data("OUTPUT", 1, len(one), two[:14], channel=5)).client(grant(1, 100))
    s.worker(data("OUTPUT", 1, len(one) + 14, two[14:], channel=5), data("OUTPUT", 1, 1, b"i"), halted(1))


def wrong_pauses(talks: Conversations) -> None:
    """EXTEND, PAUSED and OUTPUT at a wrong place."""
    talks.script("extend-never-submitted", "EXTEND of a job that was never submitted").client(extend(1, 1)).wrong(NEVER)
    talks.script("extend-uploading", "EXTEND before the image is complete").client(
        message("SUBMIT", 1, mode=1, image_bytes=9, pause=True), extend(1, 1)
    ).wrong(NEVER)
    talks.script("extend-queued", "EXTEND of a job that waits").upload(1, step_budget=5, pause=True).accept(
        1, 3
    ).client(extend(1, 1)).wrong(NEVER).worker(cancelled(1, 2))
    talks.script("extend-running", "EXTEND of a job that runs").run(1, LOOP, step_budget=5, pause=True).client(
        extend(1, MOST64)
    ).wrong(NEVER).worker(cancelled(1, 2))
    talks.script(
        "extend-twice", "a second EXTEND for one PAUSED; the other job, paused, ends since nobody can extend it"
    ).pause(1).pause(2).client(extend(1, 1), extend(1, 1)).wrong(NEVER).worker(
        steps_exhausted(2), steps_exhausted(1, 1001)
    )

    talks.script("paused-not-asked", "PAUSED of a job whose SUBMIT did not ask for it").run(1, step_budget=1000).worker(
        paused(1)
    ).wrong(NEVER)
    talks.script("paused-before-started", "PAUSED of a job that waits").upload(1, step_budget=1, pause=True).accept(
        1
    ).worker(paused(1)).wrong(NEVER)
    talks.script("paused-twice", "PAUSED of a job that is paused").pause(1).worker(paused(1)).wrong(NEVER)
    talks.script("paused-after-result", "nothing follows the RESULT").pause(1).worker(
        steps_exhausted(1), paused(1)
    ).wrong(NEVER)
    talks.script("paused-never-submitted", "PAUSED of a job that was never submitted").worker(paused(1)).wrong(NEVER)
    talks.script("started-after-extend", "STARTED comes once").pause(1).client(extend(1, 5)).start(1).wrong(NEVER)
    for channel in [1, 3, 5]:
        talks.script(f"output-while-paused-{channel}", "a paused machine writes nothing").pause(1).worker(
            data("OUTPUT", 1, 0, bytes(8), channel=channel)
        ).wrong(NEVER)
    talks.script("dump-beyond-window", "credit is one sum over the channels", window=8).run(
        1, dumps=[(0x7000, 0x1000)]
    ).worker(data("OUTPUT", 1, 0, b"abcd"), data("OUTPUT", 1, 0, WINDOW[:5], channel=4)).wrong("window-exceeded")
    talks.script("trace-gap", "offsets count per channel").run(1, trace=True).worker(
        data("OUTPUT", 1, 0, b"\2", channel=5), data("OUTPUT", 1, 2, b"\2", channel=5)
    ).wrong("bad-offset")
    talks.script("window-overflow-paused", "credit counts while a job is paused", window=1).pause(1).client(
        grant(1, MOST_CREDIT)
    ).wrong("window-overflow").worker(steps_exhausted(1))
