"""The read-only API over the archive, and the page that shows it."""
