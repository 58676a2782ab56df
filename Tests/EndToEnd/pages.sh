#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# What deploy/install.sh installs, from a build, into a folder: its list, the manual pages with every option in them, and the
# completions, typed into the real shells.
#
#   pages.sh [FOLDER_OF_PROGRAMS]      default .build/debug
set -u
cd "$(dirname "$0")/../.." || exit 1
. Tests/EndToEnd/expect.sh
build=$(readlink -f -- "${1:-.build/debug}")
for program in kvmjobd kvmjob; do [ -x "$build/$program" ] || did_not_run "there is no $build/$program (swift build)"; done
for tool in lowdown python3 man mandoc zsh fish; do
    command -v "$tool" >/dev/null || did_not_run "there is no $tool (apt-get install lowdown man-db mandoc zsh fish)"
done

tree=$(mktemp -d)
trap 'rm -rf -- "$tree"' EXIT
where=("DESTDIR=$tree" prefix=/usr "build=$build")

printf -- '--- list\n'
expect 'it installs' deploy/install.sh "${where[@]}"
expect 'what it says it installs' equals \
    "$(cd "$tree" && find . -type f | sed 's/^\.//' | sort)" "$(deploy/install.sh --list "${where[@]}" | sort)"
expect 'every unit is among it' equals "$(find "$tree/usr/lib/systemd/system" -type f | wc -l)" \
    "$(find deploy -maxdepth 1 \( -name '*.service' -o -name '*.socket' \) | wc -l)"
expect 'nothing of it names the folder' equals "$(grep -rlF -- "$tree" "$tree/usr/share" "$tree/usr/lib" "$tree/etc")" ''
elsewhere=$(mktemp -d)
deploy/install.sh "DESTDIR=$elsewhere" prefix=/opt/k "build=$build"
expect 'with another prefix the units start the program there' \
    grep -qx 'ExecStart=/opt/k/libexec/kvmjob/kvmjobd' "$elsewhere/opt/k/lib/systemd/system/kvmjobd.service"
deploy/install.sh --remove "DESTDIR=$elsewhere" prefix=/opt/k
expect 'and --remove takes every file away' equals "$(find "$elsewhere" -type f)" ''
rm -rf -- "$elsewhere"
expect 'an argument that it does not know is refused' equals "$(deploy/install.sh DSTDIR=/ 2>&1)" \
    'install: there is no DSTDIR=/; see the head of this file'

printf -- '--- manual\n'
# page SECTION NAME: the page as a terminal of any width shows it, its hyphens as people type them.
page() { MANWIDTH=1000 man --no-hyphenation --local-file "$tree/usr/share/man/man$1/$2.$1" | sed 's/‐/-/g'; }
silent() { equals "$("$@" 2>&1 >/dev/null)" ''; }
for name in 1/kvmjob 8/kvmjobd 7/kvmjob-protocol; do
    file=$tree/usr/share/man/man${name%/*}/${name#*/}.${name%/*}
    expect "mandoc has nothing to say of ${name#*/}" equals "$(mandoc -Tlint -W warning "$file" 2>&1)" ''
    expect "nor has groff" silent man --warnings --local-file "$file"
    expect "whatis finds it" lexgrog "$file"
done

# has TEXT WORD...: each of the words is in the text.
has() {
    local text=$1 word status=0
    shift
    for word in "$@"; do case $text in *"$word"*) ;; *) printf '%s is missing\n' "$word"; status=1 ;; esac; done
    return $status
}
mapfile -t options < <("$build/kvmjobd" --help | grep -oE '^  --[a-z-]+')
expect 'kvmjobd --help lists more than twenty options' test ${#options[@]} -gt 20
expect 'and each is in kvmjobd(8)' has "$(page 8 kvmjobd)" "${options[@]# }"
mapfile -t keys < <(sed -n 's/^#\([a-z-]*\) = .*/\1/p' deploy/kvmjobd.conf)
expect 'so is each key of the settings file' has "$(page 8 kvmjobd | sed -n '/^SETTINGS FILE/,/^EXIT/p')" "${keys[@]}"
mapfile -t options < <("$build/kvmjob" --experimental-dump-help | python3 -c '
import json, sys
def walk(command):
    for argument in command.get("arguments", []):
        if argument["shouldDisplay"]:
            for name in argument.get("names", []):
                if name["kind"] == "long": print("--" + name["name"])
    for inner in command.get("subcommands", []):
        if inner["shouldDisplay"]: print(inner["commandName"]); walk(inner)
walk(json.load(sys.stdin)["command"])' | sort -u)
expect 'kvmjob has more than forty options and subcommands' test ${#options[@]} -gt 40
expect 'and each is in kvmjob(1)' has "$(page 1 kvmjob)" "${options[@]}"
mapfile -t messages < <(grep -oE '^### [0-9.]+ [A-Z_]+' protocol/PROTOCOL.md | sed 's/### //')
expect 'the protocol has more than ten messages' test ${#messages[@]} -gt 10
expect 'and each is in kvmjob-protocol(7)' has "$(page 7 kvmjob-protocol)" "${messages[@]}"
for section in EXAMPLES 'EXIT STATUS' ENVIRONMENT FILES; do
    expect "kvmjob(1) has $section" grep -qx "$section" <(page 1 kvmjob)
done

printf -- '--- completions\n'
export PATH=$build:$PATH
expect 'no completion begins with the name of an interpreter' \
    equals "$(head -qn1 "$tree"/usr/share/bash-completion/completions/* | grep '^#!')" ''
bash_setup="source $tree/usr/share/bash-completion/completions/kvmjob"
zsh_setup="fpath=($tree/usr/share/zsh/vendor-completions \$fpath); autoload -Uz compinit; compinit -u -D"
for case in 'kvmjob subm:kvmjob submit' 'kvmjob submit --determ:kvmjob submit --deterministic'; do
    typed=${case%%:*} wanted=${case#*:}
    expect "bash: $typed TAB" equals \
        "$(Tests/EndToEnd/complete.py "$bash_setup" "$typed" bash --norc --noprofile -i)" "$wanted"
    expect "zsh: $typed TAB" equals "$(Tests/EndToEnd/complete.py "$zsh_setup" "$typed" zsh -f -i)" "$wanted"
    expect "fish: $typed TAB" contains "$(fish --no-config -c \
        "source $tree/usr/share/fish/vendor_completions.d/kvmjob.fish; complete -C '$typed'")" "${wanted##* }"
done
finish
