"""Cloud Resource Manager: projects and their policies, in the versions 3 and 1 of the API."""
