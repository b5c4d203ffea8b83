#!/bin/sh
# Makes the recovery store where there is none, then becomes the flow. Exit code 2: the configuration has mistakes, as the flow
# itself says it; a step before the start could not, because systemd looks only at the exit code of the main process.
set -eu
store=$(python -m commands recovery --partitions "${PROCESSES:-1}")
exec python -m bytewax.run flows.main -r "$store" -s "${SNAPSHOT_INTERVAL:-10}" -b "${BACKUP_INTERVAL:-60}"
