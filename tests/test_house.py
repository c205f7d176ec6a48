"""Rules of the house: what every module keeps, and that the files around the library agree with one another."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ris_lib

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "ris_lib").rglob("*.py"))
SCRIPTS = sorted(path for folder in ("book", "data_scripts", "studies") for path in (ROOT / folder).rglob("*.py"))
PARTS = ["encoders", "fusion", "decoders", "heads", "objectives"]

# Room -> what it may not import. Parts know the contract and not each other.
FORBIDDEN = {
    "data": ["models", "engine", "show", "metrics", *PARTS],
    "metrics": ["models", "engine", "show", *PARTS],
    "show": ["models", "engine", *PARTS],
    **{room: ["models", "engine", "show", *(other for other in PARTS if other != room)] for room in PARTS},
    "models": ["engine", "show"],
}


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, at the top or inside of functions."""
    package = module(path) if path.stem == "__init__" else module(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).rstrip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.slow
def test_every_module_imports_under_odd_arguments_and_does_nothing(tmp_path):
    """One fresh process imports all modules: nothing is printed, parsed, fetched or written."""
    program = """
import importlib, socket, sys
def refuse(*arguments, **options):
    raise AssertionError("the network was touched at import")
socket.create_connection = socket.getaddrinfo = refuse
modules = sys.argv.pop().split(",")
sys.argv[:] = ["odd", "--no-such-flag", "-h", "--help", "train", "\\u2620"]
for module in modules:
    for loaded in [name for name in sys.modules if name.partition(".")[0] == "ris_lib"]:
        del sys.modules[loaded]  # each module is imported first, so that a circle of imports cannot hide
    importlib.import_module(module)
"""
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "RIS_CACHE": str(tmp_path), "PATH": ""}
    environment |= {"USERPROFILE": str(tmp_path), "SYSTEMROOT": "C:\\\\Windows"} if sys.platform == "win32" else {}
    done = subprocess.run(
        [sys.executable, "-c", program, ",".join(map(module, FILES))],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "matplotlib" not in path.parts]
    assert written == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_one_concept_a_file(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 350, f"{name(path)} has {lines} lines; split it where its concepts part"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_rooms_import_only_what_they_may(path):
    room = path.relative_to(ROOT / "ris_lib").parts[0]
    refused = {f"ris_lib.{other}" for other in FORBIDDEN.get(room, [])}
    wrong = {used for used in imports(path) if any(used == bad or used.startswith(f"{bad}.") for bad in refused)}
    assert not wrong, f"{name(path)} may not import {sorted(wrong)}"


def test_the_import_rule_sees_every_kind_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "ris_lib" / "data" / "a.py"
    file.parent.mkdir(parents=True)
    file.write_text("import ris_lib.models\nfrom ..engine import b\ndef f():\n    from ris_lib import heads\n")
    assert {"ris_lib.models", "ris_lib.engine", "ris_lib.heads"} <= imports(file)


def faults(source: str) -> list[str]:
    """Calls and strings that library code may not hold."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            if call.endswith(".cuda"):
                found.append(f"line {node.lineno}: .cuda(); devices belong to the engine")
            if call in {"pickle.load", "pickle.loads", "eval", "exec", "os.system"}:
                found.append(f"line {node.lineno}: {call}()")
            safe = any(key.arg == "weights_only" and ast.unparse(key.value) == "True" for key in node.keywords)
            if call == "torch.load" and not safe:
                found.append(f"line {node.lineno}: torch.load without weights_only=True")
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if re.search(r"(^|[\s\"'=(])(/(home|Users|work|root|mnt|data|tmp)/|[A-Z]:\\)", text):
            found.append(f"line {node.lineno}: a path of one machine: {text[:60]!r}")
    return found


@pytest.mark.parametrize("path", FILES + SCRIPTS, ids=name)
def test_no_forbidden_call_and_no_path_of_one_machine(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "model.cuda()",
        "pickle.load(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "eval(text)",
        "root = '/home/somebody/data'",
        "root = 'C:\\\\data'",
    ],
)
def test_forbidden_calls_are_seen(source):
    assert len(faults(source)) == 1
    assert faults("torch.load(path, weights_only=True); device = 'cuda'; path = 'images/data/'") == []


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked() -> dict[str, list[str]]:
    """Package -> versions in the lock; a universal lock may hold one for each platform."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w.-]+)==(\S+)", line):
            found.setdefault(canonicalize_name(match[1]), []).append(match[2])
    return found


def test_the_lock_satisfies_pyproject():
    project, versions = pyproject()["project"], locked()
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["book"],
        *project["optional-dependencies"]["test"],
    ]
    for text in [*wanted, *pyproject()["tool"]["uv"]["constraint-dependencies"]]:
        requirement = Requirement(text)
        have = versions.get(canonicalize_name(requirement.name))
        assert have, f"{requirement.name} is not in requirements.lock; run make lock"
        assert all(version in requirement.specifier for version in have), f"{text} against {have}; run make lock"


def test_the_library_asks_for_lower_bounds_only():
    for text in pyproject()["project"]["dependencies"]:
        operators = {specifier.operator for specifier in Requirement(text).specifier}
        assert operators == {">="}, f"{text}: Colab decides the versions, give a lower bound"


