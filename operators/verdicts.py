"""What a node that judges readings emits: those that pass on the main port, the others with the rule they broke."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union, cast

import bytewax.operators as op
from bytewax.operators import KeyedStream

from model.messages import Reading, Rejection

Verdict = Union[Reading, Rejection]


@dataclass(frozen=True)
class Verdicts:
    """The streams that leave a node with the ports MAIN and "rejected"."""

    down: KeyedStream[Reading]
    rejected: KeyedStream[Rejection]


def _is_reading(item: tuple[str, Verdict]) -> bool:
    return isinstance(item[1], Reading)


def split_verdicts(step_id: str, up: KeyedStream[Verdict]) -> Verdicts:
    """Divide a stream of verdicts into its two kinds."""
    split = op.branch(step_id, up, _is_reading)
    return Verdicts(
        down=cast("KeyedStream[Reading]", split.trues),
        rejected=cast("KeyedStream[Rejection]", split.falses),
    )
