# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Images by digest and snapshots: frames that are right, conversations right and wrong (sections 3.14 and 3.15)."""

from __future__ import annotations

from generator.encoder import Json, data, message, opaque
from generator.right_reports import RightFrames
from generator.script import Conversations, cancelled, grant, halted, refusal
from generator.values import ECHO, HALT, HI, HI_DIGEST, LOOP, MIB, MOST32, MOST64, SNAPSHOT_NAME

NEVER = "unexpected-frame"


def offer(job: int, **fields: object) -> Json:
    """SUBMIT of an image by its digest."""
    return message("SUBMIT", job, **({"mode": 1, "image_bytes": len(HI), "image_digest": HI_DIGEST} | fields))


def resume(job: int, name: str = SNAPSHOT_NAME, **fields: object) -> Json:
    """SUBMIT of a job from a snapshot."""
    return message("SUBMIT", job, **({"mode": 0, "image_bytes": 0, "from": name} | fields))


def want(job: int) -> Json:
    return message("WANT_IMAGE", job)


def images_and_snapshots(frames: RightFrames) -> None:
    """SUBMIT by digest and from a snapshot, WANT_IMAGE."""
    frames.add("submit-digest", "the image is named, and sent only if the worker wants it", offer(10))
    for name, kind, value in [("ready", 1, 0), ("steps", 2, 1), ("steps-most", 2, MOST64), ("address", 3, 0)]:
        frames.add(
            f"submit-snapshot-{name}",
            "a job that ends where its machine is kept",
            message("SUBMIT", 10, mode=1, image_bytes=9, snapshot=(kind, value)),
        )
    noisy = message("SUBMIT", 10, mode=1, image_bytes=9, snapshot=(1, MOST64))
    quiet = message("SUBMIT", 10, mode=1, image_bytes=9, snapshot=(1, 0))
    frames.add(
        "submit-snapshot-ready-value",
        "the value of the ready point is called zero, and ignored",
        {"hex": noisy["hex"], "canonical": quiet["hex"], "decoded": quiet["decoded"]},
    )
    frames.add("submit-from", "a job from a snapshot has no mode and no image of its own", resume(11))
    frames.add(
        "submit-from-any",
        "what the codec takes and the worker refuses: the snapshot decides the start",
        resume(11, mode=1, image_bytes=9, entry_point=1, memory_bytes=MIB, image_digest=HI_DIGEST, snapshot=(1, 0)),
    )
    frames.add("want-image-minimum", "no fields", want(1))
    frames.add("want-image-maximum", "the largest job number", want(MOST32))
    frames.add(
        "want-image-unknown-field", "a field of a later minor version is skipped", message("WANT_IMAGE", 1, {9: "00"})
    )


def images(talks: Conversations) -> None:
    """Images by digest."""
    s = talks.script("digest-wanted", "the worker has no such image: it comes after WANT_IMAGE, in parts")
    s.client(offer(1)).worker(want(1)).client(data("IMAGE", 1, 0, HI[:4]), data("IMAGE", 1, 4, HI[4:], end=True))
    s.accept(1).start(1).worker(data("OUTPUT", 1, 0, b"Hi"), halted(1))

    s = talks.script("digest-known", "the second time the worker has it: ACCEPTED at once, and no IMAGE")
    s.client(offer(1)).worker(want(1)).client(data("IMAGE", 1, 0, HI, end=True)).accept(1).start(1).worker(halted(1))
    s.client(offer(2)).accept(2).start(2).worker(data("OUTPUT", 2, 0, b"Hi"), halted(2))
    s.run(3).worker(halted(3))

    s = talks.script("digest-known-refused", "an image that is known can be refused like any other")
    s.client(offer(1, memory_bytes=2 * MIB)).worker(refusal(1, 74, retryable=True)).run(2).worker(halted(2))

    s = talks.script(
        "digest-mismatch", "bytes that do not have the digest: a refusal, and the image is not kept for the next job"
    )
    for job in [1, 2]:
        s.client(offer(job)).worker(want(job)).client(data("IMAGE", job, 0, HI[:8] + b"x", end=True))
        s.worker(refusal(job, 77))
    s.run(3).worker(halted(3))

    s = talks.script("digest-input", "input comes from right after SUBMIT on, as for every job", input_window=4)
    s.client(offer(1, input=True), data("INPUT", 1, 0, b"abc")).worker(want(1)).client(data("INPUT", 1, 3, b"d"))
    s.client(data("IMAGE", 1, 0, HI, end=True)).accept(1).start(1).worker(grant(1, 4)).client(
        data("INPUT", 1, 4, b"", end=True)
    )
    s.worker(halted(1))

    s = talks.script("digest-cancel", "CANCEL before the image is complete; it crosses WANT_IMAGE")
    s.client(offer(1)).worker(want(1)).client(opaque("CANCEL", job=1)).worker(
        message("ERROR", 1, code=76, frame_type=0x13)
    )
    s.client(data("IMAGE", 1, 0, HI, end=True)).run(2).worker(halted(2))

    s = talks.script("digest-interleaved", "two images are wanted at once, and a third job has one of its own")
    s.client(offer(1), offer(2)).worker(want(1), want(2)).client(data("IMAGE", 2, 0, HI, end=True)).accept(2)
    s.upload(3, HALT).accept(3, 1).client(data("IMAGE", 1, 0, HI, end=True)).accept(1, 2)
    s.start(2).worker(halted(2)).start(3).worker(halted(3)).start(1).worker(halted(1))

    s = talks.script("digest-unwanted-late", "IMAGE for a job that has ended is ignored, also where nobody asked for it")
    s.client(offer(1)).worker(want(1)).client(data("IMAGE", 1, 0, HI, end=True)).accept(1).start(1).worker(halted(1))
    s.client(data("IMAGE", 1, 5, b"", end=True)).run(2).worker(halted(2))


