"""A Prefect profile for this machine."""

from __future__ import annotations

from pathlib import Path

from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_PROFILES_PATH,
    Profile,
    ProfilesCollection,
    load_profiles,
    save_profiles,
    temporary_settings,
)

from blocks.errors import Blocked


def write_profile(name: str, url: str, auth_string: str) -> Path:
    """Put a profile named like the stack among the user's, readable by the user alone, and make it the active one.

    Raises:
        Blocked: a profile of that name is for another server.
    """
    path = Path(PREFECT_PROFILES_PATH.value())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)  # it holds the auth string
    profiles = load_profiles()
    if name in profiles.names and not _is_ours(profiles, name, url):
        raise Blocked(f"the profile {name!r} in {path} is for another server", "prefect profile rename it first")
    settings = {PREFECT_API_URL: f"{url}/api", PREFECT_API_AUTH_STRING: auth_string}
    _drop(profiles, name)
    profiles.add_profile(Profile(name=name, settings=settings))
    profiles.set_active(name)
    save_profiles(profiles)
    return path


def renew_profile(name: str, url: str, auth_string: str, path: Path) -> bool:
    """Put a new auth string into the profile which `write_profile` made in that file; True if it was there."""
    if not path.exists():
        return False
    with temporary_settings({PREFECT_PROFILES_PATH: path}):
        profiles = load_profiles()
        if name not in profiles.names or not _is_ours(profiles, name, url):
            return False
        profiles.update_profile(name, {PREFECT_API_AUTH_STRING: auth_string})
        save_profiles(profiles)
    return True


def remove_profile(name: str, url: str) -> bool:
    """Remove the profile which `write_profile` made, if it is there; True if it was."""
    if not Path(PREFECT_PROFILES_PATH.value()).exists():
        return False
    profiles = load_profiles()
    if name not in profiles.names or not _is_ours(profiles, name, url):
        return False
    _drop(profiles, name)
    save_profiles(profiles)
    return True


def _is_ours(profiles: ProfilesCollection, name: str, url: str) -> bool:
    return profiles[name].settings.get(PREFECT_API_URL) == f"{url}/api"


def _drop(profiles: ProfilesCollection, name: str) -> None:
    if name in profiles.names:
        if profiles.active_name == name:
            profiles.set_active(None)
        profiles.remove_profile(name)
