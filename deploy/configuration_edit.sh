#!/bin/bash
# What the units do when somebody edits the configuration. A bad edit never stops a running flow, an edit that changes nothing
# restarts nothing, and of several quick edits the last one counts.
#
#   started   the flow starts with the configuration as it is now (called by the flow's own unit)
#   accept    the flow has begun (called by the flow's own unit, with MAINPID): keeps a copy of what it began with, for run_flow.sh
#   changed   waits until nobody writes any more; exit code 0 when it is not what the flow started with, else 1
#   apply     restarts what runs, when the configuration is still the one that was checked
#   again     leaves word for the path unit when the configuration was edited since the last check
#
# What it says goes to stderr.
set -euo pipefail
umask 077

say() { echo "$*" >&2; }

configuration=${CONFIGURATION:-/etc/dlms-thingsboard}
accepted=${ACCEPTED:-/var/lib/dlms-thingsboard-accepted}
memory=${MEMORY:-/run/dlms-thingsboard-edit}     # only root can write here
quiet=${QUIET_SECONDS:-2}                        # so long nobody must have written
patience=${PATIENCE_SECONDS:-60}

# One word for everything in the folder, without what editors leave there for a moment.
fingerprint() {
  local files
  files=$(find -L "$configuration" -type f ! -path '*/.*' ! -name '*~' ! -name '*.sw?' ! -name '#*#' ! -name 4913 ! -name '*.bak' \
    ! -name '*.tmp' ! -name '*.new' -print0 2>/dev/null | sort -z | xargs -0 --no-run-if-empty sha256sum --zero 2>/dev/null | tr '\0' '\n') || true
  sha256sum <<<"$files" | cut -d ' ' -f 1
}

remember() {
  local new
  mkdir -p "$memory"
  new=$(mktemp "$memory/$1.XXXXXX") # all processes of a cluster may remember at once
  echo "$2" >"$new"
  mv "$new" "$memory/$1"
}

remembered() { cat "$memory/$1" 2>/dev/null || echo unknown; }

settled() {
  local before now deadline=$((SECONDS + patience))
  now=$(fingerprint)
  while
    before=$now
    sleep "$quiet"
    now=$(fingerprint)
    [ "$now" != "$before" ] && [ "$SECONDS" -lt "$deadline" ]
  do :; done
  echo "$now"
}

# The configuration without secrets, whole or not at all.
keep_copy() {
  local new="$accepted.new" old="$accepted.old"
  rm -rf "$new" "$old"
  mkdir -m 750 "$new"
  chown --reference="$configuration" "$new"
  tar --create --directory "$configuration" --exclude ./secrets --exclude ./environment --exclude './.*' . | tar --extract --directory "$new"
  if [ "$(fingerprint)" = "$(remembered started)" ]; then
    [ ! -e "$accepted" ] || mv "$accepted" "$old"
    mv "$new" "$accepted"
  fi
  rm -rf "$new" "$old"
}

# The units that run; where none does, those that failed. One that somebody stopped stays stopped.
flow_units() {
  local unit running=() failed=()
  for unit in dlms-thingsboard.service \
    $(systemctl list-units --all --plain --no-legend --full 'dlms-thingsboard@*.service' | cut -d ' ' -f 1); do
    case $(systemctl show --property ActiveState --value "$unit") in
      active | activating | reloading) running+=("$unit") ;;
      failed) failed+=("$unit") ;;
    esac
  done
  [ "${#running[@]}" -gt 0 ] || running=("${failed[@]}")
  [ "${#running[@]}" = 0 ] || printf '%s\n' "${running[@]}"
}

case ${1:-} in
  started) remember started "$(fingerprint)" ;;
  accept)
    if tr '\0' '\n' <"/proc/$MAINPID/environ" | grep -qxF "PIPELINE=$accepted/pipeline.yaml"; then
      remember started "the one that worked last"
      touch "$memory/again" # the mistakes are told by the unit whose work that is
    else
      exec 9>"$memory/lock"
      flock 9 # all processes of a cluster begin at once
      keep_copy
    fi
    ;;
  changed)
    rm -f "$memory/again"
    now=$(settled)
    remember checked "$now"
    if [ "$now" = "$(remembered started)" ]; then
      say "the configuration is the one that the flow started with: nothing to do"
      exit 1
    fi
    say "the configuration was edited; the flow goes on while it is checked"
    ;;
  apply)
    if [ "$(fingerprint)" != "$(remembered checked)" ]; then
      say "the configuration was edited while it was checked: it is checked again first"
      exit 0
    fi
    mapfile -t units < <(flow_units)
    if [ "${#units[@]}" = 0 ]; then
      say "no mistakes; the flow does not run, so nothing is restarted (systemctl start dlms-thingsboard)"
      exit 0
    fi
    say "no mistakes; restarting ${units[*]}"
    systemctl restart "${units[@]}" || {
      say "the flow did not come up with the edited configuration; look at: journalctl -u ${units[0]} -n 50"
      exit 1
    }
    systemctl try-restart dlms-thingsboard-dashboard.service
    ;;
  again)
    if [ "$(fingerprint)" != "$(remembered checked)" ]; then
      say "the configuration was edited meanwhile"
      touch "$memory/again"
    fi
    ;;
  *)
    say "usage: $0 started|accept|changed|apply|again"
    exit 64
    ;;
esac
