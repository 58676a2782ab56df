# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Clients that lie about the digests of their images, send them when nobody asks, or make the worker keep many."""

from __future__ import annotations

import hashlib
import os
import pathlib

from attacks.scene import MEBIBYTE, SECOND, Attack, Scene
from live import CODES, END, HALTED, PROTECTED32, REAL16, Client, Frame, data_frames

CACHE_MIB = 8  # of the worker that these attacks are made on
STRANGER = 65533
OVERFLOW_USER = 65534  # what stands for every user who is not mapped


def image_of(scene: Scene, number: int, size: int = 64 << 10) -> bytes:
    """The classic example with a number behind it: images of one size, no two with the same digest."""
    return (scene.guests["add"] + number.to_bytes(8, "big")).ljust(size, b"\x90")


def prints_four(scene: Scene, client: Client, image: bytes) -> bool:
    """Whether the worker asked for the image; it runs in any case."""
    two = [{"register": 0, "value": 2}, {"register": 1, "value": 2}]
    job = client.offer(image, registers=two)
    client.finish(job)
    if (job.outcome, bytes(job.output)) != (HALTED, b"4\n"):
        raise AssertionError(f"2 + 2 gave {bytes(job.output)!r} and {job.result or job.refusal}")
    return job.wanted


def lies(scene: Scene) -> None:
    """Bytes that do not have the digest. They must not be kept under it, nor push out what is."""
    honest, other = image_of(scene, 1), image_of(scene, 2)
    with scene.client(checked=True) as client:
        digest = hashlib.sha256(honest).digest()
        jobs = [client.offer(other, digest) for _ in range(20)]
        client.finish(*jobs)
        seen = {(job.wanted, job.refused) for job in jobs}
        scene.checks.equal("lies: other bytes", seen, {(True, CODES["image-digest-mismatch"])})
        asked = [prints_four(scene, client, honest) for _ in range(2)]
        scene.checks.equal("lies: the right bytes are asked for, once, and run", asked, [True, False])
        for what, image in (("one byte less", other[:-1]), ("one byte more", other + b"\x90")):
            job = client.offer(image, digest)
            client.finish(job)
            seen = {(job.wanted, job.refused)}
            scene.checks.equal(f"lies: {what}", seen, {(True, CODES["image-digest-mismatch"])})
        scene.checks.that("lies: what was known is known", not prints_four(scene, client, honest))
        job = client.offer(b"", digest)
        client.finish(job)
        scene.checks.equal("lies: no bytes", job.refused, CODES["image-empty"])


