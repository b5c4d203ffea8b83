"""`diagnose` against a server and a meter that are broken link by link: the first broken one is named, with a remedy."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commands.__main__ import app
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.outbox_schema import FILE_NAME
from connectors.thingsboard.trouble import Incident, Trouble
from model.messages import Receipt
from model.settings.meter import MeterSettings
from model.timestamps import from_ms, utc_now
from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import Behaviour
from simulator.meter.sim_url import parse_sim_url
from simulator.thingsboard.accounts import Account
from simulator.thingsboard.background import BackgroundStandIn
from tests.contract.certificates import Authority
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import FIVE, NODES, TOKEN, PipelineProcess, pipeline, write_configuration
from tests.contract.thingsboard_session import reading
from tests.ports import free_port

METER = {"framing": "hdlc", "server_physical": 1234, "client_sap": 32, "authentication": "low", "password": "m3ter-password"}
QUICK = {"exchange_timeout": 0.3, "retries": 0, "connect_timeout": 1.0}


@dataclass
class Site:
    """A configuration in a folder, with a running server and a running meter; tests break parts of it."""

    folder: Path
    server: BackgroundStandIn
    meters: BackgroundMeters
    configuration: dict[str, Any] = field(default_factory=dict)

    @property
    def meter(self) -> dict[str, Any]:
        return self.configuration["meters"][0]

    def diagnose(self, *arguments: str, **environment: str) -> Any:
        file = write_configuration(self.folder, self.configuration)
        return CliRunner().invoke(app, ["diagnose", str(file), *arguments], env={"TB_TOKEN": TOKEN, "TB_DIAGNOSE_TOKEN": "", **environment})

    def links(self, *arguments: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]], dict[str, Any] | None]:
        """Exit code, all links, the first broken one."""
        result = self.diagnose("--json", *arguments)
        answer = json.loads(result.stdout.splitlines()[-1])  # the log of the server in this process goes to the same output
        return result.exit_code, {(link["subject"], link["link"]): link for link in answer["links"]}, answer["first_broken"]

    def broken(self, *arguments: str) -> tuple[str, str]:
        """Subject and name of the first broken link; its remedy must say something."""
        code, _, first = self.links(*arguments)
        assert code == 1
        assert first is not None
        assert first["remedy"]
        assert first["found"]
        return first["subject"], first["link"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    accounts = [Account("gateway", TOKEN, gateway=True), Account("probe", "probe-token")]
    with BackgroundStandIn(accounts) as server, BackgroundMeters() as meters:
        virtual = parse_sim_url("sim://three-phase", MeterSettings(id="lab", connect="sim://three-phase", template="five", **METER))
        meter = {"id": "lab", "connect": meters.start(virtual.config, Behaviour()), **METER, **QUICK}
        yield Site(tmp_path, server, meters, pipeline(server.address, [meter], 1.0))


def test_a_whole_chain_is_exit_code_0_and_nobody_logs_in(site: Site) -> None:
    code, links, first = site.links()
    assert (code, first) == (0, None)
    good = [name for (_, name), link in links.items() if link["verdict"] == "good"]
    assert good == ["configuration", "name", "TCP", "MQTT", "name", "link", "HDLC", "association", "read", "mapping", "validation"]
    assert links["lab", "read"]["found"].startswith("5 of 5 values")
    assert "voltage" in links["lab", "mapping"]["found"]
    assert site.server.snapshot().sessions_opened == 0
    assert site.meters.counters("lab").releases == 1


def test_people_read_it_and_no_secret_is_shown(site: Site) -> None:
    site.meter["server_physical"] = 99
    result = site.diagnose()
    assert result.exit_code == 1
    assert "the first broken link is lab: HDLC" in result.stdout
    assert "check client_sap" in result.stdout
    assert TOKEN not in result.output
    assert "m3ter-password" not in result.output


def test_a_login_needs_a_token_of_its_own(site: Site) -> None:
    assert site.links("--login-token", "probe-token")[1]["thingsboard", "MQTT login"]["verdict"] == "good"
    assert [record.device for record in site.server.snapshot().sessions] == ["probe"]
    assert site.broken("--login-token", "unknown") == ("thingsboard", "MQTT login")
    refused = site.diagnose("--login-token", TOKEN)
    assert refused.exit_code == 2
    assert "would end the pipeline's session" in refused.stderr
    assert site.server.snapshot().sessions_opened == 1
    assert site.links("--login")[1]["thingsboard", "MQTT login"]["verdict"] == "good"
    assert site.server.snapshot().sessions[-1].device == "gateway"


def test_a_mistake_in_the_file_or_a_meter_that_is_not_there_is_exit_code_2(site: Site) -> None:
    result = site.diagnose("--meter", "nobody", "--json")
    assert result.exit_code == 2
    assert "there is no meter nobody" in json.loads(result.stdout)["problems"][0]["what"]
    site.meter["pasword"] = "x"
    assert site.diagnose().exit_code == 2


def test_a_server_whose_name_is_unknown(site: Site) -> None:
    site.configuration["thingsboard"]["url"] = "mqtt://thingsboard.invalid"
    assert site.broken() == ("thingsboard", "name")


def test_a_server_that_does_not_listen(site: Site) -> None:
    site.configuration["thingsboard"]["url"] = f"mqtt://127.0.0.1:{free_port()}"
    code, links, _ = site.links()
    assert site.broken() == ("thingsboard", "TCP")
    assert (code, links["lab", "read"]["verdict"]) == (1, "good")  # the meters are looked at all the same


def secure(authority: Authority) -> ssl.SSLContext:
    pair = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def test_certificates(site: Site, tmp_path: Path) -> None:
    ours, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "stranger", "stranger")
    with BackgroundStandIn([Account("gateway", TOKEN, gateway=True)], ssl_context=secure(ours)) as server:
        section = site.configuration["thingsboard"]
        section["url"], section["ca_file"] = server.address, str(stranger.file)
        assert site.broken() == ("thingsboard", "TLS")
        section["ca_file"] = str(ours.file)
        _, links, first = site.links()
        assert first is None
        assert "TLSv1.3; certificate of server, signed by test authority, fits the name 127.0.0.1" in links["thingsboard", "TLS"]["found"]
        assert "renew" in links["thingsboard", "TLS"]["remedy"]  # it lasts a day only
        section["url"] = server.address.replace("127.0.0.1", "127.1")  # the same address under a name that is not in it
        code, links, first = site.links()
        assert first is not None
        assert (code, first["link"]) == (1, "TLS")
        assert "is a name in the certificate" in first["remedy"] or "with this address" in first["remedy"]


@pytest.mark.parametrize(
    ("wrong", "link"),
    [
        ({"connect": "tcp://meter.invalid:4059"}, "name"),
        ({"connect": "closed"}, "link"),
        ({"server_physical": 77}, "HDLC"),
        ({"framing": "wrapper", "server_physical": 0}, "association"),
        ({"password": "wrong"}, "association"),
        ({"overrides": dict.fromkeys(FIVE, "1-1:99.99.9")}, "read"),
        (
            {"overrides": {key: {"obis": obis if isinstance(obis, str) else obis["obis"], "unit": "bar"} for key, obis in FIVE.items()}},
            "mapping",
        ),
    ],
)
def test_a_meter_that_cannot_be_read(site: Site, wrong: dict[str, Any], link: str) -> None:
    site.meter.update({key: f"tcp://127.0.0.1:{free_port()}" if value == "closed" else value for key, value in wrong.items()})
    assert site.broken() == ("lab", link)


def test_values_that_nobody_would_believe(site: Site) -> None:
    rules = {"*": {"max": -1}}
    site.configuration["nodes"] = [{**node, "settings": {"rules": rules}} if node["id"] == "checked" else node for node in NODES]
    assert site.broken() == ("lab", "validation")


def test_an_outbox_that_is_no_database(site: Site) -> None:
    (site.folder / "state").mkdir()
    (site.folder / "state" / FILE_NAME).write_bytes(b"not a database, but long enough to look at" * 100)
    assert site.broken() == ("delivery", "outbox")


def test_what_the_outbox_says(site: Site) -> None:
    outbox = Outbox(site.folder / "state" / FILE_NAME)
    now = utc_now()
    outbox.append([reading("lab", 1_000, x=1), reading("lab", 2_000, x=1)])
    outbox.done([([1], Receipt("lab", 1, from_ms(1_000), from_ms(1_000), now, 1.0))])
    outbox.close()
    _, links, first = site.links()
    assert first is None
    assert "1 records wait, the oldest read at 1970-01-01 00:00:02 UTC, 0 dead letters" in links["delivery", "outbox"]["found"]
    assert "the latest one came 0 s ago" in links["delivery", "acknowledgement"]["found"]


@pytest.mark.slow
def test_a_running_pipeline_is_not_disturbed_and_its_trouble_is_named(site: Site) -> None:
    site.configuration["thingsboard"]["reconnect_max"] = 30
    with PipelineProcess(site.folder, site.configuration) as running:
        wait_for(lambda: site.server.points("lab") and running.archived(), "the first delivery", 40)
        before = site.meters.counters("lab").connections
        code, links, first = site.links()
        assert (code, first) == (0, None), first
        assert f"pid {running.processes[0].pid}" in links["pipeline", "session owner"]["found"]
        assert "reads it well" in links["lab", "pipeline"]["found"]
        assert links["lab", "connection"]["verdict"] == "skipped"
        assert links["delivery", "publish"]["verdict"] == links["delivery", "acknowledgement"]["verdict"] == "good"
        assert site.meters.counters("lab").connections == before
        assert site.server.snapshot().sessions_opened == 1
        site.server.disconnect("gateway", "taken over", 0x8E)
        wait_for(lambda: site.links()[0] == 1, "the alert")
        _, _, first = site.links()
        assert first is not None
        assert (first["subject"], first["link"]) == ("delivery", "publish")
        assert "another client connected" in first["found"]
        assert "reason code 0x8e" in first["found"]
        assert "stop it, or give each its own device" in first["remedy"]


def test_the_meter_is_held_by_the_pipeline(site: Site) -> None:
    """A meter that takes one connection only, while a pipeline runs that does not get through either."""
    site.configuration["nodes"] = [{**node, "settings": {"meters": ["other"]}} if node["type"] == "dlms-in" else node for node in NODES]
    site.configuration["meters"].append({"id": "other", "connect": "sim://three-phase", "template": "five"})
    with PipelineProcess(site.folder, site.configuration) as running:
        wait_for(lambda: site.server.connected() == ["gateway"], "the session", 40)
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(1)
            site.meter["connect"] = f"tcp://127.0.0.1:{full.getsockname()[1]}"
            begun = time.monotonic()
            _, _, first = site.links("--meter", "lab")
        assert first is not None
        assert f"the running pipeline (pid {running.processes[0].pid}) may hold the only connection" in first["remedy"]
        assert time.monotonic() - begun < 20


def test_an_alert_that_was_cleared_is_no_trouble(tmp_path: Path) -> None:
    from connectors.thingsboard.ending import TAKEN_OVER
    from connectors.thingsboard.outbox_state import look_into

    outbox = Outbox(tmp_path / FILE_NAME)
    moments = iter([0.0, 1_000.0])
    trouble = Trouble(outbox.tell, 60.0, utc_now, lambda: next(moments))
    trouble.happened(TAKEN_OVER, Incident("server"))
    found = look_into(tmp_path / FILE_NAME).alert
    assert found is not None
    assert found.raised
    trouble.delivered()
    outbox.close()
    found = look_into(tmp_path / FILE_NAME).alert
    assert found is not None
    assert not found.raised


@pytest.mark.slow
def test_a_line_that_the_pipeline_holds_is_left_to_it(site: Site) -> None:
    """Two meters behind one converter, one of them silent: the pipeline's own cycle says so, and the line has one connection."""
    ways = [
        {"id": name, "server_physical": number, **{**METER, "server_physical": number}} for name, number in (("good", 17), ("mute", 18))
    ]
    virtual = [
        parse_sim_url("sim://three-phase", MeterSettings.model_validate({"connect": "sim://three-phase", "template": "five", **way}))
        for way in ways
    ]
    address = site.meters.start_converter([(virtual[0].config, Behaviour()), (virtual[1].config, Behaviour(silent=True))])
    site.configuration["meters"] = [{"connect": address, "template": "five", **way, **QUICK} for way in ways]
    with PipelineProcess(site.folder, site.configuration) as running:
        wait_for(lambda: {meter for meter, _, _ in running.archived()} == {"good"}, "readings of the good one", 40)
        wait_for(lambda: site.links("--meter", "mute")[2] is not None, "the failed cycle", 40)
        _, links, first = site.links("--meter", "mute")
        assert first is not None
        assert (first["subject"], first["link"]) == ("mute", "pipeline")
        assert f"the running pipeline (pid {running.processes[0].pid}) cannot read it: " in first["found"]
        assert "no reply to the association request" in first["found"]
        assert ("mute", "link") not in links
        assert site.links("--meter", "good")[1]["good", "connection"]["verdict"] == "skipped"


@pytest.mark.slow
def test_the_built_in_stand_in_is_looked_at_through_the_pipeline(site: Site) -> None:
    site.configuration["thingsboard"]["url"] = "embedded"
    assert site.links()[1]["thingsboard", "server"]["verdict"] == "skipped"
    with PipelineProcess(site.folder, site.configuration) as running:
        seen: list[tuple[dict[tuple[str, str], dict[str, Any]], dict[str, Any] | None]] = []

        def held() -> bool:
            """The session is up, and the archive has the meter's first cycle."""
            seen[:] = [site.links()[1:]]
            return seen[0][0]["thingsboard", "server"]["verdict"] == "good" and ("lab", "connection") in seen[0][0]

        wait_for(held, "the session", 40)
        links, first = seen[0]
        assert first is None
        assert f"pid {running.processes[0].pid}" in links["pipeline", "session owner"]["found"]
        assert links["lab", "connection"]["verdict"] == "skipped"
