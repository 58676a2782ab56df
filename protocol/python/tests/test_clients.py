#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Both clients against a worker that says what it is told to: `python3 protocol/python/tests/test_clients.py`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import tempfile
import threading
import unittest
import unittest.mock
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import kvmjob  # noqa: E402
from kvmjob import AsyncClient, Channel, Client, Image, JobSpec  # noqa: E402
from kvmjob.codec import Frame, Reader, encode  # noqa: E402
from kvmjob.state import default_path  # noqa: E402

HELLO = Frame("HELLO", fields={"version": {"major": 1, "minor": 0}, "frame_limit": 131072, "window": 65536, "slots": 1})
SPEC = JobSpec(Image(b"\xf4"))
Answer = Callable[[Frame], list[Frame]]


class ScriptedWorker:
    """Listens at a path, and answers each frame of one connection as it is told to."""

    def __init__(self, answers: dict[str, Answer], first: bytes = encode(HELLO)) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="kvmjob-")
        self.path = f"{self.folder.name}/sock"
        self.answers, self.first = answers, first
        self.heard: list[Frame] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        connection, _ = self.listener.accept()
        reader = Reader(1 << 20)
        with connection, contextlib.suppress(OSError):  # the client may be gone before it is answered
            connection.sendall(self.first)
            while data := connection.recv(1 << 16):
                reader.feed(data)
                for frame in reader.frames():
                    self.heard.append(frame)
                    if answer := self.answers.get(str(frame.type)):
                        connection.sendall(b"".join(encode(said) for said in answer(frame)))

    def names(self) -> list[str]:
        self.thread.join(20)
        return [str(frame.type) for frame in self.heard]

    def __enter__(self) -> ScriptedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join(20)
        self.listener.close()
        self.folder.cleanup()


def output(job: int, offset: int, data: bytes) -> Frame:
    return Frame("OUTPUT", job, 0, {"channel": 1, "offset": offset}, data)


def attached(*frames: Callable[[int], Frame]) -> Answer:
    def answer(frame: Frame) -> list[Frame]:
        job = frame.job
        head = Frame("ATTACHED", job, 0, {"state": 2, "run": 3, "label": "l", "output_bytes": 9})
        return [head, *(made(job) for made in frames)]

    return answer


def ended(job: int) -> Frame:
    return Frame("RESULT", job, 0, {"outcome": 1})


def left(reason: int) -> Callable[[int], Frame]:
    return lambda job: Frame("LEFT", job, 0, {"reason": reason})


def detached_rows(after: int) -> list[dict[str, Any]]:
    row = {
        "user": 7, "state": 3, "outcome": 1, "run": 1, "accepted_at": 10, "ended_at": 11, "output_bytes": 5,
        "label": "l", "key": "k",
    }  # fmt: skip
    return [row | {"id": after + number} for number in (1, 2)]


def listed(frame: Frame) -> list[Frame]:
    """Two pages of two jobs."""
    after = int(frame.fields.get("after", 0))
    return [Frame("ANSWER", 0, 0, {"what": 5, "more": after < 2, "detached_list": detached_rows(after)})]


ACCEPTED: Answer = lambda frame: (  # noqa: E731
    [Frame("ACCEPTED", frame.job, 0, {"id": 77, "repeated": True})] if "detach" in frame.fields else []
)
REFUSED: Answer = lambda frame: [Frame("ERROR", frame.job, 0, {"code": 81, "text": "no such job"})]  # noqa: E731
ATTACHED = attached(lambda job: output(job, 5, b"abcd"), ended)


