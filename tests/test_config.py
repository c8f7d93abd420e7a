from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from torch import nn

from scumble.config import (
    CONFIG_FOLDER,
    UntrustedConfigError,
    check_trust,
    config_hash,
    instantiate,
    instantiate_untrusted,
    targets,
)
from scumble.losses.adversarial import Hinge
from scumble.moved import MOVED, with_current_names
from scumble.networks.perceptual_encoders import VGG
from scumble.overrides import with_quoted_folder, with_saved_overrides
from scumble.resume import check_resumable
from scumble.strategies import ManualDDP

# What a stranger's config could name. Each would create the file SENTINEL, or would at least run something.
ATTACKS: dict[str, dict[str, Any]] = {
    "os.system": {"_target_": "os.system", "command": "touch SENTINEL"},
    "builtins.eval": {"_target_": "builtins.eval", "_args_": ["open('SENTINEL', 'w')"]},
    "builtins.exec": {"_target_": "builtins.exec", "_args_": ["open('SENTINEL', 'w')"]},
    "subprocess.run": {"_target_": "subprocess.run", "args": ["touch", "SENTINEL"]},
    "subprocess.Popen, a class": {"_target_": "subprocess.Popen", "args": ["touch", "SENTINEL"]},
    "logging.FileHandler, a class": {"_target_": "logging.FileHandler", "filename": "SENTINEL"},
    "torch.load": {"_target_": "torch.load", "f": "SENTINEL", "weights_only": False},
    "torch.save": {"_target_": "torch.save", "obj": 1, "f": "SENTINEL"},
    "torch.hub.load": {"_target_": "torch.hub.load", "repo_or_dir": "stranger/code", "model": "SENTINEL"},
    "a module of a module": {"_target_": "scumble.images.Path.touch", "_args_": ["SENTINEL"]},
    "os through scumble": {"_target_": "scumble.data.folders.os.system", "command": "touch SENTINEL"},
    "Path through scumble": {"_target_": "scumble.callbacks.report.Path.touch", "_args_": ["SENTINEL"]},
    "a class through scumble": {"_target_": "scumble.data.sample.ThreadPoolExecutor"},
    "os through torch": {"_target_": "torch.nn.modules.module.os.system", "command": "touch SENTINEL"},
    "a method of torch": {"_target_": "torch.nn.Module.load_state_dict", "state_dict": {}},
    "a function of torch": {"_target_": "torch.nn.init.zeros_"},
    "globals": {"_target_": "torch.nn.Module.__init__.__globals__.get", "_args_": ["os"]},
    "hydra.utils.call": {"_target_": "hydra.utils.call", "config": {}},
    "instantiate through scumble": {"_target_": "scumble.config.instantiate", "config": {}},
    "scumble.run.train": {"_target_": "scumble.run.train", "config": {}},
    "scumble.cli.main": {"_target_": "scumble.cli.main"},
    "a package whose name begins alike": {"_target_": "torch.nnx.Linear"},
    "nothing": {"_target_": ""},
    "no text": {"_target_": ["os", "system"]},
    "interpolation": {"_target_": "${oc.env:HOME}"},
}
WRAPPINGS: dict[str, Any] = {
    "alone": lambda attack: attack,
    "partial": lambda attack: attack | {"_partial_": True},
    "in a list": lambda attack: {"a": [1, {"b": [attack]}]},
    "in a tuple": lambda attack: {"a": (1, attack)},
    "as an argument": lambda attack: {"_target_": "torch.nn.Sequential", "_args_": [attack]},
    "as a keyword": lambda attack: {"_target_": "torch.nn.Linear", "in_features": attack, "out_features": 1},
    "unrecursed": lambda attack: {"_target_": "torch.nn.Identity", "_recursive_": False, "x": attack},
}


