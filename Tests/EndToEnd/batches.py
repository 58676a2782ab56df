#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Batches: manifests of thousands of jobs on one kvmjobd, broken off in every way and gone on with.

    batches.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...

BATCH_JOBS (500) is how many jobs the batch has that is killed, BATCH_KILLS (4) how often each of client, worker and both is
killed at a random instant, with --resume and with --attach, BATCH_LONG (0) how many jobs a batch has of which memory and speed are measured, and BATCH_LIVE a
file for what a terminal shows of the live view. Needs /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import base64
import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from detached import KeptWorker  # noqa: E402
from live import PATIENCE, Checks, LiveWorker, Programs  # noqa: E402

JOBS = int(os.environ.get("BATCH_JOBS", "500"))
KILLS = int(os.environ.get("BATCH_KILLS", "4"))
LONG = int(os.environ.get("BATCH_LONG", "0"))
# What does not depend on how busy a machine is.
FIXED = ("line", "job_id", "label", "image", "outcome", "error", "code", "fault", "exhausted", "output_base64", "registers", "steps")

Lines = list[dict[str, Any]]


def printer(text: bytes) -> str:
    """A guest of real mode that writes a text to port 0xe9 and halts: mov al, byte; out 0xe9, al; ...; hlt."""
    return "".join(f"b0{byte:02x}e6e9" for byte in text) + "f4"


