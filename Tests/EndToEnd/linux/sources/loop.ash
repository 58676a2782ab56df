# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
# A loop of a POSIX shell, without a process for it.

i=0 sum=0
while [ $i -lt 1000 ]; do
    sum=$((sum + i))
    i=$((i + 1))
done
echo "sum $sum"
show() { echo "function with $# arguments: $*"; return 3; }
show one two
echo "status $?, ${HOME} ${NONE:-default} ${HOME#/}"
for word in b a c; do printf '%s ' "$word"; done
echo
while read -r line; do case $line in *7*) echo "seven in $line" ;; esac; done < data/numbers.txt
set -- x y z
shift
echo "$1 $#"
echo "to standard error" >&2
exit 5
