"""A load and the endpoint agree: what one rejects the other refuses for the same field."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from configs.loading import load_use_case, parse
from configs.settings import Settings
from configs.use_case import UseCase
from features.contracts import contract_of
from features.intake.kept import Load
from features.intake.loads import loaded
from features.samples import Sample, invalid_rows, request_of, request_paths, valid_rows
from features.sources import folder_of
from serving.contract import ContractError, RequestContract

EVERY_TYPE: dict[str, Any] = {
    "amount": {"min": 0, "max": 1000, "nullable": False},
    "balance": {"missing": [-999]},
    "channel": {"type": "category", "values": ["chip", "online"], "nullable": False},
    "device_kind": {"type": "category", "values": ["phone", "other"], "other": "other"},
    "merchant": {"type": "category", "missing": ["n/a"]},
    "items": {"type": "integer", "min": 1, "max": 99, "missing": [-1]},
    "limit": {"type": "number", "max": 5, "column": "credit_limit"},
    "abroad": {"type": "boolean", "nullable": False},
    "opened": {"type": "time"},
    "renewed": {"type": "time", "nullable": False},
}
NAMES = ["every_type", "credit", "fraud", "handbook_fraud", "lending_club", "taiwan_default"]


@pytest.fixture(params=NAMES)
def use_case(request: pytest.FixtureRequest, settings: Settings) -> UseCase:
    if request.param != "every_type":
        return load_use_case(request.param, settings)
    payments = load_use_case("payments", settings.model_copy(update={"configs": Path(__file__).parent}))
    return parse(payments.as_json() | {"request": EVERY_TYPE, "derived": {}})


def load_of(use_case: UseCase, samples: Sequence[Sample], settings: Settings, folder: Path) -> Load:
    """The load of a table with these rows."""
    settings = settings.model_copy(update={"data": folder})
    path = folder_of(use_case, settings) / use_case.event_table.label
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: _mixed([sample.row[name] for sample in samples]) for name in samples[0].row}
    pd.DataFrame(columns).to_parquet(path)
    return loaded(use_case, use_case.event.table, settings)


def _mixed(values: list[Any]) -> Any:
    """As a file would hold them: of one type, or all as text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds - {int, float}) > 1 or (str in kinds and len(kinds) > 1):
        return [None if value is None else str(value) for value in values]
    return pd.array(values, dtype="boolean") if kinds == {bool} else values


def test_what_the_load_accepts_the_endpoint_accepts(use_case: UseCase, settings: Settings, tmp_path: Path) -> None:
    samples = valid_rows(contract_of(use_case, use_case.event.table), 100, seed=1)
    endpoint = RequestContract(use_case)
    for sample in samples:
        endpoint.read(json.dumps(request_of(use_case, sample.row)).encode())
    assert load_of(use_case, samples, settings, tmp_path).reasons == ()


def test_what_the_load_rejects_the_endpoint_refuses_for_the_same_field(
    use_case: UseCase, settings: Settings, tmp_path: Path
) -> None:
    samples = invalid_rows(contract_of(use_case, use_case.event.table), seed=2)
    rejects, endpoint, compared = defaultdict(set), RequestContract(use_case), 0
    for each in pq.read_table(load_of(use_case, samples, settings, tmp_path).rejects).to_pylist():
        rejects[each["row_number"]].add((each["column"], each["reason"]))
    for number, sample in enumerate(samples, 1):
        assert (sample.column, sample.reason) in rejects[number], f"row {number} breaks this rule: {sample}"
        paths = request_paths(use_case, str(sample.column))
        if paths:
            with pytest.raises(ContractError) as caught:
                endpoint.read(json.dumps(request_of(use_case, sample.row)).encode())
            found = {mistake.field for mistake in caught.value.mistakes}
            assert found
            assert found <= paths
            compared += 1
    assert compared > 5
