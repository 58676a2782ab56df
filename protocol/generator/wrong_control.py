# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""QUERY, ANSWER, STOP, STOPPED, and what goes with the queue: frames that are wrong (sections 3.6, 3.17 and 3.18)."""

from __future__ import annotations

from generator.bad_frames import CRITICAL, IMAGE, MISSING, MODE, SIZE, TEXT, VALUE, BadFrames
from generator.control import REPORT, UNNAMED, WORKER, answer, job
from generator.encoder import SAMPLE, TENANT, Json, counted, job_list, tlv, wire
from generator.values import MOST64


def wrong_questions(bad: BadFrames) -> None:
    """QUERY and STOP."""
    what = tlv(0x8001, "03")
    for value in ["00", "06", "ff"]:
        bad.payload(f"value-query-{value}", "1 to 5", wire(0x30, 0, tlv(0x8001, value)), VALUE, 0x8001)
    for name, topic, after in [
        ("worker", "01", "00" * 8),
        ("counters", "04", "00" * 8),
        ("tenants", "02", "0000000100000000"),
        ("tenants-most", "02", "ff" * 8),
    ]:
        bad.payload(
            f"value-query-after-{name}",
            "after is of tenants and jobs, and users' numbers have 4 bytes",
            wire(0x30, 0, tlv(0x8001, topic), tlv(0x8002, after)),
            VALUE,
            0x8002,
        )
    bad.payload("missing-query-all", "of several the lowest tag", wire(0x30, 0), MISSING, 0x8001)
    bad.payload("missing-query-what", "required", wire(0x30, 0, tlv(0x8002, "00" * 8)), MISSING, 0x8001)
    bad.payload("critical-query", "a critical field", wire(0x30, 0, what, tlv(0x8003)), CRITICAL, 0x8003)
    bad.payload(
        "order-query-critical-before-after",
        "whether fields go together is looked at behind the last",
        wire(0x30, 0, tlv(0x8001, "01"), tlv(0x8002, "00" * 8), tlv(0x8003)),
        CRITICAL,
        0x8003,
    )
    for length in [0, 1, 7, 9, 513 * 8]:
        bad.payload(
            f"size-stop-jobs-{length}",
            "1 to 512 ids of 8 bytes",
            wire(0x32, 0, tlv(0x8001, "01" * length)),
            SIZE,
            0x8001,
        )
    for value in ["00", "02", "ff"]:
        bad.payload(f"value-stop-worker-{value}", "there is only 1", wire(0x32, 0, tlv(0x8002, value)), VALUE, 0x8002)
    bad.payload(
        "value-stop-both", "jobs or the worker", wire(0x32, 0, tlv(0x8001, "00" * 8), tlv(0x8002, "01")), VALUE, 0x8002
    )
    bad.payload("missing-stop", "jobs or the worker", wire(0x32, 0), MISSING, 0x8001)
    plain, more = wire(0x32, 0, tlv(1, "00" * 8)), wire(0x32, 0, tlv(0x8001, "00" * 8), tlv(0x8004))
    bad.payload("missing-stop-plain", "the plain field does not stand in", plain, MISSING, 0x8001)
    bad.payload("critical-stop", "a critical field", more, CRITICAL, 0x8004)
    for value in ["0a", "ff"]:
        bad.payload(
            f"value-submit-priority-{value}", "0 to 9", wire(0x10, 1, MODE, IMAGE, tlv(0x8024, value)), VALUE, 0x8024
        )
    bad.payload("size-limit-name", "65 bytes", wire(5, 1, tlv(1, "0050"), tlv(8, "61" * 65)), SIZE, 8, to="client")
    bad.payload("text-limit-name", "not UTF-8", wire(5, 1, tlv(1, "0050"), tlv(8, "ff")), TEXT, 8, to="client")


