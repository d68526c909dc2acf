"""Puts Debian's Chromium and a font on the machine, if there is no Chromium; what the browser tests need of it.

    python tests/browser/install_chromium.py

Nothing else is ever downloaded, and nothing at all where the browser is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

PACKAGES: Final = ("chromium", "fonts-dejavu-core")
BY_HAND: Final = "Install Chromium by hand, so that `chromium` is on the PATH, and a font with it."


def main() -> str | None:
    """Install what is missing; return what stands in the way, for people to read."""
    if shutil.which("chromium"):
        return None
    if not (apt := shutil.which("apt-get")):
        return f"There is no chromium on the PATH, and no apt-get to install it with. {BY_HAND}"
    command = [apt]
    if os.geteuid() != 0:
        if not (sudo := shutil.which("sudo")):
            return f"Installing Chromium with apt-get takes root, or sudo. {BY_HAND}"
        command = [sudo, "--non-interactive", apt]
    install = (*command, "install", "--yes", "--no-install-recommends", *PACKAGES)
    # The lists of packages may be missing or out of date.
    if _succeeds(install) or (_succeeds((*command, "update")) and _succeeds(install)):
        return None
    return f"{' '.join(install)} failed, see above. {BY_HAND}"


def _succeeds(command: Sequence[str]) -> bool:
    print("+", *command, flush=True)
    return subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
