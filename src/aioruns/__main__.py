"""Make ``python -m aioruns`` the command ``aioruns``."""

import sys

from aioruns.cli import main

if __name__ == "__main__":
    sys.exit(main())
