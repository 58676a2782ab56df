# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Attacks by bytes that are no frames, wrong frames, or frames in pieces."""

from __future__ import annotations

import collections
import fcntl
import json
import random
import socket
import ssl
import struct
import termios
import time

from live import CODES, FRAME_LIMIT, HALTED, PATIENCE, REPOSITORY, Job, Silence

from .scene import Attack, Scene


def conversation(scene: Scene) -> bytes:
    """HELLO, SUBMIT and IMAGE of the classic example, as bytes."""
    with scene.client() as client:
        client.add(scene.guests["add"])
        return bytes(client.outgoing)


def truncated(scene: Scene) -> None:
    whole = conversation(scene)
    wrong = []
    for cut in range(len(whole)):
        with scene.client(greet=False) as client:
            client.outgoing += whole[:cut]
            client.until(lambda: not client.outgoing, "room")
            client.socket.shutdown(socket.SHUT_WR)
            client.until_closed()
            if client.hello is None or client.fatal:
                wrong.append(cut)
        with scene.client(greet=False) as client:
            client.socket.send(whole[:cut])  # and is gone, with the worker's HELLO unread
    scene.checks.equal(f"truncated: {len(whole)} cuts get HELLO, then the end, and no error", wrong, [])


def byte_by_byte(scene: Scene) -> None:
    """Each byte waits until the worker has read the one before: TIOCOUTQ of a Unix socket tells what is unread."""
    with scene.client() as client:
        job = client.add(scene.guests["add"])
        pieces, client.outgoing = client.outgoing, bytearray()
        for byte in pieces:
            client.socket.send(bytes([byte]))
            end = time.monotonic() + PATIENCE
            while struct.unpack("i", fcntl.ioctl(client.socket, termios.TIOCOUTQ, bytes(4)))[0]:
                if time.monotonic() > end:
                    raise Silence("the worker does not read")
        client.finish(job)
        scene.checks.equal("byte by byte: it works", (job.outcome, bytes(job.output)), (HALTED, b"4\n"))


def oversized(scene: Scene) -> None:
    before = scene.worker.reset_peak()
    for length in (FRAME_LIMIT + 1, 0x00FFFFFF, 0xFFFFFFFF):
        with scene.client() as client:
            client.outgoing += struct.pack(">IBBHI", length, 0x11, 0, 0, 1)
            scene.fatal(f"oversized: a length of {length:,} is refused by its header", client, "frame-too-long")
            said = client.fatal and (client.fatal.get("limit"), client.fatal.get("value"))
            scene.checks.equal("oversized: the error tells limit and value", said, (str(FRAME_LIMIT), str(length)))
    scene.memory("oversized", before, 2048)


def garbage(scene: Scene) -> None:
    chance = random.Random(1)
    answers: collections.Counter[object] = collections.Counter()
    for number in range(200):
        with scene.client(greet=number % 2 == 0) as client:
            client.outgoing += chance.randbytes(chance.randrange(12, 5000))
            client.until_closed()
            answers[client.fatal and client.fatal["code"]] += 1
    known = all(code in CODES.values() for code in answers)
    scene.checks.that("garbage: 200 connections of random bytes each get a fatal error", known, dict(answers))


def other_protocols(scene: Scene) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass  # it has written its ClientHello
    for name, data in (("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ("a TLS ClientHello", outgoing.read())):
        with scene.client(greet=False) as client:
            client.outgoing += data
            scene.fatal(f"other protocols: {name} is refused at its first frame", client, "frame-too-long")


def bad_vectors(scene: Scene) -> None:
    vectors = json.loads((REPOSITORY / "protocol/vectors/bad.json").read_text())
    mine = [vector for vector in vectors if vector["to"] == "worker"]
    # The vectors also speak of receivers with other limits; on these lengths this worker has nothing to say.
    other = [v["name"] for v in mine if v["error"] == "frame-too-long" and length_of(v) <= FRAME_LIMIT]
    wrong = [problem for v in mine if v["name"] not in other and (problem := vector_problem(scene, v))]
    what = f"bad vectors: {len(mine) - len(other)} of {len(mine)} give the promised error"
    scene.checks.that(what, not wrong, wrong[:5] if wrong else f"for a lower limit: {', '.join(other)}")


def length_of(vector: dict) -> int:
    return int.from_bytes(bytes.fromhex(vector["hex"])[:4], "big")


def vector_problem(scene: Scene, vector: dict) -> str | None:
    with scene.client(greet=vector["after_hello"]) as client:
        number = vector["job"]
        job = client.jobs.setdefault(number, Job()) if number else None
        client.outgoing += bytes.fromhex(vector["hex"])
        try:
            if job:
                client.finish(job)
            else:
                client.until_closed()
        except Silence as error:
            return f"{vector['name']}: {error}"
        said = (job.refusal if job else client.fatal) or {}
        # Where a vector names no field the worker may: the one whose value the payload's end cuts off.
        seen = (said.get("code"), said.get("field_tag") if "field_tag" in vector else None)
        wanted = (CODES[vector["error"]], vector.get("field_tag"))
        if seen != wanted:
            return f"{vector['name']}: code and field_tag {seen}, wanted {wanted}"
        return None if client.closed or scene.still_good(client) else f"{vector['name']}: the connection is broken"


ATTACKS: list[Attack] = [truncated, byte_by_byte, oversized, garbage, other_protocols, bad_vectors]
