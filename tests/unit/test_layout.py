"""The layout of the packages, and which may import which, read from the imports themselves."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from marketstate.worker.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "schemas", "worker")
NAME = "marketstate"
WORKER = "marketstate.worker."
IMPORTING = (*PACKAGES, "tests", "scripts")
GROUND_FLOOR = {"__init__", "__main__", "cli", "settings", "setting_files", "redis_url"} | {
    "keys",
    "errors",
    "log",
    "stop",
}
# What each wing of worker/ may import, besides core, schemas and the ground floor.
STANDS_ON = {
    "ground floor": set[str](),
    "store": set[str](),
    "files": set[str](),
    "local": set[str](),
    "engine": {"store"},
    "commands": {"store", "engine", "files", "local"},
}
NO_REDIS = {
    "marketstate.worker.engine.pipeline",
    "marketstate.worker.settings",
    "marketstate.worker.keys",
    "marketstate.worker.commands.history.command",
}
TALKS_TO_REDIS = {
    "redis",
    "marketstate.worker.store.connection",
    "marketstate.worker.store.scripts",
}
SCREENS = {"core": {"numpy", "scipy"}, "schemas": {"msgspec"}}
IMPURE = {"time", "datetime", "os", "random", "secrets", "uuid", "logging", "subprocess", "socket"}


class Import(NamedTuple):
    module: str
    """As written: `marketstate.worker.settings`, `numpy.typing`."""
    names: tuple[str, ...]

    @property
    def top(self) -> str:
        """`core` for `marketstate.core.state`."""
        return self.module.removeprefix(f"{NAME}.").partition(".")[0]


def path_of(module: str) -> Path:
    path = ROOT / module.removeprefix(f"{NAME}.").replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text())


@cache
def modules() -> tuple[str, ...]:
    return tuple(
        ".".join((NAME, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    )


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(imports_of(tree(module), module))


def imports_of(parsed: ast.Module, name: str) -> Iterator[Import]:
    """All imports, including those inside functions."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            assert node.module is not None
            yield Import(node.module, tuple(alias.name for alias in node.names))


@cache
def ours(module: str) -> set[str]:
    """Our own modules that `module` imports, by whichever form of import."""
    found = set()
    for each in imports(module):
        if each.top in {NAME, *PACKAGES}:
            inner = {f"{each.module}.{name}" for name in each.names} & set(modules())
            found |= inner or {each.module}
    return found


def in_the_folder_of_the_name() -> dict[str, str]:
    """Its files, and its links with where they lead."""
    return {
        path.name: str(path.readlink()) if path.is_symlink() else ""
        for path in (ROOT / "src" / NAME).iterdir()
        if path.name != "__pycache__"
    }


def test_modules_and_their_imports_are_found() -> None:
    assert {
        "marketstate.core.state",
        "marketstate.schemas.candle",
        "marketstate.worker.engine.loop",
        "marketstate.worker.engine.pipeline",
    } <= set(modules())
    assert {"marketstate.worker.settings", "marketstate.worker.store.connection"} <= ours(
        "marketstate.worker.engine.loop"
    )


def test_the_folders_are_packages_of_one_name() -> None:
    links = {package: f"../../{package}" for package in PACKAGES}
    assert in_the_folder_of_the_name() == {"__init__.py": "", "py.typed": "", **links}


def test_nothing_is_imported_by_the_name_of_its_folder_alone() -> None:
    """From a checkout that would work: the same module a second time, with state of its own."""
    files = [path for folder in IMPORTING for path in sorted((ROOT / folder).rglob("*.py"))]
    found = {
        f"{path.relative_to(ROOT)}: {each.module}"
        for path in files
        for each in imports_of(ast.parse(path.read_text()), str(path))
        if each.module.partition(".")[0] in PACKAGES
    }
    assert found == set()


@pytest.mark.parametrize("package", SCREENS)
def test_core_and_schemas_import_little_and_nothing_from_each_other(package: str) -> None:
    allowed = {package, *SCREENS[package], *sys.stdlib_module_names}
    found = {
        (module, each.module)
        for module in modules()
        if module.startswith(f"{NAME}.{package}.")
        for each in imports(module)
        if each.top not in allowed
    }
    assert found == set()


