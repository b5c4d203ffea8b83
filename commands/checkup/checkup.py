"""All areas, causes before what follows from them; one that fails itself does not hide the others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml

from commands.checkup.area import Area, Site
from commands.checkup.clock import look_at_clock
from commands.checkup.configuration import look_at_configuration
from commands.checkup.disk import look_at_disk
from commands.checkup.flow import look_at_flow
from commands.checkup.history import look_at_archive, look_at_gaps, look_at_rate
from commands.checkup.meters import look_at_meters
from commands.checkup.neighbours import look_at_neighbours
from commands.checkup.outbox import look_at_outbox
from commands.checkup.owner import look_at_owner
from commands.checkup.services import look_at_services
from commands.checkup.session import look_at_session
from flows.embedded import check_virtual_meter
from flows.registry import installed_node_types
from model.errors import ConfigurationError, Problem
from model.loading.load import Loaded, load
from model.settings.pipeline import PipelineSettings
from model.status import read_files
from model.timestamps import utc_now

AREAS: dict[str, Callable[[Area, Site], None]] = {
    "configuration": look_at_configuration,
    "disk": look_at_disk,
    "session owner": look_at_owner,
    "services": look_at_services,
    "flow": look_at_flow,
    "session": look_at_session,
    "neighbours": look_at_neighbours,
    "meters": look_at_meters,
    "clock": look_at_clock,
    "outbox": look_at_outbox,
    "archive": look_at_archive,
    "gaps": look_at_gaps,
    "publish rate": look_at_rate,
}


def site_of(file: Path) -> Site:
    """What can be known of an installation; a broken file leaves its state_dir at least."""
    loaded: Loaded | None = None
    problems: tuple[Problem, ...] = ()
    try:
        loaded = load(file, installed_node_types(), check_meter=check_virtual_meter)
    except ConfigurationError as error:
        problems = error.problems
    state_dir = _state_dir(file) if loaded is None else loaded.settings.state_dir
    return Site(file, state_dir, loaded, problems, read_files(state_dir), utc_now())


def look(site: Site, looking: Callable[[str], None] = lambda _name: None) -> list[Area]:
    """All areas.

    :arg looking: told what is looked at now.
    """
    areas = []
    for name, look_at in AREAS.items():
        looking(name)
        area = Area(name)
        try:
            look_at(area, site)
        except Exception as error:
            area.minor(f"this check itself failed: {type(error).__name__}", "report it, with the output of --json")
        areas.append(area)
    return areas


def _state_dir(file: Path) -> Path:
    """As a file that cannot be used says it, or else the default."""
    directory = str(PipelineSettings.model_fields["state_dir"].default)
    with suppress(OSError, ValueError, yaml.YAMLError):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and isinstance(content.get("state_dir"), str) and "$" not in content["state_dir"]:
            directory = content["state_dir"]
    return file.absolute().parent / directory
