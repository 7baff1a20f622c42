"""Instances and bindings that were made before the encryption key was rotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from tests.support.application import (
    KUBERNETES,
    Observer,
    new_key,
    running_application,
    settings_for,
)
from tests.support.platform import Platform, can_connect, new_id

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresServer


def test_an_instance_outlives_a_key_rotation(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """With the new key behind or before the old one, an instance is served to its end."""
    old, new = new_key(), new_key("new")
    made = []
    for ring in (old, f"{old},{new}", f"{new},{old}", f"{old},{new}"):
        settings = settings_for(postgres, state_dsn, tmp_path, key=ring)
        with running_application(settings) as broker, Platform(broker.url, KUBERNETES) as platform:
            made.append(platform.bound())
            for instance, binding, credentials in made:
                assert platform.bind(instance, binding).json()["credentials"] == credentials
                assert can_connect(platform.credentials(instance, new_id()))
                extended = platform.update(instance, parameters={"extensions": ["hstore"]})
                assert extended.status_code == httpx.codes.OK
    with (
        running_application(settings) as broker,
        Platform(broker.url, KUBERNETES) as platform,
        Observer(broker, postgres) as observer,
    ):
        assert len(observer.look().databases) == len(made)
        for instance, _, _ in made:
            assert platform.deprovision(instance).status_code == httpx.codes.OK
        left = observer.look()
        assert not left.databases
        assert not left.roles
