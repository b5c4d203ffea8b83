#!/bin/bash
# `make uninstall`: takes away what `make install` brought. Configuration, secrets, state and the user stay, unless PURGE=1.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/places.sh
. deploy/places.sh

[ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || { echo "run it as root: sudo make uninstall (or give a DESTDIR)" >&2; exit 1; }

if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
  mapfile -t loaded < <(systemctl list-units --all --plain --no-legend --full 'dlms-thingsboard*' | cut -d ' ' -f 1)
  [ "${#loaded[@]}" = 0 ] || systemctl stop "${loaded[@]}"
  mapfile -t enabled < <(systemctl list-unit-files --no-legend --full 'dlms-thingsboard*' | awk '$2 == "enabled" {print $1}')
  [ "${#enabled[@]}" = 0 ] || systemctl disable --quiet "${enabled[@]}"
fi
for unit in "${UNITS[@]}"; do rm -rf "$DESTDIR$UNITDIR/$unit" "$DESTDIR$UNITDIR/$unit.d"; done
rm -f "$DESTDIR$SYSUSERSDIR/dlms-thingsboard.conf" "$DESTDIR$BINDIR/dlms-thingsboard"
rm -rf "$DESTDIR$PREFIX/releases" "$DESTDIR$PREFIX/current"
rmdir --ignore-fail-on-non-empty "$DESTDIR$PREFIX" "$DESTDIR$UNITDIR" "$DESTDIR${UNITDIR%/*}" "$DESTDIR$SYSUSERSDIR" 2>/dev/null || true
rm -rf "${DESTDIR:-}/run/dlms-thingsboard-edit"
if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl reset-failed 'dlms-thingsboard*' 2>/dev/null || true
fi

if [ "${PURGE:-}" = 1 ]; then
  rm -rf "$DESTDIR$SYSCONFDIR/dlms-thingsboard" "$DESTDIR$STATEDIR" "$DESTDIR$STATEDIR-accepted"
  if [ -z "$DESTDIR" ]; then
    if getent passwd dlms-thingsboard >/dev/null; then
      find /run/lock -maxdepth 1 -name 'dlms-thingsboard-*.lock' -user dlms-thingsboard -delete
      userdel dlms-thingsboard
    fi
    if getent group dlms-thingsboard >/dev/null; then groupdel dlms-thingsboard; fi
  fi
  echo "Uninstalled, with configuration and state."
else
  echo "Uninstalled. Kept: $SYSCONFDIR/dlms-thingsboard and $STATEDIR (make uninstall PURGE=1 removes them too)."
fi
