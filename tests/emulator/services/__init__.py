"""The services, a folder or a file each; every module lists its kinds in `KINDS`."""
