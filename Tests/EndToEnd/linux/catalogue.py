# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The programs: one entry for each run. Whatever is not on this machine is left out, and said to be."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import subprocess

from .running import Program, as_it_is, sorted_lines
from .workshop import Workshop

NUMBERS = "".join(f"{n}\n" for n in range(1, 21)).encode()
WORDS = b"the quick brown fox\njumps over the lazy dog\nthe end\n"

# Applets of busybox, with the words of data/ and the bytes of standard input.
BUSYBOX = r"""
sha256sum data/bytes.bin data/text.txt
sha512sum data/bytes.bin
md5sum data/bytes.bin
sha1sum
cksum data/text.txt
crc32 data/text.txt
wc data/text.txt data/words.txt
sort data/words.txt
sort -t, -k3,3n -k1,1nr data/table.csv
sort -u data/words.txt
uniq -c
head -n 3 data/text.txt
tail -n 3 data/text.txt
tr a-z A-Z
tr -d aeiou
cut -d, -f2,3 data/table.csv
sed -n -e 's/\([a-z]*\)(/\1 [/gp' data/text.txt
sed '2,4d;s/e/E/2'
awk -F, '{ sum[$2] += $3 } END { for (i = 0; i < 7; i++) printf "%d %s %.2f\n", i, sum["name-" i], sum["name-" i] / 7 }' data/table.csv
awk 'BEGIN { for (i = 1; i <= 20000; i++) s += i * i % 7; print s, substr("hello", 2, 3), toupper("x"), length("four") }'
grep -n let data/text.txt
grep -c -i -E '^(a|b|u)' data/text.txt
grep absent data/text.txt
cat data/words.txt - data/numbers.txt
cat -n data/words.txt absent
od -A x -t x1z data/words.txt
hexdump -C data/words.txt
xxd data/words.txt
base64 data/words.txt
base32 data/words.txt
seq 1 7 100
seq -w 8 12
expr 6 '*' '(' 3 + 4 ')'
expr abcdef : 'abc\(.*\)'
dc -e '2 100 ^ p 16 o 255 p'
bc
factor 2305843009213693951 600851475143 97
gzip -c data/text.txt
gunzip -c data/text.txt.gz
bzip2 -c data/words.txt
bunzip2 -c data/text.txt.bz2
unxz -c data/text.txt.xz
tar -tvf data/archive.tar
tar -xOf data/archive.tar deep/er/file
tar -cf - -C data --numeric-owner absent
find data
find data -name '*.txt' -size +1
ls data
ls -R data
ls -1S data/words.txt data/text.txt data/numbers.txt
stat -c '%n %s %a %F %Y %h' data/words.txt data/deep/up
date -u -d @0
date -u -d '2001-02-03 04:05:06' +%s
printf '%5d|%-8s|%x|%o|%c|%s\n' 42 left 255 8 zed rest
echo -e 'a\tb\0101'
rev data/words.txt
tac data/words.txt
fold -w 17 data/text.txt
expand -t 4 data/hello.c
paste data/words.txt data/words.txt
comm data/words.txt data/words.txt
nl data/words.txt
diff data/text.txt data/changed.txt
cmp data/text.txt data/changed.txt
patch --dry-run absent
split -l 100 data/text.txt
strings -n 6 data/bytes.bin
uuencode -m data/words.txt name
cal 11 2026
basename /a/b/c.txt .txt
dirname /a/b/c.txt
readlink data/deep/up
readlink -f data/deep/up
realpath data/deep/../words.txt
test -f data/words.txt
test -d data/words.txt
[ 5 -gt 3 ]
pwd
env
printenv HOME
true
false
sleep 0.01
usleep 1000
yes
sum data/text.txt
tee made.txt
dd if=data/bytes.bin of=made.bin bs=4096 count=10 skip=2
touch made.txt
mkdir -p made/a/b/c
mkdir data
rmdir data/deep
cp -r data made
mv data/words.txt data/moved.txt
ln -s words.txt made.link
rm -r data/deep
rm absent
chmod 600 data/words.txt
truncate -s 100 data/words.txt
install -m 600 data/words.txt made.txt
mktemp -u made.XXXXXX.q
du -b absent
shuf -i 1-1
tsort data/absent
unexpand data/hello.c
ascii
ash -c 'echo $((6 * 7)) ${HOME}; for f in data/*.txt; do echo $f; done; cd data/deep; pwd; echo *; exit 9'
hush -c 'echo $((6 * 7)); for i in 1 2 3; do echo $i; done'
sh loop.ash
absent
"""

