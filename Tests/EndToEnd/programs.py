#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Real programs: 200 runs of `reverse-line`, each with its own input, and 200 of `primes`, all at once on one kvmjobd.

    programs.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...

Every byte of output and every register at the end is compared with what the guests' source (Tests/Guests/programs.S)
says. Needs /dev/kvm. Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import base64
import json
import pathlib
import random
import subprocess
import sys
import tempfile
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from live import HALTED, LONG64, REGISTERS, Checks, Client, Job, LiveWorker, Programs  # noqa: E402

RUNS = 200
PATIENCE = 60.0  # seconds for all of them
LINE_BYTES = 0xF000 - 0x2000  # what reverse-line has room for
ZERO_AND_EQUAL = 0x46  # RFLAGS after a CMP of equal numbers: ZF, PF (the result 0 has an even number of ones), bit 1


def registers(**values: int) -> dict[str, int]:
    return dict.fromkeys(REGISTERS, 0) | {"rflags": ZERO_AND_EQUAL} | values


# reverse-line. Whatever the line is, it ends with `mov $'\n', %al; out; hlt`: AL is 10, and AH was never written; DX is
# COM1; DI is back at LINE; nothing was pushed below SP, which is the load address; IP is behind HLT, the last of 55
# bytes. The last instruction that sets flags is `cmp $LINE, %di`, equal. So no register depends on the input.
REVERSE_REGISTERS = registers(rax=0x0A, rdx=0x3F8, rdi=0x2000, rsp=0x1000, rip=0x1000 + 55)

# primes. EAX is the newline that was popped last; EBX the divisor; ECX counted up to 1,000; EDX is the first multiple
# of the last prime, 2 * 997, which is not below 1,000, and 998 and 999 leave it; RDI is the sieve; RSP is back at the
# end of memory; RIP is behind HLT, the last of 78 bytes. The last flags are those of `cmp $1000, %ecx`, equal.
PRIMES_REGISTERS = registers(rax=0x0A, rbx=10, rcx=1000, rdx=1994, rdi=0x200000, rsp=16 << 20, rip=0x100000 + 78)
PRIMES = "".join(f"{n}\n" for n in range(2, 1000) if all(n % d for d in range(2, n))).encode()
# The sum above the guest in programs.S, and its HLT.
PRIMES_STEPS = 3 + 5 * 998 + 6 * 168 + 6 * 475 + 4 * (475 + 168) + 5 * 1956 + 1


def segment(limit: int, attributes: int, selector: int = 0, base: int = 0) -> dict[str, int]:
    return {"base": base, "limit": limit, "selector": selector, "attributes": attributes}


# Real mode: every segment 64 KiB from 0, present and accessed (0x93 data, 0x9B code), TR a busy TSS, LDTR an LDT; the
# interrupt vector table of 1 KiB; CR0 has ET only. The guest changes none of it. APIC base: enabled, boot processor.
DATA16 = segment(0xFFFF, 0x93)
SYSTEM16 = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), DATA16) | {
    "cs": segment(0xFFFF, 0x9B),
    "tr": segment(0xFFFF, 0x8B),
    "ldt": segment(0xFFFF, 0x82),
    "gdt": {"base": 0, "limit": 0xFFFF},
    "idt": {"base": 0, "limit": 0x3FF},
    "cr0": 0x10, "cr2": 0, "cr3": 0, "cr4": 0, "cr8": 0, "efer": 0, "apic_base": 0xFEE00900,
}  # fmt: skip

# Long mode at ring 0: CS 0x08 with L, data 0x10 with D/B, all with G and 4 GiB; a TSS with an IO bitmap at 0x92000; no
# LDT; GDT of 8 entries at 0x90000; no IDT. CR0 has PE MP ET NE WP PG, CR3 is the PML4, CR4 has PAE OSFXSR OSXMMEXCPT,
# EFER has LME LMA NXE.
DATA64 = segment(0xFFFFFFFF, 0xC93, 0x10)
SEGMENTS64 = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), DATA64) | {
    "cs": segment(0xFFFFFFFF, 0xA9B, 0x08),
    "tr": segment(104 + 8192, 0x8B, 0x30, 0x92000),
    "ldt": segment(0, 0x1000),
}
TABLES64 = {"gdt": {"base": 0x90000, "limit": 63}, "idt": {"base": 0, "limit": 0}}
CONTROL64 = {
    "cr0": 0x80010033, "cr2": 0, "cr3": 0x97000, "cr4": 0x620, "cr8": 0, "efer": 0xD00, "apic_base": 0xFEE00900,
}  # fmt: skip


