#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The Python client against a worker: both its forms, installed by pip, and the examples of its README.

    client.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...

Needs /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from live import REPOSITORY, Checks, LiveWorker, Programs  # noqa: E402
import kvmjob  # noqa: E402  (live has put its folder in the path)
from kvmjob import (  # noqa: E402
    AsyncClient, Client, Image, JobSpec, Limits, Meter, Mode, Outcome, Program, Report, Snapshot, SnapshotPoint,
    archive,
)  # fmt: skip
from kvmjob.core import WINDOW  # noqa: E402

PACKAGE = REPOSITORY / "protocol" / "python"
MEBIBYTE = 1 << 20
FLOOD_BYTES = 2 << 20  # many windows; each byte is an exit
PATIENCE = 60.0


class Scene:
    """A worker, its guests, and what is found."""

    def __init__(self, programs: Programs, worker: LiveWorker, guests: dict[str, bytes], checks: Checks) -> None:
        self.programs, self.worker, self.guests, self.checks = programs, worker, guests, checks
        self.keeps_jobs = keeps_jobs(programs)

    def client(self, window: int = WINDOW) -> Client:
        return Client(self.worker.path, window=window)

    def image(self, name: str, mode: Mode = Mode.REAL16) -> Image:
        return Image(self.guests[name], mode)

    def flood(self, **limits: float) -> JobSpec:
        """A guest that writes without end."""
        return JobSpec(self.image("user64-output-flood", Mode.USER64), Limits(**({"wall_seconds": 60} | limits)))  # type: ignore[arg-type]

    def endless(self, **more: object) -> JobSpec:
        """A guest that computes without end."""
        spec = JobSpec(self.image("long64-spin", Mode.LONG64), Limits(wall_seconds=60))
        return JobSpec(**(vars(spec) | more))

    def listed(self) -> int:
        with self.client() as client:
            return len(client.jobs())

    def until_idle(self) -> bool:
        """Whether no job is left on the worker, after so many questions as it takes a machine to stop."""
        with self.client() as client:
            return any(not client.jobs() for _ in range(20_000))


