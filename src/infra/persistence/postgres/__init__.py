"""Threads in PostgreSQL. Importing this needs the extra `postgres`; `persistence.postgres_database` says so where it is missing."""
