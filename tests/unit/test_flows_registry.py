from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace

import pytest

from flows.registry import OWN_NODE_TYPES, NodeTypeError, NodeTypes, installed_node_types
from model.node import ENTRY_POINT_GROUP, NodeType
from tests.unit.fake_node_types import CHECK, IN


@pytest.fixture
def offers(monkeypatch):
    """Makes entry points of a package "acme-meters" whose module holds what is given."""

    def make(name: str, content: object, package: str = "acme-meters") -> EntryPoint:
        module = ModuleType(f"acme_{name.replace('-', '_')}_{package.replace('-', '_')}")
        module.NODE = content
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return entry(name, f"{module.__name__}:NODE", package)

    return make


def entry(name: str, value: str, package: str = "acme-meters") -> EntryPoint:
    made = EntryPoint(name, value, ENTRY_POINT_GROUP)
    vars(made)["dist"] = SimpleNamespace(name=package)
    return made


@pytest.mark.parametrize("name", sorted(OWN_NODE_TYPES))
def test_every_node_type_of_this_project_can_be_loaded(name):
    node_type = installed_node_types()[name]
    assert node_type.name == name
    assert node_type.summary.endswith(".")


def test_the_nodes_of_the_design_are_all_there():
    assert set(OWN_NODE_TYPES) <= set(installed_node_types())


def test_other_packages_add_node_types(offers):
    node_types = NodeTypes({}, [offers("check", CHECK)])
    assert node_types["check"] is CHECK
    assert list(node_types) == ["check"]
    assert len(node_types) == 1
    assert "check" in node_types


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        NodeTypes({}, [])["nothing"]


def test_a_broken_package_is_named_and_hurts_nobody_else(offers):
    node_types = NodeTypes({}, [offers("check", CHECK), entry("broken", "no_such_module_anywhere:NODE", "acme-broken")])
    assert node_types.usable() == {"check": CHECK}
    with pytest.raises(NodeTypeError) as caught:
        node_types["broken"]
    assert caught.value.what.startswith("the node type 'broken' of the package acme-broken cannot be loaded: ModuleNotFoundError")
    assert caught.value.remedy


def test_a_package_that_raises_anything_is_broken(monkeypatch, tmp_path):
    (tmp_path / "acme_raises.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NodeTypeError, match="ZeroDivisionError"):
        NodeTypes({}, [entry("raises", "acme_raises:NODE")])["raises"]


def test_two_packages_cannot_offer_one_name(offers):
    node_types = NodeTypes({}, [offers("check", CHECK, "acme-one"), offers("check", CHECK, "acme-two")])
    with pytest.raises(NodeTypeError, match="by the package acme-one and by the package acme-two"):
        node_types["check"]


def test_a_package_cannot_take_the_name_of_a_node_type_of_this_project(offers):
    node_types = NodeTypes(OWN_NODE_TYPES, [offers("map", CHECK)])
    with pytest.raises(NodeTypeError, match="by this project and by the package acme-meters"):
        node_types["map"]


@pytest.mark.parametrize("content", [IN, "text", NodeType])
def test_an_entry_point_must_give_the_node_type_it_names(offers, content):
    with pytest.raises(NodeTypeError, match="cannot be used"):
        NodeTypes({}, [offers("check", content)])["check"]
