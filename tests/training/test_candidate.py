"""From a frame to a candidate folder."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from configs.errors import TrainingError
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import Period, RandomSplit, TimeSplit, Training, UseCase
from features.frame import Frame
from features.vector import features_of
from training.candidate import STEPS, Candidate, build_candidate
from training.finish import cross_calibrated
from training.model import Model

START = pd.Timestamp("2021-01-01", tz="UTC")


def use_case_of(settings: Settings, **training: object) -> UseCase:
    full = load_use_case("credit", settings)
    period = TimeSplit(
        train=Period(start=START.to_pydatetime(), end=(START + timedelta(days=200)).to_pydatetime()),
        test=Period(
            start=(START + timedelta(days=230)).to_pydatetime(), end=(START + timedelta(days=300)).to_pydatetime()
        ),
        folds=2,
    )
    small = Training.model_validate({"trials": 3, "seconds": 60} | training)
    label = full.label.model_copy(update={"maturity": timedelta(days=30)})
    return full.model_copy(update={"split": period, "training": small, "label": label})


def frame_of(use_case: UseCase, n: int = 3000) -> Frame:
    generator = np.random.default_rng(9)
    time = pd.Series(START + pd.to_timedelta(np.sort(generator.integers(0, 300 * 86400, n)), unit="s")).dt.as_unit("us")
    features = pd.DataFrame(
        {
            feature.name: generator.choice(np.array([*feature.vocabulary, None], dtype=object), n)
            if feature.kind == "category"
            else np.where(generator.random(n) < 0.1, np.nan, generator.lognormal(1, 0.5, n))
            for feature in features_of(use_case)
        }
    )
    risk = -2 + 0.8 * features["bureau__utilisation"].fillna(2) - 0.3 * features["annual_income"].fillna(2)
    label = (generator.random(n) < 1 / (1 + np.exp(-risk.to_numpy()))).astype(float)
    label[::7] = np.nan
    events = pd.DataFrame(
        {
            "event_id": [str(i) for i in range(n)],
            "event_time": time,
            "known": time + timedelta(days=30),
            "label": label,
            "applicant": [f"a{i}" for i in range(n)],
            "sex": generator.choice(["female", "male"], n),
            "age": generator.integers(18, 80, n).astype(float),
        }
    )
    return Frame(events, features, "data", "definition")


class Recorder:
    """Counts what a progress bar would be told."""

    def __init__(self) -> None:
        self.steps, self.notes = 0.0, list[str]()

    def advance(self, steps: float = 1) -> None:
        self.steps += steps

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[UseCase, Frame, Candidate, Recorder]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), profile="test")
    use_case, ticker = use_case_of(settings, bags=2), Recorder()
    frame = frame_of(use_case)
    return use_case, frame, build_candidate(use_case, frame, settings, ticker=ticker), ticker  # type: ignore[arg-type]


def test_the_folder_holds_everything(built: tuple[UseCase, Frame, Candidate, Recorder]) -> None:
    _, _, candidate, _ = built
    names = {str(path.relative_to(candidate.folder)) for path in candidate.folder.rglob("*") if path.is_file()}
    figures = {
        f"figures/{name}.png" for name in ("ranking", "reliability", "gains", "importance", "search", "shap_summary")
    }
    assert {"model/model.json", "use_case.json", "reference.json", "evidence.json"} | figures <= names
    assert all(image.startswith(b"\x89PNG") for image in candidate.figures.values())
    beside = [path.name for path in candidate.folder.parent.iterdir() if path.name != ".lock"]
    assert beside == [candidate.folder.name]


def test_the_saved_model_gives_the_tested_probabilities(built: tuple[UseCase, Frame, Candidate, Recorder]) -> None:
    _, frame, candidate, _ = built
    loaded = Model.load(candidate.folder / "model")
    X = loaded.encode(frame.features)
    assert np.array_equal(loaded.probability(X), candidate.model.probability(X))


def test_evidence_can_be_recomputed(built: tuple[UseCase, Frame, Candidate, Recorder]) -> None:
    use_case, frame, candidate, _ = built
    evidence = json.loads((candidate.folder / "evidence.json").read_text())
    assert (evidence["data_hash"], evidence["definition_hash"], evidence["seed"]) == (
        "data",
        "definition",
        use_case.training.seed,
    )
    time, label = frame.events["event_time"], frame.events["label"]
    tested = (time >= START + timedelta(days=230)) & label.notna()
    assert evidence["split"]["test"]["rows"] == int(tested.sum())
    from training.evidence.metrics import auc

    p = candidate.model.probability(candidate.model.encode(frame.features[tested]))
    assert candidate.metrics["auc"] == pytest.approx(auc(label[tested].to_numpy(), p), abs=1e-12)


def test_the_reference_has_rejects_too(built: tuple[UseCase, Frame, Candidate, Recorder]) -> None:
    _, frame, candidate, _ = built
    reference = json.loads((candidate.folder / "reference.json").read_text())
    assert reference["n"] == int((frame.events["event_time"] >= START + timedelta(days=230)).sum())


def test_progress_ends_where_it_was_announced(built: tuple[UseCase, Frame, Candidate, Recorder]) -> None:
    use_case, _, candidate, ticker = built
    assert ticker.steps == use_case.training.trials + STEPS
    assert f"{candidate.metrics['auc']:.4f}" in ticker.notes[-1]


def test_metrics_have_intervals_and_beat_chance(built: tuple[UseCase, Frame, Candidate, Recorder]) -> None:
    _, _, candidate, _ = built
    low, high = candidate.intervals["auc"]
    assert 0.5 < low < candidate.metrics["auc"] < high
    assert "card_precision_at_100" not in candidate.metrics


def test_the_same_seed_gives_the_same_model_bytes(settings: Settings) -> None:
    use_case = use_case_of(settings, learners=["lightgbm"])
    frame = frame_of(use_case, 1500)
    first, second = (build_candidate(use_case, frame, settings) for _ in range(2))
    for path in (first.folder / "model").iterdir():
        assert path.read_bytes() == (second.folder / "model" / path.name).read_bytes()


def test_without_a_time_the_metrics_are_out_of_fold_and_the_model_has_all_rows(settings: Settings) -> None:
    use_case = use_case_of(settings, learners=["xgboost"]).model_copy(
        update={"split": RandomSplit(by="random", folds=3)}
    )
    frame = frame_of(use_case, 1500)
    frame.events["event_time"] = frame.events["known"] = pd.Series(
        pd.NaT, index=frame.events.index, dtype="datetime64[us, UTC]"
    )
    candidate = build_candidate(use_case, frame, settings)
    labelled = int(frame.events["label"].notna().sum())
    assert candidate.evidence["split"]["train"]["rows"] == candidate.evidence["split"]["test"]["rows"] == labelled
    assert "time was not tested" in candidate.evidence["split"]["notes"][0]


def test_a_monotone_category_leaves_nothing_behind(settings: Settings) -> None:
    use_case = use_case_of(settings).model_copy(update={"monotone": {"purpose": "increasing"}})
    with pytest.raises(TrainingError, match="purpose"):
        build_candidate(use_case, frame_of(use_case, 1000), settings)
    assert not (settings.home / "candidates").exists()


def test_a_scorecard_candidate_comes_with_its_points(settings: Settings) -> None:
    use_case = use_case_of(settings, learners=["scorecard"], trials=1)
    candidate = build_candidate(use_case, frame_of(use_case, 1500), settings)
    table = candidate.evidence["points"]["table"]
    assert {"feature", "bin", "rows", "rate", "woe", "log_odds", "points", "rounded"} == set(table[0])


def test_no_row_calibrates_itself_in_repeated_folds() -> None:
    generator = np.random.default_rng(4)
    label = (generator.random(40) < 0.4).astype(float)
    margins = [generator.normal(size=20) for _ in range(4)]
    rows = [np.arange(0, 20), np.arange(20, 40), np.arange(0, 40, 2), np.arange(1, 40, 2)]
    first = cross_calibrated(margins, [label[part] for part in rows], rows, method="platt")[0]
    label[:20] = 1 - label[:20]  # the labels of the first part, which stand in other parts too
    assert np.array_equal(first, cross_calibrated(margins, [label[part] for part in rows], rows, method="platt")[0])


def test_repeated_folds_do_not_narrow_the_intervals(settings: Settings) -> None:
    def width(repeats: int) -> float:
        use_case = use_case_of(settings, learners=["lightgbm"]).model_copy(
            update={"split": RandomSplit(by="random", folds=3, repeats=repeats)}
        )
        low, high = build_candidate(use_case, frame_of(use_case, 1500), settings).intervals["auc"]
        return high - low

    assert width(4) > 0.8 * width(1)


def test_an_interrupt_is_heard_after_a_solver_took_it_away() -> None:
    code = """
import ctypes, os, signal
from training.candidate import interrupts_kept
with interrupts_kept():
    ctypes.CDLL(None).signal(int(signal.SIGINT), None)  # what the solver does when it ends: SIG_DFL
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    print("heard")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "heard\n", done.stderr
