"""`make release`, in a throw-away repository with throw-away keys; its slow steps are a Makefile of two lines."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import load_script

ROOT = Path(__file__).parents[1]
TODAY = datetime.date(2026, 12, 24)
MAKEFILE = """
check:
\t@touch .checked
dist:
\t@mkdir -p dist && echo wheel > dist/osteon-1.2.3-py3-none-any.whl && echo sdist > dist/osteon-1.2.3.tar.gz
"""
FILES = {
    "Makefile": MAKEFILE,
    ".gitignore": "dist/\n.checked\n",
    "src/osteon/core/version.py": '__version__ = "1.2.3"\n',
    "CHANGELOG.md": "# Changelog\n\n## [1.2.3] - 2026-12-24\n\n### Added\n\n## [1.2.2] - 2026-01-01\n",
    "CITATION.cff": "version: 1.2.3\ndate-released: 2026-12-24\n",
}

tool = load_script("tools/release.py")


def git(repository: Path, *arguments: str) -> None:
    name = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    subprocess.run(["git", *name, *arguments], cwd=repository, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Begin")
    return folder


@pytest.fixture
def ssh_key(tmp_path: Path) -> str:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key], check=True)
    return str(key)


@pytest.fixture
def gpg_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = tempfile.mkdtemp(prefix="gpg")  # a short path: its agent's socket lies there
    monkeypatch.setenv("GNUPGHOME", home)
    gpg = ["gpg", "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "ada@example.org", "ed25519"], check=True, capture_output=True)
    yield "ada@example.org"
    subprocess.run(["gpgconf", "--kill", "all"], check=True)
    shutil.rmtree(home)


def problems(repository: Path, key: str = __file__) -> list[str]:
    """What is said against a release; nothing may have been run then."""
    with pytest.raises(tool.ReleaseError) as refused:
        tool.release(repository, key, ["check", "dist"], TODAY)
    assert not (repository / ".checked").exists()
    return str(refused.value).splitlines()


def test_what_is_built_is_hashed_and_signed_with_ssh(
    repository: Path, ssh_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    signature = tool.release(repository, ssh_key, ["check", "dist"], TODAY)
    assert (repository / ".checked").exists()
    assert {path.name for path in (repository / "dist").iterdir()} == {
        *("osteon-1.2.3-py3-none-any.whl", "osteon-1.2.3.tar.gz"),
        *("SHA256SUMS", "SHA256SUMS.sig"),
    }
    wheel, sdist = (repository / "dist/SHA256SUMS").read_text().splitlines()
    assert wheel == f"{hashlib.sha256(b'wheel' + os.linesep.encode()).hexdigest()}  osteon-1.2.3-py3-none-any.whl"
    assert sdist.endswith("  osteon-1.2.3.tar.gz")
    assert "git tag --sign v1.2.3" in capsys.readouterr().out
    signers = repository.parent / "signers"
    signers.write_text("ada " + Path(f"{ssh_key}.pub").read_text())
    check = ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "ada", "-n", "file", "-s", signature]
    for text, valid in (((repository / "dist/SHA256SUMS").read_bytes(), True), (b"another", False)):
        assert (subprocess.run(check, input=text, capture_output=True).returncode == 0) == valid
    tool.release(repository, ssh_key, ["dist"], TODAY)  # once more: what was signed before is no hindrance


def test_hashes_are_signed_with_gnupg(repository: Path, gpg_key: str, ssh_key: str) -> None:
    tool.release(repository, ssh_key, ["dist"], TODAY)
    signature = tool.release(repository, gpg_key, ["dist"], TODAY)
    assert signature.read_text().startswith("-----BEGIN PGP SIGNATURE-----")
    assert [path.name for path in signature.parent.glob("SHA256SUMS.*")] == ["SHA256SUMS.asc"]
    assert problems_of_key("nobody@example.org") == "no such file, and no secret key of GnuPG's"


def problems_of_key(key: str) -> str:
    return str(tool.key_problem(key)).partition(": ")[2]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("new.py", "", "1 files are not as committed, as new.py: commit or remove them"),
        ("src/osteon/core/version.py", '__version__ = "1.3.0"\n', "CHANGELOG.md: the first section is of 1.2.3, "),
        ("CHANGELOG.md", "## [1.2.3] - unreleased\n", "CHANGELOG.md: 1.2.3 is dated “unreleased”: write the day of "),
        ("CHANGELOG.md", "## [1.2.3] - 2026-12-25\n", "CHANGELOG.md: 1.2.3 is dated “2026-12-25”: write the day of "),
        ("CHANGELOG.md", "## Unreleased\n", "CHANGELOG.md: has no section like “## [1.2.3] - 2026-12-31”"),
        ("CITATION.cff", "version: 1.2.2\n", "CITATION.cff: version is 1.2.2: write 1.2.3"),
        ("CITATION.cff", "version: 1.2.3\n", "CITATION.cff: date-released is None: write 2026-12-24"),
        ("src/osteon/core/version.py", "", "src/osteon/core/version.py: has no __version__"),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(repository: Path, name: str, content: str, said: str) -> None:
    (repository / name).write_text(content)
    if name != "new.py":
        git(repository, "commit", "--quiet", "--all", "--message", "Break")
    assert any(line.startswith(said) for line in problems(repository))


def test_a_version_is_released_once_and_never_without_a_key(repository: Path) -> None:
    git(repository, "tag", "v1.2.3")
    assert problems(repository, "") == [
        "v1.2.3 is tagged already: raise the version in src/osteon/core/version.py",
        "no key to sign with: make release KEY=FILE (of SSH's) or KEY=NAME (of GnuPG's)",
    ]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (["nothing"], "make nothing failed; what it says stands above"),
        (["check"], "dist: holds nothing, where one wheel and one sdist of 1.2.3 should be"),
        (
            ["dist", "more"],
            "dist: holds osteon-1.2.2.tar.gz, osteon-1.2.3-py3-none-any.whl, osteon-1.2.3.tar.gz, where",
        ),
        (["dirty"], "dirty left files that git does not ignore, as left"),
    ],
)
def test_nothing_is_signed_that_was_not_built_as_it_should(
    repository: Path, steps: list[str], said: str, ssh_key: str
) -> None:
    more = "more:\n\t@touch dist/osteon-1.2.2.tar.gz\ndirty:\n\t@touch left\n"
    (repository / "Makefile").write_text(MAKEFILE + more)
    git(repository, "commit", "--quiet", "--all", "--message", "Add steps")
    with pytest.raises(tool.ReleaseError, match=r".") as refused:
        tool.release(repository, ssh_key, steps, TODAY)
    assert str(refused.value).startswith(said)
    assert not list(repository.glob("dist/SHA256SUMS*"))


def test_faults_are_printed_line_by_line(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository, "tag", "v1.2.3")
    monkeypatch.chdir(repository)
    assert tool.main([]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("error: ") for line in lines)


def test_make_hands_on_the_key_and_the_steps() -> None:
    given = ["make", "--dry-run", "release", "KEY=ada", "RELEASE_STEPS=lint"]
    printed = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 'tools/release.py --key "ada" --steps lint' in printed
