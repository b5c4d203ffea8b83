from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from bytewax.visualize import to_mermaid, to_rendered

from flows.build import build
from flows.counting import PortCounter, Tally
from model.loading.load import load
from model.stop import Stop
from tests.unit.fake_node_types import NODE_TYPES, PIPELINE


def built(tmp_path: Path, tally: Tally | None) -> Dataflow:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return build(load(path, NODE_TYPES, {}), Stop(), lambda _meter, connect: connect, lambda url: url, tally=tally)


def test_each_port_of_each_node_is_counted(tmp_path: Path) -> None:
    tally = Tally()
    flow = built(tmp_path, tally)
    assert {status.last for status in tally.status().values()} == {None}
    run_main(flow)
    status = tally.status()
    assert {node: (found.type, found.emitted) for node, found in status.items()} == {
        "first": ("in", {"main": 1}),
        "second": ("in", {"main": 1}),
        "judge": ("check", {"main": 2, "rejected": 0}),
        "sink": ("out", {}),
    }
    assert [found.last is not None for found in status.values()] == [True, True, True, False]


def test_the_drawing_is_the_same_with_and_without(tmp_path: Path) -> None:
    assert to_mermaid(built(tmp_path, Tally())) == to_mermaid(built(tmp_path, None))


def test_only_stateless_steps_are_added_and_no_other_step_changes_its_id(tmp_path: Path) -> None:
    def steps(flow: Dataflow) -> dict[str, str]:
        found: dict[str, str] = {}

        def visit(step: Any) -> None:
            found[step.step_id] = step.op_type
            for inner in step.substeps:
                visit(inner)

        for step in to_rendered(flow).substeps:
            visit(step)
        return found

    plain, counted = steps(built(tmp_path, None)), steps(built(tmp_path, Tally()))
    assert counted.items() >= plain.items()
    assert {counted[name] for name in counted.keys() - plain.keys()} == {"flat_map_batch"}
    assert "pipeline.judge.count_rejected" in counted


@pytest.mark.parametrize("batch", [1, 7])
def test_what_is_counted_goes_on_unchanged_on_several_workers(batch: int) -> None:
    flow, tally, out = Dataflow("flow"), Tally(), []
    items = [(str(number), number) for number in range(1000)]
    ports = tally.attach(flow, "numbers", "in", {"": op.input("numbers", flow, TestingSource(items, batch))})
    op.output("out", ports[""], TestingSink(out))
    cluster_main(flow, [], 0, worker_count_per_proc=2)
    assert sorted(out) == sorted(items)
    assert tally.status()["numbers"].emitted == {"main": 1000}


def test_workers_that_count_at_once_lose_nothing() -> None:
    counter = PortCounter()
    threads = [threading.Thread(target=lambda: [counter.count([1, 2]) for _ in range(20_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read()[0] == 160_000