# Programs of this machine as they are, one run each; what follows "<" is a file of the tree that is their standard input.
ORDINARY = r"""
/usr/bin/sort -k2,2n data/table.csv
/usr/bin/sha512sum data/bytes.bin
/usr/bin/b2sum data/bytes.bin
/usr/bin/ls -1 data
/usr/bin/ls -lgo data/words.txt data/text.txt data/deep/up
/usr/bin/stat -c '%n %s %a %F %Y' data/words.txt
/usr/bin/factor 2305843009213693951 1000000007
/usr/bin/cat data/bytes.bin
/usr/bin/head -c 1000 data/bytes.bin
/usr/bin/tail -n +390 data/text.txt
/usr/bin/wc data/text.txt
/usr/bin/tac data/text.txt
/usr/bin/od -c data/words.txt
/usr/bin/date -u -d @1000000000
/usr/bin/numfmt --to=iec 123456789
/usr/bin/join -t, data/table.csv data/table.csv
/usr/bin/comm -12 data/words.txt data/words.txt
/usr/bin/cp -r data made
/usr/bin/dd if=data/bytes.bin bs=1000 count=3 status=none
/usr/bin/env
/usr/bin/printf '%s %d\n' text 12
/usr/bin/timeout --version
/usr/bin/realpath data/deep/up
/usr/bin/du -b absent
/usr/bin/uname -s -m
/usr/bin/nproc --all --ignore=100000
/usr/bin/ptx data/words.txt
/usr/bin/find data -type f -name '*.txt'
/usr/bin/grep -c -P '\bl(e|o)t?\b' data/text.txt
/usr/bin/grep -rn pear data
/usr/bin/sed -E 's/([a-z]+)\(/<\1>/g' data/text.txt
/usr/bin/mawk -F, '{ s += $3 } END { print s, NR }' data/table.csv
/usr/bin/gawk -F, '{ s[$2] += $3 } END { n = asorti(s, k); for (i = 1; i <= n; i++) print k[i], s[k[i]] }' data/table.csv
/usr/bin/diff -u --label a --label b data/text.txt data/changed.txt
/usr/bin/cmp data/text.txt data/changed.txt
/usr/bin/tar -tf data/archive.tar
/usr/bin/tar -xf data/archive.tar -C data/deep --no-same-owner
/usr/bin/gzip -c -n data/text.txt
/usr/bin/gzip -d -c data/text.txt.gz
/usr/bin/bzip2 -c data/text.txt
/usr/bin/xz -c data/text.txt
/usr/bin/xz -d -c data/text.txt.xz
/usr/bin/xz -c -T2 data/bytes.bin
/usr/bin/zstd -q -c -T2 data/bytes.bin
/usr/bin/zstd -q -d -c data/text.txt.zst
/usr/bin/jq -S '.b | map(type)' data/values.json
/usr/bin/bc -l < bc.txt
/usr/bin/dc -e '20 k 2 v p'
/usr/bin/m4 macros.m4
/usr/bin/ed -s data/words.txt < ed.txt
/usr/bin/perl -e 'use strict; my %h; while (<STDIN>) { $h{$_}++ for split } print "$_=$h{$_}\n" for sort keys %h; printf "%.3f\n", sqrt 2; die "end\n"' < data/text.txt
/usr/bin/perl -MPOSIX -MList::Util=sum -e 'print POSIX::floor(3.7), sum(1..100), "\n"; open(my $f, ">", "made") or die; print $f "x"; close $f; print -s "made", "\n"; exit 6'
/usr/bin/dash loop.ash
/usr/bin/bash script.bash < data/numbers.txt
/usr/bin/openssl dgst -sha3-256 data/bytes.bin
/usr/bin/openssl enc -aes-256-cbc -K 00112233 -iv 44556677 -in data/bytes.bin
/usr/bin/openssl prime 1000000007
/usr/bin/git hash-object data/text.txt
/usr/bin/git diff --no-index --no-color data/text.txt data/changed.txt
/usr/bin/file -b data/hello.c
/usr/bin/as --version
/usr/bin/ld --version
/usr/bin/nm --version
/usr/bin/strings -n 5 data/bytes.bin
/usr/bin/readelf -h /usr/bin/true
/usr/bin/node -e 'const c = require("crypto"); let t = require("fs").readFileSync(0); console.log(t.length, c.createHash("sha256").update(t).digest("hex")); setTimeout(() => { console.log([3,1,2].sort(), process.argv.length); process.exit(3) }, 5)' < data/text.txt
/usr/bin/tclsh script.tcl
/usr/bin/ruby -e 'puts (1..20).map { |n| n * n }.sum; h = Hash.new(0); STDIN.each_line { |l| h[l] += 1 }; p h.size; Thread.new { puts "thread" }.join; raise "end"' < data/text.txt
/usr/bin/luajit -e 'local s = 0; for i = 1, 1e6 do s = s + i % 7 end print(s)'
/usr/bin/guile -c '(display (expt 2 100))'
/usr/bin/make -n -f absent
"""

