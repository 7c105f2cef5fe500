"""Secret Manager, v1: secrets of a project and their versions. Regional secrets are not emulated.

Records: `secretmanager/projects/<id>/secrets/<secret>`, versions `…/versions/<number>`; their bodies are named by the
project's number, as at Google. The payload is in `hidden["data"]` and nowhere else. The policy of a secret is kept
under `projects/<id>/secrets/<secret>`.
"""
