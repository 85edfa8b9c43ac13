"""Reports as HTML: templates that lie beside their code, and pages where a report lists many cases.

The first page has the report's own name (`report.html`), the others a number (`report-2.html`, …). They are written
last to first, so that no link leads nowhere; pages that an earlier report left over are removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from osteon.core.files import remove_file, write_text
from osteon.core.progress import track

if TYPE_CHECKING:
    import jinja2

T = TypeVar("T")

CASES_PER_PAGE = 200
"""Cases on a page: with their pictures some 8 MB, which a browser opens at once."""
GENERATOR_TAG = '<meta name="generator" content="osteon">'
"""In the head of every page: an earlier report's page has it, a file that people put beside it has not."""
_HEAD_CHARACTERS = 1024
"""Characters of a page in which `GENERATOR_TAG` is looked for."""


def render(package: str, template: str, **values: object) -> str:
    """Render a package's Jinja template; values are escaped unless the template says otherwise."""
    return _template(package, template).render(mark=GENERATOR_TAG, **values)


@cache
def _template(package: str, template: str) -> jinja2.Template:
    """Read and compiled once, for all pages of a report."""
    import jinja2

    source = resources.files(package).joinpath(template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


def paginate(items: Sequence[T]) -> list[Sequence[T]]:
    """The items of each page, `CASES_PER_PAGE` at most; one page, though empty, where there are none."""
    return [items[start : start + CASES_PER_PAGE] for start in range(0, max(len(items), 1), CASES_PER_PAGE)]


@dataclass(frozen=True)
class PagePosition:
    """The position of a page among those of its report.

    Attributes:
        report: The file name of the first page.
        number: Of this page, from 1.
        count: Of all pages.
    """

    report: str
    number: int
    count: int

    @property
    def label(self) -> str:
        """`page 2 of 50`; empty where there is one page."""
        return f"page {self.number} of {self.count}" if self.count > 1 else ""

    def navigation(self, position: str) -> str:
        """HTML of the links to the other pages; empty where there are none.

        Args:
            position: `top` or `bottom`: tells the two of a page apart for screen readers.
        """
        if self.count == 1:
            return ""
        targets = {"first": 1, "previous": self.number - 1, "next": self.number + 1, "last": self.count}
        links = [
            f'<a href="{page_name(self.report, number)}">{name}</a>'
            if number != self.number and 1 <= number <= self.count
            else f'<span class="faint">{name}</span>'
            for name, number in targets.items()
        ]
        return f'<nav class="pages" aria-label="Pages, {position}"><span>{self.label}</span> {" ".join(links)}</nav>'


def page_name(report: str, number: int) -> str:
    """`report.html`, `report-2.html`, …"""
    return report if number == 1 else f"{Path(report).stem}-{number}{Path(report).suffix}"


def page_number(report: str, name: str) -> int:
    """The number of the page that a file name belongs to: 1, 2, …; 0 where it is no page of this report."""
    match = re.fullmatch(rf"{re.escape(Path(report).stem)}-([1-9]\d*){re.escape(Path(report).suffix)}", name, re.ASCII)
    return 1 if name == report else int(match[1]) if match else 0


def write_pages(path: Path, pages: Sequence[T], html: Callable[[PagePosition, T], str]) -> None:
    """Write a report's pages one by one, and remove those of an earlier, longer one.

    Args:
        path: The first page.
        pages: What each page shows.
        html: A page's position and what it shows → its HTML.

    Raises:
        FileError: The folder cannot be written.
    """
    count = len(pages)
    numbers = range(count, 0, -1)
    for number in track(numbers, "writing the pages") if count > 1 else numbers:
        write_text(
            path.with_name(page_name(path.name, number)),
            html(PagePosition(path.name, number, count), pages[number - 1]),
        )
    for old in path.parent.iterdir():
        if page_number(path.name, old.name) > count and _is_report_page(old):
            remove_file(old)


def _is_report_page(path: Path) -> bool:
    with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as text:
        return GENERATOR_TAG in text.read(_HEAD_CHARACTERS)
    return False
