"""Execute the notebooks in place: `python -m notebooks.build [name ...]`, or `make notebooks` for all.

Each runs in a kernel of its own with a new, temporary home and the small budgets of the profile `test`. What is written
back is the notebook with its outputs, without timings and without anything that says on which machine it ran.
"""

from __future__ import annotations

import copy
import getpass
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from configs.settings import Settings

FOLDER = Path(__file__).parent
NAMES = ("data_scientist", "application_developer", "reviewer")
MOST_BYTES = 1_500_000
"""Size of one notebook at most: they are read in a browser, from the repository."""
_SECONDS = 300
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY", re.IGNORECASE)
_SECRET = r"PRIVATE KEY|Bearer [\w.-]{8,}|\beyJ[\w-]{10,}\.[\w-]+|\w+://[^/\s:@\"]+:[^/\s@\"]+@"


class UnfitError(Exception):
    """A notebook whose outputs may not be committed."""


def main(names: Sequence[str]) -> None:
    """Execute the named notebooks (none: all), and write each back if its outputs are fit to be seen."""
    for name in names or NAMES:
        path, started = FOLDER / f"{name}.ipynb", time.monotonic()
        notebook = executed(path)
        require_fit(notebook, name=path.name)
        beside = path.with_name(f".{path.name}")
        beside.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        beside.replace(path)
        print(f"{path.name}: {time.monotonic() - started:.0f} s, {path.stat().st_size / 1000:,.0f} kB", flush=True)


def executed(path: Path) -> NotebookNode:
    """The notebook, run from its sources alone. Raises nbclient's `CellExecutionError` at the first cell that fails."""
    notebook = cleared(nbformat.read(path, as_version=4))
    with tempfile.TemporaryDirectory(prefix="risk-notebooks-") as scratch, _environment(Path(scratch)):
        client = NotebookClient(
            notebook,
            timeout=_SECONDS,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(FOLDER)}},
            config=Config(KernelManager={"transport_encryption": "auto"}),
        )
        client.execute()
    notebook.metadata = nbformat.from_dict(_METADATA)  # the kernel has told its version
    return notebook


def cleared(notebook: NotebookNode) -> NotebookNode:
    """The notebook's sources: no outputs, and only the metadata that every machine shares."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    for index, cell in enumerate(notebook.cells, 1):
        cell.id, cell.metadata = f"cell-{index:02d}", nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def require_fit(notebook: NotebookNode, *, name: str) -> None:
    """Raise `UnfitError` for a notebook that is too large, or that tells a path, a person, a machine or a secret."""
    size = len(nbformat.writes(notebook).encode())
    if size > MOST_BYTES:
        raise UnfitError(f"{name} has {size:,} bytes, expected {MOST_BYTES:,} at most")
    text = nbformat.writes(_without_images(notebook))
    for what, pattern in _telling():
        found = re.search(pattern, text)
        if found:
            around = text[max(0, found.start() - 60) : found.end() + 20]
            raise UnfitError(f"{name} tells {what}: ...{around!r}...; print what it is about, relative to RISK_HOME")


def _without_images(notebook: NotebookNode) -> NotebookNode:
    """Pixels are base64, in which any short word turns up sooner or later."""
    text = copy.deepcopy(notebook)
    for output in (output for cell in text.cells for output in cell.get("outputs", ())):
        for kind in [kind for kind in output.get("data", ()) if kind.startswith("image/")]:
            del output["data"][kind]
    return text


def _telling() -> Iterator[tuple[str, str]]:
    """What of this machine must not be in a notebook, each as a pattern."""
    folders = {FOLDER.parent, *FOLDER.parent.parents, Path.home(), Path(tempfile.gettempdir()), Settings().data}
    for folder in sorted(str(folder) for folder in folders if len(folder.parts) > 1):
        yield "a path of this machine", rf"(?<![\w.]){re.escape(folder)}(?!\w)"
    for what, word in (("the user's name", getpass.getuser()), ("the machine's name", socket.gethostname())):
        yield what, rf"(?<![\w-]){re.escape(word)}(?![\w-])"
    for variable, value in os.environ.items():
        if _SECRET_NAME.search(variable) and len(value) >= 8:
            yield f"the value of {variable}", re.escape(value)
    yield "a secret", _SECRET


@contextmanager
def _environment(scratch: Path) -> Iterator[None]:
    """The kernel's environment: embedded defaults in folders of its own, whatever the caller's variables say."""
    before, data = dict(os.environ), Settings().data
    for name in [name for name in os.environ if name.startswith("RISK_")]:
        del os.environ[name]
    # a notebook's own temporary files go when it is done, or has failed
    own = {"RISK_HOME": "home", "IPYTHONDIR": "ipython", "JUPYTER_RUNTIME_DIR": "runtime", "TMPDIR": "temporary"}
    for name, folder in own.items():
        (scratch / folder).mkdir()
        os.environ[name] = str(scratch / folder)
    os.environ.update(RISK_DATA=str(data), RISK_PROFILE="test", RISK_PORT=str(_free_port()))
    os.environ.pop("MPLBACKEND", None)  # the kernel draws into the notebook
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main(sys.argv[1:])
