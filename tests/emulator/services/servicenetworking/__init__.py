"""Service Networking: private connections of a network to Google's services."""
