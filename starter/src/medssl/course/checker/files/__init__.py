"""Which file is whose, which slot it fills, and whether it is what it should be. All of it counts as hostile."""
