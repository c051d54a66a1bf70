"""What becomes of a message follows from the seed and the message alone."""

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetcast.errors import InvalidInput
from fleetcast.transports.base import ReceiptKind
from fleetcast.transports.simulator.behaviour import (
    PROFILES,
    STOP_WORDS,
    WELL_BEHAVED,
    Behaviour,
    Fate,
    SendOutcome,
    draw,
    fate,
)

MESSAGES = [(f"+6012{n % 700:07d}", f"install-{n}-1") for n in range(4000)]


def fates(behaviour: Behaviour, seed: int, messages: list[tuple[str, str]]) -> dict[str, Fate]:
    return {reference: fate(behaviour, seed, recipient, reference) for recipient, reference in messages}


def test_the_same_seed_decides_alike_in_any_order() -> None:
    mixed = MESSAGES[:]
    Random(5).shuffle(mixed)
    assert fates(PROFILES["rough"], 7, MESSAGES) == fates(PROFILES["rough"], 7, mixed)
    few = fates(PROFILES["rough"], 7, mixed[:10])
    assert few.items() <= fates(PROFILES["rough"], 7, MESSAGES).items()


def test_another_seed_decides_otherwise() -> None:
    assert fates(PROFILES["rough"], 7, MESSAGES) != fates(PROFILES["rough"], 8, MESSAGES)


def test_switching_one_thing_on_changes_nothing_else() -> None:
    before = fates(Behaviour(delivered=0.9, read=0.5), 7, MESSAGES)
    after = fates(Behaviour(delivered=0.9, read=0.5, content_refused=0.3), 7, MESSAGES)
    assert {r: (f.latency, f.receipts) for r, f in before.items()} == {
        r: (f.latency, f.receipts) for r, f in after.items()
    }


@given(st.integers(), st.text(), st.text())
def test_draws_lie_in_the_unit_interval(seed: int, purpose: str, name: str) -> None:
    assert 0 <= draw(seed, purpose, name) < 1


def test_who_is_not_on_whatsapp_stays_so_at_the_next_attempt() -> None:
    behaviour = Behaviour(not_on_whatsapp=0.1, opted_out=0.1)
    for recipient, reference in MESSAGES:
        again = fate(behaviour, 3, recipient, reference + "-retry").outcome
        assert fate(behaviour, 3, recipient, reference).outcome is again


def share(found: dict[str, Fate], outcome: SendOutcome) -> float:
    return sum(f.outcome is outcome for f in found.values()) / len(found)


def test_the_demo_shows_a_small_share_of_what_people_see() -> None:
    messages = [(f"+6011{n:07d}", f"demo-{n}-1") for n in range(20_000)]
    found = fates(PROFILES["demo"], 1, messages)
    assert share(found, SendOutcome.NOT_ON_WHATSAPP) == pytest.approx(0.02, abs=0.005)
    assert share(found, SendOutcome.CONTENT) == pytest.approx(0.002, abs=0.0015)
    assert share(found, SendOutcome.RATE_LIMITED) == 0  # such a row waits a minute, and the demo with it
    count = len(found)
    said = [kind for f in found.values() for _, kind in f.receipts]
    assert said.count(ReceiptKind.DELIVERED) / count == pytest.approx(0.9, abs=0.02)
    assert said.count(ReceiptKind.READ) / count == pytest.approx(0.6, abs=0.02)
    replies = [f.reply[1] for f in found.values() if f.reply]
    assert len(replies) / count == pytest.approx(0.02, abs=0.005)
    assert 0.1 < sum(text in STOP_WORDS for text in replies) / len(replies) < 0.4


@pytest.mark.parametrize("profile", sorted(WELL_BEHAVED))
def test_a_quiet_simulator_accepts_everything(profile: str) -> None:
    for found in fates(PROFILES[profile], 1, MESSAGES).values():
        assert found.outcome is SendOutcome.ACCEPT
        assert found.reply is None
        kinds = [kind for _, kind in found.receipts]
        assert kinds in ([], [ReceiptKind.DELIVERED], [ReceiptKind.DELIVERED, ReceiptKind.READ])


def test_the_rough_profile_has_every_outcome_and_every_disorder() -> None:
    found = fates(PROFILES["rough"], 1, MESSAGES).values()
    assert {f.outcome for f in found} == set(SendOutcome) - {SendOutcome.DEVICE}
    kinds = [[kind for _, kind in f.receipts] for f in found]
    assert any(k[:2] == [ReceiptKind.READ, ReceiptKind.DELIVERED] for k in kinds)
    assert any(k.count(ReceiptKind.DELIVERED) == 2 for k in kinds)
    assert any(k[:1] == [ReceiptKind.FAILED] for k in kinds)
    assert all(at == sorted(at) for at in ([seconds for seconds, _ in f.receipts] for f in found))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"delivered": 1.1}, "delivered"),
        ({"delivered": -0.1}, "delivered"),
        ({"delivered": math.nan}, "delivered"),
        ({"delivered": "many"}, "delivered"),
        ({"latency_ms": [80, 20]}, "latency_ms"),
        ({"latency_ms": 20}, "latency_ms"),
        ({"latency_ms": [0, math.inf]}, "latency_ms"),
        ({"retry_after": -1}, "retry_after"),
        ({"delivred": 1}, "delivred"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Behaviour().changed(values)
    assert caught.value.field == field
