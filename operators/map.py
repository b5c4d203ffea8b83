"""Node type `map`: turns each cycle's raw values into readings with names, units and exact values.

What happens to one raw value, in this order:

1. the meter's scaler and the template's `scale`: raw * 10**scaler * scale;
2. the unit: the template's `unit` if it has one, else what `units` says for the meter's unit, else the meter's unit;
3. the template's `rename`;
4. `keep` and `drop`, patterns on the name reached so far;
5. `rename`, patterns on the name reached so far, the first that fits;
6. `call`, a Python function that gets the Reading and returns a Reading, a list of them, or None to leave it out.

All of it is exact: an int stays an int where the scaler is not negative, otherwise it becomes a Decimal with as many
places as the scaler says, trailing zeros kept (23010 with scaler -2 is 230.10); see `model.units.Conversion`. Numbers
never have a positive exponent; print them with format(value, "f").

A value that cannot be mapped (its meter reports another unit than the one wanted, text where a number is wanted, a
callable that raises) becomes a Rejection with rule "map". Nothing raises, nothing disappears. No state is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Union

import bytewax.operators as op
import structlog
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from pydantic import Field, field_validator, model_validator

from model.errors import PipelineError
from model.messages import Cycle, Origin, RawValue, Reading, Rejection
from model.node import MAIN, BuildContext, NodeType, Ports
from model.settings.meter import MeterSettings
from model.settings.node import NodeSettings
from model.settings.pipeline import PipelineSettings
from model.settings.template import ReadSettings
from model.timestamps import from_ms, to_ms
from model.units import Conversion, conversion, is_known_unit, power_of_ten, similar_unit, unit_symbol
from operators.callables import import_callable
from operators.patterns import KeyPattern, matches_any, rename, wildcards
from operators.values import SettingValue
from operators.verdicts import Verdict, Verdicts, split_verdicts

RULE = "map"
"""The rule named in every rejection of this node."""

_LARGEST = Decimal("1E+300")
"""ThingsBoard keeps a number that is no 64-bit integer as a double."""

log = structlog.get_logger(__name__)


class MapSettings(NodeSettings):
    """Settings of a `map` node; all are optional."""

    units: dict[str, str] = Field(
        default_factory=dict, description="Unit to convert to, for each unit that meters report: {Wh: kWh}. A template's unit goes first."
    )
    keep: list[KeyPattern] = Field(default_factory=list, description="Patterns of the keys to keep; all where left out.")
    drop: list[KeyPattern] = Field(default_factory=list, description="Patterns of the keys to leave out.")
    rename: dict[KeyPattern, str] = Field(
        default_factory=dict, description="Pattern -> new key; each * of the new key takes the text of the pattern's * at the same place."
    )
    constants: dict[str, SettingValue] = Field(
        default_factory=dict, description="Readings added to every cycle that gave at least one; they do not pass `call`."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Added to each reading's tags; the meter's own tags go first.")
    call: str | None = Field(
        default=None, description="package.module:function that gets each Reading and returns a Reading, a list of them, or None."
    )

    @field_validator("units")
    @classmethod
    def _convertible(cls, units: dict[str, str]) -> dict[str, str]:
        for source, target in units.items():
            conversion(source, target)
        return units

    @field_validator("call")
    @classmethod
    def _importable(cls, path: str | None) -> str | None:
        if path is not None:
            import_callable(path)
        return path

    @model_validator(mode="after")
    def _enough_wildcards(self) -> MapSettings:
        for pattern, target in self.rename.items():
            if not target:
                raise ValueError(f"rename gives {pattern!r} an empty name; write the new key, or use drop")
            if wildcards(target) > wildcards(pattern):
                raise ValueError(f"rename {pattern!r} to {target!r}: the new key has more wildcards than the pattern")
        return self

    def renamed(self, key: str) -> str | None:
        """The key under which `key` leaves this node; None if it is left out."""
        if (self.keep and not matches_any(self.keep, key)) or matches_any(self.drop, key):
            return None
        return rename(self.rename, key)


@dataclass(frozen=True, slots=True)
class _Mapping:
    """What to do with one key of one kind of meter, for one scaler and unit that the meter reports.

    `key` None leaves the value out. `fault` says why the conversion to the wanted unit is impossible; `unit` is then
    the meter's own.
    """

    key: str | None
    unit: str | None
    conversion: Conversion
    fault: str = ""


_RawKind = tuple[str, Union[int, None], Union[int, None]]


@dataclass(frozen=True, slots=True)
class _Meter:
    """What is known about one meter. Meters of one template without overrides share their mappings."""

    reads: Mapping[str, ReadSettings]
    mappings: dict[_RawKind, _Mapping]
    tags: tuple[tuple[str, str], ...]


class CycleMapper:
    """Maps cycles by a node's settings and the templates of pipeline.yaml; works out each mapping once.

    :raises PipelineError: when two values of one meter would get the same key, or `call` cannot be imported.
    """

    def __init__(self, settings: MapSettings, pipeline: PipelineSettings) -> None:
        self._settings = settings
        self._call: Callable[[Any], Any] | None = import_callable(settings.call) if settings.call else None
        self._meters: dict[str, _Meter] = {}
        alike: dict[str, _Meter] = {}
        for meter in pipeline.meters:
            tags = tuple(sorted({**settings.tags, **meter.tags}.items()))
            known = None if meter.overrides else alike.get(meter.template)
            if known is not None:
                self._meters[meter.id] = replace(known, tags=tags)
                continue
            reads = pipeline.reads(meter)
            _check_keys(settings, meter, reads)
            self._meters[meter.id] = _Meter(reads, {}, tags)
            if not meter.overrides:
                alike[meter.template] = self._meters[meter.id]
        _warn_of_unknown_units(pipeline)

    def __call__(self, cycle: Cycle) -> list[Verdict]:
        """The readings and rejections of one cycle; none of a cycle without values."""
        if not cycle.values:
            return []
        meter = self._meters.get(cycle.meter)
        if meter is None:
            meter = self._meters[cycle.meter] = _Meter({}, {}, tuple(sorted(self._settings.tags.items())))
        ts = from_ms(to_ms(cycle.started))
        results: list[Verdict] = []
        for raw in cycle.values:
            kind = (raw.key, raw.scaler, raw.unit)
            mapping = meter.mappings.get(kind)
            if mapping is None:
                mapping = meter.mappings[kind] = self._mapping(meter.reads.get(raw.key), raw)
            if mapping.key is not None:
                results.append(self._reading(cycle, raw, mapping, mapping.key, ts, meter.tags))
        if self._call is not None:
            results = [after for before in results for after in self._called(before)]
        if self._settings.constants and any(isinstance(result, Reading) for result in results):
            results += [
                Reading(cycle.meter, key, value, None, ts, cycle.origin, cycle.read_at, meter.tags)
                for key, value in self._settings.constants.items()
            ]
        return results

    def _mapping(self, read: ReadSettings | None, raw: RawValue) -> _Mapping:
        key = self._settings.renamed((read.rename if read else None) or raw.key)
        scaled = power_of_ten(raw.scaler or 0)
        if read is not None and read.scale is not None:
            scaled = scaled.then(Conversion(Fraction(read.scale)))
        source = unit_symbol(raw.unit)
        wanted = (read.unit if read else None) or (self._settings.units.get(source) if source else None)
        if source is None or wanted is None:
            return _Mapping(key, wanted or source, scaled)
        try:
            return _Mapping(key, wanted, scaled.then(conversion(source, wanted)))
        except ValueError as error:
            return _Mapping(key, source, scaled, f"{error}; the meter reports {raw.key} in {source} (DLMS unit {raw.unit})")

    def _reading(
        self, cycle: Cycle, raw: RawValue, mapping: _Mapping, key: str, ts: datetime, tags: tuple[tuple[str, str], ...]
    ) -> Verdict:
        value, fault = raw.value, mapping.fault
        if isinstance(value, (str, bool)):
            if not (fault or mapping.conversion.is_identity):
                fault = f"{value!r} is not a number and cannot be scaled or converted"
        else:
            try:
                value = mapping.conversion(value)
            except ArithmeticError:
                fault = f"{value} is not a finite number"
        reading = Reading(cycle.meter, key, value, mapping.unit, ts, cycle.origin, cycle.read_at, tags)
        return Rejection(reading, RULE, fault) if fault else reading

    def _called(self, before: Verdict) -> Sequence[Verdict]:
        if isinstance(before, Rejection) or self._call is None:
            return (before,)
        try:
            result = self._call(before)
        except Exception as error:  # whatever the user's code raises is data about this reading
            return (Rejection(before, RULE, f"{self._settings.call} raised {type(error).__name__}: {error}"),)
        several = isinstance(result, (list, tuple)) and not is_dataclass(result)  # messages are kept in tuples
        returned = () if result is None else result if several else (result,)
        fault = next(filter(None, (_unfit(after, before) for after in returned)), None)
        return (Rejection(before, RULE, f"{self._settings.call} returned {fault}"),) if fault else returned


def _unfit(after: Any, before: Reading) -> str | None:
    """Why `after` cannot take the place of `before`; None if it can."""
    if not isinstance(after, Reading):
        return f"{type(after).__name__}, expected a Reading, a list of them, or None"
    if after.meter != before.meter:
        return f"a reading of meter {after.meter!r}; the meter must stay the same"
    if not _is_text(after.key) or not after.key:
        return f"the key {after.key!r}, expected text"
    if not isinstance(after.value, (int, Decimal, str)):
        return f"a value of type {type(after.value).__name__} for {after.key!r}, expected int, Decimal, str or bool"
    if isinstance(after.value, str) and not _is_text(after.value):
        return f"the value {after.value!r} for {after.key!r}, expected text in Unicode"
    if isinstance(after.value, Decimal) and not after.value.is_finite():
        return f"{after.value} for {after.key!r}, expected a finite number"
    if not isinstance(after.value, str) and not -_LARGEST <= after.value <= _LARGEST:
        return f"a number beyond {_LARGEST:E} for {after.key!r}; ThingsBoard cannot hold it"
    if not (after.unit is None or _is_text(after.unit)):
        return f"the unit {after.unit!r} for {after.key!r}, expected text or None"
    if not (_is_utc(after.ts) and _is_utc(after.read_at)):
        return f"the times {after.ts!s} and {after.read_at!s} for {after.key!r}, expected datetimes with timezone.utc"
    if after.ts.microsecond % 1000:
        return f"the timestamp {after.ts.isoformat()} for {after.key!r}, expected whole milliseconds"
    if not isinstance(after.origin, Origin):
        return f"the origin {after.origin!r} for {after.key!r}, expected an Origin, such as Origin.POLL"
    if not _are_tags(after.tags):
        return f"the tags {after.tags!r} for {after.key!r}, expected a tuple of pairs of text"
    return None


def _is_text(value: Any) -> bool:
    """Whether `value` is text that can be written as UTF-8: lone surrogates cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _are_tags(tags: Any) -> bool:
    return isinstance(tags, tuple) and all(isinstance(tag, tuple) and len(tag) == 2 and all(map(_is_text, tag)) for tag in tags)


