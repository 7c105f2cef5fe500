"""Google Cloud on this machine, for tests: official clients and gcloud talk to it as they talk to Google.

What a call passes, in order:
  server, __main__    the port, the process, the environment for clients
  incoming, batch     the request; which service it is for (sqladmin_grpc: the same for gRPC)
  app                 from a request to an answer; faults strike here
  router, discovery   which method of Google's documents it is, its parameters
  checks, schema      request and answer held against the documents (numbers: enums sent as numbers)
  access              who calls, what that principal may do
  consumers           which project a call is counted against
  kind                what a resource kind is made of; `services` has them all, a folder for each service

What kinds build on: world (what exists), operations and latencies (work that takes time), clock, backing (real parts),
quotas, errors, pages (lists), patches (masks and merges), partial (`fields`), located (kinds with a location),
policy_kind (kinds with a policy).
IAM's own data: accounts (service accounts, keys), assertions (what they sign), policies (what a policy may say),
conditions, roles, permissions, agents (what Google sets up in a project), settling (what is not yet known everywhere),
organization (what a new organization forbids).
From outside: control (`/_emulator/…`), faults, coverage.

To add a kind: a class in a module under `services` that the module lists in `KINDS`; see kind.py, and
tests/unit/emulator/test_new_kind.py for one whole. Nothing above imports a service but `control`.
"""
