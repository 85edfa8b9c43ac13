"""Files that osteon wrote, read and validated: an error names the file and the key that is wrong."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from osteon.core.errors import FileError, summarise_error
from osteon.core.files import read_json, read_yaml


def read_record(path: Path, what: str, shape: Any, hint: str) -> dict[str, Any]:
    """Read a JSON or YAML file and validate it; the data are returned as they stand there.

    Args:
        path: The file; its suffix says which of the two it is.
        what: What it is, for people.
        shape: A type that pydantic knows: a model whose further keys are free, `dict[str, list[str]]`, ….
        hint: The way out where it is not valid.

    Raises:
        FileError: It is missing, damaged, or of another shape.
    """
    data: dict[str, Any] = (read_json if path.suffix == ".json" else read_yaml)(path, what)
    try:
        _adapter(shape).validate_python(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise FileError(
            f"{path}: {what} is not what osteon writes there ({place}: {summarise_error(first['msg'])})", hint=hint
        ) from None
    return data


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
