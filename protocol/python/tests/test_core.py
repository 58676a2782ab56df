#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The client's core against the wire's vectors, without a socket: `python3 protocol/python/tests/test_core.py`."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

PACKAGE = Path(__file__).resolve().parents[1]
VECTORS = PACKAGE.parent / "vectors"
sys.path.insert(0, str(PACKAGE))

import kvmjob  # noqa: E402
from kvmjob import codec, core, errors, messages  # noqa: E402
from kvmjob.codec import Frame, Reader, encode  # noqa: E402
from kvmjob.core import Core, Happening, Upload  # noqa: E402

CHUNKS = [1, 7, 12, 64, 1 << 30]


def transcripts() -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted((VECTORS / "transcripts").glob("*.json"))]


def frame_of(data: bytes) -> Frame:
    reader = Reader(codec.LARGEST_FRAME_LIMIT)
    reader.feed(data)
    frame = reader.next()
    assert frame
    return frame


class Player:
    """A core in the client's place of a transcript. What it would say by itself is not asked for."""

    def __init__(self, chunk: int) -> None:
        self.core, self.chunk = Core(), chunk
        self.core._outgoing.clear()
        self.core._rules.__init__()  # type: ignore[misc]  # the transcript has a HELLO of its own
        self.events: list[core.Event] = []

    def say(self, data: bytes) -> None:
        frame = frame_of(data)
        if frame.type == "SUBMIT":
            upload = self.core._upload(kvmjob.JobSpec(kvmjob.Image(b"")))
            upload.sources = [b""] * max(1, len(frame.fields.get("layers", [])))
            self.core._send(frame)
            upload.is_detached = frame.fields.get("detach", False)
            self.core._uploads[frame.job] = upload
        elif frame.type == "ATTACH":
            self.core._send(frame)
            self.core._uploads[frame.job] = Upload([], False)
        elif isinstance(frame.type, str):
            self.core._send(frame)

    def hear(self, data: bytes) -> None:
        for at in range(0, len(data), self.chunk):
            self.events += self.core.receive(data[at : at + self.chunk])
        if self.core.failure:
            raise self.core.failure

    def last_sent(self) -> Frame:
        return frame_of(self.core._outgoing[-1])


def play(entry: Any, chunk: int) -> tuple[Optional[str], int, Player]:
    """The error that was found, and at which step."""
    player = Player(chunk)
    for at, step in enumerate(entry["steps"]):
        try:
            (player.say if step["from"] == "client" else player.hear)(bytes.fromhex(step["hex"]))
        except kvmjob.ProtocolError as error:
            return error.code, at, player
    return None, len(entry["steps"]), player


class Transcripts(unittest.TestCase):
    def test_what_is_right_is_understood_in_any_pieces(self) -> None:
        for entry in transcripts():
            if entry["expect"] != "ok":
                continue
            for chunk in CHUNKS:
                with self.subTest(entry["name"], chunk=chunk):
                    error, _, player = play(entry, chunk)
                    self.assertIsNone(error)
                    self.assertEqual(told(player), said(entry))

    def test_what_is_wrong_is_found_or_not_even_sent(self) -> None:
        by_worker = 0
        for entry in transcripts():
            if entry["expect"] == "ok":
                continue
            wrong = entry["expect"]["at_step"]
            if entry["steps"][wrong]["from"] == "client" and "decoded" not in entry["steps"][wrong]:
                continue  # bytes that are no frame at all: nothing that an encoder could make
            for chunk in CHUNKS:
                with self.subTest(entry["name"], chunk=chunk):
                    error, at, player = play(entry, chunk)
                    self.assertEqual((error, at), (entry["expect"]["error"], wrong))
                    if entry["steps"][wrong]["from"] == "worker":
                        by_worker += 1
                        answer = player.last_sent()
                        code = answer.fields["code"]
                        self.assertEqual((answer.type, answer.job, errors.CODES[code]), ("ERROR", 0, error))
                        with self.assertRaises(kvmjob.ProtocolError):
                            player.core.ping(b"\0" * 8)
        self.assertGreater(by_worker, 100)


