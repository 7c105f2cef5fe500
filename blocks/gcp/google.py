"""How Google's APIs are reached: whose project, as whom, where; and what their refusals mean for who runs this."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import requests
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth import default
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import compute_v1, secretmanager_v1, sqladmin_v1, storage

from blocks.errors import Blocked, NotReady
from blocks.waiting import wait_until

Seen = TypeVar("Seen")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LOGIN = "gcloud auth application-default login, or run it as a service account"
NOT_YET = ("resourceNotReady", "resourceInUseByAnotherResource", "accessNotConfigured", "SERVICE_DISABLED")
"""Words for what is still being made, still held by what goes, or enabled a moment ago: time mends it."""
ANY_API = "serviceusage.googleapis.com"
RETRY_SECONDS = 60.0
"""Time in which a call that nobody answers is tried again."""
NOT_NOW = (
    exceptions.InternalServerError,
    exceptions.ServiceUnavailable,
    exceptions.BadGateway,
    exceptions.GatewayTimeout,
    exceptions.TooManyRequests,
    requests.RequestException,
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
    sql_channel: Callable[[], Any] | None = field(default=None, repr=False)
    """How an emulator's Cloud SQL is reached."""
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    """How to wait; an emulator's time may be another one."""

    @cached_property
    def storage(self) -> storage.Client:
        return storage.Client(self.project, self.credentials, client_options=self._options("storage"))

    @cached_property
    def session(self) -> AuthorizedSession:
        """For what no client gives: the headers of an answer."""
        return AuthorizedSession(self.credentials or default(scopes=[SCOPE])[0])  # type: ignore[no-untyped-call]

    def token(self) -> str:
        """An access token, for a service that is not called by these clients; it lives for an hour at most."""
        credentials = self.session.credentials
        with explained("asking for an access token"):
            if not credentials.valid:
                credentials.refresh(Request())
        return str(credentials.token)

    @cached_property
    def secrets(self) -> secretmanager_v1.SecretManagerServiceClient:
        return secretmanager_v1.SecretManagerServiceClient(
            credentials=self.credentials, client_options=self._options("secretmanager"), transport="rest"
        )

    @cached_property
    def number(self) -> str:
        """The project's number, which some services know it by: asked of the one API that no project is without."""
        found = self.rest(
            "reading the project", "GET", "serviceusage", f"v1/projects/{self.project}/services/{ANY_API}"
        )
        return str(found["parent"]).removeprefix("projects/")

    def compute(self, kind: str) -> Any:
        """A client of Compute Engine, such as `Networks`."""
        if kind not in self._compute:
            make = getattr(compute_v1, f"{kind}Client")
            self._compute[kind] = make(credentials=self.credentials, client_options=self._options("compute"))
        return self._compute[kind]

    @cached_property
    def _compute(self) -> dict[str, Any]:
        """Clients by kind: each holds connections."""
        return {}

    def rest(
        self,
        doing: str,
        verb: str,
        service: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        **params: str | list[str],
    ) -> Any:
        """One call of a service that has no client among our packages, such as `iam`: what it answers, from JSON.

        It is tried again where nobody answers, so that only what may be done twice is to be called so.

        Args:
            verb: GET, POST, PATCH or DELETE.
            path: From the version on, such as `v1/projects/acme/serviceAccounts`.

        Raises:
            google.api_core.exceptions.NotFound, Conflict: as Google says; all else as `explained` tells it.
        """
        address = f"{self.endpoint}/{service}" if self.endpoint else f"https://{service}.googleapis.com"

        session: requests.Session = self.session

        def call() -> Any:
            answer = session.request(verb, f"{address}/{path}", json=body, params=params, timeout=60)
            if not answer.ok:
                raise exceptions.from_http_response(answer)  # type: ignore[no-untyped-call]
            return answer.json()

        with explained(doing):
            return Retry(predicate=if_exception_type(*NOT_NOW), timeout=RETRY_SECONDS)(call)()

    def wait(self, probe: Callable[[], Seen], what: str, *, seconds: float, every: float = 2.0) -> Seen:
        """Wait for something at Google, see `blocks.waiting.wait_until`."""
        return wait_until(probe, what, timeout=seconds, every=every, clock=self.clock, sleep=self.sleep)

    def finish(self, doing: str, service: str, version: str, operation: Mapping[str, Any], seconds: float) -> None:
        """Wait until a long-running operation has ended well.

        Raises:
            Blocked: it ended otherwise.
        """

        def ended() -> Mapping[str, Any] | None:
            now: Mapping[str, Any] = self.rest(doing, "GET", service, f"{version}/{operation['name']}")
            return now if now.get("done") else None

        done = operation if operation.get("done") else self.wait(ended, doing, seconds=seconds)
        if done and "error" in done:
            raise Blocked(f"{doing}: {done['error'].get('message', '')}", "Google refused it")

    def sql(self, kind: str) -> Any:
        """The client of Cloud SQL for `Instances`, `Operations` and so on; its API is gRPC."""
        if kind not in self._sql:
            client = getattr(sqladmin_v1, f"Sql{kind}ServiceClient")
            transport = client.get_transport_class("grpc")(channel=self.sql_channel()) if self.sql_channel else None
            self._sql[kind] = client(transport=transport, credentials=None if transport else self.credentials)
        return self._sql[kind]

    @cached_property
    def _sql(self) -> dict[str, Any]:
        """Clients by kind: each holds a connection."""
        return {}

    def _options(self, service: str) -> dict[str, str] | None:
        return {"api_endpoint": f"{self.endpoint}/{service}"} if self.endpoint else None


def reason(error: exceptions.GoogleAPICallError) -> str:
    """Google's own word for a refusal, such as `resourceNotReady`; empty where it has none."""
    told = (*error.errors, *error.details)
    said = next((str(each["reason"]) for each in told if isinstance(each, dict) and "reason" in each), "")
    return said or str(error.reason or "")  # the latter by gRPC


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
        if reason(error) in NOT_YET:
            raise NotReady(f"{doing}: {_first_line(error)}", "an API that was just enabled needs a while") from error
        raise Blocked(
            f"{doing}: {_first_line(error)}", "the account lacks a role; selfhost needs an owner's help"
        ) from error
    except (exceptions.Unauthorized, DefaultCredentialsError, RefreshError) as error:
        raise Blocked(f"{doing}: Google does not know who asks: {_first_line(error)}", LOGIN) from error
    except (*NOT_NOW, exceptions.RetryError, GoogleAuthError) as error:
        raise NotReady(
            f"{doing}: Google does not answer: {_first_line(error)}", "run the same command again"
        ) from error


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, exceptions.GoogleAPICallError) else str(error)
    return str(text).strip().partition("\n")[0][:300]
