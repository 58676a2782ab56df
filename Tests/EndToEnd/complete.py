#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Types into an interactive shell on a terminal, presses TAB, and prints what the line became.

    complete.py SETUP TYPED SHELL [ARGUMENT...]

SETUP is run first, as a line of its own. Exit status 1 when nothing became of the line within 20 s.
"""
import os
import pty
import re
import select
import sys
import time

PATIENCE = 20
READY = "shell-is-ready"


def until(descriptor, done, seconds):
    """Reads until `done` says so of all that came; returns it."""
    seen, end = b"", time.monotonic() + seconds
    while time.monotonic() < end and not done(seen):
        if select.select([descriptor], [], [], 0.2)[0]:
            try:
                seen += os.read(descriptor, 4096)
            except OSError:
                break
    return seen


def main():
    setup, typed, *shell = sys.argv[1:]
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="dumb", PS1="$ ")
        os.execvp(shell[0], shell)
    # The quotes keep the echo of the line from looking like its output.
    os.write(terminal, f"{setup}; echo shell-'is'-ready\n".encode())
    until(terminal, lambda seen: READY.encode() in seen, PATIENCE)
    os.write(terminal, typed.encode() + b"\t")
    whole = re.compile(re.escape(typed.encode()) + rb"[a-z-]+")
    seen = until(terminal, whole.search, PATIENCE)
    os.write(terminal, b"\x15exit\n")
    until(terminal, lambda _: False, 0.5)
    os.close(terminal)
    os.waitpid(child, 0)
    found = whole.search(seen)
    print(found.group().decode() if found else seen.decode(errors="replace"))
    sys.exit(0 if found else 1)


main()
