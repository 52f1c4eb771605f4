# Sourced by scripts/test and .ci/run: runs named stages one after the other, and says at the end how each went.
#
# Invariant: a stage that fails does not keep the next from running, and fails the whole.

stages_done=()
stages_failed=0

stage() { # stage NAME COMMAND...
  local name=$1 start=$SECONDS verdict
  shift
  printf '\n=== %s\n' "$name"
  if "$@" </dev/null; then verdict=ok; else
    verdict=FAILED
    stages_failed=$((stages_failed + 1))
  fi
  stages_done+=("$(printf '%-6s %5d s  %s' "$verdict" $((SECONDS - start)) "$name")")
  printf '=== %s: %s, %d s\n' "$name" "$verdict" $((SECONDS - start))
}

stages_summary() { # prints every stage, and fails if one did
  printf '\n=== summary\n'
  printf '%s\n' "${stages_done[@]}"
  printf 'stages: %d passed, %d failed\n' $((${#stages_done[@]} - stages_failed)) "$stages_failed"
  [ "$stages_failed" = 0 ]
}
