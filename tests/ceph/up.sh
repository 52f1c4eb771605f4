#!/usr/bin/env bash
# Starts a throw-away Ceph with an S3, STS and IAM on loopback: one mon, one OSD whose store is its memory, one radosgw.
# No systemd, no root, about 100 MB and two seconds. Everything lives in DIR, which must be empty or new; down.sh stops it.
#
# Ports are picked free at random, so that any number of clusters run beside each other.
set -euo pipefail

usage='Usage: tests/ceph/up.sh DIR

Starts a Ceph cluster in the empty directory DIR (at most 80 characters: unix sockets live there) and writes DIR/env:
  ENDPOINT, ADMIN_ACCESS_KEY, ADMIN_SECRET_KEY (may administer users, roles and buckets), RADOSGW_ADMIN (a command)
Environment:
  STS_MIN_SECONDS  the shortest session that STS gives (default 2; stock Ceph: 900)
  RGW_DEBUG        radosgw'"'"'s log level, 0 to 20 (default 1)
Stop it with tests/ceph/down.sh DIR.'
case "${1:---help}" in -h | --help) echo "$usage"; exit 0 ;; esac

fail() { echo "up.sh: $*" >&2; exit 1; }

mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ${#dir} -le 80 ] || fail "the path is too long for unix sockets (80 characters at most): $dir"
[ -z "$(ls -A "$dir")" ] || fail "not empty: $dir"
PATH=$PATH:/usr/sbin:/sbin
for program in ceph ceph-mon ceph-osd monmaptool radosgw radosgw-admin curl; do
  command -v "$program" >/dev/null || fail "$program is missing: run scripts/install-tools, or apt-get install -y --no-install-recommends ceph-mon ceph-osd radosgw ceph-common curl"
done
mkdir -p "$dir"/{mon/a,osd/0,rgw,run,log,tmp}
trap 'echo "up.sh: failed at line $LINENO; the logs are in $dir/log" >&2' ERR

# Below Linux's range for outgoing connections, so that none of those takes the port between here and its use.
free_port() { # free_port COUNT: the first of COUNT ports in a row that nobody listens on
  local first port
  for _ in $(seq 100); do
    first=$((10000 + RANDOM % 22000))
    for port in $(seq "$first" $((first + $1 - 1))); do
      if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then continue 2; fi
    done
    echo "$first"
    return
  done
  fail "no free ports on 127.0.0.1"
}
rgw_port=$(free_port 1)
mon_port=$(free_port 20) # and the OSD's ports after it

fsid=$(cat /proc/sys/kernel/random/uuid)
osd_uuid=$(cat /proc/sys/kernel/random/uuid)
conf=$dir/ceph.conf
cat >"$conf" <<CONF
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$mon_port
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
ms bind msgr1 = false
ms bind port min = $((mon_port + 1))
ms bind port max = $((mon_port + 19))
# No cephx on loopback. Without the connection mode, radosgw asks the mon for an encrypted link, which needs cephx, and
# hangs for five minutes.
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
client mount timeout = 30
run dir = $dir/run
pid file = $dir/run/\$name.pid
admin socket = $dir/run/\$name.asok
log file = $dir/log/\$name.log
log to stderr = false
err to stderr = true
# One OSD holds the one copy.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
# Quick to start.
mon client hunt interval = 0.5
paxos propose interval = 0.05
paxos min wait = 0.01

[mon]
mon data = $dir/mon/a
mon cluster log file = $dir/log/cluster.log
mon data avail crit = 1
mon data avail warn = 1
mon osd down out interval = 0

[osd]
osd data = $dir/osd/0
osd objectstore = memstore
memstore device bytes = 4294967296
osd crush initial weight = 1
osd class load list = *
osd class default list = *
osd op num shards = 2
osd op num threads per shard = 1

# ceph and radosgw-admin: not daemons.
[client]
admin socket =
pid file =
log file = $dir/log/client.log

[client.rgw.a]
pid file = $dir/run/client.rgw.a.pid
admin socket = $dir/run/client.rgw.a.asok
log file = $dir/log/client.rgw.a.log
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$rgw_port tcp_nodelay=1
rgw dns name = s3.localhost
rgw enable apis = s3, sts, iam, admin
rgw s3 auth use sts = true
rgw sts key = $(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
rgw sts min session duration = ${STS_MIN_SECONDS:-2}
rgw enable usage log = false
rgw thread pool size = 32
rgw rados pool pg num min = 1
rgw override bucket index max shards = 1
rgw dynamic resharding = false
rgw init timeout = 60
debug rgw = ${RGW_DEBUG:-1}
CONF
export CEPH_CONF=$conf TMPDIR=$dir/tmp

# Every daemon forks into the background by itself, and writes its pid to DIR/run.
running() { # running NAME PROGRAM. A zombie has a pid, but no command line.
  local pid
  pid=$(cat "$dir/run/$1.pid" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$2 -c $conf "
}
await() { # await SECONDS NAME PROGRAM CONDITION...: until the condition holds, as long as the daemon lives
  local deadline=$((SECONDS + $1)) name=$2 program=$3
  shift 3
  until running "$name" "$program" && "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge "$deadline" ] || { [ -s "$dir/run/$name.pid" ] && ! running "$name" "$program"; }; then
      tail -n 20 "$dir"/log/* >&2
      fail "$program is not up"
    fi
    sleep 0.05
  done
}
ceph() { command ceph -c "$conf" --connect-timeout 5 "$@"; }

monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" "$dir/monmap" >"$dir/log/setup" 2>&1
ceph-mon -c "$conf" -i a --mkfs --monmap "$dir/monmap" >>"$dir/log/setup" 2>&1
ceph-mon -c "$conf" -i a >>"$dir/log/setup" 2>&1
await 30 mon.a ceph-mon ceph mon stat

[ "$(ceph osd new "$osd_uuid" 2>>"$dir/log/setup")" = 0 ] || fail "the first OSD is not osd.0"
ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd_uuid" >>"$dir/log/setup" 2>&1
ceph-osd -c "$conf" -i 0 >>"$dir/log/setup" 2>&1
osd_up() { ceph osd stat | grep -q '1 up'; }
await 60 osd.0 ceph-osd osd_up

radosgw -c "$conf" -n client.rgw.a >>"$dir/log/setup" 2>&1
await 120 client.rgw.a radosgw curl -fsS -o /dev/null "http://127.0.0.1:$rgw_port/"

hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n' | tr a-f A-F; }
access_key=ADMIN$(hex 8)
secret_key=$(hex 20)
radosgw_admin=(radosgw-admin -c "$conf" -n client.rgw.a --admin-socket= --pid-file= --log-file="$dir/log/client.log")
timeout 60 "${radosgw_admin[@]}" user create --uid admin --display-name admin --access-key "$access_key" --secret-key "$secret_key" \
  --caps 'users=*;roles=*;user-policy=*;buckets=*;metadata=*' >"$dir/log/admin.json"

umask 077
cat >"$dir/env" <<ENV
ENDPOINT=http://127.0.0.1:$rgw_port
ADMIN_ACCESS_KEY=$access_key
ADMIN_SECRET_KEY=$secret_key
RADOSGW_ADMIN="${radosgw_admin[*]}"
ENV
