"""The service as far as it can be tried without a machine of its own: the units, the installer and the container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(path for path in (DEPLOY / "systemd").iterdir() if path.suffix in {".service", ".target", ".timer", ".path"})
SERVICES = [path for path in UNITS if path.suffix == ".service"]
EXPOSURE = 2.0
"""Of systemd-analyze security, 0 to 10; below is better."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: apt-get install systemd"
)


def make(target: str, destination: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    given |= {"DESTDIR": str(destination), "ENVIRONMENT": sys.prefix, **variables}
    return subprocess.run(["make", "--no-print-directory", "-C", str(ROOT), target], env=given, capture_output=True, text=True, check=False)


def make_again(destination: Path) -> Path:
    result = make("install", destination)
    assert result.returncode == 0, result.stderr
    return (destination / "opt/dlms-thingsboard/current").readlink()


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below, with its mode and content or target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if "releases/" in str(path):
            continue  # named after the time; looked at through the link `current`
        content = f"-> {path.readlink()}" if path.is_symlink() else path.read_text(encoding="utf-8") if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o} {content}"
    return found


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("installed")
    result = make("install", destination)
    assert result.returncode == 0, result.stderr
    assert "What to do now" in result.stdout
    return destination


# --- the installer ---


def test_it_installs_code_units_and_configuration(installed: Path) -> None:
    current = installed / "opt/dlms-thingsboard/current"
    assert current.is_symlink() and not current.readlink().is_absolute(), "the link must hold wherever the tree is copied to"
    for folder in ("model", "operators", "connectors", "flows", "simulator", "commands", "dashboard"):
        assert (current / folder / "__init__.py").exists()
    assert {path.name for path in (installed / "usr/local/lib/systemd/system").glob("*.*")} >= {unit.name for unit in UNITS}
    configuration = installed / "etc/dlms-thingsboard"
    assert oct((configuration / "secrets").stat().st_mode & 0o777) == "0o700"
    assert oct((configuration / "environment").stat().st_mode & 0o777) == "0o600"
    assert oct((configuration / "pipeline.yaml").stat().st_mode & 0o777) == "0o640"
    assert not list(current.glob("model/**/*.pyc.*")), "nothing half written"


def test_installing_again_leaves_configuration_and_state_alone_and_keeps_one_release_to_go_back_to(tmp_path: Path) -> None:
    make("install", tmp_path)
    (tmp_path / "etc/dlms-thingsboard/pipeline.yaml").write_text("mine\n")
    (tmp_path / "etc/dlms-thingsboard/secrets/tb-token").write_text("secret\n")
    (tmp_path / "var/lib/dlms-thingsboard/outbox.sqlite").write_text("waiting\n")
    before = tree(tmp_path)
    first = (tmp_path / "opt/dlms-thingsboard/current").readlink()
    second = make_again(tmp_path).name
    make_again(tmp_path)
    after = tree(tmp_path)
    now = (tmp_path / "opt/dlms-thingsboard/current").readlink()
    assert len({first.name, second, now.name}) == 3
    releases = {path.name for path in (tmp_path / "opt/dlms-thingsboard/releases").iterdir()}
    assert releases == {second, now.name}
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == {"opt/dlms-thingsboard/current"}


def test_a_release_that_still_runs_is_not_taken_from_under_the_flow(tmp_path: Path) -> None:
    running = make_again(tmp_path).name
    releases = tmp_path / "opt/dlms-thingsboard/releases"
    with subprocess.Popen(["sleep", "60"], cwd=releases / running) as flow:
        try:
            make_again(tmp_path)
            make_again(tmp_path)
            assert (releases / running / "flows/main.py").exists()
        finally:
            flow.kill()


def test_an_installation_that_fails_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    make("install", tmp_path)
    before = tree(tmp_path)
    result = make("install", tmp_path, ENVIRONMENT=str(tmp_path / "nothing"))
    assert result.returncode != 0
    assert tree(tmp_path) == before
    assert len(list((tmp_path / "opt/dlms-thingsboard/releases").iterdir())) == 1


