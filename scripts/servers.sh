#!/bin/bash
# SPDX-License-Identifier: MIT
#
# servers.sh test|bench [ROUNDS [MIB [BACKENDS...]]]: servers that people run, unmodified, under
# libmshare-preload.so and without it.
#
# test: PostgreSQL and nginx do what they do, with the same results, and survive what they
# survive. TAP, and a tally as the last line. For a guest (npm test), and for any machine that
# has the programs; where there is no msharefs, it tests that nothing changes.
#
# bench: B8. N backends of PostgreSQL read all of MIB of shared buffers; then pgbench -S. A JSON
# line a round and contender, as the programs of packages/bench print it. Takes root, to look into
# /proc/PID/map_files, and the programs of packages/bench.
#
# A directory below /tmp and the processes started here are all that it touches.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# Where Debian has nginx.
PATH=$PATH:/usr/sbin
mode=${1:-test}
shift
top=$PWD

fail() {
	echo "servers.sh: $*" >&2
	exit 1
}
bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
[ -x "$bin/postgres" ] || fail "there is no PostgreSQL (apt-get install postgresql)"

dir=$(mktemp -d /tmp/mshare-servers.XXXXXX) || exit 1
chmod 755 "$dir"
# Who the servers run as may not come to where this is, nor be there.
cp libmshare/build/mshare-run libmshare/build/libmshare-preload.so "$dir" || fail "make -C libmshare"
cd "$dir" || exit 1
run=$dir/mshare-run
log=$dir/shim.log
as=()
if [ "$(id -u)" = 0 ]; then
	# It refuses to run as root.
	install -d -o postgres -g postgres "$dir/pg"
	: >"$log"
	chown postgres "$log"
	as=(setpriv --reuid=postgres --regid=postgres --clear-groups env HOME="$dir/pg")
else
	mkdir "$dir/pg"
fi
# Small memory counts, too: nginx's zones.
shim=("$run" -q --threshold 1M --log "$log")
# shellcheck disable=SC2153 # of libmshare
[ "$(stat -f -c %t "${MSHARE_ROOT:-/sys/fs/mshare}" 2>/dev/null)" = 6d736872 ] && can=1 || can=

server=
stop_all() {
	[ -z "$server" ] || kill -QUIT "$server" 2>/dev/null
	[ ! -s "$dir/nginx/pid" ] || kill -QUIT "$(cat "$dir/nginx/pid")" 2>/dev/null
	wait 2>/dev/null
	cd / && [ -n "${KEEP-}" ] || rm -rf --one-file-system "$dir"
}
trap stop_all EXIT
trap 'exit 129' HUP INT TERM

# ---- PostgreSQL -------------------------------------------------------------------------------

sql() {
	"${as[@]}" "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$dir/pg" -U postgres postgres "$@"
}
pgbench() {
	"${as[@]}" "$bin/pgbench" -h "$dir/pg" -U postgres "$@" postgres
}

# make_cluster SHARED_BUFFERS [COMMAND...]: with what is before initdb
make_cluster() {
	local buffers=$1
	shift
	"${as[@]}" "$@" "$bin/initdb" -D "$dir/pg/data" -A trust -U postgres --no-sync -E UTF8 \
		--locale=C >"$dir/pg/initdb.log" 2>&1 || return 1
	cat >>"$dir/pg/data/postgresql.conf" <<-END
		listen_addresses = ''
		unix_socket_directories = '$dir/pg'
		shared_buffers = $buffers
		huge_pages = off
		max_connections = 130
		max_prepared_transactions = 5
		fsync = off
		autovacuum = off
		restart_after_crash = on
		max_wal_size = 4GB
		max_parallel_workers_per_gather = 0
		synchronize_seqscans = off
		jit = off
		checkpoint_timeout = 1h
	END
}

# start [COMMAND...]; its pid in $server
start() {
	"${as[@]}" "$@" "$bin/postgres" -D "$dir/pg/data" >>"$dir/pg/server.log" 2>&1 &
	server=$!
	ready
}

ready() {
	local i
	for ((i = 0; i < 600; i++)); do
		"${as[@]}" "$bin/pg_isready" -q -h "$dir/pg" -U postgres && return
		kill -0 "$server" 2>/dev/null || break
		sleep 0.2
	done
	cat "$dir/pg/server.log"
	return 1
}

# stop: fast; its status
stop() {
	local pid=$server
	server=
	kill -INT "$pid" && wait "$pid"
}

