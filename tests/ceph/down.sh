#!/usr/bin/env bash
# Ends the daemons of up.sh by the pids that they left in DIR, and removes DIR. The store is in their memory: nothing is saved.
#
# A pid is trusted only if its command line names DIR's configuration, so that one that was given to another process since
# is left alone.
set -euo pipefail

case "${1:---help}" in
  -h | --help) echo 'Usage: tests/ceph/down.sh DIR [--keep]

Ends the cluster that tests/ceph/up.sh started in DIR, and removes DIR, or with --keep leaves its logs.'; exit 0 ;;
esac

[ -d "$1" ] || exit 0
dir=$(cd "$1" && pwd)
for pid_file in "$dir"/run/*.pid; do
  pid=$(cat "$pid_file" 2>/dev/null) || continue
  ours() { tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "-c $dir/ceph.conf "; }
  if [ -n "$pid" ] && ours; then
    kill -KILL "$pid" 2>/dev/null || true
    for _ in $(seq 50); do ours || break; sleep 0.02; done
  fi
done
if [ "${2:-}" != --keep ]; then
  # Only what up.sh made: a wrong argument must not cost anyone a directory.
  [ -d "$dir/mon/a" ] || [ -z "$(ls -A "$dir")" ] || { echo "down.sh: no cluster of up.sh: $dir" >&2; exit 1; }
  rm -rf "$dir"
fi
