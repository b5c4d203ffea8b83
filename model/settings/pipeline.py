"""The whole of pipeline.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from model.settings.base import Identifier, Settings
from model.settings.limits import LimitsSettings
from model.settings.meter import MeterSettings
from model.settings.node import NodeEntry
from model.settings.profile import ProfileSettings
from model.settings.template import ReadSettings, TemplateSettings
from model.settings.thingsboard import ThingsBoardSettings


class LogSettings(Settings):
    """What the log says and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug shows every frame, in hex and decoded, with secrets masked."
    )
    format: Literal["auto", "human", "json"] = Field(default="auto", description="auto: human on a terminal, JSON otherwise.")


class PipelineSettings(Settings):
    """Everything that pipeline.yaml says, `meters_file` already read into `meters`."""

    thingsboard: ThingsBoardSettings = Field(description="Where readings are delivered; needs url and token.")
    templates: dict[Identifier, TemplateSettings] = Field(
        min_length=1, description="What to read from each kind of meter: a name, then interval and read."
    )
    meters: list[MeterSettings] = Field(default_factory=list, description="A list of meters, each with id, connect and template.")
    meters_file: Path | None = Field(default=None, description="CSV or YAML file with more meters, relative to this file.")
    nodes: list[NodeEntry] = Field(min_length=1, description="A list of nodes, each with id, type and, unless it is a source, inputs.")
    state_dir: Path = Field(default=Path("state"), description="Where outbox, archive and locks live, relative to this file.")
    limits: LimitsSettings = Field(default=LimitsSettings(), description="What all meters of one process together may do to the network.")
    log: LogSettings = Field(default=LogSettings(), description="What the log says and how.")

    def reads(self, meter: MeterSettings) -> dict[str, ReadSettings]:
        """What to read from `meter`: its template with its overrides, key -> attribute, in the file's order."""
        merged: dict[str, ReadSettings | None] = {**self.templates[meter.template].read, **meter.overrides}
        return {key: read for key, read in merged.items() if read is not None}

    def profiles(self, meter: MeterSettings) -> dict[str, ProfileSettings]:
        """The load profiles and event logs to read from `meter`, name -> settings."""
        return self.templates[meter.template].profiles

    def interval(self, meter: MeterSettings) -> float:
        """Seconds from the start of one cycle of `meter` to the start of the next."""
        return meter.interval or self.templates[meter.template].interval

    def shared_lines(self) -> dict[str, str]:
        """The meters that share a line with others, and the name of their line: id -> line."""
        members: dict[str, list[str]] = {}
        for meter in self.meters:
            if meter.shared_line is not None:
                members.setdefault(meter.shared_line, []).append(meter.id)
        return {meter: line for line, meters in members.items() if len(meters) > 1 for meter in meters}
