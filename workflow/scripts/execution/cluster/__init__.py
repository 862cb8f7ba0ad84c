"""Jobs of any cluster: their commands and packs, and the files that they wait for."""
