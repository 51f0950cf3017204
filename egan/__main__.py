"""`python -m egan`."""

import sys

from egan.cli import main

if __name__ == "__main__":
    sys.exit(main())
