"""The documentation's site: its pages, their links, what a browser would fetch; and what runs its blocks."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SITE = runpy.run_path(str(ROOT / "tools" / "site.py"))
REFERENCE = runpy.run_path(str(ROOT / "tools" / "reference_docs.py"))
PAGES: dict[str, Path] = SITE["sources"]()


@pytest.fixture
def run_docs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """tools/run_docs.py, as a module: its dataclass needs one."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    monkeypatch.delitem(sys.modules, "run_docs", raising=False)
    import run_docs

    return run_docs


def listed(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else listed(value)


def test_every_page_has_one_place_in_the_navigation() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2])
    assert sorted(listed(navigation)) == sorted(PAGES)


@pytest.mark.parametrize("page", sorted(REFERENCE["PAGES"]))
def test_pages_made_from_the_code_are_current(page: str) -> None:
    made = REFERENCE["PAGES"][page]().rstrip() + "\n"
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == made, "run python tools/reference_docs.py"


def test_every_command_and_option_has_its_row() -> None:
    page = PAGES["commands.md"].read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## osteon ([\w -]+)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    assert {"train", "labels approve", "archive watch"} <= set(sections)
    assert "| `--fold FOLD` | " in sections["train"]
    assert not re.findall(r"^\| `[^|]*` \|  \|", page, re.MULTILINE)  # none without its text


def slug(heading: str) -> str:
    """GitHub's anchor of a heading, and Zensical's as mkdocs.yml has it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def places(path: Path) -> set[str]:
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_anchors_are_headings(page: str) -> None:
    text = re.sub(r"`[^`\n]*`", "", PAGES[page].read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\(([^()\s#:]*)#([^()\s]+)\)", text):
        path = PAGES[page].parent / target if target else PAGES[page]
        assert anchor in places(path), f"{target}#{anchor}"


@pytest.mark.parametrize(
    ("markdown", "file", "page", "expected"),
    [
        ("[a](plan.md#small-structures)", "docs/sweep.md", "sweep.md", "[a](plan.md#small-structures)"),
        ("[a](../plan.md)", "docs/jobs/hand.md", "jobs/hand.md", "[a](../plan.md)"),
        ("[a](../benchmarks/RESULTS.md#clicks)", "docs/click.md", "click.md", "[a](benchmarks.md#clicks)"),
        ("[a](../../benchmarks/RESULTS.md)", "docs/jobs/spine.md", "jobs/spine.md", "[a](../benchmarks.md)"),
        ("[a](docs/levels.md)", "CHANGELOG.md", "changelog.md", "[a](levels.md)"),
        ("[a](../README.md)", "docs/demo.md", "demo.md", "[a](index.md)"),
        ("see [`f`](../src/osteon/api.py) [b](x.md)", "docs/a.md", "a.md", "see `f` [b](x.md)"),
        ("[a](https://example.org/x) [b](#c)", "docs/a.md", "a.md", "[a](https://example.org/x) [b](#c)"),
        (
            "![a](app/data-light.png)",
            "docs/app.md",
            "app.md",
            "![a](app/data-light.png#only-light)![a](app/data-dark.png#only-dark)",
        ),
        ("![a](app/draw-light.png)", "docs/a.md", "a.md", "![a](app/draw-light.png)"),  # of one theme alone
        ("```console\nosteon app\n```", "docs/a.md", "a.md", "```bash\nosteon app\n```"),
        ("```console\n$ curl x\n```", "docs/a.md", "a.md", "```console\n$ curl x\n```"),
        ("| `a\\|b` | \\|P\\| |", "docs/a.md", "a.md", "| `a|b` | \\|P\\| |"),
    ],
)
def test_links_lead_to_pages_of_the_site(markdown: str, file: str, page: str, expected: str) -> None:
    assert SITE["rewrite"](markdown, file, page) == expected + "\n"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>', 1),
        ("a.html", '<link rel="preconnect" href="//fonts.example">', 1),
        ("a.html", '<link rel="canonical" href="https://site.example/a.html"><a href="https://x.example">x</a>', 0),
        ("a.html", '<p style="background: url(https://x.example/a.png)"><img src="a.png">', 1),
        ("a.html", '<pre class="mermaid"><code>graph</code></pre>', 1),
        (
            "a.css",
            "@import 'https://fonts.example/a.css'; a { src: url(b.woff2) } b { src: url(\"//x.example/c\") }",
            2,
        ),
        (
            "a.js",
            'fetch("https://api.example/x"); svg="http://www.w3.org/2000/svg"; load("https://unpkg.com/mermaid@11")',
            1,
        ),
    ],
)
def test_what_another_host_would_be_asked_for_is_found(tmp_path: Path, name: str, text: str, found: int) -> None:
    (tmp_path / name).write_text(text)
    assert len(SITE["foreign_addresses"](tmp_path)) == found


def test_links_of_the_built_site_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="x">A</h1><a href="sub/b.html#y">b</a><a href="#x">x</a><a href="https://example.org">e</a>'
        '<a href="sub/b.html#z">gone</a><img src="c.png"><img src="sub/d.png#only-dark">'
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.html").write_text('<h1 id="y">B</h1><a href="../a.html">a</a>')
    (tmp_path / "sub" / "d.png").write_bytes(b"")
    broken, followed = SITE["broken_links"](tmp_path)
    assert broken == ["a.html: sub/b.html#z", "a.html: c.png"]
    assert followed == 6


PAGE = """
Text.

```console
echo one > a
cat a missing && echo never
echo after
```

1. A list:

    ```python
    print("two")
    ```

```text
osteon train a b --budget 9min
```
"""


def test_blocks_of_a_page_run_until_one_fails(run_docs: Any, tmp_path: Path) -> None:
    assert [language for language, _ in run_docs.blocks_of(PAGE)] == ["console", "python"]
    (tmp_path / "page.md").write_text(PAGE)
    done = run_docs.run_page(tmp_path / "page.md", tmp_path)
    assert (done.blocks, done.commands, done.failed) == (2, 1, "cat a missing && echo never ended with 1")
    (tmp_path / "page.md").write_text(PAGE.replace(" missing", ""))
    done = run_docs.run_page(tmp_path / "page.md", tmp_path)
    assert (done.commands, done.failed) == (4, "")


def test_another_budget_takes_the_place_of_a_pages(run_docs: Any) -> None:
    page = "```console\nosteon train a b --budget 9min --seed 1\n```\n"
    assert run_docs.blocks_of(page, "5s") == [("console", "osteon train a b --budget 5s --seed 1\n")]
