#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Runs decoder.py over the test vectors, in pieces of every size: `python3 protocol/test_decoder.py`.

The last line is `N passed, M failed`; the exit code is 1 if anything failed.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import decoder
import digest
import make_vectors
import records
from conversation import OTHER, Conversation
from decoder import Frame, Reader, WireError

Json = Any
Check = tuple[str, Callable[[], None]]
VECTORS = Path(__file__).resolve().parent / "vectors"
CHUNKS = [1, 2, 3, 5, 7, 11, 12, 13, 64, 4096, 1 << 30]
SPLIT_EVERYWHERE = 200  # longer frames are split in two at their first bytes and at every 97th
LONG = 4096  # and frames of a longer payload at every 997th
CODES = """frame-too-long reserved-not-zero unknown-type bad-job payload-truncated field-order unknown-critical-field
field-size bad-text bad-value field-missing hello-expected version-unsupported handshake-timeout unexpected-frame
bad-offset data-overrun window-exceeded window-overflow too-many-connections internal""".split()


def equal(got: object, expected: object) -> None:
    if got != expected:
        raise AssertionError(f"got {got!r}, expected {expected!r}")


def load(path: str) -> Json:
    return json.loads((VECTORS / path).read_text(encoding="utf-8"))


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def split_points(data: bytes) -> Iterator[int]:
    return (i for i in range(len(data) + 1) if len(data) <= SPLIT_EVERYWHERE or i < 48 or i % stride(data) == 0)


def stride(data: bytes) -> int:
    return 97 if len(data) <= 12 + LONG else 997


def lengths(most: int, data: bytes) -> range:
    """All lengths below `most`; of a long frame some."""
    return range(0, most, 1 if len(data) <= 12 + LONG else 499)


