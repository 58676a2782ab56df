#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Kernels in every format that kvmjob starts, on a kvmjobd of their own: they print what they were told, and this compares it.

    images.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...

The kernels are kernels/*, built here. Needs gcc with -m32 code generation, ld, objcopy and /dev/kvm. Exit status: 0 passed, 77 did
not run, else failed.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from live import Checks, LiveWorker, Programs, did_not_run  # noqa: E402

SOURCES = pathlib.Path(__file__).resolve().parent / "kernels"
PATIENCE = 60.0  # seconds for one command
TEXT = "console=com1 quiet"
MODULE = b"a module's bytes"
FLAGS = (
    "-O1 -ffreestanding -nostdlib -static -fno-pic -no-pie -fno-stack-protector -fcf-protection=none "
    "-fno-asynchronous-unwind-tables -mgeneral-regs-only -mno-red-zone -Wall -Wextra -Werror -Wl,--build-id=none"
).split()
KERNELS = {
    "bare32": ("bare.c", ["-m32", "-Wl,-Ttext=0x100000"]),
    "bare64": ("bare.c", ["-m64", "-Wl,-Ttext=0x100000"]),
    # From here on its segments cover 0x90000, where workers keep tables for jobs that have none.
    "bare32-low": ("bare.c", ["-m32", "-Wl,-Ttext-segment=0x80000"]),
    "bare64-low": ("bare.c", ["-m64", "-Wl,-Ttext-segment=0x80000", "-Wl,-z,max-page-size=4096"]),
    "multiboot": ("multiboot.c", ["-m32", "-Wl,-Ttext=0x101000", "-Wl,--section-start=.multiboot=0x100000"]),
    "pvh": ("pvh.c", ["-m32", "-Wl,-Ttext-segment=0x200000"]),
}
# A PC's memory map where there are 16 MiB.
RANGES = """range 0x0 0x9fc00 0x1
range 0x9fc00 0x400 0x2
range 0xe0000 0x20000 0x2
range 0x100000 0xf00000 0x1
"""


def build(folder: pathlib.Path) -> None:
    for name, (source, options) in KERNELS.items():
        command = ["gcc", *FLAGS, *options, str(SOURCES / source), "-o", str(folder / name)]
        subprocess.run(command, check=True, timeout=PATIENCE)
    subprocess.run(["gcc", "-c", str(SOURCES / "linux.S"), "-o", str(folder / "linux.o")], check=True, timeout=PATIENCE)
    extract = ["objcopy", "-O", "binary", "-j", ".text", str(folder / "linux.o"), str(folder / "linux")]
    subprocess.run(extract, check=True, timeout=PATIENCE)
    (folder / "module").write_bytes(MODULE)
    flat(folder / "multiboot", folder / "kludge")


def flat(kernel: pathlib.Path, image: pathlib.Path) -> None:
    """The same kernel without its ELF header: its addresses stand in a header of 32 bytes at its beginning, at 0xFF000."""
    load = 0xFF000
    subprocess.run(["objcopy", "-O", "binary", str(kernel), str(image)], check=True, timeout=PATIENCE)
    body = image.read_bytes()  # from .multiboot at 0x100000 on; its own header is 12 bytes long
    header = [0x1BADB002, 0x10003, -(0x1BADB002 + 0x10003) & 0xFFFFFFFF, load, load, 0, 0x110000, 0x101000]
    words = b"".join(word.to_bytes(4, "little") for word in header)
    image.write_bytes(words + bytes(0x1000 - len(words)) + body)


class Runs:
    """kvmjob on one worker, with the files of one folder."""

    def __init__(self, programs: Programs, worker: LiveWorker, folder: pathlib.Path, checks: Checks) -> None:
        self.programs, self.worker, self.folder, self.checks = programs, worker, folder, checks

    def command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self.programs.kvmjob, *words], cwd=self.folder, capture_output=True, timeout=PATIENCE)

    def submit(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return self.command("submit", "--socket", self.worker.path, "--wall-time", "30s", *words)

    def prints(self, what: str, output: str, status: int, *words: str) -> None:
        ended = self.submit(*words)
        self.checks.equal(what, (ended.stdout.decode(), ended.returncode), (output, status))
        if ended.returncode != status:
            print(ended.stderr.decode()[-400:])

    def inspects(self, image: str, *words: str) -> dict:
        ended = self.command("inspect", "--json", image, *words)
        self.checks.equal(f"{image} can be inspected", ended.returncode, 0)
        return json.loads(ended.stdout)


def check_kernels(runs: Runs) -> None:
    for bits in (32, 64):
        for name in (f"bare{bits}", f"bare{bits}-low"):
            runs.prints(f"{name} has zeros, a stack, a GDT and memory", f"bare {hex(bits)} 0x7\n", 42, name)
    told = f"magic 0x2badb002\nflags 0x24d\nlower 0x27f\nupper 0x3c00\n{RANGES}text {TEXT}\nloader kvmjob\n"
    module = f"module module 0x0 {MODULE.decode()}\n"
    options = ["--append", TEXT, "--module", "module"]
    runs.prints("a Multiboot kernel reads what it is told", told + module, 0, "multiboot", *options)
    runs.prints("and as often as there are modules", told + 2 * module, 0, "multiboot", *options, "--initrd", "module")
    runs.prints("and without an ELF header", told + module, 0, "kludge", *options)
    told = f"magic 0x336ec578\nversion 0x1\nrsdp 0x0\n{RANGES}text {TEXT}\nmodule module {MODULE.decode()}\n"
    runs.prints("a PVH kernel reads what it is told", told, 0, "pvh", *options)
    told = f"{TEXT}|{MODULE.decode()}|4"
    runs.prints("a bzImage starts at its 64-bit entry", told, 5, "linux", "--append", TEXT, "--initrd", "module")
    runs.prints("a register that is set stays", "magic 0x7\n", 124, "multiboot", "--set", "eax=7", "--output-limit", "10")


def check_inspection(runs: Runs) -> None:
    for name in [*KERNELS, "linux"]:
        wanted = name.split("3")[0].split("6")[0].replace("bare", "elf")
        runs.checks.equal(f"{name} is recognised", runs.inspects(name)["format"], wanted)
    plan = runs.inspects("multiboot", "--append", TEXT, "--module", "module")
    places = sorted((int(region["address"], 16), region["bytes"]) for region in plan["map"])
    gaps = all(place + count <= after for (place, count), (after, _) in zip(places, places[1:]))
    runs.checks.that("nothing lies over anything else", gaps)
    entry = subprocess.run(["readelf", "-h", runs.folder / "multiboot"], capture_output=True, text=True, timeout=PATIENCE)
    runs.checks.that("the entry is that of readelf", f"0x{int(plan['entry'], 16):x}" in entry.stdout, plan["entry"])
    text = runs.command("inspect", "pvh").stdout.decode()
    runs.checks.that("people see the first instruction", "mov esp, 0x" in text)


def check_refusals(runs: Runs) -> None:
    hostile = bytearray((runs.folder / "bare64").read_bytes())
    hostile[64 + 40 : 64 + 48] = b"\xff" * 8  # p_memsz of the first program header
    (runs.folder / "hostile").write_bytes(hostile)
    (runs.folder / "firmware").write_bytes(bytes(0x10000 - 16) + b"\xea\x5b\xe0\x00\xf0" + bytes(11))
    (runs.folder / "program").write_bytes(pathlib.Path("/bin/sh").read_bytes())
    for name, part in [
        ("hostile", "p_memsz = 0xffffffffffffffff"), ("program", "kvmjob run"),
    ]:  # fmt: skip
        ended = runs.submit(name)
        told = ended.stderr.decode()
        runs.checks.that(f"{name} is refused by name", ended.returncode == 126 and part in told, told.strip()[-160:])
    runs.checks.equal("firmware can be inspected", runs.inspects("firmware")["rom"]["shadow_address"], "0xf0000")
    ended = runs.command("inspect", "--json", "hostile")
    error = json.loads(ended.stdout)["error"]
    runs.checks.equal("inspect names the field", (error["field"], ended.returncode), ("p_memsz", 126))
    ended = runs.submit("bare32", "--append", "x")
    runs.checks.that("a bare kernel takes no command line", ended.returncode == 126 and b"--append" in ended.stderr)


def check_others(runs: Runs) -> None:
    line = {"image": "multiboot", "append": TEXT, "module": ["module"], "memory": "16MiB"}
    lines = [line, {"image": "bare64"}, {"hex": "b0 41 e6 e9 f4", "format": "flat"}]
    (runs.folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ended = runs.command("batch", "jobs.jsonl", "--out", "results.jsonl", "--ordered", "--socket", runs.worker.path)
    text = (runs.folder / "results.jsonl").read_text() if (runs.folder / "results.jsonl").exists() else ""
    results = [json.loads(line) for line in text.splitlines()]
    outcomes = [(result["outcome"], result.get("code")) for result in results]
    wanted = [("exited", 0), ("exited", 42), ("halted", None)]
    runs.checks.equal("a batch starts kernels too", outcomes, wanted)
    if outcomes != wanted:
        print(ended.stderr.decode()[-400:])


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    for tool in ("gcc", "objcopy", "readelf"):
        if not shutil.which(tool):
            did_not_run(f"there is no {tool}")
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="kvmjob-images-") as name, LiveWorker(programs) as worker:
        folder = pathlib.Path(name)
        build(folder)
        runs = Runs(programs, worker, folder, checks)
        for part in (check_kernels, check_inspection, check_refusals, check_others):
            part(runs)
        checks.equal("the worker leaves as it should", worker.stop(), 0)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
