"""The documentation: its examples run and print what it shows, its tables and links are right.

In a page, a ``console`` block holds command lines after ``$ ``, each followed by what it prints (nothing
shown: nothing compared; ``...`` stands for anything). Numbers that tuning has led to are not compared:
they hang on how a machine rounds. A block after ``<!-- file: NAME -->`` is first
written to that file. A page's blocks run in order in one empty folder. ``<!-- not run: REASON -->``
before a block leaves it out; ``sh`` blocks (make, pip) are never run.

``GOLDEN=write`` in the environment writes tables and outputs anew, to be looked at in the diff; an output
that is shown with ``...`` stays as it is.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from delayline.cli import main
from tests.knob_tables import filled

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TRANSLATION = ROOT / "README.zh-CN.md"
WRITE = os.environ.get("GOLDEN") == "write"
ALL_PAGES = [*PAGES, TRANSLATION, ROOT / "CHANGELOG.md"]

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>file|not run): (?P<what>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_WALL_TIME = re.compile(r"(simulated|tuned|planned|ran|trained) in [0-9.]+ s")
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*(us|ms|%)?")
_LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and the comment in front of it."""

    language: str
    text: str
    file: str = ""
    runs: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, and what the page says that it prints."""

    line: str
    shown: str


def blocks(page: Path) -> Iterator[Block]:
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        file = found["what"] if found["mark"] == "file" else ""
        runs = found["mark"] != "not run" and found["language"] != "sh"
        yield Block(found["language"], found["text"], file, runs)


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block; a line that ends in a backslash goes on in the next."""
    joined = block.text.replace("\\\n", " ")
    first, *rest = re.split(r"^\$ ", joined, flags=re.MULTILINE)
    assert not first.strip(), f"output before the first command: {first!r}"
    for each in rest:
        line, _, shown = each.partition("\n")
        yield Command(" ".join(line.split()), shown.rstrip("\n"))


def run(command: Command, folder: Path) -> tuple[int, str]:
    """Exit code, and stdout and stderr as a terminal would show them."""
    words = shlex.split(command.line)
    if words[0] == "delayline":
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            code = main(words[1:])
        return code, told.getvalue()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command.line],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout


def masked(line: str, text: str) -> str:
    """Without wall times, and without numbers where they come of tuning."""
    text = _WALL_TIME.sub(r"\1 in _ s", text)
    return _NUMBER.sub(" # ", text) if "tune" in line else text


def rewrite(page: Path, shown: str, told: str) -> None:
    """Put what was printed in place of what is shown, in the translation too."""
    now = "\n".join(line.rstrip() for line in told.rstrip().splitlines())
    for each in (page, TRANSLATION) if page.name == "README.md" else (page,):
        text = each.read_text(encoding="utf-8")
        each.write_text(text.replace(shown, now, 1), encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_print_what_is_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    shutil.copytree(ROOT / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("*.py"))
    checker = doctest.OutputChecker()
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        if block.language != "console" or not block.runs:
            continue
        for command in commands(block):
            code, said = run(command, tmp_path)
            expected = 2 if command.shown.startswith("error:") else 0
            assert code == expected, f"$ {command.line}\n{said}"
            if command.shown:
                shown, told = (masked(command.line, text) for text in (command.shown, said))
                same = checker.check_output(shown + "\n", told.rstrip() + "\n", _LIKE)
                if not same and WRITE and "..." not in command.shown:
                    rewrite(page, command.shown, said)
                    continue
                assert same, f"$ {command.line}\nshown:\n{shown}\n\nprinted:\n{told}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_known_language(page: Path) -> None:
    for block in blocks(page):
        assert block.language in ("console", "json", "python", "sh", "text", "yaml"), block
        assert block.language != "python" or block.file, "a python block without a file never runs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_keys_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    made = filled(text)
    if WRITE and made != text:
        page.write_text(made, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == made


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in _LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in set(_anchors(linked)), f"{page.name}: {target}"


def _anchors(page: Path) -> Iterator[str]:
    """The anchors that headings get on GitHub."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    for heading in re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading.lower())
        yield re.sub(r"\s", "-", words)


def test_the_translation_has_the_same_commands_and_files() -> None:
    ours, theirs = list(blocks(ROOT / "README.md")), list(blocks(TRANSLATION))
    assert [(b.language, b.file, b.runs) for b in theirs] == [
        (b.language, b.file, b.runs) for b in ours
    ]
    for block, translated in zip(ours, theirs, strict=True):
        assert _meaning(translated) == _meaning(block)


def _meaning(block: Block) -> object:
    """What a block says apart from its comments; nothing of a drawing, whose words are translated."""
    if block.language == "console":
        return list(commands(block))
    if block.language == "yaml":
        return yaml.safe_load(block.text)
    if block.language == "python":
        return ast.dump(ast.parse(block.text))
    if block.language == "sh":
        return [line.partition("#")[0].rstrip() for line in block.text.splitlines()]
    return None


def test_a_command_may_go_on_in_the_next_line_and_shows_what_follows() -> None:
    found = list(commands(Block("console", "$ one \\\n  two\nsaid\n\n$ three\n")))
    assert found == [Command("one two", "said"), Command("three", "")]


def test_a_table_that_is_out_of_date_is_made_anew() -> None:
    page = "before\n<!-- part: ObjectiveConfig -->\nstale rows\n<!-- end -->\nafter\n"
    made = filled(page)
    assert "| `latency` | duration > 0 | **required** | latency to stay within |" in made
    assert "stale rows" not in made
    assert filled(made) == made
