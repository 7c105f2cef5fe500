"""Service agents asked for before a service is used.

Source: https://cloud.google.com/iam/docs/create-service-agents: it takes no permission, and an agent that was asked for
gets no role. `gcloud beta services identity create` calls this.
"""

from __future__ import annotations

from tests.emulator import agents
from tests.emulator.kind import Body, Call, Kind, on

RESPONSE = "type.googleapis.com/google.api.serviceusage.v1beta1.ServiceIdentity"


class Identities(Kind):
    """The one method of the older version that the newer has not."""

    apis = ("serviceusage.v1beta1",)
    collection = "serviceusage.services"
    owns_records = False

    @on("generateServiceIdentity", "")
    def generate(self, call: Call) -> Body:
        """Done at once; a service without an agent has an identity without an email.

        Source of the latter: hashicorp/terraform-provider-google#21931.
        """
        project, service = self.project_of(call), str(call["parent"]).rpartition("/")[2]
        emails = [email for email, _ in agents.of(project, service)]
        project.agents |= set(emails[:1])
        told = {"email": emails[0], "uniqueId": f"1{self.cloud.world.number():020d}"} if emails else {}
        name = f"operations/finished.DONE_OPERATION.{self.cloud.world.number()}"
        return {"name": name, "done": True, "response": {"@type": RESPONSE} | told}


KINDS = (Identities,)
