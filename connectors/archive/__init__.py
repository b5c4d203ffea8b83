"""SQLite history of everything that flowed."""