said() {
	grep -c "$1" "$log"
}

# ---- test -------------------------------------------------------------------------------------

passed=0 failed=0
check() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
		echo "ok $((passed + failed)) - $what"
	else
		failed=$((failed + 1))
		echo "not ok $((passed + failed)) - $what"
		[ ! -s "$dir/said" ] || sed 's/^/#   /' "$dir/said" | tail -n 30
	fi
}

# The money that is in accounts, tellers and branches is what the history says.
books_balance() {
	sql >"$dir/said" 2>&1 <<-'END' && [ "$(cat "$dir/said")" = t ]
		SELECT a = h AND t = h AND b = h FROM
			(SELECT sum(abalance) a FROM pgbench_accounts) x,
			(SELECT sum(tbalance) t FROM pgbench_tellers) y,
			(SELECT sum(bbalance) b FROM pgbench_branches) z,
			(SELECT coalesce(sum(delta), 0) h FROM pgbench_history) w;
	END
}

clients() {
	pgbench -n -c "$1" -j 4 -t "$2" >"$dir/said" 2>&1 &&
		grep -q "transactions actually processed: $(($1 * $2))/$(($1 * $2))" "$dir/said"
}

# As pg_regress does it: what a script of queries prints, errors included, is compared.
queries() {
	"${as[@]}" "$bin/psql" -X -a -q -h "$dir/pg" -U postgres postgres <"$top/scripts/servers.sql" \
		2>&1 | sed 's/ with PID [0-9]*/ with a PID/' >"$1"
}

same_answers() {
	diff "$dir/plain.out" "$dir/shimmed.out" >"$dir/said" && [ "$(wc -l <"$dir/plain.out")" -gt 200 ]
}

backend() {
	sql -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND
		application_name = '$1' LIMIT 1"
}

# A backend that is killed takes all others with it; the server starts again by itself.
backend_killed() {
	local victim i
	PGAPPNAME=load pgbench -n -c 5 -j 2 -T 600 >"$dir/said" 2>&1 &
	local load=$!
	# The first one has come to look, and goes.
	for ((i = 0; i < 100; i++)); do
		sleep 0.5
		victim=$(backend load) && [ -n "$victim" ] && kill -KILL "$victim" 2>/dev/null && break
	done
	wait "$load"
	for ((i = 0; i < 300; i++)); do
		grep -q 'all server processes terminated; reinitializing' "$dir/pg/server.log" && break
		sleep 0.2
	done
	ready && grep -q 'was terminated by signal 9' "$dir/pg/server.log" && [ "$i" -lt 300 ]
}

postmaster_killed() {
	local i
	PGAPPNAME=load pgbench -n -c 5 -j 2 -T 600 >"$dir/said" 2>&1 &
	local load=$!
	sleep 2
	kill -KILL "$server"
	wait "$load" "$server" 2>/dev/null
	# Its processes, which are of its session, notice, and go.
	for ((i = 0; i < 300; i++)); do
		pgrep -s "$server" >/dev/null || break
		sleep 0.2
	done
	! pgrep -s "$server" >/dev/null && start "${shim[@]}" &&
		grep -q 'automatic recovery in progress' "$dir/pg/server.log"
}

shared() {
	cp "$log" "$dir/said"
	[ "$(said "share page tables")" = "$((${can:+1} + 0 ? $1 : 0))" ]
}

gone() {
	! pgrep -f "$dir" >"$dir/said"
}

test_postgres() {
	check "initdb" make_cluster 32MB "${shim[@]}"
	[ "$failed" = 0 ] || cat "$dir/pg/initdb.log"
	: >"$log"
	check "a server as it is" start
	queries "$dir/plain.out"
	check "and its end" stop
	rm -rf "$dir/pg/data"
	make_cluster 32MB
	check "a server with the shim" start "${shim[@]}"
	check "has shared page tables for its shared memory" shared 1
	queries "$dir/shimmed.out"
	check "the same answers to $(wc -l <"$dir/plain.out") lines of queries" same_answers
	check "pgbench -i" eval 'pgbench -i -q --foreign-keys >"$dir/said" 2>&1'
	check "1 client" clients 1 20
	check "20 clients" clients 20 5
	check "100 clients" clients 100 2
	check "the books balance" books_balance
	check "a backend is killed, and the server recovers" backend_killed
	check "the books balance" books_balance
	check "its new shared memory has shared page tables, too" shared 2
	check "the postmaster is killed, and a new one recovers" postmaster_killed
	check "the books balance" books_balance
	check "20 clients once more" clients 20 5
	check "the server ends" stop
	check "and nothing of it is left" gone
}

