"""A meter that is in no file yet: its settings from what the command line says, checked like an entry of pipeline.yaml."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from flows.registry import installed_node_types
from model.errors import ConfigurationError
from model.loading.load import Loaded, load
from model.settings.meter import MeterSettings

SECRETS = ("password", "hls_secret", "block_cipher_key", "authentication_key")
_REFERENCES = ("${", "file:")


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Settings of a meter from `key=value` texts; the values are YAML.

    :raises ValueError: when one has no value, or a secret is written out; what is wrong, then what to do, separated by "; ".
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"{text!r} is no setting; write it as --set client_sap=32")
        if key in SECRETS and not value.startswith(_REFERENCES):
            remedy = f"export METER_SECRET=... and give --set '{key}=${{METER_SECRET}}'"
            raise ValueError(f"{key} is written out, where other users of this host see it; {remedy}")
        try:
            settings[key] = value if key in SECRETS else yaml.safe_load(value)
        except yaml.YAMLError:
            settings[key] = value
    return settings


def load_entry(entry: Mapping[str, Any], state_dir: Path) -> Loaded:
    """A configuration with this one meter, so that variables, secret files and checks are those of pipeline.yaml.

    :arg state_dir: where invocation counters are kept.
    :raises ValueError: with the first mistake and its remedy, separated by "; ".
    """
    document = {
        "thingsboard": {"url": "embedded", "token": "none"},
        "state_dir": str(state_dir.resolve()),
        "templates": {"discovered": {"read": {"clock": {"obis": "0-0:1.0.0", "class": 8}}}},
        "meters": [{**entry, "template": "discovered"}],
        "nodes": [{"id": "meters", "type": "dlms-in"}, {"id": "console", "type": "debug", "inputs": ["meters"]}],
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        try:
            return load(file, installed_node_types())
        except ConfigurationError as error:
            problem = error.problems[0]
            raise ValueError(f"{problem.what}; {problem.remedy or 'see docs/addressing.md'}") from None


def public_meter(connect: str, **settings: Any) -> MeterSettings:
    """A meter spoken to by the public client, without patience.

    :raises ValueError: when a setting is not possible.
    """
    return MeterSettings.model_validate({"id": "discovered", "template": "discovered", "connect": connect, "retries": 0, **settings})
