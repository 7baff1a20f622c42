"""The documentation against the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from broker.config import parse_catalog
from broker.config.environment import DEFAULT_CATALOG
from broker.config.platforms import parse_platforms
from broker.config.variables import VARIABLES

DOCS = Path(__file__).parents[3] / "docs"


def _rows(document: str, *, columns: int) -> list[list[str]]:
    """Return the rows of all tables with that many columns whose first cell is code."""
    lines = (DOCS / document).read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [row for row in rows if len(row) == columns and row[0].startswith("`")]


def _blocks(document: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (DOCS / document).read_text("utf-8"), re.DOTALL)


def test_the_table_of_variables_is_the_code_s() -> None:
    """Every variable is documented with its default and meaning, and no other one is."""
    documented = [
        row for row in _rows("configuration.md", columns=4) if row[0].startswith("`PGBROKER_")
    ]
    expected = [
        [
            f"`{variable.name}`",
            "yes" if variable.secret else "",
            "" if variable.default is None else f"`{variable.default}`",
            variable.meaning,
        ]
        for variable in VARIABLES
    ]
    assert documented == expected


def test_every_field_of_a_catalog_is_documented() -> None:
    """The tables of docs/catalog.md name every key of the catalog's JSON Schema, and no other."""
    schema = json.loads(DEFAULT_CATALOG.with_name("catalog.schema.json").read_text("utf-8"))
    keys: set[str] = set()

    def collect(part: Any) -> None:
        keys.update(part.get("properties", {}))
        for child in part.get("properties", {}).values():
            collect(child)
        if "items" in part:
            collect(part["items"])

    for part in (schema, *schema["$defs"].values()):
        collect(part)
    documented = {row[0].strip("`").rpartition(".")[2] for row in _rows("catalog.md", columns=3)}
    assert documented == keys


def test_the_catalogs_in_the_documentation_are_good() -> None:
    """What readers copy works."""
    blocks = [block for block in _blocks("catalog.md") if block.startswith("offerings:")]
    assert blocks
    for block in blocks:
        assert parse_catalog(block, "docs/catalog.md").offerings


def test_the_platforms_in_the_documentation_are_good(tmp_path: Path) -> None:
    """The example of a platforms file is accepted once the files it names are there."""
    (block,) = (block for block in _blocks("configuration.md") if block.startswith("platforms:"))
    for number, name in enumerate(re.findall(r"_file: (\S+)", block)):
        (tmp_path / name).write_text(f"password-number-{number}\n")
    platforms = parse_platforms(block, "docs/configuration.md", directory=tmp_path)
    assert [len(platform.passwords) for platform in platforms] == [1, 2]
