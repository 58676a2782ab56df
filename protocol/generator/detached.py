# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Detached jobs: frames that are right, and frames that are wrong (sections 3.6, 3.9, 3.17 to 3.19)."""

from __future__ import annotations

from typing import Any

from generator.bad_frames import CRITICAL, IMAGE, MISSING, MODE, SIZE, TEXT, VALUE, BadFrames
from generator.control import UNNAMED, answer, query
from generator.encoder import Json, detached_list, message, opaque, tlv, wire
from generator.right_reports import RightFrames
from generator.values import HI, HI_DIGEST, MOST32, MOST64

DETACHED = 5
SUBMIT: dict[str, Any] = {"mode": 1, "image_bytes": len(HI), "image_digest": HI_DIGEST, "detach": True}
NOON = 1_790_000_000
# id, user, state, outcome, run, accepted_at, ended_at, output_bytes; label, key
WAITING = ([3, 1000, 1, 0, 0, NOON, 0, 0], "", "")
RUNNING = ([4, 1000, 2, 0, 2, NOON, 0, 70_000], "/usr/bin/sort", "")
ENDED = ([9, 1000, 3, 2, 1, NOON, NOON + 60, 12], "grading", "week-7/alice")
TOLD, ASKED, DRAIN, FORGOTTEN = 2, 1, 3, 4


def attach(number: int, id: int, **fields: Any) -> Json:
    return message("ATTACH", number, id=id, **fields)


def attached(number: int, state: int, run: int, **fields: Any) -> Json:
    return message("ATTACHED", number, state=state, run=run, **fields)


def leave(number: int) -> Json:
    return opaque("LEAVE", job=number)


def left(number: int, reason: int) -> Json:
    return message("LEFT", number, reason=reason)


def listed(*rows: tuple[list[int], str, str], more: bool = False) -> Json:
    return answer(DETACHED, more=more, detached_list=list(rows))


def kept(number: int, label: str = "", key: str = "") -> tuple[list[int], str, str]:
    return [number, 1000, 1, 0, 0, 0, 0, 0], label, key


def forget(*ids: int) -> Json:
    return message("STOP", forget=list(ids))


def forgotten(*answers: int) -> Json:
    return message("STOPPED", forgotten=list(answers))


def submissions(frames: RightFrames) -> None:
    """SUBMIT, ACCEPTED, ATTACH, LEAVE, ATTACHED, LEFT."""
    frames.add("submit-detach", "the worker takes the job over", message("SUBMIT", 7, **SUBMIT))
    frames.add("submit-detach-key", "under a key", message("SUBMIT", 7, **SUBMIT, key="week-7/alice"))
    frames.add("submit-detach-key-most", "the longest key", message("SUBMIT", 7, **SUBMIT, key="é" * 64))
    frames.add(
        "submit-detach-not",
        "said, but not so; the codec takes a key that the worker will refuse",
        message("SUBMIT", 7, mode=1, image_bytes=9, detach=False, key="k"),
    )
    frames.add("accepted-repeated", "the key was there before", message("ACCEPTED", 7, id=9, repeated=True))
    frames.add("attach", "everything of a job, until its end", attach(8, 9))
    most = [(channel, 2**63 - 1) for channel in [1, 2, 3]]
    frames.add("attach-most", "all that can be said", attach(MOST32, MOST64, run=MOST32, offsets=most, follow=False))
    frames.add("attach-offsets", "channels that have nothing are left out", attach(8, 9, run=0, offsets=[(2, 0), (3, 8)]))
    frames.add("attach-result", "the result alone", attach(8, 9, output=False))
    frames.add("attach-now", "what there is, and no more", attach(8, 9, output=False, follow=False))
    frames.add("attach-unknown-field", "skipped", message("ATTACH", 8, {0x0009: "00"}, id=9))
    frames.add("leave", "the job goes on", leave(8))
    for state, run in [(1, 0), (2, MOST32), (3, 1)]:
        frames.add(f"attached-{state}", "waiting, running, ended", attached(8, state, run))
    longest = attached(8, 2, 1, label="é" * 64, output_bytes=MOST64)
    frames.add("attached-most", "every field at its most", longest)
    frames.add("attached-unknown-field", "skipped", message("ATTACHED", 8, {0x0009: "00"}, state=1, run=0))
    for reason in [ASKED, TOLD, DRAIN, FORGOTTEN]:
        frames.add(f"left-{reason}", "asked, told, drain, forgotten", left(8, reason))
    frames.add("left-unknown-field", "skipped", message("LEFT", 8, {0x0009: "00"}, reason=1))


