# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Wrong payloads of fields (section 2)."""

from __future__ import annotations

from generator.bad_frames import (
    BEFORE,
    CRITICAL,
    CUT,
    FIRST,
    FOURTH,
    IMAGE,
    MISSING,
    MODE,
    ORDER,
    SECOND,
    SIZE,
    TEXT,
    VALUE,
    BadFrames,
)
from generator.detached import wrong_detached
from generator.encoder import TYPE, tlv, wire
from generator.programs import wrong_programs
from generator.values import MIB, MOST32
from generator.wrong_control import wrong_answers, wrong_questions, wrong_records
from generator.wrong_lists import (
    list_sizes,
    list_values,
    processor_values,
    report_values,
    resumption_fields,
    snapshot_values,
)


def truncation(bad: BadFrames) -> None:
    """Fields that the end of the payload cuts short."""
    whole = f"8002 00000001 01 8003 00000008 {1:016x}".replace(" ", "")
    for length in [1, 2, 5, 6, 8, 12, 20]:
        bad.payload(
            f"submit-cut-{length}",
            f"the payload ends {length} bytes into its fields",
            wire(0x10, 1, whole[: 2 * length]),
            CUT,
        )
    bad.payload(
        "value-beyond-payload",
        "the value says it is longer than what is left",
        wire(0x10, 1, MODE, "8003 00000009 0000000000000001"),
        CUT,
    )
    bad.payload(
        "value-length-most",
        "a length that overflows 32-bit sums: the bound must not wrap",
        wire(0x10, 1, MODE, "8003 ffffffff 0000000000000001"),
        CUT,
    )
    bad.payload("value-length-wraps", "6 + 0xfffffffa is 0 in 32 bits", wire(0x06, 1, "0001 fffffffa 00000001"), CUT)
    bad.payload(
        "unknown-value-cut",
        "a field to skip must be complete as well",
        wire(0x06, 1, tlv(1, "00000001"), "0009 00000002 00"),
        CUT,
    )


def tag_order(bad: BadFrames) -> None:
    """Tags that do not rise."""
    bad.payload("tag-twice", "a field comes twice", wire(0x06, 1, tlv(1, "00000001"), tlv(1, "00000001")), ORDER, 1)
    bad.payload("tag-falls", "tags fall", wire(0x10, 1, IMAGE, MODE), ORDER, 0x8002)
    bad.payload(
        "tag-falls-unknown",
        "unknown tags must rise as well",
        wire(0x06, 1, tlv(1, "00000001"), tlv(9), tlv(8)),
        ORDER,
        8,
    )
    bad.payload(
        "tag-twice-unknown", "an unknown tag comes twice", wire(0x06, 1, tlv(1, "00000001"), tlv(9), tlv(9)), ORDER, 9
    )
    bad.payload("tag-zero-twice", "even tag 0", wire(0x06, 1, tlv(0), tlv(0), tlv(1, "00000001")), ORDER, 0)
    bad.payload(
        "critical-before-plain",
        "tags are compared as 16 bits: 0x8002 is above 0x0009",
        wire(0x10, 1, MODE, tlv(9), IMAGE),
        ORDER,
        9,
    )
    bad.payload("hello-tag-falls", "in HELLO too", wire(0x01, 0, SECOND, FIRST, FOURTH), ORDER, 1, **BEFORE)


def critical(bad: BadFrames) -> None:
    """Critical fields that the receiver does not know."""
    for name, kind, number, fine, to in [
        ("hello", 0x01, 0, [FIRST, SECOND, FOURTH], "worker"),
        ("goaway", 0x04, 0, [tlv(1, "01")], "client"),
        ("error", 0x05, 0, [tlv(1, "0015")], "worker"),
        ("window", 0x06, 1, [tlv(1, "00000001")], "worker"),
        ("accepted", 0x20, 1, [], "client"),
        ("started", 0x21, 1, [], "client"),
        ("result", 0x23, 1, [tlv(1, "01")], "client"),
        ("paused", 0x24, 1, [tlv(1, "00" * 8), tlv(2, "00" * 8)], "client"),
        ("want-image", 0x25, 1, [], "client"),
    ]:
        bad.payload(
            f"critical-{name}",
            "a critical field that the receiver does not know",
            wire(kind, number, *fine, tlv(0x8001, "00")),
            CRITICAL,
            0x8001,
            to=to,
            hello=name != "hello",
        )
    bad.payload(
        "critical-extend",
        "a critical field that the receiver does not know",
        wire(0x14, 1, tlv(0x8001, "00" * 8), tlv(0x8002)),
        CRITICAL,
        0x8002,
    )


