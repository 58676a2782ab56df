#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The page of a batch's results (`kvmjob report`), read by a parser and used in a real browser.

    report.py [KVMJOBD [KVMJOB [GUEST-IMAGES]]]      default .build/debug/...

Some results are of real jobs, most are made up, and some of those mean no good. Needs /dev/kvm and chromium
(apt-get install chromium). With $SCREENSHOTS, report-light.png and report-dark.png are put into that folder.
Exit status: 0 passed, 77 did not run, else failed.
"""

from __future__ import annotations

import base64
import html.parser
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import browser  # noqa: E402
from live import Checks, LiveWorker, Programs, did_not_run  # noqa: E402

MADE_UP = 20_000
HOSTILE = [
    "</script><img src=x onerror=window.hacked=1>", "<!--<script>", "]]>'\"&amp;&lt;b>", "\u202egnp.exe\u2066 \u0000\u0007\u001b[31m",
    "{{constructor.constructor('window.hacked=1')()}}", "javascript:window.hacked=1", "__proto__",
    "x" * 100_000, "=HYPERLINK(\"http://example.invalid\")",
]  # fmt: skip


def real_results(programs: Programs, guests: pathlib.Path) -> list[bytes]:
    """Of `kvmjob submit --json`: a job that halts, one that loops, one that is refused."""
    with LiveWorker(programs) as worker:
        common = [programs.kvmjob, "submit", "--socket", worker.path, "--json"]
        commands = [
            [str(guests / "hello.bin"), "--steps", "1000"],
            [str(guests / "long64-spin.bin"), "--mode", "long64", "--steps", "5000"],
            [str(guests / "hello.bin"), "--memory", "16MiB", "--exits", "0"],
        ]
        done = [subprocess.run([*common, *one], capture_output=True, timeout=60).stdout for one in commands]
    return [line for text in done for line in text.splitlines()]


def made_up_result(line: int, chance: random.Random) -> dict[str, Any]:
    outcome = chance.choices(["exited", "halted", "faulted", "wall-time-exhausted", "cancelled"], [85, 5, 5, 4, 1])[0]
    said = f"test {line}: {chance.randrange(21)} of 20 passed\n".encode()
    fault = {"vector": 14, "name": "#PF page fault", "error_code": "0x6", "address": "0xdead000", "rip": "0x401136"}
    limit = {"budget": "wall-time", "limit": 2_000_000_000, "used": 2_000_100_000}
    return {
        "line": line, "job_id": f"{chance.getrandbits(128):032x}", "label": f"submission-{line:05}", "image": "grade.elf",
        "name": "grade.elf", "outcome": outcome, "code": chance.choice([0] * 9 + [1]) if outcome == "exited" else None,
        "fault": fault if outcome == "faulted" else None, "exhausted": limit if outcome.endswith("exhausted") else None,
        "cancelled": {"by": "client"} if outcome == "cancelled" else None,
        "steps": {"used": int(10 ** chance.gauss(5.2, 0.7)) if line % 4 else None},
        "wall_ns": int(10 ** chance.gauss(6.6, 0.5)), "queue_ns": chance.randrange(10**7), "cpu_ns": chance.randrange(10**7),
        "output_bytes": len(said), "output_base64": base64.b64encode(said).decode(), "output_file": f"out/{line}.txt",
    }  # fmt: skip


def hostile_results() -> list[dict[str, Any]]:
    """Each text in every place that a guest or a manifest can put one."""
    results = []
    for number, text in enumerate(HOSTILE):
        said = base64.b64encode(text.encode("utf-8", "surrogatepass")[:1000]).decode()
        results.append({
            "line": 100_000 + number, "job_id": text, "label": text, "image": text, "name": text, "outcome": "host-error",
            "host_error": text, "output_base64": said, "output_bytes": 2**64 - 1, "wall_ns": 2**64 - 1, "steps": {"used": 2**64 - 1},
        })  # fmt: skip
    results.append(
        {"line": 200_000, "label": "an outcome that there is not", "outcome": "<script>window.hacked=1</script>"}
    )
    return results


# The page as text


class Page(html.parser.HTMLParser):
    """What stands in the page before anything has run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.handlers: list[str] = []
        self.addresses: list[str] = []
        self.inside = ""
        self.text: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.addresses += [name for name, _ in attributes if name in ("src", "href", "action", "xlink:href")]
        self.inside = tag

    def handle_data(self, data: str) -> None:
        self.text[self.inside] = self.text.get(self.inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def read_as_text(checks: Checks, path: pathlib.Path, title: str, count: int) -> None:
    text = path.read_text()
    page = Page(text)
    checks.equal("parser: two scripts, the data and the program", page.tags["script"], 2)
    checks.equal("parser: no element that a job brought", {"img", "iframe", "a", "b"} & page.tags.keys(), set())
    checks.equal("parser: no handlers, nothing to load", (page.handlers, page.addresses), ([], []))
    checks.equal("parser: the title is text", page.text["h1"], title)
    block = text.split('id="jobs">', 1)[1].split("</script>", 1)[0]
    checks.equal("parser: the data is JSON with every job", len(json.loads(block)), count)
    checks.equal("parser: without a character that could end it", [sign for sign in "<>&" if sign in block], [])


# The page in use

CONTRAST = """
(() => {
  const parse = c => { const p = c.match(/[\\d.]+/g).map(Number); return p.length < 4 ? [...p, 1] : p; };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; }
    return [255, 255, 255, 1]; };
  const poor = [];
  for (const e of document.querySelectorAll("main *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length || e.disabled) continue;
    const style = getComputedStyle(e), ink = parse(e.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(e.tagName + " " + e.className + " " + e.textContent.slice(0, 30));
  }
  return poor.slice(0, 5);
})()
"""
ROWS = "[...document.querySelectorAll('#rows > tr:not(.details)')].map(r => [...r.cells].map(c => c.textContent))"
STATUS = "document.getElementById('status').textContent"


def loads(checks: Checks, page: browser.Browser, count: int) -> None:
    checks.equal("browser: it counts the jobs", page.evaluate(STATUS), f"{count:,} jobs")
    checks.equal("browser: it shows one page of them", len(page.evaluate(ROWS)), 50)
    requests = {one["request"]["url"].split(":")[0] for one in page.seen("Network.requestWillBeSent")}
    checks.equal("browser: it asks the network for nothing", requests, {"file"})
    wrong = page.seen("Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening")
    checks.equal("browser: nothing goes wrong, nobody speaks up", wrong, [])


def outcomes_table(checks: Checks, page: browser.Browser, results: list[dict[str, Any]]) -> None:
    wanted: dict[str, int] = {}
    for result in results:
        name = result["outcome"]
        if name == "exited":
            name = "exited with 0" if result["code"] == 0 else "exited with another code"
        wanted[name] = wanted.get(name, 0) + 1
    cells = "[...document.querySelectorAll('.outcomes tbody tr')].map(r => [...r.cells].map(c => c.textContent.trim()))"
    shown = page.evaluate(cells)
    checks.equal(
        "browser: each outcome with its count", {row[0]: int(row[1].replace(",", "")) for row in shown}, wanted
    )
    most = max(wanted, key=lambda name: wanted[name])
    share = f"{wanted[most] / len(results) * 100:.1f} %"
    checks.equal("browser: the most frequent first, with its share", (shown[0][0], shown[0][2]), (most, share))


def filters(checks: Checks, page: browser.Browser, results: list[dict[str, Any]]) -> None:
    page.click("document.getElementById('text')")
    page.type("submission-0123")
    found = [one["label"] for one in results if "submission-0123" in one.get("label", "")]
    checks.equal("filter: typing narrows the table", [row[1] for row in page.evaluate(ROWS)], found)
    checks.equal("filter: and says how far", page.evaluate(STATUS), f"{len(found)} of {len(results):,} jobs")
    page.evaluate("document.getElementById('text').select()")
    page.type("PAGE fault 0x401136")
    faulted = [one for one in results if one["outcome"] == "faulted"]
    checks.equal(
        "filter: words in any place and case", page.evaluate(STATUS), f"{len(faulted):,} of {len(results):,} jobs"
    )
    page.evaluate("document.getElementById('text').select()")
    page.type("no such job")
    nothing = (page.evaluate(ROWS), page.evaluate("document.getElementById('place').textContent"))
    checks.equal("filter: nothing is found", nothing, ([], "none"))
    page.evaluate("document.getElementById('text').select()")
    page.press("Backspace", 8)
    page.evaluate(
        "(e => { e.value = 'halted'; e.dispatchEvent(new Event('change')); })(document.getElementById('outcome'))"
    )
    halted = sum(one["outcome"] == "halted" for one in results)
    checks.equal("filter: by outcome", page.evaluate(STATUS), f"{halted:,} of {len(results):,} jobs")
    checks.equal("filter: only that is shown", {row[2] for row in page.evaluate(ROWS)}, {"halted"})
    page.evaluate("(e => { e.value = ''; e.dispatchEvent(new Event('change')); })(document.getElementById('outcome'))")


def sorts(checks: Checks, page: browser.Browser, results: list[dict[str, Any]]) -> None:
    head = "document.querySelectorAll('#heads button')"
    page.click(f"{head}[0]")
    page.click(f"{head}[1]")
    labels = sorted(one["label"] for one in results if one.get("label", "").startswith("submission-"))
    shown = [row[1] for row in page.evaluate(ROWS)]
    checks.equal(
        "sort: by name", [name for name in shown if name in labels], [name for name in labels if name in shown]
    )
    page.click(f"{head}[5]")
    page.click("document.getElementById('next')")
    steps = sorted((one.get("steps", {}).get("used") or -1 for one in results), reverse=True)
    shown_steps = [row[5].replace(",", "") for row in page.evaluate(ROWS)]
    checks.equal("sort: by steps, the most first, on the second page", shown_steps, [str(one) for one in steps[50:100]])
    states = page.evaluate("[...document.querySelectorAll('#heads th')].map(h => h.getAttribute('aria-sort'))")
    checks.equal("sort: told to those who do not see it", states, [None] * 5 + ["descending", None])
    page.click("document.getElementById('last')")
    empty = [row[5] for row in page.evaluate(ROWS)]
    checks.equal("sort: what has no number is last", set(empty), {"\u2013"})
    page.click(f"{head}[0]")


def keyboard(checks: Checks, page: browser.Browser) -> None:
    page.evaluate("document.querySelector('#rows button').focus()")
    page.press("Enter", 13)
    shown = page.evaluate("document.querySelector('.details')?.textContent ?? ''")
    checks.that("keyboard: Enter opens a job's details", "test 1:" in shown and "out/1.txt" in shown, shown[:100])
    page.press("Enter", 13)
    checks.equal("keyboard: and closes them", page.evaluate("document.querySelectorAll('.details').length"), 0)
    page.press("Tab", 9)
    place = page.evaluate("[...document.querySelectorAll('#rows button')].indexOf(document.activeElement)")
    checks.equal("keyboard: Tab goes on to the next", place, 1)


def hostile(checks: Checks, page: browser.Browser) -> None:
    page.evaluate("document.getElementById('text').focus(); document.getElementById('text').select()")
    page.type("host-error")
    page.evaluate("document.querySelectorAll('#rows .more').forEach(b => b.click())")
    names = [row[1] for row in page.evaluate(ROWS)]
    checks.equal("hostile: names are shown as they are", names, HOSTILE)
    inert = "[window.hacked === undefined, document.querySelectorAll('main img, main script').length]"
    checks.equal("hostile: nothing of it has run", page.evaluate(inert), [True, 0])
    page.evaluate(
        "(s => { s.textContent = 'window.hacked = 2'; document.body.append(s); })(document.createElement('script'))"
    )
    checks.equal("hostile: and nothing could", page.evaluate("window.hacked === undefined"), True)
    page.evaluate("document.getElementById('text').select()")
    page.press("Backspace", 8)


def accessible(checks: Checks, page: browser.Browser) -> None:
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "searchbox", "textbox", "combobox", "table", "image", "figure", "navigation")
    named = {node["role"]["value"]: node for node in tree if "role" in node and node["role"]["value"] in roles}
    checks.equal("reading: there is one of each kind", named.keys() >= {"button", "combobox", "table", "image"}, True)
    controls = [
        node for node in tree if node.get("role", {}).get("value") in ("button", "searchbox", "combobox", "image")
    ]
    nameless = [node for node in controls if not node.get("ignored") and not node.get("name", {}).get("value")]
    checks.equal("reading: every control and drawing has a name", nameless, [])
    for scheme in ("light", "dark"):
        page.look(1280, 900, scheme)
        checks.equal(f"reading: contrast, {scheme}", page.evaluate(CONTRAST), [])
    page.look(390, 800)
    wide = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    wider = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 391 && !e.closest('.wide'))"
    checks.that(
        "a telephone's width is enough", wide, page.evaluate(f"{wider}.map(e => e.tagName + e.className).slice(0, 9)")
    )
    page.look(1280, 900, medium="print")
    hidden = page.evaluate(
        "[...document.querySelectorAll('form label, nav button')].every(e => !e.getClientRects().length)"
    )
    checks.that("on paper there is nothing to click", hidden)
    paper = page.call("Page.printToPDF")["data"]
    checks.that("and it prints", base64.b64decode(paper).startswith(b"%PDF"))