def lists(frames: RightFrames) -> None:
    """QUERY and ANSWER, STOP and STOPPED."""
    frames.add("query-detached", "what is kept", query(DETACHED))
    frames.add("query-detached-after", "those above a job", query(DETACHED, after=MOST64))
    frames.add("answer-detached-none", "nothing is kept", listed())
    frames.add("answer-detached", "one of each state", listed(WAITING, RUNNING, ENDED, more=True))
    many = [
        ([n, UNNAMED, 1 + n % 3, n % 16, n, n, n, n], "é" * (n % 65), "k" * (n % 129)) for n in range(256)
    ]
    frames.add("answer-detached-many", "as many as there can be", listed(*many))
    longest = ([MOST64, UNNAMED, 3, 15, MOST32, MOST64, MOST64, MOST64], "l" * 128, "é" * 64)
    frames.add("answer-detached-longest", "the largest numbers and the longest texts", listed(longest))
    zeros = message("ANSWER", what=DETACHED, more=False, detached_list=[ENDED])
    noisy = zeros["hex"].replace("00000001" + "00000000", "00000001" + "ffffffff", 1)
    assert noisy != zeros["hex"]
    frames.add(
        "answer-detached-zero",
        "what is zero is ignored",
        {"hex": noisy, "canonical": zeros["hex"], "decoded": zeros["decoded"]},
    )
    frames.add("stop-forget", "jobs by their ids, in any order", forget(9, 0, MOST64))
    frames.add("stop-forget-most", "as many as there can be", forget(*range(512)))
    frames.add("stopped-forgotten", "forgotten, unknown, and not ended", forgotten(1, 2, 3))
    frames.add("stopped-forgotten-most", "as many as there can be", forgotten(*[1 + n % 3 for n in range(512)]))


def detached_frames(frames: RightFrames) -> None:
    submissions(frames)
    lists(frames)


def wrong_detached(bad: BadFrames) -> None:
    """SUBMIT, ACCEPTED, ATTACH, LEAVE, ATTACHED, LEFT."""

    def to_worker(name: str, why: str, kind: int, fields: list[str], error: str, tag: int | None = None) -> None:
        bad.payload(name, why, wire(kind, 1, *fields), error, tag)

    def to_client(name: str, why: str, kind: int, fields: list[str], error: str, tag: int | None = None) -> None:
        bad.payload(name, why, wire(kind, 1, *fields), error, tag, to="client")

    to_worker("value-submit-detach", "a flag is 0 or 1", 0x10, [MODE, IMAGE, tlv(0x8026, "02")], VALUE, 0x8026)
    detach = tlv(0x8026, "01")
    for length in [0, 129]:
        key = tlv(0x8027, "61" * length)
        to_worker(f"size-submit-key-{length}", "1 to 128 bytes", 0x10, [MODE, IMAGE, detach, key], SIZE, 0x8027)
    to_worker("text-submit-key", "not UTF-8", 0x10, [MODE, IMAGE, detach, tlv(0x8027, "c328")], TEXT, 0x8027)
    to_client("value-accepted-repeated", "a flag is 0 or 1", 0x20, [tlv(4, "02")], VALUE, 4)

    id = tlv(0x8001, f"{9:016x}")
    to_worker("missing-attach-id", "required", 0x15, [tlv(0x8002, "00000001")], MISSING, 0x8001)
    to_worker("critical-attach", "a critical field", 0x15, [id, tlv(0x8006)], CRITICAL, 0x8006)
    to_worker("size-attach-id", "8 bytes", 0x15, [tlv(0x8001, "00" * 7)], SIZE, 0x8001)
    to_worker("size-attach-run", "4 bytes", 0x15, [id, tlv(0x8002, "00" * 8)], SIZE, 0x8002)
    for length in [1, 8, 10, 36]:
        offsets = tlv(0x8003, "01" * length)
        to_worker(f"size-attach-offsets-{length}", "up to 3 entries of 9 bytes", 0x15, [id, offsets], SIZE, 0x8003)
    zero = "00" * 8
    wrong = {
        "channel-0": "00" + zero,
        "channel-4": "04" + zero,
        "channel-5": "05" + zero,
        "twice": "01" + zero + "01" + zero,
        "fall": "02" + zero + "01" + zero,
        "beyond": "01" + "80" + "00" * 7,
        "most": "01" + "ff" * 8,
    }
    for name, value in wrong.items():
        why = "channels 1 to 3, which rise, and offsets below 2^63"
        to_worker(f"value-attach-offsets-{name}", why, 0x15, [id, tlv(0x8003, value)], VALUE, 0x8003)
    for tag, name in [(0x8004, "output"), (0x8005, "follow")]:
        to_worker(f"value-attach-{name}", "a flag is 0 or 1", 0x15, [id, tlv(tag, "02")], VALUE, tag)
    to_worker("size-leave", "no payload", 0x16, ["00"], SIZE)

    state, run = tlv(1, "01"), tlv(2, "00000000")
    for value in ["00", "04", "ff"]:
        to_client(f"value-attached-state-{value}", "1 to 3", 0x26, [tlv(1, value), run], VALUE, 1)
    to_client("missing-attached-all", "of several the lowest tag", 0x26, [], MISSING, 1)
    to_client("missing-attached-run", "required", 0x26, [state], MISSING, 2)
    to_client("size-attached-label", "129 bytes", 0x26, [state, run, tlv(3, "61" * 129)], SIZE, 3)
    to_client("text-attached-label", "not UTF-8", 0x26, [state, run, tlv(3, "ff")], TEXT, 3)
    to_client("critical-attached", "a critical field", 0x26, [state, run, tlv(0x8001)], CRITICAL, 0x8001)
    for value in ["00", "05", "ff"]:
        to_client(f"value-left-{value}", "1 to 4", 0x27, [tlv(1, value)], VALUE, 1)
    to_client("missing-left", "required", 0x27, [], MISSING, 1)
    to_client("critical-left", "a critical field", 0x27, [tlv(1, "01"), tlv(0x8001)], CRITICAL, 0x8001)
    wrong_lists(bad)


