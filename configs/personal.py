"""What `personal` may not name: columns that a token or a mask would empty of meaning. Checked on raw data."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from configs.references import as_list, as_mapping, get


def misplaced(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(path, value found, what was expected) of every wrong entry. Tolerates any shape."""
    personal = {str(name): str(kind) for name, kind in as_mapping(raw.get("personal")).items()}
    needed, keys, contracts = _needed(raw), _keys(raw), _contracts(raw)
    known = [*needed, *keys, *(column for _, column, _ in contracts)]
    for name, kind in personal.items():
        path = f"personal.{name}"
        if name in needed:
            yield path, kind, f"a column that needn't be read as it is; this one is {needed[name]}"
        if name in keys and kind == "mask":
            yield path, kind, f"token: {keys[name]} is a key, and masked keys would all be one"
        if name not in known and name in _aliases(raw):
            yield path, name, f"the name of a column, not of an entity or field{_nearest(_aliases(raw)[name], known)}"
        for where, column, contract in contracts:
            if column == name:
                yield from _contract(where, contract, kind)
    for index, part in enumerate(as_list(raw.get("aggregates"))):
        column = _aliases(raw).get(str(part.get("column")), str(part.get("column")))
        if personal.get(column) == "mask":
            yield f"aggregates.{index}.column", str(part.get("column")), "a column that isn't masked: masks are all one"


def _contract(path: str, contract: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str, str]]:
    """A declared value: tokens are texts without a vocabulary, and a mask says nothing at all."""
    type_ = str(contract.get("type") or "number")
    used = contract.get("feature", True) and type_ != "time"
    if kind == "mask":
        if used:
            yield path, "a masked column", "`feature: false`, or `personal: token`: a mask says nothing"
        return
    if type_ != "category":
        yield path, f"{type_} in a tokenized column", "type: category, or no entry in `personal`: a token is text"
    elif contract.get("values"):
        yield path, "a vocabulary of a tokenized column", "no `values`: tokens are other words"


def _needed(raw: Mapping[str, Any]) -> dict[str, str]:
    """Columns that are read as they are: raw column -> what it is."""
    found = [
        (get(raw, "tables", table, part), f"tables.{table}.{part}")
        for table in as_mapping(raw.get("tables"))
        for part in ("time", "created")
    ]
    found += [(get(raw, "label", part), f"label.{part}") for part in ("column", "known")]
    found += [(get(raw, "event", "time"), "event.time"), (get(raw, "event", "id"), "event.id, which outcomes name")]
    return {name: meaning for name, meaning in found if isinstance(name, str)}


def _keys(raw: Mapping[str, Any]) -> dict[str, str]:
    return {str(column): f"entities.{entity}" for entity, column in as_mapping(raw.get("entities")).items()}


def _contracts(raw: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(path, raw column, contract) of everything declared."""
    parts = [("request", raw.get("request")), ("protected", raw.get("protected")), ("outcomes", raw.get("outcomes"))]
    views = as_mapping(raw.get("views"))
    parts += [(f"views.{view}.columns", as_mapping(definition).get("columns")) for view, definition in views.items()]
    return [
        (f"{path}.{name}", str(as_mapping(contract).get("column") or name), as_mapping(contract))
        for path, contracts in parts
        for name, contract in as_mapping(contracts).items()
    ]


def _aliases(raw: Mapping[str, Any]) -> dict[str, str]:
    """Names of entities and fields -> their raw columns."""
    fields = {path.rpartition(".")[2]: column for path, column, _ in _contracts(raw)}
    return fields | {str(entity): str(column) for entity, column in as_mapping(raw.get("entities")).items()}


def _nearest(column: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(column, known, n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
