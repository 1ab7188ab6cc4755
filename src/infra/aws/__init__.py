"""AWS's way of signing requests, and the credentials for it."""
