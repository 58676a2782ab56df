# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Wrong headers, wrong data payloads, and frames at a wrong place."""

from __future__ import annotations

from generator.bad_frames import (
    BAD_JOB,
    BEFORE,
    CUT,
    FOURTH,
    IMAGE,
    MODE,
    NOT_ZERO,
    SECOND,
    TOO_LONG,
    UNKNOWN,
    VALUE,
    BadFrames,
)
from generator.control import jobs, query, stop, stopped
from generator.encoder import TYPE, Json, data, head, message, opaque, tlv, wire
from generator.values import CLIENT_HELLO, MIB, MOST32, WORKER_HELLO
from generator.wrong_fields import FIELD_PARTS


def header_length(bad: BadFrames) -> None:
    """Lengths, and what other protocols look like."""
    bad.header("length-over", "one byte more than the receiver takes", head(0x11, 1, 65537), TOO_LONG)
    bad.header("length-over-least", "one byte more than the least limit", head(0x11, 1, 4097), TOO_LONG, limit=4096)
    bad.header(
        "length-over-most",
        "one byte more than the largest limit there is",
        head(0x22, 1, MIB + 1),
        TOO_LONG,
        limit=MIB,
        to="client",
    )
    bad.header(
        "length-over-before-hello",
        "before the receiver has said HELLO its limit is 4096",
        head(0x01, 0, 4097),
        TOO_LONG,
        **BEFORE,
    )
    bad.header(
        "length-top-byte", "the top byte of the length is always zero", head(0x11, 1, 1 << 24), TOO_LONG, limit=MIB
    )
    bad.header(
        "length-all-ones", "the largest length: nothing may be allocated for it", head(0x11, 1, MOST32), TOO_LONG
    )
    bad.header("length-over-skippable", "a frame to skip has the same limit", head(0x80, 0, 65537), TOO_LONG)
    bad.header("http", "an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".hex(), TOO_LONG, **BEFORE)
    hello = "16 0301 0061 01 00005d 0303 5f9a1c3e7b204d6688aa02c4e6f81133557799bbddff00224466880123456789"
    bad.header("tls", "a TLS ClientHello", hello, TOO_LONG, **BEFORE)
    bad.header("text", "a line of text", b"hello, worker\n".hex(), TOO_LONG, limit=MIB, hello=False)
    bad.header("ssh", "an SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n".hex(), TOO_LONG, limit=MIB)


def header_flags(bad: BadFrames) -> None:
    """Reserved bytes and flags."""
    bad.header("reserved-high", "the reserved part, its first byte", head(0x02, 0, 8, reserved=0x0100), NOT_ZERO)
    bad.header("reserved-low", "the reserved part, its second byte", head(0x02, 0, 8, reserved=0x0001), NOT_ZERO)
    bad.header(
        "reserved-skippable",
        "the reserved part of a frame to skip is checked; only its flags are not",
        head(0x80, 0, 8, reserved=1),
        NOT_ZERO,
    )
    for bit in range(8):
        bad.header(f"flag-{bit}-cancel", "CANCEL has no flags", head(0x13, 1, 0, flags=1 << bit), NOT_ZERO)
    for bit in range(1, 8):
        bad.header(f"flag-{bit}-image", "IMAGE has END and no other flag", head(0x11, 1, 13, flags=1 << bit), NOT_ZERO)
    for name, kind in TYPE.items():
        if name not in ("IMAGE", "INPUT", "OUTPUT", "CANCEL"):
            to_worker = ("HELLO", "PING", "PONG", "ERROR", "WINDOW", "SUBMIT", "EXTEND", "QUERY", "STOP")
            receiver = "worker" if name in to_worker else "client"
            number = 1 if 0x10 <= kind < 0x30 or name == "WINDOW" else 0
            bad.header(
                f"end-{name.lower()}",
                "END is only for IMAGE, INPUT and OUTPUT",
                head(kind, number, 8, flags=1),
                NOT_ZERO,
                to=receiver,
            )


def header_types(bad: BadFrames) -> None:
    """Types and jobs."""
    for kind in [0x00, 0x07, 0x0F, 0x17, 0x1F, 0x28, 0x2F, 0x34, 0x7F]:
        bad.header(f"type-{kind:02x}", "no such type, and below 0x80 it is not to skip", head(kind, 0, 0), UNKNOWN)
    bad.header("type-7f-client", "the same towards the client", head(0x7F, 1, 0), UNKNOWN, to="client")
    for name in ["WINDOW", "SUBMIT", "IMAGE", "INPUT", "CANCEL", "EXTEND", "ATTACH", "LEAVE"]:
        bad.header(f"job-zero-{name.lower()}", "speaks of a job, so job 0 is wrong", head(TYPE[name], 0, 0), BAD_JOB)
    for name in ["ACCEPTED", "STARTED", "OUTPUT", "RESULT", "PAUSED", "ATTACHED", "LEFT"]:
        bad.header(
            f"job-zero-{name.lower()}",
            "speaks of a job, so job 0 is wrong",
            head(TYPE[name], 0, 0),
            BAD_JOB,
            to="client",
        )
    for name in ["HELLO", "PING", "PONG", "QUERY", "STOP"]:
        bad.header(
            f"job-one-{name.lower()}", "speaks of the connection, so a job is wrong", head(TYPE[name], 1, 8), BAD_JOB
        )
    for name in ["ANSWER", "STOPPED"]:
        bad.header(
            f"job-one-{name.lower()}",
            "speaks of the connection, so a job is wrong",
            head(TYPE[name], 1, 8),
            BAD_JOB,
            to="client",
        )
    bad.header(
        "job-one-goaway",
        "speaks of the connection, so a job is wrong",
        head(TYPE["GOAWAY"], MOST32, 7),
        BAD_JOB,
        to="client",
    )


