from __future__ import annotations

from pathlib import Path

import pytest

from flows.build import build
from flows.embedded import check_virtual_meter
from flows.registry import installed_node_types
from model.loading.load import load
from model.stop import Stop

ROOT = Path(__file__).parents[2]


VARIABLES = {"TB_TOKEN": "secret", "METER_KEY": "00112233445566778899AABBCCDDEEFF", "METER_AUTH_KEY": "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"}


@pytest.mark.parametrize(
    ("name", "meters"),
    [
        ("pipeline.yaml", 5),
        ("examples/one-meter.yaml", 1),
        ("examples/fleet.yaml", 5),
        ("examples/serial-line.yaml", 4),
        ("examples/pushing-meters.yaml", 3),
        ("examples/load-profile.yaml", 1),
    ],
)
def test_the_files_that_come_with_the_project_load_and_build(name, meters):
    loaded = load(ROOT / name, installed_node_types(), VARIABLES, check_virtual_meter)
    flow = build(loaded, Stop(), lambda _meter, connect: connect, lambda url: url)
    assert loaded.warnings == ()
    assert len(loaded.settings.meters) == meters
    assert [step.step_name for step in flow.substeps] == [node.id for node in loaded.nodes]


def test_the_table_of_the_example_says_what_it_shows():
    settings = load(ROOT / "examples/fleet.yaml", installed_node_types(), {}).settings
    by_id = {meter.id: meter for meter in settings.meters}
    assert by_id["north-03"].device == "Pump station, north"
    assert by_id["south-02"].server_physical == 2002
    assert by_id["south-01"].tags == {"feeder": "F2"}
    assert settings.reads(by_id["south-02"])["energy"].scale == 40
    assert settings.reads(by_id["south-02"])["voltage"].scale is None
