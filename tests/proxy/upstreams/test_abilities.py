"""Rejected parameters are remembered for ten minutes, for one model each, and for a limited number of models."""

from __future__ import annotations

import pytest

from proxy.exceptions import UpstreamStatus
from proxy.upstreams.abilities import REMEMBER_S, Abilities, is_refusal, refuses


def test_what_is_not_known_is_taken():
    assert Abilities().takes("m", "logprobs")


def test_a_refusal_is_believed_for_a_while_and_of_its_model_alone():
    now = [0.0]
    abilities = Abilities(clock=lambda: now[0])
    abilities.refuse("m", "n")
    assert not abilities.takes("m", "n")
    assert abilities.takes("m", "seed")
    assert abilities.takes("other", "n")
    now[0] = REMEMBER_S - 1
    assert not abilities.takes("m", "n")
    abilities.refuse("m", "n")
    now[0] = REMEMBER_S + 1
    assert not abilities.takes("m", "n")  # it was refused again since
    now[0] = 2 * REMEMBER_S
    assert abilities.takes("m", "n")


def test_the_oldest_of_many_models_are_forgotten():
    abilities = Abilities()
    for number in range(1_100):
        abilities.refuse(f"m{number}", "n")
    assert abilities.takes("m0", "n")
    assert not abilities.takes("m1099", "n")


@pytest.mark.parametrize(("status", "message", "param", "refusal", "named"), [
    (400, "logprobs are not supported", None, True, True),
    (422, "extra inputs", "logprobs", True, True),
    (400, "bad prompt", None, True, False),
    (429, "logprobs: slow down", None, False, False),
])  # fmt: skip
def test_a_refusal_names_its_parameter(status, message, param, refusal, named):
    exc = UpstreamStatus(message, status=status, param=param)
    assert (is_refusal(exc), refuses(exc, "logprobs")) == (refusal, named)
