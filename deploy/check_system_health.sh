#!/bin/sh
# The verdict of `python -m commands health`, for systemd and cron: exit code 0 healthy, 1 minor, 2 critical. Arguments are passed on.
cd "$(dirname "$(readlink -f "$0")")/.." || exit 2
for python in venv/bin/python .venv/bin/python python3; do
  if command -v "$python" >/dev/null 2>&1; then exec "$python" -m commands health "$@"; fi
done
echo "no Python found; install it again: make install" >&2
exit 2
