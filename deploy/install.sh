#!/bin/bash
# `make install`: code and environment into a folder of their own, then one link is turned to it, so that an upgrade is whole or
# not at all; units; user and folders. What is configured and what was stored is left alone. Run as root, or with DESTDIR.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
# shellcheck source=deploy/places.sh
. deploy/places.sh

[ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || { echo "run it as root: sudo make install (or give a DESTDIR)" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
release="releases/$version-$(date -u +%Y%m%dT%H%M%S)-$$"
root="$DESTDIR$PREFIX"
new="$root/$release"

find_python() {
  local python
  for python in ${PYTHON:-} python3.12 python3.11 python3.10 python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1; then
      command -v "$python"
      return
    fi
  done
  echo "no Python 3.10, 3.11 or 3.12 with venv found; on Debian: apt-get install python3-venv; or name one: make install PYTHON=..." >&2
  return 1
}

# What an environment depends on: the interpreter and the pinned packages.
wanted_environment() { { "$1" -c 'import sys; print(sys.executable, sys.version)' && cat requirements.lock; } | sha256sum | cut -d ' ' -f 1; }

make_environment() {
  local python wanted
  if [ -n "${ENVIRONMENT:-}" ]; then
    ln -s "$(realpath "$ENVIRONMENT")" "$new/venv"
    return
  fi
  python=$(find_python)
  wanted=$(wanted_environment "$python")
  if [ -e "$root/current/venv/made-from" ] && [ "$(cat "$root/current/venv/made-from")" = "$wanted" ]; then
    echo "the packages are the same: taking over the environment of the release before"
    cp -a "$root/current/venv/." "$new/venv"
  else
    "$python" -m venv "$new/venv"
    local source=()
    [ -z "${WHEELS:-}" ] || source=(--no-index --find-links "$(realpath "$WHEELS")")
    "$new/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: "${source[@]}" \
      --requirement requirements.lock
    echo "$wanted" >"$new/venv/made-from"
  fi
  # Programs in it must name where it will be, not where it is packed.
  find "$new/venv/bin" -type f -exec sed -i -E "1s|^#!.*/venv/bin/python|#!$PREFIX/$release/venv/bin/python|" {} +
}

copy_code() {
  mkdir -p "$new"
  tar --create --exclude __pycache__ --exclude '*.pyc' "${CODE[@]}" | tar --extract --no-same-owner --directory "$new"
  chmod -R u=rwX,go=rX "$new"
}

install_unit() {
  sed -e "s|/opt/dlms-thingsboard|$PREFIX|g" "$1" >"$2.new"
  chmod 644 "$2.new"
  mv "$2.new" "$2"
}

install_units() {
  local unit systemd
  mkdir -p "$DESTDIR$UNITDIR" "$DESTDIR$SYSUSERSDIR" "$DESTDIR$BINDIR"
  for unit in "${UNITS[@]}"; do install_unit "deploy/systemd/$unit" "$DESTDIR$UNITDIR/$unit"; done
  systemd=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
  if [ "${systemd:-0}" -ge 254 ]; then
    for unit in dlms-thingsboard.service dlms-thingsboard@.service; do
      mkdir -p "$DESTDIR$UNITDIR/$unit.d"
      install_unit deploy/systemd/backoff.conf "$DESTDIR$UNITDIR/$unit.d/backoff.conf"
    done
  elif [ "${systemd:-0}" -lt 250 ]; then
    echo "note: the units need systemd 250 or newer (found: ${systemd:-none})" >&2
  fi
  install_unit deploy/systemd/sysusers.conf "$DESTDIR$SYSUSERSDIR/dlms-thingsboard.conf"
  install_unit deploy/command.sh "$DESTDIR$BINDIR/dlms-thingsboard"
  chmod 755 "$DESTDIR$BINDIR/dlms-thingsboard"
}

configure() {
  local folder="$DESTDIR$SYSCONFDIR/dlms-thingsboard"
  mkdir -p "$folder"
  [ -d "$folder/secrets" ] || install -d -m 700 "$folder/secrets"
  install -m 600 deploy/secrets-README "$folder/secrets/README" # an empty folder would be no folder for systemd
  [ -e "$folder/pipeline.yaml" ] || install -m 640 deploy/pipeline.yaml "$folder/pipeline.yaml"
  [ -e "$folder/environment" ] || install -m 600 deploy/environment "$folder/environment"
  chmod 750 "$folder"
  install -d -m 750 "$DESTDIR$STATEDIR"
}

# Only on the machine itself; a package does this in its own scripts.
introduce() {
  local folder="$SYSCONFDIR/dlms-thingsboard"
  systemd-sysusers "$SYSUSERSDIR/dlms-thingsboard.conf"
  chown root:dlms-thingsboard "$folder"
  find "$folder" -maxdepth 1 -type f ! -name environment -exec chgrp dlms-thingsboard {} +
  chown dlms-thingsboard:dlms-thingsboard "$STATEDIR"
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
}

# All but the new one, the one before, and those that still run: a flow that was not restarted since.
remove_old_releases() {
  local before=${1##*/} folder
  for folder in "$root"/releases/*; do
    case ${folder##*/} in
      "$before" | "${release##*/}") ;;
      *) { readlink /proc/[0-9]*/cwd 2>/dev/null || true; } | grep -xF "$(realpath "$folder")" >/dev/null || rm -rf "$folder" ;;
    esac
  done
}

trap 'rm -rf "$new"' EXIT
before=$(readlink "$root/current" || true)
copy_code
make_environment
PYTHONPATH=$new "$new/venv/bin/python" -m compileall -q -s "$DESTDIR" "$new" >/dev/null 2>&1 || true
(cd "$new" && PYTHONDONTWRITEBYTECODE=1 venv/bin/python -m commands --help >/dev/null) # the new one is whole, or nothing is changed
install_units
configure
ln -s "$release" "$root/current.new"
mv --no-target-directory "$root/current.new" "$root/current"
trap - EXIT
remove_old_releases "${before:-none}"
[ -n "$DESTDIR" ] || introduce

if [ -z "$before" ]; then
  cat <<MESSAGE
Installed $version in $PREFIX. What to do now:
  1. say what to read and where it goes:    $SYSCONFDIR/dlms-thingsboard/pipeline.yaml
  2. put the access token into:             $SYSCONFDIR/dlms-thingsboard/secrets/tb-token
  3. look for mistakes:                     dlms-thingsboard check
  4. start it, now and with the machine:    systemctl enable --now dlms-thingsboard dlms-thingsboard-edit.path \\
                                              dlms-thingsboard-dashboard dlms-thingsboard-health.timer
MESSAGE
else
  cat <<MESSAGE
Installed $version in $PREFIX; $SYSCONFDIR/dlms-thingsboard and $STATEDIR are as they were. What to do now:
  start the new release:                    systemctl restart dlms-thingsboard dlms-thingsboard-dashboard
  if it does not please, the one before:    ln -sfn $before $PREFIX/current, then restart
MESSAGE
fi
