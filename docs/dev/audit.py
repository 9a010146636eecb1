"""Known holes in what is installed: pip-audit, and a plain word where PyPI cannot be asked. Run by `make audit`.

Exit status: 0 none known, 1 some are (they are listed), 2 nobody could be asked.
"""

from __future__ import annotations

import subprocess
import sys

UNREACHABLE = ("ConnectionError", "ConnectError", "Max retries", "Failed to establish", "ServiceError", "Name or serv")


def main() -> int:
    """Install pip-audit where it is missing, and run it."""
    tool = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off"]
    if subprocess.run([sys.executable, "-c", "import pip_audit"], capture_output=True, check=False).returncode:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "pip-audit>=2.7"]
        if subprocess.run(install, check=False).returncode:
            sys.stderr.write("pip-audit is not here and cannot be fetched: nothing was audited. Try with a network.\n")
            return 2
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    if done.returncode and any(sign in done.stderr for sign in UNREACHABLE):
        sys.stderr.write("PyPI cannot be asked for known holes just now: nothing was audited. Try with a network.\n")
        return 2
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
