"""House rules for every file: how long it is, what it never imports, what it never names."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "gnomon"

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# Loading any of these runs code that somebody sent.
PICKLERS = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}

# "/work/main", but not "docs/work/" and not "https://host/work/".
MACHINE_PATH = re.compile(r"(?<![\w./:-])/(?:work|root)/")


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines from its def on, without its docstring."""
    first = node.body[0]
    docstring = first if ast.get_docstring(node, clean=False) is not None else None
    return length(node) - (length(docstring) if docstring else 0)


def length(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and full name of all that a module imports, also by importlib and a literal."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, each.name) for each in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield from ((node.lineno, f"{module}.{each.name}") for each in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module


def circle(sources: Mapping[str, str]) -> list[str]:
    """Return modules of which each imports the one before it, from one to the same; or none.

    An import counts wherever it stands: also in a function, and where only types are checked.

    Args:
        sources: The text of each module, by its full name.
    """

    def module(full: str) -> str:
        return full if full in sources else full.rpartition(".")[0]

    graph = {
        name: {module(full) for _, full in imported(ast.parse(text))} & sources.keys()
        for name, text in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def environment_reads(tree: ast.AST, *, may_pass_it_on: bool) -> Iterator[int]:
    """Yield the lines that read environment variables.

    Args:
        tree: A module.
        may_pass_it_on: Whether `os.environ` as a whole, for a child process, is no read.
    """
    whole = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="copy")) | ast.keyword(value=value):
                whole.add(value)
            case ast.Call(func=ast.Name(id="dict"), args=[value]) | ast.Dict(values=[value, *_]):
                whole.add(value)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb"):
                if not (may_pass_it_on and node in whole):
                    yield node.lineno
            case ast.Attribute(value=ast.Name(id="os"), attr="getenv" | "getenvb"):
                yield node.lineno
            case ast.ImportFrom(module="os", names=names):
                if {each.name for each in names} & {"environ", "environb", "getenv", "getenvb"}:
                    yield node.lineno


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every text file that git has, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if listed.returncode != 0:
        pytest.skip("not a git clone")
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if path.is_file():
            try:
                yield path, path.read_text("utf-8")
            except UnicodeDecodeError:
                continue


def test_no_source_file_is_long():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules(SRC)
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }

    assert long == {}


def test_no_function_is_long():
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines_of(node)
        for path in modules(SRC)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and lines_of(node) > FUNCTION_LINES_MAX
    }

    assert long == {}


def test_nothing_unpickles():
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(SRC)
        for line, name in imported(ast.parse(path.read_text()))
        if name.partition(".")[0] in PICKLERS
    ]

    assert found == []


def test_no_modules_import_each_other_not_even_in_a_function():
    names = {path: path.relative_to(SRC.parent).with_suffix("").parts for path in modules(SRC)}
    sources = {
        ".".join(parts).removesuffix(".__init__"): path.read_text() for path, parts in names.items()
    }

    assert circle(sources) == [], "let one of them be built from above, or move what both need down"


def test_only_settings_reads_the_environment():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules(SRC)
        if path != SRC / "settings.py"
        for line in environment_reads(
            ast.parse(path.read_text()), may_pass_it_on=SRC / "supervisor" in path.parents
        )
    ]

    assert found == []


def test_no_test_sleeps():
    found = []
    for path in modules(ROOT / "tests"):
        tree = ast.parse(path.read_text())
        calls = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
        ]
        imports = [line for line, name in imported(tree) if name == "time.sleep"]
        found += [f"{path.relative_to(ROOT)}:{line}" for line in calls + imports]

    assert found == [], "wait on what happened, with a deadline"


def test_no_file_names_a_path_of_one_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line) and path != Path(__file__)
    ]

    assert found == []


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"]
)
def test_a_clone_has(name):
    assert (ROOT / name).read_text().strip()


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("os.environ['HOME']", 1),
        ("os.environ.get('HOME')", 1),
        ("os.getenv('HOME')", 1),
        ("from os import environ", 1),
        ("run(env=os.environ)", 0),
        ("run(env={**os.environ, 'A': 'b'})", 0),
        ("dict(os.environ)", 0),
        ("os.environ.copy()", 0),
    ],
)
def test_passing_the_environment_on_is_not_reading_it(source, lines):
    tree = ast.parse(source)

    assert len(list(environment_reads(tree, may_pass_it_on=True))) == lines
    assert len(list(environment_reads(tree, may_pass_it_on=False))) == 1


@pytest.mark.parametrize(
    ("sources", "modules"),
    [
        ({"a": "from a.b import B", "a.b": "import a.c", "a.c": ""}, []),
        ({"a": "from a.b import B", "a.b": "from a import A"}, ["a", "a.b", "a"]),
        ({"a.b": "import a.c", "a.c": "def f():\n    from a import b"}, ["a.b", "a.c", "a.b"]),
        ({"a.b": "if TYPE_CHECKING:\n    import a.c", "a.c": "import a.b"}, ["a.b", "a.c", "a.b"]),
        ({"a": "import b", "b": "import c", "c": "import_module('a')"}, ["a", "c", "b", "a"]),
    ],
)
def test_a_circle_is_found_wherever_its_imports_stand(sources, modules):
    assert circle(sources) == modules
