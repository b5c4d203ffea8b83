#!/bin/sh
# dlms-thingsboard COMMAND ...: the operator's tools, as the user of the service and with its secrets, so that they see what the
# flow sees and leave no file behind that it cannot write. Without root: as you, on files that you can read.
if [ "$(id -u)" != 0 ] || [ ! -d /run/systemd/system ]; then
  cd /opt/dlms-thingsboard/current || exit 1
  exec env PIPELINE="${PIPELINE:-/etc/dlms-thingsboard/pipeline.yaml}" PYTHONDONTWRITEBYTECODE=1 venv/bin/python -m commands "$@"
fi
terminal=--pipe
[ ! -t 0 ] || [ ! -t 1 ] || terminal=--pty
exec systemd-run --quiet --collect --wait "$terminal" --service-type=exec --working-directory=/opt/dlms-thingsboard/current \
  --uid=dlms-thingsboard --gid=dlms-thingsboard \
  --property=SupplementaryGroups=dialout --property=LoadCredential=secrets:/etc/dlms-thingsboard/secrets \
  --property=EnvironmentFile=-/etc/dlms-thingsboard/environment --property=UMask=0077 \
  --setenv=PYTHONDONTWRITEBYTECODE=1 --setenv=TERM="${TERM:-dumb}" --setenv=COLUMNS="${COLUMNS:-140}" \
  --setenv=PIPELINE="${PIPELINE:-/etc/dlms-thingsboard/pipeline.yaml}" \
  /bin/sh -c 'export SECRETS="$CREDENTIALS_DIRECTORY/secrets_"; exec venv/bin/python -m commands "$@"' dlms-thingsboard "$@"
