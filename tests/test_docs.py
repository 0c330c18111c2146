"""What exists is documented, and what is documented exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.configs import CONFIGS
from ui.command_line import make_parser
from ui.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
REQUIREMENTS = (ROOT / "requirements.txt").read_text().split()


def verbs() -> list[str]:
    return list(next(action for action in make_parser()._actions if action.dest == "verb").choices)


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_is_in_the_readme(verb):
    assert re.search(rf"`{verb}\b", README)


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_of_run_is_in_the_readme(kind):
    assert f"`{kind}" in README


@pytest.mark.parametrize("variable", Settings.variables())
def test_every_setting_is_in_the_readme(variable):
    assert f"`{variable}`" in README


def test_the_space_runs_the_gradio_that_is_pinned():
    version = re.search(r"^sdk_version: (\S+)$", README, re.M).group(1)
    assert f"gradio=={version}" in REQUIREMENTS


def test_requirements_are_pinned_exactly_but_for_torch():
    loose = [line for line in REQUIREMENTS if "==" not in line]
    assert loose == ["torch>=2.8,<2.14"]


def test_every_module_stands_in_the_readmes_tree():
    tree = README[README.index("## The house") :]
    missing = [
        str(path.relative_to(ROOT))
        for floor in ("storage", "pipeline", "ui")
        for path in (ROOT / floor).glob("*.py")
        if path.name != "__init__.py" and f"{path.name} " not in tree
    ]
    assert not missing, f"name them in the README's tree: {missing}"


def test_the_tree_names_no_module_that_is_gone():
    tree = README[README.index("## The house") :].split("```")[1]
    known = {path.name for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    assert not {name for name in re.findall(r"\b\w+\.py\b", tree)} - known


def test_every_picture_of_the_readme_exists():
    assert all((ROOT / path).is_file() for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README))


def test_the_command_line_explains_itself():
    done = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and all(verb in done.stdout for verb in verbs())
