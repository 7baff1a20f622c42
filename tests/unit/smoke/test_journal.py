"""Steps are noted as they end, and never with a secret."""

from __future__ import annotations

import pytest

from broker.smoke.display import Silence
from broker.smoke.errors import StepFailed
from broker.smoke.journal import Journal, Outcome


def test_secrets_are_taken_out_of_what_others_say() -> None:
    """A broker or server that repeats a password in its message gives nothing away."""
    journal = Journal(Silence())
    journal.hide(["s3cret", "s3cret-and-more"])
    with pytest.raises(StepFailed), journal.step("bind"):
        raise StepFailed("password=s3cret, uri postgres://u:s3cret-and-more@h")
    (step,) = journal.steps
    assert step.outcome is Outcome.FAILED
    assert step.detail == "password=********, uri postgres://u:********@h"


def test_a_short_password_leaves_words_whole() -> None:
    """A password that is part of every other word does not make messages unreadable."""
    journal = Journal(Silence())
    journal.hide(["e"])
    assert journal.reveal_nothing("expected e, got it") == "expected ********, got it"


def test_an_interrupted_step_is_no_success() -> None:
    """Whatever ends a step other than its own end leaves it failed."""
    journal = Journal(Silence())
    with pytest.raises(KeyboardInterrupt), journal.step("bind"):
        raise KeyboardInterrupt
    assert (journal.steps[0].outcome, journal.steps[0].detail) == (Outcome.FAILED, "did not end")
