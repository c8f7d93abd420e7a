"""What a user installs: the wheel and its contents, the lock, and the dependencies that both agree on."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
DEPENDENCIES = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEVELOPMENT = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


class Pin:
    """One entry of the lock: ``name==version ; marker`` and its hashes."""

    def __init__(self, entry: str):
        head, *hashes = entry.split(" --hash=")
        pinned, _, marker = head.partition(" ; ")
        name, _, version = pinned.partition("==")
        self.name, self.version, self.hashes = canonicalize_name(name), Version(version), hashes
        self.marker = Marker(marker) if marker else None

    def applies_to(self, python: str) -> bool:
        environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
        return self.marker is None or self.marker.evaluate(environment)


PINS = [Pin(re.sub(r"\s+", " ", entry)) for entry in LOCK.replace("\\\n", "").splitlines()]


def pins(name: str) -> list[Pin]:
    return [pin for pin in PINS if pin.name == canonicalize_name(name)]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the locked hatchling without isolation, so without a network."""
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def build(target: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = folder.iterdir()
    return built


def test_wheel_holds_what_runs_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"scumble/{path.relative_to(ROOT).as_posix()}" in names
    for path in (ROOT / "src").rglob("*.py"):
        assert path.relative_to(ROOT / "src").as_posix() in names
    for path in (ROOT / "src" / "scumble" / "comparison" / "page").iterdir():
        assert path.relative_to(ROOT / "src").as_posix() in names
    assert "scumble/py.typed" in names
    assert any(re.fullmatch(r"scumble-[^/]+\.dist-info/licenses/LICENSE", name) for name in names)


def test_wheel_ships_the_default_encoder(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "scumble/networks/pretrained/distilled.safetensors" in names


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    for name in zipfile.ZipFile(wheel).namelist():
        assert name.startswith(("scumble/", "scumble-", "hydra_plugins/scumble_")), name
        assert "__pycache__" not in name
    assert wheel.stat().st_size < 10 * 2**20


def test_source_distribution_builds_the_same_package(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"conf/train.yaml", "src/scumble/cli.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not any(name.startswith((".venv", "runs", ".ci")) for name in names)


def test_installed_wheel_composes_its_config(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which sees the heavy dependencies of this one but not the checkout."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    # A .pth file in a folder that a .pth file adds is not read: the editable install of the checkout is not seen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    python = environment / "bin" / "python"
    install = ["uv", "pip", "install", "--offline", "--no-deps", "--no-config", "--python", str(python), str(wheel)]
    subprocess.run([sys.executable, "-m", *install], env=variables, cwd=tmp_path, check=True, capture_output=True)

    found = subprocess.run(
        [python, "-c", "import scumble.config; print(scumble.config.CONFIG_FOLDER)"],
        env=variables, cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert Path(found.stdout.strip()) == packages / "scumble" / "conf"
    result = subprocess.run(
        [environment / "bin" / "scumble", "train", "--cfg", "job", "steps=7"],
        env=variables, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "steps: 7" in result.stdout
    result = subprocess.run(
        [environment / "bin" / "scumble", "train", "--info", "plugins", "hydra/sweeper=optuna"],
        env=variables, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert "OptunaSweeper" in result.stdout, result.stderr


def test_lock_has_hashes_and_no_addresses() -> None:
    assert len(PINS) > 100
    for pin in PINS:
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in pin.hashes), pin.name
    for word in ("://", "--index", "--extra-index", "--find-links", "--trusted-host", " @ ", "-e "):
        assert word not in LOCK


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", DEPENDENCIES + DEVELOPMENT, ids=lambda requirement: requirement.name)
def test_lock_satisfies_the_bounds(requirement: Requirement, python: str) -> None:
    (pin,) = (pin for pin in pins(requirement.name) if pin.applies_to(python))
    assert requirement.specifier.contains(pin.version, prereleases=True)


def test_lock_has_the_torch_that_torchvision_is_made_for() -> None:
    (torch,), (torchvision,) = pins("torch"), pins("torchvision")
    # 0.29 belongs to 2.15, 0.30 to 2.16: one minor release of each at a time.
    assert torchvision.version.minor - torch.version.minor == 14
    made_for = [Requirement(text) for text in requires("torchvision") or () if Requirement(text).name == "torch"]
    assert made_for
    assert all(requirement.specifier.contains(torch.version) for requirement in made_for)


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_no_malicious_release_of_lightning(name: str) -> None:
    (pin,) = pins(name)
    assert pin.version >= Version("2.6.6")
    (bound,) = (requirement.specifier for requirement in DEPENDENCIES if requirement.name == "lightning")
    assert not any(bound.contains(version) for version in ("2.6.2", "2.6.3"))


def test_everything_that_is_imported_is_declared() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in DEPENDENCIES}
    distributions = packages_distributions()
    for module, path in imported_modules():
        if module not in sys.stdlib_module_names and module != "scumble":
            names = {canonicalize_name(name) for name in distributions[module]}
            assert names & declared, f"{path.relative_to(ROOT)} imports {module}, which pyproject.toml does not declare"


def imported_modules() -> Iterator[tuple[str, Path]]:
    """The top-level modules that the files of the package import, with the file."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((alias.name.split(".")[0], path) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0], path
