"""The parts of a stack at Google, from its spec: the same for its host and for a launcher elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blocks.agent.mark import Bucket
from blocks.agent.spec import Release
from blocks.document import Document
from blocks.gcp.access import BucketRoles, SecretRoles
from blocks.gcp.account import ServiceAccount
from blocks.gcp.apis import Apis
from blocks.gcp.database import ADDRESS, AUTHORITY, SqlDatabase, over_tls
from blocks.gcp.google import Google
from blocks.gcp.machine import GcpMachine
from blocks.gcp.names import bucket_name, instance_name
from blocks.gcp.network import Network
from blocks.gcp.object_store import GcsObjectStore
from blocks.gcp.proxy import DOMAIN, CloudRunProxy
from blocks.gcp.secret_store import GcpSecretStore
from blocks.gcp.sql import SqlInstance
from blocks.host.home import Home
from blocks.machine import Machine
from blocks.postgres import programs
from blocks.proxy import Proxy
from blocks.resource import Resource
from blocks.site import Site
from blocks.spec import StackSpec

NUMBER, IDENTITY = "project.number", "identity"
"""Keys of what is known of a stack beforehand, beside its spec."""


@dataclass(frozen=True)
class Parts:
    """What a stack at Google consists of."""

    google: Google
    spec: StackSpec
    site: Site
    found: Mapping[str, str]

    @property
    def stack(self) -> str:
        return self.spec.name

    @property
    def region(self) -> str:
        return self.spec.gcp.region

    def bucket(self) -> Bucket:
        """The bucket it has its objects in. Google is asked where the project's number was not found yet."""
        return Bucket(bucket_name(self.stack, self.number), self.google.project, self.region)

    @property
    def number(self) -> str:
        """The project's number."""
        return self.found.get(NUMBER) or self.google.number

    def account(self) -> ServiceAccount:
        return ServiceAccount(self.google, self.stack, "host")

    def network(self) -> Network:
        return Network(self.google, self.stack, self.region, self.account().email, wanted=self.spec.gcp.network)

    def objects(self) -> GcsObjectStore:
        bucket = self.bucket()
        return GcsObjectStore(self.google, self.stack, bucket.name, bucket.region)

    def secrets(self) -> GcpSecretStore:
        return GcpSecretStore(self.google, self.stack, self.region)

    def database(self, versions: Mapping[str, int], tools: Release) -> SqlDatabase:
        wanted, home = self.spec.gcp.database, Home(self.site.home)
        name = wanted.instance or instance_name(self.stack, self.found.get(IDENTITY, ""))
        return SqlDatabase(
            stack=self.stack,
            home=home.root,
            store=self.secrets(),
            versions=versions,
            programs=programs.programs(home.releases / tools.id),
            identity=self.found.get(IDENTITY, ""),
            instance=SqlInstance(self.google, self.network(), name, wanted),
            private_address=self.found.get(ADDRESS, ""),
            tls=over_tls(self.found.get(AUTHORITY, "")),
        )

    def machine(self, there: Machine) -> Machine:
        """The host.

        Args:
            there: The same as its own code has it.
        """
        return GcpMachine(
            self.google, self.stack, self.spec.gcp, self.bucket(), self.objects(), there, self.site.is_here
        )

    def proxy(self) -> Proxy:
        return CloudRunProxy(
            google=self.google,
            network=self.network(),
            bucket=self.bucket().name,
            number=self.number,
            wanted=self.spec.gcp.proxy,
            domain=self.spec.gcp.domain or "",
            active_domain=self.found.get(DOMAIN, ""),
        )

    def documents(self) -> list[Document]:
        """What users' flows reach the project and the bucket by; without a key: as whoever they run as at Google."""
        project = {"project": self.google.project}  # else the credentials' own is taken, which may be another
        credentials = Document("prefect_gcp:GcpCredentials", "gcp-credentials", project)
        refers = {"gcp_credentials": credentials.slug}
        return [credentials, Document("prefect_gcp:GcsBucket", "gcs-bucket", {"bucket": self.bucket().name}, refers)]

    def ground(self) -> list[Resource]:
        """What all else outside the host needs."""
        return [Apis(self.google)]

    def access(self, secrets: Iterable[str]) -> list[Resource]:
        """What the host may do with what it shares with its launchers."""
        account = self.account()
        of_secrets = [SecretRoles(self.google, account, name, self.secrets().id(name)) for name in secrets]
        return [BucketRoles(self.google, account, self.bucket().name), *of_secrets]
