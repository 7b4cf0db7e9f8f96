"""Official layouts, own images → packed data sets; their splits, checks and downloads."""
