# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Wrong lists, windows, records and flags of SUBMIT and RESULT, and wrong PAUSED and EXTEND."""

from __future__ import annotations

from generator.bad_frames import IMAGE, MISSING, MODE, SIZE, VALUE, BadFrames
from generator.encoder import exit_record, tlv, wire

# Lists of SUBMIT whose entries begin with a register's number: tag, bytes of an entry, how many registers there are.
NUMBERED = {"segments": (0x8013, 17, 8), "tables": (0x8014, 11, 2), "controls": (0x8015, 9, 6)}
RANGES = {"pieces": (0x8016, 1024), "dumps": (0x8017, 64)}


def submit(*fields: str) -> str:
    return wire(0x10, 1, MODE, IMAGE, *fields)


def numbers(size: int, *entries: int) -> str:
    return " ".join(f"{number:02x}" + "00" * (size - 1) for number in entries)


def list_sizes(bad: BadFrames) -> None:
    """Lists that are no whole number of entries, or too long."""
    for name, (tag, size, count) in NUMBERED.items():
        for length in [1, size - 1, size + 1]:
            bad.payload(f"size-{name}-{length}", f"entries of {size} bytes", submit(tlv(tag, "00" * length)), SIZE, tag)
        bad.payload(
            f"size-{name}-{count + 1}-entries",
            "one entry too many; size is judged before the values",
            submit(tlv(tag, numbers(size, *range(count + 1)))),
            SIZE,
            tag,
        )
    for name, (tag, count) in RANGES.items():
        for length in [1, 8, 15, 17]:
            bad.payload(f"size-{name}-{length}", "entries of 16 bytes", submit(tlv(tag, "00" * length)), SIZE, tag)
        bad.payload(
            f"size-{name}-{count + 1}-entries",
            "one entry too many",
            submit(tlv(tag, "00" * 16 * (count + 1))),
            SIZE,
            tag,
        )
    for name, tag, sizes in [
        ("code-window", 28, [0, 7, 137]),
        ("stack-window", 29, [0, 7, 521]),
        ("exit-log", 30, [1, 31, 33, 33 * 32]),
    ]:
        for length in sizes:
            bad.payload(
                f"size-{name}-{length}",
                "8 to 136 bytes, 8 to 520 bytes, at most 32 records of 32 bytes",
                wire(0x23, 1, tlv(1, "01"), tlv(tag, "01" * length)),
                SIZE,
                tag,
                to="client",
            )


def list_values(bad: BadFrames) -> None:
    """Numbers that are unknown or do not rise."""
    for name, (tag, size, count) in NUMBERED.items():
        wrong = {"unknown": [count], "most": [255], "twice": [1, 1], "fall": [1, 0], "unknown-last": [0, count]}
        for case, entries in wrong.items():
            bad.payload(
                f"value-{name}-{case}",
                f"numbers are 0 to {count - 1} and rise strictly",
                submit(tlv(tag, numbers(size, *entries))),
                VALUE,
                tag,
            )
    for tag, name, wrong_values in [
        (0x8010, "meter", ["00", "03", "ff"]),
        (0x8011, "pause", ["02", "ff"]),
        (0x8012, "report", ["20", "40", "80", "3f", "ff"]),
        (0x8018, "trace", ["02", "80"]),
        (0x8019, "deterministic", ["02", "10"]),
        (0x8028, "board", ["02", "ff"]),
        (0x8029, "rom", ["02", "ff"]),
    ]:
        for value in wrong_values:
            bad.payload(
                f"value-submit-{name}-{value}",
                "meters are 1 and 2, boards and flags 0 and 1, what to report a sum up to 31",
                submit(tlv(tag, value)),
                VALUE,
                tag,
            )


def snapshot_values(bad: BadFrames) -> None:
    """Points at which no snapshot can be taken."""
    for name, value in [("kind-0", "00" + "00" * 8), ("kind-4", "04" + "00" * 8), ("steps-0", "02" + "00" * 8)]:
        bad.payload(
            f"value-submit-snapshot-{name}",
            "kinds are 1 to 3, and steps at least 1",
            submit(tlv(0x801B, value)),
            VALUE,
            0x801B,
        )


def report_values(bad: BadFrames) -> None:
    """Exit records of unknown kinds."""
    right = exit_record((5, 0, 0, 0, 0, 0))[0]
    for kind in [0, 10, 255]:
        record = exit_record((kind, 0, 0, 0, 0, 0))[0]
        for case, log in {"": record, "-last": f"{right} {record}"}.items():
            bad.payload(
                f"value-exit-log-{kind}{case}",
                "kinds are 1 to 9",
                wire(0x23, 1, tlv(1, "01"), tlv(30, log)),
                VALUE,
                30,
                to="client",
            )


def processor_values(bad: BadFrames) -> None:
    """States of vCPUs that are none, and lists that are cut short or too long."""
    entry, registers = "00" * 17, "00" * 145
    for name, value in [("04", "04" + "00" * 16), ("ff-last", f"{entry} ff" + "00" * 16)]:
        answer = wire(0x23, 1, tlv(1, "01"), tlv(39, value))
        bad.payload(f"value-processors-{name}", "states are 0 to 3", answer, VALUE, 39, to="client")
    for name, value in [("02", "02" + "00" * 144), ("ff-last", f"{registers} ff" + "00" * 144)]:
        answer = wire(0x23, 1, tlv(1, "01"), tlv(40, value))
        bad.payload(f"value-processor-registers-{name}", "known is 0 or 1", answer, VALUE, 40, to="client")
    for tag, one in [(39, entry), (40, registers)]:
        for name, value in [("short", one[2:]), ("long", one + "00"), ("many", one * 17)]:
            answer = wire(0x23, 1, tlv(1, "01"), tlv(tag, value))
            bad.payload(f"size-result-{tag}-{name}", "at most 16 whole entries", answer, SIZE, tag, to="client")


def resumption_fields(bad: BadFrames) -> None:
    """PAUSED and EXTEND without what they need."""
    bad.payload("missing-paused-all", "of several the lowest tag", wire(0x24, 1), MISSING, 1, to="client")
    bad.payload("missing-paused-steps", "required", wire(0x24, 1, tlv(2, "00" * 8)), MISSING, 1, to="client")
    bad.payload("missing-paused-keep", "required", wire(0x24, 1, tlv(1, "00" * 8)), MISSING, 2, to="client")
    bad.payload("missing-extend", "required", wire(0x14, 1), MISSING, 0x8001)
    bad.payload(
        "missing-extend-plain",
        "the plain field 0x0001 does not stand in for it",
        wire(0x14, 1, tlv(1, "00" * 8)),
        MISSING,
        0x8001,
    )
