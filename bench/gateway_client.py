"""Delivers records with thingsboard-gateway's client library; run by `bench.delivering` with the Python of an environment of its own.

    python gateway_client.py HOST PORT FILE

FILE has one line per record: device, tabulator, JSON with ts and values. Prints the seconds of wall and CPU time from the first
record to the last acknowledgement. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Deliver the file."""
    from tb_gateway_mqtt import TBGatewayMqttClient  # type: ignore[import-not-found]

    host, port, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    records = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    parsed = [(device, json.loads(record)) for device, record in records]
    limits = dict.fromkeys(
        (
            "messages_rate_limit",
            "telemetry_rate_limit",
            "telemetry_dp_rate_limit",
            "device_messages_rate_limit",
            "device_telemetry_rate_limit",
            "device_telemetry_dp_rate_limit",
        ),
        "0:0,",  # no limit
    )
    client = TBGatewayMqttClient(host, port, "token", client_id="bench-gateway", **limits)
    client.max_inflight_messages_set(20)
    client.connect(timeout=10)
    while not client.is_connected():
        time.sleep(0.01)
    wall, cpu = time.perf_counter(), time.process_time()
    sent = [client.gw_send_telemetry(device, record) for device, record in parsed]
    for information in sent:
        assert information.get() == 0, "a record was not acknowledged"
    print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)
    client.disconnect()


if __name__ == "__main__":
    main()