def pictures(page: browser.Browser, address: str, folder: str) -> None:
    page.open(address)
    for scheme in ("light", "dark"):
        page.look(1280, 900, scheme)
        page.evaluate("window.scrollTo(0, 0)")
        (pathlib.Path(folder) / f"report-{scheme}.png").write_bytes(page.screenshot())


def commands(checks: Checks, kvmjob: str, folder: pathlib.Path) -> None:
    """What can be wrong with results, and with the place for the page."""

    def report(results: bytes, page: str) -> tuple[int, str]:
        (folder / "in.jsonl").write_bytes(results)
        done = subprocess.run(
            [kvmjob, "report", "in.jsonl", "--html", page], cwd=folder, capture_output=True, text=True
        )
        return done.returncode, done.stderr

    line = b'{"outcome":"halted"}\n'
    checks.equal("a last line that is cut short is left out", report(line * 2 + b'{"outc', "a.html"),
                 (0, "kvmjob: in.jsonl: the last line is cut short: it is left out\n"))  # fmt: skip
    checks.equal("no results are a page too", report(b"", "b.html"), (0, ""))
    status, said = report(line + b"{}\n" + line, "c.html")
    checks.equal("a line that is no result", (status, said),
                 (126, "kvmjob: in.jsonl: line 2: it is no result: outcome: it is missing\n"))  # fmt: skip
    (folder / "d.html").mkdir()
    status, said = report(line, "d.html")
    checks.equal("a folder is in the way", (status, said), (125, "kvmjob: cannot write d.html: it is a directory\n"))
    names = {path.name for path in folder.iterdir()}
    checks.equal(
        "nothing half-written is left", {name for name in names if name.endswith(".part") or name == "c.html"}, set()
    )


