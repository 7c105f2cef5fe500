"""Cloud Run: services, revisions and domain mappings, in the v2 and in the Knative (v1) form."""
