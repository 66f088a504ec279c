"""Programs for the people who develop baldistill; no part of the wheel."""
