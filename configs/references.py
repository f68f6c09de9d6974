"""Names that must exist elsewhere in a use case: checked on raw data, and so reported with all other mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from configs.durations import parse, render
from configs.validation import DUPLICATES

Dangling = tuple[str, str, str, list[str]]
"""Path in the file, value found, what was expected, valid names."""

_REALISED = ("outcome", "amount", "repaid", "recovered", "fees")


def dangling(raw: Mapping[str, Any]) -> Iterator[Dangling]:
    """Every name that points nowhere. Tolerates any shape: what has the wrong type is reported by the schema."""
    tables, entities = _names(raw, "tables"), _names(raw, "entities")
    yield from _check("event.table", get(raw, "event", "table"), "a table", tables)
    for index, aggregate in enumerate(as_list(raw.get("aggregates"))):
        entity = aggregate.get("entity")
        for name in entity if isinstance(entity, list) else [entity]:
            yield from _check(f"aggregates.{index}.entity", name, "an entity", entities)
        yield from _check(f"aggregates.{index}.table", aggregate.get("table"), "a table", tables)
    for name, view in as_mapping(raw.get("views")).items():
        yield from _check(f"views.{name}.table", get(view, "table"), "a table", tables)
        yield from _check(f"views.{name}.entity", get(view, "entity"), "an entity", entities)
    for key in ("drop_known", "group"):
        yield from _check(f"split.{key}", get(raw, "split", key), "an entity", entities)
    yield from _features(raw)
    yield from _decisions(raw)


def _features(raw: Mapping[str, Any]) -> Iterator[Dangling]:
    features = feature_names(raw)
    for name in as_mapping(raw.get("monotone")):
        yield from _check(f"monotone.{name}", name, "a feature", features)
    for index, name in enumerate(_items(get(raw, "training", "exclude"))):
        yield from _check(f"training.exclude.{index}", name, "a feature", features)
    for path in ("training.weight", "money.amount"):
        yield from _check(path, get(raw, *path.split(".")), "a feature", features)
    for path in (f"credit_risk.{part}.{key}" for part in ("lgd", "ead") for key in _REALISED):
        yield from _check(path, get(raw, *path.split(".")), "an outcome", _names(raw, "outcomes"))
    scenarios = sorted(path.stem for path in (Path(__file__).parent / "scenarios").glob("*.yaml"))
    yield from _check(
        "credit_risk.scenarios", get(raw, "credit_risk", "scenarios"), "a file in configs/scenarios/", scenarios
    )

    guarded = [*features, *_names(raw, "request"), *_names(raw, "views"), DUPLICATES]
    for name in as_mapping(get(raw, "leaks", "accept")):
        yield from _check(f"leaks.accept.{name}", name, "what the leak guard may find", guarded)


def _decisions(raw: Mapping[str, Any]) -> Iterator[Dangling]:
    policy = as_mapping(raw.get("policy"))
    bands = as_list(policy.get("bands"))
    rules = as_list(policy.get("rules"))
    decisions = list(dict.fromkeys(str(part["decision"]) for part in [*bands, *rules] if "decision" in part))
    yield from _check("policy.fallback", policy.get("fallback"), "a decision of a band or rule", decisions)
    for index, decision in enumerate(_items(get(raw, "money", "reviewed"))):
        yield from _check(f"money.reviewed.{index}", decision, "a decision of a band or rule", decisions)
    for index, decision in enumerate(_items(policy.get("adverse"))):
        yield from _check(f"policy.adverse.{index}", decision, "a decision of a band or rule", decisions)
    catalogues = sorted(path.stem for path in (Path(__file__).parent / "reasons").glob("*.yaml"))
    yield from _check("policy.reasons", policy.get("reasons"), "a catalogue in configs/reasons/", catalogues)


def feature_names(raw: Mapping[str, Any]) -> list[str]:
    """Names of all features a use case defines, from its raw or dumped form."""
    request = [name for name, column in as_mapping(raw.get("request")).items() if _feature_column(column)]
    views = [
        f"{name}__{column}"
        for name, view in as_mapping(raw.get("views")).items()
        for column, contract in as_mapping(get(view, "columns")).items()
        if _feature_column(contract)
    ]
    aggregates = [name for part in as_list(raw.get("aggregates")) for name in aggregate_names(part)]
    return [*request, *views, *aggregates, *as_mapping(raw.get("derived"))]


def _feature_column(column: Any) -> bool:
    column = as_mapping(column)
    return bool(column.get("feature", True)) and column.get("type") != "time"


def aggregate_names(part: Mapping[str, Any]) -> Iterator[str]:
    """Names of the features that one aggregate defines."""
    entity = part.get("entity")
    parts = [*(entity if isinstance(entity, list) else [entity]), part.get("column")]
    stem = part.get("name") or "_".join(str(piece) for piece in parts if piece)
    for function in _items(part.get("functions")):
        for window in _items(part.get("windows")):
            try:
                yield f"{stem}_{function}_{render(parse(window))}"
            except ValueError:
                continue  # the schema reports the malformed window


def aggregate_view(entities: Iterable[str]) -> str:
    """Name of the Feast view with all aggregates over the same entities."""
    return "_".join([*entities, "aggregates"])


def _check(path: str, value: Any, what: str, valid: list[str]) -> Iterator[Dangling]:
    if isinstance(value, str) and value not in valid:
        yield path, value, what, valid


def get(raw: Any, *path: Any) -> Any:
    """What stands at a path; None where the path ends early or a part of it is no name."""
    for key in path:
        raw = as_mapping(raw).get(key) if isinstance(key, str) else None
    return raw


def _names(raw: Mapping[str, Any], key: str) -> list[str]:
    return [str(name) for name in as_mapping(raw.get(key))]


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def as_list(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list; nothing of anything else."""
    return [item for item in _items(value) if isinstance(item, Mapping)]
