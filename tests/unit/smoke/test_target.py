"""Where a broker is, from the URL that somebody has at hand."""

from __future__ import annotations

import pytest

from broker.smoke import find_target


@pytest.mark.parametrize("path", ["", "/", "/v2", "/v2/"])
def test_the_path_of_the_specification_may_be_there(path: str) -> None:
    """Whether or not the URL ends with ``/v2``, it leads to the same broker."""
    target = find_target(f"http://olivia:secret@broker.example/at{path}", {})
    assert target.url == "http://broker.example/at"
