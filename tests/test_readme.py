"""What the documents tell a reader to type works: README.md, CONTRIBUTING.md and docs/*.md.

- Every line of a ```bash block is a command. The quick tests know each one and compose the config of each `scumble
  train`; the slow tests run them, with training made tiny, in the order of the document and in one folder for each
  document. ``make`` is only asked what it would do. Anything else has to stand in NOT_RUN with the reason.
- A ```python or ```yaml block with a title (```python title="mine.py") is a file that is there when the commands run.
- A ```python block without a title is run by a quick test, with its functions ``test_*``.
- PHOTO, RUN and the other PLACEHOLDERS stand for files that the tests make.
"""

import functools
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import hydra
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from runs import make_images, scumble
from safetensors.torch import save_file

from scumble.checkpoint import list_checkpoints
from scumble.cli import COMMANDS
from scumble.config import CONFIG_FOLDER

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))) if path.exists()
]

NOT_RUN = {
    r"git clone \S+( \S+)?": "the reader has the checkout already",
    r"cd \S+": "the tests choose the folder",
    r"source \.venv/bin/activate": "the tests call the environment by its path",
    r"(\.venv/bin/)?pre-commit install": "it would change the checkout's git hooks",
    r"(\.venv/bin/)?(python -m )?pytest( .*)?": "these are the tests",
    r"(python3? -m )?pip install .*": "the environment is the lock's; test_packaging.py installs the wheel",
    r"(\.venv/bin/)?wandb (login|sync|leet)( .*)?": "needs an account, or a terminal",
    r"(\.venv/bin/)?tensorboard .*": "a server",
    r"(\.venv/bin/)?jupyter .*": "a server; the notebooks have a test of their own",
    r"nvidia-smi|squeue|sbatch .*|srun .*": "the machine of the reader",
    r"(\w+=1 )?torchrun .*": "test_torchrun.py runs it",
}

# Replaces what a command says of the same key; what a command chooses besides stays.
TINY = ("steps", "val_every_n_steps", "checkpoint_every_n_steps", "data.image_size", "data.batch_size", "threads")
NEEDS_A_GPU = {"trainer=gpu", "trainer=ddp"}
NEEDS_A_CLUSTER = {"hydra/launcher=slurm", "hydra/launcher=submitit_slurm"}  # test_slurm.py runs such a sweep


class Command(NamedTuple):
    document: str
    line: int
    text: str


class Block(NamedTuple):
    line: int
    language: str
    title: str | None
    text: str


