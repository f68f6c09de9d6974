"""Boosters fitted on columns in canonical order, told as boosters over the columns of X: only the numbers change."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.intp]
"""Place in X of each column that was fitted, [f]."""


def lightgbm_text(text: str, order: Order) -> str:
    """LightGBM's model text over the columns of X.

    The number of threads is written as 1: it is a record of the machine, and changes nothing in the model.
    """
    head, body = text.split("\nTree=0\n", 1)
    trees, tail = body.split("end of trees\n", 1)
    chunks = re.split(r"(?=^Tree=\d+$)", f"Tree=0\n{trees}", flags=re.MULTILINE)
    chunks = [_tree(chunk, order) for chunk in chunks if chunk]
    head = _line(head, "feature_names", [f"f{place}" for place in range(len(order))])
    for name in ("feature_infos", "monotone_constraints"):
        if found := re.search(rf"^{name}=(.*)$", head, flags=re.MULTILINE):
            head = _line(head, name, _by_place(found[1].split(" "), order))
    head = _line(head, "tree_sizes", [str(len(chunk)) for chunk in chunks])
    return f"{head}\n{''.join(chunks)}end of trees\n{_recorded(tail, order)}"


def xgboost_json(raw: bytes, order: Order) -> bytes:
    """XGBoost's model JSON over the columns of X."""
    model = json.loads(raw)
    learner, places = model["learner"], order.tolist()
    learner["feature_types"] = _by_place(learner["feature_types"], order)
    for tree in learner["gradient_booster"]["model"]["trees"]:
        leaf = tree["left_children"]
        tree["split_indices"] = [
            places[index] if child >= 0 else 0 for index, child in zip(tree["split_indices"], leaf, strict=True)
        ]
    return json.dumps(model).encode()


def _tree(chunk: str, order: Order) -> str:
    found = re.search(r"^split_feature=(.*)$", chunk, flags=re.MULTILINE)
    if not found or not found[1]:  # a tree of one leaf
        return chunk
    return _line(chunk, "split_feature", [str(order[int(index)]) for index in found[1].split(" ")])


def _recorded(tail: str, order: Order) -> str:
    """The record of parameters behind the trees."""
    tail = re.sub(r"^\[num_threads: .*\]$", "[num_threads: 1]", tail, flags=re.MULTILINE)
    if found := re.search(r"^\[monotone_constraints: (.+)\]$", tail, flags=re.MULTILINE):
        tail = tail.replace(found[0], f"[monotone_constraints: {','.join(_by_place(found[1].split(','), order))}]")
    if found := re.search(r"^\[categorical_feature: (.+)\]$", tail, flags=re.MULTILINE):
        places = sorted(int(order[int(index)]) for index in found[1].split(","))
        tail = tail.replace(found[0], f"[categorical_feature: {','.join(map(str, places))}]")
    return tail


def _line(text: str, name: str, values: Sequence[str]) -> str:
    return re.sub(rf"^{name}=.*$", lambda _: f"{name}={' '.join(values)}", text, count=1, flags=re.MULTILINE)


def _by_place(values: Sequence[str], order: Order) -> list[str]:
    found = [""] * len(order)
    for value, place in zip(values, order.tolist(), strict=True):
        found[place] = value
    return found
