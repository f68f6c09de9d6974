"""One way to fail."""

from __future__ import annotations

import pytest

from configs.console import application, run


def test_what_the_operating_system_refuses_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = application("For this test.")

    @app.command()
    def refused() -> None:
        """Meet a folder that can't be written."""
        raise PermissionError(13, "Permission denied", "/home/of/another")

    monkeypatch.setattr("sys.argv", ["risk"])
    with pytest.raises(SystemExit) as ended:
        run(app)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: /home/of/another: Permission denied")
    assert "expected:" in message
    assert "RISK_HOME" in message
