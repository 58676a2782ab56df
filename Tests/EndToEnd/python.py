#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Scripts by an interpreter that the worker keeps warm, each compared with itself run natively: `kvmjob python`.

    python.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...

Needs /dev/kvm and a python3 with its standard library. Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from live import Checks, LiveWorker, Programs  # noqa: E402

PYTHON = "/usr/bin/python3"  # Debian's own, which the test's packages bring
PATIENCE = 120.0

SCRIPTS = {
    "says hello": "print('hello')",
    "has its arguments": "import sys; print(sys.argv[1:], __name__, __file__ == sys.argv[0])",
    "reads its input, and no more than that": "import sys; print(len(sys.stdin.buffer.read())); print(repr(sys.stdin.read()))",
    "exits with its status": "import sys; sys.stderr.write('gone\\n'); sys.exit(5)",
    "ends with a traceback": "def f(x):\n    return 1 / x\n\nf(0)",
    "is no Python": "x = (1,\ny = 2",
    "leaves an exception in a thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='t')\nt.start()\nt.join()\nprint('on')",
    "hashes, matches and converts": "import hashlib, json, re\nprint(hashlib.sha256(b'x').hexdigest(), re.findall('a.', 'abac'), json.dumps({'k': [1, 2.5]}))",
    "has threads that add up": "import threading\ntotal = []\nts = [threading.Thread(target=lambda i=i: total.append(sum(range(i * 1000)))) for i in range(8)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nprint(sorted(total))",
    "keeps files of its own": "import os, tempfile\nwith tempfile.TemporaryDirectory() as d:\n    p = os.path.join(d, 'f')\n    open(p, 'w').write('x' * 100000)\n    print(os.path.getsize(p), os.listdir(d))",
    "sees no names but its own": "print(sorted(n for n in globals() if not n.startswith('__')))",
    "runs at exit": "import atexit\natexit.register(print, 'last')\nprint('first')",
}


def run(command: list[str], typed: bytes) -> tuple[int, bytes, bytes]:
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
    environment |= {name: value for name, value in os.environ.items() if name in ("XDG_CACHE_HOME", "LD_LIBRARY_PATH")}
    done = subprocess.run(command, input=typed, capture_output=True, timeout=PATIENCE, env=environment)
    return done.returncode, done.stdout, done.stderr


def check(checks: Checks, kvmjob: list[str], folder: pathlib.Path) -> None:
    typed = bytes(range(256)) * 1000
    for name, text in SCRIPTS.items():
        script = folder / "script.py"
        script.write_text(text)
        arguments = [str(script), "one", "--two", "three 3"]
        native = run([PYTHON, *arguments], typed)
        checks.equal(f"a script that {name}", run([*kvmjob, *arguments], typed), native)


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    checks = Checks()
    if not os.access(PYTHON, os.X_OK):
        print(f"*** DID NOT RUN: there is no {PYTHON} ***")
        return 77
    with tempfile.TemporaryDirectory(prefix="kvmjob-python-") as name, LiveWorker(programs, "--log-jobs", "all") as worker:
        folder = pathlib.Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        kvmjob = [programs.kvmjob, "python", "--socket", worker.path, "--python", PYTHON, "--"]
        check(checks, kvmjob, folder)
        kept = [line for line in worker.log if "outcome=snapshot-taken" in line]
        checks.equal("the interpreter has started once", len(kept), 1)

        script = folder / "loop.py"
        script.write_text("while True: pass")
        status, _, said = run([*kvmjob[:-1], "--cpu-time", "100ms", "--", str(script)], b"")
        checks.equal("a loop ends with its processor time", status, 124)
        checks.that("and is told why", b"processor" in said or b"CPU" in said or b"cpu" in said, said.decode())

        script.write_text("print(open('/data/in.txt').read(), end='')\nimport os; print(os.environ['COLOUR'])")
        brought = folder / "in.txt"
        brought.write_text("brought\n")
        extra = ["--file", f"/data/in.txt={brought}", "--env", "COLOUR=red", "--", str(script)]
        checks.equal("files and variables are brought", run([*kvmjob[:-1], *extra], b""), (0, b"brought\nred\n", b""))

        script.write_text("import os; print(os.path.exists('/etc/hostname'), os.listdir('/home') if os.path.isdir('/home') else [])")
        checks.equal("nothing of this machine is seen", run([*kvmjob, str(script)], b""), (0, b"False []\n", b""))
        status, _, _ = run([*kvmjob, str(folder / "missing.py")], b"")
        checks.equal("a script that there is not", status, 126)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