def test_uninstalling_takes_away_all_of_it_but_what_belongs_to_the_user(tmp_path: Path) -> None:
    for folder in ("etc", "opt", "usr/local/bin", "usr/local/lib", "var/lib"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/local/bin/other").write_text("not ours\n")
    before = tree(tmp_path)
    make("install", tmp_path)
    (tmp_path / "var/lib/dlms-thingsboard/outbox.sqlite").write_text("waiting\n")
    assert make("uninstall", tmp_path).returncode == 0
    assert files(tmp_path) == {
        "usr/local/bin/other",
        "etc/dlms-thingsboard/environment",
        "etc/dlms-thingsboard/pipeline.yaml",
        "etc/dlms-thingsboard/secrets/README",
        "var/lib/dlms-thingsboard/outbox.sqlite",
    }
    assert make("uninstall", tmp_path, PURGE="1").returncode == 0
    assert tree(tmp_path) == before


def test_other_places_are_honoured_everywhere(tmp_path: Path) -> None:
    result = make("install", tmp_path, PREFIX="/srv/meters", UNITDIR="/etc/systemd/system", BINDIR="/usr/bin")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "srv/meters/current/flows/main.py").exists()
    written = [tmp_path / "usr/bin/dlms-thingsboard", *(tmp_path / "etc/systemd/system").glob("dlms-*")]
    written += [tmp_path / "srv/meters/current/deploy" / name for name in ("configuration_edit.sh", "run_flow.sh")]
    for path in written:
        assert "/opt/dlms-thingsboard" not in path.read_text(), path
    make("uninstall", tmp_path, PREFIX="/srv/meters", UNITDIR="/etc/systemd/system", BINDIR="/usr/bin", PURGE="1")
    assert files(tmp_path) == set()


