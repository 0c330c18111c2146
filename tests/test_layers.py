"""The house stands as drawn: imports go one way, and the server never loads a training library."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ["storage", "pipeline", "ui", "app"]
JOBS = {"starter", "sft", "reward_model", "dpo", "ppo", "generation", "evaluation", "scoring", "model_export"}
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate"}


def modules(floor: str) -> list[Path]:
    return [ROOT / "app.py"] if floor == "app" else sorted((ROOT / floor).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of every import in the file, also those inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def loaded_after(statement: str) -> set[str]:
    """The top-level modules a fresh Python holds after a statement."""
    code = f"{statement}; import sys; print(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_go_one_way(floor):
    above = FLOORS[FLOORS.index(floor) + 1 :]
    for path in modules(floor):
        upward = {name for name in imported(path) if name.split(".")[0] in above}
        assert not upward, f"{path.relative_to(ROOT)} imports {upward}"


def test_modules_form_no_circle():
    paths = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for floor in FLOORS for p in modules(floor)}
    edges = {name: {n for n in imported(path) if n in paths} for name, path in paths.items()}
    while leaves := {name for name, targets in edges.items() if not targets & edges.keys()}:
        edges = {name: targets for name, targets in edges.items() if name not in leaves}
    assert not edges, f"circle among {sorted(edges)}"


@pytest.mark.slow
def test_the_server_never_loads_a_training_library():
    assert not loaded_after("import app, ui.workbench, ui.command_line") & HEAVY


def test_a_verb_does_not_load_gradio():
    assert "gradio" not in loaded_after("import app, ui.command_line")


@pytest.mark.slow
@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_job_never_loads_the_database_or_the_pages(job):
    loaded = loaded_after(f"import pipeline.{job}")
    assert not loaded & {"duckdb", "gradio", "storage", "ui", "fastapi"}


def test_only_app_reads_the_environment():
    readers = [
        p.name
        for floor in FLOORS
        for p in modules(floor)
        if re.search(r"\bos\.(environ|getenv)\b", p.read_text()) and p.name != "app.py"
    ]
    assert not readers, f"{readers} read the environment; only app.py does"


def test_only_storage_speaks_sql():
    speakers = [p.name for floor in FLOORS[1:] for p in modules(floor) if "duckdb.connect" in p.read_text()]
    assert not speakers


def test_modules_stay_small():
    scripts = [p for p in (ROOT / "ui" / "static").rglob("*.js") if "vendor" not in p.parts]
    paths = [p for floor in FLOORS for p in modules(floor)] + scripts
    long = {p.name: n for p in paths if (n := len(p.read_text().splitlines())) > 400}
    assert not long, f"split these before they hurt: {long}"


def test_the_top_level_holds_what_was_agreed():
    agreed = {
        "ui",
        "pipeline",
        "storage",
        "tests",
        "app.py",
        "requirements.txt",
        "README.md",
        "LICENSE",
        "pyproject.toml",
    }
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    top = {line.split("/")[0] for line in listed.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= agreed