def _is_utc(moment: Any) -> bool:
    return isinstance(moment, datetime) and moment.utcoffset() == timedelta(0)


def _check_keys(settings: MapSettings, meter: MeterSettings, reads: Mapping[str, ReadSettings]) -> None:
    """Two values under one key and timestamp would overwrite each other in ThingsBoard."""
    origins: dict[str, str] = dict.fromkeys(settings.constants, "constants")
    for key, read in reads.items():
        renamed = settings.renamed(read.rename or key)
        if renamed is None:
            continue
        if renamed in origins:
            raise PipelineError(
                f"map gives meter {meter.id!r} two values under the key {renamed!r}: {origins[renamed]} and {key}",
                "change one of the two names in rename, constants or the template",
            )
        origins[renamed] = key


def _warn_of_unknown_units(pipeline: PipelineSettings) -> None:
    """A wanted unit that cannot be converted to is good only where the meter states no unit; often it is a slip."""
    reads = [read for template in pipeline.templates.values() for read in template.read.values()]
    reads += [read for meter in pipeline.meters for read in meter.overrides.values() if read is not None]
    for unit in sorted({read.unit for read in reads if read.unit and not is_known_unit(read.unit)}):
        similar = similar_unit(unit)
        if similar is not None:
            log.warning("unit not known, values with a unit cannot be converted to it", unit=unit, did_you_mean=similar)


