"""The emulator's own paths, `/_emulator/…`: what it has received, faults, time, principals, a fresh start.

GET  requests                                   calls received: method, resource, caller, status
GET  complaints                                 our own mistakes
GET  coverage                                   the coverage page
POST faults      {"kind", "service", …}         lay a fault (faults.py); DELETE takes all away
POST clock       {"advance": seconds}           move a virtual clock
POST projects    {"projectId", "services"?, "owner"?, "organization"?, "billing"?}   a new project; answers with its
                 number and an owner's token; `organization` is the domain of one made since May 2024 (organization.py)
POST tokens      {"member", "seconds"?}         a token of any principal
POST adc         {"member", "quotaProject"?}    what `gcloud auth application-default login` leaves of a person
POST reauth      {"member"}                     this person's organization wants a new login
POST images      {"image", "digest"?, "tags"?}  an image in a repository, as if pushed (services/artifactregistry)
POST domains     {"projectId", "domain", "pointed"?}    a domain whose ownership is verified; `pointed`: its DNS too
POST suspensions {"project", "instance", "reason"}     suspend an instance of Cloud SQL; "" for a reason lifts it
POST usage       {"project", "instance", "database", "sessions"?, "owners"?}  who is in a database, who owns how much
POST quotas      {"project", "metric", "limit", "region"?}   another limit than Google's (quotas.py)
POST reset                                      forget everything
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from tests.emulator import coverage, quotas
from tests.emulator.cloud import OWNER, Cloud
from tests.emulator.services.artifactregistry.images import register
from tests.emulator.services.run.domains import verify
from tests.emulator.services.sqladmin import usage
from tests.emulator.services.sqladmin.suspension import suspend


def answer(cloud: Cloud, http: str, path: str, content: bytes) -> Response:
    """Answer a control path; 400 says what is wrong with what was sent, 404 lists what there is."""
    act = PATHS.get((http, path.removeprefix("/_emulator/")))
    if act is None:
        return PlainTextResponse(__doc__ or "", 404)
    try:
        result = act(cloud, json.loads(content or b"{}"))
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
    return result if isinstance(result, Response) else JSONResponse(result)


def _faults(cloud: Cloud, sent: dict[str, Any]) -> Any:
    return asdict(cloud.faults.add(sent))


def _no_faults(cloud: Cloud, _: dict[str, Any]) -> Any:
    cloud.faults.rules.clear()
    return {}


def _clock(cloud: Cloud, sent: dict[str, Any]) -> Any:
    cloud.operations.pass_time(float(sent["advance"]))
    return {"now": cloud.world.clock.now().isoformat()}


def _projects(cloud: Cloud, sent: dict[str, Any]) -> Any:
    services, owner = tuple(sent.get("services", ())), sent.get("owner", OWNER)
    above, billing = sent.get("organization", ""), bool(sent.get("billing", True))
    token = cloud.add_project(sent["projectId"], services, owner, above, billing)
    return {"projectNumber": str(cloud.world.projects[sent["projectId"]].number), "token": token}


def _tokens(cloud: Cloud, sent: dict[str, Any]) -> Any:
    return {"token": cloud.access.mint(sent["member"], timedelta(seconds=sent.get("seconds", 3600)))}


def _adc(cloud: Cloud, sent: dict[str, Any]) -> Any:
    return cloud.access.adc(sent["member"], sent.get("quotaProject", ""))


def _reauth(cloud: Cloud, sent: dict[str, Any]) -> Any:
    cloud.access.stale_logins.add(sent["member"])
    return {}


def _images(cloud: Cloud, sent: dict[str, Any]) -> Any:
    return register(cloud, sent["image"], sent.get("digest", ""), sent.get("tags", ())).body


def _domains(cloud: Cloud, sent: dict[str, Any]) -> Any:
    return verify(cloud, sent["projectId"], sent["domain"], bool(sent.get("pointed"))).body


def _suspensions(cloud: Cloud, sent: dict[str, Any]) -> Any:
    return suspend(cloud, sent["project"], sent["instance"], sent["reason"]).body


def _reset(cloud: Cloud, _: dict[str, Any]) -> Any:
    cloud.reset()
    return {}


PATHS: dict[tuple[str, str], Callable[[Cloud, dict[str, Any]], Any]] = {
    ("GET", "requests"): lambda cloud, _: cloud.requests(),
    ("GET", "complaints"): lambda cloud, _: cloud.complaints,
    ("GET", "coverage"): lambda cloud, _: PlainTextResponse(coverage.page(cloud)),
    ("POST", "faults"): _faults,
    ("DELETE", "faults"): _no_faults,
    ("POST", "clock"): _clock,
    ("POST", "projects"): _projects,
    ("POST", "tokens"): _tokens,
    ("POST", "adc"): _adc,
    ("POST", "reauth"): _reauth,
    ("POST", "images"): _images,
    ("POST", "domains"): _domains,
    ("POST", "suspensions"): _suspensions,
    ("POST", "quotas"): quotas.set_limit,
    ("POST", "usage"): usage.tell,
    ("POST", "reset"): _reset,
}