def main() -> int:
    programs = Programs.from_arguments(__doc__)
    chromium = browser.program()
    if chromium is None:
        did_not_run("there is no chromium (apt-get install chromium)")
    checks, chance = Checks(), random.Random(7)
    with tempfile.TemporaryDirectory(prefix="kvmjob-report-") as name:
        folder = pathlib.Path(name)
        programs.write_guests(name)
        lines = real_results(programs, folder)
        checks.equal(
            "three real results",
            [json.loads(line)["outcome"] for line in lines],
            ["halted", "steps-exhausted", "refused"],
        )
        made_up = [made_up_result(line, chance) for line in range(1, MADE_UP + 1)]
        lines += [json.dumps(one).encode() for one in made_up + hostile_results()]
        results = [json.loads(line) for line in lines]
        (folder / "results.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        title = 'Grading <i>week 7</i> & "more"'
        command = [
            programs.kvmjob,
            "report",
            str(folder / "results.jsonl"),
            "--html",
            str(folder / "report.html"),
            "--title",
            title,
        ]
        checks.equal("kvmjob report", subprocess.run(command, timeout=120).returncode, 0)
        read_as_text(checks, folder / "report.html", title, len(results))
        commands(checks, programs.kvmjob, folder)
        with browser.Browser(chromium) as page:
            page.look(1280, 900)
            page.open(f"file://{folder}/report.html")
            loads(checks, page, len(results))
            outcomes_table(checks, page, results)
            filters(checks, page, results)
            sorts(checks, page, results)
            keyboard(checks, page)
            hostile(checks, page)
            accessible(checks, page)
            if "SCREENSHOTS" in os.environ:
                (folder / "plain.jsonl").write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in made_up))
                command = [
                    programs.kvmjob,
                    "report",
                    "plain.jsonl",
                    "--html",
                    "plain.html",
                    "--title",
                    "Grading, week 7",
                ]
                subprocess.run(command, cwd=folder, check=True, timeout=120)
                pictures(page, f"file://{folder}/plain.html", os.environ["SCREENSHOTS"])
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