def snapshots(talks: Conversations) -> None:
    """Snapshots: taken, and started from."""
    s = talks.script("snapshot", "a snapshot is taken and two jobs start from it, one with input")
    s.run(1, ECHO, snapshot=(1, 0)).worker(
        data("OUTPUT", 1, 0, b"boot"), message("RESULT", 1, outcome=15, snapshot=SNAPSHOT_NAME)
    )
    s.client(resume(2)).accept(2).start(2).worker(data("OUTPUT", 2, 0, b"go"), halted(2))
    s.client(resume(3, input=True), data("INPUT", 3, 0, b"x", end=True)).accept(3).start(3).worker(halted(3))

    s = talks.script("snapshot-not-reached", "a job that ends before its point ends as any other")
    s.run(1, HI, snapshot=(2, 1000)).worker(halted(1))

    s = talks.script("snapshot-refusals", "what a snapshot excludes, and a name that nobody knows")
    cases: list[tuple[Json, int]] = [
        (resume(1), 78),
        (resume(2, mode=1), 64),
        (resume(3, image_bytes=9), 64),
        (resume(4, load_address=0x1000), 64),
        (resume(5, entry_point=0x1000), 64),
        (resume(6, registers=[(0, 1)]), 64),
        (resume(7, memory_bytes=16 * MIB), 64),
        (resume(8, segments=[(0, (0, 0xFFFF, 0, 0x9B))]), 64),
        (resume(9, tables=[(0, (0, 0))]), 64),
        (resume(10, controls=[(0, 1)]), 64),
        (resume(11, pieces=[(0, 9)]), 64),
        (resume(12, deterministic=True), 64),
        (resume(13, image_digest=HI_DIGEST), 64),
        (resume(14, snapshot=(1, 0)), 64),
        (message("SUBMIT", 15, mode=1, image_bytes=9, snapshot=(1, 0), input=True), 64),
        (message("SUBMIT", 16, mode=1, image_bytes=9, snapshot=(2, 5), pause=True), 64),
        (message("SUBMIT", 17, mode=1, image_bytes=9, snapshot=(3, 0x1000), trace=True), 64),
        (resume(18, step_budget=0), 71),
        (resume(19, board=1), 64),
        (resume(20, rom=True), 64),
        (resume(21, vcpus=1), 64),
        (resume(22, turn=9), 64),
    ]
    for job, (made, code) in enumerate(cases, 1):
        s.client(made).worker(refusal(job, code))
    s.run(30).worker(halted(30))


def wrong_images(talks: Conversations) -> None:
    """IMAGE and WANT_IMAGE where they may not be."""
    s = talks.script("image-of-known", "IMAGE of a job whose image nobody asked for")
    s.client(offer(1)).accept(1).client(data("IMAGE", 1, 0, HI, end=True)).wrong(NEVER).worker(cancelled(1, 2))
    s = talks.script("image-from-snapshot", "IMAGE of a job that starts from a snapshot")
    s.client(resume(1)).accept(1).client(data("IMAGE", 1, 0, HI, end=True)).wrong(NEVER).worker(cancelled(1, 2))
    talks.script("want-image-twice", "the image is asked for once").client(offer(1)).worker(want(1), want(1)).wrong(NEVER)
    talks.script("want-image-no-digest", "the SUBMIT named no digest").client(
        message("SUBMIT", 1, mode=1, image_bytes=9)
    ).worker(want(1)).wrong(NEVER)
    talks.script("want-image-from", "a job from a snapshot has no image").client(resume(1)).worker(want(1)).wrong(NEVER)
    talks.script("want-image-accepted", "ACCEPTED says that the worker has it").client(offer(1)).accept(1).worker(
        want(1)
    ).wrong(NEVER)
    talks.script("want-image-never-submitted", "a job that was never submitted").worker(want(1)).wrong(NEVER)
    talks.script("want-image-refused", "nothing follows a refusal").client(offer(1)).worker(
        refusal(1, 74), want(1)
    ).wrong(NEVER)
    talks.script("want-image-from-client", "a worker's frame from the client").client(offer(1)).worker(want(1)).client(
        want(1)
    ).wrong(NEVER)
    talks.script("accepted-wanted", "ACCEPTED before the image that was asked for is complete").client(offer(1)).worker(
        want(1)
    ).accept(1).wrong(NEVER)
    talks.script("digest-overrun", "one byte more than announced, of an image that was asked for").client(
        offer(1)
    ).worker(want(1)).client(data("IMAGE", 1, 0, HI + LOOP, end=True)).wrong("data-overrun")
    talks.script("digest-ends-early", "END before the last byte").client(offer(1)).worker(want(1)).client(
        data("IMAGE", 1, 0, HI[:5], end=True)
    ).wrong("payload-truncated")
