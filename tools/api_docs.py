"""docs/api.md, made from the docstrings of what `osteon` makes public: `python tools/api_docs.py > docs/api.md`."""

from __future__ import annotations

import inspect
import sys

import osteon

HEAD = """# The Python interface

`import osteon` loads little; each verb loads what it needs when it is called. What is listed here is public, all else
may change. Messages go to `logging.getLogger("osteon")`; nothing is printed unless your program asks for it.

This page is made from the docstrings: `python tools/api_docs.py > docs/api.md`.
"""


def block(text: str) -> str:
    """Text as it stands, in a block."""
    return f"```text\n{text}\n```\n"


def signature(function: object) -> str:
    """Name and parameters, one on each line where there are several."""
    found = inspect.signature(function)  # type: ignore[arg-type]
    parts = [str(parameter) for parameter in found.parameters.values()]
    keyword = next((n for n, p in enumerate(found.parameters.values()) if p.kind is p.KEYWORD_ONLY), None)
    if keyword is not None:
        parts.insert(keyword, "*")
    returned = "" if found.return_annotation is found.empty else f" -> {found.return_annotation}"
    arguments = ", ".join(parts) if len(parts) < 2 else "\n    " + ",\n    ".join(parts) + ",\n"
    return f"{function.__name__}({arguments}){returned}".replace("'", "")  # type: ignore[attr-defined]


def described(name: str) -> str:
    """A section for a verb or a class."""
    thing = getattr(osteon, name)
    text = inspect.getdoc(thing) or ""
    if not inspect.isclass(thing):
        return f"### {name}\n\n{block(signature(thing) + chr(10) * 2 + text)}"
    methods = [
        f"{name}.{signature(function)}\n    {(inspect.getdoc(function) or '').splitlines()[0]}"
        for method, function in vars(thing).items()
        if inspect.isfunction(function) and not method.startswith("_") and inspect.getdoc(function)
    ]
    return f"### {name}\n\n{block((chr(10) * 2).join([text, *methods]))}"


def page() -> str:
    """The whole page."""
    things = {name: getattr(osteon, name) for name in osteon.__all__ if not name.startswith("_")}
    classes = [name for name, thing in things.items() if inspect.isclass(thing)]
    errors = [name for name in classes if issubclass(things[name], Exception)]
    groups = {
        "Verbs": [name for name in things if name not in classes],
        "Classes": sorted(set(classes) - set(errors)),
        "Errors": errors,
    }
    return HEAD + "".join(f"\n## {title}\n\n" + "\n".join(map(described, names)) for title, names in groups.items())


if __name__ == "__main__":
    sys.stdout.write(page())
