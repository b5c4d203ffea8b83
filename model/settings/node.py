"""The `nodes` section: what happens between the meters and ThingsBoard."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from model.settings.base import Identifier, Settings


class NodeSettings(Settings):
    """Base of the settings of every node type; a type without settings uses it as it is."""


class NodeEntry(Settings):
    """One node: its id (the Bytewax step id), its type, where its input comes from, and its own settings."""

    id: Identifier = Field(description="Unique and stable: recovery knows the node's state by it.")
    type: str = Field(description="A node type, such as map or thingsboard-out.")
    inputs: list[str] = Field(default_factory=list, description="Ids of nodes, or id.port for a named output.")
    settings: dict[str, Any] = Field(default_factory=dict, description="The node type's own settings.")