def aimed(config: Any, sentinel: Path) -> Any:
    """The config with the path of the sentinel in place of its name."""
    if isinstance(config, dict):
        return {key: aimed(value, sentinel) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(aimed(value, sentinel) for value in config)
    return config.replace("SENTINEL", str(sentinel)) if isinstance(config, str) else config


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_a_class_of_a_trusted_package_is_refused_before_anything_runs(
    attack: str, wrapping: str, tmp_path: Path
):
    sentinel = tmp_path / "sentinel"
    with pytest.raises(UntrustedConfigError, match="trust"):
        instantiate_untrusted(WRAPPINGS[wrapping](aimed(ATTACKS[attack], sentinel)))
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "value",
    [
        "${oc.create:{_target_: logging.FileHandler, filename: SENTINEL}}",
        "${oc.create:'{_target_: logging.FileHandler, filename: SENTINEL}'}",
        "${oc.create:${oc.decode:'{_target_: shutil.copyfile, src: /dev/null, dst: SENTINEL}'}}",
        "${oc.env:HOME}",
    ],
)
def test_a_config_from_a_file_cannot_make_targets_out_of_text(value: str, tmp_path: Path):
    """OmegaConf would resolve an interpolation into a config with a `_target_` that nobody has looked at."""
    sentinel = tmp_path / "sentinel"
    config = {"_target_": "torch.nn.Identity", "nested": [{"x": aimed(value, sentinel)}]}
    with pytest.raises(UntrustedConfigError, match=r"nested\.0\.x"):
        instantiate_untrusted(config)
    assert not sentinel.exists()


def test_nothing_is_made_when_only_the_last_target_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = []
    monkeypatch.setattr(Hinge, "__init__", lambda self: made.append(self))
    config = [{"_target_": "scumble.losses.adversarial.Hinge"}, {"deep": {"_target_": "os.system", "command": "true"}}]
    with pytest.raises(UntrustedConfigError, match=r"1\.deep\._target_: os\.system"):
        instantiate_untrusted(config)
    assert made == []


def test_the_error_names_the_key_and_how_to_trust():
    with pytest.raises(
        UntrustedConfigError,
        match=r"^a\.b\.1\._target_: my\.thing\.Net .*trust=\[my\] for scumble train, --trust my for scumble",
    ):
        check_trust({"a": {"b": [0, {"_target_": "my.thing.Net"}]}})


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"_target_": "scumble.losses.adversarial.Hinge"}, Hinge),
        ({"_target_": "scumble.networks.perceptual_encoders.random_encoder", "layers": ["relu1_1"]}, VGG),
        ({"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU"}]}, nn.Sequential),
        ({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}, nn.Linear),
    ],
)
def test_classes_of_trusted_packages_are_accepted(config: dict[str, Any], kind: type):
    assert isinstance(instantiate_untrusted(config), kind)


