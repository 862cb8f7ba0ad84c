"""The project's own files agree with each other."""

import ast
import os
import re
import subprocess
import tomllib
from dataclasses import asdict

import pytest
import yaml

from helpers.paths import ROOT, SCRIPTS
from terralucas.data.chip_problems import REMEDIES
from terralucas.data.dataset import CheckLimits
from terralucas.data.normalisation import PRETRAINING_STATISTICS_DN
from terralucas.data.rasters.band_names import BandNames

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {name.lower(): version for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", text, re.MULTILINE)}


def test_conda_has_the_same_list():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert pip["pip"] == PROJECT["project"]["dependencies"]
    assert conda == [f"python {PROJECT['project']['requires-python']}", "pip"]


def test_the_lock_holds_every_dependency_with_hashes_and_no_address():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    names = {re.match(r"[\w.-]+", requirement).group().lower() for requirement in wanted}
    assert names <= locked().keys()
    assert "://" not in text
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)


def test_the_snakefile_is_a_table_of_contents():
    assert len((ROOT / "Snakefile").read_text(encoding="utf-8").splitlines()) < 50


def test_every_package_says_at_its_door_what_is_inside():
    """In a sentence; what its modules are for is theirs to say."""
    core = SCRIPTS / "terralucas"
    packages = {path.parent for path in core.rglob("*.py")}
    assert core / "report" / "sections" in packages
    for package in packages:
        door = package / "__init__.py"
        said = ast.get_docstring(ast.parse(door.read_text(encoding="utf-8"))) if door.is_file() else None
        assert said, f"{door.relative_to(ROOT)} has no docstring"
        assert len(said.split()) >= 5 and said.endswith("."), f"{door.relative_to(ROOT)}: {said}"


def test_the_format_of_results_lists_every_kind_of_problem_of_a_chip():
    text = (ROOT / "docs" / "results-format.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", text.partition("# data/report.json")[2], re.MULTILINE)
    assert sorted(listed) == sorted(REMEDIES)


def anchors_of(page):
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_to_files_and_headings():
    pages = [page for folder in (".", "config", "docs") for page in (ROOT / folder).glob("*.md")]
    dead = []
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            file, _, anchor = link.partition("#")
            if file.partition(":")[0] in ("http", "https", "mailto"):
                continue
            target = page if not file else page.parent / file
            if not target.exists() or (anchor and anchor not in anchors_of(target)):
                dead.append(f"{page.name}: {link}")
    assert dead == []


def test_limits_of_chips_have_the_defaults_of_the_schema():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    limits = schema["properties"]["dataset"]["properties"]["checks"]["properties"]
    assert asdict(CheckLimits()) == {name: entry["default"] for name, entry in limits.items()}


def test_the_manual_names_the_bands_of_sentinel_2():
    text = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| (B\w+) \|", text, re.MULTILINE))
    assert listed.keys() == PRETRAINING_STATISTICS_DN.keys()
    for band, number in listed.items():
        assert BandNames((number,)).find_contradiction((band,)) is None
        assert all(BandNames((number,)).find_contradiction((other,)) for other in ("BLUE", "RED") if other != band)


def test_scripts_are_named_as_their_rules():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    blocks = re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    # A target only names the files that a user asks for.
    named = {rule: re.findall(r'script_path\("(\w+)"\)', block) for rule, block in blocks if "script:" in block}
    assert all(scripts == [rule] for rule, scripts in named.items())
    assert {path.stem for path in (ROOT / "workflow" / "scripts").glob("[!_]*.py")} == named.keys()


def test_the_makefile_runs_modules_that_are_there():
    modules = re.findall(
        r"-m ((?:terralucas|benchmarks|helpers)[\w.]*)", (ROOT / "Makefile").read_text(encoding="utf-8")
    )
    assert len(modules) > 4
    folders = {"terralucas": ROOT / "workflow" / "scripts", "benchmarks": ROOT, "helpers": ROOT / "tests"}
    for module in modules:
        path = folders[module.split(".")[0]].joinpath(*module.split(".")).with_suffix(".py")
        assert path.is_file(), f"make runs {module}"


@pytest.mark.parametrize(
    ("restarts", "calls"),
    [(None, ["--profile"]), ("0", ["--profile"]), ("1", ["--unlock", "--profile"])],
)
def test_a_study_that_is_a_slurm_job_goes_on_when_slurm_starts_it_again(tmp_path, restarts, calls):
    """sbatch(1): SLURM_RESTART_COUNT is the number of times that a job was restarted."""
    docs = (ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
    (script,) = [block for block in docs.split("```")[1::2] if block.startswith("bash\n#!/bin/bash\n#SBATCH")]
    (tmp_path / "job.sh").write_text(script.removeprefix("bash\n"))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f"PATH={tmp_path}:$PATH\n")
    fake = tmp_path / "snakemake"
    fake.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/calls\n')
    fake.chmod(0o755)
    environment = {"PATH": os.environ["PATH"]} | ({} if restarts is None else {"SLURM_RESTART_COUNT": restarts})
    subprocess.run(["bash", "-e", "job.sh"], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "calls").read_text().split() == calls
