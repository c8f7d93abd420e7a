"""The rules of the design that a reader should be able to rely on: who imports whom, and how large things are."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import scumble

ROOT = Path(__file__).parents[1]
PACKAGE = Path(scumble.__file__).parent
MODULES = sorted(PACKAGE.parent.rglob("*.py"))  # those of hydra_plugins as well
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))


def name(path: Path) -> str:
    """The dotted name of a module of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> set[str]:
    """All modules that a module imports, wherever the import stands; `from a import b` is a and a.b."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def of(packages: tuple[str, ...], names: set[str]) -> set[str]:
    return {name for name in names if any(name == package or name.startswith(f"{package}.") for package in packages)}


MODULE_IDS = [name(path) for path in MODULES]
each_module = pytest.mark.parametrize("path", MODULES, ids=MODULE_IDS)

FRAMEWORKS = ("lightning", "pytorch_lightning", "hydra", "omegaconf")
CONFIGURED = ("hydra", "omegaconf")
# What each part of the package may not import.
FORBIDDEN = {
    "scumble.losses": (*FRAMEWORKS, "scumble.networks", "scumble.tasks", "scumble.data", "scumble.callbacks"),
    "scumble.networks": (*FRAMEWORKS, "scumble.tasks", "scumble.data", "scumble.callbacks", "scumble.config"),
    "scumble.schedules": (*FRAMEWORKS, "torch", "scumble"),
    "scumble.seeding": (*FRAMEWORKS, "torch", "scumble"),
    "scumble.files": (*FRAMEWORKS, "torch", "scumble"),
    "scumble.directions": (*FRAMEWORKS, "torch", "scumble"),
    "scumble.images": FRAMEWORKS,
    "scumble.data": (*CONFIGURED, "scumble.tasks", "scumble.losses", "scumble.networks", "scumble.callbacks"),
    "scumble.tasks": (*CONFIGURED, "scumble.run", "scumble.data", "scumble.callbacks", "scumble.config"),
    "scumble.metrics": (*FRAMEWORKS, "scumble.tasks", "scumble.data", "scumble.callbacks", "scumble.config"),
    "scumble.callbacks": (*CONFIGURED, "scumble.run"),
    "scumble.comparison": ("torch", "lightning", "scumble.images", "scumble.tasks", "scumble.run"),
    "scumble.overrides": ("torch", "lightning", "scumble.hydra_app", "scumble.run", "scumble.sweeps"),
    "scumble.evaluation": ("scumble.run", "scumble.hydra_app", "scumble.callbacks", "scumble.tasks"),
    "scumble.errors": ("torch", "lightning", "scumble.hydra_app", "scumble.run", "scumble.overrides"),
    "scumble": ("scumble.cli",),
}


@each_module
def test_imports_point_one_way(path: Path):
    for part, forbidden in FORBIDDEN.items():
        if not of((part,), {name(path)}) or name(path) == "scumble.__main__":  # it is the command line
            continue
        found = of(forbidden, imports(path))
        own = of((part,), found) if part != "scumble" else set()
        assert not found - own, f"{name(path)} must not import these"


def test_the_rules_of_imports_are_about_parts_that_exist():
    for part in FORBIDDEN:
        assert any(of((part,), {module}) for module in MODULE_IDS), part


@each_module
def test_only_images_knows_pixel_formats(path: Path):
    # comparison.cells cuts up and re-encodes the pictures of runs, without torch; conversions takes users' PIL images.
    if name(path) not in ("scumble.images", "scumble.comparison.cells", "scumble.conversions"):
        assert not of(("PIL", "cv2", "imageio", "torchvision.io"), imports(path))


COMPOSED = ("run", "evaluation", "hydra_app", "overrides", "errors", "config")


@each_module
def test_few_modules_know_composed_configs(path: Path):
    if not of((*(f"scumble.{module}" for module in COMPOSED), "hydra_plugins"), {name(path)}):
        assert not of(CONFIGURED, imports(path))


@each_module
def test_nothing_is_unpickled(path: Path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "torch.load",
            "torch.hub.load_state_dict_from_url",
        ):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert options.get("weights_only") == "True", f"{path}:{node.lineno}"
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("pickle.load", "pickle.loads", "eval", "exec", "os.system")


def imported_by(statement: str, *packages: str) -> str:
    """Which of the packages a fresh Python has imported after the statement, as a printed list."""
    program = f"{statement}; import sys; print([name for name in {packages} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    return result.stdout.strip()


def test_the_command_line_imports_nothing_heavy():
    heavy = ("torch", "lightning", "hydra", "omegaconf", "numpy", "PIL", "wandb")
    assert imported_by("import scumble.cli", *heavy) == "[]"


def test_networks_losses_and_images_are_usable_without_lightning_and_hydra():
    modules = "scumble.losses.adversarial, scumble.networks.generators, scumble.networks.discriminators, scumble.images"
    assert imported_by(f"import {modules}", "lightning", "hydra", "omegaconf", "wandb") == "[]"


# Documentation and size


@each_module
def test_a_module_says_what_it_is(path: Path):
    assert path.stat().st_size == 0 or ast.get_docstring(parse(path))


def public(path: Path) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in parse(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


@each_module
def test_what_is_public_is_documented(path: Path):
    assert [node.name for node in public(path) if not ast.get_docstring(node)] == []


@each_module
def test_a_module_is_no_longer_than_400_lines(path: Path):
    assert len(path.read_text().splitlines()) <= 400


@each_module
def test_a_function_is_no_longer_than_a_screen(path: Path):
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno}
    assert {function: lines for function, lines in long.items() if lines > 80} == {}


@pytest.mark.parametrize("path", CONFIGS, ids=[str(path.relative_to(ROOT)) for path in CONFIGS])
def test_a_config_begins_with_what_it_is(path: Path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")
    assert len(lines[0]) > 12


def test_there_are_modules_and_configs_to_look_at():
    assert len(MODULES) > 30
    assert len(CONFIGS) > 20