def memory() -> int:
    """Resident memory of this process in KiB."""
    status = pathlib.Path("/proc/self/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
    assert found
    return int(found[1])


# What both forms do


def hello(scene: Scene) -> None:
    with scene.client() as client:
        done = client.run(JobSpec(scene.image("hello"), label="greeting", report=Report.EXIT_LOG | Report.CODE))
        scene.checks.equal("hello: its output", done.console, b"hello\n")
        scene.checks.equal("hello: its end", (done.result.outcome, done.result.succeeded), (Outcome.HALTED, True))
        scene.checks.equal("hello: what it wrote, exit by exit", len(done.result.exit_log), 7)
        window = done.result.code_window
        scene.checks.that("hello: the code around its end", bool(window and scene.guests["hello"] in window.data))
        added = client.run(JobSpec(Image(scene.guests["add"], registers={"rax": 2, "rbx": 2})))
        scene.checks.equal("add: registers go there", added.console, b"4\n")
        typed = bytes(range(256)) * 2048
        program = Program("/bin/busybox", [archive({"/bin/busybox": pathlib.Path("/bin/busybox")})], ["cat"])
        echoed = client.run(JobSpec(program, Limits(wall_seconds=30)), typed)
        scene.checks.equal("input of half a MiB comes back", echoed.console == typed, True)


def steps(scene: Scene) -> None:
    with scene.client() as client:
        spec = JobSpec(scene.image("long64-spin", Mode.LONG64), Limits(steps=10_000))
        result = client.run(spec).result
        ending = (str(result.outcome), result.limit, result.used, result.steps)
        scene.checks.equal("a step budget ends it exactly", ending, ("steps-exhausted", 10_000, 10_000, 10_000))
        with client.submit(JobSpec(spec.start, spec.limits, pause=True)) as job:
            paused = job.pause()
            scene.checks.equal("a pause tells its steps", paused and paused.steps, 10_000)
            job.extend(5_000)
            again = job.pause()
            scene.checks.equal("an extension goes on from there", again and again.steps, 15_000)
            job.extend(0)
            scene.checks.equal("and none ends it", job.result().steps, 15_000)


def cancelling(scene: Scene) -> None:
    with scene.client() as client:
        job = client.submit(scene.flood())
        for chunk in job:
            scene.checks.equal("the first chunk is the stream's beginning", chunk.offset, 0)
            break
        scene.checks.equal("an iteration that is closed cancels", str(job.result().outcome), "cancelled")
        with client.submit(scene.endless()) as job:
            pass
        scene.checks.equal("so does a context that is left", job.result().canceller, kvmjob.Canceller.CLIENT)
        waiting = client.submit(scene.endless(label="to be stopped"))
        ids = [one.id for one in client.jobs() if one.title == "to be stopped"]
        scene.checks.equal("a job is listed with its id", ids, [waiting.id])
        scene.checks.equal("stop tells which there were", client.stop([ids[0], 1 << 40]), [True, False])
        scene.checks.equal("and ends it for its user", str(waiting.result().canceller), "user")


def back_pressure(scene: Scene) -> None:
    """Much while nobody reads: as much as the window waits here, and the guest waits there."""
    with scene.client() as client, scene.client() as other:
        job = client.submit(scene.flood(output_bytes=FLOOD_BYTES))
        ours, theirs = memory(), scene.worker.status("VmRSS")
        waiting = lambda: sum(len(chunk.data) for chunk in job._chunks)  # noqa: E731
        client._until(lambda: waiting() == WINDOW, PATIENCE)
        for _ in range(200):  # the guest would have been done long ago
            client.ping()
        scene.checks.equal("no more than the window waits", waiting(), WINDOW)
        running = [one.state for one in other.jobs() if one.id == job.id]
        scene.checks.equal("the guest waits", running, [kvmjob.JobState.RUNNING])
        scene.checks.that("client: memory stays flat", memory() - ours < 2048, f"{memory() - ours} KiB more")
        grown = scene.worker.status("VmRSS") - theirs
        scene.checks.that("worker: memory stays flat", grown < 4096, f"{grown} KiB more")
        total = 0
        for chunk in job:
            if chunk.offset != total:
                break
            total += len(chunk.data)
        result = job.result()
        ending = (str(result.outcome), result.output_bytes, total)
        scene.checks.equal("read at last, every byte is there", ending, ("output-exhausted", FLOOD_BYTES, FLOOD_BYTES))
        scene.checks.that("client: memory stays flat to the end", memory() - ours < 4096, f"{memory() - ours} KiB more")


def libraries(program: str) -> dict[str, pathlib.Path]:
    """A program of this machine and what its loader needs, by the paths that it knows them by."""
    listing = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    paths = [program, *re.findall(r"(?:=> )?(/\S+) \(0x", listing)]
    return {path: pathlib.Path(path).resolve() for path in paths}


def linux_programs(scene: Scene) -> None:
    layer = archive(dict(libraries("/bin/echo")))
    with scene.client() as client:
        program = Program("/bin/echo", [layer], ["echo", "a Linux program"], {"LANG": "C"})
        for when in ("sent", "known by its digest"):
            done = client.run(JobSpec(program))
            ending = (done.console, done.errors, done.result.code)
            scene.checks.equal(f"/bin/echo, its files {when}", ending, (b"a Linux program\n", b"", 0))
        layers = [layer, archive({"/bin/busybox": pathlib.Path("/bin/busybox")})]
        script = "while read word; do echo $word; done; echo gone >&2; exit 3"
        shell = Program("/bin/busybox", layers, ["sh", "-c", script])
        with client.submit(JobSpec(shell, Limits(wall_seconds=30)), more_input=True) as job:
            for word in (b"one\n", b"two\n"):
                job.write(word)
            job.end_input()
            ended = job.collect()
        seen = (ended.console, ended.errors, ended.result.code)
        scene.checks.equal("input word by word, two streams, a code", seen, (b"one\ntwo\n", b"gone\n", 3))


def refusals(scene: Scene) -> None:
    def refused(spec: JobSpec) -> kvmjob.Refused:
        with scene.client() as client:
            try:
                client.run(spec)
            except kvmjob.Refused as refusal:
                scene.checks.equal(
                    "the connection goes on", client.run(JobSpec(scene.image("hello"))).console, b"hello\n"
                )
                return refusal
        raise AssertionError(f"{spec} was not refused")

    image = scene.image("hello")
    nothing = Program("/bin/nothing", [archive({"/bin/something": b""})])
    scene.checks.equal("a program that there is not", refused(JobSpec(nothing)).code, "program-unusable")
    large = refused(JobSpec(image, memory_bytes=1 << 40))
    seen = (large.code, large.retryable, large.limit, large.value)
    scene.checks.equal("too much memory", seen, ("memory-size", False, 1 << 30, 1 << 40))
    scene.checks.equal("an empty image", refused(JobSpec(Image(b""))).code, "image-empty")
    scene.checks.equal("a budget of nothing", refused(JobSpec(image, Limits(exits=0))).code, "budget-range")
    scene.checks.equal("a snapshot that there is not", refused(JobSpec(Snapshot(bytes(32)))).code, "snapshot-unknown")
    with (
        LiveWorker(scene.programs, "--tenant-queued-jobs", "1", "--slots", "1") as worker,
        Client(worker.path) as client,
    ):
        jobs, told = [], None
        while told is None:
            try:
                jobs.append(client.submit(scene.endless()))
            except kvmjob.Refused as refusal:
                told = refusal
        seen = (told.code, told.retryable, told.limit_name)
        scene.checks.equal("too many at once", seen, ("tenant-limit", True, "tenant-queued-jobs"))


def inspection(scene: Scene) -> None:
    with scene.client() as client:
        ranges = [kvmjob.MemoryRange(0x1000, len(scene.guests["hello"]))]
        done = client.run(
            JobSpec(scene.image("hello"), dumps=ranges, trace=True, report=Report.DIGEST, meter=Meter.EXACT)
        )
        dumped = b"".join(record.data for record in done.memory)
        scene.checks.equal("a dump is the image again", dumped, scene.guests["hello"])
        taken = [one for one in done.trace if isinstance(one, kvmjob.Step)]
        scene.checks.equal("the trace has each step", (len(taken), taken[0].rip), (done.result.steps, 0x1000))
        scene.checks.equal("its last step is HLT", (taken[-1].code[:1], done.result.registers and taken[-1].rip + 1),
                           (b"\xf4", done.result.registers and done.result.registers["rip"]))  # fmt: skip
        again = JobSpec(scene.image("hello"), deterministic=True, report=Report.DIGEST, meter=Meter.EXACT)
        digests = {client.run(again).result.digest for _ in range(2)}
        scene.checks.that("a run is the same again", len(digests) == 1 and digests != {None})


def snapshots(scene: Scene) -> None:
    with scene.client() as client:
        taken = client.run(JobSpec(scene.image("warm-counter"), snapshot=SnapshotPoint())).result
        scene.checks.equal("a guest becomes ready", str(taken.outcome), "snapshot-taken")
        start = JobSpec(Snapshot(taken.snapshot or b""))
        runs = [client.run(start, typed) for typed in (b"\1\2", b"", b"\1\2")]
        scene.checks.equal(
            "it starts from there any number of times", {str(run.result.outcome) for run in runs}, {"halted"}
        )
        same = runs[0].console == runs[2].console != runs[1].console
        scene.checks.that("each in a copy of its own", same, [run.console for run in runs])


def questions(scene: Scene) -> None:
    with scene.client() as client:
        client.run(JobSpec(scene.image("hello")))
        status = client.worker()
        scene.checks.that("the worker tells of itself", status.slots == client.terms.slots and status.finished > 0)
        scene.checks.that("of its users", [one.user for one in client.tenants()] == [os.getuid()])
        accepted = {(one.kind, one.label): one.value for one in client.counters().samples}
        scene.checks.that("of what it counted", accepted[1, 0] >= status.finished > 0)
        scene.checks.equal("of its histograms", [len(one.counts) for one in client.counters().histograms], [9, 9])


# Detached jobs


def detaching(scene: Scene) -> None:
    """On a worker that keeps no jobs, and on one that does, which is killed in between."""
    with scene.client() as client:
        try:
            client.detach(JobSpec(scene.image("hello")))
            scene.checks.that("a worker that keeps no jobs says so", False)
        except kvmjob.Refused as refusal:
            scene.checks.equal("a worker that keeps no jobs says so", refusal.code, "detach-unavailable")
    with tempfile.TemporaryDirectory(prefix="kvmjob-state-") as folder:
        options = ("--state-dir", folder)
        with LiveWorker(scene.programs, *options) as worker, Client(worker.path) as client:
            quick = client.detach(JobSpec(scene.image("hello"), label="quick"), key="once")
            again = client.detach(JobSpec(scene.image("hello"), label="quick"), key="once")
            scene.checks.equal("a key means the same job", (again.id, again.repeated), (quick.id, True))
            done = client.attach(quick.id or 0).collect()
            scene.checks.equal(
                "its output and its end", (done.console, str(done.result.outcome)), (b"hello\n", "halted")
            )
            rest = client.attach(quick.id or 0, run=1, offsets={kvmjob.Channel.CONSOLE: 4})
            scene.checks.equal("its output from an offset on", [(one.offset, one.data) for one in rest], [(4, b"o\n")])
            flood = client.detach(scene.flood(output_bytes=100_000), input=b"typed")
            long = client.detach(scene.endless(label="long"))
            with client.attach(long.id or 0) as job:
                scene.checks.equal("a reader who goes leaves it alone", job.attachment and job.attachment.label, "long")
            scene.checks.equal("what a flood left", len(client.attach(flood.id or 0).collect().console), 100_000)
            worker.process.kill()
        with LiveWorker(scene.programs, *options) as worker, Client(worker.path) as client:
            kept = {job.label: job for job in client.detached()}
            scene.checks.equal("a worker that was killed has it all", len(client.detached()), 3)
            scene.checks.equal("what had ended has ended", str(kept["quick"].outcome), "halted")
            scene.checks.that("and the rest runs again", str(kept["long"].state) in ("waiting", "running"))
            scene.checks.equal("until it is stopped", client.stop([kept["long"].id]), [True])
            scene.checks.equal("as its user", str(client.attach(kept["long"].id).result().canceller), "user")
            ids = [job.id for job in client.detached()]
            scene.checks.equal(
                "what is forgotten",
                [str(one) for one in client.forget([*ids, 1 << 40])],
                ["forgotten"] * 3 + ["unknown"],
            )
            scene.checks.equal("is gone", client.detached(), [])


def keeps_jobs(programs: Programs) -> bool:
    """Whether this kvmjobd can keep jobs at all."""
    return "--state-dir" in subprocess.run([programs.kvmjobd, "--help"], capture_output=True, text=True).stdout


# When things end


def drained(scene: Scene) -> None:
    with LiveWorker(scene.programs) as worker, Client(worker.path) as client:
        job = client.submit(JobSpec(scene.flood().start, Limits(wall_seconds=1)))
        scene.checks.that("a worker drains when it is told to", client.drain())
        try:
            client.submit(JobSpec(scene.image("hello")))
            scene.checks.that("it takes no more jobs", False)
        except kvmjob.Refused as refusal:
            scene.checks.equal("it takes no more jobs", (refusal.code, refusal.retryable), ("draining", True))
        scene.checks.equal("and has said so", client.leaving and client.leaving.reason, "drain")
        scene.checks.equal("the job that it had ends", str(job.result().outcome), "wall-time-exhausted")


def killed(scene: Scene) -> None:
    with LiveWorker(scene.programs) as worker, Client(worker.path) as client:
        jobs = [client.submit(scene.flood()) for _ in range(2)]
        worker.process.kill()
        for job in jobs:
            try:
                job.result()
                scene.checks.that("a worker that is killed: an error", False)
            except kvmjob.ConnectionLost as error:
                scene.checks.equal(
                    "a worker that is killed: an error", str(error), "the worker has closed the connection"
                )
        try:
            client.submit(scene.flood())
            scene.checks.that("and nothing more is taken", False)
        except kvmjob.ConnectionLost:
            scene.checks.that("and nothing more is taken", True)
    try:
        Client("/nowhere/kvmjobd.sock")
        scene.checks.that("no worker", False)
    except kvmjob.ConnectError as error:
        scene.checks.equal(
            "no worker", str(error), "no worker answers at /nowhere/kvmjobd.sock: No such file or directory"
        )


# asyncio


async def many_at_once(scene: Scene) -> None:
    async with await AsyncClient.connect(scene.worker.path) as client:
        spec = JobSpec(Image(scene.guests["reverse-line"]))
        lines = [f"line {number}".encode() for number in range(100)]
        done = await asyncio.gather(*(client.run(spec, line + b"\n") for line in lines))
        scene.checks.equal(
            "asyncio: 100 jobs at once", [one.console for one in done], [line[::-1] + b"\n" for line in lines]
        )
        answers = await asyncio.gather(*(client.worker() for _ in range(50)))
        scene.checks.equal("asyncio: 50 questions at once", len({one.slots for one in answers}), 1)
        scene.checks.that("asyncio: a ping", await client.ping() > 0)


async def async_cancelling(scene: Scene) -> None:
    async with await AsyncClient.connect(scene.worker.path) as client:
        for what, use in {"result": lambda job: job.result(), "reading": lambda job: job.collect()}.items():
            job = await client.submit(scene.endless())
            task = asyncio.ensure_future(use(job))
            await client.ping()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            scene.checks.equal(
                f"asyncio: a cancelled task cancels ({what})", str((await job.result()).outcome), "cancelled"
            )
        async with await client.submit(scene.flood()) as job:
            async for _ in job:
                break
        scene.checks.equal("asyncio: so does a context that is left", str((await job.result()).outcome), "cancelled")
        await_forever = asyncio.ensure_future(client.run(scene.endless()))
        while not await client.jobs():
            pass
        await_forever.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await await_forever
    scene.checks.that("asyncio: nothing of it is left on the worker", scene.until_idle())


async def async_back_pressure(scene: Scene) -> None:
    async with await AsyncClient.connect(scene.worker.path) as client:
        ours = memory()
        unread = await client.submit(scene.flood(output_bytes=FLOOD_BYTES))
        read = await client.submit(scene.flood(output_bytes=FLOOD_BYTES))
        total = 0
        async for chunk in read:
            total += len(chunk.data)
        scene.checks.equal("asyncio: who reads gets all", total, FLOOD_BYTES)
        waiting = sum(len(chunk.data) for chunk in unread._chunks)
        scene.checks.equal("asyncio: and who does not is held up", (waiting, unread.is_over), (WINDOW, False))
        scene.checks.that("asyncio: memory stays flat", memory() - ours < 4096, f"{memory() - ours} KiB more")
        done = await unread.collect()
        scene.checks.equal("asyncio: read at last", len(done.console), FLOOD_BYTES)


async def async_input_and_pause(scene: Scene) -> None:
    async with await AsyncClient.connect(scene.worker.path) as client:
        program = Program("/bin/busybox", [archive({"/bin/busybox": pathlib.Path("/bin/busybox")})], ["cat"])
        job = await client.submit(JobSpec(program, Limits(wall_seconds=60)), more_input=True)
        reader = asyncio.ensure_future(job.collect())
        typed = [bytes([number]) * 100_000 for number in range(20)]
        for part in typed:
            await job.write(part)
        job.end_input()
        scene.checks.equal("asyncio: 2 MB there and back", (await reader).console == b"".join(typed), True)
        spec = JobSpec(scene.image("long64-spin", Mode.LONG64), Limits(steps=1000), pause=True)
        async with await client.submit(spec) as paused:
            first = await paused.pause()
            paused.extend(1)
            second = await paused.pause()
            scene.checks.equal(
                "asyncio: a pause and another", [one and one.steps for one in (first, second)], [1000, 1001]
            )


async def async_lost(scene: Scene) -> None:
    with LiveWorker(scene.programs) as worker:
        client = await AsyncClient.connect(worker.path)
        job = await client.submit(scene.flood())
        tasks: list[Awaitable[object]] = [asyncio.ensure_future(job.collect())]
        await client.ping()
        worker.process.kill()
        ended = await asyncio.gather(*tasks, client.run(scene.flood()), client.worker(), return_exceptions=True)
        names = {type(one).__name__ for one in ended}
        scene.checks.equal("asyncio: a worker that is killed: an error for each", names, {"ConnectionLost"})
        client.close()


# The package


def examples(scene: Scene) -> Iterator[tuple[str, str]]:
    wanted = ["hi", "kvmjob", "one\\ntwo", "h"]
    blocks = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    scene.checks.equal("README: its examples", len(blocks), len(wanted))
    yield from list(zip(blocks, wanted))[: None if scene.keeps_jobs else -1]


def readme(scene: Scene, python: str, path: str) -> None:
    with tempfile.TemporaryDirectory(prefix="kvmjob-state-") as folder:
        options = ("--state-dir", folder) if scene.keeps_jobs else ()
        with LiveWorker(scene.programs, *options) as worker:
            run_examples(scene, python, {"KVMJOB_SOCKET": worker.path, "PYTHONPATH": path})


def run_examples(scene: Scene, python: str, variables: dict[str, str]) -> None:
    environment = {"PATH": os.environ["PATH"]} | variables
    for number, (code, wanted) in enumerate(examples(scene), 1):
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=PATIENCE, env=environment)
        said = done.stdout.replace("'h'", "h")
        letters = "".join(re.findall(r"b'(.*?)'", said)) or said
        scene.checks.that(
            f"README: example {number} runs", done.returncode == 0 and wanted in letters, done.stderr or ""
        )


