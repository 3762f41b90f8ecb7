"""Ratios of CPU time, each measured side by side in this one run; README.md tells what and how."""

from __future__ import annotations

import argparse

import matplotlib as mpl
import torch

from rows import ROWS
from turns import print_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NAME", choices=[row.name for row in ROWS], help="%(choices)s")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    mpl.use("agg")
    print_table([row for row in ROWS if only in (None, row.name)])


if __name__ == "__main__":
    main()