def splits(data: bytes) -> Iterator[list[bytes]]:
    """Whole, one byte at a time, and in two at every point."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for at in split_points(data):
        yield [data[:at], data[at:]]


def read(parts: list[bytes], limit: int) -> list[Frame]:
    """Every frame in the parts; a Reader left inside a frame is an error."""
    reader, out = Reader(limit), list[Frame]()
    for part in parts:
        reader.feed(part)
        out += reader.frames()
    equal(reader.between_frames, True)
    return out


def tolerant(data: bytes, limit: int) -> Frame | WireError | None:
    """Any other exception goes through and fails the test."""
    reader = Reader(limit)
    reader.feed(data)
    try:
        return reader.next()
    except WireError as error:
        return error


def resized(data: bytes, size: int) -> bytes:
    """The frame with its payload cut to so many bytes, and a header that says so."""
    return size.to_bytes(4, "big") + data[4 : 12 + size]


# Right frames.


def right_frame(entry: Json) -> None:
    data, limit = bytes.fromhex(entry["hex"]), entry.get("frame_limit", 4096)
    for parts in splits(data):
        equal([frame.json() for frame in read(parts, limit)], [entry["decoded"]])
    for size in lengths(len(data), data):
        equal(tolerant(data[:size], limit), None)
    for size in lengths(len(data) - 12, data):
        tolerant(resized(data, size), limit)
    equal("frame_limit" in entry, len(data) > 12 + 4096)


def encodes_back(entry: Json) -> None:
    data, limit = bytes.fromhex(entry["hex"]), entry.get("frame_limit", 4096)
    frame = read([data], limit)[0]
    canonical = bytes.fromhex(entry.get("canonical", entry["hex"]))
    equal(decoder.encode(frame).hex(), canonical.hex())
    equal([again.json() for again in read([canonical], limit)], [entry["decoded"]])


def survives_bit_flips(entry: Json) -> None:
    """Every bit flipped: a frame, an error or a wait, and what decodes has one encoding."""
    data = bytes.fromhex(entry["hex"])
    for bit in range(8 * len(data)):
        if len(data) > SPLIT_EVERYWHERE and bit > 8 * 48 and bit % stride(data):
            continue
        flipped = bytearray(data)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        frame = tolerant(bytes(flipped), entry.get("frame_limit", 4096))
        if isinstance(frame, Frame) and isinstance(frame.type, str) and frame.refusal is None:
            equal(read([decoder.encode(frame)], 1 << 16)[0].json(), frame.json())


def all_in_one_stream(entries: list[Json]) -> None:
    data = b"".join(bytes.fromhex(entry["hex"]) for entry in entries)
    for size in CHUNKS:
        equal([f.json() for f in read(list(pieces(data, size)), 65536)], [entry["decoded"] for entry in entries])


# Wrong frames.


def error_of(entry: Json, parts: list[bytes]) -> tuple[WireError, int]:
    """The error that these parts give, and the number of bytes it took."""
    receiver, sender = entry["to"], OTHER[entry["to"]]
    reader, conversation, taken = Reader(entry["frame_limit"]), Conversation(), 0
    if entry["after_hello"]:
        for end in ["worker", "client"]:
            conversation.take(
                end, Frame("HELLO", fields={"version": {"major": 1}, "frame_limit": 65536, "window": 65536})
            )
    for part in parts:
        reader.feed(part)
        taken += len(part)
        try:
            for frame in reader.frames():
                conversation.take(sender, frame)
        except WireError as error:
            return error, taken
    raise AssertionError(f"no error at the {receiver}")


def wrong_frame(entry: Json) -> None:
    data = bytes.fromhex(entry["hex"])
    expected = (entry["error"], entry["job"], entry.get("field_tag"))
    for parts in splits(data):
        error, taken = error_of(entry, parts)
        equal((error.code, error.job, error.tag), expected)
        if len(parts) == len(data) > 1:  # one byte at a time
            equal(taken, 12 if entry["level"] == "header" else len(data))
    due = 12 if entry["level"] == "header" else len(data)
    for size in lengths(due, data):
        equal(tolerant(data[:size], entry["frame_limit"]), None)
    level = tolerant(data, entry["frame_limit"])
    equal(isinstance(level, WireError), entry["level"] != "connection")


# Conversations.


def conversation(entry: Json) -> None:
    talk, at = Conversation(), 0
    expected = entry["expect"] if entry["expect"] != "ok" else None
    for at, step in enumerate(entry["steps"]):
        if expected and at == expected["at_step"] + 1:
            answer(step, expected["error"])
            talk.failed.add(step["from"])
            continue
        try:
            take_step(talk, step)
        except WireError as error:
            equal({"error": error.code, "at_step": at}, expected)
            equal(error.job, 0)
        else:
            equal(expected is not None and at == expected["at_step"], False)
    if not expected or "worker" in talk.failed:
        equal([n for n in talk.open_jobs() if talk.jobs[n].state != "submitted" or not talk.failed], [])


def take_step(talk: Conversation, step: Json) -> None:
    sender, data = step["from"], bytes.fromhex(step["hex"])
    limit = talk.frame_limit(OTHER[sender])
    for parts in splits(data):
        reader, frames = Reader(limit), list[Frame]()
        for part in parts:
            reader.feed(part)
            frames += reader.frames()
        equal([frame.json() for frame in frames], [step["decoded"]])
    talk.take(sender, frames[0])


def answer(step: Json, code: str) -> None:
    equal((step["decoded"]["type"], step["decoded"]["job"]), ("ERROR", 0))
    equal(step["decoded"]["fields"]["code"], CODES.index(code) + 1)


def each_direction_in_pieces(entry: Json) -> None:
    for sender in OTHER:
        steps = [step for step in entry["steps"] if step["from"] == sender and "decoded" in step]
        data = b"".join(bytes.fromhex(step["hex"]) for step in steps)
        for size in CHUNKS:
            equal(
                [frame.json() for frame in read(list(pieces(data, size)), 65536)], [step["decoded"] for step in steps]
            )


# Records and digests.


def record_stream(entry: Json) -> None:
    data, channel = bytes.fromhex(entry["hex"]), entry["channel"]
    for parts in splits(data):
        stream, broken = records.RecordStream(channel), False
        for part in parts:
            try:
                if not broken:
                    stream.feed(part)
            except records.BrokenStream:
                broken = True
        equal((stream.records, broken), (entry["records"], entry["end"] == "broken"))
        if not broken:
            equal(bool(stream.buffer), entry["end"] == "cut")
    if entry["end"] == "whole":
        back = b"".join(records.encode(channel, record) for record in entry["records"])
        equal(back.hex(), entry.get("canonical", entry["hex"]))


def record_bit_flips(entry: Json) -> None:
    """Every bit flipped: records, a broken stream or a wait."""
    data = bytes.fromhex(entry["hex"])
    for bit in range(min(8 * len(data), 8 * SPLIT_EVERYWHERE)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        stream = records.RecordStream(entry["channel"])
        try:
            stream.feed(bytes(flipped))
        except records.BrokenStream:
            continue
        again = b"".join(records.encode(entry["channel"], record) for record in stream.records)
        equal(len(again) + len(stream.buffer), len(data))


def digest_of(entry: Json) -> None:
    contents = [(int(part["address"]), bytes.fromhex(part["bytes"])) for part in entry["memory"]]
    memory = digest.memory_of(int(entry["memory_bytes"]), contents)
    console, ports = bytes.fromhex(entry["console"]), bytes.fromhex(entry["port_writes"])
    equal(digest.digest(bytes.fromhex(entry["result"])[12:], console, ports, memory).hex(), entry["digest"])


def digests_differ(entries: list[Json]) -> None:
    """Two entries have the same digest exactly where one says so: `as NAME`."""
    known = {entry["name"]: entry["digest"] for entry in entries}
    same = {entry["name"]: entry["why"].rpartition(": as ")[2] for entry in entries if ": as " in entry["why"]}
    equal({name: known[name] for name in same}, {name: known[other] for name, other in same.items()})
    equal(len(set(known.values())), len(known) - len(same))


# The set of vectors.


def files_are_generated() -> None:
    made = make_vectors.files()
    found = {str(path.relative_to(VECTORS)): path for path in VECTORS.rglob("*.json")}
    equal(sorted(found), sorted(made))
    for name, path in found.items():
        equal((name, path.read_text(encoding="utf-8") == made[name]), (name, True))


def every_field_is_shown(frames: list[Json]) -> None:
    shown = {(e["decoded"]["type"], name) for e in frames if e["decoded"] for name in e["decoded"].get("fields", {})}
    wanted = {(message, name.rstrip("*")) for message, table in decoder.FIELDS.items() for name, _ in table.values()}
    equal(wanted - shown, set())
    equal({e["decoded"]["type"] for e in frames if e["decoded"]}, set(decoder.NUMBERS))
    outcomes = {e["decoded"]["fields"]["outcome"] for e in frames if e["decoded"] and e["decoded"]["type"] == "RESULT"}
    equal(outcomes, set(range(1, 16)))


def every_error_is_shown(bad: list[Json], talks: list[Json]) -> None:
    found = {e["error"] for e in bad} | {t["expect"]["error"] for t in talks if t["expect"] != "ok"}
    equal(set(CODES) - found, {"handshake-timeout", "too-many-connections", "internal"})  # sent for no frame
    sent = {(s["decoded"]["job"] == 0, s["decoded"]["fields"]["code"]) for t in talks for s in t["steps"]
            if s.get("decoded") and s["decoded"]["type"] == "ERROR"}  # fmt: skip
    equal({code for fatal, code in sent if not fatal}, {7, *range(64, 85)})
    equal({14, 20, 21} - {code for fatal, code in sent if fatal}, set())


def every_entry_is_described(entries: list[Json]) -> None:
    names = [entry["name"] for entry in entries]
    equal(sorted(set(names)), sorted(names))
    equal([entry["name"] for entry in entries if not entry["why"]], [])


def checks() -> Iterator[Check]:
    frames, bad = load("frames.json"), load("bad.json")
    streams, digests = load("records.json"), load("digests.json")
    talks = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((VECTORS / "transcripts").glob("*.json"))]
    yield "the committed files are what make_vectors.py writes", files_are_generated
    yield "every message, field and outcome is in frames.json", partial(every_field_is_shown, frames)
    yield "every error is in bad.json or a transcript", partial(every_error_is_shown, bad, talks)
    lists = {"frames": frames, "bad": bad, "transcripts": talks, "records": streams, "digests": digests}
    for name, entries in lists.items():
        yield f"{name}: names are unique, each with its why", partial(every_entry_is_described, entries)
    yield "frames.json as one stream, in pieces of every size", partial(all_in_one_stream, frames)
    for e in frames:
        yield f"frame {e['name']} decodes in any pieces, and waits for more when cut", partial(right_frame, e)
        yield f"frame {e['name']} survives bit flips", partial(survives_bit_flips, e)
        if e["decoded"] and "refused" not in e["decoded"]:
            yield f"frame {e['name']} encodes back", partial(encodes_back, e)
    for e in bad:
        yield f"wrong frame {e['name']} gives {e['error']} in any pieces, and not before", partial(wrong_frame, e)
        if e["level"] == "payload":
            yield f"wrong frame {e['name']} survives bit flips", partial(survives_bit_flips, e)
    for e in talks:
        yield f"transcript {e['name']}", partial(conversation, e)
        yield f"transcript {e['name']} in pieces of every size", partial(each_direction_in_pieces, e)
    for e in streams:
        yield f"records {e['name']} in any pieces", partial(record_stream, e)
        yield f"records {e['name']} survive bit flips", partial(record_bit_flips, e)
    yield "digests differ unless they say that they do not", partial(digests_differ, digests)
    for e in digests:
        yield f"digest {e['name']}", partial(digest_of, e)


def main() -> int:
    passed, failed = 0, 0
    for name, check in checks():
        try:
            check()
            passed += 1
        except Exception as error:
            failed += 1
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            print(f"FAILED {name}: {error}"[:2000])
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
