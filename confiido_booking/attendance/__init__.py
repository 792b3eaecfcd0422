"""Who came: what a video room tells, check-ins, and what follows from them (seed 004)."""