TO_CLIENT = ("GOAWAY", "ACCEPTED", "STARTED", "RESULT", "PAUSED", "WANT_IMAGE", "ANSWER", "STOPPED")


def fixed_sizes(bad: BadFrames) -> None:
    """Every field of a fixed size, one byte less and one more."""
    fixed = {
        "HELLO": {1: 2, 2: 4, 4: 4, 5: 4, 6: 8, 7: 8, 8: 8, 9: 8, 10: 4},
        "GOAWAY": {1: 1, 2: 4},
        "ERROR": {1: 2, 2: 1, 3: 2, 4: 8, 5: 8, 6: 1, 9: 8},
        "WINDOW": {1: 4},
        "SUBMIT": {0x8002: 1, 0x8003: 8, 0x8004: 8, 0x8005: 8, 0x8007: 8, 0x8008: 8, 0x8009: 8, 0x800A: 1, 0x800B: 1}
        | {0x800C: 8, 0x800D: 8, 0x800E: 8, 0x800F: 8, 0x8010: 1, 0x8011: 1, 0x8012: 1, 0x8018: 1, 0x8019: 1}
        | {0x801A: 32, 0x801B: 9, 0x801C: 32, 0x8021: 1, 0x8022: 8, 0x8023: 8, 0x8024: 1, 0x8025: 8}
        | {0x802A: 1, 0x802B: 8},
        "EXTEND": {0x8001: 8},
        "ACCEPTED": {1: 4, 2: 8, 3: 8},
        "STARTED": {1: 8, 2: 8, 3: 8, 4: 8},
        "RESULT": {
            1: 1,
            2: 4,
            3: 1,
            4: 4,
            5: 8,
            6: 8,
            8: 8,
            9: 8,
            10: 1,
            12: 1,
            14: 8,
            15: 8,
            16: 8,
            17: 40,
            18: 8,
            19: 8,
            20: 8,
            21: 144,
            22: 204,
            23: 8,
            24: 8,
            25: 1,
            26: 4,
            27: 8,
            31: 512,
            32: 32,
            33: 32,
            34: 1,
            35: 8,
            38: 8,
        },
        "PAUSED": {1: 8, 2: 8, 3: 144, 4: 204},
        "WANT_IMAGE": {1: 4},
        "QUERY": {0x8001: 1, 0x8002: 8},
        "ANSWER": {1: 1, 2: 1, 18: 8, 19: 4, 20: 4, 21: 4, 22: 4, 23: 4, 24: 4, 25: 8, 26: 8, 27: 8, 28: 8}
        | {29: 1, 30: 1, 31: 1},
        "STOP": {0x8002: 1},
        "STOPPED": {2: 1},
    }
    for name, tags in fixed.items():
        for tag, right in tags.items():
            for length in [right - 1, right + 1]:
                ahead = [outcome_owner(tag)] if name == "RESULT" and tag != 1 else []
                to = "client" if name in TO_CLIENT else "worker"
                number = 1 if 0x10 <= TYPE[name] < 0x30 or name == "WINDOW" else 0
                bad.payload(
                    f"size-{name.lower()}-{tag:04x}-{length}",
                    f"{right} bytes, not {length}",
                    wire(TYPE[name], number, *ahead, tlv(tag, "01" * length)),
                    SIZE,
                    tag,
                    to=to,
                    hello=name != "HELLO",
                )


