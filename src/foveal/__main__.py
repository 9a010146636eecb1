"""The script `foveal`, and `python -m foveal` for where it is not on the path."""

import sys


def run() -> None:
    """The command line; Ctrl-C while it is being loaded stops it as it does later."""
    try:
        from foveal.cli.main import run as commands
    except KeyboardInterrupt:
        sys.exit(130)
    commands()


if __name__ == "__main__":
    run()
