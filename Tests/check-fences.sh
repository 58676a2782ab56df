#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# The fences that no compiler checks: where `unsafe` may stand, what may import Foundation or C, and that the tree names
# nothing outside itself. Prints each breach and ends with status 1 if there is one.
set -u
cd "$(dirname "$0")/.." || exit 1
breaches=0

# breach TEXT: reads lines from standard input; each is a breach.
breach() {
    while IFS= read -r line; do
        printf 'fence: %s: %s\n' "$1" "$line" >&2
        breaches=$((breaches + 1))
    done
}

# `unsafe` marks what strict memory safety cannot check; every other target does without.
breach 'unsafe outside KVM, Systemd, ProcessSandbox, JobTransport, TOML, SQLite, Disassembly and BareLoop' < <(
    grep -rnwE 'unsafe|@unchecked|nonisolated\(unsafe\)' --include='*.swift' Sources |
        grep -vE '^Sources/(KVM|Systemd|ProcessSandbox|JobTransport|TOML|SQLite|Disassembly|BareLoop)/')

# A file with `unsafe` in it says at least once why it is safe.
breach 'unsafe without a SAFETY line in the file' < <(
    grep -rlwE 'unsafe|@unchecked' --include='*.swift' Sources | xargs grep -L 'SAFETY:')

breach 'Foundation outside the command-line tool' < <(
    grep -rnE 'import (Foundation|FoundationEssentials)' --include='*.swift' Sources | grep -v '^Sources/kvmjob/')

breach 'a kvm_ type in a public signature' < <(
    grep -rnE '^ *public .*\bkvm_[a-z]+' --include='*.swift' Sources)

breach 'a trap on bad input' < <(
    grep -rnE '\btry!|\bfatalError\(|as! ' --include='*.swift' Sources)

# Headers of images that strangers made are read by clients, so that no worker can be led astray by one.
breach 'a launch plan in a worker' < <(
    grep -rnE '\b(LaunchPlan|LaunchOptions|ImageFormat|KernelFile)\b' --include='*.swift' \
        Sources/Worker Sources/VMRuntime Sources/kvmjobd Sources/LinuxPersonality Sources/JobProtocol)

breach 'C outside the shim targets' < <(
    find Sources -name '*.c' -o -name '*.cpp' -o -name '*.h' | grep -vE '^Sources/(CKVM|CLinux|CTOML|CGuestCode|CSystemd|CSeccomp|CSandbox|CSQLite|CCapstone|CBareLoop)/')

# What only tests want is in no release: check-release.sh looks at one.
breach 'a drill outside of #if DEBUG' < <(
    find Sources -name '*.swift' -exec awk '
        FNR == 1 { debug = 0 }
        /^ *#if DEBUG$/ { debug = 1 }
        /^ *#(else|endif)/ { debug = 0 }
        !debug && /[Dd]rill|DRILL/ { print FILENAME ":" FNR ":" $0 }' {} +)

breach 'no licence header' < <(
    git ls-files '*.swift' '*.c' '*.cpp' '*.h' '*.S' '*.sh' '*.py' 2>/dev/null | xargs grep -L 'SPDX-License-Identifier: Apache-2.0')

breach 'the tree names something outside itself' < <(
    git ls-files | grep -v '^Tests/check-fences.sh$' | xargs grep -nE '/work/|\.\./shared|kvm-facts|swift-facts' 2>/dev/null)

[ "$breaches" -eq 0 ] && echo 'fences: all hold'
[ "$breaches" -eq 0 ]
