"""The demo as a newcomer meets it: time and peak memory of all its processes, and the start of the command line."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.bars import line, publish

RISK = Path(sys.executable).with_name("risk")


def demo() -> tuple[float, float]:
    """Seconds, and the greatest sum of resident memory (GiB, proportional set size) over the demo's process tree."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"RISK_HOME": home}
        start = time.monotonic()
        process = subprocess.Popen([RISK, "demo", "credit,fraud", "--exit"], env=environment)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _tree_memory(process.pid))
            time.sleep(0.5)
        if process.returncode:
            sys.exit(f"the demo failed with exit code {process.returncode}")
        return time.monotonic() - start, peak / 2**30


def _tree_memory(pid: int) -> float:
    total = 0.0
    try:
        parent = psutil.Process(pid)
        for each in [parent, *parent.children(recursive=True)]:
            total += each.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return total
    return total


def help_start() -> float:
    """Median seconds of `risk --help` over seven starts."""
    seconds = []
    for _ in range(7):
        start = time.monotonic()
        subprocess.run([RISK, "--help"], check=True, capture_output=True)
        seconds.append(time.monotonic() - start)
    return statistics.median(seconds)


def main() -> None:
    """Run and publish."""
    seconds, memory = demo()
    publish(
        "demo",
        [
            line("make demo (credit and fraud)", seconds, unit="s", bar="< 300"),
            line("make demo, peak memory of all its processes", memory, unit="GiB", bar="< 4"),
            line("risk --help, median of 7", help_start(), unit="s", bar="< 0.5"),
        ],
        title="the demo and the command line",
    )


if __name__ == "__main__":
    main()
