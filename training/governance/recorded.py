"""What was recorded when a version was registered: its files, checked against the audit chain, and what they say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import configs.loading
from configs.errors import GovernanceError
from configs.settings import Settings
from configs.use_case import RandomSplit, TimeSplit, UseCase
from training.governance.ledger import Filing, Ledger
from training.governance.registry import Registry
from training.governance.release import folder_digest


@dataclass(frozen=True)
class Recorded:
    """A registered version. `split` is the one it was trained with, which a retraining moves on from the use case's."""

    filing: Filing
    folder: Path
    use_case: UseCase
    split: TimeSplit | RandomSplit
    evidence: dict[str, Any]

    @property
    def tables(self) -> dict[str, str]:
        """Hash by table; empty for a version from before tables had hashes of their own."""
        listed = (self.filing.lineage or {}).get("tables", [])
        digests = {str(table["name"]): str(table["digest"]) for table in listed}
        return {} if set(digests.values()) == {self.evidence["data_hash"]} else digests

    @property
    def code(self) -> str:
        """The version of the code that trained it."""
        return str((self.filing.lineage or {}).get("code", "unknown"))


def fetched(use_case_name: str, version: int | None, settings: Settings, destination: Path) -> Recorded:
    """A registered version (None: the newest filed one), its files copied to below `destination`.

    Raises `GovernanceError` for a version that was never filed, and for files that are not those that were filed.
    """
    ledger, registry = Ledger(settings), Registry(settings)
    number = max(ledger.filings(use_case_name), default=1) if version is None else version
    filing = ledger.filing(use_case_name, number)
    folder = registry.download(registry.version(use_case_name, number), destination)
    if folder_digest(folder) != filing.digest:
        raise GovernanceError(
            f"the registered files of {filing.subject} are not those that were filed",
            expected=f"the digest {filing.digest[:12]} that the audit chain holds",
            fix="find out who changed the artifact store; what was filed can't be reproduced from it",
        )
    use_case, evidence = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("use_case", "evidence"))
    declared = evidence["split"]["declared"]
    split = TimeSplit if declared["by"] == "time" else RandomSplit
    return Recorded(
        filing,
        folder,
        configs.loading.parse(use_case, file=f"use_case.json of {filing.subject}"),
        split.model_validate(declared),
        evidence,
    )
