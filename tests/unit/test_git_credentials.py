"""What of a block is told to git, and to whom."""

from __future__ import annotations

import io
from typing import Any

import pytest

from blocks import git_credentials
from blocks.git_credentials import fault, host_of, login, main, refusal


@pytest.mark.parametrize(
    ("slug", "data", "found"),
    [
        ("secret", {"value": "s3"}, ("x-access-token", "s3")),
        ("secret", {"value": {"username": "ann", "password": "s3"}}, ("ann", "s3")),
        ("github-credentials", {"token": "s3"}, ("x-access-token", "s3")),
        ("gitlab-credentials", {"token": "s3", "url": None}, ("oauth2", "s3")),
        ("gitlab-credentials", {"token": "s3", "username": "deploy"}, ("deploy", "s3")),
        ("bitbucket-credentials", {"token": "s3", "username": None}, ("x-token-auth", "s3")),
        ("own-type", {"access_token": "s3", "username": "ann"}, ("ann", "s3")),
        ("own-type", {"username": "ann"}, None),
        ("own-type", {"token": ""}, None),
    ],
)
def test_login_in_a_block(slug: str, data: dict[str, Any], found: tuple[str, str] | None) -> None:
    assert login(slug, data) == found


@pytest.mark.parametrize(
    ("reference", "data", "host"),
    [
        ("github-credentials/ours", {"token": "s3"}, "github.com"),
        ("github-credentials/ours@github.example.org", {"token": "s3"}, "github.example.org"),
        ("gitlab-credentials/ours", {"token": "s3", "url": None}, "gitlab.com"),
        (
            "gitlab-credentials/ours",
            {"token": "s3", "url": "https://me@Git.example.org:8443/x"},
            "git.example.org:8443",
        ),
        ("gitlab-credentials/ours@a.example.org", {"token": "s3", "url": "https://b.example.org"}, "a.example.org"),
        ("bitbucket-credentials/ours", {"token": "s3", "url": "https://api.bitbucket.org/"}, "bitbucket.org"),
        ("bitbucket-credentials/ours", {"token": "s3"}, "bitbucket.org"),
        ("bitbucket-credentials/ours", {"token": "s3", "url": "https://bit.example.org/api"}, "bit.example.org"),
        ("secret/git", {"value": "s3"}, ""),
        ("secret/git@git.example.org:8443", {"value": "s3"}, "git.example.org:8443"),
        ("secret/git", {"value": {"token": "s3", "host": "git.example.org"}}, "git.example.org"),
        ("own-type/ours", {"token": "s3"}, ""),
        ("own-type/ours", {"token": "s3", "url": "http://[::1]:80/x"}, "[::1]:80"),
    ],
)
def test_the_one_host_a_login_is_for(reference: str, data: dict[str, Any], host: str) -> None:
    assert host_of(reference, data) == host
    assert (fault(reference, data) == ("", "")) is bool(host)


@pytest.mark.parametrize(
    ("protocol", "asking", "host", "is_told"),
    [
        ("https", "example.org", "example.org", True),
        ("https", "Example.ORG:8443", "example.org", True),
        ("https", "example.org", "example.org:443", True),
        ("https", "example.org:8443", "example.org:8443", True),
        ("https", "example.org:8444", "example.org:8443", False),
        ("https", "example.org", "example.org:8443", False),
        ("https", "other.example.org", "example.org", False),
        ("https", "example.org.evil.net", "example.org", False),
        ("https", "example.org@evil.net", "example.org", False),
        ("https", "", "example.org", False),
        ("https", "", "", False),
        ("http", "127.0.0.1:8080", "127.0.0.1", True),
        ("http", "localhost", "localhost", True),
        ("http", "localhost", "127.0.0.1", False),
        ("http", "[::1]:80", "[::1]", True),
        ("http", "example.org", "example.org", False),
        ("http", "127.0.0.1.example.org", "127.0.0.1.example.org", False),
        ("http", "127.0.0.1:80@example.org", "127.0.0.1", False),
        ("ssh", "example.org", "example.org", False),
        ("", "example.org", "example.org", False),
    ],
)
def test_a_login_is_told_for_its_host_and_not_where_others_can_read_along(
    protocol: str, asking: str, host: str, is_told: bool
) -> None:
    assert (refusal({"protocol": protocol, "host": asking}, host) == "") is is_told


def ask(
    monkeypatch: pytest.MonkeyPatch, data: dict[str, Any] | None, operation: str = "get", host: str = "example.org"
) -> int:
    monkeypatch.setattr(git_credentials, "read", lambda slug, name: data if (slug, name) == ("secret", "git") else None)
    return main([f"secret/git@{host}", operation], io.StringIO("protocol=https\nhost=example.org\n\n"))


def test_git_is_answered_on_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(monkeypatch, {"value": "s3"}) == 0
    assert capsys.readouterr() == ("username=x-access-token\npassword=s3\n", "")


@pytest.mark.parametrize("operation", ["store", "erase"])
def test_nothing_is_kept(operation: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(monkeypatch, {"value": "s3"}, operation) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "told"),
    [(None, "there is no block secret/git"), ({"x": 1}, "none of the fields"), ({"value": "a\nb"}, "one line")],
)
def test_what_is_amiss_is_one_line_with_a_hint(
    data: dict[str, Any] | None, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(monkeypatch, data) == 1
    printed, error = capsys.readouterr()
    assert printed == "" and told in error and error.count("\n") == 1


def test_another_host_is_told_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(monkeypatch, {"value": "s3"}, host="git.example.org") == 1
    told = "selfhost: the login is for git.example.org, it is not sent to example.org\n"
    assert capsys.readouterr() == ("", told)
