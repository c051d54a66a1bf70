"""Settings: what cannot be read is named in a sentence, and no sentence has a secret in it."""

import secrets

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


WEAK_SECRETS = (
    "",
    "changeme",
    "12345678901234567890123456789012",
    "0123456789012345678901234567890123456789",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "passwordpasswordpasswordpassword",
    "please-change-me-please-change-me-1",
    "supersecretsupersecretsupersecret!",
    "aB3$" * 10,
    "kZ3v9QmX2pL7tR5wB8nY4cF6hJ1dG0s",
)


@pytest.mark.parametrize("name", ["FLEETCAST_SECRET_KEY", "FLEETCAST_METRICS_TOKEN"])
@pytest.mark.parametrize("weak", WEAK_SECRETS)
def test_s36_a_secret_that_can_be_guessed_is_refused_in_one_sentence_that_does_not_print_it(
    name: str, weak: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, weak)
    with pytest.raises(ConfigurationError, match=f"^{name} can be guessed") as refused:
        load_settings()
    assert not weak or weak not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["FLEETCAST_SECRET_KEY", "FLEETCAST_METRICS_TOKEN"])
def test_a_random_secret_is_taken_and_shown_nowhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for made in (secrets.token_hex(16), secrets.token_urlsafe(24), secrets.token_urlsafe(33)):
        monkeypatch.setenv(name, made)
        settings = load_settings()
        assert getattr(settings, name.removeprefix("FLEETCAST_").lower()).get_secret_value() == made
        assert made not in repr(settings)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("FLEETCAST_URL", "fleetcast.example.org"),
        ("FLEETCAST_URL", "ftp://fleetcast.example.org"),
        ("FLEETCAST_URL", "https://fleetcast.example.org/app"),
        ("FLEETCAST_URL", "https://fleetcast.example.org/?a=b"),
        ("FLEETCAST_URL", "https://fleetcast.example.org/#top"),
        ("FLEETCAST_URL", "https://me:s3cret@fleetcast.example.org"),
        ("FLEETCAST_URL", "https://[s3cret"),
        ("FLEETCAST_URL", "https://here:port"),
        ("FLEETCAST_TRUSTED_PROXIES", "*"),
        ("FLEETCAST_TRUSTED_PROXIES", "127.0.0.1,proxy.example.org"),
        ("FLEETCAST_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("FLEETCAST_OWNER_EMAIL", "owner"),
        ("FLEETCAST_OWNER_EMAIL", "@example.org"),
        ("FLEETCAST_OWNER_EMAIL", "a b@example.org"),
        ("FLEETCAST_OWNER_EMAIL", "a@b@example.org"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_by_the_name_of_its_setting(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, wrong)
    with pytest.raises(ConfigurationError, match=f"^{name} cannot be used") as refused:
        load_settings()
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_dashboards_address_is_an_origin_without_a_last_stroke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETCAST_URL", " https://fleetcast.example.org:8443/ ")
    monkeypatch.setenv("FLEETCAST_TRUSTED_PROXIES", "127.0.0.1, ::1, 10.0.0.0/8")
    assert load_settings().url == "https://fleetcast.example.org:8443"