def test_conda_users_get_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(entry for entry in environment["dependencies"] if isinstance(entry, dict))["pip"]
    assert pip == ["-r requirements.lock"]
    assert "python=3.11" in environment["dependencies"]


def test_pre_commit_uses_the_versions_of_the_lock():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    tools = [tool for repo in config["repos"] for hook in repo["hooks"] for tool in hook["additional_dependencies"]]
    assert tools
    for tool in map(Requirement, tools):
        assert str(tool.specifier) == f"=={locked()[tool.name][0]}"


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_parse_and_call_make(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["name"]
    assert workflow[True], "YAML reads the key `on` as true"
    commands = "\n".join(
        step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    )
    called = set(re.findall(r"\bmake ([a-z-]+)", commands))
    assert called, "a workflow calls the same make targets as a person does"
    assert called <= make_targets()
    assert "pytest" not in commands, "checks stand in the Makefile, not in a workflow"


def test_there_are_four_workflows_on_three_systems():
    assert {path.stem for path in WORKFLOWS} == {"tests", "book", "nightly", "weekly"}
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    systems = {system for job in jobs.values() for system in job.get("strategy", {}).get("matrix", {}).get("os", [])}
    assert {system.split("-")[0] for system in systems} == {"ubuntu", "macos", "windows"}


def test_the_gate_runs_make_test():
    gate = ROOT / ".ci" / "run"
    text = gate.read_text(encoding="utf-8")
    assert text.rstrip().endswith("exec make test")
    assert "RIS_GOLDEN" in text
    assert "RIS_TEST_DATA" in text
    assert sys.platform == "win32" or gate.stat().st_mode & 0o111


def test_help_lists_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = set(re.findall(r"^([a-z-]+):.*## ", text, flags=re.MULTILINE))
    assert described == make_targets()


def test_every_public_module_stands_in_the_reference():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "book" / "reference").glob("*.md"))
    documented = re.findall(r"automodule:: (\S+)", pages)
    assert len(documented) == len(set(documented)), "a module stands on two pages"
    public = {module(path) for path in FILES if not any(part.startswith("_") for part in module(path).split("."))}
    assert set(documented) == public - {"ris_lib"}, "add or remove its automodule block in book/reference"


def absent_tests(table: str) -> list[str]:
    """Tests that a text names as `tests/file.py::test_name` and that are not there."""
    named = dict.fromkeys(re.findall(r"`(tests/[\w/.]+)::(\w+)`", table))
    assert len(re.findall("::", table)) == len(re.findall(r"`tests/[\w/.]+::\w+`", table)), "a name is misspelt"
    found = {}
    for file in {file for file, _ in named}:
        path = ROOT / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
        found[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return [f"{file}::{test}" for file, test in named if test not in found[file]]


def test_every_test_in_the_table_of_the_notes_exists():
    table = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    assert table.count("::") > 200
    assert absent_tests(table) == [], "tests/README.md names tests that do not exist"
    renamed = ["tests/test_house.py::test_gone", "tests/heads/gone.py::test_a"]
    assert absent_tests(f"`{renamed[0]}` `tests/test_house.py::test_help_lists_every_target` `{renamed[1]}`") == renamed


#: What a run and its data have to survive, and where; each has a row in the table of faults.
FAULTS = {
    "kill -9": {"download", "extraction", "indexing", "scenes cache", "checkpoint", "`ris predict` output"},
    "disk full": {"download", "extraction", "indexing", "scenes cache", "checkpoint", "`ris predict` output"},
    "worker dies": {"one that prepares batches", "one that draws scenes"},
    "photograph among 1,000": {"`--skip-bad` lists and skips"},
    "network": {"stalls", "resets", "HTML with status 200", "a wrong length", "a redirect loop", "a certificate error"},
    "two processes": {"build the same index, the same scenes"},
    "`/dev/shm` full": {"in a run, which goes on"},
    "NaN": {"in a batch"},
    "SIGTERM": {"training on 2 processes"},
    "checkpoint": {"cut short", "of another model", "of an older version"},
    "Parquet index": {"older than its source"},
}


def test_every_fault_has_a_test_that_exists():
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Faults\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert all(len(row) == 3 and re.fullmatch(r"`tests/[\w/.]+::\w+`", row[2]) for row in rows)
    for fault, places in FAULTS.items():
        assert places <= {place for kind, place, _ in rows if kind == fault}, f"{fault}: a line of the list has no test"
    assert {kind for kind, _, _ in rows} == set(FAULTS)
    assert absent_tests(section) == []


def test_editors_see_what_the_package_imports_on_first_use():
    """``ris_lib/__init__.py`` names its public things for Python and, once more, for type checkers."""
    tree = ast.parse((ROOT / "ris_lib" / "__init__.py").read_text(encoding="utf-8"))
    shown = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    homes = {name.name: imported.module for imported in shown.body for name in imported.names}
    assert homes == ris_lib._HOMES
    assert sorted(ris_lib.__all__) == sorted(["__version__", *homes])