def wrong_answers(bad: BadFrames) -> None:
    """ANSWER and STOPPED, but for their records."""

    def wrong(name: str, why: str, kind: int, fields: list[str], error: str, tag: int) -> None:
        bad.payload(name, why, wire(kind, 0, *fields), error, tag, to="client")

    for value in ["00", "06", "ff"]:
        wrong(f"value-answer-{value}", "1 to 5", 0x31, [tlv(1, value)], VALUE, 1)
    wrong("missing-answer-all", "of several the lowest tag", 0x31, [], MISSING, 1)
    wrong("missing-answer-what", "required", 0x31, [tlv(2, "00"), tlv(48)], MISSING, 1)
    wrong("missing-answer-tenants-more", "required", 0x31, [tlv(1, "02"), tlv(48)], MISSING, 2)
    wrong("missing-answer-tenants", "required, if there are none too", 0x31, [tlv(1, "02"), tlv(2, "00")], MISSING, 48)
    wrong("missing-answer-jobs", "tenants do not stand in", 0x31, [tlv(1, "03"), tlv(2, "00"), tlv(48)], MISSING, 49)
    wrong("missing-answer-samples", "required", 0x31, [tlv(1, "04"), tlv(51)], MISSING, 50)
    wrong("missing-answer-histograms", "required", 0x31, [tlv(1, "04"), tlv(50)], MISSING, 51)
    whole = wire_fields(answer(WORKER, **REPORT))
    for tag in range(16, 32):
        left = [text for number, text in whole.items() if number != tag]
        wrong(f"missing-answer-{tag:04x}", "required of a worker", 0x31, left, MISSING, tag)
    for tag in [29, 30]:
        fields = [tlv(tag, "02") if number == tag else text for number, text in whole.items()]
        wrong(f"value-answer-{tag:04x}", "a flag is 0 or 1", 0x31, fields, VALUE, tag)
    for tag, name in [(16, "software"), (17, "backend")]:
        wrong(f"size-answer-{name}", "129 bytes", 0x31, [tlv(1, "01"), tlv(tag, "61" * 129)], SIZE, tag)
        wrong(f"text-answer-{name}", "not UTF-8", 0x31, [tlv(1, "01"), tlv(tag, "ff")], TEXT, tag)
    wrong("value-answer-more", "a flag is 0 or 1", 0x31, [tlv(1, "02"), tlv(2, "02")], VALUE, 2)
    wrong("critical-answer", "a critical field", 0x31, [tlv(1, "01"), tlv(0x8001)], CRITICAL, 0x8001)
    for length in [0, 513]:
        wrong(f"size-stopped-{length}", "1 to 512 answers", 0x33, [tlv(1, "01" * length)], SIZE, 1)
    for value in ["00", "03", "0100"]:
        wrong(f"value-stopped-{value}", "stopped or unknown", 0x33, [tlv(1, value)], VALUE, 1)
    wrong("value-stopped-drains", "a flag is 0 or 1", 0x33, [tlv(2, "02")], VALUE, 2)
    wrong("value-stopped-both", "jobs or the worker", 0x33, [tlv(1, "01"), tlv(2, "00")], VALUE, 2)
    wrong("missing-stopped", "jobs or the worker", 0x33, [], MISSING, 1)
    wrong("critical-stopped", "a critical field", 0x33, [tlv(2, "00"), tlv(0x8002)], CRITICAL, 0x8002)


def wire_fields(made: Json) -> dict[int, str]:
    """The fields of a message, by tag."""
    payload, out = bytes.fromhex(made["hex"])[12:], dict[int, str]()
    while payload:
        size = 6 + int.from_bytes(payload[2:6], "big")
        out[int.from_bytes(payload[:2], "big")] = payload[:size].hex()
        payload = payload[size:]
    return out


