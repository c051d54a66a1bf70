"""Accounts: a number and a LID that lead to the same phone, and the keys of its linked devices."""

import pytest

from testbed.whatsapp_web.jids import Jid
from testbed.whatsapp_web.keys import Seed
from testbed.whatsapp_web.phones import Phones, Published


def test_a_number_and_its_lid_are_one_account_and_never_two() -> None:
    phones = Phones(Seed(b"a test"))
    known = [phones.get(f"5511{number:09d}") for number in range(2_000)]
    assert len({phone.lid for phone in known}) == len(known)
    assert all(phones.find(phone.lid_jid) is phone and phones.find(phone.jid) is phone for phone in known)
    assert phones.find(Jid("100000000000000", "lid")) is None
    assert phones.find(Jid("no number")) is None


def test_the_same_seed_makes_the_same_phones() -> None:
    one, other = (Phones(Seed(b"a test")).get("5511900000001") for _ in range(2))
    assert (one.lid, one.signal.identity.public) == (other.lid, other.signal.identity.public)


def test_one_time_keys_are_given_once_and_those_that_were_not_kept_are_counted() -> None:
    phone = Phones(Seed(b"a test")).get("5511900000001")
    device = phone.new_companion(noise=bytes(32), identity=bytes(32))
    assert device.bundle() is None
    device.publish(Published(bytes(4), 1, bytes(32), bytes(64)), [(number, bytes(32)) for number in range(1, 101)])
    assert device.one_time_keys == 100
    given = [bundle.one_time for _ in range(101) if (bundle := device.bundle()) is not None]
    numbers = [key[0] for key in given if key is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    assert device.one_time_keys == 0


def test_numbers_of_devices_are_never_given_twice() -> None:
    phones = Phones(Seed(b"a test"))
    phone = phones.get("5511900000001")
    for expected in ("5511900000001:1", "5511900000001:2"):
        device = phone.new_companion(noise=bytes(32), identity=bytes(32))
        phone.link(device)
        assert phones.companion(expected) is device
        del phone.companions[device.jid.device]
    with pytest.raises(ValueError, match="no linked device"):
        phones.companion("5511900000001:2")
