"""`risk features keys`: which keys make tokens, and a new version of them. No key is ever printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from configs.console import JsonOption, application, progress, show

app = application(
    """Show and rotate the keys that make tokens of personal data.

    A use case names its personal columns: `personal: {card_id: token, holder: mask}`. A token is a keyed hash, which
    keeps joins; of a mask nothing is left. Both are made on the way in, from tables and from requests alike.

    Keys come from RISK_TOKEN_KEYS (1:<base64>,2:<base64>), else from the file RISK_TOKEN_KEY_FILE, else (never in
    production) from a file that is made at first use in the user's configuration folder. Keep a copy of it: without
    the keys no stored token is found again.
    """
)


@app.command("show")
def show_keys(as_json: JsonOption = False) -> None:
    """Say where the keys come from, and their versions.

    A fingerprint tells keys apart and gives nothing of them away; `use_cases` have tokens of that version. No key is
    ever printed.
    """
    import os

    from configs.settings import load_settings
    from features.intake.token_keys import VARIABLE, key_file, token_keys
    from features.intake.token_mark import fingerprints, read_marks

    settings = load_settings()
    keys = token_keys(settings)
    marks = read_marks(settings)
    place = VARIABLE if VARIABLE in os.environ else str(key_file(settings))
    rows = [
        {"version": version, "fingerprint": name, "use_cases": _with(marks, name), "from": place}
        for version, name in enumerate(fingerprints(keys), 1)
    ]
    show(rows, as_json=as_json, title="token keys")


@app.command()
def rotate(as_json: JsonOption = False) -> None:
    """Add a version of the keys and upgrade all stored tokens.

    Stop the service first and start it afterwards. The online store and accrued events are rewritten, loads and
    backfills are made anew at their next use, and logged decisions keep their tokens, which are still joined. When
    it is interrupted, run it again: it goes on where it was. Keys of RISK_TOKEN_KEYS get a further version by hand.
    """
    from dataclasses import asdict

    from configs.settings import load_settings
    from features.intake.rotation import rotate as rotate_keys

    with progress("upgrading stored tokens"):
        done = rotate_keys(load_settings())
    show(asdict(done), as_json=as_json, title="token keys")


def _with(marks: Mapping[str, Sequence[str]], fingerprint: str) -> str:
    """Use cases whose stored tokens are of the version with this fingerprint."""
    return ", ".join(name for name, mark in marks.items() if mark[-1] == fingerprint)