def other_sizes(bad: BadFrames) -> None:
    """Fields of other sizes, and opaque payloads."""
    bad.payload("size-label", "129 bytes of label", wire(0x10, 1, tlv(1, "61" * 129), MODE, IMAGE), SIZE, 1)
    bad.payload(
        "size-label-characters",
        "65 characters of 2 bytes are 130 bytes",
        wire(0x10, 1, tlv(1, "c3a9" * 65), MODE, IMAGE),
        SIZE,
        1,
    )
    bad.payload(
        "size-software",
        "129 bytes of software",
        wire(1, 0, FIRST, SECOND, tlv(3, "61" * 129), FOURTH),
        SIZE,
        3,
        **BEFORE,
    )
    bad.payload("size-error-text", "513 bytes of text", wire(5, 0, tlv(1, "0015"), tlv(7, "61" * 513)), SIZE, 7)
    bad.payload(
        "size-result-text", "513 bytes of text", wire(0x23, 1, tlv(1, "0e"), tlv(11, "61" * 513)), SIZE, 11, to="client"
    )
    bad.payload(
        "size-meter-reason",
        "513 bytes of reason",
        wire(0x23, 1, tlv(1, "01"), tlv(13, "61" * 513)),
        SIZE,
        13,
        to="client",
    )
    bad.payload(
        "size-instruction",
        "16 bytes of instruction",
        wire(0x23, 1, tlv(1, "05"), tlv(7, "90" * 16)),
        SIZE,
        7,
        to="client",
    )
    bad.payload(
        "size-registers", "not a multiple of 9", wire(0x10, 1, MODE, IMAGE, tlv(0x8006, "00" * 10)), SIZE, 0x8006
    )
    eighteen = "".join(f"{n:02x}{0:016x}" for n in range(18))
    bad.payload(
        "size-registers-18",
        "18 entries, one too many; size is judged before the values",
        wire(0x10, 1, MODE, IMAGE, tlv(0x8006, eighteen)),
        SIZE,
        0x8006,
    )
    bad.payload(
        "size-modes-odd",
        "modes come in pairs of bytes",
        wire(1, 0, FIRST, SECOND, FOURTH, tlv(11, "010101")),
        SIZE,
        11,
        to="client",
        **BEFORE,
    )
    bad.payload(
        "size-modes-257",
        "257 modes, one too many",
        wire(1, 0, FIRST, SECOND, FOURTH, tlv(11, "0101" * 257)),
        SIZE,
        11,
        to="client",
        **BEFORE,
    )
    for name, length in [("PING", 7), ("PING", 9), ("PONG", 0), ("PONG", 16)]:
        bad.payload(f"size-{name.lower()}-{length}", "exactly 8 bytes", wire(TYPE[name], 0, "00" * length), SIZE)
    bad.payload("size-cancel", "CANCEL carries nothing", wire(0x13, 1, "00"), SIZE)


def texts(bad: BadFrames) -> None:
    """Bytes that are not UTF-8."""
    for name, text in {
        "ff": "ff",
        "lone-continuation": "80",
        "cut-short": "61c3",
        "overlong": "c0af",
        "surrogate": "eda080",
        "above-10ffff": "f4908080",
    }.items():
        bad.payload(f"text-{name}", "not UTF-8", wire(0x10, 1, tlv(1, text), MODE, IMAGE), TEXT, 1)
    bad.payload("text-software", "not UTF-8", wire(1, 0, FIRST, SECOND, tlv(3, "6bff"), FOURTH), TEXT, 3, **BEFORE)
    bad.payload("text-error", "not UTF-8", wire(5, 0, tlv(1, "0015"), tlv(7, "fe")), TEXT, 7, to="client")
    bad.payload("text-result", "not UTF-8", wire(0x23, 1, tlv(1, "0e"), tlv(11, "fe")), TEXT, 11, to="client")
    bad.payload("text-meter-reason", "not UTF-8", wire(0x23, 1, tlv(1, "01"), tlv(13, "fe")), TEXT, 13, to="client")


