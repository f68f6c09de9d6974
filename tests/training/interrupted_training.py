"""A training that at many moments forks a child which ends there, and is then killed itself; and the run after it.

Run as `python interrupted_training.py HOME DATA`. A child is killed with SIGKILL, so that nothing of it runs any more,
or no file of it may grow from then on, as on a full disk. After each one, what is registered, filed and kept is written
down; the last line of the standard output has all of it, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from configs.errors import RiskError
from configs.loading import parse
from configs.settings import Settings
from training import pipeline
from training.governance.ledger import Ledger
from training.governance.registry import Registry

MOMENTS = {  # moment -> the call in which a training ends, and whether it is killed before or after it
    "frame": ("features.store", "FeatureStore.training_frame", "before"),
    "search": ("training.candidate", "search", "before"),
    "folder": ("training.model", "Model.save", "after"),
    "artifacts": ("mlflow", "MlflowClient.log_artifacts", "after"),
    "native": ("training.governance.registry", "_log_native", "after"),
    "version": ("training.governance.registry", "_create_version", "after"),
    "filing": ("training.governance.ledger", "Ledger.file", "before"),
}
FORKS = {  # call of the first training -> the children that it forks before it: how they end, and when
    "frame": (("full", "frame"),),
    "search": (("killed", "search"),),
    "folder": (("killed", "folder"), ("full", "folder")),
    "built": (
        ("killed", "artifacts"),
        ("killed", "native"),
        ("killed", "version"),
        ("killed", "filing"),
        ("full", "artifacts"),
        ("full", "filing"),
    ),
}
HOME, DATA = Path(sys.argv[1]), Path(sys.argv[2])
SETTINGS = Settings(home=HOME, data=DATA, profile="test", mlflow_uri=None, database_url=None)
USE_CASE = parse(yaml.safe_load((DATA / "tiny.yaml").read_text()))
CALLS = MOMENTS | {"built": ("training.pipeline", "_judged", "before")}


class Fates:
    """What became of the children. `doomed`: in a child, which then forks no further ones."""

    def __init__(self, out: int) -> None:
        self.out, self.doomed = out, ""

    def watch(self, call: str) -> None:
        """Let a call first fork its children."""

        def forked(_: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any, **named: Any) -> Any:
                for how, moment in FORKS[call]:
                    if not self.doomed and self._doomed(f"{how} {moment}"):
                        replace(moment, killed if how == "killed" else starved)
                        return found(call)(*arguments, **named)
                return original(*arguments, **named)

            return called

        replace(call, forked)

    def _doomed(self, name: str) -> bool:
        """Fork. In the parent False, when the child has ended, and what it cleaned away is put back."""
        kept, folders = HOME / "kept", working()
        shutil.rmtree(kept, ignore_errors=True)
        for place, folder in enumerate(folders):
            shutil.copytree(folder, kept / str(place))
        child = os.fork()
        if not child:
            self.doomed = name
            return True
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        gone = [place for place, folder in enumerate(folders) if not folder.exists()]
        for place in gone:
            shutil.copytree(kept / str(place), folders[place])
        self.tell(name, exit=code, cleaned=len(gone), **state())
        return False

    def tell(self, name: str, **facts: Any) -> None:
        """Through a pipe, which is no file that grows."""
        os.write(self.out, json.dumps({"name": name} | facts).encode() + b"\n")


def found(moment: str) -> Callable[..., Any]:
    """The call of a moment, as it is now."""
    owner, name = owner_of(moment)
    call: Callable[..., Any] = getattr(owner, name)
    return call


def replace(moment: str, wrap: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put another call in a moment's place."""
    owner, name = owner_of(moment)
    setattr(owner, name, wrap(moment, getattr(owner, name)))


def owner_of(moment: str) -> tuple[Any, str]:
    """Module or class of a moment's call, and its name."""
    module, path, _ = CALLS[moment]
    owner: Any = importlib.import_module(module)
    *owners, name = path.split(".")
    for each in owners:
        owner = getattr(owner, each)
    return owner, name


def killed(moment: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A call that nothing survives."""

    def dying(*arguments: Any, **named: Any) -> None:
        if CALLS[moment][2] == "after":
            call(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return dying


def starved(_: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A call from which on no file may grow."""

    def starving(*arguments: Any, **named: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return call(*arguments, **named)

    return starving


def working() -> list[Path]:
    """Candidate folders that are not yet a version's."""
    return sorted(path for path in (HOME / "candidates").glob(".own-*/*") if path.is_dir())


def state() -> dict[str, Any]:
    """What is registered, and what was filed."""
    registry, ledger = Registry(SETTINGS), Ledger(SETTINGS)
    with registry._client() as client:
        experiment = client.get_experiment_by_name("tiny")
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return {
        "versions": [each.version for each in registry.versions("tiny")],
        "filed": list(ledger.filings("tiny")),
        "runs": sorted(run.info.status for run in runs),
        "artifacts": len(list((HOME / "mlartifacts").rglob("evidence.json"))),
    }


def first(out: int) -> None:
    """Train until all children have ended, file the version, and be killed before it gets its alias."""
    fates = Fates(out)
    for call in FORKS:
        fates.watch(call)
    Registry.set_alias = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, method-assign]
    try:
        pipeline.train(USE_CASE, SETTINGS, author="ada")
    except (RiskError, OSError) as error:  # what the front door tells in one message
        fates.tell(f"told {fates.doomed}", message=f"{type(error).__name__}: {error}")
        os._exit(2)
    except BaseException:  # noqa: BLE001  # whatever it is, the process must not go on as its parent
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    """Fork the first training, read what it tells, and train once more."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        first(write)
    os.close(write)
    with os.fdopen(read) as lines:
        found = [json.loads(line) for line in lines]
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found.append({"name": "killed alias", "exit": code, "left": len(working())} | state())
    made = pipeline.train(USE_CASE, SETTINGS, author="ada")
    alias = Registry(SETTINGS).version("tiny", "candidate").version
    found.append({"name": "next", "version": made.version, "alias": alias, "left": len(working())} | state())
    print(json.dumps({each.pop("name"): each for each in found}))


if __name__ == "__main__":
    main()