class Plain(unittest.TestCase):
    def test_a_job_is_handed_over(self) -> None:
        with ScriptedWorker({"SUBMIT": ACCEPTED}) as worker:
            with Client(worker.path) as client:
                accepted = client.detach(SPEC, b"typed", key="k")
                self.assertEqual((accepted.id, accepted.repeated), (77, True))
                self.assertEqual((client._jobs, client._core._uploads), ({}, {}))
            submit = worker.heard[1] if worker.names() else None
            assert submit
            self.assertEqual((submit.fields["detach"], submit.fields["key"], submit.fields["input"]), (True, "k", True))

    def test_output_goes_on_where_it_was_left(self) -> None:
        with ScriptedWorker({"ATTACH": ATTACHED}) as worker:
            with Client(worker.path) as client, client.attach(77, run=3, offsets={Channel.CONSOLE: 5}) as job:
                self.assertEqual([(chunk.offset, chunk.data) for chunk in job], [(5, b"abcd")])
                self.assertEqual(
                    (job.attachment and job.attachment.run, job.result().outcome), (3, kvmjob.Outcome.HALTED)
                )
            self.assertEqual(worker.names(), ["HELLO", "ATTACH"])

    def test_a_reader_who_goes_lets_go(self) -> None:
        with ScriptedWorker(
            {"ATTACH": attached(lambda job: output(job, 0, b"x")), "LEAVE": lambda f: [left(1)(f.job)]}
        ) as worker:
            with Client(worker.path) as client:
                job = client.attach(77)
                for _ in job:
                    break
                with self.assertRaises(kvmjob.Left) as caught:
                    job.result()
                self.assertEqual(caught.exception.reason, "asked")
                with client.attach(77) as job:
                    pass
            self.assertEqual(worker.names(), ["HELLO", "ATTACH", "LEAVE", "ATTACH", "LEAVE"])

    def test_what_there_is_now(self) -> None:
        with ScriptedWorker({"ATTACH": attached(lambda job: output(job, 0, b"so far"), left(2))}) as worker:
            with Client(worker.path) as client:
                job = client.attach(77, follow=False)
                self.assertEqual([chunk.data for chunk in job], [b"so far"])
                with self.assertRaises(kvmjob.Left) as caught:
                    job.result()
                self.assertEqual(caught.exception.reason, "told")
            self.assertEqual(worker.heard[1].fields, {"id": "77", "follow": False})

    def test_a_job_that_there_is_not(self) -> None:
        with ScriptedWorker({"ATTACH": REFUSED}) as worker, Client(worker.path) as client:
            with self.assertRaises(kvmjob.Refused) as caught:
                client.attach(1)
            self.assertEqual((caught.exception.code, caught.exception.text), ("job-unknown", "no such job"))

    def test_lists_have_pages(self) -> None:
        with ScriptedWorker({"QUERY": listed}) as worker, Client(worker.path) as client:
            jobs = client.detached()
            self.assertEqual([job.id for job in jobs], [1, 2, 3, 4])
            self.assertEqual((str(jobs[0].state), str(jobs[0].outcome), jobs[0].key), ("ended", "halted", "k"))

    def test_forgetting(self) -> None:
        said = Frame("STOPPED", 0, 0, {"forgotten": [1, 2, 3]})
        with ScriptedWorker({"STOP": lambda _: [said]}) as worker, Client(worker.path) as client:
            self.assertEqual([str(one) for one in client.forget([7, 8, 9])], ["forgotten", "unknown", "unfinished"])

    def test_a_worker_that_turns_clients_away(self) -> None:
        first = encode(Frame("ERROR", 0, 0, {"code": 20, "limit_name": "connections", "retryable": True}))
        with ScriptedWorker({}, first) as worker:
            with self.assertRaises(kvmjob.WorkerError) as caught:
                Client(worker.path)
            self.assertEqual(
                (caught.exception.code, caught.exception.limit_name), ("too-many-connections", "connections")
            )

    def test_a_worker_that_speaks_another_language(self) -> None:
        with ScriptedWorker({}, b"SSH-2.0-OpenSSH_9.2\r\n") as worker:
            with self.assertRaises(kvmjob.ProtocolError) as caught:
                Client(worker.path)
            self.assertEqual(caught.exception.code, "frame-too-long")
            self.assertEqual(worker.names(), ["HELLO", "ERROR"])

    def test_a_worker_that_breaks_the_rules_ends_every_job(self) -> None:
        accepted = Frame("ACCEPTED", 1, 0, {})
        with ScriptedWorker({"SUBMIT": lambda _: [accepted, accepted]}) as worker:
            with Client(worker.path) as client:
                small = JobSpec(kvmjob.Snapshot(bytes(32)))
                job = client.submit(small)
                with self.assertRaises(kvmjob.ProtocolError) as caught:
                    job.result()
                self.assertEqual(caught.exception.code, "unexpected-frame")
            self.assertEqual(worker.names()[-1], "ERROR")

    def test_the_path_is_the_environments(self) -> None:
        with unittest.mock.patch.dict("os.environ", {"KVMJOB_SOCKET": "/there"}):
            self.assertEqual(default_path(), "/there")
        with unittest.mock.patch.dict("os.environ", clear=True):
            self.assertEqual(default_path(), "/run/kvmjob/kvmjobd.sock")


class Asynchronous(unittest.TestCase):
    def play(self, answers: dict[str, Answer], act: Callable[[AsyncClient], Awaitable[None]]) -> list[str]:
        async def main(path: str) -> None:
            async with await AsyncClient.connect(path) as client:
                await asyncio.wait_for(act(client), 20)

        with ScriptedWorker(answers) as worker:
            asyncio.run(main(worker.path))
            return worker.names()

    def test_a_job_is_handed_over_listed_and_forgotten(self) -> None:
        async def act(client: AsyncClient) -> None:
            self.assertEqual((await client.detach(SPEC)).id, 77)
            self.assertEqual([job.id for job in await client.detached()], [1, 2, 3, 4])
            self.assertEqual(await client.forget([1]), [kvmjob.Forgotten.UNFINISHED])

        said = Frame("STOPPED", 0, 0, {"forgotten": [3]})
        self.play({"SUBMIT": ACCEPTED, "QUERY": listed, "STOP": lambda _: [said]}, act)

    def test_attaching(self) -> None:
        async def act(client: AsyncClient) -> None:
            job = await client.attach(77, offsets={Channel.CONSOLE: 5})
            done = await job.collect()
            self.assertEqual((done.console, done.result.outcome), (b"abcd", kvmjob.Outcome.HALTED))

        self.assertEqual(self.play({"ATTACH": ATTACHED}, act), ["HELLO", "ATTACH"])

    def test_a_cancelled_task_lets_go_and_stops_nothing(self) -> None:
        async def act(client: AsyncClient) -> None:
            job = await client.attach(77)
            task = asyncio.ensure_future(job.result())
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            with self.assertRaises(kvmjob.Left):
                await job.result()
            async with await client.attach(77):
                pass

        names = self.play({"ATTACH": attached(), "LEAVE": lambda frame: [left(1)(frame.job)]}, act)
        self.assertEqual(names, ["HELLO", "ATTACH", "LEAVE", "ATTACH", "LEAVE"])

    def test_who_gives_up_a_question_takes_nobody_elses_answer(self) -> None:
        async def act(client: AsyncClient) -> None:
            for _ in range(5):
                given_up = [asyncio.ensure_future(client.stop([1])) for _ in range(16)]
                await asyncio.sleep(0)
                for one in given_up:
                    one.cancel()
                self.assertEqual(await client.stop([2, 3]), [True, True])

        def stopped(frame: Frame) -> list[Frame]:
            return [Frame("STOPPED", 0, 0, {"jobs": [1] * len(frame.fields["jobs"])})]

        self.play({"STOP": stopped}, act)


if __name__ == "__main__":
    unittest.main()
