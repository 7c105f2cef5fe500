"""What a host does with its whole stack when it is asked to: the verbs of `blocks.host.verbs` which need all of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from prefect.runtime import flow_run

from blocks import catalog, ledgers, release, resource
from blocks.agent.releases import is_whole
from blocks.agent.spec import Release, from_json
from blocks.host.home import Home
from blocks.host.verbs import Answer
from blocks.resource import Apply
from blocks.site import at
from blocks.spec import TOOLS, build_spec
from flows import pivot
from flows.cli import launch
from flows.cli.progress import step
from flows.converge import bring_in_line, visit_all
from flows.destroy import remove_from_host


def plan(
    home: Home,
    spec: Mapping[str, Any],
    releases: Mapping[str, Any],
    versions: Mapping[str, int],
    found: Mapping[str, str] | None = None,
) -> Answer:
    """What `bring` would change once that spec, releases and versions of secrets are wanted: `changes`, as rows.

    Args:
        found: What was found of what stands outside.
    """
    parsed = {name: from_json(Release, json.dumps(each)) for name, each in releases.items()}
    stack = catalog.compose(build_spec(dict(spec), "the given spec"), parsed, at(home.root), versions, found)
    return {"changes": [each.as_row() for each in resource.plan(stack.on_host())]}


def bring(home: Home, *, mend: bool = False) -> Answer:
    """Bring all that stands on the host in line with what is wanted: `changes`, as rows.

    Args:
        mend: Whether an attempt was interrupted here, such as by a full disk.
    """
    if mend:
        mend_releases(home)
    stack = catalog.in_home(home)
    tools = stack.releases[TOOLS]
    has_cluster = bool(stack.database.services(home.releases / tools.id))
    if has_cluster and stack.host.applied() is None and not is_whole(tools, home.releases):
        launch.install_release(tools, home)  # the cluster is made with them, before there is a spec to install by
    # In a flow's process each resource is a task of its own, for people to see.
    changes = visit_all(stack.on_host(), Apply()) if flow_run.get_id() else bring_in_line(stack)
    return {"changes": [each.as_row() for each in changes]}


def mend_releases(home: Home) -> None:
    """Drop byte code that an attempt on a full disk has cut short.

    Root skips releases with a worker's own packages: their byte code may be made to harm whoever reads it. The worker
    cannot write to its release, so that none is cut short there.
    """
    with step("byte code whole") as detail:
        readable = [
            each for each in ledgers.of(home).wanted().releases.values() if not each.untrusted or os.geteuid() != 0
        ]
        cut = sum(release.drop_cut_bytecode(home.releases / each.id) for each in readable)
        detail.text = f"{cut} files were cut short" if cut else ""


def has_records(home: Home) -> Answer:
    """Whether the database holds a server's records: `found`. Waits for none."""
    return {"found": catalog.in_home(home).database.schema_revision() is not None}


def receive(home: Home, key: str, rows: Mapping[str, int]) -> Answer:
    """Fill the empty database from the dump under that key of the object store; see `pivot.receive`."""
    pivot.receive(catalog.in_home(home), key, rows)
    return {}


def kept(home: Home) -> Answer:
    """Databases that restores have replaced and kept: `databases`, name → bytes."""
    return {"databases": dict(catalog.in_home(home).database.kept())}


def drop_kept(home: Home, name: str) -> Answer:
    """Drop one of them."""
    catalog.in_home(home).database.drop_kept(name)
    return {}


def require_rotatable(home: Home, what: str) -> Answer:
    """See that a rotation of `what` can begin, before a run of it fails.

    Raises:
        Blocked: a change of the stack was interrupted, or the database's roles are not ours to change.
    """
    stack = catalog.in_home(home)
    if (given := stack.host.applied()) is not None:
        stack.host.require_whole(given)  # not what it reports: a server on its way out is still there
    if what == "database":
        stack.database.require_rotatable()
    return {}


def destroy(home: Home) -> Answer:
    """Remove what stands on the host: what was `left` as it is another's, and what is `in_use`, as what and hint."""
    return remove_from_host(catalog.in_home(home))
