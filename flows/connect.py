"""A Prefect profile for this machine."""

from __future__ import annotations

from pathlib import Path

from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_PROFILES_PATH,
    Profile,
    load_profiles,
    save_profiles,
)

from blocks.spec import StackSpec


def write_profile(spec: StackSpec, auth_string: str) -> Path:
    """Put a profile named like the stack among the user's, readable by the user alone, and make it the active one."""
    path = Path(PREFECT_PROFILES_PATH.value())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)  # it holds the auth string
    profiles = load_profiles()
    settings = {PREFECT_API_URL: spec.api_url, PREFECT_API_AUTH_STRING: auth_string}
    profiles.remove_profile(spec.name) if spec.name in profiles.names else None
    profiles.add_profile(Profile(name=spec.name, settings=settings))
    profiles.set_active(spec.name)
    save_profiles(profiles)
    return path
