"""Which package may import which: what a module imports decides what runs again when it is edited."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import terralucas

CORE = Path(terralucas.__file__).parent
SCRIPTS = CORE.parent
RULES = SCRIPTS.parent / "rules"
PACKAGES = {path.parent.name for path in CORE.glob("*/__init__.py")}
FORBIDDEN = {
    "report": PACKAGES - {"report", "tables"},
    "training": {"tables", "statistics", "report"},
    "data": {"tables", "statistics", "report", "training"},
    "backbones": {"tables", "statistics", "report"},
    "statistics": {"data", "training", "report"},
    "controls": {"statistics"},
    "tables": PACKAGES - {"tables"},
    "root": PACKAGES,
}


def imported(path):
    """Full names of what a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by a relative path; name the package"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(name):
    """audit, …, tables of a name such as terralucas.tables.scores.SCORES; root for a module beside the packages."""
    first = name.split(".")[1]
    return first if first in PACKAGES else "root"


def module_of(name):
    """The file that an import of a name runs."""
    parts = name.split(".")[1:]
    while parts:
        path = CORE.joinpath(*parts).with_suffix(".py")
        if path.is_file():
            return path
        parts.pop()
    return None


MODULES = sorted(CORE.rglob("*.py"))


@cache
def imports():
    """Imports of the core from the core by module; not read where a worker runs no test of this file."""
    return {path: [name for name in imported(path) if name.startswith("terralucas.")] for path in MODULES}


def test_every_package_of_the_layer_rule_is_there():
    assert FORBIDDEN.keys() - {"root"} <= PACKAGES
    assert sum(map(len, imports().values())) > 300, "the imports are read"


@pytest.mark.parametrize("package", FORBIDDEN)
def test_the_layer_rule(package):
    own = [path for path in MODULES if (path.relative_to(CORE).parts[0] if path.parent != CORE else "root") == package]
    assert own
    wrong = [
        f"{path.relative_to(CORE)} imports {name}"
        for path in own
        for name in imports()[path]
        if package_of(name) in FORBIDDEN[package]
    ]
    assert wrong == []


def test_the_core_knows_neither_snakemake_nor_a_script():
    scripts = {"execution", *(path.stem for path in SCRIPTS.glob("*.py"))}
    wrong = [
        f"{path.relative_to(CORE)} imports {name}"
        for path in MODULES
        for name in imported(path)
        if name.split(".")[0] in scripts | {"snakemake"}
    ]
    assert wrong == []


def test_rules_run_scripts_and_hold_no_logic_of_the_core():
    """Rules import settings, names and fingerprints; no rule computes with chips, runs or tables."""
    allowed = {"codebase", "contents", "errors", "files", "disk", "names", "study", "backbones"}
    for path in RULES.glob("*.smk"):
        for name in re.findall(r"^from terralucas\.(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert name in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("unit", ["modules", "packages"])
def test_there_is_no_circle(unit):
    graph = {}
    for path, names in imports().items():
        node = path if unit == "modules" else path.relative_to(CORE).parts[0] if path.parent != CORE else "root"
        for name in names:
            other = module_of(name) if unit == "modules" else package_of(name)
            if other is not None and other != node:
                graph.setdefault(node, set()).add(other)
    require_no_circle(graph)


def test_the_packages_inside_data_import_each_other_in_no_circle():
    """What stands in `data` itself is below all of them."""
    graph = {}
    for path, names in imports().items():
        if path.is_relative_to(CORE / "data"):
            others = {module.parent for module in map(module_of, names) if module and module.parent != path.parent}
            graph[path.parent] = graph.get(path.parent, set()) | others
    assert {path.name for path in graph} >= {"data", "chips", "discovery", "indexing", "rasters"}
    require_no_circle(graph)


def require_no_circle(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {error.args[1]}")


def test_jobs_that_export_nothing_import_no_library_of_exports():
    """They take seconds to import."""
    libraries = ("onnx", "onnxruntime", "onnxscript", "pystac", "terralucas.export")
    users = {
        path.relative_to(CORE).parts[0]
        for path in MODULES
        if any(f"{name}.".startswith(f"{library}.") for name in imported(path) for library in libraries)
    }
    assert users == {"export"}


def test_the_architecture_names_each_file_around_snakemake_once():
    text = (CORE.parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## Around Snakemake")[2].partition("\n## ")[0]
    execution = SCRIPTS / "execution"
    there = [path.relative_to(execution) for path in execution.rglob("*.py") if path.stem != "__init__"]
    named = re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)`", section.partition("| --- |")[2])
    assert sorted(named) == sorted(".".join(path.with_suffix("").parts) for path in there)
