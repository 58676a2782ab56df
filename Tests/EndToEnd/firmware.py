#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Firmware that others have built, on `kvmjob submit --board pc`: SeaBIOS and U-Boot, as Debian packages them.

    firmware.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...

Installs the packages seabios and u-boot-qemu where they are missing. Needs /dev/kvm.
Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from live import REPOSITORY, Checks, LiveWorker, Programs, did_not_run

SEABIOS = pathlib.Path("/usr/share/seabios")
U_BOOT = pathlib.Path("/usr/lib/u-boot")
SHOW = "md.b 0xfffffff0 1"  # the first byte that the processor executes
PATIENCE = 180  # seconds for one firmware: a software backend interprets it
# mov ax, 0xb800; mov ds, ax; mov word [0], 'H'; mov word [2], 'i'; mov word [160], 'A'; hlt
WRITES_TO_SCREEN = "b8 00 b8 8e d8 c7 06 00 00 48 07 c7 06 02 00 69 07 c7 06 a0 00 41 07 f4"


class Command:
    """`kvmjob submit` on one worker."""

    def __init__(self, programs: Programs, worker: LiveWorker) -> None:
        self.start = [programs.kvmjob, "submit", "--socket", worker.path]

    def run(self, *options: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        done = subprocess.run(
            [*self.start, *options], capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE + 30
        )
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def firmware(self, image: pathlib.Path, *options: str) -> tuple[int, str, str]:
        return self.run("--memory", "64MiB", "--wall-time", f"{PATIENCE}s", *options, str(image))


def install() -> None:
    """Leaves with status 77 where the packages cannot be had."""
    packages = {"seabios": SEABIOS / "bios.bin", "u-boot-qemu": U_BOOT / "qemu-x86" / "u-boot.rom"}
    missing = [name for name, file in packages.items() if not file.exists()]
    if missing and subprocess.run([str(REPOSITORY / "deploy" / "setup.sh"), *missing]).returncode != 0:
        did_not_run(f"cannot install {' '.join(missing)}")
    for file in packages.values():
        if not file.exists():
            did_not_run(f"there is no {file}")


def seabios(checks: Checks, command: Command) -> None:
    outputs = []
    for name in ["bios.bin", "bios-256k.bin", "bios.bin"]:
        status, output, errors = command.firmware(SEABIOS / name)
        outputs.append(output)
        checks.that(f"{name} tells its version", output.startswith("SeaBIOS (version "), output.split("\n")[0])
        checks.that(f"{name} finds its memory", "0000000000100000 - 0000000004000000 = 1 RAM" in output)
        checks.that(f"{name} finds the one device on its bus", "init bdf=00:00.0 id=8086:1237" in output)
        checks.that(f"{name} has nothing to boot", "No bootable device." in output)
        checks.equal(f"{name} resets its processor, which is the end", (status, ": halted; " in errors), (0, True))
    checks.that("the third run finds nothing of the first", mapped(outputs[0]) == mapped(outputs[2]) != [])


def mapped(output: str) -> list[str]:
    """The lines of SeaBIOS's map of addresses."""
    return [line for line in output.splitlines() if " = 1 RAM" in line or " = 2 RESERVED" in line]


def u_boot(checks: Checks, command: Command, folder: pathlib.Path) -> None:
    keys = folder / "keys"
    # Each line begins with a blank: U-Boot looks for Ctrl-C after some commands, and drops what it finds instead.
    keys.write_text("".join(f" {line}\n" for line in ["", "version", SHOW, "mw.b 0xfffffff0 0", SHOW, "reset"]))
    status, output, errors = command.firmware(U_BOOT / "qemu-x86" / "u-boot.rom", "--stdin", str(keys))
    checks.that("U-Boot tells its version", "U-Boot 20" in output, output.strip().split("\n")[0])
    checks.that("U-Boot finds its memory", "DRAM:  64 MiB" in output)
    checks.that("U-Boot has a prompt and does what is typed there", "version\r\nU-Boot 20" in output)
    first = [line for line in output.splitlines() if line.startswith("fffffff0: ")]
    checks.that("U-Boot finds its ROM as it was after writing to it", len(first) == 2 and first[0] == first[1], first)
    checks.equal("U-Boot resets its processor, which is the end", (status, ": halted; " in errors), (0, True))
    # In 64 bits its loader gets as far as this everywhere; how far it gets behind that, the machine's KVM decides.
    _, output, _ = command.firmware(U_BOOT / "qemu-x86_64" / "u-boot.rom", "--wall-time", "5s")
    checks.that("U-Boot's loader for 64 bits tells its version", "U-Boot SPL 20" in output)


def screen(checks: Checks, command: Command) -> None:
    for board in ["bare", "pc"]:
        status, _, errors = command.run("--board", board, "--screen", "--hex", WRITES_TO_SCREEN + " fa f4")
        checks.that(f"the screen of a guest on board {board} is shown", f"|Hi{' ' * 78}|\n|A{' ' * 79}|\n+--" in errors)
        checks.equal(f"the guest on board {board} ended well", status, 0)
    _, output, _ = command.run("--screen", "--json", "--hex", WRITES_TO_SCREEN)
    checks.equal("the screen is in JSON", json.loads(output)["screen"], ["Hi", "A"] + [""] * 23)


def refusals(checks: Checks, command: Command, folder: pathlib.Path) -> None:
    odd = folder / "odd.rom"
    odd.write_bytes(bytes(70_000))
    for why, options, word in [
        ("a deterministic job", ["--board", "pc", "--deterministic", "--hex", "f4"], "deterministic"),
        ("ring 3", ["--board", "pc", "--mode", "user64", "--hex", "f4"], "user64"),
        ("a ROM of an odd size", ["--format", "rom", str(odd)], "0x11170"),
    ]:
        status, _, errors = command.run(*options)
        checks.that(f"{why} is refused by name", status == 126 and word in errors, errors.strip()[:160])
    odd.write_bytes(bytes(65_536))
    status, _, errors = command.run("--format", "rom", "--board", "bare", str(odd))
    checks.that("a ROM on board bare is refused by name", status == 126 and "--board pc" in errors, errors.strip()[:160])


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    install()
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="kvmjob-") as name, LiveWorker(programs, "--slots", "2") as worker:
        command, folder = Command(programs, worker), pathlib.Path(name)
        screen(checks, command)
        refusals(checks, command, folder)
        seabios(checks, command)
        u_boot(checks, command, folder)
        checks.that("the worker is as it was", worker.process.poll() is None and os.path.exists(worker.path))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