def blocks(document: Path) -> Iterator[Block]:
    """The fenced blocks of a Markdown file, also those that are indented below a list."""
    fence = re.compile(r"^( *)```(\w+)(?: title=\"([^\"]+)\")?[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
    text = document.read_text()
    for match in fence.finditer(text):
        indent, language, title, body = match.groups()
        unindented = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        yield Block(text[: match.start()].count("\n") + 2, language, title, unindented)


def commands() -> list[Command]:
    """The lines of all bash blocks, those that end in a backslash joined, without comments."""
    found = []
    for document in DOCUMENTS:
        for block in blocks(document):
            if block.language in ("sh", "shell", "console", "zsh"):
                raise ValueError(f"{document.name}:{block.line}: write ```bash, for which there is a test")
            if block.language == "bash":
                joined = block.text.replace("\\\n", " ")
                for number, line in enumerate(joined.splitlines()):
                    text = re.sub(r"(^|\s)#.*", "", line).strip()
                    if text:
                        found.append(Command(document.name, block.line + number, re.sub(r"\s+", " ", text)))
        if document.parent.name == "catalogue":  # its pages give commands within lines as well
            text = document.read_text()
            for match in re.finditer(r"`(scumble \w+ [^`]+)`", text):
                line = text[: match.start()].count("\n") + 1
                found.append(Command(document.name, line, re.sub(r"\s+", " ", match[1])))
    return found


COMMANDS_OF_DOCUMENTS = commands()


def scumble_arguments(command: Command) -> tuple[dict[str, str], list[str]] | None:
    """The environment and arguments of a command ``scumble ...``; None if it is another program."""
    words = shlex.split(command.text)
    environment = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, value = words.pop(0).split("=", 1)
        environment[name] = value
    if not words or words[0].removeprefix(".venv/bin/") != "scumble":
        return None
    return environment, words[1:]


def is_train(arguments: Sequence[str]) -> bool:
    return arguments[:1] == ["train"] and not {"--help", "-h"} & set(arguments)


def first_of_sweep(arguments: Sequence[str]) -> list[str]:
    """The overrides among the arguments, with the first of the values of a sweep."""
    overrides = OverridesParser.create().parse_overrides([word for word in arguments if is_override(word)])
    return [
        f"{override.get_key_element()}={first_value(override)}"
        if override.is_sweep_override()
        else str(override.input_line)
        for override in overrides
    ]


def first_value(override: Override) -> object:
    """The first of the values of a sweep, the lower end of an interval."""
    value = override.value()
    return value.start if isinstance(value, IntervalSweep) else next(override.sweep_string_iterator())


def is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def of_commands(chosen: Callable[[Command], bool] = lambda command: True) -> pytest.MarkDecorator:
    """A test for each command of the documents that is chosen."""
    found = [command for command in COMMANDS_OF_DOCUMENTS if chosen(command)]
    return pytest.mark.parametrize("command", found, ids=[f"{c.document}:{c.line}" for c in found])


def is_scumble(command: Command) -> bool:
    return scumble_arguments(command) is not None


def composes_scumbles_own_config(command: Command) -> bool:
    """Files on a search path of the reader are made by the slow test only."""
    _, arguments = scumble_arguments(command) or ({}, [])
    return is_train(arguments) and not any(argument.startswith("hydra.searchpath") for argument in arguments)


@of_commands()
def test_command_is_known(command: Command) -> None:
    parsed = scumble_arguments(command)
    if parsed is not None:
        _, arguments = parsed
        assert arguments[:1] in [[name] for name in (*COMMANDS, "--help", "--version")]
    elif command.text.startswith("make "):
        result = subprocess.run(
            ["make", "--dry-run", *shlex.split(command.text)[1:]], cwd=ROOT, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
    else:
        assert any(re.fullmatch(pattern, command.text) for pattern in NOT_RUN), (
            f"{command.document}:{command.line}: no test runs {command.text!r}; add it to NOT_RUN with the reason"
        )


@of_commands(composes_scumbles_own_config)
def test_overrides_compose(command: Command) -> None:
    """The config as the document gives it, with the first of the values of a sweep."""
    _, arguments = scumble_arguments(command) or ({}, [])
    overrides = first_of_sweep(arguments)
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        hydra.compose("train", overrides, return_hydra_config=True)


@pytest.mark.slow
@of_commands(is_scumble)
def test_command_runs(command: Command, placeholder: Callable[[str], str], folder: Callable[[str], Path]) -> None:
    environment, arguments = scumble_arguments(command) or ({}, [])
    cwd = folder(command.document)
    arguments = [re.sub(r"[A-Z][A-Z_]+", lambda match: placeholder(match[0]), argument) for argument in arguments]
    trials = 2 if is_train(arguments) else 3  # a search that goes on has one more
    arguments = [re.sub(r"^(hydra\.sweeper\.n_trials)=\d+$", rf"\1={trials}", argument) for argument in arguments]
    if is_train(arguments) or arguments[:2] == ["sweep", "plan"]:
        arguments = tiny(arguments, cwd)
        absent = NEEDS_A_CLUSTER if torch.cuda.is_available() else NEEDS_A_CLUSTER | NEEDS_A_GPU
        if absent & set(arguments):
            arguments = ["train", *first_of_sweep(arguments), "--cfg", "job"]
    if arguments[0] == "sweep":
        arguments = [word for word in arguments if word not in NEEDS_A_CLUSTER]
    if arguments[0] == "check-resume":
        arguments += ["--steps=6", "debug=tiny"]
    path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")]))
    scumble(*arguments, cwd=cwd, **environment | {"PYTHONPATH": path})


def tiny(arguments: Sequence[str], cwd: Path) -> list[str]:
    """The arguments of ``scumble train`` for a run of two steps; of a resumed run, for one step more."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument and not argument.startswith("-"))
    kept = [word for word in arguments if word.split("=", 1)[0] not in TINY or word == "data.batch_size=1"]
    if given.get("resume") == "true":
        return [*kept, f"steps={max(list_checkpoints(cwd / given['run_dir']), default=0) + 1}"]
    small = {"steps": "2", "data.image_size": "32"}
    return [
        *kept,
        *(["debug=tiny"] if "debug" not in given else []),
        *(f"{key}={value}" for key, value in small.items()),
    ]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder where the commands of a document run, with the files that its blocks name."""

    @functools.cache
    def made(document: str) -> Path:
        path: Path = tmp_path_factory.mktemp(Path(document).stem)
        source = next(found for found in DOCUMENTS if found.name == document)
        for block in blocks(source):
            if block.title and not block.title.startswith(("src/", "conf/", "tests/")):
                target = path / block.title
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text)
        return path

    return made


@pytest.fixture(scope="session")
def placeholder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """What stands for a word in capitals: the path of a file that is made when it is first asked for, or the word."""
    root = tmp_path_factory.mktemp("placeholders")

    def images(name: str) -> Path:
        return make_images(root / name.lower(), 6, seed=len(name))

    def image(name: str) -> Path:
        return next(images(name).iterdir()).rename(root / f"{name.lower()}.png")

    def run(name: str) -> Path:
        data = ["data=folders", f"data.content={value('PHOTOS')}", f"data.style={value('PAINTINGS')}"]
        scumble("train", *tiny(data, root), f"run_dir={root / 'run'}", "logger=csv", cwd=root)
        return root / "run"

    def sweep(name: str) -> Path:
        data = ["data=folders", f"data.content={value('PHOTOS')}", f"data.style={value('PAINTINGS')}"]
        grid = ["-m", "loss_weights.style=1,2", f"hydra.sweep.dir={root / 'sweep'}"]
        scumble("train", *tiny(data, root), *grid, "logger=csv", cwd=root)
        return root / "sweep"

    def checkpoint(name: str) -> Path:
        return shutil.copy(max((Path(value("RUN")) / "checkpoints").glob("*.ckpt")), root / "model.ckpt")

    def vgg(name: str) -> Path:
        """Random weights in the layout of the normalised VGG-19."""
        from scumble.networks.perceptual_encoders import random_encoder

        state = random_encoder().state_dict()
        renamed = {
            key.replace("input.", "conv0.").removeprefix("convolutions."): tensor.clone()
            for key, tensor in state.items()
        }
        save_file(renamed, root / "vgg.safetensors")
        return root / "vgg"  # a document writes VGG.safetensors

    makers: dict[str, Callable[[str], Path]] = {
        "PHOTO": image,
        "PAINTING": image,
        **dict.fromkeys(("PHOTOS", "PAINTINGS", "FOLDER", "CONTENT_DIR", "STYLE_DIR", "CLIP"), images),
        "RUN": run,
        "SWEEP_DIR": sweep,
        "CHECKPOINT": checkpoint,
        "VGG": vgg,
        "OUTPUT": lambda name: root / "output",
    }

    @functools.cache
    def value(word: str) -> str:
        return str(makers[word](word)) if word in makers else word

    return value


PYTHON_BLOCKS = [
    (document.name, block) for document in DOCUMENTS for block in blocks(document) if block.language == "python"
]


@pytest.mark.parametrize(
    ("document", "block"), PYTHON_BLOCKS, ids=[f"{document}:{block.line}" for document, block in PYTHON_BLOCKS]
)
def test_python_blocks_run(document: str, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "example"}
    exec(compile(block.text, f"{document}:{block.line}", "exec"), namespace)
    for name, value in namespace.items():
        if name.startswith("test_") and callable(value):
            value()


def test_documents_say_how_to_train_and_test() -> None:
    texts = [command.text for command in COMMANDS_OF_DOCUMENTS]
    assert "make train" in texts
    assert "make test" in texts