@operator
def map_cycles(step_id: str, *ups: KeyedStream[Cycle], mapper: CycleMapper) -> Verdicts:
    """Map every cycle to its readings, and to rejections where that is not possible."""

    def map_batch(batch: list[tuple[str, Cycle]]) -> Iterable[tuple[str, Verdict]]:
        return [(meter, result) for meter, cycle in batch for result in mapper(cycle)]

    merged = op.merge("inputs", *ups)
    mapped = op.flat_map_batch("map", merged, map_batch)
    return split_verdicts("verdict", mapped)


def _build(ctx: BuildContext, inputs: Sequence[KeyedStream[Any]]) -> Ports:
    out = map_cycles(ctx.node_id, *inputs, mapper=CycleMapper(ctx.settings, ctx.pipeline))
    return {MAIN: out.down, "rejected": out.rejected}


NODE = NodeType(
    name="map",
    summary="Turns raw values into readings: names, exact scaling, units, constants, tags, and a Python function for the rest.",
    settings=MapSettings,
    accepts=(Cycle,),
    emits={MAIN: Reading, "rejected": Rejection},
    example="""\
- id: mapped
  type: map
  inputs: [meters]
  settings:
    units: {Wh: kWh, W: kW}
    drop: ["internal_*"]
    rename: {"voltage_l*": "l*_voltage"}
    constants: {site: Substation 4}
    tags: {owner: utility}
""",
    build=_build,
)