# --- the units ---


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_units(installed: Path, tmp_path: Path) -> None:
    """Programs are looked up where they were installed for this test."""
    copies = []
    for unit in (installed / "usr/local/lib/systemd/system").glob("dlms-*"):
        if unit.is_file():
            copy = tmp_path / unit.name
            copy.write_text(unit.read_text().replace("/opt/dlms-thingsboard", f"{installed}/opt/dlms-thingsboard"))
            copies.append(str(copy))
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", *copies], capture_output=True, text=True, check=False)
    ours = [line for line in (result.stdout + result.stderr).splitlines() if "dlms" in line]
    assert ours == []
    assert result.returncode == 0, result.stderr


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_is_exposed_to_little(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={int(EXPOSURE * 10)}", str(unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    overall = re.search(r"Overall exposure level for .*: ([0-9.]+)", result.stdout)
    assert overall, result.stdout + result.stderr
    assert float(overall.group(1)) <= EXPOSURE
    assert result.returncode == 0


def settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_cluster_differs_from_one_process_only_where_it_must() -> None:
    one, many = settings(DEPLOY / "systemd/dlms-thingsboard.service"), settings(DEPLOY / "systemd/dlms-thingsboard@.service")
    different = {name for name in one.keys() | many.keys() if one.get(name) != many.get(name)}
    assert different == {
        "Description",
        "PartOf",
        "Before",
        "Conflicts",
        "Environment",
        "EnvironmentFile",
        "RestartSec",
        "SyslogIdentifier",
        "WantedBy",
    }


@pytest.mark.parametrize("name", ["dlms-thingsboard.service", "dlms-thingsboard@.service"])
def test_the_flow_is_watched_and_brought_back_but_not_with_a_broken_configuration(name: str) -> None:
    from flows.process import EXIT_CONFIGURATION

    unit = settings(DEPLOY / "systemd" / name)
    assert unit["Type"] == ["notify"] and unit["NotifyAccess"] == ["main"]
    assert unit["Restart"] == ["always"] and unit["StartLimitIntervalSec"] == ["0"]
    assert unit["RestartPreventExitStatus"] == [str(EXIT_CONFIGURATION)]
    assert unit["SupplementaryGroups"] == ["dialout"]
    assert "60s" in unit["WatchdogSec"]


def test_paths_in_the_units_are_where_the_installer_puts_things() -> None:
    places = dict(re.findall(r"^([A-Z]+)=(?:\$\{\w+:-)?([^}\s]+)", (DEPLOY / "places.sh").read_text(), re.MULTILINE))
    units = re.search(r"UNITS=\((.*?)\)", (DEPLOY / "places.sh").read_text(), re.DOTALL)
    assert units and sorted(units.group(1).split()) == [path.name for path in UNITS]
    text = "".join(path.read_text() for path in UNITS)
    named = set(re.findall(r"(/(?:opt|etc|var)/[\w./-]*\w)", text))
    beginnings = (f"{places['PREFIX']}/current", f"{places['SYSCONFDIR']}/dlms-thingsboard")
    assert {path for path in named if not path.startswith(beginnings)} == set()
    for path in named:
        if path.startswith(f"{places['PREFIX']}/current/") and "/venv" not in path:
            expected = ROOT / path.removeprefix(f"{places['PREFIX']}/current/")
            assert expected.exists(), path
    assert places["STATEDIR"] == "/var/lib/dlms-thingsboard"
    assert all("StateDirectory=dlms-thingsboard\n" in path.read_text() for path in SERVICES)


def test_word_of_an_edit_is_left_where_the_path_unit_looks() -> None:
    (memory,) = re.findall(r"^memory=\$\{MEMORY:-(.*?)\}", (DEPLOY / "configuration_edit.sh").read_text(), re.MULTILINE)
    assert settings(DEPLOY / "systemd/dlms-thingsboard-edit.path")["PathExists"] == [f"{memory}/again"]


def test_what_worked_last_is_kept_where_the_flow_looks() -> None:
    places = {re.findall(r"\$\{ACCEPTED:-(.*?)\}", (DEPLOY / name).read_text())[0] for name in ("configuration_edit.sh", "run_flow.sh")}
    assert places == {"/var/lib/dlms-thingsboard-accepted"}


def test_the_guide_names_only_units_and_files_that_there_are() -> None:
    guide = (ROOT / "docs/production-guide.md").read_text()
    for unit in set(re.findall(r"dlms-thingsboard(?:-\w+)?@?\.(?:service|path|timer|target)", guide)):
        assert (DEPLOY / "systemd" / unit).exists(), unit
    for name in set(re.findall(r"\bdeploy/[\w./-]*\w", guide)):
        assert (ROOT / name).exists(), name
    for variable in ("SNAPSHOT_INTERVAL", "BACKUP_INTERVAL", "PROCESSES"):
        assert f"`{variable}`" in guide or f"{variable}=" in guide
        assert f"${{{variable}:-" in (DEPLOY / "run_flow.sh").read_text()


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_can_be_parsed(script: Path) -> None:
    shell = "sh" if script.read_text().startswith("#!/bin/sh") else "bash"
    result = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_configuration_to_begin_with_has_no_mistakes(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "pipeline.yaml", tmp_path)
    (tmp_path / "credentials_tb-token").write_text("a-token\n")
    for secrets in ("credentials_", f"{tmp_path}/credentials_"):  # as people name them, and as systemd does
        given = {**os.environ, "SECRETS": secrets}
        command = [sys.executable, "-m", "commands", "check", str(tmp_path / "pipeline.yaml")]
        result = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


# --- the container ---


def test_the_files_that_compose_names_are_there() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"postgres", "thingsboard", "flow", "dashboard"}
    for name, service in services.items():
        if "build" in service:
            context = (DEPLOY / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).exists()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists() or source == "./config", f"{name}: {source}"
            else:
                assert source in compose["volumes"], f"{name}: {source}"
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"], f"{name}: {secret}"
        for needed in service.get("depends_on", {}):
            assert needed in services


def test_the_container_has_a_health_check_and_no_root() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    assert "HEALTHCHECK" in text and "commands health" in text.replace('", "', " ")
    assert "--require-hashes" in text
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "state"} <= set(ignored)
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name
            assert name not in ignored