def said(entry: Any) -> list[tuple[int, str]]:
    """Each job and message that the worker told a client, as the transcript has it."""
    steps = [step["decoded"] for step in entry["steps"] if step["from"] == "worker" and step.get("decoded")]
    silent = ("WANT_IMAGE", "WINDOW")
    return [(step["job"], step["type"]) for step in steps if step["job"] and step["type"] not in silent]


def told(player: Player) -> list[tuple[int, str]]:
    names = {
        kvmjob.Acceptance: "ACCEPTED", kvmjob.Start: "STARTED", kvmjob.Chunk: "OUTPUT", kvmjob.Pause: "PAUSED",
        kvmjob.Result: "RESULT", kvmjob.Refused: "ERROR", kvmjob.Attachment: "ATTACHED", kvmjob.Left: "LEFT",
    }  # fmt: skip
    return [(event.job, names[type(event.what)]) for event in player.events if isinstance(event, Happening)]


class Frames(unittest.TestCase):
    def frames(self, name: str) -> Iterator[tuple[str, Frame]]:
        for entry in json.loads((VECTORS / "frames.json").read_text()):
            if entry["decoded"] and entry["decoded"]["type"] == name:
                yield entry["name"], frame_of(bytes.fromhex(entry["hex"]))

    def test_every_result_has_its_figures(self) -> None:
        seen = set()
        for name, frame in self.frames("RESULT"):
            with self.subTest(name):
                result = messages.result(frame.fields)
                seen.add(result.outcome)
                for field in ("steps", "wall_ns", "limit", "code", "peak_bytes", "signal"):
                    told = frame.fields.get(field)
                    self.assertEqual(getattr(result, field), None if told is None else int(told))
                for field in ("digest", "snapshot", "fpu", "instruction"):
                    told = frame.fields.get(field)
                    self.assertEqual(getattr(result, field), None if told is None else bytes.fromhex(told))
                self.assertEqual(len(result.exit_log), len(frame.fields.get("exit_log", [])))
                self.assertEqual(result.fault is not None, "vector" in frame.fields)
        self.assertEqual(seen, set(kvmjob.Outcome))

    def test_every_answer_is_understood(self) -> None:
        readers = {1: messages.worker_status, 4: messages.counters}
        whats = set()
        for name, frame in self.frames("ANSWER"):
            with self.subTest(name):
                what = frame.fields["what"]
                whats.add(what)
                if what in readers:
                    readers[what](frame.fields)
                for row in frame.fields.get("tenant_list", []):
                    messages.tenant(row)
                for row in frame.fields.get("job_list", []):
                    self.assertEqual(messages.listed_job(row).id, int(row["id"]))
                for row in frame.fields.get("detached_list", []):
                    self.assertEqual(messages.detached_job(row).id, int(row["id"]))
        self.assertEqual(whats, {1, 2, 3, 4, 5})

    def test_names_of_codes_are_those_of_the_page(self) -> None:
        section = (PACKAGE.parent / "PROTOCOL.md").read_text().split("\n## 6.")[1].split("\n## 7.")[0]
        rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ") and "`" in line]
        page = {int(number): name.strip(" `") for number, name in rows}
        self.assertEqual({code: errors.CODES.get(code) for code in page}, page)


def greeted(**terms: Any) -> Core:
    """A core that has said and heard HELLO."""
    made = Core()
    made.data_to_send()
    fields = {"version": {"major": 1, "minor": 0}, "frame_limit": 131072, "window": 65536} | terms
    made.receive(encode(Frame("HELLO", fields=fields)))
    return made


def sent(made: Core) -> list[Frame]:
    reader, frames = Reader(1 << 20), list[Frame]()
    while data := made.data_to_send():
        reader.feed(data)
        frames += reader.frames()
    return frames