def typed(scene: Scene, python: str) -> None:
    """Of the package as pip has installed it."""
    fetched = subprocess.run([python, "-m", "pip", "install", "--quiet", "mypy"], capture_output=True, text=True)
    if fetched.returncode != 0:
        print("note: pip cannot get mypy: types were not checked", flush=True)
        return
    command = [python, "-m", "mypy", "--strict", "--cache-dir=/dev/null", "--package", "kvmjob"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    scene.checks.equal("mypy --strict", (done.returncode, done.stdout[:2000] if done.returncode else ""), (0, ""))


def installed(scene: Scene) -> None:
    """As pip does it, which must not ask the network for anything; where there is no pip, as a wheel in the path."""
    with tempfile.TemporaryDirectory(prefix="kvmjob-pip-") as folder:
        made = subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], capture_output=True, text=True)
        if made.returncode == 0:
            python = f"{folder}/venv/bin/python"
            pip = subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--no-index", str(PACKAGE)], capture_output=True, text=True
            )
            scene.checks.equal(
                "pip installs it without an index", (pip.returncode, pip.stderr and pip.stderr[:400]), (0, "")
            )
            readme(scene, python, "")
            typed(scene, python)
        else:
            print("note: no venv here: the wheel is used as it is", flush=True)
        specification = importlib.util.spec_from_file_location("build_backend", PACKAGE / "build_backend.py")
        assert specification and specification.loader
        backend = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(backend)
        names = {backend.build_wheel(folder) for _ in range(2)}
        readme(scene, sys.executable, f"{folder}/{names.pop()}")
        scene.checks.equal(
            "its version is the worker's", f"kvmjobd {kvmjob.__version__}", scene.client().terms.software
        )


SYNC: list[Callable[[Scene], None]] = [
    hello, steps, cancelling, back_pressure, linux_programs, refusals, inspection, snapshots, questions, drained, killed,
    installed,
]  # fmt: skip
ASYNC: list[Callable[[Scene], Awaitable[None]]] = [
    many_at_once, async_cancelling, async_back_pressure, async_input_and_pause, async_lost,
]  # fmt: skip


async def within(act: Callable[[Scene], Awaitable[None]], scene: Scene) -> None:
    await asyncio.wait_for(act(scene), PATIENCE)


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="kvmjob-guests-") as folder, LiveWorker(programs) as worker:
        scene = Scene(programs, worker, programs.write_guests(folder), checks)
        for act in SYNC:
            act(scene)
        if scene.keeps_jobs:
            detaching(scene)
        for asynchronous in ASYNC:
            asyncio.run(within(asynchronous, scene))
        checks.that("no job is left", scene.until_idle())
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