def wrong_lists(bad: BadFrames) -> None:
    """ANSWER, STOP and STOPPED."""

    def wrong(name: str, why: str, value: str, error: str) -> None:
        fields = [tlv(1, "05"), tlv(2, "00"), tlv(52, value)]
        bad.payload(name, why, wire(0x31, 0, *fields), error, 52, to="client")

    one = detached_list([kept(1, "abc", "k")])[0].replace(" ", "")
    for length in [1, 47, 48, 50, 51]:
        wrong(f"size-detached-{length}", "a record ends early", one[: 2 * length], SIZE)
    wrong("size-detached-second", "the second ends early", one + one[:-2], SIZE)
    wrong("size-detached-257", "one too many", detached_list([kept(n) for n in range(257)])[0], SIZE)
    longest = detached_list([kept(n, "t" * 128, "k" * 128) for n in range(256)])[0].replace(" ", "")
    bad.payload(
        "size-detached-most",
        "one byte too many",
        wire(0x31, 0, tlv(1, "05"), tlv(2, "00"), tlv(52, longest + "00")),
        SIZE,
        52,
        to="client",
        limit=1 << 20,
    )
    wrong("value-detached-label", "129 bytes of label", detached_list([kept(1, "t" * 129)])[0], VALUE)
    wrong("value-detached-key", "129 bytes of key", detached_list([kept(1, "", "k" * 129)])[0], VALUE)
    split = detached_list([kept(1, "a", "é")])[0].replace(" ", "")
    wrong("text-detached-split", "each text by itself", split.replace("0102", "0201", 1), TEXT)
    broken = one[:-2] + "ff"
    wrong("text-detached-key", "not UTF-8", broken, TEXT)
    strange = ([2, 0, 9, 99, 0, 0, 0, 0], "", "")
    wrong("text-detached-before-value", "text before values", detached_list([strange])[0] + broken, TEXT)
    wrong("size-detached-before-text", "sizes before text", broken + "00", SIZE)
    for name, place, numbers in [("state", 2, [0, 4, 255]), ("outcome", 3, [16, 255])]:
        for number in numbers:
            row, label, key = kept(1)
            made = detached_list([([*row[:place], number, *row[place + 1 :]], label, key)])[0]
            wrong(f"value-detached-{name}-{number}", "as the tables say", made, VALUE)
    for name, ids in {"twice": [5, 5], "fall": [5, 4], "fall-last": [0, MOST64, 7]}.items():
        wrong(f"value-detached-{name}", "ids rise", detached_list([kept(n) for n in ids])[0], VALUE)
    what = tlv(1, "05")
    for tag, fields in [(2, [what, tlv(52)]), (52, [what, tlv(2, "00")])]:
        hex = wire(0x31, 0, *fields)
        bad.payload(f"missing-answer-detached-{tag}", "required", hex, MISSING, tag, to="client")

    for length in [0, 7, 9, 513 * 8]:
        hex = wire(0x32, 0, tlv(0x8003, "01" * length))
        bad.payload(f"size-stop-forget-{length}", "1 to 512 ids of 8 bytes", hex, SIZE, 0x8003)
    id = "00" * 8
    for name, fields in {
        "jobs-forget": [tlv(0x8001, id), tlv(0x8003, id)],
        "worker-forget": [tlv(0x8002, "01"), tlv(0x8003, id)],
        "all": [tlv(0x8001, id), tlv(0x8002, "01"), tlv(0x8003, id)],
    }.items():
        bad.payload(f"value-stop-{name}", "one of the three", wire(0x32, 0, *fields), VALUE, 0x8003)
    for length in [0, 513]:
        hex = wire(0x33, 0, tlv(3, "01" * length))
        bad.payload(f"size-stopped-forgotten-{length}", "1 to 512 answers", hex, SIZE, 3, to="client")
    for value in ["00", "04", "0100"]:
        hex = wire(0x33, 0, tlv(3, value))
        bad.payload(f"value-stopped-forgotten-{value}", "1 to 3", hex, VALUE, 3, to="client")
    both = wire(0x33, 0, tlv(1, "01"), tlv(3, "01"))
    bad.payload("value-stopped-both-lists", "one of the three", both, VALUE, 3, to="client")
