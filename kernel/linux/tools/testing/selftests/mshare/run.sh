#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh [PROGRAM...]: run the programs here (all of them if none is named), one
# after the other, show what they say, and add it up.
#
# Status: 0 all is well, 1 something failed, 4 nothing could be tested.
#
# MSHARE_TEST_DIR    where the programs are, if not beside this script
# MSHARE_TEST_SCALE  1 (quick, for kernels that check everything) to 10 (default)
# MSHARE_TEST_LIMIT  seconds that one program may take (3600)
# MSHARE_TEST_PART   K/N: of all programs every Nth, from the Kth on; the others
#                    run elsewhere
# CI=true            what is skipped has failed

here=${MSHARE_TEST_DIR:-$(dirname "$0")}
limit=${MSHARE_TEST_LIMIT:-3600}
log=$(mktemp /tmp/mshare-run.XXXXXX) || exit 1
trap 'rm -f "$log" "$log.rc"' EXIT

if [ $# = 0 ]; then
	part=${MSHARE_TEST_PART:-1/1} n=0
	# First what drops all caches, which takes longer with every cgroup that
	# there has been.
	for program in accounting fs abi faults basic refusals readonly io file \
		thp futex reclaim memcg leak model race stale scale; do
		n=$((n + 1))
		[ $((n % ${part#*/})) != $((${part%/*} % ${part#*/})) ] ||
			set -- "$@" "$program"
	done
fi

if ! grep -qw msharefs /proc/filesystems; then
	echo "1..0 # SKIP the kernel has no msharefs"
	[ "${CI-}" != true ] || exit 1
	exit 4
fi

passed=0 failed=0 skipped=0 number=0 bad=""

# The kernel log says by itself when which program ran.
mark()
{
	{ echo "mshare selftests: $*" >/dev/kmsg; } 2>/dev/null
}

# What a program that was killed may have left switched off.
reset_knobs()
{
	[ ! -e /sys/kernel/debug/mshare/no_flush ] ||
		echo 0 >/sys/kernel/debug/mshare/no_flush
}

echo "TAP version 13"
echo "1..$#"
for program; do
	number=$((number + 1))
	echo "# mshare: $program"
	mark "$program"
	reset_knobs
	begin=$(date +%s)
	# POSIX sh has no PIPESTATUS; what it says is worth seeing at once.
	{
		KSFT_TAP_LEVEL=1 timeout -k 10 "$limit" "$here/$program" 2>&1
		echo $? >"$log.rc"
	} | tee "$log" | sed -u 's/^/# /'
	status=$(cat "$log.rc")
	seconds=$(($(date +%s) - begin))

	plan=$(sed -n 's/^1\.\.\([0-9][0-9]*\).*/\1/p' "$log" | head -n 1)
	ok=$(grep -c '^ok .*' "$log")
	skip=$(grep -c '^ok .* # SKIP' "$log")
	not=$(grep -c '^not ok ' "$log")
	passed=$((passed + ok - skip))
	skipped=$((skipped + skip))
	failed=$((failed + not))

	why=""
	if [ "$not" -gt 0 ]; then
		why="$not failed"
	elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
		why="no end after $limit s"
	elif [ "$status" != 0 ] && [ "$status" != 4 ]; then
		why="status $status"
	elif [ "$((ok + not))" != "${plan:-0}" ]; then
		# A program that dies early must not look like one that is short.
		why="$((ok + not)) results of ${plan:-no} planned"
	elif [ "${CI-}" = true ] && [ "$skip" -gt 0 ]; then
		why="$skip skipped, and CI=true"
	fi
	if [ -n "$why" ]; then
		[ "$not" -gt 0 ] || failed=$((failed + 1))
		bad="$bad $program"
		echo "not ok $number mshare: $program # $why, $seconds s"
	elif [ "$((ok - skip))" = 0 ]; then
		echo "ok $number mshare: $program # SKIP all of it, $seconds s"
	else
		echo "ok $number mshare: $program # $((ok - skip)) passed, $skip skipped, $seconds s"
	fi
done
reset_knobs
mark "done"

echo "# Totals: pass:$passed fail:$failed skip:$skipped${bad:+, failed:$bad}"
[ "$failed" = 0 ] || exit 1
[ "$passed" -gt 0 ] || exit 4
exit 0