def test_partial_optimizers_and_schedules_are_accepted():
    config = {
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5},
        "schedule": {"_target_": "scumble.schedules.Linear", "start": 0, "end": 1, "steps": 10},
        "plain": [1, "text", None, True],
    }
    made = instantiate_untrusted(config)
    assert made["optimizer"]([torch.zeros(1, requires_grad=True)]).defaults["lr"] == 0.5
    assert made["schedule"](5) == 0.5
    assert made["plain"] == [1, "text", None, True]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of the user's own, with a class, a function, and an import of another package; a second beside it."""
    for name in ("users_own_package", "users_own_package_2"):
        (tmp_path / name).mkdir()
        code = "import os\n\nclass Net:\n    pass\n\ndef make():\n    return Net()\n"
        (tmp_path / name / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return "users_own_package"


def test_a_package_of_the_users_own_needs_trust(package: str):
    for name in ("Net", "make"):
        with pytest.raises(UntrustedConfigError):
            instantiate_untrusted({"_target_": f"{package}.{name}"})
        made = instantiate_untrusted({"_target_": f"{package}.{name}"}, trust=[package])
        assert type(made).__name__ == "Net"
    with pytest.raises(UntrustedConfigError):  # to trust a package is not to trust what it imports
        instantiate_untrusted({"_target_": f"{package}.os.system", "command": "true"}, trust=[package])
    with pytest.raises(UntrustedConfigError):
        instantiate_untrusted({"_target_": f"{package}_2.Net"}, trust=[package])


def test_a_config_of_the_users_own_may_name_any_class(package: str):
    assert type(instantiate({"_target_": f"{package}.Net"})).__name__ == "Net"


def test_instantiate_gives_plain_containers():
    made = instantiate({"a": {"b": [1, 2]}})
    assert type(made) is dict
    assert type(made["a"]["b"]) is list


def test_targets_are_found_with_their_keys():
    config = {"_target_": "a.A", "x": [{"_target_": "b.B", "y": {"_target_": "c.C"}}], "z": {"w": 1}}
    assert list(targets(config)) == [("_target_", "a.A"), ("x.0._target_", "b.B"), ("x.0.y._target_", "c.C")]


def test_config_hash_is_of_the_content_alone():
    assert config_hash({"a": 1, "b": {"c": [1, 2], "d": None}}) == config_hash({"b": {"d": None, "c": [1, 2]}, "a": 1})
    different = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": 1.5}, {"a": None}, {"a": [1]}, {"b": 1}, {"a": {"a": 1}}, {}]
    assert len({config_hash(config) for config in different}) == len(different)
    assert len(config_hash({})) == 12
    int(config_hash({}), 16)


@pytest.mark.parametrize(
    "override",
    [
        "+hydra.callbacks.evil._target_=logging.FileHandler",
        "++hydra.callbacks.evil={_target_: logging.FileHandler, filename: SENTINEL}",
        "hydra/launcher=other",
        "hydra.searchpath=[file:///strangers/configs]",
        "--config-dir=/strangers/configs",
        "-m",
        "trust=[logging]",  # who is trusted says the user, on the command line
    ],
)
def test_a_run_folder_cannot_configure_hydra_itself_or_trust_itself(override: str, tmp_path: Path):
    """Hydra makes its callbacks and launchers itself, before anything of scumble could look at them."""
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text(f"- steps=1\n- '{override}'\n")
    try:
        arguments = with_saved_overrides([f"run_dir={tmp_path}", "resume=true"])
    except UntrustedConfigError:
        return
    assert override not in arguments


@pytest.mark.parametrize("name", ["run", "a=1,b={c}"])
@pytest.mark.parametrize("written", ["run_dir={}", "run_dir='{}'", '++run_dir="{}"', "++run_dir={}", "+run_dir={}"])
@pytest.mark.parametrize("resume", ["resume=true", "resume=failed", "++resume=True"])
def test_a_resumed_run_gets_its_saved_overrides(name: str, written: str, resume: str, tmp_path: Path):
    folder = tmp_path / name
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("[loss_weights.style=5, steps=9, run_dir=x]")
    arguments = [written.replace("{}", str(folder), 1), resume, "steps=12"]
    assert with_saved_overrides(arguments) == [*arguments, "loss_weights.style=5"]
    assert with_saved_overrides([*arguments[:1], "resume=false"]) == [arguments[0], "resume=false"]


def test_the_config_folder_is_there():
    assert (CONFIG_FOLDER / "train.yaml").is_file()


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("run_dir=sweep/loss_weights.style=1,task.accumulate=2", "sweep/loss_weights.style=1,task.accumulate=2"),
        ("run_dir=my runs/it's {one}", "my runs/it's {one}"),
        ("run_dir='sweep/steps=5'", "sweep/steps=5"),
        ("++run_dir=sweep/steps=5", "sweep/steps=5"),
        ("run_dir=${name}", "test"),
    ],
)
def test_a_run_folder_is_taken_as_it_is_written(given: str, taken: str):
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = hydra.compose("train", with_quoted_folder(["name=test", given]))
    assert config.run_dir == taken


def test_a_name_that_has_moved_still_works_and_stays_trusted() -> None:
    for old, new in MOVED.items():
        check_trust({"strategy": {"_target_": old}})
        assert with_current_names({"a": [{"_target_": old, "b": 1}]}) == {"a": [{"_target_": new, "b": 1}]}
    made = instantiate({"_target_": "scumble.tasks.ranks.ManualDDP"})
    assert isinstance(made, ManualDDP)
    before, after = ({"trainer": {"strategy": {"_target_": name}}} for name in next(iter(MOVED.items())))
    assert check_resumable(before, after) == []


def test_moved_names_lead_to_what_exists() -> None:
    for old, new in MOVED.items():
        module, name = new.rsplit(".", 1)
        assert hasattr(import_module(module), name), old
