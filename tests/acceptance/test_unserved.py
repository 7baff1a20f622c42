"""A configuration that has no place for what there is, at the start of ``pgbroker serve``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.catalog import CATALOG, SMALL
from tests.support.platform import Platform
from tests.support.process import (
    PASSWORD,
    USERNAME,
    free_port,
    read_until,
    running_broker,
    started_program,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("catalog", "environ", "told"),
    [
        (
            CATALOG.replace(SMALL, f"{SMALL}er"),
            {},
            {"event": "instances of a plan that is not in the catalog", "plan_id": SMALL},
        ),
        (
            CATALOG,
            {"PGBROKER_PLATFORM_NAME": "renamed"},
            {"event": "instances of a platform that is not configured", "platform": "default"},
        ),
    ],
)
def test_what_is_not_served_any_more_is_told(
    with_all_plans: dict[str, str],
    tmp_path: Path,
    catalog: str,
    environ: dict[str, str],
    told: dict[str, str],
) -> None:
    """A mistyped plan id or a renamed platform is an error in the log, with how many it hits."""
    login, log = (USERNAME, PASSWORD), tmp_path / "broker.log"
    with running_broker(with_all_plans, log) as broker, Platform(broker.url, login) as platform:
        instance = platform.provisioned()
    (tmp_path / "catalog.yaml").write_text(catalog, "utf-8")
    address = {"PGBROKER_BIND": f"127.0.0.1:{free_port()}"}
    with started_program("serve", environ=with_all_plans | environ | address) as process:
        written = read_until(process, told["event"])
    line: dict[str, Any] = json.loads(written.splitlines()[-1])
    assert line.items() >= {**told, "level": "error", "instances": 1}.items()
    (tmp_path / "catalog.yaml").write_text(CATALOG, "utf-8")
    with running_broker(with_all_plans, log) as broker, Platform(broker.url, login) as platform:
        assert platform.deprovision(instance).status_code == 200
