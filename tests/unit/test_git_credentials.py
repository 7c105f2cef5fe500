"""What of a block is told to git, and to whom."""

from __future__ import annotations

import io
from typing import Any

import pytest

from blocks import git_credentials
from blocks.git_credentials import login, main, refusal


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
    ("protocol", "host", "is_told"),
    [
        ("https", "example.org", True),
        ("http", "127.0.0.1:8080", True),
        ("http", "localhost", True),
        ("http", "[::1]:80", True),
        ("http", "example.org", False),
        ("http", "127.0.0.1.example.org", False),
        ("http", "127.0.0.1:80@example.org", False),
        ("ssh", "example.org", False),
    ],
)
def test_a_login_is_not_sent_where_others_can_read_along(protocol: str, host: str, is_told: bool) -> None:
    assert (refusal({"protocol": protocol, "host": host}) == "") is is_told


def ask(monkeypatch: pytest.MonkeyPatch, data: dict[str, Any] | None, operation: str = "get") -> int:
    monkeypatch.setattr(git_credentials, "read", lambda slug, name: data)
    return main(["secret/git", operation], io.StringIO("protocol=https\nhost=example.org\n\n"))


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