# ---- nginx: shared memory zones, which workers and their successors inherit -------------------

get() {
	curl -s -o /dev/null -w '%{http_code}\n' --unix-socket "$dir/nginx/socket" \
		"http://localhost/$1"
}

# $1 zone size
nginx_conf() {
	cat >"$dir/nginx/conf" <<-END
		daemon off;
		worker_processes 4;
		pid $dir/nginx/pid;
		error_log $dir/nginx/error.log;
		events { worker_connections 64; }
		http {
			access_log off;
			client_body_temp_path $dir/nginx/body;
			proxy_temp_path $dir/nginx/proxy;
			fastcgi_temp_path $dir/nginx/fastcgi;
			uwsgi_temp_path $dir/nginx/uwsgi;
			scgi_temp_path $dir/nginx/scgi;
			limit_req_zone \$uri zone=one:$1 rate=1r/m;
			server {
				listen unix:$dir/nginx/socket;
				location / {
					root $dir/nginx;
					limit_req zone=one burst=4 nodelay;
					try_files /page =404;
				}
			}
		}
	END
}

# How many of 12 requests for a name are let through, whichever worker has them: 5.
limited() {
	local i n=0
	for ((i = 0; i < 12; i++)); do
		[ "$(get "$1")" = 200 ] && n=$((n + 1))
	done
	echo "$n requests of 12" >"$dir/said"
	[ "$n" = 5 ]
}

answers() {
	local i
	for ((i = 0; i < 100; i++)); do
		[ "$(get "$1-$i")" = 200 ] && return
		sleep 0.2
	done
	tail -n 20 "$dir/nginx/error.log" >"$dir/said"
	return 1
}

workers() {
	pgrep -P "$nginx" | sort
}

reloaded() {
	local before i
	before=$(workers)
	kill -HUP "$nginx"
	for ((i = 0; i < 100; i++)); do
		[ -z "$(comm -12 <(echo "$before") <(workers))" ] && return
		sleep 0.2
	done
	return 1
}

worker_killed() {
	local victim i
	victim=$(workers | head -n 1)
	kill -KILL "$victim"
	for ((i = 0; i < 100; i++)); do
		[ "$(workers | wc -l)" = 4 ] && ! workers | grep -qx "$victim" && return
		sleep 0.2
	done
	return 1
}

test_nginx() {
	command -v nginx >/dev/null || fail "there is no nginx (apt-get install nginx-light)"
	mkdir "$dir/nginx"
	chmod 777 "$dir/nginx"
	echo good >"$dir/nginx/page"
	: >"$log"
	chmod 666 "$log"
	nginx_conf 8m
	"${shim[@]}" nginx -e "$dir/nginx/error.log" -c "$dir/nginx/conf" >"$dir/said" 2>&1 &
	nginx=$!
	check "nginx with the shim" answers start
	check "has shared page tables for its zone" shared 1
	check "four workers count in one zone" limited a
	check "it reloads" reloaded
	check "and remembers" eval '[ "$(get a)" = 503 ]'
	check "while others are let in" limited b
	check "a worker is killed, and another one comes" worker_killed
	check "who knows" eval '[ "$(get b)" = 503 ]'
	nginx_conf 16m
	check "it reloads with a larger zone" reloaded
	check "which has shared page tables, too" shared 2
	check "and is empty" limited a
	kill -QUIT "$nginx"
	check "it ends" wait "$nginx"
	check "and nothing of it is left" gone
}

# ---- bench ------------------------------------------------------------------------------------

# A session that holds lock $1 until it is told to go; its backend's pid in $holder.
hold() {
	PGAPPNAME=hold$1 sql -c "SELECT pg_advisory_lock($1); SELECT pg_sleep(100000)" \
		>/dev/null 2>&1 &
	local i
	for ((i = 0; i < 300; i++)); do
		[ "$(sql -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1
			AND granted")" = 1 ] && return
		sleep 0.1
	done
	fail "lock $1 is not held"
}
let_go() {
	sql -c "SELECT pg_terminate_backend($(backend "hold$1"))" >/dev/null
}
# all_wait N LOCK
all_wait() {
	local i
	for ((i = 0; i < 6000; i++)); do
		[ "$(sql -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $2
			AND NOT granted")" = "$1" ] && return
		sleep 0.3
	done
	fail "$1 backends do not come to lock $2"
}

