"""``python -m scumble``: the command line, for what starts modules (``torchrun -m scumble train ...``)."""

from scumble.cli import main

if __name__ == "__main__":
    main()
