from __future__ import annotations

import dataclasses

import pytest
from bytewax.testing import run_main
from bytewax.visualize import to_mermaid, to_rendered

from flows.build import FLOW_ID, build
from model.errors import ConfigurationError, PipelineError
from model.loading.load import load
from model.stop import Stop
from tests.unit.fake_node_types import NODE_TYPES, PIPELINE, source


def built(tmp_path, node_types=NODE_TYPES, text=PIPELINE):
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    return build(load(path, node_types, {}), Stop(), lambda _meter, connect: connect, lambda url: url)


def test_the_graph_is_the_one_the_file_describes(tmp_path):
    flow = built(tmp_path)
    rendered = to_rendered(flow)
    assert [step.step_id for step in rendered.substeps] == [f"{FLOW_ID}.{name}" for name in ("first", "second", "judge", "sink")]
    assert to_mermaid(flow).splitlines() == [
        "flowchart TD",
        f'subgraph "{FLOW_ID} (Dataflow)"',
        f'{FLOW_ID}.first["first (source)"]',
        f'{FLOW_ID}.second["second (source)"]',
        f'{FLOW_ID}.judge["judge (check)"]',
        f'{FLOW_ID}.first -- "down → ups" --> {FLOW_ID}.judge',
        f'{FLOW_ID}.second -- "down → ups" --> {FLOW_ID}.judge',
        f'{FLOW_ID}.sink["sink (sink)"]',
        f'{FLOW_ID}.judge -- "trues → ups" --> {FLOW_ID}.sink',
        f'{FLOW_ID}.judge -- "falses → ups" --> {FLOW_ID}.sink',
        "end",
    ]


def test_what_is_built_runs(tmp_path):
    run_main(built(tmp_path))


def test_a_node_gets_its_settings_and_the_whole_pipeline(tmp_path):
    seen = []

    def keep(context, inputs):
        seen.append(context)
        return NODE_TYPES["check"].build(context, inputs)

    node_types = {**NODE_TYPES, "check": dataclasses.replace(NODE_TYPES["check"], build=keep)}
    built(tmp_path, node_types)
    (context,) = seen
    assert context.node_id == "judge"
    assert context.settings.limit == 5
    assert [meter.id for meter in context.pipeline.meters] == ["desk"]
    assert context.resolve_meter("desk", "tcp://a:1") == "tcp://a:1"


def test_nodes_that_cannot_be_built_are_problems_with_their_lines(tmp_path):
    def fail(context, inputs):
        raise PipelineError("it does not fit", "cut it")

    node_types = {**NODE_TYPES, "in": dataclasses.replace(NODE_TYPES["in"], build=fail)}
    with pytest.raises(ConfigurationError) as caught:
        built(tmp_path, node_types)
    assert [(problem.line, problem.what, problem.remedy) for problem in caught.value.problems] == [
        (7, "node first: it does not fit", "cut it"),
        (8, "node second: it does not fit", "cut it"),
    ]


def test_a_node_type_that_breaks_its_contract_is_found_at_once(tmp_path):
    wrong_ports = {**NODE_TYPES, "in": dataclasses.replace(NODE_TYPES["in"], build=lambda context, inputs: {})}
    with pytest.raises(TypeError, match="returned the ports"):
        built(tmp_path, wrong_ports)

    def misnamed(context, inputs):
        return {"": source(f"{context.node_id}_input", context.flow)}

    with pytest.raises(TypeError, match="must add one step named 'first'"):
        built(tmp_path, {**NODE_TYPES, "in": dataclasses.replace(NODE_TYPES["in"], build=misnamed)})
