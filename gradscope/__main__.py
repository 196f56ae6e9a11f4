"""`python -m gradscope`, and the console script."""
from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; errors are one sentence on stderr and an exit code."""
    from gradscope.cli import main as cli_main

    sys.exit(cli_main())


if __name__ == "__main__":
    main()
