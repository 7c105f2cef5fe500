"""IAM: service accounts, keys, roles; and tokens for them."""
