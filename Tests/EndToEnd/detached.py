#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Detached jobs from the command line: handed over, followed, and had again behind clients and workers that are killed.

    detached.py [KVMJOBD [KVMJOB [GUEST_IMAGES]]]
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from live import PATIENCE, Checks, Programs, did_not_run

ALPHABET = b"abcdefghijklmnopqrstuvwxyz"
LETTERS = "b0 61 b9 1a 00 e6 e9 fe c0 e2 fa"  # mov al,'a'; mov cx,26; out 0xe9,al; inc al; loop
TALK = f"{LETTERS} f4"  # and hlt
TALK_ON = f"{LETTERS} eb fe"  # and for ever
LOOP = "eb fe"
# Eight times 65,536 bytes, which count.
MUCH = "31 db b9 00 00 ba 08 00 88 d8 e6 e9 43 e2 f9 4a 75 f6 f4"
MUCH_BYTES = bytes(n & 255 for n in range(8 * 65536))
UNPRIVILEGED = 65534
Run = subprocess.CompletedProcess[bytes]


class KeptWorker:
    """A kvmjobd with a socket and a state directory that outlive it."""

    def __init__(self, programs: Programs, folder: str, *options: str) -> None:
        self.programs, self.folder, self.options = programs, pathlib.Path(folder), options
        self.path, self.state = self.folder / "socket", self.folder / "state"
        self.state.mkdir(mode=0o700)
        self.log: list[str] = []
        self.start()

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        ready = threading.Event()
        command = [self.programs.kvmjobd, "--socket", str(self.path), "--state-dir", str(self.state)]
        command += ["--log-target", "stderr", "--slots", "2", *self.options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

        def read() -> None:
            assert self.process.stderr
            for line in self.process.stderr:
                self.log.append(line)
                if "event=worker-ready" in line:
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        if not ready.wait(PATIENCE) or self.process.poll() is not None:
            self.process.kill()
            raise RuntimeError(f"kvmjobd did not start: {''.join(self.log[-20:])}")
        os.chmod(self.path, 0o666)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def command(self, *words: str) -> list[str]:
        return [self.programs.kvmjob, words[0], "--socket", str(self.path), *words[1:]]

    def kvmjob(self, *words: str, stdin: bytes = b"", user: int | None = None) -> Run:
        return subprocess.run(
            self.command(*words), input=stdin, capture_output=True, timeout=3 * PATIENCE, user=user, group=user
        )

    def start_kvmjob(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(*words), bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def detach(self, *words: str, stdin: bytes = b"") -> str:
        made = self.kvmjob("submit", "--detach", *words, stdin=stdin)
        if made.returncode != 0 or not made.stdout.strip().isdigit():
            raise RuntimeError(f"not handed over: {made}")
        return made.stdout.strip().decode()

    def listed(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.kvmjob("ps", "--detached", "--json").stdout.splitlines()]

    def state_of(self, id: str) -> object:
        return {job["id"]: job["state"] for job in self.listed()}.get(int(id))


def read(process: subprocess.Popen[bytes], count: int) -> bytes:
    """So many bytes of its output, and not one more."""
    assert process.stdout
    found = b""
    while len(found) < count and (more := process.stdout.read(count - len(found))):
        found += more
    return found


def eventually(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def whole_life(checks: Checks, worker: KeptWorker) -> None:
    id = worker.detach("--hex", TALK)
    waited = worker.kvmjob("wait", id)
    checks.equal("wait ends as submit would have", waited.returncode, 0)
    checks.that("and tells how the job ended", b"hex: halted" in waited.stderr, waited.stderr)
    checks.equal("logs are what it wrote", worker.kvmjob("logs", id).stdout, ALPHABET)
    places = [worker.kvmjob("logs", id, "--from", str(n)).stdout for n in (0, 1, 13, 25, 26, 27, 1 << 40)]
    checks.equal("from any byte on", places, [ALPHABET[n:] for n in (0, 1, 13, 25, 26, 27, 1 << 40)])
    shown = worker.kvmjob("result", id)
    checks.that("result shows the verdict", shown.returncode == 0 and b"halted" in shown.stdout, shown)
    report = json.loads(worker.kvmjob("result", id, "--json").stdout)
    attached = json.loads(worker.kvmjob("submit", "--json", "--hex", TALK).stdout)
    checks.equal("as JSON with the keys of submit --json", list(report), list(attached))
    same = ["outcome", "output_base64", "output_bytes", "registers", "error"]
    checks.equal("and what it says", [report[k] for k in same], [attached[k] for k in same])
    checks.equal("its number is in it", str(report["id"]), id)
    jobs = {job["id"]: job for job in worker.listed()}
    checks.equal("ps lists it", (jobs[int(id)]["state"], jobs[int(id)]["outcome"]), ("ended", "halted"))
    table = worker.kvmjob("ps", "--detached").stdout.decode().splitlines()
    checks.that("as a table, too", table[0].split()[:4] == ["ID", "USER", "STATE", "RUN"] and len(table) > 1, table)
    several = worker.kvmjob("submit", "--detach", "--repeat", "3", "--hex", "b0 05 e6 f4").stdout.split()
    checks.equal("one number a line", len(several), 3)
    waits = worker.kvmjob("wait", id, *[n.decode() for n in several], "--json")
    checks.equal("of several the worst counts", waits.returncode, 1)
    checks.equal("an object for each", [json.loads(line)["outcome"] for line in waits.stdout.splitlines()],
                 ["halted"] + 3 * ["exited"])  # fmt: skip
    checks.equal("of one its code", worker.kvmjob("wait", several[0].decode()).returncode, 5)


def programs_too(checks: Checks, worker: KeptWorker) -> None:
    sh = shutil.which("dash") or shutil.which("sh") or "sh"
    made = worker.kvmjob(
        "run", "--detach", "--json", "--key", "p", "--", sh, "-c", "while read l; do echo $l; done; echo oops >&2; exit 3", stdin=b"one\ntwo\n"
    )
    said = json.loads(made.stdout or b"{}")
    if not checks.that("run --detach says the number", made.returncode == 0 and "id" in said, made):
        return
    id = str(said["id"])
    checks.equal("wait ends as run would have", worker.kvmjob("wait", id).returncode, 3)
    logs = worker.kvmjob("logs", id)
    checks.equal("its input was all there", logs.stdout, b"one\ntwo\n")
    checks.equal("its standard error comes on standard error", logs.stderr, b"oops\n")


def keys(checks: Checks, worker: KeptWorker) -> None:
    id = worker.detach("--key", "week-7", "--hex", TALK)
    checks.equal("a key used twice is one job", worker.detach("--key", "week-7", "--hex", TALK), id)
    # --json asks for more to be told: it is another submission than the same without.
    words = ["submit", "--detach", "--json", "--key", "week-8", "--hex", TALK]
    said = [json.loads(worker.kvmjob(*words).stdout) for _ in range(2)]
    checks.equal("and says so", [(one["id"], one["repeated"]) for one in said],
                 [(said[0]["id"], False), (said[0]["id"], True)])  # fmt: skip
    other = worker.kvmjob("submit", "--detach", "--key", "week-7", "--hex", "f4")
    checks.that("for another job it is taken", other.returncode == 126 and b"week-7" in other.stderr, other)
    worker.kvmjob("wait", id)
    checks.equal("a forgotten one is free", worker.kvmjob("forget", id).returncode, 0)
    new = worker.detach("--key", "week-7", "--hex", "f4")
    checks.that("for another job", new != id, new)
    worker.kvmjob("wait", new)


def killed_clients(checks: Checks, worker: KeptWorker) -> None:
    submitter = worker.start_kvmjob("submit", "--detach", "--wall-time", "2s", "--hex", TALK_ON)
    assert submitter.stdout
    id = submitter.stdout.readline().strip().decode()
    submitter.kill()
    submitter.communicate()
    checks.that("who submitted is killed, and the job is there", id.isdigit() and worker.state_of(id) is not None, id)
    follower = worker.start_kvmjob("logs", "--follow", id)
    checks.equal("its output is followed", read(follower, len(ALPHABET)), ALPHABET)
    follower.kill()
    follower.communicate()
    checks.equal("who followed is killed, and the job goes on", worker.kvmjob("wait", id).returncode, 124)
    checks.equal("its output is kept", worker.kvmjob("logs", id, "--follow").stdout, ALPHABET)
    checks.equal("result of one that has not ended",
                 worker.kvmjob("result", worker.detach("--wall-time", "1s", "--hex", LOOP)).returncode, 1)  # fmt: skip


def killed_worker(checks: Checks, worker: KeptWorker) -> None:
    id = worker.detach("--wall-time", "3s", "--hex", TALK_ON)
    follower = worker.start_kvmjob("logs", "--follow", id)
    waiter = worker.start_kvmjob("wait", id)

    def connections() -> int:
        return int(json.loads(worker.kvmjob("status", "--json").stdout)["worker"]["connections"])

    eventually(lambda: connections() >= 3)  # the follower, the waiter, and who asks
    checks.equal("the first run is followed", read(follower, len(ALPHABET)), ALPHABET)
    worker.kill()
    worker.start()
    out, err = follower.communicate(timeout=3 * PATIENCE)
    checks.equal("behind the worker's end its output begins anew, once", out, ALPHABET)
    checks.that("which is told", b"began anew" in err, err)
    waiter.communicate(timeout=3 * PATIENCE)
    checks.equal("and who waited has the result", waiter.returncode, 124)
    runs = {job["id"]: job["run"] for job in worker.listed()}
    checks.equal("it was the second run", runs.get(int(id)), 2)

    id = worker.detach("--hex", MUCH)
    worker.kvmjob("wait", id)
    reader = worker.start_kvmjob("logs", "--follow", id)
    begin = read(reader, 1000)  # and no more: what is on the way fills pipe and window
    worker.kill()
    worker.start()
    rest, err = reader.communicate(timeout=3 * PATIENCE)
    checks.equal("a reader of a job that has ended goes on behind a worker's end", len(begin + rest), len(MUCH_BYTES))
    checks.that("with each byte once", begin + rest == MUCH_BYTES and err == b"", err)
    started = time.monotonic()
    worker.kill()
    gone = worker.kvmjob("wait", id, "--patience", "1s")
    checks.that("a worker that is not there is said at once",
                gone.returncode == 125 and time.monotonic() - started < PATIENCE, gone)  # fmt: skip
    worker.start()


def ends(checks: Checks, worker: KeptWorker) -> None:
    id = worker.detach("--wall-time", "50s", "--hex", LOOP)
    unfinished = worker.kvmjob("forget", id)
    checks.that("what has not ended is not forgotten", unfinished.returncode == 1 and b"cancel" in unfinished.stderr,
                unfinished)  # fmt: skip
    checks.equal("cancel stops it", worker.kvmjob("cancel", id).returncode, 0)
    checks.equal("and its result says so", worker.kvmjob("wait", id).returncode, 1)
    checks.that("by whom", b"kvmjob cancel" in worker.kvmjob("result", id).stdout)
    checks.equal("then it is forgotten", worker.kvmjob("forget", id).returncode, 0)
    for words in (["wait", id], ["logs", id], ["result", id], ["forget", id]):
        unknown = worker.kvmjob(*words)
        checks.that(f"{words[0]} of a forgotten one says what to do",
                    unknown.returncode == 1 and b"ps --detached" in unknown.stderr, unknown)  # fmt: skip
    worker.detach("--hex", "f4")
    eventually(lambda: all(job["state"] == "ended" for job in worker.listed()))
    checks.equal("forget --ended", worker.kvmjob("forget", "--ended").returncode, 0)
    checks.equal("leaves nothing that has", worker.listed(), [])


def other_users(checks: Checks, worker: KeptWorker) -> None:
    if os.geteuid() != 0:
        print("-- not root: nobody else to be")
        return
    os.chmod(worker.folder, 0o755)
    id = worker.detach("--hex", TALK)
    worker.kvmjob("wait", id)
    seen = worker.kvmjob("ps", "--detached", "--json", user=UNPRIVILEGED)
    checks.equal("another user does not see it", (seen.returncode, seen.stdout), (0, b""))
    for words in (["wait", id], ["logs", id], ["result", id], ["forget", id]):
        checks.equal(f"nor has any {words[0]} of it", worker.kvmjob(*words, user=UNPRIVILEGED).returncode, 1)
    checks.equal("it is still there", worker.kvmjob("logs", id).stdout, ALPHABET)


def retention(checks: Checks, worker: KeptWorker) -> None:
    ids = []
    for _ in range(5):
        ids.append(worker.detach("--hex", TALK))
        worker.kvmjob("wait", ids[-1])
    kept = [str(job["id"]) for job in worker.listed()]
    checks.equal("of more than may be kept the first to end are forgotten", kept, ids[-3:])


def uploads(checks: Checks, worker: KeptWorker) -> None:
    """What a job held while it came is free when the worker has it."""
    sh = shutil.which("dash") or shutil.which("sh") or "sh"
    made = [worker.kvmjob("run", "--detach", "--", sh, "-c", f"exit {n % 3}").returncode for n in range(8)]
    checks.equal("programs come one after the other, however many", made, [0] * 8)
    held = json.loads(worker.kvmjob("status", "--json").stdout)["tenants"]
    checks.that("and nothing is held for them", eventually(lambda: all(
        one["in_flight_bytes"] == 0 for one in json.loads(worker.kvmjob("status", "--json").stdout)["tenants"])), held)  # fmt: skip


def full_disk(checks: Checks, programs: Programs, folder: str) -> None:
    """Where nothing can be kept, accepted jobs wait, and go on when there is room."""
    pathlib.Path(folder).mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        print("-- a full disk was not tried: no file system can be mounted here")
        return
    worker = KeptWorker(programs, folder)
    try:
        filler = pathlib.Path(folder, "filler")
        filler.write_bytes(bytes(7600 * 1024))
        id = worker.detach("--hex", MUCH, "--output-limit", "600KiB")
        started = time.monotonic()
        checks.that("what does not fit is told", eventually(lambda: any("disk is full" in line for line in worker.log)))
        large = pathlib.Path(folder).parent / "large.bin"
        large.write_bytes(os.urandom(400 * 1024))
        refused = worker.kvmjob("submit", "--detach", str(large))
        checks.that("a job that cannot be kept is refused", refused.returncode == 126 and b"disk is full" in refused.stderr, refused)
        eventually(lambda: sum("store-error" in line for line in worker.log) > 5)
        runs = [job["run"] for job in worker.listed()]
        checks.that("one that was accepted is tried again, but not all the time",
                    len(runs) == 1 and 1 <= int(str(runs[0])) <= time.monotonic() - started + 2, runs)  # fmt: skip
        filler.unlink()
        waited = worker.kvmjob("wait", id)
        checks.equal("with room it goes on to its end", waited.returncode, 0)
        checks.equal("and its output is whole", worker.kvmjob("logs", id).stdout, MUCH_BYTES)
        checks.equal("the worker leaves as it should", worker.stop(), 0)
    finally:
        worker.process.kill()
        worker.process.wait()
        subprocess.run(["umount", "--lazy", folder], check=False)


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    if "--state-dir" not in subprocess.run([programs.kvmjobd, "--help"], capture_output=True, text=True).stdout:
        did_not_run("this kvmjobd keeps no jobs")
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="kvmjob-") as folder:
        # What other users may execute too.
        copy = shutil.copy(programs.kvmjob, folder)
        programs.kvmjob = str(copy)
        os.chmod(folder, 0o755)
        pathlib.Path(folder, "one").mkdir()
        worker = KeptWorker(programs, f"{folder}/one")
        try:
            for part in (whole_life, programs_too, keys, killed_clients, killed_worker, ends, other_users):
                print(f"--- {part.__name__}", flush=True)
                part(checks, worker)
            checks.equal("the worker leaves as it should", worker.stop(), 0)
        finally:
            worker.process.kill()
        pathlib.Path(folder, "two").mkdir()
        worker = KeptWorker(programs, f"{folder}/two", "--tenant-detached-jobs", "3")
        try:
            retention(checks, worker)
        finally:
            worker.process.send_signal(signal.SIGKILL)
        pathlib.Path(folder, "three").mkdir()
        worker = KeptWorker(programs, f"{folder}/three", "--tenant-bytes-in-flight", "6MiB")
        try:
            uploads(checks, worker)
        finally:
            worker.process.send_signal(signal.SIGKILL)
        full_disk(checks, programs, f"{folder}/four")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