class Sending(unittest.TestCase):
    SPEC = kvmjob.JobSpec(kvmjob.Image(b"\xf4"))

    def test_input_keeps_to_its_credit_and_goes_on_with_more(self) -> None:
        made = greeted(window=100)
        job = made.submit(self.SPEC, b"x" * 250)
        frames = sent(made)
        self.assertEqual([frame.type for frame in frames], ["SUBMIT", "INPUT", "IMAGE"])
        self.assertEqual(len(frames[1].data), 100)
        self.assertEqual(made.unwritten(job), 150)
        made.receive(encode(Frame("WINDOW", job, 0, {"credit": 149})))
        self.assertEqual([(len(f.data), f.flags) for f in sent(made)], [(149, 0)])
        made.receive(encode(Frame("WINDOW", job, 0, {"credit": 500})))
        self.assertEqual([(len(f.data), f.flags) for f in sent(made)], [(1, codec.END)])
        self.assertFalse(made.has_data_to_send)

    def test_an_image_waits_until_it_is_wanted(self) -> None:
        made = greeted()
        image = bytes(range(256)) * 1024
        job = made.submit(kvmjob.JobSpec(kvmjob.Image(image)))
        self.assertEqual([frame.type for frame in sent(made)], ["SUBMIT"])
        made.receive(encode(Frame("WANT_IMAGE", job)))
        frames = sent(made)
        self.assertEqual(b"".join(frame.data for frame in frames), image)
        self.assertEqual([frame.flags for frame in frames], [0, 0, codec.END])

    def test_only_the_layers_that_are_wanted_are_sent(self) -> None:
        made = greeted()
        program = kvmjob.Program("/a", layers=[b"a" * 10, b"b" * 20, b"c" * 30])
        job = made.submit(kvmjob.JobSpec(program))
        submit = sent(made)[0]
        self.assertEqual(submit.fields["image_bytes"], "60")
        self.assertEqual(submit.fields["arguments"], [b"/a".hex()])
        made.receive(encode(Frame("WANT_IMAGE", job, 0, {"layers": 5})))
        self.assertEqual(b"".join(frame.data for frame in sent(made)), b"a" * 10 + b"c" * 30)

    def test_a_board_and_a_rom_are_said_where_they_are_not_the_usual(self) -> None:
        made = greeted()
        made.submit(self.SPEC)
        usual = sent(made)[0].fields
        self.assertNotIn("board", usual)
        self.assertNotIn("rom", usual)
        made.submit(kvmjob.JobSpec(kvmjob.Image(bytes(1 << 16), rom=True), board=kvmjob.Board.PC))
        submit = sent(made)[0].fields
        self.assertEqual((submit["board"], submit["rom"]), (1, True))

    def test_several_vcpus_are_said_where_there_are_several(self) -> None:
        made = greeted()
        made.submit(self.SPEC)
        self.assertNotIn("vcpus", sent(made)[0].fields)
        made.submit(kvmjob.JobSpec(kvmjob.Image(b"\xf4"), vcpus=2, turn=7))
        submit = sent(made)[0].fields
        self.assertEqual((submit["vcpus"], submit["turn"]), (2, "7"))

    def test_each_of_several_vcpus_is_told(self) -> None:
        rows = [{"state": 0, "steps": "5", "cpu_ns": "9"}, {"state": 3, "steps": "0", "cpu_ns": "0"}]
        fields: dict[str, Any] = {"outcome": 1, "steps": "5", "processors": rows}
        told = messages.result(fields).processors
        self.assertEqual([one.state.name for one in told], ["HALTED", "WAITING"])
        self.assertEqual([(one.steps, one.cpu_ns, one.registers) for one in told], [(5, 9, None), (0, 0, None)])
        known = {"known": 1} | {name: str(place) for place, name in enumerate(messages.REGISTERS)}
        told = messages.result(fields | {"processor_registers": [known, known | {"known": 0}]}).processors
        self.assertEqual((told[0].registers or {})["rflags"], 17)
        self.assertIsNone(told[1].registers)
        del fields["steps"]
        self.assertIsNone(messages.result(fields).processors[0].steps)

    def test_a_large_image_holds_up_no_other_job(self) -> None:
        made = greeted()
        large = made.submit(kvmjob.JobSpec(kvmjob.Image(bytes(1 << 20))))
        made.receive(encode(Frame("WANT_IMAGE", large)))
        small = made.submit(self.SPEC)
        self.assertEqual([frame.job for frame in sent(made)][:4], [large, small, large, small])

    def test_input_of_a_deterministic_job_comes_before_its_image(self) -> None:
        made = greeted()
        made.submit(kvmjob.JobSpec(kvmjob.Image(b"\xf4"), deterministic=True), b"x", more=True)
        self.assertEqual([frame.type for frame in sent(made)], ["SUBMIT", "INPUT"])
        made.end_input(1)
        self.assertEqual([frame.type for frame in sent(made)], ["INPUT", "IMAGE"])

    def test_credit_is_given_back_when_output_is_taken(self) -> None:
        made = greeted()
        job = made.submit(self.SPEC)
        sent(made)
        made.consumed(job, core.WINDOW // 2 - 1)
        self.assertEqual(sent(made), [])
        made.consumed(job, 1)
        self.assertEqual([frame.fields for frame in sent(made)], [{"credit": core.WINDOW // 2}])

    def test_what_a_worker_will_not_take_is_not_sent(self) -> None:
        made = greeted(frame_limit=4096)
        with self.assertRaises(kvmjob.ProtocolError) as caught:
            made.submit(kvmjob.JobSpec(kvmjob.Program("/a", [b"x"], environment={"A": "x" * 5000})))
        self.assertEqual(caught.exception.code, "frame-too-long")
        self.assertEqual(made.submit(self.SPEC), 1)

    def test_ended_jobs_leave_nothing_behind(self) -> None:
        made = greeted()
        for _ in range(100):
            job = made.submit(self.SPEC)
            sent(made)
            made.receive(encode(Frame("ERROR", job, 0, {"code": 74})))
            made.consumed(job, 1 << 20)
            made.cancel(job)
        self.assertEqual((made._uploads, made._rules.jobs, sent(made)), ({}, {}, []))

    def test_an_end_tells_why(self) -> None:
        made = greeted()
        self.assertIsInstance(made.receive_end(), kvmjob.ConnectionLost)
        made = greeted()
        made.receive(encode(Frame("ERROR", 0, 0, {"code": 14, "text": "late"})))
        with self.assertRaises(kvmjob.WorkerError):
            made.submit(self.SPEC)
        end = made.receive_end()
        assert isinstance(end, kvmjob.WorkerError)
        self.assertEqual((end.code, end.text), ("handshake-timeout", "late"))

    def test_names_that_there_are_not(self) -> None:
        with self.assertRaises(ValueError):
            greeted().submit(kvmjob.JobSpec(kvmjob.Image(b"\xf4", registers={"eax": 1})))


class Archives(unittest.TestCase):
    def test_files_folders_and_links(self) -> None:
        made = kvmjob.archive({
            "/etc/motd": "hello\n", "bin/x": kvmjob.File(b"\x7fELF", 0o755), "lib64": kvmjob.Link("usr/lib64"),
            "/here": Path(__file__),
        })  # fmt: skip
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            entries = {entry.name: entry for entry in tar}
            motd, here = tar.extractfile("etc/motd"), tar.extractfile("here")
            assert motd and here
            self.assertEqual((motd.read(), here.read()), (b"hello\n", Path(__file__).read_bytes()))
        self.assertEqual(set(entries), {"etc", "etc/motd", "bin", "bin/x", "lib64", "here"})
        self.assertEqual((entries["bin/x"].mode, entries["lib64"].linkname), (0o755, "usr/lib64"))
        self.assertTrue(entries["etc"].isdir())

    def test_the_same_files_are_the_same_bytes(self) -> None:
        names = {f"d/{name}": name for name in "cab"}
        self.assertEqual(kvmjob.archive(names), kvmjob.archive(dict(reversed(names.items()))))


if __name__ == "__main__":
    unittest.main()
