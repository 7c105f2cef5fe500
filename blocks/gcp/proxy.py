"""nginx on Cloud Run, in front of the server on the stack's machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blocks import nginx_files
from blocks.agent.spec import File, Service
from blocks.gcp.account import ProjectRoles, ServiceAccount
from blocks.gcp.bucket import BucketResource
from blocks.gcp.build import ROLES, CloudBuilder, EitherBuilder, EngineBuilder
from blocks.gcp.cloud_run import CloudRunService, address
from blocks.gcp.domain import DomainMapping
from blocks.gcp.google import Google
from blocks.gcp.image import Builder, Context, Image
from blocks.gcp.network import SERVER_PORT, Network
from blocks.gcp.registry import Registry
from blocks.gcp_spec import GcpProxy
from blocks.proxy import Proxy
from blocks.resource import Resource

DOMAIN = "proxy.domain"
"""Key of the domain that serves, among what is known of a stack beside its spec."""


@dataclass(frozen=True)
class CloudRunProxy(Proxy):
    """A service of Cloud Run with what it needs; nothing of it stands on the stack's host."""

    google: Google
    network: Network
    bucket: str
    """The stack's bucket, through which Cloud Build gets what it builds from."""
    number: str
    """The project's, which is part of Cloud Run's address."""
    wanted: GcpProxy = field(default_factory=GcpProxy)
    domain: str = ""
    """Host name of the user's; empty for Cloud Run's own alone."""
    active_domain: str = ""
    """The domain that was seen to serve with its certificate, see `learned`; empty where none was."""

    def outside(self) -> list[Resource]:
        account, image = ServiceAccount(self.google, self._stack, "proxy"), self._image
        service = CloudRunService(self.google, self.network, account, image, self.upstream(), self.number, self.wanted)
        mapping = [self.mapping] if self.mapping else []
        return [self.registry, *self._of_build, image, account, service, *mapping]

    def learned(self) -> Mapping[str, str]:
        serves = self.mapping is not None and self.mapping.condition().status
        return {DOMAIN: self.domain} if serves else {}

    def files(self) -> list[File]:
        return []

    def services(self, release: Path) -> list[Service]:
        return []

    def url(self) -> str:
        return f"https://{self.domain}" if self.domain and self.domain == self.active_domain else self.own_url()

    def own_url(self) -> str:
        """Cloud Run's own address, which serves from the first request on."""
        return address(self._stack, self.number, self.network.region)

    def upstream(self) -> tuple[str, int]:
        return self.network.wanted.host_address, int(SERVER_PORT)

    def trusted(self) -> str:
        return self.network.wanted.proxy

    @property
    def registry(self) -> Registry:
        """Where the stack's images lie."""
        return Registry(self.google, self._stack, self.network.region)

    @property
    def mapping(self) -> DomainMapping | None:
        """The mapping of its domain; None where it has none."""
        if not self.domain:
            return None
        needs = (CloudRunService.name,)
        return DomainMapping(self.google, self._stack, self.network.region, self.domain, needs)

    @property
    def _stack(self) -> str:
        return self.network.stack

    @property
    def _build_account(self) -> ServiceAccount:
        return ServiceAccount(self.google, self._stack, "build")

    @property
    def _of_build(self) -> list[Resource]:
        """What Cloud Build needs, where it may be what builds."""
        if self.wanted.build == "docker":
            return []
        return [self._build_account, ProjectRoles(self.google, self._build_account, ROLES)]

    @property
    def _image(self) -> Image:
        here = EngineBuilder(self.google)
        there = CloudBuilder(self.google, self.network.region, self.bucket, self._build_account)
        builders: dict[str, Builder] = {
            "either": EitherBuilder(here, there),
            "docker": here,
            "cloud-build": there,
        }
        needs = tuple(each.name for each in self._of_build)
        needs = (BucketResource.name, *needs) if needs else ()
        context = Context(nginx_files.context())
        return Image(self.google, self.registry, "proxy", context, builders[self.wanted.build], needs)
