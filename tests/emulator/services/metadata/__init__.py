"""The metadata server: instances ask it about themselves, without a token."""