def some_jobs(count: int) -> Lines:
    """Jobs of each kind that ends always in the same way, no two the same."""
    kinds = [
        lambda n: {"hex": printer(b"%d\n" % n), "label": f"print {n}"},
        lambda n: {"hex": "f4", "set": {"bx": n % 65536, "cx": n // 65536}, "steps": 100},
        lambda n: {"hex": "ebfe", "steps": 20 + n % 30, "set": {"bx": n % 65536, "cx": n // 65536}},  # jmp itself
        lambda n: {"hex": f"b0{n % 255 + 1:02x}e6f4f4", "set": {"cx": n % 65536, "dx": n // 65536}},  # exits with a code
        lambda n: {"hex": "0f0b", "set": {"si": n % 65536, "di": n // 65536}},  # ud2
    ]
    return [kinds[number % len(kinds)](number) for number in range(count)]


class Bench:
    """A folder with manifests and results, and the command that runs them."""

    def __init__(self, programs: Programs, folder: str, socket: str) -> None:
        self.programs, self.folder, self.socket = programs, pathlib.Path(folder), socket

    def write(self, name: str, jobs: Lines) -> str:
        path = self.folder / name
        path.write_text("".join(json.dumps(job) + "\n" for job in jobs))
        return str(path)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def command(self, *arguments: str) -> list[str]:
        return [str(self.programs.kvmjob), "batch", *arguments, "--socket", self.socket]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=PATIENCE * 10, check=False, **options
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def results(self, name: str) -> Lines:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def fixed(results: Lines) -> dict[str, Any]:
    """By job_id, what must be the same in each run."""
    return {result["job_id"]: {key: result[key] for key in FIXED} for result in results}


def is_once(checks: Checks, what: str, results: Lines, wanted: dict[str, Any]) -> None:
    ids = [result["job_id"] for result in results]
    doubled = [one for one, count in collections.Counter(ids).items() if count > 1]
    checks.equal(f"{what}: no result is there twice", doubled, [])
    checks.equal(f"{what}: no result is missing", sorted(set(wanted) - set(ids))[:3], [])
    seen = fixed(results)
    other = [(seen[one], wanted.get(one)) for one in seen if seen[one] != wanted.get(one)]
    checks.equal(f"{what}: all are those of an undisturbed run", other[:1], [])


# What a batch is


def plain(checks: Checks, bench: Bench) -> dict[str, Any]:
    """An undisturbed run, to which all others are compared."""
    manifest = bench.write("jobs.jsonl", some_jobs(JOBS))
    done = bench.run(manifest, "--out", bench.path("plain.jsonl"))
    results = bench.results("plain.jsonl")
    checks.equal("an undisturbed batch: one result for each line", sorted(r["line"] for r in results), list(range(1, JOBS + 1)))
    checks.equal("its status is that of its worst job", done.returncode, 124)
    counts = collections.Counter(result["outcome"] for result in results)
    checks.equal("its outcomes are those of its guests", counts["halted"], 2 * (JOBS // 5))
    printed = {r["label"]: base64.b64decode(r["output_base64"]) for r in results if r["label"]}
    checks.equal("its output is the guests'", printed, {f"print {n}": b"%d\n" % n for n in range(0, JOBS, 5)})
    table = re.search(r"halted +(\d+) +40 %", done.stderr)
    checks.equal("its summary counts them", table and int(table[1]), counts["halted"])
    checks.equal("in a pipe there is no live view", done.stderr.count("\r"), 0)
    again = bench.run(manifest, "--out", bench.path("plain.jsonl"))
    checks.that("results are not overwritten", again.returncode == 64 and "--resume" in again.stderr, again.stderr)
    nothing = bench.run(manifest, "--out", bench.path("plain.jsonl"), "--resume")
    checks.that("with all of them there, --resume runs none", "kvmjob: 0 jobs" in nothing.stderr, nothing.stderr)
    checks.equal("and leaves the file as it is", bench.results("plain.jsonl"), results)
    return fixed(results)


def mistakes(checks: Checks, bench: Bench) -> None:
    lines = ['{"hex":"f4"}', '{"hex":"f4","step":3}', '{"hex":"f4","steps":"x"}', '{"image":"missing.bin"}', '{"hex":"f4"']
    path = bench.folder / "wrong.jsonl"
    path.write_text("\n".join(lines) + "\n")
    found = bench.run(str(path))
    places = [f"{path}:2:13: \"step\"", f"{path}:3:21: \"steps\"", f"{path}:4: \"image\"", f"{path}:5:12: a comma"]
    checks.equal("mistakes are told by line, column and field", [place in found.stderr for place in places], [True] * 4)
    checks.equal("and no job of such a file runs", (found.stdout, found.returncode), ("", 126))
    path.write_text("{}\n" * 25)
    checks.that("of many mistakes 20 are shown", "and 5 more" in bench.run(str(path)).stderr)
    stream = bench.run("-", input="\n".join(lines[:3]) + "\n", cwd=bench.folder)
    results = [json.loads(line) for line in stream.stdout.splitlines()]
    seen = sorted((r["line"], r["outcome"], (r["error"] or {}).get("code")) for r in results)
    checks.equal(
        "a stream goes on behind a mistake", seen, [(1, "halted", None), (2, "refused", "manifest"), (3, "refused", "manifest")]
    )
    checks.equal("and its status tells", stream.returncode, 126)


def stream(checks: Checks, bench: Bench) -> None:
    """Lines one by one: each result comes before the next line is written."""
    batch = subprocess.Popen(bench.command("-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert batch.stdin and batch.stdout
    answers = []
    for number in range(5):
        batch.stdin.write(json.dumps({"hex": printer(b"%d" % number)}) + "\n")
        batch.stdin.flush()
        answers.append(base64.b64decode(json.loads(batch.stdout.readline())["output_base64"]))
    checks.equal("a stream is answered line by line", answers, [b"%d" % number for number in range(5)])
    batch.send_signal(signal.SIGINT)
    checks.equal("Ctrl-C ends it while it waits for a line", batch.wait(PATIENCE), 130)


def order(checks: Checks, bench: Bench, wanted: dict[str, Any]) -> None:
    bench.run(bench.path("jobs.jsonl"), "--out", bench.path("ordered.jsonl"), "--ordered")
    results = bench.results("ordered.jsonl")
    checks.equal("--ordered: as in the manifest", [r["line"] for r in results], list(range(1, JOBS + 1)))
    is_once(checks, "--ordered", results, wanted)


def output_files(checks: Checks, bench: Bench) -> None:
    jobs = [{"hex": printer(b"one")}, {"program": ["sh", "-c", "echo out; echo err >&2; exit 3"]}]
    bench.run(bench.write("files.jsonl", jobs), "--out", bench.path("files.out"), "--output-dir", bench.path("outputs"), "--ordered")
    image, program = bench.results("files.out")
    read = [pathlib.Path(image["output_file"]), pathlib.Path(program["output_file"]), pathlib.Path(program["stderr_file"])]
    checks.equal("--output-dir: what guests wrote is in files", [p.read_bytes() for p in read], [b"one", b"out\n", b"err\n"])
    names = [f"{image['job_id']}.out", f"{program['job_id']}.out", f"{program['job_id']}.err"]
    checks.equal("named by job_id", [p.name for p in read], names)
    checks.equal("and not in the results", (image["output_base64"], program["stderr_base64"], image["stderr_file"]), (None, None, None))
    inline = bench.run(bench.path("files.jsonl"), "--ordered").stdout.splitlines()[1]
    checks.equal("without it both streams of a program are there", base64.b64decode(json.loads(inline)["stderr_base64"]), b"err\n")


def failures(checks: Checks, bench: Bench) -> None:
    jobs = [{"hex": "f4"}] * 3 + [{"hex": "b003e6f4"}] + [{"hex": "f4", "set": {"ax": n}} for n in range(1, 200)]
    manifest = bench.write("failing.jsonl", jobs)
    ended = bench.run(manifest, "--out", bench.path("failing.out"), "--fail-fast", "--jobs", "1")
    results = bench.results("failing.out")
    checks.equal("--fail-fast ends with the failure", ([r["outcome"] for r in results], ended.returncode), (["halted"] * 3 + ["exited"], 1))
    checks.that("equal lines have ids of their own", results[1]["job_id"] == results[0]["job_id"] + "-2")
    bench.run(manifest, "--out", bench.path("failing.out"), "--resume")
    checks.equal("--resume runs the rest", len(bench.results("failing.out")), len(jobs))
    before = {r["job_id"]: r["id"] for r in bench.results("failing.out")}
    bench.run(manifest, "--out", bench.path("failing.out"), "--only-failed")
    after = {r["job_id"]: r["id"] for r in bench.results("failing.out")}
    again = [one for one in after if after[one] != before[one]]
    checks.equal("--only-failed runs what failed", again, [results[3]["job_id"]])


def crowd(checks: Checks, bench: Bench) -> None:
    """More than a worker has room for at a time waits: a refusal that passes is no result."""
    for number in range(40):
        (bench.folder / f"large-{number}.bin").write_bytes(b"\xf4" + os.urandom(1 << 20))
    manifest = bench.write("crowd.jsonl", [{"image": f"large-{number}.bin", "mode": "long64"} for number in range(40)])
    with LiveWorker(bench.programs, "--bytes-in-flight", "3MiB", "--image-cache", "16MiB") as narrow:
        ended = subprocess.run(
            [str(bench.programs.kvmjob), "batch", manifest, "--socket", narrow.path], capture_output=True, text=True, check=False
        )
    outcomes = collections.Counter(json.loads(line)["outcome"] for line in ended.stdout.splitlines())
    checks.equal("what a worker has no room for waits", (dict(outcomes), ended.returncode), ({"halted": 40}, 0))
    missing = bench.write("refused.jsonl", [{"hex": "f4", "memory": "512GiB", "label": "ann"}])
    refused = bench.run(missing)
    checks.that("what is refused for good is told with its reason", "line 1: refused: " in refused.stderr, refused.stderr)


# What outlives it


def detached(checks: Checks, bench: Bench, worker: KeptWorker, wanted: dict[str, Any]) -> None:
    """Jobs that are handed over in one command, and whose results are had in another."""
    jobs = bench.path("jobs.jsonl")
    handed = bench.run(jobs, "--detach", "--out", bench.path("attached.jsonl"))
    first = bench.results("attached.jsonl")
    checks.equal("--detach: a number for each line", (len({r["id"] for r in first}), handed.returncode), (JOBS, 0))
    checks.equal("and no result", {r["outcome"] for r in first}, {"detached"})
    second = [json.loads(line) for line in bench.run(jobs, "--detach").stdout.splitlines()]
    numbers = [{r["job_id"]: r["id"] for r in results} for results in (first, second)]
    checks.equal("handed over again they are the same jobs", (numbers[0] == numbers[1], {r["repeated"] for r in second}), (True, {True}))
    ended = bench.run(jobs, "--attach", "--out", bench.path("attached.jsonl"), "--resume")
    is_once(checks, "--attach", bench.results("attached.jsonl"), wanted)
    checks.equal("its status is that of the worst job", ended.returncode, 124)
    checks.equal("each by the number that it had", {r["job_id"]: r["id"] for r in bench.results("attached.jsonl")}, numbers[0])
    checks.equal("what is in the file the worker has forgotten", worker.listed(), [])
    bench.run(jobs, "--attach", "--out", bench.path("at-once.jsonl"), "--ordered")
    results = bench.results("at-once.jsonl")
    is_once(checks, "--attach hands over what is not there", results, wanted)
    checks.equal("--attach --ordered: as in the manifest", [r["line"] for r in results], list(range(1, JOBS + 1)))
    pipe = bench.run(bench.write("one.jsonl", [{"hex": printer(b"one")}]), "--attach")
    checks.equal("without --out they are written", base64.b64decode(json.loads(pipe.stdout)["output_base64"]), b"one")
    kept = worker.listed()
    checks.equal("and stay with the worker", [job["state"] for job in kept], ["ended"])
    worker.kvmjob("forget", "--ended")
    nobody = subprocess.run(
        [str(bench.programs.kvmjob), "batch", jobs, "--detach", "--embedded"], capture_output=True, text=True, check=False
    )
    checks.that("a worker of one's own is none to leave jobs with", nobody.returncode == 125 and "outlives" in nobody.stderr, nobody)


# What kills it


def kills(checks: Checks, bench: Bench, worker: KeptWorker, wanted: dict[str, Any], seconds: float, *words: str) -> None:
    """kill -9 of the client, of the worker, and of both, at random instants of a batch that is gone on with each time."""
    for victims in (["client"], ["worker"], ["client", "worker"]):
        chance = random.Random(" ".join([*victims, *words]))
        out = bench.folder / f"{'-'.join(victims)}{''.join(words)}.jsonl"
        name = f"{' '.join(words) or '--resume'}: {' and '.join(victims)} killed"
        killed = torn = through = 0
        while True:
            batch = bench.start(bench.path("jobs.jsonl"), "--out", str(out), "--resume", "--retry", "100", *words)
            is_killed = False
            while killed < KILLS and not is_killed and batch.poll() is None:
                try:
                    batch.wait(chance.uniform(0, seconds / 3))
                    break
                except subprocess.TimeoutExpired:
                    killed += 1
                if "worker" in victims:
                    worker.process.kill()
                if is_killed := "client" in victims:
                    batch.kill()
                if "worker" in victims:
                    worker.kill()
                    worker.start()
            _, said = batch.communicate(timeout=PATIENCE * 10)
            if not is_killed:
                checks.that(f"{name} {killed} times so far: the batch ends", batch.returncode == 124, said)
                is_once(checks, f"{name} {killed} times so far", bench.results(out.name), wanted)
                out.unlink()
                through += 1
                if killed >= KILLS:
                    break
            elif out.exists() and chance.random() < 0.5:
                # A write can be cut anywhere, which a kill alone seldom does.
                whole = out.read_bytes()
                last = whole[:-1].rfind(b"\n") + 1
                if last < len(whole):
                    os.truncate(out, chance.randrange(last, len(whole)))
                    torn += 1
        print(f"     {name} {killed} times, {through} batches came through, {torn} lines were cut")


def lost_worker(checks: Checks, bench: Bench, worker: KeptWorker, wanted: dict[str, Any]) -> None:
    out = pathlib.Path(bench.path("lost.jsonl"))
    batch = bench.start(bench.path("jobs.jsonl"), "--out", str(out))
    while not out.exists() or out.stat().st_size == 0:
        time.sleep(0.01)
    worker.kill()
    _, said = batch.communicate(timeout=PATIENCE)
    checks.that("without --retry a lost worker ends the batch", batch.returncode == 125 and "--resume goes on" in said, said)
    worker.start()
    bench.run(bench.path("jobs.jsonl"), "--out", str(out), "--resume")
    is_once(checks, "and --resume goes on with it", bench.results(out.name), wanted)


# What it looks like, and what it costs


def live_view(checks: Checks, bench: Bench) -> None:
    if not shutil.which("tmux"):
        print("     no tmux: the live view was not looked at")
        return
    command = " ".join(bench.command(bench.path("slow.jsonl"), "--out", bench.path("live.jsonl"), "--jobs", "4"))
    bench.write("slow.jsonl", [{"hex": "ebfe", "set": {"bx": n}, "wall_time": "100ms"} for n in range(100)] + [{"hex": "f4"}])
    tmux = ["tmux", "-L", f"kvmjob-{os.getpid()}"]
    subprocess.run([*tmux, "new-session", "-d", "-x", "100", "-y", "12", f"{command}; sleep 60"], check=True)
    view = ""
    patience = time.monotonic() + PATIENCE
    while not re.search(r"\d+/101 done, 4 in flight, \d+ wall-time-exhausted, .* jobs/s, .* left", view) and time.monotonic() < patience:
        time.sleep(0.05)
        view = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout
    checks.that("on a terminal there is a live view", time.monotonic() < patience, view.strip())
    while "OUTCOME" not in (end := subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout):
        if time.monotonic() > patience:
            break
        time.sleep(0.05)
    subprocess.run([*tmux, "kill-server"], check=False)
    checks.that("which the summary takes the place of", "OUTCOME" in end and "in flight" not in end, end.strip())
    if keep := os.environ.get("BATCH_LIVE"):
        pathlib.Path(keep).write_text(f"{view.rstrip()}\n\n{end.rstrip()}\n")


def resident(process: int) -> int:
    """KiB of memory."""
    try:
        return int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]) * 4
    except (FileNotFoundError, IndexError):
        return 0


def long_batch(checks: Checks, bench: Bench, worker: KeptWorker) -> None:
    """Memory of client and worker over a long batch, and its speed against that of `kvmjob bench`."""
    manifest = bench.write("long.jsonl", [{"hex": "f4"}] * LONG)
    base = [str(bench.programs.kvmjob), "bench", "--socket", bench.socket, "--json", "--duration", "5s"]
    rate = json.loads(subprocess.run(base, capture_output=True, text=True, check=True).stdout)
    batch = bench.start(manifest, "--out", bench.path("long.out"))
    begin = time.monotonic()
    sizes: dict[str, list[int]] = {"client": [], "worker": []}
    while batch.poll() is None:
        for name, process in (("client", batch.pid), ("worker", worker.process.pid)):
            if size := resident(process):
                sizes[name].append(size)
        time.sleep(0.2)
    _, said = batch.communicate()
    seconds = time.monotonic() - begin
    with open(bench.path("long.out")) as file:
        checks.equal("a long batch has all its results", sum(1 for _ in file), LONG)
    print(f"     {LONG} jobs in {seconds:.1f} s: {said.splitlines()[0]}; bench: {json.dumps(rate)[:300]}")
    for name, found in sizes.items():
        tenth = max(1, len(found) // 10)
        print(f"     resident memory of the {name} in KiB, tenth by tenth: {[max(found[i:i + tenth]) for i in range(0, len(found), tenth)]}")
        checks.that(f"memory of the {name} is flat", max(found[-tenth:]) < max(found[tenth : 2 * tenth]) * 1.25 + 8192, found[-1])


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="kvmjob-batch-") as folder:
        worker = KeptWorker(programs, folder)
        bench = Bench(programs, folder, str(worker.path))
        begin = time.monotonic()
        wanted = plain(checks, bench)
        seconds = (time.monotonic() - begin) / 2
        mistakes(checks, bench)
        stream(checks, bench)
        order(checks, bench, wanted)
        output_files(checks, bench)
        failures(checks, bench)
        crowd(checks, bench)
        live_view(checks, bench)
        detached(checks, bench, worker, wanted)
        lost_worker(checks, bench, worker, wanted)
        kills(checks, bench, worker, wanted, seconds)
        kills(checks, bench, worker, wanted, seconds, "--attach")
        if LONG:
            long_batch(checks, bench, worker)
        checks.equal("the worker lives, and drains with status 0", worker.stop(), 0)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
