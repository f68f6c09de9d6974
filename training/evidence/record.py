"""What a candidate's folder says about its making: data, split, search and versions, written whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from configs.use_case import RandomSplit, TimeSplit, UseCase
from training.evidence.points import points_evidence
from training.folds import Rows
from training.splits import Split

if TYPE_CHECKING:
    from features.frame import Frame
    from training.model import Model
    from training.search.task import Warm
    from training.search.trials import Search, Trial

LIBRARIES = ("lightgbm", "xgboost-cpu", "optbinning", "optuna", "numpy", "pandas", "scipy", "shap")


def lineage(frame: Frame, split: Split, used: TimeSplit | RandomSplit) -> dict[str, Any]:
    """Hashes of data and definition, and the split with sizes, rates and dates."""
    parts = {"train": split.train, "test": split.test, "reference": split.reference, "rejects": split.rejects}
    sizes: dict[str, Any] = {name: _size(frame, rows) for name, rows in parts.items()}
    sizes["tuning"] = [
        {"train": _size(frame, split.train[fold.train]), "valid": _size(frame, split.train[fold.valid])}
        for fold in split.tuning
    ]
    declared = {
        "declared": used.model_dump(mode="json"),
        "by": split.by,
        "group": split.group,
        "notes": list(split.notes),
    }
    return {
        "data_hash": frame.data_hash,
        "definition_hash": frame.definition_hash,
        "split": declared | sizes | {"outer_folds": len(split.outer)},
    }


def choices(
    use_case: UseCase, found: Search, trial: Trial, model: Model, *, warm: Sequence[Warm] = ()
) -> dict[str, Any]:
    """What was searched and chosen, with seeds and library versions: all that a rebuilding needs."""
    training = use_case.training
    points = points_evidence(model, use_case.policy.points)
    chosen = {"learner": trial.learner, "params": dict(trial.params), "left_out": list(trial.left_out)}
    return {
        "objective": training.objective,
        "seed": training.seed,
        "search": found.as_json(),
        "warm": [[name, dict(params)] for name, params in warm],
        "learners": {name: each.as_json() for name, each in found.best_by_learner.items()},
        "chosen": chosen | {"bags": len(model.boosters), "bags_asked": training.bags},
        "points": points,
        "used_features": list(model.names),
        "excluded": list(training.exclude),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def write_folder(
    home: Path,
    name: str,
    model: Model,
    *,
    documents: Mapping[str, Any],
    images: Mapping[str, bytes],
    sample: pd.DataFrame,
) -> Path:
    """A new folder with model/, a JSON file a document, figures/ and the reference sample; renamed when whole."""
    home.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=home))
    try:
        model.save(folder / "model")
        for stem, content in documents.items():
            text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
            (folder / f"{stem}.json").write_text(text, encoding="utf-8")
        sample.to_parquet(folder / "reference_sample.parquet", index=False)
        (folder / "figures").mkdir()
        for stem, image in images.items():
            (folder / "figures" / f"{stem}.png").write_bytes(image)
        return folder.replace(folder.with_name(folder.name.removeprefix(".")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # nothing is left there once it has its final name


def _size(frame: Frame, rows: Rows) -> dict[str, Any]:
    events = frame.events.iloc[rows]
    label, time = events["label"], events["event_time"]
    return {
        "rows": len(rows),
        "positives": int((label == 1).sum()),
        "rate": float(label.mean()) if label.notna().any() else None,
        "first": _moment(time.min()),
        "last": _moment(time.max()),
    }


def _moment(time: Any) -> str | None:
    return None if pd.isna(time) else str(time.isoformat())
