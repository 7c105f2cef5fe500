"""Service Usage: which services a project has enabled."""
