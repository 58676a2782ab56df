# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Where the programs are made that no package has, and the tree of files that all of them are given."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

SOURCES = pathlib.Path(__file__).resolve().parent / "sources"
ATTACKS = pathlib.Path(__file__).resolve().parent / "attacks"
PATIENCE = 150.0  # seconds for a compiler; Go's builds its library first

STATIC = ("-static", "-no-pie")
STATIC_PIE = ("-static-pie", "-fPIE")

# Name, tool and its arguments; {out} is what is made, {source} and {attack} are the folders.
BUILDS: list[tuple[str, str, str]] = [
    ("hello-static", "gcc", "-O1 -static -no-pie -o {out} {source}/hello.c"),
    ("hello-static-pie", "gcc", "-O1 -static-pie -fPIE -o {out} {source}/hello.c"),
    ("hello-dynamic", "gcc", "-O1 -o {out} {source}/hello.c"),
    ("hello-no-pie", "gcc", "-O1 -no-pie -o {out} {source}/hello.c"),
    ("hello-musl", "musl-gcc", "-O1 -static -no-pie -o {out} {source}/hello.c"),
    ("library-dynamic", "gcc", "-O1 -o {out} {source}/library.c -lm -pthread"),
    ("library-static", "gcc", "-O1 -static -o {out} {source}/library.c -lm -pthread"),
    ("deaths", "gcc", "-O1 -w -o {out} {source}/deaths.c"),
    ("modern-dynamic", "g++", "-O1 -std=c++17 -pthread -o {out} {source}/modern.cc"),
    ("modern-static", "g++", "-O1 -std=c++17 -pthread -static -o {out} {source}/modern.cc"),
    ("standard-dynamic", "rustc", "-O -o {out} {source}/standard.rs"),
    ("standard-static", "rustc", "-O -C target-feature=+crt-static -o {out} {source}/standard.rs"),
    ("runtime", "go", "build -trimpath -o {out} {source}/runtime.go"),
]
ATTACK_FLAGS = "-O1 -w -static -no-pie -pthread -o {out} {attack}/"


@dataclass
class Workshop:
    """A folder with `bin`, where what was made lies, and `tree`, which is each program's root and working directory."""

    folder: pathlib.Path
    missing: dict[str, str] = field(default_factory=dict)
    """What could not be made, by name, and why."""

    @property
    def tree(self) -> pathlib.Path:
        return self.folder / "tree"

    def path(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def build(self) -> float:
        """Makes all of it; returns how many seconds that took. A tool that is not there is no error here."""
        begin = time.monotonic()
        (self.folder / "bin").mkdir()
        builds = BUILDS + [(file.stem, "gcc", ATTACK_FLAGS + file.name) for file in sorted(ATTACKS.glob("*.c"))]
        # The slow ones first, so that they do not end alone.
        builds.sort(
            key=lambda build: ("go", "rustc", "g++").index(build[1]) if build[1] in ("go", "rustc", "g++") else 9
        )
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda build: self.make(*build), builds))
        return time.monotonic() - begin

    def make(self, name: str, tool: str, arguments: str) -> None:
        if not shutil.which(tool):
            self.missing[name] = f"there is no {tool}"
            return
        words = arguments.format(out=self.path(name), source=SOURCES, attack=ATTACKS).split()
        environment = os.environ | {"GOCACHE": str(self.folder / "go"), "GOFLAGS": "", "GO111MODULE": "off"}
        try:
            made = subprocess.run(
                [tool, *words], capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            self.missing[name] = f"{tool} did not end within {PATIENCE:.0f} s"
            return
        if made.returncode:
            self.missing[name] = f"{tool}: {made.stderr.strip()[-600:]}"

    def lay_out(self) -> None:
        """The tree: scripts, texts, bytes, links, archives; the same ones on each run. Times are 0, as guests have them."""
        data = self.tree / "data"
        (data / "deep" / "er").mkdir(parents=True)
        chance = random.Random(5)
        words = (SOURCES / "standard.rs").read_text().split()
        lines = [" ".join(chance.choices(words, k=chance.randrange(12))) for _ in range(400)]
        (data / "text.txt").write_text("\n".join(lines) + "\n")
        (data / "changed.txt").write_text("\n".join(lines[:100] + ["a new line"] + lines[110:]) + "\n")
        (data / "numbers.txt").write_text("".join(f"{n * 7919 % 1009}\n" for n in range(300)))
        (data / "words.txt").write_text("pear\napple\nfig\ncherry\napple\nquince\nfig\n")
        (data / "table.csv").write_text("".join(f"{n},name-{n % 7},{n * n % 101}\n" for n in range(100)))
        (data / "bytes.bin").write_bytes(chance.randbytes(200_000))
        (data / "deep" / "er" / "file").write_text("deep down\n")
        (data / "deep" / "up").symlink_to("../words.txt")
        (data / "values.json").write_text('{"b": [1, 2.5, {"deep": null}], "a": "\\u00e9"}\n')
        (data / "hello.c").write_text("int twice(int n) { return 2 * n; }\nint main(void) { return twice(4); }\n")
        for file in SOURCES.iterdir():
            shutil.copy(file, self.tree / file.name)
        with tarfile.open(data / "archive.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for name in ("text.txt", "words.txt", "deep"):
                archive.add(data / name, name, filter=anonymous)
        for tool in ("gzip", "bzip2", "xz", "zstd"):
            if shutil.which(tool):
                subprocess.run([tool, "-k", "-q", str(data / "text.txt")], check=True, timeout=PATIENCE)
        for path in [self.tree, *self.tree.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (0, 0), follow_symlinks=False)


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry
