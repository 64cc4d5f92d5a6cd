"""DESIGN, Layout and who may import whom: read from the imports themselves."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from worker.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "schemas", "worker")
GROUND_FLOOR = {
    "worker.settings",
    "worker.keys",
    "worker.errors",
    "worker.log",
    "worker.notify",
} | {"worker.redis_url", "worker.setting_files"}
NO_REDIS = {"worker.pipeline", "worker.settings", "worker.keys"}
TALKS_TO_REDIS = {"redis", "worker.connection", "worker.scripts"}
SCREENS = {"core": {"numpy", "scipy"}, "schemas": {"msgspec"}}
IMPURE = {"time", "datetime", "os", "random", "secrets", "uuid", "logging", "subprocess", "socket"}


class Import(NamedTuple):
    module: str
    """As written: `worker.settings`, `numpy.typing`."""
    names: tuple[str, ...]

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def path_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text())


def modules() -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    ]


def imports(module: str) -> Iterator[Import]:
    """Wherever they stand, inside functions too."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            assert node.module is not None
            yield Import(node.module, tuple(alias.name for alias in node.names))


def ours(module: str) -> set[str]:
    """Our own modules that `module` imports, be it `from worker import log` or `worker.log`."""
    found = set()
    for each in imports(module):
        if each.top in PACKAGES:
            inner = {f"{each.module}.{name}" for name in each.names} & set(modules())
            found |= inner or {each.module}
    return found


EVERY_MODULE = pytest.mark.parametrize("module", modules())


def test_there_is_something_to_look_at() -> None:
    assert {"core.state", "schemas.candle", "worker.loop", "worker.pipeline"} <= set(modules())
    assert {"worker.settings", "worker.connection"} <= ours("worker.loop")


@pytest.mark.parametrize("package", SCREENS)
def test_core_and_schemas_import_little_and_nothing_of_each_other(package: str) -> None:
    allowed = {package, *SCREENS[package], *sys.stdlib_module_names}
    found = {
        (module, each.module)
        for module in modules()
        if module.startswith(f"{package}.")
        for each in imports(module)
        if each.top not in allowed
    }
    assert set() == found


def test_core_has_no_clock_environment_randomness_or_logging() -> None:
    """G2: a state depends on its prices and nothing else."""
    found = {
        (module, each.module)
        for module in modules()
        if module.startswith("core.")
        for each in imports(module)
        if each.top in IMPURE or each.module == "numpy.random" or "random" in each.names
    }
    assert set() == found
    uses = {
        module
        for module in modules()
        if module.startswith("core.")
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr == "random"
    }
    assert set() == uses


@pytest.mark.parametrize("module", sorted(NO_REDIS))
def test_pipeline_settings_and_keys_know_no_redis(module: str) -> None:
    """Neither directly nor through what they import."""
    reached, open_ends = {module}, [module]
    while open_ends:
        current = open_ends.pop()
        assert set() == {each.module for each in imports(current) if each.top == "redis"}, current
        new = ours(current) - reached
        reached |= new
        open_ends += new
    assert set() == reached & TALKS_TO_REDIS


def test_the_ground_floor_stands_on_nothing_above_it() -> None:
    found = {
        (module, each)
        for module in GROUND_FLOOR & set(modules())
        for each in ours(module)
        if each.startswith("worker.") and each not in GROUND_FLOOR
    }
    assert set() == found


def test_only_connection_imports_tenacity() -> None:
    users = {module for module in modules() for each in imports(module) if each.top == "tenacity"}
    assert {"worker.connection"} == users


def is_environment(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}


def test_only_settings_reads_the_environment() -> None:
    readers = {
        f"{module}:{ast.unparse(node)}"
        for module in modules()
        if module != "worker.settings"
        for node in ast.walk(tree(module))
        if is_environment(node)
    }
    assert set() == readers
    assert any(map(is_environment, ast.walk(tree("worker.settings"))))


@pytest.mark.parametrize(("name", "module"), [(n, m) for n, (m, _) in COMMANDS.items()])
def test_every_command_is_a_module_that_can_be_called(name: str, module: str) -> None:
    assert module in modules(), name
    assert {"add_options", "command"} <= {
        node.name for node in tree(module).body if isinstance(node, ast.FunctionDef)
    }


@EVERY_MODULE
def test_the_environment_is_not_imported_by_name(module: str) -> None:
    names = {name for each in imports(module) if each.module == "os" for name in each.names}
    assert set() == names & {"environ", "environb", "getenv"}


def test_no_module_imports_itself_over_others() -> None:
    graph = {module: ours(module) for module in modules()}
    assert set(modules()) <= set(TopologicalSorter(graph).static_order()), "a cycle would raise"


def test_no_module_is_a_box_of_odds_and_ends() -> None:
    names = {module.rpartition(".")[2] for module in modules()}
    assert set() == names & {"utils", "util", "helpers", "common", "misc"}
