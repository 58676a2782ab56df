#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
#
# Installs a build of kvmjob: the one list of what goes where, which the Debian package is made from too.
#
#   deploy/install.sh [--list|--remove] [NAME=VALUE...]
#
#   DESTDIR=           goes before every path, for packages
#   prefix=/usr/local  where programs, units, manual pages and completions go
#   unitdir=PREFIX/lib/systemd/system
#   build=.build/release   the folder with the programs kvmjob and kvmjobd
#
# --list prints the paths and does nothing; --remove takes them away again, settings and detached jobs included. What is left to
# do on the machine itself is told at the end. The manual pages need python3 and lowdown(1).
set -eu
cd "$(dirname "$0")/.."

fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

action=install DESTDIR='' prefix=/usr/local unitdir='' build=.build/release
for argument in "$@"; do
    case $argument in
        --list | --remove) action=${argument#--} ;;
        DESTDIR=* | prefix=* | unitdir=* | build=*) declare "$argument" ;;
        *) fail "there is no $argument; see the head of this file" ;;
    esac
done
unitdir=${unitdir:-$prefix/lib/systemd/system}
# Distributions keep a folder of their own for zsh.
case $prefix in /usr) zsh=/usr/share/zsh/vendor-completions ;; *) zsh=$prefix/share/zsh/site-functions ;; esac

# What is made from the programs themselves, and the units with the path of this prefix.
made=$(mktemp -d)
trap 'rm -rf -- "$made"' EXIT
settings=/etc/kvmjob/kvmjobd.conf

# One line for each file: its mode, where it comes from, where it goes.
contents() {
    printf '%s\n' \
        "755 $build/kvmjob $prefix/bin/kvmjob" \
        "755 $build/kvmjobd $prefix/libexec/kvmjob/kvmjobd" \
        "644 deploy/kvmjobd.conf $settings" \
        "644 deploy/kvmjob.sysusers $prefix/lib/sysusers.d/kvmjob.conf" \
        "644 deploy/kvmjob.catalog $prefix/lib/systemd/catalog/kvmjob.catalog" \
        "644 $made/kvmjob.1 $prefix/share/man/man1/kvmjob.1" \
        "644 $made/kvmjobd.conf.5 $prefix/share/man/man5/kvmjobd.conf.5" \
        "644 $made/kvmjob-protocol.7 $prefix/share/man/man7/kvmjob-protocol.7" \
        "644 $made/kvmjobd.8 $prefix/share/man/man8/kvmjobd.8" \
        "644 $made/kvmjob.bash $prefix/share/bash-completion/completions/kvmjob" \
        "644 $made/_kvmjob $zsh/_kvmjob" \
        "644 $made/kvmjob.fish $prefix/share/fish/vendor_completions.d/kvmjob.fish"
    local unit
    for unit in deploy/*.service deploy/*.socket; do
        printf '644 %s %s\n' "$made/${unit##*/}" "$unitdir/${unit##*/}"
    done
}

make_pages() {
    command -v lowdown >/dev/null || fail 'lowdown is missing, which makes a manual page of PROTOCOL.md (apt-get install lowdown)'
    deploy/man/make-man.py "$build/kvmjob" "$build/kvmjobd" protocol/PROTOCOL.md "$made"
    printf '.so man8/kvmjobd.8\n' >"$made/kvmjobd.conf.5"
}

make_completions() {
    # The first line of the one for bash is "#!": nobody runs it.
    "$build/kvmjob" --generate-completion-script bash | sed '1{/^#!/d}' >"$made/kvmjob.bash"
    "$build/kvmjob" --generate-completion-script zsh >"$made/_kvmjob"
    "$build/kvmjob" --generate-completion-script fish >"$made/kvmjob.fish"
}

# With their page, which is there now, and the program where it is.
make_units() {
    local unit
    for unit in deploy/*.service deploy/*.socket; do
        sed "/^Description=/a Documentation=man:kvmjobd(8)
            s|/usr/libexec/kvmjob/|$prefix/libexec/kvmjob/|" "$unit" >"$made/${unit##*/}"
    done
}

put() {
    local mode from to
    while read -r mode from to; do
        # Somebody's settings stay.
        if [ -z "$DESTDIR" ] && [ "$to" = "$settings" ] && [ -e "$to" ]; then
            printf 'install: %s is there already and stays; the new one is %s\n' "$to" "$from" >&2
            continue
        fi
        install -D -m "$mode" "$from" "$DESTDIR$to"
    done
}

case $action in
    list) contents | while read -r _ _ to; do printf '%s\n' "$to"; done ;;
    remove)
        # What runs and what starts it goes first: without their units they could not be stopped any more.
        if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
            systemctl --quiet disable --now kvmjobd.socket kvmjobd-each.socket 2>/dev/null || true
            systemctl --quiet stop kvmjobd.service 'kvmjobd-each@*.service' 2>/dev/null || true
        fi
        contents | while read -r _ _ to; do rm -f -- "$DESTDIR$to"; done
        rmdir --ignore-fail-on-non-empty -- "$DESTDIR$prefix/libexec/kvmjob" "$DESTDIR/etc/kvmjob" 2>/dev/null || true
        if [ -z "$DESTDIR" ]; then
            # The first is a symbolic link where systemd made the second for a dynamic user.
            rm -rf -- /var/lib/kvmjob /var/lib/private/kvmjob
            [ ! -d /run/systemd/system ] || systemctl daemon-reload
            echo 'Removed, settings and detached jobs included. The group kvmjob stays (groupdel kvmjob).'
        fi
        ;;
    install)
        for program in kvmjob kvmjobd; do
            [ -x "$build/$program" ] || fail "there is no $build/$program: build it, or name the folder by build="
        done
        make_pages
        make_completions
        make_units
        contents | put
        [ -n "$DESTDIR" ] || cat <<'END'
Now, as root:
    systemd-sysusers && systemctl daemon-reload && journalctl --update-catalog
    systemctl enable --now kvmjobd.socket
    usermod -aG kvmjob USER        # who may submit jobs, from the next login on
END
        ;;
esac
