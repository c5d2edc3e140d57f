"""The sections of the page "Why": one file for each, listed in `sections`."""
