from __future__ import annotations

import pytest

from pipeline.simulator import PRICES, Tokens, cost_nusd


def test_a_million_embedded_tokens_cost_two_cents() -> None:
    assert cost_nusd(Tokens(input=1_000_000), "simulator-wordllama-256") == 20_000_000


def test_cached_tokens_come_off_the_input() -> None:
    cost = cost_nusd(Tokens(input=1000, cached=400, output=100), "simulator-text-1")

    assert cost == 600 * 150 + 400 * 75 + 100 * 600


def test_reasoning_is_a_part_of_the_output() -> None:
    with_reasoning = Tokens(input=10, output=50, reasoning=40)

    assert cost_nusd(with_reasoning, "simulator-text-1") == 10 * 150 + 50 * 600


def test_a_request_is_rounded_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    price = PRICES["simulator-text-1"]
    monkeypatch.setitem(PRICES, "simulator-text-1", price._replace(input=1, cached=1, output=1))

    assert cost_nusd(Tokens(input=2, cached=1, output=1), "simulator-text-1") == 1
    assert cost_nusd(Tokens(), "simulator-text-1") == 0


def test_an_unknown_model_has_no_price() -> None:
    with pytest.raises(KeyError):
        cost_nusd(Tokens(input=1), "another-model")
