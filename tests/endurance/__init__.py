"""Checks that take too long for every change, with the results that they printed."""
