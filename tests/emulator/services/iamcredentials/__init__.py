"""Service Account Credentials: tokens and signatures in the name of a service account."""
