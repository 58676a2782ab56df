# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
# What a shell does by itself, without a process for it.

set -u
sum=0
for ((i = 0; i < 2000; i++)); do ((sum += i * i % 7)); done
echo "sum $sum, $((16#ff)), $((2 ** 40)), $((7 / 2)), $((-7 % 3))"

names=(zeta alpha "two words" gamma)
names+=(delta)
declare -A ages=([ann]=31 [bob]=27)
for name in "${names[@]}"; do printf '<%s> ' "$name"; done
echo "${#names[@]} ${names[2]} ${names[-1]} ${!ages[@]} ${ages[bob]}"

factorial() { local n=$1; if ((n < 2)); then result=1; else factorial $((n - 1)); result=$((result * n)); fi; }
factorial 15
echo "15! = $result"

text="The quick brown fox"
echo "${text^^} ${text,,} ${text:4:5} ${text/quick/slow} ${text##* } ${text%% *} ${#text}"
if [[ $text =~ ([a-z]+)\ ([a-z]+)\ fox ]]; then echo "matched ${BASH_REMATCH[1]} and ${BASH_REMATCH[2]}"; fi
case $text in *brown*) echo "brown" ;; *) echo "other" ;; esac

printf -v padded '%08.3f|%-6s|%5d|%x|%q' 3.14159 left 42 255 'a b'
echo "$padded"

lines=0
while IFS=: read -r first second rest; do
    ((++lines))
    echo "$lines: [$first] [$second] [$rest]"
done <<'TEXT'
one:two:three:four
five:six

:empty first
TEXT
read -r word <<<"a here-string of words"
echo "$word"

total=0 count=0
while read -r number; do ((total += number, ++count)); done
echo "$count numbers, $total"

mapfile -t array < data/words.txt
echo "${#array[@]} words, ${array[0]} to ${array[-1]}"
for file in data/*.txt; do echo "glob $file"; done
echo "into a file" > made.txt && echo "and more" >> made.txt
while read -r line; do echo "from the file: $line"; done < made.txt
[ -f made.txt ] && [ ! -d made.txt ] && [ -s made.txt ] && echo "tests hold"
[ -e none ] || echo "none is not there" >&2
: < none
echo "status $?"
trap 'echo "trapped USR1"' USR1
kill -USR1 $$
trap 'echo "leaves with $?"' EXIT
exec 3> made.txt; echo three >&3; exec 3>&-
printf '%(%Y-%m-%d)T\n' 0
shopt -s extglob; echo "${text//+([a-z])/-}"
exit 7
