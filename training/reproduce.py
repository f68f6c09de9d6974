"""Reproduce: rebuild a registered model from what was recorded of it, and say bit-identical or what differs.

The chosen parameters are those of the record: a search stops by the clock, a rebuild must not. Nothing is registered,
and everything is built in a home folder of its own that goes with the process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.settings import Settings
from configs.use_case import TimeSplit, UseCase
from features.store import FeatureStore
from features.temporary import own_folder
from training.candidate import Candidate, build_candidate
from training.comparing import Difference, compared, leaf_differences, not_rebuilt
from training.evidence.data import ACCRUED, table_digests
from training.governance.recorded import Recorded, fetched
from training.pipeline import code_version
from training.search.trials import Search

if TYPE_CHECKING:
    from configs.console import Ticker
    from features.frame import Frame

MODIFIED = "-modified"
"""What the code version ends with where files differ from the commit: then equal versions may be other code."""
_LINKED = ("raw", "loads", "tokens", "databases")
"""Folders of the home folder that a rebuild reads tables and their loads from."""
_NO_CLOCK = 10**7
"""Seconds that no search needs."""


@dataclass(frozen=True)
class Reproduction:
    """What a rebuild came to. `files`: whether each file has the same bytes (the evidence: the same figures).

    not_rebuilt: files and parts of the evidence that training adds later, such as the verdict, which depends on the
    champion of that day. searched: whether the search was repeated, too.
    """

    use_case: str
    version: int
    differences: tuple[Difference, ...]
    files: Mapping[str, bool]
    not_rebuilt: tuple[str, ...]
    searched: bool
    seconds: float

    @property
    def identical(self) -> bool:
        """The same data gave the same bytes and figures. Other code or libraries that do so are only named."""
        return all(each.kind in {"code", "library"} for each in self.differences)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"identical": self.identical} | asdict(self)


def reproduce(
    use_case_name: str,
    version: int | None,
    settings: Settings,
    *,
    search: bool = False,
    ticker: Ticker | None = None,
) -> Reproduction:
    """Rebuild a version (None: the newest filed one) and compare file by file and figure by figure.

    The tables are read from where `settings` say. search: repeat the search as well, with as many trials as were
    finished then. Raises `GovernanceError` for a version that was never filed, or whose files were changed since, and
    `FeatureError` for a table that is gone. Other data, code or libraries are no error: the rebuild goes on.
    """
    started = time.monotonic()
    place = own_folder(settings.home / "reproductions")
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        recorded = fetched(use_case_name, version, settings, Path(scratch) / "registered")
        home = _home(recorded, settings, Path(scratch) / "home")
        frame = _frame(recorded, home, ticker)
        candidate = _rebuilt(recorded, frame, home, search=search, ticker=ticker)
        results, files = compared(recorded.folder, candidate.folder, searched=search)
        differences = (*_inputs(recorded, frame, home, candidate.evidence), *results)
        left = not_rebuilt(recorded.folder, candidate.folder)
    seconds = round(time.monotonic() - started, 1)
    filing = recorded.filing
    return Reproduction(filing.use_case, filing.version, differences, files, left, search, seconds)


def _home(recorded: Recorded, settings: Settings, folder: Path) -> Settings:
    """Settings whose home has the tables of the real one, and of the accrued events those that were there then."""
    folder.mkdir(mode=0o700)
    for name in _LINKED:
        if (settings.home / name).is_dir():
            (folder / name).symlink_to(settings.home / name, target_is_directory=True)
    own = folder / "accrued" / recorded.use_case.name
    own.mkdir(parents=True)
    for path in (settings.home / "accrued" / recorded.use_case.name).glob("*.parquet"):
        if not recorded.tables or f"{ACCRUED}{path.name}" in recorded.tables:
            (own / path.name).symlink_to(path)
    return settings.model_copy(update={"home": folder})


def _frame(recorded: Recorded, home: Settings, ticker: Ticker | None) -> Frame:
    split = recorded.split
    start, end = (split.train.start, split.test.end) if isinstance(split, TimeSplit) else (None, None)
    frame = FeatureStore(recorded.use_case, home).training_frame(start=start, end=end, ticker=ticker)
    if ticker is not None:
        ticker.advance()
    return frame


def _rebuilt(recorded: Recorded, frame: Frame, home: Settings, *, search: bool, ticker: Ticker | None) -> Candidate:
    warm = [(name, params) for name, params in recorded.evidence["warm"]]
    if not search:
        found = _search(recorded)
        return build_candidate(
            recorded.use_case, frame, home, period=recorded.split, found=found, warm=warm, ticker=ticker
        )
    use_case, most = _unhurried(recorded.use_case), _search(recorded).reached
    return build_candidate(use_case, frame, home, period=recorded.split, warm=warm, most=most, ticker=ticker)


def _search(recorded: Recorded) -> Search:
    """The search as it was recorded."""
    return Search.of_json(recorded.evidence["search"], objective=recorded.evidence["objective"])


def _unhurried(use_case: UseCase) -> UseCase:
    """The use case with a clock that stops no trial."""
    training = use_case.training.model_copy(update={"seconds": _NO_CLOCK})
    return use_case.model_copy(update={"training": training})


def _inputs(recorded: Recorded, frame: Frame, home: Settings, evidence: Mapping[str, Any]) -> Iterator[Difference]:
    """What went in: tables, code and libraries."""
    if frame.data_hash != recorded.evidence["data_hash"]:
        found, known = table_digests(recorded.use_case, home), recorded.tables
        names = [name for name in sorted(known | found) if known and known.get(name) != found.get(name)]
        for name in names:
            yield Difference("data", f"table {name}", known.get(name), found.get(name))
        if not names:
            part = "rows that the loads accept" if known else "tables (which one was not recorded)"
            yield Difference("data", part, recorded.evidence["data_hash"], frame.data_hash)
    if (code := code_version()) != recorded.code:
        yield Difference("code", "version", recorded.code, code)
    elif code.endswith(MODIFIED):
        yield Difference("code", "changes that no commit holds", None, None)
    yield from leaf_differences("library", recorded.evidence["libraries"], evidence["libraries"])