page_tables() {
	sed -n 's/^PageTables:[^0-9]*\([0-9]*\).*/\1/p' /proc/meminfo
}

# Of the backends of the load, minor faults so far and page tables of their own in kB; and page
# tables of the machine in kB.
sums() {
	local pid faults=0 tables=0 words
	for pid in $(sql -c "SELECT pid FROM pg_stat_activity WHERE application_name = 'load'"); do
		words=$(sed 's/.*) //' "/proc/$pid/stat")
		# shellcheck disable=SC2086 # words, the eighth is minflt
		set -- $words
		faults=$((faults + $8))
		tables=$((tables + $(sed -n 's/^VmPTE:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status")))
	done
	echo "$faults $tables $(page_tables)"
}

report() {
	echo "{\"id\":\"B8\",\"contender\":\"$1\",\"n\":$2,\"round\":$3,\"value\":$4,\"unit\":\"$5\"}"
}

# contender NAME ROUND BACKENDS COMMAND...
contender() {
	local name=$1 round=$2 n=$3 load before after region tps
	shift 3
	start "$@" || fail "$name does not start"
	# Warm: all of it is in the buffers, put there by one process that has gone.
	sql -c "SELECT pg_prewarm('filler', 'buffer'); SELECT count(*) FROM filler" >/dev/null
	hold 1
	hold 2
	# A scan takes pages that are in the buffers where they are, and looks into each. (pg_prewarm does
	# not: it finds that they are there.)
	cat >"$dir/load.sql" <<-'END'
		SELECT count(*) FROM pgbench_branches;
		SELECT pg_advisory_lock_shared(1);
		SELECT count(*) FROM filler;
		SELECT pg_advisory_lock_shared(2);
	END
	PGAPPNAME=load pgbench -n -c "$n" -j 1 -t 1 -f "$dir/load.sql" >"$dir/load.log" 2>&1 &
	load=$!
	all_wait "$n" 1
	before=$(sums)
	let_go 1
	all_wait "$n" 2
	after=$(sums)
	# The one set that all share, if they do.
	region=$("$top/packages/bench/build/tables" "$server") || fail "tables"
	let_go 2
	wait "$load" || fail "$(cat "$dir/load.log")"
	# shellcheck disable=SC2086 # numbers
	set -- $before $after
	report "$name: faults of the backends" "$n" "$round" $(($4 - $1)) faults
	report "$name: page tables for the buffers" "$n" "$round" $((($5 - $2) * 1024 + region)) bytes
	report "$name: page tables of the machine" "$n" "$round" $(($6 * 1024)) bytes
	# So many that what a new backend has to load is little of it.
	pgbench -n -S -M prepared -c "$n" -j 1 -t 300 >"$dir/load.log" 2>&1 || fail "$(cat "$dir/load.log")"
	tps=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$dir/load.log")
	report "$name: pgbench -S" "$n" "$round" "$(awk "BEGIN { print 1000000 / $tps }")" µs/transaction
	stop || fail "$name does not end well"
}

bench() {
	local rounds=${1:-3} mib=${2:-512} round n
	shift 2
	make_cluster "$((mib + 64))MB" || fail "$(cat "$dir/pg/initdb.log")"
	start || fail "it does not start"
	# A row a page, so that a page costs little to make.
	sql <<-END || fail "no data"
		CREATE EXTENSION pg_prewarm;
		CREATE UNLOGGED TABLE filler (words text) WITH (autovacuum_enabled = off);
		ALTER TABLE filler ALTER words SET STORAGE PLAIN;
		INSERT INTO filler SELECT repeat('x', 8000) FROM generate_series(1, $((mib * 128)));
	END
	pgbench -i -q -s 2 >/dev/null 2>&1 || fail "pgbench -i"
	# What is to be read is on the disk, and written no more.
	sql -c CHECKPOINT
	stop || fail "it does not end well"
	for ((round = 0; round < rounds; round++)); do
		for n in "${@:-100}"; do
			contender libc "$round" "$n"
			contender mshare-run "$round" "$n" "${shim[@]}"
		done
	done
}

case $mode in
test)
	test_postgres
	test_nginx
	echo "1..$((passed + failed))"
	echo "$passed passed, $failed failed, 0 skipped"
	[ "$failed" = 0 ]
	;;
bench) bench "$@" ;;
*) fail "test or bench, not $mode" ;;
esac