def values(bad: BadFrames) -> None:
    """Values outside their table."""
    for limit in [0, 4095, MIB + 1, MOST32]:
        bad.payload(
            f"value-frame-limit-{limit}",
            "4096 to 1,048,576",
            wire(1, 0, FIRST, tlv(2, f"{limit:08x}"), FOURTH),
            VALUE,
            2,
            **BEFORE,
        )
    bad.payload(
        "value-window-hello",
        "a client's window is at most 2^31-1",
        wire(1, 0, FIRST, SECOND, tlv(4, "80000000")),
        VALUE,
        4,
        **BEFORE,
    )
    bad.payload(
        "value-meter-hello",
        "meters are 0, 1 and 2",
        wire(1, 0, FIRST, SECOND, FOURTH, tlv(11, "0103")),
        VALUE,
        11,
        to="client",
        **BEFORE,
    )
    for text in ["00", "03", "ff"]:
        bad.payload(f"value-reason-{text}", "reasons are 1 and 2", wire(4, 0, tlv(1, text)), VALUE, 1, to="client")
    bad.payload("value-retryable", "a flag is 0 or 1", wire(5, 1, tlv(1, "004a"), tlv(6, "02")), VALUE, 6, to="client")
    for text in ["00000000", "80000000", "ffffffff"]:
        bad.payload(f"value-credit-{text}", "credit is 1 to 2^31-1", wire(6, 1, tlv(1, text)), VALUE, 1)
    bad.payload("value-port-writes", "a flag is 0 or 1", wire(0x10, 1, MODE, IMAGE, tlv(0x800A, "02")), VALUE, 0x800A)
    bad.payload("value-input", "a flag is 0 or 1", wire(0x10, 1, MODE, IMAGE, tlv(0x800B, "ff")), VALUE, 0x800B)
    for name, numbers in {"rip": [16], "unknown": [18], "most": [255], "twice": [3, 3], "fall": [3, 2]}.items():
        text = "".join(f"{n:02x}{1:016x}" for n in numbers)
        bad.payload(
            f"value-registers-{name}",
            "known numbers but rip, rising strictly",
            wire(0x10, 1, MODE, IMAGE, tlv(0x8006, text)),
            VALUE,
            0x8006,
        )
    for text in ["00", "10", "ff"]:
        bad.payload(
            f"value-outcome-{text}",
            "the list of outcomes is closed",
            wire(0x23, 1, tlv(1, text)),
            VALUE,
            1,
            to="client",
        )
    for text in ["00", "06", "ff"]:
        bad.payload(
            f"value-canceller-{text}",
            "cancellers are 1 to 5",
            wire(0x23, 1, tlv(1, "0c"), tlv(10, text)),
            VALUE,
            10,
            to="client",
        )
    for text in ["00", "03"]:
        bad.payload(
            f"value-meter-{text}",
            "meters are 1 and 2; not counted is said by absence",
            wire(0x23, 1, tlv(1, "01"), tlv(12, text)),
            VALUE,
            12,
            to="client",
        )


