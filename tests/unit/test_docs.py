"""What the documentation says exists: links, files, commands, options, imports, settings and messages."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import pathlib
import re
import shlex
from collections.abc import Collection, Iterator
from typing import Any

import click
import pytest

from rllib_mamql.cli.experiment import ExperimentSettings, Overrides, load_experiments
from rllib_mamql.cli.main import cli
from rllib_mamql.cli.yaml_loader import parse_yaml
from tests.benchmarks.draw_house import OUT, description, imported

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (
        ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "offline_data" / "README.md", *(ROOT / "docs").rglob("*.md"),
    )
)  # fmt: skip
EXAMPLES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "tuned_examples").rglob("*.yaml")
    if path.parent.name not in ("suites", "cluster")
)
SHELL = ("sh", "bash", "console")
FOLDERS = "docs|tests|tuned_examples|offline_data|envs|rllib_mamql"

page = pytest.mark.parametrize("page", PAGES, ids=str)


def text_of(path: pathlib.Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(path: pathlib.Path, *languages: str) -> list[str]:
    """Fenced code blocks of some languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text_of(path), re.S | re.M)
    return [body for language, body in found if language in languages]


def prose(path: pathlib.Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text_of(path), flags=re.S | re.M)


def commands(path: pathlib.Path) -> Iterator[list[str]]:
    """The words of each command in a page's shell blocks and indented blocks."""
    indented = "\n".join(re.findall(r"^ {4}(?! )(.*)$", prose(path), re.M))
    for block in [*blocks(path, *SHELL), indented]:
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(rllib|make|python|source|pip)\b", line):
                # A user's script of this name is the command with a registration of its own.
                yield shlex.split(line.replace("python my_rllib.py", "rllib"), comments=True)


def spans(path: pathlib.Path) -> list[str]:
    """Inline code, without the line breaks that it was wrapped at."""
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(path))]


def test_readme_is_short() -> None:
    assert len(text_of(pathlib.Path("README.md")).splitlines()) <= 150


def test_all_pages_are_in_the_index() -> None:
    index = text_of(pathlib.Path("docs/README.md"))
    missing = [path for path in PAGES if path.parts[0] == "docs" and path.name != "README.md"]
    assert [str(path) for path in missing if f"({path.relative_to('docs')})" not in index] == []


# -- links --------------------------------------------------------------------------------------------------------


