"""Submissions beside each other: one person's weeks, people beside people."""
