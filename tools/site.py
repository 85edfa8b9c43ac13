"""The documentation's site in build/site: `make docs`.

Pages are laid in build/pages as the site has them, and Zensical makes HTML of them. In that every link is followed, and
addresses of other hosts that a browser would fetch are searched for. No step needs a network.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "SECURITY.md": "security.md",
}
"""Files outside docs/ → their pages on the site. README's place is taken by docs/index.md."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s#]*)(#[^()\s]*)?\)")
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}
"""Elements → the attribute whose address a browser fetches; that of <link> depends on its `rel`."""
HARMLESS = ("canonical", "alternate", "next", "prev", "author", "license")
ON_DEMAND = {
    "mermaid": ("https://unpkg.com/mermaid",),
    "pyodide": ("https://unpkg.com/pyodide", "https://cdn.jsdelivr.net/pyodide/", "https://unpkg.com/ace-builds"),
    "glightbox": ("https://unpkg.com/glightbox",),
    "md-source": ("https://api.github.com", "https://${"),  # a repository's stars
}
"""A class of elements → what the theme's script fetches for pages that have one."""
NOT_FETCHED = ("http://www.w3.org/", "https://unpkg.com/resize-observer-polyfill")
"""Namespaces, and what browsers of before 2020 lack."""


def sources() -> dict[str, Path]:
    """All pages of the site: the page's name on it → its file."""
    pages = {path.relative_to(ROOT / "docs").as_posix(): path for path in sorted((ROOT / "docs").rglob("*.md"))}
    outside = {page: ROOT / file for file, page in OUTSIDE.items() if page not in pages}
    return pages | {page: path for page, path in outside.items() if path.is_file()}


def rewrite(markdown: str, file: str, page: str) -> str:
    """Markdown of a file of the repository as the site's page has it.

    Links between files lead to pages; those to files that have none become text. Of two themes' pictures the reader's
    is shown. A pipe in the code of a table is not escaped. Commands without a prompt get a shell's colours.
    """

    def changed(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        if not target or urlsplit(target).scheme:
            return link[0]
        found = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        if found not in OUTSIDE and not found.startswith("docs/"):
            return text
        there = posixpath.relpath(OUTSIDE.get(found) or found.removeprefix("docs/"), posixpath.dirname(page) or ".")
        dark = found.replace("-light.png", "-dark.png")
        if mark and dark != found and (ROOT / dark).is_file():
            return f"![{text}]({there}#only-light)![{text}]({there.replace('-light.png', '-dark.png')}#only-dark)"
        return f"{mark}[{text}]({there}{anchor})"

    lines = (
        re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line
        for line in markdown.splitlines()
    )
    text = re.sub(r"^( *)```console\n(?! *\$)", r"\1```bash\n", "\n".join(lines), flags=re.MULTILINE)
    return LINK.sub(changed, text) + "\n"


def lay_pages() -> None:
    """Fills PAGES."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.md"))
    for page, path in sources().items():
        text = rewrite(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix(), page)
        (PAGES / page).parent.mkdir(parents=True, exist_ok=True)
        (PAGES / page).write_text(text, encoding="utf-8")


class _Page(HTMLParser):
    """A page's places, its links, and what a browser fetches with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.add(values.get("id", ""))
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag in LOADS or (tag == "link" and values.get("rel") not in HARMLESS):
            self.loads.append(values.get(LOADS.get(tag, "href"), ""))
        self.loads += re.findall(r"url\(([^)]*)\)", values.get("style", ""))
        for word in ON_DEMAND.keys() & set(values.get("class", "").split()):
            self.loads += ON_DEMAND[word]


def foreign_addresses(site: Path) -> list[str]:
    """Addresses of other hosts that a browser would fetch for the built site, each after its file."""
    found = []
    known = (*NOT_FETCHED, *chain.from_iterable(ON_DEMAND.values()))
    for path in sorted(p for p in site.rglob("*") if p.suffix in {".html", ".css", ".js"}):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            addresses = _Page(path).loads
        elif path.suffix == ".css":
            addresses = re.findall(r"(?:url\(|@import\s)[\"']?([^\"')]*)", text)
        else:
            addresses = [
                each for each in re.findall(r"[\"'`](https?://[^\"'`\s]+)", text) if not each.startswith(known)
            ]
        found += [f"{path.relative_to(site)}: {each}" for each in addresses if re.match(r"[\"']?(?:https?:)?//", each)]
    return found


def broken_links(site: Path) -> tuple[list[str], int]:
    """Links and pictures of the built pages that lead to no file or no place in it, and how many were followed."""
    pages = {path: _Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    followed = 0
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            address = urlsplit(link)
            if not link or address.scheme or address.netloc or path.name == "404.html":
                continue
            followed += 1
            target = path.parent.joinpath(unquote(address.path)).resolve() if address.path else path
            target = target / "index.html" if target.is_dir() else target
            place = unquote(address.fragment)
            is_place = not place or place.startswith("only-") or (target in pages and place in pages[target].ids)
            found += [] if target.is_file() and is_place else [f"{path.relative_to(site)}: {link}"]
    return found, followed


def main() -> int:
    """The exit code."""
    lay_pages()
    zensical = Path(sys.executable).with_name("zensical")
    if code := subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, check=False).returncode:
        return code
    broken, followed = broken_links(SITE)
    found = [f"fetched from another host: {each}" for each in foreign_addresses(SITE)]
    found += [f"leads nowhere: {each}" for each in broken]
    sys.stdout.write(
        "\n".join([*found, f"{len(list(SITE.rglob('*.html')))} pages, {followed} links within them followed"]) + "\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
