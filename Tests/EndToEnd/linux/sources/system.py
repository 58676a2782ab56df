# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The system as Python sees it: threads, queues, files, temporary directories, processes' facts, standard streams."""

import concurrent.futures
import glob
import os
import pathlib
import queue
import select
import shutil
import signal
import sys
import tempfile
import threading
import time

lines = [line.rstrip("\n") for line in sys.stdin]
print(len(lines), sum(map(int, lines)), sys.argv[1:], os.environ["HOME"], sys.getfilesystemencoding())

counter, lock, done = 0, threading.Lock(), threading.Event()
work: queue.Queue[int | None] = queue.Queue(4)
results: list[int] = []


def consume() -> None:
    global counter
    while (item := work.get()) is not None:
        with lock:
            counter += 1
            results.append(item * item)


threads = [threading.Thread(target=consume) for _ in range(4)]
for thread in threads:
    thread.start()
for number in range(200):
    work.put(number)
for _ in threads:
    work.put(None)
for thread in threads:
    thread.join()
print(counter, sum(results), threading.active_count())
threading.Timer(0.003, done.set).start()
print(done.wait(10), threading.Condition().acquire(), threading.Semaphore(0).acquire(timeout=0.002))
with concurrent.futures.ThreadPoolExecutor(3) as pool:
    print(list(pool.map(lambda n: n**3, range(6))))
begin = time.monotonic()
time.sleep(0.003)
print(time.monotonic() - begin >= 0.003, time.time() > 1.7e9, time.gmtime(10**9)[:6])

with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_text("text\n" * 1000)
    (root / "link").symlink_to("a/b/file")
    os.chmod(root / "a" / "b" / "file", 0o640)
    print(oct((root / "link").stat().st_mode), (root / "link").stat().st_size, os.readlink(root / "link"))
    shutil.copytree(root / "a", root / "copy")
    os.rename(root / "copy" / "b" / "file", root / "moved")
    print(sorted(str(path.relative_to(root)) for path in root.rglob("*")), sorted(map(len, glob.glob(folder + "/*")))[0] > 0)
    with open(root / "moved", "r+b") as file:
        file.seek(5)
        file.write(b"TEXT")
        file.truncate(20)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        print(file.read())
    for problem in (lambda: os.rmdir(root / "a"), lambda: open(root / "none"), lambda: os.listdir(root / "moved")):
        try:
            problem()
        except OSError as error:
            print(type(error).__name__, error.errno, error.strerror)
    with os.scandir(root) as entries:
        print(sorted((entry.name, entry.is_dir(), entry.is_symlink()) for entry in entries))
print(os.path.exists(folder))

reader, writer = os.pipe()
os.write(writer, b"through a pipe")
print(select.select([reader], [], [], 5)[0] == [reader], os.read(reader, 100))
signal.signal(signal.SIGALRM, lambda number, frame: print("signal", signal.Signals(number).name))
signal.setitimer(signal.ITIMER_REAL, 0.002)
signal.pause()
print(len(os.urandom(16)), os.cpu_count() is not None, os.getpid() > 0, os.path.realpath("data/../data/words.txt")[-14:])
print("to standard error", file=sys.stderr)
sys.exit(5)
