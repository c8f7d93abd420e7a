"""Every experiment in the precision of a GPU: a few steps in bf16-mixed, on the CPU."""

import csv
import math
from pathlib import Path

import pytest
from runs import make_images, scumble_here

from scumble.config import CONFIG_FOLDER
