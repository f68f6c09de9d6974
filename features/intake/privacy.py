"""Personal data becomes tokens on the way in: keyed hashes that keep joins, and that no one can turn back by guessing.

Version n of a token is HMAC(k_n, ... HMAC(k_1, value)): after a rotation stored tokens are upgraded without the values.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.intake.token_keys import token_keys
from features.intake.token_mark import check_mark
from features.request import ScoringRequest, Value

MASK = "***"
"""What stands where a masked text was."""

TOKENS = "t([0-9]{4})_([a-z2-7]{52})"
"""Pattern of a whole token. All have one length, so a rotation changes no length that is stored before a text."""

_TOKEN = re.compile(TOKENS)
_ANYWHERE = re.compile(TOKENS.encode())


class Tokenizer:
    """Makes the tokens and masks of one use case; `personal` maps raw columns to `token` or `mask`.

    Keys never show: neither in `repr`, nor in an error, nor in anything this class writes.
    """

    def __init__(self, keys: Sequence[bytes], personal: Mapping[str, str], use_case: UseCase | None = None) -> None:
        self._keys, self.personal, self._use_case = tuple(keys), dict(personal), use_case

    @property
    def version(self) -> int:
        """The newest version of the keys, from 1."""
        return len(self._keys)

    def token(self, value: str) -> str:
        """The token of a value in its text form, equal for equal values: `t`, 4 digits of the version, `_`, 52 more."""
        return self._written(self._through(value.encode(), 0))

    def upgrade(self, token: str) -> str:
        """A token of an earlier version as the newest version has it; one of the newest version is unchanged.

        Raises `FeatureError` for what is no token, or one of a version that the keys don't reach.
        """
        found = _TOKEN.fullmatch(token)
        if not found or not self._reaches(int(found[1])):
            raise FeatureError(
                f"a token of version {int(found[1])}" if found else "a text that is no token",
                expected=f"a token of version 1 to {self.version}",
                fix="give this process the keys that the token was made with",
            )
        digest = base64.b32decode(found[2].upper() + "====")
        return self._written(self._through(digest, int(found[1])))

    def upgrade_text(self, value: str | None) -> str | None:
        """A text with every token in it upgraded, and nothing else changed."""
        return None if value is None else self.upgrade_all(value.encode()).decode()

    def upgrade_data(self, data: Any) -> Any:
        """Data of JSON with every token in it upgraded, wherever it stands."""
        return json.loads(self.upgrade_text(json.dumps(data)) or "")

    def upgrade_all(self, content: bytes) -> bytes:
        """Bytes with every token in them upgraded, and as long as before.

        What only looks like a token, of a version that the keys don't reach, is left: some request may have held it.
        """
        return _ANYWHERE.sub(self._anywhere, content)

    def shield(self, raw_column: str, value: str | None) -> str | None:
        """A raw column's value as everything behind the door sees it: a token, a mask, or unchanged."""
        kind = self.personal.get(raw_column)
        if kind is None or value is None:
            return value
        return MASK if kind == "mask" else self.token(value)

    def request(self, request: ScoringRequest) -> ScoringRequest:
        """A raw request with its personal keys and fields shielded, as loads shield the columns they come from."""
        use_case = self._own()
        keys = {name: self.shield(use_case.key(name), key) for name, key in request.entities.items()}
        fields = {name: self._field(use_case, name, value) for name, value in request.fields.items()}
        return replace(request, entities=keys, fields=fields)

    def upgraded(self, request: ScoringRequest) -> ScoringRequest:
        """A shielded request, such as a logged one, with the tokens that the newest version gives the same values."""
        return replace(request, entities=self._keys_now(request.entities), fields=self._fields_now(request.fields))

    def upgraded_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a shielded request in wire form."""
        return {**body, "entities": self._keys_now(body["entities"]), "fields": self._fields_now(body["fields"])}

    def __repr__(self) -> str:
        return f"Tokenizer(version={self.version}, columns={sorted(self.personal)})"

    def _anywhere(self, found: re.Match[bytes]) -> bytes:
        return self.upgrade(found[0].decode()).encode() if self._reaches(int(found[1])) else found[0]

    def _reaches(self, version: int) -> bool:
        return 1 <= version <= self.version

    def _own(self) -> UseCase:
        if self._use_case is None:
            raise FeatureError("a tokenizer without a use case", expected="tokenizer_of(use_case, settings)")
        return self._use_case

    def _field(self, use_case: UseCase, name: str, value: Value) -> Value:
        raw = _raw(use_case, name)
        if raw not in self.personal or value is None:
            return value
        return self.shield(raw, value) if isinstance(value, str) else None  # no number is a token or a mask

    def _keys_now(self, entities: Mapping[str, str | None]) -> dict[str, str | None]:
        use_case = self._own()
        return {name: self._newest(use_case.key(name), key) for name, key in entities.items()}

    def _fields_now(self, fields: Mapping[str, Value]) -> dict[str, Value]:
        raw = {name: _raw(self._own(), name) for name in fields}
        return {
            name: self._newest(raw[name], value) if isinstance(value, str) else value for name, value in fields.items()
        }

    def _newest(self, raw_column: str, value: str | None) -> str | None:
        """A value that was logged before its column became personal is no token, and is made one."""
        if value is None or self.personal.get(raw_column) != "token":
            return value
        return self.upgrade(value) if is_token(value) else self.token(value)

    def _through(self, message: bytes, version: int) -> bytes:
        for key in self._keys[version:]:
            message = hmac.digest(key, message, sha256)
        return message

    def _written(self, digest: bytes) -> str:
        return f"t{self.version:04}_{base64.b32encode(digest).decode().rstrip('=').lower()}"


def tokenizer_of(use_case: UseCase, settings: Settings) -> Tokenizer | None:
    """The tokenizer of a use case; None if it names nothing personal.

    Raises `FeatureError` without usable keys, and with others than the use case's tokens were made with.
    """
    if not use_case.personal:
        return None
    keys = token_keys(settings)
    check_mark(use_case.name, keys, settings)
    return Tokenizer(keys, use_case.personal, use_case)


def is_token(value: str) -> bool:
    """Whether a text has the form of a token."""
    return _TOKEN.fullmatch(value) is not None


def _raw(use_case: UseCase, field: str) -> str:
    return use_case.request[field].column or field