def missing(bad: BadFrames) -> None:
    """Required fields that are absent."""
    bad.payload("missing-hello-all", "of several the lowest tag", wire(1, 0), MISSING, 1, **BEFORE)
    bad.payload("missing-version", "required", wire(1, 0, SECOND, FOURTH), MISSING, 1, **BEFORE)
    bad.payload("missing-frame-limit", "required", wire(1, 0, FIRST, FOURTH), MISSING, 2, **BEFORE)
    bad.payload("missing-window", "required", wire(1, 0, FIRST, SECOND), MISSING, 4, to="client", **BEFORE)
    bad.payload("missing-reason", "required", wire(4, 0, tlv(2, "00000001")), MISSING, 1, to="client")
    bad.payload("missing-error-code", "required", wire(5, 0, tlv(7, "6f6f7073")), MISSING, 1)
    bad.payload("missing-credit", "required", wire(6, 1), MISSING, 1)
    bad.payload("missing-submit-all", "of several the lowest tag", wire(0x10, 1), MISSING, 0x8002)
    bad.payload(
        "missing-mode",
        "required; the plain field 0x0002 does not stand in for 0x8002",
        wire(0x10, 1, tlv(2, "01"), IMAGE),
        MISSING,
        0x8002,
    )
    bad.payload("missing-image-bytes", "required", wire(0x10, 1, MODE), MISSING, 0x8003)
    bad.payload("missing-outcome", "required", wire(0x23, 1), MISSING, 1, to="client")
    for number, tag, part in [
        (2, 2, []),
        (3, 3, [tlv(6, "00" * 8)]),
        (3, 6, [tlv(3, "0e")]),
        (3, 3, []),
        (5, 7, [tlv(6, "00" * 8)]),
        (12, 10, []),
        (13, 8, []),
        (14, 11, []),
        (15, 33, []),
        *((n, 8, [tlv(9, "00" * 8)]) for n in range(6, 12)),
        *((n, 9, [tlv(8, "00" * 8)]) for n in range(6, 12)),
    ]:
        lone = "" if part else "-alone"
        bad.payload(
            f"missing-outcome-{number}-{tag:04x}{lone}",
            "required by this outcome (section 5)",
            wire(0x23, 1, tlv(1, f"{number:02x}"), *part),
            MISSING,
            tag,
            to="client",
        )


def check_order(bad: BadFrames) -> None:
    """Several faults in one payload: the order of the checks."""
    bad.payload(
        "order-cut-before-order", "a field that falls and is cut short", wire(0x10, 1, IMAGE, "8002 00000002 01"), CUT
    )
    bad.payload(
        "order-order-before-critical",
        "an unknown critical field that falls",
        wire(0x10, 1, MODE, IMAGE, tlv(0x8001)),
        ORDER,
        0x8001,
    )
    bad.payload(
        "order-first-critical",
        "of two faults in two fields the first is told",
        wire(0x23, 1, tlv(1, "01"), tlv(0x9000), tlv(0x8000)),
        CRITICAL,
        0x9000,
        to="client",
    )
    bad.payload(
        "order-order-before-size",
        "a field that comes twice and has a wrong size",
        wire(6, 1, tlv(1, "00000001"), tlv(1)),
        ORDER,
        1,
    )
    bad.payload(
        "order-size-before-text", "too long and not UTF-8", wire(0x10, 1, tlv(1, "ff" * 129), MODE, IMAGE), SIZE, 1
    )
    bad.payload(
        "order-field-by-field",
        "a bad value comes before a later cut",
        wire(1, 0, FIRST, tlv(2, "00000000"), "0004"),
        VALUE,
        2,
        **BEFORE,
    )
    bad.payload(
        "order-value-before-missing",
        "a bad value and a missing field",
        wire(0x10, 1, MODE, tlv(0x800B, "02")),
        VALUE,
        0x800B,
    )
    bad.payload(
        "order-fatal-before-refusal",
        "a SUBMIT with a wrong size before an unknown critical field is malformed, not refused",
        wire(0x10, 1, tlv(0x8002, "0101"), IMAGE, tlv(0x8042)),
        SIZE,
        0x8002,
    )


def outcome_owner(tag: int) -> str:
    """The outcome field of a RESULT to which this tag belongs, so that the tag is not a stray one."""
    owner = {2: 2, 3: 3, 4: 3, 5: 3, 6: 3, 7: 5, 8: 6, 9: 6, 10: 12, 11: 14, 33: 15}.get(tag, 1)
    return tlv(1, f"{owner:02x}")


FIELD_PARTS = [truncation, tag_order, critical, fixed_sizes, other_sizes, texts, values, missing, check_order]
FIELD_PARTS += [list_sizes, list_values, report_values, processor_values, resumption_fields, snapshot_values]
FIELD_PARTS += [wrong_programs]
FIELD_PARTS += [wrong_questions, wrong_answers, wrong_records, wrong_detached]
