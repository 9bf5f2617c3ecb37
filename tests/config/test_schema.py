from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jsonschema
import orjson
import pytest
from pydantic import BaseModel

from pipeline.builtin_files import builtin
from pipeline.config import Config, load, schema
from pipeline.config.document import read_document
from pipeline.config.endpoints import FILE
from pipeline.config.origin import Loc, dotted
from pipeline.errors import UsageError
from pipeline.types import Json

CONFIGS = sorted(path for path in builtin(FILE).parent.glob("*.yaml") if "job" in read_document(path).data)
MINIMAL: Json = {
    "job": "chat",
    "input": {"path": "in.jsonl"},
    "output": {"path": "out.jsonl"},
    "endpoint": "simulator",
    "messages": [{"role": "user", "content": "x"}],
}


def faults(data: Json) -> list[str]:
    """Where the schema finds fault with a config."""
    errors = jsonschema.Draft202012Validator(schema()).iter_errors(data)
    return sorted(dotted(tuple(error.absolute_path)) for error in errors)


def groups(model: type[BaseModel] = Config, loc: Loc = ()) -> Iterator[Loc]:
    """The way to every group of keys."""
    yield loc
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from groups(field.annotation, (*loc, name))


def with_key(loc: Loc, key: str) -> Json:
    """MINIMAL with one more key in a group."""
    data: Json = {**MINIMAL}
    node = data
    for part in loc:
        node[part] = {**node.get(part, {})}
        node = node[part]
    node[key] = 1
    return data


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_it_takes_every_config_that_comes_along(path: Path) -> None:
    assert faults(read_document(path).data) == []


@pytest.mark.parametrize("loc", list(groups()), ids=lambda loc: dotted(loc) or "top")
def test_it_refuses_the_unknown_keys_that_the_loader_refuses(loc: Loc, tmp_path: Path) -> None:
    data = with_key(loc, "no_such_key")

    assert faults(MINIMAL) == []
    assert faults(data) == [dotted(loc)]
    (tmp_path / "c.yaml").write_bytes(orjson.dumps(data))
    with pytest.raises(UsageError, match=rf"c\.yaml:1: {dotted((*loc, 'no_such_key'))}: unknown key$"):
        load(tmp_path / "c.yaml", {}, {})


def test_it_refuses_a_message_with_an_unknown_key() -> None:
    assert faults({**MINIMAL, "messages": [{"role": "user", "content": "x", "name": "y"}]}) == ["messages"]
