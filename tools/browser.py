"""Find the Chromium for the console tests, or install Debian's; otherwise explain what to do.

CHROMIUM sets the program; the default is a chromium or google-chrome in PATH. Nothing is downloaded from
elsewhere.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APT = "apt-get"
HOW = """\
no Chromium is installed, so the tests of the console in a browser are left out.
  Debian, Ubuntu:  sudo apt-get install chromium      Fedora:  sudo dnf install chromium
  elsewhere:       install Chrome or Chromium, and set CHROMIUM to its program"""


def find_browser() -> str | None:
    """Return the program; None if there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def main() -> None:
    """Install what is missing where that is possible without a prompt."""
    if find_browser() is None and shutil.which(APT) and os.geteuid() == 0:
        sys.stderr.write("installing Debian's Chromium for the tests of the console ...\n")
        subprocess.run([APT, "update"], stdout=subprocess.DEVNULL, check=False)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        command = [APT, "install", "--yes", "--no-install-recommends", "chromium"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False, env=environment)
    if find_browser() is None:
        sys.stderr.write(HOW + "\n")


if __name__ == "__main__":
    main()
