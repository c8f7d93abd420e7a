"""``scumble compare``: runs side by side, as a page that works offline and as tables."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

DESCRIPTION = "Compare runs, or the runs of sweeps: a page that works offline, and the table as CSV, JSON and Markdown."


def main(arguments: Sequence[str]) -> None:
    """Parse the flags and write the report; user errors print one line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.pictures <= 0:
        parser.error(f"--pictures must be more than 0 (MB), got {options.pictures:g}")
    try:
        compare(options.folders, options.output, int(options.pictures * 1e6))
    except (ValueError, OSError) as error:
        sys.exit(f"scumble compare: {error}")


def compare(folders: Sequence[str | Path], output: Path, limit: int) -> None:
    """Write ``index.html`` and ``table.*`` into a folder, and say what is missing of the runs.

    ``limit``: the bytes that the pictures may have.
    Raises: ValueError or OSError if the folders hold no runs, or the report cannot be written.
    """
    from scumble.comparison.cells import contact_sheet
    from scumble.comparison.page import notes, write_page
    from scumble.comparison.runs import load_sweep

    sweep = load_sweep(*folders)
    table = sweep.table()
    sheet = contact_sheet(table.runs, limit)
    path = output / "index.html"
    title = Path(folders[0]).resolve().name if len(folders) == 1 else f"{len(table.runs)} runs"
    write_page(sweep, table, sheet, title, path, limit)
    tables = table.write(output)
    size = path.stat().st_size / 1e6
    print(f"{path}: {len(table.runs)} runs, {len(table.configurations)} configurations, {size:.1f} MB")
    print(f"the table: {', '.join(map(str, tables))}")
    for note in notes(sweep, table, sheet, limit):
        names = note["runs"]
        print(f"note: {note['what']}" + (f" ({len(names)}: {names[0]}{', ...' * (len(names) > 1)})" if names else ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scumble compare", description=DESCRIPTION)
    parser.add_argument("folders", nargs="+", metavar="RUN | SWEEP_DIR", help="folders of runs, or of sweeps of them")
    parser.add_argument("-o", "--output", type=Path, default=Path("report"), metavar="DIR",
                        help="where index.html and table.* go (default: report); the files of an earlier report are "
                             "replaced")  # fmt: skip
    parser.add_argument("--pictures", type=float, default=24.0, metavar="MB",
                        help="how large the pictures on the page may be together (default: 24); below that come the "
                             "last step of every run and as many earlier steps as fit")  # fmt: skip
    return parser
