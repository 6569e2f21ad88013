"""What needs Python alone: checks of arguments, and files that are never half written."""
