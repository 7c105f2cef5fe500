"""Artifact Registry: repositories for container images, and what is in them."""
