"""Reading use cases: YAML, the profile's overlay, and one report of all mistakes."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from configs.contradictions import contradictions
from configs.errors import ConfigError
from configs.references import dangling
from configs.settings import Settings
from configs.use_case import UseCase

FOLDER = Path(__file__).parent
_TAGS = {
    "split": (1, {"time", "random"}),
    "money": (1, {"credit", "fraud"}),
    "credit_risk": (2, {"constant", "realised"}),
}
"""Words that pydantic puts into the path of a mistake in a section of several kinds, and at which place."""


@dataclass(frozen=True)
class Problem:
    """One mistake: where, what stands there, what was expected, and the nearest valid name (or '')."""

    path: str
    value: str
    expected: str
    nearest: str = ""

    def __str__(self) -> str:
        hint = f" (did you mean {self.nearest!r}?)" if self.nearest else ""
        return f"{self.path or '(file)'}: found {self.value}; expected {self.expected}{hint}"


class UseCaseError(ConfigError):
    """A use case file with mistakes; `problems` has them all."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.problems = problems
        count = f"{len(problems)} mistake{'s' * (len(problems) != 1)}"
        super().__init__(
            "\n  ".join([f"{file} has {count}:", *map(str, problems)]),
            expected="a use case as `risk config schema` describes it",
            fix="correct the file, then run `risk config check`",
        )

    def as_dict(self) -> dict[str, Any]:
        """Add the mistakes, each with its fields, to the message."""
        return super().as_dict() | {"problems": [asdict(problem) for problem in self.problems]}


class _StrictLoader(yaml.SafeLoader):
    """`yaml.safe_load`, but a key that stands twice is an error instead of silently winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                mark = node.value[index][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", mark)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file; a missing or unreadable file is a `ConfigError`."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except FileNotFoundError:
        raise ConfigError(f"no file {path}", expected="a YAML file", fix="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}", expected="a YAML mapping in UTF-8") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}", expected="a YAML mapping (key: value)")
    return raw


def available(settings: Settings) -> dict[str, Path]:
    """Use case name -> file, from this folder and from `RISK_CONFIGS`."""
    folders = [FOLDER, *([settings.configs] if settings.configs else [])]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def find(name: str, settings: Settings) -> Path:
    """The file of a use case, given by name or by path."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    known = available(settings)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        raise ConfigError(
            f"no use case {name!r}" + (f" (did you mean {nearest[0]!r}?)" if nearest else ""),
            expected=f"one of {', '.join(known)}, or the path of a YAML file",
            fix="see `risk config check`, or put the file into the folder RISK_CONFIGS",
        )
    return known[name]


def load_use_case(name: str, settings: Settings) -> UseCase:
    """Read a use case by name or path, with the profile's overlay. Raises `UseCaseError` with every mistake."""
    path = find(name, settings)
    overlay = read_yaml(FOLDER / "profiles" / f"{settings.profile}.yaml")
    return parse(overlaid(read_yaml(path), overlay), file=path.name)


def reason_codes(catalogue: str) -> list[str]:
    """Codes of a reason catalogue in configs/reasons/, in its order."""
    entries = yaml.safe_load((FOLDER / "reasons" / f"{catalogue}.yaml").read_text(encoding="utf-8"))
    return [str(entry["code"]) for entry in entries]


def overlaid(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `overlay`, mappings merged key by key."""
    merged = dict(base)
    for key, value in overlay.items():
        both_maps = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = overlaid(merged[key], value) if both_maps else value
    return merged


def parse(raw: Mapping[str, Any], *, file: str = "use case") -> UseCase:
    """Plain data -> `UseCase`, or one `UseCaseError` with its structure, dangling names and contradictions together."""
    problems = [_dangling_problem(*found) for found in dangling(raw)]
    problems += [Problem(path, repr(value), expected) for path, value, expected in contradictions(raw)]
    try:
        use_case = UseCase.model_validate(raw)
    except ValidationError as error:
        problems = [structural_problem(entry) for entry in error.errors()] + problems
    if problems:
        raise UseCaseError(file, problems)
    return use_case


def _dangling_problem(path: str, value: str, what: str, valid: list[str]) -> Problem:
    nearest = difflib.get_close_matches(value, valid, n=1)
    return Problem(path, repr(value), f"{what}: {', '.join(valid) or '(none declared)'}", nearest[0] if nearest else "")


def structural_problem(error: Any, *, root: type[BaseModel] = UseCase) -> Problem:
    """One of pydantic's errors about the file that `root` describes."""
    tagged, tags = _TAGS.get(str(error["loc"][0]) if error["loc"] else "", (0, set[str]()))
    location = [part for place, part in enumerate(error["loc"]) if place != tagged or part not in tags]
    location = [part for part in location if part != "[key]"]  # how pydantic says that a key of a mapping is at fault
    path = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        valid = sorted(_keys_at(location[:-1], root))
        close = difflib.get_close_matches(str(location[-1]), valid, n=1)
        return Problem(path, "an unknown key", f"one of {', '.join(valid)}", close[0] if close else "")
    if error["type"] == "missing":
        return Problem(path, "nothing", "a value")
    nearest = _nearest_literal(error)
    expected = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return Problem(path, repr(error["input"])[:80], expected, nearest)


def _nearest_literal(error: Any) -> str:
    if error["type"] != "literal_error":
        return ""
    valid = [choice.strip(" '") for choice in error["ctx"]["expected"].replace(" or ", ",").split(",")]
    return next(iter(difflib.get_close_matches(str(error["input"]), valid, n=1)), "")


def _keys_at(location: list[Any], root: type[BaseModel]) -> set[str]:
    """The keys allowed at a place of the file, found by walking the model's annotations."""
    models: list[Any] = [root]
    for part in location:
        models = [inner for model in models for inner in _step(model, part)]
    return {name for model in models if _is_model(model) for name in model.model_fields}


def _step(annotation: Any, part: Any) -> Iterator[Any]:
    if _is_model(annotation):
        if part in annotation.model_fields:
            yield from _alternatives(annotation.model_fields[part].annotation)
    elif typing.get_origin(annotation) in {dict, tuple}:
        arguments = typing.get_args(annotation)
        yield from _alternatives(arguments[1] if typing.get_origin(annotation) is dict else arguments[0])


def _alternatives(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        for choice in typing.get_args(annotation):
            yield from _alternatives(choice)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
