"""Helpers that need nothing but Python: argument checks, and files that are never half-written."""
