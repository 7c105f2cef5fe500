"""From one `HostSpec` to another in steps that keep serving: a service at a time, a job in between. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from blocks.agent.spec import File, Folder, HostSpec, Job, Service


def take(now: HostSpec, wanted: HostSpec, names: Collection[str]) -> HostSpec:
    """`now` with these services as `wanted` has them: added, changed, or gone where it has none of that name.

    What stays is left byte by byte, so nothing of it restarts. Releases of both are kept, for what goes may come back.
    """
    services = {each.name: each for each in now.services if each.name not in names}
    taken = {each.name: each for each in wanted.services if each.name in names}
    return replace(
        now,
        generation=now.generation + 1,
        releases=tuple({each.id: each for each in (*now.releases, *wanted.releases)}.values()),
        folders=tuple({each.path: each for each in (*now.folders, *wanted.folders)}.values()),
        files=_files(now, wanted, taken.values()),
        services=_in_order({**services, **taken}, now, wanted),
        jobs=(),
    )


def as_before(now: HostSpec, before: HostSpec) -> HostSpec:
    """What the host had before, after `now`."""
    return replace(before, generation=now.generation + 1, jobs=())


def with_job(now: HostSpec, job: Job, files: Iterable[File] = (), folders: Iterable[Folder] = ()) -> HostSpec:
    """`now` with this one job, the files it reads and the folders it writes to."""
    return replace(
        now,
        generation=now.generation + 1,
        folders=tuple({each.path: each for each in (*now.folders, *folders)}.values()),
        files=tuple({each.path: each for each in (*now.files, *files)}.values()),
        jobs=(job,),
    )


def with_releases(now: HostSpec, wanted: HostSpec) -> HostSpec:
    """`now` with the releases of `wanted` installed beside its own."""
    return take(now, wanted, ())


def ended_at_once(now: HostSpec, prefix: str) -> HostSpec:
    """`now` with the services of this beginning to be ended at once by the next spec, whatever they run then.

    How a service is restarted is no part of what it is started from, so by this spec itself nothing restarts.
    """
    services = [replace(each, restart="always") if each.name.startswith(prefix) else each for each in now.services]
    return replace(now, generation=now.generation + 1, services=tuple(services), jobs=())


def changed(now: HostSpec, wanted: HostSpec, prefix: str) -> list[str]:
    """Names of the services with this beginning that differ, in order: added, changed (their files too), or gone."""
    before, after = _definitions(now, prefix), _definitions(wanted, prefix)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _definitions(spec: HostSpec, prefix: str) -> dict[str, tuple[Service, tuple[File, ...]]]:
    files = {each.path: each for each in spec.files}
    named = [each for each in spec.services if each.name.startswith(prefix)]
    return {each.name: (each, tuple(files[path] for path in each.files)) for each in named}


def _files(now: HostSpec, wanted: HostSpec, taken: Iterable[Service]) -> tuple[File, ...]:
    """Those of the services that are taken, new ones, and those which no service is started from: none restarts for
    them."""
    kept = {each.path: each for each in now.files}
    read = {path for each in taken for path in each.files}
    left = {path for each in wanted.services for path in each.files if path in kept} - read
    kept |= {each.path: each for each in wanted.files if each.path not in left}
    return tuple(kept.values())


def _in_order(services: dict[str, Service], now: HostSpec, wanted: HostSpec) -> tuple[Service, ...]:
    places = {each.name: index for spec in (now, wanted) for index, each in enumerate(spec.services)}
    return tuple(sorted(services.values(), key=lambda each: places[each.name]))
