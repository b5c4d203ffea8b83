# Where things are installed, for install.sh and uninstall.sh; each may be given to make.
# shellcheck shell=bash disable=SC2034
DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/opt/dlms-thingsboard}
SYSCONFDIR=/etc # where systemd looks for ConfigurationDirectory=
STATEDIR=/var/lib/dlms-thingsboard # StateDirectory=
UNITDIR=${UNITDIR:-/usr/local/lib/systemd/system}
SYSUSERSDIR=${SYSUSERSDIR:-/usr/local/lib/sysusers.d}
BINDIR=${BINDIR:-/usr/local/bin}

CODE=(model operators connectors flows simulator commands dashboard deploy examples docs
  pipeline.yaml pyproject.toml requirements.lock README.md LICENSE NOTICE Makefile)
UNITS=(dlms-thingsboard.service dlms-thingsboard@.service dlms-thingsboard.target
  dlms-thingsboard-dashboard.service
  dlms-thingsboard-health.service dlms-thingsboard-health.timer
  dlms-thingsboard-edit.path dlms-thingsboard-edit.service)
