"""Jobs of any cluster: their packs, what is checked before them, and the files that they wait for."""
