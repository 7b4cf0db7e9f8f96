"""The Python environment of a test host: that of the tests, on a path of its own, with the synced checkout in front."""

from __future__ import annotations

import site
import sys
from pathlib import Path

ENVIRONMENT = "/root/env"
ENTRY = """#!{environment}/bin/python
import sys
from {module} import {function}
sys.exit({function}())
"""
COMMANDS = {"ray": ("ray.scripts.scripts", "main"), "lesion-search": ("search.cli", "main")}


def make_environment(home: Path, checkout: str = "/root/lesion-search") -> Path:
    """Lay the environment into a host's `home`; returns its site-packages, where tests plant what is wrong.

    It is a real virtual environment without packages of its own: a file of paths leads to `checkout`, then to the
    packages of the Python that runs the tests. The stamp tells `make install` that nothing is to be installed.
    """
    root = home / "env"
    packages = root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (root / "bin").mkdir()
    base = Path(sys.executable).resolve()
    (root / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    for name in ("python", "python3"):
        (root / "bin" / name).symlink_to(base)
    lines = [checkout, *(f"import site; site.addsitedir({folder!r})" for folder in site.getsitepackages())]
    (packages / "0_lab.pth").write_text("\n".join(lines) + "\n")
    for name, (module, function) in COMMANDS.items():
        script = root / "bin" / name
        script.write_text(ENTRY.format(environment=ENVIRONMENT, module=module, function=function))
        script.chmod(0o755)
    (root / ".installed").touch()
    return packages