def unasked(scene: Scene) -> None:
    """IMAGE that nobody asked for, too much of it, too little, and in the wrong place."""
    endless = b"\xeb\xfe".ljust(64 << 10, b"\x90")
    with scene.client() as client:
        client.finish(client.offer(endless, wall_budget=SECOND // 20))
    with scene.client() as client:
        # It still runs when the bytes come: those of a job that has ended would be ignored.
        client.offer(endless, wall_budget=2 * SECOND)
        client.send(*data_frames("IMAGE", 1, endless))
        scene.fatal("unasked: IMAGE of an image that the worker has", client, "unexpected-frame")
    other = image_of(scene, 4)
    for what, sent, code in (
        ("one byte more than announced", other + b"x", "data-overrun"),
        ("one byte less than announced", other[:-1], "payload-truncated"),
    ):
        with scene.client() as client:
            job = client.offer(other)
            job.image = sent
            scene.fatal(f"unasked: {what}", client, code)
    with scene.client() as client:
        job = client.offer(other)
        job.image = None
        client.until(lambda: job.wanted, "WANT_IMAGE")
        client.send(Frame("IMAGE", 1, END, {"channel": 0, "offset": 1}, b"\x90"))
        scene.fatal("unasked: a gap at the start", client, "bad-offset")


def half_uploads(scene: Scene) -> None:
    """Images of 8 MiB that are asked for and end in the middle, by CANCEL and by leaving: their room comes back."""
    before, image = scene.worker.reset_peak(), image_of(scene, 5, 8 * MEBIBYTE)
    half = data_frames("IMAGE", 1, image)[:64]
    for number in range(60):
        with scene.client() as client:
            job = client.offer(image)
            job.image = None
            client.until(lambda: job.wanted, "WANT_IMAGE")
            client.send(*half)
            if number % 2:
                client.send(Frame("CANCEL", 1))
                client.finish(job)
                if job.refused != CODES["cancelled-upload"]:
                    raise AssertionError(f"CANCEL gave {job.result or job.refusal}")
            else:
                client.until(lambda: not client.outgoing, "room in the socket")
    with scene.client(checked=True) as client:
        scene.checks.that("half uploads: the image is still asked for", prints_four(scene, client, image))
    scene.memory("half uploads", before, 48 << 10)


def announcements(scene: Scene) -> None:
    """Images that are announced, asked for and never sent are bounded as any uploads are, and cost nothing."""
    before = scene.worker.reset_peak()
    with scene.client() as client:
        numbers = range(1, 11)
        digests = [hashlib.sha256(bytes([number])).hexdigest() for number in numbers]
        for number, digest in zip(numbers, digests):
            client.send(client.submit_frame(number, REAL16, 64 * MEBIBYTE, image_digest=digest))
        client.finish(*(client.jobs[number] for number in numbers[2:]))
        seen = [(client.jobs[number].wanted, client.jobs[number].refused) for number in numbers]
        wanted = [(True, None)] * 2 + [(False, CODES["queue-full"])] * 8
        scene.checks.equal("announcements: of 64 MiB two are asked for, the others refused", seen, wanted)
        client.send(Frame("CANCEL", 1))
        client.finish(client.jobs[1])
        scene.checks.that("announcements: and then there is room again", scene.still_good(client))
    scene.memory("announcements", before, 2048)


def flood(scene: Scene) -> None:
    """More images than the worker keeps, no two the same: 192 MiB through a cache of 8."""
    before = scene.worker.reset_peak()
    with scene.client() as client:
        asked = [prints_four(scene, client, image_of(scene, number)) for number in range(1000, 4072)]
        scene.checks.that("flood: each of 3,072 images is asked for", all(asked))
        last = [prints_four(scene, client, image_of(scene, number)) for number in range(4071, 3971, -1)]
        scene.checks.that("flood: the last 100 are known", not any(last))
        scene.checks.that("flood: the first is not", prints_four(scene, client, image_of(scene, 1000)))
    # The images, what jobs started from, and what a slot, a connection and the allocator have in hand.
    scene.memory("flood", before, (2 * CACHE_MIB + 16) << 10)


def client_of(scene: Scene, user: int) -> Client:
    """A connection as another user, which only root can make."""
    folder = pathlib.Path(scene.worker.path).parent
    modes = [(path, path.stat().st_mode & 0o777) for path in (folder, pathlib.Path(scene.worker.path))]
    for path, mode in modes:
        path.chmod(mode | 0o077)
    os.seteuid(user)
    try:
        return scene.client()
    finally:
        os.seteuid(0)
        for path, mode in modes:
            path.chmod(mode)


def scattered(scene: Scene) -> None:
    """2 KiB of an image in 1,024 pieces that lie on two pages each: 8 MiB of what a job starts from, and of no two jobs the
    same. Memory for 64 of them would be half a GiB."""
    before, image = scene.worker.reset_peak(), b"\xf4" * 2048
    pieces = [{"address": str((2 << 20) + number * 8192 - 1), "count": "2"} for number in range(1024)]
    with scene.client() as client:
        for number in range(64):
            start = {"register": 0, "value": number}
            job = client.offer(
                image, mode=PROTECTED32, pieces=pieces, entry_point=str((2 << 20) - 1), registers=[start]
            )
            client.finish(job)
            if job.outcome != HALTED:
                raise AssertionError(f"HLT in {len(pieces)} pieces gave {job.result or job.refusal}")
    # The cache, what each of four slots' machines has in hand and shows its guest, and the allocator.
    scene.memory("scattered", before, (CACHE_MIB + 4 * 2 * 9 + 24) << 10)


def strangers(scene: Scene) -> None:
    """Another user who knows the digest of somebody's image has to bring its bytes, and cannot push it out."""
    if os.geteuid() != 0:
        print("     strangers: only root can be another user")
        return
    image = image_of(scene, 6)
    with scene.client() as client:
        prints_four(scene, client, image)
    with client_of(scene, STRANGER) as stranger:
        job = stranger.offer(bytes(len(image)), hashlib.sha256(image).digest())
        stranger.finish(job)
        seen = (job.wanted, job.refused)
        scene.checks.equal("strangers: the digest alone is no image", seen, (True, CODES["image-digest-mismatch"]))
        asked = [prints_four(scene, stranger, image) for _ in range(2)]
        scene.checks.equal("strangers: who brings the bytes has them", asked, [True, False])
        for number in range(5000, 5400):
            prints_four(scene, stranger, image_of(scene, number))
    with scene.client() as client:
        scene.checks.that("strangers: 25 MiB of theirs push nothing out", not prints_four(scene, client, image))


def lookalikes(scene: Scene) -> None:
    """Users without a number of their own in the worker's user namespace look like one: none finds what another brought."""
    if os.geteuid() != 0:
        print("     lookalikes: only root can be another user")
        return
    image = image_of(scene, 7)
    for number in range(2):
        with client_of(scene, OVERFLOW_USER) as client:
            asked = [prints_four(scene, client, image) for _ in range(2)]
            scene.checks.equal(f"lookalikes: client {number} brings its image each time", asked, [True, True])


ATTACKS: list[Attack] = [lies, unasked, half_uploads, announcements, flood, scattered, strangers, lookalikes]
