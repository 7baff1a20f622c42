"""What ``pgbroker catalog check`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from broker.config import check_catalog
from broker.config.environment import DEFAULT_CATALOG

from .examples import CATALOG, edited

if TYPE_CHECKING:
    from pathlib import Path


def _check(path: Path, *, width: int) -> tuple[bool, str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        good = check_catalog(path, console)
    return good, capture.get()


def test_a_good_catalog_is_a_table_of_its_plans() -> None:
    """Each plan is a column with what the broker does for it."""
    good, output = _check(DEFAULT_CATALOG, width=160)
    assert good
    rows = {line.split("│")[1].strip(): line for line in output.splitlines() if "│" in line}
    assert "1GiB" in rows["storage"]
    assert "5, 3 a binding" in rows["connections"]
    assert "read-write (default), read-only" in rows["roles"]
    assert "valid until unbind" in rows["credentials"]
    assert f"{DEFAULT_CATALOG} is good: 1 offering, 3 plans." in output.splitlines()


def test_a_bad_catalog_is_one_line_for_each_problem(tmp_path: Path) -> None:
    """On the narrowest terminal, too, a problem is one line that begins with file and line."""
    path = tmp_path / "catalog.yaml"
    path.write_text(edited(CATALOG, "connections: 50", "connections: 0\n          conections: 50"))
    good, output = _check(path, width=40)
    assert not good
    heading, *problems = output.splitlines()
    limits = "offerings[0].plans[1].limits"
    assert heading == "2 problems in the configuration:"
    assert problems == [
        f"  {path}:16: {limits}.connections is 0: must be at least 1.",
        f"  {path}:17: {limits} has no key 'conections'. Did you mean 'connections'?",
    ]