LARGEST = 64 << 20

# What is known to differ, and why. Whatever is not so any more must be taken off this list.
GAPS = {
    "python3 mapping.py": "a file's bytes cannot be shared with a mapping that writes them: mmap(2) with MAP_SHARED",
}

# What those need besides their libraries, if it is there.
NEEDS: dict[str, list[str]] = {
    "perl": ["/usr/lib/x86_64-linux-gnu/perl-base", "/usr/lib/x86_64-linux-gnu/perl", "/usr/share/perl"],
    "tclsh": ["/usr/share/tcltk/tcl8.6"],
    "openssl": ["/etc/ssl/openssl.cnf", "/usr/lib/ssl"],
    "file": ["/usr/share/misc/magic.mgc", "/usr/lib/file", "/etc/magic"],
    "readelf": ["/usr/bin/true"],
    "gawk": ["/usr/share/awk"],
    "ruby": ["/usr/lib/ruby", "/usr/lib/x86_64-linux-gnu/ruby"],
    "node": ["/usr/share/nodejs"],
}

# Files of the tree for those.
SCRIPTS = {
    "bc.txt": "scale=30\n4*a(1)\ne(1)\n2^200\ndefine f(n) { if (n < 2) return n; return f(n-1) + f(n-2); }\nf(15)\n",
    "ed.txt": "1,$p\n/fig/s//date/\n$a\nlast\n.\n,n\nw made.txt\nq\n",
    "macros.m4": "define(`twice', `$1$1')dnl\ntwice(`ab') eval(2 ** 20) len(`four')\nifelse(1, 1, `yes', `no') format(`%05d', 42)\n",
    "script.tcl": "puts [expr {2 ** 100}]\nforeach w [lsort {b a c}] {puts $w}\nset f [open made w]; puts $f text; close $f\n"
    "puts [file size made]; after 2; puts [clock format 0 -format %Y -gmt 1]; exit 4\n",
}

DEATHS = ("null", "divide", "undefined", "overflow", "abort", "terminate", "kill", "alarm", "breakpoint", "jump")
UNUSED_PYTHON = (
    "test",
    "config-*",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "tkinter",
    "turtledemo",
    "pydoc_data",
    "*.opt-?.pyc",
    "dist-packages",
)
SCRIPTS_OF_PYTHON = ("data", "system", "trouble", "extensions", "events", "mapping")


def slashes_alike(output: bytes) -> bytes:
    """Python names a script by its directory and a slash, which at the root are two."""
    return output.replace(b"//", b"/")


def thread_numbers_alike(output: bytes) -> bytes:
    """Rust names the thread by the number that the kernel gave it."""
    return re.sub(rb"thread '([^']*)' \(\d+\)", rb"thread '\1' (n)", output)


