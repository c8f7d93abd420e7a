"""The command line. Nothing heavy is imported before a command is chosen."""

import sys
from collections.abc import Callable, Sequence

USAGE = """usage: scumble COMMAND ...

commands:
{commands}

scumble COMMAND --help says more of each."""


def train(arguments: Sequence[str]) -> None:
    """train a run, or a sweep of runs with -m (a Hydra application: key=value ...)"""
    from scumble.hydra_app import train

    train(arguments)


def evaluate(arguments: Sequence[str]) -> None:
    """measure a trained run on images that it never saw (run_dir=RUN key=value ..., or --protocol FILE)"""
    if any(word.split("=", 1)[0] == "--protocol" for word in arguments):
        from scumble.protocol.commands import evaluate

        if not {"-h", "--help"}.isdisjoint(arguments):
            arguments = ["--help"]  # --protocol alone would miss its FILE
    else:
        from scumble.hydra_app import evaluate

    evaluate(arguments)


def protocol(arguments: Sequence[str]) -> None:
    """freeze an evaluation in a file (create), or test which differences between scores are real (compare)"""
    from scumble.protocol.commands import main

    main(arguments)


def stylize(arguments: Sequence[str]) -> None:
    """repaint photographs in the style of paintings (--style PAINTING, --strength, --model RUN)"""
    from scumble.stylize import main

    main(arguments)


def generate(arguments: Sequence[str]) -> None:
    """draw images from a model that makes them of noise (--model, --output)"""
    from scumble.generate import main

    main(arguments)


def check_resume(arguments: Sequence[str]) -> None:
    """prove that your own configuration resumes exactly (key=value ...)"""
    from scumble.check_resume import main

    main(arguments)


def sweep(arguments: Sequence[str]) -> None:
    """plan, inspect, resume or retry a sweep (plan key=value ..., status, resume or retry SWEEP_DIR)"""
    from scumble.sweeps.commands import main

    main(arguments)


def compare(arguments: Sequence[str]) -> None:
    """compare runs as a page that works offline, and as tables (RUN... or SWEEP_DIR, -o DIR)"""
    from scumble.comparison.commands import main

    main(arguments)


def wandb_report(arguments: Sequence[str]) -> None:
    """lay out the dashboard of a sweep in Weights & Biases (ENTITY/PROJECT --group SWEEP)"""
    from scumble.wandb_report import main

    main(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train,
    "evaluate": evaluate,
    "protocol": protocol,
    "stylize": stylize,
    "generate": generate,
    "sweep": sweep,
    "compare": compare,
    "wandb-report": wandb_report,
    "check-resume": check_resume,
}


def main() -> None:
    """The entry point ``scumble``; an interrupt prints one line. User errors are handled by the commands."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(_usage())
        return
    if command == "--version":
        from importlib.metadata import version

        print(version("scumble"))
        return
    if command not in COMMANDS:
        sys.exit(f"scumble: no command {command!r}\n\n{_usage()}")
    try:
        COMMANDS[command](arguments)
    except KeyboardInterrupt:
        sys.exit("scumble: interrupted")


def _usage() -> str:
    listed = "\n".join(f"  {name:<13} {function.__doc__}" for name, function in COMMANDS.items())
    return USAGE.format(commands=listed)