def wrong_records(bad: BadFrames) -> None:
    """Records of an ANSWER."""

    def wrong(name: str, why: str, tag: int, value: str, error: str) -> None:
        topic = {48: "02", 49: "03", 50: "04", 51: "04"}[tag]
        fields = [tlv(1, topic)] + ([tlv(2, "00")] if tag < 50 else []) + [tlv(tag, value)]
        bad.payload(name, why, wire(0x31, 0, *fields), error, tag, to="client")

    for length in [1, 79, 81]:
        wrong(f"size-tenants-{length}", "records of 80 bytes", 48, "00" * length, SIZE)
    rows = [[n, *[0] * 11] for n in range(257)]
    wrong("size-tenants-257", "one too many", 48, counted(TENANT)(rows)[0], SIZE)
    for name, numbers in {"twice": [5, 5], "fall": [5, 4], "behind-unnamed": [UNNAMED, 0]}.items():
        rows = [[n, *[0] * 11] for n in numbers]
        wrong(f"value-tenants-{name}", "users rise", 48, counted(TENANT)(rows)[0], VALUE)

    one = job_list([job(1, "abc")])[0]
    for length in [1, 43, 44, 46]:
        wrong(f"size-jobs-{length}", "a record ends early", 49, one.replace(" ", "")[: 2 * length], SIZE)
    wrong("size-jobs-second", "the second ends early", 49, f"{one} {job_list([job(2)])[0][:-2]}", SIZE)
    wrong("size-jobs-257", "one too many", 49, job_list([job(n) for n in range(257)])[0], SIZE)
    longest = job_list([job(n, "t" * 128) for n in range(256)])[0]
    wrong("size-jobs-most", "one byte too many", 49, longest + "00", SIZE)
    wrong("value-jobs-title", "129 bytes of title", 49, job_list([job(1, "t" * 129)])[0], VALUE)
    broken = job_list([job(1, "ab")])[0][:-4] + "c328"
    wrong("text-jobs-title", "not UTF-8", 49, broken, TEXT)
    strange = ([2, 0, 0, 9, 9, 9, 0, 0, 0], "")
    wrong("text-jobs-before-value", "text comes before values", 49, f"{job_list([strange])[0]} {broken}", TEXT)
    wrong("size-jobs-before-text", "sizes come before text", 49, f"{broken} 00", SIZE)
    for name, place, numbers in [("state", 3, [0, 5, 255]), ("mode", 4, [0, 6, 255]), ("priority", 5, [10, 255])]:
        for number in numbers:
            row, title = job(1)
            made = job_list([([*row[:place], number, *row[place + 1 :]], title)])[0]
            wrong(f"value-jobs-{name}-{number}", "as the tables say", 49, made, VALUE)
    for name, ids in {"twice": [5, 5], "fall": [5, 4], "fall-last": [0, MOST64, 7]}.items():
        wrong(f"value-jobs-{name}", "ids rise", 49, job_list([job(n) for n in ids])[0], VALUE)

    for length in [1, 11, 13]:
        wrong(f"size-samples-{length}", "records of 12 bytes", 50, "01" * length, SIZE)
    many = counted(SAMPLE)([[1, n, 0] for n in range(513)])[0]
    wrong("size-samples-513", "one too many", 50, many, SIZE)
    falls = {"twice": [[1, 1, 0], [1, 1, 0]], "fall": [[2, 0, 0], [1, 9, 0]], "labels": [[2, 2, 0], [2, 1, 0]]}
    for name, rows in falls.items():
        wrong(f"value-samples-{name}", "kinds and labels rise, unknown ones too", 50, counted(SAMPLE)(rows)[0], VALUE)

    nine = "00" * 8 * 9
    for name, value in {"1": "00", "11": "00" * 11, "counts": "0001 0009" + "00" * 8 + nine[2:]}.items():
        wrong(f"size-histograms-{name}", "a record ends early", 51, value, SIZE)
    wrong("size-histograms-17", "one too many", 51, "".join(f"{n:04x}0000{0:016x}" for n in range(3, 20)), SIZE)
    sixty_four = "".join(f"{n:04x}0040{0:016x}" + "00" * 512 for n in range(3, 19))
    wrong("size-histograms-most", "one byte too many", 51, sixty_four + "00", SIZE)
    for count in [0, 8, 10]:
        value = f"0001 {count:04x}" + "00" * 8 * (count + 1)
        wrong(f"value-histograms-{count}", "the bounds are the same everywhere: nine counts", 51, value, VALUE)
    wrong("value-histograms-65", "at most 64 counts", 51, "0009 0041" + "00" * 8 * 66, VALUE)
    for name, kinds in {"twice": [1, 1], "fall": [2, 1], "fall-unknown": [9, 8]}.items():
        value = " ".join(f"{n:04x} 0009" + "00" * 8 + nine for n in kinds)
        wrong(f"value-histograms-{name}", "kinds rise", 51, value, VALUE)
