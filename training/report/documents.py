"""A candidate's folder as the report reads it: its documents and its figures, and nothing from anywhere else."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import configs.loading
from configs.errors import TrainingError
from configs.use_case import UseCase


@dataclass(frozen=True)
class Documents:
    """What the folder holds. figures: PNG by name, as data addresses. verdict is None before the gates were judged."""

    use_case: UseCase
    evidence: dict[str, Any]
    reference: dict[str, Any]
    verdict: dict[str, Any] | None
    figures: dict[str, str]


def read_documents(folder: Path) -> Documents:
    """Read a candidate's folder. Raises `TrainingError` where a document is absent or not readable."""
    use_case = configs.loading.parse(_json(folder / "use_case.json"), file=str(folder / "use_case.json"))
    verdict = folder / "verdict.json"
    return Documents(
        use_case,
        _json(folder / "evidence.json"),
        _json(folder / "reference.json"),
        _json(verdict) if verdict.exists() else None,
        {path.stem: _address(path) for path in sorted((folder / "figures").glob("*.png"))},
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(
            f"no {path.name} in {path.parent}", expected="the folder of a candidate", fix="train, or check the path"
        ) from None
    except ValueError as error:
        raise TrainingError(
            f"{path} is not readable JSON: {error}", expected="the document that training wrote", fix="train again"
        ) from None
    return found


def _address(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