def anchors(path: pathlib.Path) -> set[str]:
    """Anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(path), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")
        number = next(n for n in range(1000) if (slug if not n else f"{slug}-{n}") not in found)
        found.add(slug if not number else f"{slug}-{number}")
    return found


@page
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (ROOT / page.parent / name).resolve() if name else ROOT / page
        if not linked.exists() or (anchor and anchor not in anchors(linked.relative_to(ROOT))):
            broken.append(target)
    assert broken == []


def mentions(text: str) -> set[str]:
    """Paths of this repository that a text names."""
    found = re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]+", re.sub(r"<!--.*?-->", "", text, flags=re.S))
    return {name.rstrip("./") for name in found if "..." not in name}


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=str)
def test_files_that_are_named_exist(path: pathlib.Path) -> None:
    # What benchmarks write is named without its ending.
    missing = {name for name in mentions(text_of(path)) if not any(ROOT.glob(name)) and not any(ROOT.glob(f"{name}.*"))}
    assert missing == set()


# -- commands -----------------------------------------------------------------------------------------------------


def parse(words: list[str]) -> click.Context:
    """Parses ``rllib ...`` as the command line does, and stops before the command runs."""
    command: click.Command = cli
    context: click.Context | None = None
    name, rest = "rllib", words
    while True:
        context = command.make_context(name, list(rest), parent=context)
        if not isinstance(command, click.Group):
            return context
        found, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore[assignment]
        name = str(found)


def check_train(words: list[str], options: dict[str, Any]) -> None:
    """The experiment file of a ``rllib train`` exists and takes the changes that the command makes."""
    file = ROOT / options["path"]
    if not str(options["path"]).startswith("tuned_examples/"):
        assert re.fullmatch(r"[\w-]+\.yaml|FILE", str(options["path"])), words
        return
    load_experiments(file, Overrides(sets=options["sets"], stops=options["stops"]))


@page
def test_commands_parse(page: pathlib.Path) -> None:
    for words in commands(page):
        if words[0] == "rllib":
            try:
                context = parse(words[1:])
            except click.exceptions.Exit as shown:  # --help
                assert shown.exit_code == 0
                continue
            if context.command.name == "train":
                check_train(words, context.params)
        elif words[0] == "make":
            check_make(words[1:])
        elif words[0] == "python":
            check_python(words[1:], saved_on(page))


def options_of(words: list[str]) -> list[str]:
    return [word for word in words if re.fullmatch(r"--[a-z-]+", word)]


@page
def test_commands_in_the_text_have_their_options(page: pathlib.Path) -> None:
    """Inline code may leave out what a command requires, but names no option that is not there."""
    for span in spans(page):
        match = re.match(r"(rllib|make|python) (?![-=])", span)
        if match is None:
            continue
        words = shlex.split(span, comments=True)
        if words[0] == "make":
            check_make(words[1:2])
        elif words[0] == "python":
            check_python(words[1:])
        else:
            command: Any = cli
            for word in words[1:]:
                if isinstance(command, click.Group) and not word.startswith("-"):
                    assert word in command.commands, span
                    command = command.commands[word]
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            assert set(options_of(words)) <= known, span


def check_make(targets: list[str]) -> None:
    makefile = text_of(pathlib.Path("Makefile"))
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.M), f"make {target}"


def saved_on(page: pathlib.Path) -> set[str]:
    """Files that a reader of the page has saved."""
    return set(re.findall(r"Save this as\s+`([\w.-]+)`", text_of(page)))


def check_python(words: list[str], saved: Collection[str] = ()) -> None:
    """A script or module exists, and names each option that it is called with."""
    if words[:1] == ["-m"]:
        assert importlib.util.find_spec(words[1]), words
        return
    if not words or not words[0].endswith(".py") or words[0] in saved:
        return
    script = next((file for file in (ROOT / words[0], ROOT / "tests" / "benchmarks" / words[0]) if file.exists()), None)
    assert script is not None, words
    source = script.read_text()
    handed_on = {opt for parameter in cli.commands["train"].params for opt in parameter.opts}
    known = handed_on if "parse_known_args" in source else set()
    for option in options_of(words):
        assert f'"{option}"' in source or option in known, f"{script.name} has no option {option}"


# -- code ---------------------------------------------------------------------------------------------------------


def top_level(module: str) -> set[str]:
    """Names that a module defines, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return set()
    names: set[str] = set()
    for node in ast.walk(ast.parse(pathlib.Path(spec.origin).read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return names


@page
def test_python_blocks_compile_and_import_what_is_there(page: pathlib.Path) -> None:
    for block in blocks(page, "python"):
        tree = ast.parse(block)
        compile(block, str(page), "exec")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                missing = [name for name in names if importlib.util.find_spec(name) is None]
                assert all(f"pip install {name}" in page.read_text() for name in missing), block
            elif isinstance(node, ast.ImportFrom):
                module = str(node.module)
                assert f"{module}.py" in saved_on(page) or importlib.util.find_spec(module), module
                if module.partition(".")[0] in ("rllib_mamql", "mamql_envs"):
                    here = top_level(module) | set(
                        getattr(importlib.import_module(module.partition(".")[0]), "__all__", ())
                    )
                    assert {alias.name for alias in node.names} <= here, module


def test_the_algorithm_of_the_guide_is_the_one_that_is_tested() -> None:
    tested = text_of(pathlib.Path("tests/support/third_algorithm.py"))
    assert tested[tested.index("from __future__") :] in blocks(pathlib.Path("docs/add_an_algorithm.md"), "python")


@page
def test_yaml_blocks_are_sound(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for block in blocks(page, "yaml"):
        document = parse_yaml(block, str(page))
        assert isinstance(document, dict)
        bodies = [body for body in document.values() if isinstance(body, dict)]
        if any(set(body) & {"run", "config"} for body in bodies):
            (tmp_path / "block.yaml").write_text(block)
            load_experiments(tmp_path / "block.yaml")
        else:  # part of an experiment, or of its config
            assert document, block
            known = ExperimentSettings.model_fields
            assert set(document) & set(known) or all(re.fullmatch(r"\w+", key) for key in document), block


# -- settings and messages ----------------------------------------------------------------------------------------


def assigned_in_init(path: pathlib.Path) -> set[str]:
    """Attributes that the constructors of a module set: an algorithm's settings."""
    found = set()
    for function in ast.walk(ast.parse(text_of(path))):
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    found.add(node.attr)
    return found


def test_every_setting_is_explained() -> None:
    rows = set(re.findall(r"^\| `(\w+)`(?: \*)? \|", text_of(pathlib.Path("docs/settings.md")), re.M))
    classes = {"env_runner_cls", "offline_data_class", "prelearner_class"}
    same_as_rllib = {"lr", "num_env_runners"}
    configs = [
        ROOT / "rllib_mamql" / "learning" / "config.py",
        ROOT / "rllib_mamql" / "learning" / "inverse_config.py",
        *(ROOT / "rllib_mamql" / "algorithms").glob("*/config.py"),
    ]
    settings = {name for file in configs for name in assigned_in_init(file) if not name.startswith("_")}
    assert "rationality" in settings and settings - classes - same_as_rllib - rows == set()


@functools.cache
def messages() -> str:
    """Every text in the package, with ``...`` for what is filled in."""
    texts = []
    for file in (ROOT / "rllib_mamql").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else "..." for v in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def quoted_messages() -> list[str]:
    page = text_of(pathlib.Path("docs/warnings.md"))
    cells = re.findall(r"^\| (`.*?) \| ", page, re.M)
    cells += re.findall(r'^### (".*")$', page, re.M)
    return [text for cell in cells for pair in re.findall(r'`([^`]+)`|"([^"]+)"', cell) for text in pair if text]


@pytest.mark.parametrize("message", quoted_messages())
def test_messages_that_are_explained_exist(message: str) -> None:
    pattern = ".*".join(re.escape(part) for part in message.split("..."))
    assert re.search(pattern, messages()), message


# -- the house ----------------------------------------------------------------------------------------------------


def walks() -> list[list[tuple[str, list[str]]]]:
    """The walks of the architecture page: files, and the names to search for in each."""
    text = text_of(pathlib.Path("docs/architecture.md"))
    tables = re.findall(r"^\| file \| what happens \| name \|\n.*\n((?:\|.*\n)+)", text, re.M)
    rows = [[row.split("|") for row in table.splitlines()] for table in tables]
    return [[(row[1].strip(" `"), re.findall(r"`([^`]+)`", row[3])) for row in table] for table in rows]


def test_walks_are_short_and_go_in_the_order_of_imports() -> None:
    found = walks()
    assert len(found) == 3 and all(len(walk) <= 8 for walk in found)
    for walk in found:
        files = [file for file, _ in walk]
        for index, (file, names) in enumerate(walk):
            module = ".".join(pathlib.Path(file).with_suffix("").parts)
            assert names and set(names) <= top_level(module), (file, names)
            later = {".".join(pathlib.Path(other).with_suffix("").parts) for other in files[index + 1 :]}
            assert not later & set(imported(ROOT / file)), file


def test_all_packages_are_on_the_architecture_page() -> None:
    text = text_of(pathlib.Path("docs/architecture.md"))
    packages = [file.parent.name for file in (ROOT / "rllib_mamql").glob("*/__init__.py")]
    assert [name for name in packages if f"| `{name}/` |" not in text] == []


def test_the_picture_of_the_house_is_true() -> None:
    from PIL import Image

    with Image.open(OUT) as picture:
        drawn = picture.text["Description"]  # type: ignore[attr-defined]
    assert drawn == description(ROOT / "rllib_mamql"), "draw it anew: python tests/benchmarks/draw_house.py"
