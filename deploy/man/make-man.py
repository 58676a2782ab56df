#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Writes the manual pages from what they describe.

    make-man.py KVMJOB KVMJOBD PROTOCOL.md FOLDER

kvmjob(1) comes from KVMJOB's own table of subcommands (--experimental-dump-help) and kvmjobd(8) from KVMJOBD's table of
options (--help-json); what no table holds, such as examples, stands in kvmjob.1.in and kvmjobd.8.in beside this file, between
lines that say where the tables go. kvmjob-protocol(7) is PROTOCOL.md by lowdown(1).

The date on the pages is that of SOURCE_DATE_EPOCH where it is set, so that a build can be repeated.
"""
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def date():
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def text(plain):
    """Plain text as roff input: nothing of it is a request or an escape."""
    escaped = plain.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    escaped = escaped.replace("^", "\\(ha").replace("~", "\\(ti")
    # A line of text may begin with a dot.
    return re.sub(r"^\.", r"\\&.", escaped, flags=re.M)


def filled(plain):
    """Text in paragraphs, as people wrote it: an empty line ends one, and an indented one is shown as it is."""
    blocks = [block for block in plain.strip("\n").split("\n\n") if block.strip()]
    return "\n.PP\n".join(text(re.sub(r"\n +", "\n", block.strip())) for block in blocks)


# kvmjob(1)


def usage_of(argument):
    """How an argument is written, in bold and italics."""
    names = [("-" if name["kind"] == "short" else "--") + name["name"]
             for name in argument.get("names", []) if name["kind"] in ("short", "long")]
    value = "\\fI" + text(argument.get("valueName", "")) + "\\fR"
    if argument["kind"] == "positional":
        return value + (" ..." if argument["isRepeating"] else "")
    written = ", ".join("\\fB" + text(name) + "\\fR" for name in names)
    return written + (" " + value if argument["kind"] == "option" else "")


def about(argument):
    lines = [text(re.sub(r"\s+", " ", argument.get("abstract", "")))]
    values = argument.get("completionKind", {}).get("list", {}).get("values")
    if values and not all(value in argument.get("abstract", "") for value in values):
        lines.append("One of " + text(", ".join(values)) + ".")
    if argument.get("defaultValue"):
        lines.append("Default: " + text(argument["defaultValue"]) + ".")
    if argument.get("discussion"):
        lines.append(text(re.sub(r"\s+", " ", argument["discussion"])))
    return "\n".join(line for line in lines if line)


EVERYWHERE = {"help", "version"}  # said once, for all subcommands


def arguments_of(command, level):
    shown = [a for a in command.get("arguments", []) if a["shouldDisplay"]]
    if level:
        shown = [a for a in shown if a["kind"] == "positional" or a["preferredName"]["name"] not in EVERYWHERE]
    sections = []
    for argument in shown:
        title = argument.get("sectionTitle", "")
        if title not in sections:
            sections.append(title)
    sections.sort(key=lambda title: title != "")
    out = []
    for title in sections:
        if title:
            out.append(f".PP\n{text(title)}:")
        for argument in shown:
            if argument.get("sectionTitle", "") == title:
                out.append(f".TP\n{usage_of(argument)}\n{about(argument)}")
    return "\n".join(out)


def subcommands(tool):
    """A section for each subcommand, in the order of --help."""
    out = []

    def put(command, path):
        name = " ".join(path + [command["commandName"]])
        positional = [usage_of(a) for a in command.get("arguments", [])
                      if a["kind"] == "positional" and a["shouldDisplay"]]
        out.append(f".SS {text(name)} [\\fIoptions\\fR] {' '.join(positional)}".rstrip())
        # The first paragraph after a heading has no .PP.
        parts = [text(command.get("abstract", "")), filled(command.get("discussion", ""))]
        out.append("\n.PP\n".join(part for part in parts if part))
        listed = arguments_of(command, len(path))
        if listed:
            out.append(listed)
        for inner in command.get("subcommands", []):
            if inner["shouldDisplay"]:
                put(inner, path + [command["commandName"]])

    for command in tool["command"]["subcommands"]:
        if command["shouldDisplay"] and command["commandName"] != "help":
            put(command, [tool["command"]["commandName"]])
    return "\n".join(out)


def kvmjob_page(binary):
    tool = json.loads(subprocess.run([binary, "--experimental-dump-help"], check=True, capture_output=True).stdout)
    version = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    common = arguments_of(tool["command"], 0)
    return page("kvmjob.1.in", version, SUBCOMMANDS=subcommands(tool), COMMON=common,
                ABSTRACT=text(tool["command"]["abstract"]))


# kvmjobd(8)


def kvmjobd_page(binary):
    table = json.loads(subprocess.run([binary, "--help-json"], check=True, capture_output=True).stdout)
    types = {"string": "a string", "integer": "an integer", "array": "an array"}
    options, keys = [], []
    for section in table["sections"]:
        options.append(f".SS {text(section['title'])}")
        for option in section["options"]:
            options.append(f".TP\n\\fB\\-\\-{text(option['key'])}\\fR \\fI{text(option['placeholder'])}\\fR")
            options.append(f"{text(sentence(option['help']))}.\nTakes {text(option['wanted'])}.\n"
                           f"Default: {text(option['default'])}.")
            keys.append(f"{text(option['key'])}|{types[option['type']]}|{text(option['example'])}")
    options.append(".SS Settings file and help")
    for switch in table["switches"]:
        name, _, value = switch["usage"].partition(" ")
        name = name.rstrip(",")
        written = f"\\fB{text(name)}\\fR"
        if value:
            written += f", \\fB{text(value)}\\fR" if value.startswith("-") else f" \\fI{text(value)}\\fR"
        options.append(f".TP\n{written}\n{text(sentence(switch['help']))}.")
    statuses = [f".TP\n.B {status['status']}\n{text(sentence(status['meaning']))}." for status in table["statuses"]]
    return page("kvmjobd.8.in", table["version"], OPTIONS="\n".join(options), KEYS="\n".join(keys),
                STATUSES="\n".join(statuses))


def sentence(words):
    return words[:1].upper() + words[1:]


# kvmjob-protocol(7)

PROTOCOL_NAME = """.SH NAME
kvmjob\\-protocol \\- how a client and a kvmjob worker talk over a stream socket
.SH DESCRIPTION
"""


def protocol_page(source, version):
    # The page's own title becomes NAME, and its sections the page's sections.
    body = re.sub(r"\A# .*\n+", "", Path(source).read_text(encoding="utf-8"))
    roff = subprocess.run(
        # Without metadata, as a first paragraph with a colon would pass for some.
        ["lowdown", "-s", "-Tman", "--parse-no-metadata", "-m", "title=KVMJOB-PROTOCOL", "-m", "section=7",
         "-m", f"source=kvmjob {version}", "-m", "volume=kvmjob", "-m", f"date={date()}", "-m", "shiftheadinglevelby=-1"],
        input=body.encode(), check=True, capture_output=True).stdout.decode()
    roff = roff.replace("\\fC", "\\fB")  # a font that terminals have
    # No box round every cell: the last column, which holds sentences, takes the room that the others leave.
    roff = re.sub(r"^tab\(\|\).*;\n(.*)\n(.*)\.$", widest_last, roff, flags=re.M)
    head = re.search(r"^\.TH .*\n", roff, flags=re.M)
    # Ragged on the right, as narrow columns would have holes else.
    whole = "'\\\" t\n" + roff[:head.end()] + ".ad l\n" + PROTOCOL_NAME + roff[head.end():]
    # The first paragraph after a heading has no request of its own.
    return re.sub(r"^(\.SH DESCRIPTION\n|\.S[HS]\n.*\n)\.[LP]P\n", r"\1", whole, flags=re.M)


def widest_last(match):
    columns = len(match.group(1).split())
    names, last = "lb " * (columns - 1), "l " * (columns - 1)
    return f"tab(|);\n{names}lbx\n{last}lx."


def page(template, version, **parts):
    whole = (HERE / template).read_text(encoding="utf-8")
    for name, part in parts.items() | {"DATE": date(), "VERSION": version}.items():
        assert f"@{name}@" in whole, f"{template} has no place for {name}"
        whole = whole.replace(f"@{name}@", part)
    return whole


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    kvmjob, kvmjobd, protocol, folder = sys.argv[1:]
    pages = {"kvmjob.1": kvmjob_page(kvmjob), "kvmjobd.8": kvmjobd_page(kvmjobd)}
    version = subprocess.run([kvmjob, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    pages["kvmjob-protocol.7"] = protocol_page(protocol, version)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in pages.items():
        Path(folder, name).write_text(content, encoding="utf-8")


main()