def test_core_has_no_clock_environment_randomness_or_logging() -> None:
    """G2: a state depends only on its prices."""
    found = {
        (module, each.module)
        for module in modules()
        if module.startswith("marketstate.core.")
        for each in imports(module)
        if each.top in IMPURE or each.module == "numpy.random" or "random" in each.names
    }
    assert found == set()
    uses = {
        module
        for module in modules()
        if module.startswith("marketstate.core.")
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr == "random"
    }
    assert uses == set()


@pytest.mark.parametrize("module", sorted(NO_REDIS))
def test_pipeline_settings_keys_and_history_do_not_import_redis(module: str) -> None:
    """Neither directly nor through what they import."""
    reached, open_ends = {module}, [module]
    while open_ends:
        current = open_ends.pop()
        assert {each.module for each in imports(current) if each.top == "redis"} == set(), current
        new = ours(current) - reached
        reached |= new
        open_ends += new
    assert reached & TALKS_TO_REDIS == set()


def wing(module: str) -> str:
    """Of a module of worker/: `engine` for `marketstate.worker.engine.loop`."""
    first = module.removeprefix(WORKER).partition(".")[0]
    return first if first in STANDS_ON else "ground floor"


def test_worker_has_its_wings_and_only_these_files_on_the_ground_floor() -> None:
    folder = ROOT / "worker"
    assert {path.stem for path in folder.glob("*.py")} == GROUND_FLOOR
    wings = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert wings == set(STANDS_ON) - {"ground floor"}


@pytest.mark.parametrize("name", STANDS_ON)
def test_a_wing_imports_only_the_wings_below_it(name: str) -> None:
    allowed = STANDS_ON[name] | {name, "ground floor"}
    found = {
        (module, each)
        for module in modules()
        if module.startswith(WORKER) and wing(module) == name
        for each in ours(module)
        if each.startswith(WORKER) and wing(each) not in allowed
    }
    assert found == set()


def test_only_connection_imports_tenacity() -> None:
    users = {module for module in modules() for each in imports(module) if each.top == "tenacity"}
    assert users == {"marketstate.worker.store.connection"}


def test_only_the_page_has_a_web_server() -> None:
    """The workers open no port."""
    web = {"h11", "http", "socketserver", "starlette", "uvicorn"}
    users = {module for module in modules() for each in imports(module) if each.top in web}
    assert users
    assert {user.rpartition(".")[0] for user in users} == {"marketstate.worker.commands.serve"}


def is_environment(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}


def test_only_settings_reads_the_environment() -> None:
    readers = {
        f"{module}:{ast.unparse(node)}"
        for module in modules()
        if module != "marketstate.worker.settings"
        for node in ast.walk(tree(module))
        if is_environment(node)
    }
    assert readers == set()
    assert any(map(is_environment, ast.walk(tree("marketstate.worker.settings"))))


@pytest.mark.parametrize(
    ("name", "module"), [(n, f"marketstate.worker.commands.{m}") for n, (m, _) in COMMANDS.items()]
)
def test_every_command_is_a_module_that_can_be_called(name: str, module: str) -> None:
    assert module in modules(), name
    assert {"add_options", "command"} <= {
        node.name for node in tree(module).body if isinstance(node, ast.FunctionDef)
    }


def test_the_environment_is_not_imported_by_name() -> None:
    found = {
        (module, name)
        for module in modules()
        for each in imports(module)
        for name in each.names
        if each.module == "os" and name in {"environ", "environb", "getenv"}
    }
    assert found == set()


def test_there_are_no_import_cycles() -> None:
    graph = {module: ours(module) for module in modules()}
    assert set(modules()) <= set(TopologicalSorter(graph).static_order()), "a cycle would raise"


def test_no_module_is_a_catch_all() -> None:
    names = {module.rpartition(".")[2] for module in modules()}
    assert names & {"utils", "util", "helpers", "common", "misc"} == set()
