"""Google's APIs on this machine, driven by Google's own discovery documents: what the gcp target is proved against."""
