"""The front door: `risk <verb>`. Only mounts each room's commands."""

from __future__ import annotations

import configs.cli
import features.cli
import monitoring.cli
import serving.cli
import training.cli
from configs.console import application, run

app = application("Credit and fraud models: from raw tables to approved, served, monitored and retrained.")
app.add_typer(configs.cli.app, name="config")
for room in (features.cli, training.cli, serving.cli, monitoring.cli):
    room.mount(app)


def main() -> None:
    """Entry point of the `risk` command."""
    run(app)


if __name__ == "__main__":
    main()
