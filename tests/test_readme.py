"""What README promises must be what is run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("python3")]


def test_first_two_commands_run_the_demo_and_the_tests():
    demo, test = commands()
    assert demo.endswith("likewise demo")
    assert test.endswith("-m pytest")


def test_ci_runs_the_test_command():
    install, run = commands()[1].rsplit(" && ", 1)
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert install in script
    assert run in script


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"
