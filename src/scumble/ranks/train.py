"""`scumble train` as a script: Lightning starts it once per further rank, with the overrides of the first."""

import sys

from scumble.hydra_app import train

if __name__ == "__main__":
    train(sys.argv[1:])
