"""Commands of serving: `risk package`, `serve`, `decide`, `outcomes`, `decisions`, `replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from configs.console import JsonOption, UseCaseArgument, opened, progress, show

FileOption = Annotated[Path, typer.Option("--file", help="File to read.")]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="Address of the service; default: RISK_HOST and RISK_PORT.")
]


def mount(app: typer.Typer) -> None:
    """Add the room's commands to the front door."""
    for command in (package, serve, decide, outcomes, decisions, replay):
        app.command()(command)


def package(
    use_cases: Annotated[
        list[str] | None, typer.Argument(help="Use cases to pack; none: all with an approved release.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pack code and approved releases into a Bento.

    `risk serve` or plain `bentoml serve` runs it.
    """
    from configs.settings import load_settings
    from serving.packaging import package as build

    with progress("packing a Bento"):
        built = build(use_cases or [], load_settings())
    row = {"bento": built.tag, "folder": str(built.folder), "versions": built.versions}
    show(row, as_json=as_json, title="packed")


def serve(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; default: RISK_PORT.")] = None,
    development: Annotated[
        bool, typer.Option("--development", help="Serve this code and the approved releases, without a Bento.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve decisions over HTTP until Ctrl-C.

    Runs the Bento built last; `--development` runs this code.
    """
    from configs.settings import load_settings
    from serving import launch
    from serving.packaging import overtaken

    settings = load_settings()
    url = f"http://{settings.host}:{port or settings.port}"
    for name, (packed, now) in ({} if development else overtaken(settings)).items():
        typer.echo(f"note: {name} is served in version {packed}, approved is {now} (risk package)", err=True)
    with launch.ended_by_signals():
        process = launch.start(settings, port=port, development=development)
        try:
            launch.wait_until_ready(process, url)
            show({"ready": url, "contract": f"{url}/openapi.json", "metrics": f"{url}/metrics"}, as_json=as_json)
            code = process.wait()
        except KeyboardInterrupt:
            code = 0  # asked to end, which `stop` does
        finally:
            launch.stop(process)
    raise typer.Exit(0 if code == 0 else 1)


def decide(use_case: UseCaseArgument, file: FileOption, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Send one request to the service, print the decision.

    The request is a JSON file, or `-` for standard input.
    """
    import json
    import sys

    from configs.errors import ServingError

    text = sys.stdin.read() if str(file) == "-" else _text(file)
    try:
        body = json.loads(text)
    except ValueError as error:
        raise ServingError(f"{file} is not JSON: {error}", expected="a request as /openapi.json shows it") from None
    if not isinstance(body, dict):
        raise ServingError(f"{file} holds no JSON object", expected="a request as /openapi.json shows it")
    with _client(use_case, url) as client:
        reply: dict[str, Any] = dict(client.decide(body))
    if not as_json:
        reply["reasons"] = [f"{reason['code']} {reason['text']}" for reason in reply["reasons"]]
        reply["release"] = f"version {reply['release']['version']}"
    show(reply, as_json=as_json, title=f"decision on {reply['event_id']}")


def outcomes(use_case: UseCaseArgument, file: FileOption, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Turn in outcomes of decided events over HTTP.

    The file is Parquet, CSV or JSON lines with event_id, label and known_at.
    """
    from serving.turnin import read_outcomes, turn_in

    rows = read_outcomes(file)
    with _client(use_case, url) as client, progress("turning in outcomes", total=len(rows)) as ticker:
        report = turn_in(client, rows, ticker=ticker)
    show(report, as_json=as_json, title=f"outcomes of {use_case}")


def decisions(
    use_case: UseCaseArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the last decisions from the log."""
    from serving.decisions import DecisionLog

    case, settings = opened(use_case)
    with DecisionLog(settings, readonly=True) as log:
        rows = [_row(decision, as_json=as_json) for decision in log.recent(case.name, limit=limit)]
    show(rows, as_json=as_json, title=f"decisions of {case.name}")


def replay(decision_id: Annotated[str, typer.Argument(help="Id of a decision.")], as_json: JsonOption = False) -> None:
    """Compute a past decision again and compare.

    Its logged facts and its release must give the same score, decision and reasons; else the field is named.
    """
    from configs.errors import ServingError
    from configs.settings import load_settings
    from features.intake.privacy import tokenizer_of
    from serving.decisions import DecisionLog
    from serving.replay import release_of
    from serving.replay import replay as recompute

    settings = load_settings()
    with DecisionLog(settings, readonly=True) as log:
        decision = log.get(decision_id)
    if decision is None:
        raise ServingError(f"no decision {decision_id!r}", expected="an id from `risk decisions`")
    release = release_of(decision, settings)
    different = recompute(decision, release, tokenizer=tokenizer_of(release.use_case, settings))
    row = {
        "decision": decision_id,
        "release": decision.release_version,
        "equal": not different,
        "different": {one.field: {"logged": one.logged, "recomputed": one.recomputed} for one in different},
    }
    show(row, as_json=as_json, title="replay")
    if different:
        raise typer.Exit(1)


def _client(use_case: str, url: str | None) -> Any:
    from serving.client import Client

    case, settings = opened(use_case)
    return Client(url or f"http://{settings.host}:{settings.port}", case.name)


def _text(file: Path) -> str:
    from configs.errors import ServingError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(
            f"{file} can't be read ({type(error).__name__})", expected="a JSON file", fix="check the path"
        ) from None


def _row(decision: Any, *, as_json: bool) -> dict[str, Any]:
    row: dict[str, Any] = decision.reply()
    if as_json:
        return row
    codes = [reason["code"] for reason in row["reasons"]]
    kept = {name: row[name] for name in ("decision_id", "event_id", "decided_at", "probability", "points", "decision")}
    return kept | {"reasons": codes, "fallback": row["fallback"], "ms": row["latency_ms"]}