def numbers(value: Any) -> Any:
    """The JSON with its numbers in text, decimal or hexadecimal, as numbers."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    return int(value, 0) if isinstance(value, str) else value


# reverse-line


def inputs() -> list[bytes]:
    """What 200 clients type, no two the same. Some have no newline, some go on behind it, one is longer than fits."""
    chance = random.Random(200)
    any_byte_but_newline = bytes(sorted(set(range(256)) - {10}))
    lines = [b"", b"\n", b"x" * (LINE_BYTES + 100) + b"\n", bytes(chance.choices(any_byte_but_newline, k=5000)) + b"\n"]
    while len(lines) < RUNS:
        line = f"{len(lines)}: ".encode() + bytes(chance.choices(any_byte_but_newline, k=chance.randrange(120)))
        lines.append(line + chance.choice([b"", b"\n", b"\nnever read\n"]))
    assert len(set(lines)) == RUNS
    return lines


def line_of(typed: bytes) -> bytes:
    return typed.split(b"\n")[0][:LINE_BYTES]


def reverse_problem(job: Job, typed: bytes) -> str | None:
    """What is wrong with one run."""
    result, line = job.result, line_of(typed)
    if not result:
        return f"refused: {job.refusal}"
    wanted = line[::-1] + b"\n"
    # Two INs for each byte read (line status, data); what is written needs no exit each. Without a newline the end is seen
    # by two INs more (line status, modem status), and so is that input has not come yet. HLT is the one other exit.
    reads = 2 * (len(line) + (b"\n" in typed[:LINE_BYTES]))
    exits = {key: int(count) for key, count in result["exits"].items()}
    seen = {
        "outcome": (result["outcome"], HALTED),
        "output": (bytes(job.output), wanted),
        "output_bytes": (int(result["output_bytes"]), len(wanted)),
        "registers": (job.registers, REVERSE_REGISTERS),
        "system": (numbers(result["system"]), SYSTEM16),
        "enough port IO": (exits["port_io"] >= reads, True),
        "other exits": ([exits[key] for key in ("mmio", "debug", "other")], [0, 0, 1]),
        "unclaimed_port_writes": (int(result["unclaimed_port_writes"]), 0),
        "dropped_memory_writes": (int(result["dropped_memory_writes"]), 0),
        "what was not counted": ([key for key in ("steps", "meter") if key in result], []),
    }
    wrong = [f"{name} is {is_!r}, wanted {should!r}" for name, (is_, should) in seen.items() if is_ != should]
    return f"input {typed[:40]!r}…: {'; '.join(wrong)[:600]}" if wrong else None


# primes


def primes_problem(report: dict[str, Any], steps: dict[str, Any]) -> str | None:
    """What is wrong with one line of `kvmjob submit --json`: times apart, there is one right report."""
    interrupted = report["exits"]["interrupted"]  # by the clock, and under a meter by single steps
    wanted = {
        "outcome": "halted", "error": None, "code": None, "fault": None, "unemulatable": None, "exhausted": None,
        "cancelled": None, "host_error": None, "steps": steps, "output_bytes": len(PRIMES), "output_truncated": False,
        "output_base64": base64.b64encode(PRIMES).decode(), "unclaimed_port_writes": 0, "port_writes": None,
        "port_writes_truncated": False, "dropped_memory_writes": 0,
    }  # fmt: skip
    wrong = {key: report[key] for key, value in wanted.items() if report[key] != value}
    for key, value in {
        "registers": PRIMES_REGISTERS, "segments": SEGMENTS64, "tables": TABLES64, "control": CONTROL64
    }.items():  # fmt: skip
        if numbers(report[key]) != value:
            wrong[key] = report[key]
    # Where nothing is counted, what is written needs no exit each.
    io, counted = report["exits"]["io"], steps["meter"] != "none"
    if io > len(PRIMES) or (counted and io < len(PRIMES)) or report["exits"]["mmio"]:
        wrong["exits"] = report["exits"]
    if not counted and report["exits"]["total"] != io + 1 + interrupted:
        wrong["exits"] = report["exits"]
    return f"{report['name']}: {json.dumps(wrong)[:600]}" if wrong else None


def primes_command(programs: Programs, worker: LiveWorker, count: int, *options: str) -> list[str]:
    common = ["--socket", worker.path, "--mode", "long64", "--json", "--wall-time", f"{int(PATIENCE)}s"]
    return [programs.kvmjob, "submit", *common, "--repeat", str(count), *options, "primes.bin"]


def check_primes(checks: Checks, what: str, output: str, count: int, **steps: Any) -> None:
    reports = [json.loads(line) for line in output.splitlines()]
    wanted = {"used": None, "budget": None, "meter": "none", "reason": None} | steps
    problems = [problem for report in reports if (problem := primes_problem(report, wanted))]
    names = {report["name"] for report in reports}
    checks.equal(f"{what}: reports", len(reports), count)
    checks.equal(f"{what}: names", names, {f"primes.bin#{n}" for n in range(1, count + 1)})
    checks.that(f"{what}: every byte, register and count is right", not problems, problems[0] if problems else "")


def run(programs: Programs, checks: Checks, guests: dict[str, bytes], worker: LiveWorker) -> None:
    command = primes_command(programs, worker, RUNS)
    cli = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=programs.folder, text=True)
    typed = inputs()
    try:
        with Client(worker.path, checked=True) as client:
            wall = str(int(PATIENCE * 1e9))
            jobs = [client.submit(guests["reverse-line"], stdin=text, wall_budget=wall) for text in typed]
            client.finish(*jobs, seconds=PATIENCE)
            offers = {offer["mode"]: offer["meter"] for offer in (client.hello or {})["modes"]}
        output, _ = cli.communicate(timeout=PATIENCE)
    finally:
        cli.kill()
    problems = [problem for job, text in zip(jobs, typed) if (problem := reverse_problem(job, text))]
    what = f"{RUNS} reverse-line with {RUNS} inputs"
    checks.that(f"{what}: every byte, register and count is right", not problems, problems[0] if problems else "")
    checks.equal(f"{RUNS} primes: exit status", cli.returncode, 0)
    check_primes(checks, f"{RUNS} primes", output, RUNS)

    budget = 1_000_000
    command = primes_command(programs, worker, 2, "--steps", str(budget))
    metered = subprocess.run(command, stdout=subprocess.PIPE, cwd=programs.folder, text=True, timeout=PATIENCE)
    # Where the worker says that it counts exactly, the number must be the one that was counted by hand.
    if checks.equal("the worker counts steps of long64 exactly", offers.get(LONG64), 1):
        check_primes(checks, "2 primes, metered", metered.stdout, 2, used=PRIMES_STEPS, budget=budget, meter="exact")


def check_images(programs: Programs, checks: Checks, guests: dict[str, bytes], worker: LiveWorker) -> None:
    """Images by digest: uploaded once, on every connection of this user, and by the command line too."""
    padded = guests["add"] + bytes(random.Random(1).randbytes(300_000))
    two = [{"register": 0, "value": 2}, {"register": 1, "value": 2}]
    for number, wanted in enumerate([True, False, False]):
        with Client(worker.path, checked=True) as client:
            jobs = [client.offer(padded, registers=two) for _ in range(1 if wanted else 20)]
            client.finish(*jobs)
            seen = {(job.wanted, job.outcome, bytes(job.output)) for job in jobs}
            checks.equal(f"an image by digest, connection {number + 1}", seen, {(wanted, HALTED, b"4\n")})
    image = programs.folder / "padded.bin"
    image.write_bytes(padded)
    command = [programs.kvmjob, "submit", "--socket", worker.path, "--repeat", "50", "--set", "ax=2", "--set", "bx=2"]
    done = subprocess.run([*command, str(image)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    lines = done.stdout.splitlines()
    checks.equal("kvmjob submit --repeat of an image that the worker knows", done.returncode, 0)
    checks.that("and every line is right", len(lines) == 50 and all(line.endswith("4") for line in lines), lines[:2])


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        guests = programs.write_guests(folder)
        with LiveWorker(programs) as worker:
            run(programs, checks, guests, worker)
            check_images(programs, checks, guests, worker)
            checks.equal("the worker lives, and drains with status 0", worker.stop(), 0)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