def catalogue(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    """All programs that can run here, and why others cannot."""
    for name, text in SCRIPTS.items():
        (workshop.tree / name).write_text(text)
    programs, missing = made(workshop)
    for group in (busybox, bash, lua, sqlite, python, compilers, ordinary):
        some, without = group(workshop)
        programs += some
        missing |= without
    return programs, missing


def made(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    """What was compiled here."""
    entries = [
        Program(name, (workshop.path(name), "you"), NUMBERS, (("LANG", "C"),))
        for name in ("hello-static", "hello-static-pie", "hello-dynamic", "hello-no-pie", "hello-musl")
    ]
    for theme in ("files", "memory", "signals", "threads", "pipes", "clocks"):
        entries += [
            Program(f"{name} {theme}", (workshop.path(name), theme)) for name in ("library-dynamic", "library-static")
        ]
    entries += [Program(f"deaths {how}", (workshop.path("deaths"), how)) for how in DEATHS]
    entries += [Program(name, (workshop.path(name),), WORDS) for name in ("modern-dynamic", "modern-static")]
    for name in ("standard-dynamic", "standard-static"):
        for arguments in ((), ("x", "y")):
            command = (workshop.path(name), *arguments)
            entries.append(Program(" ".join((name, *arguments)), command, WORDS, compared=thread_numbers_alike))
    entries += [Program(" ".join(("go", *words)), (workshop.path("runtime"), *words), WORDS) for words in ((), ("x",))]
    there = [program for program in entries if os.path.exists(program.command[0])]
    return there, dict(workshop.missing)


def busybox(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    path = shutil.which("busybox")
    if not path:
        return [], {"busybox": "it is not installed"}
    applets = set(subprocess.run([path, "--list"], capture_output=True, text=True, check=False).stdout.split())
    programs, without = [], []
    for line in BUSYBOX.strip().splitlines():
        words = shlex.split(line)
        if words[0] not in applets and words[0] != "absent":
            without.append(words[0])
        elif words[0] != "yes":
            compared = sorted_lines if words[0] == "find" else as_it_is
            stdin = b"scale=10; 1/7; 2^100\n" if words[0] == "bc" else WORDS
            programs.append(Program(f"busybox {line}", (path, *words), stdin, compared=compared))
    return programs, {f"busybox {name}": "it is not among this one's applets" for name in without}


def bash(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    path = shutil.which("bash-static")
    if not path:
        return [], {"bash-static": "it is not installed"}
    return [Program("bash-static script.bash", (path, "script.bash"), NUMBERS)], {}


def lua(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    path = shutil.which("lua5.4")
    return (
        ([Program("lua5.4 script.lua", (path, "script.lua"), NUMBERS)], {})
        if path
        else ([], {"lua5.4": "it is not installed"})
    )


def sqlite(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    path = shutil.which("sqlite3")
    if not path:
        return [], {"sqlite3": "it is not installed"}
    queries = (workshop.tree / "queries.sql").read_bytes()
    keep = b"create table t (a);\ninsert into t values (1), (2);\nselect sum(a) from t;\npragma journal_mode = wal;\n"
    return [
        Program("sqlite3 in memory", (path, "-bail", ":memory:"), queries),
        Program("sqlite3 in a file", (path, "made.db"), keep),
    ], {}


def python(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    path = "/usr/bin/python3"
    if not os.path.exists(path):
        return [], {"python3": "it is not installed"}
    asked = [path, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]
    library = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    # Without what no program uses, so that it fits into a layer.
    brought = workshop.folder / "python"
    shutil.copytree(library, brought, ignore=shutil.ignore_patterns(*UNUSED_PYTHON))
    modules = pathlib.Path(library).glob("lib-dynload/*.so")
    needed = sorted({file for module in modules for file in libraries(str(module))})
    files = (f"{library}={brought}", *needed, *locales())
    return [
        Program(
            f"python3 {name}.py", (path, "-B", f"{name}.py", "a", "b"), NUMBERS, files=files, compared=slashes_alike
        )
        for name in SCRIPTS_OF_PYTHON
    ], {}


def libraries(module: str) -> list[str]:
    """What a shared object needs, as the dynamic linker finds it here. Of trusted files only: ldd runs the linker."""
    found = subprocess.run(["ldd", module], capture_output=True, text=True, check=False).stdout
    return [line.split("=>")[1].split()[0] for line in found.splitlines() if "=> /" in line]


def locales() -> tuple[str, ...]:
    """What LANG=C.UTF-8 names: without it `setlocale` fails in a guest, and some programs say so."""
    places = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
    return tuple(place for place in places if os.path.exists(place))


def compilers(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    """What gcc starts, one by one: the compiler proper, the assembler, the linker."""
    if not shutil.which("gcc"):
        return [], {"cc1": "there is no gcc"}
    asked = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout.strip()
    tree = workshop.tree
    subprocess.run(["gcc", "-S", "-o", tree / "hello.s", tree / "data" / "hello.c"], check=True)
    subprocess.run(["gcc", "-c", "-o", tree / "hello.o", tree / "data" / "hello.c"], check=True)
    return [
        Program("cc1", (asked, "-quiet", "-fpreprocessed", "-O2", "data/hello.c", "-o", "-")),
        Program("as", (os.path.realpath(shutil.which("as") or ""), "-al", "hello.s", "-o", "made.o")),
        Program("ld", (os.path.realpath(shutil.which("ld") or ""), "-Map=-", "-e", "main", "hello.o", "-o", "made")),
    ], {}


def ordinary(workshop: Workshop) -> tuple[list[Program], dict[str, str]]:
    programs, missing = [], {}
    for line in ORDINARY.strip().splitlines():
        line, _, redirected = line.partition(" < ")
        words = shlex.split(line)
        name = pathlib.Path(words[0]).name
        if not os.path.exists(words[0]):
            missing[name] = "it is not installed"
            continue
        if os.path.getsize(words[0]) > LARGEST:
            missing[name] = "it is larger than what a job can bring in one layer"
            continue
        stdin = (workshop.tree / redirected).read_bytes() if redirected else WORDS
        files = tuple(file for file in NEEDS.get(name, []) if os.path.exists(file)) + locales()
        compared = sorted_lines if name in ("find", "grep") else as_it_is
        programs.append(Program(line[len("/usr/bin/") :], tuple(words), stdin, files=files, compared=compared))
    return programs, missing
