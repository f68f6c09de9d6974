"""The demo's home folder: what it may empty and what it must never touch."""

from __future__ import annotations

import pytest

from configs.errors import MonitoringError, ServingError
from configs.settings import Settings
from monitoring.demo import fresh
from serving.decisions import DecisionLog


def test_an_earlier_demo_is_emptied(settings: Settings) -> None:
    fresh(settings)
    (settings.home / "decisions.db").touch()
    fresh(settings)
    assert [path.name for path in settings.home.iterdir()] == ["demo.mark"]


def test_a_demo_that_still_runs_is_left_alone(settings: Settings) -> None:
    fresh(settings)
    with DecisionLog(settings), pytest.raises(ServingError, match="another process writes"):
        fresh(settings)
    assert (settings.home / "decisions.db").exists()


def test_a_file_in_place_of_the_folder_is_refused(settings: Settings) -> None:
    settings.home.write_text("mine")
    with pytest.raises(MonitoringError, match="holds work"):
        fresh(settings)
    assert settings.home.read_text() == "mine"
