#!/bin/sh
# Makes the recovery store where there is none, then becomes the flow. Where the configuration has mistakes, it becomes the flow with
# the one that worked last, so that a bad edit stops nothing, not even over a crash or a reboot. Exit code 2: there is none, or it
# has mistakes as well. A step before the start could not say that: systemd looks only at the exit code of the main process.
set -eu
accepted=${ACCEPTED:-/var/lib/dlms-thingsboard-accepted}/pipeline.yaml

store=$(python -m commands recovery --partitions "${PROCESSES:-1}") || {
  code=$?
  [ "$code" = 2 ] && [ -e "$accepted" ] || exit "$code"
  echo "the configuration has mistakes: starting with the one that worked last, $accepted; mend $PIPELINE, which is checked by itself" >&2
  PIPELINE=$accepted
  export PIPELINE
  store=$(python -m commands recovery --partitions "${PROCESSES:-1}")
}
exec python -m bytewax.run flows.main -r "$store" -s "${SNAPSHOT_INTERVAL:-10}" -b "${BACKUP_INTERVAL:-60}"
