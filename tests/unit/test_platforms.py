"""That the core and the rules' helpers name nothing that Python has on Linux alone, so that they load on macOS."""

import subprocess
import sys

from helpers.paths import ROOT

CORE = ROOT / "workflow" / "scripts" / "terralucas"
# Without what the packages say of their types, which takes mypy a minute. Of its errors, the names that a module of the
# standard library has not are looked at alone.
SETTINGS = """
[mypy]
mypy_path = workflow/scripts
follow_imports = skip
ignore_missing_imports = True
disable_error_code = misc, import-untyped
"""


def find_missing(tmp_path, platform, files):
    settings = tmp_path / "mypy.ini"
    settings.write_text(SETTINGS)
    command = ["mypy", "--config-file", settings, "--platform", platform, "--cache-dir", tmp_path / "cache", *files]
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert "checked " in done.stdout, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "Module has no attribute" in line]


def test_macos_has_every_name_of_the_standard_library_that_the_project_uses(tmp_path):
    assert find_missing(tmp_path, "darwin", [CORE, CORE.with_name("execution")]) == []


def test_names_that_a_platform_lacks_are_found(tmp_path):
    """Windows has no `fcntl.flock`."""
    assert find_missing(tmp_path, "win32", [CORE / "folder_locks.py"])