def header_order(bad: BadFrames) -> None:
    """Several wrong parts: the order of the checks."""
    bad.header(
        "order-length-first",
        "everything is wrong: length comes first",
        head(0x7F, 1, 65537, flags=0xFF, reserved=1),
        TOO_LONG,
    )
    bad.header("order-reserved-second", "reserved, type and job are wrong", head(0x7F, 1, 0, reserved=1), NOT_ZERO)
    bad.header("order-flags-before-type", "flags and type are wrong", head(0x7F, 1, 0, flags=2), NOT_ZERO)
    bad.header("order-end-before-type", "an unknown type below 0x80 has no END", head(0x00, 0, 0, flags=1), NOT_ZERO)
    bad.header("order-flags-before-job", "flags and job are wrong", head(0x11, 0, 0, flags=2), NOT_ZERO)
    bad.header(
        "order-header-before-payload",
        "the job is wrong, and so is the payload that comes with it",
        wire(0x10, 0, tlv(0x8002, "0102")),
        BAD_JOB,
    )
    bad.header(
        "order-header-before-hello",
        "an unknown type before HELLO: the header is checked first",
        head(0x7F, 0, 0),
        UNKNOWN,
        **BEFORE,
    )


def data_headers(bad: BadFrames) -> None:
    """What is wrong in the 12 bytes before data."""
    for name, to in [("IMAGE", "worker"), ("INPUT", "worker"), ("OUTPUT", "client")]:
        kind, channel, low = TYPE[name], "01" if name == "OUTPUT" else "00", name.lower()
        bad.payload(
            f"data-cut-{low}", "11 bytes: the data header is cut short", wire(kind, 1, channel + "00" * 10), CUT, to=to
        )
        bad.payload(f"data-none-{low}", "no payload at all", wire(kind, 1, flags=1), CUT, to=to)
        bad.payload(f"data-vcpu-{low}", "vcpu is 0", wire(kind, 1, f"{channel} 01 0000 {0:016x}", "61"), VALUE, to=to)
        bad.payload(
            f"data-reserved-{low}",
            "reserved is zero",
            wire(kind, 1, f"{channel} 00 0001 {0:016x}", "61"),
            NOT_ZERO,
            to=to,
        )
        bad.payload(
            f"data-order-{low}",
            "vcpu comes before reserved",
            wire(kind, 1, f"{channel} 01 0100 {0:016x}", "61"),
            VALUE,
            to=to,
        )
        bad.payload(
            f"data-nothing-{low}", "neither bytes nor END", wire(kind, 1, f"{channel} 00 0000 {0:016x}"), VALUE, to=to
        )
        bad.payload(
            f"data-reserved-nothing-{low}",
            "reserved comes before neither bytes nor END",
            wire(kind, 1, f"{channel} 00 8000 {0:016x}"),
            NOT_ZERO,
            to=to,
        )
        for other in ["01", "03", "ff"] if name != "OUTPUT" else ["00", "06", "ff"]:
            bad.payload(
                f"data-channel-{other}-{low}",
                "no such channel here",
                wire(kind, 1, f"{other} 00 0000 {0:016x}", "61"),
                VALUE,
                to=to,
            )


def places(bad: BadFrames) -> None:
    """Well-formed frames at a wrong place, whatever went before."""
    bad.connection(
        "hello-expected-submit",
        "the client's first frame is HELLO",
        wire(0x10, 1, MODE, IMAGE),
        "hello-expected",
        **BEFORE,
    )
    bad.connection(
        "hello-expected-ping", "the client's first frame is HELLO", wire(2, 0, "00" * 8), "hello-expected", **BEFORE
    )
    newer = wire(1, 0, tlv(1, "0200"), SECOND, FOURTH)
    bad.connection("version-2", "another major version", newer, "version-unsupported", **BEFORE)
    bad.connection(
        "version-0",
        "another major version",
        wire(1, 0, tlv(1, "0009"), SECOND, FOURTH),
        "version-unsupported",
        **BEFORE,
    )
    bad.connection("hello-twice", "a second HELLO", message("HELLO", **CLIENT_HELLO)["hex"], "unexpected-frame")
    bad.connection(
        "hello-twice-worker", "a second HELLO", message("HELLO", **WORKER_HELLO)["hex"], "unexpected-frame", to="client"
    )
    for made in [
        message("GOAWAY", reason=1),
        message("ACCEPTED", 1),
        message("STARTED", 1),
        data("OUTPUT", 1, 0, b"x"),
        message("RESULT", 1, outcome=1),
        message("PAUSED", 1, steps=1, keep_ns=1),
        jobs(),
        stopped(1),
    ]:
        name = made["decoded"]["type"].lower()
        bad.connection(f"direction-{name}", "only a worker sends this", made["hex"], "unexpected-frame")
    for made in [
        message("SUBMIT", 1, mode=1, image_bytes=1),
        data("IMAGE", 1, 0, b"x"),
        data("INPUT", 1, 0, b"x"),
        opaque("CANCEL", job=1),
        message("EXTEND", 1, steps=1),
        query(1),
        stop(1),
    ]:
        name = made["decoded"]["type"].lower()
        bad.connection(f"direction-{name}", "only a client sends this", made["hex"], "unexpected-frame", to="client")


def wrong_frames() -> list[Json]:
    bad = BadFrames()
    for part in [header_length, header_flags, header_types, header_order, *FIELD_PARTS, data_headers, places]:
        part(bad)
    return bad.entries
