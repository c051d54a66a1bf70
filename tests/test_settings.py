"""Settings: what cannot be read is named in a sentence, and no sentence has a secret in it."""

import pytest

from fleetcast.errors import ConfigurationError
from fleetcast.settings import load_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "s3cret"),
        ("DATABASE_URL", "mysql://me:s3cret@here/name"),
        ("DATABASE_URL", "postgresql://me:s3cret@here:port/name"),
        ("DATABASE_URL", "postgresql://me:s3cret@here:99999/name"),
        ("DATABASE_URL", "postgresql://me:12@s3cret@here/name"),
        ("DATABASE_URL", "postgresql://me:s3cret/45@here/name"),
        ("DATABASE_URL", "postgresql://[s3cret"),
        ("REDIS_URL", ""),
        ("REDIS_URL", "http://:s3cret@here"),
        ("REDIS_URL", "redis://:s3cret@here:six"),
        ("PORT", "s3cret"),
        ("PORT", "70000"),
        ("FLEETCAST_MODE", "s3cret"),
        ("FLEETCAST_LOG_LEVEL", "s3cret"),
        ("FLEETCAST_SEND_SECONDS", "nan"),
        ("FLEETCAST_LEASE_SECONDS", "0"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named_and_never_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as refused:
        load_settings()
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgres://me:p%40ss@here/name?sslmode=require"),
        ("DATABASE_URL", "postgresql:///name?host=/run/postgresql"),
        ("DATABASE_URL", "postgresql://me@[::1]:5432/name"),
        ("REDIS_URL", "rediss://me:secret@here:6380/1"),
        ("REDIS_URL", "unix:///run/valkey.sock"),
    ],
)
def test_every_usual_address_is_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    secret = getattr(load_settings(), name.lower())
    assert secret.get_secret_value() == value
    assert value not in repr(load_settings())


def test_fewer_senders_at_most_than_at_least_is_refused_by_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETCAST_SENDERS_MIN", "3")
    assert load_settings().senders_min == 3, "what nobody set stands in nobody's way"
    monkeypatch.setenv("FLEETCAST_SENDERS_MAX", "2")
    with pytest.raises(
        ConfigurationError, match=r"FLEETCAST_SENDERS_MAX \(2\) is less than FLEETCAST_SENDERS_MIN \(3\)"
    ):
        load_settings()
