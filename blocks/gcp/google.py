"""How Google's APIs are reached: whose project, as whom, where; and what their refusals mean for who runs this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from google.api_core import exceptions
from google.auth import default
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import compute_v1, secretmanager_v1, storage
from requests.exceptions import RequestException

from blocks.errors import Blocked, NotReady

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOGIN = "gcloud auth application-default login, or run it as a service account"
NOT_YET = ("resourceNotReady", "resourceInUseByAnotherResource")
"""Words of Compute Engine for what is still being made, or still held by what goes: time mends it."""
LACKS_ROLE = "somebody who owns the project gives this account the role it lacks"
NOT_NOW = (
    exceptions.InternalServerError,
    exceptions.ServiceUnavailable,
    exceptions.BadGateway,
    exceptions.GatewayTimeout,
    exceptions.TooManyRequests,
    exceptions.RetryError,
    RequestException,
)
"""Google does not answer, or not now; its clients have tried again for a while before they say so."""


@dataclass(frozen=True)
class Google:
    """One project, and clients of its APIs; each is made when it is first asked for."""

    project: str
    """Its id, such as `acme-data-42`."""
    credentials: Credentials | None = field(default=None, repr=False)
    """Whom the calls are made as; None: application default credentials."""
    endpoint: str = ""
    """Address of an emulator of all APIs, such as `http://127.0.0.1:8085`; empty for Google."""

    @cached_property
    def storage(self) -> storage.Client:
        return storage.Client(self.project, self.credentials, client_options=self._options("storage"))

    @cached_property
    def session(self) -> AuthorizedSession:
        """For what no client gives: the headers of an answer."""
        return AuthorizedSession(self.credentials or default(scopes=[SCOPE])[0])  # type: ignore[no-untyped-call]

    @cached_property
    def secrets(self) -> secretmanager_v1.SecretManagerServiceClient:
        return secretmanager_v1.SecretManagerServiceClient(
            credentials=self.credentials, client_options=self._options("secretmanager"), transport="rest"
        )

    def compute(self, kind: str) -> Any:
        """A client of Compute Engine, such as `Networks`."""
        make = getattr(compute_v1, f"{kind}Client")
        return make(credentials=self.credentials, client_options=self._options("compute"))

    def _options(self, service: str) -> dict[str, str] | None:
        return {"api_endpoint": f"{self.endpoint}/{service}"} if self.endpoint else None


def reason(error: exceptions.GoogleAPICallError) -> str:
    """Google's own word for a refusal, such as `resourceNotReady`; empty where it has none."""
    return next((str(each.get("reason", "")) for each in error.errors if isinstance(each, dict)), "")


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """What Google refuses while the context lasts is told as ours, in one line.

    Args:
        doing: What was tried, such as `reading the bucket acme-1f2e`.

    Raises:
        Blocked: a person must act: nobody is logged in, or a role is lacking.
        NotReady: Google does not answer now, or something else is still under way.
    """
    try:
        yield
    except exceptions.BadRequest as error:
        if reason(error) not in NOT_YET:
            raise
        raise NotReady(f"{doing}: {_first_line(error)}", "run the same command again") from error
    except exceptions.Forbidden as error:
        raise Blocked(
            f"{doing}: {_first_line(error)}", "the account lacks a role; selfhost needs an owner's help"
        ) from error
    except (exceptions.Unauthorized, DefaultCredentialsError, RefreshError) as error:
        raise Blocked(f"{doing}: Google does not know who asks: {_first_line(error)}", LOGIN) from error
    except (*NOT_NOW, GoogleAuthError) as error:
        raise NotReady(
            f"{doing}: Google does not answer: {_first_line(error)}", "run the same command again"
        ) from error


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, exceptions.GoogleAPICallError) else str(error)
    return str(text).strip().partition("\n")[0][:300]
