"""python -m foveal: the command line, for where its script is not on the path."""

from foveal.cli.main import run

if __name__ == "__main__":
    run()
